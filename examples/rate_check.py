"""Is the CBR in the header what lies in the file? ``python examples/rate_check.py IMAGE``

Encodes one image at many sizes and rates, writes and reads each symbol file, and compares the header's CBR with the symbols counted
there, and the achieved image CBR with the requested one. Exits with 1 if a header is wrong, or if a rate is missed by more than one
symbol or 1 %, whichever is larger.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from _common import markdown, numbers
from PIL import Image

from gencomm_cli import pipeline, symbols
from gencomm_cli.images import read_image

SIZES = ((16, 16), (37, 53), (53, 37), (64, 64), (100, 101), (255, 257), (256, 256), (400, 40), (512, 768), (768, 512))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("--preset", default="nano")
    parser.add_argument(
        "--cbr", type=numbers, default=[0.0013, 0.0017, 0.002, 0.0026, 0.0033, 0.0045, 0.0059, 0.008, 0.011, 0.015, 0.0208]
    )
    parser.add_argument("--prompt", default="a photograph")
    arguments = parser.parse_args()

    photo = Image.fromarray(read_image(arguments.image))
    codec = pipeline.load("textguided", arguments.preset, device="cpu")
    rows: list[list[object]] = []
    wrong = 0
    for height, width in SIZES:
        pixels = np.asarray(photo.resize((width, height), Image.Resampling.BOX))
        worst, headers_right, misses = 0.0, True, 0
        for cbr in arguments.cbr:
            made = codec.encode(pixels, cbr=cbr, prompt=arguments.prompt, say=lambda line: print(line, file=sys.stderr))
            file = symbols.from_bytes(symbols.to_bytes(made))
            samples = 3 * height * width
            counted = [array.size / samples for array in (file.symbols, file.prompt_symbols, file.side_symbols)]
            said = file.header.cbr
            headers_right &= np.allclose([said.image, said.prompt, said.side, said.total], [*counted, sum(counted)], rtol=1e-12)
            miss = abs(counted[0] + counted[2] - cbr)
            misses += miss > max(1 / samples, 0.01 * cbr) * (1 + 1e-9)
            worst = max(worst, miss * samples)
        wrong += misses + (not headers_right)
        rows.append([f"{width}×{height}", len(arguments.cbr), "yes" if headers_right else "NO", misses, worst])
    print(markdown(["size", "rates", "header = file", "rates missed", "largest miss, symbols"], rows))
    sys.exit(wrong > 0)


if __name__ == "__main__":
    main()
