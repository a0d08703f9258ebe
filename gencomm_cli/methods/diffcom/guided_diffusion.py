"""guided-diffusion's unconditional U-Nets (Dhariwal & Nichol, 2021), DiffCom's full-size priors, as diffusers' UNet2DModel."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

RELEASED: dict[str, dict[str, Any]] = {
    "ffhq_10m": {"width": 128, "blocks": 1, "multipliers": (1, 1, 2, 2, 4, 4), "attention": (16,)},
    "256x256_diffusion_uncond": {"width": 256, "blocks": 2, "multipliers": (1, 1, 2, 2, 4, 4), "attention": (8, 16, 32)},
}
"""Arguments of :func:`arguments` for the checkpoints that DiffCom uses: faces, and ImageNet."""


def arguments(
    size: int = 256, width: int = 128, blocks: int = 1, multipliers: tuple[int, ...] = (1, 1, 2, 2, 4, 4),
    attention: tuple[int, ...] = (16,), head_channels: int = 64, updown: bool = True, scale_shift: bool = True,
) -> dict[str, Any]:  # fmt: skip
    """Constructor arguments of the UNet2DModel that computes what guided-diffusion's ``create_model`` does.

    With a learned variance, as all released 256 × 256 models have it; and, unless said otherwise, what else they have in common.

    Args:
        size: side of the training images in pixels. width: channels of the first level. blocks: residual blocks a level.
        multipliers: channels of each level over ``width``.
        attention: sides in pixels of the levels that have attention. head_channels: of each attention head.
        updown: residual blocks resize, not convolutions. scale_shift: the time scales and shifts, and is not added.
    """
    down, up, resize = "DownBlock2D", "UpBlock2D", "conv"
    if updown:
        down, up, resize = "ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D", "resnet"
    attended = [size // 2**level in attention for level in range(len(multipliers))]
    return {
        "sample_size": size, "in_channels": 3, "out_channels": 6, "layers_per_block": blocks,
        "block_out_channels": [width * multiplier for multiplier in multipliers],
        "down_block_types": ["AttnDownBlock2D" if here else down for here in attended],
        "up_block_types": ["AttnUpBlock2D" if here else up for here in reversed(attended)],
        "downsample_type": resize, "upsample_type": resize, "resnet_time_scale_shift": "scale_shift" if scale_shift else "default",
        "attention_head_dim": head_channels, "attn_norm_num_groups": 32, "norm_num_groups": 32, "norm_eps": 1e-5,
        "flip_sin_to_cos": True, "freq_shift": 0,
    }  # fmt: skip


def _blocks(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Pairs of a published module's name and diffusers'."""
    layers, levels = config["layers_per_block"], len(config["block_out_channels"])
    yield from (
        ("time_embed.0", "time_embedding.linear_1"), ("time_embed.2", "time_embedding.linear_2"),
        ("input_blocks.0.0", "conv_in"), ("out.0", "conv_norm_out"), ("out.2", "conv_out"),
        ("middle_block.0", "mid_block.resnets.0"), ("middle_block.1", "mid_block.attentions.0"),
        ("middle_block.2", "mid_block.resnets.1"),
    )  # fmt: skip
    number = 1
    for level, kind in enumerate(config["down_block_types"]):
        for layer in range(layers):
            yield f"input_blocks.{number}.0", f"down_blocks.{level}.resnets.{layer}"
            if kind.startswith("Attn"):
                yield f"input_blocks.{number}.1", f"down_blocks.{level}.attentions.{layer}"
            number += 1
        if level < levels - 1:
            yield f"input_blocks.{number}.0", f"down_blocks.{level}.downsamplers.0"
            number += 1
    number = 0
    for level, kind in enumerate(config["up_block_types"]):
        for layer in range(layers + 1):
            yield f"output_blocks.{number}.0", f"up_blocks.{level}.resnets.{layer}"
            if kind.startswith("Attn"):
                yield f"output_blocks.{number}.1", f"up_blocks.{level}.attentions.{layer}"
            if layer == layers and level < levels - 1:
                yield f"output_blocks.{number}.{1 + kind.startswith('Attn')}", f"up_blocks.{level}.upsamplers.0"
            number += 1


_RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut", "op": "conv",
}  # fmt: skip
_ATTENTION = {"norm": "group_norm", "proj_out": "to_out.0"}


def to_diffusers(state: Mapping[str, Tensor], config: Mapping[str, Any], heads_first: bool = True) -> dict[str, Tensor]:
    """A published state dict under diffusers' names, for a UNet2DModel of ``config`` (:func:`arguments`).

    ``heads_first``: head by head, each with its q, k and v; else all heads' q, then k, then v (``use_new_attention_order``).

    Raises:
        ValueError: tensors that such a network does not have.
    """
    heads_of = config["attention_head_dim"]
    names = sorted(_blocks(config), key=lambda pair: -len(pair[0]))
    out: dict[str, Tensor] = {}
    for key, value in state.items():
        module, _, kind = key.rpartition(".")
        found = next((pair for pair in names if f"{module}.".startswith(f"{pair[0]}.")), None)
        if found is None:
            raise ValueError(f"{key}: is not in a network of these sizes")
        inner = module.removeprefix(found[0]).lstrip(".")
        if inner == "qkv":
            parts = value.unflatten(0, (3, -1))
            if heads_first:
                parts = value.reshape(-1, 3, heads_of, *value.shape[1:]).transpose(0, 1).flatten(1, 2)
            for name, part in zip("qkv", parts, strict=True):
                out[f"{found[1]}.to_{name}.{kind}"] = part.flatten(1) if kind == "weight" else part
        elif "attentions" in found[1]:
            out[f"{found[1]}.{_ATTENTION[inner]}.{kind}"] = value.flatten(1) if value.ndim == 3 else value
        else:
            out[".".join(part for part in (found[1], _RESNET.get(inner, inner), kind) if part)] = value
    return out
