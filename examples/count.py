"""Size and work of a preset: ``python examples/count.py [--preset nano]``.

Parameters of each component, and the FLOP of the JSCC's two ends, of one step of the sampler and of the coarse image (with the
VAE's decoder), counted by torch while they run: those of matrix products and convolutions.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from gencomm_cli import pipeline
from gencomm_cli.methods.textguided.method import TextGuided
from gencomm_cli.networks.klt_jscc import FieldCode
from gencomm_cli.networks.tensors import to_tensor


def flop(work: Callable[[], Any]) -> float:
    """GFLOP of it."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return float(counter.get_total_flops() / 1e9)


def there_and_back(jscc: FieldCode, field: Tensor, image: Tensor, symbols: int) -> None:
    """The JSCC alone, without what makes latents of pictures."""
    snr_db = torch.tensor([10.0])
    jscc.decode(jscc.encode(field, symbols, snr_db, image), torch.ones(1, symbols), (field.shape[2], field.shape[3]), snr_db)


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
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    received = pipeline.transmit(codec.encode(image), snr=10)
    x, symbols = to_tensor(image, method.multiple, method.device), method.symbol_budget(method.default_cbr, size)
    with torch.no_grad():
        field = method.codec.encode(x) if method.domain == "latent" else x
    one, two = (flop(partial(codec.decode, received, steps=steps)) for steps in (1, 2))
    print(f"both ends     {flop(partial(there_and_back, method.jscc, field, x, symbols)):8.1f} GFLOP at {size[1]}x{size[0]}")
    print(f"one step      {two - one:8.1f} GFLOP")
    print(f"coarse image  {flop(partial(codec.decode, received, coarse=True)):8.1f} GFLOP")


if __name__ == "__main__":
    main()
