"""The built-in captioner: the training caption that fits an image best, found without a network.

Image features made by hand (colour layout, colour histograms, gradient histograms) are mapped linearly to latent semantic
space (Deerwester et al., 1990), where every caption has a place; the nearest caption is the answer.
``examples/build/captioner_tables.py`` makes the tables.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.errors import InputError
from gencomm_cli.textfiles import lines

Floats = NDArray[Any]

SIDE = 128
ORIENTATIONS = 9
COLOURS = 6
"""Histogram levels a channel."""

TEXTS = ("captions.txt", "vocabulary.txt")

STOP_WORDS = frozenset(
    re.split(" ", "a an the of in on and with at to by its from near under over behind against for is are beside as it")
)


def words(caption: str) -> set[str]:
    """The words of ``caption`` that carry content, in lower case."""
    return set(re.findall(r"[a-z]+", caption.lower())) - STOP_WORDS


def _pool(x: Floats, cells: int) -> Floats:
    """Means over ``cells``×``cells`` equal tiles of ``x`` [S, S, C]."""
    size = x.shape[0] // cells
    return x.reshape(cells, size, cells, size, -1).mean((1, 3))


def _gradients(grey: Floats, cells: int) -> Floats:
    """Histograms of oriented gradients (Dalal and Triggs, 2005) of ``grey`` [S, S], as they are and with unit length, flat."""
    across, down = np.zeros_like(grey), np.zeros_like(grey)
    across[:, 1:-1] = grey[:, 2:] - grey[:, :-2]
    down[1:-1] = grey[2:] - grey[:-2]
    strength = np.hypot(across, down)
    place = np.arctan2(down, across) % np.pi / np.pi * ORIENTATIONS
    lower = np.floor(place).astype(int)
    votes = np.zeros((*grey.shape, ORIENTATIONS), np.float32)
    row, column = np.indices(grey.shape)
    votes[row, column, lower % ORIENTATIONS] = strength * (1 - place + lower)
    votes[row, column, (lower + 1) % ORIENTATIONS] += strength * (place - lower)
    cell = _pool(votes, cells)
    unit = cell / np.sqrt(np.square(cell).sum(-1, keepdims=True) + 1e-3)
    return np.concatenate([np.sqrt(cell).ravel(), unit.ravel()])


def _histogram(levels: NDArray[np.int64]) -> Floats:
    """Square roots of the shares of each colour among ``levels``."""
    return np.sqrt(np.bincount(levels.ravel(), minlength=COLOURS**3) / levels.size, dtype=np.float32)


def features(image: NDArray[np.uint8]) -> Floats:
    """Features of ``image`` uint8 [H, W, 3], float32 [n]. The aspect ratio is not kept."""
    from PIL import Image

    small = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX)
    rgb = np.asarray(small, np.float32) / 255
    grey = rgb @ np.array([0.299, 0.587, 0.114], np.float32)
    opponent = np.stack([grey, rgb[..., 0] - rgb[..., 1], (rgb[..., 0] + rgb[..., 1]) / 2 - rgb[..., 2]], -1)
    level = np.minimum((rgb * COLOURS).astype(np.int64), COLOURS - 1) @ np.array([COLOURS**2, COLOURS, 1])
    half, quarter = SIDE // 2, SIDE // 4
    return np.concatenate([
        _pool(opponent, 8).ravel(),
        _histogram(level[:half]),
        _histogram(level[half:]),
        _histogram(level[quarter:-quarter, quarter:-quarter]),
        _gradients(grey, 8),
        _gradients(_pool(grey[..., None], 64)[..., 0], 8),
        _gradients(_pool(grey[..., None], 32)[..., 0], 4),
    ])  # fmt: skip


@dataclass(frozen=True)
class Retriever:
    """Tables of the built-in captioner.

    Attributes:
        captions: the answers.
        vocabulary: words that count, sorted.
        rarity: inverse document frequency of each word, float32 [w].
        places: latent coordinates of each word, float32 [w, r].
        centre: latent coordinates of the mean caption, float32 [r].
        mean, scale: of each image feature over the training images, float32 [n].
        mapping: standardised image features → latent coordinates, float32 [n, r].
    """

    captions: tuple[str, ...]
    vocabulary: tuple[str, ...]
    rarity: Floats
    places: Floats
    centre: Floats
    mean: Floats
    scale: Floats
    mapping: Floats

    def locate(self, captions: tuple[str, ...]) -> Floats:
        """Unit vectors [len(captions), r] of captions in latent space."""
        index = {word: i for i, word in enumerate(self.vocabulary)}
        out = np.zeros((len(captions), self.places.shape[1]), np.float32)
        for row, caption in enumerate(captions):
            known = [index[word] for word in words(caption) if word in index]
            weights = self.rarity[known]
            out[row] = weights @ self.places[known] / max(float(np.linalg.norm(weights)), 1e-9)
        out -= self.centre
        return out / np.maximum(np.linalg.norm(out, axis=-1, keepdims=True), 1e-9)

    def expect(self, found: Floats) -> Floats:
        """Latent coordinates [..., r] expected from image features ``found`` [..., n]."""
        return np.clip((found - self.mean) / self.scale, -5, 5) @ self.mapping

    def caption(self, image: NDArray[np.uint8]) -> str:
        """The caption nearest to ``image`` uint8 [H, W, 3]."""
        return self.captions[int((self.locate(self.captions) @ self.expect(features(image))).argmax())]


def load(folder: Path) -> Retriever:
    """The tables in ``folder``: ``tables.safetensors``, ``captions.txt`` and ``vocabulary.txt``.

    Raises:
        InputError: a file is missing or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tables = {name: table.astype(np.float32) for name, table in load_file(folder / "tables.safetensors").items()}
        captions, vocabulary = (tuple(lines((folder / name).read_text("utf-8"))) for name in TEXTS)
        retriever = Retriever(captions, vocabulary, **tables)
        consistent = retriever.places.shape == (len(vocabulary), len(retriever.centre)) and bool(captions)
        consistent = consistent and all(bool(np.isfinite(table).all()) for table in tables.values())
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        raise InputError(f"{folder}: the captioner's tables are missing or damaged ({error}); install gencomm again") from None
    if not consistent:
        raise InputError(f"{folder}: the captioner's tables do not belong together; install gencomm again")
    return retriever
