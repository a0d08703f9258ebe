"""Image codecs: Pillow's AVIF, JPEG 2000 and WebP; HEVC intra through pillow-heif; BPG, VTM and a learned codec where they are."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image as Pillow
from PIL import features

from gencomm_cli.errors import OptionError, RateError
from gencomm_cli.images import Pixels
from gencomm_cli.methods.separate import programs
from gencomm_cli.methods.separate.containers import Avif, Bpg, Container, Hevc, Jpeg2000, WebP, Whole
from gencomm_cli.methods.separate.hyperprior import FOLDER, Hyperprior
from gencomm_cli.methods.spec import Tool
from gencomm_cli.presets import combined_hash

SCALES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


class ImageCodec(Protocol):
    """An encoder and its decoder. ``steps``: how many qualities there are; ``max_side``: the most pixels along one side."""

    @property
    def steps(self) -> int: ...

    @property
    def max_side(self) -> int: ...

    @property
    def container(self) -> Container: ...

    def version(self) -> str | None:
        """Name and version of the library or program, None where it is not installed."""

    def encode(self, picture: Pillow.Image, step: int) -> bytes:
        """An RGB picture as a file, with quality 0 (worst) to ``steps`` - 1."""

    def decode(self, data: bytes, width: int, height: int) -> Pillow.Image:
        """The RGB picture in a file. Raises whatever the decoder does, and ValueError where the size is another."""


@dataclass(frozen=True)
class PillowCodec:
    """A codec of Pillow's.

    Attributes:
        format: Pillow's name. feature, library: Pillow's and people's names of the library behind it.
        options: keyword arguments of ``Image.save`` for a quality step.
    """

    format: str
    feature: str
    library: str
    steps: int
    max_side: int
    container: Container
    options: Callable[[int], Mapping[str, Any]]

    def version(self) -> str | None:
        return f"{self.library} {features.version(self.feature)}" if features.check(self.feature) else None

    def encode(self, picture: Pillow.Image, step: int) -> bytes:
        buffer = io.BytesIO()
        picture.save(buffer, self.format, **self.options(step))
        return buffer.getvalue()

    def decode(self, data: bytes, width: int, height: int) -> Pillow.Image:
        return programs.shown(io.BytesIO(data), self.format, width, height)


@dataclass(frozen=True)
class HevcCodec:
    """HEVC intra, x265 and libde265: what BPG is made of."""

    container: Container
    steps: int = 51
    max_side: int = 8192

    def version(self) -> str | None:
        try:
            import pillow_heif
        except ImportError:
            return None
        return str(pillow_heif.libheif_info()["HEIF"])

    def encode(self, picture: Pillow.Image, step: int) -> bytes:
        import pillow_heif

        buffer = io.BytesIO()
        pillow_heif.from_pillow(picture).save(buffer, quality=2 * step)  # x265's constant rate factor is half of 100 - quality
        return buffer.getvalue()

    def decode(self, data: bytes, width: int, height: int) -> Pillow.Image:
        import pillow_heif

        opened = pillow_heif.open_heif(io.BytesIO(data))
        programs.check_size(opened.size, width, height)
        return opened.to_pillow().convert("RGB")


def _avif(step: int) -> Mapping[str, Any]:
    return {"quality": 100 - round((63 - step) * 100 / 63), "speed": 6, "max_threads": 1}


def _jpeg2000(step: int) -> Mapping[str, Any]:
    ratio = 2.0 ** ((351 - step) / 24)  # from 25000:1 to lossless, 3 % a step; the colour transform is off by default
    return {"no_jp2": True, "irreversible": True, "mct": 1, "quality_mode": "rates", "quality_layers": [ratio]}


def _webp(step: int) -> Mapping[str, Any]:
    return {"quality": step, "method": 6}


CODECS: dict[str, ImageCodec] = {
    "avif": PillowCodec("AVIF", "avif", "libavif", 64, 65535, Avif(), _avif),
    "jpeg2000": PillowCodec("JPEG2000", "jpg_2000", "OpenJPEG", 352, 65535, Jpeg2000(), _jpeg2000),
    "webp": PillowCodec("WEBP", "webp", "libwebp", 101, 16383, WebP(), _webp),
    "hevc": HevcCodec(Hevc()),
    "bpg": programs.Bpg(Bpg()),
    "vtm": programs.Vtm(Whole()),
    "hyperprior": Hyperprior(Whole()),
}
_PROGRAMS = {"bpg": "bpgenc and bpgdec", "vtm": "EncoderApp and DecoderApp"}
_HOW = {name: f"put {both} on the PATH" for name, both in _PROGRAMS.items()} | {
    "hevc": "pip install 'gencomm[heif]'",
    "hyperprior": f"set {FOLDER} to a folder of CompressAI's bmshj2018-hyperprior checkpoints",
}
_LACKS = {name: f"{both} are not on the PATH" for name, both in _PROGRAMS.items()}
_LACKS["hyperprior"] = f"{FOLDER} names no checkpoints"


def find(name: str) -> ImageCodec:
    """The codec of that name.

    Raises:
        OptionError: there is none, or it is not installed.
    """
    if name not in CODECS:
        raise OptionError("codec", f"{name!r} is not a codec of this version; use {', '.join(CODECS)}")
    if CODECS[name].version() is None:
        raise OptionError(
            "codec", f"{name} is not installed; {_HOW.get(name, 'this Pillow was built without it: install its wheel')}"
        )
    return CODECS[name]


def tools() -> list[Tool]:
    """The codecs, for `gencomm doctor`."""
    return [Tool("codec", name, codec.version(), _LACKS.get(name, "not here")) for name, codec in CODECS.items()]


def version_tag(name: str) -> str:
    """A codec's version in one word, for a symbol file: ``libavif-1.4.2``."""
    return re.sub(r"[^A-Za-z0-9._+]+", "-", CODECS[name].version() or "missing").strip("-.+_")[:100]


