"""Sends a recording (.cf32, or the .sigmf-data of cf32) through GNU Radio's `channels.channel_model`; a flowgraph without GRC.

    file source ─► channel model (taps, frequency and clock offset, noise) ─► head ─► file sink

    python3 gnuradio_channel.py tx.cf32 rx.cf32 --snr 15 --frequency-offset 2e-4 --clock-offset 20 --taps 1,0.3j

Needs GNU Radio 3.10 (apt install gnuradio) and nothing of gencomm: `gencomm demodulate rx.cf32` reads the result, with the --fft
and --oversample of the transmitter where they were not the defaults.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

try:
    from gnuradio import blocks, channels, gr
except ImportError:
    sys.exit("error: GNU Radio is not installed for this Python; apt install gnuradio, and run this with /usr/bin/python3")

SILENCE = 4096
"""Samples before and after, as a receiver that is switched on too early and off too late has them."""


def flowgraph(source: Path, sink: Path, count: int, noise: float, arguments: argparse.Namespace) -> gr.top_block:
    """The flowgraph. ``noise``: its amplitude, the root of its power a sample; ``count``: samples that are written."""
    taps = [complex(tap) for tap in arguments.taps.split(",")]
    top = gr.top_block("gencomm over channel_model")
    top.connect(
        blocks.file_source(gr.sizeof_gr_complex, str(source), False),
        channels.channel_model(
            noise_voltage=noise, frequency_offset=arguments.frequency_offset, epsilon=1 + 1e-6 * arguments.clock_offset, taps=taps,
            noise_seed=arguments.seed, block_tags=False,
        ),
        blocks.head(gr.sizeof_gr_complex, count),
        blocks.file_sink(gr.sizeof_gr_complex, str(sink), False),
    )  # fmt: skip
    return top


def main() -> None:
    """Reads the command line, and runs the flowgraph."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", type=Path, help="cf32 samples")
    parser.add_argument("output", type=Path, help="cf32 samples")
    parser.add_argument("--snr", type=float, default=20.0, help="dB within the recording's own bandwidth, default 20")
    parser.add_argument("--oversample", type=int, default=2, help="of the recording, default 2 as modulate's")
    parser.add_argument("--frequency-offset", type=float, default=0.0, help="cycles a sample, such as 2e-4")
    parser.add_argument("--clock-offset", type=float, default=0.0, help="ppm")
    parser.add_argument("--taps", default="1", help="of the paths, a sample apart: complex numbers such as 1,0.3j,-0.1")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    try:
        samples = np.fromfile(arguments.recording, np.complex64)
    except OSError as error:
        sys.exit(f"error: {arguments.recording}: cannot be read ({error.strerror}); name a recording")
    if not samples.size:
        sys.exit(f"error: {arguments.recording}: holds no samples; `gencomm modulate -o tx.cf32` writes some")
    power = float(np.mean(np.abs(samples[np.abs(samples) > 0]) ** 2))
    noise = (arguments.oversample * power * 10 ** (-arguments.snr / 10)) ** 0.5
    padded = arguments.output.with_suffix(".padded")
    np.pad(samples, SILENCE).tofile(padded)
    try:
        flowgraph(padded, arguments.output, samples.size + SILENCE, noise, arguments).run()
    finally:
        padded.unlink()
    print(f"{arguments.output}: {arguments.output.stat().st_size // 8} samples")


if __name__ == "__main__":
    main()
