"""Waveforms in software: what a cheap radio costs, burst by burst and picture by picture. Prints Markdown.

usage: python examples/measure/radio_loop.py pictures IMAGE [--snr 15] [--presets scsic/nano,…] [--repeats 8] [--steps N]
       python examples/measure/radio_loop.py bursts [--count 300] [--noise 100]
       python examples/measure/radio_loop.py evm [--count 20]
       python examples/measure/radio_loop.py plots OUT.png
       python examples/measure/radio_loop.py signal TX.sigmf RX.sigmf RX.npz OUT.png

``pictures`` sends an image by the presets of all methods, over AWGN symbol by symbol and as a waveform with a frequency offset of
3.4, -3.4, 2.6 and -2.6 carriers in turn, random timing, a clock that is 20 ppm fast and -80 dBc/Hz of phase noise at 10 kHz, each
time with other noise, and sets the mean PSNR of both beside each other; --steps are the sampler's, to have fewer. ``bursts`` counts
bursts that are missed, or found where there are none; ``evm`` compares the error vector magnitude on AWGN with theory; ``plots``
draws how peaks are distributed, and the spectrum; ``signal`` the spectrograms of two recordings, and the received symbols.
"""

from __future__ import annotations

import argparse
import itertools
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np

import gencomm_cli
from examples._common import markdown, markdown_line
from gencomm_cli import presets, rates
from gencomm_cli.channels.equalisers import mmse
from gencomm_cli.channels.fading import draw_noise
from gencomm_cli.images import Pixels, read_image
from gencomm_cli.pipeline import open_symbols
from gencomm_cli.radio import link, recordings
from gencomm_cli.radio.framing import split
from gencomm_cli.radio.impairments import impaired
from gencomm_cli.radio.options import Impairments
from gencomm_cli.radio.recordings import Recording, of_samples
from gencomm_cli.radio.waveform import Waveform
from gencomm_cli.seeds import generator
from gencomm_cli.symbols import Header, SymbolFile

RATE = 1e6
SPACING = RATE / (link.DEFAULT.fft * link.DEFAULT.oversample)
CHEAP = Impairments(clock_offset=20, phase_noise=-80)
OFFSETS = (3.4, -3.4, 2.6, -2.6)
"""Of the frequency, in carriers: three whole ones, and 0.4 more or less."""


def some_file(symbols: int = 4000, seed: int = 0) -> SymbolFile:
    """A file of Gaussian symbols, as JSCC codes send them."""
    size = (256, 256)
    account = rates.account(None, size, image=symbols, prompt=0, side=0)
    header = Header("tx", "any", "nano", "0" * 64, size, account, None, None, rates.CONTROL_BITS)
    drawn = draw_noise(symbols, np.random.default_rng(seed))
    nothing = np.empty(0, np.complex64)
    return SymbolFile(header, drawn / np.sqrt(np.mean(np.abs(drawn) ** 2)), nothing, nothing)


def arrived(file: SymbolFile, cfo_carriers: float, snr_db: float, seed: int, radio: Impairments = CHEAP) -> Recording:
    """The file's waveform at a random time, through a radio."""
    delay = float(generator(seed, "timing").uniform(0, 5000))
    sent = link.modulate(file).recording(link.DEFAULT, RATE)
    return impaired(sent, Impairments(delay, radio.clock_offset, cfo_carriers * SPACING, radio.phase_noise), snr_db, seed)


