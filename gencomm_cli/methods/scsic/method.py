"""SC-SIC: semantic image communication via Stable Cascade (Khalid et al., arXiv:2507.17416).

    transmitter                             channel                       receiver
  X ─► scaled by s ─► EfficientNet-V2 ─► Z ─► pairs ─► h ⊙ z + n ─► y/h ─► Ẑ ─┬─► previewer ─► coarse image
                                         gain ─► short code ─────────► gain ─┘└──────┐
                                                  x_T ~ N(0, I) ─► 10 steps of stage B ─► X̂_VG ─► stage A ─► refined image

Z is 16 reals for every 32 × 32 pixels of the scaled image, sent as they are. Neither text nor stage C takes part, and the decoder
never sees the previewer's picture.

  equation     what it says           where (a bare name: this file; ``train.x``, ``cascade.x``, ``efficientnet.x``, ``blocks.x``,
                                      ``latent_stage_b.x``: this folder; else below ``gencomm_cli``)
  eq. 1        X_VG = f_Θ(X)          `cascade.StageA.encode`; nano's recipe: `networks.vae.latent_codec`
  eq. 2        f_Θ⁻¹(X_VG) ≈ X        `cascade.StageA.decode`; nano's recipe: the same
  eq. 3        X_VG,t                 `noised_at`: √ᾱ_t and √(1 − ᾱ_t) by `diffusion.cosine.amplitudes` of log ᾱ_t/(1 − ᾱ_t), which
                                      `diffusion.cosine.log_snr` has for every t
  eq. 4        L = E‖ε − ε̄‖²          `denoising_error`, the norm alone; ε̄: `cascade.StageB.forward`, in nano's recipe
                                      `latent_stage_b.LatentStageB.forward`; the expectation, over X, t, ε and the channel: the loss
                                      of `train.diffusion_stage`. nano's stage B predicts v (`Target`)
  section 3.1  Z = E(X)               `resize`, then `efficientnet.EfficientNetEncoder`; nano's recipe: `blocks.BlockEncoder`
  eq. 5        SNR = 10 log P/σ²      `to_symbols` sends P = 1, which AWGN leaves as it is; σ²: `channels.snr.n0_from_db`
  eq. 6        Ẑ = Z + ε              `channels.fading.transmit`, then `to_embedding`; in training `train.over_channel`
  section 3.3  X̂ = f_Θ⁻¹(X̂_VG)        `sample` over `ScSic._denoiser`, then eq. 2

Eq. 3 prints X_VG,t for X_VG on its right. The paper says nothing of its schedule, sampler and guidance, nor how many steps it
takes: they are Stable Cascade's, with the 10 steps of the authors' next system (D-SIC). Nor does it say how Z becomes symbols, at
which power, or how the receiver knows that power.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.channels.equalisers import zero_forcing
from gencomm_cli.diffusion.cosine import OFFSET, amplitudes, log_snr, time_of
from gencomm_cli.errors import InputError, OptionError, RateError
from gencomm_cli.methods.base import Decoded, Image, Received, Request, Transmission, of_samples
from gencomm_cli.methods.scsic.efficientnet import FACTOR
from gencomm_cli.methods.scsic.networks import ScSicNetworks
from gencomm_cli.methods.scsic.options import Receiver
from gencomm_cli.networks.acceleration import compiled
from gencomm_cli.networks.gain_code import GainCode
from gencomm_cli.networks.rate_adaptive import to_complex, to_real
from gencomm_cli.networks.tensors import Heard, as_symbols, finite, to_image, to_tensor
from gencomm_cli.presets import Preset
from gencomm_cli.rates import ImageSize, samples
from gencomm_cli.seeds import torch_normal

if TYPE_CHECKING:
    from gencomm_cli.console import Progress

Target = Literal["epsilon", "v"]
"""What stage B predicts: the noise ε (eq. 4), or v = √ᾱ ε − √(1 − ᾱ) x_0, which says x_0 itself where there is noise alone."""

SCALE = 0.75
"""s of the paper: Z is [16, 12, 12] for 512² and [16, 24, 24] for 1024², one real for 341 samples. s = 1: one for 192."""
GAIN = GainCode(words=1, step_db=0.4)
"""It is met within 0.2 dB from −6.4 to 6 dB."""
LIMIT = 10.0
"""Of an equalised real under fading, in units of the gain: beyond it there is noise alone, from a fade to nearly nothing."""


# Section 2: the latent diffusion model


def noised_at(x_0: Tensor, level: Tensor, epsilon: Tensor) -> Tensor:
    """X_VG,t = √ᾱ_t X_VG + √(1 − ᾱ_t) ε (eq. 3), of x_0 and ε [B, C, H, W] at levels log ᾱ_t/(1 − ᾱ_t) [B]."""
    a, b = amplitudes(level.view(-1, 1, 1, 1))
    return a * x_0 + b * epsilon


def denoising_error(predicted: Tensor, x_0: Tensor, epsilon: Tensor, level: Tensor, target: Target) -> Tensor:
    """‖ε − ε̄(X_VG,t, t, Ẑ)‖² of each sample [B], over its number of reals; its mean is L (eq. 4). Of v, where that is predicted."""
    a, b = amplitudes(level.view(-1, 1, 1, 1))
    wanted = epsilon if target == "epsilon" else a * epsilon - b * x_0
    return (predicted - wanted).square().mean((1, 2, 3))


# Section 3.1: the embedding and its size


def cbr_of(scale: float) -> float:
    """ρ = s²/384: 8 complex symbols for (32/s)² pixels of 3 samples."""
    return scale**2 / 384


def grid_at(scale: float, size: ImageSize) -> tuple[int, int]:
    """(h, w) of Z for an image of size (H, W): whole squares of 32 scaled pixels, at least one."""
    height, width = (max(1, math.floor(scale * side / FACTOR + 1e-9)) for side in size)
    return height, width


def grids_about(positions: float, size: ImageSize) -> tuple[tuple[int, int], tuple[int, int]]:
    """Of all grids that some scale gives an image of that size, the largest with h·w ≤ ``positions`` ≥ 1 and the next larger."""
    low, high = 0.0, 1.0
    while math.prod(grid_at(high, size)) <= positions:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if math.prod(grid_at(middle, size)) <= positions else (low, middle)
    return grid_at(low, size), grid_at(high, size)


def resize(image: Tensor, grid: tuple[int, int], antialias: bool) -> Tensor:
    """The image [B, 3, H, W] as the encoder sees it: 32 pixels a position of the embedding's ``grid``.

    Args:
        antialias: a proper low-pass (bilinear) filter. Without it the nearest pixel is taken, as in Stable Cascade.
    """
    size = (FACTOR * grid[0], FACTOR * grid[1])
    if antialias:
        return F.interpolate(image, size, mode="bilinear", antialias=True).clamp(0, 1)
    return F.interpolate(image, size, mode="nearest")


# Section 3.2: the channel. Z's reals, two by two, are the complex symbols. The noise of a symbol is shared out between its reals,
# and the signal too: the SNR of every real is Es/N0.


def to_symbols(z: Tensor) -> tuple[Tensor, Tensor]:
    """Symbols [B, C·h·w / 2] of unit mean power (P = 1 in eq. 5), and the gain [B] they were divided by: the root mean square of
    Z's reals. Of Z [B, C, h, w], C even, the first half of the channels is real, the second imaginary."""
    gain = z.float().square().mean((1, 2, 3)).sqrt().clamp_min(1e-6)
    return to_complex(z.flatten(1)) / (math.sqrt(2) * gain[:, None]), gain


