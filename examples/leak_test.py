"""Does anything of the source get past the channel? ``python examples/leak_test.py PHOTOGRAPHS``

Every image is encoded and sent with its prompt; then every received array (image, prompt and side symbols, and gains) is replaced
by noise of unit power and the file is decoded. If the decoder sees only what the channel carries, its image knows nothing of its
own source: the correlation of their luminances (central square) must not exceed the mean with the other sources. Printed for coarse
and refined images: mean signed correlation with the own source, less the mean with all others, and its standard error.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from _common import markdown, photographs
from numpy.typing import NDArray

from gencomm_cli import pipeline
from gencomm_cli.channels.fading import draw_noise
from gencomm_cli.images import Pixels
from gencomm_cli.seeds import generator
from gencomm_cli.symbols import SymbolFile


def luminance(image: Pixels, size: int) -> NDArray[np.float64]:
    """Luminance of the central ``size``² pixels of an image [H, W, 3], zero mean and unit norm, flat."""
    top, left = ((side - size) // 2 for side in image.shape[:2])
    if min(top, left) < 0:
        raise SystemExit(f"an image of {image.shape[1]}x{image.shape[0]} is smaller than --size {size}")
    grey = (image[top : top + size, left : left + size] @ np.array([0.299, 0.587, 0.114])).ravel()
    grey -= grey.mean()
    unit: NDArray[np.float64] = grey / max(float(np.linalg.norm(grey)), 1e-12)
    return unit


def only_noise(file: SymbolFile, seed: int, image: str) -> SymbolFile:
    """The file with every array that came over the channel replaced by noise of unit power."""
    arrays: dict[str, Any] = {}
    for name in ("symbols", "prompt_symbols", "side_symbols", "csi_gain", "prompt_csi_gain", "side_csi_gain"):
        old = getattr(file, name)
        arrays[name] = None if old is None else draw_noise(old.size, generator(seed, f"leak test {image} {name}"))
    return replace(file, **arrays)


def main() -> None:
    """Command line; exits with 1 if the difference reaches ``--bound``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="images of at least --size on both sides, with captions.tsv for their prompts")
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--cbr", type=float, default=0.0033)
    parser.add_argument("--snr", type=float, default=10.0)
    parser.add_argument("--fading", choices=("awgn", "rayleigh", "block"), default="awgn")
    parser.add_argument("--seeds", type=int, default=5, help="how many")
    parser.add_argument("--size", type=int, default=512, help="side of the central square")
    parser.add_argument("--bound", type=float, default=0.03)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--limit", type=int)
    arguments = parser.parse_args()

    photos = photographs(arguments.folder, arguments.limit)
    sources = np.array([luminance(photo.pixels, arguments.size) for photo in photos])
    codec = pipeline.load("textguided", arguments.preset, device=arguments.device)

    def say(line: str) -> None:
        print(line, file=sys.stderr)

    others = 1 - np.eye(len(photos))
    differences: dict[str, list[float]] = {"coarse": [], "refined": []}
    for index, photo in enumerate(photos):
        sent = codec.encode(
            photo.pixels, cbr=arguments.cbr, snr=arguments.snr, fading=arguments.fading, prompt=photo.caption, say=say
        )
        for seed in range(arguments.seeds):
            received = pipeline.transmit(sent, snr=arguments.snr, fading=arguments.fading, seed=seed)
            got = codec.decode(only_noise(received, seed, photo.name), seed=seed)
            for kind, image in (("coarse", got.coarse), ("refined", got.refined[0])):
                correlation = sources @ luminance(image, arguments.size)
                differences[kind].append(float(correlation[index] - correlation @ others[index] / (len(photos) - 1)))
        say(f"{photo.name}: done")
    rows = [
        [kind, len(found), float(np.mean(found)), float(np.std(found) / len(found) ** 0.5)] for kind, found in differences.items()
    ]
    print(markdown(["image", "decodes", "own − others", "standard error"], rows))
    sys.exit(any(float(str(row[2])) >= arguments.bound for row in rows))


if __name__ == "__main__":
    main()
