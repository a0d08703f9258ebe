"""The power that a codec's code had before it was normalised, as a few protected symbols beside it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gencomm_cli.symbols import Symbols
from gencomm_cli.text import short_code


@dataclass(frozen=True)
class GainCode:
    """A gain in steps of ``step_db`` about 0 dB, as ``words`` short codewords of 5 bits each, the lowest bits first."""

    words: int
    step_db: float

    @property
    def symbols(self) -> int:
        """How many it takes."""
        return self.words * short_code.SYMBOLS

    @property
    def _levels(self) -> int:
        return int(2 ** (self.words * short_code.BITS))

    def send(self, gain: float) -> Symbols:
        """The nearest step to a gain, or the outermost, as symbols complex64 [``symbols``]."""
        index = round(20 * math.log10(max(gain, 1e-9)) / self.step_db) + self._levels // 2
        index = min(max(index, 0), self._levels - 1)
        words = (index >> short_code.BITS * place & 2**short_code.BITS - 1 for place in range(self.words))
        return np.concatenate([short_code.transmit(word) for word in words])

    def receive(self, symbols: Symbols, fading: Symbols | None, n0: float) -> float | None:
        """The gain that :meth:`send` sent, or None where it was lost.

        Args:
            fading: gains of the symbols, complex [``symbols``] or [1], or None. n0: noise power per complex symbol.
        """
        index = 0
        for place in range(self.words):
            here = slice(place * short_code.SYMBOLS, (place + 1) * short_code.SYMBOLS)
            word = short_code.receive(symbols[here], fading if fading is None or fading.size == 1 else fading[here], n0)
            if word is None:
                return None
            index |= word << short_code.BITS * place
        return float(10 ** ((index - self._levels // 2) * self.step_db / 20))


CODEC_GAIN = GainCode(words=3, step_db=0.0025)
"""Of codecs that are decoded at their own power: −41 … 41 dB."""
