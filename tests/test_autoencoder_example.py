"""``examples/autoencoder.py``: a table of what an autoencoder loses, from packed weights."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from gencomm_cli.metrics import weights
from gencomm_cli.metrics.efficientnet_lite import EfficientNetLite
from gencomm_cli.networks.autoencoder import Autoencoder
from gencomm_cli.presets.bits import packed
from tests.support.commands import picture

SCRIPT = Path(__file__).parents[1] / "examples" / "autoencoder.py"


def test_the_table_is_of_what_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that knows the mean alone gives grey: its PSNR is that of grey, and without 256² pixels there is no KID."""
    codec = Autoencoder()
    codec.mean.fill_(0.5)
    save_file({name: tensor.contiguous() for name, tensor in packed(codec.state_dict()).items()}, tmp_path / "a.safetensors")
    (tmp_path / "photos").mkdir()
    Image.fromarray(picture(40, 64)).save(tmp_path / "photos" / "a.png")
    monkeypatch.setattr(weights, "load_efficientnet_lite", EfficientNetLite)
    monkeypatch.setattr(sys, "path", [str(SCRIPT.parent), *sys.path])
    asked = ["--data", tmp_path / "photos", "--weights", tmp_path / "a.safetensors", "--metric-weights", tmp_path]
    monkeypatch.setattr(sys, "argv", ["autoencoder.py", *map(str, asked)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    header, _, row = ([cell.strip() for cell in line.strip("|").split("|")] for line in capsys.readouterr().out.splitlines())
    found = dict(zip(header, row, strict=True))
    with torch.no_grad():
        grey = codec.decode(codec.encode(torch.zeros(1, 3, 40, 64)))
    assert float(grey.std()) < 1e-6
    error = (picture(40, 64) - np.round(float(grey.mean()) * 255)) / 255
    assert float(found["psnr"]) == pytest.approx(-10 * np.log10(np.mean(error**2)), abs=0.01)
    assert (found["lpips_alex"], found["kid_lite1"]) == ("–", "–")
