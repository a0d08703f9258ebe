"""SwinJSCC (Yang et al., 2024): Swin transformer encoder and decoder, modulated by SNR and rate; layer for layer as published.

    x ─► 2×2 patches ─► 4 stages (merge 2×2, then blocks) ─► norm ─► SNR ModNet ─► rate ModNet ─► r channels ─► unit power
    x̂ ◄─ 4 stages (blocks, then split 2×2) ◄─ SNR ModNet ◄─ other channels zero ◄─ equalised reals

Published variants: both ModNets (``SwinJSCC_w/_SAandRA``), one of them, or none; without the rate's, a linear head makes
``code_channels`` of the features. Modules carry the published names; ``attn_mask`` and ``relative_position_index`` are computed
here and dropped from a published state dict.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.networks.config import Config
from gencomm_cli.networks.conventions import USUAL, Conventions
from gencomm_cli.networks.layers import mlp
from gencomm_cli.networks.pixel_codec import PixelCodec, checked_size
from gencomm_cli.networks.rate_adaptive import sent_positions, to_complex, to_real
from gencomm_cli.networks.snr_adaptive import gates, modnet
from gencomm_cli.networks.windows import PatchMerging, PatchSplitting, from_windows, hidden, relative_places, to_windows

Choice = Literal["first", "stable", "bitonic"]


@dataclass(frozen=True)
class SwinJSCCConfig(Config):
    """Constructor arguments of :class:`SwinJSCC`; the defaults are the published base size with both ModNets.

    Attributes:
        dims, depths, heads: of each stage of the encoder; the decoder's are reversed.
        window: side of the attention's windows, in tokens.
        code_channels: reals a token where the rate is fixed; None with the rate ModNet, which chooses among the last stage's.
        snr: whether there is an SNR ModNet.
        trained_size: side of the training images in pixels. A stage that is no larger than a window there does not shift windows.
        gain: received symbols are multiplied by it. The published decoder takes features at their own power, image by image, which
            a receiver cannot know: give the mean root power of the features then.
        unknown_snr_db: what the encoder assumes where the transmitter does not know the SNR.
        choice: which channels are sent with the rate ModNet, and in which order reals follow one another. ``first``: the first
            ones, channel by channel, any number of reals. As published, token by token: those with the largest gates in this
            picture, which are sent to the receiver; of equal gates the lowest index wins (``stable``, as with CUDA since torch
            1.13), or whichever the older CUDA's sort puts in front (``bitonic``).
    """

    dims: tuple[int, ...] = (128, 192, 256, 320)
    depths: tuple[int, ...] = (2, 2, 6, 2)
    heads: tuple[int, ...] = (4, 6, 8, 10)
    window: int = 8
    code_channels: int | None = None
    snr: bool = True
    trained_size: int = 256
    gain: float = 1.0
    unknown_snr_db: float = 7.0
    choice: Choice = "first"
    conventions: Conventions = USUAL

    @property
    def factor(self) -> int:
        """Pixels a token along each side."""
        return int(2 ** len(self.dims))

    def geometry(self, stage: int) -> tuple[int, int]:
        """Window and shift of the encoder's stage."""
        side = self.trained_size // 2 ** (stage + 1)
        return (side, 0) if side <= self.window else (self.window, self.window // 2)


class WindowAttention(nn.Module):
    """Multi-head attention within windows, with a learned bias for each relative position."""

    places: Tensor

    def __init__(self, dim: int, window: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.register_buffer("places", relative_places(window), persistent=False)

    def forward(self, tiles: Tensor, hidden: Tensor | None) -> Tensor:
        """tiles [B, windows, n, C]; hidden bool [windows, n, n]."""
        q, k, v = self.qkv(tiles).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]) + self.relative_position_bias_table[self.places].permute(2, 0, 1)
        if hidden is not None:
            scores = scores - 100.0 * hidden[:, None].to(scores)
        return self.proj((scores.softmax(-1) @ v).transpose(2, 3).flatten(3))


