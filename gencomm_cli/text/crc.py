"""CRC-24 of LTE (3GPP TS 36.212, gCRC24A): generator 0x864CFB, start 0, nothing reflected; over bits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

BITS = 24
GENERATOR = 0x864CFB

Bits = NDArray[np.uint8]


def checksum(bits: Bits) -> Bits:
    """CRC of ``bits`` (uint8 [n], first one first): uint8 [24], its highest bit first."""
    register = 0
    for bit in bits.tolist():
        out = (register >> BITS - 1) ^ bit
        register = (register << 1) & (1 << BITS) - 1
        if out:
            register ^= GENERATOR
    return np.array([register >> i & 1 for i in range(BITS - 1, -1, -1)], np.uint8)


def protect(payload: Bits, known: bytes) -> Bits:
    """``payload`` (uint8 [n]) with the CRC behind it, uint8 [n + 24].

    The CRC covers ``known`` before the payload: what the header says of it, so that a header that says something else is a loss.
    """
    return np.concatenate((payload, _covering(payload, known)))


def verified(message: Bits, known: bytes) -> Bits | None:
    """The payload of what :func:`protect` made of the same ``known``; None where the CRC fails."""
    payload = message[:-BITS]
    return payload if np.array_equal(message[-BITS:], _covering(payload, known)) else None


def _covering(payload: Bits, known: bytes) -> Bits:
    return checksum(np.concatenate((np.unpackbits(np.frombuffer(known, np.uint8)), payload)))
