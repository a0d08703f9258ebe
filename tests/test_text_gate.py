"""``examples/measure/text_gate.py`` on a tiny run, finished or not, on its preset, and on made figures."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gencomm_cli.methods.textguided.train import TextGuidedTrainer
from gencomm_cli.training.data import is_validation
from tests.methods.textguided.test_train import tiny_recipe
from tests.support.training import asked, quiet, write_photographs

__all__ = ["tiny_recipe"]

SCRIPT = Path(__file__).parents[1] / "examples" / "measure" / "text_gate.py"


def gate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    monkeypatch.setattr("sys.argv", ["text_gate.py", *map(str, arguments)])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return capsys.readouterr().out.splitlines()


def test_of_a_run_and_of_its_preset(
    tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    write_photographs(data, 60, (3, 4), size=(72, 64))
    (data / "captions.tsv").write_text("\n".join(f"{index}.png\tpicture number {index}" for index in range(60)))
    count = sum(is_validation(f"{index}.png") for index in range(60))
    tiny_recipe["vae"]["recipe"]["schedule"] |= {"precision": "fp32"}
    options = asked(tiny_recipe, data, run, stages=("prior",))
    trainer = TextGuidedTrainer(options, quiet)
    arguments = ("--data", data, "--config", options.config, "--draws", 2, "--times", "600,900")
    with pytest.raises(SystemExit, match="vae is not finished"):
        gate(monkeypatch, capsys, run, *arguments)
    trainer.save("vae")  # as one that was trained elsewhere
    with pytest.raises(SystemExit, match="prior has not begun"):
        gate(monkeypatch, capsys, run, *arguments)
    trainer.work()
    finished = gate(monkeypatch, capsys, run, *arguments)
    assert finished[0] == f"ε-MSE over {count} photographs"
    assert len([line for line in finished if "−" in line and line.startswith("|")]) == 6
    (run / "prior.unet.safetensors").unlink()
    assert gate(monkeypatch, capsys, run, *arguments) == ["prior at step 3, 0 minutes", "", *finished]
    preset = trainer.export(tmp_path / "models")
    shipped = gate(monkeypatch, capsys, preset, *arguments[:2], "--images", 2)
    assert shipped[0] == "ε-MSE over 2 photographs"


def test_intervals_and_verdict() -> None:
    report = runpy.run_path(str(SCRIPT))["report"]
    paired = np.array([0.01, 0.03, 0.02, 0.02])
    own = np.array([0.1, 0.2, 0.3, 0.4])
    measured = np.stack([np.stack([own, own + paired, own + 2 * paired], 1), np.stack([own, own - paired, own + paired], 1)])
    lines = report([600, 900], measured)
    error = paired.std(ddof=1) / 2
    low, high = 0.02 - 1.96 * error, 0.02 + 1.96 * error
    assert f"| 600 | none − own | +0.02000 | {low:+.5f} … {high:+.5f} |" in "\n".join(lines)
    assert "| 600 | 0.25000 | 0.27000 | 0.29000 |" in lines
    assert lines[-2:] == ["t = 600: own < none < wrong, 99 % sure: yes", "t = 900: own < none < wrong, 99 % sure: no"]
