"""Codes that start as the linear optimum: KLT, powers by the eigenvalues, LMMSE; their networks add nothing yet.

A SwinJSCC takes some work. Five thousand steps from random weights teach a small SwinJSCC little more than the mean colour of each
token. Its layers can be set to a linear code, but for the layer norms. A pair of constant channels (+B, −B), large beside the
coefficients, makes these nearly linear: LN(x) ≈ (x − mean)/σ, where σ hardly depends on the coefficients; and the mean drops out
of rows whose weights sum to zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.networks.coarse import CoarseHead
from gencomm_cli.networks.klt_jscc import KLTJSCC, FieldCode
from gencomm_cli.networks.layers import zeroed
from gencomm_cli.networks.swinjscc import Block, Stage, SwinJSCC
from gencomm_cli.networks.windows import PatchMerging, PatchSplitting

CONSTANT, RECEIVED = 10.0, 20.0
"""B beside coefficients of unit energy a token, and beside received ones."""

FITTED = 256
"""Images that a coarse head is fitted to: hundreds of thousands of positions for some thousand numbers."""


def token_statistics(fields: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance of flattened factor×factor tokens of fields [N, C, H, W], in the order of a convolution's kernel."""
    tokens = F.unfold(fields, factor, stride=factor).transpose(1, 2).flatten(0, 1).double()
    return tokens.mean(0), tokens.T.cov()


def start_code(
    jscc: FieldCode, head: CoarseHead | None, fields: Tensor, images: Tensor, *, emphasis: float = 0.0, linear: bool = True
) -> None:
    """Sets a code, and a coarse head that has learned nothing yet, to their linear optima over fields [N, C, H, W] of images.

    Args:
        emphasis: an error in a channel of the fields counts as this power of what it does to the picture.
        linear: set the code; else the head alone.
    """
    if head is not None and not head.residual[-1].weight.any():  # type: ignore[operator, union-attr]
        head.start(fields[:FITTED], images[:FITTED])
    if not linear:
        return
    statistics = token_statistics(fields, jscc.config.factor)
    if isinstance(jscc, KLTJSCC):
        jscc.start_linear(*statistics, None if head is None else head.importance().pow(emphasis))
    else:
        jscc.start_linear(*statistics)


@dataclass(frozen=True)
class Transform:
    """The KLT of square blocks of the image, its coefficients scaled to unit energy a block.

    Attributes:
        basis: [K, 3, side, side], orthonormal, most powerful first. scale: of the coefficients.
        variances: of the scaled coefficients [K].
    """

    basis: Tensor
    scale: float
    variances: Tensor

    @classmethod
    def of(cls, covariance: Tensor, most: int) -> Transform:
        """The first ``most`` coefficients for blocks of that covariance, in the order (channel, row, column)."""
        values, vectors = torch.linalg.eigh(covariance.double())
        order = values.argsort(descending=True)[:most]
        side, energy = round((len(covariance) / 3) ** 0.5), float(values.sum())
        return cls(vectors[:, order].T.reshape(-1, 3, side, side), energy**-0.5, (values[order] / energy).clamp_min(1e-12))

    def part(self, row: int, column: int, fine: Transform) -> Tensor:
        """How the coefficients of a quarter of the block, of ``fine``, and those of the block make one another: [K, K of fine]."""
        half = fine.basis.shape[-1]
        quarter = self.basis[:, :, row * half : (row + 1) * half, column * half : (column + 1) * half]
        return torch.einsum("kcyx,lcyx->kl", quarter, fine.basis)


def start_swin(code: SwinJSCC, fields: Tensor, cbr: float) -> None:
    """Sets a SwinJSCC to the linear code for 10 dB and that CBR, by the statistics of images [N, 3, H, W]."""
    sides = [2 ** (stage + 1) for stage in range(len(code.config.dims))]
    covariances = [token_statistics(fields, side)[1] for side in sides]
    start_linear(code, fields.mean((0, 2, 3)), covariances, reals=round(6 * sides[-1] ** 2 * cbr), snr_db=10.0)


@torch.no_grad()
def start_linear(code: SwinJSCC, mean: Tensor, covariances: Sequence[Tensor], reals: int, snr_db: float) -> None:
    """Sets a SwinJSCC with both ModNets to the linear code.

    Args:
        mean: of the pixels [3]. covariances: of flattened blocks of 2², 4², … pixels, [3 side², 3 side²], one a stage.
        reals: how many a token, and snr_db: that the decoder's LMMSE weights are for.
    """
    transforms = [Transform.of(*pair) for pair in zip(covariances, (dim - 3 for dim in code.config.dims), strict=True)]
    silent = [layer for block in code.modules() if isinstance(block, Block) for layer in (block.attn.proj, block.mlp[-1])]
    gates = [lists[-1] for lists in (code.encoder.sm_list1, code.encoder.sm_list, code.decoder.sm_list)]  # each gate is 1/2
    for layer in [*silent, *gates, code.encoder.patch_embed.proj]:
        zeroed(layer)  # type: ignore[type-var]
    _start_encoder(code, mean.double(), transforms)
    _start_decoder(code, mean.double(), transforms, reals, 10 ** (-snr_db / 10))


