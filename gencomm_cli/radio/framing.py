"""A symbol file as the cells of bursts, and what is left of it on the other side.

    image, prompt, side symbols ─► shuffled over the whole file ─► every B-th to each of B bursts ─► phases scrambled
    header and description ─► CRC-24, LDPC, BPSK ─► before them, in every burst

The symbols stay analog. Each burst says all that a receiver needs of the file: the first codeword has a fixed size, and says how
long the description is; what does not fit into it follows in codewords of its own. It was received by radio, so every number is
checked before anything is allocated.
"""

from __future__ import annotations

import hashlib
import json
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gencomm_cli import rates
from gencomm_cli.channels.ofdm import qpsk
from gencomm_cli.errors import InputError, OptionError
from gencomm_cli.radio.options import MAX_MODULATED
from gencomm_cli.radio.waveform import PREAMBLE, Complex, Waveform
from gencomm_cli.seeds import generator
from gencomm_cli.symbols import ChannelRecord, Header, Provenance, SymbolFile, Symbols, fields
from gencomm_cli.text import crc, ldpc
from gencomm_cli.text.coded_modulation import CodedModulation
from gencomm_cli.textfiles import parse_json

MAX_SYMBOLS = 2**21
"""Of a file: putting it together takes some 60 bytes for each, within 200 MB."""
MAX_DESCRIPTION = 2048
MAX_N0 = 1e6
_CODE, _MODULATION = "r12n1536", "bpsk"
_VERSION = b"gencomm radio 1"
_FIELDS = struct.Struct(">HHHHH")
_FIRST = 93
"""Bytes of the first codeword: with the CRC they fill it but for two bits."""
_ROOM = _FIRST - _FIELDS.size
"""Of them, for the description."""
_LEFT_OUT = ("format", "version", "stage", "weights_sha256", "cbr", "power", "provenance")
_TYPICAL = (
    b'"classical":{"codec":"avif","payload_bytes":,"container":"stripped","scale":1,"modulation":"qpsk","code_rate":"1/2","fec":"ldpc",'
    b'"code":"r34n1536r14n1536r12n1536r12n768","crc_bits":24},"side":{"payload_bits":,"code":"r12n384","modulation":"qpsk",'
    b'"repetition":1,"crc_bits":24},"prompt":{"payload_bits":,"code":"r12n576","modulation":"qpsk","repetition":1,"text_model":'
    b'"gencomm-text-1","crc_bits":24}{"method":"","preset":"nano","image_size":[512,768],"prompt":null,"tx_snr_db":null,'
    b'"tx_snr_db":10.0,"control_bits":108,"counts":[3893,0,0],"requested":0.00330.0026041666666666665}'
)
"""What a description looks like, for deflate to point at; part of the format."""


@dataclass(frozen=True)
class BurstHeader:
    """What the first codeword of a burst says.

    Attributes:
        transmission: 16 bits, the same in all bursts of a file. index: of the burst, from 0. bursts: how many there are.
        symbols: OFDM symbols of this burst after the preamble. description_bytes: how long the description is.
    """

    transmission: int
    index: int
    bursts: int
    symbols: int
    description_bytes: int


@dataclass(frozen=True)
class Description:
    """``header``: of the file that was sent. counts: of its image, prompt and side symbols."""

    header: Header
    counts: tuple[int, int, int]

    @property
    def symbols(self) -> int:
        """Of all three kinds."""
        return sum(self.counts)


@dataclass(frozen=True)
class Piece:
    """What one burst brought: y and h of its symbols, complex64 [n], with noise of unit power."""

    index: int
    received: Symbols
    gain: Symbols


