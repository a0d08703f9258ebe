"""FID and KID of a bench folder's settings, with a small network in Inception's place."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from gencomm_cli.bench.rows import Cell, Row
from gencomm_cli.bench.sets import write_sets
from gencomm_cli.bench.store import opened
from gencomm_cli.metrics.fid import fid
from gencomm_cli.metrics.inception import DIMENSIONS

CELL = Cell("", "0" * 64, "textguided", "nano", "1" * 64, "awgn", 1.0, 0.0033, outage="sc-sic")


class Means(nn.Module):
    """An image's mean colour, padded to Inception's width."""

    calls = 0

    def __init__(self) -> None:
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        Means.calls += len(x)
        return nn.functional.pad(x.mean((2, 3)), (0, DIMENSIONS - 3))


def colours(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 3)).astype(np.uint8)


def filled(folder: Path, lost: int) -> Path:
    with opened(folder) as store:
        for index, (original, received) in enumerate(zip(colours(6, 0), colours(6, 1), strict=True)):
            for name, colour in ((f"originals/{index}.png", original), (f"images/{index}.png", received)):
                Image.fromarray(np.full((16, 16, 3), colour, np.uint8)).save(folder / name)
            cell = replace(CELL, image=f"{index}.png", prompt_text=f"{index}")
            store.add([Row(cell, "outage" if index < lost else "ok", output=f"images/{index}.png")])
    return folder


def sets(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "sets.jsonl").read_text().splitlines()]


def test_a_set_is_all_images_of_one_setting_and_is_measured_once(tmp_path: Path) -> None:
    folder = filled(tmp_path, 0)
    write_sets(folder, Means(), False, lambda line: None)  # type: ignore[arg-type]
    (found,) = sets(folder)
    first, second = (np.pad(colours(6, seed) / 255, ((0, 0), (0, DIMENSIONS - 3))) for seed in (0, 1))
    assert found["metrics"]["fid"] == pytest.approx(fid(first, second).value, rel=1e-4)  # type: ignore[index]
    assert found["count"] == 6
    assert "biased" in str(found["note"])
    assert found["setting"]["method"] == "textguided"  # type: ignore[index]
    assert "image" not in found["setting"]  # type: ignore[operator]
    calls = Means.calls
    write_sets(folder, Means(), False, lambda line: None)  # type: ignore[arg-type]
    assert Means.calls == calls
    assert sets(folder) == [found]


def test_lost_images_count_as_paper_004_has_them(tmp_path: Path) -> None:
    folder = filled(tmp_path, 2)
    write_sets(folder, Means(), False, lambda line: None)  # type: ignore[arg-type]
    (found,) = sets(folder)
    first, second = (np.pad(colours(6, seed) / 255, ((0, 0), (0, DIMENSIONS - 3))) for seed in (0, 1))
    rest = fid(first, second[2:]).value
    assert rest is not None
    assert found["metrics"] == {"fid": pytest.approx((4 * rest + 2 * 500) / 6, rel=1e-4), "kid": None}
    assert "2 of 6 images lost" in str(found["note"])


def test_all_lost_is_500(tmp_path: Path) -> None:
    folder = filled(tmp_path, 6)
    write_sets(folder, Means(), False, lambda line: None)  # type: ignore[arg-type]
    assert sets(folder)[0]["metrics"] == {"fid": 500.0, "kid": None}
