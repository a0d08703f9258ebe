"""DiffCom, HiFi-DiffCom and Blind-DiffCom: posterior sampling from the raw received signal (Wang et al., paper 003).

    transmitter                 air                                      receiver
  x ─► E ─► z ─► W_h: interleaver, OFDM, multipath, … ─► y ─┬─► W_h⁻¹ ─► D ─► x_d, the coarse image ─┐ (HiFi: start, confirming)
                                                            │                                         ▼
                                  x_T or noised x_d ─► T_s steps of an unconditional diffusion prior, each pulled along
                                                       −∇ ζ‖y − W_h(E(x̂_{0|t}))‖² − ∇ γ‖x_d − D(W_h⁻¹(W_h(E(x̂_{0|t}))))‖² ─► x_0

Nothing is trained for the channel: W_h is the simulator's own code, and the gradient goes through it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gencomm_cli.channels.equalisers import mmse
from gencomm_cli.channels.ofdm import delay_profile, through
from gencomm_cli.channels.snr import n0_from_db
from gencomm_cli.errors import InputError, ModelMismatch, RateError
from gencomm_cli.methods.base import Decoded, Image, Received, Request, Transmission
from gencomm_cli.methods.diffcom.options import (
    BlindForm,
    BlindH,
    Confirm,
    Likelihood,
    Pick,
    Receiver,
    Transmitter,
    Variant,
    is_read,
)
from gencomm_cli.methods.diffcom.pixel_prior import pixel_prior
from gencomm_cli.methods.diffcom.posterior import (
    ChannelPrior,
    Form,
    Guidance,
    Report,
    adaptive_start,
    authors_start,
    distance,
    linear_schedule,
    lmmse_taps,
    sample,
    sample_blind,
    visited,
)
from gencomm_cli.networks import codec_side
from gencomm_cli.networks.acceleration import compiled
from gencomm_cli.networks.ntscc_codec import NTSCC
from gencomm_cli.networks.rate_allocation import RATES, Levels
from gencomm_cli.networks.source_codec import LearnedCodec, SourceCodec, ToldCodec, ToldNTSCC
from gencomm_cli.networks.tensors import Heard, padded_size, to_image, to_tensor, within_range
from gencomm_cli.presets import Preset, require, verify
from gencomm_cli.presets.build import build
from gencomm_cli.seeds import torch_normal

if TYPE_CHECKING:
    from gencomm_cli.console import Progress

PAPER = {"diffcom": (0.6, 0.0, 0.1), "hifi": (0.3, 0.3, 0.1), "blind": (0.3, 0.0, 0.1)}
"""ζ, γ and ζ_h of section IV-A2 and table III."""
AUTHORS = {"diffcom": (1.0, 0.0, 0.2), "hifi": (0.25, 0.25, 0.2), "blind": (1.0, 0.0, 0.2)}
"""Those of the authors' program."""
EVERY = 5
"""Steps between two readings of the distance, each of which waits for the device."""
BAYES = (1.0, 0.0, 0.1)
"""``score`` and ``exact`` weigh the likelihood by N0: ζ = 1 is Bayes' rule, and counts y once."""


def _at(snr_db: float, value: Any) -> Any:
    """A setting, or what pairs [SNR, value] have at an SNR."""
    if not isinstance(value, list):
        return value
    known, values = np.array(value, float).T
    return float(np.interp(snr_db, known, values))


