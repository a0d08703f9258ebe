"""Random channels for training: the same channel functions as the command's, with torch tensors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gencomm_cli.channels.equalisers import mmse, reliability
from gencomm_cli.channels.fading import transmit
from gencomm_cli.training.loop import Schedule
from gencomm_cli.training.parallel import rows

Range = tuple[float, float]
RATES = (0.0013, 0.0208)


@dataclass(frozen=True)
class SentRecipe:
    """A recipe whose batches are sent over random channels.

    Attributes:
        snr_db: Es/N0 is uniform in it. shares: of AWGN, of fading symbol by symbol, of slow fading.
        informed: share of the samples whose transmitter knows the channel.
        cbr: as :func:`draw_cbr` takes it; a code of one rate does not look.
    """

    schedule: Schedule
    batch: int = 8
    snr_db: Range = (-5.0, 20.0)
    shares: tuple[float, float, float] = (0.5, 0.35, 0.15)
    informed: float = 0.6
    cbr: Range = RATES

    @property
    def shown_cbr(self) -> float:
        """What the pictures of the sheets are sent at: 0.0033, or the nearest that is trained."""
        return min(max(0.0033, self.cbr[0]), self.cbr[1])

    def draw(self, generator: np.random.Generator, device: torch.device) -> tuple[ChannelDraw, float]:
        """A batch's channel and CBR."""
        channel = draw(self.batch, generator, device, self.snr_db, self.shares, self.informed)
        return channel, draw_cbr(generator, self.cbr)


@dataclass(frozen=True)
class ChannelDraw:
    """One batch's channel conditions.

    Attributes:
        snr_db: Es/N0 of each sample [B]. tx_snr_db: what the transmitter knows of it [B], NaN where nothing.
        kind: 0 AWGN, 1 Rayleigh for every symbol, 2 block Rayleigh, int64 [B].
    """

    snr_db: Tensor
    tx_snr_db: Tensor
    kind: Tensor

    def row(self, index: int) -> ChannelDraw:
        """One sample's, as a batch of one."""
        return ChannelDraw(*(each[index : index + 1] for each in (self.snr_db, self.tx_snr_db, self.kind)))


def draw(
    batch: int,
    generator: np.random.Generator,
    device: torch.device,
    snr_db: Range = (-5.0, 20.0),
    shares: Sequence[float] = (0.5, 0.35, 0.15),
    informed: float = 0.6,
) -> ChannelDraw:
    """SNR uniform in ``snr_db``; ``shares`` of the three kinds; the transmitter knows the channel for the share ``informed``."""
    snr = rows(lambda n: generator.uniform(*snr_db, n).astype(np.float32), batch)
    known = np.where(rows(generator.random, batch) < informed, snr, np.nan).astype(np.float32)
    kind = rows(lambda n: generator.choice(3, n, p=shares), batch)
    return ChannelDraw(*(torch.from_numpy(array).to(device) for array in (snr, known, kind)))


def awgn(batch: int, snr_db: float, device: torch.device) -> ChannelDraw:
    """AWGN of one SNR, which the transmitter knows."""
    snr = torch.full((batch,), snr_db, device=device)
    return ChannelDraw(snr, snr, torch.zeros(batch, dtype=torch.int64, device=device))


def draw_cbr(generator: np.random.Generator, cbr: Range = RATES) -> float:
    """A CBR of that range: 0.0033, where that is in it, for 40 % of the batches, else uniform in log CBR."""
    if generator.random() < 0.4 and cbr[0] <= 0.0033 <= cbr[1]:
        return 0.0033
    return float(np.exp(generator.uniform(np.log(cbr[0]), np.log(cbr[1]))))


def block_gains(channel: ChannelDraw) -> Tensor:
    """h of each sample, complex [B]: CN(0, 1) where fading is slow, else 1."""
    gain = torch.randn(len(channel.kind), dtype=torch.complex64, device=channel.kind.device)
    return torch.where(channel.kind == 2, gain, torch.ones_like(gain))


def through(symbols: Tensor, channel: ChannelDraw, block: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Passes unit-power symbols [B, k] through the channel: as received, their gains [B, k], and N0 [B, 1]."""
    gain = torch.where(channel.kind[:, None] == 1, torch.randn_like(symbols), block[:, None])
    n0 = (10 ** (-channel.snr_db / 10))[:, None]
    return transmit(symbols, gain, torch.randn_like(symbols), n0), gain, n0  # type: ignore[type-var, return-value]


def send(symbols: Tensor, channel: ChannelDraw) -> tuple[Tensor, Tensor, Tensor]:
    """The channel and its equaliser: MMSE estimates, reliabilities [B, k], and the block gain h [B]."""
    block = block_gains(channel)
    received, gain, n0 = through(symbols, channel, block)
    return mmse(received, gain, n0), reliability(gain, n0), block  # type: ignore[type-var, return-value]
