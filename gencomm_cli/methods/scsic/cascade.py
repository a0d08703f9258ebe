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

from gencomm_cli.networks.vae import LatentCodec


class StageA(LatentCodec):
    """f_Θ and its inverse by a VQGAN (eqs. 1, 2), not quantised: over diffusers' PaellaVQModel, whose ``scale_factor`` its caller
    has to apply."""

    autoencoder: PaellaVQModel

    def __init__(self, vqgan: PaellaVQModel) -> None:
        super().__init__(vqgan)
        config = vqgan.config
        self.scale = float(config.scale_factor)
        self.channels, self.fold, self.scaling = int(config.latent_channels), int(config.up_down_scale_factor), 1 / self.scale
        self.factor = int(self.fold * 2 ** (config.levels - 1))

    def _encode(self, image: Tensor) -> Tensor:
        return self.autoencoder.encode(image.to(self.dtype)).latents.to(image.dtype) / self.scale

    def _decode(self, latent: Tensor) -> Tensor:
        return self.autoencoder.decode((latent * self.scale).to(self.dtype)).sample.to(latent.dtype)

    def decoder(self) -> nn.ModuleDict:
        """Its second half."""
        return nn.ModuleDict({"up_blocks": self.autoencoder.up_blocks, "out_block": self.autoencoder.out_block})


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