def to_embedding(received: Tensor, fading: Tensor | None, gain: Tensor | float, channels: int, grid: tuple[int, int]) -> Tensor:
    """Ẑ [B, C, h, w] of received symbols [B, k] (eq. 6): Z + ε as it arrived on AWGN, y/h where there is fading.

    Args:
        fading: h [B, k], or None where there is none, or the receiver does not know it. gain: Z's, [B] or a number.
    """
    z = math.sqrt(2) * to_real(zero_forcing(received, fading)).unflatten(1, (channels, *grid))
    if fading is not None:
        z = z.clamp(-LIMIT, LIMIT)
    return z * (gain.view(-1, 1, 1, 1) if isinstance(gain, Tensor) else gain)


def with_reliability(z: Tensor, reliability: Tensor) -> Tensor:
    """Ẑ [B, C, h, w] and, as one more channel, the mean of each position's reals of the symbols' ``reliability`` [B, C·h·w / 2]."""
    plane = reliability.float().reshape(len(z), z.shape[1] // 2, *z.shape[2:]).mean(1, keepdim=True)
    return torch.cat([z, plane], 1)


# Section 3.3: reconstruction, by few ancestral steps in continuous time. The paper says nothing of them


def times(steps: int) -> list[float]:
    """t_0 = 1 > … > t_N = 0, evenly spaced."""
    return [1 - index / steps for index in range(steps + 1)]


def clean_and_noise(x: Tensor, predicted: Tensor, level: Tensor, target: Target) -> tuple[Tensor, Tensor]:
    """x̂_0 and ε̂ of x_t (eq. 3 solved for them), by what was predicted of ``target``; ``level`` broadcasts against x."""
    a, b = amplitudes(level)
    if target == "v":
        return a * x - b * predicted, b * x + a * predicted
    return (x - b * predicted) / a, predicted


def guide(conditional: Tensor, unconditional: Tensor, weight: float, rescale: float = 0.7) -> Tensor:
    """Classifier-free guidance: ``unconditional`` + weight · difference; the share ``rescale`` of it with ``conditional``'s
    standard deviation, which guidance would raise [Lin et al., "Common diffusion noise schedules…", 2024, section 3.4]."""
    guided = torch.lerp(unconditional, conditional, weight)
    return guided * (rescale * conditional.std() / (guided.std() + 1e-9) + 1 - rescale)


def sample(
    x: Tensor,
    visit: Sequence[float],
    predict: Callable[[Tensor, Tensor], Tensor],
    draw: Callable[[int], Tensor] | None = None,
    *,
    target: Target = "epsilon",
    shift: float = 1.0,
    s: float = OFFSET,
    progress: Callable[[int, int], None] | None = None,
) -> Tensor:
    """From noise to x̂_0, which is X̂_VG: ancestral sampling, or (without ``draw``) DDIM.

    The steps are those of :mod:`gencomm_cli.diffusion.steps`, but from √ᾱ, √(1 − ᾱ) and ε̂, which are at hand here; those, from ᾱ
    and x̂_0, round differently.

    Args:
        x: standard normal [B, C, H, W].
        visit: t_0 > … > t_N, as :func:`times` gives them; the prediction at t_{N−1} is the result.
        predict: (x_t, time [B]) → prediction of ``target``.
        draw: standard normal noise of x's shape for the i-th transition, 0 … N − 2.
        shift, s: of the schedule. progress: called with (steps done, steps in all).
    """
    levels = log_snr(torch.tensor(visit, dtype=torch.float32), shift, s)  # stay on the CPU: numbers that never wait for a device
    unshifted = torch.stack([time_of(level, s) for level in levels]).to(x.device)
    for index, (here, there) in enumerate(itertools.pairwise(levels)):
        x_0, epsilon = clean_and_noise(x, predict(x, unshifted[index].expand(len(x))), here, target)
        if progress is not None:
            progress(index + 1, len(visit) - 1)
        if index == len(visit) - 2:
            break
        (a, b), (a_next, b_next) = amplitudes(here), amplitudes(there)
        fresh = 0.0  # deviation of the posterior q(x_s | x_t, x_0)
        if draw is not None:
            fresh = float(b_next / b * (1 - (a / a_next).square()).clamp_min(0).sqrt())
        x = a_next * x_0 + (b_next.square() - fresh**2).sqrt() * epsilon
        if draw is not None:
            x = x + fresh * draw(index).to(x)
    return x_0


def preview(previewer: nn.Module, z: Tensor, size: tuple[int, int]) -> Tensor:
    """The previewer's picture of Z, stretched to [B, 3, H, W]: the coarse image."""
    return F.interpolate(previewer(z), size, mode="bicubic", antialias=True)


class ScSic:
    """One preset's networks, ready to encode and decode.

    Settings: ``scales`` (least and largest s), ``antialias`` (see :func:`resize`), ``steps``, ``guidance_scale``, ``rescale`` (see
    :func:`guide`), ``target`` (what stage B predicts), ``shift``, ``s`` (of the schedule), ``snr_aware`` (stage B is also given how
    reliable Ẑ is: not in the paper).
    """

    method = "scsic"
    default_cbr = cbr_of(SCALE)
    exact_rate = True

    def __init__(self, preset: Preset, networks: ScSicNetworks, device: torch.device) -> None:
        settings = preset.settings
        self.preset, self.device, self.networks = preset, device, networks
        self.scales: tuple[float, float] = tuple(settings.get("scales", (0.5, 1.0)))
        self.antialias: bool = settings.get("antialias", False)
        self.rescale: float = settings.get("rescale", 0.7)
        self.target: Target = settings.get("target", "epsilon")
        self.shift: float = settings.get("shift", 1.0)
        self.s: float = settings.get("s", OFFSET)
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
        return cls(preset, ScSicNetworks(preset, device, dtype), device)

    def compile(self) -> None:
        """Compiles stage B; it takes effect with the next picture, and again with each new size."""
        self.denoiser = compiled(self.networks.stage_b, self.device)

    def symbol_budget(self, cbr: float, image_size: ImageSize, *, bound: bool = True) -> int:
        """The most symbols of an embedding and its gain within ``cbr`` · 3HW, with s = √(384ρ) in the preset's range; not
        ``bound``: the nearest."""
        least, most = (math.prod(grid_at(scale, image_size)) for scale in self.scales)
        wanted = min(max((cbr * samples(image_size) + 1e-6 * bound - GAIN.symbols) / (self.channels // 2), least), most)
        below, above = map(math.prod, grids_about(wanted, image_size))
        positions = above if not bound and above - wanted < wanted - below else below
        return self.channels // 2 * positions + GAIN.symbols

    def _grid(self, symbols: int, image_size: ImageSize) -> tuple[int, int] | None:
        """(h, w) of so many symbols for the embedding alone; None where no scale gives as many."""
        positions, rest = divmod(symbols, self.channels // 2)
        grid, _ = grids_about(positions, image_size)
        return grid if rest == 0 and math.prod(grid) == positions else None

    @torch.no_grad()
    def encode(self, image: Image, request: Request) -> Transmission:
        """Z = E(X) (section 3.1) of an image uint8 [H, W, 3] as complex symbols with E|z|² = 1 (eq. 5), and its gain in the side
        symbols.

        Raises:
            RateError: no scale gives an embedding of so many symbols.
        """
        grid = self._grid(request.symbols - GAIN.symbols, (image.shape[0], image.shape[1]))
        if grid is None:
            raise RateError(f"there is no embedding of {request.symbols} symbols with its gain; leave it out for s = {SCALE}")
        x = to_tensor(image, self.multiple, self.device)
        z, gain = to_symbols(finite(self.networks.encoder(resize(x, grid, self.antialias)), "encoder"))
        return Transmission(as_symbols(z[0], "encoder"), GAIN.send(float(gain)))

    @torch.no_grad()
    def decode(self, received: Received, options: Receiver, *, seed: int, progress: Progress | None = None) -> Decoded:
        """The previewer's picture of Ẑ, and images that stage B draws under Ẑ (section 3.3); without a previewer the first is both.

        Raises:
            OptionError: ``coarse`` without a previewer. InputError: a number of symbols that this image cannot have.
        """
        if options.coarse and self.networks.previewer is None:
            raise OptionError("coarse", f"preset {self.preset.name} has no previewer; leave it out for the refined image")
        steps = options.steps or int(self.preset.settings.get("steps", 10))
        z_hat, condition = self._receive(received)
        height, width = (-(-side // self.multiple) * self.multiple for side in received.image_size)
        coarse = None
        if self.networks.previewer is not None:
            coarse = to_image(preview(self.networks.previewer, z_hat, (height, width)), received.image_size, "previewer")
        if options.coarse and coarse is not None:
            return Decoded(coarse)
        guidance = self.preset.settings.get("guidance_scale", 1.5) if options.guidance_scale is None else options.guidance_scale
        predict = self._denoiser(condition, guidance)
        stage_a = self.networks.stage_a
        shape = (1, stage_a.channels, height // stage_a.factor, width // stage_a.factor)

        def refine(index: int) -> Image:
            def draw(step: int) -> Tensor:
                return torch_normal(shape, seed, f"sampler {index} step {step}", self.device)

            report = of_samples(progress, index, options.samples)
            latent = sample(draw(-1), times(steps), predict, draw, target=self.target, shift=self.shift, s=self.s, progress=report)
            return to_image(stage_a.decode(finite(latent, "stage_b")), received.image_size, "stage_a")  # eq. 2

        refined = tuple(refine(index) for index in range(options.samples))
        return Decoded(refined[0] if coarse is None else coarse, refined)

    def _receive(self, received: Received) -> tuple[Tensor, Tensor]:
        """Ẑ = Z + ε (eq. 6), and the condition that stage B takes."""
        grid = self._grid(received.symbols.size, received.image_size)
        if grid is None or received.side_symbols.size != GAIN.symbols:
            raise InputError(
                f"symbols: {received.symbols.size} and {received.side_symbols.size} for the gain are no embedding of "
                f"{received.image_size[1]}x{received.image_size[0]} pixels; send the image again"
            )
        gain = GAIN.receive(received.side_symbols, received.side_gain, received.n0)
        heard = Heard.of(received, self.device)
        lost = 1.0  # as the mapper normalises every channel
        z_hat = to_embedding(heard.y, heard.gain, lost if gain is None else gain, self.channels, grid)
        return z_hat, with_reliability(z_hat, heard.reliability) if self.snr_aware else z_hat

    def _denoiser(self, condition: Tensor, guidance: float) -> Callable[[Tensor, Tensor], Tensor]:
        """ε̄(X_VG,t, t, Ẑ) of eq. 4 with classifier-free guidance; without a condition Ẑ is zero."""
        stage_b = self.networks.stage_b if self.denoiser is None else self.denoiser
        if guidance == 1.0:
            return lambda x, time: stage_b(x, time, condition)
        both = torch.cat([condition, torch.zeros_like(condition)])

        def predict(x: Tensor, time: Tensor) -> Tensor:
            conditional, unconditional = stage_b(torch.cat([x, x]), torch.cat([time, time]), both).chunk(2)
            return guide(conditional, unconditional, guidance, self.rescale)

        return predict