@dataclass(frozen=True)
class Coded:
    """What is sent of a picture, ``kept`` or ``stripped``, at 1/``scale`` of its size; and what the receiver will show.

    ``container_bytes``: by how much the codec's file is longer than the payload."""

    payload: bytes
    container: str
    scale: int
    shown: Pixels
    container_bytes: int


def coded_size(width: int, height: int, scale: int) -> tuple[int, int]:
    """(width, height) of a picture that is coded at 1/scale of its size."""
    return -(-width // scale), -(-height // scale)


def fit(codec: ImageCodec, image: Pixels, budget: int) -> Coded:
    """The picture [H, W, 3] coded as well as ``budget`` bytes allow.

    The best quality that fits is searched at full size, then at ever smaller ones, for as long as the squared error falls.

    Raises:
        RateError: not even the smallest picture of the worst quality fits; ``fits`` counts its bytes.
    """
    height, width = image.shape[:2]
    original, best, least, shortest = Pillow.fromarray(image), None, np.inf, 2**62
    for scale in SCALES:
        size = coded_size(width, height, scale)
        if max(size) > codec.max_side:
            continue
        picture = original if scale == 1 else original.resize(size, Pillow.Resampling.LANCZOS)
        payload, container = _best_quality(codec, picture, budget)
        shortest = min(shortest, len(payload))
        if len(payload) > budget:
            continue
        shown = show(codec, payload, container, scale, width, height)
        left_out = len(codec.container.restore(payload, *size)) - len(payload) if container == "stripped" else 0
        error = float(np.square(image.astype(np.float32) - shown).mean())
        if error >= least:
            break
        best, least = Coded(payload, container, scale, shown, left_out), error
    if best is None:
        raise RateError(f"{budget} bytes are too few for any picture of this codec at {width}x{height}", fits=shortest)
    return best


def smallest(codec: ImageCodec, image: Pixels) -> int:
    """The fewest bytes that the codec makes of a picture [H, W, 3]."""
    try:
        return len(fit(codec, image, 0).payload)
    except RateError as error:
        return error.fits or 1


def show(codec: ImageCodec, payload: bytes, container: str, scale: int, width: int, height: int) -> Pixels:
    """What a payload shows: decoded, and resized to uint8 [height, width, 3]. Raises whatever the decoder does."""
    size = coded_size(width, height, scale)
    data = codec.container.restore(payload, *size) if container == "stripped" else payload
    picture = codec.decode(data, *size)
    return np.asarray(picture if scale == 1 else picture.resize((width, height), Pillow.Resampling.LANCZOS))


def _best_quality(codec: ImageCodec, picture: Pillow.Image, budget: int) -> tuple[bytes, str]:
    """The payload of the highest quality that fits, or of the lowest, and whether its container was ``kept`` or ``stripped``."""

    def coded(step: int) -> tuple[bytes, str]:
        data = codec.encode(picture, step)
        try:
            return codec.container.strip(data, *picture.size), "stripped"
        except ValueError:
            return data, "kept"

    best, kind = coded(0)
    low, high = 1, codec.steps - 1 if len(best) <= budget else 0
    while low <= high:
        middle = (low + high) // 2
        payload, container = coded(middle)
        if len(payload) <= budget:
            best, kind, low = payload, container, middle + 1
        else:
            high = middle - 1
    return best, kind


def weights(preset_hash: str, options: Mapping[str, str]) -> str:
    """What a bench cell has as its weights' hash: the version of the image codec counts as weights do.

    Raises:
        InputError: the codec is not installed.
    """
    find(options["codec"])
    return combined_hash([preset_hash, version_tag(options["codec"])])
