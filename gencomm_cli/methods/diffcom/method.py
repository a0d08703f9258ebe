"""DiffCom, HiFi-DiffCom and Blind-DiffCom: posterior sampling from the raw received signal (Wang et al., arXiv:2406.07390).

    transmitter                 channel                                  receiver
  x ─► E ─► z ─► W_h: interleaver, OFDM, multipath, … ─► y ─┬─► W_h⁻¹ ─► D ─► x_d, the coarse image ─┐ (HiFi: start, confirming)
                                                            │                                         ▼
                                  x_T or noised x_d ─► T_s steps of an unconditional diffusion prior, each guided by
                                                       −∇ ζ‖y − W_h(E(x̂_{0|t}))‖² − ∇ γ‖x_d − D(W_h⁻¹(W_h(E(x̂_{0|t}))))‖² ─► x_0

Nothing is trained for the channel: W_h is the simulator's own code, and the gradient goes through it. x_t and x̂_{0|t} are in
[−1, 1]; x_d and what D returns are in [0, 1], and L_c is measured there. ᾱ_0 = 1, and t = 1 … T. Between two visited steps t > s
the forward process is one step with α = ᾱ_t/ᾱ_s and β = 1 − α, so that the printed lines hold for spaced steps as they stand.

  equation        what it says            where (a bare name: this file; ``train.x``, ``settings.x``, ``pixel_prior.x``: this
                                          folder; else below ``gencomm_cli``)
  eq. 1           codec's objective       the loss of `train.codec_stage`: L_D, as the MSE or its root, of `train.through_channel`;
                                          without L_R, as the rate is given and not learnt
  eq. 2           the problem             `Problem`
  eq. 3           realism and consistency `sample`: its prior, and `Problem.residuals` in `energy`
  eqs. 4, 5       forward process         `diffusion.schedule.linear`, `diffusion.steps.noised`
  eqs. 6, 7       SDEs                    in their discrete form alone, eqs. 9 and 10
  eq. 8           prior's objective       the loss of `train.noise_prior_stage` (``paper.json``), times 1 − ᾱ_t; in nano's recipe
                                          that of `train.prior_stage`: the error of x̂_0, which is that of the score times
                                          (1 − ᾱ_t)/√ᾱ_t, weighted by ᾱ_t/(1 − ᾱ_t) up to γ, and LPIPS at small t; t is not
                                          uniform
  eq. 9           forward step            from x_0 to x_t at once: eq. 5
  eq. 10          reverse step            `diffusion.steps.AncestralStep`: its mean is eq. 10's at x̂_{0|t} of eq. 15; its variance
                                          is σ̃² = β (1 − ᾱ_s)/(1 − ᾱ_t), as in the algorithms, where eq. 10 prints β
  eqs. 11, 12     posterior score         `sample`: the reverse step of the prior, then the gradient of the likelihood
  eq. 13          p(y | x_0)              `Problem`: `Link.send` is W_h, and n ~ CN(0, N0)
  eq. 14          DPS                     `sample`; with the covariance that its two approximations leave out: `exact_score`
  eq. 15          Tweedie                 `pixel_prior.noise_prior`, of a network that predicts noise. One that predicts x_0 itself
                                          needs no formula: `pixel_prior.clean_prior`, and `residual_prior.ResidualPrior`, which
                                          adds to a Wiener filter
  eq. 16          likelihood score        `energy` of the form ``score``
  eq. 17          guidance                `energy` of the form ``squared``, taken down its gradient by `sample`
  Algorithm 1     DiffCom                 `sample` from pure noise, γ = 0; its line 2 comes before:
                                          `channels.estimation.estimate_response`
  eqs. 18, 19     confirming term         `Problem.residuals`, `energy`
  eq. 20          start                   `DiffCom.start`
  eq. 21          T_s                     `adaptive_start`; the authors' program: `authors_start`
  Algorithm 2     HiFi-DiffCom            `sample` from the noised x_d, γ > 0. Line 3: `Problem.coarse`, line 5: `adaptive_start`,
                                          line 8: `DiffCom.start`
  section III-D   taps h ~ CN(0, σ_l²)    `channels.ofdm.delay_profile`
  eqs. 22, 23     image and channel       `sample_blind`; P_x is its prior, P_h is `ChannelPrior`
  eq. 24          p(y | x_0, h_0)         `Problem.blind_residual`: `Link.send` with the taps in question
  eq. 25          score of x              `sample_blind`, its ``gradient_x``
  eq. 26          score of h              `ChannelPrior`; `sample_blind`, its ``gradient_h``. In closed form instead: `lmmse_taps`
  Algorithm 3     Blind-DiffCom           `sample_blind`
  table VI        Variant 1               ``--variant hifi --likelihood squared --zeta 0 --gamma 0.3 --start-step 1000``: the
                                          confirming term alone, from N(0, I); InverseJSCC's objective, with this prior for its
                                          generator
  table VI        Variant 2               ``--variant hifi --likelihood squared --gamma 0.3 --confirm pixels --start-step 1000``
  [33]            DDNM (Yilmaz et al.)    `sample_ddnm`: the coarse image alone, by arXiv:2309.15889's range-null decomposition
  section IV-A2   ζ, γ, τ, η              `settings.PAPER`, `settings.Sampling`
  section IV-A3   OFDM                    `channels.ofdm.OfdmConfig`

Misprints, corrected here: √ᾱ_t for √α_t before x_t in lines 10 and 13 of Algorithms 1 and 2; √α_t for √ᾱ_t in lines 4 and 5, and
√α_{t−1} for √ᾱ_{t−1} in lines 9 and 10, of Algorithm 3; there N for CN in line 7, as taps are complex, and the sign in line 5
(:class:`ChannelPrior`). The last step draws no noise: t > 1 in Algorithm 3 is right, t > 0 in the others is not.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from gencomm_cli.channels.equalisers import mmse
from gencomm_cli.channels.ofdm import delay_profile, through
from gencomm_cli.channels.snr import n0_from_db
from gencomm_cli.diffusion.conjugate_gradients import conjugate_gradients
from gencomm_cli.diffusion.schedule import linear, linear_float32, spaced_steps
from gencomm_cli.diffusion.steps import AncestralStep, noised, signal_to_noise
from gencomm_cli.errors import OptionError
from gencomm_cli.methods.base import Decoded, Image, Received, Request, Transmission, lost
from gencomm_cli.methods.diffcom.options import BlindForm, Confirm, Receiver, Transmitter, Variant
from gencomm_cli.methods.diffcom.pixel_prior import Prior, pixel_prior, sides_multiple
from gencomm_cli.methods.diffcom.settings import Sampling, check_settings
from gencomm_cli.networks import codec_side
from gencomm_cli.networks.acceleration import compiled
from gencomm_cli.networks.codec_side import KnownCodec, KnownNTSCC
from gencomm_cli.networks.ntscc_codec import NTSCC
from gencomm_cli.networks.pixel_codec import PixelCodec
from gencomm_cli.networks.tensors import Heard, padded_size, to_image, to_tensor, within_range
from gencomm_cli.presets import Preset, require, verify
from gencomm_cli.presets.build import build
from gencomm_cli.rates import symbols_within
from gencomm_cli.seeds import torch_normal

if TYPE_CHECKING:
    from gencomm_cli.console import Progress

Residuals = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""x̂_{0|t} → r_m = y − W_h(E(x̂_{0|t})) and, for the confirming term, r_c = x_d − D(W_h⁻¹(W_h(E(x̂_{0|t})))), whose squared norms are
L_m and L_c (eq. 19): [B, …], real or complex."""

