"""Linear: principal components of image blocks, sent as they are, for as many as the rate allows."""

from pathlib import Path

from gencomm_cli.methods.spec import MethodSpec
from gencomm_linear.options import Receiver, Transmitter

SPEC = MethodSpec(
    name="linear",
    summary="principal components of 8x8 blocks, sent as they are",
    implementation="gencomm_linear.method:Linear",
    transmitter=Transmitter,
    receiver=Receiver,
    rates="1/192 to 1/8, default 1/48",
    networks={"BlockTransform": "gencomm_linear.network:BlockTransform"},
    training="gencomm_linear.train",
    stages="synthesis (default)",
    presets=Path(__file__).parent / "models",
)
