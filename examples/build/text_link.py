"""Makes the data that the text link ships: ``python examples/build/text_link.py text | codes | thresholds``.

This is where floating point is allowed: what it writes are integers, and coding uses nothing but what is written here.
"""

from __future__ import annotations

import argparse
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.text import ldpc, modem, modes, text_model
from gencomm_cli.text.ldpc import Code
from gencomm_cli.text.text_model import ALPHA_SHIFT, BEGIN, END, END_OF_BYTES, ESCAPE, SHIFT
from gencomm_cli.textfiles import lines, read_table, read_text

Arrays = dict[str, NDArray[Any]]
Ids = NDArray[np.int64]

DATA = Path(text_model.__file__).parent / "data"

# alpha = 2**(-code / 12): a step of 6 %, down to 2**-21
ALPHAS = np.round(2.0 ** (ALPHA_SHIFT - np.arange(1, 257) / 12.0)).astype(np.int64)


@dataclass(frozen=True)
class Corpus:
    """Padded token ids of many texts, and which of them are to be predicted (the rest is padding)."""

    symbols: Ids
    contexts: Ids
    predicted: NDArray[np.bool_]


def corpus(texts: Iterable[Sequence[int]], begin: int, end: int, folded: NDArray[np.uint16] | None = None, pad: int = 4) -> Corpus:
    ids: list[int] = []
    predicted: list[bool] = []
    for text in texts:
        ids += [begin] * pad + [*text, end]
        predicted += [False] * pad + [True] * (len(text) + 1)
    symbols = np.array(ids)
    return Corpus(symbols, symbols if folded is None else folded[symbols].astype(np.int64), np.array(predicted))


def hashes(c: Corpus, length: int) -> Ids:
    """``text_model.context_hash`` of the ``length`` tokens before each position."""
    h: NDArray[np.uint64] = np.full(len(c.symbols), length, np.uint64)
    for back in range(1, length + 1):
        h = ((h ^ np.roll(c.contexts, back).astype(np.uint64)) * np.uint64(0x9E3779B1)) & np.uint64(0xFFFFFFFF)
        h ^= h >> np.uint64(15)
    return np.asarray(h, np.int64)


def counts(c: Corpus, length: int, highest: bool, begin: int) -> tuple[Ids, Ids, Ids, Ids]:
    """Distinct n-grams after contexts of ``length``: context hash, symbol, Kneser-Ney count, plain count.

    Below the highest order the Kneser-Ney count is the number of different tokens seen before the n-gram; n-grams that start
    at the beginning of a text have only one, and keep their plain count.
    """
    where = np.flatnonzero(c.predicted)
    key = (hashes(c, length)[where] << 16) | c.symbols[where]
    grams, inverse, plain = np.unique(key, return_inverse=True, return_counts=True)
    kept = plain
    if not highest:
        before = c.contexts[where - length - 1]
        distinct = np.unique((inverse << 16) | before) >> 16
        different = np.bincount(distinct, minlength=len(grams))
        starts = np.zeros(len(grams), bool)
        starts[inverse[c.contexts[where - length] == begin]] = True
        kept = np.where(starts & (length > 0), plain, different)
    return grams >> 16, grams & 0xFFFF, np.asarray(kept, np.int64), plain


def discounts(kept: Ids) -> NDArray[np.float64]:
    """Chen & Goodman's D for n-grams seen once, twice, and more often."""
    n1, n2, n3, n4 = (max(int((kept == i).sum()), 1) for i in (1, 2, 3, 4))
    y = n1 / (n1 + 2 * n2)
    return np.clip([0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3], 0.05, [0.06, 0.95, 1.9, 2.9])


def alpha_codes(alpha: NDArray[np.float64]) -> Ids:
    """Nearest code in the logarithm."""
    return np.asarray(np.clip(np.round(-12 * np.log2(alpha)) - 1, 0, 255), np.int64)


