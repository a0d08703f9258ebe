"""An ADJSCC that starts as the best linear code: dense convolutions, and attention to the SNR as in ADJSCC (Xu et al., 2022).

    x ─┬─ KLT of 16×16 pixels, unit variance ─┬─► powers ─► first reals, pilots ─► z   ╎ channel, MMSE
       └─ 1/4, 1/8, 1/16 ─────────────────────┘
    x̂ ◄─┬─ inverse KLT ◄─┬─ LMMSE estimate, its error ◄───────────────────────────────┘
        └─ 1/4, 1/8, 1/16 ◄─┘    (each resolution: residual blocks, then attention to SNR, rate and mean features)

The published ADJSCC (:mod:`gencomm_cli.networks.adjscc`) is another network, for its released weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.channels.equalisers import effective_snr_db
from gencomm_cli.channels.equalisers import reliability as reliability_of
from gencomm_cli.networks.autoencoder import ResidualBlock, unfolding
from gencomm_cli.networks.config import Config
from gencomm_cli.networks.conventions import USUAL
from gencomm_cli.networks.klt_code import KLTCode
from gencomm_cli.networks.layers import zeroed
from gencomm_cli.networks.pixel_codec import PixelCodec, checked_size
from gencomm_cli.networks.rate_adaptive import CONDITION_WIDTH
from gencomm_cli.networks.tensors import SNR_RANGE


@dataclass(frozen=True)
class ResidualADJSCCConfig(Config):
    """Constructor arguments of :class:`ResidualADJSCC`.

    Attributes:
        code_channels: most reals for each block of ``factor``² pixels.
        widths: channels of each resolution, the finest first; each is half of the last, the last is 1/``factor`` of the image's.
        encoder_depths, decoder_depths: residual blocks of each. edge: channels before the decoder's last layer.
    """

    code_channels: int = 96
    factor: int = 16
    widths: tuple[int, ...] = (128, 160, 192)
    encoder_depths: tuple[int, ...] = (2, 1, 1)
    decoder_depths: tuple[int, ...] = (3, 2, 2)
    edge: int = 16


class Attention(nn.Module):
    """Each channel is scaled by 0 … 2, as the channel's condition [B, D] and the picture's mean features say; by 1 at the start."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(width + CONDITION_WIDTH, width // 4), zeroed(nn.Linear(width // 4, width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        given = torch.cat([x.mean((2, 3)), condition], 1)
        return x * 2 * torch.sigmoid(self.second(F.silu(self.first(given))))[:, :, None, None]


class Level(nn.Module):
    """One resolution: ``before`` (a convolution that brings the features to it), residual blocks, attention."""

    def __init__(self, before: nn.Module, width: int, depth: int) -> None:
        super().__init__()
        self.before, self.attention = before, Attention(width)
        self.blocks = nn.Sequential(*[ResidualBlock(width) for _ in range(depth)])

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        return self.attention(self.blocks(self.before(x)), condition)


class ResidualADJSCC(KLTCode, PixelCodec):
    """Joint source-channel code of images [B, 3, H, W], H and W multiples of ``multiple``."""

    conventions = USUAL

    def __init__(self, config: ResidualADJSCCConfig) -> None:
        super().__init__(3, config.code_channels, config.factor)
        self.config, self.multiple, widths = config, config.factor, config.widths
        self.fold = fold = config.factor // 2 ** (len(widths) - 1)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, (width, depth) in enumerate(zip(widths, config.encoder_depths, strict=True)):
            before = 4 * widths[level - 1] if level else 3 * fold**2
            unfold = nn.PixelUnshuffle(2 if level else fold)
            self.down.append(Level(nn.Sequential(unfold, nn.Conv2d(before, width, 3, padding=1)), width, depth))
        self.code_out = zeroed(nn.Conv2d(widths[-1], config.code_channels, 3, padding=1))
        for level, (width, depth) in reversed(list(enumerate(zip(widths, config.decoder_depths, strict=True)))):
            if level == len(widths) - 1:
                brought: nn.Module = nn.Conv2d(2 * config.code_channels, width, 3, padding=1)
            else:
                brought = nn.Sequential(nn.Conv2d(widths[level + 1], 4 * width, 3, padding=1), nn.PixelShuffle(2))
            self.up.append(Level(brought, width, depth))
        self.seen = nn.Conv2d(6 * fold**2, widths[0], 3, padding=1)  # the linear estimate and its error, at the finest resolution
        self.last = nn.Sequential(*unfolding(widths[0], config.edge, fold))

    def code(self, image: Tensor, symbols: int, snr_db: Tensor) -> Tensor:
        """As :meth:`PixelCodec.encode`: its own power is 1."""
        checked_size(self, image, symbols)
        condition = self.sender(symbols, image.shape[2:], snr_db)
        h = image - self.mean
        for level in self.down:
            h = level(h, condition)
        return self.send(image, self.code_out(F.silu(h)), symbols, snr_db, condition)

    encode = code

    def decode(
        self, equalised: Tensor, size: tuple[int, int], snr_db: Tensor, reliability: Tensor | None = None,
        tx_snr_db: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """x̂ = D(z): [B, 3, H, W], not clamped, so that training sees gradients outside [0, 1].

        Args:
            equalised: complex [B, k] after the MMSE equaliser; as AWGN leaves them where no ``reliability`` is given.
            size: (H, W). snr_db: the receiver's SNR [B]. reliability: |h|²/(|h|² + N0) of each symbol [B, k], whose effective SNR
                takes the place of ``snr_db``.
            tx_snr_db: what the transmitter knew [B]; None for nothing.
        """
        if reliability is None:
            reliability = reliability_of(None, 10 ** (-snr_db[:, None] / 10)).expand(equalised.shape)
            equalised = reliability * equalised
        else:
            snr_db = effective_snr_db(reliability.mean(1)).clamp(*SNR_RANGE)
        condition = self.receiving(equalised.shape[1], size, snr_db)
        known = torch.full_like(snr_db, torch.nan) if tx_snr_db is None else tx_snr_db
        linear = self.estimate(equalised, reliability, size, known, condition)
        h = torch.cat([linear.coefficients, linear.errors], 1)
        for level in self.up:
            h = level(h, condition)
        seen = F.pixel_unshuffle(torch.cat([linear.field - self.mean, linear.unsure], 1), self.fold)
        return linear.field + linear.unsure * self.last(h + self.seen(seen))
