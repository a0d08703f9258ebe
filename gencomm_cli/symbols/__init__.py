"""The symbol file, the only thing that crosses from one stage to the next: an ``.npz`` without pickles, read with distrust."""

from gencomm_cli.symbols.checks import MAX_MAGNITUDE, mean_power
from gencomm_cli.symbols.header import (
    MAX_BYTES,
    MAX_GAIN,
    MAX_PIXELS,
    SNR_RANGE,
    ChannelRecord,
    ClassicalFormat,
    Csi,
    Header,
    Provenance,
    Stage,
)  # fmt: skip
from gencomm_cli.symbols.npz import SymbolFile, Symbols, from_bytes, read, to_bytes

__all__ = [
    "MAX_BYTES", "MAX_GAIN", "MAX_MAGNITUDE", "MAX_PIXELS", "SNR_RANGE", "ChannelRecord", "ClassicalFormat", "Csi", "Header",
    "Provenance", "Stage", "SymbolFile", "Symbols", "from_bytes", "mean_power", "read", "to_bytes",
]  # fmt: skip
