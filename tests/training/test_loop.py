"""The optimisation loop: it converges, stops in time, and goes on where it was."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gencomm_cli.training.loop import Schedule, fit
from tests.support.training import quiet


def quadratic(out: Path, steps: int, max_minutes: float = 0.0) -> nn.Linear:
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    generator = np.random.default_rng(0)

    def loss(step: int, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        x = torch.from_numpy(generator.standard_normal((8, 3), dtype=np.float32))
        return (module(x) - x.sum(1, keepdim=True)).square().mean(), {}

    fit({"module": module}, loss, generator, Schedule(steps, 0.05, 5, max_minutes, ema=0.9, save_minutes=0), out, "q", report=quiet)
    return module


def test_fit_converges_stops_in_time_and_does_nothing_once_finished(tmp_path: Path) -> None:
    module = quadratic(tmp_path, 400)
    assert torch.allclose(module.weight, torch.ones(1, 3), atol=0.02)
    again = quadratic(tmp_path, 400)
    assert torch.equal(module.weight, again.weight)
    (tmp_path / "other").mkdir()
    quadratic(tmp_path / "other", 10**9, max_minutes=0.01)
    state = torch.load(tmp_path / "other" / "q.ckpt", weights_only=True)
    assert state["done"]
    assert 0 < state["step"] < 10**9


def test_an_interrupted_run_resumes_where_it_was(tmp_path: Path) -> None:
    quadratic(tmp_path, 60)
    state = torch.load(tmp_path / "q.ckpt", weights_only=True)
    assert state["step"] == 60
    state["done"] = False
    torch.save(state, tmp_path / "q.ckpt")
    quadratic(tmp_path, 90)
    assert torch.load(tmp_path / "q.ckpt", weights_only=True)["step"] == 90


def test_a_slower_module_moves_by_its_share_of_the_learning_rate(tmp_path: Path) -> None:
    """Adam's first step is the learning rate whatever the gradient, and EMA's first average a tenth of the first weights."""
    modules = {name: nn.Linear(3, 1, bias=False) for name in ("whole", "fifth", "frozen")}
    for module in modules.values():
        nn.init.zeros_(module.weight)
    modules["frozen"].requires_grad_(False)

    def loss(step: int, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        return torch.stack([(module.weight - 1).square().sum() for module in modules.values()]).sum(), {}

    fit(
        dict(modules), loss, np.random.default_rng(0), Schedule(1, 0.01, warmup=1, weight_decay=0.0), tmp_path, "q",
        slower={"fifth": 0.2}, report=quiet,
    )  # fmt: skip
    whole, fifth, frozen = (float(module.weight.detach().mean()) for module in modules.values())
    assert whole == pytest.approx(0.9 * 0.01, rel=1e-3)
    assert fifth == pytest.approx(0.2 * whole, rel=1e-3)
    assert frozen == 0
