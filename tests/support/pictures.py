"""Kinds of picture file that people have, each with the pixels that are right, and kinds that nobody can read."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, PngImagePlugin

from tests.support.commands import picture

Array = NDArray[Any]
SCENE = picture(24, 32)
SRGB_D50 = np.array([[0.4360747, 0.3850649, 0.1430804], [0.2225045, 0.7168786, 0.0606169], [0.0139322, 0.0971045, 0.7141733]])
"""Linear sRGB → XYZ adapted to D50 (Bradford), as profiles have it."""
ADOBE = np.array([[0.6097, 0.2053, 0.1492], [0.3111, 0.6257, 0.0632], [0.0195, 0.0609, 0.7446]])
P3 = np.array([[0.5151, 0.2920, 0.1571], [0.2412, 0.6922, 0.0666], [-0.0011, 0.0419, 0.7841]])
ORIENTATION = 0x0112


LOSSY = 5.0, 140.0
"""What a lossy format may be off, on average and at most; another orientation or colour space is off by more on average."""


@dataclass(frozen=True)
class Kind:
    """A file and the pixels that it shows, [H, W, 3], which may be off so far on average and at most."""

    name: str
    data: bytes
    pixels: Array
    mean: float = 0.0
    most: float = 0.0


def saved(image: Image.Image | Array, file_format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(buffer, file_format, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    """A chunk of a PNG file."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(values: Array, colour: int, extra: bytes = b"", size: tuple[int, int] | None = None) -> bytes:
    """A PNG file of 8 or 16 bits as its bytes are laid down. ``size``: what its head claims (width, height)."""
    width, height = size or (values.shape[1], values.shape[0])
    bits = 8 * values.dtype.itemsize
    rows = b"".join(b"\0" + row.astype(values.dtype.newbyteorder(">")).tobytes() for row in values)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def of_few_bits(levels: Array, bits: int, extra: bytes = b"") -> bytes:
    """A PNG file of grey with fewer than 8 bits a pixel."""
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", *levels.shape[::-1], bits, 0, 0, 0, 0))
    digits = np.unpackbits(levels[..., None], axis=2)[..., -bits:].reshape(len(levels), -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(digits, axis=1))
    return b"\x89PNG\r\n\x1a\n" + head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def tiff(
    width: int, height: int, bits: int, sample_format: int, data: bytes, orientation: int = 1, photometric: int = 1, kind: int = 0
) -> bytes:
    """An uncompressed TIFF file of one strip of grey. ``kind``: of its frame, 1 for a preview of another."""
    tags = {
        254: kind, 256: width, 257: height, 258: bits, 259: 1, 262: photometric, 273: 8, 274: orientation, 277: 1,
        278: height, 279: len(data), 339: sample_format,
    }  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHI", b"II", 42, 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def profile(space: bytes, tags: Mapping[bytes, bytes], pcs: bytes = b"XYZ ") -> bytes:
    """An ICC profile of version 2 with these tags."""
    tags = {b"desc": b"desc" + bytes(4) + struct.pack(">I", 2) + b"t\0" + bytes(80), b"wtpt": xyz((0.9642, 1, 0.8249)), **tags}
    table, body, start = b"", b"", 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        padded = value + bytes(-len(value) % 4)
        table += name + struct.pack(">II", start + len(body), len(value))
        body += padded
    head = struct.pack(">I4sI4s4s4s12x4s", start + len(body), bytes(4), 0x02400000, b"mntr", space, pcs, b"acsp").ljust(68, b"\0")
    return (head + xyz((0.9642, 1, 0.8249))[8:]).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def xyz(values: Sequence[float]) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(struct.pack(">i", round(65536 * value)) for value in values)


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * value))


def of_primaries(matrix: Array, exponent: float = 2.2) -> bytes:
    """The profile of a display: linear RGB → XYZ (D50), and its gamma."""
    return of_curve(matrix, gamma(exponent))


def of_curve(matrix: Array, curve: bytes) -> bytes:
    """The same with any curve."""
    columns = {c + b"XYZ": xyz(column) for c, column in zip((b"r", b"g", b"b"), matrix.T, strict=True)}
    return profile(b"RGB ", columns | {c + b"TRC": curve for c in (b"r", b"g", b"b")})


