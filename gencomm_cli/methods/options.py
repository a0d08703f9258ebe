"""Options of a method, in frozen dataclasses as :mod:`gencomm_cli.options` has them. Imports nothing heavy."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from gencomm_cli.errors import OptionError
from gencomm_cli.options import Flag as Flag
from gencomm_cli.options import Option as Option
from gencomm_cli.options import build as build
from gencomm_cli.options import check_values as check_values
from gencomm_cli.options import options_of as options_of
from gencomm_cli.options import ratio as ratio

if TYPE_CHECKING:
    from gencomm_cli.presets import Preset


def complex_number(text: str) -> complex:
    """``RE,IM`` as a complex number, exact in complex64. Raises ValueError."""
    import numpy as np

    real, imaginary = map(float, text.split(","))
    if not (abs(real) <= MAX_GAIN and abs(imaginary) <= MAX_GAIN):
        raise ValueError
    return complex(np.complex64(complex(real, imaginary)))


def words(text: str) -> tuple[str, ...]:
    """``a,b`` or ``a+b`` as words, ``none`` as no word."""
    return () if text == "none" else tuple(dict.fromkeys(part.strip() for part in re.split("[,+]", text)))


MAX_GAIN = 100.0
"""Of the parts of a gain that the transmitter knows; h ~ CN(0, 1) never comes near it."""


@dataclass(frozen=True)
class Options:
    """Of one end of a method, or of its presets' sources."""

    def __post_init__(self) -> None:
        """Raises OptionError where a value cannot be."""
        check_values(self)

    @classmethod
    def idle(cls, given: Mapping[str, Any]) -> frozenset[str]:
        """Fields that change nothing, given these values of both ends' options."""
        return frozenset()


@dataclass(frozen=True)
class TransmitterOptions(Options):
    """What a transmitter reads beside the rate and what it knows of the channel. A method's own class adds fields."""

    @property
    def rate_field(self) -> str | None:
        """The option that sets the rate in the place of a CBR, if one does."""
        return None

    @property
    def carries_bits(self) -> bool:
        """Whether its symbols carry bits of a real code, so that there is an energy a bit (Eb/N0)."""
        return False

    @property
    def mode_is_fixed(self) -> bool:
        """Whether how it sends does not depend on the SNR that it knows."""
        return False

    def check_alone(self) -> None:
        """Raises OptionError for what makes sense only where the receiver's options are given too (`roundtrip`)."""

    def check_preset(self, preset: Preset) -> None:
        """Raises OptionError where these weights cannot do what is asked for."""


@dataclass(frozen=True)
class ReceiverOptions(Options):
    """What every method's receiver reads."""

    coarse: Annotated[bool, Flag("The image before diffusion.", sweep=False)] = False

    @property
    def pictures(self) -> int:
        """How many images come out."""
        return 1


MAX_PROMPT_BYTES = 4096
CAPTIONERS = "none|builtin|hf:FOLDER_OR_ID|openai:MODEL"


def captioner(text: str) -> str:
    """A captioner's name. Raises ValueError where it is none."""
    if text not in ("none", "builtin") and not text.removeprefix("hf:").removeprefix("openai:") != text:
        raise ValueError(text)
    return text


def check_prompt(text: str) -> str:
    """The prompt in Unicode's composed form (NFC).

    Raises:
        OptionError: it is not text, or longer than 4 KiB of UTF-8.
    """
    text = unicodedata.normalize("NFC", text)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise OptionError("prompt", "is not valid UTF-8 text; check the terminal's encoding") from None
    if size > MAX_PROMPT_BYTES:
        raise OptionError("prompt", f"{size} bytes of UTF-8 are more than {MAX_PROMPT_BYTES}; shorten it")
    return text


