"""Options of a method: frozen dataclasses, declared once. Imports nothing heavy: ``--help`` comes through here.

A field is declared with all that anybody needs to know of it::

    @dataclass(frozen=True)
    class Receiver(SamplerOptions):
        zeta: Annotated[float | None, Flag("How strongly the received signal weighs.", metavar="Z", low=0, high=1e6)] = None

Flags of the commands, their help, what `bench --option` can sweep, the checks of type and range, and the error for a flag that a
method does not read all follow from these declarations (:func:`options_of`) and are written nowhere else.
"""

from __future__ import annotations

import re
import types
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from gencomm_cli.errors import OptionError

if TYPE_CHECKING:
    from gencomm_cli.presets import Preset

Options = TypeVar("Options")


@dataclass(frozen=True)
class Flag:
    """How a field is given on a command line.

    Attributes:
        help: one sentence, with the unit if the value has one. metavar: what stands for the value in the help.
        low, high: the least and the largest value, both allowed.
        parse: what makes a value of a text, where the field's type does not say it; raises ValueError.
        sweep: whether `bench --option` may try several values.
        also: older names of the flag, which still work.
    """

    help: str
    metavar: str | None = None
    low: float | None = None
    high: float | None = None
    parse: Callable[[str], Any] | None = None
    sweep: bool = True
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Option:
    """One field of an options dataclass: ``kind`` is its type (``str`` for one of ``choices``), ``default`` its default."""

    name: str
    flag: Flag
    kind: type
    choices: tuple[str, ...]
    default: Any

    @property
    def switch(self) -> str:
        """Its name on the command line, less the dashes."""
        return self.name.replace("_", "-")

    def parse(self, text: str) -> Any:
        """The value that a text stands for; on and off are those of a switch.

        Raises:
            OptionError: none does.
        """
        try:
            if self.kind is bool:
                return {"on": True, "off": False}[text]
            value = (self.flag.parse or self.kind)(text)
        except (ValueError, KeyError):
            raise OptionError(self.name, f"{text!r} is not a value that it can have{self._right()}") from None
        self.check(value)
        return value

    def check(self, value: Any) -> None:
        """Raises OptionError where a value is not of the option's type, none of its choices, or out of its range."""
        if value is None or value is self.default:
            return
        if self.choices and value not in self.choices:
            raise OptionError(self.name, f"{value!r} is not one of its values{self._right()}")
        number = self.kind in (int, float)
        if number and (isinstance(value, bool) or not isinstance(value, int if self.kind is int else int | float)):
            raise OptionError(self.name, f"{value!r} is not a number{self._right()}")
        low, high = self.flag.low, self.flag.high
        if number and not ((low is None or value >= low) and (high is None or value <= high)):
            raise OptionError(self.name, f"{value:g} is out of range{self._right()}")
        if self.kind is bool and not isinstance(value, bool):
            raise OptionError(self.name, f"{value!r} is not on or off")

    def words(self, text: str) -> list[str]:
        """The command line's words for a value's text, as ``bench`` has it."""
        if self.kind is bool:
            return [f"--{self.switch}"] if self.parse(text) else [f"--no-{self.switch}"] * (self.default is None)
        return [f"--{self.switch}", text]

    def _right(self) -> str:
        low, high = self.flag.low, self.flag.high
        if self.choices:
            return f"; there is: {', '.join(self.choices)}"
        if low is not None:
            return f"; {low:g} or more" if high is None else f"; {low:g} to {high:g}"
        return f"; {self.flag.metavar} is expected" if self.flag.metavar else ""


def options_of(cls: type) -> Mapping[str, Option]:
    """The fields of an options dataclass that are flags, by name, in their order."""
    return _options_of(cls)


@cache
def _options_of(cls: type) -> Mapping[str, Option]:
    hints = get_type_hints(cls, include_extras=True)
    found = {}
    for field in fields(cls):
        hint = hints[field.name]
        flag = (
            next((extra for extra in get_args(hint)[1:] if isinstance(extra, Flag)), None)
            if get_origin(hint) is Annotated
            else None
        )
        if flag is None:
            continue
        kind = get_args(hint)[0]
        if get_origin(kind) in (Union, types.UnionType):
            kind = next(each for each in get_args(kind) if each is not type(None))
        choices = tuple(get_args(kind)) if get_origin(kind) is Literal else ()
        kind = str if choices else get_origin(kind) or kind
        found[field.name] = Option(field.name, flag, kind, choices, None if field.default is MISSING else field.default)
    return found


