"""Folders of the papers' data sets, as they are unpacked: which images tests take, and which training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gencomm_cli.bench import papers
from gencomm_cli.bench.photographs import find
from gencomm_cli.bench.store import read_rows
from gencomm_cli.datasets import images_of
from gencomm_cli.photographs import prepare
from gencomm_cli.training.data import is_validation, load
from tests.support.commands import Result, picture
from tests.support.pictures import saved

TOWN = "leftImg8bit/{}/{}/{}_000000_000019_leftImg8bit.png"
SETS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "Kodak": (("PhotoCD_PCD0992/kodim01.png", "PhotoCD_PCD0992/kodim24.png"), ()),
    "DIV2K": (("DIV2K_valid_HR/0801.png", "DIV2K_valid_HR/0900.png"), ("DIV2K_train_HR/0001.png", "DIV2K_train_HR/0800.png")),
    "CelebAMask-HQ": (("CelebA-HQ-img/27000.jpg", "CelebA-HQ-img/29999.jpg"), ("CelebA-HQ-img/0.jpg", "CelebA-HQ-img/26999.jpg")),
    "celeba": (
        ("celeba_hq/val/female/000003.jpg", "celeba_hq/val/male/000001.jpg"),
        ("celeba_hq/train/female/000004.jpg", "celeba_hq/train/male/000002.jpg"),
    ),
    "cityscapes": (
        (TOWN.format("test", "berlin", "berlin"), TOWN.format("test", "bonn", "bonn")),
        (TOWN.format("train", "aachen", "aachen"), TOWN.format("train", "ulm", "ulm")),
    ),
    "coco": (("val2017/000000000139.jpg",), ("train2017/000000000009.jpg", "train2017/000000000025.jpg")),
}  # fmt: skip
"""Test and training images; what else lies there belongs to neither."""
BESIDE = (TOWN.format("val", "lindau", "lindau"), "gtFine/test/bonn/bonn_000000_000019_gtFine_color.png", "annotations/masks/0.png")


def made(root: Path, files: tuple[str, ...]) -> Path:
    for file in files:
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(saved(picture(40, 48), {".jpg": "JPEG", ".png": "PNG"}[path.suffix]))
    return root


@pytest.mark.parametrize("name", SETS)
def test_a_data_set_as_it_is_unpacked(name: str, tmp_path: Path) -> None:
    tests, trains = SETS[name]
    root = made(tmp_path / name, (*tests, *trains, *(BESIDE if name == "cityscapes" else BESIDE[2:])))
    assert [each.path for each in find([root])] == [root / file for file in tests]
    assert [*images_of(root, "train")] == [root / file for file in trains]
    if trains:
        splits = {is_validation(file.name) for file in images_of(root, "train")}
        assert sorted(name for split in splits for name in load(root, tmp_path / "cache", validation=split).names) == sorted(trains)


@pytest.mark.parametrize("level", ["leftImg8bit", "leftImg8bit/test", "leftImg8bit/test/bonn"])
def test_a_folder_within_a_data_set(level: str, tmp_path: Path) -> None:
    tests, trains = SETS["cityscapes"]
    root = made(tmp_path, (*tests, *trains))
    wanted = tests if level != "leftImg8bit/test/bonn" else tests[1:]
    assert [*images_of(root / level, "test")] == [root / file for file in wanted]


def test_images_of_a_folder_go_before_those_below_it(tmp_path: Path) -> None:
    root = made(tmp_path, ("a.png", *SETS["coco"][0]))
    assert [*images_of(root, "test")] == [root / "a.png"]


def test_captions_lie_beside_the_images(tmp_path: Path) -> None:
    root = made(tmp_path / "cityscapes", SETS["cityscapes"][0])
    (root / "leftImg8bit/test/bonn/captions.tsv").write_text("bonn_000000_000019_leftImg8bit.png\ta street")
    assert [each.caption for each in find([root])] == ["", "a street"]


def test_small_photographs_of_coco_train(tmp_path: Path) -> None:
    """They are enlarged to the crop."""
    root = made(tmp_path / "coco", SETS["coco"][1])
    crops, captions = load(root, tmp_path / "cache", validation=False).crops(3, 256, np.random.default_rng(0))
    assert crops.shape == (3, 256, 256, 3)
    assert captions == ["", "", ""]


@pytest.mark.parametrize(
    ("protocol", "size"),
    [("textguided", (256, 256)), ("diffjscc", (512, 768)), ("diffjscc:celeba-hq", (512, 512)), ("scsic", (512, 512)),
     ("scsic:1024", (1024, 1024)), ("diffcom", (256, 256)), ("lrisc", (512, 768))],
)  # fmt: skip
def test_protocols_prepare_as_their_papers(protocol: str, size: tuple[int, int]) -> None:
    assert prepare(picture(512, 768), papers.protocol(protocol).prepare).shape[:2] == size


def test_a_bench_by_a_protocol(here: Callable[..., Result]) -> None:
    made(Path("finished"), tuple(Path(file).name for file in SETS["celeba"][0]))
    root = made(Path("faces"), SETS["celeba"][0])
    done = here("bench", root, "--out", "out", "--protocol", "diffjscc:celeba-hq", "--prepare", "none", "--methods",
                "folder:finished", "--metrics", "psnr", "--snr", 5)  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = read_rows(Path("out"))
    assert {row.cell.image for row in rows} == {"000001.jpg", "000003.jpg"}
    assert {row.cell.cbr for row in rows} == {1 / 768, 1 / 192}
