"""Recordings of complex baseband: SigMF archives and pairs (sigmf.org), and raw cf32 or ci16.

The `sigmf` package makes and validates the metadata; where the samples lie in a file is found here, since what it claims is checked
against the file before anything is read. Samples are mapped into memory, and only those that are asked for are read.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import mmap
import tarfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import gencomm_cli
from gencomm_cli.errors import InputError, imported
from gencomm_cli.radio import PAIR, SUFFIXES, files_of
from gencomm_cli.textfiles import parse_json

DATATYPES: dict[str, tuple[np.dtype[Any], float]] = {"cf32_le": (np.dtype("<f4"), 1.0), "ci16_le": (np.dtype("<i2"), 32768.0)}
"""Of SigMF: how the parts of a sample are stored, and which value is full scale."""
RAW = {".cf32": "cf32_le", ".ci16": "ci16_le"}
MAX_META = 2**20
_NEEDED = "SigMF: needs the sigmf package; pip install 'gencomm[radio]', or use .cf32 or .ci16"
_BLOCK = 2**20
"""Samples that are converted together."""
DEFAULT_RATE = 1e6
PEAK = 0.9
"""What the largest part of a sample is made, of full scale."""


@dataclass(frozen=True)
class Span:
    """Where a signal is: ``count`` samples from ``start``, between two frequencies in Hz."""

    start: int
    count: int
    low: float
    high: float
    label: str = ""


@dataclass(frozen=True)
class Recording:
    """Samples of a recording with what its metadata says.

    Attributes:
        parts: real and imaginary parts, [n, 2] as stored; a map of the file, or an array. full_scale: the value that stands for 1.
        sample_rate: in Hz. spans: where signals are (SigMF's annotations). settings: whole numbers in the namespace of gencomm.
    """

    parts: NDArray[Any]
    full_scale: float = 1.0
    sample_rate: float = DEFAULT_RATE
    spans: tuple[Span, ...] = ()
    settings: tuple[tuple[str, int], ...] = ()

    def __len__(self) -> int:
        return len(self.parts)

    def read(self, start: int, stop: int) -> NDArray[np.complex64]:
        """Samples complex64 with full scale 1. Raises InputError where one is not finite or above 10^6."""
        values = np.ascontiguousarray(self.parts[start:stop], np.float32) / np.float32(self.full_scale)
        if values.size and not np.abs(values).max() <= 1e6:
            raise InputError(f"samples: between {start} and {stop} are values that are not finite or above 1e6; record them again")
        return values.view(np.complex64)[:, 0]


def of_samples(samples: NDArray[np.complex64], sample_rate: float = DEFAULT_RATE, **known: Any) -> Recording:
    """A recording in memory."""
    return Recording(np.ascontiguousarray(samples, np.complex64).view(np.float32).reshape(-1, 2), 1.0, sample_rate, **known)


def read(path: Path) -> Recording:
    """Opens a recording.

    Raises:
        InputError: no such file, or it is not a recording of one channel in a format that is read here, whole.
    """
    try:
        if path.suffix in RAW:
            return _raw(path)
        if path.suffix in PAIR:
            return _pair(*map(Path, files_of(str(path))))
        if path.suffix == ".sigmf":
            return _archive(path)
    except FileNotFoundError as error:
        raise InputError(f"{error.filename}: no such file; name a recording") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); name a recording") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    raise InputError(f"{path}: is no recording by its name; name one that ends in {', '.join(SUFFIXES)}")


def files(path: Path, recording: Recording, datatype: str = "cf32_le") -> dict[Path, bytes | memoryview]:
    """The files of a recording, by their paths: an archive, a SigMF pair, or raw samples, by the suffix of ``path``.

    The same recording always gives the same bytes. Raises InputError for another suffix, or without `sigmf`.
    """
    if path.suffix in RAW:
        return {path: _stored(recording, RAW[path.suffix])}
    data = _stored(recording, datatype)
    contents: tuple[bytes | memoryview, ...] = (_metadata(recording, datatype, data), data)
    if path.suffix in PAIR:
        return dict(zip(map(Path, files_of(str(path))), contents, strict=True))
    if path.suffix != ".sigmf":
        raise InputError(f"{path}: is no recording by its name; name one that ends in {', '.join(SUFFIXES)}")
    blocks: list[bytes | memoryview] = []
    for suffix, content in zip(PAIR, contents, strict=True):
        entry = tarfile.TarInfo(f"{path.stem}/{path.stem}{suffix}")  # its date is 1970: the same bytes each time
        entry.size = len(content)
        blocks += [entry.tobuf(tarfile.PAX_FORMAT), content, bytes(-entry.size % tarfile.BLOCKSIZE)]
    blocks.append(bytes(2 * tarfile.BLOCKSIZE))
    return {path: b"".join((*blocks, bytes(-sum(map(len, blocks)) % tarfile.RECORDSIZE)))}  # tarfile would copy it three times


def _stored(recording: Recording, datatype: str) -> memoryview:
    """The bytes of its samples."""
    kind, full_scale = DATATYPES[datatype]
    stored = np.empty((len(recording), 2), kind)
    for start in range(0, len(stored), _BLOCK):
        parts = recording.read(start, start + _BLOCK).view(np.float32).reshape(-1, 2)
        stored[start : start + _BLOCK] = (
            np.rint(parts * full_scale).clip(-full_scale, full_scale - 1) if kind.kind == "i" else parts
        )
    return stored.data.cast("B")


def _metadata(recording: Recording, datatype: str, data: memoryview) -> bytes:
    extension = {"name": "gencomm", "version": "1.0.0", "optional": True}
    known: dict[str, Any] = {
        "core:datatype": datatype, "core:sample_rate": recording.sample_rate,
        "core:version": imported("sigmf", _NEEDED).__specification__,
        "core:num_channels": 1, "core:recorder": f"gencomm {gencomm_cli.__version__}",
        "core:sha512": hashlib.sha512(data).hexdigest(), "core:extensions": [extension],
    } | {f"gencomm:{name}": value for name, value in recording.settings}  # fmt: skip
    annotations = [
        {
            "core:sample_start": span.start, "core:sample_count": span.count, "core:freq_lower_edge": span.low,
            "core:freq_upper_edge": span.high, "core:label": span.label,
        }
        for span in recording.spans
    ]  # fmt: skip
    meta = {"global": known, "captures": [{"core:sample_start": 0}], "annotations": annotations}
    imported("sigmf.validate", _NEEDED).validate(meta)
    return json.dumps(meta, indent=1).encode()


def _raw(path: Path) -> Recording:
    size, (kind, full_scale) = path.stat().st_size, DATATYPES[RAW[path.suffix]]
    return Recording(_mapped(path, 0, size, kind), full_scale)


def _pair(meta: Path, data: Path) -> Recording:
    with meta.open("rb") as opened:
        text = opened.read(MAX_META + 1)
    return _described(text, data, 0, data.stat().st_size)


def _archive(path: Path) -> Recording:
    found: dict[str, tarfile.TarInfo] = {}
    try:
        with tarfile.open(path, "r:") as archive:
            for entry in archive:
                suffix = Path(entry.name).suffix
                if suffix not in PAIR:
                    continue
                if suffix in found or not entry.isreg() or entry.issparse():
                    raise InputError(f"holds {entry.name[:60]!r} twice, or not as a plain file; one recording was expected")
                found[suffix] = entry
            if len(found) < 2:
                raise InputError("has no .sigmf-meta or no .sigmf-data; a SigMF archive of one recording was expected")
            with contextlib.closing(archive.extractfile(found[".sigmf-meta"]) or io.BytesIO()) as opened:
                text = opened.read(MAX_META + 1)
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise InputError(f"is not an intact SigMF archive ({error}); copy it again") from None
    data = found[".sigmf-data"]
    if data.offset_data + data.size > path.stat().st_size:
        raise InputError("ends before its samples do; copy it again")
    return _described(text, path, data.offset_data, data.size)


def _described(text: bytes, path: Path, offset: int, size: int) -> Recording:
    """The recording whose metadata is ``text``, and whose samples are so many bytes of a file."""
    if len(text) > MAX_META:
        raise InputError(f"has more than {MAX_META >> 20} MiB of metadata, which no recording needs")
    meta = parse_json(text)
    if not isinstance(meta, dict):
        raise InputError("has metadata that is no JSON object")
    _validate(meta)
    known: dict[str, Any] = meta["global"]
    datatype = known["core:datatype"]
    if datatype not in DATATYPES:
        raise InputError(f"has samples of datatype {datatype[:20]}; {' or '.join(DATATYPES)} was expected")
    if known.get("core:num_channels", 1) != 1 or known.get("core:dataset") or known.get("core:trailing_bytes"):
        raise InputError("has several channels, or samples in a foreign file; a plain recording of one channel was expected")
    if any(capture.get("core:header_bytes") for capture in meta["captures"]):
        raise InputError("has headers among its samples; a plain recording was expected")
    rate = known.get("core:sample_rate", DEFAULT_RATE)
    if not 1 <= rate <= 1e12:
        raise InputError(f"has a sample rate of {rate:g} Hz; 1 to 1e12 was expected")
    kind, full_scale = DATATYPES[datatype]
    parts = _mapped(path, offset, size, kind)
    expected = known.get("core:sha512")
    if expected is not None and hashlib.sha512(parts.data).hexdigest() != expected.lower():
        raise InputError("has other samples than its core:sha512 says; copy it again")
    settings = tuple(
        (name.partition(":")[2], value) for name, value in known.items() if name.startswith("gencomm:") and type(value) is int
    )
    return Recording(parts, full_scale, float(rate), tuple(_spans(meta["annotations"], len(parts), rate)), settings)


def _spans(annotations: Sequence[dict[str, Any]], length: int, rate: float) -> list[Span]:
    """Those within the recording and its bandwidth."""
    spans = []
    for each in annotations:
        start, count = int(each["core:sample_start"]), int(each.get("core:sample_count", length))
        low, high = each.get("core:freq_lower_edge", -rate / 2), each.get("core:freq_upper_edge", rate / 2)
        if 0 <= start < length and low < high:
            spans.append(
                Span(start, min(count, length - start), max(low, -rate / 2), min(high, rate / 2), each.get("core:label", ""))
            )
    return spans


def _mapped(path: Path, offset: int, size: int, kind: np.dtype[Any]) -> NDArray[Any]:
    """Real and imaginary parts [n, 2] of ``size`` bytes of a file, read when they are asked for."""
    if size % (2 * kind.itemsize):
        raise InputError(
            f"holds {size} bytes of samples, which is no whole number of {2 * kind.itemsize} bytes each; copy it again"
        )
    if not size:
        raise InputError("holds no samples")
    with path.open("rb") as opened:
        mapped = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
    return np.frombuffer(mapped, kind, size // kind.itemsize, offset).reshape(-1, 2)


def _validate(meta: dict[str, Any]) -> None:
    """Raises InputError where metadata is not as SigMF's schema has it."""
    sigmf = imported("sigmf.validate", _NEEDED)
    from jsonschema.exceptions import ValidationError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that an extension is not declared does no harm here
            sigmf.validate(meta)
    except ValidationError as error:
        where = ".".join(map(str, error.absolute_path))
        raise InputError(f"has metadata that is not SigMF: {where or 'it'}: {error.message[:120]}") from None
    except (TypeError, KeyError, AttributeError, ValueError) as error:
        raise InputError(f"has metadata that is not SigMF ({type(error).__name__}: {str(error)[:100]})") from None
