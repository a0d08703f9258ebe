"""Recordings as files: SigMF's own reader and validator agree, and hostile files are one line."""

from __future__ import annotations

import io
import json
import tarfile
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sigmf

from gencomm_cli import symbols
from gencomm_cli.errors import InputError
from gencomm_cli.outputs import write_files
from gencomm_cli.radio import recordings
from gencomm_cli.radio.recordings import Recording, Span, of_samples
from tests.radio.support import file
from tests.support.commands import Result, failed
from tests.support.symbols import unit

Gencomm = Callable[..., Result]
SAMPLES = unit(1000) * np.float32(0.7)
RECORDING = of_samples(SAMPLES, 2e6, spans=(Span(10, 500, -3e5, 3e5, "burst 0"),), settings=(("fft", 64),))


def written(path: Path, recording: Recording = RECORDING, **kind: str) -> Path:
    write_files(recordings.files(path, recording, **kind))
    return path


@pytest.mark.parametrize("name", ["a.sigmf", "a.sigmf-meta", "a.sigmf-data"])
@pytest.mark.parametrize("datatype", ["cf32_le", "ci16_le"])
def test_sigmf_reads_and_validates_what_is_written(tmp_path: Path, name: str, datatype: str) -> None:
    path = written(tmp_path / name, datatype=datatype)
    theirs = sigmf.fromfile(path)
    theirs.validate()
    assert sigmf.validate._validate_single_file(path, False, None) == 0
    np.testing.assert_allclose(theirs.read_samples(), SAMPLES, atol=1e-7 if datatype == "cf32_le" else 4e-5)
    ours = recordings.read(path)
    np.testing.assert_allclose(ours.read(0, 1000), SAMPLES, atol=1e-7 if datatype == "cf32_le" else 4e-5)
    assert (ours.sample_rate, ours.spans, ours.settings) == (RECORDING.sample_rate, RECORDING.spans, RECORDING.settings)
    before = path.read_bytes()
    written(path, datatype=datatype)
    assert path.read_bytes() == before


def test_what_sigmf_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / "b.sigmf-data").write_bytes(SAMPLES.tobytes())
    theirs = sigmf.SigMFFile(data_file=tmp_path / "b.sigmf-data", global_info={"core:datatype": "cf32_le", "core:sample_rate": 5e5})
    theirs.add_capture(0)
    theirs.tofile(tmp_path / "b.sigmf-meta")
    theirs.archive(tmp_path / "c.sigmf")
    for name in ("b.sigmf-meta", "c.sigmf"):
        ours = recordings.read(tmp_path / name)
        np.testing.assert_array_equal(ours.read(3, 50), SAMPLES[3:50])
        assert ours.sample_rate == 5e5


@pytest.mark.parametrize(("suffix", "kind", "scale"), [(".cf32", "<f4", 1), (".ci16", "<i2", 32768)])
def test_raw_samples_are_what_numpy_reads(tmp_path: Path, suffix: str, kind: str, scale: float) -> None:
    path = written(tmp_path / f"a{suffix}")
    parts = np.fromfile(path, kind).astype(np.float32) / scale
    np.testing.assert_allclose(parts.view(np.complex64), SAMPLES, atol=4e-5)
    np.testing.assert_array_equal(recordings.read(path).read(0, 1000), parts.view(np.complex64))


META: dict[str, Any] = {
    "global": {"core:datatype": "cf32_le", "core:version": "1.2.0", "core:sample_rate": 1e6},
    "captures": [{"core:sample_start": 0}], "annotations": [],
}  # fmt: skip
DELETED = object()


def changed(where: tuple[str | int, ...], value: object) -> bytes:
    meta = json.loads(json.dumps(META))
    *path, last = where
    place = meta
    for step in path:
        place = place[step]
    if value is DELETED:
        del place[last]
    else:
        place[last] = value
    return json.dumps(meta).encode()


