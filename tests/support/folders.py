"""Kinds of folder of photographs that people have: what is taken of them, and what is said of the rest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.pictures import SCENE, bad, good, saved

TWIN = bad()["._twin.jpg"][0]
"""What macOS leaves beside each file on disks of others."""


@dataclass(frozen=True)
class Folder:
    """How it is filled beside ``a.png`` and ``b.jpg``, what is taken, and what is said: of those left out, or as the error."""

    fill: Callable[[Path], object]
    taken: tuple[str, ...] = ("a.png", "b.jpg")
    says: tuple[str, ...] = ()
    fails: bool = False

    def make(self, path: Path) -> Path:
        path.mkdir()
        (path / "a.png").write_bytes(saved(SCENE))
        (path / "b.jpg").write_bytes(saved(SCENE[::-1], "JPEG", quality=95))
        self.fill(path)
        return path


def put(**files: bytes) -> Callable[[Path], None]:
    """Writes files; in their names, __ stands for a point."""

    def fill(folder: Path) -> None:
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_bytes(content)

    return fill


def replaced(**files: bytes) -> Callable[[Path], None]:
    """The same, in the place of what is there."""

    def fill(folder: Path) -> None:
        for path in folder.iterdir():
            path.unlink()
        put(**files)(folder)

    return fill


def links(folder: Path) -> None:
    (folder / "c.png").symlink_to("a.png")
    (folder / "d.png").symlink_to("nowhere.png")
    (folder / "e.png").symlink_to("e.png")


def no_files(folder: Path) -> None:
    (folder / "c.png").mkdir()
    (folder / "d.png").mkdir()
    (folder / "d.png" / "inner.png").write_bytes(saved(SCENE))
    if hasattr(os, "mkfifo"):
        os.mkfifo(folder / "e.png")


def twins(folder: Path) -> None:
    put(__DS_Store=b"\0\0\0\1Bud1" + bytes(100), Thumbs__db=bytes(100), desktop__ini=b"[x]", model__h5=bytes(9))(folder)
    for path in list(folder.iterdir()):
        (folder / f"._{path.name}").write_bytes(TWIN)


def folders() -> Iterator[tuple[str, Folder]]:
    """Kinds that hold for every reader of folders."""
    dozen = [f"x{index:02}__png" for index in range(12)]
    whole, eps, hidden = saved(SCENE), bad()["disguised.jpg"][0], ("is hidden",)
    yield "plain", Folder(put())
    yield "macOS's twins", Folder(twins, says=("2 of 4 left out", "._a.png", "._b.jpg", *hidden))
    yield "a hidden photograph", Folder(put(__c__png=whole), says=("1 of 3 left out", ".c.png", *hidden))
    yield "other files beside", Folder(put(README__md=b"x", music__mp3=b"ID3", drawing__eps=eps, film__mpg=b"x", list__csv=b"a,b"))
    yield "one that is no image", Folder(put(c__png=b"<html>"), says=("1 of 3 left out", "c.png", "is not an image"))
    yield "one that is cut off", Folder(put(c__png=bad()["cut.png"][0]), says=("1 of 3 left out", "c.png", "truncated"))
    yield "one that is empty", Folder(put(c__jpg=b""), says=("1 of 3 left out", "c.jpg"))
    yield "one that starts programs", Folder(put(c__jpg=eps), says=("1 of 3 left out", "c.jpg", "may start other programs"))
    yield "one that is too large", Folder(put(c__png=bad()["huge.png"][0]), says=("1 of 3 left out", "c.png", "2^27 pixels"))
    yield "one that is not finite", Folder(put(c__tif=bad()["nan.tif"][0]), says=("1 of 3 left out", "c.tif", "not finite"))
    yield (
        "twelve broken ones",
        Folder(put(**dict.fromkeys(dozen, b"")), says=("12 of 14 left out: x00.png, x01.png", "and 4 more")),
    )
    yield "links", Folder(links, ("a.png", "b.jpg", "c.png"), ("2 of 5 left out", "d.png", "e.png"))
    yield "folders and pipes with such names", Folder(no_files)
    yield "capitals", Folder(put(C__PNG=whole, D__Jpg=good()["plain.jpg"].data), ("C.PNG", "D.Jpg", "a.png", "b.jpg"))
    found = ("plain.avif", "plain.bmp", "plain.jp2", "plain.tif", "plain.ppm", "plain.tga", "plain.webp", "full.jfif", "moving.gif")
    formats = {name.replace(".", "__"): good()[name].data for name in found}
    yield "formats", Folder(put(**formats), tuple(sorted(("a.png", "b.jpg", *found))))
    yield (
        "spaces, brackets and letters",
        Folder(
            lambda folder: [
                (folder / name).write_bytes(whole) for name in ("my photo (1).png", "[x].png", "Größe.png", "写真.png")
            ],
            tuple(sorted(("a.png", "b.jpg", "my photo (1).png", "[x].png", "Größe.png", "写真.png"))),
        ),
    )
    yield "all broken", Folder(replaced(c__png=b"", d__jpg=TWIN), says=("c.png",), fails=True)
    yield "all hidden", Folder(replaced(__c__png=whole), fails=True)
    yield "nothing in it", Folder(replaced(), fails=True)
    yield "no image in it", Folder(replaced(notes__txt=b"x", drawing__eps=eps), fails=True)
    yield "captions that are no text", Folder(put(captions__tsv=bytes(range(256))), says=("captions.tsv: is not text",), fails=True)


TEXT = "a.png\tein Haus, größer als\u2028alle\nb.jpg\tcafé\tund Baum\nnicht da.png\tx\nno tab\n"
WANTED = ["ein Haus, größer als\u2028alle", "café\tund Baum"]
"""A table, and the captions of a.png and b.jpg in it."""


def tables() -> dict[str, tuple[bytes, list[str]]]:
    """``captions.tsv`` as editors write it, and the captions that are meant."""
    plain = TEXT.replace("\u2028", " ")
    strange = [WANTED[0].replace("alle", "al\x85l\x0be\x1c."), WANTED[1]]
    bare = [WANTED[0].replace("\u2028", " "), WANTED[1]]
    return {
        "UTF-8": (TEXT.encode(), WANTED),
        "byte-order mark": (TEXT.encode("utf-8-sig"), WANTED),
        "UTF-16": (TEXT.encode("utf-16"), WANTED),
        "UTF-16, big end first": (b"\xfe\xff" + TEXT.encode("utf-16-be"), WANTED),
        "UTF-32": (TEXT.encode("utf-32"), WANTED),
        "Latin-1": (plain.encode("latin-1"), bare),
        "Windows-1252": (plain.replace("Haus", "„Haus“").encode("cp1252"), [bare[0].replace("Haus", "„Haus“"), bare[1]]),
        "Windows": (TEXT.replace("\n", "\r\n").encode("utf-16"), WANTED),
        "old Macintosh": (TEXT.replace("\n", "\r").encode(), WANTED),
        "lines of all kinds": (TEXT.replace(WANTED[0], strange[0]).encode(), strange),
        "without a last line's end": (TEXT.removesuffix("\nno tab\n").encode(), WANTED),
        "empty lines": (("\n\n" + TEXT.replace("\n", "\n\n")).encode(), WANTED),
        "empty": (b"", ["", ""]),
    }
