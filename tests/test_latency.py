"""``examples/latency_full.py`` on tiny networks: its table, and what it says where there is no GPU."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.setattr("sys.argv", ["latency_full.py", *arguments])
    runpy.run_path(str(EXAMPLES / "latency_full.py"), run_name="__main__")


@pytest.mark.parametrize(
    ("system", "stock"), [("scsic 512", "diffusers"), ("HiFi-DiffCom", "plain loop, float32")], ids=["scsic", "diffcom"]
)
def test_each_system_stands_beside_its_stock_loop(
    system: str, stock: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--tiny", "--device", "cpu", "--no-compile", "--runs", "1", "--only", system)
    first, *_, ours, theirs = capsys.readouterr().out.strip().splitlines()
    assert "tiny networks: no figures of the systems" in first
    for row, program in ((ours, "gencomm"), (theirs, stock)):
        name, label, cold, warm, ratio, peak = (cell.strip() for cell in row.strip("|").split("|"))
        assert (name.startswith(system), label, peak) == (True, program, "–")
        assert min(float(cold), float(warm), float(ratio)) > 0


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_without_a_gpu_it_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match=r"^there is no CUDA device here, so nothing full-size is measured; [^\n]*$"):
        run(monkeypatch)