@pytest.mark.parametrize(
    ("meta", "data", "word"),
    [
        (b"", b"x" * 80, "JSON"),
        (b"[]", b"x" * 80, "object"),
        (b"[" * 100000, b"x" * 80, "JSON"),
        (b'{"global": NaN}', b"x" * 80, "JSON"),
        (b" " * (2**20 + 1), b"x" * 80, "MiB"),
        (changed(("global",), DELETED), b"x" * 80, "global"),
        (changed(("global", "core:datatype"), DELETED), b"x" * 80, "datatype"),
        (changed(("global", "core:datatype"), "rf32_le"), b"x" * 80, "cf32_le or ci16_le"),
        (changed(("global", "core:datatype"), 5), b"x" * 80, "datatype"),
        (changed(("global", "core:num_channels"), 2), b"x" * 80, "channels"),
        (changed(("global", "core:sample_rate"), -1), b"x" * 80, "sample_rate"),
        (changed(("global", "core:dataset"), "passwd"), b"x" * 80, "foreign"),
        (changed(("global", "core:sha512"), "0" * 128), b"x" * 80, "sha512"),
        (changed(("captures",), "x"), b"x" * 80, "captures"),
        (changed(("captures", 0, "core:sample_start"), "x"), b"x" * 80, "sample_start"),
        (changed(("captures", 0, "core:header_bytes"), 8), b"x" * 80, "headers"),
        (changed(("annotations",), [{"core:sample_start": 5}, {"core:sample_start": 3}]), b"x" * 80, "order"),
        (json.dumps(META).encode(), b"x" * 81, "81 bytes"),
        (json.dumps(META).encode(), b"", "no samples"),
    ],
)
def test_hostile_metadata_is_one_line(tmp_path: Path, meta: bytes, data: bytes, word: str) -> None:
    (tmp_path / "a.sigmf-meta").write_bytes(meta)
    (tmp_path / "a.sigmf-data").write_bytes(data)
    with pytest.raises(InputError, match=word) as caught:
        recordings.read(tmp_path / "a.sigmf-meta")
    assert "\n" not in str(caught.value)


def test_fuzzed_archives_raise_nothing_else(tmp_path: Path) -> None:
    whole = written(tmp_path / "a.sigmf").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for case in range(60):
        data = bytearray(whole[: rng.integers(len(whole))] if case % 3 == 0 else whole)
        for place in rng.integers(0, min(len(data), 2600) or 1, 3):
            data[place : place + 1] = bytes([rng.integers(256)])
        (tmp_path / "b.sigmf").write_bytes(data)
        try:
            recordings.read(tmp_path / "b.sigmf").read(0, 10**9)
        except InputError:
            refused += 1
    assert refused > 20


def test_odd_archives(tmp_path: Path) -> None:
    def archive(*entries: tuple[str, bytes, bytes]) -> Path:
        with tarfile.open(tmp_path / "o.sigmf", "w") as opened:
            for name, content, kind in entries:
                entry = tarfile.TarInfo(name)
                entry.size, entry.type, entry.linkname = len(content), kind, "/etc/passwd"
                opened.addfile(entry, io.BytesIO(content))
        return tmp_path / "o.sigmf"

    meta, data = ("a.sigmf-meta", json.dumps(META).encode(), tarfile.REGTYPE), ("a.sigmf-data", b"x" * 80, tarfile.REGTYPE)
    for entries, word in (
        ((meta,), "no .sigmf"),
        ((meta, data, data), "twice"),
        ((meta, ("a.sigmf-data", b"", tarfile.SYMTYPE)), "plain"),
    ):
        with pytest.raises(InputError, match=word):
            recordings.read(archive(*entries))
    (tmp_path / "o.sigmf").write_bytes(archive(meta, data).read_bytes()[:1540])
    with pytest.raises(InputError, match=r"ends before|intact|no \.sigmf"):
        recordings.read(tmp_path / "o.sigmf")


@pytest.fixture
def tx(tmp_path: Path) -> Path:
    file(300).save(tmp_path / "tx.npz")
    return tmp_path / "tx.npz"


def test_the_three_commands(here: Gencomm, tx: Path) -> None:
    """Names by default, settings from the recording, and what JSON says."""
    said = json.loads(here("modulate", "tx.npz", "--fft", 128, "--datatype", "ci16", "--json").stdout)
    assert said["output"] == "tx.sigmf"
    assert 3 < said["papr_db"] < 15
    assert said["meta"]["cbr"]["total"] == said["meta"]["cbr"]["waveform"] > said["meta"]["cbr"]["image"]
    assert here("channel", "tx.sigmf", "--snr", 15, "--cfo", 9000, "--delay", 300, "--clip", 2).stdout == b"rx.sigmf\n"
    found = json.loads(here("demodulate", "rx.sigmf", "--json").stdout)["files"][0]
    assert found["output"] == "rx.npz"
    assert found["bursts"][0]["cfo_carriers"] == pytest.approx(9000 / (1e6 / 256), abs=0.05)
    assert found["meta"]["cbr"]["total"] == pytest.approx(said["meta"]["cbr"]["total"])
    assert symbols.read(tx.with_name("rx.npz")).symbols.size == 300
    assert here("inspect", "rx.npz").returncode == 0
    assert here("modulate", "tx.npz", "-o", "b.cf32", "--oversample", 1, "--window", 4).returncode == 0
    assert here("demodulate", "b.cf32", "--oversample", 1).stdout == b"b.npz\n"
    failed(here("demodulate", "b.cf32"), 2, "no burst", "--oversample")


