"""What DiffCom asks of a codec: a differentiable map from images to symbols, and one back."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import torch
from torch import Tensor

from gencomm_cli.networks.conventions import Conventions
from gencomm_cli.networks.ntscc_codec import NTSCC
from gencomm_cli.networks.rate_adaptive import unit_power
from gencomm_cli.networks.rate_allocation import Levels
from gencomm_cli.networks.residual_adjscc import ResidualADJSCC
from gencomm_cli.networks.swinjscc import SwinJSCC


class SourceCodec(Protocol):
    """Images have sides that ``multiple`` divides; both maps have gradients."""

    @property
    def multiple(self) -> int:
        """Pixels that both sides of an image are multiples of."""

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """The most symbols within ``wanted`` that this code can send for an image of ``size`` (H, W); the fewest where none fit."""

    def encode(self, image: Tensor, symbols: int, snr_db: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] → complex symbols [B, k], each row of mean power 1.

        ``snr_db`` [B] is what the transmitter knows; NaN where it knows nothing. Raises ValueError for another k.
        """

    def decode(self, equalised: Tensor, size: tuple[int, int], snr_db: Tensor) -> Tensor:
        """Symbols as the equaliser leaves them [B, k] → images [B, 3, H, W]; ``snr_db`` [B] is the receiver's."""


@runtime_checkable
class LearnedCodec(SourceCodec, Protocol):
    """A codec that also says how its symbols are made and taken, so that it can be used alone (``jscc``).

    ``choices``: of how many channels it chooses some for each image (it is a :class:`SwinJSCC` then); else 0.
    """

    conventions: Conventions
    choices: int

    def code(self, image: Tensor, symbols: int, snr_db: Tensor) -> Tensor:
        """What :meth:`encode` brings to unit power: complex [B, k] as the network has it."""


@dataclass(frozen=True)
class KnownCodec:
    """A learned codec once both ends know one picture's gain and channels, which maps images as :class:`SourceCodec` does.

    Attributes:
        gain: root mean power of the code's symbols; 1 where the decoder takes them at unit power.
        channels: that are sent, bool [C]; None for a codec without choices.
        reliability: |h|²/(|h|² + N0) of each symbol [1, k], where symbols come from an MMSE equaliser; else None.
        tx_snr_db: what the transmitter knew [1], NaN for nothing. Both are for :class:`ResidualADJSCC` alone.
    """

    codec: LearnedCodec
    gain: float
    channels: Tensor | None
    reliability: Tensor | None = None
    tx_snr_db: Tensor | None = None

    def encode(self, image: Tensor, symbols: int, snr_db: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] → complex [B, k] of unit power."""
        if self.channels is None:
            return self.codec.encode(image, symbols, snr_db)
        return unit_power(cast(SwinJSCC, self.codec).code(image, symbols, snr_db, self.channels))

    def decode(self, equalised: Tensor, size: tuple[int, int], snr_db: Tensor) -> Tensor:
        """Symbols [B, k] → images [B, 3, H, W]."""
        if isinstance(self.codec, ResidualADJSCC):
            return self.codec.decode(equalised, size, snr_db, self.reliability, self.tx_snr_db)
        if self.channels is None:
            return self.codec.decode(self.gain * equalised, size, snr_db)
        return cast(SwinJSCC, self.codec).decode(self.gain * equalised, size, snr_db, self.channels)


@dataclass(frozen=True)
class KnownNTSCC:
    """NTSCC once both ends know how many symbols each embedding takes, for one picture; it maps as :class:`SourceCodec` does.

    Attributes:
        levels: of the embeddings inside the picture of ``size`` (H, W). multiple: to which pictures are padded.
        reliability: |h|²/(|h|² + N0) of each symbol [k]. equalised: whether symbols come from an MMSE equaliser; over AWGN they
            come as received, and the estimate is made here.
    """

    codec: NTSCC
    levels: Levels
    size: tuple[int, int]
    multiple: int
    reliability: Tensor
    equalised: bool
    tx_snr_db: float = math.nan

    def encode(self, image: Tensor, symbols: int, snr_db: Tensor) -> Tensor:
        """Images [B, 3, H, W] in [0, 1] → complex [B, k], differentiable."""
        known = None if bool(snr_db[0].isnan()) else float(snr_db[0])
        return torch.stack([self.codec.send(self.codec.latent(one[None]), self.levels, known) for one in image])

    def decode(self, equalised: Tensor, size: tuple[int, int], snr_db: Tensor) -> Tensor:
        """Symbols [B, k] → images [B, 3, H, W], not clamped; each embedding is decoded at its symbols' SNR."""
        estimate = equalised if self.equalised else self.reliability * equalised
        latents = [
            self.codec.receive(one, self.reliability, self.levels, self.size, self.multiple, self.tx_snr_db) for one in estimate
        ]
        return (self.codec.coarse(torch.cat(latents))[0] + 1) / 2
