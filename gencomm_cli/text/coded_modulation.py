"""A message to symbols and back: LDPC code, interleaved copies, modulation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.text import modem
from gencomm_cli.text.ldpc import Bits, BlockCode


@dataclass(frozen=True)
class CodedModulation:
    """A code, a modulation and how often each bit is sent."""

    code: BlockCode
    modulation: str
    repetition: int

    def split(self, bits: int) -> tuple[int, int]:
        """Codewords for a message of ``bits``, and message bits in each (the last one is filled up with zeros)."""
        words = max(1, math.ceil(bits / self.code.k))
        return words, math.ceil(bits / words)

    def coded_bits(self, bits: int) -> int:
        """Bits of all codewords of a message, one copy."""
        words, each = self.split(bits)
        return words * self.code.coded_bits(each)

    def symbols(self, bits: int) -> int:
        """Complex symbols that a message of ``bits`` takes."""
        return math.ceil(self.coded_bits(bits) * self.repetition / modem.BITS_PER_SYMBOL[self.modulation])

    def transmit(self, message: Bits) -> NDArray[np.complex64]:
        """Message uint8 [bits] to symbols complex64 [``symbols(bits)``] of mean power 1."""
        words, each = self.split(len(message))
        messages = np.append(message, np.zeros(words * each - len(message), np.uint8)).reshape(words, each)
        return modem.modulate(modem.spread(self.code.encode(messages).reshape(-1), self.repetition), self.modulation)

    def receive(
        self, symbols: NDArray[np.complexfloating], gain: NDArray[np.complexfloating] | None, n0: float, bits: int
    ) -> Bits | None:
        """Received symbols [``symbols(bits)``] to the message uint8 [bits]; None where the decoder knows that it failed.

        :param gain: fading gains, complex [symbols] or [1]; None where the receiver knows none and takes 1.
        :param n0: noise power per complex symbol.
        """
        words, each = self.split(bits)
        llr = modem.demodulate(symbols, gain, max(n0, 1e-9), self.modulation)  # without noise: LLRs are limited anyway
        messages = self.code.decode(modem.combine(llr, self.coded_bits(bits), self.repetition).reshape(words, -1), each)
        return None if messages is None else messages.reshape(-1)[:bits]
