"""Options of the classical baseline's transmitter; its receiver has none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from gencomm_cli.errors import InputError, OptionError
from gencomm_cli.methods.options import Flag, TransmitterOptions

Codec = Literal["avif", "jpeg2000", "webp", "hevc", "bpg", "vtm", "hyperprior"]
Modulation = Literal["auto", "bpsk", "qpsk", "16qam", "64qam"]
CodeRate = Literal["auto", "1/16", "1/8", "1/4", "1/2", "2/3", "3/4", "5/6"]
Fec = Literal["ldpc", "5g"]


@dataclass(frozen=True)
class Transmitter(TransmitterOptions):
    """How to send. ``auto`` takes the fastest mode that is measured to hold at the SNR that the transmitter knows."""

    codec: Annotated[
        Codec, Flag("avif, jpeg2000, webp, hevc, bpg, vtm, hyperprior", metavar="NAME", sweep=False)
    ] = "avif"  # fmt: skip
    modulation: Annotated[
        Modulation, Flag("auto (default: the fastest that holds at --snr), bpsk, qpsk, 16qam, 64qam.", metavar="NAME")
    ] = "auto"  # fmt: skip
    code_rate: Annotated[
        CodeRate, Flag("auto (default), 1/16, 1/8, 1/4, 1/2, 2/3, 3/4 or 5/6 message bits a coded bit.", metavar="R")
    ] = "auto"  # fmt: skip
    fec: Annotated[Fec, Flag("Channel code, pyldpc's (default) or 5G NR's (Sionna).", metavar="ldpc|5g")] = "ldpc"
    capacity: Annotated[
        bool, Flag("An ideal code at channel capacity. A bound to compare with, not a scheme.", sweep=False)
    ] = False  # fmt: skip

    def __post_init__(self) -> None:
        """Raises OptionError where options contradict each other."""
        super().__post_init__()
        if self.capacity and (self.modulation, self.code_rate, self.fec) != ("auto", "auto", "ldpc"):
            raise OptionError("capacity", "excludes --modulation, --code-rate and --fec, as an ideal code has none; drop them")

    @classmethod
    def idle(cls, given: Mapping[str, Any]) -> frozenset[str]:
        """An ideal code has no mode."""
        return frozenset({"modulation", "code_rate", "fec"} if given.get("capacity") else ())

    @property
    def carries_bits(self) -> bool:
        """An ideal code carries none that could be counted: its symbols are a codeword of nothing."""
        return not self.capacity

    @property
    def mode_is_fixed(self) -> bool:
        """Whether modulation and code rate are given."""
        return "auto" not in (self.modulation, self.code_rate)


def variants(words: Sequence[str]) -> Mapping[str, str]:
    """``separate[:CODEC][:capacity]`` of a bench as options.

    Raises:
        InputError: other words.
    """
    capacity = [*words][-1:] == ["capacity"]
    codec = [*words][: len(words) - capacity] or ["avif"]
    if len(codec) > 1:
        raise InputError(f"--methods: separate:{':'.join(words)} is not separate, separate:CODEC or separate:CODEC:capacity")
    return {"codec": codec[0], **({"capacity": "on"} if capacity else {})}
