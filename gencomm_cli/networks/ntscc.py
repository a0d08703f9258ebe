"""Joint source-channel coding of a latent at a rate of each embedding's own (LRISC, section III-A.2; Dai et al., 2022).

    z_i ─► scale ─► + rate token ─► N_e transformer blocks ─► SNR-adaptive ─► FC of v_q outputs ─► s_i ∈ C^{v_q} ─► unit power
    ẑ_i ◄─ scale ◄─ N_d transformer blocks ◄─ SNR-adaptive ◄─ + rate token ◄─ FC of v_q inputs ◄─ equalised symbols

Embeddings are laid out as [B, T, V] with V the highest rate, and a mask says which symbols are sent: that is how training takes
them. On the channel they follow one another (:func:`pack`): the first symbol of every embedding, then the second of all that have
one, and so on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.channels.equalisers import effective_snr_db
from gencomm_cli.networks.config import Config
from gencomm_cli.networks.layers import zeroed
from gencomm_cli.networks.rate_allocation import RATES
from gencomm_cli.networks.snr_adaptive import SnrAdaptive
from gencomm_cli.networks.windows import from_windows, hidden, relative_places, to_windows


@dataclass(frozen=True)
class NTSCCConfig(Config):
    """Constructor arguments of :class:`LatentJSCC`; the defaults have NTSCC+'s depth and windows, and the paper's SNR module.

    Attributes:
        channels: of z, at least two for each symbol of the highest rate. depth: N_e = N_d. window: side of the attention's windows,
            in embeddings. snr_width: of the SNR-adaptive modules.
    """

    channels: int = 256
    depth: int = 4
    heads: int = 8
    window: int = 4
    mlp: int = 2
    snr_width: int = 384


class WindowBlock(nn.Module):
    """A Swin transformer block [Liu et al., 2021] that starts as the identity: attention in windows, then an MLP."""

    places: Tensor

    def __init__(self, channels: int, heads: int, window: int, shift: int, mlp: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.norm1, self.norm2 = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.qkv, self.proj = nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        self.mlp = nn.Sequential(nn.Linear(channels, mlp * channels), nn.GELU(), nn.Linear(mlp * channels, channels))
        self.bias = nn.Parameter(torch.zeros(heads, (2 * window - 1) ** 2))
        self.register_buffer("places", relative_places(window), persistent=False)
        for last in (self.proj, self.mlp[-1]):
            zeroed(last)

    def _attend(self, x: Tensor) -> Tensor:
        batch, rows, columns, _ = x.shape
        # q, k, v: [B, windows, heads, window², C/heads]
        q, k, v = self.qkv(to_windows(x, self.window, self.shift)).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        unseen = hidden(rows, columns, self.window, self.shift).to(x.device)[:, None]
        bias = self.bias[:, self.places].to(q.dtype).masked_fill(unseen, -torch.inf)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=bias.expand(batch, *bias.shape))
        return from_windows(self.proj(out.transpose(2, 3).flatten(3)), x.shape, self.window, self.shift)

    def forward(self, x: Tensor) -> Tensor:
        """x [B, rows, columns, C], rows and columns multiples of the window."""
        x = x + self._attend(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class LatentJSCC(nn.Module):
    """f_e and f_d: a latent [B, C, rows, columns] to symbols [B, T, V] and back, T = rows · columns.

    ``levels`` int64 [B, rows, columns]: the level of each embedding, ``len(RATES)`` where nothing is sent. ``pictures``: how many
    the B fields make up, one after the other, each of as many; None: B.

    Attributes:
        piloted: whether symbols beside the code say how large it is sent.
    """

    rates: Tensor
    columns: Tensor
    piloted = False

    def __init__(self, config: NTSCCConfig) -> None:
        super().__init__()
        self.config = config
        channels, most = config.channels, max(RATES)
        rates, total = np.array([*RATES, 0]), 2 * sum(RATES)
        reals, first = np.arange(2 * most), 2 * (rates.cumsum() - rates)
        columns = np.where(reals < 2 * rates[:, None], first[:, None] + reals, total)
        self.register_buffer("rates", torch.from_numpy(rates), persistent=False)
        self.register_buffer("columns", torch.from_numpy(columns), persistent=False)
        self.scale_in, self.scale_out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.sent_token = nn.Parameter(torch.zeros(len(rates), channels))
        self.received_token = nn.Parameter(torch.zeros(len(rates), channels))
        self.fc_encode = nn.Linear(channels, total)  # the FC layers of all rates, side by side
        self.fc_decode = nn.Linear(total, channels, bias=False)  # their biases are the tokens
        self.encoder, self.decoder = (
            nn.Sequential(
                *(
                    WindowBlock(channels, config.heads, config.window, config.window // 2 * (index % 2), config.mlp)
                    for index in range(config.depth)
                )
            )
            for _ in range(2)
        )
        self.sent_snr, self.received_snr = (SnrAdaptive(channels, config.snr_width) for _ in range(2))
        self.unknown_snr = nn.Parameter(torch.tensor(8.0))  # dB, where the transmitter knows none

    @torch.no_grad()
    def start_linear(self, scale: Tensor) -> None:
        """Sets the code to a linear one: the first 2 v_q channels of z, most powerful first, each with the amplitude that is best
        for a linear analog code of a Gaussian source [Lee & Petersen, 1976], at unit power where each embedding has 8 symbols.

        Args:
            scale: standard deviation of each channel of z [C].
        """
        scale = scale.clamp_min(1e-3)
        amplitude = (0.5 / scale[:16].mean() / scale).sqrt()
        self.scale_in.weight.copy_(torch.diag(amplitude))
        self.scale_out.weight.copy_(torch.diag(1 / amplitude))
        for layer in (self.scale_in, self.scale_out, self.fc_encode):
            nn.init.zeros_(layer.bias)
        identity = torch.eye(self.config.channels)
        columns = torch.cat([identity[:, : 2 * rate] for rate in RATES], 1)
        self.fc_encode.weight.copy_(2 * columns.T)  # the gates start at ½
        self.fc_decode.weight.copy_(2 * columns)

    def mask(self, levels: Tensor) -> Tensor:
        """Which symbols are sent: bool [B, T, V]."""
        return torch.arange(max(RATES), device=levels.device) < self.rates[levels.flatten(1)][..., None]

    def encode(self, z: Tensor, levels: Tensor, snr_db: Tensor, pictures: int | None = None) -> Tensor:
        """s = f_e(z, levels) (eq. 4): complex [B, T, V], zero where nothing is sent; its power is not yet normalised.

        Args:
            snr_db: what the transmitter knows [B]; NaN where it knows nothing.
        """
        known = torch.where(snr_db.isnan(), self.unknown_snr, snr_db.nan_to_num())
        u = self.scale_in(z.permute(0, 2, 3, 1)) + self.sent_token[levels]
        u = self.encoder(u).flatten(1, 2)
        u = self.sent_snr(u, known[:, None].expand(u.shape[:2]))
        columns = self.columns[levels.flatten(1)]
        every = F.pad(self.fc_encode(u).float(), (0, 1))
        return torch.view_as_complex(every.gather(2, columns).unflatten(2, (-1, 2)).contiguous())

    def receive(
        self, equalised: Tensor, reliability: Tensor, levels: Tensor, tx_snr_db: Tensor, size: Tensor | None = None,
        pictures: int | None = None,
    ) -> Tensor:  # fmt: skip
        """ẑ = f_d(ŝ): [B, C, rows, columns], and where the code knows it the standard deviation of its error: [B, 2C, …].

        Args:
            equalised: after the MMSE equaliser, complex [B, T, V], zero where nothing was sent.
            reliability: |h|²/(|h|² + N0) of each symbol [B, T, V].
            tx_snr_db: as :meth:`encode` got it [B]. size: how large each field's code was sent [B]; None: at unit power.
        """
        return self.decode(equalised, levels, embedding_snr(reliability, self.mask(levels)))

    def decode(self, equalised: Tensor, levels: Tensor, snr_db: Tensor, beside: Tensor | None = None) -> Tensor:
        """:meth:`receive` by the network alone.

        Args:
            snr_db: SNR_i of each embedding [B, T]. beside: what is known of each embedding else, as features [B, T, width].
        """
        columns = self.columns[levels.flatten(1)]
        every = torch.zeros(*columns.shape[:2], self.fc_decode.in_features + 1, device=columns.device)
        every = every.scatter(2, columns, torch.view_as_real(equalised).flatten(2))[..., :-1]
        u = self.fc_decode(every) + self.received_token[levels.flatten(1)]
        u = u if beside is None else u + beside
        u = self.received_snr(u, snr_db).unflatten(1, levels.shape[1:])
        return self.scale_out(self.decoder(u)).permute(0, 3, 1, 2)


def unit_power(symbols: Tensor, mask: Tensor) -> Tensor:
    """Scales the sent symbols of each picture [B, T, V] to E|s|² = 1."""
    power = (symbols.abs().square() * mask).sum((1, 2), keepdim=True) / mask.sum((1, 2), keepdim=True).clamp_min(1)
    return symbols * mask / power.clamp_min(1e-12).sqrt()


def pack(symbols: Tensor, mask: Tensor) -> Tensor:
    """One picture's symbols [T, V] in the order in which they are sent: complex [k]."""
    return symbols.T[mask.T]


def unpack(sent: Tensor, mask: Tensor) -> Tensor:
    """Inverse of :func:`pack`: [T, V] of the type of ``sent`` [k], zero where nothing was sent."""
    grid = torch.zeros(mask.T.shape, dtype=sent.dtype, device=sent.device)
    grid[mask.T] = sent
    return grid.T


def embedding_snr(reliability: Tensor, mask: Tensor) -> Tensor:
    """SNR_i in dB [B, T]: the effective SNR of an embedding's symbols [B, T, V], within ±30; 0 without any."""
    count = mask.sum(-1)
    mean = ((reliability * mask).sum(-1) / count.clamp_min(1)).clamp(1e-3, 1 - 1e-3)
    return torch.where(count > 0, effective_snr_db(mean), 0.0)
