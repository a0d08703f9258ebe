"""What DiffJSCC asks of a JSCC: images to symbols and back under γ and h.

DeepJSCC is an :data:`ImageCode` itself; others become one: the rate-adaptive code, and SwinJSCC as it is trained here. NTSCC, and
codecs as others released them, are a :class:`PictureCode`: their receiver has to know something of each picture, which side symbols
say. With h known at both ends a slowly fading channel is an AWGN channel of SNR γ|h|²: all but DeepJSCC get that one number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from gencomm_cli.methods.base import Received, Request, Transmission
from gencomm_cli.methods.options import Domain
from gencomm_cli.networks import codec_side
from gencomm_cli.networks.deepjscc import DeepJSCC
from gencomm_cli.networks.klt_jscc import KLTJSCC, FieldCode
from gencomm_cli.networks.ntscc_codec import NTSCC
from gencomm_cli.networks.pixel_codec import PixelCodec
from gencomm_cli.networks.rate_adaptive import RateAdaptiveJSCC
from gencomm_cli.networks.vae import LatentCodec
from gencomm_cli.presets import Preset
from gencomm_cli.presets.build import build
from gencomm_cli.rates import ImageSize

EFFECTIVE_SNR = (-15.0, 30.0)
"""γ|h|² in dB as the encoder gets it: beyond, nothing would change."""


Decode = Callable[[Tensor, Tensor, tuple[int, int], Tensor, Tensor], Tensor]
"""D_c of one picture, as :meth:`~gencomm_cli.networks.deepjscc.DeepJSCC.decode` takes it."""


class RateAdaptiveImageCode:
    """The rate-adaptive code on pixels, or on the latent of a frozen VAE.

    The decoder sees h in each symbol's reliability, and weighs the zero-forced symbols by it, which is the MMSE estimate. It takes
    the transmitter to have known what the receiver knows.

    Args:
        head: what makes the image of the decoded latent; None: the VAE's decoder.
    """

    def __init__(self, jscc: FieldCode, codec: LatentCodec, domain: Domain, head: nn.Module | None = None) -> None:
        self.jscc, self.codec, self.domain, self.head = jscc, codec, domain, head
        self.divisor = codec.factor if domain == "latent" else 1
        self.multiple = jscc.config.factor * self.divisor

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """``wanted``, between 1 and what the code has."""
        return self.jscc.symbols(wanted, (size[0] // self.divisor, size[1] // self.divisor))

    def encode(self, image: Tensor, symbols: int, snr_db: Tensor, gain: Tensor) -> Tensor:
        """y = E_c(x, h, γ). Raises ValueError where the code of this image has fewer symbols."""
        field = self.codec.encode(image) if self.domain == "latent" else image
        return self.jscc.encode(field, symbols, effective(snr_db, gain), image)

    def decode(self, equalised: Tensor, reliability: Tensor, size: tuple[int, int], snr_db: Tensor, gain: Tensor) -> Tensor:
        """x̂ = D_c(ỹ, h, γ), not clamped, so that training sees gradients outside [0, 1]."""
        shape = (size[0] // self.divisor, size[1] // self.divisor)
        field = self.jscc.decode(reliability * equalised, reliability, shape, snr_db, effective(snr_db, gain))
        if self.domain == "pixel":
            return field
        return (self.head or self.codec.decode)(field)


class LearnedImageCode:
    """A codec on pixels that also works alone, and whose receiver knows all that it needs."""

    def __init__(self, codec: PixelCodec) -> None:
        self.codec, self.multiple, self.symbols = codec, codec.multiple, codec.symbols

    def encode(self, image: Tensor, symbols: int, snr_db: Tensor, gain: Tensor) -> Tensor:
        """y = E_c(x, h, γ). Raises ValueError where the code of this image has another number of symbols."""
        return self.codec.encode(image, symbols, effective(snr_db, gain))

    def decode(self, equalised: Tensor, reliability: Tensor, size: tuple[int, int], snr_db: Tensor, gain: Tensor) -> Tensor:
        """x̂ = D_c(ỹ, h, γ), not clamped."""
        return self.codec.decode(equalised, size, effective(snr_db, gain))


class PictureCode:
    """A codec whose receiver has to know something of each picture: NTSCC, or one as it was released, with side symbols."""

    def __init__(self, codec: PixelCodec | NTSCC) -> None:
        self.codec, self.multiple = codec, codec.multiple

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """The most within ``wanted`` that the codec can send, side symbols included."""
        return codec_side.budget(self.codec, wanted, size)

    def send(self, image: Tensor, size: ImageSize, request: Request, snr_db: Tensor, gain: Tensor) -> Transmission:
        """A picture [1, 3, H', W'] of ``size`` (H, W) without padding; ``snr_db``: γ in dB [1], NaN where unknown.

        Raises:
            RateError: another number of symbols than the code of this image can have.
        """
        return codec_side.send(self.codec, image, size, request, effective(snr_db, gain))

    def known(self, received: Received, device: torch.device) -> tuple[Decode | None, bool | None]:
        """D_c as the side symbols say, and whether these arrived; None where nothing can be decoded without them."""
        known, side_ok = codec_side.receive(self.codec, received, device)
        if known is None:
            return None, side_ok

        def decode(equalised: Tensor, reliability: Tensor, size: tuple[int, int], snr_db: Tensor, gain: Tensor) -> Tensor:
            """Of zero-forced symbols; a transmitter that knew γ knew h, too."""
            own = replace(known, reliability=reliability, equalised=False, tx_snr_db=effective(known.tx_snr_db, gain))
            return own.decode(equalised, size, effective(snr_db, gain))

        return decode, side_ok


def effective(snr_db: Tensor, gain: Tensor) -> Tensor:
    """γ|h|² in dB [B]."""
    return (snr_db + 20 * gain.abs().clamp_min(1e-9).log10()).clamp(*EFFECTIVE_SNR)


CODEC = ("transform", "jscc", "rates")
"""A preset's components that make symbols of images; but for NTSCC, ``jscc`` alone."""


def inner_codec(preset: Preset, device: torch.device) -> nn.Module:
    """The preset's NTSCC or other JSCC, in float32. Its files are verified already."""
    return NTSCC.load(preset, device) if "transform" in preset.components else build(preset.components["jscc"], device)


ImageCode = DeepJSCC | RateAdaptiveImageCode | LearnedImageCode
"""A code whose receiver knows all that it needs; images have sides that ``multiple`` divides."""


def image_code(jscc: nn.Module, codec: LatentCodec, domain: Domain, head: nn.Module | None = None) -> ImageCode | PictureCode:
    """The preset's JSCC as DiffJSCC takes it: the published one is an :data:`ImageCode` itself, on pixels and at its own rate."""
    if isinstance(jscc, RateAdaptiveJSCC | KLTJSCC):
        return RateAdaptiveImageCode(jscc, codec, domain, head)
    if isinstance(jscc, NTSCC) or (isinstance(jscc, PixelCodec) and codec_side.most_symbols(jscc)):
        return PictureCode(jscc)
    return LearnedImageCode(jscc) if isinstance(jscc, PixelCodec) else cast(DeepJSCC, jscc)