def build(cls: type[Options], given: Mapping[str, Any]) -> Options:
    """The options with the values that are given; a text is parsed where the field's own type is another.

    Raises:
        OptionError: a value that cannot be, or a name that is none of the fields.
    """
    known = options_of(cls)
    if unknown := [name for name in given if name not in known]:
        raise OptionError(unknown[0], f"is not read here; there is: {', '.join(known) or 'nothing'}")
    return cls(**{name: _value(known[name], value) for name, value in given.items()})


def _value(option: Option, value: Any) -> Any:
    """Of a text what it stands for; of a whole number, where any number may stand, the same as a float."""
    if isinstance(value, str) and (option.kind is not str or option.flag.parse is not None):
        return option.parse(value)
    return float(value) if option.kind is float and type(value) is int else value


def check_values(options: Any) -> None:
    """Checks every field of an options object. Raises OptionError."""
    for name, option in options_of(type(options)).items():
        option.check(getattr(options, name))


def complex_number(text: str) -> complex:
    """``RE,IM`` as a complex number, exact in complex64. Raises ValueError."""
    import numpy as np

    real, imaginary = map(float, text.split(","))
    if not (abs(real) <= MAX_GAIN and abs(imaginary) <= MAX_GAIN):
        raise ValueError
    return complex(np.complex64(complex(real, imaginary)))


def ratio(text: str | float) -> float:
    """``0.0026``, or a fraction such as ``1/384``. Raises ValueError."""
    above, _, below = str(text).partition("/")
    try:
        return float(above) / float(below or 1)
    except ZeroDivisionError:
        raise ValueError(f"{text} divides by zero") from None


def words(text: str) -> tuple[str, ...]:
    """``a,b`` or ``a+b`` as words, ``none`` as no word."""
    return () if text == "none" else tuple(dict.fromkeys(part.strip() for part in re.split("[,+]", text)))


MAX_GAIN = 100.0
"""Of the parts of a gain that the transmitter knows; h ~ CN(0, 1) never comes near it."""


@dataclass(frozen=True)
class TransmitterOptions:
    """What a transmitter reads beside the rate and what it knows of the channel. A method's own class adds fields."""

    def __post_init__(self) -> None:
        """Raises OptionError where a value cannot be."""
        check_values(self)

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

    @classmethod
    def idle(cls, given: Mapping[str, Any]) -> frozenset[str]:
        """Fields that change nothing, given these values of both ends' options."""
        return frozenset()

    def check_alone(self) -> None:
        """Raises OptionError for what makes sense only where the receiver's options are given too (`roundtrip`)."""

    def check_preset(self, preset: Preset) -> None:
        """Raises OptionError where these weights cannot do what is asked for."""


@dataclass(frozen=True)
class ReceiverOptions:
    """What every method's receiver reads."""

    coarse: Annotated[bool, Flag("The image before diffusion.", sweep=False)] = False

    def __post_init__(self) -> None:
        """Raises OptionError where a value cannot be."""
        check_values(self)

    @property
    def pictures(self) -> int:
        """How many images come out."""
        return 1

    @classmethod
    def idle(cls, given: Mapping[str, Any]) -> frozenset[str]:
        """Fields that change nothing, given these values of both ends' options."""
        return frozenset()


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
        Flag("Who writes the prompt if --prompt does not; none by default.", metavar=CAPTIONERS, parse=captioner, sweep=False),
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
"""What a JSCC sends: the latent, or the image itself."""


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
class SourceOptions:
    """Of a method that `models add` makes presets of, over pretrained models. A method's own class adds fields."""

    base: ClassVar[str]
    """The field that says where these models are: a local folder, or a hub id."""

    revision: Annotated[str | None, Flag("Branch, tag or commit on the hub; its commit is kept.", metavar="REV")] = None
    variant: Annotated[
        str | None, Flag("Take weights named ....NAME.safetensors, such as fp16; default: plain ones.", metavar="NAME")
    ] = None

    def __post_init__(self) -> None:
        """Raises OptionError where a value cannot be."""
        check_values(self)


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