Report = Callable[[int, int, Tensor], None]
"""(steps done, steps in all, measurement distance ‖y − W_h(E(x̂_{0|t}))‖₂ of the batch: a scalar, which to read is to wait for)."""


# --- section II: the problem -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Link:
    """W_h and W_h⁻¹ as the receiver knows them: the gains of the symbols, or multipath's impulse response.

    ``straight_through``: gradients pass clipping as if there were none, as in the authors' program.
    """

    received: Received
    gain: Tensor | None
    cir: Tensor | None
    straight_through: bool = False

    def send(self, z: Tensor, taps: Tensor | None = None) -> Tensor:
        """W_h(z) without noise (eqs. 13, 24), complex [B, k]; ``taps`` [B, L]: in the place of what is known (``blind``)."""
        if self.received.ofdm is not None and (taps is not None or self.cir is not None):
            response = taps if taps is not None else cast(Tensor, self.cir).expand(len(z), -1)
            ofdm = self.received.ofdm
            return through(z, response, ofdm, ofdm.pilots, self.straight_through)[0]  # type: ignore[type-var]
        gain = self.gain if taps is None else taps
        return z if gain is None else gain * z

    def invert(self, y: Tensor) -> Tensor:
        """W_h⁻¹(y) (eqs. 1, 19): the MMSE equaliser; without known gains the identity, as the codecs are trained on AWGN."""
        return y if self.gain is None else mmse(y, self.gain, self.received.n0)  # type: ignore[type-var]

    def profile(self) -> Tensor:
        """σ_l² [L] of the taps' law.

        Raises:
            OptionError: the channel is none that a few taps describe.
        """
        if self.received.ofdm is not None:
            return torch.tensor(delay_profile(self.received.ofdm), dtype=torch.float32)
        if self.received.fading == "block":
            return torch.ones(1)
        raise OptionError("variant", f"blind finds the taps of block and multipath fading, not of {self.received.fading}; use hifi")

    def response(self, z: Tensor, taps: int) -> Tensor:
        """What is received for each unit tap: complex [1, k, L], for one codeword z [1, k]."""
        units = torch.eye(taps, dtype=z.dtype, device=z.device)
        return self.send(z.expand(taps, -1), units).T[None]


