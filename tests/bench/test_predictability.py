"""Pairwise LPIPS between sends."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gencomm_cli.bench.predictability import pairwise
from gencomm_cli.metrics import weights
from gencomm_cli.metrics.lpips import LPIPS
from tests.support.commands import Result, failed, picture


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


@pytest.fixture
def lpips(tmp_path: Path, model: LPIPS, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The flag for a folder of weights, which are ``model``'s."""
    folder = tmp_path / "weights"
    folder.mkdir()
    (folder / "alex_features.npz").touch()
    monkeypatch.setattr(weights, "load_lpips", lambda backbone, where: model)
    return ["--metric-weights", folder]


def test_table_and_json(here: Callable[..., Result], photos: Path, tiny: str, tmp_path: Path, lpips: list[object]) -> None:
    study = ["bench", "predictability", photos / "a.png", "--out", "out", "--methods", f"{tiny},{tiny}:coarse", "--sends", 3]
    study += ["--snr", "1,inf", "--cbr", 0.02]
    failed(here(*study, "--metric-weights", photos), 2, "--lpips alex", "gencomm models get lpips-alex")
    study += lpips
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


def printed(result: Result) -> list[dict[str, object]]:
    assert result.returncode == 0, result.stderr
    settings: list[dict[str, object]] = json.loads(result.stdout)["settings"]
    return settings


def test_finished_images_of_each_send(
    here: Callable[..., Result], photos: Path, tiny: str, tmp_path: Path, lpips: list[object], model: LPIPS
) -> None:
    study = ["bench", "predictability", photos / "a.png", "--out", "out", "--sends", 3, "--cbr", 0.02, *lpips]
    random, images = np.random.default_rng(0), {}
    for snr in (1, 5):
        for repeat in range(3):
            folder = tmp_path / "theirs" / f"{snr}dB" / str(repeat)
            folder.mkdir(parents=True)
            noisy = picture(64, 96) + random.normal(0, 40 / snr, (64, 96, 3))
            images[snr, repeat] = np.clip(noisy, 0, 255).astype(np.uint8)
            Image.fromarray(images[snr, repeat]).save(folder / "a.png")
    theirs = f"folder:{tmp_path}/theirs/{{snr}}dB"
    found = printed(here(*study, "--methods", f"{tiny}:coarse,{theirs}/{{repeat}}", "--snr", "1,5", "--json"))
    assert [(each["method"], each["snr_db"], each["sends"]) for each in found] == [
        ("textguided:coarse", 1.0, 3), ("textguided:coarse", 5.0, 3), ("folder:theirs", 1.0, 3), ("folder:theirs", 5.0, 3),
    ]  # fmt: skip
    expected = pairwise([images[5, repeat] for repeat in range(3)], model)
    assert (found[-1]["mean"], found[-1]["deviation"]) == pytest.approx(expected)
    # What is wrong is said before anything is sent.
    failed(here(*study, "--methods", f"{tiny},{theirs}/0", "--snr", 5), 2, "folder:theirs needs a file of each send", "{repeat}")
    failed(here(*study, "--methods", f"{tiny},{theirs}/{{repeat}}", "--snr", 2), 2, "2dB/0/a.png: there is no such finished image")
    Image.fromarray(picture(64, 64)).save(tmp_path / "theirs" / "5dB" / "2" / "a.png")
    failed(here(*study, "--methods", f"{tiny},{theirs}/{{repeat}}", "--snr", 5), 2, "is 64x64 where the image sent is 96x64")


def test_no_coarse_image_is_no_refined_one(
    here: Callable[..., Result], photos: Path, make_scsic: Callable[..., Path], tmp_path: Path, lpips: list[object]
) -> None:
    preset = Path(shutil.copytree(make_scsic(), tmp_path / "bare"))
    document = json.loads((preset / "config.json").read_text())
    del document["components"]["previewer"]
    (preset / "config.json").write_text(json.dumps(document))
    study = ["bench", "predictability", photos / "a.png", "--out", "out", "--sends", 3, "--snr", 5, *lpips]
    failed(here(*study, "--methods", f"scsic@{preset},scsic@{preset}:coarse"), 2, "scsic:coarse: preset tiny makes no coarse image")
    assert [each["method"] for each in printed(here(*study, "--methods", f"scsic@{preset}", "--json"))] == ["scsic"]


def test_options_guidance_and_csi_are_heard(
    here: Callable[..., Result], photos: Path, tiny: str, make_diffjscc: Callable[..., Path], lpips: list[object]
) -> None:
    study = ["bench", "predictability", photos / "a.png", "--out", "out", "--sends", 3, "--snr", 5, "--cbr", 0.02, *lpips, "--json"]
    of_diffjscc = ["--methods", f"diffjscc@{make_diffjscc()}", "--steps", 2]
    weighted = printed(here(*study, *of_diffjscc, "--option", "guidance-lambda=0,1000"))
    assert [each["options"] for each in weighted] == ["guidance-lambda=0", "guidance-lambda=1000"]
    assert weighted[0]["mean"] != weighted[1]["mean"]
    assert "diffjscc@tiny guidance-lambda=1000" in Path("out/predictability.md").read_text()
    failed(here(*study, "--methods", tiny, "--option", "guidance-lambda=1"), 2, "--option guidance-lambda: none of these methods")
    study += ["--methods", tiny, "--channels", "block", "--steps", 2]
    other: tuple[list[object], ...] = (
        [],
        ["--csi", "estimated"],
        ["--precision", "bf16"],
        ["--prompt", "a dog"],
        ["--prompt", "a dog", "--guidance", 5],
    )
    assert len({printed(here(*study, *more))[0]["mean"] for more in other}) == len(other)
    failed(here(*study, "--precision", "fp16"), 2, "--precision fp16: is for CUDA devices")
