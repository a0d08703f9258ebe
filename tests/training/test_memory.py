"""What training at full size saves memory by, and ``examples/memory_table.py``, which counts what it takes."""

from __future__ import annotations

import itertools
import runpy
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile

from gencomm_cli.errors import InputError
from gencomm_cli.methods.diffcom.train import DiffComTrainer
from gencomm_cli.training.loop import Schedule, fit
from tests.methods.diffcom.test_train import recipe
from tests.support.training import asked, quiet, write_photographs

EXAMPLES = Path(__file__).parents[2] / "examples"
SWIN = {"dims": [32, 48], "depths": [2, 2], "heads": [1, 2], "window": 4, "trained_size": 64}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    return runpy.run_path(str(EXAMPLES / "memory_table.py"))


def swinjscc(**values: Any) -> dict[str, Any]:
    config = recipe(steps=2, batch=4)
    config["swinjscc"]["model"] = SWIN
    config["swinjscc"]["recipe"] |= {"crop": 64, **values}
    config["swinjscc"]["recipe"]["schedule"] |= {"precision": "fp32"}
    return config


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_count_is_what_a_run_on_a_cpu_allocates(checkpointing: bool, table: dict[str, Any], tmp_path: Path) -> None:
    """Within a tenth: torch's profiler records every allocation of two optimiser steps, moments and averages included."""
    config = swinjscc(checkpointing=checkpointing)
    counted = table["measure"]("diffcom", "swinjscc", config, table["full"]())
    (tmp_path / "data").mkdir()
    trainer = DiffComTrainer(asked(config, write_photographs(tmp_path / "data", 3), tmp_path / "run", stages=("swinjscc",)), quiet)
    _ = trainer.photographs
    there = [tensor for part in trainer.parts.values() for tensor in (*part.parameters(), *part.buffers())]
    weights = sum(tensor.untyped_storage().nbytes() for tensor in there)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        trainer.run("swinjscc")
    events = [event for event in recorded.profiler.kineto_results.events() if event.name() == "[memory]"]  # type: ignore[union-attr]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    assert counted.weights == pytest.approx(weights, rel=0.02)
    assert counted.adamw == pytest.approx(weights + max(itertools.accumulate(changes)), rel=0.1)


def test_checkpointing_and_8_bits_take_less(table: dict[str, Any]) -> None:
    plain, saving = (table["measure"]("diffcom", "swinjscc", swinjscc(checkpointing=on), table["full"]()) for on in (False, True))
    assert saving.step - saving.weights < 0.7 * (plain.step - plain.weights)
    assert plain.adamw - plain.adamw8bit == pytest.approx(6 * plain.trained, rel=0.01)


def train(out: Path, **schedule: Any) -> nn.Linear:
    torch.manual_seed(0)
    module = nn.Linear(3, 1)

    def loss(step: int, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        return (module(torch.ones(1, 3)) - 1).square().mean(), {}

    fit({"m": module}, loss, np.random.default_rng(0), Schedule(2, 0.01, **schedule), out, "q", report=quiet)
    return module


def test_8_bit_adam_is_bitsandbytes_and_asked_for_by_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class AdamW8bit(torch.optim.AdamW):
        made = 0

        def __init__(self, *arguments: Any, **options: Any) -> None:
            type(self).made += 1
            super().__init__(*arguments, **options)

    library, optim = ModuleType("bitsandbytes"), ModuleType("bitsandbytes.optim")
    optim.AdamW8bit = AdamW8bit  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "bitsandbytes", library)
    monkeypatch.setitem(sys.modules, "bitsandbytes.optim", optim)
    train(tmp_path)
    assert AdamW8bit.made == 0
    with pytest.raises(InputError, match="is of another recipe"):  # its moments are of other types
        train(tmp_path, optimizer="adamw8bit")
    (tmp_path / "q.ckpt").unlink()
    train(tmp_path, optimizer="adamw8bit")
    assert AdamW8bit.made == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"optimizer": "adamw8bit"}, r"optimizer adamw8bit: needs bitsandbytes; pip install 'gencomm\[adam8bit\]'$"),
        ({"optimizer": "sgd"}, "optimizer sgd: is none; use adamw or adamw8bit$"),
    ],
)
def test_what_is_missing_is_said_before_any_work(
    change: dict[str, str], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    config = recipe()
    config["prior"]["recipe"]["schedule"] = config["prior"]["recipe"]["schedule"] | change
    with pytest.raises(InputError, match=words):
        DiffComTrainer(asked(config, tmp_path, tmp_path / "run"), quiet)
    DiffComTrainer(asked(config, tmp_path, tmp_path / "run", stages=("adjscc",)), quiet)


def test_without_averages_the_weights_are_the_last_ones(tmp_path: Path) -> None:
    module = train(tmp_path, ema=0.0)
    state = torch.load(tmp_path / "q.ckpt", weights_only=True)
    assert torch.equal(state["averages"][0], module.weight)
    assert torch.equal(state["modules"]["m"]["weight"], module.weight)
    assert state["averages"][0].untyped_storage().data_ptr() == state["modules"]["m"]["weight"].untyped_storage().data_ptr()


def test_frozen_networks_have_one_of_two_number_formats(tmp_path: Path) -> None:
    for frozen, dtype in (({}, torch.float32), ({"frozen": "bf16"}, torch.bfloat16)):
        assert DiffComTrainer(asked(recipe() | frozen, tmp_path, tmp_path / "run"), quiet).frozen_dtype == dtype
    with pytest.raises(InputError, match="frozen: 'fp16' is no number format of frozen networks; use fp32 or bf16"):
        _ = DiffComTrainer(asked(recipe() | {"frozen": "fp16"}, tmp_path, tmp_path / "run"), quiet).frozen_dtype