def order(c: Corpus, length: int, least: int, highest: bool, begin: int, name: str) -> Arrays:
    """Arrays of one order's n-grams that were seen ``least`` times."""
    context, symbol, kept, plain = counts(c, length, highest, begin)
    discounted = kept - discounts(kept)[np.minimum(kept, 3)]
    _, inverse = np.unique(context, return_inverse=True)
    total = np.bincount(inverse, kept)[inverse]
    alpha = np.maximum(discounted, 0) / total
    stays = (plain >= least) & (alpha > 2.0**-21)
    context, symbol, code = context[stays], symbol[stays], alpha_codes(alpha[stays])
    unique, starts, inverse = np.unique(context, return_index=True, return_inverse=True)
    while True:  # rounding must leave something to the lower order
        crowded = np.bincount(inverse, ALPHAS[code]) > (1 << ALPHA_SHIFT) * (0.98 if name == "bytes" else 0.998)
        if not crowded.any():
            break
        code = np.minimum(code + crowded[inverse], 255)
    sizes = np.diff(np.append(starts, len(context)))
    print(f"{name}{length}: {len(unique)} contexts, {len(symbol)} n-grams")
    key = f"{name}{length}"
    return {
        f"{key}_contexts": unique.astype(np.uint32),
        f"{key}_sizes": sizes.astype(np.uint16),
        f"{key}_symbols": symbol.astype(np.uint16),
        f"{key}_codes": code.astype(np.uint8),
    }


def unigrams(c: Corpus, size: int, begin: int, uniform: float) -> NDArray[np.int32]:
    """Kneser-Ney unigrams with a share of the uniform distribution, as integers that sum to at most 2**SHIFT."""
    _, symbol, kept, _ = counts(c, 0, False, begin)
    p = np.bincount(symbol, kept, minlength=size) / kept.sum()
    frequencies: NDArray[np.int32] = np.floor((p * (1 - uniform) + uniform / size) * 2.0**SHIFT).astype(np.int32)
    return frequencies


def build_text(captions: Sequence[str], captioner: Sequence[str], least: Sequence[int], captioner_least: Sequence[int]) -> Arrays:
    """The text model's arrays from general captions and from captions in the captioners' style."""
    tokens = [text_model.tokenize(t) for t in captions]
    style = [text_model.tokenize(t) for t in captioner]
    seen = Counter(t for text in (*tokens, *style) for t in text)
    vocabulary = ["<begin>", "<end>", "<escape>", *sorted(t for t, n in seen.items() if n >= 2 and "\n" not in t)]
    index = {t: i for i, t in enumerate(vocabulary)}
    folded = np.array([index.get(t.lower(), i) for i, t in enumerate(vocabulary)], np.uint16)
    general = corpus([[index.get(t, ESCAPE) for t in text] for text in (*tokens, *style)], BEGIN, END, folded)
    special = corpus([[index.get(t, ESCAPE) for t in text] for text in style], BEGIN, END, folded)
    spelled = [list(t.encode()) for t, n in seen.items() for _ in range(2 if n < 2 else 1) if n < 4]
    rare = corpus(spelled, END_OF_BYTES, END_OF_BYTES)
    arrays: Arrays = {
        "vocabulary": np.frombuffer("\n".join(vocabulary).encode(), np.uint8),
        "folded": folded,
        "alphas": ALPHAS,
        "unigrams": unigrams(general, len(vocabulary), BEGIN, 0.01),
        "byte_unigrams": unigrams(rare, 257, END_OF_BYTES, 0.3),
        "captioner_prior": np.array(16384),
    }
    for length, threshold in enumerate(least, 1):
        arrays |= order(general, length, threshold, length == len(least), BEGIN, "general")
    for length, threshold in enumerate(captioner_least, 1):
        arrays |= order(special, length, threshold, length == len(captioner_least), BEGIN, "captioner")
    for length in (1, 2, 3, 4):
        arrays |= order(rare, length, 1 if length < 3 else 2, length == 4, END_OF_BYTES, "bytes")
    return arrays


def hold_out(lines: Sequence[str], blocks: Sequence[int]) -> tuple[list[str], list[str]]:
    """The training lines, and the last 5 % of each block (``blocks``: the number of each one's last line)."""
    train: list[str] = []
    held: list[str] = []
    for start, stop in zip((0, *blocks), blocks, strict=False):
        cut = stop - (stop - start) * 5 // 100
        train += lines[start:cut]
        held += lines[cut:stop]
    return train, held


