"""AVIF and JPEG 2000 over an ideal channel code, the bound to compare with: ``python examples/avif_capacity.py PHOTOGRAPHS``.

k = CBR · 3·H·W complex channel uses at an SNR of γ carry k·log2(1 + γ) bits (AWGN capacity, no prompt). Each codec gets that many
bits, all for its coded picture: the container is left out. For AVIF only the payload of the ``mdat`` box counts (the AV1 stream,
sequence header included); the boxes ``ftyp`` and ``meta`` do not. For JPEG 2000 a raw codestream is written, and its main header
(everything before the first tile part, marker SOT) does not count. The quality is searched for each of several resolutions (Lanczos
down before coding, and up after decoding); what ``--judge`` likes best among those that fit is kept.
"""

from __future__ import annotations

import argparse
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _common import Rows, markdown, mean, numbers, photographs
from PIL import Image, features

from gencomm_cli.images import Pixels
from gencomm_cli.metrics.report import NAMES, measure

SCALES = (1.0, 0.75, 0.6, 0.5, 0.4, 0.3, 0.25, 0.2, 0.15, 0.1)
KEY = ("image", "codec", "cbr", "snr_db", "judge")
VALUES = ("budget_bytes", "counted_bytes", "file_bytes", "scale", *NAMES)
SHOWN = ("psnr", "ssim", "gmsd", "lpips_alex", "lpips_squeeze")


@dataclass(frozen=True)
class Coded:
    """A coded picture and how many of its bytes count."""

    data: bytes
    counted: int


def avif(picture: Image.Image, quality: int, speed: int) -> Coded:
    """AVIF with 4:2:0 chroma; the payload of ``mdat`` counts."""
    buffer = io.BytesIO()
    picture.save(buffer, "AVIF", quality=quality, speed=speed, max_threads=1)
    data, start = buffer.getvalue(), 0
    while start < len(data):
        size = int.from_bytes(data[start : start + 4], "big")
        if data[start + 4 : start + 8] == b"mdat":
            return Coded(data, size - 8)
        start += size
    raise ValueError("an AVIF file without mdat")


def jpeg2000(picture: Image.Image, ratio: float) -> Coded:
    """JPEG 2000 codestream with the 9/7 wavelet, compressed by ``ratio``; what follows the main header counts."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG2000", no_jp2=True, irreversible=True, quality_mode="rates", quality_layers=[ratio])
    data = buffer.getvalue()
    return Coded(data, len(data) - data.index(b"\xff\x90\x00\x0a"))


def best_avif(picture: Image.Image, budget: int, speed: int) -> Coded | None:
    """The highest quality that fits in ``budget`` bytes; None if none does."""
    best = avif(picture, 0, speed)
    if best.counted > budget:
        return None
    low, high = 1, 100
    while low <= high:
        middle = (low + high) // 2
        coded = avif(picture, middle, speed)
        if coded.counted <= budget:
            best, low = coded, middle + 1
        else:
            high = middle - 1
    return best


def best_jpeg2000(picture: Image.Image, budget: int, speed: int) -> Coded | None:
    """The lowest compression ratio that fits in ``budget`` bytes; None if none does."""
    del speed
    raw = 3 * picture.width * picture.height
    low, high, best = math.log(raw / budget) - 1, math.log(raw / budget) + 1, None
    for _ in range(8):
        middle = (low + high) / 2
        coded = jpeg2000(picture, math.exp(middle))
        if coded.counted <= budget:
            best, high = coded, middle
        else:
            low = middle
    return best


CODECS: dict[str, Callable[[Image.Image, int, int], Coded | None]] = {"avif": best_avif, "jpeg2000": best_jpeg2000}


def liking(pixels: Pixels, shown: Pixels, judge: str, weights: Path | None) -> float:
    """How much the judge likes a picture; more is better."""
    if judge == "psnr":  # without the other metrics, which take longer
        return -float(np.square(pixels.astype(np.float32) - shown).mean())
    value = measure(pixels, shown, weights)[judge]
    if value is None:
        raise SystemExit(f"--judge {judge}: is not defined at this size, or its weights are missing")
    return value if judge.endswith("ssim") else -value


def send(pixels: Pixels, codec: str, budget: int, speed: int, judge: str, weights: Path | None) -> dict[str, object]:
    """The best picture [H, W, 3] within ``budget`` bytes: its scores, or none where nothing fits."""
    original = Image.fromarray(pixels)
    best, kept = -math.inf, pixels
    row: dict[str, object] = {}
    for scale in SCALES:
        size = (max(1, round(original.width * scale)), max(1, round(original.height * scale)))
        coded = CODECS[codec](original.resize(size, Image.Resampling.LANCZOS), budget, speed)
        if coded is None:
            continue
        with Image.open(io.BytesIO(coded.data)) as opened:
            shown = np.asarray(opened.convert("RGB").resize(original.size, Image.Resampling.LANCZOS))
        value = liking(pixels, shown, judge, weights)
        if value > best:
            best, kept = value, shown
            row = {"counted_bytes": coded.counted, "file_bytes": len(coded.data), "scale": scale}
    return row | measure(pixels, kept, weights) if row else {}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("capacity.csv"))
    parser.add_argument("--cbr", type=numbers, default=[0.0033], help="total: there is no prompt")
    parser.add_argument("--snr", type=numbers, default=[10.0, 1.0])
    parser.add_argument("--codecs", type=lambda text: text.split(","), default=list(CODECS))
    parser.add_argument("--judge", choices=NAMES, default="psnr", help="the metric that picks among resolutions")
    parser.add_argument("--speed", type=int, default=6, help="of the AVIF encoder; less is slower and better")
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()

    rows = Rows(arguments.out, KEY, VALUES)
    for photo in photographs(arguments.folder, arguments.limit):
        for codec in arguments.codecs:
            for cbr in arguments.cbr:
                for snr_db in arguments.snr:
                    row: dict[str, object] = {"image": photo.name, "codec": codec, "cbr": cbr, "snr_db": snr_db}
                    row["judge"] = arguments.judge
                    if rows.has(row):
                        continue
                    uses = math.floor(cbr * photo.pixels.size)
                    row["budget_bytes"] = budget = math.floor(uses * math.log2(1 + 10 ** (snr_db / 10)) / 8)
                    result = send(photo.pixels, codec, budget, arguments.speed, arguments.judge, arguments.metric_weights)
                    rows.add(row | result)
    lines: list[list[object]] = []
    for codec, cbr, snr_db in sorted({(row["codec"], row["cbr"], row["snr_db"]) for row in rows.rows}):
        group = [
            row
            for row in rows.rows
            if (row["codec"], row["cbr"], row["snr_db"], row["judge"]) == (codec, cbr, snr_db, arguments.judge)
        ]
        infeasible = sum(row["scale"] == "" for row in group)
        counts = [mean(group, name) for name in ("budget_bytes", "counted_bytes", "file_bytes", "scale")]
        lines.append([codec, cbr, snr_db, len(group), infeasible, *counts, *(mean(group, name) for name in SHOWN)])
    versions = [f"{name} {features.version(name)}" for name in ("avif", "jpg_2000")]
    print(f"Pillow's {', '.join(versions)}; resolution picked by {arguments.judge}; containers left out")
    print(markdown(["codec", "CBR", "SNR", "images", "infeasible", "budget", "counted", "file", "scale", *SHOWN], lines))


if __name__ == "__main__":
    main()
