"""Text-Guided Diffusion Model-based Generative Communication (Chen et al., arXiv:2510.21299).

            transmitter                        channel                           receiver
  s ─► VAE ─► z ─► MambaJSCC encoder ─► x_c ─► h ⊙ x_c + n ─► MMSE ─► MambaJSCC decoder ─► z_c ─┬─────► VAE ─► coarse image
  o ─► text link ─────────────────────────────────────────────────────────────────► prompt ─┐   │
                                         z_c + noise (N_s) ─► UNet under ControlNet(z_c) ◄──┴───┘
                                                                  N steps ─► z̃_0 ─► VAE ─► refined image

In the pixel domain the JSCC works on the image itself and z_c = VAE(ŝ); the rest is the same.

  equation        what it says                   function
  eq. 1           y_c = h ⊙ x_c + n              `channels.fading.transmit`, then MMSE: `channels.equalisers.mmse`
  eq. 2           x = f_θ(z), with z = E(s)      `TextGuided.encode`: `networks.rate_adaptive.RateAdaptiveJSCC.encode`
  eq. 3           z_c = g_φ(y)                   `TextGuided.decode`: `networks.rate_adaptive.RateAdaptiveJSCC.decode`
  section III-B   prompt o                       `text.link`
  eq. 4           z_t of the plain process       `diffusion.steps.noised`; trained with it: `prior.prior_stage`
  eq. 5           z_Ns, noise on z_c             `sample`, line 1
  section IV-A    N_s by the CBR                 `StartTable`
  eqs. 6, 7, 8    z_t with ε_res = z_c − z_0     `diffuse`
  eq. 9           z_0 of such a z_t              `clean_from_u`; from ε as in the paper: `clean_from_noise`
  eqs. 10, 12–14  z_t' = a_t z_t + b_t ẑ_0       `ddim_step`
  eq. 11          σ_t = 0, as η = 0              no step adds noise
  eq. 15          γ                              `residual_weight`
  eqs. 16, 17     L_d without its coefficient    `diffusion_loss`
  eq. 18          L_1: stage 1 of the training   `refiner.refiner_stage`, its ``loss``; stage ``control`` of `train.STAGES`
  eq. 19          L_2: stage 2                   the same ``loss``; stage ``refine``
  λ_D, λ_M, λ_L   weights of eqs. 18, 19         `refiner.RefinerRecipe`: ``latent``, ``pixel``, ``perceptual``
  Algorithm 1     lines 1, 4, 8, 9               `sample`
                  lines 2, 3, 10: the steps      `diffusion.schedule.sampling_steps`
                  lines 5–7: guidance ω          `networks.controlled.controlled` for ``u``; `sample` for ``paper``
                  line 12: s̃ = D(z̃_0)            `TextGuided._refine`

Where the paper is mended. With κ_t = √ᾱ_t − √(1 − ᾱ_t) γ, eq. 7 reads z_t = √ᾱ_t z_c + κ_t (z_0 − z_c) + √(1 − ᾱ_t) ε. κ is
exactly zero at t = N_s: the state there holds no z_0, so eq. 9 divides by zero on the sampler's first step. Predicting
u = ε + γ (z_c − z_0) instead, ẑ_0 = (z_t − √(1 − ᾱ_t) û) / √ᾱ_t is finite everywhere and equals eq. 9 elsewhere; u is also what a
plain ε-network predicts at z_t, so that guidance mixes like with like. This is the parameterization ``u``, the default;
``paper`` predicts ε, takes ẑ_0 = z_c at t = N_s, and has its branches mixed in ẑ_0. The first term of L_1 is E‖u − û‖² or
E‖ε − ε_θ‖² accordingly. With ``path``, which is nano's, that of L_2 is neither: stage 2 then runs the whole sampler, and its first
term is the error of z̃_0 at the end.

Misprints, corrected here: eqs. 4 and 6 print α_t for ᾱ_t; eq. 9 prints + ε for − √(1 − ᾱ_t) ε (Algorithm 1 has it right); eq. 14
lacks the square root of its 1 − ᾱ_t−1. Eqs. 10 to 15 step to t − 1 and Algorithm 1 to t − N_s/N: read t' for either.

Not in the paper: the stages ``vae``, ``prior`` and ``decoder``, which make what Stable Diffusion is there, and ``jscc``, a start
for stage 1; the weights ``diffusion``, ``coarse`` and ``grid`` and the trained ``decoder`` of the recipe; one JSCC for all rates;
SNR, N_s and h as inputs of the control module; N_s by SNR; quadratic spacing of the steps; guidance of the text alone.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from gencomm_cli.diffusion.schedule import sampling_steps
from gencomm_cli.diffusion.steps import noised
from gencomm_cli.errors import RateError
from gencomm_cli.methods.base import Decoded, Image, Received, Request, Transmission, of_samples
from gencomm_cli.methods.options import Domain
from gencomm_cli.methods.textguided.options import Parameterization, Receiver
from gencomm_cli.networks.backbone import ControlledDiffusion, Networks
from gencomm_cli.networks.controlled import csi_features
from gencomm_cli.networks.klt_jscc import FieldCode
from gencomm_cli.networks.tensors import Heard, as_symbols, finite, to_image, to_tensor, within_range
from gencomm_cli.presets import Preset
from gencomm_cli.rates import symbols_within
from gencomm_cli.seeds import torch_normal

Predict = Callable[[Tensor, int], Tensor]
"""(z_t, t) → the network's output, of z_t's shape."""


class TextGuided(ControlledDiffusion):
    """One preset's networks, ready to encode and decode.

    Args:
        networks: in evaluation mode on ``device``.
        preset: their settings: domain, steps, spacing, parameterization, guidance_scale, cbr_range, start_steps; cbr, the default
            rate.
    """

    method = "textguided"
    exact_rate = True

    def __init__(self, preset: Preset, networks: Networks, device: torch.device) -> None:
        super().__init__(preset, networks, device)
        self.jscc, settings = cast(FieldCode, networks.jscc), preset.settings
        self.domain: Domain = settings.get("domain", "latent")
        self.default_cbr = float(settings.get("cbr", 0.0033))
        self.cbr_range: tuple[float, float] = tuple(settings.get("cbr_range", (0.0013, 0.0208)))
        self.starts = StartTable(**settings["start_steps"]) if "start_steps" in settings else StartTable()
        self.multiple = self.jscc.config.factor * (self.codec.factor if self.domain == "latent" else 1)
        self.multiple = math.lcm(self.multiple, self.codec.factor * 2**networks.halvings)

    def _field_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of what the JSCC sends: the padded image, or its latent."""
        divisor = self.codec.factor if self.domain == "latent" else 1
        height, width = (-(-side // self.multiple) * self.multiple // divisor for side in image_size)
        return height, width

    def symbol_budget(self, cbr: float, image_size: tuple[int, int], *, bound: bool = True) -> int:
        """k, the most symbols within ``cbr`` · 3HW in the preset's range; at least 1."""
        return self.jscc.symbols(symbols_within(cbr, self.cbr_range, image_size), self._field_size(image_size))

    @torch.no_grad()
    def encode(self, image: Image, request: Request) -> Transmission:
        """x_c = f_θ(E(s)) (eq. 2) of an image uint8 [H, W, 3]: as many complex symbols as are asked for, with E|x|² = 1.

        Raises:
            RateError: more symbols than the code of this image has.
        """
        x = to_tensor(image, self.multiple, self.device)
        field = self.codec.encode(x) if self.domain == "latent" else x
        snr_db = torch.tensor([within_range(request.snr_db)], device=self.device)
        try:
            symbols = self.jscc.encode(field, request.symbols, snr_db, x)
        except ValueError as error:
            raise RateError(f"{error}; ask for less") from None
        return Transmission(as_symbols(symbols[0], "jscc"))

    @torch.no_grad()
    def decode(
        self, received: Received, options: Receiver, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> Decoded:
        """Coarse image D(z_c), or the coarse head's, with z_c = g_φ(y) (eq. 3), and refined images by Algorithm 1.

        On pixels the coarse image is g_φ(y) itself.
        """
        heard = Heard.of(received, self.device)
        size = self._field_size(received.image_size)
        tx_snr_db = torch.tensor([within_range(received.tx_snr_db)], device=self.device)
        field = self.jscc.decode(heard.mmse(), heard.reliability, size, heard.snr_db, tx_snr_db)
        z_c = field if self.domain == "latent" else self.codec.encode(field.clamp(0, 1))
        if self.domain == "pixel":
            coarse = to_image(finite(field, "jscc"), received.image_size, "jscc")
        else:
            shown, name = (self.codec.decode, "vae") if self.networks.coarse is None else (self.networks.coarse, "coarse")
            coarse = to_image(shown(finite(z_c, "jscc")), received.image_size, name)
        if options.coarse:
            return Decoded(coarse)
        return Decoded(coarse, self._refine(z_c, heard.effective_snr_db, received, options, seed, progress))

    def _refine(
        self, z_c: Tensor, effective_snr_db: Tensor, received: Received, options: Receiver, seed: int,
        progress: Callable[[int, int], None] | None,
    ) -> tuple[Image, ...]:  # fmt: skip
        """Images s̃ = D(z̃_0) by Algorithm 1, one a sample."""
        settings = self.preset.settings
        cbr = received.symbols.size / (3 * received.image_size[0] * received.image_size[1])
        start = options.start_step or self.starts(cbr, float(effective_snr_db))
        steps = options.steps or int(settings.get("steps", 5))
        grid = sampling_steps(start, steps, options.spacing or settings.get("spacing", "uniform"))
        guidance = settings.get("guidance_scale", 1.0) if options.guidance_scale is None else options.guidance_scale
        parameterization = options.parameterization or settings.get("parameterization", "u")
        block = complex(received.gain[0]) if received.gain is not None and received.gain.size == 1 else 1.0
        csi = csi_features(
            effective_snr_db, torch.tensor([start], device=self.device),
            torch.tensor([block], dtype=torch.complex64, device=self.device),
        )  # fmt: skip
        unet, control, text = self.networks.unet, self.networks.control, self.networks.text
        prompt, nothing = text([received.prompt or ""]), text([""]) if guidance != 1.0 else None
        alone = options.guidance_of == "text"  # both branches under control, which is not in the paper
        # `sample` mixes the branches of ``paper``; those of u are mixed by `controlled`, in one pass.
        apart = parameterization == "paper" and not alone

        def conditional(z: Tensor, t: int) -> Tensor:
            now = torch.full((1,), t, device=self.device)
            if nothing is None or not alone:
                return self.controlled(unet, control, z, now, prompt, z_c, csi, None if apart else nothing, guidance)
            z, now, coarse, state = (torch.cat([each, each]) for each in (z, now, z_c, csi))
            own, none = self.controlled(unet, control, z, now, torch.cat([prompt, nothing]), coarse, state).chunk(2)
            return none + guidance * (own - none)

        def unconditional(z: Tensor, t: int) -> Tensor:
            now = torch.full((1,), t - 1, device=self.device)
            out: Tensor = unet(z.to(unet.dtype), now, encoder_hidden_states=cast(Tensor, nothing)).sample
            return out.to(z.dtype)

        def refine(index: int) -> Image:
            noise = torch_normal(tuple(z_c.shape), seed, f"sampler {index}", self.device).to(z_c)
            z_0 = sample(
                z_c, noise, grid, self.alpha_bar, conditional, unconditional if apart else None, guidance=guidance,
                parameterization=parameterization, progress=of_samples(progress, index, options.samples),
            )  # fmt: skip
            return to_image(self.codec.decode(finite(z_0, "unet, under control")), received.image_size, "vae")  # line 12

        return tuple(refine(index) for index in range(options.samples))


@dataclass(frozen=True)
class StartTable:
    """Warm-start step N_s over CBR and SNR; by default the paper's, by CBR alone (section IV-A).

    Attributes:
        cbr, snr_db: increasing. steps: one row a CBR, one column an SNR (or a single column).
    """

    cbr: tuple[float, ...] = (0.0020, 0.0033, 0.0059, 0.011)
    snr_db: tuple[float, ...] = (0.0,)
    steps: tuple[tuple[int, ...], ...] = ((600,), (500,), (400,), (300,))

    def __call__(self, cbr: float, snr_db: float = 0.0) -> int:
        """N_s, interpolated in log CBR and in dB, clamped at the table's ends."""
        rows = [float(np.interp(snr_db, self.snr_db, row)) for row in self.steps]
        return round(float(np.interp(math.log(cbr), np.log(self.cbr), rows)))


def diffuse(z_0: Tensor, z_c: Tensor, noise: Tensor, t: Tensor, start: Tensor, alpha_bar: Tensor) -> tuple[Tensor, Tensor]:
    """z_t by eqs. 6–8, and the target u = ε + γ (z_c − z_0).

    Args:
        z_0, z_c, noise: [B, C, H, W].
        t, start: int64 [B]; 1 ≤ t ≤ N_s = ``start``.
        alpha_bar: ᾱ_0 … ᾱ_T.
    """
    shape = (-1, 1, 1, 1)
    alpha_bar_t, gamma = alpha_bar[t].view(shape), residual_weight(alpha_bar, start).view(shape)
    u = noise + gamma * (z_c - z_0)
    return (alpha_bar_t.sqrt() * z_0 + (1 - alpha_bar_t).sqrt() * u).to(z_0.dtype), u.to(z_0.dtype)


def clean_from_u(z_t: Tensor, u: Tensor, alpha_bar_t: Tensor) -> Tensor:
    """ẑ_0 = (z_t − √(1 − ᾱ_t) û) / √ᾱ_t: eq. 9 from u, finite at t = N_s too."""
    return (z_t - (1 - alpha_bar_t).sqrt() * u) / alpha_bar_t.sqrt()


def clean_from_noise(z_t: Tensor, z_c: Tensor, noise: Tensor, alpha_bar_t: Tensor, gamma: Tensor) -> Tensor:
    """ẑ_0 by Algorithm 1, line 8 (eq. 9 corrected); infinite at t = N_s."""
    spread = (1 - alpha_bar_t).sqrt()
    return (z_t - spread * (gamma * z_c + noise)) / (alpha_bar_t.sqrt() - spread * gamma)


def ddim_step(z_t: Tensor, z_0: Tensor, alpha_bar_t: Tensor, alpha_bar_next: Tensor) -> Tensor:
    """z_t' = a_t z_t + b_t ẑ_0 (eqs. 10, 13, 14 corrected), which solves eq. 12 for σ_t = 0.

    This is :func:`gencomm_cli.diffusion.steps.ddim_step` in the paper's form. The two round differently, and the other one would
    change images by their last bits.

    Args:
        alpha_bar_t, alpha_bar_next: ᾱ_t, ᾱ_t'.
    """
    a = (1 - alpha_bar_next).sqrt() / (1 - alpha_bar_t).sqrt()  # eq. 13
    b = alpha_bar_next.sqrt() - alpha_bar_t.sqrt() * a  # eq. 14
    return a * z_t + b * z_0


def residual_weight(alpha_bar: Tensor, start: Tensor | int) -> Tensor:
    """γ = √ᾱ_Ns / √(1 − ᾱ_Ns) (eq. 15)."""
    return (alpha_bar[start] / (1 - alpha_bar[start])).sqrt()


def sample(
    z_c: Tensor,
    noise: Tensor,
    steps: list[int],
    alpha_bar: Tensor,
    conditional: Predict,
    unconditional: Predict | None = None,
    *,
    guidance: float = 1.0,
    parameterization: Parameterization = "u",
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Algorithm 1 up to line 11: from the coarse latent to z̃_0, deterministic but for the starting ``noise``.

    Line 12, D(z̃_0), is the caller's. Differentiable: stage 2 trains through all steps.

    Args:
        z_c, noise: [B, C, H, W].
        steps: N_s = t_0 > … > t_N = 0.
        conditional: predicts u (or ε, with ``paper``) from z_t, given z_c and the prompt; with None for ``unconditional``, already
            guided by ω (lines 5–7 in :func:`gencomm_cli.networks.controlled.controlled`).
        unconditional: the frozen network's prediction of u; called only where ``guidance`` ≠ 1.
        guidance: ω; 1 is the conditional prediction alone.
        parameterization: ``paper`` predicts ε, takes ẑ_0 = z_c at t = N_s, and mixes the branches in ẑ_0.
        progress: called with (steps done, steps in all).
    """
    alpha_bar = alpha_bar.to(z_c.dtype)  # stays on the CPU: numbers that never wait for a device
    start = steps[0]
    gamma = residual_weight(alpha_bar, start)  # line 4; a_t and b_t: ddim_step
    z = noised(z_c, alpha_bar[start], noise)  # line 1, eq. 5
    for index, (t, following) in enumerate(itertools.pairwise(steps)):
        alpha_bar_t = alpha_bar[t]
        if parameterization == "paper":
            z_0 = z_c if t == start else clean_from_noise(z, z_c, conditional(z, t), alpha_bar_t, gamma)  # lines 5, 8
        else:
            z_0 = clean_from_u(z, conditional(z, t), alpha_bar_t)  # lines 5, 8
        if guidance != 1.0 and unconditional is not None:
            free = clean_from_u(z, unconditional(z, t), alpha_bar_t)  # lines 6, 8
            # Line 7, of ẑ_0. With u that is line 7 as printed, as ẑ_0 is affine in û and has the same factor in both branches. With
            # ``paper`` it is not: the frozen network has no z_c, so it predicts u where the other predicts ε, and only ẑ_0 compare.
            z_0 = free + guidance * (z_0 - free)
        z = ddim_step(z, z_0, alpha_bar_t, alpha_bar[following])  # line 9
        if progress is not None:
            progress(index + 1, len(steps) - 1)
    return z


def diffusion_loss(target: Tensor, predicted: Tensor) -> Tensor:
    """E‖ε − ε_θ(z_t, z_c, o, t)‖²: eqs. 16 and 17 without their coefficient, the first term of L_1 (eq. 18).

    The coefficient (b_t √(1 − ᾱ_t) / (√ᾱ_t − √(1 − ᾱ_t) γ))² is left out by the paper too, for stability; at t = N_s it is
    infinite. That of u, (b_t √(1 − ᾱ_t) / √ᾱ_t)², is finite, and is left out just the same.

    Args:
        target: u of :func:`diffuse`, or with ``paper`` the noise itself. predicted: û or ε_θ, of its shape.
    """
    return (target - predicted).square().mean()
