"""What the receiver of a published codec has to know beside the symbols: the code's gain, and which channels were sent.

The published programs hand both over for free; here they are side symbols, protected and counted.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
import torch
from torch import Tensor

from gencomm_cli.errors import InputError, RateError
from gencomm_cli.methods.base import Image, Received, Request, Transmission
from gencomm_cli.networks.rate_adaptive import unit_power
from gencomm_cli.networks.source_codec import KnownCodec, LearnedCodec
from gencomm_cli.networks.swinjscc import SwinJSCC
from gencomm_cli.networks.tensors import Heard, as_symbols, finite, within_range
from gencomm_cli.presets import Preset
from gencomm_cli.presets.build import build
from gencomm_cli.rates import ImageSize
from gencomm_cli.symbols import Symbols
from gencomm_cli.text import short_code
from gencomm_cli.text.payload import PayloadFormat

GAIN_WORDS = 3
"""Short codewords of 5 bits each for the gain."""
GAIN_STEP_DB = 0.0025
GAIN_SYMBOLS = GAIN_WORDS * short_code.SYMBOLS
_LEVELS = 2 ** (GAIN_WORDS * short_code.BITS)


def load(preset: Preset, device: torch.device) -> LearnedCodec:
    """A preset's ``codec``, in float32: it makes symbols.

    Raises:
        InputError: its class is none that can be used alone. ModelMismatch: its weights do not fit.
    """
    component = preset.components["codec"]
    codec = build(component, device)
    if not isinstance(codec, LearnedCodec):
        right = "ADJSCC, ResidualADJSCC, ConvolutionalJSCC, MambaJSCC and SwinJSCC are"
        raise InputError(f"preset {preset.name}: {component.class_name} is no codec that makes symbols by itself; {right}")
    return codec


def most_symbols(codec: LearnedCodec) -> int:
    """Side symbols that a codec takes where the transmitter knows nothing of the channel; where it does, they may be fewer."""
    channels = PayloadFormat.choose(codec.choices, snr_db=None, fading="unknown").symbols if codec.choices else 0
    return GAIN_SYMBOLS * codec.conventions.restored + channels


def budget(codec: LearnedCodec, wanted: int, size: ImageSize, bound: bool) -> int:
    """The most symbols, side symbols included, within ``wanted`` for a padded image of ``size`` (H, W); not ``bound``: side symbols
    go on top, as the published programs do not count them."""
    beside = most_symbols(codec)
    return codec.symbols(max(1, wanted - beside * bound), size) + beside


def send(codec: LearnedCodec, image: Tensor, request: Request, snr_db: Tensor) -> Transmission:
    """An image's code, E|z|² = 1, and what belongs to it.

    Args:
        image: [1, 3, H, W] in [0, 1], sides as the codec takes them. request: for as many symbols as the code takes, and
            :func:`most_symbols`. snr_db: the SNR in dB that the encoder gets [1], NaN for none.

    Raises:
        RateError: another number of symbols than the code of this image can have.
    """
    count = request.symbols - most_symbols(codec)
    bits, side = np.empty(0, np.complex64), None
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
    gain = np.empty(0, np.complex64)
    if codec.conventions.restored:
        gain = send_gain(float(code.abs().square().mean().sqrt()))
    return Transmission(as_symbols(unit_power(code)[0], "codec"), np.concatenate([gain, bits]), side=side)


def receive(codec: LearnedCodec, received: Received, device: torch.device) -> tuple[KnownCodec | None, bool | None]:
    """The codec with the gain and channels that arrived, and whether all did (None where nothing was sent). A lost gain is taken
    as 1; without the channels there is no image (None).

    Raises:
        InputError: the side symbols are not those that such a codec has.
    """
    split = GAIN_SYMBOLS * codec.conventions.restored
    symbols, fading = received.side_symbols, received.side_gain
    if (received.side is None) != (codec.choices == 0) or symbols.size < split or (received.side is None and symbols.size > split):
        raise InputError(f"side symbols: {symbols.size} are not what this codec sends; send the image again")

    def part(here: slice) -> Symbols | None:
        return fading if fading is None or fading.size == 1 else fading[here]

    gain = receive_gain(symbols[:split], part(slice(split)), received.n0) if split else 1.0
    channels = None
    if received.side is not None:
        bits = received.side.receive(symbols[split:], part(slice(split, None)), received.n0)
        if bits is None:
            return None, False
        if bits.size != codec.choices:
            raise InputError(f"side symbols: speak of {bits.size} channels, and this codec has {codec.choices}")
        channels = torch.from_numpy(bits.astype(bool)).to(device)
    reliability = None if received.gain is None else Heard.of(received, device).reliability
    tx_snr_db = torch.tensor([within_range(received.tx_snr_db)], device=device)
    known = KnownCodec(codec, 1.0 if gain is None else gain, channels, reliability, tx_snr_db)
    return known, gain is not None if symbols.size else None


def grey(image_size: ImageSize) -> Image:
    """What stands for an image that was lost: uint8 [H, W, 3]."""
    return np.full((*image_size, 3), 128, np.uint8)


def send_gain(gain: float) -> Symbols:
    """A gain of −41 … 41 dB, in steps of 0.0025 dB, as protected symbols complex64 [24]."""
    index = min(max(round(20 * math.log10(max(gain, 1e-9)) / GAIN_STEP_DB) + _LEVELS // 2, 0), _LEVELS - 1)
    words = (index >> short_code.BITS * place & 2**short_code.BITS - 1 for place in range(GAIN_WORDS))
    return np.concatenate([short_code.transmit(word) for word in words])


def receive_gain(symbols: Symbols, fading: Symbols | None, n0: float) -> float | None:
    """The gain that :func:`send_gain` sent, or None where it was lost.

    Args:
        fading: gains of the symbols, complex [24] or [1], or None. n0: noise power per complex symbol.
    """
    index = 0
    for place in range(GAIN_WORDS):
        here = slice(place * short_code.SYMBOLS, (place + 1) * short_code.SYMBOLS)
        word = short_code.receive(symbols[here], fading if fading is None or fading.size == 1 else fading[here], n0)
        if word is None:
            return None
        index |= word << short_code.BITS * place
    return float(10 ** ((index - _LEVELS // 2) * GAIN_STEP_DB / 20))
