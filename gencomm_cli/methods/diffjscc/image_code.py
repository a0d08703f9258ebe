"""What DiffJSCC asks of a JSCC: images to symbols and back under γ and h.

DeepJSCC is an :class:`ImageCode` itself; others become one: the rate-adaptive code, and SwinJSCC as it is trained here. NTSCC, and
codecs as others released them, are a :data:`PictureCode`: their receiver has to know something of each picture, which side symbols
say. With h known at both ends a slowly fading channel is an AWGN channel of SNR γ|h|²: all but DeepJSCC get that one number.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from gencomm_cli.methods.base import Received, Request, Transmission
from gencomm_cli.networks import codec_side
from gencomm_cli.networks.klt_jscc import KLTJSCC, FieldCode
from gencomm_cli.networks.ntscc_codec import NTSCC
from gencomm_cli.networks.rate_adaptive import RateAdaptiveJSCC
from gencomm_cli.networks.source_codec import KnownNTSCC, LearnedCodec
from gencomm_cli.networks.tensors import within_range
from gencomm_cli.networks.vae import Domain, LatentCodec
from gencomm_cli.presets import Preset
from gencomm_cli.presets.build import build
from gencomm_cli.rates import ImageSize

EFFECTIVE_SNR = (-15.0, 30.0)
"""γ|h|² in dB as the encoder gets it: beyond, nothing would change."""


class ImageCode(Protocol):
    """A :class:`~gencomm_cli.networks.deepjscc.DeepJSCC`, or what acts as one; images have sides that ``multiple`` divides."""

    @property
    def multiple(self) -> int:
        """Pixels that both sides of an image are multiples of."""

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """The number of symbols nearest to ``wanted`` that this code can send for an image of ``size`` (H, W)."""

    def encode(self, image: Tensor, symbols: int, snr_db: Tensor, gain: Tensor) -> Tensor:
        """Images [B, 3, H, W] → complex symbols [B, k] of unit power."""

    def decode(self, equalised: Tensor, reliability: Tensor, size: tuple[int, int], snr_db: Tensor, gain: Tensor) -> Tensor:
        """Zero-forced symbols [B, k] of known reliability [B, k] → images [B, 3, H, W]; ``size`` is (H, W)."""


Decode = Callable[[Tensor, Tensor, tuple[int, int], Tensor, Tensor], Tensor]
"""D_c of one picture, as :meth:`ImageCode.decode` takes it."""


class RateAdaptiveImageCode(nn.Module):
    """The rate-adaptive code on pixels, or on the latent of a frozen VAE.

    The decoder sees h in each symbol's reliability, and weighs the zero-forced symbols by it, which is the MMSE estimate. It takes
    the transmitter to have known what the receiver knows.

    Args:
        head: what makes the image of the decoded latent; None: the VAE's decoder.
    """

    def __init__(self, jscc: FieldCode, codec: LatentCodec, domain: Domain, head: nn.Module | None = None) -> None:
        super().__init__()
        self.jscc, self.codec, self.domain, self.head = jscc, codec, domain, head
        self.divisor = codec.factor if domain == "latent" else 1
        self.multiple = jscc.config.factor * self.divisor

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """``wanted``, between 1 and what the code has."""
        most = self.jscc.config.code_channels * (size[0] // self.multiple) * (size[1] // self.multiple) // 2
        return max(1, min(wanted, most))

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


@dataclass(frozen=True)
class LearnedImageCode:
    """A codec on pixels that also works alone, and whose receiver knows all that it needs."""

    codec: LearnedCodec

    @property
    def multiple(self) -> int:
        """The codec's."""
        return self.codec.multiple

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """The codec's."""
        return self.codec.symbols(wanted, size)

    def encode(self, image: Tensor, symbols: int, snr_db: Tensor, gain: Tensor) -> Tensor:
        """y = E_c(x, h, γ). Raises ValueError where the code of this image has another number of symbols."""
        return self.codec.encode(image, symbols, effective(snr_db, gain))

    def decode(self, equalised: Tensor, reliability: Tensor, size: tuple[int, int], snr_db: Tensor, gain: Tensor) -> Tensor:
        """x̂ = D_c(ỹ, h, γ), not clamped."""
        return self.codec.decode(equalised, size, effective(snr_db, gain))


