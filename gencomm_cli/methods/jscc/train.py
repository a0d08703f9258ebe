"""Training of a learned image codec alone: what the papers compare with, at the rates that they compare at.

deepjscc    Bourtsoulatze, Kurka & Gündüz (2019): MSE, AWGN of one SNR, which the networks are not given
swinjscc    Yang et al. (arXiv:2308.09361): MSE
mambajscc   Wu et al. (arXiv:2405.03125): MSE and LPIPS, as textguided's paper (arXiv:2510.21299) trains it
pdjscc      Wang et al. (2022), "perceptual learned source-channel coding": MSE, LPIPS and a PatchGAN; here over SwinJSCC's networks
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from gencomm_cli.channels.equalisers import effective_snr_db, mmse, reliability
from gencomm_cli.errors import InputError
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.source_codec import SourceCodec
from gencomm_cli.networks.swinjscc import SwinJSCC
from gencomm_cli.presets import find, verify
from gencomm_cli.presets.write import write_preset
from gencomm_cli.training.channel import ChannelDraw, awgn, block_gains, draw, through
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.linear_start import start_linear, token_statistics
from gencomm_cli.training.loop import Schedule, autocast
from gencomm_cli.training.losses import perceptual_loss, psnr
from gencomm_cli.training.patchgan import PatchGAN, adversarial_losses
from gencomm_cli.training.stage import Plan, Stage, trained
from gencomm_cli.training.trainer import Report, Trainer, TrainOptions


@dataclass(frozen=True)
class CodecRecipe:
    """E‖x − x̂‖² [+ ``perceptual`` · LPIPS + ``adversarial`` · the PatchGAN's loss] of pictures that went through a channel.

    Attributes:
        cbr: of a codec that can send at several rates. crop: side in pixels.
        snr_db: Es/N0 is uniform in it. shares: of AWGN, of fading symbol by symbol, of slow fading. informed: share of the samples
            whose transmitter knows the SNR. alike: one channel for a whole batch, for networks that take one SNR.
        linear: the codec starts as a linear code for 10 dB, not from random weights.
    """

    schedule: Schedule
    cbr: float
    batch: int = 8
    crop: int = 128
    snr_db: tuple[float, float] = (-5.0, 20.0)
    shares: tuple[float, float, float] = (0.7, 0.2, 0.1)
    informed: float = 0.6
    alike: bool = False
    perceptual: float = 0.0
    adversarial: float = 0.0
    linear: bool = False
    seed: int = 2


def decoded(codec: SourceCodec, image: Tensor, cbr: float, channel: ChannelDraw) -> Tensor:
    """x̂ of images [B, 3, H, W]: fading is equalised (MMSE), and taken as the AWGN channel of its effective SNR."""
    size = (image.shape[2], image.shape[3])
    sent = codec.encode(image, codec.symbols(round(cbr * image[0].numel()), size), channel.tx_snr_db)
    received, gain, n0 = through(sent, channel, block_gains(channel))
    snr_db = effective_snr_db(reliability(gain, n0).mean(1))  # type: ignore[type-var]
    equalised = torch.where(channel.kind[:, None] == 0, received, mmse(received, gain, n0))  # type: ignore[type-var]
    return codec.decode(equalised, size, snr_db).float()


def codec_stage(
    network: nn.Module,
    photographs: Photographs,
    recipe: CodecRecipe,
    generator: np.random.Generator,
    device: torch.device,
    backbones: Sequence[LPIPS] = (),
) -> Stage:
    """The codec ``network``, a :class:`~gencomm_cli.networks.source_codec.SourceCodec`; ``backbones`` are of ``perceptual``."""
    codec = cast(SourceCodec, trained(network, device, channels_last=False))
    networks = {"codec": network}
    critic = PatchGAN().to(device) if recipe.adversarial else None
    if critic is not None:
        networks["critic"] = critic

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        image = to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device)
        channel = draw(recipe.batch, generator, device, recipe.snr_db, recipe.shares, recipe.informed)
        if recipe.alike:
            channel = ChannelDraw(*(getattr(channel, field.name)[:1].repeat(recipe.batch) for field in fields(channel)))
        with autocast(device, recipe.schedule.precision):
            made = decoded(codec, image, recipe.cbr, channel)
            total = mse = (made - image).square().mean()
            if recipe.perceptual:
                total = total + recipe.perceptual * perceptual_loss(backbones, made, image, generator)
            if critic is not None:
                total = total + recipe.adversarial * sum(adversarial_losses(critic, image, made))
        return total, {"psnr": psnr(mse)}

    def show(image: Tensor) -> Tensor:
        return torch.cat([decoded(codec, one[None], recipe.cbr, awgn(1, 10.0, device)) for one in image])

    return Stage(networks, loss, show=show)


STATISTICS = 600
"""Crops that a linear start is computed from."""
STAGES = {"codec": Plan(CodecRecipe, ("codec",))}


class JSCCTrainer(Trainer):
    """One codec in one stage."""

    method = "jscc"
    shipped = "deepjscc-1-96"
    plans = STAGES

    def build(self) -> None:
        self.make("codec", self.config["codec"]["class"], self.config["codec"]["model"])
        if self.options.start is not None:
            preset = find(self.method, self.options.start)
            verify(preset)
            self.take("codec", preset.components["codec"])

    def stage(self, stage: str, recipe: Any, generator: np.random.Generator) -> Stage:
        codec, backbones = self.module("codec"), self.perceptual if recipe.perceptual else ()
        if recipe.linear and self.options.start is None:
            self.start_linear(codec, recipe.cbr)
        return codec_stage(codec, self.photographs, recipe, generator, self.device, backbones)

    def start_linear(self, codec: nn.Module, cbr: float) -> None:
        """Sets a SwinJSCC to the linear code of the photographs' statistics. Raises InputError for any other codec."""
        if not isinstance(codec, SwinJSCC):
            raise InputError("--config: linear is for SwinJSCC; leave it out of other codecs")
        crops = to_tensor(self.photographs.crops(STATISTICS, 128, np.random.default_rng(0))[0], torch.device("cpu")).contiguous()
        sides = [2 ** (stage + 1) for stage in range(len(codec.config.dims))]
        covariances = [token_statistics(crops, side)[1] for side in sides]
        start_linear(codec, crops.mean((0, 2, 3)), covariances, reals=round(6 * sides[-1] ** 2 * cbr), snr_db=10.0)

    def export(self, models: Path) -> Path:
        """Writes ``models/jscc/<name>``."""
        folder = models / self.method / self.config["name"]
        return write_preset(folder, self.method, {"codec": self.part("codec")}, self.settings).folder


def open_trainer(options: TrainOptions, report: Report) -> Trainer:
    """The trainer of what is asked for; raises what :func:`gencomm_cli.training.trainer.train` does."""
    return JSCCTrainer(options, report)