@dataclass(frozen=True)
class Problem:
    """y = W_h(E(x)) + n, n ~ CN(0, N0) (eqs. 2, 13).

    Attributes:
        y: as received, complex [1, k]. link: W_h. encode: E, images [B, …] in [−1, 1] to complex [B, k].
        decode: D of equalised symbols, images [B, …] in [0, 1].
        n0: N0 per complex symbol.
    """

    y: Tensor
    link: Link
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    n0: float

    def coarse(self) -> Tensor:
        """x_d = D(W_h⁻¹(y)) in [0, 1] (Algorithm 2, line 3)."""
        with torch.no_grad():
            return self.decode(self.link.invert(self.y))

    def residuals(self, x_0: Tensor, x_d: Tensor | None = None, confirm: Confirm = "decoded") -> tuple[Tensor, Tensor | None]:
        """r_m = y − W_h(E(x_0)) (eq. 2), and with ``x_d`` the confirming r_c = x_d − D(W_h⁻¹(W_h(E(x_0)))) (eq. 19), or x_d − x_0
        (``pixels``), of images in [0, 1]. x_0 is in [−1, 1]."""
        y_0 = self.link.send(self.encode(x_0))
        if x_d is None:
            return self.y - y_0, None
        return self.y - y_0, x_d - (self.decode(self.link.invert(y_0)) if confirm == "decoded" else (x_0 + 1) / 2)

    def blind_residual(self, x_0: Tensor, h_0: Tensor) -> Tensor:
        """y − W_{h_0}(E(x_0)) (eq. 24)."""
        return self.y - self.link.send(self.encode(x_0), h_0)

    @torch.no_grad()
    def taps(self, x_0: Tensor, power: Tensor) -> Tensor:
        """E[h | y, x_0] for taps of the variances ``power`` [L]."""
        return lmmse_taps(self.y, self.link.response(self.encode(x_0), len(power)), power, self.n0)


# --- section III-B: DiffCom --------------------------------------------------------------------------------------------------


Form = Literal["squared", "norm", "score", "exact"]


@dataclass(frozen=True)
class Guidance:
    """The likelihood term of eqs. 17 and 19.

    It puts a mean x̂_{0|t} for a whole distribution (diffusion posterior sampling, DPS; eqs. 14 … 16) and leaves out
    Cov(x_0 | x_t): samples are biased, and too sure of themselves. A unit Gaussian seen at y = 1 through noise of variance 0.1
    comes out of ``score`` with mean 1.00 and variance 0.048, where the posterior has 0.909 and 0.091. ``exact`` has the covariance,
    and is right there (0.909 and 0.089 in 1000 steps). The other forms are not likelihoods but step sizes.

    Attributes:
        zeta, gamma: ζ of the latent, γ of the confirming term (0: none). zeta_h: of the channel's impulse response.
        form: ``squared``: ζ‖·‖² as printed. ``norm``: ζ‖·‖, as the authors' program has it; the step does not depend on how far off
            the image is. ``score``: eq. 16 with its 1/N0, put through the reverse step: ζ β/(√α N0) ‖·‖²; ζ = 1 is Bayes' rule.
            ``exact``: ``score`` with Cov(x_0 | x_t), from the prior's derivative; exact for a Gaussian prior and a linear W_h∘E,
            else with W_h∘E linearised at x̂_{0|t}. It has no confirming term: x_d is a function of y, and y counts once.
        n0: N0, noise power per complex symbol (``score`` and ``exact``).
        decays: whether the step sizes fall over t = T_s … 1, linearly down to zero, as the authors' do.
        last: whether the step to t = 0 is guided, too; the authors' is not.
        iterations: of the conjugate gradients of ``exact``, at most.
    """

    zeta: float = 0.6
    gamma: float = 0.0
    zeta_h: float = 0.1
    form: Form = "squared"
    n0: float = 1.0
    decays: bool = False
    last: bool = True
    iterations: int = 10

    @classmethod
    def of(cls, sampling: Sampling, n0: float) -> Guidance:
        """What the settled options take, at N0."""
        authors = sampling.likelihood == "authors"
        return cls(
            sampling.zeta, sampling.gamma, sampling.zeta_h, cast(Form, "norm" if authors else sampling.likelihood), max(n0, 1e-6),
            authors and sampling.variant == "blind", last=not authors,
        )  # fmt: skip

    def scale(self, t: int, start: int) -> float:
        """What multiplies ζ, γ and ζ_h at step t: 1, or the authors' step index t − 1 over T_s − 1."""
        return (t - 1) / max(start - 1, 1) if self.decays else 1.0


def distance(residual: Tensor) -> Tensor:
    """‖·‖₂ of each sample [B]; its gradient at zero is zero."""
    return torch.linalg.vector_norm(_flat(residual), dim=1)


