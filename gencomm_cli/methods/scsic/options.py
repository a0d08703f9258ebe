"""Options of SC-SIC's two ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from gencomm_cli.methods.options import Flag, SamplerOptions, SourceOptions


@dataclass(frozen=True)
class Receiver(SamplerOptions):
    """How to sample; None takes the preset's setting."""

    guidance_scale: Annotated[
        float | None, Flag("Classifier-free guidance ω; 1 is the conditional prediction alone.", metavar="W")
    ] = None  # fmt: skip


@dataclass(frozen=True)
class Sources(SourceOptions):
    """What a preset over Stable Cascade is made of: where it is, and the parts' places below it."""

    base: ClassVar[str] = "cascade"

    cascade: Annotated[
        str | None,
        Flag(
            "Stable Cascade in diffusers' layout: vqgan, decoder, effnet_encoder.safetensors, previewer.safetensors.",
            metavar="FOLDER|HUB_ID",
        ),
    ] = None
    stage_b: Annotated[
        str, Flag("Folder of stage B, decoder by default; decoder_lite is the small one.", metavar="SUBFOLDER")
    ] = "decoder"  # fmt: skip
    encoder: Annotated[
        str, Flag("The semantic encoder, below --cascade; default: effnet_encoder.safetensors.", metavar="FILE")
    ] = "effnet_encoder.safetensors"  # fmt: skip
    previewer: Annotated[
        str, Flag("The previewer, below --cascade; default: previewer.safetensors.", metavar="FILE")
    ] = "previewer.safetensors"  # fmt: skip
