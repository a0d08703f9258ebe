"""All metrics of one image against its reference."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from gencomm_cli.metrics.lpips import LPIPS

NAMES = ("psnr", "ssim", "ms_ssim", "gmsd", "lpips_alex", "lpips_squeeze")


@cache
def _lpips(backbone: str, where: Path) -> LPIPS:
    from gencomm_cli.metrics.weights import load_lpips

    model: LPIPS = load_lpips(backbone, where)
    return model


def measure(reference: np.ndarray, image: np.ndarray, weights: Path | None = None) -> dict[str, float | None]:
    """The metrics of ``image`` against ``reference``, by name.

    Args:
        reference, image: uint8 [H, W, 3], of one size.
        weights: folder of metric weights; without it, the one that :func:`gencomm_cli.metrics.weights.folder` finds.

    Returns:
        ``psnr`` (dB, ``inf`` for equal images), ``ssim``, ``ms_ssim``, ``gmsd``, ``lpips_alex``, ``lpips_squeeze``;
        None where a metric is not defined at that size or its weights are missing.

    Raises:
        InputError: the weights folder does not exist or its files are not the published ones.
        ValueError: the images differ in size.
    """
    import torch

    from gencomm_cli.metrics import gmsd, lpips, psnr, ssim
    from gencomm_cli.metrics.weights import folder

    if reference.shape != image.shape:
        raise ValueError(f"images of sizes {reference.shape} and {image.shape} cannot be compared")
    where = folder(weights)
    large_enough = min(reference.shape[:2]) >= lpips.MIN_SIDE
    with torch.inference_mode():
        a, b = (torch.tensor(x).permute(2, 0, 1)[None].float() / 255 for x in (reference, image))
        values = {"psnr": psnr.psnr(a, b), "ssim": ssim.ssim(a, b), "ms_ssim": ssim.ms_ssim(a, b), "gmsd": gmsd.gmsd(a, b)}
        for backbone in ("alex", "squeeze"):
            there = where is not None and (where / f"{backbone}_features.npz").exists()
            values[f"lpips_{backbone}"] = _lpips(backbone, where)(a, b) if where and there and large_enough else None
    return {name: None if value is None else float(value) for name, value in values.items()}
