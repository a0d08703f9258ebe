"""Stage B of a small SC-SIC: a latent diffusion prior that is given Ẑ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers.models import UNet2DConditionModel
from torch import Tensor, nn

from gencomm_cli.diffusion.cosine import log_snr
from gencomm_cli.diffusion.schedule import scaled_linear
from gencomm_cli.networks.autoencoder import widening


class LatentStageB(nn.Module):
    """A UNet over the latents of a shared autoencoder, beside which Ẑ goes in, spread out by a small network.

    It has no text: where the prior attends to words, it finds those of the empty prompt.

    Args:
        unet: arguments of diffusers' UNet2DConditionModel for the prior alone. words: tokens of a prompt.
        channels: of Ẑ. widths, depths: of the network that spreads Ẑ out, a position to 2^(n − 1) positions a side.
    """

    text: Tensor
    levels: Tensor

    def __init__(
        self,
        unet: Mapping[str, Any],
        words: int = 40,
        channels: int = 16,
        widths: Sequence[int] = (256, 160, 96, 64),
        depths: Sequence[int] = (2, 2, 2, 1),
    ) -> None:
        super().__init__()
        self.spread = nn.Sequential(*widening(channels, widths, depths))
        self.unet = UNet2DConditionModel(**{**unet, "in_channels": unet["in_channels"] + widths[-1]})
        self.register_buffer("text", torch.zeros(1, words, unet["cross_attention_dim"]))
        a = scaled_linear()[1:]
        self.register_buffer("levels", torch.logit(a).float(), persistent=False)

    @property
    def multiple(self) -> int:
        """Sides of its input are multiples of this many latent positions."""
        return int(2 ** (len(self.unet.config.block_out_channels) - 1))

    def forward(self, x: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """What it was trained to predict of X_VG,t (eq. 4).

        Args:
            x: X_VG,t [B, C, H, W]. time: t of the cosine schedule in 0 … 1 [B]. condition: Ẑ [B, channels, h, w]. Zeros are none.
        """
        dtype = self.unet.dtype
        spread = F.interpolate(self.spread(condition.to(dtype)), x.shape[2:], mode="bilinear")
        both = torch.cat([x.to(dtype), spread.to(dtype)], 1)
        text = self.text.to(dtype).expand(len(x), -1, -1)
        return cast(Tensor, self.unet(both, self.step(time), encoder_hidden_states=text).sample).to(x.dtype)

    def step(self, time: Tensor) -> Tensor:
        """The prior's own step of as much noise, in 0 … 999, between two of them in proportion [B]."""
        level = log_snr(time.float())
        after = torch.searchsorted(-self.levels, -level).clamp(1, len(self.levels) - 1)
        low, high = self.levels[after - 1], self.levels[after]
        return after - 1 + ((low - level) / (low - high)).clamp(0, 1)

    @torch.no_grad()
    def start(self, prior: UNet2DConditionModel, text: Tensor, spread: nn.Module) -> None:
        """Takes the prior's weights, its embedding [1, words, D] of the empty prompt, and a previewer's trunk.

        What goes in beside the latent counts for nothing at the start; so does what Ẑ has beyond the channels of the previewer's.
        """
        weights = dict(prior.state_dict())
        weights["conv_in.weight"] = _padded(weights["conv_in.weight"], self.unet.conv_in.in_channels)
        self.unet.load_state_dict(weights)
        self.text.copy_(text)
        trunk = dict(spread.state_dict())
        trunk["0.weight"] = _padded(trunk["0.weight"], cast(nn.Conv2d, self.spread[0]).in_channels)
        self.spread.load_state_dict(trunk)


def _padded(weight: Tensor, channels: int) -> Tensor:
    """A convolution's weights for more channels, which count for nothing."""
    return F.pad(weight, (0, 0, 0, 0, 0, channels - weight.shape[1]))
