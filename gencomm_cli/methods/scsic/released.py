"""Stable Cascade (Stability AI), the networks of SC-SIC (arXiv:2507.17416): ``effnet_encoder``, ``stage_a`` and
``stage_b*.safetensors``.

They make a preset of ``scsic`` together. ``previewer.safetensors``, where it is given too, makes the coarse image. Files of the
authors' next system (D-SIC) have the same names; what it adds to stage B is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from diffusers.loaders.single_file_utils import convert_stable_cascade_unet_single_file_to_diffusers
from torch import Tensor

from gencomm_cli.errors import InputError, OptionError
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import Conversion, ConvertedComponent
from gencomm_cli.released.names import Renaming, traced

KIND = "stable-cascade"

MARKS = {
    "encoder": ("backbone.0.0.weight", "mapper.0.weight"),
    "stage_a": ("in_block.1.weight", "up_blocks.0.0.weight", "out_block.0.weight"),
    "stage_b": ("effnet_mapper.0.weight", "embedding.1.weight", "clf.1.weight"),
    "previewer": ("blocks.0.weight", "blocks.24.weight"),
}
"""Tensors that tell each file."""
FILES = {"encoder": "effnet_encoder.safetensors", "stage_a": "stage_a.safetensors", "stage_b": "stage_b*.safetensors"}
"""What the files are called; all are needed."""
CLASSES = {
    "encoder": "EfficientNetEncoder", "stage_a": "PaellaVQModel", "stage_b": "StableCascadeUNet", "previewer": "Previewer"
}  # fmt: skip

SCALE, LATENT = 0.43, 4
"""Latents of the published stage A are divided by it; they have so many channels, and it is so wide: ``PUBLISHED_A``."""
PUBLISHED_A = 384
PUBLISHED_B = ((320, 576, 1152, 1152), (320, 640, 1280, 1280))
"""Widths of the published stages B, whose heads of attention are 64 wide. Neither number is in the files."""
CODEBOOK, EMBEDDING = "vquantizer.codebook.weight", "vquantizer.embedding.weight"
CONTEXT = "channel_context_mapper."
BLOCKS = (("depthwise.", "SDCascadeResBlock"), ("mapper.", "SDCascadeTimestepBlock"), ("attention.", "SDCascadeAttnBlock"))

CONVENTIONS = (
    "the encoder sees the image scaled by 0.75 (nearest pixel) to whole squares of 32; pairs of its reals are the symbols",
    "stage B: 10 steps, guidance 1.5 with the deviation rescaled (0.7), no text; without a condition the embedding is zero",
)


def _count(tensors: Mapping[str, Tensor], part: str) -> int:
    """How many of ``part.0``, ``part.1``, … there are."""
    places = {name.removeprefix(f"{part}.").split(".")[0] for name in tensors if name.startswith(f"{part}.")}
    return len(places)


def _blocks(tensors: Mapping[str, Tensor], level: str) -> list[str]:
    """Classes of a level's blocks, in their order."""
    found = []
    for index in range(_count(tensors, level)):
        names = [name.removeprefix(f"{level}.{index}.") for name in tensors if name.startswith(f"{level}.{index}.")]
        found.append(next((kind for start, kind in BLOCKS if any(name.startswith(start) for name in names)), "none"))
    return found


