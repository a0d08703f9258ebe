"""DiffCom's released ADJSCC codecs (``ADJSCC_C=2.pth.tar``, …)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from torch import Tensor

from gencomm_cli.networks.adjscc import ADJSCCConfig
from gencomm_cli.networks.conventions import Conventions
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import Conversion, ConvertedComponent, only

KIND = "adjscc"
CONVENTIONS = (
    "ADJSCC: each image's code has power 1 a complex symbol, and is decoded at that power; reals take turns as real and imaginary.",
    "ADJSCC: SNR is Es/N0 of a complex symbol, as here; both networks are given it in dB, trained on 0 to 14.",
    "ADJSCC: the authors shuffle the reals before they pair them, which AWGN does not notice; here only `--multipath` interleaves.",
    "ADJSCC: trained on AWGN; fading symbols are MMSE equalised.",
)


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    """Whether names are those of ADJSCC, of a released file or of the program's own state dict."""
    encoders = ("Encoder.", "jscc_encoder.")
    return any({f"{name}conv_block5.1.gamma", f"{name}attention4.fc1.weight"} <= set(tensors) for name in encoders)


def convert(checkpoints: Sequence[Checkpoint], config: Mapping[str, Any]) -> Conversion:
    """The codec. Raises InputError for more than one file."""
    theirs = only(checkpoints, KIND).tensors
    renamed = {  # the files' names of the networks to the program's, which are ours
        name: re.sub(r"^(Enc|Dec)oder\.", lambda found: f"jscc_{found[0].lower()}", name)
        for name in theirs
        if not name.startswith("distortion_loss")
    }
    tensors = {ours: theirs[name] for name, ours in renamed.items()}
    width, last = (tensors[f"jscc_encoder.conv_block{number}.0.weight"].shape[0] for number in (1, 5))
    ours = ADJSCCConfig(int(last), int(width), conventions=Conventions(pairing="alternate"))
    return Conversion(
        "jscc", (ConvertedComponent("codec", "ADJSCC", asdict(ours), tensors),), {}, tuple(renamed.items()),
        tuple((name, "the training loss") for name in theirs if name not in renamed), conventions=CONVENTIONS,
    )  # fmt: skip