def of_ink() -> bytes:
    """The profile of a press whose inks are all grey: the lightness is 100 without ink, and falls by 25 with each of four."""
    ink = np.indices((2, 2, 2, 2)).reshape(4, -1).sum(0)  # the last channel varies fastest
    lab = np.stack([np.rint(255 * (1 - ink / 4)), np.full(16, 128), np.full(16, 128)], 1).astype(np.uint8)
    ramp = bytes(range(256))
    matrix = b"".join(struct.pack(">i", value) for value in (65536, 0, 0, 0, 65536, 0, 0, 0, 65536))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + 4 * ramp + lab.tobytes() + 3 * ramp
    return profile(b"CMYK", {b"A2B0": table}, b"Lab ")


def encoded_srgb(linear: Array) -> Array:
    linear = linear.clip(0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def shown(numbers: Array, matrix: Array, exponent: float = 2.2) -> Array:
    """What such numbers [H, W, 3] look like in sRGB."""
    return encoded_srgb((numbers / 255.0) ** exponent @ (np.linalg.inv(SRGB_D50) @ matrix).T)


def over_white(pixels: Array, alpha: Array) -> Array:
    return 255 + (pixels.astype(float) - 255) * (alpha.astype(float)[..., None] / 255)


def grey(values: Array) -> Array:
    return np.repeat(values[..., None], 3, 2)


def exif(orientation: object) -> Image.Exif:
    block = Image.Exif()
    block[ORIENTATION] = orientation
    return block


def with_exif(payload: bytes) -> bytes:
    """A JPEG file with that payload as its EXIF segment."""
    data = saved(SCENE, "JPEG", quality=95)
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(payload) + 8) + b"Exif\0\0" + payload + data[2:]


