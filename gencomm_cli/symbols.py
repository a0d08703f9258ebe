"""The symbol file, the only thing that crosses from one stage to the next: an ``.npz`` without pickles, read with distrust.

Layout: a zip archive of ``.npy`` members. ``meta`` (uint8) is UTF-8 JSON; every other member is a vector of little-endian
complex64, but for ``ideal_bits`` (uint8), the payload of an ideal code, which only ``separate --capacity`` sends. A field of
``meta`` that this version does not know is refused, not ignored: it may change what the symbols mean.
"""

from __future__ import annotations

import io
import json
import math
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.channels.estimation import BLOCK_PILOTS
from gencomm_cli.channels.fading import Kind
from gencomm_cli.channels.ofdm import ExtraUses, OfdmConfig, extra_uses
from gencomm_cli.channels.snr import SnrType, noise_power
from gencomm_cli.errors import InputError
from gencomm_cli.outputs import write_files
from gencomm_cli.rates import CBR, ImageSize, samples

if TYPE_CHECKING:
    from gencomm_cli.text.link import PromptFormat
    from gencomm_cli.text.protected import SideFormat

FORMAT = "gencomm-symbols"
VERSION = 1
MAX_PIXELS = 2**27
MAX_META = 64 * 1024
MAX_BYTES = 512 * 2**20
"""The most that a file may hold, and the most that reading it allocates."""
MAX_MAGNITUDE = 1e6
"""Of a received value: above any noise at the lowest SNR that the channel offers, far below float32's overflow when squared."""
MAX_GAIN = 100.0
"""Of the parts of a gain that the transmitter is told; h ~ CN(0, 1) never comes near it."""
SNR_RANGE = (-100.0, 100.0)
ARRAYS = ("symbols", "prompt_symbols", "side_symbols", "csi_gain", "prompt_csi_gain", "side_csi_gain", "pilot_symbols", "csi_cir")

Stage = Literal["tx", "rx"]
Csi = Literal["perfect", "estimated", "none"]
Symbols = NDArray[np.complex64]
T = TypeVar("T")

_NPY_HEADER = re.compile(rb"\{'descr': '([<|][cu][18])', 'fortran_order': False, 'shape': \((\d{1,19}),\), \} *\n")


@dataclass(frozen=True)
class ChannelRecord:
    """What channel a file went through; SNR in dB (infinite: no noise).

    ``ofdm`` is there for multipath alone; its pilots are those that were really sent. ``rx_snr_db``: what the receiver was told
    instead of the SNR, if it was misled. Neither is in ``meta`` where it is None.
    """

    kind: Kind
    snr_db: float
    snr_type: SnrType
    csi: Csi
    ofdm: OfdmConfig | None = None
    rx_snr_db: float | None = None

    def __post_init__(self) -> None:
        """Raises InputError where the fields do not go together."""
        if (self.ofdm is not None) != (self.kind == "multipath"):
            raise InputError(f"ofdm is {'missing' if self.ofdm is None else 'there'}, against the channel's kind {self.kind}")
        if self.csi == "estimated" and self.kind not in ("block", "multipath"):
            raise InputError(f"--csi estimated: is for block and multipath fading, not {self.kind}; use perfect or none")
        if self.ofdm is not None and self.csi == ("none" if self.ofdm.pilots else "estimated"):
            raise InputError(f"--pilots: --csi {self.csi} does not go with {self.ofdm.pilots} OFDM symbols of pilots")

    def extra_uses(self, counts: Sequence[int]) -> ExtraUses:
        """Pilots, prefixes and empty carriers that come with so many image, prompt and side symbols."""
        if self.ofdm is not None:
            return extra_uses(counts, self.ofdm)
        return ExtraUses(pilots=BLOCK_PILOTS if self.csi == "estimated" else 0)


