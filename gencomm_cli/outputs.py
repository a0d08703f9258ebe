"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from gencomm_cli.errors import InputError


def check_writable(target: Path) -> None:
    """Says at once, before any work is done, that ``target`` cannot be written.

    Raises:
        InputError: it is a folder, or its folder is missing or read-only.
    """
    if target.is_dir():
        raise InputError(f"{target}: is a folder; name a file to write")
    if not target.parent.is_dir():
        raise InputError(f"{target}: there is no folder {target.parent}; make it first")
    if not os.access(target if target.exists() else target.parent, os.W_OK):
        raise InputError(f"{target}: no permission to write there; name another file")


def write_files(contents: Mapping[Path, bytes]) -> None:
    """Writes each file beside its target and renames all of them when all are complete; devices and pipes are written directly.

    Raises:
        InputError: a target cannot be written. Nothing is left behind then, and what existed is untouched.
    """
    finished: list[tuple[str, Path]] = []
    try:
        for target, content in contents.items():
            check_writable(target)
            if target.exists() and not target.is_file():
                target.write_bytes(content)
                continue
            target = Path(os.path.realpath(target))  # a symbolic link stays one
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
            finished.append((temporary, target))
            with open(handle, "wb") as file:
                file.write(content)
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)
        while finished:
            os.replace(*finished[0])
            finished.pop(0)
    except OSError as error:
        raise InputError(f"{error.filename or target}: cannot be written ({error.strerror}); choose another place") from None
    finally:
        for temporary, _ in finished:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
