"""Photographs and captions for training: one memory-mapped file of pixels, cropped at random."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gencomm_cli.errors import InputError

SUFFIXES = {".webp", ".png", ".jpg", ".jpeg"}


def is_validation(name: str) -> bool:
    """Whether an image belongs to the validation split: a rule by name, so that every session draws the same line."""
    return zlib.crc32(name.encode()) % 20 == 0


@dataclass(frozen=True)
class Photographs:
    """Decoded images of one split.

    Attributes:
        names: file names, sorted.
        captions: one caption an image; empty where there is none.
        pixels: uint8, all images one after the other, each [H, W, 3].
        offsets, sizes: where each image starts in ``pixels``, and its (H, W).
    """

    names: list[str]
    captions: list[str]
    pixels: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    def image(self, index: int) -> np.ndarray:
        """Image ``index``: uint8 [H, W, 3]."""
        height, width = self.sizes[index]
        start = self.offsets[index]
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)

    def crops(self, batch: int, size: int, generator: np.random.Generator) -> tuple[np.ndarray, list[str]]:
        """Random crops, mirrored half of the time: uint8 [batch, size, size, 3], and their captions."""
        out = np.empty((batch, size, size, 3), np.uint8)
        captions = []
        for slot in range(batch):
            index = int(generator.integers(len(self)))
            image = self.image(index)
            top = int(generator.integers(image.shape[0] - size + 1))
            left = int(generator.integers(image.shape[1] - size + 1))
            crop = image[top : top + size, left : left + size]
            out[slot] = crop[:, ::-1] if generator.random() < 0.5 else crop
            captions.append(self.captions[index])
        return out, captions


def load(folder: Path, cache: Path, *, validation: bool) -> Photographs:
    """Images of ``folder`` (with ``captions.tsv`` beside them, if any), decoded once into ``cache``.

    Raises:
        InputError: the folder holds no image.
    """
    names = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and is_validation(p.name) == validation)
    if not names:
        raise InputError(f"{folder}: no training images; give a folder of .webp, .png or .jpg files")
    split = "validation" if validation else "train"
    index_file, pixel_file = cache / f"{split}.json", cache / f"{split}.u8"
    if not index_file.exists() or json.loads(index_file.read_text())["names"] != names:
        cache.mkdir(parents=True, exist_ok=True)
        sizes = []
        with pixel_file.open("wb") as out:
            for name in names:
                with Image.open(folder / name) as opened:
                    array = np.asarray(opened.convert("RGB"))
                sizes.append(array.shape[:2])
                out.write(array.tobytes())
        index_file.write_text(json.dumps({"names": names, "sizes": sizes}))
    sizes_array = np.array(json.loads(index_file.read_text())["sizes"], np.int64)
    lengths = sizes_array.prod(1) * 3
    captions: dict[str, str] = {}
    table = folder / "captions.tsv"
    if table.exists():
        captions = dict(line.split("\t", 1) for line in table.read_text("utf-8").splitlines() if "\t" in line)
    return Photographs(
        names,
        [captions.get(name, "") for name in names],
        np.memmap(pixel_file, np.uint8, "r"),
        np.concatenate([[0], np.cumsum(lengths)[:-1]]),
        sizes_array,
    )


def to_tensor(pixels: np.ndarray, device: torch.device) -> Tensor:
    """uint8 [B, H, W, 3] → float32 [B, 3, H, W] in [0, 1], channels last."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float().div(255).contiguous(memory_format=torch.channels_last)
