"""LRISC: latent feature-guided conditional diffusion (Chen et al., paper 002).

          transmitter                            air                          receiver
x ─► g_e ─► z ─┬─► h_e, h_d ─► −β log2 p(z_i | ŷ) ─► Q ─► rates k_i ─► side symbols ─► (CRC) ─► k_i ─┐
               └─► f_e (k_i) ─► s ───────────────────────► h ⊙ s + n ─► MMSE ─► f_d (k_i) ◄──────────┘
                                                                                 └─► ẑ ─┬─► g_s ─► coarse image
                                                  x_N ~ N(0, I) ─► N steps of X_θ(x_n, ẑ, n/N) ◄─┘ ─► refined image
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gencomm_cli.errors import RateError
from gencomm_cli.methods.base import Decoded, Image, Received, Request, Transmission
from gencomm_cli.methods.lrisc.ddim import cosine_alpha_bar, sample, visited
from gencomm_cli.methods.lrisc.options import Receiver, Transmitter
from gencomm_cli.networks.acceleration import compiled
from gencomm_cli.networks.conditional_unet import ConditionalUNet
from gencomm_cli.networks.ntscc_codec import MOST_SIDE, NTSCC, Allocation
from gencomm_cli.networks.rate_allocation import RATES, Levels
from gencomm_cli.networks.tensors import Heard, to_image, to_tensor, within_range
from gencomm_cli.presets import Preset, require, verify
from gencomm_cli.seeds import torch_normal


class LRISC:
    """One preset's networks, ready to encode and decode.

    Settings: ``cbr_range``; ``steps``, N; ``side_share``, the share of the budget that side symbols may take; ``start_noise``, the
    standard deviation of x_N (the published program of the diffusion takes 0.8).
    """

    method = "lrisc"
    default_cbr = 1 / 96
    exact_rate = True

    def __init__(self, preset: Preset, codec: NTSCC, unet: ConditionalUNet, device: torch.device) -> None:
        self.preset, self.codec, self.unet, self.device = preset, codec, unet, device
        self.cbr_range: tuple[float, float] = tuple(preset.settings.get("cbr_range", (0.0033, 0.0417)))
        self.side_share = float(preset.settings.get("side_share", MOST_SIDE))
        self.alpha_bar = cosine_alpha_bar()
        self.multiple = math.lcm(codec.multiple, unet.config.multiple)
        self.denoiser: Callable[..., Tensor] = unet

    @classmethod
    def load(cls, preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> LRISC:
        """Builds the preset's networks, the denoiser in ``dtype`` and the rest in float32.

        Raises:
            InputError: a component is missing. ModelMismatch: weights are damaged or do not fit.
        """
        require(preset, "transform", "jscc", "rates", "unet")
        verify(preset)
        return cls(preset, NTSCC.load(preset, device), ConditionalUNet.load(preset, device).to(dtype), device)

    def compile(self) -> None:
        """Compiles the denoiser; it takes effect with the next picture, and again with each new size."""
        self.denoiser = compiled(self.unet, self.device)

    def symbol_budget(self, cbr: float, image_size: tuple[int, int]) -> int:
        """K, image and side symbols nearest to ``cbr`` · 3HW within the preset's range."""
        low, high = self.cbr_range
        rows, columns = self.codec.shape(image_size)
        k = round(min(max(cbr, low), high) * 3 * image_size[0] * image_size[1])
        return max(1, min(k, RATES[-1] * rows * columns))

    @torch.no_grad()
    def encode(self, image: Image, request: Request) -> Transmission:
        """s = f_e(g_e(x)) (eqs. 3, 4) and the rates k_i as side symbols; β is solved for, unless the request brings one.

        Args:
            image: uint8 [H, W, 3].

        Raises:
            RateError: fewer symbols than embeddings, or a β that takes more symbols than the preset's range has.
        """
        size = (image.shape[0], image.shape[1])
        z = self.codec.latent(to_tensor(image, self.multiple, self.device))
        allocation = self._allocate(z, size, request)
        share = allocation.side_symbols.size / allocation.symbols
        notes: tuple[str, ...] = ()
        if share > self.side_share:  # with --beta alone, where no group is large enough
            notes = (f"side information: takes {share:.0%} of the symbols, more than {self.side_share:.0%}; a larger β shrinks it",)
        told = None if request.snr_db is None else within_range(request.snr_db)
        symbols = self.codec.send(z, allocation.levels, told).cpu().numpy().astype(np.complex64)
        return Transmission(symbols, allocation.side_symbols, side=allocation.side, notes=notes)

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
                f"--beta {options.beta:g}: takes {found.symbols} symbols, and {most} are the most here; give a smaller β"
            )
        return found

    def rate_map(self, received: Received) -> tuple[NDArray[np.int64], bool | None]:
        """Symbols of each block of the image [rows, columns], and whether the side symbols arrived."""
        levels, side_ok = self.levels(received)
        return np.array(RATES)[levels].astype(np.int64), side_ok

    def levels(self, received: Received) -> tuple[Levels, bool | None]:
        """The level of each embedding as the receiver has it, and whether the side symbols arrived (None where there are none)."""
        return self.codec.levels_at_receiver(
            received.symbols.size, received.image_size, received.side, received.side_symbols, received.side_gain, received.n0
        )

    @torch.no_grad()
    def decode(
        self, received: Received, options: Receiver, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> Decoded:
        """Coarse image g_s(ẑ) and refined images by eq. 8.

        Args:
            received: all that is known. seed: of x_N. progress: called with (steps done, steps in all).

        Raises:
            InputError: options out of range, or symbols that are not what the side symbols say.
        """
        steps = options.steps or int(self.preset.settings.get("steps", 17))
        levels, side_ok = self.levels(received)
        heard = Heard.of(received, self.device)
        if side_ok is False:
            heard = heard.first(levels.size)  # the first symbol of every embedding
        z = self.codec.receive(heard.mmse()[0], heard.reliability[0], levels, received.image_size, self.multiple)
        coarse, contexts = self.codec.coarse(z)
        picture = to_image((coarse + 1) / 2, received.image_size)
        if options.coarse:
            return Decoded(picture, side_ok=side_ok)

        def refine(index: int) -> Image:
            noise = torch_normal(tuple(coarse.shape), seed, f"sampler {index}", self.device).to(coarse)
            x = sample(
                noise * float(self.preset.settings.get("start_noise", 1.0)), visited(steps), self.alpha_bar,
                lambda x, time: self.denoiser(x, torch.full((1,), time, device=self.device), contexts, coarse),
                progress=None if progress is None else lambda done, total: progress(index * total + done, options.samples * total),
            )  # fmt: skip
            return to_image((x + 1) / 2, received.image_size)

        return Decoded(picture, tuple(refine(index) for index in range(options.samples)), side_ok=side_ok)
