"""Codecs whose receiver has to know more of a picture than its symbols: the code's gain, which channels were sent, or how many
symbols each part of the picture takes.

The published programs hand it over for free; here it is side symbols, protected and counted. NTSCC counts its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from gencomm_cli.errors import InputError, RateError
from gencomm_cli.methods.base import Received, Request, Transmission, no_symbols
from gencomm_cli.networks.gain_code import CODEC_GAIN
from gencomm_cli.networks.ntscc_codec import NTSCC, Kind
from gencomm_cli.networks.pixel_codec import PixelCodec
from gencomm_cli.networks.rate_adaptive import unit_power
from gencomm_cli.networks.rate_allocation import Levels
from gencomm_cli.networks.residual_adjscc import ResidualADJSCC
from gencomm_cli.networks.swinjscc import SwinJSCC
from gencomm_cli.networks.tensors import Heard, as_symbols, finite, within_range
from gencomm_cli.presets import Preset
from gencomm_cli.presets.build import build
from gencomm_cli.rates import ImageSize
from gencomm_cli.symbols import Symbols
from gencomm_cli.text.payload import PayloadFormat


@dataclass(frozen=True)
class Known:
    """A codec once both ends know what they need of one picture.

    Attributes:
        reliability: |h|²/(|h|² + N0) of each symbol [1, k]. equalised: whether symbols come from an MMSE equaliser; else as
            received, or zero-forced. tx_snr_db: what the transmitter knew [1], NaN for nothing.
    """

    reliability: Tensor
    equalised: bool
    tx_snr_db: Tensor


@dataclass(frozen=True)
class KnownCodec(Known):
    """A :class:`PixelCodec` whose gain and channels are known.

    Attributes:
        gain: root mean power of the code's symbols; 1 where the decoder takes them at unit power.
        channels: that are sent, bool [C]; None for a codec without choices.
    """

    codec: PixelCodec
    gain: float
    channels: Tensor | None

    def encode(self, image: Tensor, symbols: int, snr_db: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] → complex [B, k] of unit power."""
        if self.channels is None:
            return self.codec.encode(image, symbols, snr_db)
        return unit_power(cast(SwinJSCC, self.codec).code(image, symbols, snr_db, self.channels))

    def decode(self, equalised: Tensor, size: tuple[int, int], snr_db: Tensor) -> Tensor:
        """Symbols [B, k] → images [B, 3, H, W]; ``snr_db`` [B] is the receiver's."""
        if isinstance(self.codec, ResidualADJSCC):
            return self.codec.decode(equalised, size, snr_db, self.reliability if self.equalised else None, self.tx_snr_db)
        if self.channels is None:
            return self.codec.decode(self.gain * equalised, size, snr_db)
        return cast(SwinJSCC, self.codec).decode(self.gain * equalised, size, snr_db, self.channels)


@dataclass(frozen=True)
class KnownNTSCC(Known):
    """NTSCC whose ``levels`` of the embeddings inside the picture are known."""

    codec: NTSCC
    levels: Levels

    def encode(self, image: Tensor, symbols: int, snr_db: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] → complex [B, k], differentiable."""
        known = None if bool(snr_db[0].isnan()) else float(snr_db[0])
        return torch.stack([self.codec.send(self.codec.latent(one[None]), self.levels, known) for one in image])

    def decode(self, equalised: Tensor, size: tuple[int, int], snr_db: Tensor) -> Tensor:
        """Symbols [B, k] → images [B, 3, H, W], not clamped; each embedding is decoded at its symbols' SNR."""
        estimate = equalised if self.equalised else self.reliability * equalised
        latents = [
            self.codec.receive(one, self.reliability[0], self.levels, size, float(self.tx_snr_db)) for one in estimate
        ]  # fmt: skip
        return (self.codec.coarse(torch.cat(latents))[0] + 1) / 2


def load(preset: Preset, device: torch.device) -> PixelCodec:
    """A preset's ``codec``, in float32: it makes symbols.

    Raises:
        InputError: its class is none that can be used alone. ModelMismatch: its weights do not fit.
    """
    component = preset.components["codec"]
    codec = build(component, device)
    if not isinstance(codec, PixelCodec):
        right = "ADJSCC, ResidualADJSCC, ConvolutionalJSCC, MambaJSCC and SwinJSCC are"
        raise InputError(f"preset {preset.name}: {component.class_name} is no codec that makes symbols by itself; {right}")
    return codec


