"""Options of LRISC's two ends."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gencomm_cli.errors import OptionError
from gencomm_cli.methods.options import AllocationTransmitter, Flag, SamplerOptions


@dataclass(frozen=True)
class Transmitter(AllocationTransmitter):
    """How symbols are shared out."""

    beta: Annotated[
        float | None,
        Flag("Symbols for each bit of information, in place of --cbr; 0.2 in the paper.", metavar="B", low=0.0, sweep=False),
    ] = None

    def __post_init__(self) -> None:
        """Raises OptionError where options contradict each other."""
        super().__post_init__()
        if self.beta is not None and self.allocation == "uniform":
            raise OptionError("beta", "sets the rate itself, which --cbr, --cbr-total and --allocation uniform exclude; drop one")

    @property
    def rate_field(self) -> str | None:
        """β, where it is given."""
        return None if self.beta is None else "beta"


@dataclass(frozen=True)
class Receiver(SamplerOptions):
    """How to refine; None takes the preset's setting."""
