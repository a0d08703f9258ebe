"""A few bits that must arrive, as side symbols: CRC-24, LDPC, copies and interleaver, modem, as the text link has them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.errors import InputError
from gencomm_cli.text import crc, ldpc, modes
from gencomm_cli.text.modes import Fading, Mode

MAX_PAYLOAD_BITS = 1 << 24

Bits = NDArray[np.uint8]


@dataclass(frozen=True)
class SideFormat:
    """What a receiver is told about side symbols: payload bits (before the CRC), mother code, modulation, copies of each bit, CRC
    bits."""

    payload_bits: int
    code: str
    modulation: str
    repetition: int
    crc_bits: int

    def mode(self) -> Mode:
        """The mode, after a check of every field, since a header may come from anywhere. Raises InputError."""
        if type(self.payload_bits) is not int or not 0 <= self.payload_bits <= MAX_PAYLOAD_BITS:
            raise InputError(f"side format: payload_bits is {self.payload_bits!r}, not a number from 0 to {MAX_PAYLOAD_BITS}")
        for field, allowed in (
            ("code", tuple(ldpc.load())),
            ("modulation", modes.MODULATIONS),
            ("repetition", modes.REPETITIONS),
            ("crc_bits", (crc.BITS,)),
        ):
            value = getattr(self, field)
            if type(value) is not type(allowed[0]) or value not in allowed:
                raise InputError(f"side format: {field} is {value!r}, and this version knows {', '.join(map(str, allowed))}")
        return Mode(ldpc.load()[self.code], self.modulation, self.repetition)

    @property
    def symbols(self) -> int:
        """Complex symbols that the bits take. Raises InputError for a format that cannot be."""
        return self.mode().symbols(self.payload_bits + self.crc_bits)


def _checksum(payload: Bits) -> Bits:
    length = np.unpackbits(np.frombuffer(len(payload).to_bytes(4, "big"), np.uint8))
    return crc.checksum(np.concatenate((length, payload)))


def symbols_needed(payload_bits: int, *, snr_db: float | None, fading: Fading) -> int:
    """Length of what :func:`transmit_bits` would send."""
    bits = payload_bits + crc.BITS
    return modes.choose(bits, snr_db, fading).symbols(bits)


def transmit_bits(payload: Bits, *, snr_db: float | None, fading: Fading) -> tuple[NDArray[np.complex64], SideFormat]:
    """Symbols complex64 of power 1 that carry bits uint8 [n], in the mode for this SNR (Es/N0 in dB; None: unknown) and fading."""
    message = np.concatenate((payload, _checksum(payload)))
    mode = modes.choose(len(message), snr_db, fading)
    return mode.transmit(message), SideFormat(len(payload), mode.code.name, mode.modulation, mode.repetition, crc.BITS)


def receive_bits(
    symbols: NDArray[np.complexfloating], gain: NDArray[np.complexfloating] | None, n0: float, fmt: SideFormat
) -> Bits | None:
    """The bits uint8 [n] in received symbols, or None if they are lost, which the LDPC syndrome or the CRC shows.

    :param symbols: received symbols before equalisation, complex [k_s].
    :param gain: fading gains, complex [k_s] or [1]; None where the receiver knows none and takes 1.
    :param n0: noise power per complex symbol.
    :raises InputError: if the format cannot be or does not go with the number of symbols or gains; noise raises nothing.
    """
    mode = fmt.mode()
    bits = fmt.payload_bits + fmt.crc_bits
    if symbols.shape != (mode.symbols(bits),):
        raise InputError(f"side symbols: there are {symbols.size}, and the header's side format has {mode.symbols(bits)}")
    if gain is not None and gain.shape not in ((1,), symbols.shape):
        raise InputError(f"side gains: there are {gain.size}, where {symbols.size} or 1 would be right")
    message = mode.receive(symbols, gain, n0, bits)
    if message is None:
        return None
    payload = message[: fmt.payload_bits]
    return payload if np.array_equal(message[fmt.payload_bits :], _checksum(payload)) else None
