"""An ADJSCC that starts as a linear code: KLT of 4×4 pixels, powers ∝ √λ, LMMSE from the 5×5 code positions around.

As for SwinJSCC (:mod:`gencomm_cli.training.linear_start`), random weights learn this much only slowly. GDN with γ ≈ 0, a PReLU of
slope 1 and an attention that says 1/2 are linear; of kernels only the taps under a block are set. A feature that the code does not
need keeps its random weights, and nothing listens to it yet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.networks.adjscc import ADJSCC, GDN, Attention
from gencomm_cli.networks.rate_adaptive import unit_power
from gencomm_cli.training.linear_start import Transform

SLOPE = 5.0
"""sigmoid(5 (x − 1/2)) is the logistic curve nearest to x for the brightness of photographs."""


@torch.no_grad()
def start_linear_convolutions(code: ADJSCC, images: Tensor, covariances: Sequence[Tensor], snr_db: float) -> None:
    """Sets an ADJSCC to the linear code.

    Args:
        images: the sample that the decoder's LMMSE weights are taken from, [B, 3, H, W] in [0, 1], sides multiples of 4.
        covariances: of flattened blocks of 2² and 4² pixels, [12, 12] and [48, 48]. snr_db: that the LMMSE weights are for.
    """
    width = code.config.width
    fine, coarse = (Transform.of(*pair) for pair in zip(covariances, (min(12, width), min(48, width)), strict=True))
    mean = images.mean((0, 2, 3)).double()
    for module in code.modules():
        if isinstance(module, GDN):
            module.beta.fill_(1.0)
            module.gamma.fill_(0.0)
        elif isinstance(module, nn.PReLU):
            module.weight.fill_(1.0)
        elif isinstance(module, Attention):
            module.fc2.weight.zero_()
            module.fc2.bias.zero_()
    _start_encoder(code, mean, fine, coarse)
    _start_decoder(code, mean, fine, coarse, _lmmse(code, images, mean, coarse, snr_db))


def _start_encoder(code: ADJSCC, mean: Tensor, fine: Transform, coarse: Transform) -> None:
    """Pixels to coefficients of 2² to those of 4², and the strongest of these as the code."""
    blocks = [code.jscc_encoder.get_submodule(f"conv_block{number}.0") for number in range(1, 6)]
    offset = -fine.scale * torch.einsum("kcyx,c->k", fine.basis, mean)
    _set(blocks[0], fine.scale * fine.basis, 4, offset)
    parts = torch.stack([torch.stack([coarse.part(y, x, fine) for x in (0, 1)], -1) for y in (0, 1)], -2)
    _set(blocks[1], 2 * coarse.scale / fine.scale * parts, 2)
    identity = torch.eye(len(coarse.basis))[..., None, None]
    for block in blocks[2:4]:
        _set(block, 2 * identity, 2)
    kept = coarse.variances[: code.config.code_channels].pow(-0.25)  # powers ∝ √λ
    _set(blocks[4], 2 * kept[:, None, None, None] * identity[: len(kept)], 2)


def _start_decoder(code: ADJSCC, mean: Tensor, fine: Transform, coarse: Transform, lmmse: Tensor) -> None:
    """Received code to coefficients of 4² to those of 2² to pixels."""
    decoder = code.jscc_decoder
    blocks = [decoder.get_submodule(f"upconv_block{number}.0") for number in range(1, 6)]
    _set(blocks[0], lmmse, 0)
    identity = torch.eye(len(coarse.basis))[..., None, None]
    for block in blocks[1:3]:
        _set(block, 2 * identity, 2)
    parts = torch.stack([torch.stack([coarse.part(y, x, fine) for x in (0, 1)], -1) for y in (0, 1)], -2)
    _set(blocks[3], 2 * fine.scale / coarse.scale * parts.transpose(0, 1), 2)
    _set(blocks[4], 2 / fine.scale * fine.basis.transpose(0, 1), 4, mean)
    out = decoder.conv_block_out[1]
    assert isinstance(out, nn.Conv2d)
    _set(out, 2 * SLOPE * torch.eye(3)[..., None, None], 3, torch.full((3,), -SLOPE / 2))


def _lmmse(code: ADJSCC, images: Tensor, mean: Tensor, coarse: Transform, snr_db: float) -> Tensor:
    """Weights [K, C, 5, 5] of a block's coefficients on the received code around it; half of the images have two channels of it."""
    config, half = code.config, len(images) // 2
    blocks = F.conv2d(images.double() - mean[:, None, None], coarse.scale * coarse.basis, stride=4)
    sent = code.jscc_encoder(images, torch.full((len(images),), snr_db))
    mask = torch.ones_like(sent)
    if config.rate_adaptive:
        mask[:half, 2:] = 0
    z = unit_power(code.conventions.pair((sent * mask).flatten(1)))
    share = mask.flatten(1).mean(1)  # of the reals, which alone have the power and the noise
    reals = code.conventions.unpair(z, sent.shape[1:]) * share.sqrt()[:, None, None, None]
    received = (reals + math.sqrt(0.5 * 10 ** (-snr_db / 10)) * torch.randn_like(reals)) * mask
    seen = F.unfold(received, 5, padding=2).transpose(1, 2).flatten(0, 1).double()
    target = blocks.flatten(2).transpose(1, 2).flatten(0, 1)
    normal = seen.T @ seen
    weights = torch.linalg.solve(normal + 1e-6 * normal.diagonal().mean() * torch.eye(len(normal)), seen.T @ target)
    return weights.T.unflatten(1, (config.code_channels, 5, 5))


def _set(layer: nn.Module, taps: Tensor, first: int, bias: Tensor | None = None) -> None:
    """Sets the outputs that ``taps`` [out, in, h, w] has, all other taps of theirs to zero; ``first`` is where its rows begin.

    A transposed convolution's kernel is mirrored where it stays at one scale, and has its inputs first.
    """
    assert isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))
    assert layer.bias is not None
    weight = layer.weight
    if isinstance(layer, nn.ConvTranspose2d):
        weight = weight.transpose(0, 1)
        taps = taps.flip(2, 3) if layer.stride == (1, 1) else taps
    outputs, inputs, height, width = taps.shape
    weight[:outputs] = 0
    weight[:outputs, :inputs, first : first + height, first : first + width] = taps.to(weight)
    layer.bias[:outputs] = 0 if bias is None else bias.to(weight)
