"""Options of the linear method's two ends."""

from dataclasses import dataclass
from typing import Annotated

from gencomm_cli.methods.options import Flag, ReceiverOptions, TransmitterOptions


@dataclass(frozen=True)
class Transmitter(TransmitterOptions):
    """How to send."""

    limit: Annotated[
        float | None, Flag("Limit amplitudes to R times their root mean power; not given: none.", metavar="R", low=0.5, high=100)
    ] = None


@dataclass(frozen=True)
class Receiver(ReceiverOptions):
    """How to show what arrives."""

    sharpen: Annotated[float, Flag("Weight of an unsharp mask on the refined image.", metavar="A", low=0, high=2)] = 0.5