def encoder_config(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """The published EfficientNet-V2-S, with as many channels as the mapper makes."""
    return {"channels": len(tensors["mapper.0.weight"])}


def stage_a_config(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """Diffusers' arguments of stage A."""
    width, latent = tensors["up_blocks.0.0.weight"].shape[:2]
    levels = 1 + sum(
        name.startswith("down_blocks.") and name.count(".") == 2 and tensor.dim() == 4 for name, tensor in tensors.items()
    )
    blocks = sum(name.startswith("up_blocks.") and name.endswith(".gammas") for name in tensors)
    return {
        "levels": levels,
        "bottleneck_blocks": blocks - levels + 1,
        "embed_dim": width,
        "latent_channels": latent,
        "num_vq_embeddings": len(tensors[CODEBOOK]),
        "scale_factor": _said(config, "scale_factor", SCALE if (width, latent) == (PUBLISHED_A, LATENT) else None),
    }


def _said(config: Mapping[str, Any], name: str, published: float | None) -> float:
    """A number that no tensor tells: what ``--config`` says, or of the published networks their own. Raises OptionError."""
    value = config.get(name, published)
    if type(value) not in (int, float) or not 0 < value < 1e4:
        raise OptionError("config", f"has no {name}, or not as a positive number; for networks of other sizes it must say it")
    return value


def stage_b_config(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """Diffusers' arguments of stage B."""
    levels = range(_count(tensors, "down_blocks"))
    down, up = ([_blocks(tensors, f"{side}_blocks.{level}") for level in levels] for side in ("down", "up"))
    kinds = [list(dict.fromkeys(blocks)) for blocks in down]
    widths = [len(tensors[f"down_blocks.{level}.0.depthwise.weight"]) for level in levels]
    text = [tensor.shape[1] for name, tensor in tensors.items() if name.endswith(".kv_mapper.1.weight")]
    rows, pooled = tensors["clip_mapper.weight"].shape
    condition = text[0] if text else rows // 4
    attends = any("SDCascadeAttnBlock" in kind for kind in kinds)
    head = _said(config, "head_width", 64 if tuple(widths) in PUBLISHED_B else None) if attends else 64
    return {
        "in_channels": tensors["embedding.1.weight"].shape[1] // 4,
        "out_channels": len(tensors["clf.1.weight"]) // 4,
        "patch_size": 2,
        "timestep_ratio_embedding_dim": tensors["down_blocks.0.1.mapper.weight"].shape[1],
        "conditioning_dim": condition,
        "block_out_channels": widths,
        "num_attention_heads": [
            max(1, int(width // head)) if "SDCascadeAttnBlock" in kind else -1 for width, kind in zip(widths, kinds, strict=True)
        ],
        "down_num_layers_per_block": [len(blocks) // len(kind) for blocks, kind in zip(down, kinds, strict=True)],
        "up_num_layers_per_block": [len(blocks) // len(kind) for blocks, kind in zip(up, reversed(kinds), strict=True)],
        "down_blocks_repeat_mappers": [_count(tensors, f"down_repeat_mappers.{level}") + 1 for level in levels],
        "up_blocks_repeat_mappers": [_count(tensors, f"up_repeat_mappers.{level}") + 1 for level in levels],
        "block_types_per_layer": kinds,
        "clip_text_pooled_in_channels": pooled,
        "clip_seq": rows // condition,
        "effnet_in_channels": tensors["effnet_mapper.0.weight"].shape[1],
        "pixel_mapper_in_channels": tensors["pixels_mapper.0.weight"].shape[1],
        "timestep_conditioning_type": ["sca"] if "down_blocks.0.1.mapper_sca.weight" in tensors else [],
        "dropout": [0.0] * len(widths),
    }


def previewer_config(tensors: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments of a :class:`gencomm_cli.methods.scsic.previewer.Previewer`."""
    hidden, channels = tensors["blocks.0.weight"].shape[:2]
    return {"channels": channels, "hidden": hidden}


CONFIGS = {"encoder": encoder_config, "stage_a": stage_a_config, "stage_b": stage_b_config, "previewer": previewer_config}


def _stage_a(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {EMBEDDING if name == CODEBOOK else name: tensor for name, tensor in theirs.items() if _reason(name) is None}


def _stage_b(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    kept = {name: tensor for name, tensor in theirs.items() if _reason(name) is None}
    return convert_stable_cascade_unet_single_file_to_diffusers(kept)


RENAMINGS: dict[str, Renaming] = {"encoder": dict, "stage_a": _stage_a, "stage_b": _stage_b, "previewer": dict}


def _reason(name: str) -> str | None:
    """Why a tensor is not needed; None where it is."""
    if name.startswith(CONTEXT):
        return "of the authors' digital system, which tells stage B of the channel: this one does not"
    if name.startswith("vquantizer.") and name != CODEBOOK:
        return "of training: the codebook's running means"
    return None


def part(tensors: Mapping[str, Tensor]) -> str | None:
    """Which of a preset's networks a file holds."""
    return next((name for name, marks in MARKS.items() if all(mark in tensors for mark in marks)), None)


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    """Whether names are those of one of Stable Cascade's files."""
    return part(tensors) is not None


def convert(checkpoints: Sequence[Checkpoint], config: Mapping[str, Any]) -> Conversion:
    """A preset of ``scsic``.

    Raises:
        InputError: a file is missing, or given twice, or ``config`` lacks a number that other sizes than the published need
            (``scale_factor`` of stage A, ``head_width`` of stage B; ``s`` of the schedule has the published value else).
    """
    found: dict[str, Checkpoint] = {}
    for checkpoint in checkpoints:
        name = str(part(checkpoint.tensors))
        if name in found:
            raise InputError(f"{checkpoint.path}: is a second {name} beside {found[name].path}; give one")
        found[name] = checkpoint
    if missing := FILES.keys() - found.keys():
        names = ", ".join(FILES[name] for name in FILES if name in missing)
        raise InputError(f"models import: Stable Cascade's {names} is missing; give {', '.join(FILES.values())} in one call")
    components, mapped, dropped = [], [], []
    for name, checkpoint in found.items():
        ours, pairs = traced(RENAMINGS[name], checkpoint.tensors)
        components.append(ConvertedComponent(name, CLASSES[name], CONFIGS[name](checkpoint.tensors, config), ours))
        mapped += [(theirs, f"{name}.{our}") for theirs, our in pairs]
        dropped += [(key, reason) for key in checkpoint.tensors if (reason := _reason(key)) is not None]
    scale = next(each.config["scale_factor"] for each in components if each.name == "stage_a")
    return Conversion(
        "scsic",
        tuple(components),
        {"steps": 10, "guidance_scale": 1.5, "rescale": 0.7, "target": "epsilon", "shift": 1.0, "antialias": False}
        | ({"s": _said(config, "s", None)} if "s" in config else {}),
        tuple(mapped),
        tuple(dropped),
        conventions=(*CONVENTIONS, f"stage A's latent is divided by {scale:g} and not quantised"),
        lacks=()
        if "previewer" in found
        else ("previewer: without it --coarse is refused; previewer.safetensors is one more file to give",),
    )
