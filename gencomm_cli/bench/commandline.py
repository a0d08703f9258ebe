"""The command line that makes a row's image again, to be run in the bench folder."""

from __future__ import annotations

import math
import shlex

from gencomm_cli.bench.channels import flags as channel_flags
from gencomm_cli.bench.options import flags as option_flags
from gencomm_cli.bench.plan import COARSE, Scheme
from gencomm_cli.bench.rows import Cell
from gencomm_cli.bench.store import original
from gencomm_cli.methods import READS


def command(cell: Cell, scheme: Scheme, device: str, precision: str = "auto") -> str:
    """``gencomm roundtrip …`` with every flag that is not at its default; "" for finished images."""
    if not scheme.method:
        return ""
    flags: list[object] = ["--method", scheme.method]
    if scheme.preset_argument:
        flags += ["--preset", scheme.preset_argument]
    flags += ["--snr", _shortest(cell.snr_db), *channel_flags(cell.channel)]
    flags += ["--cbr-total" if cell.cbr_is_total else "--cbr", _shortest(cell.cbr)]
    if cell.tx_snr_db != "channel":
        flags += ["--tx-snr", _shortest(cell.tx_snr_db)]
    if cell.prompt_text:
        flags += ["--prompt", cell.prompt_text]
    elif cell.prompt != "none":
        if "caption_from" in READS[scheme.method]:
            flags += ["--caption-from", "original"]
        flags += ["--captioner", cell.prompt]
    for flag, value, default in (
        ("--snr-type", cell.snr_type, "esn0"),
        ("--csi", cell.csi, "perfect"),
        ("--codec", scheme.image_codec, ""),
        ("--modulation", cell.modulation, "auto"),
        ("--code-rate", cell.code_rate, "auto"),
        ("--fec", cell.fec, "ldpc"),
        ("--steps", cell.steps, None),
        ("--guidance-scale", cell.guidance, None),
        ("--seed", cell.seed + cell.repeat, 0),
        ("--device", device, "auto"),
        ("--precision", precision, "auto"),
    ):
        if value != default:
            flags += [flag, _shortest(value)]
    flags += option_flags(cell.options)
    if scheme.capacity:
        flags.append("--capacity")
    if cell.method.endswith(COARSE):
        flags.append("--coarse")
    return shlex.join(["gencomm", "roundtrip", original(cell.image), "-o", f"{cell.id}.png", *map(str, flags)])


def _shortest(value: object) -> object:
    """A float that is read back as it was: 10 for 10.0."""
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return int(value)
    return value
