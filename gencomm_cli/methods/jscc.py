"""A learned image codec alone, without diffusion: the baseline of every paper.

  x ─► E ─► z, E|z|² = 1 ─► channel ─► equaliser ─► D ─► x̂

Which reals make a symbol, how symbols are equalised and at what power the decoder takes them is the codec's own
(:class:`gencomm_cli.jscc.conventions.Conventions`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from gencomm_cli.diffusion.components import build
from gencomm_cli.errors import InputError, RateError
from gencomm_cli.jscc.rate_adaptive import unit_power
from gencomm_cli.jscc.source_codec import LearnedCodec
from gencomm_cli.methods.base import Decoded, DecodeOptions, Image, Received, Request, Transmission
from gencomm_cli.methods.tensors import SNR_RANGE, to_image, to_tensor, told_snr
from gencomm_cli.presets import Preset, require, verify
from gencomm_cli.prompts import short_code
from gencomm_cli.symbols import Symbols

if TYPE_CHECKING:
    from gencomm_cli.console import Progress

GAIN_WORDS = 3
"""Short codewords of 5 bits each for the gain of a codec that takes its code at its own power."""
GAIN_STEP_DB = 0.0025
_LEVELS = 2 ** (GAIN_WORDS * short_code.BITS)


class JSCC:
    """One preset's codec, ready to encode and decode. Settings: ``cbr``, the default rate of a rate-adaptive codec."""

    method = "jscc"
    exact_rate = True

    def __init__(self, preset: Preset, codec: LearnedCodec, device: torch.device) -> None:
        self.preset, self.codec, self.device = preset, codec, device
        self.side = GAIN_WORDS * short_code.SYMBOLS if codec.conventions.restored else 0
        side = 8 * codec.multiple
        own = codec.symbols(1, (side, side))  # 1 where any number can be sent
        self.default_cbr = float(preset.settings.get("cbr", 1 / 48)) if own == 1 else own / (3 * side * side)

    @classmethod
    def load(cls, preset: Preset, device: torch.device) -> JSCC:
        """Builds the preset's codec.

        Raises:
            InputError: it is missing. ModelMismatch: weights are damaged or do not fit.
        """
        require(preset, "codec")
        verify(preset)
        return cls(preset, cast(LearnedCodec, build(preset.components["codec"], device)), device)

    def _padded(self, image_size: tuple[int, int]) -> tuple[int, int]:
        height, width = (-(-side // self.codec.multiple) * self.codec.multiple for side in image_size)
        return height, width

    def symbol_budget(self, cbr: float, image_size: tuple[int, int]) -> int:
        """Symbols, those of the gain included, that are nearest to ``cbr`` · 3HW among what the codec can send."""
        wanted = round(min(cbr, 1.0) * 3 * image_size[0] * image_size[1]) - self.side
        return self.codec.symbols(max(1, wanted), self._padded(image_size)) + self.side

    @torch.no_grad()
    def encode(self, image: Image, request: Request) -> Transmission:
        """z = E(x): as many complex symbols as are asked for, with E|z|² = 1; the gain, if any, in the side symbols.

        Args:
            image: uint8 [H, W, 3].

        Raises:
            RateError: another number of symbols than the code of this image can have.
        """
        told = math.nan if request.snr_db is None else min(max(request.snr_db, SNR_RANGE[0]), SNR_RANGE[1])
        x = to_tensor(image, self.codec.multiple, self.device)
        try:
            code = self.codec.code(x, request.symbols - self.side, torch.tensor([told], device=self.device))
        except ValueError as error:
            raise RateError(f"--cbr: {error}; leave it out for the preset's own rate") from None
        z = unit_power(code)[0].cpu().numpy().astype(np.complex64)
        return Transmission(z, send_gain(float(code.abs().square().mean().sqrt()))) if self.side else Transmission(z)

    @torch.no_grad()
    def decode(self, received: Received, options: DecodeOptions, *, seed: int, progress: Progress | None = None) -> Decoded:
        """x̂ = D(z), as ``coarse``.

        Raises:
            InputError: the symbols are not those of an image of this size.
        """
        size = self._padded(received.image_size)
        count = received.symbols.size
        if count != self.codec.symbols(count, size) or received.side_symbols.size != self.side:
            raise InputError(f"symbols: {count} and {received.side_symbols.size} beside are not what {self.preset.name} sends")
        y = torch.tensor(received.symbols, device=self.device)[None]
        h: Tensor | None = None if received.gain is None else torch.tensor(received.gain, device=self.device)[None].expand_as(y)
        z = self.codec.conventions.equalise(y, h, received.n0)
        gain = receive_gain(received.side_symbols, received.side_gain, received.n0) if self.side else 1.0
        x = self.codec.decode((gain or 1.0) * z, size, told_snr(received.n0, self.device))
        return Decoded(to_image(x, received.image_size), side_ok=None if not self.side else gain is not None)


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
