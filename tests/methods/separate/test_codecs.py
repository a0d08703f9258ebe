"""The search fills its budget and no more; what is shown is what a plain decoder shows; programs are called as they should be."""

from __future__ import annotations

import io
import stat
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencomm_cli.errors import InputError, RateError
from gencomm_cli.methods.separate import codecs
from tests.support.classical import scene


@pytest.mark.parametrize("name", ["avif", "jpeg2000", "webp", "hevc"])
def test_search_is_as_good_as_trying_every_quality(name: str) -> None:
    if name == "hevc":
        pytest.importorskip("pillow_heif")
    codec, image = codecs.find(name), scene(64, 96)
    budget = 600
    coded = codecs.fit(codec, image, budget)
    assert len(coded.payload) <= budget
    size = codecs.coded_size(96, 64, coded.scale)
    picture = Image.fromarray(image) if coded.scale == 1 else Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    sizes = [len(codec.container.strip(codec.encode(picture, step), *size)) for step in range(codec.steps - 1)]
    assert len(coded.payload) >= 0.97 * max(length for length in sizes if length <= budget)


@pytest.mark.parametrize("name", ["avif", "jpeg2000", "webp"])
def test_more_bytes_give_a_better_picture_and_the_steps_rise(name: str) -> None:
    codec, image = codecs.find(name), scene()
    errors = [np.square(codecs.fit(codec, image, budget).shown.astype(float) - image).mean() for budget in (150, 600, 2400, 9600)]
    assert errors == sorted(errors, reverse=True)
    sizes = [len(codec.encode(Image.fromarray(image), round(step))) for step in np.linspace(0, codec.steps - 1, 6)]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 10 * sizes[0]


def test_avif_uses_all_64_quantisers() -> None:
    """libavif maps quality q to ((100 - q) * 63 + 50) / 100, in integers."""
    assert [((100 - codecs._avif(step)["quality"]) * 63 + 50) // 100 for step in range(64)] == list(range(63, -1, -1))


def test_shown_is_a_plain_decoders_picture() -> None:
    codec, image = codecs.find("avif"), scene()
    coded = codecs.fit(codec, image, 4000)
    assert (coded.scale, coded.container) == (1, "stripped")
    with Image.open(io.BytesIO(codec.container.restore(coded.payload, 192, 128))) as opened:
        np.testing.assert_array_equal(np.asarray(opened.convert("RGB")), coded.shown)


def test_too_few_bytes_are_infeasible_and_few_are_downscaled() -> None:
    codec, image = codecs.find("avif"), scene()
    assert codecs.fit(codec, image, 40).scale > 1
    with pytest.raises(RateError, match="10 bytes are too few"):
        codecs.fit(codec, image, 10)


def test_one_pixel() -> None:
    for name in ("avif", "jpeg2000", "webp"):
        coded = codecs.fit(codecs.find(name), np.full((1, 1, 3), 200, np.uint8), 200)
        assert np.abs(coded.shown.astype(int) - 200).max() < 12


def test_another_size_than_was_sent_is_refused() -> None:
    codec = codecs.find("jpeg2000")
    data = codec.encode(Image.fromarray(scene()), 100)
    with pytest.raises(ValueError, match="192x128"):
        codec.decode(data, 191, 128)


def test_unknown_and_missing_codecs(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="use avif, jpeg2000"):
        codecs.find("jpeg")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="bpgenc and bpgdec"):
        codecs.find("bpg")


def script(folder: Path, name: str, body: str) -> None:
    """A program in Python; its arguments are those that the real one understands."""
    path = folder / name
    path.write_text(f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\na = sys.argv[1:]\n{body}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_bpg_is_called_as_its_usage_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``bpgenc -q QP -o OUT IN`` and ``bpgdec -o OUT IN``; the stand-ins keep a PNG behind BPG's header, padded by quality."""
    script(
        tmp_path, "bpgenc",
        "if a == ['--help']: print('BPG Image Encoder version 0.9.8'); sys.exit(1)\n"
        "q, out, source = int(a[a.index('-q') + 1]), a[a.index('-o') + 1], a[-1]\n"
        "png = Path(source).read_bytes()\n"
        "ue7 = lambda v: bytes([v >> 7 | 128, v & 127]) if v > 127 else bytes([v])\n"
        "w, h = (int.from_bytes(png[i:i + 4], 'big') for i in (16, 20))\n"
        "Path(out).write_bytes(b'BPG\\xfb\\x20\\x00' + ue7(w) + ue7(h) + png + bytes(100 * (51 - q)))\n",
    )  # fmt: skip
    script(
        tmp_path, "bpgdec",
        "data = Path(a[-1]).read_bytes()\nassert data[:4] == b'BPG\\xfb'\n"
        "Path(a[a.index('-o') + 1]).write_bytes(data[data.index(b'\\x89PNG'):])\n",
    )  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path))
    codec, image = codecs.find("bpg"), scene(128, 192)
    assert codec.version() == "BPG 0.9.8"
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    coded = codecs.fit(codec, image, len(buffer.getvalue()) + 2 + 1050)
    assert len(coded.payload) == len(buffer.getvalue()) + 2 + 1000  # the 11th of 52 qualities
    assert coded.container == "stripped"
    np.testing.assert_array_equal(coded.shown, image)


def test_vtm_is_called_as_its_manual_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "intra.cfg"
    script(
        tmp_path, "EncoderAppStatic",
        "if a == ['--help']: print('VVCSoftware: VTM Encoder Version 23.1 [Linux]'); sys.exit(0)\n"
        f"assert a[a.index('-c') + 1] == {str(config)!r} and '--InputChromaFormat=444' in a\n"
        "yuv = Path(a[a.index('-i') + 1]).read_bytes()\n"
        "assert len(yuv) == 3 * int(a[a.index('-wdt') + 1]) * int(a[a.index('-hgt') + 1])\n"
        "Path(a[a.index('-b') + 1]).write_bytes(yuv + bytes(63 - int(a[a.index('-q') + 1])))\n",
    )  # fmt: skip
    script(
        tmp_path, "DecoderAppStatic",
        "data = Path(a[a.index('-b') + 1]).read_bytes()\nassert a[a.index('-d') + 1] == '8'\n"
        "Path(a[a.index('-o') + 1]).write_bytes(data[:3 * 20 * 30])\n",
    )  # fmt: skip
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("GENCOMM_VTM_CONFIG", str(config))
    codec, image = codecs.find("vtm"), scene(20, 30)
    assert codec.version() == "VTM 23.1"
    with pytest.raises(InputError, match="GENCOMM_VTM_CONFIG"):
        codec.encode(Image.fromarray(image), 0)
    config.write_text("")
    data = codec.encode(Image.fromarray(image), 7)
    assert len(data) == image.size + 7
    assert np.abs(np.asarray(codec.decode(data, 30, 20)).astype(int) - image).max() <= 3
    with pytest.raises(ValueError, match="another size"):
        codec.decode(data[:-100], 31, 20)
