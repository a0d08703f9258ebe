"""Photographs and captions for training, of a folder or WebDataset shards: one memory-mapped file of pixels, cropped at random."""

from __future__ import annotations

import contextlib
import io
import json
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from gencomm_cli.datasets import images_of
from gencomm_cli.errors import InputError, imported
from gencomm_cli.images import Pixels
from gencomm_cli.outputs import replacing, write_files
from gencomm_cli.photographs import captions, is_hidden, left_out, prepare, read_found, suffixes
from gencomm_cli.textfiles import decoded
from gencomm_cli.training.parallel import first, rows

MAX_CAPTION, MAX_IMAGE = 2**16, 2**26
"""Bytes of a shard's entry."""
MIN_SIDE, MAX_ASPECT = 8, 64
"""A photograph's shorter side in pixels, and how often it may go into the longer one: crops of others show next to nothing."""


def is_validation(name: str) -> bool:
    """Whether an image belongs to the validation split: a rule by name, so that every session draws the same line."""
    return zlib.crc32(name.encode("utf-8", "surrogateescape")) % 20 == 0


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

    def view(self, index: int, size: Sequence[int], place: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
        """A piece of image ``index`` resized to ``size`` (H, W): uint8 of ``shape`` (h, w, 3), from ``place`` (row, column) on."""
        image, (top, left), (height, width) = self.image(index), place, shape
        if tuple(size) == image.shape[:2]:
            return image[top : top + height, left : left + width]
        down, across = image.shape[0] / size[0], image.shape[1] / size[1]
        box = (left * across, top * down, (left + width) * across, (top + height) * down)
        return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC, box))

    def crops(
        self, batch: int, size: int, generator: np.random.Generator, scales: tuple[float, float] = (1.0, 1.0)
    ) -> tuple[np.ndarray, list[str]]:
        """Random crops, mirrored half of the time: uint8 [batch, size, size, 3], and their captions.

        Half of the photographs are scaled first, by a factor drawn log-uniformly from ``scales``; one smaller than a crop is
        enlarged.
        """
        out = np.empty((batch, size, size, 3), np.uint8)
        captions = []
        places = rows(lambda n: [self._place(size, generator, scales) for _ in range(n)], batch)
        for slot, (index, top, left, side, mirrored) in enumerate(places):
            crop = self.image(index)[top : top + side, left : left + side]
            if side != size:
                crop = np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BICUBIC))
            out[slot] = crop[:, ::-1] if mirrored else crop
            captions.append(self.captions[index])
        return out, captions

    def _place(self, size: int, generator: np.random.Generator, scales: tuple[float, float]) -> tuple[int, int, int, int, bool]:
        """A random crop: its image, where it begins, its side in the photograph's own pixels, and whether it is mirrored."""
        index = int(generator.integers(len(self)))
        height, width = (int(side) for side in self.sizes[index])
        scale = 1.0 if scales == (1.0, 1.0) or generator.random() < 0.5 else float(np.exp(generator.uniform(*np.log(scales))))
        side = min(round(size / scale), height, width)
        top, left = int(generator.integers(height - side + 1)), int(generator.integers(width - side + 1))
        return index, top, left, side, bool(generator.random() < 0.5)


def load(
    data: Path, cache: Path, *, validation: bool, report: Callable[[str], None] = lambda line: None, how: str = "none"
) -> Photographs:
    """Images of ``data`` with their captions, decoded once into ``cache``.

    Hidden, unreadable and very small images (``MIN_SIDE``, ``MAX_ASPECT``) are left out; ``report`` takes the line that says so.

    Args:
        data: a folder, or that of a data set (:mod:`gencomm_cli.datasets`), with ``captions.tsv`` (file name, tab, caption) beside
            the images, if any; or tar shards as WebDataset writes them,
            ``train-{000..010}.tar``: images, each with its caption in a .txt entry of the same name.
        how: each image is prepared, as :func:`~gencomm_cli.photographs.prepare` has it.

    Raises:
        InputError: there is no image that can be used, or a shard is not there, damaged or has too large an entry.
    """
    source: list[Any]
    if data.is_dir():
        files = [file for file in images_of(data, "train") if is_validation(file.name) == validation]
        source = [[file.relative_to(data).as_posix(), caption] for file, caption in zip(files, captions(files), strict=True)]
    else:
        source = [[str(shard), shard.stat().st_size, shard.stat().st_mtime_ns] for shard in shards(data)]
        files = []
    stamps = [_stamp(file) for file in files]
    split = "validation" if validation else "train"
    index_file, pixel_file = cache / f"{split}.json", cache / f"{split}.u8"
    with first():
        if not _same(_index(index_file, pixel_file), source, stamps, how):
            cache.mkdir(parents=True, exist_ok=True)
            index_file.unlink(missing_ok=True)  # it is of other pixels than those to come
            images: Iterator[tuple[str, str, Path | BinaryIO]]
            images = ((name, caption, data / name) for name, caption in source) if data.is_dir() else _samples(shards(data))
            index: dict[str, Any] = {"source": source, "stamps": stamps, "prepare": how, "names": [], "captions": [], "sizes": []}
            unused: dict[str, str] = {}
            with replacing(pixel_file) as path, path.open("wb") as out:
                for name, caption, file in images:
                    if is_validation(Path(name).name if data.is_dir() else name) == validation:
                        try:
                            pixels = prepare(_usable(name, file), how)
                        except InputError as error:
                            unused[name] = str(error)
                            continue
                        out.write(pixels.tobytes())
                        for key, value in (("names", name), ("captions", caption), ("sizes", pixels.shape[:2])):
                            index[key].append(value)
            if unused:
                report(left_out(unused, len(unused) + len(index["names"])))
            write_files({index_file: json.dumps(index).encode()})
    index = json.loads(index_file.read_text())
    if not index["names"]:
        raise InputError(f"{data}: no training images; give a folder, or tar shards, of photographs (PNG, JPEG, WebP, HEIC, ...)")
    sizes = np.array(index["sizes"], np.int64)
    offsets = np.concatenate([[0], np.cumsum(sizes.prod(1) * 3)[:-1]])
    return Photographs(index["names"], index["captions"], np.memmap(pixel_file, np.uint8, "r"), offsets, sizes)


