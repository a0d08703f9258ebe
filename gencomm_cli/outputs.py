"""Where results go: looked at before any work is done, and written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from gencomm_cli.errors import InputError
from gencomm_cli.interrupts import held

TEMPORARY = ".gencomm-"
"""How the name of an unfinished file begins, and ``.tmp`` is how it ends: short, as the target's own name may be of any length."""


def check(*targets: Path, inputs: Iterable[str | Path] = (), size: int = 0) -> None:
    """Says before any work is done that files cannot be written: their names, places, permissions and the free space.

    Args:
        inputs: files that are read, ``-`` for standard input. size: the fewest bytes that the targets will have together.

    Raises:
        InputError: a target cannot be written, is an input, or is another target under another name.
    """
    seen: dict[str, Path] = {}
    for target in targets:
        place = _place(target, size)
        if place.exists() and not place.is_file():
            continue  # a device takes anything
        same = unicodedata.normalize("NFC", str(place)).casefold()  # some file systems take these for one name
        if same in seen:
            raise InputError(f"{target}: is the same file as {seen[same]}; give two names, not only of other case")
        seen[same] = target
        for source in inputs:
            with contextlib.suppress(OSError):  # the target is new, or the input cannot be read, which is said in its place
                if os.path.samestat(os.stat(0 if source == "-" else source), place.stat()):
                    raise InputError(f"{target}: is the input itself, which would be lost; name another file")


def check_folder(folder: Path, size: int = 0) -> None:
    """Says before any work is done that files of ``size`` bytes cannot be written into a folder, which may be made for them.

    Raises:
        InputError: it is a file or below one, its name is too long, nothing may be made in it, or there is no room.
    """
    for place in (folder.absolute(), *folder.absolute().parents):
        try:
            if stat.S_ISDIR(place.stat().st_mode):
                return _check_room(folder, place, size)
            raise InputError(f"{folder}: is a file; name a folder")
        except FileNotFoundError:
            continue
        except OSError as error:
            raise _refused(folder, error) from None


def _place(target: Path, size: int) -> Path:
    """The file that is written for a target, links followed, once nothing speaks against it."""
    try:
        mode = target.stat().st_mode
        if stat.S_ISREG(mode):
            os.close(os.open(target, os.O_WRONLY))
    except FileNotFoundError:
        mode = None
    except NotADirectoryError:
        raise InputError(f"{target}: there is no folder {target.parent}; make it first") from None
    except OSError as error:  # a name that is too long, links in a circle, no permission
        raise _refused(target, error) from None
    if mode is not None and stat.S_ISDIR(mode):
        raise InputError(f"{target}: is a folder; name a file to write")
    if mode is not None and not stat.S_ISREG(mode):  # a device or pipe, which no link leads to and which opening might wake
        if not os.access(target, os.W_OK):
            raise InputError(f"{target}: cannot be written (Permission denied); choose another place")
        return target
    place = Path(os.path.realpath(target))
    if not place.parent.is_dir():
        missing = place.parent if target.is_symlink() else target.parent
        raise InputError(f"{target}: there is no folder {missing}; make it first")
    _check_room(target, place.parent, size, there=mode is not None)
    return place


def _check_room(target: Path, folder: Path, size: int, *, there: bool = False) -> None:
    """Refuses a folder that no file can be made in, unless the target is ``there`` to be written to, or that lacks the room."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            room = shutil.disk_usage(folder)
    except OSError as error:
        if there:
            return
        raise _refused(target, error) from None
    if room.total and room.free < size:  # some file systems know no size
        raise InputError(f"{target}: at least {size} bytes are to be written and {room.free} are free; choose another place")


def _refused(target: Path, error: OSError) -> InputError:
    return InputError(f"{target}: cannot be written ({error.strerror or error}); choose another place")


def utf8(content: str) -> bytes:
    r"""As UTF-8; what no UTF-8 is, as in file names of other encodings, as ``\udcXX``, which JSON reads back as it was."""
    return content.encode("utf-8", "backslashreplace")


@contextlib.contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """A new file to write to, beside ``target``, whose place it takes when the block ends well; else it goes.

    Raises:
        InputError: it cannot be written. What existed is untouched then.
    """
    place = Path(os.path.realpath(target))  # a symbolic link stays one
    name = unfinished(place.parent)
    try:
        try:
            try:
                name.touch(0o600, exist_ok=False)
            except PermissionError:
                if not place.exists():
                    raise
                name = unfinished(Path(tempfile.gettempdir()))
                name.touch(0o600, exist_ok=False)
            yield name
            with contextlib.suppress(OSError):  # not every file system has modes
                os.chmod(name, stat.S_IMODE(place.stat().st_mode) if place.exists() else 0o666 & ~umask())
            _move(name, place)
        finally:
            with contextlib.suppress(OSError):
                os.unlink(name)
    except OSError as error:
        raise _refused(target, error) from None


def unfinished(folder: Path) -> Path:
    """A new name for what is not finished; known before anything is made, or a signal in between would leave it behind."""
    return folder / f"{TEMPORARY}{secrets.token_hex(8)}.tmp"


def umask() -> int:
    """The modes that new files of this process lack."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _move(made: Path, place: Path) -> None:
    """Renames a file; where that cannot be (a mount point, a read-only folder), its content goes into the file that is there."""
    try:
        os.replace(made, place)
    except OSError:
        if not place.is_file():
            raise
        before = place.read_bytes()
        with open(made, "rb") as source, place.open("r+b", buffering=0) as file:
            try:
                shutil.copyfileobj(source, file)
            except BaseException:
                file.seek(0)
                file.write(before)
                raise
            finally:
                file.truncate()


def write_files(contents: Mapping[Path, bytes | memoryview]) -> None:
    """Writes files, and puts all in their places when all are complete; devices and pipes are written directly.

    Raises:
        InputError: a target cannot be written. Nothing is left behind then, and what existed is untouched.
    """
    check(*contents, size=sum(map(len, contents.values())))
    with contextlib.ExitStack() as finished:
        for target, content in contents.items():
            try:
                if target.exists() and not target.is_file():
                    target.write_bytes(content)
                else:
                    finished.enter_context(replacing(target)).write_bytes(content)
            except OSError as error:
                raise _refused(target, error) from None
        with held():  # or a signal between two would leave files that do not belong together
            finished.close()
