"""Draws the figures of docs/channels.md: `python examples/figures_channels.py [FOLDER]` (docs/figures if not given)."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from gencomm_cli.channels import frame
from gencomm_cli.channels.fading import draw_noise
from gencomm_cli.channels.ofdm import OfdmConfig, places
from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.channels.paths import TABLES, draw_paths
from gencomm_cli.channels.tracking import track
from gencomm_cli.seeds import generator

CONFIG = OfdmConfig(cp=18)
RATE = CONFIG.carriers * 15e3
SYMBOL = (CONFIG.carriers + CONFIG.cp) / RATE


def responses(folder: Path) -> None:
    """Power delay profiles, and |H(t, f)| of one channel at two speeds."""
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), layout="constrained")
    for letter in "acd":
        delays, powers = TABLES[letter]
        axes[0].plot(delays, powers, "o", markersize=3, label=f"TDL-{letter.upper()}")
    axes[0].set(xlabel="delay / RMS delay spread", ylabel="power (dB)", title="power delay profiles", xlim=(-0.3, 13))
    axes[0].legend(frameon=False, fontsize=8)
    times, frequencies = np.arange(200) * SYMBOL, np.fft.fftshift(np.fft.fftfreq(CONFIG.carriers, 1 / RATE))
    for axis, speed in zip(axes[1:], (30, 250), strict=True):
        paths = draw_paths(PathModel(tdl="a", delay_spread=300e-9, speed=speed), 200 * SYMBOL, generator(1, "figure"))
        gains = np.exp(-2j * np.pi * np.outer(frequencies, paths.delays)) @ paths.at(times)
        extent = (0.0, 1e3 * float(times[-1]), 1e-6 * frequencies[0], 1e-6 * frequencies[-1])
        shown = axis.imshow(20 * np.log10(np.abs(gains)), aspect="auto", origin="lower", extent=extent, vmin=-25, vmax=8)
        axis.set(xlabel="time (ms)", ylabel="frequency (MHz)", title=f"|H|, TDL-A, 300 ns, {speed} km/h")
    figure.colorbar(shown, ax=axes[2], label="dB")
    figure.savefig(folder / "channels-response.png", dpi=110)


def tracking(folder: Path) -> None:
    """The error of estimated gains over speed, at 15 dB over TDL-A, 100 ns."""
    speeds, noise = (0, 3, 15, 30, 60, 120, 200, 300, 400, 500), 10**-1.5
    figure, axis = plt.subplots(figsize=(4.5, 3), layout="constrained")
    for name, period, estimator in (
        ("pilots before only, LMMSE", 0, "lmmse"), ("every 4, LS", 4, "ls"), ("every 4, LMMSE", 4, "lmmse"),
        ("every 2, LMMSE", 2, "lmmse"),
    ):  # fmt: skip
        groups, data = frame.slots(24, CONFIG, period)
        burst, errors = draw_noise(24 * CONFIG.carriers, generator(0, "figure")), []
        for speed in speeds:
            model, found = PathModel(tdl="a", speed=speed), []
            for seed in range(20):
                paths = draw_paths(model, (groups.size + 24) * SYMBOL, generator(seed, "figure"))
                arrived = frame.send([burst], paths, CONFIG, period, RATE)
                received = arrived.pilots + noise**0.5 * draw_noise(arrived.pilots.size, generator(seed, "figure noise"))
                gains, _ = track(
                    received.reshape(*groups.shape, -1), groups.mean(1) * SYMBOL, data * SYMBOL, model.doppler,
                    noise + arrived.interference, CONFIG, estimator,  # type: ignore[arg-type]
                )  # fmt: skip
                where = places(burst.size, CONFIG)
                found.append(np.mean(np.abs(gains.reshape(-1)[where] - arrived.gains[0]) ** 2))
            errors.append(10 * np.log10(np.mean(found)))
        axis.plot(speeds, errors, "o-", markersize=3, label=name)
    axis.set(xlabel="speed (km/h)", ylabel="mean squared error of H (dB)", title="TDL-A, 100 ns, 3.5 GHz, 15 dB")
    axis.axhline(-15, color="0.6", linewidth=0.8, linestyle="--")
    axis.text(500, -14.6, "noise", ha="right", fontsize=8, color="0.4")
    axis.set_ylim(-36, 16)
    axis.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
    axis.grid(alpha=0.3)
    figure.savefig(folder / "channels-tracking.png", dpi=110)


def main() -> None:
    """Draws both."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs" / "figures")
    target.mkdir(parents=True, exist_ok=True)
    responses(target)
    tracking(target)


if __name__ == "__main__":
    main()
