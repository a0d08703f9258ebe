"""MambaJSCC's released codecs: an encoder and a decoder, each a whole pickled module (``encoderOUTCHANS32_….pt``, ``decoder….pt``).

How the networks learn of the channel leaves no trace in their tensors, unless it is by the ModNet: the files' names say it
(``_adpssm_``, ``_adpno_``), or ``--config`` with ``adaptation``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from gencomm_cli.errors import InputError
from gencomm_cli.networks.mamba import Adaptation, MambaConfig
from gencomm_cli.networks.mambajscc import MambaJSCCConfig
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import Conversion, ConvertedComponent
from gencomm_cli.released.names import under

KIND = "mambajscc"
ENCODER, DECODER = "encoder.", "decoder."
MARKS = ("layers.0.blocks.0.op.x_proj_weight", "layers.0.blocks.0.op.A_logs")
ADAPTATIONS: dict[str, Adaptation] = {"ssm": "released", "no": "none", "attn": "modnet"}
"""The authors' names, and ours."""

CONVENTIONS = (
    "MambaJSCC: unit power for each image (the authors: each batch); a code is decoded at its own power, which is sent beside it.",
    "MambaJSCC: the upper half of each channel's rows are real parts, the lower half imaginary.",
    "MambaJSCC: SNR is Es/N0 of a complex symbol, as here; fading symbols are MMSE equalised.",
    "MambaJSCC: with `released` adaptation the SNR in dB enters every 2048 tokens of a scan, so that small images do not see it.",
)


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    """Whether names are those of an encoder or a decoder."""
    return any(all(f"{part}{mark}" in tensors for mark in MARKS) for part in (ENCODER, DECODER))


def convert(checkpoints: Sequence[Checkpoint], config: Mapping[str, Any]) -> Conversion:
    """The codec of an encoder's and a decoder's file.

    Args:
        config: ``adaptation`` (``ssm``, ``no`` or ``attn``) and ``unknown_snr_db``, both optional.

    Raises:
        InputError: one of the two files is missing, or it is not known how they learn of the channel.
    """
    files = {part: [each for each in checkpoints if f"{part}{MARKS[0]}" in each.tensors] for part in (ENCODER, DECODER)}
    for part, found in files.items():
        if len(found) != 1:
            raise InputError(
                f"models import: {len(found)} files with MambaJSCC's {part[:-1]}; give the encoder's and the decoder's"
            )
    theirs = {part: under(part, found[0].tensors) for part, found in files.items()}
    sizes = mamba_config(theirs[ENCODER], _adaptation([each.path.name for each in checkpoints], theirs[ENCODER], config))
    unknown = config.get("unknown_snr_db", MambaJSCCConfig.unknown_snr_db)
    tensors = {f"{part}{name}": tensor for part, each in theirs.items() for name, tensor in each.items()}
    return Conversion(
        "jscc",
        (ConvertedComponent("codec", "MambaJSCC", asdict(MambaJSCCConfig(sizes, float(unknown))), tensors),),
        {},
        tuple((name, f"codec.{name}") for name in tensors),
        tuple((name, "of training: no network has it") for each in checkpoints for name in each.tensors if name not in tensors),
        conventions=CONVENTIONS,
    )


def mamba_config(encoder: Mapping[str, Tensor], adaptation: Adaptation) -> MambaConfig:
    """The sizes that an encoder's shapes show."""
    dims: list[int] = []
    depths: list[int] = []
    while (norm := encoder.get(f"layers.{len(dims)}.blocks.0.norm.weight")) is not None:
        blocks = {name.split(".")[3] for name in encoder if name.startswith(f"layers.{len(dims)}.blocks.")}
        dims.append(len(norm))
        depths.append(len(blocks))
    first, scan = encoder["patch_embed.0.weight"], encoder[f"{MARKS[0]}"]
    return MambaConfig(
        int(first.shape[1]), len(encoder["head.weight"]), tuple(dims), tuple(depths), int(first.shape[-1]),
        int(encoder[MARKS[1]].shape[1]), scan.shape[2] / dims[0], len(scan), adaptation,
    )  # fmt: skip


def _adaptation(names: Sequence[str], encoder: Mapping[str, Tensor], config: Mapping[str, Any]) -> Adaptation:
    """How the networks learn of the channel: from the configuration, the ModNet's tensors, or the files' names."""
    said = {found[1] for name in names if (found := re.search(r"_adp([A-Za-z]+)", name))}
    chosen = config.get("adaptation", "attn" if "bm_list.0.fc.0.weight" in encoder else said.pop() if len(said) == 1 else None)
    if chosen not in ADAPTATIONS:
        raise InputError(
            f"{names[0]}: adaptation is {str(chosen)[:40]}, of {', '.join(ADAPTATIONS)}; keep the released name (…_adpssm_…), or "
            "give --config with adaptation: ssm"
        )
    return ADAPTATIONS[chosen]
