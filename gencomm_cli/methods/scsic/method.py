"""SC-SIC: semantic image communication via Stable Cascade (Khalid et al., paper 004).

    transmitter                              air                         receiver
  X ─► scaled by s ─► EfficientNet-V2 ─► Z ─► pairs ─► h ⊙ z + n ─► y/h ─► Ẑ ─┬─► previewer ─► coarse image
                                         gain ─► short code ─────────► gain ─┘└──────┐
                                                  x_T ~ N(0, I) ─► 10 steps of stage B ─► X̂_VG ─► stage A ─► refined image

Z is 16 reals for every 32 × 32 pixels of the scaled image, sent as they are. Neither text nor stage C takes part, and the decoder
never sees the previewer's picture.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from gencomm_cli.errors import InputError, RateError
from gencomm_cli.methods.base import Decoded, Image, Received, Request, Transmission
from gencomm_cli.methods.scsic import analog
from gencomm_cli.methods.scsic.cosine import Target, guide, sample, times
from gencomm_cli.methods.scsic.efficientnet import FACTOR
from gencomm_cli.methods.scsic.embedding import preview, resize, with_reliability
from gencomm_cli.methods.scsic.networks import Cascade
from gencomm_cli.methods.scsic.options import Receiver
from gencomm_cli.networks.acceleration import compiled
from gencomm_cli.networks.tensors import Heard, to_image, to_tensor
from gencomm_cli.presets import Preset
from gencomm_cli.rates import ImageSize, samples
from gencomm_cli.seeds import torch_normal
from gencomm_cli.text import short_code

SCALE = 0.75
"""s of the paper: Z is [16, 12, 12] for 512² and [16, 24, 24] for 1024², one real for 341 samples. s = 1: one for 192."""


def cbr_of(scale: float) -> float:
    """ρ = s²/384: 8 complex symbols for (32/s)² pixels of 3 samples."""
    return scale**2 / 384


def grid_at(scale: float, size: ImageSize) -> tuple[int, int]:
    """(h, w) of Z for an image of size (H, W): whole squares of 32 scaled pixels, at least one."""
    height, width = (max(1, math.floor(scale * side / FACTOR + 1e-9)) for side in size)
    return height, width


def nearest_grid(positions: float, size: ImageSize) -> tuple[int, int]:
    """Of all grids that some scale gives an image of that size, the one with h·w nearest to ``positions``."""
    low, high = 0.0, 1.0
    while math.prod(grid_at(high, size)) <= positions:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.prod(grid_at(middle, size)) <= positions else (low, middle)
    return min(grid_at(low, size), grid_at(high, size), key=lambda grid: abs(math.prod(grid) - positions))


class ScSic:
    """One preset's networks, ready to encode and decode.

    Settings: ``scales`` (least and largest s), ``antialias`` (see :func:`resize`), ``steps``, ``guidance_scale``, ``rescale`` (see
    :func:`guide`), ``target`` (what stage B predicts), ``shift`` (of the schedule), ``snr_aware`` (stage B is told how reliable Ẑ
    is: not in the paper).
    """

    method = "scsic"
    default_cbr = cbr_of(SCALE)
    exact_rate = True

    def __init__(self, preset: Preset, networks: Cascade, device: torch.device) -> None:
        settings = preset.settings
        self.preset, self.device, self.networks = preset, device, networks
        self.scales: tuple[float, float] = tuple(settings.get("scales", (0.5, 1.0)))
        self.antialias: bool = settings.get("antialias", False)
        self.rescale: float = settings.get("rescale", 0.7)
        self.target: Target = settings.get("target", "epsilon")
        self.shift: float = settings.get("shift", 1.0)
        self.snr_aware: bool = settings.get("snr_aware", False)
        self.channels = networks.encoder.channels
        self.multiple = networks.multiple
        self.denoiser: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None

    @classmethod
    def load(cls, preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> ScSic:
        """Finds the preset's networks; the encoder is built now, the others when they are needed.

        Raises:
            InputError: a component is missing. ModelMismatch: weights are damaged or do not fit.
        """
        return cls(preset, Cascade(preset, device, dtype), device)

    def compile(self) -> None:
        """Compiles stage B; it takes effect with the next picture, and again with each new size."""
        self.denoiser = compiled(self.networks.stage_b, self.device)

    def symbol_budget(self, cbr: float, image_size: ImageSize) -> int:
        """Symbols of the embedding and its gain that are nearest to ``cbr`` · 3HW, with s = √(384ρ) in the preset's range."""
        least, most = (math.prod(grid_at(scale, image_size)) for scale in self.scales)
        wanted = (cbr * samples(image_size) - short_code.SYMBOLS) / (self.channels // 2)
        grid = nearest_grid(min(max(wanted, least), most), image_size)
        return self.channels // 2 * math.prod(grid) + short_code.SYMBOLS

    def _grid(self, symbols: int, image_size: ImageSize) -> tuple[int, int] | None:
        """(h, w) of so many symbols for the embedding alone; None where no scale gives as many."""
        positions, rest = divmod(symbols, self.channels // 2)
        grid = nearest_grid(positions, image_size)
        return grid if rest == 0 and math.prod(grid) == positions else None

    @torch.no_grad()
    def encode(self, image: Image, request: Request) -> Transmission:
        """Z = E(X) as complex symbols with E|z|² = 1, and its gain in the side symbols.

        Args:
            image: uint8 [H, W, 3].

        Raises:
            RateError: no scale gives an embedding of so many symbols.
        """
        grid = self._grid(request.symbols - short_code.SYMBOLS, (image.shape[0], image.shape[1]))
        if grid is None:
            raise RateError(
                f"--cbr: there is no embedding of {request.symbols} symbols with its gain; leave it out for s = {SCALE}"
            )
        x = to_tensor(image, self.multiple, self.device)
        z, gain = analog.normalise(self.networks.encoder(resize(x, grid, self.antialias)))
        side = short_code.transmit(analog.gain_index(float(gain)))
        return Transmission(z[0].cpu().numpy().astype(np.complex64), side)

    @torch.no_grad()
    def decode(
        self, received: Received, options: Receiver, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> Decoded:
        """The previewer's picture of Ẑ, and images that stage B draws under Ẑ. Without a previewer the first of these is both.

        Args:
            received: all that is known. seed: of the sampler's noise. progress: called with (steps done, steps in all).

        Raises:
            InputError: options out of range; a number of symbols that this image cannot have; ``coarse`` without a previewer.
        """
        if options.coarse and self.networks.previewer is None:
            raise InputError(f"--coarse: preset {self.preset.name} has no previewer; leave it out for the refined image")
        steps = options.steps or int(self.preset.settings.get("steps", 10))
        z_hat, condition = self._receive(received)
        height, width = (-(-side // self.multiple) * self.multiple for side in received.image_size)
        coarse = None
        if self.networks.previewer is not None:
            coarse = to_image(preview(self.networks.previewer, z_hat, (height, width)), received.image_size)
        if options.coarse and coarse is not None:
            return Decoded(coarse)
        guidance = self.preset.settings.get("guidance_scale", 1.5) if options.guidance_scale is None else options.guidance_scale
        predict = self._denoiser(condition, guidance)
        stage_a = self.networks.stage_a
        shape = (1, stage_a.channels, height // stage_a.factor, width // stage_a.factor)

        def refine(index: int) -> Image:
            def draw(step: int) -> Tensor:
                return torch_normal(shape, seed, f"sampler {index} step {step}", self.device)

            def report(done: int, total: int) -> None:
                if progress is not None:
                    progress(index * total + done, options.samples * total)

            latent = sample(draw(-1), times(steps), predict, draw, target=self.target, shift=self.shift, progress=report)
            return to_image(stage_a.decode(latent), received.image_size)  # eq. 2

        refined = tuple(refine(index) for index in range(options.samples))
        return Decoded(refined[0] if coarse is None else coarse, refined)

    def _receive(self, received: Received) -> tuple[Tensor, Tensor]:
        """Ẑ = Z + ε (eq. 6), and the condition that stage B takes."""
        grid = self._grid(received.symbols.size, received.image_size)
        if grid is None or received.side_symbols.size != short_code.SYMBOLS:
            raise InputError(
                f"symbols: {received.symbols.size} and {received.side_symbols.size} for the gain are no embedding of "
                f"{received.image_size[1]}x{received.image_size[0]} pixels; send the image again"
            )
        gain = analog.gain_of(short_code.receive(received.side_symbols, received.side_gain, received.n0))
        heard = Heard.of(received, self.device)
        z_hat = analog.denormalise(heard.y, heard.gain, gain, self.channels, grid)
        if not self.snr_aware:
            return z_hat, z_hat
        return z_hat, with_reliability(z_hat, heard.reliability)

    def _denoiser(self, condition: Tensor, guidance: float) -> Callable[[Tensor, Tensor], Tensor]:
        """ε̄(X_VG,t, t, Ẑ) with classifier-free guidance; without a condition Ẑ is zero."""
        stage_b = self.networks.stage_b if self.denoiser is None else self.denoiser
        if guidance == 1.0:
            return lambda x, time: stage_b(x, time, condition)
        both = torch.cat([condition, torch.zeros_like(condition)])

        def predict(x: Tensor, time: Tensor) -> Tensor:
            told, untold = stage_b(torch.cat([x, x]), torch.cat([time, time]), both).chunk(2)
            return guide(told, untold, guidance, self.rescale)

        return predict
