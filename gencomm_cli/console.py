"""What a person sees: results on stdout, messages and progress on stderr, JSON that is always valid."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
from collections.abc import Iterator
from typing import Any, Protocol


class Progress(Protocol):
    """Takes how far something is: (done, total), and a word on it."""

    def __call__(self, done: int, total: int, note: str = "", /) -> None: ...


def say(line: str) -> None:
    """A message on stderr."""
    with contextlib.suppress(BrokenPipeError):
        print(line, file=sys.stderr, flush=True)


def write_out(content: bytes) -> None:
    """Bytes on stdout; if its reader has gone away, the process ends as any filter does."""
    try:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains when it flushes at the end
        raise SystemExit(141) from None


def out(line: str) -> None:
    """A line of the result on stdout."""
    write_out(f"{line}\n".encode())


def print_json(value: dict[str, Any], *, stdout_is_taken: bool = False) -> None:
    """One JSON object on stdout, or on stderr where stdout carries a file. Infinity is the string ``"inf"``, NaN null."""
    line = json.dumps(_plain(value), allow_nan=False, ensure_ascii=False)
    if stdout_is_taken:
        say(line)
    else:
        out(line)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


@contextlib.contextmanager
def progress(label: str) -> Iterator[Progress | None]:
    """A callback (done, total) that draws a bar on stderr, or None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress as Bar

    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(label, total=None)

        def update(done: int, total: int, note: str = "", /) -> None:
            bar.update(task, completed=done, total=total, description=f"{label} {note}".rstrip())

        yield update
