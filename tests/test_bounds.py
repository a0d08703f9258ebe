"""``--cbr`` and ``--cbr-total`` bound what every preset sends; what does not fit is said with what would."""

from __future__ import annotations

import math
import re
from dataclasses import astuple
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch

from gencomm_cli import pipeline
from gencomm_cli.channels.ofdm import OfdmConfig
from gencomm_cli.errors import RateError
from gencomm_cli.methods.jscc.method import JSCC
from gencomm_cli.networks.conventions import Conventions
from gencomm_cli.networks.swinjscc import SwinJSCC, SwinJSCCConfig
from gencomm_cli.presets import Preset
from gencomm_cli.rates import samples
from gencomm_cli.symbols import ChannelRecord, SymbolFile
from tests.support.commands import picture

PRESETS = (
    "textguided/nano", "diffjscc/nano", "lrisc/nano", "lrisc/nano-uniform", "diffcom/nano", "diffcom/nano-ntscc",
    "diffcom/nano-swinjscc", "scsic/nano", "separate/classical", "jscc/chosen channels", "jscc/own power",
)  # fmt: skip
QUICK = ("textguided/nano", "diffcom/nano-swinjscc", "jscc/chosen channels", "jscc/own power", "separate/classical", "scsic/nano")
CBRS = (0.0003, 0.00146, 1 / 384, 0.0033, 0.0071, 0.0123, 1 / 48, 0.077, 0.31)
OFDM = ChannelRecord("multipath", 10.0, "esn0", "estimated", ofdm=OfdmConfig(carriers=48))


@cache
def codec(name: str) -> pipeline.Codec:
    method, preset = name.split("/")
    if method != "jscc":
        return pipeline.load(method, preset, device="cpu")
    torch.manual_seed(0)
    rates: dict[str, Any] = {"choice": "stable"} if preset == "chosen channels" else {}
    config = SwinJSCCConfig((8, 12), (1, 1), (2, 3), 2, None, trained_size=16, conventions=Conventions(restored=True), **rates)
    found = Preset("jscc", "tiny", Path(), {}, {}, "0" * 64)
    return pipeline.Codec(JSCC(found, SwinJSCC(config).eval(), torch.device("cpu")), found)


def uses(sent: SymbolFile, given: str, channel: ChannelRecord | None) -> int:
    """What a request bounds."""
    sizes = sent.symbols.size, sent.prompt_symbols.size, sent.side_symbols.size
    if given == "cbr":
        return sizes[0] + sizes[2]
    return sum(sizes) + (sum(astuple(channel.extra_uses(sizes))) if channel else 0)


@pytest.mark.parametrize("name", PRESETS)
def test_budgets_bound(name: str) -> None:
    method = codec(name).method
    for size in ((64, 96), (37, 53), (200, 17), (1, 1), (512, 768)):
        least, most = (method.symbol_budget(cbr, size) for cbr in (1e-12, math.inf))
        budgets = [method.symbol_budget(cbr, size) for cbr in CBRS]
        assert budgets == sorted(budgets)
        for cbr, symbols in zip(CBRS, budgets, strict=True):
            assert symbols <= max(cbr * samples(size) + 1e-6, least)
            assert least <= symbols <= most
            assert symbols <= method.symbol_budget(cbr, size, bound=False) <= method.symbol_budget(math.inf, size, bound=False)


@pytest.mark.parametrize(
    ("name", "given", "channel"),
    [
        (name, given, channel)
        for given, channel, names in (
            ("cbr", None, QUICK),
            ("cbr_total", None, QUICK[-3:]),
            ("cbr_total", OFDM, (*QUICK, "lrisc/nano")),
        )
        for name in names
    ],
)
def test_what_is_sent_is_bounded_or_said_with_what_would_do(name: str, given: str, channel: ChannelRecord | None) -> None:
    size, said = (37, 53), list[str]()
    known: dict[str, Any] = {
        "snr": 10,
        "fading": "awgn" if channel is None else "multipath",
        "channel": channel,
        "say": said.append,
    }
    if name.startswith("separate"):
        known["codec"] = "webp"

    def send(cbr: float, strict: bool = False) -> int:
        return uses(codec(name).encode(picture(*size), strict=strict, **known | {given: cbr}), given, channel)

    for cbr in (0.0003, 0.0137):
        said.clear()
        try:
            fits = send(cbr) <= cbr * samples(size) + 1e-6
            lines = said
        except RateError as error:
            fits, lines = False, [error.flagged]
        if fits:
            continue
        with pytest.raises(RateError):
            send(cbr, strict=True)
        found = [re.match(r"--(\S+): .*; ([\d.]+) or more would do$", line) for line in lines]
        flag, enough = next(match.groups() for match in found if match)
        assert flag == given.replace("_", "-")
        assert send(float(enough), strict=True) <= float(enough) * samples(size) + 1e-6