def _start_encoder(code: SwinJSCC, mean: Tensor, transforms: Sequence[Transform]) -> None:
    encoder, dims, first, last = code.encoder, code.config.dims, transforms[0], transforms[-1]
    embed, count = encoder.patch_embed.proj, len(first.basis)
    embed.weight[:count] = (first.scale * first.basis).float()
    embed.bias[:count] = (-first.scale * torch.einsum("kcyx,c->k", first.basis, mean)).float()  # type: ignore[index]
    embed.bias[-2:] = torch.tensor([CONSTANT, -CONSTANT])  # type: ignore[index]
    for index, (fine, coarse) in enumerate(pairwise(transforms)):
        merging = _stage(encoder.layers[index + 1]).downsample
        assert isinstance(merging, PatchMerging)
        rows = torch.zeros(dims[index + 1], 4, dims[index], dtype=torch.float64)
        for place, (column, row) in enumerate((column, row) for column in (0, 1) for row in (0, 1)):
            rows[: len(coarse.basis), place, : len(fine.basis)] = coarse.scale / fine.scale * coarse.part(row, column, fine)
        if coarse is last:  # the last norm takes the mean off every channel: one of them makes it zero
            rows[-3] = -rows.sum(0)
        rows[-2:, 0, -2:] = torch.tensor([[0.5, -0.5], [-0.5, 0.5]], dtype=torch.float64)
        energy = 4 * (2 * CONSTANT**2 + 1)
        merging.reduction.weight.copy_(_through_norm(rows.flatten(1), dims[index] - 2, energy))
    encoder.norm.weight.zero_()
    encoder.norm.weight[: len(last.basis)] = last.variances.pow(-0.25).float()  # powers ∝ √λ


def _start_decoder(code: SwinJSCC, mean: Tensor, transforms: Sequence[Transform], reals: int, n0: float) -> None:
    dims, last = code.config.dims, transforms[-1]
    stages = [_stage(stage) for stage in code.decoder.layers]
    first = stages[0].blocks[0]
    assert isinstance(first, Block)
    first.mlp[-1].bias[-2:] = torch.tensor([RECEIVED, -RECEIVED])  # type: ignore[operator]
    amplitude = (last.variances.pow(-0.5) * 0.5 / last.variances[:reals].sqrt().mean()).sqrt()  # of a symbol's real, power 1/2
    weights = 2 * amplitude * last.variances / (amplitude.square() * last.variances + n0 / 2)  # LMMSE, after gates of 1/2
    energy, constant = reals / 8 * (1 + n0) + 2 * RECEIVED**2, RECEIVED
    for index, coarse in zip(reversed(range(len(dims))), reversed(transforms), strict=True):
        splitting = stages[len(dims) - 1 - index].upsample
        assert isinstance(splitting, PatchSplitting)
        if index:
            fine = transforms[index - 1]
            rows = torch.zeros(dims[index - 1], 2, 2, dims[index], dtype=torch.float64)
            for row, column in ((row, column) for row in (0, 1) for column in (0, 1)):
                rows[: len(fine.basis), row, column, : len(coarse.basis)] = (
                    fine.scale / coarse.scale * coarse.part(row, column, fine).T
                )
            rows[-2:, :, :, -2:] = (
                CONSTANT / constant * torch.tensor([[0.5, -0.5], [-0.5, 0.5]], dtype=torch.float64)[:, None, None]
            )
        else:
            rows = torch.zeros(3, 2, 2, dims[0], dtype=torch.float64)
            rows[..., : len(coarse.basis)] = coarse.basis.permute(1, 2, 3, 0) / coarse.scale
            rows[..., -2:] = mean[:, None, None, None] / constant * torch.tensor([0.5, -0.5], dtype=torch.float64)
        if coarse is last:
            rows[..., : len(coarse.basis)] *= weights
        splitting.increment.weight.copy_(_through_norm(rows.flatten(0, 2), dims[index] - 2, energy))
        energy, constant = 2 * CONSTANT**2 + 1, CONSTANT


def _through_norm(rows: Tensor, constants: int, energy: float) -> Tensor:
    """Rows [out, width] that do after a layer norm what ``rows`` do before it, for vectors of that mean energy.

    Args:
        constants: where a +B and −B lie side by side.
    """
    rows = rows.clone()
    rows[:, constants : constants + 2] -= rows.sum(1, keepdim=True) / 2
    return (rows * (energy / rows.shape[1]) ** 0.5).float()


def _stage(module: object) -> Stage:
    assert isinstance(module, Stage)
    return module
