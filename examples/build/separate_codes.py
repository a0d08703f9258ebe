"""Makes what the preset ``separate/classical`` ships: ``python examples/build/separate_codes.py codes | modes | card``.

``codes`` chooses the parity-check matrices, ``modes`` measures how often each code with each modulation loses a codeword.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterator
from fractions import Fraction
from functools import partial
from itertools import product
from pathlib import Path
from statistics import NormalDist
from typing import Literal, cast

import numpy as np

from gencomm_cli.methods.separate import modes
from gencomm_cli.methods.separate.capacity import shannon_db
from gencomm_cli.methods.separate.five_g import LENGTH, SHORT, FiveG
from gencomm_cli.presets import models_root
from gencomm_cli.text import ldpc, modem
from text_link import Arrays, best_code, fit_curve, simulator
from gencomm_cli.text.ldpc import Code

LENGTHS = (SHORT, LENGTH)
SIMULATED = ("qpsk", "16qam", "64qam")

Random = np.random.Generator
Curve = dict[str, str | float]
Channel = Literal["awgn", "rayleigh"]


def loss_rate(code: Code | FiveG, length: int, modulation: str, channel: str, rng: Random, snr_db: float, words: int) -> float:
    """Share of ``words`` simulated codewords of ``length`` bits that are lost on a channel of ``modes.CHANNELS``.

    pyldpc's algorithm runs compiled, with the LLRs of random bits folded onto the all-zero codeword; Sionna's as it is.
    """
    n0 = 10 ** (-snr_db / 10)
    if isinstance(code, FiveG):
        messages = rng.integers(0, 2, (words, int(length * Fraction(code.rate))), np.uint8)
        bits = code.encode(messages).reshape(-1)
    else:
        bits = rng.integers(0, 2, words * length, np.uint8)
    order = modem.interleaver(len(bits), 0)
    symbols = modem.modulate(bits[order], modulation)
    noise, fades = ((rng.normal(size=(len(symbols), 2)) * 0.5**0.5).view(complex)[:, 0] for _ in range(2))
    gain = None if channel == "awgn" else fades
    received = (symbols if gain is None else gain * symbols) + n0**0.5 * noise
    llr = modem.combine(modem.demodulate(received, gain, n0, modulation), len(bits), 1)
    if isinstance(code, FiveG):
        return float((code.decode(llr.reshape(words, -1), messages.shape[1]) != messages).any(axis=1).mean())
    folded = (llr * (1.0 - 2.0 * bits)).clip(-ldpc.MAX_LLR, ldpc.MAX_LLR)
    return simulator()(code.checks, folded.reshape(words, length), ldpc.ITERATIONS) / words


def build_codes(seeds: int, finalists: int, words: int) -> Arrays:
    """The arrays of ``codes.npz``."""
    arrays: Arrays = {}
    for name in (f"{rate}n{n}" for rate in modes.MOTHERS.values() for n in LENGTHS):
        arrays |= ldpc.arrays(best_code(name, seeds, finalists, words))
    return arrays


def build_curves(codes: dict[str, Code], words: int, five_g_words: int) -> Iterator[Curve]:
    """The curves of ``modes.json``: median and spread in dB (Es/N0) of a normal distribution function fitted to the loss rate."""
    for name, code in codes.items():
        for channel, modulation in product(modes.CHANNELS, SIMULATED):
            curve = measure_curve(name, code, modulation, channel, words, 100)
            yield curve
            if five_g_words:  # of the same rate and length, and somewhat better
                five_g = FiveG(f"{name[1]}/{name[2]}")
                guess = float(curve["median_db"]) - 0.6
                yield measure_curve(f"{five_g.name}n{code.n}", five_g, modulation, channel, five_g_words, 30, guess)


def measure_curve(
    name: str, code: Code | FiveG, modulation: str, channel: Channel, words: int, rough: int, guess: float | None = None
) -> Curve:
    """One row of ``modes.json``; the search starts at ``guess``, in dB, or 2 dB above the Shannon limit."""
    rng = np.random.default_rng(zlib.crc32(f"{name} {modulation} {channel}".encode()))
    measure = partial(loss_rate, code, int(name.rpartition("n")[2]), modulation, channel, rng)
    start = shannon_limit(name, modulation, channel) + 2.0 if guess is None else guess
    median, spread = fit_curve(measure, start, words, 0.5, words / 250, rough)
    curve: Curve = {"code": name, "modulation": modulation, "channel": channel}
    return curve | {"median_db": round(median, 3), "spread_db": round(spread, 4)}


def shannon_limit(name: str, modulation: str, channel: Channel) -> float:
    """The SNR in dB whose capacity is the rate of a code (``r12n576``, ``5g-r12n576``) with a modulation."""
    rate = name.removeprefix("5g-")
    return shannon_db(modem.BITS_PER_SYMBOL[modulation] * int(rate[1]) / int(rate[2]), channel)


def card(table: modes.Modes) -> str:
    """The table of the preset's card: SNR in dB at which a codeword in 10, 100, 1000 is lost; gap to capacity at 1 in 100."""
    lines = ["| code | modulation | channel | 10 % | 1 % | 0.1 % | gap to capacity at 1 % |", "|---|---|---|---|---|---|---|"]
    for (name, modulation, channel), (median, spread) in table.curves.items():
        snrs = [median - spread * NormalDist().inv_cdf(loss) for loss in (0.1, 0.01, 0.001)]
        gap = snrs[1] - shannon_limit(name, modulation, cast(Channel, channel))
        lines.append(f"| {name} | {modulation} | {channel} | {' | '.join(f'{snr:.2f}' for snr in snrs)} | {gap:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=models_root() / "separate" / "classical")
    commands = parser.add_subparsers(dest="command", required=True)
    codes = commands.add_parser("codes", help="choose the parity-check matrices")
    codes.add_argument("--seeds", type=int, default=20)
    codes.add_argument("--finalists", type=int, default=3)
    codes.add_argument("--words", type=int, default=300)
    curves = commands.add_parser("modes", help="measure every mode")
    curves.add_argument("--words", type=int, default=1000)
    curves.add_argument("--five-g-words", type=int, default=100, help="0: no 5G codes, which need Sionna")
    commands.add_parser("card", help="print the card's table")
    arguments = parser.parse_args()
    codes_file, table_file = arguments.folder / "codes.npz", arguments.folder / "modes.json"
    if arguments.command == "codes":
        np.savez_compressed(codes_file, **build_codes(arguments.seeds, arguments.finalists, arguments.words))  # type: ignore[arg-type]
    elif arguments.command == "modes":
        rows: list[Curve] = []
        for row in build_curves(ldpc.read(codes_file), arguments.words, arguments.five_g_words):
            rows.append(row)
            print(row, flush=True)
            table_file.write_text(json.dumps({"curves": rows}, indent=1) + "\n", "utf-8")
    else:
        print(card(modes.Modes.load(codes_file, table_file)))


if __name__ == "__main__":
    main()
