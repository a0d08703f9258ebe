"""A yardstick: a plain convolutional JSCC of 2.5 symbols for each 16×16 block (CBR 0.0033), without any diffusion.

usage: python examples/measure/plain_codec.py train RUN --data DIR --metric-weights DIR [--minutes 48] [--threads 1]
       python examples/measure/plain_codec.py apply RUN PHOTOGRAPHS OUT [--snr-db 10]

A generative receiver whose pictures are no better than these does not earn its steps. 5 M parameters, dense convolutions at 1/4,
1/8 and 1/16 of the resolution; loss 16 · MSE + mean LPIPS over both backbones; AWGN, SNR uniform in −2 … 18 dB, known at both ends.
``train`` goes on where it was interrupted. ``apply`` writes what the receiver makes of each PNG, one file of the same name each.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gencomm_cli.networks.autoencoder import ResidualBlock
from gencomm_cli.training.data import load, to_tensor
from gencomm_cli.training.loop import Schedule, autocast, fit
from gencomm_cli.training.losses import load_perceptual, perceptual_loss, psnr

CPU = torch.device("cpu")
REALS, CELL = 5, 16


class PlainCodec(nn.Module):
    """Image [B, 3, H, W] in [0, 1], SNR in dB [B] → image of the same size, over AWGN; H and W multiples of 16."""

    def __init__(self, widths: tuple[int, int, int] = (80, 128, 160)) -> None:
        super().__init__()
        a, b, c = widths
        self.analysis = nn.Sequential(
            nn.PixelUnshuffle(4), conv(48 + 1, a), ResidualBlock(a), ResidualBlock(a), nn.PixelUnshuffle(2), conv(4 * a, b),
            ResidualBlock(b), ResidualBlock(b), nn.PixelUnshuffle(2), conv(4 * b, c), ResidualBlock(c), nn.SiLU(), conv(c, REALS),
        )  # fmt: skip
        self.synthesis = nn.Sequential(
            conv(REALS + 1, c), ResidualBlock(c), ResidualBlock(c), conv(c, 4 * b), nn.PixelShuffle(2), ResidualBlock(b),
            ResidualBlock(b), conv(b, 4 * a), nn.PixelShuffle(2), ResidualBlock(a), ResidualBlock(a), nn.SiLU(), conv(a, 48),
            nn.PixelShuffle(4),
        )  # fmt: skip

    def forward(self, image: Tensor, snr_db: Tensor) -> Tensor:
        x = F.pixel_unshuffle(image - 0.5, 4)
        known = (snr_db / 10).view(-1, 1, 1, 1)
        code = self.analysis[1:](torch.cat([x, known.expand(-1, 1, *x.shape[2:])], 1)).float()
        code = code / code.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=1e-6)
        received = code + 10 ** (-snr_db.view(-1, 1, 1, 1) / 20) * torch.randn_like(code)  # Es/N0 of complex pairs is that of reals
        out: Tensor = self.synthesis(torch.cat([received, known.expand(-1, 1, *code.shape[2:])], 1))
        return out + 0.5


def conv(before: int, after: int) -> nn.Conv2d:
    """3×3, of the same size."""
    return nn.Conv2d(before, after, 3, padding=1)


def train(run: Path, data: Path, metric_weights: Path | None, minutes: float) -> None:
    """Trains into ``run``."""
    run.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    codec, backbones = PlainCodec().to(memory_format=torch.channels_last), load_perceptual(metric_weights, CPU)  # type: ignore[call-overload]
    photographs, generator = load(data, run / "cache", validation=False), np.random.default_rng(0)
    print(f"{sum(p.numel() for p in codec.parameters()) / 1e6:.2f} M parameters")

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        image = to_tensor(photographs.crops(16, 128, generator, (0.6, 1.5))[0], CPU)
        with autocast(CPU):
            made = codec(image, torch.from_numpy(generator.uniform(-2, 18, 16).astype(np.float32))).float()
            mse, perceptual = (made - image).square().mean(), perceptual_loss(backbones, made, image, generator)
        return 16 * mse + perceptual, {"psnr": psnr(mse), "lpips": float(perceptual.detach())}

    schedule = Schedule(steps=10**6, learning_rate=1e-3, max_minutes=minutes, ema=0.998)
    fit({"codec": codec}, loss, generator, schedule, run, "codec", images=16)
    save_file({name: tensor.contiguous() for name, tensor in codec.state_dict().items()}, run / "codec.safetensors")


@torch.no_grad()
def apply(run: Path, photographs: Path, out: Path, snr_db: float) -> None:
    """Writes what arrives of each picture into ``out``."""
    codec = PlainCodec().eval()
    codec.load_state_dict(load_file(run / "codec.safetensors"))
    out.mkdir(parents=True, exist_ok=True)
    for index, path in enumerate(sorted(photographs.glob("*.png"))):
        torch.manual_seed(index)
        image = to_tensor(np.asarray(Image.open(path).convert("RGB"))[None], CPU)
        height, width = image.shape[2:]
        padded = F.pad(image, (0, -width % CELL, 0, -height % CELL), mode="replicate")
        made = codec(padded, torch.tensor([snr_db]))[0, :, :height, :width].clamp(0, 1).mul(255).round().byte()
        Image.fromarray(made.permute(1, 2, 0).numpy()).save(out / path.name)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    learn, use = commands.add_parser("train"), commands.add_parser("apply")
    for each in (learn, use):
        each.add_argument("run", type=Path)
        each.add_argument("--threads", type=int)
    learn.add_argument("--data", type=Path, required=True)
    learn.add_argument("--metric-weights", type=Path)
    learn.add_argument("--minutes", type=float, default=48.0)
    use.add_argument("photographs", type=Path)
    use.add_argument("out", type=Path)
    use.add_argument("--snr-db", type=float, default=10.0)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    if options.command == "train":
        train(options.run, options.data, options.metric_weights, options.minutes)
    else:
        apply(options.run, options.photographs, options.out, options.snr_db)


if __name__ == "__main__":
    main()
