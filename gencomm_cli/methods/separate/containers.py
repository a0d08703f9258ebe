"""What a file holds besides the coded picture, and how the receiver puts it back.

A few hundred channel uses are too few to send boxes that never change. ``strip`` leaves out what follows from the picture's size
and the payload's length, which the header's control fields say already; ``restore`` writes it again, byte for byte. A file whose
layout is not the one written here (another version of the encoder) is refused with ValueError, and then sent whole.

    AVIF    boxes, AV1 temporal delimiter, sequence header, frame OBU header [AVIF 1.1; ISO/IEC 14496-12; AV1 5.5]
    JPEG 2000   raw codestream: SIZ, COD, QCD, SOT, SOD, EOC [ISO/IEC 15444-1, annex A]; the encoder's comment is dropped for good
    WebP    RIFF and chunk headers, start code and size of the VP8 frame [RFC 9649; RFC 6386, 9.1]
    HEVC    HEIF's boxes, VPS, SPS and PPS, deflated against those of another picture, as they depend on the size bit by bit
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Protocol

MAX_HEAD = 4096
"""Bytes of boxes that a deflated head may unpack to."""


class Container(Protocol):
    """How one format wraps a coded picture of some (width, height)."""

    def strip(self, data: bytes, width: int, height: int) -> bytes:
        """What must be sent of a file. Raises ValueError where ``restore`` could not give the very file back."""

    def restore(self, payload: bytes, width: int, height: int) -> bytes:
        """The file. Raises ValueError where a payload cannot be one."""


@dataclass(frozen=True)
class Whole:
    """Nothing is left out."""

    def strip(self, data: bytes, width: int, height: int) -> bytes:
        return data

    def restore(self, payload: bytes, width: int, height: int) -> bytes:
        return payload


def _checked(container: Container, payload: bytes, data: bytes, width: int, height: int) -> bytes:
    if container.restore(payload, width, height) != data:
        raise ValueError("the file is laid out in another way")
    return payload


@dataclass(frozen=True)
class Avif:
    """AVIF with 4:2:0 chroma, as libavif writes it for one still picture."""

    def strip(self, data: bytes, width: int, height: int) -> bytes:
        start = data.index(b"mdat") + 4 + 2 + 2 + len(_av1_sequence(width, height)) + 1
        while data[start] & 0x80:  # the frame's length in LEB128
            start += 1
        return _checked(self, data[start + 1 :], data, width, height)

    def restore(self, payload: bytes, width: int, height: int) -> bytes:
        sequence = _av1_sequence(width, height)
        length, count = bytearray(), len(payload)
        while count >= 0x80:
            length.append(count & 0x7F | 0x80)
            count >>= 7
        stream = b"\x12\x00\x0a" + bytes([len(sequence)]) + sequence + b"\x32" + bytes([*length, count]) + payload
        level = (sequence[0] & 7) << 2 | sequence[1] >> 6
        return _avif_boxes(width, height, level, len(stream)) + stream


def _box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _avif_boxes(width: int, height: int, level: int, length: int) -> bytes:
    """Everything before a stream of ``length`` bytes."""
    kind = _box(b"ftyp", b"avif", bytes(4), b"avifmif1miafMA1B")
    properties = _box(
        b"ipco",
        _box(b"ispe", struct.pack(">III", 0, width, height)),
        _box(b"pixi", bytes.fromhex("0000000003080808")),
        _box(b"av1C", bytes((0x81, level, 0x0C, 0))),
        _box(b"colr", b"nclx", bytes.fromhex("0001000d000680")),
    )
    meta = _box(
        b"meta",
        bytes(4),
        _box(b"hdlr", bytes(8), b"pict", bytes(13)),
        _box(b"pitm", bytes.fromhex("000000000001")),
        _box(b"iloc", bytes.fromhex("00000000440000010001000000010000"), struct.pack(">HI", 275, length)),
        _box(b"iinf", bytes.fromhex("000000000001"), _box(b"infe", bytes.fromhex("0200000000010000"), b"av01Color\0")),
        _box(b"iprp", properties, _box(b"ipma", bytes.fromhex("00000000000000010001040102830400")[:15])),
    )
    return kind + meta + struct.pack(">I4s", 8 + length, b"mdat")


AV1_LEVELS = (
    (0, 147456, 2048, 1152), (1, 278784, 2816, 1584), (4, 665856, 4352, 2448), (5, 1065024, 5504, 3096),
    (8, 2359296, 6144, 3456), (12, 8912896, 8192, 4352), (16, 35651584, 16384, 8704),
)  # fmt: skip
"""seq_level_idx, and the most pixels, columns and rows it allows [AV1, annex A.3]; 31 for more."""


def _av1_sequence(width: int, height: int) -> bytes:
    """Sequence header of a reduced still picture, profile 0 [AV1, 5.5.1], with libaom's tools switched on."""
    fits = [idx for idx, area, w, h in AV1_LEVELS if width * height <= area and width <= w and height <= h]
    w_bits, h_bits = max(1, (width - 1).bit_length()), max(1, (height - 1).bit_length())
    bits = f"00011{fits[0] if fits else 31:05b}{w_bits - 1:04b}{h_bits - 1:04b}{width - 1:0{w_bits}b}{height - 1:0{h_bits}b}"
    bits += "011010001000000010000110100000110100001"
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


