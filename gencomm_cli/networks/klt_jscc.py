"""A code around the Karhunen-Loève transform and the LMMSE estimate, for any rate and SNR with one set of weights.

::

    z ─┬─ KLT, unit variance ─┬─► powers by water-filling ─► first reals, pilots ─► x
    s ─┴─ dense ─► Mamba ─────┘                                                      ╎ channel, MMSE
    z_c ◄─┬─ inverse KLT ◄─┬─ LMMSE estimate, its error ◄─ powers, size ◄────────────┘
          └─ dense ◄─ Mamba┘

KLT, powers and estimate are the best linear analog code for what is known at both ends (Lee & Petersen, 1976). The networks beside
them add nothing at the start and learn what linear codes cannot do; the receiver's correction is in units of the standard error, or
what is learned at low rates would spoil the high ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.networks.autoencoder import ResidualBlock
from gencomm_cli.networks.linear_code import design_noise, pilot_places, pilots, size_of, water_filling, with_pilots
from gencomm_cli.networks.mamba import ChannelState, MambaConfig, MambaDecoder, MambaEncoder
from gencomm_cli.networks.rate_adaptive import (
    CONDITION_WIDTH,
    Conditioned,
    RateAdaptiveJSCC,
    sent_positions,
    to_complex,
    to_real,
)

BRIDGE = 32
"""Channels between the dense and the Mamba networks."""


@dataclass(frozen=True)
class KLTConfig:
    """Constructor arguments of :class:`KLTJSCC`, as a preset's ``config.json`` holds them.

    Attributes:
        channels: of the latent. code_channels: most reals a token. factor: positions a token along each side.
        pixels: pixels of the image a position along each side.
        width, depths: channels and residual blocks of the dense networks, transmitter and receiver.
        token_width, token_depth: of the Mamba networks, one vector a token. states, expand, directions: of their scans.
    """

    channels: int
    code_channels: int = 512
    factor: int = 8
    pixels: int = 8
    width: int = 128
    depths: tuple[int, int] = (3, 4)
    token_width: int = 256
    token_depth: int = 2
    states: int = 4
    expand: float = 1.0
    directions: int = 2

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> KLTConfig:
        """From a preset's ``config.json``, where tuples are lists."""
        sizes: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}
        return cls(**sizes)

    def mamba(self) -> MambaConfig:
        """The sizes of the Mamba networks."""
        return MambaConfig(
            BRIDGE, self.code_channels, (self.token_width,), (self.token_depth,), self.factor, self.states, self.expand,
            self.directions, "shift", CONDITION_WIDTH,
        )  # fmt: skip


class Dense(nn.Module):
    """Convolutions at the latent's resolution, shifted by the channel's condition: [B, C, H, W] → [B, C', H, W]."""

    def __init__(self, channels: int, out: int, width: int, depth: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.shift = nn.Linear(CONDITION_WIDTH, width)
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(depth)], nn.SiLU())
        self.last = nn.Conv2d(width, out, 3, padding=1)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        out: Tensor = self.last(self.blocks(self.first(x) + self.shift(condition)[:, :, None, None]))
        return out