def is_held_out(name: str) -> bool:
    """Whether a training image, and with it its caption, is kept for validation."""
    return zlib.crc32(name.encode()) % 20 == 0


RATES = {"r14": (3, 4), "r12": (3, 6), "r23": (3, 9), "r34": (3, 12), "r56": (3, 18)}  # ones in a column and in a row
PROMPT_RATES = ("r14", "r12", "r34")
LENGTHS = (192, 288, 384, 576, 768, 1152, 1536)
FILLS = (0.4, 0.6, 0.8, 1.0)


@cache
def simulator() -> Callable[..., int]:
    """Compiles ``losses(checks, llr, iterations)``: how many all-zero codewords with these LLRs [words, n] are lost.

    The same flooding sum-product algorithm as pyldpc's, in differences and ratios of probabilities: no tanh, no log.
    """
    import numba

    @numba.njit(cache=True)  # type: ignore[untyped-decorator,unused-ignore]
    def losses(checks: NDArray[np.uint16], llr: NDArray[np.float64], iterations: int) -> int:
        rows, degree = checks.shape
        lost = 0
        delta = np.empty((rows, degree))  # p(0) - p(1), bit to check
        ratio = np.empty((rows, degree))  # p(0) / p(1), check to bit
        for word in range(len(llr)):
            channel = np.exp(llr[word])
            ratio[:] = 1.0
            posterior = channel.copy()
            for _ in range(iterations):
                for i in range(rows):
                    for j in range(degree):
                        r = posterior[checks[i, j]] / ratio[i, j]
                        delta[i, j] = 1.0 - 2.0 / (r + 1.0)
                    left = 1.0
                    for j in range(degree):
                        ratio[i, j] = left
                        left *= delta[i, j]
                    right = 1.0
                    for j in range(degree - 1, -1, -1):
                        x = min(max(ratio[i, j] * right, -1 + 1e-12), 1 - 1e-12)
                        ratio[i, j] = (1.0 + x) / (1.0 - x)
                        right *= delta[i, j]
                posterior[:] = channel
                for i in range(rows):
                    for j in range(degree):
                        posterior[checks[i, j]] *= ratio[i, j]
                if posterior.min() > 1.0:
                    break
            else:
                lost += 1
        return lost

    return losses  # type: ignore[no-any-return,unused-ignore]


def loss_rate(code: Code, fill: float, channel: str, snr_db: float, words: int, rng: np.random.Generator) -> float:
    """Share of ``words`` simulated codewords that are lost, with QPSK on a channel of ``modes.CHANNELS``, Es/N0 in dB."""
    message_bits = round(fill * code.k)
    sent = message_bits + code.parity_bits
    repetition = int(channel.removeprefix("rayleigh")) if channel != "awgn" else 1
    n0 = 10 ** (-snr_db / 10)
    llr = np.full((words, code.n), ldpc.KNOWN_ZERO_LLR)
    symbols = modem.modulate(np.zeros(sent * repetition, np.uint8), "qpsk")
    for word in llr:
        noise = rng.normal(size=(2, len(symbols))) * np.sqrt(n0 / 2)
        gain = None if channel == "awgn" else rng.normal(size=(2, len(symbols))).T.copy().view(complex)[:, 0] * np.sqrt(0.5)
        y = symbols * (1.0 if gain is None else gain) + noise[0] + 1j * noise[1]
        received = modem.combine(modem.demodulate(y, gain, n0, "qpsk"), sent, repetition).clip(-ldpc.MAX_LLR, ldpc.MAX_LLR)
        word[:message_bits], word[code.k :] = received[:message_bits], received[message_bits:]
    return simulator()(code.checks, llr, ldpc.ITERATIONS) / words


def loss_curve(code: Code, fill: float, channel: str, guess: float, words: int) -> tuple[float, float]:
    """Median and spread in dB of the normal distribution function fitted to the loss rate of ``words`` codewords a point."""
    rng = np.random.default_rng(zlib.crc32(f"{code.name} {fill} {channel}".encode()))
    return fit_curve(lambda snr, count: loss_rate(code, fill, channel, snr, count, rng), guess, words)


