"""Every kind of picture through the commands and the library: read right, or refused in one line with nothing left behind."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gencomm_cli
from gencomm_cli import images
from gencomm_cli.bench.store import original, read_rows
from gencomm_cli.errors import InputError
from gencomm_cli.images import read_image
from gencomm_cli.pipeline import as_pixels
from tests.support.commands import ENVIRONMENT, Result, failed
from tests.support.pictures import LOSSY, P3, SCENE, TURNED, Array, Kind, bad, exif, good, heic, of_primaries, saved, shown

Gencomm = Callable[..., Result]
SENT = ["--method", "separate", "--codec", "webp", "--capacity", "--cbr", 1]
"""What costs the least to send."""


def check(found: Array, kind: Kind) -> None:
    assert found.dtype == np.uint8
    assert found.shape == kind.pixels.shape, kind.name
    error = np.abs(found - np.rint(kind.pixels))
    assert error.mean() <= kind.mean, kind.name
    assert error.max() <= kind.most, kind.name


@pytest.mark.parametrize("name", [name for name in good() if name != "dot.png"][::2])  # one pixel is too few to send
def test_it_is_encoded(name: str, here: Gencomm) -> None:
    kind = good()[name]
    Path(name).write_bytes(kind.data)
    done = here("encode", name, *SENT, "--snr", 20, "--fading", "awgn", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["meta"]["image_size"] == [*kind.pixels.shape[:2]]
    assert {path.name for path in Path().iterdir()} == {name, Path(name).with_suffix(".tx.npz").name}


@pytest.mark.parametrize("name", bad())
def test_it_is_refused(name: str, here: Gencomm) -> None:
    data, says = bad()[name]
    Path(name).write_bytes(data)
    failed(here("encode", name, *SENT, "--snr", 20), 2, name, says)
    assert [path.name for path in Path().iterdir()] == [name]


def test_a_bench_has_its_pixels(here: Gencomm) -> None:
    for folder in ("sent", "right"):
        Path(folder).mkdir()
    for kind in good().values():
        (Path("sent") / kind.name).write_bytes(kind.data)
        (Path("right") / kind.name).write_bytes(saved(np.rint(kind.pixels).astype(np.uint8)))
    done = here("bench", "sent", "--out", "out", "--methods", "folder:right", "--snr", 1, "--metrics", "psnr")
    assert done.returncode == 0, done.stderr
    rows = {row.cell.image: row for row in read_rows(Path("out"))}
    assert rows.keys() == good().keys()
    for kind in good().values():
        check(read_image(Path("out") / original(kind.name)), kind)
        assert (rows[kind.name].metrics["psnr"] or 0) > (25 if kind.mean == LOSSY[0] else 36), kind.name


@pytest.mark.parametrize("name", ["everything.png", "turned16.tif", "press.tif", "workflow.png"])
def test_metrics_are_of_the_same_pixels(name: str, here: Gencomm) -> None:
    kind = good()[name]
    Path(name).write_bytes(kind.data)
    trip = json.loads(here("roundtrip", name, "-o", "out.png", *SENT, "--snr", 30, "--compare", "both.png", "--json").stdout)
    assert trip["metrics"]["psnr"] == "inf" or trip["metrics"]["psnr"] > 25
    check(read_image(Path("both.png"))[-kind.pixels.shape[0] :, : kind.pixels.shape[1]], kind)
    assert here("encode", name, "-o", "tx.npz", *SENT, "--snr", 30, "--fading", "awgn").returncode == 0
    assert here("channel", "tx.npz", "--snr", 30).returncode == 0
    assert json.loads(here("decode", "rx.npz", "--reference", name, "--json").stdout)["metrics"] == trip["metrics"]
    for command in (("decode", "rx.npz", "--reference", "cut.png"), ("roundtrip", "cut.png", "--snr", 9)):
        Path("cut.png").write_bytes(bad()["cut.png"][0])
        failed(here(*command), 2, "cut.png: cannot be decoded as an image")


@pytest.mark.parametrize("name", good())
def test_the_library_takes_pillows_images(name: str) -> None:
    images.load_plugins()
    with Image.open(io.BytesIO(good()[name].data)) as image:
        check(as_pixels(image), good()[name])


def test_the_library_takes_images_of_any_mode() -> None:
    picture = Image.fromarray(SCENE)
    levels = picture.convert("L")
    for mode in ("RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB"):
        assert np.abs(as_pixels(picture.convert(mode)).astype(int) - SCENE).mean() < 3, mode
    for image in (levels, levels.convert("LA"), levels.convert("LA").convert("La"), levels.convert("F"), levels.convert("I")):
        expected = np.rint(np.asarray(levels) / (257 if image.mode == "I" else 1))
        assert np.array_equal(as_pixels(image)[..., 1], expected), image.mode
    assert np.array_equal(as_pixels(picture.convert("RGBA").convert("RGBa")), SCENE)
    assert gencomm_cli.load("separate").encode(picture, cbr=2.0, snr=20.0, fading="awgn").header.image_size == SCENE.shape[:2]
    for wrong in (Image.fromarray(np.full((2, 2), np.nan, np.float32)), "photo.png", SCENE.astype(float), None):
        with pytest.raises(InputError, match="image: "):
            as_pixels(wrong)  # type: ignore[arg-type]


def test_heic(here: Gencomm) -> None:
    pytest.importorskip("pillow_heif", reason="pillow-heif is not installed (extra `heif`)")
    block = exif(6).tobytes()
    for kind in (
        Kind("plain.heic", heic(SCENE), SCENE, *LOSSY),
        Kind("turned.heic", heic(SCENE, exif=block), TURNED[6](SCENE), *LOSSY),
        Kind("phone.heif", heic(SCENE, exif=block, icc_profile=of_primaries(P3)), TURNED[6](shown(SCENE, P3)), *LOSSY),
        Kind("really-heic.jpg", heic(SCENE), SCENE, *LOSSY),
    ):
        Path(kind.name).write_bytes(kind.data)
        check(read_image(Path(kind.name)), kind)
        assert here("encode", kind.name, *SENT, "--snr", 20, "--fading", "awgn").returncode == 0
    program = "from pathlib import Path; from gencomm_cli.images import read_image; print(read_image(Path('turned.heic')).shape)"
    alone = subprocess.run([sys.executable, "-c", program], env=ENVIRONMENT, capture_output=True, check=True)
    assert alone.stdout == b"(32, 24, 3)\n"  # in a process that has listed no folder
    Path("cut.heic").write_bytes(heic(SCENE)[:900])
    failed(here("encode", "cut.heic", *SENT, "--snr", 20), 2, "cut.heic")


def test_heic_without_its_plug_in(gencomm: Gencomm) -> None:
    Path("pillow_heif.py").write_text("raise ImportError")
    Path("a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    path = os.pathsep.join((str(Path().resolve()), ENVIRONMENT["PYTHONPATH"]))
    failed(gencomm("encode", "a.heic", PYTHONPATH=path), 2, "a.heic: is not an image", "pip install 'gencomm[heif]'")