def split(file: SymbolFile, waveform: Waveform) -> list[Complex]:
    """The cells of each burst of a file that was sent.

    Raises:
        InputError: a file that has been through a channel, or what no waveform carries.
    """
    header = file.header
    if header.stage != "tx":
        raise InputError("symbols: have been through a channel already; give the transmitted file (tx)")
    if file.ideal_bits is not None:
        raise InputError("symbols: come with bits of an ideal code (--capacity), which no waveform carries; encode without it")
    if header.tx_gain is not None:
        raise InputError("symbols: were made for a known block gain (encode --gain), which a radio has not; encode without it")
    parts = [file.symbols, file.prompt_symbols, file.side_symbols]
    payload = np.concatenate(parts)
    if payload.size > MAX_SYMBOLS:
        raise InputError(
            f"symbols: there are {payload.size}, more than the {MAX_SYMBOLS} that a waveform carries; use a lower --cbr"
        )
    description = describe(Description(header, (parts[0].size, parts[1].size, parts[2].size)))
    if len(description) > MAX_DESCRIPTION:
        raise InputError(f"description: takes {len(description)} bytes, more than {MAX_DESCRIPTION}; use shorter names")
    room = waveform.burst * waveform.cells_per_symbol - header_cells(len(description))
    if room < 1:
        raise OptionError("burst", f"{waveform.burst} OFDM symbols do not even hold the header; use more, or a larger DFT")
    bursts = -(-payload.size // room)
    if bursts >= 2**16:
        raise OptionError("burst", f"the file takes {bursts} bursts, more than 65535; use longer ones")
    most = waveform.ofdm_symbols(header_cells(len(description)) - (-payload.size // bursts))
    if (samples := bursts * waveform.sample_count(most)) > MAX_MODULATED:
        raise InputError(
            f"symbols: take {samples} samples, more than {MAX_MODULATED}; use longer bursts, less --oversample or a lower --cbr"
        )
    digest = hashlib.sha256(payload.tobytes() + description).digest()
    shuffled = payload[_order(payload.size)]

    def burst(index: int) -> Complex:
        symbols = shuffled[index::bursts]
        count = waveform.ofdm_symbols(header_cells(len(description)) + symbols.size)
        header = BurstHeader(int.from_bytes(digest[:2], "big"), index, bursts, count, len(description))
        return scrambled(np.concatenate((encode_header(header, description), symbols)))

    return [burst(index) for index in range(bursts)]


def join(description: Description, bursts: int, pieces: Sequence[Piece], waveform: Waveform) -> SymbolFile:
    """The received file of the bursts that arrived; symbols of the others are 0 with gain 0, erasures."""
    received, gain = np.zeros(description.symbols, np.complex64), np.zeros(description.symbols, np.complex64)
    order = _order(description.symbols)
    for piece in pieces:
        where = order[piece.index :: bursts]
        received[where], gain[where] = piece.received, piece.gain
    arrived = np.concatenate([piece.gain[piece.gain != 0] for piece in pieces])
    power = float(np.mean(np.abs(arrived) ** 2, dtype=np.float64))
    n0 = 1 / max(power, 1 / MAX_N0)
    received, gain = received * np.float32(n0**0.5), gain * np.float32(n0**0.5)
    ends = np.cumsum(description.counts)[:2]
    (image, prompt, side), gains = np.split(received, ends), np.split(gain, ends)
    known = [each if each.size else None for each in gains]
    header = replace(
        description.header, stage="rx", n0=n0, channel=ChannelRecord("radio", -10 * float(np.log10(n0)), "received", "estimated"),
        cbr=rates.with_waveform(
            description.header.cbr, description.header.image_size, resource_elements(description, bursts, waveform)
        ),
    )  # fmt: skip
    return SymbolFile(header, image, prompt, side, known[0], known[1], known[2])


def resource_elements(description: Description, bursts: int, waveform: Waveform) -> int:
    """Channel uses of all bursts of a file: every carrier, used or not, of every OFDM symbol, and the cyclic prefixes."""
    first = header_cells(len(describe(description)))
    counts = (len(range(index, description.symbols, bursts)) for index in range(bursts))
    return sum(waveform.length * (PREAMBLE + waveform.ofdm_symbols(first + count)) for count in counts)


def describe(description: Description) -> bytes:
    """Of a file that was sent, all that its receiver needs: SHA-256 of the weights, then ``meta`` and counts as deflated JSON."""
    header = description.header
    meta = {name: value for name, value in header.to_json().items() if name not in _LEFT_OUT}
    meta |= {"counts": list(description.counts), "requested": header.cbr.requested}
    deflate = zlib.compressobj(9, wbits=-15, zdict=_TYPICAL)
    text = json.dumps(meta, separators=(",", ":"), allow_nan=False).encode()
    return bytes.fromhex(header.weights_sha256) + deflate.compress(text) + deflate.flush()


def read_description(data: bytes) -> Description:
    """What :func:`describe` wrote. Raises InputError for anything else."""
    inflate = zlib.decompressobj(-15, _TYPICAL)
    try:
        text = inflate.decompress(data[32:], 16 * MAX_DESCRIPTION)
    except zlib.error as error:
        raise InputError(f"description: is not deflated ({error})") from None
    meta = parse_json(text)
    if not isinstance(meta, dict) or not inflate.eof:
        raise InputError("description: is not a JSON object of a reasonable size")
    own = fields.read("description", {name: meta.pop(name, None) for name in _OWN}, _OWN)
    counts = (own["counts"][0], own["counts"][1], own["counts"][2])
    nothing = {"requested": None, "image": 0.0, "prompt": 0.0, "side": 0.0, "pilots": 0.0, "cp": 0.0, "total": 0.0}
    provenance: dict[str, object] = {"versions": {}}
    header = Header.from_json(
        {"format": "gencomm-symbols", "version": 1, "weights_sha256": data[:32].hex(), "cbr": nothing, "power": 1.0}
        | {"provenance": provenance} | meta | {"stage": "tx"}
    )  # fmt: skip
    cbr = rates.account(own["requested"], header.image_size, image=counts[0], prompt=counts[1], side=counts[2])
    if counts[0] < 1 or sum(counts) > MAX_SYMBOLS or (header.prompt is None) != (counts[1] == 0):
        raise InputError(f"description: {counts} symbols of image, prompt and side do not go with the header")
    return Description(replace(header, cbr=cbr, provenance=Provenance()), counts)


_OWN: Mapping[str, fields.Rule] = {
    "counts": lambda value: [fields.integer(0, MAX_SYMBOLS)(each) for each in fields.rule(
        lambda given: isinstance(given, list) and len(given) == 3, "three counts")(value)],
    "requested": fields.or_null(fields.number(0.0, 1e9)),
}  # fmt: skip


def encode_header(header: BurstHeader, description: bytes) -> Complex:
    """BPSK of a burst's header and description, complex64 [``header_cells``]."""
    first = _FIELDS.pack(*astuple(header)) + description[:_ROOM].ljust(_ROOM, b"\0")
    words = [first, description[_ROOM:]] if len(description) > _ROOM else [first]
    return np.concatenate([_coding().transmit(crc.protect(_bits(word), _VERSION)) for word in words])


def first_cells() -> int:
    """Cells of the first codeword."""
    return _coding().symbols(8 * _FIRST + crc.BITS)


def header_cells(description_bytes: int) -> int:
    """Cells of header and description."""
    rest = description_bytes - _ROOM
    return first_cells() + (_coding().symbols(8 * rest + crc.BITS) if rest > 0 else 0)


def decode_header(received: Complex, gain: Complex) -> tuple[BurstHeader, bytes] | None:
    """The header, and what the first codeword holds of the description; None where it is lost or says what cannot be.

    Args:
        received, gain: y and h of the burst's first cells, complex [``first_cells``], with noise of unit power.
    """
    word = _decode(received, gain, _FIRST)
    if word is None:
        return None
    header = BurstHeader(*_FIELDS.unpack_from(word))
    possible = header.index < header.bursts and 32 < header.description_bytes <= MAX_DESCRIPTION
    return (header, word[_FIELDS.size :][: header.description_bytes]) if possible else None


def decode_description(header: BurstHeader, first: bytes, received: Complex, gain: Complex) -> Description | None:
    """The description, of which the first codeword had ``first``, in all cells of a burst, likewise.

    None where it is lost, or does not go with the header.
    """
    rest, start = header.description_bytes - len(first), first_cells()
    if rest:
        end = header_cells(header.description_bytes)
        more = _decode(received[start:end], gain[start:end], rest) if received.size >= end else None
        if more is None:
            return None
        first += more
    try:
        description = read_description(first)
    except InputError:
        return None
    count = len(range(header.index, description.symbols, header.bursts))
    return description if count and header_cells(header.description_bytes) + count <= received.size else None


def scrambled(cells: Complex) -> Complex:
    """A burst's cells with public phases, so that no content makes peaks; :func:`unscrambled` undoes it."""
    return cells * qpsk(cells.size, "scrambler")


def unscrambled(cells: Complex) -> Complex:
    """The first cells of a burst as they were before :func:`scrambled`."""
    return cells * qpsk(cells.size, "scrambler").conj()


def _order(count: int) -> NDArray[np.int64]:
    """A public permutation of so many symbols, so that a lost burst takes a little of everything."""
    return np.argsort(generator(0, "bursts").bit_generator.random_raw(count), kind="stable")


def _coding() -> CodedModulation:
    return CodedModulation(ldpc.load()[_CODE], _MODULATION, 1)


def _bits(data: bytes) -> ldpc.Bits:
    return np.unpackbits(np.frombuffer(data, np.uint8))


def _decode(received: Complex, gain: Complex, size: int) -> bytes | None:
    message = _coding().receive(received, gain, 1.0, 8 * size + crc.BITS)
    payload = None if message is None else crc.verified(message, _VERSION)
    return None if payload is None else np.packbits(payload).tobytes()