@dataclass(frozen=True)
class Sampling:
    """How the image is sampled, once options and the preset's settings are settled.

    Attributes:
        variant: ``diffcom`` (Algorithm 1), ``hifi`` (2) or ``blind`` (3).
        likelihood: a form of :class:`.posterior.Guidance`, or ``authors``: ``norm`` with their step sizes,
            their start (also for ``diffcom``, from the noised x_d), no pull in the last step, and for ``blind`` a linear decay.
        zeta, gamma, zeta_h: ζ, γ, ζ_h. tau, eta: τ, η of eq. 21.
        steps: of the T_s that are visited; None for all. start_step: T_s; None for eq. 21 (``hifi``), else T.
        confirm: what x_d is compared with (``hifi``): D(W_h⁻¹(W_h(E(x̂)))) of eq. 19 (``decoded``), or x̂ itself (``pixels``, Variant
            2 of table VI).
        blind_h: how the taps are found: by ``diffusion`` (Algorithm 3), or ``lmmse`` given x̂_{0|t}.
        blind_form: ĥ_{0|t} as derived (``corrected``), or the ``authors``'.
        pick: ``best`` keeps the sample with the smallest measurement distance. No reference is used.
    """

    variant: Variant = "hifi"
    likelihood: Likelihood = "squared"
    zeta: float = 0.3
    gamma: float = 0.3
    zeta_h: float = 0.1
    tau: float = 20.0
    eta: float = 1.0
    steps: int | None = None
    start_step: int | None = None
    confirm: Confirm = "decoded"
    blind_h: BlindH = "diffusion"
    blind_form: BlindForm = "corrected"
    pick: Pick = "all"

    @classmethod
    def settle(cls, options: Receiver, settings: Mapping[str, Any], unknown: bool = False, snr_db: float = 10.0) -> Sampling:
        """What the options say, else the preset's settings of the variant (``sampling``), else the paper's.

        The preset's step sizes are for its own likelihood: with another, its published ones take their place. A setting may be
        pairs [SNR in dB, value], between which it is interpolated: the norm's step does not shrink as noise grows.

        Args:
            unknown: the receiver does not know a channel whose taps can be found; where no variant is asked for, that is ``blind``.
            snr_db: of the received symbols.

        Raises:
            InputError: a value that cannot be, or an option that would not be read.
        """
        names = [field.name for field in fields(cls)]
        given = {name: value for name in names if (value := getattr(options, name)) is not None}
        variant = str(given.get("variant", "blind" if unknown else settings.get("variant", "hifi")))
        preset = {name: _at(snr_db, value) for name, value in settings.get("sampling", {}).get(variant, {}).items()}
        likelihood = str(given.get("likelihood", preset.get("likelihood", "squared")))
        if likelihood != preset.get("likelihood"):
            preset = {name: value for name, value in preset.items() if name not in ("zeta", "gamma", "zeta_h")}
        table = {"authors": AUTHORS[variant], "score": BAYES, "exact": BAYES}.get(likelihood, PAPER[variant])
        sizes = dict(zip(("zeta", "gamma", "zeta_h"), table, strict=True))
        settled = cls(**{"variant": variant, **sizes, **preset, **given, "likelihood": likelihood})
        settled._check()
        settled._check_read(given)
        return settled

    def _check_read(self, given: Collection[str]) -> None:
        """Raises InputError where an option was given that changes nothing."""
        choice = f"--variant {self.variant} --likelihood {self.likelihood}"
        choice += " --blind-h lmmse" if self.blind_h == "lmmse" else ""
        for name in given:
            flag = f"--{name.replace('_', '-')}"
            if not is_read(name, self.variant, self.likelihood, self.blind_h):
                raise InputError(f"{flag}: is not read with {choice}; leave it out or take another variant")
            if name in ("tau", "eta") and self.start_step is not None:
                raise InputError(f"{flag}: is for the start step of eq. 21, which --start-step sets; leave out one of them")

    def _check(self) -> None:
        for name in ("zeta", "gamma", "zeta_h", "tau", "eta"):
            if not 0 <= getattr(self, name) <= 1e6:
                raise InputError(f"--{name.replace('_', '-')} {getattr(self, name):g}: out of range; 0 to 1e6")
        for name in ("steps", "start_step"):
            if (value := getattr(self, name)) is not None and not 1 <= value <= 1000:
                raise InputError(f"--{name.replace('_', '-')} {value}: out of range; 1 to 1000")
        if self.variant == "blind" and (self.likelihood not in ("squared", "norm", "authors") or self.start_step is not None):
            raise InputError("--variant blind: starts from noise, with --likelihood squared, norm or authors; leave the rest out")
        if self.gamma and self.likelihood == "exact":
            raise InputError("--gamma: does not go with --likelihood exact, which counts y once; leave it out")

    def guidance(self, n0: float) -> Guidance:
        """The likelihood term that the sampler takes."""
        authors = self.likelihood == "authors"
        form = cast(Form, "norm" if authors else self.likelihood)
        decay: Literal["linear", "constant"] = "linear" if authors and self.variant == "blind" else "constant"
        return Guidance(self.zeta, self.gamma, self.zeta_h, form, max(n0, 1e-6), decay, last=not authors)


