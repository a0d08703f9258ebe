"""The symbol file: what is written comes back, the same bytes each time, and a hostile file never gets past the reader."""

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
from numpy.typing import NDArray
from scipy import stats

from gencomm_cli import pipeline, rates, symbols
from gencomm_cli.errors import InputError
from gencomm_cli.metrics.signal import received_snr_db
from gencomm_cli.symbols import ChannelRecord, ClassicalFormat, Header, Provenance, SymbolFile
from gencomm_cli.text.link import PromptFormat
from gencomm_cli.text.protected import SideFormat

FORMAT = PromptFormat(payload_bits=90, code="r12n384", modulation="qpsk", repetition=1, text_model="gencomm-text-1", crc_bits=24)
SIDE = SideFormat(payload_bits=60, code="r12n384", modulation="bpsk", repetition=2, crc_bits=24)
Members = dict[str, NDArray[Any]]


def unit(count: int, seed: int = 0) -> NDArray[np.complex64]:
    angles = np.random.default_rng(seed).uniform(0, 2 * np.pi, count)
    phases: NDArray[np.complex64] = np.exp(1j * angles).astype(np.complex64)
    return phases


def sent(k: int = 100, k_prompt: int = 20, k_side: int = 0) -> SymbolFile:
    size = (37, 53)
    header = Header(
        stage="tx",
        method="textguided",
        preset="nano",
        weights_sha256="0" * 64,
        image_size=size,
        cbr=rates.account(0.0033, size, image=k, prompt=k_prompt, side=k_side),
        prompt=FORMAT if k_prompt else None,
        tx_snr_db=None,
        control_bits=rates.CONTROL_BITS,
        provenance=Provenance({"gencomm": "0.1.0", "torch": "2.13.0+cpu"}),
        side=SIDE if k_side else None,
    )
    return SymbolFile(header, unit(k), unit(k_prompt, 1), unit(k_side, 2))


def received(**changes: Any) -> SymbolFile:
    given: dict[str, Any] = {"kind": "rayleigh", "snr_db": 3.0, "snr_type": "esn0", "csi": "perfect", "seed": 7} | changes
    return pipeline.pass_channel(sent(), **given)


def members(file: SymbolFile) -> Members:
    return {"meta": np.frombuffer(json.dumps(file.header.to_json()).encode(), np.uint8), **file.arrays()}


def packed(arrays: Members, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=True, **arrays, **options)
    return buffer.getvalue()


def with_meta(file: SymbolFile, **changes: Any) -> bytes:
    meta = file.header.to_json() | changes
    return packed(members(file) | {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)})


