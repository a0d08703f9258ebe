"""Captions by a model for photographs that have none, made once and kept beside the decoded pixels."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from gencomm_cli.errors import InputError
from gencomm_cli.outputs import write_files
from gencomm_cli.photographs import pixel_hash
from gencomm_cli.text.captioners import caption, forget_model
from gencomm_cli.training.data import Photographs
from gencomm_cli.training.parallel import first

EVERY = 30.0
"""Seconds between two reports, each of which keeps what is made so far."""


def captioned(
    photographs: Photographs, captioner: str, cache: Path, device: str, report: Callable[[str], None] = print
) -> Photographs:
    """``photographs``, with captions by ``captioner`` for those that have none.

    They are made by process 0 and kept in ``cache/captions.json``: captioner → SHA-256 of size and pixels → caption.

    Args:
        captioner, device: as :func:`gencomm_cli.text.captioners.caption` takes them.

    Raises:
        InputError: the captioner cannot be used. What it has made until then is kept.
    """
    file = cache / "captions.json"
    bare = [] if captioner == "none" else [index for index, words in enumerate(photographs.captions) if not words]
    if not bare:
        return photographs
    digests = {index: pixel_hash(photographs.image(index)) for index in bare}
    with first():
        kept: dict[str, dict[str, str]] = json.loads(file.read_text("utf-8")) if file.exists() else {}
        made = kept.setdefault(captioner, {})
        missing = {digest: index for index, digest in digests.items() if digest not in made}
        reported = time.monotonic()
        try:
            for count, (digest, index) in enumerate(missing.items(), 1):
                made[digest] = caption(photographs.image(index), captioner, device)
                if count == len(missing) or time.monotonic() - reported > EVERY:
                    report(f"captions: {count} of {len(missing)}")
                    write_files({file: json.dumps(kept).encode()})
                    reported = time.monotonic()
        except InputError:
            write_files({file: json.dumps(kept).encode()})
            raise
        finally:
            forget_model()
    made = json.loads(file.read_text("utf-8"))[captioner]
    return replace(photographs, captions=[words or made[digests[index]] for index, words in enumerate(photographs.captions)])
