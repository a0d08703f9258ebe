"""A code around the Karhunen-Loève transform and the LMMSE estimate, for any rate and SNR with one set of weights.

::

    z ─┬─ KLT, unit variance ─┬─► powers by water-filling ─► first reals, pilots ─► x
    s ─┴─ dense ─► Mamba ─────┘                                                      ╎ channel, MMSE
    z_c ◄─┬─ inverse KLT ◄─┬─ LMMSE estimate, its error ◄─ powers, size ◄────────────┘
          └─ dense ◄─ Mamba┘

The networks add nothing at the start, see :mod:`gencomm_cli.networks.klt_code`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.networks.autoencoder import ResidualBlock
from gencomm_cli.networks.config import Config
from gencomm_cli.networks.klt_code import KLTCode
from gencomm_cli.networks.layers import zeroed
from gencomm_cli.networks.mamba import ChannelState, MambaConfig, MambaDecoder, MambaEncoder
from gencomm_cli.networks.rate_adaptive import CONDITION_WIDTH, RateAdaptiveJSCC

BRIDGE = 32
"""Channels between the dense and the Mamba networks."""


@dataclass(frozen=True)
class KLTConfig(Config):
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
        return self.last(self.blocks(self.first(x) + self.shift(condition)[:, :, None, None]))


class KLTJSCC(KLTCode):
    """Joint source-channel code from a latent [B, C, H, W] and its image to complex symbols [B, k] and back.

    H and W are multiples of ``config.factor``.
    """

    def __init__(self, config: KLTConfig) -> None:
        super().__init__(config.channels, config.code_channels, config.factor)
        self.config = config
        self.looking = Dense(config.channels + 3 * config.pixels**2, BRIDGE, config.width, config.depths[0])
        self.encoder = MambaEncoder(config.mamba())
        self.decoder = MambaDecoder(config.mamba(), extra=config.code_channels)
        self.correcting = Dense(2 * config.channels + BRIDGE, config.channels, config.width, config.depths[1])
        for layer in (self.encoder.head, self.correcting.last):
            zeroed(layer)

    def encode(self, field: Tensor, symbols: int, snr_db: Tensor, image: Tensor) -> Tensor:
        """x_c = f_θ(z), as :meth:`RateAdaptiveJSCC.encode`; ``image`` [B, 3, pixels·H, pixels·W] is that of which ``field`` is the
        latent."""
        condition = self.sender(symbols, field.shape[-2:], snr_db)
        seen = self.looking(torch.cat([field, F.pixel_unshuffle(image - 0.5, self.config.pixels)], 1), condition)
        learned = self.encoder(seen, ChannelState(condition=condition))
        return self.send(field, learned, symbols, snr_db, condition)

    def decode(
        self, equalised: Tensor, reliability: Tensor, size: tuple[int, int], snr_db: Tensor, tx_snr_db: Tensor | None = None
    ) -> Tensor:
        """z_c = g_φ(y), as :meth:`RateAdaptiveJSCC.decode`; ``tx_snr_db`` [B] is what :meth:`encode` got."""
        condition = self.receiving(equalised.shape[1], size, snr_db)
        known = torch.full_like(snr_db, math.nan) if tx_snr_db is None else tx_snr_db
        linear = self.estimate(equalised, reliability, size, known, condition)
        features = self.decoder(torch.cat([linear.coefficients, linear.errors], 1), ChannelState(condition=condition))
        seen = torch.cat([linear.field, linear.unsure, features], 1)
        return linear.field + linear.unsure * self.correcting(seen, condition)


FieldCode = RateAdaptiveJSCC | KLTJSCC
"""What a method may send its latent with: both encode and decode alike."""
