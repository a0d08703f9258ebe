"""A learned image codec alone, without diffusion: the baseline of every paper.

  x ─► E ─► z, E|z|² = 1 ─► channel ─► equaliser ─► D ─► x̂

Which reals make a symbol, how symbols are equalised and at what power the decoder takes them is the codec's own
(:class:`gencomm_cli.networks.conventions.Conventions`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from gencomm_cli.errors import InputError
from gencomm_cli.methods.base import Decoded, Image, Received, Request, Transmission, lost
from gencomm_cli.methods.options import ReceiverOptions
from gencomm_cli.networks import codec_side
from gencomm_cli.networks.pixel_codec import PixelCodec
from gencomm_cli.networks.tensors import Heard, padded_size, to_image, to_tensor, within_range
from gencomm_cli.presets import Preset, require, verify
from gencomm_cli.rates import whole_symbols

if TYPE_CHECKING:
    from gencomm_cli.console import Progress


class JSCC:
    """One preset's codec, ready to encode and decode. Settings: ``cbr``, the default rate of a codec that has several."""

    method = "jscc"
    exact_rate = True

    def __init__(self, preset: Preset, codec: PixelCodec, device: torch.device) -> None:
        self.preset, self.codec, self.device = preset, codec, device
        side = 8 * codec.multiple
        own = codec.symbols(1, (side, side))  # 1 where any number can be sent
        several = own == 1 or codec.choices
        self.default_cbr = float(preset.settings.get("cbr", 1 / 48)) if several else own / (3 * side * side)

    @classmethod
    def load(cls, preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> JSCC:
        """Builds the preset's codec, in float32 whatever ``dtype`` says: it makes symbols.

        Raises:
            InputError: it is missing, or no codec. ModelMismatch: weights are damaged or do not fit.
        """
        require(preset, "codec")
        verify(preset)
        return cls(preset, codec_side.load(preset, device), device)

    def symbol_budget(self, cbr: float, image_size: tuple[int, int], *, bound: bool = True) -> int:
        """The most symbols, side symbols included, within ``cbr`` · 3HW that the codec can send."""
        size = padded_size(image_size, self.codec.multiple)
        return codec_side.budget(self.codec, whole_symbols(min(cbr, 1.0), image_size), size, bound)

    @torch.no_grad()
    def encode(self, image: Image, request: Request) -> Transmission:
        """z = E(x) of an image uint8 [H, W, 3]: as many complex symbols as are asked for, with E|z|² = 1; the gain, if any, in the
        side symbols.

        Raises:
            RateError: another number of symbols than the code of this image can have.
        """
        snr_db = torch.tensor([within_range(request.snr_db)], device=self.device)
        x = to_tensor(image, self.codec.multiple, self.device)
        return codec_side.send(self.codec, x, (image.shape[0], image.shape[1]), request, snr_db)

    @torch.no_grad()
    def decode(self, received: Received, options: ReceiverOptions, *, seed: int, progress: Progress | None = None) -> Decoded:
        """x̂ = D(z), as ``coarse``.

        Raises:
            InputError: the symbols are not those of an image of this size.
        """
        size = padded_size(received.image_size, self.codec.multiple)
        count = received.symbols.size
        if count != self.codec.symbols(count, size):
            raise InputError(f"symbols: {count} are not what {self.preset.name} sends for an image of this size")
        codec, side_ok = codec_side.receive(self.codec, received, self.device)
        if codec is None:
            return lost(received.image_size, side_ok=False)
        heard = Heard.of(received, self.device)
        z = self.codec.conventions.equalise(heard.y, heard.gain, heard.n0)
        x = codec.decode(z, size, heard.snr_db)
        return Decoded(to_image(x, received.image_size, "codec"), side_ok=side_ok)
