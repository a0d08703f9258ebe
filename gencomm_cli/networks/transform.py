"""The non-linear transform with a hyperprior (LRISC, arXiv:2504.21577, section II-A; Yang & Mandt, 2023; Dai et al., 2022).

    x ─► g_e ─► z ─┬─► f_e …                                      … f_d ─► ẑ ─► ladder of contexts c_3 … c_0 (for the diffusion)
                   └─► h_e ─► y ─► ŷ ─► h_d ─► μ, σ: p(z | y)                                    └─► g_s ─► coarse image

h_e and h_d have the published program's LeakyReLU, where the paper says ReLU. Modules carry the program's names in the state dict
(``enc.0.0.block1.…``, ``hyper_dec.0.0.…``, ``prior.…``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.networks.conditional_unet import ResnetBlock, downsample, upsample
from gencomm_cli.networks.config import Config
from gencomm_cli.networks.entropy import FactorisedPrior, bits, gaussian_likelihood
from gencomm_cli.networks.layers import zeroed

LEAST_SCALE = 0.1
"""Of σ."""


@dataclass(frozen=True)
class TransformConfig(Config):
    """Constructor arguments of :class:`NonlinearTransform`; the defaults are the paper's sizes.

    Attributes:
        widths: channels after each level of g_e; the last are z's.
        halvings: whether a level halves the picture.
        context_widths: channels of c_0, c_1, …, one for each level; c_0 has the finest grid.
        last_width: channels of the block before c_0; those of c_0 if None.
        hyper_widths: channels of h_e's three layers; the last are y's. The second and the third halve the grid.
        fold: the image is taken apart into fold × fold phases, stacked as channels (1: not).
        kernel: of the first convolution.
        coarse: whether g_s is there: the coarse image from c_0 and a linear synthesis of ẑ, and a linear analysis beside g_e.
    """

    widths: tuple[int, ...] = (64, 128, 192, 256)
    halvings: tuple[bool, ...] = (True, True, True, True)
    context_widths: tuple[int, ...] = (64, 64, 128, 192)
    hyper_widths: tuple[int, ...] = (256, 256, 256)
    last_width: int | None = None
    fold: int = 1
    kernel: int = 7
    coarse: bool = False

    @property
    def factor(self) -> int:
        """Pixels an embedding along each side."""
        return int(self.fold * 2 ** sum(self.halvings))

    @property
    def multiple(self) -> int:
        """Pixels that both sides of an image are multiples of: y has a grid four times coarser than z."""
        return 4 * self.factor


def _leaky(layer: nn.Module) -> nn.Sequential:
    return nn.Sequential(layer, nn.LeakyReLU(0.2))


class Hyperprior(nn.Module):
    """h_e, h_d and p(y) of a latent z [B, C, rows, columns].

    Args:
        latent: C. widths: channels of h_e's three layers; the last are y's. The second and the third halve the grid.
    """

    def __init__(self, latent: int, widths: Sequence[int]) -> None:
        super().__init__()
        first, second, last = widths
        self.hyper_enc = nn.Sequential(
            _leaky(nn.Conv2d(latent, first, 3, 1, 1)), _leaky(nn.Conv2d(first, second, 5, 2, 2)),
            nn.Sequential(nn.Conv2d(second, last, 5, 2, 2)),
        )  # fmt: skip
        self.hyper_dec = nn.Sequential(
            _leaky(nn.ConvTranspose2d(last, second, 5, 2, 2, 1)), _leaky(nn.ConvTranspose2d(second, first, 5, 2, 2, 1)),
            nn.Sequential(nn.Conv2d(first, 2 * latent, 3, 1, 1)),
        )  # fmt: skip
        self.prior = FactorisedPrior(last)

    @torch.no_grad()
    def start_scale(self, scale: Tensor) -> None:
        """Sets p(z | y) to independent Gaussians of zero mean and standard deviations ``scale`` [C], whatever y is."""
        last = zeroed(self.hyper_dec[-1][0])  # type: ignore[index]
        last.bias[len(scale) :].copy_(scale.clamp_min(0.2))

    def hyper_encode(self, z: Tensor) -> Tensor:
        """y = h_e(z) (section II-A), not rounded: [B, C', H/(4 factor), W/(4 factor)]."""
        return self.hyper_enc(z)

    def hyper_decode(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(μ, σ) = h_d(ŷ), σ at least ``LEAST_SCALE`` (eq. 2, which prints z for ŷ)."""
        mean, scale = self.hyper_dec(y).chunk(2, 1)
        return mean, scale.clamp_min(LEAST_SCALE)

    def round_hyper(self, y: Tensor) -> Tensor:
        """ŷ: y rounded to whole distances from the prior's medians, what h_d takes in eq. 2."""
        return torch.round(y - self.prior.medians) + self.prior.medians

    def information(self, z: Tensor) -> Tensor:
        """−log2 p(z_i | ŷ) of each embedding, what eq. 3 allocates symbols by: bits, [B, H/factor, W/factor]."""
        mean, scale = self.hyper_decode(self.round_hyper(self.hyper_encode(z)))
        return bits(gaussian_likelihood(z, mean, scale)).sum(1)


class NonlinearTransform(Hyperprior):
    """g_e, h_e, h_d, p(y), the ladder of contexts, and g_s. Images are [B, 3, H, W] in [−1, 1]."""

    def __init__(self, config: TransformConfig) -> None:
        super().__init__(config.widths[-1], config.hyper_widths)
        self.config = config
        pixels, latent = 3 * config.fold**2, config.widths[-1]
        self.enc, self.dec = nn.ModuleList(), nn.ModuleList()
        for level, (before, after) in enumerate(pairwise((pixels, *config.widths))):
            down = downsample(after) if config.halvings[level] else nn.Identity()
            self.enc.append(nn.Sequential(ResnetBlock(before, after, kernel=config.kernel if level == 0 else 3), down))
        ladder = (latent, *reversed(config.context_widths))
        blocks = [*ladder[1:-1], config.last_width or ladder[-1]]
        for (before, after), width, halved in zip(pairwise(ladder), blocks, reversed(config.halvings), strict=True):
            self.dec.append(nn.Sequential(ResnetBlock(before, width), upsample(width, after) if halved else nn.Identity()))
        if config.coarse:
            self.analysis = nn.Conv2d(3, latent, config.factor, config.factor)
            self.synthesis = nn.ConvTranspose2d(latent, 3, config.factor, config.factor)
            self.to_latent = nn.Conv2d(latent, latent, 1)
            self.to_pixels = nn.Conv2d(config.context_widths[0], pixels, 3, padding=1)

    @torch.no_grad()
    def start_linear(self, mean: Tensor, covariance: Tensor, step: float) -> None:
        """Sets z to the KLT of the picture's blocks in units of ``step``, most powerful first; the networks beside add nothing yet.

        Args:
            mean [D], covariance [D, D]: of flattened blocks of ``factor``² pixels, in the order of a convolution's kernel.
        """
        latent, shape = self.config.widths[-1], self.analysis.weight.shape
        values, vectors = torch.linalg.eigh(covariance.double())
        order = values.argsort(descending=True)[:latent]
        values, basis = values[order].clamp_min(1e-12), vectors[:, order].T
        self.analysis.weight.copy_((basis / step).view(shape))
        self.analysis.bias.copy_(-(basis / step) @ mean.double())  # type: ignore[union-attr]
        self.synthesis.weight.copy_((basis * step).view(shape))
        self.synthesis.bias.copy_(mean.view(3, -1).mean(1))  # type: ignore[union-attr]
        for module in (self.to_latent, self.to_pixels):
            zeroed(module)
        self.start_scale((values.sqrt() / step).float())

    def encode(self, image: Tensor) -> Tensor:
        """z = g_e(x): [B, C, H/factor, W/factor]."""
        h = F.pixel_unshuffle(image, self.config.fold)
        for level in self.enc:
            h = level(h)
        return self.to_latent(h) + self.analysis(image) if self.config.coarse else h

    def contexts(self, z: Tensor) -> list[Tensor]:
        """c_0, c_1, … of ẑ, as X_θ takes it (section III-A.4), finest first: [B, width, H/fold/2^level, W/fold/2^level].

        Channels beyond those of z, the errors that some codes tell, are left out, here and in :meth:`image`.
        """
        z, ladder = z[:, : self.config.widths[-1]], []
        for level in self.dec:
            z = level(z)
            ladder.append(z)
        return ladder[::-1]

    def image(self, z: Tensor, contexts: list[Tensor]) -> Tensor:
        """The coarse image g_s(ẑ) [B, 3, H, W]; not clamped, so that training sees gradients outside [−1, 1]."""
        return self.synthesis(z[:, : self.config.widths[-1]]) + F.pixel_shuffle(self.to_pixels(contexts[0]), self.config.fold)