@dataclass(frozen=True)
class Provenance:
    """For people. Decoders never see it: with the seed a receiver could draw the noise again.

    ``container_bytes``: of the image file that ``separate`` made, what was not sent because the receiver puts it back."""

    versions: dict[str, str] = field(default_factory=dict)
    channel_seed: int | None = None
    container_bytes: int | None = None


@dataclass(frozen=True)
class ClassicalFormat:
    """How ``separate`` coded the image's bits; what its receiver is told.

    Attributes:
        codec: of the image. payload_bytes: of its file as sent, less what ``container`` says was left out.
        container: ``kept``, or ``stripped`` where bytes that the receiver can put back were not sent.
        scale: the image was coded at 1/scale of its size along each side.
        modulation, code_rate, fec: as in ``ClassicalOptions``, none ``auto``; both are ``ideal`` where fec is ``capacity``.
        code: name of the mother code, "" where there is none. crc_bits: of the check over the payload.
    """

    codec: str
    payload_bytes: int
    container: str
    scale: int
    modulation: str
    code_rate: str
    fec: str
    code: str
    crc_bits: int


@dataclass(frozen=True)
class Header:
    """``meta`` of a symbol file.

    Attributes:
        image_size: (H, W) of the original image in pixels.
        prompt: how the prompt was coded; None if none was sent.
        tx_snr_db: the SNR in dB that the transmitter was told, or None.
        power: nominal E|x|² per complex symbol, always 1.
        n0: noise power per complex symbol; rx only, as is ``channel``.
        control_bits: size of the fields that the receiver is taken to know for nothing.
        classical: how the image's bits were coded, by ``separate`` alone; else None, and not in ``meta``.
        side: how the bits in the side symbols were coded; None, and not in ``meta``, where there are none.
        tx_gain: h of the block-fading channel that comes, as the transmitter was told it; tx only, and not in ``meta`` if None.
    """

    stage: Stage
    method: str
    preset: str
    weights_sha256: str
    image_size: ImageSize
    cbr: CBR
    prompt: PromptFormat | None
    tx_snr_db: float | None
    control_bits: int
    power: float = 1.0
    channel: ChannelRecord | None = None
    n0: float | None = None
    provenance: Provenance = Provenance()
    classical: ClassicalFormat | None = None
    side: SideFormat | None = None
    tx_gain: complex | None = None

    def to_json(self) -> dict[str, Any]:
        """``meta`` as a JSON object; an infinite SNR is the string ``"inf"``."""
        meta: dict[str, Any] = {"format": FORMAT, "version": VERSION} | asdict(self)
        meta["tx_snr_db"] = _finite(self.tx_snr_db)
        if self.classical is None:
            del meta["classical"]
        if self.side is None:
            del meta["side"]
        del meta["tx_gain"]
        if self.tx_gain is not None:
            meta["tx_gain"] = [self.tx_gain.real, self.tx_gain.imag]
        if self.channel is None:
            del meta["channel"], meta["n0"]
        else:
            meta["channel"]["snr_db"] = _finite(self.channel.snr_db)
            meta["channel"]["rx_snr_db"] = _finite(self.channel.rx_snr_db)
            for name in ("ofdm", "rx_snr_db"):
                if meta["channel"][name] is None:
                    del meta["channel"][name]
        if self.cbr.idle == 0:
            del meta["cbr"]["idle"]
        for name in ("channel_seed", "container_bytes"):
            if meta["provenance"][name] is None:
                del meta["provenance"][name]
        return meta

    @classmethod
    def from_json(cls, meta: object) -> Header:
        """The header in a parsed ``meta``.

        Raises:
            InputError: a field is missing, unknown, of a wrong type or out of its range.
        """
        fields = _Fields(meta, "meta")
        fields.take("format", lambda value: _one_of(value, (FORMAT,)))
        fields.take("version", lambda value: _one_of(value, (VERSION,)))
        stage = fields.take("stage", lambda value: _one_of(value, get_args(Stage)))
        received = stage == "rx"
        header = cls(
            stage=stage,
            method=fields.take("method", _name),
            preset=fields.take("preset", _name),
            weights_sha256=fields.take("weights_sha256", _sha256),
            image_size=fields.take("image_size", _image_size),
            cbr=fields.take("cbr", _cbr),
            prompt=fields.take("prompt", _prompt),
            tx_snr_db=fields.take("tx_snr_db", lambda value: None if value is None else _snr(value)),
            control_bits=fields.take("control_bits", lambda value: _integer(value, 0, 2**20)),
            power=fields.take("power", lambda value: _number(value, 1.0, 1.0)),
            channel=fields.take("channel", _channel) if received else None,
            n0=fields.take("n0", lambda value: _number(value, 0.0, 1e12)) if received else None,
            provenance=fields.take("provenance", _provenance),
            classical=fields.take("classical", _classical) if "classical" in fields.left else None,
            side=fields.take("side", _side) if "side" in fields.left else None,
            tx_gain=None if received or "tx_gain" not in fields.left else fields.take("tx_gain", _gain),
        )
        fields.end()
        return header


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