def _stamp(file: Path) -> list[int]:
    """Size and time of a file; none of a link that leads nowhere."""
    try:
        return [file.stat().st_size, file.stat().st_mtime_ns]
    except OSError:
        return []


def _index(file: Path, pixels: Path) -> dict[str, Any]:
    """What a cache's index says; nothing where it is not there, or damaged, or its pixels are."""
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found: dict[str, Any] = json.loads(file.read_bytes())
        if pixels.stat().st_size == sum(3 * height * width for height, width in found["sizes"]):
            return found
    return {}


def _same(index: dict[str, Any], source: list[Any], stamps: list[Any], how: str) -> bool:
    """Whether a cache is of these images, prepared so. Earlier releases noted neither sizes and times of a folder's nor that."""
    return index.get("source") == source and index.get("stamps", stamps) == stamps and index.get("prepare", "none") == how


def _usable(name: str, file: Path | BinaryIO) -> Pixels:
    """An image [H, W, 3] that one can learn from. Raises InputError where it is none."""
    pixels = read_found(file, name)
    shorter, longer = sorted(pixels.shape[:2])
    if shorter < MIN_SIDE or longer > MAX_ASPECT * shorter:
        raise InputError(f"{name}: {pixels.shape[1]}x{pixels.shape[0]} is too small or too narrow to learn from")
    return pixels


def shards(pattern: Path) -> list[Path]:
    """The tar files that a name with braces stands for.

    Raises:
        InputError: one is not there, or webdataset is not installed.
    """
    needed = f"--data {pattern}: is no folder, and shards need webdataset; pip install 'gencomm[train]'"
    found = [Path(name) for name in imported("webdataset.shardlists", needed).expand_urls(str(pattern))]
    for path in found:
        if path.suffix != ".tar" or not path.is_file():
            raise InputError(f"--data: there is no folder or tar file {path}; name a folder of images, or train-{{000..010}}.tar")
    return found


def _samples(paths: list[Path]) -> Iterator[tuple[str, str, BinaryIO]]:
    """Name, caption and file of every image of the shards."""
    from webdataset.tariterators import group_by_keys

    try:
        for sample in group_by_keys(entry for path in paths for entry in _entries(path)):
            caption = " ".join(decoded(sample.get("txt", b"")).split())
            for suffix in sample:
                if f".{suffix}" in suffixes():
                    yield f"{sample['__key__']}.{suffix}", caption, io.BytesIO(sample[suffix])
    except ValueError as error:
        raise InputError(f"--data: {error}; give each entry of a shard a name of its own") from None


def _entries(path: Path) -> Iterator[dict[str, Any]]:
    """A shard's images and captions as webdataset's ``group_by_keys`` takes them.

    Not by webdataset's own reader: that unpacks compressed archives and reads entries whole, whatever their size.
    """
    try:
        with tarfile.open(path, "r:") as archive:
            for entry in archive:
                suffix = Path(entry.name).suffix.lower()
                limit = MAX_CAPTION if suffix == ".txt" else MAX_IMAGE if suffix in suffixes() else 0
                if not limit or not entry.isreg() or is_hidden(entry.name):  # macOS packs a hidden twin of every file
                    continue
                if entry.size > limit:
                    raise InputError(f"{path}: {entry.name} has {entry.size} bytes, more than {limit}; leave it out")
                file = archive.extractfile(entry)
                assert file is not None
                yield {"fname": entry.name, "data": file.read(), "__url__": str(path)}
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path}: is not an uncompressed tar file, or damaged ({error}); write it anew") from None
    yield {}  # samples do not go on in the next shard


def to_tensor(pixels: np.ndarray, device: torch.device) -> Tensor:
    """uint8 [B, H, W, 3] → float32 [B, 3, H, W] in [0, 1], channels last."""
    return torch.from_numpy(pixels).to(device).permute(0, 3, 1, 2).float().div(255).contiguous(memory_format=torch.channels_last)
