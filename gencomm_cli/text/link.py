"""The text link: a prompt to complex symbols and back.

    text -> text model, range coder -> CRC-24 -> LDPC -> copies, interleaver -> modem -> symbols

The CRC covers, besides the payload, its length and the text model's version, which travel in the header.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.errors import InputError
from gencomm_cli.text import crc, ldpc, modes, range_coder, text_model
from gencomm_cli.text.modes import Fading, Mode

MAX_PAYLOAD_BITS = 1 << 19  # 4 KiB of any text take less: no step of the coder costs more than 24 bits


@dataclass(frozen=True)
class PromptFormat:
    """What a receiver is told about a prompt's symbols: payload bits (before the CRC), mother code, modulation, copies of each
    bit, version of the text model, CRC bits."""

    payload_bits: int
    code: str
    modulation: str
    repetition: int
    text_model: str
    crc_bits: int

    def mode(self) -> Mode:
        """The mode, after a check of every field, since a header may come from anywhere. Raises InputError."""
        if type(self.payload_bits) is not int or not 0 <= self.payload_bits <= MAX_PAYLOAD_BITS:
            raise InputError(f"prompt format: payload_bits is {self.payload_bits!r}, not a number from 0 to {MAX_PAYLOAD_BITS}")
        for field, allowed in (
            ("code", tuple(ldpc.load())),
            ("modulation", modes.MODULATIONS),
            ("repetition", modes.REPETITIONS),
            ("text_model", (text_model.VERSION,)),
            ("crc_bits", (crc.BITS,)),
        ):
            value = getattr(self, field)
            if type(value) is not type(allowed[0]) or value not in allowed:
                raise InputError(f"prompt format: {field} is {value!r}, and this version knows {', '.join(map(str, allowed))}")
        return Mode(ldpc.load()[self.code], self.modulation, self.repetition)

    @property
    def symbols(self) -> int:
        """Complex symbols that the prompt takes. Raises InputError for a format that cannot be."""
        return self.mode().symbols(self.payload_bits + self.crc_bits)


def _checksum(payload: range_coder.Bits) -> range_coder.Bits:
    header = len(payload).to_bytes(4, "big") + text_model.VERSION.encode()
    return crc.checksum(np.concatenate((np.unpackbits(np.frombuffer(header, np.uint8)), payload)))


def payload_entropy_bits(text: str) -> float:
    """Ideal code length of a prompt under the text model, in bits, CRC apart."""
    return range_coder.entropy_bits(text)


def transmit_prompt(text: str, *, snr_db: float | None, fading: Fading) -> tuple[NDArray[np.complex64], PromptFormat]:
    """Symbols complex64 [k_o] of power 1 that carry a prompt, in the mode for this SNR (Es/N0 in dB; None: not known) and fading.

    The same text, SNR and fading always give the same symbols. Raises InputError if the text has a lone surrogate or more
    than 4 KiB of UTF-8 in normal form C.
    """
    payload = range_coder.encode(text)
    message = np.concatenate((payload, _checksum(payload)))
    mode = modes.choose(len(message), snr_db, fading)
    fmt = PromptFormat(len(payload), mode.code.name, mode.modulation, mode.repetition, text_model.VERSION, crc.BITS)
    return mode.transmit(message), fmt


def symbols_needed(text: str, *, snr_db: float | None, fading: Fading) -> int:
    """Length of what ``transmit_prompt`` would send."""
    bits = len(range_coder.encode(text)) + crc.BITS
    return modes.choose(bits, snr_db, fading).symbols(bits)


def receive_prompt(
    symbols: NDArray[np.complexfloating], gain: NDArray[np.complexfloating] | None, n0: float, fmt: PromptFormat
) -> str | None:
    """The prompt in received symbols, or None if it is lost, which the LDPC syndrome, the CRC or the range coder shows.

    :param symbols: received symbols before equalisation, complex [k_o].
    :param gain: fading gains, complex [k_o] or [1]; None where the receiver knows none and takes 1.
    :param n0: noise power per complex symbol.
    :raises InputError: if the format cannot be or does not go with the number of symbols or gains; noise raises nothing.
    """
    mode = fmt.mode()
    bits = fmt.payload_bits + fmt.crc_bits
    if symbols.shape != (mode.symbols(bits),):
        raise InputError(f"prompt symbols: there are {symbols.size}, and the header's prompt format has {mode.symbols(bits)}")
    if gain is not None and gain.shape not in ((1,), symbols.shape):
        raise InputError(f"prompt gains: there are {gain.size}, where {symbols.size} or 1 would be right")
    message = mode.receive(symbols, gain, n0, bits)
    if message is None:
        return None
    payload = message[: fmt.payload_bits]
    if not np.array_equal(message[fmt.payload_bits :], _checksum(payload)):
        return None
    return range_coder.decode(payload)
