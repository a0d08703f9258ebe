"""The LDPC codes of 5G NR with rate matching (3GPP TS 38.212, section 5.3.2), through Sionna, an extra imported when used."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.errors import OptionError
from gencomm_cli.text.ldpc import Bits

LENGTH = 2304
"""Of a codeword at most, in bits."""
SHORT = 576
"""The other length that was measured."""
ITERATIONS = 60
"""Of the decoder, in flooding order; Sionna's default of 20 costs 0.4 dB."""
BATCH = 64
"""Codewords that are decoded at once."""
LEAST = 12
"""Message bits that Sionna's codes have at least; shorter messages are filled up."""


@dataclass(frozen=True)
class FiveG:
    """The 5G code of one rate (``1/2``), for messages of any length up to ``k``."""

    rate: str

    @property
    def name(self) -> str:
        """``5g-r12`` for rate 1/2."""
        return f"5g-r{self.rate.replace('/', '')}"

    @property
    def k(self) -> int:
        """Message bits at most."""
        return int(LENGTH * Fraction(self.rate))

    def coded_bits(self, message_bits: int) -> int:
        """Length of the codeword of a message."""
        return math.ceil(max(message_bits, LEAST) / Fraction(self.rate))

    def curves(self, message_bits: int) -> dict[str, float]:
        """Measured lengths and their weights, linear in the logarithm of the codeword's length; straight on below the shorter."""
        share = math.log(LENGTH / self.coded_bits(message_bits)) / math.log(LENGTH / SHORT)
        return {f"{self.name}n{SHORT}": share, f"{self.name}n{LENGTH}": 1.0 - share}

    def encode(self, messages: Bits) -> Bits:
        """Messages uint8 [words, bits] to codewords uint8 [words, coded bits]."""
        import torch

        words, bits = messages.shape
        filled = np.zeros((words, max(bits, LEAST)), np.float32)
        filled[:, :bits] = messages
        encoder, _ = _coders(filled.shape[1], self.coded_bits(bits))
        return np.asarray(encoder(torch.from_numpy(filled)).numpy(), np.uint8)

    def decode(self, llr: NDArray[np.float64], message_bits: int) -> Bits:
        """``ITERATIONS`` of sum-product decoding: uint8 [words, message_bits]; the decoder does not know whether it failed.

        Args:
            llr: log p(bit = 0) / p(bit = 1), float64 [words, coded bits].
        """
        import torch

        _, decoder = _coders(max(message_bits, LEAST), llr.shape[1])
        logits = torch.from_numpy(np.clip(-llr, -20.0, 20.0).astype(np.float32))  # Sionna's are log p(1) / p(0)
        with torch.no_grad():
            decoded = torch.cat([decoder(batch) for batch in logits.split(BATCH)])
        return np.asarray(decoded[:, :message_bits].numpy(), np.uint8)


@cache
def _coders(k: int, n: int) -> tuple[Any, Any]:
    try:
        from sionna.phy.fec.ldpc import LDPC5GDecoder, LDPC5GEncoder  # type: ignore[import-not-found, import-untyped, unused-ignore]
    except ImportError:
        raise OptionError("fec", "5g needs Sionna; pip install 'gencomm[sionna]', or use ldpc") from None
    encoder = LDPC5GEncoder(k, n, device="cpu")
    return encoder, LDPC5GDecoder(encoder, hard_out=True, return_infobits=True, num_iter=ITERATIONS)
