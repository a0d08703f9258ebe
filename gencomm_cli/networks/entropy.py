"""Likelihoods of a latent's elements: proper probabilities, of intervals of length 1 (LRISC's eq. 2; Ballé et al., 2018)."""

from __future__ import annotations

import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEAST = 1e-9
"""No likelihood is taken to be smaller, so that its logarithm is finite."""


class _LowerBound(torch.autograd.Function):
    """max(x, bound), whose gradient still raises x where it is below the bound."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor, bound: float) -> Tensor:
        ctx.save_for_backward(x)
        ctx.bound = bound  # type: ignore[attr-defined]
        return x.clamp_min(bound)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (x,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return gradient * ((x >= ctx.bound) | (gradient < 0)), None  # type: ignore[attr-defined]


def lower_bound(x: Tensor, bound: float) -> Tensor:
    """max(x, bound), differentiable as an optimiser needs it."""
    return _LowerBound.apply(x, bound)  # type: ignore[no-untyped-call]


def gaussian_likelihood(z: Tensor, mean: Tensor, scale: Tensor) -> Tensor:
    """(N(μ, σ) * U(−½, ½))(z), the probability of [z − ½, z + ½] (eq. 2): summed over z = a + integers it is 1 for every a."""
    distance = (z - mean).abs()
    upper, lower = ((half - distance) / scale * math.sqrt(0.5) for half in (0.5, -0.5))
    return lower_bound(0.5 * (torch.erfc(-upper) - torch.erfc(-lower)), LEAST)


class FactorisedPrior(nn.Module):
    """p(y): one free-form distribution a channel, its cumulative function a small monotone network (Ballé et al., 2018, 6.1).

    Parameters carry the published program's names; ``dims`` are the widths of the network's inner layers.
    """

    def __init__(self, channels: int, dims: tuple[int, ...] = (3, 3, 3), init_scale: float = 10.0) -> None:
        super().__init__()
        sizes = (1, *dims, 1)
        scale = init_scale ** (1 / (len(sizes) - 1))
        self._medians = nn.Parameter(torch.zeros(1, channels, 1, 1))
        self.affine, self.a = nn.ModuleList(), nn.ParameterList()
        for before, after in pairwise(sizes):
            layer = nn.Module()
            start = math.log(math.expm1(1 / scale / after))
            layer.weight = nn.Parameter(torch.full((channels, 1, 1, before, after), start))
            layer.bias = nn.Parameter(torch.empty(channels, 1, 1, 1, after).uniform_(-0.5, 0.5))
            self.affine.append(layer)
            if after != 1:
                self.a.append(nn.Parameter(torch.zeros(channels, 1, 1, 1, after)))

    @property
    def medians(self) -> Tensor:
        """[1, C, 1, 1]; values are rounded to a whole distance from them."""
        return self._medians

    def forward(self, y: Tensor) -> Tensor:
        """Logit of P(Y ≤ y) for y [B, C, H, W], same shape."""
        x = y.transpose(0, 1).unsqueeze(-1)  # [C, B, H, W, 1]
        for index, layer in enumerate(self.affine):
            x = x @ F.softplus(layer.weight) + layer.bias  # type: ignore[arg-type, operator]
            if index < len(self.a):
                x = x + torch.tanh(self.a[index]) * torch.tanh(x)
        return x.squeeze(-1).transpose(0, 1)

    def likelihood(self, y: Tensor) -> Tensor:
        """Probability of [y − ½, y + ½], same shape as y [B, C, H, W]."""
        lower, upper = self(y - 0.5), self(y + 0.5)
        sign = -torch.sign(lower + upper).detach()  # the difference is taken on the side where it keeps its digits
        return lower_bound((torch.sigmoid(upper * sign) - torch.sigmoid(lower * sign)).abs(), LEAST)

    def median_loss(self) -> Tensor:
        """Σ |logit of P(Y ≤ median)|, which is zero where the medians are medians; the network itself gets no gradient."""
        frozen = {name: value.detach() for name, value in self.named_parameters()}
        frozen["_medians"] = self._medians
        values: Tensor = torch.func.functional_call(self, frozen, (self._medians,))
        return values.abs().sum()


def bits(likelihood: Tensor) -> Tensor:
    """−log2 p, elementwise."""
    return -torch.log2(likelihood)


def noisy(z: Tensor) -> Tensor:
    """z + U(−½, ½), which stands for rounding in training."""
    return z + torch.rand_like(z) - 0.5
