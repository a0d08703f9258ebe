"""The SNR-adaptive convolutional JSCC of DiffJSCC (arXiv:2404.17736, section II-A; Yang & Kim, 2022), layer for layer as published.

    x ─► E: convolutions, each halving the picture, then residual blocks under CSI ─► C reals a position ─► unit power ─► y
    x̂ ◄─ G: residual blocks under CSI, then transposed convolutions, sigmoid ◄─ equalised reals

Modules carry the published state dict's names (``E.net.1.weight``, …), so that a released codec loads unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from gencomm_cli.networks.config import Config
from gencomm_cli.networks.pixel_codec import checked_size
from gencomm_cli.networks.rate_adaptive import to_complex, to_real, unit_power


@dataclass(frozen=True)
class DeepJSCCConfig(Config):
    """Constructor arguments of :class:`DeepJSCC`; the defaults are the published size at ρ = 1/384.

    Attributes:
        code_channels: C, reals for each 2^D × 2^D pixels. downsamplings: D.
        width: channels after the first convolution; they double with each halving up to ``encoder_width``, ``decoder_width``.
        encoder_blocks, decoder_blocks: residual blocks on either side.
        fading: whether the networks get h beside the SNR (the Rayleigh models do, the AWGN models do not).
        unknown_snr_db: what the encoder assumes where the transmitter does not know the SNR: the middle of the trained range.
    """

    code_channels: int = 4
    downsamplings: int = 4
    width: int = 64
    encoder_width: int = 384
    decoder_width: int = 384
    encoder_blocks: int = 4
    decoder_blocks: int = 4
    fading: bool = False
    unknown_snr_db: float = 7.0

    @property
    def factor(self) -> int:
        """Pixels a code position along each side, 2^D."""
        return int(2**self.downsamplings)

    @property
    def cbr(self) -> float:
        """ρ = C / (3 · 2^(2D+1)) (section III-A)."""
        return self.code_channels / (6 * self.factor**2)

    def widths(self, most: int) -> list[int]:
        """Channels after 0 … D halvings."""
        return [min(self.width * 2**level, most) for level in range(self.downsamplings + 1)]


class ResidualBlock(nn.Module):
    """x + two convolutions; the encoder's pad with zeros, the decoder's mirror the edge."""

    def __init__(self, channels: int, mirror: bool) -> None:
        super().__init__()
        edge = [nn.ReflectionPad2d(1)] if mirror else []
        self.conv_block = nn.Sequential(
            *edge, nn.Conv2d(channels, channels, 3, padding=0 if mirror else 1, bias=False), nn.BatchNorm2d(channels), nn.ReLU(),
            *edge, nn.Conv2d(channels, channels, 3, padding=0 if mirror else 1, bias=False), nn.BatchNorm2d(channels),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


class Modulation(nn.Module):
    """Squeeze and excitation under CSI: each channel is scaled by 0 … 1 and shifted, as the picture's mean features and CSI say."""

    def __init__(self, channels: int, csi: int) -> None:
        super().__init__()
        self.model_multi = nn.Sequential(
            nn.Linear(channels + csi, channels), nn.ReLU(), nn.Linear(channels, channels), nn.Sigmoid()
        )
        self.model_add = nn.Sequential(nn.Linear(channels + csi, channels), nn.ReLU(), nn.Linear(channels, channels))

    def forward(self, z: Tensor, csi: Tensor) -> Tensor:
        given = torch.cat([z.mean((2, 3)), csi], 1)
        return z * self.model_multi(given)[:, :, None, None] + self.model_add(given)[:, :, None, None]


def _adaptive_blocks(count: int, channels: int, csi: int, mirror: bool) -> nn.ModuleList:
    """``count`` pairs of a residual block and its modulation."""
    pairs = ((ResidualBlock(channels, mirror), Modulation(channels, csi)) for _ in range(count))
    return nn.ModuleList(block for pair in pairs for block in pair)


def _adapt(blocks: nn.ModuleList, z: Tensor, csi: Tensor) -> Tensor:
    for block in blocks:
        z = block(z, csi) if isinstance(block, Modulation) else block(z)
    return z


