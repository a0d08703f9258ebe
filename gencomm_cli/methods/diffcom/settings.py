"""How DiffCom samples: the options, a preset's settings and the published step sizes, settled into one record."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np

from gencomm_cli.errors import ModelMismatch, OptionError
from gencomm_cli.methods.diffcom.options import BlindForm, BlindH, Confirm, Likelihood, Pick, Receiver, Variant, is_read
from gencomm_cli.methods.options import options_of
from gencomm_cli.presets import Preset

SIZES = ("zeta", "gamma", "zeta_h")
PAPER = {"diffcom": (0.6, 0.0, 0.1), "hifi": (0.3, 0.3, 0.1), "blind": (0.3, 0.0, 0.1), "ddnm": (0.0, 0.0, 0.0)}
"""ζ, γ and ζ_h of section IV-A2 and table III: for the squared norm, as the paper prints the likelihood."""
AUTHORS = {"diffcom": (1.0, 0.0, 0.2), "hifi": (0.25, 0.25, 0.2), "blind": (1.0, 0.0, 0.2), "ddnm": (0.0, 0.0, 0.0)}
"""Those of the authors' program: for the norm itself."""
BAYES = (1.0, 0.0, 0.1)
"""``score`` and ``exact`` weigh the likelihood by N0: ζ = 1 is Bayes' rule, and counts y once."""


@dataclass(frozen=True)
class Sampling:
    """How the image is sampled, once options and the preset's settings are settled.

    Attributes:
        variant: ``diffcom`` (Algorithm 1), ``hifi`` (2), ``blind`` (3), or ``ddnm``, which is another paper's.
        likelihood: a form of :class:`.method.Guidance`, or ``authors``: ``norm`` with their step sizes, their start (also for
            ``diffcom``, from the noised x_d), no guidance in the last step, and for ``blind`` a linear decay.
        zeta, gamma, zeta_h: ζ of eqs. 17 and 25, γ of eq. 19, ζ_h of eq. 26. tau, eta: τ, η of eq. 21.
        steps: of the T_s that are visited; None for all. start_step: T_s; None for eq. 21 (``hifi``), else T.
        confirm: what x_d is compared with (``hifi``): D(W_h⁻¹(W_h(E(x̂)))) of eq. 19 (``decoded``), or x̂ itself (``pixels``; with a
            ``start_step`` of T this is Variant 2 of table VI).
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

        The preset's step sizes are for its own likelihood: with another, its published ones take their place, which are the
        paper's for the squared norm and the authors' for the norm. A setting may be
        pairs [SNR in dB, value], between which it is interpolated: the norm's step does not shrink as noise grows.

        Args:
            unknown: the receiver does not know a channel whose taps can be found; where no variant is asked for, that is ``blind``.
            snr_db: of the received symbols.

        Raises:
            OptionError: one that would not be read, or does not go with the others.
        """
        given = {name: value for name in NAMES if (value := getattr(options, name)) is not None}
        variant = str(given.get("variant", "blind" if unknown else settings.get("variant", "hifi")))
        preset = {name: _at(snr_db, value) for name, value in settings.get("sampling", {}).get(variant, {}).items()}
        likelihood = str(given.get("likelihood", preset.get("likelihood", "squared")))
        if likelihood != preset.get("likelihood"):
            preset = {name: value for name, value in preset.items() if name not in SIZES}
        table = {"authors": AUTHORS[variant], "norm": AUTHORS[variant], "score": BAYES, "exact": BAYES}.get(
            likelihood, PAPER[variant]
        )
        sizes = dict(zip(SIZES, table, strict=True))
        settled = cls(**{"variant": variant, **sizes, **preset, **given, "likelihood": likelihood})
        settled._check(given)
        return settled

    def _check(self, given: Collection[str]) -> None:
        """Raises OptionError where options contradict each other, or one was given that changes nothing."""
        if self.variant == "blind" and self.likelihood in ("score", "exact"):
            raise OptionError("variant", "blind starts from noise, with --likelihood squared, norm or authors; leave the rest out")
        if self.gamma and self.likelihood == "exact":
            raise OptionError("gamma", "does not go with --likelihood exact, which counts y once; leave it out")
        choice = f"--variant {self.variant} --likelihood {self.likelihood}"
        choice += " --blind-h lmmse" if self.blind_h == "lmmse" else ""
        for name in given:
            if not is_read(name, self.variant, self.likelihood, self.blind_h):
                raise OptionError(name, f"is not read with {choice}; leave it out or take another variant")
            if name in ("tau", "eta") and self.start_step is not None:
                raise OptionError(name, "is for the start step of eq. 21, which --start-step sets; leave out one of them")


NAMES = tuple(field.name for field in fields(Sampling))


def _at(snr_db: float, value: Any) -> Any:
    """A setting, or what pairs [SNR, value] have at an SNR."""
    if not isinstance(value, list):
        return value
    known, values = np.array(value, float).T
    return float(np.interp(snr_db, known, values))


def check_settings(preset: Preset) -> None:
    """Raises ModelMismatch where ``sampling`` of a preset cannot be read, or has a value that the option could not have."""
    sampling = preset.settings.get("sampling", {})
    for variant, chosen in sampling.items() if isinstance(sampling, dict) else [("", None)]:
        place = f"diffcom/{preset.name}: sampling.{variant}".removesuffix(".")
        if not isinstance(chosen, dict):
            raise ModelMismatch(f'{place}: settings by variant would be right, as in {{"hifi": {{"zeta": 0.3}}}}')
        for name, value in chosen.items():
            if name not in NAMES:
                raise ModelMismatch(f"{place}.{name}: unknown; there is: {', '.join(NAMES)}")
            _check_setting(f"{place}.{name}", name, value)


def _check_setting(place: str, name: str, value: object) -> None:
    option = options_of(Receiver)[name]
    if option.kind in (int, float) and not (_is_number(value) or _is_pairs(value)):
        raise ModelMismatch(
            f"{place} is {str(value)[:60]}; a number would be right, or pairs [SNR in dB, value] by rising SNR, as in "
            "[[0, 0.1], [10, 1]]"
        )
    try:
        for each in [number for _, number in value] if isinstance(value, list) else [value]:
            option.check(each)
    except OptionError as error:
        raise ModelMismatch(f"{place}: {error.problem}") from None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_pairs(value: object) -> bool:
    if not isinstance(value, list) or not value or not all(isinstance(pair, list) and len(pair) == 2 for pair in value):
        return False
    return all(_is_number(number) for pair in value for number in pair) and all(a < b for (a, _), (b, _) in pairwise(value))
