"""Sheets of pictures that show how far a stage is: fixed validation crops, and what the networks make of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gencomm_cli.images import encoded
from gencomm_cli.outputs import write_files
from gencomm_cli.training.data import Photographs, to_tensor

COUNT, SIZE, COLUMNS = 6, 256, 3
"""Pairs on a sheet, the side of each picture, and pairs in a row."""

Show = Callable[[Tensor], Tensor]
"""Images [N, 3, H, W] in [0, 1] → what a stage's networks make of them, pictures of that size or smaller."""


def pairs(photographs: Photographs, show: Show, device: torch.device) -> Callable[[], np.ndarray]:
    """What draws the pairs, (original, output) of fixed crops: uint8 [N, 2, H, W, 3]."""
    originals = photographs.crops(COUNT, SIZE, np.random.default_rng(0))[0]
    image = to_tensor(originals, device)

    @torch.no_grad()
    def draw() -> np.ndarray:
        made = show(image).float()
        if made.shape[2:] != image.shape[2:]:
            made = torch.nn.functional.interpolate(made, image.shape[2:], mode="bicubic", antialias=True)
        outputs = made.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        return np.stack([originals, outputs], 1)

    return draw


def write_sheet(pictures: np.ndarray, path: Path) -> None:
    """Writes pairs uint8 [N, 2, H, W, 3] as one PNG, original and output side by side, ``COLUMNS`` pairs in a row."""
    count, _, height, width, _ = pictures.shape
    columns = min(COLUMNS, count)
    sheet = np.full((math.ceil(count / columns) * height, columns * 2 * width, 3), 255, np.uint8)
    for index, pair in enumerate(pictures):
        row, column = divmod(index, columns)
        sheet[row * height : (row + 1) * height, 2 * column * width : 2 * (column + 1) * width] = np.concatenate(pair, 1)
    write_files({path: encoded(sheet)})
