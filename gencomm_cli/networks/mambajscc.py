"""MambaJSCC as it was published, on pixels (Wu et al., 2024): one rate, a code that is decoded at its own power.

x ─► encoder ─► [C, h, w] ─► upper rows real, lower rows imaginary ─► unit power ─► channel ─► MMSE ─► own power ─► decoder ─► x̂
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from gencomm_cli.networks.config import Config
from gencomm_cli.networks.conventions import Conventions
from gencomm_cli.networks.mamba import ChannelState, MambaConfig, MambaDecoder, MambaEncoder
from gencomm_cli.networks.pixel_codec import PixelCodec, checked_size

PUBLISHED = Conventions(pairing="rows", restored=True, equaliser="mmse")


@dataclass(frozen=True)
class MambaJSCCConfig(Config):
    """Constructor arguments of :class:`MambaJSCC`.

    Attributes:
        mamba: sizes, and how the networks learn of the channel: ``none``, ``released`` or ``modnet``.
        unknown_snr_db: what the encoder assumes where the transmitter does not know the SNR: the middle of the trained range.
    """

    mamba: MambaConfig
    unknown_snr_db: float = 10.0
    conventions: Conventions = PUBLISHED

    @property
    def factor(self) -> int:
        """Pixels a code position along each side."""
        return int(self.mamba.patch * 2 ** (len(self.mamba.dims) - 1))


class MambaJSCC(PixelCodec):
    """Joint source-channel code of images [B, 3, H, W], H and W multiples of ``multiple``: the code's
    height is even, as its halves are paired."""

    def __init__(self, config: MambaJSCCConfig) -> None:
        super().__init__()
        self.config, self.conventions = config, config.conventions
        self.multiple = 2 * config.factor
        self.encoder, self.decoder = MambaEncoder(config.mamba), MambaDecoder(config.mamba)

    def _shape(self, size: tuple[int, int]) -> tuple[int, int, int]:
        return self.config.mamba.code_channels, size[0] // self.config.factor, size[1] // self.config.factor

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """k for an image of ``size`` (H, W); the rate is the network's own, whatever is ``wanted``."""
        channels, rows, columns = self._shape(size)
        return channels * rows * columns // 2

    def code(self, image: Tensor, symbols: int, snr_db: Tensor) -> Tensor:
        """As :meth:`PixelCodec.code`; ``snr_db`` is alike for all."""
        checked_size(self, image, symbols)
        snr = self.conventions.program_snr(snr_db).nan_to_num(self.config.unknown_snr_db)
        return self.conventions.pair(self.encoder(image, ChannelState(float(snr[0]))))

    def decode(self, equalised: Tensor, size: tuple[int, int], snr_db: Tensor) -> Tensor:
        """x̂ = D(z): [B, 3, H, W], not clamped. ``snr_db``: the receiver's SNR [B], alike for all."""
        code = self.conventions.unpair(equalised, self._shape(size))
        return self.decoder(code, ChannelState(float(self.conventions.program_snr(snr_db)[0])))
