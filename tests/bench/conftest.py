"""A tiny real preset and two small photographs with captions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from tests.support.commands import picture


@pytest.fixture(scope="session")
def tiny(make_preset: Callable[..., Path]) -> str:
    """METHOD@PRESET of a preset that sends a small image in milliseconds."""
    return f"textguided@{make_preset()}"


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(picture(64, 96)).save(folder / "a.png")
    Image.fromarray(picture(48, 64)[::-1]).save(folder / "b.jpg")
    (folder / "captions.tsv").write_text('a.png\ta red house\nb.jpg\ttwo dogs, it\'s "grass"\n')
    return folder
