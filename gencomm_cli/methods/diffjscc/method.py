"""DiffJSCC: diffusion-aided joint source-channel coding (Yang et al., paper 001).

    transmitter              air                               receiver
  x ─► E_c(x, h, γ) ─► y ─► h·y + n ─► zero-forcing ─► D_c(ỹ, h, γ) ─► x̂ ─┬─► VAE ───────────────► f_v ─┐
                                                        coarse image      └─► captioner ─► text ─► f_t ─┤
                                                                                                γ, h ─┤
                                       z_T ~ N(0, I) ─► 50 steps of the UNet under the control module ◄─┘ ─► z_0 ─► VAE ─► refined

Nothing beyond the image's symbols is sent: every condition is made of what the receiver has. (A prompt that was sent all the same
takes the caption's place: the paper's ablation with captions of the original.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gencomm_cli.diffusion.schedule import scaled_linear
from gencomm_cli.errors import InputError, RateError
from gencomm_cli.methods.base import Decoded, Image, Received, Request, Transmission
from gencomm_cli.methods.diffjscc.colour import colour_fix
from gencomm_cli.methods.diffjscc.csi import CsiEmbedding
from gencomm_cli.methods.diffjscc.options import CONDITIONS, GuidanceForm, Receiver, Transmitter
from gencomm_cli.methods.diffjscc.spaced import Guidance, sample, spaced_steps
from gencomm_cli.networks.acceleration import compiled
from gencomm_cli.networks.backbone import Networks
from gencomm_cli.networks.control import controlled
from gencomm_cli.networks.deepjscc import DeepJSCC
from gencomm_cli.networks.image_code import equalise, image_code
from gencomm_cli.networks.tensors import Heard, padded_size, to_image, to_tensor, within_range
from gencomm_cli.presets import Preset
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
            InputError: a value that cannot be.
        """
        names = [field.name for field in fields(cls)]
        given = {name: value for name in names if (value := getattr(options, name)) is not None}
        settled = cls(**{name: settings[name] for name in names if name in settings} | given)
        if not 1 <= settled.steps <= 1000:
            raise InputError(f"--steps {settled.steps}: out of range; 1 to 1000")
        if settled.guidance_form not in ("paper", "authors"):
            raise InputError(f"--guidance-form {settled.guidance_form}: unknown; paper or authors")
        if unknown := set(settled.condition) - set(CONDITIONS):
            raise InputError(f"--condition: there is no {', '.join(sorted(unknown))}; there is: {', '.join(CONDITIONS)}")
        return settled