def _flat(residual: Tensor) -> Tensor:
    """[B, …], real or complex, as real [B, n]."""
    flat = residual.flatten(1)
    return torch.view_as_real(flat).flatten(1) if flat.is_complex() else flat


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

    Each step is an unconditional ancestral one (eq. 10), and then one down the gradient of the likelihood term at
    x̂_{0|t} = E[x_0 | x_t] (eqs. 11, 12, 17, 18), through encoder, channel and decoder, and through the prior's network.

    Args:
        x: x_{T_s} [B, …].
        steps: T_s > … > 0, as :func:`gencomm_cli.diffusion.schedule.spaced_steps` gives them. alpha_bar: ᾱ_0 … ᾱ_T.
        prior: x̂_{0|t}. residuals: of x̂_{0|t}; both are differentiable.
        draw: standard normal noise of x's shape for the i-th step.
        report: is called with the measurement distance after every step.
    """
    for index, (t, s) in enumerate(itertools.pairwise(steps)):
        step, scale = AncestralStep(float(alpha_bar[t]), float(alpha_bar[s])), guidance.scale(t, steps[0])
        x = x.detach().requires_grad_()
        x_0, v = prior(x, t)  # lines 5, 6; Algorithm 2: 10, 11
        r_m, r_c = residuals(x_0)  # line 12; Algorithm 2: 15, 17
        gradient: Tensor | float = 0.0
        if s > 0 or guidance.last:
            if guidance.form == "exact":
                score = exact_score(x, x_0, r_m, residuals, step, guidance)
                gradient = -step.beta / step.alpha**0.5 * guidance.zeta * scale * score
            else:
                (gradient,) = torch.autograd.grad(energy(r_m, r_c, step, guidance) * scale, x)
        with torch.no_grad():
            x = step.mean(x, x_0) - gradient  # lines 10, 14; Algorithm 2: 13, 19
            if s > 0:  # lines 8, 10; Algorithm 2: 12, 13
                x = x + step.deviation(v) * draw(index).to(x)
        if report is not None:
            report(index + 1, len(steps) - 1, distance(r_m.detach()).mean())
    return x.detach()


POOL = 4
"""Side of the blocks whose means DDNM takes from the coarse image: what a codec at CBR 1/48 gets right."""


@torch.no_grad()
def sample_ddnm(
    x: Tensor,
    steps: Sequence[int],
    alpha_bar: Tensor,
    prior: Prior,
    x_d: Tensor,
    pool: int,
    draw: Callable[[int], Tensor],
    report: Report | None = None,
) -> Tensor:
    """What DiffCom sets itself apart from in section I-C: x_d guides the prior, and the received signal no more (arXiv:2309.15889).

    Each estimate x̂_{0|t} becomes A†A x_d + (I − A†A) x̂_{0|t} (DDNM, arXiv:2212.00490), where A takes the means of blocks and A†
    repeats them: the coarse picture's are kept, and what differs within a block is the prior's.

    Args:
        x_d: the coarse image in [−1, 1], sides multiples of ``pool``, which is the blocks' side. The others, and what is returned:
            as :func:`sample` has them; ``report`` is called with ‖A x_d − A x̂_{0|t}‖₂.
    """
    for index, (t, s) in enumerate(itertools.pairwise(steps)):
        step = AncestralStep(float(alpha_bar[t]), float(alpha_bar[s]))
        x_0, v = prior(x, t)
        missed = F.avg_pool2d(x_d - x_0, pool)
        x = step.mean(x, x_0 + F.interpolate(missed, scale_factor=pool))
        if s > 0:
            x = x + step.deviation(v) * draw(index).to(x)
        if report is not None:
            report(index + 1, len(steps) - 1, distance(missed).mean())
    return x


def energy(r_m: Tensor, r_c: Tensor | None, step: AncestralStep, guidance: Guidance) -> Tensor:
    """ζ L_m + γ L_c of eqs. 17 and 19 (Algorithm 2, line 19), summed over the batch; ``score`` as eq. 16 has it.

    Args:
        r_m, r_c: the residuals whose squared norms are L_m and L_c, see :data:`Residuals`.
    """
    terms = [(guidance.zeta, distance(r_m))]
    if r_c is not None:
        terms.append((guidance.gamma, distance(r_c)))
    if guidance.form == "norm":
        return sum((weight * term.sum() for weight, term in terms), torch.zeros((), dtype=r_m.real.dtype))
    rate = step.beta / (step.alpha**0.5 * guidance.n0) if guidance.form == "score" else 1.0
    return rate * sum((weight * term.square().sum() for weight, term in terms), torch.zeros((), dtype=r_m.real.dtype))


def exact_score(x: Tensor, x_0: Tensor, r_m: Tensor, residuals: Residuals, step: AncestralStep, guidance: Guidance) -> Tensor:
    """∇_{x_t} log p(y | x_t) for y | x_t ~ N(A x̂_{0|t}, N0/2 + A Cov(x_0 | x_t) Aᵀ) in real numbers.

    It takes the place of eq. 14's approximations. By Tweedie's second formula
    Cov(x_0 | x_t) = (1 − ᾱ_t)/√ᾱ_t · ∂x̂_{0|t}/∂x_t. A is the derivative of W_h∘E; the system is solved by conjugate gradients,
    whose products are one backward pass through the prior and one forward derivative of A.
    """
    residual, spread, base = _flat(r_m), (1 - step.a) / step.a**0.5, x_0.detach()

    def backward(v: Tensor) -> Tensor:
        """−(∂x̂_{0|t}/∂x_t)ᵀ Aᵀ v."""
        return torch.autograd.grad(residual, x, v, retain_graph=True)[0]

    def covariance(v: Tensor) -> Tensor:
        """(N0/2 + A Cov Aᵀ) v."""
        tangent = torch.func.jvp(lambda image: _flat(residuals(image)[0]), (base,), (backward(v),))[1]
        return guidance.n0 / 2 * v + spread * tangent

    return -backward(conjugate_gradients(covariance, residual.detach(), guidance.iterations))


# --- section III-C: HiFi-DiffCom ---------------------------------------------------------------------------------------------


def adaptive_start(n0: float, cbr: float, alpha_bar: Tensor, tau: float = 20.0, eta: float = 1.0) -> int:
    """T_s of eq. 21: η times the t whose ᾱ_t/(1 − ᾱ_t) is nearest to (1 + 1/N0)^(ρτ/2); 1 … T."""
    target = (1 + 1 / max(n0, 1e-9)) ** (cbr * tau / 2)
    nearest = 1 + int((signal_to_noise(alpha_bar[1:]) - target).abs().argmin())
    return max(1, min(round(eta * nearest), len(alpha_bar) - 1))


def authors_start(n0: float, alpha_bar: Tensor, eta: float = 1.0) -> int:
    """T_s of the authors' program: the first t with ᾱ_t/(1 − ᾱ_t) below (1 + 1/N0)^(5/48), whatever the CBR; times η, within T."""
    first = int((signal_to_noise(alpha_bar[1:]) > (1 + 1 / max(n0, 1e-9)) ** (5 / 48)).sum())
    return max(1, min(int(first * eta), len(alpha_bar) - 1))