def pictures(image: Path, snr_db: float, names: list[str], repeats: int, options: dict[str, int]) -> None:
    """The table of PSNR, a line for each preset."""
    pixels = read_image(image)
    found = [f"{each.method}/{each.name}" for each in presets.available()]
    head = ["preset", "symbols, dB", "waveform, dB", "loss, dB", "largest loss, dB", "estimated SNR, dB", "CBR", "with waveform"]
    print(markdown(head, []))
    for name in names or found:
        codec = gencomm_cli.load(*name.split("/"))
        tx = codec.encode(pixels, snr=snr_db, fading="awgn")
        sent = [
            (gencomm_cli.transmit(tx, snr=snr_db, seed=seed), link.demodulate(arrived(tx, cfo, snr_db, seed))[0].file)
            for seed, cfo in zip(range(repeats), itertools.cycle(OFFSETS), strict=False)
        ]
        decoded = [[psnr(pixels, codec.decode(rx, seed=seed, **options).image) for rx in both] for seed, both in enumerate(sent)]
        ideal, waveform = np.mean(decoded, 0)
        estimated = np.mean([rx.header.channel.snr_db for _, rx in sent if rx.header.channel is not None])
        losses = [ideal - waveform, max(first - second for first, second in decoded)]
        rates_of = [tx.header.cbr.total, sent[0][1].header.cbr.total]
        print(markdown_line([name, *map(float, (ideal, waveform, *losses, estimated, *rates_of))]), flush=True)


def psnr(first: Pixels, second: Pixels) -> float:
    """In dB, of uint8 images [H, W, 3]."""
    return float(-10 * np.log10(np.mean((first.astype(np.float64) - second) ** 2) / 255**2))


def bursts(count: int, noise: int) -> None:
    """Missed bursts by SNR, and bursts found in noise alone."""
    rows = []
    for snr_db in (0.0, 2.0, 5.0, 15.0):
        missed = 0
        for seed in range(count):
            recording = arrived(some_file(1000, seed), float(generator(seed, "cfo").uniform(-4, 4)), snr_db, seed)
            missed += not list(link.bursts(recording))
        rows.append([snr_db, count, missed])
    print(markdown(["SNR, dB", "bursts", "missed"], rows))
    captures = (of_samples(draw_noise(2**18, np.random.default_rng(seed))) for seed in range(noise))
    print(f"\nin {noise} captures of noise, {2**18} samples each: {sum(len(list(link.bursts(each))) for each in captures)} bursts")


def evm(count: int) -> None:
    """EVM by SNR over AWGN, and theory: 1/√SNR."""
    rows = []
    for snr_db in (0.0, 5.0, 10.0, 15.0, 20.0, 25.0, 30.0):
        errors, estimated = [], []
        for seed in range(count):
            file = some_file(4000, seed)
            recording = arrived(file, 0.4, snr_db, seed, Impairments())
            for each in link.demodulate(recording):
                assert each.file.csi_gain is not None
                errors.append(np.mean(np.abs(each.file.symbols / each.file.csi_gain - file.symbols) ** 2))
                estimated.append(each.bursts[0].snr_db)
        found = float(np.mean(errors))
        theory = 10 ** (-snr_db / 20)
        rows.append([snr_db, 100 * math.sqrt(found), 100 * theory, 10 * math.log10(found / theory**2), float(np.mean(estimated))])
    print(markdown(["SNR, dB", "EVM, %", "theory, %", "apart, dB", "estimated SNR, dB"], rows))


def plots(target: Path) -> None:
    """Draws the distribution of peaks and the spectrum, with and without window and root-raised-cosine pulse."""
    import matplotlib.pyplot as plt
    from scipy.signal import welch

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    shapes = {"rectangular": Waveform(oversample=4, window=0), "window": Waveform(oversample=4)}
    shapes["window, RRC 0.2"] = Waveform(oversample=4, rrc=0.2)
    for name, waveform in shapes.items():
        peaks = np.sort([papr for seed in range(10) for papr in symbol_peaks(some_file(10000, seed), waveform)])
        left.semilogy(peaks, 1 - np.arange(peaks.size) / peaks.size, label=name)
        sent = link.modulate(some_file(10000), waveform)
        samples = sent.samples[sent.starts[0] :][: sent.counts[0]]
        frequency, power = welch(samples, 1.0, nperseg=4096, return_onesided=False)
        order = np.argsort(frequency)
        band = np.abs(frequency) < waveform.carriers[-1] / waveform.fft / 4
        right.plot(4 * frequency[order], 10 * np.log10(power / np.mean(power[band]))[order], linewidth=0.8)
    level = np.linspace(4, 13, 200)
    left.semilogy(level, 1 - (1 - np.exp(-(10 ** (level / 10)))) ** (2.8 * 200), "k--", linewidth=0.8, label="theory (2.8 U)")
    left.set(xlabel="PAPR of an OFDM symbol above, dB", ylabel="share", ylim=(1e-3, 1.2), xlim=(4, 13))
    left.legend(fontsize=7)
    right.set(xlabel="frequency / (carriers' spacing · fft)", ylabel="power density, dB", ylim=(-100, 5))
    for axes in (left, right):
        axes.grid(alpha=0.3)
    figure.savefig(target, dpi=90)


