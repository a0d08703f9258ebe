"""One burst from samples to symbols with their gains: channel, common phase, clock drift and noise, all from what is known of it.

The model of a burst's received carriers, with X the sent ones:

    Y_(s,k) = a_s H_k X_(s,k) e^{jθ_s - 2πjkδ(s - 1)/N} + CN(0, b_s N_k)

H stays the same through the burst; θ_s is the common phase of OFDM symbol s (residual frequency offset and phase noise); δ is how
many samples the receiver's clock falls behind in one OFDM symbol. What phase noise does within a symbol is noise. a_s = b_s = 1,
but for OFDM symbols that something happened to: samples that the radio dropped, another burst, a channel that became another.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.radio import framing
from gencomm_cli.radio.framing import Description, Piece
from gencomm_cli.radio.options import MAX_BURST, MAX_BURST_SAMPLES
from gencomm_cli.radio.synchronisation import Capture, Floats, Found, excerpt
from gencomm_cli.radio.waveform import PREAMBLE, Complex, Mask, Waveform

MAX_CLOCK_OFFSET = 100e-6
_ROUNDS, _BAYES_ROUNDS = 3, 12
_FLOOR = 1e-10
"""Noise relative to the carriers' power that is taken to be there at least."""
_LOUD, _NEIGHBOURS = 2.0, 2
"""Carriers whose noise, with that of so many neighbours on either side, is this many times the mean have a noise of their own."""
_DISTURBED = 4.0
"""OFDM symbols whose noise is this many times that of the burst's quieter ones have a gain and a noise of their own."""


@dataclass(frozen=True)
class Burst:
    """A burst that arrived.

    Attributes:
        found: where it began, and its frequency offset. clock_offset: of the receiver's clock, relative.
        snr_db: mean |H|²/N over the carriers. response: H, complex128 [U].
        transmission, bursts, description: as its header says. piece: its symbols. missing: OFDM symbols after the capture's end.
    """

    found: Found
    clock_offset: float
    snr_db: float
    response: Complex
    transmission: int
    bursts: int
    description: Description
    piece: Piece
    missing: int

    @property
    def quality(self) -> tuple[int, float]:
        """The more the better, of several copies: whole ones first."""
        return -self.missing, self.snr_db


@dataclass(frozen=True)
class Equalised:
    """Cells of a burst, complex128 [n], with noise of unit power, and what was estimated: H [U], noise [U], δ."""

    received: Complex
    gain: Complex
    response: Complex
    noise: Floats
    drift: float


def receive(capture: Capture, found: Found, offset: complex, waveform: Waveform) -> Burst | None:
    """The burst with this preamble, of which ``offset`` is the DC; None where it is lost. Of one that the capture's end cuts off,
    the symbols that are not there have gain 0."""
    cells = framing.first_cells()
    begin = equalised(capture, found, offset, waveform.ofdm_symbols(cells), waveform)
    if begin is None:
        return None
    first = framing.decode_header(framing.unscrambled(begin.received)[:cells], begin.gain[:cells])
    if first is None or first[0].symbols < waveform.ofdm_symbols(cells):
        return None
    header, part = first
    there = min(header.symbols, symbols_within(capture, found, waveform))
    whole = equalised(capture, found, offset, there, waveform)
    if whole is None:
        return None
    missing = header.symbols - there
    received, gain = (np.pad(each, (0, missing * waveform.cells_per_symbol)) for each in (whole.received, whole.gain))
    received = framing.unscrambled(received)
    description = framing.decode_description(header, part, received, gain)
    if description is None:
        return None
    start = framing.header_cells(header.description_bytes)
    here = slice(start, start + len(range(header.index, description.symbols, header.bursts)))
    piece = Piece(header.index, received[here].astype(np.complex64), gain[here].astype(np.complex64))
    if not piece.gain.any():
        return None
    snr = float(np.mean(np.abs(whole.response) ** 2 / whole.noise))
    return Burst(
        found, whole.drift / waveform.length, 10 * float(np.log10(snr)), whole.response, header.transmission, header.bursts,
        description, piece, missing,
    )  # fmt: skip