def entries(*found: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block: tag, type, count, value of each entry."""
    body = b"".join(struct.pack("<HHI4s", *entry) for entry in found)
    return struct.pack("<2sHIH", b"II", 42, 8, len(found)) + body + bytes(4)


TURNED: dict[int, Callable[[Array], Array]] = {
    1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1], 5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].swapaxes(0, 1), 8: lambda a: np.rot90(a),
}  # fmt: skip
"""What is to be done to an image by its EXIF orientation."""


@cache
def good() -> dict[str, Kind]:
    """Kinds that can be read, by name."""
    return {kind.name: kind for made in (_formats, _depths, _transparent, _turned, _coloured, _chunked, _odd) for kind in made()}


def _formats() -> Iterator[Kind]:
    image = Image.fromarray(SCENE)
    for suffix, name, options in (
        ("png", "PNG", {}), ("bmp", "BMP", {}), ("dib", "DIB", {}), ("tif", "TIFF", {}), ("ppm", "PPM", {}), ("tga", "TGA", {}),
        ("pcx", "PCX", {}), ("sgi", "SGI", {}), ("dds", "DDS", {}), ("webp", "WEBP", {"lossless": True}),
        ("jp2", "JPEG2000", {"irreversible": False}), ("ico", "ICO", {"sizes": [(32, 24)]}),
    ):  # fmt: skip
        yield Kind(f"plain.{suffix}", saved(image, name, **options), SCENE)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield Kind(f"{compression}.tif", saved(image, "TIFF", compression=compression), SCENE)
    yield Kind("jpeg.tif", saved(image, "TIFF", compression="jpeg", quality=95), SCENE, *LOSSY)
    for name, data in (
        ("plain.jpg", saved(image, "JPEG", quality=95)), ("progressive.JPEG", saved(image, "JPEG", quality=95, progressive=True)),
        ("full.jfif", saved(image, "JPEG", quality=95, subsampling=0)), ("plain.avif", saved(image, "AVIF", quality=95)),
        ("lossy.webp", saved(image, "WEBP", quality=95)), ("colours.gif", saved(image, "GIF")),
        ("two.mpo", saved(image, "MPO", save_all=True, append_images=[image.rotate(180)], quality=95)),
    ):  # fmt: skip
        yield Kind(name, data, SCENE, *LOSSY)
    more: dict[str, Any] = {"save_all": True, "append_images": [Image.fromarray(255 - SCENE)]}
    yield Kind("pages.tiff", saved(image, "TIFF", **more), SCENE)
    yield Kind("moving.apng", saved(image, "PNG", **more), SCENE)
    yield Kind("moving.webp", saved(image, "WEBP", lossless=True, **more), SCENE)
    yield Kind("moving.gif", saved(image, "GIF", **more), SCENE, *LOSSY)


def _depths() -> Iterator[Kind]:
    levels = np.asarray(Image.fromarray(SCENE).convert("L"))
    deep = levels.astype(np.uint16) * 257
    yield Kind("grey.png", saved(levels), grey(levels))
    yield Kind("grey.jpg", saved(levels, "JPEG", quality=95), grey(levels), *LOSSY)
    yield Kind("grey16.png", saved(deep), grey(levels))
    yield Kind("grey16.pgm", saved(deep, "PPM"), grey(levels))
    yield Kind("grey16.jp2", saved(deep, "JPEG2000"), grey(levels), 1, 1)
    height, width = levels.shape
    yield Kind("grey16.tif", tiff(width, height, 16, 1, deep.astype("<u2").tobytes()), grey(levels))
    yield Kind("turned16.tif", tiff(width, height, 16, 1, deep.astype("<u2").tobytes(), 6), TURNED[6](grey(levels)))
    yield Kind("white-is-zero.tif", tiff(width, height, 8, 1, (255 - levels).tobytes(), photometric=0), grey(levels))
    yield Kind(
        "white-is-zero16.tif", tiff(width, height, 16, 1, (65535 - deep).astype("<u2").tobytes(), photometric=0), grey(levels)
    )
    yield Kind("signed16.tif", tiff(width, height, 16, 2, (deep // 2).astype("<i2").tobytes()), grey(levels), 1, 1)
    twelve = np.rint(levels * (4095 / 255)).astype(np.uint32).reshape(-1, 2)
    packed = (twelve[:, 0] << 12 | twelve[:, 1]).astype(">u4").view(np.uint8).reshape(-1, 4)[:, 1:]
    yield Kind("grey12.tif", tiff(width, height, 12, 1, packed.tobytes()), grey(levels))
    wide = levels.astype(np.uint32) * 16843009
    yield Kind("grey32.tif", tiff(width, height, 32, 1, wide.astype("<u4").tobytes()), grey(levels))
    yield Kind("signed32.tif", tiff(width, height, 32, 2, (wide // 2).astype("<i4").tobytes()), grey(levels), 1, 1)
    yield Kind("sixteen-in-32.tif", saved(deep.astype(np.int32), "TIFF"), grey(levels))
    yield Kind("unit.tif", saved((levels / 255).astype(np.float32), "TIFF"), grey(levels))
    yield Kind("bytes.tif", saved(levels.astype(np.float32), "TIFF"), grey(levels))
    yield Kind("unit.pfm", saved((levels / 255).astype(np.float32), "PPM"), grey(levels))
    yield Kind("rgb16.png", png(SCENE.astype(np.uint16) * 257, 2), SCENE)
    ink = np.asarray(Image.fromarray(SCENE).convert("1")).astype(np.uint8) * 255
    yield Kind("ink.png", saved(Image.fromarray(SCENE).convert("1")), grey(ink))
    yield Kind("ink.pbm", saved(Image.fromarray(SCENE).convert("1"), "PPM"), grey(ink))
    yield Kind("ink.xbm", saved(Image.fromarray(SCENE).convert("1"), "XBM"), grey(ink))
    yield Kind("fax.tif", saved(Image.fromarray(SCENE).convert("1"), "TIFF", compression="group4"), grey(ink))
    palette = Image.fromarray(SCENE).quantize(16)
    yield Kind("palette.png", saved(palette), np.asarray(palette.convert("RGB")))
    yield Kind("palette.bmp", saved(palette, "BMP"), np.asarray(palette.convert("RGB")))


def _transparent() -> Iterator[Kind]:
    alpha = np.linspace(0, 255, SCENE[..., 0].size).reshape(SCENE.shape[:2]).astype(np.uint8)
    levels = SCENE[..., 0]
    rgba = np.dstack([SCENE, alpha])
    expected = over_white(SCENE, alpha)
    yield Kind("alpha.png", saved(rgba), expected, 1, 1)
    yield Kind("alpha.webp", saved(rgba, "WEBP", lossless=True, exact=True), expected, 1, 1)
    yield Kind("alpha.tif", saved(rgba, "TIFF"), expected, 1, 1)
    yield Kind("alpha.tga", saved(rgba, "TGA"), expected, 1, 1)
    yield Kind("alpha.jp2", saved(rgba, "JPEG2000"), expected, 1, 1)
    yield Kind("alpha.avif", saved(rgba, "AVIF", quality=95), expected, *LOSSY)
    yield Kind("alpha16.png", png(rgba.astype(np.uint16) * 257, 6), expected, 1, 1)
    yield Kind("grey-alpha.png", saved(Image.fromarray(np.dstack([levels, alpha]), "LA")), over_white(grey(levels), alpha), 1, 1)
    yield Kind(
        "grey-alpha16.png", png(np.dstack([levels, alpha]).astype(np.uint16) * 257, 4), over_white(grey(levels), alpha), 1, 1
    )
    yield Kind("nothing.png", saved(np.dstack([SCENE, 0 * alpha])), np.full_like(SCENE, 255))
    palette = Image.fromarray(SCENE).quantize(16)
    indices, colours = np.asarray(palette), np.asarray(palette.convert("RGB"))
    holes = np.where(indices == 3, 0, 255)
    yield Kind("palette-hole.png", saved(palette, transparency=3), over_white(colours, holes))
    yield Kind("palette-hole.gif", saved(palette, "GIF", transparency=3), over_white(colours, holes))
    steps = np.linspace(0, 255, 16).astype(np.uint8)
    yield Kind("palette-steps.png", saved(palette, transparency=steps.tobytes()), over_white(colours, steps[indices]), 1, 1)
    colour = SCENE[5, 7]
    hole = np.where((colour == SCENE).all(2), 0, 255)
    marked = png(SCENE, 2, chunk(b"tRNS", colour.astype(">u2").tobytes()))
    yield Kind("colour-hole.png", marked, over_white(SCENE, hole))
    level = int(levels[9, 9])
    hole = np.where(levels == level, 0, 255)
    yield Kind("grey-hole.png", png(levels, 0, chunk(b"tRNS", struct.pack(">H", level))), over_white(grey(levels), hole))
    for bits in (2, 4):
        few = levels >> (8 - bits)
        middle = np.sort(few, None)[few.size // 2]
        marked = of_few_bits(few, bits, chunk(b"tRNS", struct.pack(">H", middle)))
        yield Kind(f"grey{bits}-hole.png", marked, over_white(grey(few * (255 // (2**bits - 1))), np.where(few == middle, 0, 255)))
    yield Kind(
        "grey16-hole.png", png(levels.astype(np.uint16) * 257, 0, chunk(b"tRNS", struct.pack(">H", 257 * level))),
        over_white(grey(levels), hole),
    )  # fmt: skip


def _turned() -> Iterator[Kind]:
    for orientation, turn in TURNED.items():
        yield Kind(f"turned{orientation}.png", saved(SCENE, exif=exif(orientation)), turn(SCENE))
    for suffix, name, options in (
        ("jpg", "JPEG", {"quality": 95}), ("tif", "TIFF", {}), ("webp", "WEBP", {"quality": 95}), ("avif", "AVIF", {"quality": 95}),
    ):  # fmt: skip
        yield Kind(f"turned6.{suffix}", saved(SCENE, name, exif=exif(6), **options), TURNED[6](SCENE), *LOSSY)
    for orientation in (0, 9):
        yield Kind(f"orientation{orientation}.png", saved(SCENE, exif=exif(orientation)), SCENE)
    six = struct.pack("<HH", 6, 0)
    for key, block, turned in (
        ("text", entries((ORIENTATION, 2, 4, b"6\0\0\0")), 1), ("garbage", b"\xde\xad\xbe\xef" * 6, 1), ("empty", b"", 1),
        ("cut", b"II*\0\x08\0\0\0\xff\xff", 1), ("pointer", entries((ORIENTATION, 3, 1, six), (0x8769, 4, 1, b"\0\0\1\0")), 6),
        ("beyond", entries((ORIENTATION, 3, 1, six), (0x010F, 2, 400, b"\0\0\1\0"), (0x9286, 7, 3, b"abc\0")), 6),
    ):  # fmt: skip
        yield Kind(f"exif-{key}.jpg", with_exif(block), TURNED[turned](SCENE), *LOSSY)


def _coloured() -> Iterator[Kind]:
    adobe, p3 = of_primaries(ADOBE), of_primaries(P3)
    for key, icc, matrix in (("adobe", adobe, ADOBE), ("p3", p3, P3)):
        yield Kind(f"{key}.png", saved(SCENE, icc_profile=icc), shown(SCENE, matrix), 1, 3)
        yield Kind(f"{key}.tif", saved(SCENE, "TIFF", icc_profile=icc), shown(SCENE, matrix), 1, 3)
        yield Kind(f"{key}.webp", saved(SCENE, "WEBP", lossless=True, icc_profile=icc), shown(SCENE, matrix), 1, 3)
        yield Kind(f"{key}.jpg", saved(SCENE, "JPEG", quality=97, icc_profile=icc), shown(SCENE, matrix), *LOSSY)
        yield Kind(f"{key}.avif", saved(SCENE, "AVIF", quality=97, icc_profile=icc), shown(SCENE, matrix), *LOSSY)
    alpha = np.full(SCENE.shape[:2], 100, np.uint8)
    both = saved(np.dstack([SCENE, alpha]), icc_profile=adobe, exif=exif(6))
    yield Kind("everything.png", both, TURNED[6](over_white(shown(SCENE, ADOBE), alpha)), 1, 3)
    palette = Image.fromarray(SCENE).quantize(16)
    yield Kind("palette-p3.png", saved(palette, icc_profile=p3), shown(np.asarray(palette.convert("RGB")), P3), 1, 3)
    levels = SCENE[..., 0]
    dark = profile(b"GRAY", {b"kTRC": gamma(1.0)})
    bright = grey(encoded_srgb(levels / 255))
    yield Kind("linear-grey.png", saved(levels, icc_profile=dark), bright, 1, 3)
    yield Kind("linear-grey16.png", saved(levels.astype(np.uint16) * 257, icc_profile=dark), bright, 1, 3)
    grey_alpha = saved(Image.fromarray(np.dstack([levels, alpha]), "LA"), icc_profile=dark)
    yield Kind("linear-grey-alpha.png", grey_alpha, over_white(bright, alpha), 1, 3)
    yield Kind("grey-of-rgb.jpg", saved(levels, "JPEG", quality=97, icc_profile=adobe), shown(grey(levels), ADOBE), *LOSSY)
    yield Kind("rgb-of-grey.png", saved(SCENE, icc_profile=dark), SCENE)
    yield Kind("srgb.png", saved(SCENE, icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()), SCENE)
    yield Kind("srgb-like.png", saved(SCENE, icc_profile=srgb_like()), SCENE)
    yield Kind("broken-profile.png", saved(SCENE, icc_profile=b"not a profile"), SCENE)
    yield Kind("cut-profile.png", saved(SCENE, icc_profile=adobe[:150]), SCENE)
    noise = np.random.default_rng(0).bytes(16)
    yield Kind("large-profile.png", saved(SCENE, icc_profile=noise + bytes(1_500_000)), SCENE)
    yield Kind("large-adobe.png", saved(SCENE, icc_profile=adobe + bytes(1_500_000)), shown(SCENE, ADOBE), 1, 3)
    ink = np.zeros((24, 32, 4), np.uint8)
    ink[:12, :, 0], ink[:, 16:, 3] = 255, 255  # cyan above, black on the right
    lightness = 100 - 25 * (ink > 0).sum(2)
    luminance = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    sheet = Image.frombytes("CMYK", (32, 24), ink.tobytes())
    yield Kind("press.tif", saved(sheet, "TIFF", icc_profile=of_ink()), grey(encoded_srgb(luminance)), 2, 4)
    naive = 255 - np.minimum(255, ink[..., :3].astype(int) + ink[..., 3:])
    yield Kind("cmyk.tif", saved(sheet, "TIFF"), naive, 1, 1)
    yield Kind("cmyk-of-rgb.tif", saved(sheet, "TIFF", icc_profile=adobe), shown(naive, ADOBE), 1, 3)
    yield Kind("cmyk.jpg", saved(Image.fromarray(SCENE).convert("CMYK"), "JPEG", quality=95), SCENE, *LOSSY)
    yield Kind("lab.tif", saved(Image.fromarray(SCENE).convert("LAB"), "TIFF"), SCENE, 2, 40)


def _chunked() -> Iterator[Kind]:
    """PNG files that say their colours in chunks, and EXIF's Adobe RGB."""

    def chrm(*numbers: float) -> bytes:
        return chunk(b"cHRM", struct.pack(">8I", *(round(100_000 * number) for number in numbers)))

    def gama(light: float) -> bytes:
        return chunk(b"gAMA", struct.pack(">I", round(100_000 * light)))

    white = (0.3127, 0.329)
    adobe, p3 = chrm(*white, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), chrm(*white, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)
    own, srgb = chrm(*white, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06), chunk(b"sRGB", b"\0")
    usual, linear, levels = gama(1 / 2.2), gama(1.0), SCENE[..., 0]
    yield Kind("chunks-adobe.png", png(SCENE, 2, usual + adobe), shown(SCENE, ADOBE), 1, 3)
    yield Kind("chunks-p3.png", png(SCENE, 2, usual + p3), shown(SCENE, P3), 1, 3)
    yield Kind("chunks-linear.png", png(SCENE, 2, linear), encoded_srgb(SCENE / 255), 1, 2)
    yield Kind("chunks-linear-grey.png", png(levels, 0, linear), grey(encoded_srgb(levels / 255)), 1, 2)
    yield Kind("chunks-of-srgb.png", png(SCENE, 2, usual + own), SCENE)
    yield Kind("chunks-and-srgb.png", png(SCENE, 2, srgb + linear + p3), SCENE)
    yield Kind("chunks-without-gamma.png", png(SCENE, 2, p3), SCENE)
    for key, chunks in (("zero", gama(0) + own), ("dark", linear + chrm(*8 * [0.0])), ("line", linear + chrm(*8 * [0.3]))):
        yield Kind(f"chunks-{key}.png", png(SCENE, 2, chunks), SCENE)
    profile_over_chunks = saved(SCENE, icc_profile=of_primaries(P3))
    yield Kind("chunks-under-profile.png", profile_over_chunks[:33] + linear + profile_over_chunks[33:], shown(SCENE, P3), 1, 3)
    for index, pixels in (("R03", shown(SCENE, ADOBE)), ("R98", SCENE)):
        block = Image.Exif()
        block[0x8769] = {0xA001: 0xFFFF, 0xA005: {1: index}}
        yield Kind(f"exif-{index}.jpg", saved(SCENE, "JPEG", quality=97, exif=block), pixels, *LOSSY)


def srgb_like() -> bytes:
    """sRGB's profile as devices carry it, with rounded primaries and its curve as a table: colours differ by 1."""
    values = np.linspace(0, 1, 26)
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    table = b"curv" + bytes(4) + struct.pack(">I", 26) + np.rint(65535 * linear).astype(">u2").tobytes()
    return of_curve(SRGB_D50.round(4), table)


def _odd() -> Iterator[Kind]:
    text = PngImagePlugin.PngInfo()
    text.add_text("workflow", '{"nodes": [' + '{"id": 1, "type": "node"}, ' * 90_000 + "]}", zip=True)
    yield Kind("workflow.png", saved(SCENE, pnginfo=text), SCENE)
    text = PngImagePlugin.PngInfo()
    text.add_itxt("prompt", "x" * 1_200_000, zip=True)
    yield Kind("international.png", saved(SCENE, pnginfo=text), SCENE)
    text = PngImagePlugin.PngInfo()
    text.add_text("plain", "x" * 1_200_000)
    yield Kind("plain-text.png", saved(SCENE, pnginfo=text), SCENE)
    yield Kind("trailing.png", saved(SCENE) + b"junk" * 1000, SCENE)
    yield Kind("trailing.jpg", saved(SCENE, "JPEG", quality=95) + bytes(5000), SCENE, *LOSSY)
    yield Kind("really-png.jpg", saved(SCENE), SCENE)
    yield Kind("really-webp.png", saved(SCENE, "WEBP", lossless=True), SCENE)
    yield Kind("UPPER.PNG", saved(SCENE), SCENE)
    yield Kind("dots.and spaces (1).png", saved(SCENE), SCENE)
    yield Kind("Größe 写真.png", saved(SCENE), SCENE)
    yield Kind("row.png", saved(SCENE[:1]), SCENE[:1])
    yield Kind("column.png", saved(SCENE[:, :1]), SCENE[:, :1])
    yield Kind("dot.png", saved(SCENE[:1, :1]), SCENE[:1, :1])
    yield Kind("strip.png", saved(np.tile(SCENE[:3], (1, 30, 1))), np.tile(SCENE[:3], (1, 30, 1)))
    yield Kind("black.png", saved(0 * SCENE), 0 * SCENE)


def heic(pixels: Array, **options: Any) -> bytes:
    """A HEIC file; needs pillow-heif."""
    import pillow_heif

    buffer = io.BytesIO()
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(buffer, quality=95, **options)
    return buffer.getvalue()


@cache
def bad() -> dict[str, tuple[bytes, str]]:
    """Files that cannot be read, by name, each with what the error says."""
    written = {suffix: saved(SCENE, name) for suffix, name in (("jpg", "JPEG"), ("webp", "WEBP"), ("avif", "AVIF"), ("gif", "GIF"))}
    good = saved(SCENE)
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    bomb = chunk(b"zTXt", b"t\0\0" + zlib.compress(bytes(2**26 + 1), 1))
    unknown, broken, starts = "is not an image that Pillow knows", "cannot be decoded as an image", "which may start other programs"
    return {
        **{f"cut.{suffix}": (data[: len(data) // 2], "") for suffix, data in written.items()},
        "cut.png": (good[: len(good) // 2], broken),
        "empty.png": (b"", unknown),
        "page.jpg": (b"<!DOCTYPE html><html><body>404 Not Found</body></html>", unknown),
        "pointer.png": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", unknown),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", unknown),
        "paper.pdf": (b"%PDF-1.7\n%%EOF\n", unknown),
        "archive.png": (b"PK\x03\x04" + bytes(100), unknown),
        "._twin.jpg": (b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(100), unknown),
        "drawing.eps": (eps, starts),
        "disguised.jpg": (eps, starts),
        "wire.iim": (_iptc(eps), starts),
        "film.mpg": (b"\0\0\1\xb3" + bytes([2, 0, 32]) + bytes(20), broken),
        "data.h5": (b"\x89HDF\r\n\x1a\n" + bytes(200), broken),
        "nan.tif": (saved(np.array([[0, np.nan]], np.float32), "TIFF"), "not finite"),
        "inf.tif": (saved(np.array([[0, np.inf]], np.float32), "TIFF"), "not finite"),
        "raw.dng": (tiff(32, 24, 8, 1, bytes(768), kind=1), "holds a small preview first"),
        "huge.png": (png(SCENE, 2, size=(11_586, 11_586)), "more than 2^27 pixels"),
        "vast.png": (png(SCENE, 2, size=(2**30, 2**30)), "decompression bomb"),
        "flat.png": (png(SCENE, 2, size=(0, 24)), unknown),
        "wrong-sum.png": (good[:40] + bytes(8) + good[48:], unknown),
        "bomb.png": (good[:33] + bomb + good[33:], broken),
    }


def _iptc(inner: bytes) -> bytes:
    """An IPTC file around another file: 9x9 grey, said to be compressed as JPEG."""
    fields = (
        ((3, 60), b"\1\0"), ((3, 20), struct.pack(">H", 9)), ((3, 30), struct.pack(">H", 9)), ((3, 120), b"\5"), ((8, 10), inner),
    )  # fmt: skip
    return b"".join(b"\x1c" + bytes(tag) + struct.pack(">H", len(value)) + value for tag, value in fields)
