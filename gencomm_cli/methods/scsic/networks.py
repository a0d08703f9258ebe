"""The networks of a SC-SIC preset. Each is loaded when it is asked for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

from gencomm_cli.networks.backbone import PresetNetworks
from gencomm_cli.presets.build import steady

if TYPE_CHECKING:
    from gencomm_cli.methods.scsic.blocks import BlockEncoder, BlockPreviewer
    from gencomm_cli.methods.scsic.cascade import StageB
    from gencomm_cli.methods.scsic.efficientnet import EfficientNetEncoder
    from gencomm_cli.methods.scsic.latent_stage_b import LatentStageB
    from gencomm_cli.methods.scsic.previewer import Previewer
    from gencomm_cli.networks.vae import LatentCodec


class ScSicNetworks(PresetNetworks):
    """All of SC-SIC: semantic encoder, VQGAN, latent diffusion model, and the previewer, if it has one.

    ``dtype`` is of stages A and B (A stays in float32 where it is float16); the others are float32.
    """

    needs = ("encoder", "stage_a", "stage_b")

    @cached_property
    def encoder(self) -> EfficientNetEncoder | BlockEncoder:
        """E."""
        return self._build("encoder", torch.float32)

    @cached_property
    def stage_a(self) -> LatentCodec:
        """f_Θ and its inverse."""
        return stage_a_of(self._build("stage_a", steady(self.dtype)))

    @cached_property
    def stage_b(self) -> StageB | LatentStageB:
        """The denoiser."""
        unet = self._build("stage_b", self.dtype)
        if self.preset.components["stage_b"].class_name == "LatentStageB":
            return cast("LatentStageB", unet)
        from gencomm_cli.methods.scsic.cascade import StageB

        return StageB(unet).eval()

    @property
    def multiple(self) -> int:
        """Pixels that both sides of an image are multiples of; known before the networks are loaded, if the preset says it."""
        a, b = (self.preset.components[name].config for name in ("stage_a", "stage_b"))
        if "unet" in b and "factor" in a:
            return int(a["factor"] * 2 ** (len(b["unet"]["block_out_channels"]) - 1))
        if {"block_out_channels", "patch_size"} <= b.keys() and {"up_down_scale_factor", "levels"} <= a.keys():
            factor = a["up_down_scale_factor"] * 2 ** (a["levels"] - 1)
            return int(factor * b["patch_size"] * 2 ** (len(b["block_out_channels"]) - 1))
        return self.stage_a.factor * self.stage_b.multiple

    @cached_property
    def previewer(self) -> Previewer | BlockPreviewer | None:
        """Ẑ to a coarse image; None where the preset has none."""
        return self._build("previewer", torch.float32) if "previewer" in self.preset.components else None


def stage_a_of(autoencoder: nn.Module) -> LatentCodec:
    """f_Θ and its inverse by Stable Cascade's VQGAN, or by an autoencoder that other methods have too."""
    if type(autoencoder).__name__ == "PaellaVQModel":  # its module takes seconds to import, and others do without
        from gencomm_cli.methods.scsic.cascade import StageA

        return StageA(cast(Any, autoencoder)).eval()
    from gencomm_cli.networks.vae import latent_codec

    return latent_codec(autoencoder).eval()
