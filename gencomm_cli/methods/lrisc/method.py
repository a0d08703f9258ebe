"""LRISC: latent feature-guided conditional diffusion (Chen et al., arXiv:2504.21577).

          transmitter                          channel                        receiver
x ─► g_e ─► z ─┬─► h_e, h_d ─► −β log2 p(z_i | ŷ) ─► Q ─► rates k_i ─► side symbols ─► (CRC) ─► k_i ─┐
               └─► f_e (k_i) ─► s ───────────────────────► h ⊙ s + n ─► MMSE ─► f_d (k_i) ◄──────────┘
                                                                                 └─► ẑ ─┬─► g_s ─► coarse image
                                                  x_N ~ N(0, I) ─► N steps of X_θ(x_n, ẑ, n/N) ◄─┘ ─► refined image

  equation      what it says                where (a bare name: this file; ``train.x``: this folder; else below ``gencomm_cli``)
  section II-A  z = g_e(x)                  `networks.transform.NonlinearTransform.encode`
  section II-A  y = h_e(z)                  `networks.transform.NonlinearTransform.hyper_encode`
  eq. 1         ŝ = h s + n                 `channels.fading.transmit`; at the receiver `channels.equalisers.mmse`, not in the paper
  eq. 2         (μ, σ) = h_d(ŷ)             `networks.transform.NonlinearTransform.hyper_decode` of ŷ, y rounded by
                                            `networks.transform.NonlinearTransform.round_hyper`; the paper prints z for ŷ
  eq. 2         p(z | y)                    `networks.entropy.gaussian_likelihood`; −log2 of it for each z_i:
                                            `networks.transform.NonlinearTransform.information`
  eq. 3         k_i = Q(−β log p)           `networks.rate_allocation.quantise`, at the β that meets the rate
                                            (`networks.ntscc_codec.NTSCC.allocate`, `networks.ntscc_codec.NTSCC._fit`,
                                            `networks.rate_allocation.solve_beta`) or at that of ``--beta``
                                            (`networks.ntscc_codec.NTSCC.at_beta`)
  eq. 3         K_z = Σ k_i                 `networks.rate_allocation.symbols_of`
  eq. 4         s = f_e(z, p)               `networks.ntscc_codec.NTSCC.send`: rate tokens and FC layers (fig. 2)
                                            `networks.ntscc.LatentJSCC.encode`, SNR adaptation (fig. 3)
                                            `networks.snr_adaptive.SnrAdaptive`
  below eq. 4   power of s                  `networks.ntscc.unit_power`: 1
  section II-A  ẑ = f_d(ŝ)                  `networks.ntscc_codec.NTSCC.receive`, `networks.ntscc.LatentJSCC.decode`
  section II-A  x̂_0 = g_d(x̂_N, ẑ)           `sample` over `LRISC.denoiser`, called by `LRISC.decode`
  eq. 5         q(x_n | x_n−1)              as q(x_n | x_0), all that training needs: `diffusion.steps.noised`, called by
                                            `train.StageLoss.refined`; the β_n: `diffusion.cosine.cosine_alpha_bar`
  eq. 6         p_θ(x_n−1 | x_n, ẑ)         `sample` with ``ancestral`` of 1, which no decoder uses. Its variance is
                                            β_n (1 − ᾱ_n−1)/(1 − ᾱ_n), the posterior's, where the paper prints β_n:
                                            `diffusion.steps.AncestralStep.variance`
  section II-B  X_θ(x_n, ẑ, n/N)            `networks.conditional_unet.ConditionalUNet`; ẑ on the grids of its first levels:
                                            `networks.transform.NonlinearTransform.contexts`
  eq. 7         L(θ, x_0)                   `train.StageLoss.refined` has X_θ at a true x_n of a random n, and the weight
                                            ᾱ_n/(1 − ᾱ_n), `train.StageLoss.distortion` the squared norm
  eq. 8         DDIM                        `sample`, `diffusion.steps.ddim_step`
  eq. 9         L_RD                        `train.StageLoss.distortion`, `train.StageLoss.rate`
  eq. 9         p(y)                        `networks.entropy.FactorisedPrior`, which the paper does not describe
  eq. 10        L_P                         `train.StageLoss.perception`
  eq. 11        L_RDP                       `train.StageLoss.__call__`; λ, η: `train.Recipe`
  Algorithm 1   three stages                `train.STAGES`; lines 5 and 7: `train.StageLoss.refined`, lines 6 and 8:
                                            `train.StageLoss.__call__`. nano's stages 1 and 2 leave X_θ out (``refined`` is 0)

The paper's α_n, a product of 1 − β_i, is ᾱ_n here (``alpha_bar``). The log of its eq. 3 is log2, so that β counts symbols a bit.
nano's networks are those of the paper around their linear optimum: g_e, g_s and the contexts around PCA
(`networks.residual_transform.ResidualTransform`), f_e and f_d around KLT powers and LMMSE, with pilots that say how large the code
is sent (`networks.klt_latent.KLTLatentJSCC`), X_θ around the mean of a Gaussian given x_n, ẑ, rates and SNR
(`networks.residual_unet.ResidualUNet`). ``paper.json`` has the paper's own.

Its η is the weight of eq. 11 and nothing else; its d, in eqs. 9 and 11, is the squared error with the weight of eq. 7, and of the
coarse image the norm itself. Its receiver has the k_i for nothing; here they are side symbols, which count:
`networks.rate_indices.encode`, `networks.ntscc_codec.NTSCC.levels_at_receiver`. It has no coarse image: g_s is
`networks.transform.NonlinearTransform.image`. Where its words and the program it builds on (CDC: Yang & Mandt, 2023) differ, the
networks are the program's: five U-Net units on the way up for six on the way down (the lowest has the middle blocks in its place),
and LeakyReLU for ReLU in h_e and h_d.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gencomm_cli.diffusion.cosine import STEPS, cosine_alpha_bar
from gencomm_cli.diffusion.steps import AncestralStep, ddim_step
from gencomm_cli.errors import RateError
from gencomm_cli.methods.base import Decoded, Image, Received, Request, Transmission, of_samples
from gencomm_cli.methods.lrisc.options import Receiver, Transmitter
from gencomm_cli.networks.acceleration import compiled
from gencomm_cli.networks.ntscc_codec import MOST_SIDE, NTSCC, Allocation
from gencomm_cli.networks.tensors import Heard, finite, padded_size, to_image, to_tensor, within_range
from gencomm_cli.presets import Preset, require, verify
from gencomm_cli.presets.build import build, builders
from gencomm_cli.rates import symbols_within
from gencomm_cli.seeds import torch_normal


class LRISC:
    """One preset's networks, ready to encode and decode.

    Settings: ``cbr_range``; ``steps``, N; ``side_share``, the share of the budget that side symbols may take; ``start_noise``, the
    standard deviation of x_N (the published program of the diffusion takes 0.8); ``spacing``: arguments of :func:`visited`.
    """

    method = "lrisc"
    default_cbr = 1 / 96
    exact_rate = True

    def __init__(self, preset: Preset, codec: NTSCC, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        self.preset, self.codec, self.device, self.dtype = preset, codec, device, dtype
        self.cbr_range: tuple[float, float] = tuple(preset.settings.get("cbr_range", (0.0033, 0.0417)))
        self.side_share = float(preset.settings.get("side_share", MOST_SIDE))
        self.spacing: dict[str, Any] = dict(preset.settings.get("spacing", {}))
        self.alpha_bar = cosine_alpha_bar()
        unet = preset.components["unet"]
        with torch.device("meta"):
            self.multiple = math.lcm(codec.multiple, int(builders()[unet.class_name](**unet.config).multiple))  # type: ignore[arg-type]

    @classmethod
    def load(cls, preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> LRISC:
        """Builds the preset's codec in float32; the denoiser follows in ``dtype`` when it is first needed.

        Raises:
            InputError: a component is missing. ModelMismatch: weights are damaged or do not fit.
        """
        require(preset, "transform", "jscc", "rates", "unet")
        verify(preset)
        return cls(preset, NTSCC.load(preset, device), device, dtype)

    @cached_property
    def unet(self) -> nn.Module:
        """X_θ."""
        return build(self.preset.components["unet"], self.device, self.dtype)

    @cached_property
    def denoiser(self) -> Callable[..., Tensor]:
        """X_θ as the sampler calls it: as it is, or compiled."""
        return self.unet

    def compile(self) -> None:
        """Compiles the denoiser; it takes effect with the next picture, and again with each new size."""
        self.denoiser = compiled(self.unet, self.device)

    def symbol_budget(self, cbr: float, image_size: tuple[int, int], *, bound: bool = True) -> int:
        """K, the most image and side symbols within ``cbr`` · 3HW in the preset's range."""
        return self.codec.budget(symbols_within(cbr, self.cbr_range, image_size), image_size)

    @torch.no_grad()
    def encode(self, image: Image, request: Request) -> Transmission:
        """s = f_e(g_e(x)) (eqs. 2 … 4) of an image uint8 [H, W, 3] and the rates k_i as side symbols; β is solved for, unless the
        request brings one.

        Raises:
            RateError: fewer symbols than embeddings, or a β that takes more symbols than the preset's range has.
        """
        size = (image.shape[0], image.shape[1])
        z = finite(self.codec.latent(to_tensor(image, self.multiple, self.device)), "transform")
        allocation = self._allocate(z, size, request)
        share = allocation.side_symbols.size / allocation.symbols
        notes: tuple[str, ...] = ()
        if share > self.side_share:  # with --beta alone, where no group is large enough
            notes = (f"side information: takes {share:.0%} of the symbols, more than {self.side_share:.0%}; a larger β shrinks it",)
        snr_db = None if request.snr_db is None else within_range(request.snr_db)
        return self.codec.transmission(z, allocation, snr_db, notes)

    def _allocate(self, z: Tensor, size: tuple[int, int], request: Request) -> Allocation:
        information, options = self.codec.information(z, size), cast(Transmitter, request.options)
        if options.beta is None:
            return self.codec.allocate(
                information, request.symbols, snr_db=request.snr_db, fading=request.fading, side_share=self.side_share,
                kind=options.allocation or "adaptive",
            )  # fmt: skip
        found = self.codec.at_beta(
            information, options.beta, snr_db=request.snr_db, fading=request.fading, side_share=self.side_share
        )
        most = self.symbol_budget(math.inf, size)
        if found.symbols > most:
            raise RateError(
                f"{options.beta:g} takes {found.symbols} symbols, and {most} are the most here; give a smaller β", "beta"
            )
        return found

    def rate_map(self, received: Received) -> tuple[NDArray[np.int64], bool | None]:
        """Symbols of each block of the image [rows, columns], and whether the side symbols arrived."""
        return self.codec.rate_map(received)

    @torch.no_grad()
    def decode(
        self, received: Received, options: Receiver, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> Decoded:
        """Coarse image g_s(ẑ), and refined images g_d(x_N, ẑ) by eq. 8.

        Raises:
            InputError: symbols that are not what the side symbols say.
        """
        steps = options.steps or int(self.preset.settings.get("steps", 17))
        levels, side_ok = self.codec.levels_at_receiver(received)
        heard = Heard.of(received, self.device)  # where the side symbols are lost, the first symbol of every embedding is taken
        size = padded_size(received.image_size, self.multiple)
        z = self.codec.receive(heard.mmse()[0], heard.reliability[0], levels, size, within_range(received.tx_snr_db))
        coarse, contexts = self.codec.coarse(z)
        picture = to_image((coarse + 1) / 2, received.image_size, "transform")
        if options.coarse:
            return Decoded(picture, side_ok=side_ok)

        def refine(index: int) -> Image:
            noise = torch_normal(tuple(coarse.shape), seed, f"sampler {index}", self.device).to(coarse)
            x = sample(
                noise * float(self.preset.settings.get("start_noise", 1.0)), visited(steps, **self.spacing), self.alpha_bar,
                lambda x, time: self.denoiser(x, torch.full((1,), time, device=self.device), contexts, coarse),
                progress=of_samples(progress, index, options.samples),
            )  # fmt: skip
            return to_image((x + 1) / 2, received.image_size, "unet")

        return Decoded(picture, tuple(refine(index) for index in range(options.samples)), side_ok=side_ok)


def visited(count: int, steps: int = STEPS, *, power: float = 1.0, last: float = 0.0) -> list[int]:
    """The ``count`` steps of training that the sampler visits, from T − 1 down to ``last`` · (T − 1); a single one is T − 1.

    Evenly spaced in (n/T)^(1/``power``). The published program's are those of 1 and 0. They say little where so much of the image
    is received: noise tells of what is missing only where it is no louder than that, at small n.
    """
    if count == 1:
        return [steps - 1]
    places = (index / (count - 1) for index in reversed(range(count)))
    return [math.floor((last + (1 - last) * place**power) * (steps - 1) + 1e-6) for place in places]


def sample(
    x: Tensor,
    visit: Sequence[int],
    alpha_bar: Tensor,
    predict: Callable[[Tensor, float], Tensor],
    *,
    ancestral: float = 0.0,
    draw: Callable[[int], Tensor] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """g_d: from x_N to x_0 by eq. 8; the last prediction is the image.

    The network is given the pseudo-continuous n/T, so that a trained one serves every number of steps.

    Args:
        x: x_N, noise [B, 3, H, W].
        visit: steps in falling order, as :func:`visited` gives them.
        alpha_bar: ᾱ_n of every step of training (the paper's α_n).
        predict: X_θ(x_n, n/T), clamped to [−1, 1] here.
        ancestral: DDIM's η. 0 is deterministic (eq. 8); 1 draws each state from q(x_n−1 | x_n, x_0) with X_θ for x_0 (eq. 6, with
            the posterior's variance for the printed β_n). draw: i ↦ the standard normal noise that it adds, i = 0 … N − 2.
        progress: called with (steps done, steps in all).

    Raises:
        ValueError: ``ancestral`` without ``draw``.
    """
    if ancestral and draw is None:
        raise ValueError("ancestral steps need noise; give draw")
    for index, n in enumerate(visit):
        clean = predict(x, n / len(alpha_bar)).clamp(-1, 1)
        if index < len(visit) - 1:
            a, a_next = float(alpha_bar[n]), float(alpha_bar[visit[index + 1]])
            sigma = ancestral * AncestralStep(a, a_next).variance ** 0.5
            x = ddim_step(x, clean, a, a_next, sigma)
            if draw is not None and sigma > 0:
                x = x + sigma * draw(index).to(x)
        if progress is not None:
            progress(index + 1, len(visit))
    return clean