# --- section III-D: Blind-DiffCom --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ChannelPrior:
    """p(h_0): taps h_l ~ CN(0, σ_l²), diffused as the image is (section III-D; the first term of eq. 26).

    Its score at step t is −h_t/(ᾱ_t σ_l² + 1 − ᾱ_t), tap by tap, so that ĥ_{0|t} = √ᾱ_t σ_l² h_t / (ᾱ_t σ_l² + 1 − ᾱ_t).
    (Eq. 26 prints −h_t/σ_h² at every t, which is the score of h_0 alone, and Algorithm 3 +h_t/σ_h² in its line 5. With the sign
    alone put right, ĥ_{0|t} = (1 − (1 − ᾱ_t)/σ_h²) h_t/√ᾱ_t, which grows without bound at large t wherever σ_h² ≠ 1.)

    Attributes:
        power: σ_l² [L].
        form: ``authors``: their program's ĥ_{0|t} = (h_t − √(1 − ᾱ_t) h_t)/ᾱ_t, whatever the power; noise of CN(0, 2 σ̃_t⁴).
    """

    power: Tensor
    form: BlindForm = "corrected"

    def clean(self, h: Tensor, a: float) -> Tensor:
        """ĥ_{0|t} (Algorithm 3, line 5; eq. 15 with the taps' own score)."""
        if self.form == "authors":
            return (h - (1 - a) ** 0.5 * h) / a
        return a**0.5 * self.power / (a * self.power + 1 - a) * h

    def noise(self, step: AncestralStep, unit: Tensor) -> Tensor:
        """The ancestral step's noise (lines 7, 10) from ``unit`` ~ CN(0, 1)."""
        return 2**0.5 * step.variance * unit if self.form == "authors" else step.variance**0.5 * unit


