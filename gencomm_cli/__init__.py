"""Send photographs over noisy radio channels with generative models.

A notebook does in five lines what the commands do::

    codec = gencomm_cli.load()
    tx = codec.encode(image, cbr=0.0033, snr=10)
    rx = gencomm_cli.transmit(tx, snr=1, fading="rayleigh", seed=0)
    out = codec.decode(rx, steps=5)
    tx.save("tx.npz")

Images are Pillow's, or uint8 arrays [H, W, 3]; results are small dataclasses. Nothing is imported before it is asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gencomm_cli.pipeline import Codec, Reception, RoundTrip, Sent, load, open_symbols, transmit
    from gencomm_cli.pipeline import channel_record as channel

__version__ = "0.1.0"
__all__ = ["DEFAULT_METHOD", "Codec", "Reception", "RoundTrip", "Sent", "channel", "load", "open_symbols", "transmit"]

DEFAULT_METHOD = "textguided"
_RENAMED = {"channel": "channel_record"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("gencomm_cli.pipeline"), _RENAMED.get(name, name))
