"""Options of textguided's two ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from gencomm_cli.methods.options import DomainTransmitter, Flag, SamplerOptions, TextReceiver, TextTransmitter

Spacing = Literal["uniform", "quadratic"]
Parameterization = Literal["u", "paper"]
Strengthened = Literal["all", "text"]


@dataclass(frozen=True)
class Transmitter(TextTransmitter, DomainTransmitter):
    """What the transmitter reads: a prompt, and what the JSCC sends."""


@dataclass(frozen=True)
class Receiver(SamplerOptions, TextReceiver):
    """How to refine; None takes the preset's setting."""

    guidance_scale: Annotated[
        float | None, Flag("Classifier-free guidance ω; 1 is the conditional prediction alone.", metavar="W")
    ] = None  # fmt: skip
    guidance_of: Annotated[
        Strengthened, Flag("What ω strengthens: text and coarse image (the paper's), or the text.")
    ] = "all"  # fmt: skip
    start_step: Annotated[
        int | None, Flag("Noise level to start at; by SNR and CBR if not given.", metavar="N", low=1, high=1000)
    ] = None
    spacing: Annotated[Spacing | None, Flag("Spacing of the sampler's steps.")] = None
    parameterization: Annotated[Parameterization | None, Flag("What the sampler has predicted; the preset's if not given.")] = None
