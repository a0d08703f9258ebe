"""What diffcom adds to the command line: a preset for each codec, its samplers over every channel, its own flags."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencomm_cli import symbols
from gencomm_cli.methods.diffcom import method
from tests.methods.diffcom.test_method import KINDS, write_preset
from tests.support.commands import Result, failed

Here = Callable[..., Result]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The preset with ADJSCC; beside it are those with the other codecs."""
    base = tmp_path_factory.mktemp("models") / "tiny"
    for codec, folder in {"adjscc": base, "swinjscc": Path(f"{base}-swinjscc"), "ntscc": Path(f"{base}-ntscc")}.items():
        folder.mkdir()
        write_preset(folder, KINDS[codec])
    return base


@pytest.mark.parametrize("codec", ["adjscc", "swinjscc", "ntscc"])
def test_encode_channel_decode_is_roundtrip_with_every_codec(here: Here, photo: Path, tiny: Path, codec: str) -> None:
    """Over multipath with estimated CSI, from three commands and from one."""
    channel = ("--multipath", "--csi", "estimated", "--carriers", 64, "--snr", 10)
    of_preset = tiny if codec == "adjscc" else f"{tiny}-{codec}"
    known = ("--snr", 10, "--fading", "multipath")
    sent = here("encode", photo, "--method", "diffcom", "--preset", tiny, "--codec", codec, "--cbr", 0.04, *known, "-o", "tx.npz")
    assert sent.returncode == 0, sent.stderr
    assert here("channel", "tx.npz", *channel, "-o", "rx.npz").returncode == 0
    for likelihood in ("norm", "exact"):
        choice = ("--variant", "hifi", "--likelihood", likelihood, "--steps", 2)
        one = here("decode", "rx.npz", "--preset", of_preset, *choice, "-o", "three.png")
        assert one.returncode == 0, one.stderr
        whole = here(
            "roundtrip", photo, "--method", "diffcom", "--preset", tiny, "--codec", codec, "--cbr", 0.04, *channel, *choice, "-o",
            "one.png", "--json",
        )  # fmt: skip
        assert whole.returncode == 0, whole.stderr
        assert Path("three.png").read_bytes() == Path("one.png").read_bytes()
        found = json.loads(whole.stdout)
        assert len(found["distances"]) == 1
        assert found["metrics"]["psnr"] != found["coarse_metrics"]["psnr"]
        assert found["cbr"]["pilots"] > 0
        assert (found["cbr"]["side"] > 0) == (codec == "ntscc")


@pytest.mark.parametrize("fading", ["multipath", "block-rayleigh"])
def test_blind_has_neither_gains_nor_pilots(here: Here, photo: Path, tiny: Path, fading: str) -> None:
    """Nothing in the file but the image's symbols depends on the channel; with --pick best one picture comes out."""
    assert here("encode", photo, "--method", "diffcom", "--preset", tiny, "-o", "tx.npz").returncode == 0
    for seed in (0, 1):
        made = here("channel", "tx.npz", f"--{fading}", "--csi", "none", "--snr", 10, "--seed", seed, "-o", f"rx{seed}.npz")
        assert made.returncode == 0, made.stderr
    one, two = (symbols.read(Path(f"rx{seed}.npz")) for seed in (0, 1))
    assert set(one.arrays()) == {"symbols", "prompt_symbols", "side_symbols"}
    assert one.header.cbr.pilots == 0
    assert one.header.n0 == two.header.n0
    assert not np.array_equal(one.symbols, two.symbols)
    for way in ("diffusion", "lmmse"):
        done = here(
            "decode", "rx0.npz", "--preset", tiny, "--variant", "blind", "--steps", 2, "--blind-h", way, "--samples", 2, "--pick",
            "best", "-o", f"{way}.png",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in Path().glob("*.png")) == ["diffusion.png", "lmmse.png", "photo.png"]


@pytest.mark.parametrize("codec", ["adjscc", "swinjscc", "ntscc"])
def test_blind_finds_taps_with_every_codec(here: Here, photo: Path, tiny: Path, codec: str) -> None:
    """Without CSI it is what is taken, and this is said."""
    sending: tuple[object, ...] = ("roundtrip", photo, "--method", "diffcom", "--preset", tiny, "--codec", codec, "--snr", 10)
    even = ("--allocation", "uniform")  # what ntscc says of its rates could not be read without CSI
    refused = here(*sending, *even, "-o", "refused.png")
    assert refused.returncode == (0 if codec == "ntscc" else 2), refused.stderr
    if codec != "ntscc":
        assert b"error: --allocation: diffcom/tiny sends every part of an image at the same rate" in refused.stderr
    else:
        sending += even
    channel = ("--multipath", "--csi", "none", "--carriers", 64, "--taps", 3)
    done = here(*sending, *channel, "--steps", 2, "--json", "-o", "free.png")
    assert done.returncode == 0, done.stderr
    assert b"channel: unknown to the receiver; --variant blind is taken, which finds it" in done.stderr
    found = json.loads(done.stdout)
    assert np.shape(found["taps"]) == (1, 3, 2)
    assert found["cbr"]["pilots"] == found["cbr"]["side"] == 0
    asked = here(*sending, *channel, "--steps", 2, "--variant", "blind", "-o", "asked.png")
    assert asked.returncode == 0, asked.stderr
    assert Path("asked.png").read_bytes() == Path("free.png").read_bytes()
    sighted = here(*sending, *channel, "--steps", 2, "--variant", "hifi", "-o", "hifi.png")
    assert b"channel: unknown to the receiver, and hifi samples as if there were no fading" in sighted.stderr
    assert Path("hifi.png").read_bytes() != Path("free.png").read_bytes()


