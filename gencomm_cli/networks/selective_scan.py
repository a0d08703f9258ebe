"""The selective scan of Mamba (Gu & Dao, 2023): exact, in plain torch, on any device.

    h_t = exp(Δ_t A) h_{t−1} + Δ_t B_t u_t,     y_t = C_t · h_t + D u_t

On a CPU the recurrence is cut into chunks: all chunks advance together, then each receives the state that its predecessor ends
with: about 2·√L small steps instead of L. A GPU has threads for all tokens at once: there log₂ L steps double the span that each
state covers. The result is the same.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

SHORT = 64
"""Sequences up to this length run as one chunk."""


def _scan(decay: Tensor, drive: Tensor, start: Tensor) -> Tensor:
    """h_t = decay_t · h_{t−1} + drive_t for [L, …] arrays, with h_{−1} = ``start`` […]; no gradient."""
    if decay.is_cuda:
        return _doubling(decay, drive, start)
    length = decay.shape[0]
    chunk = length if length <= SHORT else math.ceil(math.sqrt(length))
    count = math.ceil(length / chunk)
    if padding := count * chunk - length:
        decay = torch.cat([decay, decay.new_ones((padding, *decay.shape[1:]))])
        drive = torch.cat([drive, drive.new_zeros((padding, *drive.shape[1:]))])
    decay, state = decay.unflatten(0, (count, chunk)), drive.unflatten(0, (count, chunk)).clone()
    state[0, 0].addcmul_(decay[0, 0], start)
    for t in range(1, chunk):
        state[:, t].addcmul_(decay[:, t], state[:, t - 1])
    if count > 1:
        carried = decay.clone()
        for t in range(1, chunk):
            carried[:, t].mul_(carried[:, t - 1])
        for c in range(1, count):
            state[c].addcmul_(carried[c], state[c - 1, -1])
    return state.flatten(0, 1)[:length]


def _doubling(decay: Tensor, drive: Tensor, start: Tensor) -> Tensor:
    """:func:`_scan` in log₂ L steps [Hillis & Steele, 1986]: (decay, drive) of t … t − 2ⁱ + 1 become those of twice as many."""
    state = torch.cat([torch.addcmul(drive[:1], decay[:1], start), drive[1:]])
    span = 1
    while span < len(state):
        state = torch.cat([state[:span], torch.addcmul(state[span:], decay[span:], state[:-span])])
        decay = torch.cat([decay[:span], decay[span:] * decay[:-span]])
        span *= 2
    return state


class _Recurrence(torch.autograd.Function):
    """:func:`_scan` with its gradient, which is the same recurrence run backwards."""

    @staticmethod
    def forward(ctx: Any, decay: Tensor, drive: Tensor, start: Tensor) -> Tensor:
        state = _scan(decay, drive, start)
        ctx.save_for_backward(decay, state, start)
        return state

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        decay, state, start = ctx.saved_tensors
        following = torch.cat([decay[1:], torch.zeros_like(decay[:1])]).flip(0)
        adjoint = _scan(following, grad.flip(0), torch.zeros_like(start)).flip(0)
        previous = torch.cat([start[None], state[:-1]])
        return adjoint * previous, adjoint, adjoint[0] * decay[0]


def recurrence(decay: Tensor, drive: Tensor, start: Tensor) -> Tensor:
    """All states h_0 … h_{L−1} of h_t = decay_t · h_{t−1} + drive_t.

    Args:
        decay, drive: [L, …], of one shape.
        start: […], h_{−1}.
    """
    return _Recurrence.apply(decay, drive, start)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    a: Tensor,
    b: Tensor,
    c: Tensor,
    d: Tensor,
    delta_bias: Tensor,
    *,
    start: Tensor | None = None,
    inject: tuple[int, float] | None = None,
) -> tuple[Tensor, Tensor]:
    """Runs the scan in float32 (or float64 for float64 inputs).

    Args:
        u, delta: input and, before the softplus, step size [B, D, L].
        a: state matrix [D, N], negative.
        b, c: input and output matrices [B, G, N, L]; channel i uses group i // (D / G).
        d: skip [D].
        delta_bias: [D], added to ``delta``.
        start: initial state [B, D, N]; zero by default. This is where MambaJSCC puts the channel state.
        inject: (period, value): before tokens period, 2·period, … state 0 of every channel is overwritten by ``value``,
            as MambaJSCC's released kernel does with the SNR in dB every 2048 tokens.

    Returns:
        y [B, D, L] and the last state [B, D, N].
    """
    real = torch.float64 if u.dtype == torch.float64 else torch.float32
    u, delta, a, b, c = (t.to(real) for t in (u, delta, a, b, c))
    batch, channels, length = u.shape
    delta = F.softplus(delta + delta_bias.to(real)[:, None])
    groups = b.shape[1]
    per_group = channels // groups
    step = delta.permute(2, 0, 1)
    decay = torch.exp(step[..., None] * a)
    weight = (step * u.permute(2, 0, 1)).unflatten(2, (groups, per_group))
    drive = (weight[..., None] * b.permute(3, 0, 1, 2)[:, :, :, None]).flatten(2, 3)
    state = u.new_zeros(batch, channels, a.shape[1]) if start is None else start.to(real)
    if inject is None:
        states = recurrence(decay, drive, state)
    else:
        period, value = inject
        pieces = []
        for first in range(0, length, period):
            if first:
                state = torch.cat([torch.full_like(state[..., :1], value), state[..., 1:]], -1)
            pieces.append(recurrence(decay[first : first + period], drive[first : first + period], state))
            state = pieces[-1][-1]
        states = torch.cat(pieces)
    y = torch.einsum("lbgdn,bgnl->bgdl", states.unflatten(2, (groups, per_group)), c).flatten(1, 2)
    return y + u * d.to(real)[:, None], states[-1]