@dataclass(frozen=True)
class TextTransmitter(TransmitterOptions):
    """Of a method that sends text beside the image."""

    prompt: Annotated[str | None, Flag("Text to send beside the image, at most 4 KiB of UTF-8.", metavar="TEXT", sweep=False)] = (
        None
    )
    captioner: Annotated[
        str,
        Flag("Writes the prompt; default: none.", metavar=CAPTIONERS, parse=captioner, sweep=False),
    ] = "none"

    def __post_init__(self) -> None:
        """Raises OptionError where a value cannot be, the prompt's length included."""
        super().__post_init__()
        if self.prompt is not None:
            check_prompt(self.prompt)

    @property
    def prompt_writer(self) -> str:
        """The captioner that writes the prompt where none is given."""
        return self.captioner

    @classmethod
    def captioned_by(cls, captioner: str) -> Mapping[str, str]:
        """The options with which this captioner writes the prompt from the original, as text."""
        return {"captioner": captioner}


@dataclass(frozen=True)
class TextReceiver(ReceiverOptions):
    """Of a method whose receiver is guided by text."""

    no_prompt: Annotated[bool, Flag("Decode as if no prompt had been sent.", sweep=False)] = False


@dataclass(frozen=True)
class GainTransmitter(TransmitterOptions):
    """Of a method whose transmitter may know the gain of a block-fading channel before it sends."""

    gain: Annotated[
        complex | None,
        Flag(
            "Block-fading gain of the channel to come, if the transmitter knows it.",
            metavar="RE,IM",
            parse=complex_number,
            sweep=False,
        ),
    ] = None


Domain = Literal["latent", "pixel"]
"""What a JSCC sends: the latent (what arXiv:2510.21299 proposes), or the image itself (its other variant)."""


@dataclass(frozen=True)
class DomainTransmitter(TransmitterOptions):
    """Of a method whose presets send latents or pixels."""

    domain: Annotated[Domain | None, Flag("Insist on a preset that sends latents (as nano does) or pixels.", sweep=False)] = None

    def check_preset(self, preset: Preset) -> None:
        """Raises OptionError where the preset was trained for the other domain."""
        super().check_preset(preset)
        own = preset.settings.get("domain", "latent")
        if self.domain not in (None, own):
            raise OptionError(
                "domain", f"{preset.method}/{preset.name} sends the {own}; give a preset trained for {self.domain} with --preset"
            )


@dataclass(frozen=True)
class AllocationTransmitter(TransmitterOptions):
    """Of a method that can give regions with more information more symbols."""

    allocation: Annotated[
        Literal["adaptive", "uniform"] | None,
        Flag("More symbols where there is more information (default), or equally many."),
    ] = None


@dataclass(frozen=True)
class SamplerOptions(ReceiverOptions):
    """Of a receiver that samples; None takes the preset's setting."""

    steps: Annotated[int | None, Flag("Steps of the sampler; the preset's if not given.", metavar="N", low=1, high=1000)] = None
    samples: Annotated[int, Flag("Draw several images: OUT.1.png …, and OUT.std.png.", metavar="N", low=1, high=64)] = 1
    compile: Annotated[
        bool, Flag("Compile the denoiser first (a minute or more, again for each image size).", sweep=False)
    ] = False  # fmt: skip

    @property
    def pictures(self) -> int:
        """How many images come out."""
        return 1 if self.coarse else self.samples


@dataclass(frozen=True)
class SourceOptions(Options):
    """Of a method that `models add` makes presets of, over pretrained models. A method's own class adds fields."""

    base: ClassVar[str]
    """The field that says where these models are: a local folder, or a hub id."""

    revision: Annotated[str | None, Flag("Branch, tag or commit on the hub; its commit is kept.", metavar="REV")] = None
    variant: Annotated[
        str | None, Flag("Take weights named ....NAME.safetensors, such as fp16; default: plain ones.", metavar="NAME")
    ] = None


@dataclass(frozen=True)
class StableDiffusionSources(SourceOptions):
    """Of a method over Stable Diffusion, whose control module and JSCC are trained apart from it."""

    base: ClassVar[str] = "sd"

    sd: Annotated[
        str | None,
        Flag(
            "Stable Diffusion 1.x or 2.x (base) in diffusers' layout: vae, unet, text_encoder, tokenizer.", metavar="FOLDER|HUB_ID"
        ),
    ] = None
    control: Annotated[
        str | None, Flag("Take the control module from this preset (name or folder); else train one.", metavar="PRESET")
    ] = None
    jscc: Annotated[str | None, Flag("Take the JSCC from this preset; else train one.", metavar="PRESET")] = None
