"""Symbol files of before the redesign: they decode to the same pictures, and today's transmitter and channel still make them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gencomm_cli import symbols
from gencomm_cli.symbols import Header
from tests.compatibility.record import EXPECTED, PHOTO, means, outputs, pixel_hash, said, unpack, unpacked, words
from tests.support.commands import Result

Here = Callable[..., Result]
RECORDED: dict[str, Any] = json.loads(EXPECTED.read_text())
GREY_LEVELS = 0.5
"""What block means of another CPU's picture may differ by, of 255; without AVX it was below 0.1, with 63 of 65 pictures equal."""
SYMBOL = 1e-3
"""What symbols, of unit mean power, may differ by on another CPU."""
EXACT = os.environ.get("GENCOMM_COMPATIBILITY") == "exact"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("symbols")
    unpack(folder)
    return folder


@pytest.mark.parametrize("case", RECORDED["decoded"], ids=lambda case: f"{case['received']} {case['flags']}".strip())
def test_received_files_decode_to_the_same_pictures(here: Here, files: Path, case: dict[str, Any]) -> None:
    """Pixel by pixel, or on another CPU in the means of 6x6 blocks."""
    needs_codec(case["received"])
    done = here("decode", files / f"{case['received']}.rx.npz", "-o", "out.png", *words(case["flags"]), "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert said(printed) == case["said"]
    pictures = outputs(printed)
    assert len(pictures) == len(case["pictures"])
    for found, wanted in zip(pictures, case["pictures"], strict=True):
        if EXACT or pixel_hash(found) == wanted["sha256"]:
            assert pixel_hash(found) == wanted["sha256"]
            continue
        assert found.shape[:2] == symbols.read(files / f"{case['received']}.rx.npz").header.image_size
        np.testing.assert_allclose(means(found), unpacked(wanted["means"]), atol=GREY_LEVELS)


@pytest.mark.parametrize("name", RECORDED["sent"])
def test_the_transmitter_sends_the_same_file(here: Here, files: Path, name: str) -> None:
    needs_codec(name)
    done = here("encode", PHOTO, "-o", "tx.npz", *words(RECORDED["sent"][name]["flags"]))
    assert done.returncode == 0, done.stderr
    same(symbols.read(Path("tx.npz")), symbols.read(files / f"{name}.tx.npz"))


@pytest.mark.parametrize("name", RECORDED["received"])
def test_the_channel_hands_on_the_same_file(here: Here, files: Path, name: str) -> None:
    case = RECORDED["received"][name]
    done = here("channel", files / f"{case['sent']}.tx.npz", "-o", "rx.npz", *words(case["flags"]))
    assert done.returncode == 0, done.stderr
    same(symbols.read(Path("rx.npz")), symbols.read(files / f"{name}.rx.npz"))


def same(found: symbols.SymbolFile, wanted: symbols.SymbolFile) -> None:
    """Equal headers, but for the versions of programs; arrays within the tolerance. Another image codec may send other bits."""
    versions, before = found.header.provenance.versions, wanted.header.provenance.versions
    if wanted.header.classical and versions.get(codec := wanted.header.classical.codec) != before[codec]:
        pytest.skip(f"recorded with {before[codec]}; here is {versions.get(codec)}")
    assert set(versions) == set(before)
    assert plain(found.header) == plain(wanted.header)
    assert set(found.arrays()) == set(wanted.arrays())
    for name, array in wanted.arrays().items():
        np.testing.assert_allclose(found.arrays()[name], array, atol=SYMBOL, err_msg=name)
    np.testing.assert_array_equal(found.ideal_bits, wanted.ideal_bits)  # type: ignore[arg-type]


def plain(header: Header) -> dict[str, Any]:
    """``meta`` less the versions of programs."""
    return replace(header, provenance=replace(header.provenance, versions={})).to_json()


def needs_codec(name: str) -> None:
    """Skips what takes an image codec that is not everywhere."""
    if "hevc" in name:
        pytest.importorskip("pillow_heif")
