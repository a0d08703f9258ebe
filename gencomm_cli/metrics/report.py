"""All metrics of one image against its reference."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gencomm_cli.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor

    from gencomm_cli.metrics.clip_score import ClipScore

WITHOUT_WEIGHTS = ("psnr", "ssim", "ms_ssim", "gmsd", "haarpsi")
WITH_WEIGHTS = ("lpips_alex", "lpips_squeeze", "lpips_vgg", "dists", "niqe")
NAMES = WITHOUT_WEIGHTS + WITH_WEIGHTS
CLIP_SCORE = "clip_score"
"""Of a model that the user names, hence none of :data:`NAMES`."""


@cache
def _loaded(name: str, where: Path) -> Any:
    """The network of metric ``name``, or NIQE's parameters, from folder ``where``; read once a process."""
    from gencomm_cli.metrics import weights

    if name == "niqe":
        return weights.load_niqe(where)
    return weights.load_dists(where) if name == "dists" else weights.load_lpips(name.removeprefix("lpips_"), where)


@cache
def _clip(model: str) -> ClipScore:
    from gencomm_cli.metrics.clip_score import ClipScore

    return ClipScore(model)


def _by_network(name: str, where: Path | None, first: Tensor, second: Tensor) -> Tensor | None:
    from gencomm_cli.metrics import dists, lpips, niqe
    from gencomm_cli.metrics.fetch import SOURCES

    if where is None or not all((where / file).exists() for file in SOURCES[name.replace("_", "-")]):
        return None
    if name == "niqe":
        return niqe.niqe(second, *_loaded(name, where))
    smallest = dists.MIN_SIDE if name == "dists" else lpips.MIN_SIDE
    return _loaded(name, where)(first, second) if min(first.shape[-2:]) >= smallest else None


def measure(
    reference: np.ndarray,
    image: np.ndarray,
    weights: Path | None = None,
    names: Sequence[str] | None = None,
    clip_model: str | None = None,
) -> dict[str, float | None]:
    """The metrics of ``image`` against ``reference``, by name.

    Args:
        reference, image: uint8 [H, W, 3], of one size. ``niqe`` looks at ``image`` alone.
        weights: folder of metric weights; without it, the one that :func:`gencomm_cli.metrics.weights.folder` finds.
        names: which of :data:`NAMES`, and in which order; None for all.
        clip_model: folder or hub id of a CLIP, with which ``clip_score`` is a name too: the cosine between both images' embeddings.

    Returns:
        ``psnr`` in dB (``inf`` for equal images); ``ssim``, ``ms_ssim``, ``haarpsi`` (1 is best); ``gmsd``, ``lpips_…``, ``dists``
        and ``niqe`` (lower is better). None where a metric is not defined for that image or its weights are missing.

    Raises:
        InputError: there is no such metric, the weights folder does not exist or its files are not the published ones.
        ValueError: the images differ in size.
    """
    import torch

    from gencomm_cli.metrics import gmsd, haarpsi, psnr, ssim
    from gencomm_cli.metrics.weights import folder

    pixelwise: dict[str, Callable[[Tensor, Tensor], Tensor | None]] = {
        "psnr": psnr.psnr, "ssim": ssim.ssim, "ms_ssim": ssim.ms_ssim, "gmsd": gmsd.gmsd, "haarpsi": haarpsi.haarpsi
    }  # fmt: skip
    if reference.shape != image.shape:
        raise ValueError(f"images of sizes {reference.shape} and {image.shape} cannot be compared")
    values: dict[str, Tensor | None] = {}
    where = folder(weights)
    with torch.inference_mode():
        a, b = (torch.tensor(x).permute(2, 0, 1)[None].float() / 255 for x in (reference, image))
        for name in NAMES if names is None else names:
            if name == CLIP_SCORE and clip_model is not None:
                values[name] = _clip(clip_model).image_image(a, b)
                continue
            if name not in NAMES:
                raise InputError(f"metric {name}: there is none of that name; choose from {', '.join(NAMES)}")
            values[name] = pixelwise[name](a, b) if name in pixelwise else _by_network(name, where, a, b)
    return {name: None if value is None or value.isnan().any() else float(value) for name, value in values.items()}
