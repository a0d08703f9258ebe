"""The control module of a latent diffusion method: diffusers' ControlNetModel over a frozen UNet, a latent as its hint."""

from __future__ import annotations

from typing import Any

import torch
from diffusers.configuration_utils import register_to_config
from diffusers.models import ControlNetModel, UNet2DConditionModel
from torch import Tensor, nn

from gencomm_cli.diffusion.schedule import scaled_linear
from gencomm_cli.networks.layers import zeroed
from gencomm_cli.networks.rate_adaptive import sinusoid

FEATURES = 64
"""Width of the sinusoid for each scalar that the control module is given."""

CSI_WIDTH = 2 * FEATURES + 2


def csi_features(snr_db: Tensor, start: Tensor, gain: Tensor) -> Tensor:
    """What the control module is given beside z_c [B, CSI_WIDTH]: SNR in dB [B], the warm-start step N_s [B], and h complex [B]."""
    return torch.cat([sinusoid(snr_db, FEATURES, 4.0), sinusoid(start, FEATURES), gain.real[:, None], gain.imag[:, None]], 1)


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
