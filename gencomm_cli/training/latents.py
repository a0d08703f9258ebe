"""The training photographs' latents, computed once: the networks that live in latent space never wait for the autoencoder.

Of each photograph the latent of the whole and that of its mirror image are kept. A crop of them is what the codec makes in the
middle of a picture, where crops encoded one by one would be edges for the most part.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gencomm_cli.outputs import replacing, write_files
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.loop import Precision, autocast
from gencomm_cli.training.parallel import first, rows

Range = tuple[float, float]


class Codec(Protocol):
    """What makes latents [B, channels, H/factor, W/factor] of images [B, 3, H, W]."""

    @property
    def channels(self) -> int: ...

    @property
    def factor(self) -> int: ...

    @property
    def scaling(self) -> float: ...

    def encoding(self) -> dict[str, Tensor]: ...

    def encode(self, image: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Latents:
    """Latents of ``photographs`` at some sizes, and of their mirror images.

    Attributes:
        values: float16, one entry after the other, each [2, C, h, w]: as it is, and mirrored.
        sources, sizes: of each entry, the photograph, and the (H, W) it was resized to; the latent is of all whole cells of it.
        factor, channels: of the codec.
    """

    photographs: Photographs
    values: np.ndarray
    sources: np.ndarray
    sizes: np.ndarray
    factor: int
    channels: int

    def __len__(self) -> int:
        return len(self.sources)

    @cached_property
    def offsets(self) -> np.ndarray:
        """Where each entry begins in ``values``, and where the last one ends."""
        return np.concatenate([[0], 2 * self.channels * np.cumsum((self.sizes // self.factor).prod(1))])

    def latent(self, entry: int) -> np.ndarray:
        """An entry's latents: float16 [2, C, h, w]."""
        return self.values[self.offsets[entry] : self.offsets[entry + 1]].reshape(
            2, self.channels, *self.sizes[entry] // self.factor
        )

    def crops(self, batch: int, size: int, generator: np.random.Generator) -> tuple[Tensor, np.ndarray, list[str], list[int]]:
        """Crops from anywhere, mirrored half of the time.

        Returns:
            Latents float32 [batch, C, size, size], the pixels they stand for uint8 [batch, f·size, f·size, 3], the captions, and
            of which photograph each crop is.
        """
        latents = np.empty((batch, self.channels, size, size), np.float32)
        pixels = np.empty((batch, size * self.factor, size * self.factor, 3), np.uint8)
        captions = []
        places = rows(lambda n: [self._place(size, generator) for _ in range(n)], batch)
        for slot, (entry, top, left, mirrored) in enumerate(places):
            latent = self.latent(entry)[int(mirrored)]
            latents[slot] = latent[:, top : top + size, left : left + size]
            column = latent.shape[2] - size - left if mirrored else left
            place, side = (self.factor * top, self.factor * column), self.factor * size
            crop = self.photographs.view(self.sources[entry], self.sizes[entry], place, (side, side))
            pixels[slot] = crop[:, ::-1] if mirrored else crop
            captions.append(self.photographs.captions[self.sources[entry]])
        return torch.from_numpy(latents), pixels, captions, [int(self.sources[entry]) for entry, *_ in places]

    def _place(self, size: int, generator: np.random.Generator) -> tuple[int, int, int, bool]:
        """A random crop: its entry, where it begins, and whether it is mirrored."""
        entry = int(generator.integers(len(self)))
        height, width = self.sizes[entry] // self.factor
        top, left = int(generator.integers(height - size + 1)), int(generator.integers(width - size + 1))
        return entry, top, left, bool(generator.random() < 0.5)


def _of_photographs(photographs: Photographs) -> str:
    """SHA-256 of all names and sizes, and of the middle row of each: of a large set, the whole would take minutes."""
    digest = hashlib.sha256(json.dumps([photographs.names, photographs.sizes.tolist()]).encode())
    for index in range(len(photographs)):
        image = photographs.image(index)
        digest.update(image[len(image) // 2])
    return digest.hexdigest()


def _of_codec(codec: Codec) -> str:
    """SHA-256 of the codec's scale and of the weights that encode."""
    digest = hashlib.sha256(repr(codec.scaling).encode())
    for name, tensor in codec.encoding().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _entries(photographs: Photographs, least: int, scales: Range) -> list[tuple[int, int, int]]:
    """Photograph, height and width of each entry: each photograph as it is and, if ``scales`` says so, at a size drawn there."""
    generator = np.random.default_rng(0)
    entries = []
    for index, (height, width) in enumerate(photographs.sizes[: len(photographs)].tolist()):
        for scale in (1.0,) if scales == (1.0, 1.0) else (1.0, float(np.exp(generator.uniform(*np.log(scales))))):
            at_least = max(scale, least / min(height, width))
            entries.append((index, *(max(math.floor(side * at_least + 0.5), least) for side in (height, width))))
    return entries  # type: ignore[return-value]


@torch.no_grad()
def compute(
    codec: Codec,
    photographs: Photographs,
    path: Path,
    device: torch.device,
    report: Callable[[str], None] = print,
    *,
    crop: int = 1,
    scales: Range = (1.0, 1.0),
    precision: Precision = "auto",
) -> Latents:
    """Encodes every photograph into ``path`` (.npy), unless that holds what these photographs and this codec make.

    Beside it, ``path`` with .json says what it was made of.

    Args:
        crop: side, in latent positions, of the crops that will be asked for: photographs that are smaller are enlarged.
        scales: each photograph is there a second time, scaled by a factor drawn log-uniformly from this range; (1, 1): it is not.
        precision: as :func:`~gencomm_cli.training.loop.autocast` has it.
    """
    record = path.with_suffix(".json")
    entries = np.array(_entries(photographs, crop * codec.factor, (scales[0], scales[1])), np.int64).reshape(-1, 3)
    sources, sizes = entries[:, 0], entries[:, 1:]
    cells = int((sizes // codec.factor).prod(1).sum())
    of_sizes = hashlib.sha256(sizes.tobytes()).hexdigest()
    asked = {} if precision == "auto" else {"precision": precision}
    made_of = json.dumps({"photographs": _of_photographs(photographs), "codec": _of_codec(codec), "sizes": of_sizes} | asked)
    with first():
        if not (path.exists() and record.exists() and record.read_text() == made_of):
            record.unlink(missing_ok=True)
            with replacing(path) as temporary:
                values = np.lib.format.open_memmap(temporary, "w+", np.float16, (2 * codec.channels * cells,))
                latents = Latents(photographs, values, sources, sizes, codec.factor, codec.channels)
                for entry, (source, size) in enumerate(zip(sources, sizes, strict=True)):
                    height, width = size // codec.factor * codec.factor
                    image = photographs.view(source, size, (0, 0), (height, width))
                    with autocast(device, precision):
                        encoded = codec.encode(to_tensor(np.stack([image, image[:, ::-1]]), device))
                    latents.latent(entry)[:] = encoded.float().cpu().numpy()
                    if entry % 1000 == 0:
                        report(f"latents: {entry}/{len(latents)}")
                values.flush()
            write_files({record: made_of.encode()})
    return Latents(photographs, np.load(path, mmap_mode="r"), sources, sizes, codec.factor, codec.channels)
