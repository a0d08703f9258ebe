"""Options of DiffCom's two ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

from gencomm_cli.errors import OptionError
from gencomm_cli.methods.options import AllocationTransmitter, Flag, SamplerOptions, TransmitterOptions

if TYPE_CHECKING:
    from gencomm_cli.presets import Preset

CODECS = ("adjscc", "swinjscc", "ntscc")
"""There is a preset for each; the first one's name is the plain one."""
Variant = Literal["diffcom", "hifi", "blind", "ddnm"]
Likelihood = Literal["squared", "norm", "score", "exact", "authors"]
BlindH = Literal["diffusion", "lmmse"]
BlindForm = Literal["corrected", "authors"]
Confirm = Literal["decoded", "pixels"]
Pick = Literal["all", "best"]


@dataclass(frozen=True)
class Transmitter(AllocationTransmitter):
    """Whose symbols are sent, and how they are shared out."""

    codec: Annotated[
        Literal["adjscc", "swinjscc", "ntscc"] | None, Flag("adjscc, swinjscc, ntscc.", metavar="NAME", sweep=False)
    ] = None

    def check_preset(self, preset: Preset) -> None:
        """Raises OptionError where symbols cannot be shared out: of the codecs NTSCC alone has a rate for each part."""
        super().check_preset(preset)
        if self.allocation is not None and "codec" in preset.components:
            raise OptionError(
                "allocation",
                f"{preset.method}/{preset.name} sends every part of an image at the same rate; leave it out, or give --codec ntscc",
            )


def preset_name(base: str, options: TransmitterOptions) -> str:
    """Where the networks of the codec that is asked for are, among the presets (or folders) that are named after ``base``.

    Raises:
        OptionError: the preset is named after another codec.
    """
    codec = options.codec if isinstance(options, Transmitter) else None
    if codec is None:
        return base
    for own in CODECS:
        if base.rstrip("/").endswith(f"-{own}"):
            if own != codec:
                raise OptionError(
                    "codec", f"{codec} is not what --preset {base} has, which is that of {own}; leave out one of the two"
                )
            return base
    return preset_of_codec(base, codec)


def preset_of_codec(base: str, codec: str) -> str:
    """The preset of ``codec`` among those named after ``base``."""
    return base if codec == CODECS[0] else f"{base.rstrip('/')}-{codec}"


def is_read(name: str, variant: str, likelihood: str = "", blind_h: str = "") -> bool:
    """Whether a variant, with this likelihood and way to find the taps, reads an option."""
    hifi, blind, ddnm, authors = variant == "hifi", variant == "blind", variant == "ddnm", likelihood == "authors"
    readers = {
        "zeta": not ddnm, "likelihood": not ddnm,
        "gamma": hifi, "confirm": hifi and likelihood != "exact", "tau": hifi and not authors,
        "eta": hifi or (authors and not blind), "start_step": not blind, "blind_h": blind,
        "zeta_h": blind and blind_h != "lmmse", "blind_form": blind and blind_h != "lmmse",
    }  # fmt: skip
    return readers.get(name, True)


@dataclass(frozen=True)
class Receiver(SamplerOptions):
    """How to sample; None takes the preset's setting, or the paper's."""

    start_step: Annotated[
        int | None, Flag("Noise level to start at; by SNR and CBR if not given.", metavar="N", low=1, high=1000)
    ] = None
    variant: Annotated[
        Variant | None,
        Flag("hifi (default), diffcom (plain), blind (channel unknown), ddnm.", metavar="NAME"),
    ] = None
    likelihood: Annotated[
        Likelihood | None,
        Flag(
            "What guides: squared (as printed), norm, score, exact (slow), or authors.",
            metavar="NAME",
        ),
    ] = None
    zeta: Annotated[float | None, Flag("Weight of the received signal.", metavar="Z", low=0.0, high=1e6)] = None
    gamma: Annotated[float | None, Flag("Weight of the coarse image (hifi).", metavar="G", low=0.0, high=1e6)] = None
    zeta_h: Annotated[float | None, Flag("Weight of the signal on the channel's taps (blind).", metavar="Z", low=0.0, high=1e6)] = (
        None
    )
    tau: Annotated[float | None, Flag("τ of the start step, eq. 21 (hifi); default 20.", metavar="T", low=0.0, high=1e6)] = None
    eta: Annotated[
        float | None, Flag("Scales the start step and so the time (hifi); 0.2 with nano.", metavar="E", low=0.0, high=1e6)
    ] = None
    confirm: Annotated[
        Confirm | None,
        Flag("Compare the coarse image with the decoded sample (default) or the sample."),
    ] = None
    blind_h: Annotated[BlindH | None, Flag("Taps of blind by diffusion, as published, or by LMMSE from the image.")] = None
    blind_form: Annotated[BlindForm | None, Flag("The taps' mean as derived, or as the authors' program has it.")] = None
    pick: Annotated[Pick | None, Flag("Keep all --samples, or the one whose signal is nearest to the received.")] = None

    def __post_init__(self) -> None:
        """Raises OptionError where options contradict each other."""
        super().__post_init__()
        if self.pick == "best" and self.samples == 1:
            raise OptionError("pick", "best is one of several; add --samples 4, or leave it out")

    @property
    def pictures(self) -> int:
        """How many images come out."""
        return 1 if self.coarse or self.pick == "best" else self.samples

    @classmethod
    def idle(cls, given: Mapping[str, Any]) -> frozenset[str]:
        """What the variant that is asked for does not read; ``pick`` of a single sample."""
        found = {"pick"} if given.get("samples", 1) == 1 else set()
        if variant := given.get("variant"):
            likelihood, blind_h = given.get("likelihood", ""), given.get("blind_h", "")
            found |= {name for name in given if not is_read(name, variant, likelihood, blind_h)}
        return frozenset(found)
