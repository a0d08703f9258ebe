"""What must hold between the header and the arrays of a symbol file."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import numpy as np

from gencomm_cli.channels.ofdm import ExtraUses
from gencomm_cli.channels.snr import noise_power
from gencomm_cli.errors import InputError
from gencomm_cli.rates import samples

if TYPE_CHECKING:
    from gencomm_cli.symbols.npz import SymbolFile, Symbols

MAX_MAGNITUDE = 1e6
"""Of a received value: above any noise at the lowest SNR that the channel offers, far below float32's overflow when squared."""


def check(file: SymbolFile) -> None:
    """Raises InputError where header and arrays do not go together."""
    _check_symbols(file)
    _check_ideal_bits(file)
    _check_noise(file)
    _check_csi(file)


def mean_power(symbols: Symbols) -> float:
    """Measured E|x|² of an array that is not empty."""
    return float(np.mean(np.abs(symbols.astype(np.complex128)) ** 2))


def _check_symbols(file: SymbolFile) -> None:
    """Values are sane, each kind of symbols has the number that the header counts, and the transmitter's have unit power."""
    header = file.header
    for name, array in file.arrays().items():
        if array.dtype != np.complex64 or array.ndim != 1:
            raise InputError(f"{name} is {array.dtype} {list(array.shape)}; a vector of complex64 was expected")
        # NaN fails this comparison too; the largest of real and imaginary part spares squaring what could overflow.
        if array.size and not np.abs(array.view(np.float32)).max() <= MAX_MAGNITUDE:
            raise InputError(f"{name} holds values that are not finite or above {MAX_MAGNITUDE:g}")
    for name, symbols in (("image", file.symbols), ("prompt", file.prompt_symbols), ("side", file.side_symbols)):
        uses = getattr(header.cbr, name) * samples(header.image_size)
        if abs(uses - symbols.size) > 1e-6 * max(1, symbols.size):
            raise InputError(f"meta counts {uses:.6g} {name} symbols (cbr.{name}) and the file holds {symbols.size}")
        # Of k points of a constellation the power depends on the bits: by less than 0.62/√k (64-QAM), one standard deviation.
        off = 0.01 if header.classical is None else 0.01 + 6 * 0.62 / max(symbols.size, 1) ** 0.5
        if header.stage == "tx" and symbols.size and abs(mean_power(symbols) - header.power) > off:
            raise InputError(f"{name} symbols have mean power {mean_power(symbols):.4g}; the transmitter sends {header.power:g}")
    if not file.symbols.size:
        raise InputError("symbols is empty; an image takes at least one symbol")
    if (header.prompt is None) != (file.prompt_symbols.size == 0):
        raise InputError("meta.prompt and prompt_symbols do not agree on whether there is a prompt")
    if header.side is not None and not file.side_symbols.size:
        raise InputError("meta.side says how side_symbols carry bits, and there are none")


def _check_ideal_bits(file: SymbolFile) -> None:
    form, bits = file.header.classical, file.ideal_bits
    expected = form.payload_bytes if form is not None and form.fec == "capacity" else None
    if (bits is None) != (expected is None):
        raise InputError(f"ideal_bits is {'missing' if bits is None else 'there'}, against meta.classical")
    if bits is not None and (bits.dtype != np.uint8 or bits.shape != (expected,)):
        raise InputError(f"ideal_bits holds {bits.dtype} {list(bits.shape)}; meta counts {expected} bytes")


def _check_noise(file: SymbolFile) -> None:
    """N0 is that of the SNR, where it does not depend on the gains."""
    header, channel = file.header, file.header.channel
    if channel is None or header.n0 is None or channel.snr_type == "received":
        return
    bits = None if header.classical is None else 8 * header.classical.payload_bytes
    snr_db = channel.snr_db if channel.rx_snr_db is None else channel.rx_snr_db
    expected = noise_power(snr_db, channel.snr_type, file.symbols, None, bits)
    if abs(header.n0 - expected) > 1e-6 * expected:
        raise InputError(f"meta.n0 {header.n0:g} is not the noise power of {snr_db:g} dB")


def _check_csi(file: SymbolFile) -> None:
    """What the channel adds to the symbols, and what the receiver knows of it, are what goes with the channel."""
    header, channel = file.header, file.header.channel
    counts = [file.symbols.size, file.prompt_symbols.size, file.side_symbols.size]
    extra = ExtraUses() if channel is None else channel.extra_uses(counts)
    for name, uses in asdict(extra).items():
        if abs(getattr(header.cbr, name) * samples(header.image_size) - uses) > 1e-6 * max(1, uses):
            raise InputError(f"meta.cbr.{name} does not count the {uses} uses that go with the channel")
    taps, gains = 0, [0, 0, 0]
    if channel is not None and channel.kind == "radio":
        gains = counts
    elif channel is not None and channel.csi == "perfect":
        taps = channel.ofdm.taps if channel.ofdm is not None else 0
        if channel.kind in ("rayleigh", "block"):
            gains = counts if channel.kind == "rayleigh" else [min(count, 1) for count in counts]
    names = ("pilot_symbols", "csi_cir", "csi_gain", "prompt_csi_gain", "side_csi_gain")
    for name, size in zip(names, (extra.pilots, taps, *gains), strict=True):
        array = getattr(file, name)
        if (array is None) != (size == 0):
            raise InputError(f"{name} is {'missing' if array is None else 'there'}, against meta.channel and the symbols")
        if array is not None and array.size != size:
            raise InputError(f"{name} holds {array.size} values; {size} were expected")
