"""What the receiver knows of the channel: all of it from the received file, by estimation where only pilots came."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gencomm_cli.channels.estimation import (
    Estimator,
    clipping,
    estimate_block,
    estimate_response,
    impulse_response,
    interference,
)
from gencomm_cli.channels.frame import pilot_period, slots
from gencomm_cli.channels.ofdm import OfdmConfig, places, response
from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.channels.tracking import track
from gencomm_cli.symbols import SymbolFile, Symbols


@dataclass(frozen=True)
class ChannelState:
    """Gains of image, prompt and side symbols, complex64 [count], [1] or None where none is known; N0 behind them; and h [L]."""

    gain: Symbols | None
    prompt_gain: Symbols | None
    side_gain: Symbols | None
    n0: float
    cir: Symbols | None = None


def channel_state(file: SymbolFile, estimator: Estimator = "lmmse") -> ChannelState:
    """The channel of a received file as its receiver sees it.

    Over multipath a symbol's gain is its carrier's, and N0 covers estimation error, clipping and missing prefix on average;
    DiffCom's program (``authors``) takes no account of the three.
    """
    channel, n0 = file.header.channel, file.header.n0
    assert channel is not None
    assert n0 is not None
    known = channel.csi == "perfect" and (channel.kind != "multipath" or channel.paths is not None)
    if channel.csi == "none" or channel.kind == "radio" or known:
        unknown = 0.0 if channel.csi == "none" or estimator == "authors" else channel.interference
        return ChannelState(file.csi_gain, file.prompt_csi_gain, file.side_csi_gain, n0 + unknown)
    if channel.paths is not None and channel.ofdm is not None:
        return _tracked(file, channel.ofdm, channel.paths, n0, channel.interference, estimator)
    if channel.ofdm is None:
        assert file.pilot_symbols is not None
        gain, error = estimate_block(file.pilot_symbols, n0, estimator)
        return ChannelState(gain, gain, gain, n0 + error)
    config = channel.ofdm if estimator != "authors" else replace(channel.ofdm, clip=None)
    if file.csi_cir is not None:
        carriers, error = response(file.csi_cir, config), 0.0
    else:
        assert file.pilot_symbols is not None
        pilots = file.pilot_symbols.reshape(config.pilots, config.carriers)
        carriers, error = estimate_response(pilots, n0, config, estimator)
    cir = impulse_response(carriers, config)
    alpha, distortion = clipping(config)
    if estimator != "authors":
        power = float(np.mean(np.abs(carriers) ** 2))
        n0 += alpha**2 * error + distortion * power + (alpha**2 + distortion) * interference(cir, config)
    image, prompt, side = (
        np.float32(alpha) * carriers[places(symbols.size, config) % config.carriers]
        for symbols in (file.symbols, file.prompt_symbols, file.side_symbols)
    )
    return ChannelState(image, prompt, side, n0, cir)


def _tracked(
    file: SymbolFile, config: OfdmConfig, paths: PathModel, n0: float, interference: float, estimator: Estimator
) -> ChannelState:
    """Gains of a frame from its pilots; N0 covers interference and, on average over the frame, estimation error."""
    assert file.pilot_symbols is not None
    bursts = (file.symbols, file.prompt_symbols, file.side_symbols)
    ends = np.cumsum([0, *(config.ofdm_symbols(burst.size) for burst in bursts)])
    pilots, data = slots(int(ends[-1]), config, pilot_period(paths, config))
    spacing = (config.carriers + config.cp) / (config.carriers * paths.subcarrier_spacing)
    alpha, rest = clipping(config)[0], 0.0 if estimator == "authors" else interference
    observed = file.pilot_symbols.reshape(*pilots.shape, config.carriers) / np.float32(alpha)
    noise = (n0 + rest) / alpha**2
    gains, error = track(observed, pilots.mean(1) * spacing, data * spacing, paths.doppler, noise, config, estimator)
    image, prompt, side = (
        np.float32(alpha) * gains[first:last].reshape(-1)[places(burst.size, config)]
        for burst, first, last in zip(bursts, ends, ends[1:], strict=False)
    )
    return ChannelState(image, prompt, side, n0 + rest + (0.0 if estimator == "authors" else alpha**2 * error))