@dataclass(frozen=True)
class Link:
    """W_h and W_h⁻¹ as the receiver knows them: the gains of the symbols, or multipath's impulse response."""

    received: Received
    gain: Tensor | None
    cir: Tensor | None

    def send(self, z: Tensor, taps: Tensor | None = None) -> Tensor:
        """W_h(z) without noise, complex [B, k]; ``taps`` [B, L] in the place of what is known, as ``blind`` has them."""
        if self.received.ofdm is not None and (taps is not None or self.cir is not None):
            response = taps if taps is not None else cast(Tensor, self.cir).expand(len(z), -1)
            return through(z, response, self.received.ofdm, self.received.ofdm.pilots)[0]  # type: ignore[type-var]
        gain = self.gain if taps is None else taps
        return z if gain is None else gain * z

    def invert(self, y: Tensor) -> Tensor:
        """W_h⁻¹(y): the MMSE equaliser; without known gains the identity, as the codecs are trained on AWGN."""
        return y if self.gain is None else mmse(y, self.gain, self.received.n0)  # type: ignore[type-var]

    def profile(self) -> Tensor:
        """σ_l² [L] of the taps' law.

        Raises:
            InputError: the channel is none that a few taps describe.
        """
        if self.received.ofdm is not None:
            return torch.tensor(delay_profile(self.received.ofdm), dtype=torch.float32)
        if self.received.fading == "block":
            return torch.ones(1)
        raise InputError(f"--variant blind: finds the taps of block and multipath fading, not of {self.received.fading}; use hifi")

    def response(self, z: Tensor, taps: int) -> Tensor:
        """What is received for each unit tap: complex [1, k, L], for one codeword z [1, k]."""
        units = torch.eye(taps, dtype=z.dtype, device=z.device)
        return self.send(z.expand(taps, -1), units).T[None]


@dataclass(frozen=True)
class Problem:
    """y = W_h(E(x)) + n, for one image in [−1, 1].

    Attributes:
        y: as received, complex [1, k]. link: W_h. encode: E, images [B, …] to complex [B, k]. decode: D of equalised symbols.
        n0: N0 per complex symbol.
    """

    y: Tensor
    link: Link
    encode: Callable[[Tensor], Tensor]
    decode: Callable[[Tensor], Tensor]
    n0: float

    def coarse(self) -> Tensor:
        """x_d = D(W_h⁻¹(y)) in [0, 1]."""
        with torch.no_grad():
            return self.decode(self.link.invert(self.y))

    def residuals(self, x_0: Tensor, x_d: Tensor | None = None, confirm: Confirm = "decoded") -> tuple[Tensor, Tensor | None]:
        """y − W_h(E(x_0)), and with ``x_d`` the confirming x_d − D(W_h⁻¹(W_h(E(x_0)))) (eq. 19), or x_d − x_0 (``pixels``)."""
        heard = self.link.send(self.encode(x_0))
        if x_d is None:
            return self.y - heard, None
        return self.y - heard, x_d - (self.decode(self.link.invert(heard)) if confirm == "decoded" else (x_0 + 1) / 2)

    def blind_residual(self, x_0: Tensor, h_0: Tensor) -> Tensor:
        """y − W_{h_0}(E(x_0))."""
        return self.y - self.link.send(self.encode(x_0), h_0)

    @torch.no_grad()
    def taps(self, x_0: Tensor, power: Tensor) -> Tensor:
        """E[h | y, x_0] for taps of the variances ``power`` [L]."""
        return lmmse_taps(self.y, self.link.response(self.encode(x_0), len(power)), power, self.n0)


def _reporting(progress: Progress, index: int, samples: int) -> Report:
    """Tells ``progress`` of every step of the ``index``-th sample, and the distance as it was when it was last read."""
    words = ""

    def report(done: int, total: int, left: Tensor) -> None:
        nonlocal words
        if done % EVERY == 1 or done == total:
            words = f"distance {float(left):.4g}"
        progress(index * total + done, samples * total, words)

    return report


def _of_unknown(variant: Variant, by_default: bool, fading: str) -> str:
    """What is to be said where the receiver does not know the channel."""
    if variant == "blind":
        return "channel: unknown to the receiver; " + (
            "--variant blind is taken, which finds it" if by_default else "blind finds it"
        )
    found = "" if fading == "rayleigh" else "; --variant blind finds it"
    return f"channel: unknown to the receiver, and {variant} samples as if there were no fading{found}"


