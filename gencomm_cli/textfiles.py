"""Files that people name, read up to a limit; text as their editors write it: in any usual encoding, lines ended in any way."""

from __future__ import annotations

import codecs
import contextlib
import json
import math
import re
from pathlib import Path
from typing import Any, BinaryIO

from gencomm_cli.errors import InputError

LARGEST = 2**30
"""Bytes that a text file may have."""
MARKS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
"""Encodings by the byte-order mark that a file begins with; UTF-32's begins with one of UTF-16's."""


def read_bytes(source: Path | BinaryIO, most: int, what: str, stream: str = "standard input") -> bytes:
    """All of a file, or of a ``stream`` of that name, which has at most ``most`` bytes.

    Raises:
        InputError: it is not there, cannot be read or is larger; ``what`` should have been named.
    """
    name = str(source) if isinstance(source, Path) else stream
    try:
        with source.open("rb") if isinstance(source, Path) else contextlib.nullcontext(source) as opened:
            data = opened.read(most + 1)
    except OSError as error:
        problem = {FileNotFoundError: "no such file", IsADirectoryError: "is a folder"}.get(type(error))
        raise InputError(f"{name}: {problem or f'cannot be read ({error.strerror})'}; name {what}") from None
    if len(data) > most:
        raise InputError(f"{name}: has more than {most} bytes; name a smaller file")
    return data


def decoded(data: bytes) -> str:
    """The text of ``data``: by its byte-order mark, else UTF-8, else Windows-1252, which has all that Latin-1 can show."""
    marked = next((encoding for mark, encoding in MARKS.items() if data.startswith(mark)), None)
    try:
        return data.decode(marked or "utf-8")
    except UnicodeDecodeError:
        return data.decode(marked or "cp1252", "replace")


def read_text(path: Path) -> str:
    """The text of a file.

    Raises:
        InputError: it cannot be read, is larger than ``LARGEST``, or is no text.
    """
    text = decoded(read_bytes(path, LARGEST, "a text file"))
    if "\0" in text:
        raise InputError(f"{path}: is not text in UTF-8, UTF-16 with a byte-order mark or Latin-1; save it as UTF-8")
    return text


def lines(text: str) -> list[str]:
    r"""The lines of a text, which end at \n, \r\n or \r and, unlike those of ``str.splitlines``, at nothing else."""
    found = re.split(r"\r\n?|\n", text)
    return found if found[-1] else found[:-1]


def read_table(path: Path) -> list[tuple[str, str]]:
    """(name, text) of each line with a tab: ``captions.tsv``. Other lines are left out.

    Raises:
        InputError: as :func:`read_text`.
    """
    rows = (line.partition("\t") for line in lines(read_text(path)))
    return [(name, text) for name, tab, text in rows if tab]


def parse_json(data: bytes | str, what: str = "meta") -> object:
    """What JSON from outside says. Raises InputError where it is none, has a field twice, or a number that is not finite."""

    def finite(number: str) -> float:  # Python's own takes NaN, Infinity and 1e999
        if not math.isfinite(value := float(number)):
            raise ValueError(f"{number} is no finite number")
        return value

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("a field is there twice")
        return dict(pairs)

    try:
        text = data if isinstance(data, str) else data.decode()
        return json.loads(text, parse_float=finite, parse_constant=finite, object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{what} is not JSON ({str(error)[:100]})") from None


def jsonable(value: Any) -> Any:
    """A value with what JSON can hold in the place of numbers that are not finite: infinity is the string ``"inf"``, NaN null."""
    if isinstance(value, dict):
        return {name: jsonable(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(jsonable(entry) for entry in value)
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def read_json(path: Path) -> object:
    """What a file of JSON says. Raises InputError as :func:`read_text` and :func:`parse_json`."""
    return parse_json(read_text(path), f"{path}:")
