"""Diffusion posterior sampling from a received signal (DiffCom, paper 003): Algorithms 1, 2 and 3.

Notation: y = W_h(E(x_0)) + n, n ~ CN(0, N0); images are in [−1, 1]; ᾱ_0 = 1, and t = 1 … T. Between two visited steps t > s the
forward process is one step with α = ᾱ_t/ᾱ_s and β = 1 − α, so that the printed lines hold for spaced steps as they stand.

Every sampler takes an unconditional ancestral step and then pulls the result along the gradient of a likelihood at
x̂_{0|t} = E[x_0 | x_t], through encoder, channel and decoder, and through the prior's network. That puts a mean for a whole
distribution (diffusion posterior sampling, DPS; eqs. 14–16) and leaves out Cov(x_0 | x_t): samples are biased, and too sure of
themselves. A unit Gaussian seen at y = 1 through noise of variance 0.1 comes out of ``score`` with mean 1.00 and variance 0.048,
where the posterior has 0.909 and 0.091. ``exact`` has the covariance, and is right there (0.909 and 0.089 in 1000 steps). The other
forms are not likelihoods but step sizes.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Form = Literal["squared", "norm", "score", "exact"]
Decay = Literal["constant", "exponential", "linear"]
BlindForm = Literal["corrected", "authors"]

Prior = Callable[[Tensor, int], tuple[Tensor, Tensor | None]]
"""(x_t, t) → x̂_{0|t} and, where the network learned the reverse step's variance, its place v from log σ̃_t² (0) to log β_t (1)."""

