"""LRISC's transform around principal component analysis (arXiv:2504.21577, section II-A).

    x ─┬─ Vᵀ(x − μ)/step ─┬─► z …        … ẑ, σ ─┬─ step · V ẑ + μ ──────────────────────┬─► coarse image
       └─── f(x) ─────────┘                      └─ c_3 ─► c_2 ─► c_1 ─► c_0 ─► last ────┘
                                                  contexts, for the diffusion

V are the principal components of blocks, the best linear code; f and the last layer are zero at the start. Dense convolutions
without normalisation, at half the picture's resolution at most.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.networks.autoencoder import ResidualBlock, resolutions
from gencomm_cli.networks.config import Config
from gencomm_cli.networks.layers import zeroed
from gencomm_cli.networks.transform import Hyperprior

ROUNDING = math.sqrt(1 / 12)
"""Standard deviation of the noise that stands for rounding: what is not known of a z that no channel has touched."""


@dataclass(frozen=True)
class ResidualTransformConfig(Config):
    """Constructor arguments of :class:`ResidualTransform`.

    Attributes:
        channels: of z. step: the unit of z, in which it is rounded: an amplitude of the block's pixels in [−1, 1].
        encoder_widths, encoder_depths: channels and residual blocks of f, from the finest resolution to z's, each half of the last.
        context_widths, context_depths: of the contexts, c_0 (half the picture's resolution) first; as many levels down to z's.
        hyper_widths: channels of h_e's three layers. edge: channels before the last layer.
    """

    channels: int = 128
    step: float = 0.2
    encoder_widths: tuple[int, ...] = (128, 128, 128)
    encoder_depths: tuple[int, ...] = (2, 2, 1)
    context_widths: tuple[int, ...] = (64, 128, 128, 128)
    context_depths: tuple[int, ...] = (2, 3, 2, 1)
    hyper_widths: tuple[int, ...] = (64, 64, 64)
    edge: int = 16

    @property
    def factor(self) -> int:
        """Pixels an embedding along each side."""
        return int(2 ** len(self.context_widths))

    @property
    def multiple(self) -> int:
        """Pixels that both sides of an image are multiples of: y has a grid four times coarser than z."""
        return 4 * self.factor


class ResidualTransform(Hyperprior):
    """g_e, h_e, h_d, p(y), the ladder of contexts, and g_s. Images are [B, 3, H, W] in [−1, 1].

    What is received is ẑ alone [B, C, …], of a z that was rounded, or ẑ and the standard deviation of its error [B, 2C, …].
    """

    basis: Tensor
    mean: Tensor
    scale: Tensor

    def __init__(self, config: ResidualTransformConfig) -> None:
        super().__init__(config.channels, config.hyper_widths)
        self.config = config
        channels, factor, widths = config.channels, config.factor, config.encoder_widths
        self.register_buffer("basis", torch.zeros(channels, 3, factor, factor))  # V, one component after the other
        self.register_buffer("mean", torch.zeros(3, 1, 1))  # μ, the same for every pixel of a block
        self.register_buffer("scale", torch.ones(channels, 1, 1))  # standard deviations of z at the start
        self.fold = factor // 2 ** (len(widths) - 1)
        down = resolutions(
            3 * self.fold**2, widths, config.encoder_depths, lambda before, after: [nn.Conv2d(before, after, 3, 2, 1)]
        )
        self.encoder = nn.Sequential(*down, nn.SiLU(), zeroed(nn.Conv2d(widths[-1], channels, 3, padding=1)))
        ladder = list(zip(reversed(config.context_widths), reversed(config.context_depths), strict=True))
        first: nn.Module = nn.Conv2d(2 * channels, ladder[0][0], 3, padding=1)
        self.ladder = nn.ModuleList([nn.Sequential(first, *blocks(*ladder[0]))])
        for (before, _), (after, depth) in pairwise(ladder):
            self.ladder.append(nn.Sequential(nn.ConvTranspose2d(before, after, 4, 2, 1), *blocks(after, depth)))
        self.last = nn.Sequential(
            nn.SiLU(), nn.Conv2d(ladder[-1][0], 4 * config.edge, 3, padding=1), nn.PixelShuffle(2), nn.SiLU(),
            zeroed(nn.Conv2d(config.edge, 3, 3, padding=1)),
        )  # fmt: skip

    @torch.no_grad()
    def start_linear(self, mean: Tensor, covariance: Tensor) -> None:
        """Sets V and μ by the statistics of flattened blocks of ``factor``² pixels, mean [D] and covariance [D, D]."""
        values, vectors = torch.linalg.eigh(covariance.double())
        best = values.argsort(descending=True)[: self.config.channels]
        self.basis.copy_(vectors[:, best].T.reshape(self.basis.shape))
        self.mean.copy_(mean.view(3, -1).mean(1)[:, None, None])
        scale = (values[best].clamp_min(1e-12).sqrt() / self.config.step).float()
        self.scale.copy_(scale[:, None, None])
        self.start_scale(scale)

    def encode(self, image: Tensor) -> Tensor:
        """z = g_e(x): [B, C, H/factor, W/factor]."""
        with torch.autocast(image.device.type, enabled=False):  # the linear part is exact in any number format of the rest
            linear = F.conv2d(image.float() - self.mean, self.basis / self.config.step, stride=self.config.factor)
        return linear + self.encoder(F.pixel_unshuffle(image - self.mean, self.fold))

    def contexts(self, z: Tensor) -> list[Tensor]:
        """c_0, c_1, … of ẑ, as X_θ takes it (section III-A.4), finest first: [B, width, H/2^(level + 1), W/2^(level + 1)]."""
        channels = self.config.channels
        z, unsure = (z[:, :channels], z[:, channels:]) if z.shape[1] > channels else (z, torch.full_like(z, ROUNDING))
        h, ladder = torch.cat([z / self.scale, unsure / self.scale], 1), []
        for level in self.ladder:
            h = level(h)
            ladder.append(h)
        return ladder[::-1]

    def image(self, z: Tensor, contexts: list[Tensor]) -> Tensor:
        """The coarse image g_s(ẑ) [B, 3, H, W]; not clamped, so that training sees gradients outside [−1, 1]."""
        with torch.autocast(z.device.type, enabled=False):
            values = z[:, : self.config.channels].float()
            linear = F.conv_transpose2d(values, self.basis * self.config.step, stride=self.config.factor)
        return linear + self.mean + self.last(contexts[0])


def blocks(width: int, depth: int) -> Sequence[nn.Module]:
    """Residual blocks, one after the other."""
    return [ResidualBlock(width) for _ in range(depth)]
