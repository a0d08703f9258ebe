"""The text link: a prompt to complex symbols and back.

text → text model, range coder → payload: CRC-24 → LDPC → copies, interleaver → modem → symbols
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gencomm_cli.errors import InputError
from gencomm_cli.text import range_coder, text_model
from gencomm_cli.text.modes import Fading
from gencomm_cli.text.payload import PayloadFormat


def transmit_prompt(text: str, *, snr_db: float | None, fading: Fading) -> tuple[NDArray[np.complex64], PayloadFormat]:
    """Symbols complex64 [k_o] of power 1 that carry a prompt, in the mode for this SNR (Es/N0 in dB; None: not known) and fading.

    The same text, SNR and fading always give the same symbols. Raises InputError if the text has a lone surrogate or more
    than 4 KiB of UTF-8 in normal form C.
    """
    payload = range_coder.encode(text)
    fmt = PayloadFormat.choose(len(payload), snr_db=snr_db, fading=fading, text_model=text_model.VERSION)
    return fmt.transmit(payload), fmt


def receive_prompt(
    symbols: NDArray[np.complexfloating], gain: NDArray[np.complexfloating] | None, n0: float, fmt: PayloadFormat
) -> str | None:
    """The prompt in received symbols, or None if it is lost, which the LDPC syndrome, the CRC or the range coder shows.

    Args:
        symbols: as received, before equalisation, complex [k_o].
        gain: fading gains, complex [k_o] or [1]; None where the receiver knows none and takes 1.
        n0: noise power per complex symbol.

    Raises:
        InputError: the format cannot be or does not go with the number of symbols or gains; noise raises nothing.
    """
    if fmt.text_model is None:
        raise InputError(f"prompt format: text_model is missing, and this version knows {text_model.VERSION}")
    payload = fmt.receive(symbols, gain, n0)
    return None if payload is None else range_coder.decode(payload)
