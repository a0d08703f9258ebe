"""Options of SC-SIC's two ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gencomm_cli.methods.options import Flag, SamplerOptions, TransmitterOptions


@dataclass(frozen=True)
class Transmitter(TransmitterOptions):
    """Nothing but the rate."""


@dataclass(frozen=True)
class Receiver(SamplerOptions):
    """How to sample; None takes the preset's setting."""

    guidance_scale: Annotated[
        float | None, Flag("Classifier-free guidance ω; 1 is the conditional prediction alone.", metavar="W")
    ] = None  # fmt: skip
