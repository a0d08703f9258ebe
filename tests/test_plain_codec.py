"""``examples/measure/plain_codec.py`` trains, goes on, and writes pictures of their own sizes."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from gencomm_cli.training import losses
from tests.support.training import backbones, write_photographs

SCRIPT = Path(__file__).parents[1] / "examples" / "measure" / "plain_codec.py"


def test_it_trains_and_writes_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("squeeze"))
    for folder in ("data", "in"):
        (tmp_path / folder).mkdir()
    write_photographs(tmp_path / "data", 3)
    Image.fromarray(np.full((20, 37, 3), 128, np.uint8)).save(tmp_path / "in" / "grey.png")

    def run(*arguments: object) -> None:
        monkeypatch.setattr("sys.argv", ["plain_codec.py", *map(str, arguments)])
        runpy.run_path(str(SCRIPT), run_name="__main__")

    run("train", tmp_path / "run", "--data", tmp_path / "data", "--minutes", 1e-6)
    run("apply", tmp_path / "run", tmp_path / "in", tmp_path / "out")
    assert Image.open(tmp_path / "out" / "grey.png").size == (37, 20)


def test_a_whole_codeword_has_unit_power_and_the_noise_is_that_of_its_snr() -> None:
    """The power that arrives is 1 + 1/SNR."""
    codec = runpy.run_path(str(SCRIPT))["PlainCodec"]()
    arrived: list[torch.Tensor] = []
    codec.synthesis.register_forward_pre_hook(lambda _, inputs: arrived.append(inputs[0][:, :-1]))
    with torch.no_grad():
        codec(torch.rand(64, 3, 64, 64), torch.tensor([-3.0, 10.0]).repeat(32))
    power = arrived[0].square().mean((1, 2, 3)).view(32, 2).mean(0)
    assert power.tolist() == pytest.approx([1 + 10**0.3, 1.1], rel=0.1)
    assert arrived[0].shape[1:].numel() / 2 == 2.5 * 16  # symbols
