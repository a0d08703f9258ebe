"""What lrisc adds to the command line: the rates, how they are sent, and their heat map."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gencomm_cli import symbols
from tests.support.commands import Result, failed
from tests.support.presets import make_lrisc, scenes

__all__ = ["make_lrisc"]
Gencomm = Callable[..., Result]


@pytest.fixture
def tiny(make_lrisc: Callable[..., Path], tmp_path: Path) -> list[object]:
    """Flags of the tiny preset; a picture with a quiet and a busy half lies in the folder."""
    Image.fromarray(scenes(1, seed=3)[0]).save(tmp_path / "halves.png")
    return ["--method", "lrisc", "--preset", make_lrisc()]


def parsed(result: Result) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr.decode()
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_three_commands(here: Gencomm, tiny: list[object]) -> None:
    meta = parsed(here("encode", "halves.png", *tiny, "--cbr", 0.03, "--snr", 10, "--fading", "awgn", "--json"))["meta"]
    sent = symbols.read(Path("halves.tx.npz"))
    assert sent.side_symbols.size
    assert meta["cbr"]["image"] + meta["cbr"]["side"] == pytest.approx(0.03, rel=0.01)
    assert meta["cbr"]["side"] <= 0.15 * 0.03
    assert sent.header.side is not None
    assert sent.header.side.symbols == sent.side_symbols.size
    assert meta["control_bits"] > 108
    here("channel", "halves.tx.npz", "-o", "rx.npz", "--snr", 10)
    assert parsed(here("decode", "rx.npz", "--preset", tiny[3], "--reference", "halves.png", "--json"))["metrics"]["psnr"] > 15
    trip = here("roundtrip", "halves.png", "-o", "trip.png", *tiny, "--cbr", 0.03, "--snr", 10)
    assert trip.returncode == 0
    assert Path("trip.png").read_bytes() == Path("rx.png").read_bytes()


def test_beta_and_allocation(here: Gencomm, tiny: list[object]) -> None:
    few, many = (
        parsed(here("encode", "halves.png", *tiny, "--snr", 10, "--beta", beta, "--json"))["meta"] for beta in (0.02, 0.05)
    )
    assert few["cbr"]["requested"] is None
    assert few["cbr"]["image"] < many["cbr"]["image"]
    least = here("encode", "halves.png", *tiny, "--snr", 10, "--beta", 0)
    assert b"side information: takes " in least.stderr
    assert b"more than 15%; a larger \xce\xb2 shrinks it" in least.stderr
    assert b"side information: takes" not in here("encode", "halves.png", *tiny, "--snr", 10, "--beta", 0.05).stderr
    alike = parsed(here("encode", "halves.png", *tiny, "--allocation", "uniform", "--json"))["meta"]
    assert alike["cbr"]["side"] == 0
    assert "side" not in alike
    failed(here("encode", "halves.png", *tiny, "--beta", 0.1, "--cbr", 0.01), 2, "--beta", "drop one")
    failed(here("encode", "halves.png", *tiny, "--beta", 9), 5, "--beta: 9", "smaller")
    failed(here("encode", "halves.png", "--beta", 0.1), 2, "--beta: textguided", "lrisc")
    failed(here("encode", "halves.png", *tiny, "--prompt", "a"), 2, "--prompt: lrisc")


def test_the_heat_map(here: Gencomm, tiny: list[object]) -> None:
    here("encode", "halves.png", *tiny, "--cbr", 0.04, "--snr", 20, "--fading", "awgn")
    found = parsed(here("inspect", "halves.tx.npz", "--rates", "--preset", tiny[3], "--json"))["rates"]
    assert found["blocks"] == [8, 8]
    assert found["smallest"] < found["mean"] < found["largest"]
    with Image.open("halves.tx.rates.png") as opened:
        picture = np.asarray(opened).astype(float)
    assert picture.shape == (128, 128, 3)
    assert picture[:, 64:, 1].mean() > picture[:, :64, 1].mean()  # the busy half is brighter
    here("channel", "halves.tx.npz", "-o", "rx.npz", "--snr", 20)
    assert here("inspect", "rx.npz", "--rates", "map.webp", "--preset", tiny[3]).returncode == 0
    assert Path("map.webp").exists()
    failed(here("inspect", "rx.npz", "map.png"), 2, "--rates")
    here("channel", "halves.tx.npz", "-o", "bad.npz", "--snr", -20)
    failed(here("inspect", "bad.npz", "--rates", "--preset", tiny[3]), 2, "side symbols are lost")


def test_a_loss_is_one_line(here: Gencomm, tiny: list[object]) -> None:
    here("encode", "halves.png", *tiny, "--cbr", 0.04, "--snr", 20, "--fading", "awgn")
    here("channel", "halves.tx.npz", "-o", "bad.npz", "--snr", -15)
    assert parsed(here("decode", "bad.npz", "--preset", tiny[3], "--json"))["side"]["ok"] is False
    result = here("decode", "bad.npz", "--preset", tiny[3])
    assert result.returncode == 0
    assert result.stderr.decode().count("side information: lost on the channel") == 1


def test_rates_that_cannot_be_met(here: Gencomm, tiny: list[object]) -> None:
    Image.fromarray(scenes(1)[0][:17, :17]).save("speck.png")  # 4 blocks, 2.9 symbols
    failed(here("encode", "speck.png", *tiny, "--cbr", 0.0033), 5, "too few")
    outside = here("encode", "halves.png", *tiny, "--cbr", 0.5)
    assert "cannot be met" in outside.stderr.decode()
    failed(here("encode", "halves.png", *tiny, "--cbr", 0.5, "--cbr-strict"), 5, "cannot be met")


def test_a_header_that_lies(here: Gencomm, tiny: list[object]) -> None:
    here("encode", "halves.png", *tiny, "--cbr", 0.03, "--snr", 10, "--fading", "awgn")
    here("channel", "halves.tx.npz", "-o", "rx.npz", "--snr", 10)
    with np.load("rx.npz") as archive:
        members = dict(archive)
    meta = json.loads(members["meta"].tobytes())
    for change, word in (
        ({"payload_bits": meta["side"]["payload_bits"] + 64}, "side symbols"), ({"modulation": "64qam"}, "modulation"),
        ({"code": "r0n0"}, "side format"), ({"extra": 1}, "does not know"), ({"repetition": True}, "repetition"),
    ):  # fmt: skip
        lie = meta | {"side": meta["side"] | change}
        np.savez("lie.npz", **(members | {"meta": np.frombuffer(json.dumps(lie).encode(), np.uint8)}))
        failed(here("decode", "lie.npz", "--preset", tiny[3]), 2, word)
    meta.pop("side")
    np.savez("lie.npz", **(members | {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}))
    failed(here("decode", "lie.npz", "--preset", tiny[3]), 2, "meta.side")
