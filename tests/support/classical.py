"""A picture and the shipped modes."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from gencomm_cli import presets
from gencomm_cli.methods.separate.modes import Modes


def scene(height: int = 128, width: int = 192) -> NDArray[np.uint8]:
    """Gradients, an edge and some texture, uint8 [H, W, 3]."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    picture = np.stack([x, y, 0.5 + 0.5 * np.sin(60 * x * (1 + y))], axis=2)
    picture[height // 3 : height // 2, width // 4 : width // 2] = (0.9, 0.2, 0.1)
    pixels: NDArray[np.uint8] = np.rint(255 * picture.clip(0, 1)).astype(np.uint8)
    return pixels


@pytest.fixture(scope="session")
def modes() -> Modes:
    parts = presets.find("separate", "classical").components
    codes, table = parts["codes"].path, parts["modes"].path
    assert codes is not None
    assert table is not None
    return Modes.load(codes, table)
