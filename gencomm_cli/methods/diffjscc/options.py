"""Options of DiffJSCC's two ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from gencomm_cli.errors import OptionError
from gencomm_cli.methods.options import (
    CAPTIONERS,
    DomainTransmitter,
    Flag,
    GainTransmitter,
    SamplerOptions,
    StableDiffusionSources,
    TextReceiver,
    TextTransmitter,
    captioner,
    words,
)

CONDITIONS = ("spatial", "csi", "text")
"""What may guide the networks."""
GuidanceForm = Literal["paper", "authors"]


@dataclass(frozen=True)
class Transmitter(TextTransmitter, GainTransmitter, DomainTransmitter):
    """What the transmitter reads. Captions are made at the receiver unless ``caption_from`` is ``original``."""

    caption_from: Annotated[
        Literal["coarse", "original"] | None,
        Flag("At the receiver (default), or the original's, sent and counted."),
    ] = None

    def __post_init__(self) -> None:
        """Raises OptionError where options contradict each other."""
        super().__post_init__()
        if self.caption_from == "coarse" and self.prompt is not None:
            raise OptionError("prompt", "is sent, which --caption-from coarse excludes; drop one of them")

    @property
    def prompt_writer(self) -> str:
        """Nobody, unless the original's caption is to be sent."""
        if self.caption_from != "original":
            return "none"
        return "builtin" if self.captioner == "none" else self.captioner

    @classmethod
    def captioned_by(cls, captioner: str) -> Mapping[str, str]:
        """With the caption of the original, which is not what is sent by default."""
        return {**super().captioned_by(captioner), "caption_from": "original"}

    def check_alone(self) -> None:
        """Raises OptionError where the captioner is the receiver's."""
        if self.captioner not in ("none", self.prompt_writer):
            raise OptionError("captioner", "diffjscc captions at the receiver; give it to decode, or add --caption-from original")


@dataclass(frozen=True)
class Receiver(SamplerOptions, TextReceiver):
    """How to refine; None takes the preset's setting."""

    guidance_lambda: Annotated[
        float | None,
        Flag("Weight of the coarse image: 0 (realism) to C*H*W of the latent.", metavar="L", low=0.0),
    ] = None
    guidance_form: Annotated[GuidanceForm | None, Flag("How --guidance-lambda weighs, as printed or as programmed.")] = None
    colour_fix: Annotated[bool | None, Flag("The coarse image's colours under the refined detail.")] = None
    condition: Annotated[
        tuple[str, ...] | None,
        Flag("What guides the networks; default: all three.", metavar="spatial,csi,text|none", parse=words),
    ] = None
    captioner: Annotated[
        str | None, Flag("Captions the coarse image.", metavar=CAPTIONERS, parse=captioner)
    ] = None  # fmt: skip

    def __post_init__(self) -> None:
        """Raises OptionError where a value cannot be."""
        super().__post_init__()
        if unknown := set(self.condition or ()) - set(CONDITIONS):
            raise OptionError("condition", f"there is no {', '.join(sorted(unknown))}; there is: {', '.join(CONDITIONS)}")


@dataclass(frozen=True)
class Sources(StableDiffusionSources):
    """What a preset over Stable Diffusion is made of."""

    captioner: Annotated[str | None, Flag("Who captions the coarse image.", metavar=CAPTIONERS, parse=captioner)] = None
