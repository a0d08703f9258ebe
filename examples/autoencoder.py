"""What an autoencoder alone loses: D(E(x)) of photographs, without any channel.

usage: python examples/autoencoder.py --data DIR [--weights models/shared/autoencoder/autoencoder.safetensors]
           [--metric-weights DIR] [--limit N]

Prints means over the photographs of DIR, and KID × 1000 of EfficientNet-Lite1's features over 256² patches (extra ``metrics``).
``--weights``: of an ``Autoencoder`` of nano's sizes, packed to 8 bits or not.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from _common import markdown, photographs
from safetensors.torch import load_file

from gencomm_cli.metrics.features import Features
from gencomm_cli.metrics.kid import kid
from gencomm_cli.metrics.report import measure
from gencomm_cli.metrics.weights import load_efficientnet_lite
from gencomm_cli.networks.autoencoder import Autoencoder
from gencomm_cli.networks.tensors import to_image, to_tensor
from gencomm_cli.presets.bits import unpacked

CPU = torch.device("cpu")
NAMES = ("psnr", "gmsd", "lpips_alex", "lpips_squeeze")
HERE = Path(__file__).resolve().parents[1]


@torch.inference_mode()
def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--weights", type=Path, default=HERE / "models/shared/autoencoder/autoencoder.safetensors")
    parser.add_argument("--metric-weights", type=Path)
    parser.add_argument("--limit", type=int)
    asked = parser.parse_args()
    codec = Autoencoder().eval()
    codec.load_state_dict(unpacked(load_file(asked.weights)))
    features = Features(load_efficientnet_lite("lite1"), by_patch=True)
    found, rows = [], []
    for photograph in photographs(asked.data, asked.limit):
        size = (photograph.pixels.shape[0], photograph.pixels.shape[1])
        made = to_image(codec.decode(codec.encode(to_tensor(photograph.pixels, codec.factor, CPU))), size, "vae")
        rows.append(list(measure(photograph.pixels, made, asked.metric_weights, NAMES).values()))
        found.append([features.of(to_tensor(pixels, 1, CPU)) for pixels in (photograph.pixels, made)])
    means = [None if None in column else float(np.mean(column)) for column in zip(*rows, strict=True)]
    distance = kid(*map(np.concatenate, zip(*found, strict=True))).value
    print(markdown([*NAMES, "kid_lite1"], [[*means, None if distance is None else 1000 * distance]]))


if __name__ == "__main__":
    main()