class Encoder(nn.Module):
    """E, the paper's E_c up to eq. 2: image [B, 3, H, W] in [0, 1] and CSI [B, 1 or 3] → code [B, C, H/2^D, W/2^D].

    Its power is not yet normalised.
    """

    def __init__(self, config: DeepJSCCConfig) -> None:
        super().__init__()
        widths = config.widths(config.encoder_width)
        layers: list[nn.Module] = [
            nn.ReflectionPad2d(3), nn.Conv2d(3, widths[0], 7, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        ]  # fmt: skip
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, 2, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.net = nn.Sequential(*layers)
        self.res_list = _adaptive_blocks(config.encoder_blocks, widths[-1], 3 if config.fading else 1, mirror=False)
        self.projection = nn.Conv2d(widths[-1], config.code_channels, 3, padding=1)

    def forward(self, image: Tensor, csi: Tensor) -> Tensor:
        return self.projection(_adapt(self.res_list, self.net(image), csi))


class Decoder(nn.Module):
    """G, the paper's D_c: equalised code [B, C, H/2^D, W/2^D] and CSI → image [B, 3, H, W] in [0, 1]."""

    def __init__(self, config: DeepJSCCConfig) -> None:
        super().__init__()
        widths = config.widths(config.decoder_width)[::-1]
        self.mask_conv = nn.Conv2d(config.code_channels, widths[0], 3, padding=1, bias=False)
        self.res_list = _adaptive_blocks(config.decoder_blocks, widths[0], 3 if config.fading else 1, mirror=True)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.ConvTranspose2d(before, after, 3, 2, 1, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.ReflectionPad2d(2), nn.Conv2d(widths[-1], 3, 5), nn.Sigmoid())

    def forward(self, code: Tensor, csi: Tensor) -> Tensor:
        return self.model(_adapt(self.res_list, self.mask_conv(code), csi))


class DeepJSCC(nn.Module):
    """Joint source-channel code of one fixed rate: image [B, 3, H, W] ↔ complex symbols [B, k].

    H and W are multiples of ``multiple``: mirrored edges need at least two code positions a side. Batch normalisation: use it in
    evaluation mode.
    """

    def __init__(self, config: DeepJSCCConfig) -> None:
        super().__init__()
        self.config = config
        self.multiple = 2 * config.factor
        self.E = Encoder(config)
        self.G = Decoder(config)
        self.apply(_initialise)

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """k for an image of ``size`` (H, W); the rate is the network's own, whatever is ``wanted``."""
        return self.config.code_channels * (size[0] // self.config.factor) * (size[1] // self.config.factor) // 2

    def _csi(self, snr_db: Tensor, gain: Tensor) -> Tensor:
        snr_db = snr_db.nan_to_num(self.config.unknown_snr_db)[:, None]
        return torch.cat([snr_db, torch.view_as_real(gain)], 1) if self.config.fading else snr_db

    def encode(self, image: Tensor, symbols: int, snr_db: Tensor, gain: Tensor) -> Tensor:
        """y = E_c(x, h, γ) with E|y|² = 1 (eqs. 2, 5): the first half of the code's channels are real parts, the rest imaginary.

        Args:
            image: [B, 3, H, W] in [0, 1].
            symbols: k, as :meth:`symbols` gives it.
            snr_db, gain: γ in dB [B], NaN where unknown, and h complex [B], 1 where unknown.

        Raises:
            ValueError: another number of symbols.
        """
        checked_size(self, image, symbols)
        return unit_power(to_complex(self.E(image, self._csi(snr_db, gain)).flatten(1)))

    def decode(self, equalised: Tensor, reliability: Tensor, size: tuple[int, int], snr_db: Tensor, gain: Tensor) -> Tensor:
        """x̂ = D_c(ỹ, h, γ) (eq. 5): [B, 3, H, W] in [0, 1].

        Args:
            equalised: ỹ after zero-forcing (eq. 4), complex [B, k].
            reliability: of each symbol [B, k]; h and γ say it already, and this network does not look.
            size: (H, W). snr_db: γ in dB [B]. gain: h, complex [B].
        """
        shape = (self.config.code_channels, size[0] // self.config.factor, size[1] // self.config.factor)
        return self.G(to_real(equalised).unflatten(1, shape), self._csi(snr_db, gain))


def _initialise(module: nn.Module) -> None:
    """Published: weights from N(0, 0.02²), batch normalisation's from N(1, 0.02²), no bias."""
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear, nn.BatchNorm2d)):
        nn.init.normal_(module.weight, 1.0 if isinstance(module, nn.BatchNorm2d) else 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