@dataclass(frozen=True)
class Sample:
    """x_0 in [−1, 1], h_0 complex [1, L] (``blind``), and the distance ‖y − W_h(E(x_0))‖₂ of x_0 clamped."""

    x_0: Tensor
    h_0: Tensor | None
    distance: float


NUMBERS = ("zeta", "gamma", "zeta_h", "tau", "eta", "steps", "start_step")
"""What of :class:`Sampling` is a number, and may be pairs in a preset."""


def _check_settings(preset: Preset) -> None:
    """Raises ModelMismatch where ``sampling`` of a preset cannot be read."""
    known, sampling = [field.name for field in fields(Sampling)], preset.settings.get("sampling", {})
    for variant, chosen in sampling.items() if isinstance(sampling, dict) else [("", None)]:
        place = f"diffcom/{preset.name}: sampling.{variant}".removesuffix(".")
        if not isinstance(chosen, dict):
            raise ModelMismatch(f'{place}: settings by variant would be right, as in {{"hifi": {{"zeta": 0.3}}}}')
        for name, value in chosen.items():
            if name not in known:
                raise ModelMismatch(f"{place}.{name}: unknown; there is: {', '.join(known)}")
            if name in NUMBERS and not (_is_number(value) or _is_pairs(value)):
                raise ModelMismatch(
                    f"{place}.{name} is {str(value)[:60]}; a number would be right, or pairs [SNR in dB, value] by rising SNR, as "
                    "in [[0, 0.1], [10, 1]]"
                )


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_pairs(value: object) -> bool:
    if not isinstance(value, list) or not value or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        return False
    return all(_is_number(number) for pair in value for number in pair) and all(a < b for (a, _), (b, _) in pairwise(value))


