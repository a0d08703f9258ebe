"""What learned codecs of images have in common (see :class:`~gencomm_cli.networks.source_codec.LearnedCodec`)."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

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
    """A codec that sends the same channels of every image; else it says among how many it chooses (``choices``)."""

    choices = 0

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
