"""Peak signal-to-noise ratio."""

from __future__ import annotations

from torch import Tensor


def psnr(first: Tensor, second: Tensor) -> Tensor:
    """PSNR in dB, float32 [B], of images [B, C, H, W] in [0, 1] with peak 1; ``inf`` where two images are equal.

    The squared error is averaged over all channels and pixels before the logarithm is taken.
    """
    error = (first.double() - second.double()).square().mean((1, 2, 3))
    return (-10 * error.log10()).float()
