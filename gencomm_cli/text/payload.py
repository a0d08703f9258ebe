"""Bits that must arrive, as symbols: CRC-24, LDPC, copies and interleaver, modem. A prompt's, and a method's side information.

The CRC covers, besides the payload, its length and the version of the text model, which travel in the header.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.errors import InputError
from gencomm_cli.text import crc, ldpc, modes, text_model
from gencomm_cli.text.crc import Bits
from gencomm_cli.text.modes import Fading, Mode

MAX_SIDE_BITS = 1 << 24
MAX_PROMPT_BITS = 1 << 19  # 4 KiB of any text take less: no step of the coder costs more than 24 bits


@dataclass(frozen=True)
class PayloadFormat:
    """What the header says of coded symbols.

    Attributes:
        payload_bits: before the CRC. code: the mother code. modulation: ``bpsk`` or ``qpsk``. repetition: copies of each bit.
        text_model: version of the model whose text the bits are; None, and not in ``meta``, for side information.
        crc_bits: of the CRC.
    """

    payload_bits: int
    code: str
    modulation: str
    repetition: int
    text_model: str | None = None
    crc_bits: int = crc.BITS

    @classmethod
    def choose(cls, payload_bits: int, *, snr_db: float | None, fading: Fading, text_model: str | None = None) -> PayloadFormat:
        """The format of the fewest symbols for this SNR (Es/N0 in dB; None: not known) and fading."""
        mode = modes.choose(payload_bits + crc.BITS, snr_db, fading)
        return cls(payload_bits, mode.code.name, mode.modulation, mode.repetition, text_model)

    def mode(self) -> Mode:
        """The mode, after a check of every field, since a header may come from anywhere. Raises InputError."""
        most = MAX_SIDE_BITS if self.text_model is None else MAX_PROMPT_BITS
        if type(self.payload_bits) is not int or not 0 <= self.payload_bits <= most:
            raise InputError(f"{self._what} format: payload_bits is {self.payload_bits!r}, not a number from 0 to {most}")
        for field, allowed in (
            ("code", tuple(ldpc.load())),
            ("modulation", modes.MODULATIONS),
            ("repetition", modes.REPETITIONS),
            ("text_model", (None if self.text_model is None else text_model.VERSION,)),
            ("crc_bits", (crc.BITS,)),
        ):
            value = getattr(self, field)
            if type(value) is not type(allowed[0]) or value not in allowed:
                known = ", ".join(map(str, allowed))
                raise InputError(f"{self._what} format: {field} is {value!r}, and this version knows {known}")
        return Mode(ldpc.load()[self.code], self.modulation, self.repetition)

    @property
    def symbols(self) -> int:
        """Complex symbols that the payload takes. Raises InputError for a format that cannot be."""
        return self.mode().symbols(self.payload_bits + self.crc_bits)

    def transmit(self, payload: Bits) -> NDArray[np.complex64]:
        """Symbols complex64 [``symbols``] of power 1 that carry ``payload``, uint8 [``payload_bits``].

        The same payload always gives the same symbols. Raises InputError for a payload of another length.
        """
        if payload.shape != (self.payload_bits,):
            raise InputError(f"{self._what} payload: there are {payload.size} bits, and its format has {self.payload_bits}")
        return self.mode().transmit(crc.protect(payload, self._known))

    def receive(self, symbols: NDArray[np.complexfloating], gain: NDArray[np.complexfloating] | None, n0: float) -> Bits | None:
        """The payload uint8 [``payload_bits``] in received symbols; None if it is lost, as the LDPC syndrome or the CRC shows.

        Args:
            symbols: as received, before equalisation, complex [``symbols``].
            gain: fading gains h, complex [``symbols``] or [1]; None where the receiver knows none and takes 1.
            n0: noise power per complex symbol.

        Raises:
            InputError: the format cannot be, or does not go with the number of symbols or gains. Noise raises nothing.
        """
        mode, bits = self.mode(), self.payload_bits + self.crc_bits
        if symbols.shape != (mode.symbols(bits),):
            count = mode.symbols(bits)
            raise InputError(f"{self._what} symbols: there are {symbols.size}, and the header's {self._what} format has {count}")
        if gain is not None and gain.shape not in ((1,), symbols.shape):
            raise InputError(f"{self._what} gains: there are {gain.size}, where {symbols.size} or 1 would be right")
        message = mode.receive(symbols, gain, n0, bits)
        return None if message is None else crc.verified(message, self._known)

    @property
    def _what(self) -> str:
        return "side" if self.text_model is None else "prompt"

    @property
    def _known(self) -> bytes:
        """What the CRC covers of the header."""
        return self.payload_bits.to_bytes(4, "big") + (self.text_model or "").encode()
