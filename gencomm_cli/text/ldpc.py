"""Regular LDPC codes in systematic form, shortened to the message; made with ``pyldpc.make_ldpc``, decoded with ``pyldpc.decode``.

The shipped file holds for each code the columns of each parity check and the parity part of the generator matrix; encoding is
a product over GF(2) and needs no pyldpc. A message of fewer than k bits is followed by known zeros that are not sent.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import as_file, files
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.errors import imported

ITERATIONS = 60
# pyldpc computes log((1 + x) / (1 - x)) of x = product of tanh(LLR / 2), and where x rounds to 1 it takes 1 for the LLR.
# tanh(LLR / 2) must therefore stay well below 1: these limits cost nothing that could be measured.
MAX_LLR = 20.0
KNOWN_ZERO_LLR = 30.0

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
    def matrix(self) -> NDArray[np.float64]:
        """The parity-check matrix [checks, n], in the type whose products are fastest."""
        matrix = np.zeros((len(self.checks), self.n))
        np.put_along_axis(matrix, self.checks.astype(np.int64), 1, axis=1)
        return matrix

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
        :raises InputError: pyldpc is not installed.
        """
        full = np.full((len(llr), self.n), KNOWN_ZERO_LLR)
        full[:, :message_bits] = llr[:, :message_bits].clip(-MAX_LLR, MAX_LLR)
        full[:, self.k :] = llr[:, message_bits:].clip(-MAX_LLR, MAX_LLR)
        decoded = (full < 0).astype(np.uint8)
        # The likeliest bits are the likeliest codeword where they are one; pyldpc would take most of a second to load.
        for index in np.flatnonzero(~self.holds(decoded)):
            decoded[index] = _sum_product(self.matrix, full[index])
            if not self.holds(decoded[index : index + 1]).all():
                return None
        if decoded[:, message_bits : self.k].any():
            return None
        return decoded[:, :message_bits]


def _sum_product(matrix: NDArray[np.float64], llr: NDArray[np.float64]) -> Bits:
    """The bits uint8 [n] that sum-product decoding of LLRs [n] ends in."""
    pyldpc = imported(
        "pyldpc", "pyldpc: is not installed; `pip install numpy setuptools wheel`, then `pip install --no-build-isolation pyldpc`"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge: the checks tell
        try:
            return pyldpc.decode(matrix, llr / 2, 0.0, ITERATIONS).astype(np.uint8)  # its LLR is 2 y / 10**(-snr / 10)
        except SystemError as error:  # Numba's, one after the other, of a Ctrl-C or another end of the process
            first: BaseException = error
            while isinstance(first, SystemError) and first.__cause__ is not None:
                first = first.__cause__
            raise first from None


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
