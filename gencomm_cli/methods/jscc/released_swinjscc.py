"""SwinJSCC's released codecs (``SwinJSCC_w_SAandRA_AWGN_HRimage_….model``, …) in all four modes.

Modes with a channel ModNet and without one (``w_SA``, ``wo_SAandRA``) have the same tensors, as the program builds the ModNet that
it does not use: the file's name says which it is, or ``--config`` with ``snr``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from gencomm_cli.errors import InputError
from gencomm_cli.networks.conventions import Conventions
from gencomm_cli.networks.swinjscc import SwinJSCCConfig
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import Conversion, ConvertedComponent, only

KIND = "swinjscc"
TABLE = "attn.relative_position_bias_table"
MODNET = re.compile(r"(encoder|decoder)\.[bs]m_list\.")
CHOICES = ("stable", "bitonic")
MOST_WINDOW = 32

CONVENTIONS = (
    "SwinJSCC: unit power for each image (the authors: each batch); the code is decoded at its own power, which is sent beside it.",
    "SwinJSCC: reals token by token; the first half of those that are sent is real, the second imaginary.",
    "SwinJSCC: SNR is Es/N0 of a complex symbol, as here; the authors' fading gains are real and not equalised: here the phase is "
    "corrected, and no more.",
    "SwinJSCC: with rate modulation the channels with the largest gates are sent, and side symbols say which. Checkpoints of torch "
    "up to 1.12 were trained with another order of equal gates: --config with `choice: bitonic`.",
)


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    """Whether names are those of SwinJSCC."""
    return {
        "encoder.patch_embed.proj.weight",
        f"encoder.layers.0.blocks.0.{TABLE}",
        "decoder.layers.0.upsample.norm.weight",
    } <= set(tensors)


def convert(checkpoints: Sequence[Checkpoint], config: Mapping[str, Any]) -> Conversion:
    """The codec.

    Args:
        config: ``snr`` (the channel ModNet is used), ``choice`` (``stable`` or ``bitonic``), ``unknown_snr_db``; all optional.

    Raises:
        InputError: the mode or the sizes are not known.
    """
    checkpoint = only(checkpoints, KIND)
    theirs = checkpoint.tensors
    choice = config.get("choice", CHOICES[0])
    if choice not in CHOICES:
        raise InputError(f"--config: choice is {str(choice)[:40]}; {' or '.join(CHOICES)} would be right")
    sizes = _sizes(theirs)
    head = theirs.get("encoder.head_list.weight")
    ours = SwinJSCCConfig(
        *sizes,
        code_channels=None if head is None else len(head),
        snr=_snr(checkpoint, config),
        trained_size=trained_size(theirs, sizes[3], len(sizes[0])),
        unknown_snr_db=float(config.get("unknown_snr_db", SwinJSCCConfig.unknown_snr_db)),
        choice=choice,
        conventions=Conventions(restored=True, equaliser="phase"),
    )
    reasons = {name: reason for name in theirs if (reason := _reason(name, ours)) is not None}
    tensors = {name: tensor for name, tensor in theirs.items() if name not in reasons}
    return Conversion(
        "jscc",
        (ConvertedComponent("codec", "SwinJSCC", asdict(ours), tensors),),
        {} if head is None else {"cbr_range": [len(head) / (6 * ours.factor**2)] * 2},
        tuple((name, f"codec.{name}") for name in tensors),
        tuple(reasons.items()),
        conventions=CONVENTIONS,
    )


def _sizes(theirs: Mapping[str, Tensor]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]:
    """Dims, depths, heads and the window."""
    dims: list[int] = []
    depths: list[int] = []
    heads: list[int] = []
    while (table := theirs.get(f"encoder.layers.{len(dims)}.blocks.0.{TABLE}")) is not None:
        level = f"encoder.layers.{len(dims)}.blocks."
        heads.append(int(table.shape[1]))
        depths.append(len({name.split(".")[4] for name in theirs if name.startswith(level)}))
        dims.append(len(theirs[f"{level}0.norm1.weight"]))
    return tuple(dims), tuple(depths), tuple(heads), _window(theirs, 0)


def _window(theirs: Mapping[str, Tensor], stage: int) -> int:
    """Side of a stage's windows: their table has (2 side − 1)² rows.

    Raises:
        InputError: no published window is that large.
    """
    rows = len(theirs[f"encoder.layers.{stage}.blocks.0.{TABLE}"])
    side = (round(rows**0.5) + 1) // 2
    if not 1 <= side <= MOST_WINDOW:
        raise InputError(f"models import: SwinJSCC's windows of {side} tokens a side are not known; up to {MOST_WINDOW} are")
    return side


def trained_size(theirs: Mapping[str, Tensor], window: int, stages: int) -> int:
    """A side of training images that gives every stage the windows and shifts that it has.

    Raises:
        InputError: there is none.
    """
    found = []
    for stage in range(stages):
        shifts = f"encoder.layers.{stage}.blocks.1.norm1.weight" not in theirs or (
            f"encoder.layers.{stage}.blocks.1.attn_mask" in theirs
        )
        found.append((_window(theirs, stage), shifts))
    for side in (256, 128, 64, 32, 512, 1024):
        shown = [SwinJSCCConfig(window=window, trained_size=side).geometry(stage) for stage in range(stages)]
        if all(own == each[0] and (shifts == (each[1] > 0)) for (own, shifts), each in zip(found, shown, strict=True)):
            return side
    raise InputError("models import: SwinJSCC's windows fit no square training image of 32 to 1024 pixels; give a released file")


def _snr(checkpoint: Checkpoint, config: Mapping[str, Any]) -> bool:
    """Whether the channel ModNet is used."""
    names = checkpoint.tensors
    if "encoder.head_list.weight" not in names:
        return "encoder.bm_list1.0.fc.0.weight" in names
    said = re.search(r"w(_?/?o)?[_/]*(SAandRA|SA|RA)", checkpoint.path.name)
    given = config.get("snr", None if said is None else said[1] is None)
    if not isinstance(given, bool):
        raise InputError(
            f"{checkpoint.path}: with and without a channel ModNet (w_SA, wo_SAandRA) its tensors are the same; keep the released "
            "name, or give --config with snr: true"
        )
    return given


def _reason(name: str, config: SwinJSCCConfig) -> str | None:
    """Why a tensor is not needed; None where it is."""
    if name.endswith((".attn_mask", ".relative_position_index")):
        return "a buffer of the training images' size, which is computed"
    if not config.snr and config.code_channels is not None and MODNET.match(name):
        return "a ModNet that this mode does not use"
    return None if name.startswith(("encoder.", "decoder.")) else "of the training loss"
