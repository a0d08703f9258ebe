"""What is written comes back, the same bytes each time, and a hostile file never gets past the reader."""

from __future__ import annotations

import io
import json
import math
import os
import tracemalloc
import zipfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gencomm_cli import symbols
from gencomm_cli.errors import InputError
from gencomm_cli.symbols import SymbolFile
from tests.support.symbols import (
    FORMAT,
    entries,
    ideal,
    members,
    npy,
    packed,
    received,
    refused,
    same,
    sent,
    through,
    zipped,
)


@pytest.mark.parametrize(
    "file",
    [
        sent(),
        sent(k_prompt=0),
        sent(k_side=13),
        received(),
        received(kind="block"),
        received(kind="awgn", snr_db=math.inf),
        received(csi="none", snr_type="received"),
        received(snr_db=-100.0),
    ],
)
def test_what_is_written_comes_back(file: SymbolFile, tmp_path: Path) -> None:
    file.save(tmp_path / "a.npz")
    same(symbols.read(tmp_path / "a.npz"), file)
    assert os.listdir(tmp_path) == ["a.npz"]
    file.save(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == symbols.to_bytes(file)
    assert os.listdir(tmp_path) == ["a.npz"]


def test_the_same_file_gives_the_same_bytes_and_numpy_reads_it(tmp_path: Path) -> None:
    file = received()
    assert symbols.to_bytes(file) == symbols.to_bytes(replace(file))
    with np.load(io.BytesIO(symbols.to_bytes(file)), allow_pickle=False) as archive:
        assert set(archive) == {"meta", "symbols", "prompt_symbols", "side_symbols", "csi_gain", "prompt_csi_gain"}
        np.testing.assert_array_equal(archive["symbols"], file.symbols)
        meta = json.loads(archive["meta"].tobytes())
    assert meta["format"] == "gencomm-symbols"
    assert meta["image_size"] == [37, 53]
    assert meta["prompt"] == asdict(FORMAT)


def test_files_that_numpy_wrote_are_read_compressed_or_not() -> None:
    file = received()
    same(symbols.read(io.BytesIO(packed(members(file)))), file)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **members(file))
    same(symbols.read(io.BytesIO(buffer.getvalue())), file)


@pytest.mark.parametrize("seed", range(4))
def test_every_truncation_is_refused(seed: int) -> None:
    data = symbols.to_bytes(received())
    for length in {0, 1, 21, len(data) - 1, *np.random.default_rng(seed).integers(0, len(data), 100).tolist()}:
        refused(data[:length], "standard input")


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bytes_are_refused_or_harmless(seed: int) -> None:
    data = symbols.to_bytes(received())
    original = received()
    rng = np.random.default_rng(seed)
    for _ in range(150):
        broken = bytearray(data)
        for position in rng.integers(0, len(data), rng.integers(1, 4)):
            broken[position] = rng.integers(0, 256)
        try:
            read = symbols.read(io.BytesIO(bytes(broken)))
        except InputError:
            continue
        same(read, original)  # a byte that nothing depends on, such as a date


def test_other_files_are_refused(tmp_path: Path) -> None:
    refused(b"\x89PNG\r\n\x1a\n" + bytes(100), "not an intact symbol file .*; name one that `gencomm encode`")
    refused(symbols.to_bytes(received())[:500], "not an intact symbol file .*; copy or write it again")
    refused(zipped([("hello.txt", b"hello")]), "no symbol file has")
    refused(zipped([]), "has no meta")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match="no such file"):
        symbols.read(tmp_path / "missing.npz")
    with pytest.raises(InputError, match="is a folder"):
        symbols.read(tmp_path / "folder")


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "pwned"),)

    evil = np.empty(1, object)
    evil[0] = Evil()
    for name in ("symbols", "meta", "csi_gain"):
        refused(packed(members(received()) | {name: evil}), "is not a vector of")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "array",
    [
        np.ones(100, np.complex128),
        np.ones(100, np.float32),
        np.ones((10, 10), np.complex64),
        np.ones(100, ">c8"),
        np.complex64(1),
    ],
)
def test_wrong_types_and_shapes_are_refused(array: Any) -> None:
    refused(packed(members(sent()) | {"symbols": array}), "symbols.npy is not a vector of complex64")


def test_members_twice_foreign_or_too_large_are_refused() -> None:
    data = symbols.to_bytes(sent())
    with pytest.warns(UserWarning, match="Duplicate name"):
        twice = zipped([*entries(data), entries(data)[1]])
    refused(twice, "twice")
    refused(zipped([*entries(data), ("prompt.txt", b"a red door")]), "no symbol file has")
    refused(zipped([(name.removesuffix(".npy"), content) for name, content in entries(data)]), "no symbol file has")
    refused(packed(members(sent()) | {"meta": np.frombuffer(b" " * 70_000, np.uint8)}), "meta claims")
    refused(zipped(entries(data), zipfile.ZIP_BZIP2), "unusual way")


def test_gigantic_claims_cost_no_memory() -> None:
    contents = dict(entries(symbols.to_bytes(sent())))
    # the array's own header claims more than there is
    for count in (2**40, 10**11, 101, 99):
        claim = npy(f"{{'descr': '<c8', 'fortran_order': False, 'shape': ({count},), }}", bytes(800))
        refused(zipped(list((contents | {"symbols.npy": claim}).items())), "claims")
    # a compression bomb
    bomb = npy("{'descr': '<c8', 'fortran_order': False, 'shape': (12500000,), }", bytes(100_000_000))
    packed_bomb = zipped(list((contents | {"symbols.npy": bomb}).items()), zipfile.ZIP_DEFLATED)
    # a directory that claims 4 GB for a small member
    data = bytearray(zipped(list(contents.items())))
    position = data.rindex(b"PK\x01\x02", 0, data.rindex(b"symbols.npy", 0, data.rindex(b"prompt_symbols.npy")))
    data[position + 24 : position + 28] = b"\xf0\xff\xff\xff"
    del bomb
    tracemalloc.start()
    refused(packed_bomb, "claims 100000128 bytes")
    refused(bytes(data), "claims")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "a.npz"
    target.write_bytes(b"old")
    broken = replace(sent(), symbols=np.full(100, np.nan, np.complex64))
    with pytest.raises(InputError, match="not finite"):
        broken.save(target)
    with pytest.raises(InputError, match="not finite"):
        broken.save(target)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.npz"]


def test_ideal_bits_come_back_through_the_channel() -> None:
    passed = through(ideal(), kind="awgn", snr_db=3.0, snr_type="esn0", csi="perfect", seed=0)
    for file in (ideal(), passed):
        back = symbols.read(io.BytesIO(symbols.to_bytes(file)))
        assert back.header == file.header
        np.testing.assert_array_equal(back.ideal_bits, np.arange(30))  # type: ignore[arg-type]
