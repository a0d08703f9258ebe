"""What a person sees: results on stdout, messages and progress on stderr, JSON that is always valid."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from typing import Any, Protocol, TextIO

from gencomm_cli.errors import InputError
from gencomm_cli.outputs import utf8
from gencomm_cli.textfiles import jsonable


class Progress(Protocol):
    """Takes how far something is: (done, total), and a word on it."""

    def __call__(self, done: int, total: int, note: str = "", /) -> None: ...


def open_streams() -> None:
    """Opens the standard streams that are missing on the null device, before a file takes the place of one."""
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115


def flush_streams() -> bool:
    """Whether all of stdout arrived; what cannot be written is given up, or Python would complain of it at the end."""
    _flushed(sys.stderr)
    return _flushed(sys.stdout)


def _flushed(stream: TextIO) -> bool:
    try:
        stream.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        return False
    return True


def say(line: str) -> None:
    """A message on stderr; nothing else fails where it cannot be written."""
    with contextlib.suppress(OSError):
        print(line, file=sys.stderr, flush=True)


def write_out(content: bytes, stream: TextIO | None = None) -> None:
    """Bytes on stdout, or another stream; if its reader has gone away, the process ends as any filter does.

    Raises:
        InputError: they cannot be written.
    """
    stream = stream or sys.stdout
    try:
        stream.buffer.write(content)
        stream.buffer.flush()
    except BrokenPipeError:
        _flushed(stream)
        raise SystemExit(141) from None
    except OSError as error:
        _flushed(stream)
        name = "standard error" if stream is sys.stderr else "standard output"
        raise InputError(f"{name}: cannot be written ({error.strerror}); write to another place") from None


def out(line: str) -> None:
    """A line of the result on stdout, file names as they are."""
    try:
        content = f"{line}\n".encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # it holds what no name of a file does
        content = utf8(f"{line}\n")
    write_out(content)


def print_json(value: dict[str, Any], *, stdout_is_taken: bool = False) -> None:
    """One JSON object on stdout, or on stderr where stdout carries a file. Infinity is the string ``"inf"``, NaN null."""
    line = json.dumps(jsonable(value), allow_nan=False, ensure_ascii=False)
    write_out(utf8(f"{line}\n"), sys.stderr if stdout_is_taken else None)


def result(as_json: bool, value: dict[str, Any], *lines: str, stdout_is_taken: bool = False) -> None:
    """What a command found: as one JSON object, or as lines, of which there are none where stdout carries a file."""
    if as_json:
        print_json(value, stdout_is_taken=stdout_is_taken)
    elif not stdout_is_taken:
        for line in lines:
            out(line)


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
