"""What DiffJSCC asks of a JSCC: images to symbols and back under γ and h; DeepJSCC is one, the rate-adaptive code becomes one."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from gencomm_cli.networks.klt_jscc import KLTJSCC, FieldCode
from gencomm_cli.networks.rate_adaptive import RateAdaptiveJSCC
from gencomm_cli.networks.vae import Domain, LatentCodec

EFFECTIVE_SNR = (-15.0, 30.0)
"""γ|h|² in dB as the encoder gets it: beyond, nothing would change."""


class ImageCode(Protocol):
    """A :class:`~gencomm_cli.networks.deepjscc.DeepJSCC`, or what acts as one; images have sides that ``multiple`` divides."""

    multiple: int

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """The number of symbols nearest to ``wanted`` that this code can send for an image of ``size`` (H, W)."""
        ...

    def encode(self, image: Tensor, symbols: int, snr_db: Tensor, gain: Tensor) -> Tensor:
        """Images [B, 3, H, W] → complex symbols [B, k] of unit power."""
        ...

    def decode(self, equalised: Tensor, reliability: Tensor, size: tuple[int, int], snr_db: Tensor, gain: Tensor) -> Tensor:
        """Zero-forced symbols [B, k] → images [B, 3, H, W]."""
        ...


class RateAdaptiveImageCode(nn.Module):
    """The rate-adaptive code on pixels, or on the latent of a frozen VAE.

    With h known at both ends a slowly fading channel is an AWGN channel of SNR γ|h|²: the encoder gets that one number. The
    decoder sees h in each symbol's reliability, and weighs the zero-forced symbols by it, which is the MMSE estimate. It takes the
    transmitter to have known what the receiver knows.

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
        image: Tensor = (self.head or self.codec.decode)(field)
        return image


def effective(snr_db: Tensor, gain: Tensor) -> Tensor:
    """γ|h|² in dB [B]."""
    return (snr_db + 20 * gain.abs().clamp_min(1e-9).log10()).clamp(*EFFECTIVE_SNR)


def image_code(jscc: nn.Module, codec: LatentCodec, domain: Domain, head: nn.Module | None = None) -> ImageCode:
    """The preset's JSCC as an :class:`ImageCode`: the published codec is one itself, on pixels and at its own rate."""
    if isinstance(jscc, RateAdaptiveJSCC | KLTJSCC):
        return RateAdaptiveImageCode(jscc, codec, domain, head)
    return jscc  # type: ignore[return-value]
