"""The networks of a latent diffusion method: backbone, control module and JSCC, each loaded when it is asked for."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import torch
from torch import nn

from gencomm_cli.diffusion.schedule import scaled_linear
from gencomm_cli.networks.acceleration import compiled
from gencomm_cli.networks.controlled import controlled
from gencomm_cli.presets import Preset, require, verify
from gencomm_cli.presets.build import build, build_tokenizer, steady

if TYPE_CHECKING:
    from diffusers.models import UNet2DConditionModel

    from gencomm_cli.networks.control import LatentControlNet
    from gencomm_cli.networks.text import TextEncoder
    from gencomm_cli.networks.vae import LatentCodec


BACKBONE = ("vae", "unet", "text_encoder", "tokenizer")
"""The pretrained half of a latent diffusion method."""


class PresetNetworks:
    """The networks of a preset, in evaluation mode; each is loaded when it is first asked for.

    Args:
        dtype: of the large ones.

    Raises:
        InputError: a component is missing. ModelMismatch: weights are damaged or do not fit (a pretrained one: once it is loaded).
    """

    needs: tuple[str, ...]

    def __init__(self, preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        require(preset, *self.needs)
        verify(preset)
        self.preset, self.device, self.dtype = preset, device, dtype

    def _build(self, name: str, dtype: torch.dtype) -> Any:
        return build(self.preset.components[name], self.device, dtype)


class Backbone(PresetNetworks):
    """The pretrained half of a latent diffusion method.

    ``dtype`` is of all networks but the JSCC, whose symbols are float32. In float16 the VAE stays in float32: it would overflow.
    """

    needs: tuple[str, ...] = BACKBONE

    def load(self) -> None:
        """Loads the pretrained half at once."""
        _ = self.codec, self.unet, self.text

    def keep_in(self, dtype: torch.dtype) -> None:
        """Turns the networks that are frozen whatever is trained, denoiser and text encoder, to a number format.

        The VAE stays as it is: it makes the latents that are learned from.
        """
        for module in (self.unet, self.text.model):
            nn.Module.to(module, dtype)

    @cached_property
    def codec(self) -> LatentCodec:
        """The VAE."""
        from gencomm_cli.networks.vae import latent_codec

        return latent_codec(self._build("vae", steady(self.dtype))).eval()

    @cached_property
    def unet(self) -> UNet2DConditionModel:
        """The denoiser."""
        return self._build("unet", self.dtype)

    @cached_property
    def text(self) -> TextEncoder:
        """Tokeniser and text encoder."""
        from gencomm_cli.networks.text import TextEncoder

        return TextEncoder(build_tokenizer(self.preset.components["tokenizer"]), self._build("text_encoder", self.dtype)).eval()

    @property
    def halvings(self) -> int:
        """How often the denoiser halves the latent; known before it is loaded."""
        widths = self.preset.components["unet"].config.get("block_out_channels") or self.unet.config.block_out_channels
        return len(widths) - 1


class Networks(Backbone):
    """All of a latent diffusion method; the JSCC's class is the preset's choice."""

    needs = (*Backbone.needs, "control", "jscc")

    @cached_property
    def control(self) -> LatentControlNet:
        """The control module."""
        return self._build("control", self.dtype)

    @cached_property
    def coarse(self) -> nn.Module | None:
        """What makes the coarse picture of z_c; None where the VAE's decoder does."""
        return self._build("coarse", torch.float32) if "coarse" in self.preset.components else None

    @cached_property
    def jscc(self) -> nn.Module:
        """The JSCC, in float32."""
        return self._build("jscc", torch.float32)


class ControlledDiffusion:
    """What methods over a latent diffusion model under a control module share: one preset's networks, and how they are loaded."""

    def __init__(self, preset: Preset, networks: Networks, device: torch.device) -> None:
        self.preset, self.device = preset, device
        self.networks, self.codec = networks, networks.codec
        self.alpha_bar = scaled_linear()
        self.controlled = controlled

    @classmethod
    def load(cls, preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> Self:
        """Finds the preset's networks; those of the transmitter are built now, the others when they are needed.

        Raises:
            InputError: a component is missing. ModelMismatch: weights are damaged or do not fit.
        """
        return cls(preset, Networks(preset, device, dtype), device)

    def compile(self) -> None:
        """Compiles the denoiser; it takes effect with the next picture, and again with each new size."""
        self.controlled = compiled(controlled, self.device)