def zipped(contents: list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in contents:
            archive.writestr(name, content)
    return buffer.getvalue()


def entries(data: bytes) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def npy(header: str, body: bytes) -> bytes:
    padded = header.encode() + b" " * (63 - (len(header) + 10) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(padded).to_bytes(2, "little") + padded + body


def refused(data: bytes, match: str) -> None:
    with pytest.raises(InputError, match=match) as caught:
        symbols.read(io.BytesIO(data))
    assert "\n" not in str(caught.value)


def same(first: SymbolFile, second: SymbolFile) -> None:
    assert first.header == second.header
    assert first.arrays().keys() == second.arrays().keys()
    for name, array in first.arrays().items():
        np.testing.assert_array_equal(array, second.arrays()[name])


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
    symbols.write(file, tmp_path / "a.npz")
    same(symbols.read(tmp_path / "a.npz"), file)
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


def test_infinite_snr_is_a_string_in_valid_json() -> None:
    meta = received(snr_db=math.inf).header.to_json()
    assert meta["channel"]["snr_db"] == "inf"
    json.dumps(meta, allow_nan=False)


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
    refused(b"\x89PNG\r\n\x1a\n" + bytes(100), "not an intact symbol file")
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


@pytest.mark.parametrize("name", ["symbols", "prompt_symbols", "csi_gain"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 1j * math.nan, complex(0, -math.inf), 1e7, 1e30])
def test_values_that_are_not_sane_are_refused(name: str, value: complex) -> None:
    arrays = members(received())
    arrays[name] = arrays[name].copy()
    arrays[name][3] = value
    refused(packed(arrays), f"{name} holds values")


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


def test_counts_must_fit_the_header() -> None:
    file = sent()
    refused(packed(members(file) | {"symbols": unit(99)}), "cbr.image")
    refused(packed(members(file) | {"prompt_symbols": unit(21)}), "cbr.prompt")
    refused(packed(members(file) | {"side_symbols": unit(1)}), "cbr.side")
    refused(with_meta(file, image_size=[370, 53]), "cbr.image")
    refused(with_meta(file, prompt=None), "do not agree")
    refused(with_meta(file, cbr=file.header.to_json()["cbr"] | {"total": 0.5}), "not the sum")
    refused(with_meta(file, cbr=file.header.to_json()["cbr"] | {"pilots": 0.5}), "meta.cbr")
    refused(packed(members(sent(k_prompt=0)) | {"symbols": unit(0)}), "cbr.image")


def test_gains_must_fit_the_channel() -> None:
    refused(packed({name: array for name, array in members(received()).items() if name != "csi_gain"}), "csi_gain is missing")
    refused(packed(members(received()) | {"csi_gain": unit(1)}), "100 were expected")
    refused(packed(members(received(kind="block")) | {"csi_gain": unit(100)}), "1 were expected")
    refused(packed(members(received(csi="none")) | {"csi_gain": unit(100)}), "csi_gain is there")
    refused(packed(members(received(kind="awgn")) | {"csi_gain": unit(100)}), "csi_gain is there")
    refused(packed(members(sent()) | {"csi_gain": unit(100)}), "csi_gain is there")
    refused(packed(members(received()) | {"side_csi_gain": unit(1)}), "side_csi_gain is there")


def test_sent_symbols_have_unit_power() -> None:
    refused(packed(members(sent()) | {"symbols": 3 * unit(100)}), "mean power 9")


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": "other"}, "meta.format"),
        ({"version": 2}, "meta.version"),
        ({"version": True}, "meta.version"),
        ({"stage": "air"}, "meta.stage"),
        ({"method": "../../etc"}, "meta.method"),
        ({"method": 7}, "meta.method"),
        ({"preset": "a\nb"}, "meta.preset"),
        ({"preset": ""}, "meta.preset"),
        ({"weights_sha256": "0" * 63}, "meta.weights_sha256"),
        ({"weights_sha256": "A" * 64}, "meta.weights_sha256"),
        ({"image_size": [37]}, "meta.image_size"),
        ({"image_size": [0, 53]}, "meta.image_size"),
        ({"image_size": [37.0, 53]}, "meta.image_size"),
        ({"image_size": [True, 53]}, "meta.image_size"),
        ({"image_size": [2**14, 2**14]}, "more than 2\\^27 pixels"),
        ({"image_size": [10**4000, 1]}, "meta.image_size"),
        ({"power": 2.0}, "meta.power"),
        ({"n0": -1}, "meta.n0"),
        ({"n0": "inf"}, "meta.n0"),
        ({"n0": 0.1}, "not the noise power"),
        ({"tx_snr_db": "high"}, "meta.tx_snr_db"),
        ({"tx_snr_db": 1e3}, "meta.tx_snr_db"),
        ({"control_bits": -1}, "meta.control_bits"),
        ({"prompt": "a red door"}, "meta.prompt"),
        ({"prompt": asdict(FORMAT) | {"repetition": 3}}, "prompt.repetition"),
        ({"prompt": asdict(FORMAT) | {"payload_bits": 10**9}}, "prompt.payload_bits"),
        ({"prompt": asdict(FORMAT) | {"text": "a red door"}}, "prompt.'text'"),
        ({"channel": {"kind": "awgn"}}, "channel.snr_db is missing"),
        ({"channel": {"kind": "wire", "snr_db": 3.0, "snr_type": "esn0", "csi": "perfect"}}, "channel.kind"),
        ({"provenance": {"versions": {}, "command": "encode secret.png"}}, "provenance.'command'"),
        ({"provenance": {"versions": {"gencomm": "a prompt of many words"}}}, "provenance.versions"),
        ({"clip": 2.0}, "does not know"),
    ],
)
def test_headers_that_are_not_right_are_refused(changes: dict[str, Any], match: str) -> None:
    refused(with_meta(received(), **changes), match)