def write(file: SymbolFile, target: Path | BinaryIO) -> None:
    """Writes a symbol file, whole or not at all. The same file gives the same bytes.

    Raises:
        InputError: the target cannot be written, or the file breaks one of the rules that :func:`read` checks.
    """
    if isinstance(target, Path):
        write_files({target: to_bytes(file)})
    else:
        target.write(to_bytes(file))


def to_bytes(file: SymbolFile) -> bytes:
    """The archive as bytes; members are stored in a fixed order with a fixed date."""
    _check(file)
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
        InputError: no such file, or anything about it that is not as :func:`write` leaves it.
    """
    name = str(source) if isinstance(source, Path) else "standard input"
    try:
        if isinstance(source, Path):
            with source.open("rb") as opened:
                data = opened.read(MAX_BYTES + 1)
        else:
            data = source.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{name}: no such file; name a symbol file that `gencomm encode` or `gencomm channel` wrote") from None
    except IsADirectoryError:
        raise InputError(f"{name}: is a folder; name a symbol file (.npz)") from None
    except OSError as error:
        raise InputError(f"{name}: cannot be read ({error.strerror}); name a readable symbol file") from None
    try:
        return _from_bytes(data)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None


def _from_bytes(data: bytes) -> SymbolFile:
    if not data:
        raise InputError("is empty; a symbol file (.npz) was expected")
    if len(data) > MAX_BYTES:
        raise InputError(f"is larger than {MAX_BYTES >> 20} MiB, the most that a symbol file may be")
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = _entries(archive)
            header = Header.from_json(_parse_json(_member(archive, entries["meta"], np.dtype(np.uint8)).tobytes()))
            arrays: dict[str, NDArray[Any]] = {
                name: _member(archive, entry, np.dtype(np.uint8 if name == "ideal_bits" else "<c8"))
                for name, entry in entries.items()
                if name != "meta"
            }
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, struct.error, OSError, ValueError) as error:
        raise InputError(f"is not an intact symbol file ({error}); write it again") from None
    file = SymbolFile(header, **arrays)
    _check(file)
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


def _parse_json(data: bytes) -> object:
    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a field is there twice")
        return dict(pairs)

    try:
        return json.loads(data.decode(), parse_constant=refuse, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"meta is not JSON ({str(error)[:100]})") from None


def _check(file: SymbolFile) -> None:
    """What must hold between header and arrays."""
    header, channel = file.header, file.header.channel
    for name, array in file.arrays().items():
        if array.dtype != np.complex64 or array.ndim != 1:
            raise InputError(f"{name} is {array.dtype} {list(array.shape)}; a vector of complex64 was expected")
        # NaN fails this comparison too; the largest of real and imaginary part spares squaring what could overflow.
        if array.size and not np.abs(array.view(np.float32)).max() <= MAX_MAGNITUDE:
            raise InputError(f"{name} holds values that are not finite or above {MAX_MAGNITUDE:g}")
    for name, symbols in (("image", file.symbols), ("prompt", file.prompt_symbols), ("side", file.side_symbols)):
        uses = getattr(header.cbr, name) * samples(header.image_size)
        if abs(uses - symbols.size) > 1e-6 * max(1, symbols.size):
            raise InputError(f"meta counts {uses:.6g} {name} symbols (cbr.{name}) and the file holds {symbols.size}")
        # Of k points of a constellation the power depends on the bits: by less than 0.62/√k (64-QAM), one standard deviation.
        off = 0.01 if header.classical is None else 0.01 + 6 * 0.62 / max(symbols.size, 1) ** 0.5
        if header.stage == "tx" and symbols.size and abs(mean_power(symbols) - header.power) > off:
            raise InputError(f"{name} symbols have mean power {mean_power(symbols):.4g}; the transmitter sends {header.power:g}")
    if not file.symbols.size:
        raise InputError("symbols is empty; an image takes at least one symbol")
    if (header.prompt is None) != (file.prompt_symbols.size == 0):
        raise InputError("meta.prompt and prompt_symbols do not agree on whether there is a prompt")
    if header.side is not None and not file.side_symbols.size:
        raise InputError("meta.side says how side_symbols carry bits, and there are none")
    form, ideal_bits = header.classical, file.ideal_bits
    if (ideal_bits is None) == (form is not None and form.fec == "capacity"):
        raise InputError(f"ideal_bits is {'missing' if ideal_bits is None else 'there'}, against meta.classical")
    if ideal_bits is not None and form is not None:
        right = ideal_bits.dtype == np.uint8 and ideal_bits.shape == (form.payload_bytes,)
        if not right:
            raise InputError(
                f"ideal_bits holds {ideal_bits.dtype} {list(ideal_bits.shape)}; meta counts {form.payload_bytes} bytes"
            )
    if channel is not None and channel.snr_type != "received" and header.n0 is not None:
        bits = None if form is None else 8 * form.payload_bytes
        told_db = channel.snr_db if channel.rx_snr_db is None else channel.rx_snr_db
        expected_n0 = noise_power(told_db, channel.snr_type, file.symbols, None, bits)
        if abs(header.n0 - expected_n0) > 1e-6 * expected_n0:
            raise InputError(f"meta.n0 {header.n0:g} is not the noise power of {told_db:g} dB")
    _check_ofdm(file)
    known = channel is not None and channel.kind in ("rayleigh", "block") and channel.csi == "perfect"
    for name, symbols, gain in (
        ("csi_gain", file.symbols, file.csi_gain),
        ("prompt_csi_gain", file.prompt_symbols, file.prompt_csi_gain),
        ("side_csi_gain", file.side_symbols, file.side_csi_gain),
    ):
        if (gain is not None) != (known and symbols.size > 0):
            raise InputError(
                f"{name} is {'missing' if gain is None else 'there'}, against meta.channel and the symbols it belongs to"
            )
        expected = 1 if channel is not None and channel.kind == "block" else symbols.size
        if gain is not None and gain.size != expected:
            raise InputError(f"{name} holds {gain.size} gains; {expected} were expected")


def _check_ofdm(file: SymbolFile) -> None:
    """Pilots, prefixes and impulse response must be those of the channel."""
    header, channel = file.header, file.header.channel
    counts = (file.symbols.size, file.prompt_symbols.size, file.side_symbols.size)
    extra = ExtraUses() if channel is None else channel.extra_uses(counts)
    for name, uses in asdict(extra).items():
        if abs(getattr(header.cbr, name) * samples(header.image_size) - uses) > 1e-6 * max(1, uses):
            raise InputError(f"meta.cbr.{name} does not count the {uses} uses that go with the channel")
    cir = channel is not None and channel.ofdm is not None and channel.csi == "perfect"
    taps = channel.ofdm.taps if channel is not None and channel.ofdm is not None else 0
    for name, array, there, size in (
        ("pilot_symbols", file.pilot_symbols, extra.pilots > 0, extra.pilots),
        ("csi_cir", file.csi_cir, cir, taps),
    ):
        if (array is not None) != there:
            raise InputError(f"{name} is {'missing' if array is None else 'there'}, against meta.channel")
        if array is not None and array.size != size:
            raise InputError(f"{name} holds {array.size} values; {size} were expected")


def mean_power(symbols: Symbols) -> float:
    """Measured E|x|² of an array that is not empty."""
    return float(np.mean(np.abs(symbols.astype(np.complex128)) ** 2))


class _Fields:
    """A JSON object taken apart field by field."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise InputError(f"{where} is not a JSON object")
        self.left: dict[str, object] = dict(value)
        self.where = where

    def take(self, name: str, parse: Callable[[object], T]) -> T:
        if name not in self.left:
            raise InputError(f"{self.where}.{name} is missing")
        try:
            return parse(self.left.pop(name))
        except ValueError as error:
            raise InputError(f"{self.where}.{name}: {error}") from None

    def end(self) -> None:
        for name in self.left:
            raise InputError(f"{self.where}.{name[:60]!r} is a field that this version of gencomm does not know")


