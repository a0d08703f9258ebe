"""DiffJSCC's released control module under this project's names.

The authors' module is Stable Diffusion's encoder in its original layout with an 8-channel first convolution over (z_t, f_v). Ours
is diffusers' ControlNet with a second convolution for f_v beside ``conv_in``: the same map, as a convolution of joined channels is
the sum of two. The one parameter without a counterpart is that second convolution's bias, which is zero here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

RESNET = {
    "in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
    "out_layers.3": "conv2", "skip_connection": "conv_shortcut",
}  # fmt: skip

OUTSIDE = {
    "time_embed.0": "time_embedding.linear_1", "time_embed.2": "time_embedding.linear_2",
    "snr_embed.0": "class_embedding.linear_1", "snr_embed.2": "class_embedding.linear_2",
    "middle_block_out.0": "controlnet_mid_block",
}  # fmt: skip


def _layer(layer: str, blocks: int) -> str:
    """Our name of one of their layers, ``blocks`` residual blocks a resolution."""
    if layer in OUTSIDE:
        return OUTSIDE[layer]
    if found := re.fullmatch(r"zero_convs\.(\d+)\.0", layer):
        return f"controlnet_down_blocks.{found[1]}"
    if found := re.fullmatch(r"middle_block\.(\d)\.(.+)", layer):
        index, rest = int(found[1]), found[2]
        return f"mid_block.attentions.0.{rest}" if index == 1 else f"mid_block.resnets.{index // 2}.{RESNET[rest]}"
    found = re.fullmatch(r"input_blocks\.(\d+)\.(\d)\.(.+)", layer)
    if found is None:
        raise KeyError(layer)
    level, index = divmod(int(found[1]) - 1, blocks + 1)  # block 0 is the first convolution
    if found[3] == "op":
        return f"down_blocks.{level}.downsamplers.0.conv"
    if found[2] == "1":
        return f"down_blocks.{level}.attentions.{index}.{found[3]}"
    return f"down_blocks.{level}.resnets.{index}.{RESNET[found[3]]}"


def control_weights(released: Mapping[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """State dict of a :class:`gencomm_cli.diffusion.control.LatentControlNet` from a released ``control_model``.

    Args:
        released: the authors' tensors, without the prefix ``control_model.``.
        blocks: residual blocks a resolution (``layers_per_block``; 2 in Stable Diffusion).

    Raises:
        KeyError: a tensor that a control module does not have.
    """
    ours: dict[str, Tensor] = {}
    for name, tensor in released.items():
        layer, _, kind = name.rpartition(".")
        if name == "input_blocks.0.0.weight":
            ours["conv_in.weight"], ours["controlnet_cond_embedding.weight"] = tensor.chunk(2, 1)
        elif name == "input_blocks.0.0.bias":
            ours["conv_in.bias"], ours["controlnet_cond_embedding.bias"] = tensor, torch.zeros_like(tensor)
        else:
            ours[f"{_layer(layer, blocks)}.{kind}"] = tensor
    return ours
