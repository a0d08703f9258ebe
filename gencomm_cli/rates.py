"""Channel bandwidth ratio: ρ = uses / (3·H·W), complex channel uses per source sample of the original image."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, replace

from gencomm_cli.channels.ofdm import ExtraUses
from gencomm_cli.errors import RateError

ImageSize = tuple[int, int]

_CONTROL_FIELDS = {
    "image height": 27,
    "image width": 27,
    "image symbols": 29,
    "prompt bits": 17,
    "prompt code, modulation, repetition": 8,
}
"""Bits of what the papers take as known at the receiver; images have at most 2^27 pixels."""

_CLASSICAL_FIELDS = {
    "payload bytes": 29,
    "codec": 3,
    "container": 1,
    "scale": 4,
    "modulation": 2,
    "code rate and code": 4,
    "kind of code": 2,
}
"""Likewise, of what ``separate``'s receiver needs besides."""

_SIDE_FIELDS = {
    "side bits": 25,
    "side code, modulation, repetition": 8,
}
"""Likewise, of side symbols that carry bits."""

SIDE_BITS = sum(_SIDE_FIELDS.values())
CLASSICAL_BITS = sum(_CLASSICAL_FIELDS.values())
CONTROL_BITS = sum(_CONTROL_FIELDS.values())


@dataclass(frozen=True)
class CBR:
    """Channel uses of each kind over 3·H·W; ``total`` is their sum, ``requested`` what the user asked for.

    ``pilots`` and ``cp`` (cyclic prefixes) come with the channel, as do ``idle`` carriers: those of a burst's last OFDM symbol that
    nothing is left to fill. ``waveform``: every resource element of a file's bursts on a radio, from preamble to guard carriers and
    the symbols themselves; where there is one, it is the total.
    """

    requested: float | None
    image: float
    prompt: float = 0.0
    side: float = 0.0
    pilots: float = 0.0
    cp: float = 0.0
    idle: float = 0.0
    waveform: float = 0.0
    total: float = 0.0


def samples(image_size: ImageSize) -> int:
    """Source samples 3·H·W of an image of size (H, W)."""
    return 3 * image_size[0] * image_size[1]


def whole_symbols(cbr: float, image_size: ImageSize) -> int:
    """The most symbols that ``cbr`` · 3HW bounds; a ratio that is meant to give a whole number gives it, whatever its last bit."""
    return math.floor(cbr * samples(image_size) + 1e-6)


def symbols_within(cbr: float, limits: tuple[float, float], image_size: ImageSize) -> int:
    """The most symbols that ``cbr`` · 3HW bounds, within a preset's range of ratios, whose upper end is rounded to the nearest."""
    low, high = whole_symbols(limits[0], image_size), round(limits[1] * samples(image_size))
    return max(low, min(whole_symbols(min(cbr, 2 * limits[1]), image_size), high))


def account(requested: float | None, image_size: ImageSize, image: int, prompt: int, side: int) -> CBR:
    """The CBR of so many image, prompt and side symbols."""
    count = samples(image_size)
    return CBR(requested, image / count, prompt / count, side / count, total=(image + prompt + side) / count)


def with_extra(cbr: CBR, image_size: ImageSize, extra: ExtraUses) -> CBR:
    """The same CBR with what the channel adds."""
    pilots, cp, idle = (uses / samples(image_size) for uses in (extra.pilots, extra.cp, extra.idle))
    total = cbr.image + cbr.prompt + cbr.side + pilots + cp + idle
    return replace(cbr, pilots=pilots, cp=cp, idle=idle, total=total)


def with_waveform(cbr: CBR, image_size: ImageSize, uses: int) -> CBR:
    """The same CBR where bursts of so many resource elements carry the symbols."""
    waveform = uses / samples(image_size)
    return replace(cbr, waveform=waveform, total=waveform)


def image_target(
    cbr: float,
    total: bool,
    prompt_symbols: int,
    image_size: ImageSize,
    extra_uses: Callable[[Sequence[int]], ExtraUses] | None = None,
    *,
    apart: bool = False,
) -> float:
    """The CBR left for the image (and its side information): all of ``cbr``, or what the rest leaves of a ``total``.

    The rest is the prompt, and what the channel adds to so many image and prompt symbols; at most, where side symbols go ``apart``.
    Negative or zero where it alone exceeds the total; the image then takes the lowest rate there is.
    """
    if not total:
        return cbr
    if extra_uses is None:
        return cbr - prompt_symbols / samples(image_size)

    def uses(image: int) -> int:
        side = int(apart and image > 0)  # one symbol apart costs as much as any number can
        return image + prompt_symbols + sum(astuple(extra_uses((image - side, prompt_symbols, side))))

    most = whole_symbols(cbr, image_size)
    return (bisect_right(range(most + 1), most, key=uses) - 1) / samples(image_size)


def missed(requested: float, uses: int, sent: int, target: float, image_size: ImageSize) -> tuple[bool, str] | None:
    """Whether a request is exceeded, or not met by more than a symbol and by more than 1 %, and what to say then.

    Args:
        uses: that the request bounds. sent, target: symbols of image and side information, and the ratio that was left for them.

    Returns:
        Whether it is exceeded, and the problem; None where the request is met.
    """
    count = samples(image_size)
    over = uses > whole_symbols(requested, image_size)
    if not over and any(
        ratio * count - got <= max(1.0, 0.01 * ratio * count) for ratio, got in ((requested, uses), (target, sent))
    ):
        return None
    instead = f"{_at_least(uses / count):g} or more would do" if over else f"the nearest is {uses / count:.6g}"
    return over, f"{requested:.6g} cannot be met at {image_size[1]}x{image_size[0]}; {instead}"


def with_remedy(
    error: RateError, total: bool, prompt_symbols: int, image_size: ImageSize,
    extra_uses: Callable[[Sequence[int]], ExtraUses] | None, most: int,
) -> RateError:  # fmt: skip
    """The error of a method, which counts symbols, as one of the ratio that was given; with the least that would do, if known and
    no more than the ``most`` symbols that it sends."""
    if error.field != "cbr":
        return error
    field, problem = "cbr_total" if total else "cbr", error.problem
    if error.fits is not None:
        uses = error.fits + prompt_symbols * total
        if extra_uses is not None:
            uses += sum(astuple(extra_uses((error.fits, prompt_symbols))))
        least = f"{_at_least(uses / samples(image_size)):g} or more" if error.fits <= most else "a larger picture"
        problem += f"; {least} would do"
    return RateError(problem, field, error.fits)


def _at_least(ratio: float) -> float:
    """The next ratio of four digits from this one up."""
    unit = 10.0 ** (math.floor(math.log10(ratio)) - 3)
    return math.ceil(ratio / unit - 1e-9) * unit