Residuals = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""x̂_{0|t} → y − W_h(E(x̂_{0|t})) and, for the confirming term, x_d − D(W_h⁻¹(W_h(E(x̂_{0|t})))) (eq. 19): [B, …], real or complex."""

Report = Callable[[int, int, Tensor], None]
"""(steps done, steps in all, measurement distance ‖y − W_h(E(x̂_{0|t}))‖₂ of the batch: a scalar, which to read is to wait for)."""


@dataclass(frozen=True)
class Guidance:
    """The likelihood term of eqs. 17 and 19.

    Attributes:
        zeta, gamma: ζ of the latent, γ of the confirming term (0: none). zeta_h: of the channel's impulse response.
        form: ``squared``: ζ‖·‖² as printed. ``norm``: ζ‖·‖, as the authors' program has it; the step does not depend on how far off
            the image is. ``score``: eq. 16 with its 1/N0, put through the reverse step: ζ β/(√α N0) ‖·‖²; ζ = 1 is Bayes' rule.
            ``exact``: ``score`` with Cov(x_0 | x_t), from the prior's derivative; exact for a Gaussian prior and a linear W_h∘E,
            else with W_h∘E linearised at x̂_{0|t}. It has no confirming term: x_d is a function of y, and y counts once.
        n0: N0, noise power per complex symbol (``score`` and ``exact``).
        decay: of the step sizes over t = T_s … 1, down to ``floor`` times their value (the authors' options).
        last: whether the step to t = 0 is guided, too; the authors' is not.
        iterations: of the conjugate gradients of ``exact``, at most.
    """

    zeta: float = 0.6
    gamma: float = 0.0
    zeta_h: float = 0.1
    form: Form = "squared"
    n0: float = 1.0
    decay: Decay = "constant"
    floor: float = 0.0
    last: bool = True
    iterations: int = 10


@dataclass(frozen=True)
class Step:
    """One reverse step from ᾱ_t = ``a`` to ᾱ_s = ``a_next``."""

    a: float
    a_next: float

    @property
    def alpha(self) -> float:
        """α = ᾱ_t / ᾱ_s."""
        return self.a / self.a_next

    @property
    def beta(self) -> float:
        """β = 1 − α."""
        return 1 - self.alpha

    @property
    def variance(self) -> float:
        """σ̃² = β (1 − ᾱ_s) / (1 − ᾱ_t)."""
        return self.beta * (1 - self.a_next) / (1 - self.a)

    def mean(self, x: Tensor, x_0: Tensor) -> Tensor:
        """E[x_s | x_t, x_0] (Algorithm 1, line 10)."""
        keep, draw = self.alpha**0.5 * (1 - self.a_next), self.a_next**0.5 * self.beta
        return (keep * x + draw * x_0) / (1 - self.a)

    def deviation(self, v: Tensor | None) -> Tensor | float:
        """σ̃, or what the network learned: log σ² = v log β + (1 − v) log σ̃²."""
        if v is None or self.variance == 0:
            return self.variance**0.5
        return torch.exp(0.5 * (v * math.log(self.beta) + (1 - v) * math.log(self.variance)))


def linear_schedule(steps: int = 1000, first: float = 1e-4, last: float = 0.02) -> Tensor:
    """ᾱ_0 … ᾱ_T, float64 [T + 1]: β linear from ``first`` to ``last`` (section IV-A)."""
    betas = torch.linspace(first, last, steps, dtype=torch.float64)
    return torch.cat([torch.ones(1, dtype=torch.float64), torch.cumprod(1 - betas, 0)])


def adaptive_start(n0: float, cbr: float, alpha_bar: Tensor, tau: float = 20.0, eta: float = 1.0) -> int:
    """T_s of eq. 21: η times the t whose ᾱ_t/(1 − ᾱ_t) is nearest to (1 + 1/N0)^(ρτ/2); 1 … T."""
    target = (1 + 1 / max(n0, 1e-9)) ** (cbr * tau / 2)
    nearest = 1 + int((alpha_bar[1:] / (1 - alpha_bar[1:]) - target).abs().argmin())
    return max(1, min(round(eta * nearest), len(alpha_bar) - 1))


def authors_start(n0: float, alpha_bar: Tensor, eta: float = 1.0) -> int:
    """T_s of the authors' program: the first t with ᾱ_t/(1 − ᾱ_t) below (1 + 1/N0)^(5/48), whatever the CBR; times η, within T."""
    signal = alpha_bar[1:] / (1 - alpha_bar[1:])
    first = int((signal > (1 + 1 / max(n0, 1e-9)) ** (5 / 48)).sum())
    return max(1, min(int(first * eta), len(alpha_bar) - 1))


def visited(start: int, count: int | None = None) -> list[int]:
    """T_s > … > 1 > 0: every step (None), or ``count`` of them, evenly spaced."""
    steps = torch.linspace(start, 1, min(count or start, start), dtype=torch.float64).round().int().tolist()
    return [*dict.fromkeys(steps), 0]


def step_scale(guidance: Guidance, t: int, start: int) -> float:
    """What multiplies ζ, γ and ζ_h at step t: 1, or a decay that depends on the authors' step index t − 1 over T_s − 1."""
    fraction = (t - 1) / max(start - 1, 1)
    if guidance.decay == "linear":
        return guidance.floor + (1 - guidance.floor) * fraction
    if guidance.decay == "exponential":
        return guidance.floor + (1 - guidance.floor) * math.exp(-fraction)
    return 1.0


def distance(residual: Tensor) -> Tensor:
    """‖·‖₂ of each sample [B]; its gradient at zero is zero."""
    flat = residual.flatten(1)
    return torch.linalg.vector_norm(torch.view_as_real(flat).flatten(1) if flat.is_complex() else flat, dim=1)


def sample(
    x: Tensor,
    steps: Sequence[int],
    alpha_bar: Tensor,
    prior: Prior,
    residuals: Residuals,
    guidance: Guidance,
    draw: Callable[[int], Tensor],
    report: Report | None = None,
) -> Tensor:
    """Algorithms 1 (from pure noise, γ = 0) and 2 (from the noised x_d, γ > 0): x_{T_s} to x_0.

    Args:
        x: x_{T_s} [B, …].
        steps: T_s > … > 0, as :func:`visited` gives them. alpha_bar: ᾱ_0 … ᾱ_T.
        prior: x̂_{0|t}. residuals: of x̂_{0|t}; both are differentiable.
        draw: standard normal noise of x's shape for the i-th step.
        report: is told the measurement distance after every step.
    """
    for index, (t, s) in enumerate(itertools.pairwise(steps)):
        step, scale = Step(float(alpha_bar[t]), float(alpha_bar[s])), step_scale(guidance, t, steps[0])
        x = x.detach().requires_grad_()
        x_0, v = prior(x, t)  # lines 5, 6
        latent, source = residuals(x_0)  # lines 12; Algorithm 2: 15, 17
        pull: Tensor | float = 0.0
        if s > 0 or guidance.last:
            if guidance.form == "exact":
                pull = (
                    -step.beta / step.alpha**0.5 * guidance.zeta * scale * _exact_score(x, x_0, latent, residuals, step, guidance)
                )
            else:
                energy = _energy(latent, source, step, guidance) * scale
                (pull,) = torch.autograd.grad(energy, x)
        with torch.no_grad():
            x = step.mean(x, x_0) - pull  # lines 10, 14; Algorithm 2: 13, 19
            if s > 0:
                x = x + step.deviation(v) * draw(index).to(x)
        if report is not None:
            report(index + 1, len(steps) - 1, distance(latent.detach()).mean())
    return x.detach()


def _energy(latent: Tensor, source: Tensor | None, step: Step, guidance: Guidance) -> Tensor:
    """ζ L_m + γ L_c (Algorithm 2, line 19), summed over the batch."""
    terms = [(guidance.zeta, distance(latent))]
    if source is not None:
        terms.append((guidance.gamma, distance(source)))
    if guidance.form == "norm":
        return sum((weight * term.sum() for weight, term in terms), torch.zeros((), dtype=latent.real.dtype))
    rate = step.beta / (step.alpha**0.5 * guidance.n0) if guidance.form == "score" else 1.0
    return rate * sum((weight * term.square().sum() for weight, term in terms), torch.zeros((), dtype=latent.real.dtype))


def _flat(residual: Tensor) -> Tensor:
    """[B, …], real or complex, as real [B, n]."""
    flat = residual.flatten(1)
    return torch.view_as_real(flat).flatten(1) if flat.is_complex() else flat


def _exact_score(x: Tensor, x_0: Tensor, latent: Tensor, residuals: Residuals, step: Step, guidance: Guidance) -> Tensor:
    """∇_{x_t} log p(y | x_t) for y | x_t ~ N(A x̂_{0|t}, N0/2 + A Cov(x_0 | x_t) Aᵀ) in real numbers.

    By Tweedie's second formula Cov(x_0 | x_t) = (1 − ᾱ_t)/√ᾱ_t · ∂x̂_{0|t}/∂x_t. A is the derivative of W_h∘E; the system is solved
    by conjugate gradients, whose products are one backward pass through the prior and one forward derivative of A.
    """
    residual, spread, base = _flat(latent), (1 - step.a) / step.a**0.5, x_0.detach()

    def backward(v: Tensor) -> Tensor:
        """−(∂x̂_{0|t}/∂x_t)ᵀ Aᵀ v."""
        return torch.autograd.grad(residual, x, v, retain_graph=True)[0]

    def covariance(v: Tensor) -> Tensor:
        """(N0/2 + A Cov Aᵀ) v."""
        tangent = torch.func.jvp(lambda image: _flat(residuals(image)[0]), (base,), (backward(v),))[1]
        return guidance.n0 / 2 * v + spread * tangent

    return -backward(_conjugate_gradients(covariance, residual.detach(), guidance.iterations))


def _conjugate_gradients(product: Callable[[Tensor], Tensor], b: Tensor, iterations: int, tolerance: float = 1e-6) -> Tensor:
    """A⁻¹ b for each row of b [B, n], where ``product`` is a positive definite A.

    A row that is solved is left alone. On a CPU it ends when all are; a GPU would have to be waited for, to know that.
    """

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u * v).sum(1, keepdim=True)

    solution, residual, direction = torch.zeros_like(b), b, b
    energy = first = dot(b, b)
    for _ in range(iterations):
        left = energy > tolerance**2 * first
        if b.device.type == "cpu" and not bool(left.any()):
            break
        image = product(direction)
        rate = torch.where(left, energy / dot(direction, image).clamp_min(1e-30), 0)
        solution, residual = solution + rate * direction, residual - rate * image
        energy, before = dot(residual, residual), energy
        direction = residual + energy / before.clamp_min(1e-30) * direction
    return solution


