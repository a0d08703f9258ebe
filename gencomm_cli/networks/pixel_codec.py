"""What learned codecs of images have in common."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from gencomm_cli.networks.conventions import Conventions
from gencomm_cli.networks.rate_adaptive import unit_power


class _Counting(Protocol):
    def symbols(self, wanted: int, size: tuple[int, int]) -> int: ...


def checked_size(codec: _Counting, image: Tensor, symbols: int) -> tuple[int, int]:
    """(H, W) of images [B, 3, H, W]. Raises ValueError for a number of symbols that their code cannot have."""
    size = (image.shape[2], image.shape[3])
    if symbols != (right := codec.symbols(symbols, size)):
        raise ValueError(f"{symbols} symbols asked of a code that has {right}")
    return size


class PixelCodec(nn.Module):
    """A differentiable map from images to symbols, and one back, which can be used alone.

    Attributes:
        multiple: pixels that both sides of an image are multiples of. conventions: how its symbols are made and taken.
        choices: of how many channels it chooses some for each image (it is a
            :class:`~gencomm_cli.networks.swinjscc.SwinJSCC` then); 0 where it sends the same of every image.
    """

    multiple: int
    conventions: Conventions
    choices: int = 0

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """The most symbols within ``wanted`` that this code can send for an image of ``size`` (H, W); the fewest where none fit."""
        raise NotImplementedError

    def code(self, image: Tensor, symbols: int, snr_db: Tensor) -> Tensor:
        """Complex [B, ``symbols``] at their own power.

        Args:
            image: [B, 3, H, W] in [0, 1]. snr_db: what the transmitter knows [B]; NaN where it knows nothing.

        Raises:
            ValueError: a number of symbols that this code cannot have.
        """
        raise NotImplementedError

    def encode(self, image: Tensor, symbols: int, snr_db: Tensor) -> Tensor:
        """z = E(x): :meth:`code` with E|z|² = 1 each row."""
        return unit_power(self.code(image, symbols, snr_db))

    def decode(self, equalised: Tensor, size: tuple[int, int], snr_db: Tensor) -> Tensor:
        """Symbols as the equaliser leaves them [B, k] → images [B, 3, H, W]; ``snr_db`` [B] is the receiver's."""
        raise NotImplementedError
