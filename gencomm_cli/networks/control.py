"""The control module of a latent diffusion method: diffusers' ControlNetModel over a frozen UNet, a latent as its hint."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from gencomm_cli.diffusion.schedule import scaled_linear
from gencomm_cli.networks.controlled import CSI_WIDTH, FEATURES
from gencomm_cli.networks.layers import zeroed
from gencomm_cli.networks.rate_adaptive import sinusoid


class LatentControlNet(ControlNetModel):
    """ControlNetModel whose hint is a latent of the sample's own size, and whose time embedding also takes the channel state.

    The hint enters through a zero-initialised convolution beside ``conv_in``: the same as concatenating it to the sample with
    zero-initialised extra input channels. The channel state enters through the class embedding (an MLP whose output is added to
    the time embedding), which diffusers provides. All else, and the forward pass, is diffusers' own.

    ``anchored``: the prediction may also lean on the hint itself, for each channel and position as far as :meth:`lean` says. It is
    in no paper.
    """

    @register_to_config
    def __init__(self, hint_channels: int = 4, csi_width: int = CSI_WIDTH, anchored: bool = False, **unet: Any) -> None:
        super().__init__(**unet, class_embed_type="projection", projection_class_embeddings_input_dim=csi_width)
        self.controlnet_cond_embedding = zeroed(nn.Conv2d(hint_channels, self.config.block_out_channels[0], 3, padding=1))  # type: ignore[assignment]
        if anchored:
            self.lean_here = nn.Conv2d(self.config.block_out_channels[0], hint_channels, 3, padding=1)
            self.lean_now = nn.Linear(FEATURES + csi_width, hint_channels)
            self.register_buffer("signal_bits", scaled_linear().float().view(torch.int32), persistent=False)
            for layer in (self.lean_here, self.lean_now):
                nn.init.zeros_(layer.weight)
                nn.init.constant_(layer.bias, -1.0)  # type: ignore[arg-type]

    def lean(self, t: Tensor, csi: Tensor, features: Tensor, signal: Tensor) -> Tensor:
        """How far the prediction leans on the hint, 0 … 1 [B, C, H, W]: by t, CSI and the features at the hint's resolution.

        With an error of ε̂ that is the same at all t, ẑ_0's grows as (1 − ᾱ_t)/ᾱ_t; two estimates of one z_0, weighed by their
        errors, have this weight's logit. The rest is learned. ``signal`` is ᾱ_t [B, 1, 1, 1].
        """
        now = self.lean_now(torch.cat([sinusoid(t.float(), FEATURES), csi], 1).to(features.dtype))
        return torch.sigmoid(((1 - signal) / signal).log() + self.lean_here(features) + now[:, :, None, None])

    def signal(self, t: Tensor) -> Tensor:
        """ᾱ_t [B, 1, 1, 1] in float32: kept as bits, since as numbers they would be rounded with the weights to half precision."""
        return self.signal_bits[t].view(torch.float32).view(-1, 1, 1, 1)

    @classmethod
    def over(cls, unet: UNet2DConditionModel, csi_width: int = CSI_WIDTH, anchored: bool = False) -> LatentControlNet:
        """A control module for ``unet``, started from a copy of the UNet's own encoder."""
        control = cls(csi_width=csi_width, anchored=anchored, **control_arguments(unet))
        for part in ("conv_in", "time_proj", "time_embedding", "add_embedding", "down_blocks", "mid_block"):
            if hasattr(unet, part):
                getattr(control, part).load_state_dict(getattr(unet, part).state_dict())
        return control


def control_arguments(unet: UNet2DConditionModel) -> dict[str, Any]:
    """Constructor arguments of the control module that fits ``unet``."""
    shared = (
        "in_channels", "down_block_types", "block_out_channels", "layers_per_block", "cross_attention_dim", "attention_head_dim",
        "norm_num_groups", "use_linear_projection", "transformer_layers_per_block", "only_cross_attention", "num_attention_heads",
        "flip_sin_to_cos", "freq_shift", "upcast_attention", "resnet_time_scale_shift", "mid_block_type",
    )  # fmt: skip
    pooled = ("addition_embed_type", "addition_embed_type_num_heads") if unet.config["addition_embed_type"] else ()
    return {"hint_channels": unet.config.in_channels} | {name: unet.config[name] for name in (*shared, *pooled)}
