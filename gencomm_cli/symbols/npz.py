"""The file itself: a zip archive of ``.npy`` members without pickles.

``meta`` (uint8) is UTF-8 JSON; every other member is a vector of little-endian complex64, but for ``ideal_bits`` (uint8), the
payload of an ideal code, which only ``separate --capacity`` sends.
"""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.errors import InputError
from gencomm_cli.outputs import write_files
from gencomm_cli.rates import samples
from gencomm_cli.symbols.checks import check
from gencomm_cli.symbols.header import MAX_BYTES, Header
from gencomm_cli.textfiles import parse_json, read_bytes

MAX_META = 64 * 1024
ARRAYS = ("symbols", "prompt_symbols", "side_symbols", "csi_gain", "prompt_csi_gain", "side_csi_gain", "pilot_symbols", "csi_cir")

Symbols = NDArray[np.complex64]

_NPY_HEADER = re.compile(rb"\{'descr': '([<|][cu][18])', 'fortran_order': False, 'shape': \((\d{1,19}),\), \} *\n")


@dataclass(frozen=True)
class SymbolFile:
    """Header and arrays, complex64 vectors. Gains are those that the receiver knows: [k], [1] or None, in rx only.

    Over multipath symbols are the received carriers in the order in which they were sent, and ``csi_cir`` [L] is the impulse
    response if the receiver knows it. ``pilot_symbols`` are as received, OFDM symbol by OFDM symbol.

    ``ideal_bits`` uint8 [bytes] is what an ideal code carries; it is there iff the header's ``classical.fec`` is ``capacity``.
    """

    header: Header
    symbols: Symbols
    prompt_symbols: Symbols
    side_symbols: Symbols
    csi_gain: Symbols | None = None
    prompt_csi_gain: Symbols | None = None
    side_csi_gain: Symbols | None = None
    ideal_bits: NDArray[np.uint8] | None = None
    pilot_symbols: Symbols | None = None
    csi_cir: Symbols | None = None

    def arrays(self) -> dict[str, Symbols]:
        """The arrays of symbols and gains that are there, by their name in the file."""
        return {name: array for name in ARRAYS if (array := getattr(self, name)) is not None}

    @property
    def compression_ratio(self) -> float | None:
        """Source samples for each real of the image's symbols, of which each has two; None where they carry coded bits."""
        return None if self.header.classical else samples(self.header.image_size) / (2 * self.symbols.size)

    def save(self, path: Path | str) -> None:
        """Writes the file, whole or not at all. The same file gives the same bytes.

        Raises:
            InputError: it cannot be written, or breaks one of the rules that :func:`read` checks.
        """
        write_files({Path(path): to_bytes(self)})


def to_bytes(file: SymbolFile) -> bytes:
    """The archive as bytes; members are stored in a fixed order with a fixed date."""
    check(file)
    meta = json.dumps(file.header.to_json(), allow_nan=False).encode()
    members: dict[str, NDArray[Any]] = {"meta": np.frombuffer(meta, np.uint8), **file.arrays()}
    if file.ideal_bits is not None:
        members["ideal_bits"] = file.ideal_bits
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in members.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, version=(1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.create_system, entry.external_attr = 3, 0o644 << 16
            archive.writestr(entry, content.getvalue())
    return buffer.getvalue()


def read(source: Path | BinaryIO) -> SymbolFile:
    """Reads and checks a symbol file.

    Raises:
        InputError: no such file, or anything about it that is not as :func:`to_bytes` leaves it.
    """
    name = str(source) if isinstance(source, Path) else "standard input"
    data = read_bytes(source, MAX_BYTES, "a symbol file that `gencomm encode` or `gencomm channel` wrote")
    try:
        return from_bytes(data)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def from_bytes(data: bytes) -> SymbolFile:
    """The symbol file in an archive. Raises InputError as :func:`read` does."""
    if not data:
        raise InputError("is empty; a symbol file (.npz) was expected")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = _entries(archive)
            header = Header.from_json(parse_json(_member(archive, entries.pop("meta"), np.dtype(np.uint8)).tobytes()))
            arrays: dict[str, NDArray[Any]] = {
                name: _member(archive, entry, np.dtype(np.uint8 if name == "ideal_bits" else "<c8"))
                for name, entry in entries.items()
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, OSError, ValueError) as error:
        begun = data.startswith(b"PK")
        hint = "copy or write it again" if begun else "name one that `gencomm encode`, `channel` or `demodulate` wrote"
        raise InputError(f"is not an intact symbol file ({error}); {hint}") from None
    file = SymbolFile(header, **arrays)
    check(file)
    return file


def _entries(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """The directory's entries by array name, once names, methods and claimed sizes are found acceptable."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name not in ("meta", "ideal_bits", *ARRAYS) or not entry.filename.endswith(".npy"):
            raise InputError(f"holds {entry.filename[:60]!r}, which no symbol file has")
        if name in entries:
            raise InputError(f"holds {entry.filename} twice")
        if entry.flag_bits & 1 or entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise InputError(f"{entry.filename} is encrypted or packed in an unusual way; stored or deflated was expected")
        if entry.file_size > 100 * entry.compress_size + 1024:
            raise InputError(f"{entry.filename} claims {entry.file_size} bytes from {entry.compress_size}, as no symbols would")
        entries[name] = entry
    for name in ("meta", "symbols", "prompt_symbols", "side_symbols"):
        if name not in entries:
            raise InputError(f"has no {name}; a symbol file written by `gencomm encode` or `gencomm channel` was expected")
    if entries["meta"].file_size > MAX_META:
        raise InputError(f"meta claims {entries['meta'].file_size} bytes, more than {MAX_META}")
    if sum(entry.file_size for entry in entries.values()) > MAX_BYTES:
        raise InputError(f"claims more than {MAX_BYTES >> 20} MiB of arrays, the most that a symbol file may hold")
    return entries


def _member(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, dtype: np.dtype[Any]) -> NDArray[Any]:
    """One ``.npy`` member as a vector of ``dtype``; the format is parsed here so that nothing but plain numbers can come in."""
    with archive.open(entry) as opened:
        content = opened.read()
    if len(content) != entry.file_size:
        raise InputError(f"{entry.filename} claims {entry.file_size} bytes and holds {len(content)}")
    start = 10 + int.from_bytes(content[8:10], "little")
    if content[:8] != b"\x93NUMPY\x01\x00" or len(content) < start:
        raise InputError(f"{entry.filename} is not an array in version 1.0 of the .npy format")
    described = _NPY_HEADER.fullmatch(content[10:start])
    if described is None or described[1].decode() != dtype.str:
        raise InputError(f"{entry.filename} is not a vector of {dtype.name}")
    if int(described[2]) * dtype.itemsize != len(content) - start:
        raise InputError(
            f"{entry.filename} claims {int(described[2])} values and holds {(len(content) - start) / dtype.itemsize:g}"
        )
    return np.frombuffer(content, dtype, offset=start).copy()  # a view of bytes would be read-only, which torch dislikes
