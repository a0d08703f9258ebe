"""Regular LDPC codes in systematic form, made with ``pyldpc.make_ldpc`` and shortened to the message; sum-product decoding.

The shipped file holds for each code the columns of each parity check and the parity part of the generator matrix; encoding is
a product over GF(2). A message of fewer than k bits is followed by known zeros that are not sent.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

ITERATIONS = 60
# A check's bits have products of tanh(LLR / 2), which must stay below 1: these limits cost nothing that could be measured.
MAX_LLR = 20.0
KNOWN_ZERO_LLR = 30.0
TOGETHER = 32
"""Codewords that are decoded at once: a large image has thousands."""

Bits = NDArray[np.uint8]


class BlockCode(Protocol):
    """A systematic block code for messages of at most ``k`` bits."""

    @property
    def name(self) -> str: ...

    @property
    def k(self) -> int: ...

    def coded_bits(self, message_bits: int) -> int:
        """Length of the codeword of a message of so many bits."""

    def encode(self, messages: Bits) -> Bits:
        """Messages uint8 [words, bits] to codewords uint8 [words, coded bits]."""

    def decode(self, llr: NDArray[np.float64], message_bits: int) -> Bits | None:
        """LLRs float64 [words, coded bits] to messages uint8 [words, bits]; None where the decoder knows that it failed."""


@dataclass(frozen=True)
class Code:
    """A code of length n with k message bits: ``checks`` uint16 [checks, ones in a row], ``parity`` uint8 [k, n - k]."""

    name: str
    checks: NDArray[np.uint16]
    parity: Bits

    @property
    def k(self) -> int:
        return len(self.parity)

    @property
    def parity_bits(self) -> int:
        return len(self.parity[0])

    @property
    def n(self) -> int:
        return self.k + self.parity_bits

    def coded_bits(self, message_bits: int) -> int:
        """Length of a shortened codeword."""
        return message_bits + self.parity_bits

    @cached_property
    def places(self) -> NDArray[np.intp]:
        """Where each bit stands in the flattened ``checks``, [n, ones in a column]."""
        return np.argsort(self.checks.reshape(-1), kind="stable").reshape(self.n, -1)

    def holds(self, words: Bits) -> NDArray[np.bool_]:
        """Whether words uint8 [words, n] meet all parity checks."""
        return ~(words[:, self.checks].sum(axis=2) & 1).any(axis=1)  # type: ignore[no-any-return]

    def encode(self, messages: Bits) -> Bits:
        """Messages uint8 [words, bits], at most k bits each, to shortened codewords uint8 [words, bits + n - k]."""
        parity = messages.astype(np.int64) @ self.parity[: messages.shape[1]] & 1
        return np.concatenate((messages, parity.astype(np.uint8)), axis=1)

    def decode(self, llr: NDArray[np.float64], message_bits: int) -> Bits | None:
        """Sum-product decoding.

        :param llr: log p(bit = 0) / p(bit = 1) of shortened codewords, float64 [words, bits + n - k].
        :param message_bits: bits of each message.
        :returns: messages uint8 [words, bits]; None if the decoder did not end in codewords.
        """
        full = np.full((len(llr), self.n), KNOWN_ZERO_LLR)
        full[:, :message_bits] = llr[:, :message_bits].clip(-MAX_LLR, MAX_LLR)
        full[:, self.k :] = llr[:, message_bits:].clip(-MAX_LLR, MAX_LLR)
        decoded = np.empty(full.shape, np.uint8)
        for first in range(0, len(full), TOGETHER):
            part = slice(first, first + TOGETHER)
            decoded[part] = self._sum_product(full[part])
            if not self.holds(decoded[part]).all():
                return None
        if decoded[:, message_bits : self.k].any():
            return None
        return decoded[:, :message_bits]

    def _sum_product(self, llr: NDArray[np.float64]) -> Bits:
        """The bits uint8 [words, n] in which messages between bits and checks end (Kschischang et al., 2001, flooding schedule).

        A word that has become a codeword is left as it is.
        """
        decided = (llr < 0).astype(np.uint8)
        left = np.arange(len(llr))
        from_checks, posterior = np.zeros((len(llr), *self.checks.shape)), llr
        for _ in range(ITERATIONS):
            on = ~self.holds(decided[left])
            left, from_checks, posterior = left[on], from_checks[on], posterior[on]
            if not len(left):
                break
            tanh = np.tanh((posterior[:, self.checks] - from_checks) / 2)
            others = np.ones_like(tanh)  # the product of a check's bits without each one in turn
            np.cumprod(tanh[..., :-1], axis=-1, out=others[..., 1:])
            others[..., :-1] *= np.cumprod(tanh[..., :0:-1], axis=-1)[..., ::-1]
            from_checks = 2 * np.arctanh(others.clip(-1 + 1e-12, 1 - 1e-12))
            posterior = llr[left] + from_checks.reshape(len(left), -1)[:, self.places].sum(axis=2)
            decided[left] = posterior < 0
        return decided


@cache
def load() -> dict[str, Code]:
    """The shipped codes by name: ``r14n192`` has rate 1/4 (about: a few checks are redundant) and length 192."""
    with as_file(files("gencomm_cli.text") / "data" / "codes.npz") as path:
        return read(path)


def read(path: Path) -> dict[str, Code]:
    """The codes in a file that :func:`arrays` describes, by name."""
    with np.load(path) as archive:
        names = [key.removesuffix("_checks") for key in archive.files if key.endswith("_checks")]
        codes = {}
        for name in names:
            packed, n = archive[f"{name}_parity"], int(name.partition("n")[2])
            codes[name] = Code(name, archive[f"{name}_checks"], np.unpackbits(packed, axis=1)[:, : n - len(packed)])
        return codes


def arrays(code: Code) -> dict[str, NDArray[np.uint16] | Bits]:
    """A code as it is shipped: the columns of each check, and the parity part of the generator with 8 bits a byte."""
    return {f"{code.name}_checks": code.checks, f"{code.name}_parity": np.packbits(code.parity, axis=1)}
