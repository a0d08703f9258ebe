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
from gencomm_cli.channels.ofdm import places, response
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
    if channel.csi == "none" or channel.kind == "radio" or (channel.kind != "multipath" and channel.csi == "perfect"):
        return ChannelState(file.csi_gain, file.prompt_csi_gain, file.side_csi_gain, n0)
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