@pytest.mark.parametrize("field", ["format", "stage", "method", "cbr", "prompt", "channel", "n0", "provenance", "tx_snr_db"])
def test_missing_fields_are_refused(field: str) -> None:
    file = received()
    meta = {name: value for name, value in file.header.to_json().items() if name != field}
    refused(packed(members(file) | {"meta": np.frombuffer(json.dumps(meta).encode(), np.uint8)}), f"meta.{field} is missing")


def test_a_sent_file_says_nothing_of_a_channel() -> None:
    channel = asdict(ChannelRecord("awgn", 3.0, "esn0", "perfect"))
    refused(with_meta(sent(), channel=channel, n0=0.5), "does not know")


@pytest.mark.parametrize(
    "meta",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xfe",
        b'{"format": NaN}',
        b'{"n0": 1, "n0": 2}',
        b"[" * 60_000,
        b'{"version": ' + b"9" * 60_000 + b"}",
        b'{"format": "gencomm-symbols", "version": 1e999}',
    ],
)
def test_meta_that_is_no_header_is_refused(meta: bytes) -> None:
    refused(packed(members(sent()) | {"meta": np.frombuffer(meta, np.uint8)}), "meta")


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
        symbols.write(broken, target)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a.npz"]


def test_two_channel_passes_are_refused() -> None:
    with pytest.raises(InputError, match="been through a channel"):
        pipeline.pass_channel(received(), kind="awgn", snr_db=1, snr_type="esn0", csi="perfect", seed=0)


def test_a_prompt_does_not_move_the_image_noise() -> None:
    options: dict[str, Any] = {"kind": "rayleigh", "snr_db": 3.0, "snr_type": "esn0", "csi": "perfect", "seed": 7}
    with_prompt, without = pipeline.pass_channel(sent(), **options), pipeline.pass_channel(sent(k_prompt=0), **options)
    np.testing.assert_array_equal(with_prompt.symbols, without.symbols)
    assert without.prompt_csi_gain is None


def test_a_block_gain_is_one_for_the_whole_transmission() -> None:
    file = received(kind="block")
    assert file.csi_gain is not None
    assert file.prompt_csi_gain is not None
    assert file.csi_gain[0] == file.prompt_csi_gain[0]


IDEAL = ClassicalFormat("avif", 30, "stripped", 1, "ideal", "ideal", "capacity", "", 0)


def ideal(classical: ClassicalFormat | None = IDEAL, bits: NDArray[Any] | None = None) -> SymbolFile:
    """A file of an ideal code, with 30 bytes if none are given."""
    file = sent()
    header = replace(file.header, method="separate", preset="classical", classical=classical)
    return replace(file, header=header, ideal_bits=np.arange(30, dtype=np.uint8) if bits is None else bits)


