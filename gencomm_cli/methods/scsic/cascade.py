"""Stable Cascade's stages A and B as SC-SIC uses them (its section 2): diffusers' networks behind small interfaces."""

from __future__ import annotations

from typing import cast

import torch.nn.functional as F
from diffusers.models import StableCascadeUNet
from diffusers.models.unets.unet_stable_cascade import SDCascadeTimestepBlock
from torch import Tensor, nn

try:
    from diffusers.pipelines.deprecated.wuerstchen.modeling_paella_vq_model import PaellaVQModel as PaellaVQModel
except ImportError:  # where diffusers had it before it deprecated the pipeline around it
    from diffusers.pipelines.wuerstchen.modeling_paella_vq_model import PaellaVQModel as PaellaVQModel

from gencomm_cli.networks.tiles import tiled
from gencomm_cli.networks.vae import OVERLAP, TILE


class StageA(nn.Module):
    """Image [B, 3, H, W] in [0, 1] ↔ latent [B, C, H/f, W/f] of a VQGAN (eqs. 1, 2), not quantised.

    Args:
        vqgan: diffusers' PaellaVQModel, whose ``scale_factor`` its caller has to apply.
    """

    def __init__(self, vqgan: PaellaVQModel) -> None:
        super().__init__()
        self.vqgan = vqgan
        self.scale = float(vqgan.config.scale_factor)

    @property
    def scaling(self) -> float:
        """What the VQGAN's own latents are multiplied by."""
        return 1 / self.scale

    @property
    def channels(self) -> int:
        """Latent channels C."""
        return int(self.vqgan.config.latent_channels)

    @property
    def factor(self) -> int:
        """Image pixels per latent position along each side, f."""
        return int(self.vqgan.config.up_down_scale_factor * 2 ** (self.vqgan.config.levels - 1))

    def encoding(self) -> dict[str, Tensor]:
        """The tensors that latents depend on."""
        return {
            name: tensor
            for name, tensor in self.state_dict().items()
            if not name.startswith(("vqgan.up_blocks", "vqgan.out_block"))
        }

    def encode(self, image: Tensor) -> Tensor:
        """X_VG = f_Θ(X) (eq. 1); H and W multiples of f."""
        return self.vqgan.encode(image.to(self.vqgan.dtype)).latents.to(image.dtype) / self.scale

    def decode(self, latent: Tensor) -> Tensor:
        """f_Θ⁻¹(X_VG) (eq. 2), not clamped; a large picture in tiles."""
        if latent.shape[2] * latent.shape[3] * self.factor**2 <= 2 * TILE**2:
            return self._decode(latent)
        return tiled(self._decode, latent, TILE // self.factor, OVERLAP // self.factor)

    def _decode(self, latent: Tensor) -> Tensor:
        return self.vqgan.decode((latent * self.scale).to(self.vqgan.dtype)).sample.to(latent.dtype)


class StageB(nn.Module):
    """The latent diffusion model, conditioned on Ẑ alone: the pooled text, a required input, is zero.

    Args:
        unet: diffusers' StableCascadeUNet. Where it takes one channel more than Ẑ has, that is the reliability of Ẑ
            (``snr_aware``).
    """

    def __init__(self, unet: StableCascadeUNet) -> None:
        super().__init__()
        self.unet = unet
        for block in unet.modules():
            if isinstance(block, SDCascadeTimestepBlock):  # sinusoids of 10⁴ t are made in float32, whatever the weights are
                block.register_forward_pre_hook(_in_format_of_x)

    @property
    def multiple(self) -> int:
        """Sides of its input are multiples of this many latent positions."""
        return int(self.unet.config.patch_size * 2 ** (len(self.unet.config.block_out_channels) - 1))

    def forward(self, x: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """ε̄(X_VG,t, t, Ẑ) of eq. 4, or whatever it was trained to predict.

        Args:
            x: X_VG,t [B, C, H, W]. time: t in 0 … 1 [B].
            condition: Ẑ, and what belongs to it, [B, 16, h, w]; it is stretched over x. Zeros are no condition.
        """
        dtype = self.unet.dtype
        text = x.new_zeros(len(x), 1, self.unet.config.clip_text_pooled_in_channels, dtype=dtype)
        return self.unet(x.to(dtype), time, text, effnet=condition.to(dtype)).sample.to(x.dtype)


def _in_format_of_x(_: nn.Module, inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return inputs[0], inputs[1].to(inputs[0].dtype)


def take_reliability(unet: StableCascadeUNet) -> None:
    """Gives a stage B that takes Ẑ alone, in place, one more channel for its reliability. The new weights are zero, so that it
    computes what it did."""
    first = cast(nn.Conv2d, unet.effnet_mapper[0])
    first.weight = nn.Parameter(F.pad(first.weight.detach(), (0, 0, 0, 0, 0, 1)), first.weight.requires_grad)
    first.in_channels += 1
    unet.register_to_config(effnet_in_channels=first.in_channels)
