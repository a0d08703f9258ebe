"""DiffJSCC: diffusion-aided joint source-channel coding (Yang et al., arXiv:2404.17736).

    transmitter            channel                              receiver
  x ─► E_c(x, h, γ) ─► y ─► h·y + n ─► zero-forcing ─► D_c(ỹ, h, γ) ─► x̂ ─┬─► VAE ───────────────► f_v ─┐
                                                        coarse image      └─► captioner ─► text ─► f_t ─┤
                                                                                                γ, h ─┤
                                       z_T ~ N(0, I) ─► 50 steps of the UNet under the control module ◄─┘ ─► z_0 ─► VAE ─► refined

Nothing beyond the image's symbols is sent: every condition is made of what the receiver has. (A prompt that was sent all the same
takes the caption's place: the paper's ablation with captions of the original.)

  equation       what it says                      function
  eq. 1          ρ = K/(C·H·W)                     `DiffJSCC.symbol_budget`
  eq. 2          y of power P̄ = 1                  `networks.rate_adaptive.unit_power`, the last step of each E_c
  eq. 3          ŷ = h y + n                       `channels.fading.transmit`
  eq. 4          ỹ = h*/|h|² ŷ                     `networks.conventions.forced`
  eq. 5          y = E_c(x, h, γ)                  `DiffJSCC.encode`: `networks.deepjscc.DeepJSCC.encode` (the paper's codec), or
                                                   `image_code.RateAdaptiveImageCode.encode` (of the preset nano), or SwinJSCC
                                                   and NTSCC, which section II-A names (`image_code.LearnedImageCode`,
                                                   `image_code.PictureCode`)
                 x̂ = D_c(ỹ, h, γ)                  `DiffJSCC.decode`: ``decode`` of the same classes
  eq. 6          L_JSCC                            `jscc_loss`; trained in `train.codec_stage`
  eq. 7          f_v = E_ldm(x̂)                    `DiffJSCC.decode`: `networks.vae.LatentCodec.encode`
  eq. 8          f_t = E_clip(E_blip(x̂))           the caption, E_blip: `DiffJSCC._words`; E_clip: `DiffJSCC._denoiser`
  eq. 9          c̄ = {f_v, f_t, h, γ}              `DiffJSCC._denoiser`; h and γ (section II-C2): `CsiEmbedding`
  eqs. 7–9       in training                       `train.ReceivedBatches.receive`, `train.ReceivedBatches.draw`
  eq. 10         z_t of z_t−1                      never drawn; its β_t is `diffusion.steps.AncestralStep.beta`
  eq. 11         z_t of z_0                        `diffusion.steps.noised`
  eq. 12         μ_t(z_t, z_0)                     `posterior_mean`
                 σ_t² = β_t (1 − ᾱ_s)/(1 − ᾱ_t)    `diffusion.steps.AncestralStep.variance`, with s for t − 1
  eq. 13         μ_θ(z_t, t)                       `clean_estimate`, then `posterior_mean`
  section II-C2  ε_θ, its control module           `networks.controlled.controlled`, `networks.control.LatentControlNet`
  eq. 14         L_ldm                             not here: UNet and text encoder come from another preset
                                                   (nano's from `methods.textguided.prior`)
  eq. 15         L_diff                            `diffusion_loss`, weighted in `train.control_stage`; eq. 15 itself with
                                                   `train.ControlRecipe.emphasis` of 0
  eq. 16         z̃_0 from ε_θ                      `clean_estimate`
  eq. 17         ẑ_0, guided                       `Guidance.apply`
  Algorithm 1                                      `sample`, and z_T and D_ldm(z_0) in `DiffJSCC.decode`

The sampler visits some of the steps t. Between two of them, s < t, the forward process is one step of eq. 10 with
1 − β = ᾱ_t/ᾱ_s, so that the equations hold with s for t − 1.

Misprints, corrected here: eq. 5 prints D_c(ŷ), where the text decodes ỹ of eq. 4; Algorithm 1 prints √(1 − ᾱ_t) before z_t, where
eq. 12 has √(1 − β_t), and the covariance σ_t I, where the text has σ_t² I.

Not in the paper: the rate-adaptive JSCC, on latents or pixels (`image_code.RateAdaptiveImageCode`); ``anchored`` control modules,
which mix their output with (z_t − √ᾱ_t f_v)/√(1 − ᾱ_t) (`networks.control.LatentControlNet.lean`); the weight ``emphasis`` of
eq. 15 and the stage ``rollout`` (`train`); limits on ỹ (`networks.conventions.forced`). The authors' program has, beside the paper,
`colour_fix` and the form ``authors`` of `Guidance`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.diffusion.schedule import spaced_steps
from gencomm_cli.diffusion.steps import AncestralStep
from gencomm_cli.errors import OptionError, RateError
from gencomm_cli.methods.base import Decoded, Image, Received, Request, Transmission, lost, of_samples
from gencomm_cli.methods.diffjscc.image_code import PictureCode, image_code, inner_codec
from gencomm_cli.methods.diffjscc.options import CONDITIONS, GuidanceForm, Receiver, Transmitter
from gencomm_cli.networks.backbone import ControlledDiffusion, Networks
from gencomm_cli.networks.conventions import forced
from gencomm_cli.networks.rate_adaptive import sinusoid
from gencomm_cli.networks.tensors import Heard, as_symbols, finite, padded_size, to_image, to_tensor, within_range
from gencomm_cli.presets import Preset
from gencomm_cli.rates import symbols_within
from gencomm_cli.seeds import torch_normal
from gencomm_cli.text.captioners import caption


@dataclass(frozen=True)
class Refinement:
    """How the coarse image is refined, once options and the preset's settings are settled.

    Attributes:
        steps: of the sampler. guidance_lambda: λ of eq. 17, 0 … C·H·W of the latent. guidance_form: ``paper`` or ``authors``.
        colour_fix: the refined picture's detail over the coarse picture's colours.
        condition: which conditions the networks get, of ``spatial``, ``csi`` and ``text``.
        captioner: of the coarse image, as :func:`gencomm_cli.text.captioners.caption` names them.
    """

    steps: int = 50
    guidance_lambda: float = 0.0
    guidance_form: GuidanceForm = "paper"
    colour_fix: bool = False
    condition: tuple[str, ...] = CONDITIONS
    captioner: str = "builtin"

    @classmethod
    def settle(cls, options: Receiver, settings: Mapping[str, Any]) -> Refinement:
        """What the options say, else the preset's settings, else the paper's.

        Raises:
            OptionError: a setting that cannot be.
        """
        names = [field.name for field in fields(cls)]
        preset = Receiver(**{name: settings[name] for name in names if name in settings})
        chosen = ((name, getattr(source, name)) for source in (preset, options) for name in names)
        return cls(**{name: value for name, value in chosen if value is not None})


class DiffJSCC(ControlledDiffusion):
    """One preset's networks, ready to encode and decode.

    Settings: ``domain`` (of a rate-adaptive JSCC), ``cbr_range``, ``csi`` (see :class:`CsiEmbedding`), and those of
    :class:`Refinement`.
    """

    method = "diffjscc"
    exact_rate = True

    def __init__(self, preset: Preset, networks: Networks, device: torch.device) -> None:
        super().__init__(preset, networks, device)
        settings = preset.settings
        jscc, domain = inner_codec(preset, device), settings.get("domain", "latent")
        self.code = image_code(jscc, networks.codec, domain, networks.coarse)
        side = 8 * self.code.multiple
        least, most = (self.code.symbols(count, (side, side)) for count in (1, side**3))
        own = least / (3 * side**2) if least == most else None  # of a code of one rate
        self.cbr_range: tuple[float, float] = tuple(settings.get("cbr_range", (own or 0.0013, own or 0.0208)))
        self.default_cbr = own or 1 / 384
        self.csi = CsiEmbedding(**settings.get("csi", {}))
        self.multiple = math.lcm(self.code.multiple, self.codec.factor * 2**networks.halvings)

    def symbol_budget(self, cbr: float, image_size: tuple[int, int], *, bound: bool = True) -> int:
        """k (eq. 1): the most symbols within ``cbr`` · 3HW that the preset's code can send."""
        wanted = symbols_within(cbr, self.cbr_range, image_size)
        return self.code.symbols(wanted, padded_size(image_size, self.multiple))

    @torch.no_grad()
    def encode(self, image: Image, request: Request) -> Transmission:
        """y = E_c(x, h, γ) (eqs. 2, 5) of an image uint8 [H, W, 3]: as many complex symbols as are asked for, with E|y|² = 1. An
        h that is not known is taken to be 1.

        Raises:
            RateError: another number of symbols than the code of this image can have.
        """
        snr_db = within_range(request.snr_db)
        known = request.options.gain if isinstance(request.options, Transmitter) else None
        gain = torch.tensor([1.0 if known is None else known], dtype=torch.complex64, device=self.device)
        x, gamma = to_tensor(image, self.multiple, self.device), torch.tensor([snr_db], device=self.device)
        if isinstance(self.code, PictureCode):
            return self.code.send(x, (image.shape[0], image.shape[1]), request, gamma, gain)
        try:
            y = self.code.encode(x, request.symbols, gamma, gain)
        except ValueError as error:
            raise RateError(f"{error}; leave it out for the preset's own rate") from None
        return Transmission(as_symbols(y[0], "jscc"))

    @torch.no_grad()
    def decode(
        self, received: Received, options: Receiver, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> Decoded:
        """Coarse image x̂ and refined images by Algorithm 1.

        Raises:
            OptionError: λ is out of this image's range.
        """
        refinement = Refinement.settle(options, self.preset.settings)
        heard = Heard.of(received, self.device)
        gamma, gain = self._channel(received, heard)
        decode, side_ok = self.code.known(received, self.device) if isinstance(self.code, PictureCode) else (self.code.decode, None)
        if decode is None:
            return lost(received.image_size, 0 if options.coarse else options.samples, side_ok=False)
        size = padded_size(received.image_size, self.multiple)
        x_hat = decode(forced(heard.y, heard.gain), heard.reliability, size, gamma, gain)  # eqs. 4, 5
        x_hat = x_hat.clamp(0, 1).mul(255).round().div(255)  # the conditions come from the picture that is shown
        coarse = to_image(x_hat, received.image_size, "jscc")
        if options.coarse:
            return Decoded(coarse, side_ok=side_ok)
        f_v = finite(self.codec.encode(x_hat), "vae")  # eq. 7
        if refinement.guidance_lambda > f_v[0].numel():
            problem = f"{refinement.guidance_lambda:g} is out of range; 0 to {f_v[0].numel()} for an image of this size"
            raise OptionError("guidance_lambda", problem)
        words = self._words(coarse, received.prompt, refinement)  # eq. 8, E_blip
        predict = self._denoiser(f_v, words, self.csi(gamma, gain), refinement.condition)  # eqs. 8 (E_clip), 9
        guidance = Guidance(f_v, refinement.guidance_lambda, refinement.guidance_form)
        steps = spaced_steps(refinement.steps)

        def refine(index: int) -> Image:
            def draw(step: int) -> Tensor:
                return torch_normal(tuple(f_v.shape), seed, f"sampler {index} step {step}", self.device).to(f_v)

            start = draw(-1)  # z_T: transitions count from 0, and its noise comes before theirs
            report = of_samples(progress, index, options.samples)
            z_0 = sample(start, steps, self.alpha_bar, predict, draw, guidance=guidance, progress=report)
            refined = self.codec.decode(finite(z_0, "unet, under control"))
            return to_image(colour_fix(refined, x_hat) if refinement.colour_fix else refined, received.image_size, "vae")

        captioned = "text" in refinement.condition and received.prompt is None
        refined = tuple(refine(index) for index in range(options.samples))
        return Decoded(coarse, refined, caption=words if captioned else None, side_ok=side_ok)

    def _channel(self, received: Received, heard: Heard) -> tuple[Tensor, Tensor]:
        """γ in dB [1] and h [1]; fading symbol by symbol has no one h, and is taken as the AWGN channel of its effective SNR."""
        one = torch.ones(1, dtype=torch.complex64, device=self.device)
        if received.gain is None:
            return heard.snr_db, one
        if received.gain.size == 1:
            return heard.snr_db, complex(received.gain[0]) * one
        return heard.effective_snr_db, one

    def _words(self, coarse: Image, prompt: str | None, refinement: Refinement) -> str:
        """The caption E_blip(x̂) (eq. 8), or the prompt that came with the image."""
        if "text" not in refinement.condition:
            return ""
        return prompt if prompt is not None else caption(coarse, refinement.captioner, str(self.device))

    def _denoiser(self, f_v: Tensor, words: str, csi: Tensor, given: tuple[str, ...]) -> Callable[[Tensor, int], Tensor]:
        """ε_θ(z_t, c̄, t) under c̄ = {f_v, f_t, h, γ} (eq. 9), with f_t = E_clip(words) (eq. 8).

        A condition that is switched off is zero, or the empty caption.
        """
        unet, control, f_t = self.networks.unet, self.networks.control, self.networks.text([words])
        hint, channel = f_v if "spatial" in given else torch.zeros_like(f_v), csi if "csi" in given else torch.zeros_like(csi)

        def predict(z: Tensor, t: int) -> Tensor:
            return self.controlled(unet, control, z, torch.full((1,), t, device=self.device), f_t, hint, channel)

        return predict


def jscc_loss(x: Tensor, x_hat: Tensor) -> Tensor:
    """L_JSCC = E‖x − x̂‖² (eq. 6) of images [B, 3, H, W]: the mean over all of their numbers."""
    return (x - x_hat).square().mean()


@dataclass(frozen=True)
class CsiEmbedding:
    """γ and h as a vector (section II-C2): a sinusoid of ``scale`` · γ − ``minimum`` (γ in dB), then Re h and Im h.

    The MLP behind it is the control module's own.

    Attributes:
        width: of the sinusoid. gain: whether h follows it.

    The authors' program: width 320, scale 100, the least SNR of training as minimum (which it does not scale), no gain.
    """

    width: int = 320
    scale: float = 100.0
    minimum: float = 0.0
    gain: bool = True

    @property
    def size(self) -> int:
        """Numbers in the vector: ``csi_width`` of the control module."""
        return self.width + 2 * self.gain

    def __call__(self, snr_db: Tensor, gain: Tensor) -> Tensor:
        """[B, size] of γ in dB [B] and h complex [B]."""
        snr = sinusoid(self.scale * snr_db - self.minimum, self.width)
        return torch.cat([snr, torch.view_as_real(gain)], 1) if self.gain else snr


def posterior_mean(z_t: Tensor, z_0: Tensor, step: AncestralStep) -> Tensor:
    """μ_t(z_t, z_0) (eq. 12), or μ_θ(z_t, t) (eq. 13) where z_0 is :func:`clean_estimate`'s.

    Not ``step.mean``, which divides last and so rounds differently: by the last bits, a seed would give another image than before.
    """
    of_z_0 = step.a_next**0.5 * step.beta / (1 - step.a)
    of_z_t = step.alpha**0.5 * (1 - step.a_next) / (1 - step.a)
    return of_z_0 * z_0 + of_z_t * z_t


def diffusion_loss(noise: Tensor, predicted: Tensor) -> Tensor:
    """‖ε − ε_θ(z_t, c̄, t)‖² of each latent [B, C, H, W] (eq. 15): the mean over its numbers, [B], not yet weighted by w(t)."""
    return (noise - predicted).square().mean((1, 2, 3))


def clean_estimate(z_t: Tensor, noise: Tensor, a: float) -> Tensor:
    """z̃_0 = (z_t − √(1 − ᾱ_t) ε_θ) / √ᾱ_t (eq. 16), with ``a`` for ᾱ_t."""
    return (z_t - (1 - a) ** 0.5 * noise) / a**0.5


@dataclass(frozen=True)
class Guidance:
    """Intermediate guidance of z̃_0 towards a latent f_v (section II-C3).

    Attributes:
        target: f_v [B, C, H, W]. weight: λ, 0 … C·H·W; 0 is no guidance, C·H·W puts ẑ_0 on f_v.
        form: ``paper`` takes the posterior of the guided ẑ_0 (eq. 17). ``authors``, as their program does, adds half of the
            correction to the mean of the unguided posterior, ``repeats`` times.
        repeats, above, below: not in the paper. They are --g_repeat, --g_t_stop and --g_t_start of the authors' program, whose
            trajectories the tests reproduce; no flag sets them. Steps t with above < t < below are guided.
    """

    target: Tensor
    weight: float
    form: GuidanceForm = "paper"
    repeats: int = 1
    above: int = 0
    below: int = 1001

    def apply(self, z_0: Tensor) -> tuple[Tensor, Tensor | float]:
        """The ẑ_0 to take the posterior's mean of, and what is added to that mean."""
        strength, shift = self.weight / z_0[0].numel(), torch.zeros_like(z_0)
        if self.form == "paper":
            return z_0 - strength * (z_0 - self.target), 0.0  # eq. 17
        guided = z_0
        for _ in range(self.repeats):
            step = -strength * (guided - self.target)
            guided, shift = guided + step, shift + 0.5 * step
        return z_0, shift


def sample(
    z: Tensor,
    steps: Sequence[int],
    alpha_bar: Tensor,
    predict: Callable[[Tensor, int], Tensor],
    draw: Callable[[int], Tensor] | None = None,
    *,
    guidance: Guidance | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """Algorithm 1 without its last line: from z_T ~ N(0, I) to z_0, over spaced steps.

    Args:
        z: z_T [B, C, H, W].
        steps: t_1 > … > t_N > 0, as :func:`gencomm_cli.diffusion.schedule.spaced_steps` gives them.
        alpha_bar: ᾱ_0 … ᾱ_T.
        predict: ε_θ(z_t, t).
        draw: standard normal noise of z's shape for the i-th transition, 0 … N − 2; None samples without noise.
        progress: called with (steps done, steps in all).
    """
    alpha_bar = alpha_bar.double()
    for index, (t, s) in enumerate(itertools.pairwise(steps)):
        step = AncestralStep(float(alpha_bar[t]), float(alpha_bar[s]))
        z_0 = clean_estimate(z, predict(z, t), step.a)  # eq. 16
        shift: Tensor | float = 0.0
        if guidance is not None and guidance.above < t < guidance.below:
            z_0, shift = guidance.apply(z_0)  # eq. 17
        z = posterior_mean(z, z_0, step) + shift  # eq. 12; without guidance eq. 13
        if draw is not None and s > 0:
            z = z + step.variance**0.5 * draw(index).to(z)  # σ_t ε
        if progress is not None:
            progress(index + 1, len(steps) - 1)
    return z


LEVELS = 5
"""Of the à-trous transform that separates colours from detail."""


def blur(image: Tensor, radius: int) -> Tensor:
    """One level of it: the binomial kernel [1 2 1]ᵀ[1 2 1]/16 with its taps ``radius`` apart, edges repeated."""
    row = torch.tensor([0.25, 0.5, 0.25], dtype=image.dtype, device=image.device)
    kernel = torch.outer(row, row).expand(image.shape[1], 1, 3, 3)
    return F.conv2d(F.pad(image, (radius,) * 4, mode="replicate"), kernel, dilation=radius, groups=image.shape[1])


def low_frequencies(image: Tensor) -> Tensor:
    """What is left of an image [B, C, H, W] after five blurs with radii 1 … 16; the rest of it is detail."""
    for level in range(LEVELS):
        image = blur(image, 2**level)
    return image


def colour_fix(refined: Tensor, coarse: Tensor) -> Tensor:
    """The authors' last step: detail of ``refined``, colours of ``coarse`` [B, C, H, W]; not clamped."""
    return refined - low_frequencies(refined) + low_frequencies(coarse)