class KLTJSCC(Conditioned):
    """Joint source-channel code from a latent [B, C, H, W] and its image to complex symbols [B, k] and back.

    H and W are multiples of ``config.factor``.
    """

    mean: Tensor
    spread: Tensor
    analysis: Tensor
    synthesis: Tensor

    def __init__(self, config: KLTConfig) -> None:
        super().__init__()
        self.config = config
        channels, code = config.channels, config.code_channels
        self.register_buffer("mean", torch.zeros(channels, 1, 1))
        self.register_buffer("spread", torch.ones(code))  # standard deviations of the KLT's coefficients, largest first
        for name in ("analysis", "synthesis"):  # not learned: a learned pair drifts apart, which is 2 dB at the highest rate
            self.register_buffer(name, torch.zeros(code, channels, config.factor, config.factor))
        self.looking = Dense(channels + 3 * config.pixels**2, BRIDGE, config.width, config.depths[0])
        self.encoder = MambaEncoder(config.mamba())
        self.decoder = MambaDecoder(config.mamba(), extra=code)
        self.correcting = Dense(2 * channels + BRIDGE, channels, config.width, config.depths[1])
        self.sent_gain = nn.Linear(CONDITION_WIDTH, code)
        self.received_gain = nn.Linear(CONDITION_WIDTH, code)
        for layer in (self.sent_gain, self.received_gain, self.encoder.head, self.correcting.last):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    @torch.no_grad()
    def start_linear(self, mean: Tensor, covariance: Tensor, weights: Tensor | None = None) -> None:
        """Sets the linear code to the KLT of flattened tokens (mean [D], covariance [D, D]).

        Args:
            weights: what an error in each channel of the latent counts [C]; None: alike.
        """
        each = torch.ones(self.config.channels) if weights is None else weights
        root = each.double().sqrt().repeat_interleave(self.config.factor**2)
        values, vectors = torch.linalg.eigh(root[:, None] * covariance.double() * root)
        order = values.argsort(descending=True)[: self.config.code_channels]
        spread, vectors = values[order].clamp_min(1e-8).sqrt(), vectors[:, order]
        self.mean.copy_(mean.view(self.config.channels, -1).mean(1)[:, None, None])
        self.spread.copy_(spread)
        self.analysis.copy_((vectors * root[:, None] / spread).T.reshape(self.analysis.shape))
        self.synthesis.copy_((vectors / root[:, None] * spread).T.reshape(self.synthesis.shape))

    def encode(self, field: Tensor, symbols: int, snr_db: Tensor, image: Tensor) -> Tensor:
        """x_c = f_θ(z): complex symbols [B, ``symbols``] with E|x|² = 1 each row.

        Args:
            field: the latent [B, C, H, W]. image: of which it is [B, 3, pixels·H, pixels·W].
            snr_db: what the transmitter knows [B]; NaN where it knows nothing.

        Raises:
            ValueError: more symbols than the code has.
        """
        tokens, count = self._tokens(field.shape[-2:]), pilots(symbols)
        positions = sent_positions(tokens, self.config.code_channels, 2 * (symbols - count)).to(field.device)
        condition = self._condition(self.transmitter, snr_db, 2 * symbols / tokens)
        seen = self.looking(torch.cat([field, F.pixel_unshuffle(image - 0.5, self.config.pixels)], 1), condition)
        learned = self.encoder(seen, ChannelState(condition=condition))
        gain = torch.exp(self.sent_gain(condition))
        with torch.autocast(field.device.type, enabled=False):
            amplitude = self._powers(snr_db, 2 * (symbols - count) / tokens).sqrt() * gain.float()
            code = (self._coefficients(field) + learned.float()) * amplitude[:, :, None, None]
            return with_pilots(to_complex(code.flatten(1)[:, positions]), count)

    def decode(
        self, equalised: Tensor, reliability: Tensor, size: tuple[int, int], snr_db: Tensor, tx_snr_db: Tensor | None = None
    ) -> Tensor:
        """z_c = g_φ(y): the latent [B, C, H, W].

        Args:
            equalised: complex symbols after the MMSE equaliser [B, k]. reliability: |h|²/(|h|² + N0) of each [B, k].
            size: (H, W). snr_db: the receiver's SNR [B]. tx_snr_db: what the transmitter knew [B], as :meth:`encode` got it.
        """
        count, symbols, tokens = pilots(equalised.shape[1]), equalised.shape[1], self._tokens(size)
        code, channels, device = ~pilot_places(symbols, count), self.config.code_channels, equalised.device
        positions = sent_positions(tokens, channels, 2 * (symbols - count)).to(device)
        condition = self._condition(self.receiver, snr_db, 2 * symbols / tokens)
        gain = torch.exp(self.received_gain(condition))
        with torch.autocast(device.type, enabled=False):
            planes = torch.zeros(2, len(equalised), channels * tokens, device=device)
            planes[0, :, positions] = to_real(equalised[:, code])
            planes[1, :, positions] = reliability[:, code].float().repeat(1, 2)
            values, r = planes.unflatten(-1, (channels, size[0] // self.config.factor, size[1] // self.config.factor))
            known = torch.full_like(snr_db, math.nan) if tx_snr_db is None else tx_snr_db
            powers = self._powers(known, 2 * (symbols - count) / tokens)
            amplitude = (powers.sqrt() * size_of(equalised[:, ~code], reliability[:, ~code]))[:, :, None, None]
            received = (amplitude.square() * r + (1 - r) / 2).clamp_min(1e-9)  # powers of a real, over its reliability
            estimate, error = amplitude * values / received, (1 - r) / 2 / received
            linear = self._field(estimate * gain.float()[:, :, None, None], self.synthesis) + self.mean
            unsure = self._field(error, self.synthesis.square()).clamp_min(1e-8).sqrt()
        features = self.decoder(torch.cat([estimate, error], 1), ChannelState(condition=condition))
        return linear + unsure * self.correcting(torch.cat([linear, unsure, features], 1), condition)

    def _coefficients(self, field: Tensor) -> Tensor:
        return F.conv2d(field.float() - self.mean, self.analysis, stride=self.config.factor)

    def _field(self, coefficients: Tensor, basis: Tensor) -> Tensor:
        return F.conv_transpose2d(coefficients, basis, stride=self.config.factor)

    def _tokens(self, size: tuple[int, ...] | torch.Size) -> int:
        return (size[0] // self.config.factor) * (size[1] // self.config.factor)

    def _powers(self, snr_db: Tensor, reals_per_token: float) -> Tensor:
        """Of a real of each channel [B, code_channels]."""
        share = (reals_per_token - torch.arange(self.config.code_channels, device=snr_db.device)).clamp(0, 1)
        return water_filling(self.spread, share, design_noise(snr_db))


FieldCode = RateAdaptiveJSCC | KLTJSCC
"""What a method may send its latent with: both encode and decode alike."""