def test_the_commands_say_what_they_found(here: Gencomm, tx: Path) -> None:
    assert b"bursts: 1, 0.00" in (said := here("modulate", "tx.npz", "-o", "a.cf32").stderr)
    assert b" with the waveform, PAPR " in said
    assert b"--snr: a.cf32 does not say where its signal is" in here("channel", "a.cf32", "--snr", 20, "--cfo", 5000).stderr
    assert b"SNR 2" in (said := here("demodulate", "a.rx.cf32").stderr)
    assert b"frequency off by 2.56 carriers, clock by " in said
    tx.with_name("b.cf32").write_bytes(tx.with_name("a.cf32").read_bytes()[: -8 * 1440])
    assert b"the capture ends before burst 0 does (OFDM symbols that it lacks: 1)" in here("demodulate", "b.cf32").stderr


def test_recordings_are_copied_at_most_twice() -> None:
    """Into their datatype, and into the archive."""
    recording = of_samples(np.ones(2**21, np.complex64))
    tracemalloc.start()
    recordings.files(Path("a.sigmf"), recording)
    assert tracemalloc.get_traced_memory()[1] < 2.5 * recording.parts.nbytes + 24 * 2**20
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("command", "target", "words"),
    [
        (("modulate", "tx.npz"), "a.npz", "a.npz: is no recording by its name"),
        (("modulate", "tx.npz"), "-", "a recording is a file of its own"),
        (("modulate", "tx.npz"), "out/a.sigmf", "there is no folder out"),
        (("modulate", "tx.npz"), "taken.sigmf-meta", "taken.sigmf-data: is a folder"),
        (("modulate", "tx.npz"), "a" * 245 + ".sigmf-meta", "File name too long"),
        (("channel", "in.sigmf-meta", "--snr", "3"), "in.sigmf-data", "is the input itself"),
        (("channel", "in.sigmf-data", "--snr", "3"), "in.sigmf-meta", "is the input itself"),
        (("channel", "in.sigmf-meta", "--snr", "3"), "b.npz", "b.npz: is no recording by its name"),
        (("channel", "tx.npz", "--snr", "3"), "b.cf32", "b.cf32: would be taken for a recording"),
        (("demodulate", "in.sigmf-meta"), "in.sigmf-data", "would be taken for a recording"),
        (("demodulate", "in.sigmf-meta"), "link.npz", "is the input itself"),
        (("encode", "photo.png"), "b.sigmf", "b.sigmf: would be taken for a recording"),
    ],
)
def test_targets_are_looked_at_before_any_work(
    here: Gencomm, tx: Path, command: tuple[str, ...], target: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("in.sigmf-meta", "in.sigmf-data", "photo.png"):
        Path(name).write_bytes(b"theirs")
    Path("link.npz").symlink_to("in.sigmf-data")
    Path("taken.sigmf-data").mkdir()
    before = {path: path.is_file() and path.read_bytes() for path in Path().iterdir()}
    monkeypatch.setattr(recordings, "read", None)
    monkeypatch.setattr(symbols, "read", None)
    failed(here(*command, "-o", target), 2, words)
    assert {path: path.is_file() and path.read_bytes() for path in Path().iterdir()} == before


def test_errors_are_one_line(here: Gencomm, tx: Path) -> None:
    for name, content in (("a.ci16", b"123"), ("b.cf32", np.full(4000, np.nan, "<f4").tobytes()), ("c.sigmf", b"x")):
        tx.with_name(name).write_bytes(content)
    failed(here("demodulate", "a.ci16"), 2, "3 bytes")
    failed(here("demodulate", "b.cf32"), 2, "finite")
    failed(here("channel", "b.cf32", "--snr", 3), 2, "finite")
    failed(here("demodulate", "c.sigmf"), 2, "intact")
    failed(here("demodulate", "missing.sigmf"), 2, "no such file")
    failed(here("demodulate", "tx.npz", "-o", "rx.npz"), 2, ".sigmf")
    failed(here("modulate", "tx.npz", "-o", "a.wav"), 2, ".sigmf")
    for command in ("decode", "inspect", "modulate"):
        failed(here(command, "a.ci16"), 2, "a.ci16: is a recording", "gencomm demodulate")
    failed(here("modulate", "tx.npz", "--fft", 100), 2, "--fft")
    failed(here("channel", "tx.npz", "--snr", 3, "--cfo", 5), 2, "--cfo", "modulate")
    for flag in ("--rayleigh", "--cp=0", "--csi=none"):
        failed(here("channel", "a.ci16", "--snr", 3, flag), 2, "a recording takes")
    failed(here("channel", "a.ci16", "--snr", 3, "--tones", "x"), 2, "--tones")
    failed(here("channel", "a.ci16", "--snr", 3, "--clip", "nan"), 2, "--clip: nan is out of range")
    assert not list(tx.parent.glob("rx*"))
