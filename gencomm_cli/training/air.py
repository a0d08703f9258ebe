"""Random channels for training: the same channel functions as the command's, with torch tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gencomm_cli.channels.equalisers import mmse, reliability
from gencomm_cli.channels.fading import transmit

RATES = (0.0013, 0.0208)


@dataclass(frozen=True)
class Air:
    """One batch's channel conditions.

    Attributes:
        snr_db: Es/N0 of each sample [B]. told: what the transmitter knows of it [B], NaN where nothing.
        kind: 0 AWGN, 1 Rayleigh for every symbol, 2 block Rayleigh, int64 [B].
    """

    snr_db: Tensor
    told: Tensor
    kind: Tensor


def draw(batch: int, generator: np.random.Generator, device: torch.device) -> Air:
    """SNR uniform in −5 … 20 dB; half AWGN, 35 % Rayleigh, 15 % block; the transmitter knows the SNR 60 % of the time."""
    snr = generator.uniform(-5, 20, batch).astype(np.float32)
    told = np.where(generator.random(batch) < 0.6, snr, np.nan).astype(np.float32)
    kind = generator.choice(3, batch, p=(0.5, 0.35, 0.15))
    return Air(*(torch.from_numpy(array).to(device) for array in (snr, told, kind)))


def draw_cbr(generator: np.random.Generator) -> float:
    """A CBR of the preset's range: 0.0033 for 40 % of the batches, else uniform in log CBR."""
    if generator.random() < 0.4:
        return 0.0033
    return float(np.exp(generator.uniform(np.log(RATES[0]), np.log(RATES[1]))))


def send(symbols: Tensor, air: Air) -> tuple[Tensor, Tensor, Tensor]:
    """Passes unit-power symbols [B, k] through the channel: MMSE estimates, reliabilities [B, k], and the block gain h [B]."""
    gain = torch.randn_like(symbols)
    gain = torch.where(air.kind[:, None] == 2, gain[:, :1], gain)
    gain = torch.where(air.kind[:, None] == 0, torch.ones_like(gain), gain)
    n0 = (10 ** (-air.snr_db / 10))[:, None]
    received = transmit(symbols, gain, torch.randn_like(symbols), n0)  # type: ignore[type-var]
    trust = reliability(gain, n0)  # type: ignore[type-var]
    block = torch.where(air.kind == 2, gain[:, 0], torch.ones_like(gain[:, 0]))
    return mmse(received, gain, n0), trust, block  # type: ignore[type-var, return-value]
