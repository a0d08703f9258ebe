"""A code of a latent around its linear optimum, at a rate of each embedding's own (LRISC, arXiv:2504.21577, section III-A.2).

    z_i ─┬───────── √p/√λ ──────────┬─► s_i ──► pilots: the size ──► channel, MMSE ──┬─► LMMSE estimate, its error ─┬─► ẑ_i, σ_i
         └─ `LatentJSCC`'s network ─┘                                                └─ `LatentJSCC`'s network ─────┘

The latent's channels are nearly uncorrelated (KLT). An embedding of v_q symbols sends its first 2 v_q channels. Their variances λ
follow from the rates, which both ends know; the powers p by water-filling over the whole picture; the estimate is LMMSE. That is
the best linear analog code for what is known (Lee & Petersen, 1976). The networks of the paper beside it (transformer blocks, rate
tokens, a layer for each length, SNR-adaptive modules) add nothing at the start; the receiver's correction is in units of the error.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.networks.config import Config
from gencomm_cli.networks.layers import zeroed
from gencomm_cli.networks.linear_code import design_noise, water_filling
from gencomm_cli.networks.ntscc import LatentJSCC, NTSCCConfig, embedding_snr
from gencomm_cli.networks.rate_allocation import RATES


@dataclass(frozen=True)
class KLTLatentConfig(Config):
    """Constructor arguments of :class:`KLTLatentJSCC`.

    Attributes:
        channels: of z, at least two for each symbol of the highest rate. width, depth, heads, window, mlp, snr_width: of the
            networks, as in :class:`~gencomm_cli.networks.ntscc.NTSCCConfig`.
    """

    channels: int = 128
    width: int = 192
    depth: int = 3
    heads: int = 6
    window: int = 4
    mlp: int = 2
    snr_width: int = 64


class KLTLatentJSCC(LatentJSCC):
    """:class:`LatentJSCC` beside KLT powers and LMMSE; what it receives is ẑ and its error's standard deviation."""

    piloted = True

    def __init__(self, config: KLTLatentConfig) -> None:
        super().__init__(NTSCCConfig(config.width, config.depth, config.heads, config.window, config.mlp, config.snr_width))
        channels = config.channels
        self.log_spread = nn.Sequential(nn.Linear(3, 32), nn.SiLU(), nn.Linear(32, channels))
        self.scale_in, self.scale_out = nn.Linear(channels, config.width), nn.Linear(config.width, channels)
        self.estimated = nn.Linear(2 * channels, config.width)
        for layer in (self.log_spread[-1], self.scale_out, self.fc_encode):
            zeroed(layer)

    @torch.no_grad()
    def start_linear(self, scale: Tensor) -> None:
        """Sets the code to the linear one for channels of standard deviation ``scale`` [C], whatever the rates."""
        self.log_spread[-1].bias.copy_(scale.clamp_min(1e-3).log())  # type: ignore[union-attr, operator]

    def spread(self, levels: Tensor, pictures: int | None = None) -> Tensor:
        """√λ of the channels of each embedding [B, T, C], by its rate, the mean of its picture's, and their spread there."""
        rate = self.rates[levels].view(pictures or len(levels), -1).float()
        sent = (rate > 0).float()
        count = sent.sum(1, keepdim=True).clamp_min(1)
        log = rate.clamp_min(1).log()
        mean = (rate.sum(1, keepdim=True) / count).clamp_min(1).log()
        deviation = (((log - (log * sent).sum(1, keepdim=True) / count).square() * sent).sum(1, keepdim=True) / count).sqrt()
        about = torch.stack([log - mean, (mean - 2).expand_as(log), deviation.expand_as(log)], -1)
        return self.log_spread(about).clamp(-7, 7).exp().view(*levels.flatten(1).shape, -1)

    def _powers(self, spread: Tensor, sent: Tensor, tx_snr_db: Tensor, pictures: int) -> Tensor:
        """Of each real [B, T, C], 1/2 in the mean over those of a picture that are sent."""
        each = (pictures, -1)
        noise = design_noise(tx_snr_db.view(each)[:, 0])
        return water_filling(spread.reshape(each), sent.reshape(each).float(), noise).view_as(spread)

    def _sent(self, levels: Tensor, channels: int) -> Tensor:
        return torch.arange(channels, device=levels.device) < 2 * self.rates[levels.flatten(1)][..., None]

    def encode(self, z: Tensor, levels: Tensor, snr_db: Tensor, pictures: int | None = None) -> Tensor:
        """As :meth:`LatentJSCC.encode`, with 1/2 a real in the mean, as far as the variances are those expected."""
        with torch.autocast(z.device.type, enabled=False):
            spread = self.spread(levels, pictures)
            powers = self._powers(spread, self._sent(levels, z.shape[1]), snr_db, pictures or len(z))
            unit = z.float().flatten(2).transpose(1, 2) / spread
            linear = (amplitudes(powers) * unit)[..., : 2 * RATES[-1]]
        learned = super().encode(unit.transpose(1, 2).view_as(z), levels, snr_db)
        return learned + torch.view_as_complex(linear.unflatten(2, (-1, 2)).contiguous())

    def receive(
        self, equalised: Tensor, reliability: Tensor, levels: Tensor, tx_snr_db: Tensor, size: Tensor | None = None,
        pictures: int | None = None,
    ) -> Tensor:  # fmt: skip
        """As :meth:`LatentJSCC.receive`: [B, 2C, rows, columns]."""
        mask = self.mask(levels)
        with torch.autocast(equalised.device.type, enabled=False):
            spread = self.spread(levels, pictures)
            short = (0, spread.shape[2] - 2 * RATES[-1])
            values = F.pad(torch.view_as_real(equalised).flatten(2), short)
            r = F.pad((reliability * mask).float().repeat_interleave(2, 2), short)
            powers = self._powers(spread, self._sent(levels, spread.shape[2]), tx_snr_db, pictures or len(levels))
            amplitude = amplitudes(powers)
            if size is not None:
                amplitude = amplitude * size[:, None, None]
            power = (amplitude.square() * r + (1 - r) / 2).clamp_min(1e-9)  # of a received real, over its reliability
            estimate, error = amplitude * values / power, ((1 - r) / 2 / power).clamp(1e-6, 1).sqrt()
        beside = self.estimated(torch.cat([estimate, error], 2))
        learned = self.decode(equalised, levels, embedding_snr(reliability, mask), beside).float()
        unsure = spread * error
        fields = [part.transpose(1, 2).unflatten(2, levels.shape[1:]) for part in (spread * estimate, unsure)]
        return torch.cat([fields[0] + fields[1] * learned, fields[1]], 1)


def amplitudes(powers: Tensor) -> Tensor:
    """√p, elementwise, whose gradient is finite where p is zero."""
    return powers.clamp_min(1e-12).sqrt() * (powers > 0)
