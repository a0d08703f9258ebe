"""A language model of image captions whose every probability is an integer, for the range coder.

A text is cut into tokens (a word with the space before it, a digit, a punctuation mark), and each token is predicted from the
four before it by interpolated n-grams [Chen & Goodman, "An empirical study of smoothing techniques for language modeling",
1999, eq. 27 on]:

    P_n(w | h) = alpha_n(w | h) + gamma_n(h) P_{n-1}(w | h'),     gamma_n(h) = 1 - sum_w alpha_n(w | h)

alpha is stored as one byte per n-gram, an index into a table of integers, and gamma is computed from them; so nothing
but additions, products and shifts of integers happens here and every machine sees the same numbers. Two models share the
vocabulary: a general one, and one that goes on from it, learned from fewer captions in the style that captioners write.
Their Bayesian mixture (weights: each model's probability of the text so far) predicts the next token.

A token outside the vocabulary is coded as an escape and then byte by byte, by n-grams of the same form over UTF-8.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import as_file, files
from typing import Any

import numpy as np
from numpy.typing import NDArray

VERSION = "gencomm-text-1"
TOKEN = re.compile(r" ?[A-Za-z\x80-\U0010ffff]+(?:'[A-Za-z]+)?| ?[0-9]| ?[^ A-Za-z0-9\x80-\U0010ffff]| ")  # matches everything
BEGIN, END, ESCAPE = 0, 1, 2  # token ids; BEGIN is only ever a context
END_OF_BYTES = 256
SHIFT = 30  # probabilities of tokens and bytes are integers that sum to about 2**SHIFT
ALPHA_SHIFT = 24  # alphas are in units of 2**-ALPHA_SHIFT

Frequencies = NDArray[np.int64]


def context_hash(context: Sequence[int]) -> int:
    """32-bit hash of a context, the nearest token first. Collisions do no harm: both ends have the same ones."""
    h = len(context)
    for token in context:
        h = ((h ^ token) * 0x9E3779B1) & 0xFFFFFFFF
        h ^= h >> 15
    return h


@dataclass(frozen=True)
class NGrams:
    """The n-grams of one order: context hashes (sorted, uint32 [c]), where each one's entries start (int64 [c + 1]), and the
    entries' symbols (uint16 [e]) and alpha codes (uint8 [e])."""

    length: int
    contexts: NDArray[np.uint32]
    starts: NDArray[np.int64]
    symbols: NDArray[np.uint16]
    codes: NDArray[np.uint8]

    def refine(self, lower: Frequencies, history: Sequence[int], alphas: Frequencies) -> Frequencies:
        """P_n from P_{n-1}; P_{n-1} itself where the context was never seen."""
        key = context_hash(history[: self.length])
        i = int(self.contexts.searchsorted(np.uint32(key)))
        if i == len(self.contexts) or int(self.contexts[i]) != key:
            return lower
        entries = slice(int(self.starts[i]), int(self.starts[i + 1]))
        alpha = alphas[self.codes[entries]]
        gamma = (1 << ALPHA_SHIFT) - int(alpha.sum())
        upper: Frequencies = (lower * gamma) >> ALPHA_SHIFT
        upper[self.symbols[entries]] += alpha << (SHIFT - ALPHA_SHIFT)
        return upper


@dataclass(frozen=True)
class TextModel:
    """Tokens of the vocabulary, the token that stands for each in a context (its lower-case form), and the three n-gram models."""

    vocabulary: tuple[str, ...]
    folded: NDArray[np.uint16]
    alphas: Frequencies
    unigrams: Frequencies
    general: tuple[NGrams, ...]
    captioner: tuple[NGrams, ...]
    byte_unigrams: Frequencies
    bytes: tuple[NGrams, ...]
    captioner_prior: int  # of 2**16

    @cached_property
    def index(self) -> dict[str, int]:
        """Token to id; the ids that no text holds are left out."""
        return {token: i for i, token in enumerate(self.vocabulary) if i > ESCAPE}

    def predict_byte(self, history: Sequence[int]) -> Frequencies:
        """Frequencies (int64 [257]) of the next UTF-8 byte of an escaped piece, or its end; history has the latest byte first."""
        frequencies = self.byte_unigrams
        for ngrams in self.bytes:
            frequencies = ngrams.refine(frequencies, history, self.alphas)
        return frequencies


class TokenPredictor:
    """Walks along one text. ``frequencies`` (int64 [V], sum about 2**30) are those of the next token."""

    def __init__(self, model: TextModel) -> None:
        self.model = model
        self.history = [BEGIN] * 4
        self.weight = model.captioner_prior
        self._predict()

    def _predict(self) -> None:
        general = self.model.unigrams
        for ngrams in self.model.general:
            general = ngrams.refine(general, self.history, self.model.alphas)
        captioner = general
        for ngrams in self.model.captioner:
            captioner = ngrams.refine(captioner, self.history, self.model.alphas)
        self._general, self._captioner = general, captioner
        self.frequencies: Frequencies = (captioner * self.weight + general * (65536 - self.weight)) >> 16

    def update(self, token: int) -> None:
        """Move on past ``token``."""
        captioner = self.weight * (int(self._captioner[token]) + 1)
        general = (65536 - self.weight) * (int(self._general[token]) + 1)
        self.weight = min(max((captioner << 16) // (captioner + general), 64), 65536 - 64)
        self.history = [int(self.model.folded[token]), *self.history[:3]]
        self._predict()


def tokenize(text: str) -> list[str]:
    """Tokens of a text, which gets one space in front so that a first word looks like the others; joined, they give it back."""
    return TOKEN.findall(" " + text)


def _ngrams(data: dict[str, NDArray[Any]], name: str) -> tuple[NGrams, ...]:
    orders = []
    for length in range(1, 5):
        key = f"{name}{length}"
        if f"{key}_contexts" in data:
            starts = np.concatenate(([0], np.cumsum(data[f"{key}_sizes"], dtype=np.int64)))
            orders.append(NGrams(length, data[f"{key}_contexts"], starts, data[f"{key}_symbols"], data[f"{key}_codes"]))
    return tuple(orders)


def from_arrays(data: dict[str, NDArray[Any]]) -> TextModel:
    """The model in the arrays that ``prompts.build`` writes."""
    return TextModel(
        vocabulary=tuple(data["vocabulary"].tobytes().decode().split("\n")),
        folded=data["folded"],
        alphas=data["alphas"].astype(np.int64),
        unigrams=data["unigrams"].astype(np.int64),
        general=_ngrams(data, "general"),
        captioner=_ngrams(data, "captioner"),
        byte_unigrams=data["byte_unigrams"].astype(np.int64),
        bytes=_ngrams(data, "bytes"),
        captioner_prior=int(data["captioner_prior"]),
    )


@cache
def load() -> TextModel:
    """The model that ships with this version."""
    with as_file(files("gencomm_cli.text") / "data" / f"{VERSION}.npz") as path, np.load(path) as archive:
        return from_arrays({key: archive[key] for key in archive.files})