def fit_curve(
    rate_at: Callable[[float, int], float], guess: float, words: int, scale: float = 1.0, rare: float = 8, rough: int = 100
) -> tuple[float, float]:
    """Median and spread in dB of the normal distribution function fitted (in probits, weighted) to a loss rate.

    :param rate_at: loss rate at an SNR in dB, measured on so many words.
    :param guess: SNR in dB to start from. scale: of the steps, in dB; shorter for steeper curves.
    :param rare: with fewer lost words no higher SNR is looked at. rough: words a point while the curve is looked for.
    """
    while rate_at(guess, rough) < 0.5:
        guess -= scale
    while rate_at(guess, rough) > 0.3:
        guess += scale / 2
    normal = NormalDist()
    points = []
    for offset in (-0.2, 0.2, 0.6, 1.0):
        snr = guess + scale * offset
        rate = rate_at(snr, words)
        p = min(max(rate, 0.5 / words), 1 - 0.5 / words)
        z = normal.inv_cdf(p)
        points.append((snr, z, np.sqrt(words * normal.pdf(z) ** 2 / (p * (1 - p)))))
        if rate * words < rare:
            break
    snrs, z, weight = np.array(points).T
    slope, offset = np.polyfit(snrs, z, 1, w=weight)
    return float(-offset / slope), float(-1 / slope)


