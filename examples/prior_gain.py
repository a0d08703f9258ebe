"""How much better a pixel prior of DiffCom knows pictures than a Wiener filter does, at several noise levels.

usage: python examples/prior_gain.py --data DIR [--preset NAME] [--steps 10,50,100,200,400] [--crops 64] [--size 256]

For each step t the mean PSNR in dB of x_t/√ᾱ_t, of two Wiener filters and of the prior's x̂_{0|t}, on random crops of the validation
photographs, and what the prior gains on the better filter. The filters are given the statistics of these very crops: variances of
the cosine transform of 8×8 pixels, and the power spectrum of whole crops in three uncorrelated colours.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import torch
from _common import markdown, markdown_line, numbers
from torch import Tensor

from gencomm_cli.diffusion.schedule import linear
from gencomm_cli.diffusion.steps import noised
from gencomm_cli.methods.diffcom.pixel_prior import Prior, pixel_prior
from gencomm_cli.methods.diffcom.residual_prior import ResidualPrior, ResidualPriorConfig
from gencomm_cli.networks.residual_unet import gaussian_estimate
from gencomm_cli.presets import find, verify
from gencomm_cli.presets.build import build
from gencomm_cli.training.data import load, to_tensor

CPU = torch.device("cpu")


class Spectrum:
    """The Wiener filter of stationary pictures: each frequency of whole crops [N, 3, H, W] by itself, in uncorrelated colours."""

    def __init__(self, crops: Tensor) -> None:
        self.mean = crops.mean((0, 2, 3))[:, None, None]
        self.colours = torch.linalg.eigh((crops - self.mean).transpose(0, 1).flatten(1).cov())[1]
        self.power = self._frequencies(crops).abs().square().mean(0)

    def _frequencies(self, x: Tensor) -> Tensor:
        return torch.fft.rfft2(torch.einsum("cd,bchw->bdhw", self.colours, x - self.mean), norm="ortho")

    def __call__(self, x: Tensor, a: Tensor) -> Tensor:
        """E[x_0 | x_t] of x_t [B, 3, H, W] at ᾱ_t, a scalar."""
        estimate = gaussian_estimate(self._frequencies(x + (1 - a.sqrt()) * self.mean), self.power, a)[1]
        pixels = torch.fft.irfft2(estimate, s=x.shape[2:], norm="ortho")
        return torch.einsum("cd,bdhw->bchw", self.colours, pixels) + self.mean


def psnr(estimate: Tensor, clean: Tensor) -> float:
    """Mean over pictures in [−1, 1], in dB."""
    return float((10 * (4 / (estimate.clamp(-1, 1) - clean).square().mean((1, 2, 3))).log10()).mean())


@torch.no_grad()
def gains(prior: Prior, crops: Tensor, steps: list[int]) -> list[list[float]]:
    """[PSNR of x_t, of the filter of blocks, of that of whole crops, of the prior, gain] for each step, of crops in [−1, 1]."""
    blocks, whole, rows = ResidualPrior(ResidualPriorConfig((8,), (1,), block=8)), Spectrum(crops), []
    blocks.start_linear(crops)
    for t in steps:
        torch.manual_seed(t)
        a = linear()[t].float()
        noisy = noised(crops, a, torch.randn_like(crops))
        made = [noisy / a.sqrt(), blocks.wiener(noisy, a.expand(len(noisy)))[1], whole(noisy, a)]
        made.append(torch.cat([prior(some, t)[0] for some in noisy.split(8)]))
        found = [psnr(one, crops) for one in made]
        rows.append([*found, found[3] - max(found[1:3])])
    return rows


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="training photographs; those of the validation split are used")
    parser.add_argument("--preset", default="nano")
    parser.add_argument("--steps", type=numbers, default=[10, 50, 100, 200, 400])
    parser.add_argument("--crops", type=int, default=64)
    parser.add_argument("--size", type=int, default=256)
    given = parser.parse_args()
    preset = find("diffcom", given.preset)
    verify(preset, "prior")
    prior = pixel_prior(build(preset.components["prior"], CPU), linear())
    with tempfile.TemporaryDirectory() as cache:
        pixels = load(given.data, Path(cache), validation=True).crops(given.crops, given.size, np.random.default_rng(0))[0]
    steps = [int(step) for step in given.steps]
    print(markdown(["t", "x_t", "Wiener, 8×8", "Wiener, whole", "prior", "gain in dB"], []), flush=True)
    for t, row in zip(steps, gains(prior, 2 * to_tensor(pixels, CPU) - 1, steps), strict=True):
        print(markdown_line([t, *row]), flush=True)


if __name__ == "__main__":
    main()
