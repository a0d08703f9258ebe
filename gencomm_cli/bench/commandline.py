"""The command line that makes a row's image again, to be run in the bench folder."""

from __future__ import annotations

import shlex

from gencomm_cli.bench.channels import flags as channel_flags
from gencomm_cli.bench.options import options_for
from gencomm_cli.bench.plan import COARSE, Scheme
from gencomm_cli.bench.rows import Cell, canonical
from gencomm_cli.bench.store import original


def command(cell: Cell, scheme: Scheme, device: str, precision: str = "auto") -> str:
    """``gencomm roundtrip …`` with every flag that is not at its default; "" for finished images."""
    if not scheme.method:
        return ""
    flags: list[object] = ["--method", scheme.method]
    if scheme.preset_argument:
        flags += ["--preset", scheme.preset_argument]
    flags += ["--snr", canonical(cell.snr_db), *channel_flags(cell.channel)]
    flags += ["--cbr-total" if cell.cbr_is_total else "--cbr", canonical(cell.cbr)]
    if cell.tx_snr_db != "channel":
        flags += ["--tx-snr", canonical(cell.tx_snr_db)]
    for flag, value, default in (
        ("--snr-type", cell.snr_type, "esn0"),
        ("--csi", cell.csi, "perfect"),
        ("--seed", cell.own_seed, 0),
        ("--device", device, "auto"),
        ("--precision", precision, "auto"),
    ):
        if value != default:
            flags += [flag, value]
    known = options_for(scheme.spec)
    for name, text in scheme.given(cell, coarse=cell.method.endswith(COARSE)).items():
        flags += known[name].words(text)
    return shlex.join(["gencomm", "roundtrip", original(cell.image), "-o", f"{cell.id}.png", *map(str, flags)])