@dataclass(frozen=True)
class Jpeg2000:
    """A codestream in one tile part with the 9/7 wavelet and one quality layer, as OpenJPEG writes it."""

    def strip(self, data: bytes, width: int, height: int) -> bytes:
        comment, start = data.index(b"\xff\x64"), data.index(b"\xff\x90")
        data = data[:comment] + data[start:]
        return _checked(self, data[data.index(b"\xff\x93") + 2 : -2], data, width, height)

    def restore(self, payload: bytes, width: int, height: int) -> bytes:
        levels = min(5, min(width, height).bit_length() - 1)
        size = struct.pack(">HHHIIIIIIIIH", 0xFF51, 47, 0, width, height, 0, 0, width, height, 0, 0, 3) + 3 * b"\x07\x01\x01"
        style = struct.pack(">HHBBHBBBBBB", 0xFF52, 12, 0, 0, 1, 1, levels, 4, 4, 0, 0)
        steps = struct.pack(">HHB", 0xFF5C, 5 + 6 * levels, 0x42) + struct.pack(f">{1 + 3 * levels}H", *_steps(levels))
        tile = struct.pack(">HHHIBB", 0xFF90, 10, 0, 14 + len(payload), 0, 1)
        return b"\xff\x4f" + size + style + steps + tile + b"\xff\x93" + payload + b"\xff\xd9"


LOWEST = (0x4000, 0x4824, 0x5F52, 0x6738, 0x6F20, 0x7720)
DETAIL = (
    (0x57D3, 0x57D3, 0x5762),
    (0x5005, 0x5005, 0x5047),
    (0x6750, 0x6750, 0x6768),
    (0x6F00, 0x6F00, 0x6EE0),
    (0x76F0, 0x76F0, 0x76C0),
)


def _steps(levels: int) -> list[int]:
    """OpenJPEG's step sizes for the 9/7 wavelet (exponent, mantissa): of the lowest band, then of HL, LH, HH from there up."""
    return [LOWEST[levels], *(step for level in DETAIL[:levels][::-1] for step in level)]


@dataclass(frozen=True)
class WebP:
    """A simple lossy file."""

    def strip(self, data: bytes, width: int, height: int) -> bytes:
        length = int.from_bytes(data[16:20], "little")
        return _checked(self, data[20:23] + data[30 : 20 + length], data, width, height)

    def restore(self, payload: bytes, width: int, height: int) -> bytes:
        if len(payload) < 3:
            raise ValueError("a VP8 frame has a tag of 3 bytes")
        frame = payload[:3] + b"\x9d\x01\x2a" + struct.pack("<HH", width, height) + payload[3:]
        padded = frame + bytes(len(frame) % 2)
        return struct.pack("<4sI4s4sI", b"RIFF", 12 + len(padded), b"WEBP", b"VP8 ", len(frame)) + padded


@dataclass(frozen=True)
class Hevc:
    """HEIF with one picture of one slice: a deflated head, then the slice."""

    def strip(self, data: bytes, width: int, height: int) -> bytes:
        start = data.index(b"mdat") + 8
        head, slice_ = _with_length(data[:start], 0), data[start:]
        packer = zlib.compressobj(9, zlib.DEFLATED, -15, zdict=HEVC_HEAD)
        return _checked(self, packer.compress(head) + packer.flush() + slice_, data, width, height)

    def restore(self, payload: bytes, width: int, height: int) -> bytes:
        unpacker = zlib.decompressobj(-15, zdict=HEVC_HEAD)
        try:
            head = unpacker.decompress(payload, MAX_HEAD)
        except zlib.error:
            raise ValueError("the head is no deflated data") from None
        if not unpacker.eof:
            raise ValueError("the head has no end")
        return _with_length(head, len(unpacker.unused_data)) + unpacker.unused_data


def _with_length(head: bytes, length: int) -> bytes:
    """Boxes with the slice's length in the three places where it belongs; zeros there for length 0."""
    place = head.index(b"iloc") + 26
    extent, box, unit = (struct.pack(">I", length + more if length else 0) for more in (4, 12, 0))
    return head[:place] + extent + head[place + 4 : -12] + box + head[-8:-4] + unit


HEVC_HEAD = bytes.fromhex(
    "0000001c6674797068656963000000006d696631686569636d696166000001566d657461000000000000002168646c7200000000000000007069637400000000"
    "000000000000000000000022696c6f630000000044400001000100000000017a000100000000000000000000002369696e6600000000000100000015696e6665"
    "020000000001000068766331000000000e7069746d000000000001000000d669707270000000b76970636f00000078687663430103700000009000000000005a"
    "f000fcfdf8f800000f03600001001840010c01ffff03700000030090000003000003005aba0240610001002b42010103700000030090000003000003005aa006"
    "020080596ea4929ae6e021a0c08000000c80000003008462000100074401c172b0624000000013636f6c726e636c780001000d00068000000014697370650000"
    "0000000003000000020000000010706978690000000003080808000000176970"
    "6d61000000000000000100010481020304000000006d64617400000000"
)
"""The head of a 768x512 picture as libheif writes it."""


@dataclass(frozen=True)
class Bpg:
    """BPG's magic number, width and height [bpg_spec.txt, section 3]."""

    def strip(self, data: bytes, width: int, height: int) -> bytes:
        size = _ue7(width) + _ue7(height)
        return _checked(self, data[4:6] + data[6 + len(size) :], data, width, height)

    def restore(self, payload: bytes, width: int, height: int) -> bytes:
        return b"BPG\xfb" + payload[:2] + _ue7(width) + _ue7(height) + payload[2:]


def _ue7(value: int) -> bytes:
    """Big-endian groups of 7 bits, the highest bit set in all but the last."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F | 0x80)
    return bytes(reversed(groups))
