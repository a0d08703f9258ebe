"""SNR in dB and noise power per complex symbol."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.errors import OptionError

SnrType = Literal["esn0", "ebn0", "received"]


def n0_from_db(snr_db: float, power: float = 1.0) -> float:
    """Noise power N0 per complex symbol at ``snr_db`` = 10·log10(power/N0); an infinite SNR has no noise."""
    return 0.0 if snr_db == math.inf else power * 10.0 ** (-snr_db / 10.0)


def noise_power(
    snr_db: float, snr_type: SnrType, symbols: NDArray[np.complex64], gain: NDArray[np.complex64] | None, bits: int | None = None
) -> float:
    """Noise power N0 for image symbols [k] (unit mean power) and their gain [k], [1] or None.

    ``esn0`` counts the transmitted energy, E|x|² = 1, so that a deep fade is a deep fade. ``received`` counts the energy
    that arrives, mean |h·x|² of these very symbols, so that fading does not change the SNR (as DiffCom's authors count).
    ``ebn0`` counts the transmitted energy of each of the ``bits`` information bits that the symbols carry.

    Raises:
        OptionError: ``ebn0`` for symbols that carry no bits.
    """
    if snr_type == "esn0":
        return n0_from_db(snr_db)
    if snr_type == "ebn0":
        if not bits:
            raise OptionError("snr_type", "ebn0 needs symbols that carry bits, as those of separate; use esn0")
        return n0_from_db(snr_db, symbols.size / bits)
    arrived = symbols if gain is None else gain * symbols
    return n0_from_db(snr_db, float(np.mean(np.abs(arrived.astype(np.complex128)) ** 2)))
