"""What prompts cost and how often they are lost: ``python examples/build/prompts_benchmark.py --help``.

Bits a character as sent (CRC apart) of the text model, beside brotli and zstd with a dictionary trained on the same captions (if
these two packages are installed), one caption at a time; with ``--unicode``, random strings through the coder; with ``--losses``,
sends of an 80-character caption over simulated channels in the modes that the link picks.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import NormalDist

import numpy as np
from text_link import hold_out

from gencomm_cli.text import crc, range_coder
from gencomm_cli.text.link import receive_prompt, transmit_prompt
from gencomm_cli.text.modes import Fading
from gencomm_cli.textfiles import lines, read_table, read_text

CAPTION = "A brown dog with a red collar runs through tall grass next to a white fence, ok."


def compressors(train: Sequence[str]) -> dict[str, Callable[[str], int]]:
    """Bits that each compressor takes for one caption."""
    sizes: dict[str, Callable[[str], int]] = {"gencomm": lambda text: len(range_coder.encode(text))}
    try:
        import brotli  # type: ignore[import-untyped]

        sizes["brotli"] = lambda text: 8 * len(brotli.compress(text.encode(), mode=brotli.MODE_TEXT, quality=11))
    except ImportError:
        print("brotli is not installed")
    try:
        import zstandard

        dictionary = zstandard.train_dictionary(112_640, [text.encode() for text in train])
        slim = zstandard.ZstdCompressionParameters.from_level(
            22, write_checksum=False, write_content_size=False, write_dict_id=False
        )
        zstd = zstandard.ZstdCompressor(compression_params=slim, dict_data=dictionary)
        sizes["zstd, dictionary"] = lambda text: 8 * len(zstd.compress(text.encode()))
    except ImportError:
        print("zstandard is not installed")
    return sizes


def rates(name: str, captions: Sequence[str], sizes: dict[str, Callable[[str], int]]) -> None:
    """Prints bits a character, and checks that everything comes back."""
    characters = sum(map(len, captions))
    row = ", ".join(f"{key} {sum(map(bits, captions)) / characters:.3f}" for key, bits in sizes.items())
    intact = all(range_coder.decode(range_coder.encode(text)) == range_coder.normalise(text) for text in captions)
    print(f"{name}: {len(captions)} captions of {characters / len(captions):.1f} characters; all come back: {intact}")
    print(f"    bits a character: {row}")


def unicode_strings(number: int) -> None:
    """Random strings of all planes through the coder: empty, short, and every hundredth of 4 KiB."""
    rng = np.random.default_rng(0)
    wrong = 0
    for i in range(number):
        limit = int(rng.choice([0x80, 0x800, 0x10000, 0x110000]))
        size = 1024 if i % 100 == 0 else int(rng.integers(0, 30))
        text = "".join(chr(p) for p in rng.integers(0, limit, size) if not 0xD800 <= p < 0xE000)
        wrong += range_coder.decode(range_coder.encode(text)) != range_coder.normalise(text)
    print(f"{number} random Unicode strings: {wrong} came back changed")


def losses(fading: Fading, snrs: Sequence[int], sends: int) -> None:
    """Prints losses and wrong prompts that were accepted, per SNR."""
    rng = np.random.default_rng(1)
    for snr in snrs:
        symbols, fmt = transmit_prompt(CAPTION, snr_db=snr, fading=fading)
        mode, bits = fmt.mode(), fmt.payload_bits + crc.BITS
        n0 = 10 ** (-snr / 10)
        lost = wrong = 0
        for _ in range(sends):
            size = {"awgn": 0, "block": 1}.get(fading, len(symbols))
            noise, fade = (rng.normal(size=(2, n)) * math.sqrt(0.5) for n in (len(symbols), size))
            gain = fade[0] + 1j * fade[1] if size else None
            y = symbols * (1 if gain is None else gain) + math.sqrt(n0) * (noise[0] + 1j * noise[1])
            text = receive_prompt(y, gain, n0, fmt)
            lost += text is None
            wrong += text not in (None, CAPTION)
        name = f"{mode.code.name} {mode.modulation} x{mode.repetition}"
        line = f"{fading:9}{snr:4} dB: {len(symbols):4} symbols, {name}, lost {lost / sends:7.2%}, wrong {wrong}"
        if fading == "block":
            threshold, _ = mode.loss_curve(bits, "awgn")
            outage = 1 - math.exp(-(10 ** ((threshold - snr) / 10)))
            half = NormalDist().inv_cdf(0.995) * math.sqrt(outage * (1 - outage) / sends)
            line += f", outage {outage:.2%}, within its 99 % interval: {abs(lost / sends - outage) <= half + 0.5 / sends}"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--captions", type=Path, help="one caption a line; the held-out ones are measured")
    parser.add_argument("--blocks", type=int, nargs="+", help="last line of each source; its last 5 %% are held out")
    parser.add_argument("--tsv", type=Path, nargs="*", default=[], help="file names and captions, all measured")
    parser.add_argument("--unicode", type=int, default=0, metavar="N", help="random strings through the coder")
    parser.add_argument("--losses", action="store_true")
    parser.add_argument("--fading", nargs="+", default=["awgn", "rayleigh", "block"], choices=["awgn", "rayleigh", "block"])
    parser.add_argument("--snr", type=int, nargs=2, default=(-5, 20), metavar=("FIRST", "LAST"))
    parser.add_argument("--sends", type=int, default=1000)
    arguments = parser.parse_args()
    start = time.perf_counter()
    texts = [line for line in lines(read_text(arguments.captions)) if line] if arguments.captions else []
    train, held = hold_out(texts, arguments.blocks or [len(texts)])
    if arguments.captions or arguments.tsv:
        sizes = compressors(train) if train else {"gencomm": lambda text: len(range_coder.encode(text))}
        for name, captions in [("held out", held)] * bool(held) + [(str(p), [c for _, c in read_table(p)]) for p in arguments.tsv]:
            rates(name, captions, sizes)
    if arguments.unicode:
        unicode_strings(arguments.unicode)
    if arguments.losses:
        for fading in arguments.fading:
            losses(fading, range(arguments.snr[0], arguments.snr[1] + 1), arguments.sends)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
