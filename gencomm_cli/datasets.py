"""The layouts of the papers' data sets, so that their folders can be named as they were unpacked.

Kodak        kodim01.png …                                    (or in PhotoCD_PCD0992/)
DIV2K        DIV2K_train_HR/0001.png …, DIV2K_valid_HR/0801.png …   (the HR images of its test split were never published)
CelebA-HQ    CelebA-HQ-img/0.jpg … 29999.jpg: the last 3,000 are for tests; or celeba_hq/{train,val}/{female,male}/….jpg
Cityscapes   leftImg8bit/{train,val,test}/TOWN/TOWN_….png
COCO         train2017/….jpg, val2017/….jpg; likewise 2014
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Literal

from gencomm_cli.photographs import images_in

Split = Literal["train", "test"]


@dataclass(frozen=True)
class Folders:
    """Where images of a data set lie below its root, a pattern for each level.

    ``first``, ``last``: the numbers in the files' names that belong to the split, where one folder holds both.
    """

    pattern: str
    first: int = 0
    last: int | None = None

    def images(self, folder: Path) -> list[Path]:
        """The images below ``folder``, which is the root or one of the levels below it."""
        parts, own = self.pattern.split("/"), folder.resolve().parts
        for level in range(len(parts)):
            if all(fnmatch(*pair) for pair in zip(own[len(own) - level :], parts[:level], strict=True)):
                places = (place for place in sorted(folder.glob("/".join(parts[level:]))) if place.is_dir())
                found = [path for place in places for path in images_in(place)]
                if wanted := [path for path in found if self._has(path)]:
                    return wanted
        return []

    def _has(self, path: Path) -> bool:
        number = int(path.stem) if path.stem.isdecimal() and len(path.stem) < 10 else 0
        return (self.first, self.last) == (0, None) or self.first <= number <= (self.last or number)


LAYOUTS: dict[Split, tuple[Folders, ...]] = {
    "train": (
        Folders("DIV2K_train_HR"), Folders("leftImg8bit/train/*"), Folders("celeba_hq/train/*"),
        Folders("CelebA-HQ-img", 0, 26_999), Folders("train2017"), Folders("train2014"),
    ),
    "test": (
        Folders("PhotoCD_PCD0992"), Folders("DIV2K_valid_HR"), Folders("leftImg8bit/test/*"), Folders("celeba_hq/val/*"),
        Folders("CelebA-HQ-img", 27_000), Folders("val2017"), Folders("val2014"),
    ),
}  # fmt: skip


def images_of(folder: Path, split: Split) -> list[Path]:
    """The images in a folder, by name; where it holds none, those of a split of the data set whose layout it has.

    Raises:
        InputError: the folder cannot be read.
    """
    return images_in(folder) or next((found for layout in LAYOUTS[split] if (found := layout.images(folder))), [])
