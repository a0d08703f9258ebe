"""The optimisation loop: it converges, stops in time, and goes on where it was."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from gencomm_cli.errors import GencommError, InputError
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


def test_a_checkpoint_without_room_is_refused_before_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quadratic(tmp_path, 2)
    state = torch.load(tmp_path / "q.ckpt", weights_only=True) | {"done": False}
    torch.save(state, tmp_path / "q.ckpt")
    smallest = sum(tensor.nbytes for tensor in state["averages"])
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 0, 4 * smallest - 1))
    with pytest.raises(InputError, match=f"at least {4 * smallest} bytes are to be written"):
        quadratic(tmp_path, 4)
    assert torch.load(tmp_path / "q.ckpt", weights_only=True)["step"] == 2


def test_an_interrupted_run_resumes_where_it_was(tmp_path: Path) -> None:
    quadratic(tmp_path, 60)
    state = torch.load(tmp_path / "q.ckpt", weights_only=True)
    assert state["step"] == 60
    state["done"] = False
    torch.save(state, tmp_path / "q.ckpt")
    quadratic(tmp_path, 90)
    assert torch.load(tmp_path / "q.ckpt", weights_only=True)["step"] == 90


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"nonsense", pickle.dumps([1])], ids=["empty", "cut", "text", "a list"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "q.ckpt").write_bytes(content)
    with pytest.raises(InputError, match=r"q\.ckpt: is of another recipe or damaged; delete it"):
        quadratic(tmp_path, 2)


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


class Diverging:
    """A loss that is no number at some steps, each of them ``times`` times; it notes what it has drawn."""

    def __init__(self, module: nn.Linear, generator: np.random.Generator, bad: dict[int, int]) -> None:
        self.module, self.generator, self.bad, self.seen = module, generator, dict(bad), list[tuple[int, float]]()

    def __call__(self, step: int, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        x = torch.from_numpy(self.generator.standard_normal((8, 3), dtype=np.float32))
        self.seen.append((step, float(x[0, 0])))
        loss = (self.module(x) - x.sum(1, keepdim=True)).square().mean()
        if self.bad.get(step, 0):
            self.bad[step] -= 1
            loss = loss * float("nan")
        return loss, {}


def diverge(out: Path, bad: dict[int, int], steps: int = 12, save_minutes: float = 0.0) -> tuple[Diverging, list[str]]:
    torch.manual_seed(0)
    module, generator, said = nn.Linear(3, 1), np.random.default_rng(0), list[str]()
    loss = Diverging(module, generator, bad)
    plan = Schedule(steps, 0.05, 5, ema=0.9, log_every=2, save_minutes=save_minutes)
    fit({"module": module}, loss, generator, plan, out, "q", images=8, report=said.append)
    assert torch.isfinite(module.weight).all()
    return loss, said


def test_a_loss_that_is_no_number_goes_back_to_the_checkpoint_with_other_draws(tmp_path: Path) -> None:
    loss, said = diverge(tmp_path, {7: 1}, save_minutes=0.0)
    assert "q: the loss is no number at step 7; back to step 7" in said
    assert [step for step, _ in loss.seen] == [*range(8), *range(7, 12)]
    assert loss.seen[7][1] != loss.seen[8][1]
    (tmp_path / "seldom").mkdir()
    loss, said = diverge(tmp_path / "seldom", {7: 1}, save_minutes=60.0)
    assert "q: the loss is no number at step 7; back to step 0" in said  # that of the start
    assert [step for step, _ in loss.seen] == [*range(8), *range(12)]
    logged = [json.loads(line) for line in (tmp_path / "seldom" / "q.log").read_text().splitlines()]
    assert [line["step"] for line in logged] == [2, 4, 6, 8, 10, 12]


def test_the_third_time_is_the_last(tmp_path: Path) -> None:
    with pytest.raises(GencommError, match=r"^q: the loss is no number at step 3, for the third time; take a lower") as caught:
        diverge(tmp_path, {3: 3})
    assert caught.value.exit_status == 1
    state = torch.load(tmp_path / "q.ckpt", weights_only=True)
    assert (state["step"], state["failures"], state["done"]) == (3, 2, False)
    loss, _ = diverge(tmp_path, {})  # and it can be resumed from there
    assert [step for step, _ in loss.seen] == list(range(3, 12))


def test_a_run_that_is_interrupted_after_it_went_back_draws_the_same(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    whole, _ = diverge(tmp_path / "whole", {2: 1})
    diverge(tmp_path, {2: 1}, steps=6)
    state = torch.load(tmp_path / "q.ckpt", weights_only=True)
    torch.save(state | {"done": False}, tmp_path / "q.ckpt")
    resumed, _ = diverge(tmp_path, {})
    assert resumed.seen == whole.seen[-6:]


def test_lines_say_how_fast_it_goes_and_how_long_it_will_take(tmp_path: Path) -> None:
    diverge(tmp_path, {})
    first, *_, last = [json.loads(line) for line in (tmp_path / "q.log").read_text().splitlines()]
    assert first["images_per_s"] > 0
    assert first["minutes_left"] >= 0
    assert last["minutes_left"] == 0


def test_sheets_show_the_averaged_weights_in_evaluation_mode_and_change_nothing(tmp_path: Path) -> None:
    def run(out: Path, pictures: bool) -> tuple[nn.Sequential, list[torch.Tensor]]:
        out.mkdir()
        torch.manual_seed(0)
        module, generator, seen = nn.Sequential(nn.Linear(3, 1), nn.Dropout(0.5)), np.random.default_rng(0), list[torch.Tensor]()
        module.train()

        def loss(step: int, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
            assert module[1].training
            x = torch.from_numpy(generator.standard_normal((8, 3), dtype=np.float32))
            return (module(x) - x.sum(1, keepdim=True)).square().mean(), {}

        def draw() -> np.ndarray:
            assert not module[1].training
            torch.rand(7)
            seen.append(next(module.parameters()).detach().clone())
            return np.stack([np.full((2, 4, 6, 3), level, np.uint8) for level in range(5)])

        plan = Schedule(6, 0.05, 2, ema=0.9, picture_minutes=0.0)
        fit({"m": module}, loss, generator, plan, out, "q", pictures=draw if pictures else None, report=quiet)
        return module, seen

    with_pictures, seen = run(tmp_path / "a", True)
    without, _ = run(tmp_path / "b", False)
    assert all(torch.equal(a, b) for a, b in zip(with_pictures.parameters(), without.parameters(), strict=True))
    assert len(seen) == 7  # after each step, and in the end
    assert torch.equal(seen[-1], next(with_pictures.parameters()))
    with Image.open(tmp_path / "a" / "q.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels.shape == (2 * 4, 3 * 2 * 6, 3)
    assert pixels[5, 20, 0] == 4  # the fifth pair: second row, second column
    assert pixels[5, 30, 0] == 255