INVERTED = 0.9
"""The distance of the negative over that of x̂_{0|t} itself, below which the negative is taken."""


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
    taps_alpha_bar: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Algorithm 3 (eqs. 22, 23): image and impulse response together, (x_T, h_T) to (x_0, h_0).

    Each has its own prior and reverse step. The weight of the likelihood's gradient is ζ for the image (eq. 25) and ζ_h for the
    taps (eq. 26), where the paper has one ζ for both.

    Args:
        x: x_T ~ N(0, I) [B, …]. h: h_T ~ CN(0, I) [B, L].
        prior, channel: of the image, and of the taps.
        residual: (x̂_{0|t}, ĥ_{0|t}) → y − W_ĥ(E(x̂_{0|t})), complex [B, …].
        guidance: ``squared`` or ``norm``; γ is not used.
        draw, draw_taps: noise of the i-th step, N(0, 1) of x's shape and CN(0, 1) of h's.
        update: x̂_{0|t} → ĥ, in the place of the taps' own diffusion (see :func:`lmmse_taps`). A codec is nearly odd about grey: −x̂
            with −ĥ explains y nearly as well, and no small step leads from one to the other. So that is tried at every step, and x
            turned into −x where it is clearly better (``INVERTED``).
        taps_alpha_bar: of the taps' diffusion, where it is not ``alpha_bar``: the authors' program has float32 there alone.
        report: is called with the measurement distance after every step.
    """
    unweighted, of_taps = replace(guidance, zeta=1.0), alpha_bar if taps_alpha_bar is None else taps_alpha_bar
    for index, (t, s) in enumerate(itertools.pairwise(steps)):
        step_h = AncestralStep(float(of_taps[t]), float(of_taps[s]))
        step, scale = AncestralStep(float(alpha_bar[t]), float(alpha_bar[s])), guidance.scale(t, steps[0])
        x, h = x.detach().requires_grad_(), h.detach().requires_grad_()
        x_0, v = prior(x, t)  # lines 3, 4
        h_0 = channel.clean(h, step_h.a) if update is None else update(x_0.detach())  # line 5
        r_m = residual(x_0, h_0)
        loss = energy(r_m, None, step, unweighted) * scale  # line 12
        gradient_x, gradient_h = torch.zeros_like(x), torch.zeros_like(h)
        if s > 0 or guidance.last:
            gradient_x, *rest = torch.autograd.grad(loss, [x, h] if update is None else [x])
            gradient_h = rest[0] if rest else gradient_h
        with torch.no_grad():
            x = step.mean(x, x_0) - guidance.zeta * gradient_x  # lines 9, 14
            h = step_h.mean(h, h_0) - guidance.zeta_h * gradient_h if update is None else h_0  # lines 10, 15
            if s > 0:  # lines 6, 7
                x = x + step.deviation(v) * draw(index).to(x)
                if update is None:
                    h = h + channel.noise(step_h, draw_taps(index).to(h))
                elif float(distance(residual(-x_0, update(-x_0))).mean()) < INVERTED * float(distance(r_m).mean()):
                    x = -x
        if report is not None:
            report(index + 1, len(steps) - 1, distance(r_m.detach()).mean())
    return x.detach(), h.detach()


def lmmse_taps(y: Tensor, response: Tensor, power: Tensor, n0: float, rounds: int = 3) -> Tensor:
    """E[h | y, x̂_0] in closed form, in the place of eq. 26, since y is linear in h once the image is given: y = R h + n (eq. 24).

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


# --- image to symbols, and back ----------------------------------------------------------------------------------------------


EVERY = 5
"""Steps between two readings of the distance, each of which waits for the device."""


@dataclass(frozen=True)
class PosteriorSample:
    """x_0 in [−1, 1], h_0 complex [1, L] (``blind``), and the distance ‖y − W_h(E(x_0))‖₂ of x_0 clamped."""

    x_0: Tensor
    h_0: Tensor | None
    distance: float


