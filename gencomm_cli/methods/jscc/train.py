"""A codec alone, as baselines are trained: E[λ_M ‖x − x̂‖² + λ_L LPIPS(x, x̂)] over random channels, at the codec's own rate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from gencomm_cli.errors import InputError
from gencomm_cli.networks.codec_side import most_symbols
from gencomm_cli.networks.pixel_codec import PixelCodec
from gencomm_cli.networks.swinjscc import SwinJSCC
from gencomm_cli.presets import find, verify
from gencomm_cli.presets.write import write_preset
from gencomm_cli.training.channel import ChannelDraw, SentRecipe, awgn, block_gains, through
from gencomm_cli.training.data import to_tensor
from gencomm_cli.training.linear_start import start_swin
from gencomm_cli.training.loop import autocast
from gencomm_cli.training.losses import perceptual_loss, psnr
from gencomm_cli.training.patchgan import PatchGAN, adversarial_losses
from gencomm_cli.training.stage import Plan, Stage, trained
from gencomm_cli.training.trainer import Report, Trainer, TrainOptions, stage_values

STATISTICS = 600
"""Crops that a linear start is computed from."""


@dataclass(frozen=True)
class CodecRecipe(SentRecipe):
    """Attributes:
    crop: side in pixels. pixel, perceptual: λ_M, λ_L, of images in [0, 1].
    alike: one SNR for a whole batch, which a codec needs that is given a single one.
    adversarial: weight of the PatchGAN's loss, as PDJSCC has one (Wang et al., 2022).
    linear: a SwinJSCC starts as the linear code for 10 dB and the lowest rate, not from random weights.
    """

    crop: int = 256
    pixel: float = 1.0
    perceptual: float = 0.0
    alike: bool = False
    adversarial: float = 0.0
    linear: bool = False
    seed: int = 2


def sent(codec: PixelCodec, image: Tensor, channel: ChannelDraw, cbr: float) -> Tensor:
    """x̂ of images [B, 3, H, W]: equalised as the codec has it, and decoded for Es/N0, as :class:`.method.JSCC` does."""
    size = (image.shape[2], image.shape[3])
    symbols = codec.encode(image, codec.symbols(round(cbr * image[0].numel()), size), channel.tx_snr_db)
    received, gain, n0 = through(symbols, channel, block_gains(channel))
    equalised = codec.conventions.equalise(received, gain, n0)
    return codec.decode(torch.where(channel.kind[:, None] == 0, received, equalised), size, channel.snr_db).float()


class CodecTrainer(Trainer):
    """One codec, of the recipe's class and sizes."""

    method = "jscc"
    shipped = "mambajscc"
    plans = {"codec": Plan(CodecRecipe, ("codec",))}  # noqa: RUF012

    def build(self) -> None:
        codec = self.make("codec", self.config["codec"]["class"], self.config["codec"]["model"])
        if not isinstance(codec, PixelCodec) or most_symbols(codec):
            raise InputError("--config: codec needs side symbols, or is none that sends images; SwinJSCC with code_channels is one")
        if stage_values(self.config, "codec").get("perceptual"):
            _ = self.perceptual  # now: what is missing should not be missed hours later
        if self.base is not None:
            verify(self.base)
            self.take("codec", self.base.components["codec"])

    def stage(self, stage: str, recipe: CodecRecipe, generator: np.random.Generator) -> Stage:
        codec, device = cast(PixelCodec, trained(self.parts["codec"], self.device, channels_last=False)), self.device
        if recipe.linear and self.base is None:
            self.start_linear(codec, recipe.cbr[0])
        networks: dict[str, nn.Module] = {"codec": codec}
        critic = PatchGAN().to(device) if recipe.adversarial else None
        if critic is not None:
            networks["critic"] = critic

        def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
            image = to_tensor(self.photographs.crops(recipe.batch, recipe.crop, generator)[0], device)
            channel, cbr = recipe.draw(generator, device)
            if recipe.alike:
                one = channel.row(0)
                channel = replace(channel, snr_db=one.snr_db.expand(recipe.batch), tx_snr_db=one.tx_snr_db.expand(recipe.batch))
            with autocast(device, recipe.schedule.precision):
                x_hat = sent(codec, image, channel, cbr)
                mse = (x_hat - image).square().mean()
                total, figures = recipe.pixel * mse, {"psnr": psnr(mse)}
                if recipe.perceptual:
                    perceptual = perceptual_loss(self.perceptual, x_hat, image, generator)
                    total, figures["lpips"] = total + recipe.perceptual * perceptual, float(perceptual.detach())
                if critic is not None:
                    total = total + recipe.adversarial * sum(adversarial_losses(critic, image, x_hat))
            return total, figures

        return Stage(networks, loss, show=lambda image: sent(codec, image, awgn(len(image), 10.0, device), recipe.cbr[0]))

    def start_linear(self, codec: nn.Module, cbr: float) -> None:
        """Sets a SwinJSCC to the linear code of the photographs' statistics. Raises InputError for any other codec."""
        if not isinstance(codec, SwinJSCC):
            raise InputError("--config: linear is for SwinJSCC; leave it out of other codecs")
        crops = to_tensor(self.photographs.crops(STATISTICS, 128, np.random.default_rng(0))[0], torch.device("cpu")).contiguous()
        start_swin(codec, crops, cbr)

    def export(self, models: Path) -> Path:
        """Writes ``models/jscc/<name>``."""
        return write_preset(
            models / self.method / self.config["name"], self.method, {"codec": self.part("codec")}, self.settings
        ).folder


def open_trainer(options: TrainOptions, report: Report) -> Trainer:
    """The trainer of what is asked for; raises what :func:`gencomm_cli.training.trainer.train` does."""
    return CodecTrainer(options, report, None if options.start is None else find("jscc", options.start))
