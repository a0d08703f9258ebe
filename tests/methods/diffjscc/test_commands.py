"""What diffjscc adds to the command line: the transmitter's gain, captions at the receiver, its own flags."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gencomm_cli import pipeline, symbols
from gencomm_cli.channels.snr import n0_from_db
from tests.support.commands import Result, failed
from tests.support.presets import make_diffjscc, make_preset

__all__ = ["make_diffjscc", "make_preset"]
Gencomm = Callable[..., Result]


@pytest.fixture
def tiny(make_diffjscc: Callable[..., Path]) -> list[object]:
    """Flags of a tiny preset whose encoder hears of h."""
    return ["--method", "diffjscc", "--preset", make_diffjscc("published", captioner="builtin")]


def parsed(result: Result) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr.decode()
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_transmitters_gain_is_the_channels(here: Gencomm, photo: Path, tiny: list[object]) -> None:
    meta = parsed(
        here("encode", "photo.png", "-o", "tx.npz", *tiny, "--snr", 5, "--fading", "block", "--gain", "0.3,-0.4", "--json")
    )
    assert meta["meta"]["tx_gain"] == pytest.approx([0.3, -0.4], abs=1e-7)
    here("channel", "tx.npz", "--snr", 5, "--block-rayleigh")
    received = symbols.read(Path("rx.npz"))
    assert received.csi_gain == pytest.approx(np.array([0.3 - 0.4j]), abs=1e-7)
    assert received.header.tx_gain is None  # the receiver knows it as CSI, or not at all
    here("channel", "tx.npz", "-o", "blind.npz", "--snr", 5, "--block-rayleigh", "--csi", "none")
    assert b"tx_gain" not in Path("blind.npz").read_bytes()
    for kind in ("--awgn", "--rayleigh"):
        failed(here("channel", "tx.npz", "-o", "no.npz", "--snr", 5, kind), 2, "use --block-rayleigh")


def test_roundtrip_tells_the_gain_before_the_image_is_encoded(here: Gencomm, photo: Path, tiny: list[object]) -> None:
    h = complex(pipeline.block_gain(7)[0])
    known = ["--snr", 5, "--fading", "block", "--gain", f"{h.real!r},{h.imag!r}"]
    assert here("encode", "photo.png", "-o", "tx.npz", *tiny, *known).returncode == 0
    here("channel", "tx.npz", "--snr", 5, "--block-rayleigh", "--seed", 7)
    here("decode", "rx.npz", "--preset", tiny[3], "--seed", 7)
    trip = here("roundtrip", "photo.png", "-o", "trip.png", *tiny, "--snr", 5, "--block-rayleigh", "--seed", 7)
    assert trip.returncode == 0, trip.stderr
    assert Path("trip.png").read_bytes() == Path("rx.png").read_bytes()
    assert here("encode", "photo.png", "-o", "unknown.npz", *tiny, *known[:4]).returncode == 0
    assert not np.array_equal(symbols.read(Path("unknown.npz")).symbols, symbols.read(Path("tx.npz")).symbols)


def test_the_receiver_captions_and_nothing_is_sent_for_it(here: Gencomm, photo: Path, tiny: list[object]) -> None:
    printed = parsed(here("roundtrip", "photo.png", *tiny, "--snr", 10, "--json"))
    assert printed["caption"]
    assert printed["cbr"]["prompt"] == 0
    assert printed["prompt"] == {"sent": None, "received": None, "ok": None}
    sent = parsed(here("roundtrip", "photo.png", *tiny, "--snr", 10, "--caption-from", "original", "--json"))
    assert sent["cbr"]["prompt"] > 0
    assert sent["prompt"]["ok"]
    assert "caption" not in sent
    silent = parsed(here("roundtrip", "photo.png", *tiny, "--snr", 10, "--condition", "spatial,csi", "--json"))
    assert "caption" not in silent
    none = parsed(here("roundtrip", "photo.png", *tiny, "--snr", 10, "--captioner", "none", "--json"))
    assert none["caption"] == ""


def test_flags_that_another_method_reads(here: Gencomm, photo: Path, tiny: list[object]) -> None:
    here("encode", "photo.png", "-o", "tx.npz", *tiny)
    here("channel", "tx.npz", "--snr", 5)
    for flag, value in (("start-step", 300), ("guidance-scale", 2), ("spacing", "uniform"), ("parameterization", "u")):
        failed(here("decode", "rx.npz", "--preset", tiny[3], f"--{flag}", value), 2, f"--{flag}: diffjscc", "textguided")
    for flag, value in (("guidance-lambda", 3), ("condition", "csi"), ("guidance-form", "paper")):
        failed(here("roundtrip", "photo.png", "--snr", 5, f"--{flag}", value), 2, f"--{flag}: textguided", "diffjscc")
    failed(here("encode", "photo.png", "--gain", "1,0"), 2, "--gain: textguided")
    failed(here("encode", "photo.png", *tiny, "--captioner", "builtin"), 2, "--caption-from original")
    failed(here("encode", "photo.png", *tiny, "--prompt", "a", "--caption-from", "coarse"), 2, "drop one")
    for gain in ("1", "a,b", "nan,0", "inf,0", "1e9,0", "1,2,3"):
        failed(here("encode", "photo.png", *tiny, "--gain", gain), 2, "--gain", "RE,IM")
    failed(here("decode", "rx.npz", "--preset", tiny[3], "--condition", "smell"), 2, "--condition", "no smell")
    failed(here("decode", "rx.npz", "--preset", tiny[3], "--guidance-lambda", 1e9), 2, "--guidance-lambda", "0 to ")


@pytest.mark.parametrize("snr", [-5, 20])
@pytest.mark.parametrize("channel", ["--awgn", "--block-rayleigh"])
def test_both_ends_of_the_snr_range(here: Gencomm, photo: Path, tiny: list[object], snr: int, channel: str) -> None:
    printed = parsed(here("roundtrip", "photo.png", *tiny, "--snr", snr, channel, "--json"))
    assert printed["metrics"]["psnr"] > 3
    assert n0_from_db(snr) > 0


@pytest.mark.parametrize("channel", ["--awgn", "--block-rayleigh", "--multipath"])
def test_the_shipped_preset_in_three_commands_and_in_one(here: Gencomm, photo: Path, channel: str) -> None:
    fading = {"--awgn": "awgn", "--block-rayleigh": "block", "--multipath": "multipath"}[channel]
    h = complex(pipeline.block_gain(0)[0])
    gain = ["--gain", f"{h.real!r},{h.imag!r}"] if channel == "--block-rayleigh" else []
    encoded = here("encode", "photo.png", "-o", "tx.npz", "--method", "diffjscc", "--snr", 7, "--fading", fading, *gain)
    assert encoded.returncode == 0, encoded.stderr
    assert here("channel", "tx.npz", "--snr", 7, channel).returncode == 0
    assert here("decode", "rx.npz", "--steps", 3).returncode == 0
    trip = here("roundtrip", "photo.png", "-o", "trip.png", "--method", "diffjscc", "--snr", 7, channel, "--steps", 3)
    assert trip.returncode == 0, trip.stderr
    assert Path("trip.png").read_bytes() == Path("rx.png").read_bytes()