class DiffCom:
    """One preset's codec and prior, ready to encode and decode.

    A preset holds ``codec`` (ADJSCC, ResidualADJSCC, SwinJSCC), or NTSCC's ``transform``, ``jscc`` and ``rates``; and ``prior``.
    Settings: ``variant`` (of decoding), ``sampling`` (by variant: what :class:`.settings.Sampling` has, as its ``settle`` takes
    it), ``cbr_range``.
    """

    method = "diffcom"
    default_cbr = 1 / 48

    def __init__(self, preset: Preset, codec: PixelCodec | NTSCC, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.preset, self.codec, self.device, self.dtype = preset, codec, device, dtype
        self.alpha_bar = linear()
        self.cbr_range: tuple[float, float] = tuple(preset.settings.get("cbr_range", (1 / 96, 1 / 16)))
        side = 8 * codec.multiple
        self.exact_rate = isinstance(codec, NTSCC) or codec.symbols(1, (side, side)) == 1  # else the codec has one rate
        self.multiple = math.lcm(codec.multiple, sides_multiple(preset.components["prior"]))

    @classmethod
    def load(cls, preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> DiffCom:
        """Builds the preset's codec in float32; the prior is read and built in ``dtype`` when it is first needed, which is never at
        the transmitter.

        Raises:
            InputError: a component is missing, or no codec. ModelMismatch: weights are damaged or do not fit, or settings cannot be
                read.
        """
        check_settings(preset)
        own = "codec" in preset.components
        parts = ("codec",) if own else ("transform", "jscc", "rates")
        require(preset, "prior", *parts)
        verify(preset, *parts)
        codec = codec_side.load(preset, device) if own else NTSCC.load(preset, device)
        return cls(preset, codec, device, dtype)

    @cached_property
    def network(self) -> nn.Module:
        """The prior's network. Raises ModelMismatch where its weights are damaged or do not fit."""
        verify(self.preset, "prior")
        return build(self.preset.components["prior"], self.device, self.dtype)

    @cached_property
    def prior(self) -> Prior:
        """x̂_{0|t} by the network as it is, or compiled."""
        return pixel_prior(self.network, self.alpha_bar)

    def compile(self) -> None:
        """Compiles the prior, forward and backward; it takes effect with the next picture, and again with each new size.

        Not for ``exact``, whose conjugate gradients go backward more than once: compiled code frees what it needs for that.
        """
        self.prior = pixel_prior(self.network, self.alpha_bar, lambda network: compiled(network, self.device))

    def symbol_budget(self, cbr: float, image_size: tuple[int, int], *, bound: bool = True) -> int:
        """k, the most symbols within ``cbr`` · 3HW that the preset's codec can send."""
        wanted = symbols_within(cbr, self.cbr_range, image_size)
        return codec_side.budget(self.codec, wanted, padded_size(image_size, self.multiple), bound)

    def _tx_snr_db(self, snr_db: float | None) -> Tensor:
        """The SNR in dB as the encoder gets it [1]; the receiver finds it in the header, to encode as the transmitter did."""
        return torch.tensor([within_range(snr_db)], device=self.device)

    @torch.no_grad()
    def encode(self, image: Image, request: Request) -> Transmission:
        """z = E(x) of an image uint8 [H, W, 3]: as many complex symbols as are asked for, with E|z|² = 1; NTSCC's count its side
        symbols.

        Raises:
            RateError: another number of symbols than the code of this image can have.
        """
        x, snr_db = to_tensor(image, self.multiple, self.device), self._tx_snr_db(request.snr_db)
        allocation = cast(Transmitter, request.options).allocation
        return codec_side.send(self.codec, x, (image.shape[0], image.shape[1]), request, snr_db, allocation)

    def decode(self, received: Received, options: Receiver, *, seed: int, progress: Progress | None = None) -> Decoded:
        """The coarse image x_d = D(W_h⁻¹(y)), and posterior samples by Algorithm 1, 2 or 3; the progress notes the measurement
        distance.

        Raises:
            OptionError: one is not read or does not go with the others, or the samples diverge.
        """
        unknown = received.gain is None and received.fading in ("rayleigh", "block", "multipath")
        snr_db = -10 * math.log10(max(received.n0, 1e-6))
        sampling = Sampling.settle(options, self.preset.settings, unknown and received.fading != "rayleigh", snr_db)
        known, side_ok = codec_side.receive(self.codec, received, self.device)
        if known is None:
            return lost(received.image_size, 0 if options.coarse else options.samples, side_ok=False)
        problem, n0 = self._problem(received, known, sampling.likelihood == "authors")
        x_d = problem.coarse()
        coarse = to_image(x_d, received.image_size, "codec")
        if options.coarse:
            return Decoded(coarse, side_ok=side_ok)
        if side_ok is False and isinstance(known, KnownNTSCC):  # it is not known what E would have sent: nothing to sample from
            return Decoded(coarse, (coarse,) * options.samples, side_ok=False)
        notes = (_note_of_unknown(sampling.variant, options.variant is None, received.fading),) if unknown else ()
        t_s = self._start_step(sampling, n0, received.symbols.size / (3 * received.image_size[0] * received.image_size[1]))
        found = []
        for index in range(options.samples):
            report = None if progress is None else _reporting(progress, index, options.samples)
            found.append(self._posterior_sample(problem, x_d, sampling, t_s, (seed, f"sampler {index}"), report))
            if not bool(torch.isfinite(found[-1].x_0).all()):
                sizes = f"{sampling.zeta:g}, with --zeta-h {sampling.zeta_h:g}"
                raise OptionError("zeta", f"{sizes}: the samples diverge; take smaller ones")
        if sampling.pick == "best":
            found = [min(found, key=lambda one: one.distance)]
        return Decoded(
            coarse, tuple(to_image((one.x_0 + 1) / 2, received.image_size, "prior") for one in found), side_ok=side_ok,
            distances=tuple(one.distance for one in found),
            taps=tuple(one.h_0[0].cpu().numpy() for one in found if one.h_0 is not None), notes=notes,
        )  # fmt: skip

    def _problem(self, received: Received, codec: KnownCodec | KnownNTSCC, authors: bool = False) -> tuple[Problem, float]:
        """The inverse problem, and N0 at the effective SNR. ``authors``: clipping is theirs."""
        heard = Heard.of(received, self.device)
        cir = None if received.cir is None else torch.tensor(received.cir, device=self.device)[None]
        size = padded_size(received.image_size, self.multiple)

        snr_db = heard.effective_snr_db

        def encode(x: Tensor) -> Tensor:
            return codec.encode((x + 1) / 2, heard.y.shape[1], codec.tx_snr_db.expand(len(x)))

        def decode(equalised: Tensor) -> Tensor:
            return codec.decode(equalised, size, snr_db)

        problem = Problem(heard.y, Link(received, heard.gain, cir, authors), encode, decode, received.n0)
        return problem, n0_from_db(heard.mean_snr_db)

    def rate_map(self, received: Received) -> tuple[NDArray[np.int64], bool | None] | None:
        """Symbols of each block [rows, columns], and whether the side symbols arrived; None where all blocks have the same."""
        return self.codec.rate_map(received) if isinstance(self.codec, NTSCC) else None

    def _posterior_sample(
        self, problem: Problem, x_d: Tensor, sampling: Sampling, t_s: int, stream: tuple[int, str], report: Report | None
    ) -> PosteriorSample:
        """One sample, by Algorithm 1, 2 or 3."""
        seed, purpose = stream
        steps, guidance = spaced_steps(sampling.steps or t_s, t_s), Guidance.of(sampling, problem.n0)
        tables = linear_float32() if sampling.likelihood == "authors" else self.alpha_bar
        prior = pixel_prior(self.network, self.alpha_bar) if guidance.form == "exact" else self.prior

        def draw(step: int) -> Tensor:
            return torch_normal(tuple(x_d.shape), seed, f"{purpose} step {step}", self.device).to(x_d)

        if sampling.variant == "blind":
            channel = ChannelPrior(problem.link.profile().to(x_d), sampling.blind_form)

            def draw_taps(step: int) -> Tensor:
                reals = torch_normal((1, len(channel.power), 2), seed, f"{purpose} taps {step}", self.device).to(x_d)
                return torch.view_as_complex(reals) / math.sqrt(2)

            def update(x_0: Tensor) -> Tensor:
                return problem.taps(x_0, channel.power)

            x_0, h_0 = sample_blind(
                draw(-1), draw_taps(-1), steps, self.alpha_bar, prior, channel, problem.blind_residual, guidance, draw,
                draw_taps, update if sampling.blind_h == "lmmse" else None, report, tables,
            )  # fmt: skip
        elif sampling.variant == "ddnm":
            h_0, x = None, self.start(x_d, t_s, draw(-1), tables)
            x_0 = sample_ddnm(x, steps, self.alpha_bar, prior, 2 * x_d.clamp(0, 1) - 1, POOL, draw, report)
        else:
            h_0, confirmed = None, x_d if sampling.gamma else None

            def residuals(x_0: Tensor) -> tuple[Tensor, Tensor | None]:
                return problem.residuals(x_0, confirmed, sampling.confirm)

            x = self.start(x_d, t_s, draw(-1), tables)
            x_0 = sample(x, steps, self.alpha_bar, prior, residuals, guidance, draw, report)
        with torch.no_grad():
            clean = x_0.clamp(-1, 1)
            left = problem.residuals(clean)[0] if h_0 is None else problem.blind_residual(clean, h_0)
        return PosteriorSample(x_0, h_0, float(distance(left)))

    def start(self, x_d: Tensor, t_s: int, noise: Tensor, alpha_bar: Tensor) -> Tensor:
        """x_{T_s}: the coarse image x_d in [0, 1] with ``noise`` ~ N(0, I) (eq. 20); the noise alone where T_s is T."""
        return noise if t_s == len(alpha_bar) - 1 else noised(2 * x_d.clamp(0, 1) - 1, float(alpha_bar[t_s]), noise)

    def _start_step(self, sampling: Sampling, n0: float, cbr: float) -> int:
        """T_s: as given, by eq. 21, or T (Algorithms 1 and 3 start from pure noise).

        Args:
            n0: at the effective SNR. The paper has σ² = N0, which is the same over AWGN; under fading x_d is worse than N0 says, as
                symbols in fades are lost, and takes more noise to mend.
        """
        if sampling.variant == "blind":
            return len(self.alpha_bar) - 1
        if sampling.start_step is not None:
            return sampling.start_step
        if sampling.variant in ("diffcom", "ddnm") and sampling.likelihood != "authors":
            return len(self.alpha_bar) - 1
        if sampling.likelihood == "authors":
            return authors_start(n0, linear_float32(), sampling.eta)
        return adaptive_start(n0, cbr, self.alpha_bar, sampling.tau, sampling.eta)


def _reporting(progress: Progress, index: int, samples: int) -> Report:
    """Passes every step of the ``index``-th sample on to ``progress``, with the distance as it was when it was last read."""
    words = ""

    def report(done: int, total: int, left: Tensor) -> None:
        nonlocal words
        if done % EVERY == 1 or done == total:
            words = f"distance {float(left):.4g}"
        progress(index * total + done, samples * total, words)

    return report


def _note_of_unknown(variant: Variant, by_default: bool, fading: str) -> str:
    """What is to be said where the receiver does not know the channel."""
    if variant == "blind":
        return "channel: unknown to the receiver; " + (
            "--variant blind is taken, which finds it" if by_default else "blind finds it"
        )
    found = "" if fading == "rayleigh" else "; --variant blind finds it"
    return f"channel: unknown to the receiver, and {variant} samples as if there were no fading{found}"
