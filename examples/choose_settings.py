"""Chooses a preset's start steps N_s and guidance scale ω on validation photographs (never Kodak).

usage: python examples/choose_settings.py --data DIR --metric-weights DIR [--preset nano] [--images 10]

For each CBR and SNR every N_s is tried on the central 256² pixels of the first validation photographs over AWGN; the one with least
mean LPIPS (AlexNet and SqueezeNet) is kept. Then ω and the spacing are compared at CBR 0.0033 with that table. Prints a Markdown
table of each, and the JSON to put into the preset's settings.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import tempfile
from pathlib import Path

import numpy as np
from _common import central

from gencomm_cli import pipeline
from gencomm_cli.channels.fading import draw_noise, transmit
from gencomm_cli.channels.snr import n0_from_db
from gencomm_cli.diffusion.schedule import StartTable
from gencomm_cli.methods.base import DecodeOptions, Received, Request
from gencomm_cli.methods.textguided.method import TextGuided
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.tensors import to_tensor
from gencomm_cli.seeds import generator
from gencomm_cli.training.data import Photographs, load
from gencomm_cli.training.losses import load_perceptual

CBRS, SNRS, STARTS = (0.002, 0.0033, 0.0059, 0.011), (0.0, 6.0, 12.0), (150, 300, 450, 600)


def score(
    method: TextGuided,
    backbones: list[LPIPS],
    photographs: Photographs,
    count: int,
    cbr: float,
    snr_db: float,
    options: DecodeOptions,
) -> float:
    """Mean LPIPS over both backbones and ``count`` photographs."""
    total = 0.0
    for index in range(count):
        image = central(photographs.image(index))
        sent = method.encode(image, Request(method.symbol_budget(cbr, image.shape[:2]), snr_db)).symbols  # type: ignore[arg-type]
        n0 = n0_from_db(snr_db)
        received = transmit(sent, None, draw_noise(sent.size, generator(index, "image noise")), n0)
        size = (image.shape[0], image.shape[1])
        refined = method.decode(Received(received, None, n0, size, photographs.captions[index]), options, seed=index).refined[0]
        pair = [to_tensor(picture, 1, method.device) for picture in (image, refined)]
        total += float(np.mean([float(lpips(*pair)) for lpips in backbones]))
    return total / count


def main() -> None:
    """Tries everything and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    method = pipeline.load_codec("textguided", given.preset, given.device).method
    assert isinstance(method, TextGuided)
    backbones = load_perceptual(given.metric_weights, method.device)
    with tempfile.TemporaryDirectory() as cache:
        photographs = load(given.data, Path(cache), validation=True)
        print("| CBR | SNR | " + " | ".join(f"N_s = {start}" for start in STARTS) + " |\n|" + "---|" * (2 + len(STARTS)))
        best: list[tuple[int, ...]] = []
        for cbr in CBRS:
            row = []
            for snr_db in SNRS:
                values = [
                    score(method, backbones, photographs, given.images, cbr, snr_db, DecodeOptions(start_step=start))
                    for start in STARTS
                ]
                row.append(STARTS[int(np.argmin(values))])
                print(f"| {cbr} | {snr_db:g} | " + " | ".join(f"{value:.3f}" for value in values) + " |", flush=True)
            best.append(tuple(row))
        table = StartTable(CBRS, SNRS, tuple(best))
        method.starts = table
        print("\n| spacing | ω | LPIPS at 1 dB | at 10 dB |\n|---|---|---|---|")
        for spacing in ("uniform", "quadratic"):
            for guidance in (1.0, 1.5, 3.0):
                options = DecodeOptions(spacing=spacing, guidance_scale=guidance)  # type: ignore[arg-type]
                low, high = (score(method, backbones, photographs, given.images, 0.0033, snr_db, options) for snr_db in (1.0, 10.0))
                print(f"| {spacing} | {guidance:g} | {low:.3f} | {high:.3f} |", flush=True)
    print("\n" + json.dumps({"start_steps": dataclasses.asdict(table)}))


if __name__ == "__main__":
    main()