class DiffJSCC:
    """One preset's networks, ready to encode and decode.

    Settings: ``domain`` (of a rate-adaptive JSCC), ``cbr_range``, ``csi`` (see :class:`CsiEmbedding`), ``steps``, and those of
    :class:`Refinement`.
    """

    method = "diffjscc"
    exact_rate = True

    def __init__(self, preset: Preset, networks: Networks, device: torch.device) -> None:
        settings = preset.settings
        self.preset, self.device = preset, device
        self.networks, self.codec = networks, networks.codec
        self.code = image_code(networks.jscc, networks.codec, settings.get("domain", "latent"))
        self.default_cbr = networks.jscc.config.cbr if isinstance(networks.jscc, DeepJSCC) else 1 / 384
        self.cbr_range: tuple[float, float] = tuple(settings.get("cbr_range", (0.0013, 0.0208)))
        self.csi = CsiEmbedding(**settings.get("csi", {}))
        self.alpha_bar = scaled_linear()
        self.multiple = math.lcm(self.code.multiple, self.codec.factor * 2**networks.halvings)
        self.controlled = controlled

    @classmethod
    def load(cls, preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> DiffJSCC:
        """Finds the preset's networks; those of the transmitter are built now, the others when they are needed.

        Raises:
            InputError: a component is missing. ModelMismatch: weights are damaged or do not fit.
        """
        return cls(preset, Networks(preset, device, dtype), device)

    def compile(self) -> None:
        """Compiles the denoiser; it takes effect with the next picture, and again with each new size."""
        self.controlled = compiled(controlled, self.device)

    def symbol_budget(self, cbr: float, image_size: tuple[int, int]) -> int:
        """k (eq. 1): the number of symbols nearest to ``cbr`` · 3HW that the preset's code can send."""
        low, high = self.cbr_range
        wanted = round(min(max(cbr, low), high) * 3 * image_size[0] * image_size[1])
        return self.code.symbols(wanted, padded_size(image_size, self.multiple))

    @torch.no_grad()
    def encode(self, image: Image, request: Request) -> Transmission:
        """y = E_c(x, h, γ) (eqs. 2, 5): as many complex symbols as are asked for, with E|y|² = 1.

        Args:
            image: uint8 [H, W, 3]. request: without h, the encoder takes it to be 1.

        Raises:
            RateError: another number of symbols than the code of this image can have.
        """
        snr_db = within_range(request.snr_db)
        known = request.options.gain if isinstance(request.options, Transmitter) else None
        gain = torch.tensor([1.0 if known is None else known], dtype=torch.complex64, device=self.device)
        x = to_tensor(image, self.multiple, self.device)
        try:
            y = self.code.encode(x, request.symbols, torch.tensor([snr_db], device=self.device), gain)
        except ValueError as error:
            raise RateError(f"--cbr: {error}; leave it out for the preset's own rate") from None
        return Transmission(y[0].cpu().numpy().astype(np.complex64))

    @torch.no_grad()
    def decode(
        self, received: Received, options: Receiver, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> Decoded:
        """Coarse image x̂ and refined images by Algorithm 1.

        Args:
            received: all that is known. seed: of the sampler's noise.
            progress: called with (steps done, steps in all).

        Raises:
            InputError: options out of range.
        """
        refinement = Refinement.settle(options, self.preset.settings)
        heard = Heard.of(received, self.device)
        gamma, gain = self._channel(received, heard)
        size = padded_size(received.image_size, self.multiple)
        x_hat = self.code.decode(equalise(heard.y, heard.gain), heard.reliability, size, gamma, gain)  # eqs. 4, 5
        x_hat = x_hat.clamp(0, 1).mul(255).round().div(255)  # the conditions come from the picture that is shown
        coarse = to_image(x_hat, received.image_size)
        if options.coarse:
            return Decoded(coarse)
        f_v = self.codec.encode(x_hat)  # eq. 7
        if not 0 <= refinement.guidance_lambda <= f_v[0].numel():
            raise InputError(
                f"--guidance-lambda {refinement.guidance_lambda:g}: out of range; 0 to {f_v[0].numel()} for an image of this size"
            )
        words = self._words(coarse, received.prompt, refinement)
        predict = self._denoiser(f_v, words, self.csi(gamma, gain), refinement.condition)
        steps = spaced_steps(refinement.steps)

        def refine(index: int) -> Image:
            def draw(step: int) -> Tensor:
                return torch_normal(tuple(f_v.shape), seed, f"sampler {index} step {step}", self.device).to(f_v)

            def report(done: int, total: int) -> None:
                if progress is not None:
                    progress(index * total + done, options.samples * total)

            guidance = Guidance(f_v, refinement.guidance_lambda, refinement.guidance_form)
            z_0 = sample(draw(-1), steps, self.alpha_bar, predict, draw, guidance=guidance, progress=report)
            refined = self.codec.decode(z_0)
            return to_image(colour_fix(refined, x_hat) if refinement.colour_fix else refined, received.image_size)

        captioned = "text" in refinement.condition and received.prompt is None
        return Decoded(coarse, tuple(refine(index) for index in range(options.samples)), caption=words if captioned else None)

    def _channel(self, received: Received, heard: Heard) -> tuple[Tensor, Tensor]:
        """γ in dB [1] and h [1]; fading symbol by symbol has no one h, and is taken as the AWGN channel of its effective SNR."""
        one = torch.ones(1, dtype=torch.complex64, device=self.device)
        if received.gain is None:
            return heard.snr_db, one
        if received.gain.size == 1:
            return heard.snr_db, complex(received.gain[0]) * one
        return heard.effective_snr_db, one

    def _words(self, coarse: Image, prompt: str | None, refinement: Refinement) -> str:
        """The caption of x̂ (eq. 8), or the prompt that came with the image."""
        if "text" not in refinement.condition:
            return ""
        return prompt if prompt is not None else caption(coarse, refinement.captioner, str(self.device))

    def _denoiser(self, f_v: Tensor, words: str, csi: Tensor, given: tuple[str, ...]) -> Callable[[Tensor, int], Tensor]:
        """ε_θ(z_t, c̄, t) under c̄ = {f_v, f_t, h, γ} (eq. 9); a condition that is switched off is zero, or the empty caption."""
        unet, control, f_t = self.networks.unet, self.networks.control, self.networks.text([words])
        hint, told = f_v if "spatial" in given else torch.zeros_like(f_v), csi if "csi" in given else torch.zeros_like(csi)

        def predict(z: Tensor, t: int) -> Tensor:
            return self.controlled(unet, control, z, torch.full((1,), t, device=self.device), f_t, hint, told)

        return predict