def short_cycles(code_checks: NDArray[np.uint16], n: int) -> int:
    """Pairs of checks that share two bits (4-cycles), those that share three counted much more."""
    from scipy.sparse import csr_matrix

    rows, degree = code_checks.shape
    ends = np.arange(0, rows * degree + 1, degree)
    h = csr_matrix((np.ones(rows * degree, int), code_checks.reshape(-1).astype(int), ends), (rows, n))
    shared = (h @ h.T).tocoo()
    twins = (h.T @ h).tocoo()  # two columns that share three checks are a codeword of weight 2
    common, common_bits = shared.data[shared.row < shared.col], twins.data[twins.row < twins.col]
    return int((common * (common - 1) // 2).sum() + 10_000 * (common_bits > 2).sum())


def make_checks(name: str, seed: int) -> NDArray[np.uint16]:
    """The columns of each check of ``pyldpc.make_ldpc(n, column weight, row weight, seed=seed)``, uint16 [checks, row weight].

    Only the first half of ``make_ldpc`` runs, as its Gauss-Jordan elimination in Python would take minutes a matrix.
    """
    from pyldpc.code import parity_check_matrix

    h = parity_check_matrix(int(name.partition("n")[2]), *RATES[name.partition("n")[0]], seed=np.random.RandomState(seed))
    return np.nonzero(h)[1].reshape(len(h), -1).astype(np.uint16)


def systematic(name: str, checks: NDArray[np.uint16]) -> Code:
    """Solve the checks for parity bits and reorder the columns: message bits first, parity bits last."""
    n = int(name.partition("n")[2])
    h = np.zeros((len(checks), n), np.uint8)
    np.put_along_axis(h, checks.astype(int), 1, axis=1)
    pivots: list[int] = []
    for column in range(n - 1, -1, -1):
        below = np.flatnonzero(h[len(pivots) :, column])
        if len(below):
            row = len(pivots)
            h[[row, row + below[0]]] = h[[row + below[0], row]]
            others = np.flatnonzero(h[:, column])
            h[others[others != row]] ^= h[row]
            pivots.append(column)
    message = np.setdiff1d(np.arange(n), pivots)
    place = np.empty(n, np.uint16)
    place[np.append(message, pivots)] = np.arange(n)
    return Code(name, np.sort(place[checks], axis=1), h[: len(pivots), message].T.copy())


def best_code(name: str, seeds: int, finalists: int, words: int) -> Code:
    """Of many seeds those with the fewest 4-cycles; of these the one that loses least, above all 2 dB past the waterfall."""
    n = int(name.partition("n")[2])
    cycles = [short_cycles(make_checks(name, seed), n) for seed in range(seeds)]
    ranked = np.argsort(cycles, kind="stable")[:finalists].tolist()
    codes = {seed: systematic(name, make_checks(name, seed)) for seed in ranked}
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    snr = -3.0
    while loss_rate(codes[ranked[0]], 0.8, "awgn", snr, 200, rng) > 0.1:
        snr += 0.25
    losses = {}
    for seed, code in codes.items():
        near, far = (loss_rate(code, 0.8, "awgn", snr + past, words, rng) for past in (0.0, 2.0))
        losses[seed] = (far + near / 50, near, far)
    seed = min(losses, key=lambda s: losses[s])
    print(f"{name}: k {codes[seed].k}, seed {seed}, {cycles[seed]} 4-cycles (median {np.median(cycles):.0f})")
    print(f"    losses at {snr} dB and 2 dB more")
    print("   ", *(f"{near:.3f}/{far:.4f}" for _, near, far in losses.values()), flush=True)
    return codes[seed]


def build_codes(seeds: int, finalists: int, words: int) -> Arrays:
    """The arrays of ``codes.npz``."""
    arrays: Arrays = {}
    for name in (f"{rate}n{n}" for rate in PROMPT_RATES for n in LENGTHS):
        code = best_code(name, seeds, finalists, words)
        arrays |= ldpc.arrays(code)
    return arrays


def build_thresholds(words: int, names: Sequence[str]) -> Arrays:
    """The arrays of ``thresholds.npz`` for these codes."""
    arrays: Arrays = {"fills": np.array(FILLS)}
    for name in names:
        curves = np.zeros((len(FILLS), len(modes.CHANNELS), 2))
        for i, channel in enumerate(modes.CHANNELS):
            guess = {"r14": -1.0, "r12": 2.5, "r34": 6.0}[name[:3]] + (0.0, 3.0, -1.0, -4.0)[i]
            for j, fill in enumerate(FILLS):
                curves[j, i] = loss_curve(ldpc.load()[name], fill, channel, guess, words)
                guess = float(round(curves[j, i, 0] + 1))
            spread = np.polynomial.Polynomial.fit(FILLS, curves[:, i, 1], 1)  # each one alone is noisy
            curves[:, i, 1] = spread(np.array(FILLS))
        arrays[name] = curves
        print(name, np.round(curves[:, :, 0] - curves[:, :, 1] * NormalDist().inv_cdf(modes.DESIGN_LOSS), 2).T.tolist(), flush=True)
    return arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    text = commands.add_parser("text", help="learn the text model from captions")
    text.add_argument("captions", type=Path, help="one caption a line")
    text.add_argument("--blocks", type=int, nargs="+", help="last line of each source; its last 5 %% are left out")
    text.add_argument("--captioner", type=Path, required=True, help="tsv of file names and captions in the captioners' style")
    text.add_argument("-o", "--output", type=Path, default=DATA / f"{text_model.VERSION}.npz")
    codes = commands.add_parser("codes", help="choose the parity-check matrices")
    codes.add_argument("--seeds", type=int, default=200)
    codes.add_argument("--finalists", type=int, default=6)
    codes.add_argument("--words", type=int, default=2000)
    codes.add_argument("-o", "--output", type=Path, default=DATA / "codes.npz")
    thresholds = commands.add_parser("thresholds", help="measure every code's thresholds")
    thresholds.add_argument("--words", type=int, default=800)
    thresholds.add_argument("-o", "--output", type=Path, default=DATA / "thresholds.npz")
    arguments = parser.parse_args()
    if arguments.command == "codes":
        arrays = build_codes(arguments.seeds, arguments.finalists, arguments.words)
    elif arguments.command == "thresholds":
        arrays = build_thresholds(arguments.words, list(ldpc.load()))
    else:
        texts = lines(read_text(arguments.captions))
        train, _ = hold_out(texts, arguments.blocks or [len(texts)])
        captioner = [caption for name, caption in read_table(arguments.captioner) if not is_held_out(name)]
        arrays = build_text(train, captioner, (1, 1, 2), (1, 1, 1))
    np.savez_compressed(arguments.output, **arrays)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
