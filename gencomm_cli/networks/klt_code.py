"""The best linear analog code of square tokens, at any rate and SNR: what codes with networks beside it start as.

    field ─► KLT, unit variance ─► powers by water-filling ─► first reals, pilots ─► x ╌ channel, MMSE ╌► LMMSE ─► inverse KLT

Nothing linear does better with what both ends know (Lee & Petersen, 1976). What networks add is zero at the start: the
transmitter's to the coefficients, the receiver's to the field, in units of the standard error, or what is learned at low rates
would spoil the high ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.networks.layers import zeroed
from gencomm_cli.networks.linear_code import design_noise, pilot_places, pilots, size_of, water_filling, with_pilots
from gencomm_cli.networks.rate_adaptive import CONDITION_WIDTH, Conditioned, sent_positions, to_complex, to_real


@dataclass(frozen=True)
class Estimate:
    """What the linear receiver knows, float32.

    Attributes:
        field: the LMMSE estimate [B, C, H, W]. unsure: the standard deviation of its error, of the same shape.
        coefficients, errors: estimates of the KLT's coefficients in units of their standard deviations, and the share of each one's
            variance that is still unknown, [B, code channels, rows, columns] of tokens.
    """

    field: Tensor
    unsure: Tensor
    coefficients: Tensor
    errors: Tensor


class KLTCode(Conditioned):
    """Fields [B, C, H, W] to complex symbols [B, k] and back; H and W are multiples of ``factor``.

    Args:
        channels: C. code_channels: most reals a token. factor: positions a token along each side.
    """

    mean: Tensor
    spread: Tensor
    analysis: Tensor
    synthesis: Tensor

    def __init__(self, channels: int, code_channels: int, factor: int) -> None:
        super().__init__(code_channels, factor)
        self.channels = channels
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("spread", torch.ones(code_channels))  # standard deviations of the coefficients, largest first
        for name in ("analysis", "synthesis"):  # not learned: a learned pair drifts apart, which is 2 dB at the highest rate
            self.register_buffer(name, torch.zeros(code_channels, channels, factor, factor))
        self.sent_gain, self.received_gain = (zeroed(nn.Linear(CONDITION_WIDTH, code_channels)) for _ in range(2))

    @torch.no_grad()
    def start_linear(self, mean: Tensor, covariance: Tensor, weights: Tensor | None = None) -> None:
        """Sets the linear code to the KLT of flattened tokens (mean [D], covariance [D, D]).

        Args:
            weights: what an error in each channel of the field counts [C]; None: alike.
        """
        each = torch.ones(self.channels) if weights is None else weights
        root = each.double().sqrt().repeat_interleave(self.factor**2)
        values, vectors = torch.linalg.eigh(root[:, None] * covariance.double() * root)
        order = values.argsort(descending=True)[: self.code_channels]
        spread, vectors = values[order].clamp_min(1e-8).sqrt(), vectors[:, order]
        self.mean.copy_(mean.view(self.channels, -1).mean(1)[:, None, None])
        self.spread.copy_(spread)
        self.analysis.copy_((vectors * root[:, None] / spread).T.reshape(self.analysis.shape))
        self.synthesis.copy_((vectors / root[:, None] * spread).T.reshape(self.synthesis.shape))

    def sender(self, symbols: int, size: tuple[int, ...], snr_db: Tensor) -> Tensor:
        """The transmitter's condition [B, CONDITION_WIDTH]: rate, and the SNR in dB that it knows [B]; NaN where it knows none."""
        return self._condition(self.transmitter, snr_db, 2 * symbols / self.tokens(size))

    def receiving(self, symbols: int, size: tuple[int, ...], snr_db: Tensor) -> Tensor:
        """The receiver's condition [B, CONDITION_WIDTH]: rate, and its SNR in dB [B]."""
        return self._condition(self.receiver, snr_db, 2 * symbols / self.tokens(size))

    def send(self, field: Tensor, learned: Tensor, symbols: int, snr_db: Tensor, condition: Tensor) -> Tensor:
        """Complex symbols [B, ``symbols``] with E|x|² = 1 each row.

        Args:
            learned: what is added to the coefficients [B, code channels, rows, columns].
            snr_db: what the transmitter knows [B]; NaN where it knows nothing.

        Raises:
            ValueError: more symbols than the code has.
        """
        tokens, count = self.tokens(field.shape[-2:]), pilots(symbols)
        positions = sent_positions(tokens, self.code_channels, 2 * (symbols - count)).to(field.device)
        gain = torch.exp(self.sent_gain(condition))
        with torch.autocast(field.device.type, enabled=False):
            coefficients = F.conv2d(field.float() - self.mean, self.analysis, stride=self.factor)
            amplitude = self._powers(snr_db, 2 * (symbols - count) / tokens).sqrt() * gain.float()
            code = (coefficients + learned.float()) * amplitude[:, :, None, None]
            return with_pilots(to_complex(code.flatten(1)[:, positions]), count)

    def estimate(
        self, equalised: Tensor, reliability: Tensor, size: tuple[int, int], tx_snr_db: Tensor, condition: Tensor
    ) -> Estimate:
        """The LMMSE estimate.

        Args:
            equalised: complex symbols after the MMSE equaliser [B, k]. reliability: |h|²/(|h|² + N0) of each [B, k].
            size: (H, W). tx_snr_db: what the transmitter knew [B], as :meth:`send` got it.
        """
        symbols, tokens, channels, device = equalised.shape[1], self.tokens(size), self.code_channels, equalised.device
        count = pilots(symbols)
        code = ~pilot_places(symbols, count)
        positions = sent_positions(tokens, channels, 2 * (symbols - count)).to(device)
        gain = torch.exp(self.received_gain(condition))
        with torch.autocast(device.type, enabled=False):
            planes = torch.zeros(2, len(equalised), channels * tokens, device=device)
            planes[0, :, positions] = to_real(equalised[:, code])
            planes[1, :, positions] = reliability[:, code].float().repeat(1, 2)
            values, r = planes.unflatten(-1, (channels, size[0] // self.factor, size[1] // self.factor))
            powers = self._powers(tx_snr_db, 2 * (symbols - count) / tokens)
            amplitude = (powers.sqrt() * size_of(equalised[:, ~code], reliability[:, ~code]))[:, :, None, None]
            received = (amplitude.square() * r + (1 - r) / 2).clamp_min(1e-9)  # powers of a real, over its reliability
            coefficients, errors = amplitude * values / received, (1 - r) / 2 / received
            field = self._field(coefficients * gain.float()[:, :, None, None], self.synthesis) + self.mean
            unsure = self._field(errors, self.synthesis.square()).clamp_min(1e-8).sqrt()
        return Estimate(field, unsure, coefficients, errors)

    def _field(self, coefficients: Tensor, basis: Tensor) -> Tensor:
        return F.conv_transpose2d(coefficients, basis, stride=self.factor)

    def _powers(self, snr_db: Tensor, reals_per_token: float) -> Tensor:
        """Of a real of each channel [B, code channels]."""
        share = (reals_per_token - torch.arange(self.code_channels, device=snr_db.device)).clamp(0, 1)
        return water_filling(self.spread, share, design_noise(snr_db))
