"""The pages that set a paper beside the code."""

from __future__ import annotations

from importlib import import_module

import pytest

from tests.support.docstrings import resolve_page


@pytest.mark.parametrize("method", ["textguided", "diffjscc", "scsic"])
def test_the_page_of_a_paper_names_what_is_there(method: str) -> None:
    resolve_page(import_module(f"gencomm_cli.methods.{method}.method"))
