"""The frozen UNet's prediction under control, and the channel state that the control module is given; without diffusers' seconds of
import."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from gencomm_cli.networks.rate_adaptive import sinusoid

if TYPE_CHECKING:
    from diffusers.models import UNet2DConditionModel

    from gencomm_cli.networks.control import LatentControlNet

FEATURES = 64
"""Width of the sinusoid for each scalar that the control module is given."""

CSI_WIDTH = 2 * FEATURES + 2


def csi_features(snr_db: Tensor, start: Tensor, gain: Tensor) -> Tensor:
    """What the control module is given beside z_c [B, CSI_WIDTH]: SNR in dB [B], the warm-start step N_s [B], and h complex [B]."""
    return torch.cat([sinusoid(snr_db, FEATURES, 4.0), sinusoid(start, FEATURES), gain.real[:, None], gain.imag[:, None]], 1)


def controlled(
    unet: UNet2DConditionModel,
    control: LatentControlNet,
    z_t: Tensor,
    t: Tensor,
    text: Tensor,
    z_c: Tensor,
    csi: Tensor,
    free: Tensor | None = None,
    guidance: float = 1.0,
) -> Tensor:
    """The frozen UNet's prediction under control: z_t, z_c [B, C, H, W], t [B] from 1, text [B, S, D], csi [B, CSI_WIDTH].

    A small UNet's ε̂ puts ẑ_0 = (z_t − √(1 − ᾱ_t) ε̂)/√ᾱ_t further from the image than z_c is where ᾱ_t is small. An anchored
    control module mixes ε̂ with (z_t − √ᾱ_t z_c)/√(1 − ᾱ_t), the noise that z_t holds if z_c is the image: guidance as of
    arXiv:2404.17736, eq. 17, with a weight that is learned, which is in no paper.

    Args:
        free: text [B, S, D] of the unconditional branch, which the control module does not reach: û of it, and ``guidance`` times
            the difference, from one pass of the UNet over both branches (arXiv:2510.21299, Algorithm 1, lines 5–7).

    Networks have number formats of their own; what goes in as z_t's comes out in it.
    """
    dtype, kind = unet.dtype, z_t.dtype
    z, step, words = z_t.to(dtype), t - 1, text.to(dtype)
    down, mid = control(
        z.to(control.dtype), step, encoder_hidden_states=text.to(control.dtype), controlnet_cond=z_c.to(control.dtype),
        class_labels=csi.to(control.dtype), return_dict=False,
    )  # fmt: skip
    features = down[1]
    if free is not None:
        z, step, words = torch.cat([z, z]), torch.cat([step, step]), torch.cat([words, free.to(dtype)])
        down, mid = [torch.cat([each, torch.zeros_like(each)]) for each in down], torch.cat([mid, torch.zeros_like(mid)])
    out: Tensor = unet(
        z, step, encoder_hidden_states=words, down_block_additional_residuals=[each.to(dtype) for each in down],
        mid_block_additional_residual=mid.to(dtype),
    ).sample.to(kind)  # fmt: skip
    out, unguided = (out, None) if free is None else out.chunk(2)
    if control.config.anchored:
        a = control.signal(t)
        anchor = (z_t - a.sqrt() * z_c) / (1 - a).sqrt()
        out = out + control.lean(t, csi, features, a).to(kind) * (anchor - out)
    # Line 7 of Algorithm 1 (arXiv:2510.21299), in û.
    return out if unguided is None else unguided + guidance * (out - unguided)
