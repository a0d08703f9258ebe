"""The scale hyperprior (Ballé et al., arXiv:1802.01436) with CompressAI's weights and integer tables, and what it sends.

    x ─► g_a ─► y ─► ŷ = ⌊y⌉ ──────────────┐               ŷ ─► g_s ─► x̂
               │y│ ─► h_a ─► ẑ = ⌊z⌉ ─► h_s ─► σ, of each ŷ_i ~ N(0, σ_i²)

Modules carry CompressAI's names. h_s runs in float64, so that both ends take the same table for each ŷ_i; the tables are integers.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, cast

import constriction
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gencomm_cli.errors import InputError
from gencomm_cli.images import Pixels
from gencomm_cli.networks.adjscc import GDN
from gencomm_cli.networks.tensors import padded_size, to_image, to_tensor
from gencomm_cli.released.checkpoint import read_checkpoint
from gencomm_cli.text.range_coder import categorical, seal, unseal

Integers = NDArray[np.int64]
MULTIPLE = 64
LONGEST = 16
"""Bits of a value outside its table, at most."""
NEEDED = (
    "entropy_bottleneck.quantiles", *(f"{part}._{table}" for part in ("entropy_bottleneck", "gaussian_conditional")
    for table in ("quantized_cdf", "cdf_length", "offset")), "gaussian_conditional.scale_table",
)  # fmt: skip


def _down(before: int, after: int) -> nn.Conv2d:
    return nn.Conv2d(before, after, 5, 2, 2)


def _up(before: int, after: int) -> nn.ConvTranspose2d:
    return nn.ConvTranspose2d(before, after, 5, 2, 2, output_padding=1)


class Tables:
    """Frequencies of integers, one table a row; the last entry of each says that the value is in none.

    Args:
        tensors: ``_quantized_cdf`` [rows, entries], ``_cdf_length`` [rows] and ``_offset`` [rows] of a part of CompressAI's.
    """

    def __init__(self, tensors: Mapping[str, Tensor], part: str, path: Path) -> None:
        cdf, lengths, offsets = (tensors[f"{part}._{name}"].long().numpy() for name in ("quantized_cdf", "cdf_length", "offset"))
        if cdf.ndim != 2 or not len(cdf) == lengths.size == offsets.size or not ((lengths > 1) & (lengths <= cdf.shape[1])).all():
            raise InputError(f"{path}: {part} has no tables; call its update() before it is saved")
        self.offsets: Integers = offsets
        self.frequencies = [np.diff(row[:length]) for row, length in zip(cdf, lengths, strict=True)]
        if not all((row > 0).all() for row in self.frequencies):
            raise InputError(f"{path}: {part} has tables that do not rise; take the published file")

    def encode(self, encoder: Any, values: Integers, rows: Integers) -> None:
        """Values [n] by the tables of ``rows`` [n], table by table."""
        for row in np.unique(rows):
            found = values[rows == row] - self.offsets[row]
            most = len(self.frequencies[row]) - 1
            outside = (found < 0) | (found >= most)
            encoder.encode(np.where(outside, most, found).astype(np.int32), categorical(self.frequencies[row]))
            for value in found[outside].tolist():  # 1, 2, …: those above in turn with those below; its length, and then its bits
                number = min(2 * (value - most) + 1 if value >= most else -2 * value, 2**LONGEST - 1)
                length = number.bit_length()
                encoder.encode(length - 1, constriction.stream.model.Uniform(LONGEST))
                if length > 1:
                    encoder.encode(number - 2 ** (length - 1), constriction.stream.model.Uniform(2 ** (length - 1)))

    def decode(self, decoder: Any, rows: Integers) -> Integers:
        """The values [n]."""
        values = np.empty(rows.shape, np.int64)
        for row in np.unique(rows):
            here, most = rows == row, len(self.frequencies[row]) - 1
            found = decoder.decode(categorical(self.frequencies[row]), int(here.sum())).astype(np.int64)
            for place in np.flatnonzero(found == most):
                length = 1 + int(decoder.decode(constriction.stream.model.Uniform(LONGEST)))
                number = 2 ** (length - 1)
                number += int(decoder.decode(constriction.stream.model.Uniform(number))) if length > 1 else 0
                found[place] = most + (number - 1) // 2 if number % 2 else -number // 2
            values[here] = found + self.offsets[row]
        return values


class ScaleHyperprior(nn.Module):
    """One published quality: N channels, M of the latent."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        theirs = read_checkpoint(path).tensors
        if missing := [name for name in (*NEEDED, "g_a.0.weight", "g_a.6.weight") if name not in theirs]:
            raise InputError(f"{path}: lacks {missing[0]}; a checkpoint of CompressAI's bmshj2018-hyperprior would be right")
        n, m = len(theirs["g_a.0.weight"]), len(theirs["g_a.6.weight"])
        self.g_a = nn.Sequential(_down(3, n), GDN(n), _down(n, n), GDN(n), _down(n, n), GDN(n), _down(n, m))
        self.g_s = nn.Sequential(_up(m, n), GDN(n, True), _up(n, n), GDN(n, True), _up(n, n), GDN(n, True), _up(n, 3))
        self.h_a = nn.Sequential(nn.Conv2d(m, n, 3, 1, 1), nn.ReLU(), _down(n, n), nn.ReLU(), _down(n, n))
        self.h_s = nn.Sequential(_up(n, n), nn.ReLU(), _up(n, n), nn.ReLU(), nn.Conv2d(n, m, 3, 1, 1), nn.ReLU())
        try:
            self.load_state_dict({name: theirs[name] for name in self.state_dict()})
        except (KeyError, RuntimeError) as error:
            raise InputError(f"{path}: is no scale hyperprior of CompressAI's ({str(error).splitlines()[0]})") from None
        self.h_s.double()
        self.medians = theirs["entropy_bottleneck.quantiles"][:, 0, 1].float().clone()
        self.thresholds = theirs["gaussian_conditional.scale_table"].double().clone()[:-1]
        self.hyper, self.gaussian = (Tables(theirs, part, path) for part in ("entropy_bottleneck", "gaussian_conditional"))
        self.eval().requires_grad_(False)

    def _rows(self, z: Tensor) -> Integers:
        """The table of each ŷ_i, given ẑ [1, N, h, w]: that of the least scale not below σ_i."""
        return cast(Integers, torch.bucketize(self.h_s(z.double()), self.thresholds).numpy())

    def compress(self, image: Pixels) -> bytes:
        """What is sent of an image [H, W, 3]."""
        y = self.g_a(to_tensor(image, MULTIPLE, torch.device("cpu")))
        medians = self.medians[:, None, None]
        z = (self.h_a(y.abs()) - medians).round()
        encoder = constriction.stream.queue.RangeEncoder()
        self.hyper.encode(encoder, z.long().numpy().ravel(), self._channels(z.shape[2:]))
        self.gaussian.encode(encoder, y.round().long().numpy().ravel(), self._rows(z + medians).ravel())
        return np.packbits(seal(encoder)).tobytes()

    def decompress(self, payload: bytes, width: int, height: int) -> Pixels:
        """The image in it; AssertionError where it is none of :meth:`compress`'s."""
        decoder = unseal(np.unpackbits(np.frombuffer(payload, np.uint8)))
        size = tuple(side // MULTIPLE for side in padded_size((height, width), MULTIPLE))
        z = torch.from_numpy(self.hyper.decode(decoder, self._channels(size))).view(1, -1, *size) + self.medians[:, None, None]
        rows = self._rows(z)
        y = torch.from_numpy(self.gaussian.decode(decoder, rows.ravel())).view(rows.shape).float()
        return to_image(self.g_s(y), (height, width), "hyperprior")

    def _channels(self, size: tuple[int, ...]) -> Integers:
        """The channel of each of z's elements [N · h · w]."""
        return np.repeat(np.arange(len(self.medians)), size[0] * size[1])


@cache
def load(path: Path) -> ScaleHyperprior:
    """The network of a checkpoint. Raises InputError where it is none, or has no tables."""
    return ScaleHyperprior(path)
