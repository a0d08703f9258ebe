"""Commands run in this process, as the tests of the commands run them."""

from __future__ import annotations

from tests.support.commands import here

__all__ = ["here"]
