"""Files of pretrained models, in a local folder or on the hub: where they are, and whether they are those that a preset names.

Such files have gigabytes, so a file is hashed once: its SHA-256 is remembered with its size and its time of change, and it is
hashed again only where either is another (or where ``gencomm models verify`` asks).
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from gencomm_cli.errors import InputError, ModelMismatch, one_line
from gencomm_cli.outputs import write_files
from gencomm_cli.presets import Component, Preset, file_hash


def located(component: Component) -> Path:
    """The folder that ``component.files`` are in; what lies on the hub is fetched, once.

    Raises:
        InputError: there is no such folder, and the hub does not give it.
    """
    source = str(component.pretrained)
    if component.revision is None:
        if not os.path.isdir(source):
            raise InputError(
                f"component {component.name}: there is no folder {source} any more; `gencomm models add` the preset again"
            )
        return Path(source)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(source, revision=component.revision, allow_patterns=list(component.files)))
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"component {component.name}: {one_line(error)}; give `gencomm models add` a local folder") from None


def checked(component: Component, *, afresh: bool = False) -> Path:
    """The same, once every file is there and has its SHA-256.

    Args:
        afresh: hash every file, whatever is remembered.

    Raises:
        InputError: as :func:`located`. ModelMismatch: a file is missing or is not the one that the preset names.
    """
    folder = located(component)
    for name, expected in component.files.items():
        path = folder / name
        if not os.path.isfile(path):
            raise ModelMismatch(f"{path}: is gone; the preset needs it: put it back, or `gencomm models add` the preset again")
        if digest(path, afresh=afresh) != expected:
            raise ModelMismatch(
                f"{path}: SHA-256 differs from the preset's; put the file back, or `gencomm models add` the preset again"
            )
    return folder


def verify_pretrained(preset: Preset) -> None:
    """Hashes every file of a preset's pretrained components. Raises what :func:`checked` does."""
    for component in preset.components.values():
        if component.files:
            checked(component, afresh=True)


def digest(path: Path, *, afresh: bool = False) -> str:
    """SHA-256 of a file, remembered until its size or time of change is another."""
    status, key = path.stat(), str(path.resolve())
    stamp = [status.st_size, status.st_mtime_ns]
    remembered = _remembered()
    known = remembered.get(key)
    if not afresh and isinstance(known, list) and known[:2] == stamp:
        return str(known[2])
    found = file_hash(path)
    remembered[key] = [*stamp, found]
    with contextlib.suppress(OSError, InputError):  # without a place to remember in, files are hashed each time
        _notes().parent.mkdir(parents=True, exist_ok=True)
        write_files({_notes(): json.dumps(remembered, indent=0).encode()})
    return found


def _notes() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path(os.path.expanduser("~")) / ".cache") / "gencomm" / "hashes.json"


def _remembered() -> dict[str, list[object]]:
    try:
        found = json.loads(_notes().read_text("utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
