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
from typing import Any

import numpy as np
import torch
from _common import central

from gencomm_cli import pipeline
from gencomm_cli.methods.textguided.method import StartTable, TextGuided
from gencomm_cli.networks.tensors import to_tensor
from gencomm_cli.training.data import load
from gencomm_cli.training.losses import load_perceptual

CBRS, SNRS, STARTS = (0.002, 0.0033, 0.0059, 0.011), (0.0, 6.0, 12.0), (150, 300, 450, 600)


def main() -> None:
    """Tries everything and prints the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--images", type=int, default=10)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    codec = pipeline.load("textguided", given.preset, device=given.device)
    assert isinstance(codec.method, TextGuided)
    device = torch.device(codec.device)
    lpips = load_perceptual(given.metric_weights, device)
    with tempfile.TemporaryDirectory() as cache:
        photographs = load(given.data, Path(cache), validation=True)

        def score(cbr: float, snr_db: float, **options: Any) -> float:
            """Mean LPIPS over both backbones and the photographs."""
            channel, total = pipeline.channel_record("awgn", snr_db, "esn0", "perfect"), 0.0
            for index in range(given.images):
                image = central(photographs.image(index))
                trip = codec.roundtrip(image, channel, cbr=cbr, seed=index, prompt=photographs.captions[index], **options)
                pair = [to_tensor(picture, 1, device) for picture in (image, trip.reception.image)]
                total += float(np.mean([float(each(*pair)) for each in lpips]))
            return total / given.images

        print("| CBR | SNR | " + " | ".join(f"N_s = {start}" for start in STARTS) + " |\n|" + "---|" * (2 + len(STARTS)))
        best: list[tuple[int, ...]] = []
        for cbr in CBRS:
            row = []
            for snr_db in SNRS:
                values = [score(cbr, snr_db, start_step=start) for start in STARTS]
                row.append(STARTS[int(np.argmin(values))])
                print(f"| {cbr} | {snr_db:g} | " + " | ".join(f"{value:.3f}" for value in values) + " |", flush=True)
            best.append(tuple(row))
        codec.method.starts = table = StartTable(CBRS, SNRS, tuple(best))
        print("\n| spacing | ω | LPIPS at 1 dB | at 10 dB |\n|---|---|---|---|")
        for spacing in ("uniform", "quadratic"):
            for guidance in (1.0, 1.5, 3.0):
                low, high = (score(0.0033, snr_db, spacing=spacing, guidance_scale=guidance) for snr_db in (1.0, 10.0))
                print(f"| {spacing} | {guidance:g} | {low:.3f} | {high:.3f} |", flush=True)
    print("\n" + json.dumps({"start_steps": dataclasses.asdict(table)}))


if __name__ == "__main__":
    main()