def most_symbols(codec: PixelCodec) -> int:
    """Side symbols that a codec takes where the transmitter knows nothing of the channel; where it does, they may be fewer."""
    channels = PayloadFormat.choose(codec.choices, snr_db=None, fading="unknown").symbols if codec.choices else 0
    return CODEC_GAIN.symbols * codec.conventions.restored + channels


def budget(codec: PixelCodec | NTSCC, wanted: int, size: ImageSize, bound: bool = True) -> int:
    """The most symbols, side symbols included, within ``wanted`` for a padded image of ``size`` (H, W); not ``bound``: side symbols
    go on top, as the published programs do not count them."""
    if isinstance(codec, NTSCC):
        return codec.budget(wanted, size)
    beside = most_symbols(codec)
    return codec.symbols(max(1, wanted - beside * bound), size) + beside


def send(
    codec: PixelCodec | NTSCC, image: Tensor, size: ImageSize, request: Request, snr_db: Tensor,
    allocation: Kind | None = None,
) -> Transmission:  # fmt: skip
    """An image's code, E|z|² = 1, and what belongs to it.

    Args:
        image: [1, 3, H', W'] in [0, 1], sides as the codec takes them; ``size`` (H, W) without padding. request: for as many
            symbols as :func:`budget` gives. snr_db: the SNR in dB that the encoder gets [1], NaN for none.
        allocation: NTSCC's, adaptive if None.

    Raises:
        RateError: another number of symbols than the code of this image can have.
    """
    if isinstance(codec, NTSCC):
        return codec.transmit(image, size, request, snr_db, allocation or "adaptive")
    count = request.symbols - most_symbols(codec)
    gain, bits, side = no_symbols(), no_symbols(), None
    try:
        if codec.choices:
            choosing = cast(SwinJSCC, codec)
            channels = choosing.choose(image, count, snr_db)
            code = choosing.code(image, count, snr_db, channels)
            side = PayloadFormat.choose(codec.choices, snr_db=request.snr_db, fading=request.fading)
            bits = side.transmit(channels.cpu().numpy().astype(np.uint8))
        else:
            code = codec.code(image, count, snr_db)
    except ValueError as error:
        raise RateError(f"{error}; leave it out for the preset's own rate") from None
    finite(code, "codec")
    if codec.conventions.restored:
        gain = CODEC_GAIN.send(float(code.abs().square().mean().sqrt()))
    return Transmission(as_symbols(unit_power(code)[0], "codec"), np.concatenate([gain, bits]), side=side)


def receive(
    codec: PixelCodec | NTSCC, received: Received, device: torch.device
) -> tuple[KnownCodec | KnownNTSCC | None, bool | None]:
    """The codec with what arrived in the side symbols, and whether all did (None where nothing was sent). A lost gain is taken as
    1; without NTSCC's levels the first symbol of each embedding is decoded; without the channels there is no image (None).

    Raises:
        InputError: the symbols are not those that such a codec has.
    """
    tx_snr_db = torch.tensor([within_range(received.tx_snr_db)], device=device)
    known = Heard.of(received, device).reliability, received.gain is not None, tx_snr_db
    if isinstance(codec, NTSCC):
        levels, side_ok = codec.levels_at_receiver(received)
        return KnownNTSCC(*known, codec, levels), side_ok
    split = CODEC_GAIN.symbols * codec.conventions.restored
    symbols, fading = received.side_symbols, received.side_gain
    if (received.side is None) != (codec.choices == 0) or symbols.size < split or (received.side is None and symbols.size > split):
        raise InputError(f"side symbols: {symbols.size} are not what this codec sends; send the image again")

    def part(here: slice) -> Symbols | None:
        return fading if fading is None or fading.size == 1 else fading[here]

    gain = CODEC_GAIN.receive(symbols[:split], part(slice(split)), received.n0) if split else 1.0
    channels = None
    if received.side is not None:
        bits = received.side.receive(symbols[split:], part(slice(split, None)), received.n0)
        if bits is None:
            return None, False
        if bits.size != codec.choices:
            raise InputError(f"side symbols: speak of {bits.size} channels, and this codec has {codec.choices}")
        channels = torch.from_numpy(bits.astype(bool)).to(device)
    return KnownCodec(*known, codec, 1.0 if gain is None else gain, channels), gain is not None if symbols.size else None
