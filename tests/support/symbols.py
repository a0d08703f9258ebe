"""Symbol files as the transmitter and the receiver have them, and their bytes, sound or not."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gencomm_cli import pipeline, rates, symbols
from gencomm_cli.errors import InputError
from gencomm_cli.symbols import ClassicalFormat, Header, Provenance, SymbolFile
from gencomm_cli.text.payload import PayloadFormat

FORMAT = PayloadFormat(payload_bits=90, code="r12n384", modulation="qpsk", repetition=1, text_model="gencomm-text-1", crc_bits=24)
SIDE = PayloadFormat(payload_bits=60, code="r12n384", modulation="bpsk", repetition=2, crc_bits=24)
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


def through(file: SymbolFile, *, seed: int, **channel: Any) -> SymbolFile:
    """A file through the channel that :func:`gencomm_cli.pipeline.channel_record` makes of ``channel``."""
    return pipeline.pass_channel(file, pipeline.channel_record(**channel), seed)


def received(k_side: int = 0, **changes: Any) -> SymbolFile:
    given: dict[str, Any] = {"kind": "rayleigh", "snr_db": 3.0, "snr_type": "esn0", "csi": "perfect", "seed": 7} | changes
    return through(sent(k_side=k_side), **given)


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


IDEAL = ClassicalFormat("avif", 30, "stripped", 1, "ideal", "ideal", "capacity", "", 0)


def ideal(classical: ClassicalFormat | None = IDEAL, bits: NDArray[Any] | None = None) -> SymbolFile:
    """A file of an ideal code, with 30 bytes if none are given."""
    file = sent()
    header = replace(file.header, method="separate", preset="classical", classical=classical)
    return replace(file, header=header, ideal_bits=np.arange(30, dtype=np.uint8) if bits is None else bits)
