"""guided-diffusion's unconditional U-Nets (``ffhq_10m.pt``, ``256x256_diffusion_uncond.pt``): DiffCom's priors."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from gencomm_cli.diffusion.guided_diffusion import arguments, to_diffusers
from gencomm_cli.errors import InputError, ModelMismatch
from gencomm_cli.methods.base import Variant
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import Conversion, ConvertedComponent, only

KIND = "guided-diffusion"
CONVENTIONS = (
    "Prior: 1000 steps of the linear schedule, noise and its variance predicted, the clean image clipped to [-1, 1].",
    "Sampling: as the authors' program does (`--likelihood authors`): the distance itself, not its square, with their step sizes.",
)


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    """Whether names are those of guided-diffusion's U-Net and of nothing around it."""
    return {"time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.2.out_layers.3.weight", "out.2.weight"} <= set(tensors)


def convert(checkpoints: Sequence[Checkpoint], config: Mapping[str, Any]) -> Conversion:
    """The prior. What shapes do not tell comes from ``config``: ``image_size`` (256), ``num_head_channels`` (64).

    Raises:
        InputError: more than one file; a value in the config that cannot be. ModelMismatch: another architecture.
    """
    checkpoint = only(checkpoints, KIND)
    ours = architecture(checkpoint.path, checkpoint.tensors, config)
    tensors: dict[str, Tensor] = {}
    mapped: list[tuple[str, str]] = []
    for name, tensor in checkpoint.tensors.items():
        try:
            parts = to_diffusers({name: tensor}, ours)
        except (ValueError, KeyError, RuntimeError):
            raise ModelMismatch(f"{checkpoint.path}: {name} is in no unconditional U-Net of guided-diffusion") from None
        tensors |= parts
        mapped += [(name, part) for part in parts]
    sampling = {variant: {"likelihood": "authors"} for variant in get_args(Variant)}
    return Conversion(
        "diffcom", (ConvertedComponent("prior", "UNet2DModel", ours, tensors),), {"variant": "hifi", "sampling": sampling},
        tuple(mapped), conventions=CONVENTIONS,
    )  # fmt: skip


def architecture(path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of the UNet2DModel, read off the shapes. Raises as :func:`convert` does."""
    size, head_channels = config.get("image_size", 256), config.get("num_head_channels", 64)
    if not all(isinstance(value, int) and 0 < value <= 4096 for value in (size, head_channels)):
        raise InputError("--config: image_size and num_head_channels are numbers from 1 to 4096")
    first, last = tensors["input_blocks.0.0.weight"].shape, tensors["out.2.weight"].shape
    if "label_emb.weight" in tensors or first[1] != 3:
        raise ModelMismatch(f"{path}: is a class-conditional or upscaling U-Net; DiffCom's priors are unconditional")
    if last[0] != 6:
        raise ModelMismatch(f"{path}: predicts no variance ({last[0]} output channels); DiffCom's priors have 6")
    width = int(first[0])
    outputs = 1 + max(int(found[1]) for name in tensors if (found := re.match(r"output_blocks\.(\d+)\.", name)))
    rises = [
        int(found[1]) for name in tensors if (found := re.fullmatch(r"output_blocks\.(\d+)\.[12]\.in_layers\.0\.weight", name))
    ]
    blocks = min(rises, default=outputs - 1)  # the last block of each level but the last ends in one that doubles the picture
    levels = min(outputs, len(tensors)) // (blocks + 1)
    starts = [1 + level * (blocks + 1) for level in range(levels)]
    scale_shift = tensors.get("input_blocks.1.0.emb_layers.1.weight")
    if scale_shift is None or blocks < 1 or levels * (blocks + 1) != outputs or scale_shift.shape[0] != 2 * width:
        raise ModelMismatch(f"{path}: another U-Net than DiffCom's; it needs resblock_updown and use_scale_shift_norm")
    try:
        multipliers = tuple(int(tensors[f"input_blocks.{start}.0.out_layers.3.weight"].shape[0]) // width for start in starts)
    except KeyError as missing:
        raise ModelMismatch(f"{path}: lacks {missing.args[0]}; is it whole?") from None
    attention = tuple(size // 2**level for level, start in enumerate(starts) if f"input_blocks.{start}.1.qkv.weight" in tensors)
    if any(width * multiplier % head_channels for multiplier in multipliers):
        raise ModelMismatch(f"{path}: its widths are not made of heads of {head_channels}; say num_head_channels with --config")
    return arguments(size, width, blocks, multipliers, attention, head_channels)
