"""Image → symbols → received symbols → image with the shipped nano preset: the commands, the pipe, names, JSON, statuses."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gencomm_cli import presets, symbols
from gencomm_cli.images import read_image
from tests.support.commands import COMMAND, ENVIRONMENT, Result, failed, picture

Gencomm = Callable[..., Result]
PROMPT = "a red block before a colourful wall"


def parsed(result: Result) -> dict[str, Any]:
    assert result.returncode == 0, result.stderr.decode()
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_three_commands_one_pipe_and_roundtrip_agree(here: Gencomm, gencomm: Gencomm, photo: Path) -> None:
    known = ["--snr", 5, "--fading", "rayleigh", "--prompt", PROMPT]
    sending = here("encode", "photo.png", "--cbr", 0.01, *known)
    assert sending.stdout == b"photo.tx.npz\n", sending.stderr
    assert here("channel", "photo.tx.npz", "--snr", 5, "--rayleigh").stdout == b"photo.rx.npz\n"
    printed = parsed(here("decode", "photo.rx.npz", "--json"))
    assert printed["output"] == "photo.rx.png"
    assert printed["prompt"] == {"received": PROMPT, "ok": True}
    assert set(printed["seconds"]) == {"decode"}
    once = photo.with_name("photo.rx.png").read_bytes()
    assert read_image(photo.with_name("photo.rx.png")).shape == (64, 96, 3)

    first = gencomm("encode", "-", "--cbr", 0.01, *known, stdin=photo.read_bytes())
    assert first.stdout == photo.with_name("photo.tx.npz").read_bytes()
    assert first.stderr.count(b"\n") == 1, first.stderr
    second = gencomm("channel", "-", "--snr", 5, "--rayleigh", stdin=first.stdout)
    assert gencomm("decode", "-", stdin=second.stdout).stdout == once

    arguments = ["-o", "trip.png", "--cbr", 0.01, "--snr", 5, "--rayleigh", "--prompt", PROMPT, "--json"]
    printed = parsed(here("roundtrip", "photo.png", *arguments))
    assert photo.with_name("trip.png").read_bytes() == once
    assert set(printed) == {"output", "metrics", "coarse_metrics", "cbr", "compression_ratio", "prompt", "seconds"}
    assert set(printed["metrics"]) >= {"psnr", "ssim", "ms_ssim", "gmsd", "lpips_alex", "lpips_squeeze"}
    assert set(printed["coarse_metrics"]) == set(printed["metrics"])
    assert printed["prompt"] == {"sent": PROMPT, "received": PROMPT, "ok": True}
    assert set(printed["seconds"]) == {"encode", "channel", "decode"}
    sent = symbols.read(photo.with_name("photo.tx.npz"))
    assert printed["cbr"] == sent.header.to_json()["cbr"]


@pytest.mark.parametrize("csi", ["perfect", "estimated", "none"])
def test_multipath_by_commands_and_by_roundtrip_agree(here: Gencomm, photo: Path, csi: str) -> None:
    channel = ["--snr", 15, "--multipath", "--csi", csi, "--clip", 2]
    here("encode", "photo.png", "--cbr", 0.02, "--snr", 15, "--fading", "multipath", "--prompt", PROMPT)
    here("channel", "photo.tx.npz", *channel)
    printed = parsed(here("decode", "photo.rx.npz", "--coarse", "--json", "--reference", "photo.png"))
    once = photo.with_name("photo.rx.png").read_bytes()
    trip = parsed(
        here("roundtrip", "photo.png", "-o", "trip.png", "--cbr", 0.02, "--prompt", PROMPT, "--coarse", "--json", *channel)
    )
    assert photo.with_name("trip.png").read_bytes() == once
    assert trip["cbr"] == printed["cbr"] == symbols.read(photo.with_name("photo.rx.npz")).header.to_json()["cbr"]
    assert trip["cbr"]["pilots"] * photo_samples() == pytest.approx(0 if csi == "none" else 256)
    assert trip["prompt"] == {"sent": PROMPT, "received": PROMPT if csi != "none" else None, "ok": csi != "none"}
    assert (printed["coarse_metrics"]["psnr"] > 15) == (csi != "none")


def test_every_estimator_decodes_a_total_within_its_budget(here: Gencomm, photo: Path) -> None:
    trip = ["roundtrip", "photo.png", "--snr", 10, "--multipath", "--csi", "estimated", "--cbr-total", 0.035, "--coarse", "--json"]
    found = {name: parsed(here(*trip, "--estimator", name)) for name in ("lmmse", "ls", "authors")}
    assert len({each["metrics"]["psnr"] for each in found.values()}) == 3
    assert 0.035 - 266 / photo_samples() < found["ls"]["cbr"]["total"] <= 0.035
    block = parsed(here("roundtrip", "photo.png", "--snr", 10, "--block-rayleigh", "--csi", "estimated", "--coarse", "--json"))
    assert block["cbr"]["pilots"] == pytest.approx(16 / photo_samples())


@pytest.mark.parametrize(
    ("paths", "often"),
    [((), 1), (("--tdl", "a"), 4), (("--tdl", "a", "--speed", 500), 5), (("--tdl", "a", "--pilot-period", 1), 7)],
)
def test_a_total_counts_the_pilots_that_encode_knows_of(here: Gencomm, photo: Path, paths: tuple[object, ...], often: int) -> None:
    """13 OFDM symbols, of which more are pilots at speed."""
    ofdm = ("--carriers", 32, "--pilots", 1, "--cp", 1, *paths)
    total = ("--cbr-total", 0.0235, "--fading", "multipath")
    assert here("encode", "photo.png", *total, *ofdm, "-o", "tx.npz").returncode == 0
    channel = ("--multipath", "--csi", "estimated", "--snr", 10, *ofdm)
    assert here("channel", "tx.npz", *channel, "-o", "rx.npz").returncode == 0
    cbr = symbols.read(Path("rx.npz")).header.cbr
    assert cbr.pilots * photo_samples() == pytest.approx(32 * often)
    assert 0.0235 - 33 / photo_samples() < cbr.total <= 0.0235


def test_a_small_grey_image_keeps_its_size(here: Gencomm, tmp_path: Path) -> None:
    Image.fromarray(picture(37, 53)).convert("L").save(tmp_path / "grey.png")
    printed = parsed(here("roundtrip", "grey.png", "--snr", 10, "--compare", "both.png", "--json"))
    assert printed["prompt"] == {"sent": None, "received": None, "ok": None}
    assert printed["metrics"]["ms_ssim"] is None  # not defined at this size
    assert read_image(tmp_path / "grey.rx.png").shape == (37, 53, 3)
    both = read_image(tmp_path / "both.png")
    assert both.shape[1] >= 3 * 53
    assert sorted(os.listdir(tmp_path)) == ["both.png", "grey.png", "grey.rx.png"]


@pytest.mark.parametrize("size", [(16, 16), (37, 53), (64, 96), (130, 71)])
@pytest.mark.parametrize("cbr", [0.0013, 0.0033, 0.0208])
def test_achieved_cbr_is_the_header_s_and_near_the_request(
    here: Gencomm, tmp_path: Path, size: tuple[int, int], cbr: float
) -> None:
    Image.fromarray(picture(*size)).save(tmp_path / "a.png")
    printed = parsed(here("encode", "a.png", "--cbr", cbr, "--json"))
    file = symbols.read(tmp_path / "a.tx.npz")
    samples = 3 * size[0] * size[1]
    assert printed["meta"]["cbr"]["image"] == file.symbols.size / samples
    assert printed["meta"]["cbr"]["requested"] == cbr
    assert abs(file.symbols.size / samples - cbr) <= max(1 / samples, 0.01 * cbr)
    assert symbols.mean_power(file.symbols) == pytest.approx(1, abs=1e-3)


def test_a_rate_may_be_a_fraction(here: Gencomm, photo: Path) -> None:
    assert parsed(here("encode", "photo.png", "--cbr", "1/384", "--json"))["meta"]["cbr"]["requested"] == 1 / 384
    for text in ("1/0", "a", "1/2/3"):
        failed(here("encode", "photo.png", "-o", "no.npz", "--cbr", text), 2, "--cbr", "1/384")


def test_a_rate_out_of_range_is_said_or_refused(here: Gencomm, photo: Path) -> None:
    result = here("encode", "photo.png", "--cbr", 0.2)
    assert result.returncode == 0
    assert b"0.2 cannot be met" in result.stderr
    photo.with_name("photo.tx.npz").unlink()
    failed(here("encode", "photo.png", "--cbr", 0.2, "--cbr-strict"), 5, "cannot be met")
    assert os.listdir(photo.parent) == ["photo.png"]


def test_a_total_counts_the_prompt(here: Gencomm, photo: Path) -> None:
    parsed(here("encode", "photo.png", "--cbr-total", 0.02, "--prompt", PROMPT, "--snr", 10, "--fading", "awgn", "--json"))
    cbr = symbols.read(photo.with_name("photo.tx.npz")).header.cbr
    assert cbr.prompt > 0
    assert cbr.total == pytest.approx(0.02, abs=1 / photo_samples())


def photo_samples() -> int:
    return 3 * 64 * 96


def test_two_images_differ_in_nothing_that_meta_says(here: Gencomm, tmp_path: Path) -> None:
    metas = []
    for name, pixels in (("a", picture()), ("b", 255 - picture()[::-1])):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        metas.append(parsed(here("encode", f"{name}.png", "--prompt", f"photo {name}", "--json"))["meta"])
    first, second = ({name: value for name, value in meta.items() if name not in ("prompt", "cbr")} for meta in metas)
    assert first == second
    for name in ("requested", "image", "side", "pilots", "cp"):
        assert metas[0]["cbr"][name] == metas[1]["cbr"][name]
    file = (tmp_path / "a.tx.npz").read_bytes()
    for secret in (b"photo", b"a.png", str(tmp_path).encode(), b"encode"):
        assert secret not in file


def test_samples_differ_and_their_spread_is_drawn(here: Gencomm, photo: Path) -> None:
    here("encode", "photo.png")
    here("channel", "photo.tx.npz", "--snr", 0)
    printed = parsed(here("decode", "photo.rx.npz", "--samples", 2, "--steps", 2, "--json", "-o", "out.png"))
    names = ["out.1.png", "out.2.png", "out.std.png"]
    assert printed["outputs"] == names
    first, second = (read_image(photo.with_name(name)).astype(float) for name in names[:2])
    assert np.abs(first - second).max() > 0
    spread = np.asarray(Image.open(photo.with_name("out.std.png")))
    assert spread.shape == (64, 96)
    np.testing.assert_allclose(spread, (4 * np.abs(first - second).mean(2) / 2).clip(0, 255), atol=0.51)
    failed(here("decode", "photo.rx.npz", "--samples", 2, "-o", "-"), 2, "--samples")


def test_coarse_reference_and_no_prompt(here: Gencomm, photo: Path) -> None:
    here("encode", "photo.png", "--prompt", PROMPT)
    here("channel", "photo.tx.npz", "--snr", 20)
    printed = parsed(here("decode", "photo.rx.npz", "--coarse", "--no-prompt", "--reference", "photo.png", "--json"))
    assert printed["metrics"] == printed["coarse_metrics"]
    assert printed["prompt"] == {"received": None, "ok": None}
    Image.fromarray(picture(32, 32)).save(photo.with_name("other.png"))
    failed(here("decode", "photo.rx.npz", "--reference", "other.png"), 2, "--reference: 32x32, but 96x64 was sent")


def test_a_lost_prompt_is_said_and_strict_refuses_it(here: Gencomm, photo: Path) -> None:
    here("encode", "photo.png", "--prompt", PROMPT, "--snr", 20, "--fading", "awgn")
    here("channel", "photo.tx.npz", "--snr", -10)
    lost = here("decode", "photo.rx.npz", "--coarse", "--json")
    assert parsed(lost)["prompt"] == {"received": None, "ok": False}
    assert lost.stderr.decode().count("\n") == 1
    assert b"prompt: lost" in lost.stderr
    photo.with_name("photo.rx.png").unlink()
    failed(here("decode", "photo.rx.npz", "--strict"), 3, "prompt: lost")
    assert not photo.with_name("photo.rx.png").exists()


def test_other_weights_are_status_4(here: Gencomm, photo: Path) -> None:
    here("encode", "photo.png")
    here("channel", "photo.tx.npz", "--snr", 10)
    file = symbols.read(photo.with_name("photo.rx.npz"))
    other = replace(file, header=replace(file.header, weights_sha256="0" * 64))
    other.save(photo.with_name("other.rx.npz"))
    failed(here("decode", "other.rx.npz"), 4, "other weights", "--preset")
    assert not photo.with_name("other.rx.png").exists()


def test_weights_with_a_flipped_bit_are_status_4(here: Gencomm, photo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models = photo.parent / "models"
    shutil.copytree(presets.models_root(), models)
    monkeypatch.setattr(presets, "models_root", lambda: models)
    assert here("models", "verify").returncode == 0
    weights = presets.find("textguided", "nano").components["jscc"].path
    assert weights is not None
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.chmod(0o644)
    weights.write_bytes(content)
    failed(here("encode", "photo.png"), 4, "SHA-256")
    assert here("models", "verify").returncode == 4
    assert sorted(os.listdir(photo.parent)) == ["models", "photo.png"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["encode", "missing.png"], 2, ["missing.png: no such file"]),
        (["encode", "."], 2, [".: is a folder"]),
        (["encode", "photo.png", "--cbr", "-1"], 2, ["--cbr: -1 is not a ratio above 0"]),
        (["encode", "photo.png", "--cbr", "nan"], 2, ["--cbr"]),
        (["encode", "photo.png", "--cbr", "0.01", "--cbr-total", "0.01"], 2, ["--cbr-total: excludes --cbr"]),
        (["encode", "photo.png", "--cbr", "0.01", "--fading", "multipath", "--cp", "2"], 2, ["--cp: counts in --cbr-total with"]),
        (["encode", "photo.png", "--cbr-total", "0.01", "--speed", "30"], 2, ["--speed: counts in --cbr-total with"]),
        (["encode", "photo.png", "--method", "magic"], 2, ["magic", "textguided"]),
        (["encode", "photo.png", "--preset", "huge"], 2, ["--preset huge", "nano"]),
        (["encode", "photo.png", "--prompt", "é" * 2049], 2, ["4098 bytes", "4096"]),
        (["encode", "photo.png", "--prompt", "\udc80"], 2, ["--prompt", "UTF-8"]),
        (["encode", "photo.png", "--captioner", "gpt"], 2, ["--captioner", "builtin"]),
        (["encode", "photo.png", "--device", "gpu"], 2, ["--device", "cuda:N"]),
        (["encode", "photo.png", "--device", "cuda:77"], 2, ["--device", "cuda:77"]),
        (["encode", "photo.png", "--snr", "1e9"], 2, ["--snr"]),
        (["roundtrip", "photo.png"], 2, ["--snr", "missing"]),
        (["roundtrip", "photo.png", "--snr", "1", "--tx-snr", "some"], 2, ["--tx-snr"]),
        (["roundtrip", "photo.png", "--snr", "1", "--compare", "a.doc"], 2, ["a.doc", "image format"]),
        (["roundtrip", "photo.png", "--snr", "1", "-o", "a.npz"], 2, ["a.npz", "image format"]),
        (["roundtrip", "photo.png", "--snr", "1", "--metric-weights", "nowhere"], 2, ["nowhere"]),
        (["decode", "photo.png"], 2, ["photo.png: is not an intact symbol file"]),
        (["decode", "missing.npz"], 2, ["missing.npz: no such file"]),
    ],
)
def test_bad_input(here: Gencomm, photo: Path, arguments: list[str], status: int, words: list[str]) -> None:
    failed(here(*arguments), status, *words)
    assert os.listdir(photo.parent) == ["photo.png"]


def test_models_and_doctor(here: Gencomm, photo: Path) -> None:
    listed = parsed(here("models", "list", "--json"))["presets"]
    assert "nano" in {preset["name"] for preset in listed}
    assert b"textguided/nano" in here("models", "list").stdout
    assert here("models", "show", "textguided/nano").returncode == 0
    assert parsed(here("models", "verify", "--json"))["intact"] == listed
    found = parsed(here("doctor", "--json"))
    assert "textguided/nano" in found["presets"]
    assert found["packages"]["torch"]
    assert b"lpips-alex" in here("doctor").stdout


def test_an_interrupt_leaves_nothing_behind(here: Gencomm, photo: Path) -> None:
    here("encode", "photo.png")
    program = (  # interrupted while the temporary file is there, before it is renamed
        "import os, signal\nfrom gencomm_cli import app\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a runner in the background may have it ignored
        "os.replace = lambda *_: os.kill(os.getpid(), signal.SIGINT)\napp.main()"
    )
    photo.with_name("photo.rx.npz").write_bytes(b"old")
    command = [sys.executable, "-c", program, "channel", "photo.tx.npz", "--snr", "1"]
    result = subprocess.run(command, cwd=photo.parent, env=ENVIRONMENT, capture_output=True, check=False)
    assert result.returncode == 130, result.stderr
    assert b"Traceback" not in result.stderr
    assert photo.with_name("photo.rx.npz").read_bytes() == b"old"
    assert sorted(os.listdir(photo.parent)) == ["photo.png", "photo.rx.npz", "photo.tx.npz"]


def test_a_terminated_command_leaves_nothing_behind(photo: Path) -> None:
    command = [*COMMAND, "roundtrip", "photo.png", "--snr", "1", "--steps", "1000"]
    with subprocess.Popen(command, cwd=photo.parent, env=ENVIRONMENT, stderr=subprocess.PIPE) as process:
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode in (143, -signal.SIGTERM)
    assert b"Traceback" not in err
    assert os.listdir(photo.parent) == ["photo.png"]
