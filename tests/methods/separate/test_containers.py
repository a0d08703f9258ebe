"""Stripping and restoring gives the very file, at sizes where the boxes differ; hostile payloads raise ValueError alone."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from gencomm_cli.methods.separate import codecs
from gencomm_cli.methods.separate.containers import Avif, Bpg, Container, Hevc, Jpeg2000, WebP
from tests.support.classical import scene

SIZES = [(1, 1), (3, 2), (5, 6), (16, 16), (53, 37), (192, 128), (300, 260), (24, 1600), (768, 512), (800, 600)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("name", ["avif", "webp", "hevc"])
def test_restored_file_is_the_encoders_own(name: str, size: tuple[int, int]) -> None:
    if name == "hevc":
        pytest.importorskip("pillow_heif")
    codec = codecs.find(name)
    data = codec.encode(Image.fromarray(scene(size[1], size[0])), codec.steps // 3)
    payload = codec.container.strip(data, *size)
    assert codec.container.restore(payload, *size) == data
    assert len(data) - len(payload) >= {"avif": 286, "webp": 27, "hevc": 200}[name]


@pytest.mark.parametrize("size", SIZES)
def test_restored_codestream_is_the_encoders_less_its_comment(size: tuple[int, int]) -> None:
    codec = codecs.find("jpeg2000")
    data = codec.encode(Image.fromarray(scene(size[1], size[0])), codec.steps // 3)
    comment = data.index(b"\xff\x64")
    length = int.from_bytes(data[comment + 2 : comment + 4], "big")
    bare = data[:comment] + data[comment + 2 + length :]
    payload = codec.container.strip(data, *size)
    assert codec.container.restore(payload, *size) == bare
    assert len(payload) == len(bare) - bare.index(b"\xff\x93") - 4
    with Image.open(io.BytesIO(data)) as whole, Image.open(io.BytesIO(bare)) as stripped:
        np.testing.assert_array_equal(np.asarray(whole), np.asarray(stripped))


def test_another_layout_is_refused() -> None:
    buffer = io.BytesIO()
    Image.fromarray(scene()).save(buffer, "AVIF", subsampling="4:4:4")
    with pytest.raises(ValueError, match="another way"):
        Avif().strip(buffer.getvalue(), 192, 128)
    with pytest.raises(ValueError, match="another way"):
        Avif().strip(codecs.find("avif").encode(Image.fromarray(scene()), 20), 192, 127)
    lossless = io.BytesIO()
    Image.fromarray(scene()).save(lossless, "WEBP", lossless=True)
    with pytest.raises(ValueError, match="another way"):
        WebP().strip(lossless.getvalue(), 192, 128)


def test_bpg_header() -> None:
    """bpg_spec.txt: magic, two bytes of formats, width and height as ue7(32)."""
    data = b"BPG\xfb\x20\x00" + b"\x86\x00" + b"\x83\x7f" + b"picture"
    payload = Bpg().strip(data, 768, 511)
    assert payload == b"\x20\x00picture"
    assert Bpg().restore(payload, 768, 511) == data


@pytest.mark.parametrize("container", [Avif(), Jpeg2000(), WebP(), Hevc(), Bpg()])
def test_hostile_payloads_restore_to_something_or_raise_value_error(container: Container) -> None:
    rng = np.random.default_rng(0)
    for length in range(60):
        try:
            restored = container.restore(rng.bytes(length), 40, 30)
        except ValueError:
            continue
        assert len(restored) <= length + 4096


def test_a_head_that_unpacks_to_much_is_refused() -> None:
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    with pytest.raises(ValueError, match="no end"):
        Hevc().restore(packer.compress(bytes(1 << 24)) + packer.flush(), 40, 30)
