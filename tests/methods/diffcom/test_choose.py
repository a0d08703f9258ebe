"""``examples/choose_diffcom.py``: it finds planted sizes, and what it prints can be a preset's settings."""

from __future__ import annotations

import json
import runpy
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gencomm_cli import presets
from gencomm_cli.methods.diffcom.settings import check_settings
from gencomm_cli.training.data import is_validation
from tests.methods.diffcom.test_method import KINDS, write_preset

FOLDER = Path(__file__).parents[3] / "examples"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.setattr(sys, "path", [str(FOLDER), *sys.path])
    return runpy.run_path(str(FOLDER / "choose_diffcom.py"), run_name="choose_diffcom")


@pytest.mark.parametrize(("snr_db", "eta"), [(10.0, 0.1), (0.0, 0.4)])
def test_the_least_gain_decides_and_psnr_does_not_count_at_low_snr(script: dict[str, Any], snr_db: float, eta: float) -> None:
    class Planted(script["Bench"]):  # type: ignore[misc, valid-type, name-defined]
        def figures(self, snr_db: float, options: Mapping[str, Any]) -> dict[str, float]:
            if options.get("coarse"):
                return {"psnr": 20.0, "gmsd": 0.1, "lpips_alex": 0.5, "success": 1.0}
            if options["zeta"] == 2.0:
                return {}  # diverged
            gain = options["eta"] * 30 - abs(options["gamma"] - 0.3)
            psnr = 2 - 10 * abs(options["eta"] - 0.1) - abs(options["gamma"] - 0.3)
            return {"psnr": 20 + psnr / 10, "gmsd": 0.1 - 0.002 * gain, "lpips_alex": 0.5 - 0.01 * gain, "success": 1.0}

    best = Planted(None, [], 1 / 48, False, 3, None).search(snr_db, "score")
    assert best == {"eta": eta, "zeta": 1.0, "gamma": 0.3}


@pytest.mark.parametrize("blind", [False, True])
def test_it_prints_settings(
    script: dict[str, Any], blind: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = next(name for name in (f"{index}.png" for index in range(100)) if is_validation(name))
    (tmp_path / "data").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "data" / name)
    write_preset(tmp_path / "tiny", KINDS["residual"])
    script["main"].__globals__.update(HIFI={"eta": (0.02, 0.01), "zeta": (1.0,)}, BLIND={"zeta": (5.0, 2.0)})
    more = ["--blind", "--steps", "2"] if blind else []
    arguments = ["--data", tmp_path / "data", "--preset", tmp_path / "tiny", "--crops", 1, "--size", 16, "--snr", "0,10", *more]
    monkeypatch.setattr(sys, "argv", ["choose_diffcom.py", *map(str, arguments)])
    script["main"]()
    printed = capsys.readouterr().out
    assert printed.count("| coarse |") == 2
    sampling = json.loads(printed.splitlines()[-1])["sampling"]
    assert [snr_db for snr_db, _ in sampling["blind" if blind else "hifi"]["zeta"]] == [0.0, 10.0]
    write_preset(tmp_path / "tiny", KINDS["residual"], sampling=sampling)
    check_settings(presets.load_config(tmp_path / "tiny"))
