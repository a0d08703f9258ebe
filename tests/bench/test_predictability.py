"""Pairwise LPIPS between sends."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from gencomm_cli.bench.predictability import pairwise
from gencomm_cli.metrics import weights
from gencomm_cli.metrics.lpips import LPIPS
from tests.commands.conftest import Result, failed, picture


@pytest.fixture
def model() -> LPIPS:
    torch.manual_seed(0)
    return LPIPS("squeeze").eval().requires_grad_(False)


def test_mean_and_deviation_are_those_of_all_pairs(model: LPIPS) -> None:
    random = np.random.default_rng(0)
    noisy = [np.clip(picture(48, 64) + random.normal(0, 20, (48, 64, 3)), 0, 255).astype(np.uint8) for _ in range(4)]
    tensors = [torch.tensor(image).permute(2, 0, 1)[None].float() / 255 for image in noisy]
    distances = [float(model(a, b)) for a, b in itertools.combinations(tensors, 2)]
    mean, deviation = pairwise(noisy, model)
    assert mean == pytest.approx(np.mean(distances), rel=1e-4)
    assert deviation == pytest.approx(np.std(distances, ddof=1), rel=1e-3)
    assert pairwise([noisy[0]] * 3, model) == pytest.approx((0, 0), abs=1e-9)


def test_table_and_json(
    here: Callable[..., Result], photos: Path, tiny: str, tmp_path: Path, model: LPIPS, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    study = ["bench", "predictability", photos / "a.png", "--out", "out", "--methods", f"{tiny},{tiny}:coarse", "--sends", 3]
    study += ["--snr", "1,inf", "--cbr", 0.02, "--metric-weights", folder]
    failed(here(*study), 2, "--lpips alex", "gencomm models get lpips-alex")
    (folder / "alex_features.npz").touch()
    monkeypatch.setattr(weights, "load_lpips", lambda backbone, where: model)
    done = here(*study, "--json")
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed == json.loads(Path("out/predictability.json").read_text())
    found = {(each["method"], each["snr_db"]): each for each in printed["settings"]}
    assert set(found) == {(method, snr) for method in ("textguided", "textguided:coarse") for snr in (1.0, "inf")}
    assert all(each["sends"] == 3 for each in found.values())
    assert found["textguided:coarse", 1.0]["mean"] > 0
    assert found["textguided:coarse", "inf"]["mean"] == pytest.approx(0, abs=1e-9)  # nothing differs but the sampler's noise
    assert found["textguided", "inf"]["mean"] > 0
    table = Path("out/predictability.md").read_text()
    assert table.count("±") == 4 + 1
    assert here(*study).stdout.decode() in table
