"""guided-diffusion's unconditional U-Nets (``ffhq_10m.pt``, ``256x256_diffusion_uncond.pt``): priors of DiffCom."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from torch import Tensor

from gencomm_cli.errors import InputError, ModelMismatch
from gencomm_cli.methods.diffcom.guided_diffusion import arguments, to_diffusers
from gencomm_cli.methods.diffcom.options import Variant
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import Conversion, ConvertedComponent, only

KIND = "guided-diffusion"
CONVENTIONS = (
    "Prior: 1000 steps of the linear schedule, noise and its variance predicted, the clean image clipped to [-1, 1].",
    "Sampling: as the authors' program does (`--likelihood authors`): the distance itself, not its square, with their step sizes.",
)

CODEC = "a diffusion prior alone is no preset; give a codec (ADJSCC, SwinJSCC) in the same call"


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    """Whether names are those of guided-diffusion's U-Net and of nothing around it."""
    return {"time_embed.0.weight", "input_blocks.0.0.weight", "middle_block.2.out_layers.3.weight", "out.2.weight"} <= set(tensors)


def convert(checkpoints: Sequence[Checkpoint], config: Mapping[str, Any]) -> Conversion:
    """The prior. What shapes do not tell comes from ``config``, by the authors' names: ``image_size`` (256), ``num_head_channels``
    (64; −1 for ``num_heads``), ``use_new_attention_order``.

    Raises:
        InputError: more than one file; a value in the config that cannot be. ModelMismatch: another architecture.
    """
    checkpoint = only(checkpoints, KIND)
    ours = architecture(checkpoint.path, checkpoint.tensors, config)
    tensors: dict[str, Tensor] = {}
    mapped: list[tuple[str, str]] = []
    for name, tensor in checkpoint.tensors.items():
        try:
            parts = to_diffusers({name: tensor}, ours, heads_first=not config.get("use_new_attention_order", False))
        except (ValueError, KeyError, RuntimeError):
            raise ModelMismatch(f"{checkpoint.path}: {name} is in no unconditional U-Net of guided-diffusion") from None
        tensors |= parts
        mapped += [(name, part) for part in parts]
    sampling = {variant: {"likelihood": "authors"} for variant in get_args(Variant)}
    return Conversion(
        "diffcom", (ConvertedComponent("prior", "UNet2DModel", ours, tensors),), {"variant": "hifi", "sampling": sampling},
        tuple(mapped), conventions=CONVENTIONS, needs={"codec": CODEC},
    )  # fmt: skip


def architecture(path: Path, tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """Constructor arguments of the UNet2DModel, read off the shapes. Raises as :func:`convert` does."""
    first, last = tensors["input_blocks.0.0.weight"].shape, tensors["out.2.weight"].shape
    if "label_emb.weight" in tensors or first[1] != 3:
        raise ModelMismatch(f"{path}: is a class-conditional or upscaling U-Net; DiffCom's priors are unconditional")
    if last[0] != 6:
        raise ModelMismatch(f"{path}: predicts no variance ({last[0]} output channels); DiffCom's priors have 6")
    width, size = int(first[0]), _number(config, "image_size", 256)
    found = [match for name in tensors if (match := re.match(r"output_blocks\.(\d+)\.(?:([12])\.(in_layers|conv)\.)?", name))]
    outputs = 1 + max(int(match[1]) for match in found)
    rises = [match for match in found if match[2] and match[3]]  # the last block of each level but the last doubles the picture
    blocks = min((int(match[1]) for match in rises), default=outputs - 1)
    levels = min(outputs, len(tensors)) // (blocks + 1)
    if blocks < 1 or levels * (blocks + 1) != outputs:
        raise ModelMismatch(f"{path}: is not a U-Net of equal levels, as guided-diffusion's are; is it whole?")
    starts = [1 + level * (blocks + 1) for level in range(levels)]
    multipliers = tuple(int(tensors[f"input_blocks.{start}.0.out_layers.3.weight"].shape[0]) // width for start in starts)
    attended = [level for level, start in enumerate(starts) if f"input_blocks.{start}.1.qkv.weight" in tensors]
    widths = {width * multipliers[level] for level in [*attended, -1]}  # the middle has attention in any case
    return arguments(
        size, width, blocks, multipliers, tuple(size // 2**level for level in attended), _head_channels(path, widths, config),
        updown=all(match[3] == "in_layers" for match in rises),
        scale_shift=tensors["input_blocks.1.0.emb_layers.1.weight"].shape[0] == 2 * width * multipliers[0],
    )  # fmt: skip


def _head_channels(path: Path, widths: set[int], config: Mapping[str, Any]) -> int:
    """Channels of an attention head, for attention over so many channels; 64 in all that DiffCom uses."""
    channels = config.get("num_head_channels", 64)
    if channels == -1:  # as many heads at every level
        each = {channels // _number(config, "num_heads", 4) for channels in widths}
        channels = each.pop() if len(each) == 1 else 0
    if not isinstance(channels, int) or channels < 1 or any(channels_in % channels for channels_in in widths):
        raise ModelMismatch(f"{path}: its attention is not made of heads of one size; say num_head_channels with --config")
    return channels


def _number(config: Mapping[str, Any], name: str, default: int) -> int:
    value = config.get(name, default)
    if not isinstance(value, int) or not 0 < value <= 4096:
        raise InputError(f"--config: {name} {value!r} is not a number from 1 to 4096; leave it out for {default}")
    return value
