"""Encoder and previewer of a small SC-SIC: the best linear code of blocks, and networks that add nothing at the start.

::

    X ─┬─ A(x − μ) ─┬─► Z ─► channel ─► Ẑ ─┬─ BẐ + μ ─┬─► coarse image
       └─── f(x) ───┘                      └── g(Ẑ) ──┘

A holds the principal components of 32 × 32 pixels, each with the power that serves best against equal noise on all of them; B is
the estimate of least error at one SNR.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.methods.scsic.efficientnet import FACTOR
from gencomm_cli.networks.autoencoder import narrowing, unfolding, widening
from gencomm_cli.networks.layers import zeroed

FOLD = 8
"""f begins, and g ends, at squares of that many pixels."""


def powers(variances: Tensor, snr: float) -> Tensor:
    """The powers [C], of mean 1, that leave the least error Σ σ²/(1 + snr · p): p = max(0, c · σ − 1/snr).

    Args:
        variances: σ² [C], descending. snr: of a real of power 1.
    """
    deviation = variances.sqrt()
    for count in range(len(variances), 0, -1):  # the weakest get nothing until all powers are positive
        p = deviation[:count] * (len(variances) + count / snr) / deviation[:count].sum() - 1 / snr
        if p[-1] > 0:
            break
    return F.pad(p, (0, len(variances) - count))


class BlockEncoder(nn.Module):
    """Z = E(X) (section 3.1): image [B, 3, 32h, 32w] in [0, 1] → Z [B, C, h, w].

    Args:
        channels: C. widths, depths: channels and residual blocks of f at 1/8, 1/16 and 1/32.
    """

    analysis: Tensor
    mean: Tensor

    def __init__(self, channels: int = 16, widths: Sequence[int] = (128, 160, 192), depths: Sequence[int] = (2, 2, 2)) -> None:
        super().__init__()
        self.channels = channels
        self.register_buffer("analysis", torch.zeros(channels, 3, FACTOR, FACTOR))  # A
        self.register_buffer("mean", torch.zeros(3, 1, 1))  # μ
        last = zeroed(nn.Conv2d(widths[-1], channels, 3, padding=1))
        self.residual = nn.Sequential(nn.PixelUnshuffle(FOLD), *narrowing(3 * FOLD**2, widths, depths), nn.SiLU(), last)

    def forward(self, image: Tensor) -> Tensor:
        centred = image - self.mean
        with torch.autocast(image.device.type, enabled=False):  # exact in any number format of the rest
            linear = F.conv2d(centred, self.analysis, stride=FACTOR)
        return linear + self.residual(centred)


class BlockPreviewer(nn.Module):
    """Ẑ [B, C, h, w] → the coarse image [B, 3, 32h, 32w], not clamped.

    Args:
        channels: C. widths, depths: channels and residual blocks of g from 1/32 on. edge: its channels at full resolution.
    """

    synthesis: Tensor
    mean: Tensor

    def __init__(
        self,
        channels: int = 16,
        widths: Sequence[int] = (256, 160, 96, 64),
        depths: Sequence[int] = (2, 2, 2, 1),
        edge: int = 16,
    ) -> None:
        super().__init__()
        self.register_buffer("synthesis", torch.zeros(channels, 3, FACTOR, FACTOR))  # B
        self.register_buffer("mean", torch.zeros(3, 1, 1))
        self.trunk = nn.Sequential(*widening(channels, widths, depths))
        self.head = nn.Sequential(*unfolding(widths[-1], edge, FACTOR // 2 ** (len(widths) - 1)))

    def forward(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):
            linear = F.conv_transpose2d(z.float(), self.synthesis.float(), stride=FACTOR)
        return linear.to(z.dtype) + self.mean + self.head(self.trunk(z))


@torch.no_grad()
def start(encoder: BlockEncoder, previewer: BlockPreviewer, blocks: Tensor, snr_db: float = 10.0) -> None:
    """Sets A, B and μ by principal component analysis of blocks [N, 3, 32, 32], for AWGN of ``snr_db``."""
    snr = 10 ** (snr_db / 10)
    mean = blocks.mean((0, 2, 3))[:, None, None]
    rows = (blocks - mean).flatten(1)
    _, singular, vectors = torch.svd_lowrank(rows, 2 * encoder.channels, niter=8)  # all 3072 components would take long
    variances = (singular[: encoder.channels].square() / len(rows)).clamp_min(1e-9)
    components = vectors[:, : encoder.channels].T.reshape(encoder.analysis.shape)
    p = powers(variances, snr)[:, None, None, None]
    deviations = variances.sqrt()[:, None, None, None]
    encoder.analysis.copy_(components * p.sqrt() / deviations)
    previewer.synthesis.copy_(components * deviations * p.sqrt() / (p + 1 / snr))
    for module in (encoder, previewer):
        module.mean.copy_(mean)