def test_ideal_bits_come_back_through_the_channel() -> None:
    passed = pipeline.pass_channel(ideal(), kind="awgn", snr_db=3.0, snr_type="esn0", csi="perfect", seed=0)
    for file in (ideal(), passed):
        back = symbols.read(io.BytesIO(symbols.to_bytes(file)))
        assert back.header == file.header
        np.testing.assert_array_equal(back.ideal_bits, np.arange(30))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("file", "match"),
    [
        (ideal(bits=np.zeros(29, np.uint8)), "meta counts 30"),
        (ideal(bits=np.zeros((5, 6), np.uint8)), "meta counts 30"),
        (ideal(bits=np.zeros(30, np.int64)), "meta counts 30"),
        (ideal(classical=None), "ideal_bits is there"),
        (ideal(classical=replace(IDEAL, fec="ldpc")), "ideal_bits is there"),
        (replace(ideal(), ideal_bits=None), "ideal_bits is missing"),
    ],
)
def test_ideal_bits_go_with_an_ideal_code_alone(file: SymbolFile, match: str) -> None:
    with pytest.raises(InputError, match=match):
        symbols.to_bytes(file)
    arrays = members(file) | ({} if file.ideal_bits is None else {"ideal_bits": file.ideal_bits})
    with pytest.raises(InputError, match="ideal_bits"):
        symbols.read(io.BytesIO(packed(arrays)))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"payload_bytes": 2**40}, "payload_bytes"), ({"payload_bytes": -1}, "payload_bytes"), ({"payload_bytes": 3.5}, "bytes"),
        ({"scale": 0}, "scale"), ({"scale": 65}, "scale"), ({"container": "none"}, "container"), ({"codec": "a/../b"}, "codec"),
        ({"code_rate": "1/200"}, "code_rate"), ({"code": 5}, "code"), ({"crc_bits": True}, "crc_bits"), ({"more": 1}, "more"),
    ],
)  # fmt: skip
def test_classical_fields_that_are_not_right_are_refused(changes: dict[str, Any], match: str) -> None:
    meta = json.loads(json.dumps(ideal().header.to_json()))
    meta["classical"] |= changes
    with pytest.raises(InputError, match=match):
        Header.from_json(meta)
    del meta["classical"]["codec"]
    with pytest.raises(InputError, match="classical"):
        Header.from_json(meta)


def test_energy_per_bit_needs_bits_and_counts_them() -> None:
    with pytest.raises(InputError, match="no bits"):
        received(snr_type="ebn0")
    passed = pipeline.pass_channel(ideal(), kind="awgn", snr_db=10.0, snr_type="ebn0", csi="perfect", seed=0)
    assert passed.header.n0 == pytest.approx(100 / (8 * 30) / 10)


def test_received_snr_over_2000_block_fades_is_exponential() -> None:
    """As ``diffjscc`` meets it: one h an image, 2,000 seeds of the channel, at 5 dB on average."""
    found = []
    for seed in range(2000):
        faded = received(kind="block", snr_db=5.0, seed=seed)
        assert faded.header.n0 is not None
        figure = received_snr_db(sent().symbols, faded.csi_gain, faded.header.n0)
        assert figure is not None
        found.append(10 ** (figure / 10))
    assert stats.kstest(found, "expon", (0, 10**0.5)).pvalue > 0.01


def test_the_gain_that_the_transmitter_was_told_comes_back_and_is_sane() -> None:
    told = replace(sent(), header=replace(sent().header, tx_gain=0.6 - 0.2j))
    assert symbols.read(io.BytesIO(symbols.to_bytes(told))).header.tx_gain == 0.6 - 0.2j
    meta = json.loads(json.dumps(told.header.to_json()))
    for value in ([0.6], "1", [1, "a"], [1e9, 0], [True, 0], [float("nan"), 0], {"re": 1}, None):
        with pytest.raises(InputError, match="tx_gain"):
            Header.from_json({**meta, "tx_gain": value})
    arrived = pipeline.pass_channel(told, kind="block", snr_db=3.0, snr_type="esn0", csi="perfect", seed=1)
    assert arrived.csi_gain == pytest.approx(np.array([0.6 - 0.2j]))
    with pytest.raises(InputError, match="tx_gain"):  # a receiver's file never says it
        Header.from_json(json.loads(json.dumps(arrived.header.to_json())) | {"tx_gain": [0.6, -0.2]})
