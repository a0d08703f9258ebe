"""The images of a bench: found, prepared as a paper has them, and kept in the bench folder."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gencomm_cli.bench.store import original
from gencomm_cli.console import say
from gencomm_cli.datasets import images_of
from gencomm_cli.errors import InputError
from gencomm_cli.images import encoded, read_image
from gencomm_cli.outputs import write_files
from gencomm_cli.photographs import captions, check_preparation, is_hidden, left_out, pixel_hash, prepare, read_found


@dataclass(frozen=True)
class Photograph:
    """An image of the bench. ``caption``: its line in captions.tsv, or "". ``sha256``: of its prepared pixels with their shape."""

    name: str
    caption: str
    sha256: str


@dataclass(frozen=True)
class Found:
    """An image file with its caption, or "". ``named``: it was asked for itself, not found in a folder."""

    path: Path
    caption: str
    named: bool


def find(images: Sequence[Path]) -> list[Found]:
    """Files, and folders' images with their captions (``captions.tsv`` beside them: file name, tab, caption); of a folder of a data
    set in its own layout (:mod:`gencomm_cli.datasets`), the test images.

    Raises:
        InputError: a path does not exist, a folder holds no images, or two images have one name.
    """
    files: list[tuple[Path, bool]] = []
    for path in images:
        if not path.exists():
            raise InputError(f"{path}: no such file; name images, or folders of them")
        found = images_of(path, "test") if path.is_dir() else [path]
        if not found:
            raise InputError(f"{path}: holds no images; name a folder with .png, .jpg, .webp, .heic or other image files")
        files += [(file, not path.is_dir()) for file in found]
    count = Counter(original(file.name) for file, named in files if named or not is_hidden(file.name))
    for file, _ in files:
        if count[original(file.name)] > 1:
            raise InputError(f"{file}: two images have this name, or a.jpg and a.jpg.png; rename one, as rows go by name")
    texts = captions([file for file, _ in files])
    return [Found(file, caption.strip(), named) for (file, named), caption in zip(files, texts, strict=True)]


def gather(found: Sequence[Found], how: str, folder: Path) -> list[Photograph]:
    """Reads and prepares images, and writes them to ``folder``/originals, from where they are sent.

    Those of folders that are hidden, cannot be read or are too small are left out, which is said on stderr.

    Raises:
        InputError: an image that was named, or every one, is as those; or the folder holds another image of that name.
    """
    check_preparation(how)
    photographs, unused = [], {}
    for each in found:
        path = each.path
        try:
            pixels = prepare(read_image(path) if each.named else read_found(path, str(path)), how)
        except InputError as error:
            unused[path.name] = str(error) if str(path) in str(error) else f"{path}: {error}"
            if each.named:
                raise InputError(unused[path.name]) from None
            continue
        kept = folder / original(path.name)
        photograph = Photograph(path.name, each.caption, pixel_hash(pixels))
        if not kept.exists():
            write_files({kept: encoded(pixels)})
        elif pixel_hash(read_image(kept)) != photograph.sha256:
            raise InputError(f"{kept}: is another image than {path} with --prepare {how}; use another --out")
        photographs.append(photograph)
    if not photographs:
        raise InputError(left_out(unused, len(found)))
    if unused:
        say(left_out(unused, len(found)))
    return photographs