@dataclass(frozen=True)
class ChannelPrior:
    """p(h_0): taps h_l ~ CN(0, σ_l²), diffused as the image is (section III-D).

    Its score at step t is −h_t/(ᾱ_t σ_l² + 1 − ᾱ_t), tap by tap, so that ĥ_{0|t} = √ᾱ_t σ_l² h_t / (ᾱ_t σ_l² + 1 − ᾱ_t).
    (Algorithm 3 prints +h_t/σ_h² in its line 5. With the sign alone put right, ĥ_{0|t} = (1 − (1 − ᾱ_t)/σ_h²) h_t/√ᾱ_t,
    which grows without bound at large t wherever σ_h² ≠ 1.)

    Attributes:
        power: σ_l² [L].
        form: ``authors``: their program's ĥ_{0|t} = (h_t − √(1 − ᾱ_t) h_t)/ᾱ_t, whatever the power; noise of CN(0, 2 σ̃_t⁴).
    """

    power: Tensor
    form: BlindForm = "corrected"

    def clean(self, h: Tensor, a: float) -> Tensor:
        """ĥ_{0|t}."""
        if self.form == "authors":
            return (h - (1 - a) ** 0.5 * h) / a
        return a**0.5 * self.power / (a * self.power + 1 - a) * h

    def noise(self, step: Step, unit: Tensor) -> Tensor:
        """The ancestral step's noise from ``unit`` ~ CN(0, 1)."""
        return 2**0.5 * step.variance * unit if self.form == "authors" else step.variance**0.5 * unit


