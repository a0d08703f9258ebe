"""What a preset of diffjscc over Stable Diffusion has that others have not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from gencomm_cli import presets
from tests.support.commands import Result, failed


def test_a_captioner_that_nobody_knows_is_not_written_into_a_preset(here: Callable[..., Result], weights: Path) -> None:
    add = ("models", "add", "diffjscc", "--name", "sd", "--sd", weights / "sd", "--captioner")
    failed(here(*add, "bogus"), 2, "--captioner", "hf:FOLDER_OR_ID")
    failed(here(*add, "hf:/nowhere"), 2, "--captioner hf:/nowhere", "no folder")
    assert presets.folder_of("diffjscc", "sd") is None
    assert here(*add, f"hf:{weights}/sd").returncode == 0
    assert presets.find("diffjscc", "sd").settings["captioner"] == f"hf:{weights}/sd"
