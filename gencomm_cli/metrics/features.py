"""A network's features of images, for FID and KID."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gencomm_cli.metrics.efficientnet_lite import EfficientNetLite
from gencomm_cli.metrics.inception import Inception

PATCH = 256
STRIDE = 128


def patches(images: Tensor) -> Tensor:
    """Half-overlapping 256×256 patches, [n, 3, 256, 256], of images [B, 3, H, W]: every 128 pixels along both sides.

    A 768×512 image has 5×3, as in DiffJSCC's Kodak protocol. What a side has beyond its last whole patch is left out; an image
    with a side below 256 has none.
    """
    if min(images.shape[-2:]) < PATCH:
        return images.new_empty(0, images.shape[1], PATCH, PATCH)
    cut = images.unfold(2, PATCH, STRIDE).unfold(3, PATCH, STRIDE)
    return cut.permute(0, 2, 3, 1, 4, 5).flatten(0, 2)


class Features:
    """Features of images of any number and size.

    Args:
        model: a loaded network of D features, on any device; it is put into evaluation mode.
        by_patch: take each image's half-overlapping 256×256 patches instead of the whole image.
        batch: images or patches that go through the network at once.
    """

    def __init__(self, model: Inception | EfficientNetLite, by_patch: bool = False, batch: int = 16) -> None:
        self.model, self.by_patch, self.batch = model.eval(), by_patch, batch

    @torch.inference_mode()
    def of(self, images: Tensor) -> NDArray[np.float64]:
        """Features, float64 [N, D], of images [B, 3, H, W] in [0, 1]; N is B, or the number of patches."""
        inputs = patches(images) if self.by_patch else images
        device = next(self.model.parameters()).device
        found = [self.model(part.to(device)).double().cpu().numpy() for part in inputs.split(self.batch) if len(part)]
        return np.concatenate([np.empty((0, self.model.dimensions)), *found])
