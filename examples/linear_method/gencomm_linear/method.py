"""The method: image → symbols → image.

  transmitter                                   air                   receiver
x ─► c = Vᵀ(x − μ)/σ ─► limit ─► E|z|² = 1 ─► h ⊙ z + n ─► MMSE ─► ĉ ─► Uσĉ + μ (coarse) ─► unsharp mask (refined)
                          gain ─► short code ────────────► gain ─┘
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
import torch.nn.functional as F

from gencomm_cli.channels.equalisers import mmse
from gencomm_cli.errors import InputError, RateError
from gencomm_cli.methods.base import Decoded, Image, Received, Request, Transmission
from gencomm_cli.networks.gain_code import CODEC_GAIN
from gencomm_cli.networks.tensors import padded_size, to_image, to_tensor
from gencomm_cli.presets import Preset, require, verify
from gencomm_cli.presets.build import build
from gencomm_linear.network import BlockTransform
from gencomm_linear.options import Receiver, Transmitter

if TYPE_CHECKING:
    from gencomm_cli.console import Progress


class Linear:
    """One preset's transform, ready to encode and decode. Of n components a block takes n/2 symbols; n is even."""

    method = "linear"
    default_cbr = 1 / 48
    exact_rate = False

    def __init__(self, preset: Preset, transform: BlockTransform, device: torch.device) -> None:
        self.preset, self.transform, self.device = preset, transform, device

    @classmethod
    def load(cls, preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> Linear:
        """Builds the preset's transform, in float32 whatever ``dtype`` says: it makes symbols.

        Raises:
            InputError: it is missing. ModelMismatch: weights are damaged or do not fit.
        """
        require(preset, "transform")
        verify(preset)
        return cls(preset, cast(BlockTransform, build(preset.components["transform"], device)), device)

    def _blocks(self, image_size: tuple[int, int]) -> int:
        return math.prod(-(-side // self.transform.factor) for side in image_size)

    def symbol_budget(self, cbr: float, image_size: tuple[int, int], *, bound: bool = True) -> int:
        """The most symbols within ``cbr`` · 3HW: those of whole pairs of components, and the gain's; at least one pair."""
        blocks = self._blocks(image_size)
        pairs = (min(cbr, 1.0) * 3 * math.prod(image_size) - CODEC_GAIN.symbols) // blocks
        return blocks * int(min(max(pairs, 1), self.transform.channels // 2)) + CODEC_GAIN.symbols

    @torch.no_grad()
    def encode(self, image: Image, request: Request) -> Transmission:
        """Image uint8 [H, W, 3] to symbols with E|z|² = 1, and their gain in the side symbols.

        Raises:
            RateError: a number of symbols that no number of components gives.
        """
        pairs, rest = divmod(request.symbols - CODEC_GAIN.symbols, self._blocks((image.shape[0], image.shape[1])))
        if rest or not 1 <= pairs <= self.transform.channels // 2:
            raise RateError(f"no number of components takes {request.symbols} symbols; leave it out")
        sent = self.transform.encode(to_tensor(image, self.transform.factor, self.device))[:, : 2 * pairs]
        z = torch.view_as_complex(sent.reshape(2, -1).T.contiguous())
        limit = cast(Transmitter, request.options).limit
        if limit is not None:
            most = limit * z.abs().square().mean().sqrt()
            z = z * (most / z.abs().clamp(min=1e-9)).clamp(max=1)
        gain = float(z.abs().square().mean().sqrt().clamp(min=1e-6))
        return Transmission((z / gain).cpu().numpy().astype(np.complex64), CODEC_GAIN.send(gain))

    @torch.no_grad()
    def decode(self, received: Received, options: Receiver, *, seed: int, progress: Progress | None = None) -> Decoded:
        """The components' picture, and the same with an unsharp mask.

        Raises:
            InputError: the symbols are not those of an image of this size.
        """
        height, width = padded_size(received.image_size, self.transform.factor)
        rows, columns = height // self.transform.factor, width // self.transform.factor
        if received.symbols.size % (rows * columns) or received.side_symbols.size != CODEC_GAIN.symbols:
            raise InputError("symbols: are not those of an image of this size; send the image again")
        gain = CODEC_GAIN.receive(received.side_symbols, received.side_gain, received.n0)
        y = torch.tensor(received.symbols, device=self.device)
        h = None if received.gain is None else torch.tensor(received.gain, device=self.device).expand_as(y)
        z = mmse(y, h, received.n0) * (1.0 if gain is None else gain)
        coarse = self.transform.decode(torch.view_as_real(z).T.reshape(1, -1, rows, columns))
        picture = to_image(coarse, received.image_size)
        if options.coarse:
            return Decoded(picture, side_ok=gain is not None)
        blurred = F.avg_pool2d(F.pad(coarse, (1, 1, 1, 1), mode="replicate"), 3, 1)
        refined = to_image(coarse + options.sharpen * (coarse - blurred), received.image_size)
        return Decoded(picture, (refined,), side_ok=gain is not None)