def equalised(capture: Capture, found: Found, offset: complex, symbols: int, waveform: Waveform) -> Equalised | None:
    """The cells of a burst's preamble and first ``symbols`` OFDM symbols; None where the capture ends before, or
    no burst is that long."""
    grid = received_carriers(capture, found, offset, symbols, waveform)
    if grid is None:
        return None
    known, free = waveform.known(symbols)
    return estimated(grid, known, free, waveform)


def received_carriers(capture: Capture, found: Found, offset: complex, symbols: int, waveform: Waveform) -> Complex | None:
    """Y, complex128 [2 + symbols, U]: the DFTs begin a quarter of a prefix early, for paths before the strongest."""
    if symbols > MAX_BURST or symbols * waveform.fft * waveform.oversample > MAX_BURST_SAMPLES:
        return None
    if symbols > symbols_within(capture, found, waveform):
        return None
    count = (PREAMBLE + symbols) * waveform.length
    samples = excerpt(capture, _begin(found, waveform), count, offset, waveform)
    turned = samples * np.exp(-2j * np.pi * found.cfo / waveform.fft * np.arange(count))
    frames = turned.reshape(-1, waveform.length)[:, : waveform.fft]
    return np.fft.fft(frames, norm="ortho")[:, waveform.carriers % waveform.fft]


def symbols_within(capture: Capture, found: Found, waveform: Waveform) -> int:
    """How many OFDM symbols after the preamble the capture holds."""
    samples = (len(capture) - _begin(found, waveform)) // waveform.oversample + waveform.prefix
    return samples // waveform.length - PREAMBLE


def _begin(found: Found, waveform: Waveform) -> int:
    return found.start - waveform.prefix // 4 * waveform.oversample


def estimated(grid: Complex, known: NDArray[np.complex64], free: Mask, waveform: Waveform) -> Equalised:
    """Channel, phases, drift and noise of received carriers [S, U], in turns, and the cells freed of them."""
    noise = np.full(grid.shape[1], _preamble_noise(grid, known))
    sent, count = np.abs(known) ** 2, np.sum(known != 0, 1, keepdims=True)
    matched, power = (grid * known.conj())[1], sent[1]
    turns = np.ones(grid.shape)
    drift = 0.0
    for _ in range(_ROUNDS):
        response, error, taps = channel(matched, power, noise, waveform)
        z = grid * (known * response).conj() / noise
        drift = clock_drift(z, waveform)
        turns = np.exp(2j * np.pi * drift / waveform.fft * np.outer(np.arange(len(grid)) - 1, waveform.carriers))
        turns = turns * np.exp(-1j * np.angle(np.sum(z * turns, 1, keepdims=True)))
        squares = np.abs(grid * turns - response * known) ** 2 * (sent > 0)
        level = np.sum(squares / noise, 1, keepdims=True) / count
        disturbed = level > _DISTURBED * np.quantile(level, 0.25)
        disturbed[:PREAMBLE] = False  # it has all carriers
        used = np.where(disturbed, 0, sent)
        matched, power = np.sum(grid * turns * known.conj() * (used > 0), 0), used.sum(0)
        parameters = taps + np.sum(~disturbed) / 2
        noise = _noise_by_carrier(
            np.sum(squares * (used > 0), 0), np.sum(used > 0, 0), parameters, float(np.mean(np.abs(response) ** 2))
        )
    response, error, _ = channel(matched, power, noise, waveform)
    strength = np.sum(np.abs(response) ** 2 / noise * sent, 1, keepdims=True)
    fitted = np.sum(grid * turns * (known * response).conj() / noise, 1, keepdims=True).real / strength
    amplitude = np.where(disturbed, fitted, 1)
    remaining = np.abs(grid * turns - amplitude * response * known) ** 2 * (sent > 0)
    level = np.where(disturbed, np.sum(remaining / noise, 1, keepdims=True) / count, 1)
    scale = 1 / np.sqrt(level * (noise + np.abs(response) ** 2 / (2 * strength)) + error)
    return Equalised((grid * turns * scale)[free], (amplitude * response * scale)[free], response, noise, drift)


