"""README's full-size section, followed word by word on stand-ins with the real layouts."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.training import diffjscc, textguided, workshop
from tests.commands.conftest import Result, here
from tests.prompts.test_captioners import _save_blip, _save_tokenizer
from tests.standins import stable_cascade, stable_diffusion
from tests.training.test_full_size import RECIPES

__all__ = ["here"]
SECTION = re.compile(r"## Full-size weights\n(.*?)\n###? ", re.DOTALL)


def commands() -> list[str]:
    text = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    section = SECTION.search(text)
    assert section is not None
    blocks = re.findall(r"```sh\n(.*?)```", section[1], re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]


def test_the_full_size_section_works_as_written(
    here: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the place of the weights and the sizes of the recipes are others: those of the stand-ins."""
    monkeypatch.setenv("GENCOMM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    recipes = {"textguided-sd.json": "textguided", "diffjscc-sd.json": "diffjscc", "scsic-cascade.json": "scsic"}

    def small(path: Path | None, shipped: str, _: object) -> dict[str, object]:
        assert path is None
        return {"name": shipped.partition("-")[2].removesuffix(".json"), **RECIPES[recipes[shipped]]}

    monkeypatch.setattr(workshop, "load_config", small)
    for recipe in (textguided, diffjscc):
        monkeypatch.setattr(recipe, "load_judges", lambda *_: [LPIPS("squeeze").eval().requires_grad_(False)])
    stable_cascade(tmp_path / "weights" / "stable-cascade")
    stable_diffusion(tmp_path / "weights" / "stable-diffusion-2-1-base")
    (tmp_path / "weights" / "blip2-opt-2.7b").mkdir()
    _save_tokenizer(tmp_path / "weights" / "blip2-opt-2.7b")
    _save_blip(tmp_path / "weights" / "blip2-opt-2.7b")
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        picture = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((256, 256), Image.Resampling.BICUBIC)
        picture.save(tmp_path / "photos" / f"{index}.png")
        picture.resize((64, 48)).save(tmp_path / "photo.png")

    lines = commands()
    assert len(lines) == 12
    for line in lines:
        program, *arguments = shlex.split(line.replace("/weights/", f"{tmp_path}/weights/"))
        assert program == "gencomm"
        result = here(*arguments)
        assert result.returncode == 0, f"{line}\n{result.stderr.decode()}"
