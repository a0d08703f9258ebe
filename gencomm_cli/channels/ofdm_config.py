"""What both ends know of OFDM over several paths. Imports nothing heavy: ``--help`` comes through here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gencomm_cli.errors import OptionError
from gencomm_cli.options import Flag, check_values


@dataclass(frozen=True)
class OfdmConfig:
    """What both ends know of the transmission; the defaults are the paper's (DiffCom, arXiv:2406.07390).

    Attributes:
        carriers: M, size of the DFT. cp: samples of the cyclic prefix of every OFDM symbol; 0 for none.
        pilots: OFDM symbols of pilots before the image's. taps: L, of the channel.
        decay: r of the power-delay profile σ_l² ∝ e^(−l/r), in samples.
        clip: amplitudes are limited to this ratio times the root of the signal's mean power; None for no clipping.
        interleaver: symbols are shuffled over the carriers.

    Raises:
        OptionError: a value out of its range.
    """

    carriers: Annotated[int, Flag("Sub-carriers, default 256.", "N", 2, 4096)] = 256
    cp: Annotated[int, Flag("Samples of cyclic prefix, default 10; 0 is none.", "N", 0, 4096)] = 10
    pilots: Annotated[int, Flag("OFDM symbols of pilots, default 1; none for --csi none.", "N", 0, 64)] = 1
    taps: Annotated[int, Flag("Paths, one sample apart, default 8.", "N", 1, 256)] = 8
    decay: Annotated[float, Flag("Path l has power ~ exp(-l/R), default 4 (samples).", "R", 0.01, 1e6)] = 4.0
    clip: Annotated[float | None, Flag("Limit amplitudes to RATIO times the root mean power.", "RATIO", 0.01, 100)] = None
    interleaver: Annotated[bool, Flag("Shuffle symbols over the carriers (the default).")] = True

    def __post_init__(self) -> None:
        check_values(self)
        longest = "cp" if self.cp > self.taps else "taps"
        if getattr(self, longest) > self.carriers:
            raise OptionError(longest, f"{getattr(self, longest)} samples are more than an OFDM symbol has ({self.carriers})")

    def ofdm_symbols(self, count: int) -> int:
        """OFDM symbols that ``count`` symbols take."""
        return -(-count // self.carriers)
