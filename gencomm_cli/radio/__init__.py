"""Symbol files as OFDM waveforms, and back: what a radio sends, and what it recorded.

    tx.npz ─► modulate ─► recording ─► radio, or impairments ─► recording ─► demodulate ─► rx.npz

``link`` joins the parts. Nothing heavy is imported here: ``--help`` comes through.
"""

from os.path import splitext

PAIR = (".sigmf-meta", ".sigmf-data")
SUFFIXES = (".sigmf", *PAIR, ".cf32", ".ci16")
"""Of recordings."""


def is_recording(name: str) -> bool:
    """Whether a file's name is that of a recording."""
    return name.endswith(SUFFIXES)


def files_of(name: str) -> tuple[str, ...]:
    """The files of what has that name: both of a SigMF pair, else itself."""
    stem, suffix = splitext(name)
    return tuple(stem + each for each in PAIR) if suffix in PAIR else (name,)
