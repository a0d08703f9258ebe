"""The classical baseline: an image codec, then a channel code; or the same codec over an ideal code."""

from gencomm_cli.methods.separate.options import Transmitter, variants
from gencomm_cli.methods.spec import MethodSpec

SPEC = MethodSpec(
    name="separate",
    summary="baseline: image codec and channel code",
    implementation="gencomm_cli.methods.separate.method:Separate",
    transmitter=Transmitter,
    rates="default 1/96",
    needs_torch=False,
    default_preset="classical",
    variants=variants,
    variant_help="separate:CODEC[:capacity]",
    weights="gencomm_cli.methods.separate.codecs:weights",
    doctor="gencomm_cli.methods.separate.codecs:tools",
    extras={"heif": ("pillow-heif",), "sionna": ("sionna-no-rt",)},
)
