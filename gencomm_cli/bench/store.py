"""The folder that a bench fills: ``rows.jsonl``, ``originals/`` (images as sent), ``images/`` (as received, by the row's id).

A row is in the file whole or not at all, and only after its image: whatever kills a run, the same command goes on from there.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from gencomm_cli.bench.rows import Row
from gencomm_cli.errors import InputError
from gencomm_cli.outputs import TEMPORARY, utf8, write_files
from gencomm_cli.textfiles import parse_json

ROWS, ORIGINALS, IMAGES = "rows.jsonl", "originals", "images"


def original(name: str) -> str:
    """Where the image of that name is kept, relative to the bench folder: always a PNG."""
    return f"{ORIGINALS}/{name if name.lower().endswith('.png') else f'{name}.png'}"


def image_file(folder: Path, name: str) -> Path | None:
    """The file of that name, or None where there is none or it lies outside ``folder``, links followed."""
    try:
        path = (folder / name).resolve(strict=True)
    except (OSError, ValueError, RuntimeError):
        return None
    return path if path.is_file() and path.is_relative_to(folder.resolve()) else None


def read_rows(folder: Path) -> list[Row]:
    """The rows of a bench folder; a last line that was cut short does not count.

    Raises:
        InputError: there are none, or a line is not a row.
    """
    path = folder / ROWS
    try:
        if not path.is_file():  # a pipe or device may have no end
            raise FileNotFoundError
        lines = path.read_bytes().split(b"\n")[:-1]
    except OSError:
        raise InputError(f"{folder}: holds no {ROWS}; name a folder that `gencomm bench run --out` filled") from None
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(Row.from_json(parse_json(line, "the line")))  # type: ignore[arg-type]
        except (InputError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
            raise InputError(
                f"{path}, line {number}: not a row of this version ({error}); remove it, or use another --out"
            ) from None
    return rows


class Store:
    """A bench folder that this process alone writes to; made by :func:`opened`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = {row.cell.id: row for row in read_rows(folder)} if (folder / ROWS).exists() else {}

    def keep(self, wanted: Callable[[Row], bool]) -> None:
        """Drops the other rows, and a line that was cut short."""
        self.rows = {key: row for key, row in self.rows.items() if wanted(row)}
        write_files({self.folder / ROWS: b"".join(map(_line, self.rows.values()))})

    def add(self, rows: Iterable[Row]) -> None:
        """Appends rows and returns when they are on the disk. Raises InputError where they cannot be written."""
        rows = list(rows)
        try:
            with (self.folder / ROWS).open("ab") as file:
                file.write(b"".join(map(_line, rows)))
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise InputError(
                f"{self.folder / ROWS}: cannot be written ({error.strerror}); make room, then the same command goes on"
            ) from None
        self.rows |= {row.cell.id: row for row in rows}


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """Locks a bench folder, which is made if need be; the lock goes with the process, however that ends.

    Raises:
        InputError: another process writes there, or the folder cannot be made.
    """
    fresh = not folder.exists()
    try:
        for name in (ORIGINALS, IMAGES):
            (folder / name).mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / ".lock")
        lock.acquire(blocking=False)
    except Timeout:
        raise InputError(
            f"{folder}: another bench is writing there; wait for it, or give another --out and `gencomm bench merge` them"
        ) from None
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror}); name another folder with --out") from None
    try:
        for left_by_a_kill in folder.glob(f"**/{TEMPORARY}*.tmp"):
            left_by_a_kill.unlink(missing_ok=True)
        yield Store(folder)
    finally:
        lock.release()
        if fresh and not (folder / ROWS).exists():  # it failed before there could be a row
            shutil.rmtree(folder)


def merge(folders: Sequence[Path], output: Path) -> int:
    """Joins bench folders into ``output``, with their images, and returns the number of rows.

    A cell that failed in one folder and not in another takes the row that did not fail.

    Raises:
        InputError: two rows of one cell differ in more than time and memory, or two different originals have one name.
    """
    sources = [(folder, read_rows(folder)) for folder in folders]
    with opened(output) as store:
        store.keep(lambda row: True)
        for folder, rows in sources:
            new = []
            for row in rows:
                known = store.rows.get(row.cell.id)
                if known is None or (known.status == "error" and row.status != "error"):
                    new.append(row)
                elif row.status != "error" and result(known) != result(row):
                    raise InputError(
                        f"{folder / ROWS}: row {row.cell.id} ({row.cell.method}, {row.cell.image}) has another result than in the "
                        "folders before it; merge only what the same version and machine type made"
                    )
            for row in new:
                _copy(folder, output, row)
            replaced = {row.cell.id for row in new}
            if replaced & set(store.rows):
                store.keep(lambda row, replaced=replaced: row.cell.id not in replaced)  # type: ignore[misc]
            store.add(new)
        return len(store.rows)


def result(row: Row) -> Row:
    """A row less what differs from run to run: seconds and peak memory."""
    return replace(row, seconds={}, peak_mib=None)


def _copy(source: Path, target: Path, row: Row) -> None:
    files = {}
    for name in filter(None, (original(row.cell.image), row.output)):
        found = image_file(source, name)
        if found is None:
            continue
        place, content = (target / name).resolve(), found.read_bytes()
        if not place.is_relative_to(target.resolve()):
            raise InputError(f"{source / ROWS}: names {name!r}, which is outside of the folder; remove that row")
        if not place.exists():
            files[place] = content
        elif place.read_bytes() != content:
            raise InputError(f"{source / name}: {target} holds another image of that name; rename one and send it again")
    write_files(files)


def _line(row: Row) -> bytes:
    return utf8(json.dumps(row.to_json(), allow_nan=False, ensure_ascii=False) + "\n")