def channel(matched: Complex, power: Floats, noise: Floats, waveform: Waveform) -> tuple[Complex, Floats, float]:
    """H from pilots by sparse Bayesian learning of its impulse response (Tipping, J. Machine Learning Research 1, 2001): taps
    CN(0, p_l) whose powers p_l are learned with them, by expectation and maximisation, so that few strong ones are left.

    Args:
        matched: Σ X*Y a carrier, complex [U]. power: Σ |X|². noise: N a carrier.

    Returns:
        H complex [U], the power of its error [U], and how many free parameters it has in effect.
    """
    basis = _delays(waveform)
    weight = power / noise
    gram = basis.conj().T @ (weight[:, None] * basis)
    projected = basis.conj().T @ (matched / noise)
    powers = np.full(basis.shape[1], np.sum(np.abs(matched) ** 2) / np.sum(power**2) / basis.shape[1] + 1e-30)
    for _ in range(_BAYES_ROUNDS):
        covariance = np.linalg.inv(gram + np.diag(1 / powers))
        taps = covariance @ projected
        variance = covariance.diagonal().real
        effective = float(np.sum(1 - variance / powers))
        powers = np.maximum(np.abs(taps) ** 2 + variance, 1e-12 * powers.max())
    error = np.sum((basis @ covariance) * basis.conj(), 1).real
    return basis @ taps, error, effective


@cache
def _delays(waveform: Waveform) -> Complex:
    """e^{-2πjkl/N} for delays l of -4 … prefix + 4 samples after the DFT's begin: [U, taps]."""
    delays = np.arange(-4, waveform.prefix + 4)
    return np.exp(-2j * np.pi / waveform.fft * np.outer(waveform.carriers, delays))


def clock_drift(z: Complex, waveform: Waveform) -> float:
    """δ that maximises Σ_s |Σ_k z_(s,k) e^{2πjkδ(s - 1)/N}|, where z [S, U] = YX*H*: no phase of a symbol matters."""
    bands = np.array_split(np.arange(waveform.carriers.size), 16)  # within a band the drift of a burst turns phases little
    centres = np.array([waveform.carriers[band].mean() for band in bands])
    sums = np.stack([z[:, band].sum(1) for band in bands], 1)
    angles = 2 * np.pi / waveform.fft * np.outer(np.arange(len(z)) - 1, centres)
    best, width = 0.0, MAX_CLOCK_OFFSET * waveform.length
    steps = 2 * int(np.ceil(2 * width * len(z))) + 10
    while width * len(z) > 1e-3:
        tried = best + width * np.linspace(-1, 1, 2 * steps + 1)
        heights = [float(np.abs(np.sum(sums * np.exp(1j * angles * each), 1)).sum()) for each in tried]
        best, width, steps = float(tried[int(np.argmax(heights))]), width / steps, 10
    return best


def _preamble_noise(grid: Complex, known: NDArray[np.complex64]) -> float:
    """A first N: what the two preamble symbols differ in on their common carriers, where the first has twice the power."""
    both = known[0] != 0
    first, second = ((grid * known.conj() / np.maximum(np.abs(known) ** 2, 1e-9))[row, both] for row in (0, 1))
    first = first * np.exp(1j * np.angle(np.vdot(first, second)))
    return float(np.mean(np.abs(first - second) ** 2) / 1.5 + _FLOOR * np.mean(np.abs(second) ** 2) + 1e-30)


def _noise_by_carrier(residual: Floats, counts: NDArray[np.int64], parameters: float, power: float) -> Floats:
    """N a carrier of squared residuals [U], each the sum of ``counts``, after a fit of so many parameters: one for all carriers,
    but for those that are louder with their neighbours (interference)."""
    window = np.ones(2 * _NEIGHBOURS + 1)
    local = np.convolve(residual, window, "same") / np.convolve(counts, window, "same")
    loud = local > _LOUD * np.median(local)
    observed = counts[~loud].sum()
    common = residual[~loud].sum() / max(observed - parameters * observed / counts.sum(), 0.5 * observed)
    return np.where(loud, np.maximum(local, common), common) + _FLOOR * power + 1e-30
