"""The optimisation loop that every recipe shares: AdamW, cosine schedule, EMA, resumable checkpoints, a time limit.

It runs in one process or in several (:mod:`gencomm_cli.training.parallel`), which then hold the same weights at every step.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from gencomm_cli.errors import InputError
from gencomm_cli.training import parallel

Precision = Literal["auto", "fp32", "bf16"]

Loss = Callable[[int, float], tuple[Tensor, dict[str, float]]]
"""(step, progress in 0..1) → (mean loss of a batch, figures to log)."""


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and how exactly to train.

    Attributes:
        steps: the most optimiser steps.
        learning_rate: peak rate; it rises for ``warmup`` steps and falls along a cosine to 2 % of the peak.
        max_minutes: stop by then, the cosine finished; 0 means no limit. Progress is whichever of steps and time is further.
        accumulate: batches whose gradients make one step. precision: of the networks, as :func:`autocast` has it.
        log_every: steps that a line of the log is the mean of. save_minutes: between checkpoints.
        tensorboard: log for TensorBoard too.
    """

    steps: int
    learning_rate: float
    warmup: int = 100
    max_minutes: float = 0.0
    weight_decay: float = 1e-4
    ema: float = 0.999
    clip: float = 1.0
    accumulate: int = 1
    precision: Precision = "auto"
    log_every: int = 50
    save_minutes: float = 4.0
    tensorboard: bool = False


def autocast(device: torch.device, precision: Precision = "auto") -> torch.autocast:
    """bfloat16 (``bf16``), float32 (``fp32``), or bfloat16 where the device is fast at it (CUDA, and CPUs with AVX512-BF16).

    Without its cache of weights: what a pass without gradients leaves there has no graph, and older releases of torch would give it
    to a later pass with gradients.
    """
    fast = device.type == "cuda" or torch.backends.cpu.get_cpu_capability() == "AVX512"
    wanted = fast if precision == "auto" else precision == "bf16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted, cache_enabled=False)


