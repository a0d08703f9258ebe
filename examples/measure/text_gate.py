"""Whether a latent prior hears its prompt: its ε-MSE with the photograph's own prompt, with none, and with another photograph's.

usage: python examples/measure/text_gate.py RUN|PRESET --data DIR [--config FILE] [--times 600,900] [--draws 2] [--images N]

RUN is a folder of `gencomm train textguided` (with the --config it was given, if any) in which the stage vae is finished; where the
stage prior is not, the averaged weights of its last checkpoint are taken. PRESET is a name or a folder of textguided's. Photographs
are the validation split's in DIR: of each the central window, at most 256 pixels wide, with the same noise for all three prompts.
Prints Markdown: the means, and the differences paired over photographs with their 95 % and 99 % intervals.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models import UNet2DConditionModel
from torch import Tensor

from gencomm_cli.diffusion.schedule import scaled_linear
from gencomm_cli.diffusion.steps import noised
from gencomm_cli.methods.textguided.train import TextGuidedTrainer
from gencomm_cli.networks.backbone import Backbone
from gencomm_cli.networks.text import TextEncoder
from gencomm_cli.networks.vae import LatentCodec
from gencomm_cli.presets import find
from gencomm_cli.training.data import Photographs, load, to_tensor
from gencomm_cli.training.stage import frozen
from gencomm_cli.training.trainer import TrainOptions

CPU = torch.device("cpu")
PROMPTS = ("own", "none", "wrong")
INTERVALS = {95: 1.960, 99: 2.576}
"""Half-widths in standard errors."""


def of_preset(name: str) -> tuple[LatentCodec, UNet2DConditionModel, TextEncoder]:
    """Autoencoder, denoiser and text encoder of a preset."""
    backbone = Backbone(find("textguided", name), CPU)
    return backbone.codec, backbone.unet, backbone.text


def of_run(run: Path, data: Path, config: Path | None) -> tuple[LatentCodec, UNet2DConditionModel, TextEncoder]:
    """The same of a run, its prior finished or not."""
    trainer = TextGuidedTrainer(TrainOptions(data, run, config, resume=True, stages=("prior",)), lambda _: None)
    if not trainer.restore("vae"):
        raise SystemExit(f"error: {run}: stage vae is not finished there")
    parts: dict[str, Any] = trainer.parts
    if not trainer.restore("prior"):
        if not (run / "prior.ckpt").exists():
            raise SystemExit(f"error: {run}: stage prior has not begun there")
        state = torch.load(run / "prior.ckpt", map_location="cpu", weights_only=True)
        print(f"prior at step {state['step']}, {state['spent'] / 60:.0f} minutes\n")
        parameters = [*parts["unet"].parameters(), *parts["text_encoder"].parameters()]
        for parameter, average in zip(parameters, state["averages"], strict=True):
            parameter.data.copy_(average)
    return trainer.codec(), frozen(parts["unet"]), TextEncoder(trainer.tokenizer, frozen(parts["text_encoder"]))


def windows(photographs: Photographs, multiple: int, most: int = 256) -> Iterator[Tensor]:
    """The central window of each photograph, float32 [1, 3, h, w], its sides multiples of ``multiple``."""
    for index in range(len(photographs)):
        image = photographs.image(index)
        height, width = (min(side, most) // multiple * multiple for side in image.shape[:2])
        top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
        yield to_tensor(image[top : top + height, left : left + width][None].copy(), CPU)


@torch.no_grad()
def errors(
    codec: LatentCodec, unet: UNet2DConditionModel, text: TextEncoder, photographs: Photographs, times: list[int], draws: int,
    images: int | None = None,
) -> np.ndarray:  # fmt: skip
    """ε-MSE [times, photographs, 3] with each of :data:`PROMPTS`, the mean of ``draws`` draws of noise."""
    alpha_bar, captions = scaled_linear().float(), photographs.captions
    found, generator = [], torch.Generator().manual_seed(0)
    halvings = len(unet.config.block_out_channels) - 1
    for index, image in enumerate(windows(photographs, codec.factor * 2**halvings)):
        if index == images:
            break
        other = (index + len(captions) // 2) % len(captions)
        prompts = text([captions[index], "", captions[other]]).repeat_interleave(draws, 0)
        clean = codec.encode(image)
        noise = torch.randn((draws, *clean.shape[1:]), generator=generator).repeat(3, 1, 1, 1)
        row = []
        for t in times:
            steps = torch.full((3 * draws,), t - 1)
            predicted = unet(noised(clean, float(alpha_bar[t]), noise), steps, encoder_hidden_states=prompts).sample
            row.append((predicted - noise).square().mean((1, 2, 3)).view(3, draws).mean(1).numpy())
        found.append(row)
    return np.array(found).transpose(1, 0, 2)


def report(times: list[int], measured: np.ndarray) -> list[str]:
    """Both tables of ``errors``' figures, and for each t whether own < none < wrong is sure."""
    count = measured.shape[1]
    lines = [f"ε-MSE over {count} photographs\n", "| t | " + " | ".join(PROMPTS) + " |", "|---|---|---|---|"]
    for t, some in zip(times, measured, strict=True):
        lines.append(f"| {t} | " + " | ".join(f"{mean:.5f}" for mean in some.mean(0)) + " |")
    lines += ["\n| t | difference | mean | " + " | ".join(f"{level} %" for level in INTERVALS) + " |", "|---|---|---|---|---|"]
    verdicts = [""]
    for t, some in zip(times, measured, strict=True):
        sure = True
        for low, high in ((0, 1), (1, 2), (0, 2)):
            paired = some[:, high] - some[:, low]
            mean, error = paired.mean(), paired.std(ddof=1) / math.sqrt(count)
            spans = [f"{mean - z * error:+.5f} … {mean + z * error:+.5f}" for z in INTERVALS.values()]
            lines.append(f"| {t} | {PROMPTS[high]} − {PROMPTS[low]} | {mean:+.5f} | " + " | ".join(spans) + " |")
            sure &= bool(mean - INTERVALS[99] * error > 0)
        verdicts.append(f"t = {t}: own < none < wrong, 99 % sure: {'yes' if sure else 'no'}")
    return lines + verdicts


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("prior", metavar="RUN|PRESET")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--config", type=Path)
    parser.add_argument("--times", default="600,900")
    parser.add_argument("--draws", type=int, default=2)
    parser.add_argument("--images", type=int)
    given = parser.parse_args()
    run, times = Path(given.prior), [int(t) for t in given.times.split(",")]
    of_a_run = run.is_dir() and not (run / "config.json").exists()
    networks = of_run(run, given.data, given.config) if of_a_run else of_preset(given.prior)
    with tempfile.TemporaryDirectory() as cache:
        photographs = load(given.data, run / "cache" if of_a_run else Path(cache), validation=True)
        print("\n".join(report(times, errors(*networks, photographs, times, given.draws, given.images))))


if __name__ == "__main__":
    main()
