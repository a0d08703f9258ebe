"""How a learned image codec is trained: pictures through a channel and back, by their error alone or with LPIPS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from gencomm_cli.channels.equalisers import effective_snr_db, mmse, reliability
from gencomm_cli.errors import InputError
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.adjscc import ADJSCC
from gencomm_cli.networks.source_codec import SourceCodec
from gencomm_cli.networks.swinjscc import SwinJSCC
from gencomm_cli.training.channel import ChannelDraw, awgn, block_gains, draw, through
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.linear_convolutions import start_linear_convolutions
from gencomm_cli.training.linear_start import start_linear, token_statistics
from gencomm_cli.training.loop import Schedule, autocast
from gencomm_cli.training.losses import perceptual_loss
from gencomm_cli.training.stage import Stage, trained


@dataclass(frozen=True)
class CodecRecipe:
    """Attributes:
    crop: side in pixels. cbr: the rate is log-uniform in it, but ``usual`` for two fifths of the batches.
    snr_db: uniform. alike: one channel for a whole batch, for networks that take one SNR. shares: of AWGN, of Rayleigh fading
        symbol by symbol, of one gain a picture. informed: how often the encoder knows the SNR.
    squared: the mean squared error, not its root. perceptual: weight of LPIPS beside it.
    linear: the codec starts as a linear code for 10 dB (SwinJSCC's for the usual rate), not from random weights.
    """

    schedule: Schedule
    batch: int = 12
    crop: int = 128
    cbr: tuple[float, float] = (1 / 96, 1 / 16)
    usual: float = 1 / 48
    snr_db: tuple[float, float] = (-5.0, 20.0)
    alike: bool = False
    shares: tuple[float, float, float] = (0.7, 0.2, 0.1)
    informed: float = 0.6
    squared: bool = False
    perceptual: float = 0.0
    linear: bool = False
    seed: int = 2


def through_channel(code: SourceCodec, image: Tensor, cbr: float, channel: ChannelDraw) -> Tensor:
    """x_d of images [B, 3, H, W]: fading is equalised (MMSE), and taken as the AWGN channel of its effective SNR."""
    size = (image.shape[2], image.shape[3])
    sent = code.encode(image, code.symbols(round(cbr * image[0].numel()), size), channel.tx_snr_db)
    received, gain, n0 = through(sent, channel, block_gains(channel))
    snr_db = effective_snr_db(reliability(gain, n0).mean(1))  # type: ignore[type-var]
    equalised = torch.where(channel.kind[:, None] == 0, received, mmse(received, gain, n0))  # type: ignore[type-var]
    return code.decode(equalised, size, snr_db).float()


def codec_stage(
    codec: nn.Module,
    photographs: Photographs,
    recipe: CodecRecipe,
    generator: np.random.Generator,
    device: torch.device,
    backbones: Sequence[LPIPS] = (),
) -> Stage:
    """A codec, a :class:`SourceCodec`, by the error of what it decodes; with ``perceptual``, by LPIPS on the backbones too."""
    trained(codec, device, channels_last=False)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        image = to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device)
        channel = draw(recipe.batch, generator, device, recipe.snr_db, recipe.shares, recipe.informed)
        if recipe.alike:
            channel = ChannelDraw(*(getattr(channel, field.name)[:1].repeat(recipe.batch) for field in fields(channel)))
        usual = generator.random() < 0.4
        cbr = recipe.usual if usual else float(np.exp(generator.uniform(*np.log(recipe.cbr))))
        with autocast(device, recipe.schedule.precision):
            decoded = through_channel(cast(SourceCodec, codec), image, cbr, channel)
            error = (decoded - image).square().mean((1, 2, 3))
            total = (error if recipe.squared else error.sqrt()).mean()  # squared, the worst channels drown the good ones
            if recipe.perceptual:
                total = total + recipe.perceptual * perceptual_loss(backbones, decoded, image, generator)
        shown = (channel.snr_db.sub(10).abs() < 3) & (channel.kind == 0)
        return total, {"at10dB": float(error[shown].mean().detach()) * 2.5 if usual and shown.any() else 0.0}

    def show(image: Tensor) -> Tensor:
        return through_channel(cast(SourceCodec, codec), image, recipe.usual, awgn(len(image), 10.0, device))

    return Stage({"codec": codec}, loss, show=show)


def start_linear_code(codec: nn.Module, photographs: Photographs, cbr: float) -> None:
    """Sets a codec to the linear code of the photographs' statistics.

    Args:
        cbr: that a SwinJSCC's powers are for.

    Raises:
        InputError: there is none for such a codec.
    """
    crops = to_tensor(photographs.crops(600, 128, np.random.default_rng(0))[0], torch.device("cpu")).contiguous()

    def covariances(sides: Sequence[int]) -> list[Tensor]:
        return [token_statistics(crops, side)[1] for side in sides]

    if isinstance(codec, SwinJSCC):
        sides = [2 ** (stage + 1) for stage in range(len(codec.config.dims))]
        start_linear(codec, crops.mean((0, 2, 3)), covariances(sides), reals=round(6 * sides[-1] ** 2 * cbr), snr_db=10.0)
    elif isinstance(codec, ADJSCC):
        start_linear_convolutions(codec, crops[:200], covariances((2, 4)), snr_db=10.0)
    else:
        raise InputError("--config: linear is for ADJSCC and SwinJSCC; leave it out of other codecs")
