"""The first DeepJSCC (Bourtsoulatze, Kurka & Gündüz, 2019), as the public PyTorch version has it: convolutions and PReLU, no SNR.

    x ─► 5 × [5 × 5 convolution, PReLU], the first two halve the picture ─► C reals for 4 × 4 pixels ─► power 1 a real
    x̂ ◄─ sigmoid ◄─ 5 × transposed convolution, PReLU but after the last, the last two double the picture ◄─ reals as received

Its lowest rate is 1/96; more layers halve for those below. A network is trained for one SNR. Modules carry the public state dict's
names (``encoder.conv1.conv.weight``, …).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from gencomm_cli.networks.config import Config
from gencomm_cli.networks.conventions import Conventions
from gencomm_cli.networks.layers import named
from gencomm_cli.networks.pixel_codec import PixelCodec, checked_size

PUBLIC = Conventions(real_power=1.0, equaliser="phase", snr_offset_db=3.0103)
"""Reals of power 1 in noise of variance 10^(−SNR/10)/2 each: as complex symbols, an Es/N0 3 dB above the SNR that is named."""


@dataclass(frozen=True)
class ConvolutionalJSCCConfig(Config):
    """Constructor arguments of :class:`ConvolutionalJSCC`.

    Attributes:
        code_channels: C, reals for each 4 × 4 pixels. padded: convolutions that halve or double keep the edge (versions of 2024);
            else (2023) they do not, and the last two have 6 × 6 kernels.
        halvings: layers that halve the picture, two as published, up to five; C is for 2^halvings pixels a side then.
    """

    code_channels: int = 16
    padded: bool = True
    conventions: Conventions = PUBLIC
    halvings: int = 2

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Code positions (h, w) of an image of ``size`` (H, W)."""
        lost = 0 if self.padded else 3
        return size[0] // 2**self.halvings - lost, size[1] // 2**self.halvings - lost


def _start(layer: nn.Conv2d | nn.ConvTranspose2d, last: bool = False) -> None:
    """Weights that keep the signal's power through PReLUs, or to the last sigmoid; without them training finds no code."""
    if last:
        nn.init.xavier_normal_(layer.weight)
    else:
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="leaky_relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


class Encoder(nn.Sequential):
    """Image [B, 3, H, W] in [0, 1] → code [B, C, h, w], its power not yet normalised."""

    def __init__(self, config: ConvolutionalJSCCConfig) -> None:
        super().__init__()
        shapes = [(3, 16), (16, 32), (32, 32), (32, 32), (32, config.code_channels)]
        for number, shape in enumerate(shapes, 1):
            stride, padding = (2, 2 if config.padded else 0) if number <= config.halvings else (1, 2)
            layer = nn.Conv2d(*shape, 5, stride, padding)
            _start(layer)
            self.add_module(f"conv{number}", named(conv=layer, prelu=nn.PReLU()))


class Decoder(nn.Sequential):
    """Code as received [B, C, h, w] → image [B, 3, H, W] in [0, 1]."""

    def __init__(self, config: ConvolutionalJSCCConfig) -> None:
        super().__init__()
        shapes = [(config.code_channels, 32), (32, 32), (32, 32), (32, 16), (16, 3)]
        for number, shape in enumerate(shapes, 1):
            grows, last = number > len(shapes) - config.halvings, number == len(shapes)
            kernel, padding = (5, 2) if config.padded or not grows else (6, 0)
            layer = nn.ConvTranspose2d(*shape, kernel, 1 + grows, padding, output_padding=int(grows and config.padded))
            _start(layer, last)
            self.add_module(f"tconv{number}", named(transconv=layer, activate=nn.Sigmoid() if last else nn.PReLU()))


class ConvolutionalJSCC(PixelCodec):
    """Joint source-channel code of one rate and one SNR for images [B, 3, H, W]."""

    def __init__(self, config: ConvolutionalJSCCConfig) -> None:
        super().__init__()
        self.config, self.conventions = config, config.conventions
        self.multiple = 2**config.halvings if config.padded else 16
        self.encoder, self.decoder = Encoder(config), Decoder(config)

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """k for an image of ``size`` (H, W); the rate is the network's own, whatever is ``wanted``."""
        rows, columns = self.config.grid(size)
        return (self.config.code_channels * rows * columns + 1) // 2

    def code(self, image: Tensor, symbols: int, snr_db: Tensor) -> Tensor:
        """As :meth:`PixelCodec.code`; the SNR is not used."""
        checked_size(self, image, symbols)
        return self.conventions.pair(self.encoder(image).flatten(1))

    def decode(self, equalised: Tensor, size: tuple[int, int], snr_db: Tensor) -> Tensor:
        """x̂ = D(z): [B, 3, H, W] in [0, 1]; the SNR is not used."""
        shape = (self.config.code_channels, *self.config.grid(size))
        return self.decoder(self.conventions.unpair(equalised, shape))
