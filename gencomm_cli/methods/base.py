"""What every method takes and gives: plain data, no torch. A method is any class with the members of :class:`Method`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.channels.ofdm import OfdmConfig
from gencomm_cli.methods.options import TransmitterOptions
from gencomm_cli.rates import ImageSize
from gencomm_cli.symbols import ClassicalFormat, Symbols

if TYPE_CHECKING:
    from gencomm_cli.console import Progress
    from gencomm_cli.text.payload import PayloadFormat

Image = NDArray[np.uint8]
Fading = Literal["awgn", "rayleigh", "block", "multipath", "unknown"]


def no_symbols() -> Symbols:
    """An empty vector of symbols."""
    return np.empty(0, np.complex64)


@dataclass(frozen=True)
class Request:
    """What a transmitter is asked for.

    Attributes:
        symbols: complex symbols for the image and its side information.
        snr_db, fading: what it knows of the channel; None and ``unknown`` for nothing.
        options: its own, an object of the class that the method's spec names.
    """

    symbols: int
    snr_db: float | None = None
    fading: Fading = "unknown"
    options: TransmitterOptions = field(default_factory=TransmitterOptions)


@dataclass(frozen=True)
class Transmission:
    """What a transmitter sends: image and side symbols, complex64 vectors of unit power, and how bits were coded, if bits were.

    ``ideal_bits`` (uint8 [bytes]) is what an ideal code at capacity would carry: a bound, not a scheme. ``container_bytes``: how
    many bytes of the image file are not sent because the receiver puts them back. ``side``: how the side symbols' bits were coded.
    ``versions``: of what took part beside this package, for the file's provenance. ``notes``: lines for the user.
    """

    symbols: Symbols
    side_symbols: Symbols = field(default_factory=no_symbols)
    classical: ClassicalFormat | None = None
    ideal_bits: NDArray[np.uint8] | None = None
    container_bytes: int | None = None
    side: PayloadFormat | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Received:
    """All that a receiver knows.

    Attributes:
        symbols: complex64 [k], as received. gain: complex64 [k] or [1], or None (AWGN, or unknown to the receiver).
        n0: noise power per complex symbol. image_size: (H, W) of the original. prompt: as decoded, None where there is none.
        side_symbols, side_gain: likewise. classical, ideal_bits, side: as in :class:`Transmission`.
        fading: the channel's kind, which an ideal code needs.
        ofdm: of multipath, else None; its pilots went before the image symbols. cir: impulse response complex64 [L], known or
            estimated, of multipath with CSI. With both, :func:`gencomm_cli.channels.ofdm.through` is W_h.
        tx_snr_db: the SNR in dB that the transmitter knew, as the header says; None for none.
    """

    symbols: Symbols
    gain: Symbols | None
    n0: float
    image_size: ImageSize
    prompt: str | None = None
    side_symbols: Symbols = field(default_factory=no_symbols)
    side_gain: Symbols | None = None
    classical: ClassicalFormat | None = None
    ideal_bits: NDArray[np.uint8] | None = None
    fading: Fading = "unknown"
    ofdm: OfdmConfig | None = None
    cir: Symbols | None = None
    side: PayloadFormat | None = None
    tx_snr_db: float | None = None


@dataclass(frozen=True)
class Decoded:
    """The coarse image uint8 [H, W, 3] and the refined ones (none with ``coarse``), from the same received symbols.

    ``outage``: the image was lost, and a grey one stands for it. ``caption``: what the receiver says of the coarse image, where it
    does. ``side_ok``: whether side information arrived; None where none was sent. ``distances``, ``taps``: of each refined image
    of a posterior sampler, its measurement distance, and (blind) the impulse response that came with it, complex64 [L].
    ``notes``: lines for the user.
    """

    coarse: Image
    refined: tuple[Image, ...] = ()
    outage: bool = False
    caption: str | None = None
    side_ok: bool | None = None
    distances: tuple[float, ...] = ()
    taps: tuple[Symbols, ...] = ()
    notes: tuple[str, ...] = ()


def lost(image_size: ImageSize, samples: int = 0, *, side_ok: bool | None = None) -> Decoded:
    """An outage: grey images of ``image_size`` (H, W), the coarse one and ``samples`` refined ones."""
    grey = np.full((*image_size, 3), 128, np.uint8)
    return Decoded(grey, (grey,) * samples, outage=True, side_ok=side_ok)


def of_samples(progress: Callable[[int, int], None] | None, index: int, samples: int) -> Callable[[int, int], None] | None:
    """``progress`` of the ``index``-th of several samples, counted over all of them."""
    return None if progress is None else lambda done, total: progress(index * total + done, samples * total)


class Method(Protocol):
    """One preset, ready to encode and decode.

    ``default_cbr`` is used where none is asked for; ``exact_rate`` says that a request within the preset's range is met to the
    symbol (else it is an upper bound).
    """

    method: str
    default_cbr: float
    exact_rate: bool

    def symbol_budget(self, cbr: float, image_size: ImageSize, *, bound: bool = True) -> int:
        """The most symbols within ``cbr`` · 3HW, side symbols included, that can be sent for an image of that size; the fewest that
        can, at least 1, where nothing fits. Not ``bound``: ``cbr`` is the preset's own rate as its authors count it."""

    def encode(self, image: Image, request: Request) -> Transmission:
        """Image uint8 [H, W, 3] to symbols. Raises RateError where ``request.symbols`` cannot be met."""

    def decode(self, received: Received, options: Any, *, seed: int, progress: Progress | None = None) -> Decoded:
        """Received symbols to images.

        Args:
            received: all that is known. seed: of the sampler's noise.
            options: of the receiver's class that the method's spec names, which no other method takes.
            progress: called with (steps done, steps in all), and a note where there is one.
        """
