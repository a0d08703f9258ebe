"""The optimisation loop that every recipe shares: AdamW, cosine schedule, EMA, resumable checkpoints, a time limit."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train.

    Attributes:
        steps: the most optimiser steps.
        learning_rate: peak rate; it rises for ``warmup`` steps and falls along a cosine to 2 % of the peak.
        max_minutes: stop by then, the cosine finished; 0 means no limit. Progress is whichever of steps and time is further.
    """

    steps: int
    learning_rate: float
    warmup: int = 100
    max_minutes: float = 0.0
    weight_decay: float = 1e-4
    ema: float = 0.999
    clip: float = 1.0


def autocast(device: torch.device) -> torch.autocast:
    """bfloat16 where the device is fast at it (CUDA, and CPUs with AVX512-BF16), float32 elsewhere."""
    fast = device.type == "cuda" or torch.backends.cpu.get_cpu_capability() == "AVX512"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=fast)


def fit(
    modules: dict[str, nn.Module],
    loss: Callable[[int, float], tuple[Tensor, dict[str, float]]],
    schedule: Schedule,
    out: Path,
    stage: str,
    *,
    report: Callable[[str], None] = print,
    log_every: int = 50,
    save_minutes: float = 4.0,
) -> None:
    """Trains ``modules`` in place and leaves their EMA weights in them.

    Args:
        modules: what is optimised, by name; parameters that need no gradient are left alone.
        loss: (step, progress in 0..1) → (scalar loss, figures to log).
        out: folder of ``<stage>.ckpt`` (state to resume from) and ``<stage>.log`` (one JSON line every ``log_every`` steps).

    An interrupted run continues from its checkpoint, time spent included; a finished one returns at once.
    """
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    averages = [p.detach().float().clone() for p in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, betas=(0.9, 0.99))
    path = out / f"{stage}.ckpt"
    step, spent, done = 0, 0.0, False
    if path.exists():
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, module in modules.items():
            module.load_state_dict(state["modules"][name])
        for average, saved in zip(averages, state["averages"], strict=True):
            average.copy_(saved)
        optimizer.load_state_dict(state["optimizer"])
        step, spent, done = state["step"], state["spent"], state["done"]
        report(f"{stage}: resumed at step {step}")

    def save() -> None:
        torch.save(
            {
                "modules": {name: module.state_dict() for name, module in modules.items()},
                "averages": averages,
                "optimizer": optimizer.state_dict(),
                "step": step,
                "spent": spent,
                "done": done,
                "schedule": asdict(schedule),
            },
            path.with_suffix(".tmp"),
        )
        os.replace(path.with_suffix(".tmp"), path)

    started = saved_at = time.monotonic() - spent
    saved_at = time.monotonic()
    sums: dict[str, float] = {}
    while not done:
        spent = time.monotonic() - started
        progress = max(step / schedule.steps, spent / 60 / schedule.max_minutes if schedule.max_minutes else 0.0)
        if progress >= 1:
            done = True
            break
        rate = (
            schedule.learning_rate
            * min(1.0, (step + 1) / schedule.warmup)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        )
        for group in optimizer.param_groups:
            group["lr"] = rate
        value, figures = loss(step, progress)
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, schedule.clip)
        if torch.isfinite(norm):
            optimizer.step()
        decay = min(schedule.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(averages, [p.detach().float() for p in parameters], 1 - decay)
        step += 1
        for name, figure in {**figures, "loss": float(value.detach()), "norm": float(norm)}.items():
            sums[name] = sums.get(name, 0.0) + figure / log_every
        if step % log_every == 0:
            line = json.dumps(
                {"step": step, "minutes": round(spent / 60, 2), "lr": round(rate, 6)} | {k: round(v, 5) for k, v in sums.items()}
            )
            with (out / f"{stage}.log").open("a") as log:
                log.write(line + "\n")
            report(f"{stage}: {line}")
            sums = {}
        if time.monotonic() - saved_at > 60 * save_minutes:
            save()
            saved_at = time.monotonic()
    save()
    with torch.no_grad():
        for parameter, average in zip(parameters, averages, strict=True):
            parameter.copy_(average)