class Block(nn.Module):
    """x + attention in (shifted) windows, then x + MLP: x [B, rows, columns, C]."""

    def __init__(self, dim: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = WindowAttention(dim, window, heads), mlp(dim, 4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        side, shift = self.window, self.shift
        unseen = hidden(x.shape[1], x.shape[2], side, shift).to(x.device) if shift else None
        y = self.attn(to_windows(self.norm1(x), side, shift), unseen)
        x = x + from_windows(y, x.shape, side, shift)
        return x + self.mlp(self.norm2(x))


class Stage(nn.Module):
    """Blocks, after a merging or before a splitting."""

    def __init__(
        self, dim: int, depth: int, heads: int, window: int, shift: int,
        *, downsample: PatchMerging | None = None, upsample: PatchSplitting | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.downsample, self.upsample = downsample, upsample
        self.blocks = nn.ModuleList(Block(dim, heads, window, shift * (index % 2)) for index in range(depth))

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.downsample is None else self.downsample(x)
        for block in self.blocks:
            x = block(x)
        return x if self.upsample is None else self.upsample(x)


class PatchEmbedding(nn.Module):
    """2×2 pixels become a token."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dim, 2, 2)

    def forward(self, image: Tensor) -> Tensor:
        return self.proj(image).permute(0, 2, 3, 1)


class Encoder(nn.Module):
    """Image [B, 3, H, W] in [0, 1], SNR in dB [B] and channels to send [B] → features [B, rows, columns, C], and gates likewise."""

    def __init__(self, config: SwinJSCCConfig) -> None:
        super().__init__()
        self.config, dims = config, config.dims
        self.patch_embed = PatchEmbedding(dims[0])
        self.layers = nn.ModuleList(
            Stage(
                dim, config.depths[stage], config.heads[stage], *config.geometry(stage),
                downsample=PatchMerging(dims[stage - 1], dim) if stage else None,
            )
            for stage, dim in enumerate(dims)
        )  # fmt: skip
        self.norm = nn.LayerNorm(dims[-1])
        if config.snr and config.code_channels is None:  # the published names where there are two ModNets
            self.bm_list1, self.sm_list1 = modnet(dims[-1])
        if config.snr or config.code_channels is None:
            self.bm_list, self.sm_list = modnet(dims[-1])
        if config.code_channels is not None:
            self.head_list = nn.Linear(dims[-1], config.code_channels)

    def forward(self, image: Tensor, snr_db: Tensor, rate: Tensor) -> tuple[Tensor, Tensor]:
        x = self.patch_embed(image)
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x)
        if self.config.snr:
            both = self.config.code_channels is None
            x = x * gates(self.bm_list1 if both else self.bm_list, self.sm_list1 if both else self.sm_list, x, snr_db)
        if self.config.code_channels is not None:
            x = self.head_list(x)
            return x, torch.ones_like(x)
        chosen = gates(self.bm_list, self.sm_list, x, rate)
        return x * chosen, chosen


class Decoder(nn.Module):
    """Features as received [B, rows, columns, C] and the SNR in dB [B] → image [B, 3, H, W], not clamped."""

    def __init__(self, config: SwinJSCCConfig) -> None:
        super().__init__()
        self.config, dims = config, config.dims
        self.layers = nn.ModuleList(
            Stage(
                dims[stage], config.depths[stage], config.heads[stage], *config.geometry(stage),
                upsample=PatchSplitting(dims[stage], dims[stage - 1] if stage else 3),
            )
            for stage in reversed(range(len(dims)))
        )  # fmt: skip
        if config.snr:
            self.bm_list, self.sm_list = modnet(dims[-1])
        if config.code_channels is not None:
            self.head_list = nn.Linear(config.code_channels, dims[-1])

    def forward(self, features: Tensor, snr_db: Tensor) -> Tensor:
        x = features if self.config.code_channels is None else self.head_list(features)
        if self.config.snr:
            x = x * gates(self.bm_list, self.sm_list, x, snr_db)
        for layer in self.layers:
            x = layer(x)
        return x.permute(0, 3, 1, 2)


def bitonic_order(scores: Tensor) -> Tensor:
    """Indices [B, C] of scores [B, C] in falling order as CUDA's sort of torch up to 1.12 has them, C at most 2048.

    A bitonic network over a power of two of places (Batcher, 1968), in which equal scores change places. Places beyond C are at the
    end: their comparison always says so.
    """
    count = scores.shape[1]
    places = next(size for size in (32, 128, 1024, 2048) if count <= size)
    keys = F.pad(scores, (0, places - count)).clone()
    order = torch.arange(places, device=scores.device).expand(len(scores), -1).clone()
    here = order < count
    lane = torch.arange(places // 2, device=scores.device)
    size = 2
    while size <= places:
        rising = (lane & size // 2 != 0) & (size < places)
        stride = size // 2
        while stride:
            left = 2 * lane - (lane & stride - 1)
            right = left + stride
            ahead = ((keys[:, left] > keys[:, right]) & here[:, left]) | ~here[:, right]
            swapped = ahead == rising
            first, second = torch.where(swapped, right, left), torch.where(swapped, left, right)
            for values in (keys, order, here):
                values[:, left], values[:, right] = values.gather(1, first), values.gather(1, second)
            stride //= 2
        size *= 2
    return order[:, :count]


def top_channels(gates: Tensor, rate: int, choice: Choice = "stable") -> Tensor:
    """The published choice of channels: the ``rate`` with the largest gates, summed over the picture; bool [B, C].

    Many gates are exactly 1. Published, an unstable sort decides between them, and its checkpoints depend on that.
    """
    scores = gates.sum((1, 2))
    order = bitonic_order(scores) if choice == "bitonic" else scores.sort(dim=1, descending=True, stable=True).indices
    return torch.zeros(order.shape, dtype=torch.bool, device=order.device).scatter(1, order[:, :rate], True)


class SwinJSCC(PixelCodec):
    """Joint source-channel code of images [B, 3, H, W], H and W multiples of ``multiple``.

    ``choices``: of how many channels the image's own are chosen, where the receiver has to know them (``choice`` of the config).
    """

    def __init__(self, config: SwinJSCCConfig) -> None:
        super().__init__()
        self.config, self.conventions = config, config.conventions
        self.multiple = config.factor * config.window
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.channels = config.code_channels or config.dims[-1]
        self.choices = self.channels if config.choice != "first" and config.code_channels is None else 0

    def _tokens(self, size: tuple[int, int]) -> int:
        return (size[0] // self.config.factor) * (size[1] // self.config.factor)

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """The most complex symbols within ``wanted`` for an image of ``size`` (H, W); with ``choices``, those of whole channels."""
        tokens = self._tokens(size)
        most = self.channels * tokens // 2
        if self.choices:
            return tokens * max(1, min((2 * wanted + 1) // tokens, self.channels)) // 2
        return max(1, min(wanted, most)) if self.config.code_channels is None else most

    def _features(self, image: Tensor, symbols: int, snr_db: Tensor) -> tuple[Tensor, Tensor]:
        """Features and gates [B, rows, columns, C]. Raises ValueError for a number of symbols that this code cannot have."""
        rate = torch.full_like(snr_db, 2 * symbols / self._tokens(checked_size(self, image, symbols)))
        return self.encoder(image, snr_db.nan_to_num(self.config.unknown_snr_db), rate)

    def choose(self, image: Tensor, symbols: int, snr_db: Tensor) -> Tensor:
        """Which channels of an image [1, 3, H, W] are sent, bool [C]; for a codec with ``choices``."""
        gates = self._features(image, symbols, snr_db)[1]
        size = (image.shape[2], image.shape[3])
        return top_channels(gates, 2 * symbols // self._tokens(size), self.config.choice)[0]

    def code(self, image: Tensor, symbols: int, snr_db: Tensor, channels: Tensor | None = None) -> Tensor:
        """As :meth:`PixelCodec.code`. ``channels``: those that are sent, bool [C]; a codec with ``choices`` needs them."""
        features, _ = self._features(image, symbols, snr_db)
        if self.config.choice != "first":
            chosen = features if channels is None else features[..., channels]
            return to_complex(chosen.flatten(1).float())
        tokens = self._tokens((image.shape[2], image.shape[3]))
        positions = sent_positions(tokens, self.channels, 2 * symbols).to(image.device)
        return to_complex(features.permute(0, 3, 1, 2).flatten(1).float()[:, positions])

    def decode(self, equalised: Tensor, size: tuple[int, int], snr_db: Tensor, channels: Tensor | None = None) -> Tensor:
        """x̂ = D(z), not clamped, as :meth:`PixelCodec.decode`; channels that were not sent are zero. ``channels``: as in
        :meth:`code`."""
        tokens, reals = self._tokens(size), self.config.gain * to_real(equalised)
        grid = (size[0] // self.config.factor, size[1] // self.config.factor)
        if self.config.choice != "first":
            chosen = torch.ones(self.channels, dtype=torch.bool, device=reals.device) if channels is None else channels
            features = torch.zeros(len(reals), *grid, self.channels, device=reals.device)
            features[..., chosen] = reals.unflatten(1, (*grid, -1))
        else:
            code = torch.zeros(len(reals), self.channels * tokens, device=reals.device)
            code[:, sent_positions(tokens, self.channels, reals.shape[1]).to(code.device)] = reals
            features = code.unflatten(1, (self.channels, *grid)).permute(0, 2, 3, 1)
        return self.decoder(features, snr_db)