def fit(
    modules: Mapping[str, nn.Module],
    loss: Loss,
    generator: np.random.Generator,
    schedule: Schedule,
    out: Path,
    stage: str,
    *,
    slower: Mapping[str, float] | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Trains ``modules`` in place and leaves their EMA weights in them.

    Args:
        modules: what is optimised, by name; parameters that need no gradient are left alone.
        loss: of a step.
        generator: what ``loss`` draws from, beside torch's own. Both are set anew at every step, so that a run that was
            interrupted goes on as if it had not been, with any number of processes.
        slower: the learning rate of some modules as a share of the schedule's.
        out: folder of ``<stage>.ckpt`` (state to resume from), ``<stage>.log`` (JSON lines) and ``tensorboard/<stage>``.

    An interrupted run continues from its checkpoint, time spent included; a finished one returns at once. Batch normalisation takes
    the statistics of each process's own batch, and their running means are averaged in the end.

    Raises:
        InputError: the processes see different folders, the checkpoint is of another recipe, or TensorBoard is asked for and not
            installed.
    """
    everything = [tensor for module in modules.values() for tensor in (*module.parameters(), *module.buffers())]
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    device, seed = parameters[0].device, int(generator.integers(2**63))
    shares: dict[float, list[nn.Parameter]] = {}
    for name, module in modules.items():
        shares.setdefault((slower or {}).get(name, 1.0), []).extend(p for p in module.parameters() if p.requires_grad)
    groups = [{"params": some} for some in shares.values()]
    optimizer = torch.optim.AdamW(groups, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, betas=(0.9, 0.99))
    averages = [torch.empty_like(p, dtype=torch.float32, requires_grad=False) for p in parameters]
    path = out / f"{stage}.ckpt"
    step, spent, done = 0, 0.0, False
    sums: dict[str, float] = {}
    if path.exists():
        state = torch.load(path, map_location="cpu", weights_only=True)
        try:
            for name, module in modules.items():
                module.load_state_dict(state["modules"][name])
            optimizer.load_state_dict(state["optimizer"])
        except (KeyError, ValueError, RuntimeError):
            raise InputError(f"{path}: is of another recipe; delete it to train this stage anew, or name a new --out") from None
        step, spent, done, sums = state["step"], state["spent"], state["done"], state.get("sums", {})
        report(f"{stage}: resumed at step {step}")
    if parallel.agreed(step, device) != step:
        raise InputError(f"--out {out}: the processes see different folders; name one that all machines share")
    with torch.no_grad():
        parallel.agree(everything)
        for average, source in zip(averages, state["averages"] if path.exists() else parameters, strict=True):
            average.copy_(source)

    def save() -> None:
        if parallel.rank():
            return
        torch.save(
            {
                "modules": {name: module.state_dict() for name, module in modules.items()},
                "averages": averages,
                "optimizer": optimizer.state_dict(),
                "step": step,
                "spent": spent,
                "done": done,
                "sums": sums,
                "schedule": asdict(schedule),
            },
            path.with_suffix(".tmp"),
        )
        os.replace(path.with_suffix(".tmp"), path)

    log = _Log(out, stage, schedule, step, report) if not done else None
    started = time.monotonic() - spent
    saved_at = time.monotonic()
    while not done:
        spent = parallel.agreed(time.monotonic() - started, device)  # so that all stop at the same step
        progress = max(step / schedule.steps, spent / 60 / schedule.max_minutes if schedule.max_minutes else 0.0)
        if progress >= 1:
            done = True
            break
        rate = (
            schedule.learning_rate
            * min(1.0, (step + 1) / schedule.warmup)
            * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
        )
        for group, share in zip(optimizer.param_groups, shares, strict=True):
            group["lr"] = rate * share
        optimizer.zero_grad(set_to_none=True)
        for batch in range(schedule.accumulate):
            _set_seeds(generator, seed, step)
            with parallel.part(parallel.rank() * schedule.accumulate + batch, parallel.count() * schedule.accumulate):
                value, figures = loss(step, progress)
            (value / schedule.accumulate).backward()
            for name, figure in {**figures, "loss": float(value.detach())}.items():
                sums[name] = sums.get(name, 0.0) + figure / schedule.accumulate / schedule.log_every
        # Not by DistributedDataParallel: it averages what its own forward pass has built, and a loss calls several networks
        # directly, some of them, or parts of them, at some steps only.
        parallel.average([p.grad for p in parameters if p.grad is not None])
        norm = torch.nn.utils.clip_grad_norm_(parameters, schedule.clip)
        if torch.isfinite(norm):
            optimizer.step()
        decay = min(schedule.ema, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(averages, [p.detach().float() for p in parameters], 1 - decay)
        step += 1
        sums["norm"] = sums.get("norm", 0.0) + float(norm) / schedule.log_every
        if step % schedule.log_every == 0 and log is not None:
            means = torch.tensor(list(sums.values()), dtype=torch.float64, device=device)
            parallel.average([means])
            log.add(step, spent, rate, dict(zip(sums, means.tolist(), strict=True)))
            sums = {}
        if time.monotonic() - saved_at > 60 * schedule.save_minutes:
            save()
            saved_at = time.monotonic()
    if log is not None:
        log.close()
    _set_seeds(generator, seed, step)
    with torch.no_grad():
        parallel.average([b for module in modules.values() for b in module.buffers() if b.is_floating_point()])
        save()
        for parameter, average in zip(parameters, averages, strict=True):
            parameter.copy_(average)


def _set_seeds(generator: np.random.Generator, seed: int, step: int) -> None:
    """Makes the randomness of a step a matter of its number alone, and the same in all processes."""
    sequence = np.random.SeedSequence((seed, step))
    generator.bit_generator.state = np.random.PCG64(sequence).state
    torch.manual_seed(int(sequence.generate_state(1)[0]))


class _Log:
    """The figures of a stage, as process 0 writes them; lines beyond ``step``, which is done again, are dropped."""

    def __init__(self, out: Path, stage: str, schedule: Schedule, step: int, report: Callable[[str], None]) -> None:
        self.stage, self.report, self.path, self.writer = stage, report, out / f"{stage}.log", None
        if parallel.rank():
            return
        if self.path.exists():
            kept = self.path.read_text().splitlines(keepends=True)[: step // schedule.log_every]
            self.path.write_text("".join(kept))
        if schedule.tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError:
                raise InputError("--tensorboard: needs TensorBoard; pip install 'gencomm[train]'") from None
            self.writer = SummaryWriter(str(out / "tensorboard" / stage), purge_step=step + 1)

    def add(self, step: int, spent: float, rate: float, figures: dict[str, float]) -> None:
        """One line; ``spent`` in seconds."""
        if parallel.rank():
            return
        shown = {"step": step, "minutes": round(spent / 60, 2), "lr": round(rate, 6)} | {k: round(v, 5) for k, v in figures.items()}
        line = json.dumps(shown)
        with self.path.open("a") as log:
            log.write(line + "\n")
        self.report(f"{self.stage}: {line}")
        if self.writer is not None:
            for name, figure in ({"lr": rate} | figures).items():
                self.writer.add_scalar(name, figure, step)
            self.writer.flush()

    def close(self) -> None:
        """Ends TensorBoard's thread."""
        if self.writer is not None:
            self.writer.close()