def sample_blind(
    x: Tensor,
    h: Tensor,
    steps: Sequence[int],
    alpha_bar: Tensor,
    prior: Prior,
    channel: ChannelPrior,
    residual: Callable[[Tensor, Tensor], Tensor],
    guidance: Guidance,
    draw: Callable[[int], Tensor],
    draw_taps: Callable[[int], Tensor],
    update: Callable[[Tensor], Tensor] | None = None,
    report: Report | None = None,
) -> tuple[Tensor, Tensor]:
    """Algorithm 3: image and impulse response together, (x_T, h_T) to (x_0, h_0).

    Args:
        x: x_T ~ N(0, I) [B, …]. h: h_T ~ CN(0, I) [B, L].
        prior, channel: of the image, and of the taps.
        residual: (x̂_{0|t}, ĥ_{0|t}) → y − W_ĥ(E(x̂_{0|t})), complex [B, …].
        guidance: ``squared`` or ``norm``; γ is not used.
        draw, draw_taps: noise of the i-th step, N(0, 1) of x's shape and CN(0, 1) of h's.
        update: x̂_{0|t} → ĥ, in the place of the taps' own diffusion (see :func:`lmmse_taps`).
        report: is told the measurement distance after every step.
    """
    for index, (t, s) in enumerate(itertools.pairwise(steps)):
        step, scale = Step(float(alpha_bar[t]), float(alpha_bar[s])), step_scale(guidance, t, steps[0])
        x, h = x.detach().requires_grad_(), h.detach().requires_grad_()
        x_0, v = prior(x, t)  # lines 3, 4
        h_0 = channel.clean(h, step.a) if update is None else update(x_0.detach())  # line 5
        latent = residual(x_0, h_0)  # line 12
        energy = _energy(latent, None, step, guidance) / (guidance.zeta or 1.0) * scale
        pull_x, pull_h = torch.zeros_like(x), torch.zeros_like(h)
        if s > 0 or guidance.last:
            pull_x, *rest = torch.autograd.grad(energy, [x, h] if update is None else [x])
            pull_h = rest[0] if rest else pull_h
        with torch.no_grad():
            x = step.mean(x, x_0) - guidance.zeta * pull_x  # lines 9, 14
            h = step.mean(h, h_0) - guidance.zeta_h * pull_h if update is None else h_0  # lines 10, 15
            if s > 0:
                x = x + step.deviation(v) * draw(index).to(x)
                if update is None:
                    h = h + channel.noise(step, draw_taps(index).to(h))
        if report is not None:
            report(index + 1, len(steps) - 1, distance(latent.detach()).mean())
    return x.detach(), h.detach()


def lmmse_taps(y: Tensor, response: Tensor, power: Tensor, n0: float, rounds: int = 3) -> Tensor:
    """E[h | y, x̂_0] in closed form, since y is linear in h once the image is given: y = R h + n.

    x̂_{0|t} is wrong at first, so that the noise is more than N0: it is estimated from what the taps leave over, and the taps again.

    Args:
        y: as received, complex [B, n]. response: R, complex [B, n, L]: what is received for each unit tap.
        power: σ_l² [L] of the prior h_l ~ CN(0, σ_l²). n0: N0.
    """
    gram = response.mH @ response  # [B, L, L]
    seen = (response.mH @ y[..., None])[..., 0]
    noise = y.abs().square().mean(1)
    taps = torch.zeros_like(seen)
    for _ in range(rounds):
        taps = torch.linalg.solve(gram + torch.diag_embed(noise[:, None] / power).to(gram), seen)
        left = (y - (response @ taps[..., None])[..., 0]).abs().square().mean(1)
        noise = left.clamp_min(max(n0, 1e-9))
    return taps
