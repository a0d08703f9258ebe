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
