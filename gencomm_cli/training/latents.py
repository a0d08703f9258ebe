"""The training photographs' latents, computed once: the networks that live in latent space never wait for the VAE.

Of each photograph the central ``WINDOW``² pixels are kept: equal shapes batch, and a CPU compiles its convolutions only once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.loop import autocast
from gencomm_cli.training.parallel import first, rows

WINDOW = 256
BATCH = 16


class Codec(Protocol):
    """What makes latents [B, channels, H/factor, W/factor] of images [B, 3, H, W]."""

    @property
    def channels(self) -> int: ...

    @property
    def factor(self) -> int: ...

    @property
    def scaling(self) -> float: ...

    def state_dict(self) -> dict[str, Tensor]: ...

    def encode(self, image: Tensor) -> Tensor: ...


@dataclass(frozen=True)
class Latents:
    """Latents of ``photographs``' central windows: ``values`` float16 [N, C, WINDOW/f, WINDOW/f]."""

    photographs: Photographs
    values: np.ndarray
    factor: int

    def crops(self, batch: int, size: int, generator: np.random.Generator) -> tuple[Tensor, np.ndarray, list[str]]:
        """Latents float32 [batch, C, size, size], the pixels they stand for uint8 [batch, f·size, f·size, 3], and the captions."""
        latents = np.empty((batch, self.values.shape[1], size, size), np.float32)
        pixels = np.empty((batch, size * self.factor, size * self.factor, 3), np.uint8)
        captions = []
        most = (len(self.photographs), *[self.values.shape[2] - size + 1] * 2)
        for slot, (index, top, left) in enumerate(rows(lambda n: generator.integers(most, size=(n, 3)), batch)):
            latents[slot] = self.values[index, :, top : top + size, left : left + size]
            lines, columns = (slice(self.factor * start, self.factor * (start + size)) for start in (top, left))
            pixels[slot] = window(self.photographs.image(index))[lines, columns]
            captions.append(self.photographs.captions[index])
        return torch.from_numpy(latents), pixels, captions


def window(image: np.ndarray) -> np.ndarray:
    """The central WINDOW² pixels of an image [H, W, 3]."""
    top, left = (image.shape[0] - WINDOW) // 2, (image.shape[1] - WINDOW) // 2
    return image[top : top + WINDOW, left : left + WINDOW]


def _of_photographs(photographs: Photographs) -> str:
    """SHA-256 of all names and sizes, and of the middle row of each window: of a large set, the whole would take minutes."""
    digest = hashlib.sha256(json.dumps([photographs.names, photographs.sizes.tolist()]).encode())
    for index in range(len(photographs)):
        digest.update(window(photographs.image(index))[WINDOW // 2])
    return digest.hexdigest()


def _of_codec(codec: Codec) -> str:
    """SHA-256 of the codec's scale and weights."""
    digest = hashlib.sha256(repr(codec.scaling).encode())
    for name, tensor in codec.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def compute(
    codec: Codec, photographs: Photographs, path: Path, device: torch.device, report: Callable[[str], None] = print
) -> Latents:
    """Encodes every photograph's window into ``path`` (.npy), unless that holds what these photographs and this codec make.

    Beside it, ``path`` with .json says what it was made of.
    """
    record = path.with_suffix(".json")
    made_of = json.dumps({"photographs": _of_photographs(photographs), "codec": _of_codec(codec)})
    with first():
        if not (path.exists() and record.exists() and record.read_text() == made_of):
            record.unlink(missing_ok=True)
            side = WINDOW // codec.factor
            values = np.empty((len(photographs), codec.channels, side, side), np.float16)
            for start in range(0, len(photographs), BATCH):
                stop = min(start + BATCH, len(photographs))
                pixels = np.stack([window(photographs.image(index)) for index in range(start, stop)])
                with autocast(device):
                    values[start:stop] = codec.encode(to_tensor(pixels, device)).float().cpu().numpy()
                if start % (50 * BATCH) == 0:
                    report(f"latents: {start}/{len(photographs)}")
            np.save(path.with_suffix(".tmp.npy"), values)
            path.with_suffix(".tmp.npy").rename(path)
            record.write_text(made_of)
    return Latents(photographs, np.load(path, mmap_mode="r"), codec.factor)
