"""Text-Guided Diffusion Model-based Generative Communication (Chen et al., paper 000).

            transmitter                          air                             receiver
  s ─► VAE ─► z ─► MambaJSCC encoder ─► x_c ─► h ⊙ x_c + n ─► MMSE ─► MambaJSCC decoder ─► z_c ─┬─────► VAE ─► coarse image
  o ─► text link ─────────────────────────────────────────────────────────────────► prompt ─┐   │
                                         z_c + noise (N_s) ─► UNet under ControlNet(z_c) ◄──┴───┘
                                                                  N steps ─► z̃_0 ─► VAE ─► refined image

In the pixel domain the JSCC works on the image itself and z_c = VAE(ŝ); the rest is the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from torch import Tensor

from gencomm_cli.diffusion.schedule import StartTable, sampling_steps, scaled_linear
from gencomm_cli.errors import RateError
from gencomm_cli.methods.base import Decoded, Image, Received, Request, Transmission
from gencomm_cli.methods.textguided.options import Receiver
from gencomm_cli.methods.textguided.warm_start import sample
from gencomm_cli.networks.acceleration import compiled
from gencomm_cli.networks.backbone import Networks
from gencomm_cli.networks.control import controlled, csi_features
from gencomm_cli.networks.rate_adaptive import RateAdaptiveJSCC
from gencomm_cli.networks.tensors import Heard, to_image, to_tensor, within_range
from gencomm_cli.networks.vae import Domain
from gencomm_cli.presets import Preset
from gencomm_cli.seeds import torch_normal


class TextGuided:
    """One preset's networks, ready to encode and decode.

    Args:
        networks: in evaluation mode on ``device``.
        preset: their settings: domain, steps, spacing, parameterization, guidance_scale, cbr_range, start_steps.
    """

    method = "textguided"
    default_cbr = 0.0033
    exact_rate = True

    def __init__(self, preset: Preset, networks: Networks, device: torch.device) -> None:
        self.preset, self.device, self.networks = preset, device, networks
        self.codec, self.jscc = networks.codec, cast(RateAdaptiveJSCC, networks.jscc)
        settings = preset.settings
        self.domain: Domain = settings.get("domain", "latent")
        self.cbr_range: tuple[float, float] = tuple(settings.get("cbr_range", (0.0013, 0.0208)))
        self.starts = StartTable(**settings["start_steps"]) if "start_steps" in settings else StartTable()
        self.alpha_bar = scaled_linear()
        self.multiple = self.jscc.config.factor * (self.codec.factor if self.domain == "latent" else 1)
        self.multiple = math.lcm(self.multiple, self.codec.factor * 2**networks.halvings)
        self.controlled = controlled

    @classmethod
    def load(cls, preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> TextGuided:
        """Finds the preset's networks; those of the transmitter are built now, the others when they are needed.

        Raises:
            InputError: a component is missing. ModelMismatch: weights are damaged or do not fit.
        """
        return cls(preset, Networks(preset, device, dtype), device)

    def compile(self) -> None:
        """Compiles the denoiser; it takes effect with the next picture, and again with each new size."""
        self.controlled = compiled(controlled, self.device)

    def _field_size(self, image_size: tuple[int, int]) -> tuple[int, int]:
        """(H, W) of what the JSCC sends: the padded image, or its latent."""
        divisor = self.codec.factor if self.domain == "latent" else 1
        height, width = (-(-side // self.multiple) * self.multiple // divisor for side in image_size)
        return height, width

    def symbol_budget(self, cbr: float, image_size: tuple[int, int]) -> int:
        """k, the number of symbols nearest to ``cbr`` · 3HW within the preset's range; at least 1."""
        low, high = self.cbr_range
        k = round(min(max(cbr, low), high) * 3 * image_size[0] * image_size[1])
        height, width = self._field_size(image_size)
        factor = self.jscc.config.factor
        return max(1, min(k, self.jscc.config.code_channels * (height // factor) * (width // factor) // 2))

    @torch.no_grad()
    def encode(self, image: Image, request: Request) -> Transmission:
        """x_c = f_θ(E(s)) (eq. 2): as many complex symbols as are asked for, with E|x|² = 1.

        Args:
            image: uint8 [H, W, 3].

        Raises:
            RateError: more symbols than the code of this image has.
        """
        x = to_tensor(image, self.multiple, self.device)
        field = self.codec.encode(x) if self.domain == "latent" else x
        told = within_range(request.snr_db)
        try:
            symbols = self.jscc.encode(field, request.symbols, torch.tensor([told], device=self.device))
        except ValueError as error:
            raise RateError(f"--cbr: {error}; ask for less") from None
        return Transmission(symbols[0].cpu().numpy().astype(np.complex64))

    @torch.no_grad()
    def decode(
        self, received: Received, options: Receiver, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> Decoded:
        """Coarse image D(z_c) and refined images by Algorithm 1.

        Args:
            received: all that is known. seed: of the sampler's starting noise. progress: called with (steps done, steps in all).

        Raises:
            InputError: options out of range.
        """
        steps = options.steps or int(self.preset.settings.get("steps", 5))
        heard = Heard.of(received, self.device)
        size = self._field_size(received.image_size)
        field = self.jscc.decode(heard.mmse(), heard.reliability, size, heard.snr_db)
        z_c = field if self.domain == "latent" else self.codec.encode(field.clamp(0, 1))
        coarse = to_image(self.codec.decode(z_c), received.image_size)
        if options.coarse:
            return Decoded(coarse, ())
        return Decoded(coarse, self._refine(z_c, heard.effective_snr_db, received, options, steps, seed, progress))

    def _refine(
        self, z_c: Tensor, effective: Tensor, received: Received, options: Receiver, steps: int, seed: int,
        progress: Callable[[int, int], None] | None,
    ) -> tuple[Image, ...]:  # fmt: skip
        settings = self.preset.settings
        cbr = received.symbols.size / (3 * received.image_size[0] * received.image_size[1])
        start = options.start_step or self.starts(cbr, float(effective))
        grid = sampling_steps(start, steps, options.spacing or settings.get("spacing", "uniform"))
        block = complex(received.gain[0]) if received.gain is not None and received.gain.size == 1 else 1.0
        csi = csi_features(
            effective, torch.tensor([start], device=self.device), torch.tensor([block], dtype=torch.complex64, device=self.device)
        )
        guidance = settings.get("guidance_scale", 1.0) if options.guidance_scale is None else options.guidance_scale
        unet, control, text = self.networks.unet, self.networks.control, self.networks.text
        parameterization = options.parameterization or settings.get("parameterization", "u")
        prompt, nothing = text([received.prompt or ""]), text([""]) if guidance != 1.0 else None
        apart = parameterization == "paper"  # its branches mix in ẑ_0; those of u may as well before, in one pass of the UNet

        def told(z: Tensor, t: int) -> Tensor:
            now = torch.full((1,), t, device=self.device)
            return self.controlled(unet, control, z, now, prompt, z_c, csi, None if apart else nothing, guidance)

        def untold(z: Tensor, t: int) -> Tensor:
            now = torch.full((1,), t - 1, device=self.device)
            out: Tensor = unet(z.to(unet.dtype), now, encoder_hidden_states=cast(Tensor, nothing)).sample
            return out.to(z.dtype)

        images = []
        for index in range(options.samples):
            noise = torch_normal(tuple(z_c.shape), seed, f"sampler {index}", self.device).to(z_c)
            z = sample(
                z_c, noise, grid, self.alpha_bar, told, untold if apart else None, guidance=guidance,
                parameterization=parameterization,
                progress=None if progress is None else lambda done, total, first=index: progress(  # type: ignore[misc]
                    first * total + done, options.samples * total
                ),
            )  # fmt: skip
            images.append(to_image(self.codec.decode(z), received.image_size))
        return tuple(images)
