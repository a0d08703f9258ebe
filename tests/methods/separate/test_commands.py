"""`--method separate` on the command line: three commands, one pipe, flags, statuses, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gencomm_cli import symbols
from gencomm_cli.images import read_image
from tests.support.commands import COMMAND, ENVIRONMENT, Result, failed

Gencomm = Callable[..., Result]
SENT = ["--method", "separate", "--cbr", 0.05]


def parsed(result: Result) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr.decode()
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_three_commands_one_pipe_and_roundtrip_agree(here: Gencomm, gencomm: Gencomm, photo: Path) -> None:
    known = ["--snr", 10, "--fading", "awgn"]
    assert here("encode", "photo.png", *SENT, *known).stdout == b"photo.tx.npz\n"
    assert here("channel", "photo.tx.npz", "--snr", 10).stdout == b"photo.rx.npz\n"
    printed = parsed(here("decode", "photo.rx.npz", "--reference", "photo.png", "--json"))
    assert printed["outage"] is False
    assert printed["classical"]["codec"] == "avif"
    assert printed["metrics"] == printed["coarse_metrics"]
    once = photo.with_name("photo.rx.png").read_bytes()

    first = gencomm("encode", "-", *SENT, *known, stdin=photo.read_bytes())
    assert first.stdout == photo.with_name("photo.tx.npz").read_bytes()
    second = gencomm("channel", "-", "--snr", 10, stdin=first.stdout)
    assert gencomm("decode", "-", stdin=second.stdout).stdout == once

    trip = parsed(here("roundtrip", "photo.png", "-o", "trip.png", *SENT, "--snr", 10, "--compare", "both.png", "--json"))
    assert photo.with_name("trip.png").read_bytes() == once
    assert read_image(photo.with_name("both.png")).shape[1] > 2 * 96
    assert trip["classical"] == printed["classical"]
    assert trip["cbr"]["total"] <= 0.05
    meta = symbols.read(photo.with_name("photo.tx.npz")).header
    assert meta.provenance.versions["avif"].startswith("libavif-")
    assert meta.preset == "classical"


def test_an_outage_is_one_line_and_a_grey_image(here: Gencomm, photo: Path) -> None:
    here("encode", "photo.png", *SENT, "--snr", 10, "--fading", "awgn")
    here("channel", "photo.tx.npz", "--snr", -5)
    lost = here("decode", "photo.rx.npz", "--json")
    assert parsed(lost)["outage"] is True
    assert lost.stderr == b"image: lost on the channel; a grey one stands for it\n"
    assert (read_image(photo.with_name("photo.rx.png")) == 128).all()
    photo.with_name("photo.rx.png").unlink()
    failed(here("decode", "photo.rx.npz", "--strict"), 3, "image: lost on the channel")
    assert not photo.with_name("photo.rx.png").exists()


def test_capacity_is_marked_and_shown(here: Gencomm, photo: Path) -> None:
    printed = parsed(here("encode", "photo.png", *SENT, "--snr", 10, "--capacity", "--json"))["meta"]
    assert printed["classical"]["fec"] == "capacity"
    assert printed["cbr"]["total"] <= 0.05
    arrays = parsed(here("inspect", "photo.tx.npz", "--json"))["arrays"]
    assert arrays["ideal_bits"] == {"size": printed["classical"]["payload_bytes"], "mean_power": None}
    assert b"ideal_bits" in here("inspect", "photo.tx.npz").stdout


def test_energy_per_bit(here: Gencomm, photo: Path) -> None:
    fixed = ["--modulation", "qpsk", "--code-rate", "1/2"]
    trip = parsed(here("roundtrip", "photo.png", *SENT, *fixed, "--snr", 6, "--snr-type", "ebn0", "--json"))
    assert trip["outage"] is False
    assert trip["classical"]["modulation"] == "qpsk"
    failed(here("roundtrip", "photo.png", *SENT, "--snr", 6, "--snr-type", "ebn0"), 2, "--snr-type: ebn0", "--modulation")


def test_rates_that_cannot_be_are_status_5(here: Gencomm, photo: Path) -> None:
    failed(here("encode", "photo.png", "--method", "separate", "--cbr", 0.0005, "--snr", 10), 5, "--cbr")
    failed(here("encode", "photo.png", "--method", "separate", "--cbr", 0.0005, "--snr", 10, "--capacity"), 5, "--cbr")
    failed(here("encode", "photo.png", *SENT, "--snr", -30), 5, "--snr", "no mode")
    assert not photo.with_name("photo.tx.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("encode photo.png --codec avif", ["--codec", "it is for diffcom and separate"]),
        ("roundtrip photo.png --snr 1 --capacity", ["--capacity", "textguided"]),
        ("encode photo.png --method separate --prompt door", ["--prompt", "separate"]),
        ("encode photo.png --method separate --captioner builtin", ["--captioner"]),
        ("encode photo.png --method separate --domain pixel", ["--domain"]),
        ("roundtrip photo.png --snr 1 --method separate --steps 3", ["--steps"]),
        ("roundtrip photo.png --snr 1 --method separate --samples 3", ["--samples"]),
        ("encode photo.png --method separate --capacity --fec 5g", ["--capacity", "--fec"]),
        ("encode photo.png --method separate --codec gif", ["--codec", "avif"]),
        ("encode photo.png --method separate --fec turbo", ["--fec", "ldpc, 5g"]),
        ("encode photo.png --method separate --code-rate 7/8", ["--code-rate", "5/6"]),
        ("encode photo.png --method separate --modulation 8psk", ["--modulation", "64qam"]),
        ("encode photo.png --method separate --preset nano", ["--preset nano", "classical"]),
    ],
)
def test_flags_that_cannot_be_are_one_line_and_status_2(here: Gencomm, photo: Path, arguments: str, words: list[str]) -> None:
    failed(here(*arguments.split()), 2, *words)
    assert not photo.with_name("photo.tx.npz").exists()


def test_decoders_flags_of_other_methods_are_refused(here: Gencomm, photo: Path) -> None:
    here("encode", "photo.png", *SENT, "--snr", 10)
    here("channel", "photo.tx.npz", "--snr", 10)
    failed(here("decode", "photo.rx.npz", "--guidance-scale", 2), 2, "--guidance-scale", "separate")


@pytest.mark.parametrize("command", ["inspect photo.tx.npz", "channel photo.tx.npz --snr 3"])
def test_light_commands_stay_light(here: Gencomm, photo: Path, command: str) -> None:
    import subprocess
    import sys

    assert here("encode", "photo.png", *SENT, "--snr", 10).returncode == 0
    program = (
        f"import sys\nfrom gencomm_cli.app import run\nstatus = run({command.split()!r})\n"
        "sys.exit(status or str({'torch', 'PIL', 'pyldpc', 'pillow_heif', 'scipy'} & set(sys.modules) or '') or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=photo.parent, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr
    assert COMMAND


def test_doctor_and_models_know_it(here: Gencomm) -> None:
    found = parsed(here("doctor", "--json"))
    assert set(found["codecs"]) == {"avif", "jpeg2000", "webp", "hevc", "bpg", "vtm", "hyperprior"}
    assert set(found["extras"]) >= {"heif", "sionna"}
    assert "separate/classical" in found["presets"]
    assert b"r12n2304 | 16qam | awgn" in here("models", "show", "separate/classical").stdout
    assert b"separate/classical: intact" in here("models", "verify", "separate/classical").stdout


def test_quality_rises_with_snr(here: Gencomm, photo: Path) -> None:
    psnr = [parsed(here("roundtrip", "photo.png", *SENT, "--snr", snr, "--json"))["metrics"]["psnr"] for snr in (5, 10, 20)]
    assert psnr == sorted(psnr)
    assert np.isfinite(psnr).all()
