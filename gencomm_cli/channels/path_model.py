"""What the paths of a mobile radio channel follow. Imports nothing heavy: ``--help`` comes through here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from gencomm_cli.errors import OptionError
from gencomm_cli.options import Flag, check_values

LIGHT = 299_792_458.0
"""Metres a second."""

Letter = Literal["a", "b", "c", "d", "e"]
Sight = Literal["los", "nlos"]
# 100 ns is the nominal delay spread of TR 38.901, table 7.7.3-1; 3 km/h is its pedestrians' speed.
DelaySpread = Annotated[
    float | None,
    Flag("RMS delay spread of TDL and CDL in s, default 100e-9.", "S", 0, 1e-4),
]
Speed = Annotated[float | None, Flag("In km/h, default 3; of --cir as measured.", "KMH", 0, 3000)]


@dataclass(frozen=True)
class PathModel:
    """Which paths, and how fast they change; exactly one of the first five says which.

    Attributes:
        cir: SHA-256 of the file with measured impulse responses.
        pilot_period: the OFDM symbols of pilots come again after so many of data, and at the end; 0: they only go before; None:
            as the speed asks for (:func:`gencomm_cli.channels.frame.pilot_period`).

    Raises:
        OptionError: a value that cannot be, no model, several, or a delay spread of a model that has its own.
    """

    tdl: Annotated[Letter | None, Flag("TR 38.901's tapped delay line; d, e: line of sight.")] = None
    cdl: Annotated[Letter | None, Flag("Its clustered delay line (needs Sionna).")] = None
    umi: Annotated[Sight | None, Flag("Urban microcell, line of sight or not (Sionna).")] = None
    uma: Annotated[Sight | None, Flag("Urban macrocell, likewise.")] = None
    cir: str | None = None
    delay_spread: DelaySpread = None
    speed: Speed = None
    carrier_frequency: Annotated[float, Flag("In Hz, default 3.5e9.", "HZ", 1e6, 1e12)] = 3.5e9
    subcarrier_spacing: Annotated[float, Flag("In Hz, default 15e3.", "HZ", 1, 1e8)] = 15e3
    pilot_period: Annotated[
        int | None, Flag("OFDM symbols between pilots; 0: only before. Default 4, less at high speed.", "N", 0, 2**16)
    ] = None

    def __post_init__(self) -> None:
        """Fills in what depends on the model."""
        check_values(self)
        if sum(value is not None for value in (self.tdl, self.cdl, self.umi, self.uma, self.cir)) != 1:
            raise OptionError("tdl", "give exactly one of --tdl, --cdl, --umi, --uma and --cir")
        scaled = self.tdl is not None or self.cdl is not None
        if self.delay_spread is not None and not scaled:
            raise OptionError("delay_spread", "is of --tdl and --cdl; the others have their own")
        if self.delay_spread is None and scaled:
            object.__setattr__(self, "delay_spread", 100e-9)
        if self.speed is None and self.cir is None:
            object.__setattr__(self, "speed", 3.0)

    @property
    def doppler(self) -> float:
        """The largest Doppler shift in Hz."""
        return (self.speed or 0.0) / 3.6 * self.carrier_frequency / LIGHT
