"""What linear analog codes are made of: powers by water-filling, and pilots that say how large a codeword is sent.

A codeword has unit power, so that a busy picture is sent smaller than a flat one. The receiver has to know by how much, or it gets
the contrast wrong; one symbol in a hundred says so with its phase, which needs no power of its own to be right.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from gencomm_cli.networks.rate_adaptive import unit_power

DESIGN_SNR_DB = 5.0
"""What the powers are made for where the transmitter does not know the SNR: within 2 % of the best error from 0 to 20 dB."""

LOG_SIZES = 1.5
"""Pilots tell sizes from e^−1.5 to e^1.5 by phases from −π/2 to π/2."""

PRIOR = 10.0
"""Concentration of the phase around 0 over photographs: log sizes spread by 0.28."""


def design_noise(snr_db: Tensor) -> Tensor:
    """ν, the noise power a real that powers are made for, where the transmitter knows ``snr_db`` (NaN: nothing), elementwise."""
    return 0.5 * 10 ** (-snr_db.nan_to_num(DESIGN_SNR_DB) / 10)


def water_filling(spread: Tensor, share: Tensor, noise: Tensor) -> Tensor:
    """Powers p [B, N] that minimise Σ share_i λ_i ν/(p_i + ν) under Σ share_i p_i = 1/2 · Σ share_i: p_i = max(c √λ_i − ν, 0).

    Args:
        spread: √λ, standard deviations of what is sent. share: how much of each is sent, 0 … 1. Both [N] or [B, N].
        noise: ν, noise power a real [B].
    """
    nu = noise[:, None]
    spread, share = spread.expand(len(noise), -1), share.expand(len(noise), -1)
    falling, order = spread.masked_fill(share <= 0, 0.0).sort(descending=True)
    sent = share.gather(1, order)
    used = sent.cumsum(1)
    level = (used[:, -1:] / 2 + used * nu) / (sent * falling).cumsum(1).clamp_min(1e-12)  # c, if the first 1, 2, … have power
    last = ((level * falling > nu) & (sent > 0)).sum(1, keepdim=True).clamp_min(1) - 1
    return (level.gather(1, last) * spread - nu).clamp_min(0) * (share > 0)


def pilots(symbols: int) -> int:
    """How many of k symbols say how large the others are sent; none of fewer than 16."""
    return max(symbols // 100, int(symbols >= 16))


def pilots_for(code: Tensor) -> Tensor:
    """How many pilots go with so many symbols of the code, int64 elementwise: :func:`pilots` of both together."""
    return torch.maximum(code // 99, (code >= 15).to(code.dtype))


def pilot_places(symbols: int, count: int) -> Tensor:
    """Where the pilots are, spread evenly: bool [``symbols``]."""
    places = torch.zeros(symbols, dtype=torch.bool)
    places[torch.arange(count) * symbols // max(count, 1)] = True
    return places


def sized(code: Tensor, rest: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """How large codes [B, N] of ``rest`` symbols each are sent, and the pilots that say so, real and complex [B, 1].

    Code and pilots then have unit power together; the pilots take what power is left where a flat picture would be sent larger
    than they can say.

    Args:
        code: complex, zero where nothing is sent. rest, count: of symbols and of their pilots [B, 1].
    """
    energy = code.abs().square().sum(1, keepdim=True)
    size = (rest / energy.clamp_min(1e-12)).sqrt().clamp_max(math.exp(LOG_SIZES))
    phase = (size.log() / LOG_SIZES).clamp_min(-1) * (math.pi / 2)
    left = (rest + count - size.square() * energy) / count.clamp_min(1)
    return size, torch.polar(left.clamp_min(1.0).sqrt(), phase)


def with_pilots(code: Tensor, count: int) -> Tensor:
    """Symbols [B, k − ``count``] and pilots as a codeword [B, k] of unit power."""
    if not count:
        return unit_power(code)
    rest = code.shape[1]
    size, pilot = sized(code, torch.full_like(code.real[:, :1], rest), torch.full_like(code.real[:, :1], count))
    places = pilot_places(rest + count, count)
    out = code.new_empty(len(code), rest + count)
    out[:, ~places] = size * code
    out[:, places] = pilot.expand(-1, count)
    return unit_power(out)


def size_of(equalised: Tensor, reliability: Tensor) -> Tensor:
    """How large a codeword is sent [B, 1], by its pilots after the MMSE equaliser [B, m]: the phase's posterior mean direction.

    A pilot of zero says nothing.
    """
    seen = PRIOR + 2 * (equalised / (1 - reliability).clamp_min(1e-6)).sum(1, keepdim=True)
    phase = torch.atan2(seen.imag, seen.real).clamp(-math.pi / 2, math.pi / 2)
    return torch.exp(LOG_SIZES * phase / (math.pi / 2))