@dataclass(frozen=True)
class LearnedPictures(LearnedImageCode):
    """A codec as it was released, whose receiver has to know the code's own power, or which channels were sent."""

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """The most within ``wanted`` that the codec can send, side symbols included."""
        return codec_side.budget(self.codec, wanted, size, bound=True)

    def send(self, image: Tensor, size: ImageSize, request: Request, snr_db: Tensor) -> Transmission:
        """A picture [1, 3, H', W'] of ``size`` (H, W) without padding; ``snr_db``: γ|h|² in dB [1], NaN where unknown.

        Raises:
            RateError: another number of symbols than the code of this image can have.
        """
        return codec_side.send(self.codec, image, request, snr_db)

    def known(self, received: Received, device: torch.device) -> tuple[Decode | None, bool | None]:
        """D_c as the side symbols say, and whether these arrived; None where nothing can be decoded without them."""
        known, side_ok = codec_side.receive(self.codec, received, device)
        if known is None:
            return None, side_ok
        return lambda y, _, size, snr_db, gain: known.decode(y, size, effective(snr_db, gain)), side_ok


@dataclass(frozen=True)
class NTSCCPictures:
    """NTSCC: each embedding of a picture takes as many symbols as it holds information."""

    ntscc: NTSCC

    @property
    def multiple(self) -> int:
        """The transform's."""
        return self.ntscc.multiple

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """``wanted``, side symbols included, between 1 and what all embeddings can take."""
        return self.ntscc.budget(wanted, size)

    def send(self, image: Tensor, size: ImageSize, request: Request, snr_db: Tensor) -> Transmission:
        """As :meth:`LearnedPictures.send`. Raises RateError for fewer symbols than embeddings."""
        return self.ntscc.transmit(image, size, request, snr_db)

    def known(self, received: Received, device: torch.device) -> tuple[Decode, bool | None]:
        """As :meth:`LearnedPictures.known`; where the side symbols are lost, the first symbol of each embedding is decoded."""
        levels, side_ok = self.ntscc.levels_at_receiver(received)

        def decode(equalised: Tensor, reliability: Tensor, size: tuple[int, int], snr_db: Tensor, gain: Tensor) -> Tensor:
            """By the MMSE estimates of one picture, each embedding at its symbols' SNR; a transmitter that knew γ knew h, too."""
            sent_for = effective(torch.full_like(snr_db, within_range(received.tx_snr_db)), gain)
            known = KnownNTSCC(self.ntscc, levels, size, self.multiple, reliability[0], False, float(sent_for))
            return known.decode(equalised, size, snr_db)

        return decode, side_ok


PictureCode = LearnedPictures | NTSCCPictures
"""A code that sends side symbols, and needs each picture's to be decoded."""


def effective(snr_db: Tensor, gain: Tensor) -> Tensor:
    """γ|h|² in dB [B]."""
    return (snr_db + 20 * gain.abs().clamp_min(1e-9).log10()).clamp(*EFFECTIVE_SNR)


CODEC = ("transform", "jscc", "rates")
"""A preset's components that make symbols of images; but for NTSCC, ``jscc`` alone."""


def inner_codec(preset: Preset, device: torch.device) -> nn.Module:
    """The preset's NTSCC or other JSCC, in float32. Its files are verified already."""
    return NTSCC.load(preset, device) if "transform" in preset.components else build(preset.components["jscc"], device)


def image_code(jscc: nn.Module, codec: LatentCodec, domain: Domain, head: nn.Module | None = None) -> ImageCode | PictureCode:
    """The preset's JSCC as DiffJSCC takes it: the published one is an :class:`ImageCode` itself, on pixels and at its own rate."""
    if isinstance(jscc, RateAdaptiveJSCC | KLTJSCC):
        return RateAdaptiveImageCode(jscc, codec, domain, head)
    if isinstance(jscc, NTSCC):
        return NTSCCPictures(jscc)
    if isinstance(jscc, LearnedCodec):
        return LearnedPictures(jscc) if codec_side.most_symbols(jscc) else LearnedImageCode(jscc)
    return jscc  # type: ignore[return-value]