def symbol_peaks(file: SymbolFile, waveform: Waveform) -> Iterator[float]:
    """PAPR in dB of each OFDM symbol that carries cells."""
    step = waveform.length * waveform.oversample
    for cells in split(file, waveform):
        samples = waveform.samples(waveform.grid(cells))
        power = np.abs(samples[2 * step : samples.size // step * step].reshape(-1, step)) ** 2
        yield from 10 * np.log10(power.max(1) / power.mean(1))


def signal(sent: Path, received: Path, symbols: Path, target: Path) -> None:
    """Draws both recordings' spectrograms, and the received symbols before and after the equaliser."""
    import matplotlib.pyplot as plt

    np.seterr(divide="ignore")  # silence has no decibels
    figure, axes = plt.subplots(1, 4, figsize=(12, 3), layout="constrained")
    for name, path, place in (("sent", sent, axes[0]), ("received", received, axes[1])):
        recording = recordings.read(path)
        samples = recording.read(0, len(recording))
        power = place.specgram(samples, NFFT=256, Fs=recording.sample_rate / 1e3, noverlap=128, vmin=-110, vmax=-40)[3]
        place.set(title=name, xlabel="time, ms", ylabel="frequency, kHz")
    figure.colorbar(power, ax=axes[1], label="power density, dB/kHz")
    file = open_symbols(symbols)
    n0 = file.header.n0 or 0.0
    parts = [("image", file.symbols, file.csi_gain, "0.75"), ("prompt", file.prompt_symbols, file.prompt_csi_gain, "C3")]
    for name, place in zip(("as received", "equalised"), axes[2:], strict=True):
        for label, points, gain, colour in parts:
            shown = points if name == "as received" else mmse(points, gain, n0)
            place.plot(shown.real, shown.imag, ".", color=colour, markersize=2, label=label)
        place.set(title=f"symbols, {name}", aspect="equal", xlim=(-3, 3), ylim=(-3, 3), xlabel="in phase", ylabel="quadrature")
    axes[3].legend(markerscale=4, fontsize=8, loc="upper right")
    figure.savefig(target, dpi=80)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("pictures")
    one.add_argument("image", type=Path)
    one.add_argument("--snr", type=float, default=15.0)
    one.add_argument("--presets", default="")
    one.add_argument("--repeats", type=int, default=8)
    one.add_argument("--steps", type=int)
    two = commands.add_parser("bursts")
    two.add_argument("--count", type=int, default=300)
    two.add_argument("--noise", type=int, default=100)
    commands.add_parser("evm").add_argument("--count", type=int, default=20)
    commands.add_parser("plots").add_argument("target", type=Path)
    five = commands.add_parser("signal")
    for name in ("sent", "received", "symbols", "target"):
        five.add_argument(name, type=Path)
    given = parser.parse_args()
    if given.command == "pictures":
        options = {} if given.steps is None else {"steps": given.steps}
        pictures(given.image, given.snr, [name for name in given.presets.split(",") if name], given.repeats, options)
    elif given.command == "bursts":
        bursts(given.count, given.noise)
    elif given.command == "evm":
        evm(given.count)
    elif given.command == "plots":
        plots(given.target)
    else:
        signal(given.sent, given.received, given.symbols, given.target)


if __name__ == "__main__":
    main()
