"""ADJSCC, the attention-based DeepJSCC that DiffCom is built on (Xu et al., 2022), layer for layer as published.

    x ─► 5 × [convolution, GDN, PReLU], attention to the SNR after each but the last ─► C reals for 4 × 4 pixels ─► unit power
    x̂ ◄─ convolution, sigmoid ◄─ 5 × [transposed convolution, inverse GDN, PReLU], attention to the SNR ◄─ equalised reals

Modules carry the published state dict's names (``jscc_encoder.conv_block1.0.weight``, …).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.networks.config import Config
from gencomm_cli.networks.conventions import USUAL, Conventions
from gencomm_cli.networks.layers import parameter
from gencomm_cli.networks.pixel_codec import PixelCodec, checked_size
from gencomm_cli.networks.rate_adaptive import sent_positions

_PEDESTAL = 2.0**-36
_LEAST_GAMMA = 2.0**-18
_LEAST_BETA = (1e-6 + _PEDESTAL) ** 0.5


@dataclass(frozen=True)
class ADJSCCConfig(Config):
    """Constructor arguments of :class:`ADJSCC`; the defaults are the published size at ρ = 1/48.

    Attributes:
        code_channels: C, reals for each 4 × 4 pixels. width: of all other layers.
        rate_adaptive: trained to send only the first channels, so that any rate up to C/96 can be asked for.
        unknown_snr_db: what the encoder assumes where the transmitter does not know the SNR: the middle of the trained range.
    """

    code_channels: int = 2
    width: int = 256
    rate_adaptive: bool = False
    unknown_snr_db: float = 7.0
    conventions: Conventions = USUAL

    @property
    def cbr(self) -> float:
        """ρ = C / 96, the most that is sent."""
        return self.code_channels / 96


class GDN(nn.Module):
    """Generalised divisive normalisation [Ballé et al., 2016]: x_i / √(β_i + Σ_j γ_ij x_j²), or times that root (``inverse``).

    ``beta`` and ``gamma`` hold √(β + 2⁻³⁶) and √(γ + 2⁻³⁶), bounded from below; the bound lets gradients pass.
    """

    def __init__(self, channels: int, inverse: bool = False) -> None:
        super().__init__()
        self.inverse = inverse
        self.beta = nn.Parameter(torch.full((channels,), (1 + _PEDESTAL) ** 0.5))
        self.gamma = parameter((channels, channels), lambda: (0.1 * torch.eye(channels) + _PEDESTAL).sqrt())

    def forward(self, x: Tensor) -> Tensor:
        beta, gamma = (
            (stored + (least - stored).clamp_min(0).detach()).square() - _PEDESTAL
            for stored, least in ((self.beta, _LEAST_BETA), (self.gamma, _LEAST_GAMMA))
        )
        norm = F.conv2d(x.square(), gamma[:, :, None, None], beta).sqrt()
        return x * norm if self.inverse else x / norm


class Attention(nn.Module):
    """Each channel is scaled by 0 … 1, as the SNR in dB and the picture's mean features say."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels + 1, (channels + 1) // 16)
        self.fc2 = nn.Linear((channels + 1) // 16, channels)

    def forward(self, x: Tensor, snr_db: Tensor) -> Tensor:
        given = torch.cat([snr_db[:, None].to(x), x.mean((2, 3))], 1)
        scale = torch.sigmoid(self.fc2(torch.relu(self.fc1(given))))
        return x * scale[:, :, None, None]


class Encoder(nn.Module):
    """Image [B, 3, H, W] in [0, 1] and the SNR in dB [B] → code [B, C, H/4, W/4], its power not yet normalised."""

    def __init__(self, config: ADJSCCConfig) -> None:
        super().__init__()
        width = config.width
        shapes = [(3, 9, 2), (width, 5, 2), (width, 5, 1), (width, 5, 1)]  # channels before, kernel, stride
        for number, (before, kernel, stride) in enumerate(shapes, 1):
            convolution = nn.Conv2d(before, width, kernel, stride, kernel // 2)
            self.add_module(f"conv_block{number}", nn.Sequential(convolution, GDN(width), nn.PReLU()))
            self.add_module(f"attention{number}", Attention(width))
        self.conv_block5 = nn.Sequential(nn.Conv2d(width, config.code_channels, 5, padding=2), GDN(config.code_channels))

    def forward(self, image: Tensor, snr_db: Tensor) -> Tensor:
        x = image
        for number in range(1, 5):
            x = self.get_submodule(f"attention{number}")(self.get_submodule(f"conv_block{number}")(x), snr_db)
        return self.conv_block5(x)


class Decoder(nn.Module):
    """Equalised code [B, C, H/4, W/4] and the SNR in dB [B] → image [B, 3, H, W] in [0, 1]."""

    def __init__(self, config: ADJSCCConfig) -> None:
        super().__init__()
        width = config.width
        shapes = [(config.code_channels, 5, 1), (width, 5, 1), (width, 5, 1), (width, 5, 2), (width, 9, 2)]
        for number, (before, kernel, stride) in enumerate(shapes, 1):
            convolution = nn.ConvTranspose2d(before, width, kernel, stride, kernel // 2, output_padding=stride - 1)
            self.add_module(f"upconv_block{number}", nn.Sequential(convolution, GDN(width, inverse=True), nn.PReLU()))
            self.add_module(f"attention{number}", Attention(width))
        self.conv_block_out = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Sigmoid())

    def forward(self, code: Tensor, snr_db: Tensor) -> Tensor:
        x = code
        for number in range(1, 6):
            x = self.get_submodule(f"attention{number}")(self.get_submodule(f"upconv_block{number}")(x), snr_db)
        return self.conv_block_out(x)


class ADJSCC(PixelCodec):
    """Joint source-channel code of images [B, 3, H, W], H and W multiples of ``multiple``."""

    def __init__(self, config: ADJSCCConfig) -> None:
        super().__init__()
        self.config, self.conventions, self.multiple = config, config.conventions, 4
        self.jscc_encoder, self.jscc_decoder = Encoder(config), Decoder(config)

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """The most complex symbols within ``wanted`` that an image of ``size`` (H, W) can have; all where the rate is fixed."""
        most = self.config.code_channels * (size[0] // 4) * (size[1] // 4) // 2
        return max(1, min(wanted, most)) if self.config.rate_adaptive else most

    def code(self, image: Tensor, symbols: int, snr_db: Tensor) -> Tensor:
        size = checked_size(self, image, symbols)
        given = self.conventions.program_snr(snr_db).nan_to_num(self.config.unknown_snr_db)
        positions = self._positions(symbols, size).to(image.device)
        return self.conventions.pair(self.jscc_encoder(image, given).flatten(1)[:, positions])

    def decode(self, equalised: Tensor, size: tuple[int, int], snr_db: Tensor) -> Tensor:
        """x̂ = D(z) in [0, 1], as :meth:`PixelCodec.decode`; channels that were not sent are zero."""
        tokens = (size[0] // 4) * (size[1] // 4)
        code = torch.zeros(len(equalised), self.config.code_channels * tokens, device=equalised.device)
        reals = self.conventions.unpair(equalised, (2 * equalised.shape[1],))
        code[:, self._positions(equalised.shape[1], size).to(code.device)] = reals
        given = self.conventions.program_snr(snr_db)
        return self.jscc_decoder(code.unflatten(1, (-1, size[0] // 4, size[1] // 4)), given)

    def _positions(self, symbols: int, size: tuple[int, int]) -> Tensor:
        return sent_positions((size[0] // 4) * (size[1] // 4), self.config.code_channels, 2 * symbols)
