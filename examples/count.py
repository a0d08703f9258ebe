"""Size and work of a preset: ``python examples/count.py [--preset nano]``.

Parameters of each component, and the FLOP of one step of the sampler and of the coarse image, counted by torch while they run.
"""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from gencomm_cli import pipeline
from gencomm_cli.methods.textguided.method import TextGuided


def flop(codec: pipeline.Codec, size: tuple[int, int], **options: Any) -> int:
    """FLOP of one decode."""
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    received = pipeline.transmit(codec.encode(image), snr=10)
    with FlopCounterMode(display=False) as counter:
        codec.decode(received, **options)
    return int(counter.get_total_flops())


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--size", type=int, nargs=2, default=(512, 768), metavar=("H", "W"))
    arguments = parser.parse_args()
    codec = pipeline.load("textguided", arguments.preset, device="cpu")
    method = codec.method
    assert isinstance(method, TextGuided)
    parts: dict[str, torch.nn.Module] = {
        "vae": method.codec, "unet": method.networks.unet, "text_encoder": method.networks.text,
        "control": method.networks.control, "jscc": method.jscc,
    }  # fmt: skip
    for name, module in parts.items():
        print(f"{name:14}{sum(parameter.numel() for parameter in module.parameters()) / 1e6:8.2f} M parameters")
    size = (arguments.size[0], arguments.size[1])
    coarse, one, two = flop(codec, size, coarse=True), flop(codec, size, steps=1), flop(codec, size, steps=2)
    print(f"one step      {(two - one) / 1e9:8.1f} GFLOP at {size[1]}x{size[0]}")
    print(f"coarse image  {coarse / 1e9:8.1f} GFLOP")


if __name__ == "__main__":
    main()
