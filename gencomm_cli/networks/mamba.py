"""MambaJSCC (Wu et al., GLOBECOM 2024): visual state-space blocks as joint source-channel encoder and decoder.

Module and parameter names are the published ones, so released tensors fit. `adaptation` chooses how the networks learn of the
channel:

- ``none``: not at all.
- ``initial-state``: the condition sets each scan's initial state (what the paper describes: CSI enters the residual state
  transition) and shifts each block's tokens, since the initial state fades along a long scan. The first presets have it.
- ``shift``: it shifts the tokens alone. Zeroing trained initial states cost 0.005 dB, and they were a third of the numbers.
- ``released``: the SNR in dB overwrites state 0 every 2048 tokens (what the released kernel does; inert below 2048 tokens).
- ``modnet``: SwinJSCC's channel ModNet beside the bottleneck.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.networks.config import Config
from gencomm_cli.networks.layers import mlp, parameter, zeroed
from gencomm_cli.networks.selective_scan import selective_scan
from gencomm_cli.networks.snr_adaptive import gates, modnet
from gencomm_cli.networks.windows import PatchMerging, PatchSplitting

Adaptation = Literal["none", "initial-state", "shift", "released", "modnet"]
RELEASED_PERIOD = 2048


@dataclass(frozen=True)
class MambaConfig(Config):
    """Sizes of one encoder and its mirror-image decoder.

    Attributes:
        channels: of the input and the reconstruction.
        code_channels: reals a token at the bottleneck.
        dims, depths: width and number of blocks of each stage of the encoder; the resolution halves between stages.
        patch: side of the first patch embedding.
        states: N of the scan. expand: inner width over width. directions: 2 (rows, and rows backwards) or 4 (columns too).
        condition: width of the condition vector, for ``initial-state`` and ``shift``.
    """

    channels: int
    code_channels: int
    dims: tuple[int, ...]
    depths: tuple[int, ...]
    patch: int = 2
    states: int = 16
    expand: float = 2.0
    directions: int = 2
    adaptation: Adaptation = "initial-state"
    condition: int = 0


@dataclass(frozen=True)
class ChannelState:
    """What a network knows of the channel: ``snr_db``, a number, for the released modes, ``condition`` [B, condition] for
    ``initial-state`` and ``shift``."""

    snr_db: float = 0.0
    condition: Tensor | None = None


def _steps(*shape: int) -> Tensor:
    """What softplus turns to steps of 0.001 … 0.1, uniform in their logarithm."""
    step = torch.exp(torch.rand(shape) * math.log(100) + math.log(1e-3))
    return step + torch.log(-torch.expm1(-step))


class SS2D(nn.Module):
    """Two-dimensional selective scan: [B, H, W, C] → [B, H, W, C]."""

    def __init__(self, dim: int, config: MambaConfig) -> None:
        super().__init__()
        self.config = config
        inner, states, directions = int(config.expand * dim), config.states, config.directions
        self.rank = math.ceil(dim / 16)
        self.in_proj = nn.Linear(dim, 2 * inner, bias=False)
        self.conv2d = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        shape, rows = (directions, self.rank + 2 * states, inner), directions * inner
        self.x_proj_weight = parameter(shape, lambda: torch.randn(shape) / math.sqrt(inner))
        spread = (directions, inner, self.rank)
        self.dt_projs_weight = parameter(spread, lambda: (2 * torch.rand(spread) - 1) / math.sqrt(self.rank))
        self.dt_projs_bias = parameter((directions, inner), lambda: _steps(directions, inner))
        self.A_logs = parameter((rows, states), lambda: torch.arange(1.0, states + 1).log().repeat(rows, 1))
        self.Ds = nn.Parameter(torch.ones(directions * inner))
        self.out_norm = nn.LayerNorm(inner)
        self.out_proj = nn.Linear(inner, dim, bias=False)
        if config.adaptation == "initial-state":
            self.initial_state = zeroed(nn.Linear(config.condition, directions * inner * states))

    def _unroll(self, x: Tensor) -> Tensor:
        """[B, C, H, W] → the token sequences of each direction [B, K, C, L]."""
        rows = x.flatten(2)
        if self.config.directions == 2:
            return torch.stack([rows, rows.flip(-1)], 1)
        columns = x.transpose(2, 3).flatten(2)
        return torch.stack([rows, columns, rows.flip(-1), columns.flip(-1)], 1)

    def _merge(self, y: Tensor, height: int, width: int) -> Tensor:
        """Sums the directions [B, K, C, L] back in row order: [B, C, L]."""
        if self.config.directions == 2:
            return y[:, 0] + y[:, 1].flip(-1)
        columns = y[:, 1] + y[:, 3].flip(-1)
        return y[:, 0] + y[:, 2].flip(-1) + columns.unflatten(2, (width, height)).transpose(2, 3).flatten(2)

    def forward(self, x: Tensor, channel: ChannelState) -> Tensor:
        batch, height, width, _ = x.shape
        config = self.config
        x, z = self.in_proj(x).chunk(2, -1)
        x = F.gelu(self.conv2d(x.permute(0, 3, 1, 2)))
        sequences = self._unroll(x)
        projected = torch.einsum("bkcl,kdc->bkdl", sequences, self.x_proj_weight.to(sequences.dtype))
        steps, b, c = projected.split([self.rank, config.states, config.states], 2)
        steps = torch.einsum("bkrl,kcr->bkcl", steps, self.dt_projs_weight.to(steps.dtype))
        start = None
        if config.adaptation == "initial-state":
            assert channel.condition is not None
            start = self.initial_state(channel.condition).view(batch, -1, config.states)
        inject = (RELEASED_PERIOD, channel.snr_db) if config.adaptation == "released" else None
        with torch.autocast(x.device.type, enabled=False):
            y, _ = selective_scan(
                sequences.flatten(1, 2), steps.flatten(1, 2), -torch.exp(self.A_logs.float()), b, c, self.Ds,
                self.dt_projs_bias.flatten(), start=start, inject=inject,
            )  # fmt: skip
        merged = self._merge(y.unflatten(1, (config.directions, -1)), height, width)
        merged = self.out_norm(merged.transpose(1, 2)).view(batch, height, width, -1)
        return self.out_proj(merged * F.gelu(z))


class VSSBlock(nn.Module):
    """x + SS2D(LN(x)), then x + MLP(LN(x)); [B, H, W, C]."""

    def __init__(self, dim: int, config: MambaConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.op = SS2D(dim, config)
        self.norm_extent = nn.LayerNorm(dim)
        self.extent = mlp(dim, dim)  # no wider inside, as released
        self.shift = nn.Linear(config.condition, dim) if config.adaptation in ("initial-state", "shift") else None

    def forward(self, x: Tensor, channel: ChannelState) -> Tensor:
        if self.shift is not None:
            x = x + self.shift(channel.condition)[:, None, None]
        x = x + self.op(self.norm(x), channel)
        return x + self.extent(self.norm_extent(x))


class _Stage(nn.Module):
    def __init__(self, dim: int, depth: int, config: MambaConfig) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([VSSBlock(dim, config) for _ in range(depth)])
        self.downsample: PatchMerging | None = None
        self.upsample: PatchSplitting | None = None

    def forward(self, x: Tensor, channel: ChannelState) -> Tensor:
        for block in self.blocks:
            x = block(x, channel)
        if self.downsample is not None:
            x = self.downsample(x)
        return self.upsample(x) if self.upsample is not None else x


class MambaEncoder(nn.Module):
    """[B, channels, H, W] → code [B, code_channels, H/s, W/s], with s = patch · 2^(stages − 1)."""

    def __init__(self, config: MambaConfig) -> None:
        super().__init__()
        self.config = config
        dims = config.dims
        self.patch_embed = nn.Sequential(
            nn.Conv2d(config.channels, dims[0], config.patch, config.patch), nn.Identity(), nn.LayerNorm(dims[0])
        )
        self.layers = nn.ModuleList([_Stage(dim, depth, config) for dim, depth in zip(dims, config.depths, strict=True)])
        for stage, dim, following in zip(self.layers, dims, dims[1:], strict=False):
            stage.downsample = PatchMerging(dim, following)
        if config.adaptation == "modnet":
            self.bm_list, self.sm_list = modnet(dims[-1])
        self.head = nn.Conv2d(dims[-1], config.code_channels, 1)

    def forward(self, x: Tensor, channel: ChannelState) -> Tensor:
        x = self.patch_embed[2](self.patch_embed[0](x).permute(0, 2, 3, 1))
        for stage in self.layers:
            x = stage(x, channel)
        if self.config.adaptation == "modnet":
            x = x * gates(self.bm_list, self.sm_list, x.detach(), x.new_full((1,), channel.snr_db))
        return self.head(x.permute(0, 3, 1, 2))


class MambaDecoder(nn.Module):
    """Code [B, code_channels + extra, h, w] → [B, channels, s·h, s·w]; ``extra`` planes tell it how reliable the code is."""

    def __init__(self, config: MambaConfig, extra: int = 0) -> None:
        super().__init__()
        self.config = config
        dims, depths = config.dims[::-1], config.depths[::-1]
        self.head = nn.Conv2d(config.code_channels + extra, dims[0], 1)
        if config.adaptation == "modnet":
            self.bm_list, self.sm_list = modnet(dims[0])
        self.layers = nn.ModuleList([_Stage(dim, depth, config) for dim, depth in zip(dims, depths, strict=True)])
        for stage, dim, following in zip(self.layers, dims, dims[1:], strict=False):
            stage.upsample = PatchSplitting(dim, following)
        self.layers[-1].upsample = PatchSplitting(dims[-1], config.channels, config.patch)

    def forward(self, code: Tensor, channel: ChannelState) -> Tensor:
        x = self.head(code).permute(0, 2, 3, 1)
        if self.config.adaptation == "modnet":
            x = x * gates(self.bm_list, self.sm_list, x.detach(), x.new_full((1,), channel.snr_db))
        for stage in self.layers:
            x = stage(x, channel)
        return x.permute(0, 3, 1, 2)