def _finite(snr_db: float | None) -> float | str | None:
    return "inf" if snr_db == math.inf else snr_db


def _one_of(value: object, allowed: tuple[Any, ...]) -> Any:
    if isinstance(value, bool) or value not in allowed:
        raise ValueError(f"{str(value)[:60]!r} is not {' or '.join(map(repr, allowed))}")
    return allowed[allowed.index(value)]


def _boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{str(value)[:60]!r} is not true or false")
    return value


def _matching(value: object, pattern: str, what: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(pattern, value, re.ASCII):
        raise ValueError(f"{str(value)[:60]!r} is not {what}")
    return value


def _name(value: object) -> str:
    return _matching(value, r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", "a name of letters, digits, dots and dashes")


def _sha256(value: object) -> str:
    return _matching(value, "[0-9a-f]{64}", "a SHA-256 in lower-case hexadecimal")


def _integer(value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{str(value)[:60]} is not an integer from {low} to {high}")
    return value


def _number(value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise ValueError(f"{str(value)[:60]} is not a number from {low:g} to {high:g}")
    return float(value)


def _snr(value: object) -> float:
    return math.inf if value == "inf" else _number(value, *SNR_RANGE)


def _gain(value: object) -> complex:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("is not [real, imaginary]")
    return complex(*(_number(part, -MAX_GAIN, MAX_GAIN) for part in value))


def _image_size(value: object) -> ImageSize:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError("is not [height, width]")
    height, width = (_integer(side, 1, MAX_PIXELS) for side in value)
    if height * width > MAX_PIXELS:
        raise ValueError(f"{height}x{width} is more than 2^27 pixels")
    return height, width


def _cbr(value: object) -> CBR:
    fields = _Fields(value, "meta.cbr")
    requested = fields.take("requested", lambda number: None if number is None else _number(number, 0.0, 1e9))
    parts = {
        name: fields.take(name, lambda number: _number(number, 0.0, 1e9)) for name in ("image", "prompt", "side", "pilots", "cp")
    }
    total = fields.take("total", lambda number: _number(number, 0.0, 1e9))
    if "idle" in fields.left:
        parts["idle"] = fields.take("idle", lambda number: _number(number, 0.0, 1e9))
    fields.end()
    if abs(total - sum(parts.values())) > 1e-9 * max(1.0, total):
        raise ValueError(f"total {total:g} is not the sum of its parts")
    return CBR(requested, **parts, total=total)


def _prompt(value: object) -> PromptFormat | None:
    if value is None:
        return None
    from gencomm_cli.text.link import PromptFormat

    fields = _Fields(value, "meta.prompt")
    prompt = PromptFormat(
        payload_bits=fields.take("payload_bits", lambda number: _integer(number, 0, 2**17)),
        code=fields.take("code", _name),
        modulation=fields.take("modulation", lambda name: _one_of(name, ("bpsk", "qpsk"))),
        repetition=fields.take("repetition", lambda number: _one_of(number, (1, 2, 4))),
        text_model=fields.take("text_model", _name),
        crc_bits=fields.take("crc_bits", lambda number: _integer(number, 0, 64)),
    )
    fields.end()
    return prompt


def _side(value: object) -> SideFormat:
    from gencomm_cli.text.protected import SideFormat

    fields = _Fields(value, "meta.side")
    side = SideFormat(
        payload_bits=fields.take("payload_bits", lambda number: _integer(number, 0, 2**24)),
        code=fields.take("code", _name),
        modulation=fields.take("modulation", lambda name: _one_of(name, ("bpsk", "qpsk"))),
        repetition=fields.take("repetition", lambda number: _one_of(number, (1, 2, 4))),
        crc_bits=fields.take("crc_bits", lambda number: _integer(number, 0, 64)),
    )
    fields.end()
    return side


def _classical(value: object) -> ClassicalFormat:
    fields = _Fields(value, "meta.classical")
    form = ClassicalFormat(
        codec=fields.take("codec", _name),
        payload_bytes=fields.take("payload_bytes", lambda number: _integer(number, 0, MAX_BYTES)),
        container=fields.take("container", lambda name: _one_of(name, ("kept", "stripped"))),
        scale=fields.take("scale", lambda number: _integer(number, 1, 64)),
        modulation=fields.take("modulation", _name),
        code_rate=fields.take("code_rate", lambda text: _matching(text, r"\d{1,2}/\d{1,2}|ideal", "a code rate")),
        fec=fields.take("fec", _name),
        code=fields.take("code", lambda text: text if text == "" else _name(text)),
        crc_bits=fields.take("crc_bits", lambda number: _integer(number, 0, 64)),
    )
    fields.end()
    return form


def _channel(value: object) -> ChannelRecord:
    fields = _Fields(value, "meta.channel")
    channel = ChannelRecord(
        kind=fields.take("kind", lambda name: _one_of(name, get_args(Kind))),
        snr_db=fields.take("snr_db", _snr),
        snr_type=fields.take("snr_type", lambda name: _one_of(name, get_args(SnrType))),
        csi=fields.take("csi", lambda name: _one_of(name, get_args(Csi))),
        ofdm=fields.take("ofdm", _ofdm) if "ofdm" in fields.left else None,
        rx_snr_db=fields.take("rx_snr_db", _snr) if "rx_snr_db" in fields.left else None,
    )
    fields.end()
    return channel


def _ofdm(value: object) -> OfdmConfig:
    fields = _Fields(value, "meta.channel.ofdm")
    values: dict[str, Any] = {
        name: fields.take(name, lambda number: _integer(number, 0, 2**16)) for name in ("carriers", "cp", "pilots", "taps")
    }
    values["decay"] = fields.take("decay", lambda number: _number(number, 0.0, 1e9))
    values["clip"] = fields.take("clip", lambda number: None if number is None else _number(number, 0.0, 1e9))
    values["interleaver"] = fields.take("interleaver", _boolean)
    fields.end()
    try:
        return OfdmConfig(**values)
    except InputError as error:
        raise ValueError(str(error).replace("--", "")) from None


def _provenance(value: object) -> Provenance:
    fields = _Fields(value, "meta.provenance")
    versions = fields.take("versions", _versions)
    numbers = {
        name: fields.take(name, lambda number: _integer(number, 0, 2**64)) if name in fields.left else None
        for name in ("channel_seed", "container_bytes")
    }
    fields.end()
    return Provenance(versions, **numbers)


def _versions(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > 20:
        raise ValueError("is not a short JSON object")
    return {_name(name): _name(version) for name, version in value.items()}