def test_samples_come_with_their_deviation(here: Here, photo: Path, tiny: Path) -> None:
    done = here("roundtrip", photo, "--method", "diffcom", "--preset", tiny, "--snr", 5, "--samples", 3, "--steps", 2)
    assert done.returncode == 0, done.stderr
    names = [f"photo.rx.{name}.png" for name in (1, 2, 3, "std")]
    assert sorted(path.name for path in Path().glob("photo.rx.*")) == names
    assert np.asarray(Image.open(names[-1])).any()


def test_rates_are_drawn_of_ntscc_and_of_no_other_codec(here: Here, photo: Path, tiny: Path) -> None:
    for codec in ("ntscc", "swinjscc", "adjscc"):
        sending = ("encode", photo, "--method", "diffcom", "--preset", tiny, "--codec", codec, "--cbr", 0.04, "--snr", 20)
        assert here(*sending, "-o", f"{codec}.npz").returncode == 0
    weights = f"{tiny}-ntscc"
    drawn = here("inspect", "ntscc.npz", "--rates", "map.png", "--preset", weights, "--json")
    assert drawn.returncode == 0, drawn.stderr
    rates = json.loads(drawn.stdout)["rates"]
    sent = symbols.read(Path("ntscc.npz"))
    assert rates["mean"] * rates["blocks"][0] * rates["blocks"][1] == pytest.approx(sent.symbols.size)
    with Image.open(photo) as original, Image.open("map.png") as drawing:
        assert drawing.size == original.size
    assert here("channel", "ntscc.npz", "--snr", 20, "-o", "rx.npz").returncode == 0
    arrived = here("inspect", "rx.npz", "--rates", "rx.png", "--preset", weights)
    assert arrived.returncode == 0, arrived.stderr
    for codec, folder in (("adjscc", tiny), ("swinjscc", f"{tiny}-swinjscc")):
        refused = here("inspect", f"{codec}.npz", "--rates", "--preset", folder)
        failed(refused, 2, "--rates: diffcom/tiny sends every part of an image at the same rate", "a rate for each part")


def test_flags_that_do_not_go_together(here: Here, photo: Path, tiny: Path) -> None:
    sending = ("encode", photo, "--method", "diffcom", "--preset", tiny)
    failed(here(*sending, "--codec", "bpg"), 2, "--codec", "bpg", "adjscc, swinjscc, ntscc")
    other = ("encode", photo, "--method", "diffcom", "--preset", f"{tiny}-ntscc", "--codec")
    failed(
        here(*other, "adjscc"),
        2,
        "--codec: adjscc is not what --preset ",
        "-ntscc has",
        "leave out one of the two",
    )
    assert here(*other, "ntscc", "-o", "ntscc.npz").returncode == 0
    failed(here(*sending, "--fec", "5g"), 2, "--fec: diffcom does not read it")
    failed(here(*sending, "--prompt", "a house"), 2, "--prompt: diffcom does not read it")
    failed(here("encode", photo, "--method", "diffcom", "--preset", f"{tiny}-none"), 2, "no such preset of diffcom")
    trip = ("roundtrip", photo, "--snr", 10, "--method")
    failed(here(*trip, "textguided", "--zeta", 1), 2, "--zeta: textguided does not read it; it is for diffcom")
    failed(here(*trip, "diffcom", "--guidance-scale", 2), 2, "--guidance-scale: diffcom does not read it")
    assert here(*sending, "-o", "tx.npz").returncode == here("channel", "tx.npz", "--snr", 10, "-o", "rx.npz").returncode == 0
    receiving = ("decode", "rx.npz", "--preset", tiny, "--variant")
    failed(here(*receiving, "blind"), 2, "--variant: blind finds the taps of block and multipath fading, not of awgn")
    failed(here(*receiving, "diffcom", "--gamma", 1), 2, "--gamma: is not read with --variant diffcom --likelihood")


def test_ddnm_keeps_of_the_coarse_picture_what_it_is_asked_to(
    here: Here, photo: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of it in blocks of one pixel, whatever the prior; options of the other variants are refused."""
    send = ("roundtrip", photo, "--method", "diffcom", "--preset", tiny, "--snr", 10, "--variant", "ddnm")
    assert here(*send[:-2], "--coarse", "-o", "coarse.png").returncode == 0
    for pool in (4, 1):
        monkeypatch.setattr(method, "POOL", pool)
        assert here(*send, "--steps", 3, "-o", f"{pool}.png").returncode == 0
    coarse, all_of_it, blocks = (np.asarray(Image.open(f"{name}.png"), int) for name in ("coarse", 1, 4))
    assert np.abs(all_of_it - coarse).max() <= 1
    assert np.abs(blocks - coarse).max() > 1
    refused = here(*send, "--zeta", 1)
    assert refused.returncode == 2
    assert b"error: --zeta: is not read with --variant ddnm" in refused.stderr