class DiffCom:
    """One preset's codec and prior, ready to encode and decode.

    A preset holds ``codec`` (ADJSCC, SwinJSCC), or NTSCC's ``transform``, ``jscc`` and ``rates``; and ``prior``.
    Settings: ``variant`` (of decoding), ``sampling`` (by variant: what :class:`Sampling` has, as :meth:`Sampling.settle`
    takes it), ``cbr_range``.
    """

    method = "diffcom"
    default_cbr = 1 / 48

    def __init__(self, preset: Preset, codec: LearnedCodec | NTSCC, prior: torch.nn.Module, device: torch.device) -> None:
        self.preset, self.codec, self.device = preset, codec, device
        self.alpha_bar = linear_schedule()
        self.cbr_range: tuple[float, float] = tuple(preset.settings.get("cbr_range", (1 / 96, 1 / 16)))
        side = 8 * codec.multiple
        self.exact_rate = isinstance(codec, NTSCC) or codec.symbols(1, (side, side)) == 1  # else the codec has one rate
        self.network = prior
        self.prior, multiple = pixel_prior(prior, self.alpha_bar)
        self.fast_prior = self.prior
        self.multiple = math.lcm(multiple, codec.multiple)

    @classmethod
    def load(cls, preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> DiffCom:
        """Builds the preset's networks, the prior in ``dtype`` and the codec in float32.

        Raises:
            InputError: a component is missing, or no codec. ModelMismatch: weights are damaged or do not fit, or settings cannot be
                read.
        """
        _check_settings(preset)
        own = "codec" in preset.components
        require(preset, "prior", *(("codec",) if own else ("transform", "jscc", "rates")))
        verify(preset)
        codec = codec_side.load(preset, device) if own else NTSCC.load(preset, device)
        return cls(preset, codec, build(preset.components["prior"], device, dtype), device)

    def compile(self) -> None:
        """Compiles the prior, forward and backward; it takes effect with the next picture, and again with each new size.

        Not for ``exact``, whose conjugate gradients go backward more than once: compiled code frees what it needs for that.
        """
        self.fast_prior, _ = pixel_prior(self.network, self.alpha_bar, lambda network: compiled(network, self.device))

    def symbol_budget(self, cbr: float, image_size: tuple[int, int]) -> int:
        """k, the number of symbols nearest to ``cbr`` · 3HW that the preset's codec can send."""
        low, high = self.cbr_range
        wanted = round(min(max(cbr, low), high) * 3 * image_size[0] * image_size[1])
        if isinstance(self.codec, NTSCC):  # side symbols included
            return max(1, min(wanted, RATES[-1] * math.prod(self.codec.shape(image_size))))
        return self.codec.symbols(wanted, padded_size(image_size, self.multiple)) + codec_side.most_symbols(self.codec)

    def _told(self, snr_db: float | None) -> Tensor:
        """What the encoder is told of the SNR [1]; the receiver finds it in the header, to encode as the transmitter did."""
        return torch.tensor([within_range(snr_db)], device=self.device)

    @torch.no_grad()
    def encode(self, image: Image, request: Request) -> Transmission:
        """z = E(x): as many complex symbols as are asked for, with E|z|² = 1; NTSCC's count its side symbols.

        Args:
            image: uint8 [H, W, 3].

        Raises:
            RateError: another number of symbols than the code of this image can have.
        """
        x, told = to_tensor(image, self.multiple, self.device), self._told(request.snr_db)
        if isinstance(self.codec, NTSCC):
            size, latent = (image.shape[0], image.shape[1]), self.codec.latent(x)
            information = self.codec.information(latent, size)
            rates = self.codec.allocate(
                information,
                request.symbols,
                snr_db=request.snr_db,
                fading=request.fading,
                kind=cast(Transmitter, request.options).allocation or "adaptive",
            )
            z = self.codec.send(latent, rates.levels, None if request.snr_db is None else float(told))
            return Transmission(z.cpu().numpy().astype(np.complex64), rates.side_symbols, side=rates.side)
        try:
            return codec_side.send(self.codec, x, request, told)
        except ValueError as error:
            raise RateError(f"--cbr: {error}; leave it out for the preset's own rate") from None

    def decode(self, received: Received, options: Receiver, *, seed: int, progress: Progress | None = None) -> Decoded:
        """The coarse image x_d = D(W_h⁻¹(y)), and posterior samples by Algorithm 1, 2 or 3.

        Args:
            received: all that is known. seed: of the sampler's noise.
            progress: called with (steps done, steps in all, the measurement distance in words).

        Raises:
            InputError: options out of range, or the samples diverge.
        """
        unknown = received.gain is None and received.fading in ("rayleigh", "block", "multipath")
        snr_db = -10 * math.log10(max(received.n0, 1e-6))
        sampling = Sampling.settle(options, self.preset.settings, unknown and received.fading != "rayleigh", snr_db)
        told, side_ok = self._known(received)
        if told is None or (side_ok is False and not isinstance(told, ToldCodec)):
            lost = codec_side.grey(received.image_size) if told is None else self._without_rates(received, told)
            return Decoded(lost, () if options.coarse else (lost,) * options.samples, outage=told is None, side_ok=False)
        problem, n0 = self._problem(received, told)
        x_d = problem.coarse()
        coarse = to_image(x_d, received.image_size)
        if options.coarse:
            return Decoded(coarse, side_ok=side_ok)
        notes = (_of_unknown(sampling.variant, options.variant is None, received.fading),) if unknown else ()
        start = self._start(sampling, n0, received.symbols.size / (3 * received.image_size[0] * received.image_size[1]))
        found = []
        for index in range(options.samples):
            report = None if progress is None else _reporting(progress, index, options.samples)
            found.append(self._sample(problem, x_d, sampling, start, (seed, f"sampler {index}"), report))
            if not bool(torch.isfinite(found[-1].x_0).all()):
                raise InputError(f"--zeta {sampling.zeta:g}, --zeta-h {sampling.zeta_h:g}: the samples diverge; take smaller ones")
        if sampling.pick == "best":
            found = [min(found, key=lambda one: one.distance)]
        return Decoded(
            coarse, tuple(to_image((one.x_0 + 1) / 2, received.image_size) for one in found), side_ok=side_ok,
            distances=tuple(one.distance for one in found),
            taps=tuple(one.h_0[0].cpu().numpy() for one in found if one.h_0 is not None), notes=notes,
        )  # fmt: skip

    def _problem(self, received: Received, told: Levels | ToldCodec) -> tuple[Problem, float]:
        """The inverse problem, and N0 at the effective SNR.

        Args:
            told: NTSCC's levels, or any other codec as the receiver knows it.
        """
        heard = Heard.of(received, self.device)
        cir = None if received.cir is None else torch.tensor(received.cir, device=self.device)[None]
        size = padded_size(received.image_size, self.multiple)
        snr_db, sent_snr_db = heard.effective_snr_db, self._told(received.tx_snr_db)
        codec: SourceCodec = (
            told
            if isinstance(told, ToldCodec)
            else ToldNTSCC(
                cast(NTSCC, self.codec), told, received.image_size, self.multiple, heard.reliability[0], heard.gain is not None
            )
        )

        def encode(x: Tensor) -> Tensor:
            return codec.encode((x + 1) / 2, heard.y.shape[1], sent_snr_db.expand(len(x)))

        def decode(equalised: Tensor) -> Tensor:
            return codec.decode(equalised, size, snr_db)

        problem = Problem(heard.y, Link(received, heard.gain, cir), encode, decode, received.n0)
        return problem, n0_from_db(heard.mean_snr_db)

    def _known(self, received: Received) -> tuple[Levels | ToldCodec | None, bool | None]:
        """NTSCC's rates, or any other codec, as the side symbols say, and whether these arrived; None where nothing is known."""
        if not isinstance(self.codec, NTSCC):
            return codec_side.receive(self.codec, received, self.device)
        return self.codec.levels_at_receiver(
            received.symbols.size, received.image_size, received.side, received.side_symbols, received.side_gain, received.n0
        )

    def rate_map(self, received: Received) -> tuple[NDArray[np.int64], bool | None] | None:
        """Symbols of each block [rows, columns], and whether the side symbols arrived; None where all blocks have the same."""
        found = self.levels(received)
        return None if found is None else (np.array(RATES)[found[0]].astype(np.int64), found[1])

    def levels(self, received: Received) -> tuple[Levels, bool | None] | None:
        """NTSCC's level of each embedding, and whether the side symbols arrived (None where there are none); None of any other
        codec, whose rate is the same everywhere."""
        return cast(tuple[Levels, bool | None], self._known(received)) if isinstance(self.codec, NTSCC) else None

    @torch.no_grad()
    def _without_rates(self, received: Received, levels: Levels) -> Image:
        """What is left where NTSCC's side symbols are lost: the image from the first symbol of every embedding.

        There is nothing to sample from: the receiver does not know what E would have sent.
        """
        heard = Heard.of(received, self.device).first(levels.size)
        codec = cast(NTSCC, self.codec)
        z = codec.receive(heard.mmse()[0], heard.reliability[0], levels, received.image_size, self.multiple)
        return to_image((codec.coarse(z)[0] + 1) / 2, received.image_size)

    def _sample(
        self, problem: Problem, x_d: Tensor, sampling: Sampling, start: int, stream: tuple[int, str], report: Report | None
    ) -> Sample:
        """One sample."""
        seed, purpose = stream
        steps, guidance = visited(start, sampling.steps), sampling.guidance(problem.n0)
        prior = self.prior if guidance.form == "exact" else self.fast_prior

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
                draw_taps, update if sampling.blind_h == "lmmse" else None, report,
            )  # fmt: skip
        else:
            h_0, x = None, draw(-1)
            if start < len(self.alpha_bar) - 1:  # eq. 20
                a = float(self.alpha_bar[start])
                x = a**0.5 * (2 * x_d.clamp(0, 1) - 1) + (1 - a) ** 0.5 * x
            confirmed = x_d if sampling.gamma else None

            def residuals(x_0: Tensor) -> tuple[Tensor, Tensor | None]:
                return problem.residuals(x_0, confirmed, sampling.confirm)

            x_0 = sample(x, steps, self.alpha_bar, prior, residuals, guidance, draw, report)
        with torch.no_grad():
            clean = x_0.clamp(-1, 1)
            left = problem.residuals(clean)[0] if h_0 is None else problem.blind_residual(clean, h_0)
        return Sample(x_0, h_0, float(distance(left)))

    def _start(self, sampling: Sampling, n0: float, cbr: float) -> int:
        """T_s: as given, by eq. 21, or T (Algorithms 1 and 3 start from pure noise).

        Args:
            n0: of the AWGN channel whose symbols are as reliable as these are on the mean. The paper has σ² = N0, which is the same
                over AWGN; under fading x_d is worse than N0 says, as symbols in fades are lost, and takes more noise to mend.
        """
        if sampling.start_step is not None:
            return sampling.start_step
        if sampling.variant == "blind" or (sampling.variant == "diffcom" and sampling.likelihood != "authors"):
            return len(self.alpha_bar) - 1
        if sampling.likelihood == "authors":
            return authors_start(n0, self.alpha_bar, sampling.eta)
        return adaptive_start(n0, cbr, self.alpha_bar, sampling.tau, sampling.eta)
