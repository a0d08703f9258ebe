"""Symbol files as OFDM waveforms, and back: what a radio sends, and what it recorded.

    tx.npz ─► modulate ─► recording ─► radio, or impairments ─► recording ─► demodulate ─► rx.npz

``link`` joins the parts. Nothing heavy is imported here: ``--help`` comes through.
"""

SUFFIXES = (".sigmf", ".sigmf-meta", ".sigmf-data", ".cf32", ".ci16")
"""Of recordings."""


def is_recording(name: str) -> bool:
    """Whether a file's name is that of a recording."""
    return name.endswith(SUFFIXES)
