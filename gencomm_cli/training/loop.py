"""The optimisation loop that every recipe shares: AdamW, cosine schedule, EMA, resumable checkpoints, a time limit.

It runs in one process or in several (:mod:`gencomm_cli.training.parallel`), which then hold the same weights at every step.
"""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from gencomm_cli.errors import GencommError, InputError, imported
from gencomm_cli.outputs import check_folder, replacing, write_files
from gencomm_cli.training import parallel
from gencomm_cli.training.pictures import write_sheet

Precision = Literal["auto", "fp32", "bf16"]
Optimizer = Literal["adamw", "adamw8bit"]

Loss = Callable[[int, float], tuple[Tensor, dict[str, float]]]
"""(step, progress in 0..1) → (mean loss of a batch, figures to log)."""

FAILURES = 3
"""How often a loss may be no number before a run is given up."""


@dataclass(frozen=True)
class Schedule:
    """How long, how fast and how exactly to train.

    Attributes:
        steps: the most optimiser steps.
        learning_rate: peak rate; it rises for ``warmup`` steps and falls along a cosine to the share
            ``final`` of the peak; 1: it stays.
        max_minutes: stop by then, the cosine finished; 0 means no limit. Progress is whichever of steps and time is further.
        optimizer: as :func:`optimizer_class` has it. beta2: of AdamW. clip: the longest gradient; 0: no limit.
        ema: of the averaged weights; 0: the last ones.
        accumulate: batches whose gradients make one step. precision: of the networks, as :func:`autocast` has it.
        log_every: steps that a line of the log is the mean of. save_minutes: between checkpoints. picture_minutes: between sheets
            of pictures.
        tensorboard: log for TensorBoard too.
    """

    steps: int
    learning_rate: float
    warmup: int = 100
    max_minutes: float = 0.0
    weight_decay: float = 1e-4
    ema: float = 0.999
    clip: float = 1.0
    beta2: float = 0.99
    final: float = 0.02
    accumulate: int = 1
    precision: Precision = "auto"
    optimizer: Optimizer = "adamw"
    log_every: int = 50
    save_minutes: float = 4.0
    picture_minutes: float = 10.0
    tensorboard: bool = False


def autocast(device: torch.device, precision: Precision = "auto") -> torch.autocast:
    """bfloat16 (``bf16``), float32 (``fp32``), or bfloat16 where the device is fast at it (CUDA, and CPUs with AVX512-BF16).

    Without its cache of weights: what a pass without gradients leaves there has no graph, and older releases of torch would give it
    to a later pass with gradients.
    """
    fast = device.type == "cuda" or torch.backends.cpu.get_cpu_capability() == "AVX512"
    wanted = fast if precision == "auto" else precision == "bf16"
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=wanted, cache_enabled=False)


def optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """AdamW (``adamw``), or bitsandbytes' (``adamw8bit``), which keeps two bytes a weight instead of eight.

    Raises:
        InputError: there is no such one, or bitsandbytes is not installed.
    """
    if name not in get_args(Optimizer):
        raise InputError(f"--config: optimizer {name}: is none; use {' or '.join(get_args(Optimizer))}")
    if name == "adamw":
        return torch.optim.AdamW
    needed = "--config: optimizer adamw8bit: needs bitsandbytes; pip install 'gencomm[adam8bit]'"
    return imported("bitsandbytes.optim", needed).AdamW8bit


@dataclass
class _Progress:
    """Where a run is: optimiser steps, seconds spent, whether it is finished, how often it has gone back, and the open log line."""

    step: int = 0
    spent: float = 0.0
    done: bool = False
    failures: int = 0
    sums: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Checkpoint:
    """A run's networks, their averages, optimiser and progress, in one file."""

    path: Path
    networks: Mapping[str, nn.Module]
    averages: list[Tensor]
    optimizer: torch.optim.Optimizer
    schedule: Schedule

    def save(self, now: _Progress) -> None:
        """Writes it, in process 0, unless the averages are no numbers any more."""
        if parallel.rank() or not all(bool(torch.isfinite(average).all()) for average in self.averages):
            return
        state = {"modules": {name: network.state_dict() for name, network in self.networks.items()}, "averages": self.averages}
        state |= {"optimizer": self.optimizer.state_dict(), "schedule": asdict(self.schedule), **asdict(now)}
        with replacing(self.path) as path:
            try:
                torch.save(state, path)
            except RuntimeError as error:  # what torch makes of a full disk
                raise InputError(f"{self.path}: cannot be written ({error}); make room, then --resume goes on") from None

    @torch.no_grad()
    def load(self) -> _Progress:
        """Takes it up. Raises InputError where it is damaged, or of another recipe."""
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if state["schedule"].get("optimizer", "adamw") != self.schedule.optimizer:
                raise ValueError
            for name, network in self.networks.items():
                network.load_state_dict(state["modules"][name])
            self.optimizer.load_state_dict(state["optimizer"])
            for average, stored in zip(self.averages, state["averages"], strict=True):
                average.copy_(stored)
            return _Progress(**{each.name: state[each.name] for each in fields(_Progress)})
        except (KeyError, ValueError, RuntimeError, TypeError, AttributeError, EOFError, pickle.UnpicklingError):
            raise InputError(
                f"{self.path}: is of another recipe or damaged; delete it to train this stage anew, or name a new --out"
            ) from None


def fit(
    networks: Mapping[str, nn.Module],
    loss: Loss,
    generator: np.random.Generator,
    schedule: Schedule,
    out: Path,
    stage: str,
    *,
    slower: Mapping[str, float] | None = None,
    images: int = 0,
    pictures: Callable[[], np.ndarray] | None = None,
    report: Callable[[str], None] = print,
) -> None:
    """Trains ``networks`` in place and leaves their EMA weights in them.

    Args:
        networks: what is optimised, by name; parameters that need no gradient are left alone.
        loss: of a step.
        generator: what ``loss`` draws from, beside torch's own. Both are set anew at every step, so that a run that was
            interrupted goes on as if it had not been, with any number of processes.
        slower: the learning rate of some networks as a share of the schedule's.
        out: folder of ``<stage>.ckpt`` (state to resume from), ``<stage>.log`` (JSON lines), ``<stage>.png`` and
            ``tensorboard/<stage>``.
        images: of a batch; for the log.
        pictures: draws pairs of originals and outputs, uint8 [N, 2, H, W, 3]; a sheet of them is written now and then, with the EMA
            weights in the networks.

    An interrupted run continues from its checkpoint, time spent included; a finished one returns at once. Where the loss is no
    number any more the run goes back to its checkpoint, and on from there with other draws. Batch normalisation takes the
    statistics of each process's own batch, and their running means are averaged in the end.

    Raises:
        InputError: the processes see different folders, the checkpoint is of another recipe or has no room, or TensorBoard is asked
            for and not installed. GencommError: the loss is no number for the third time.
    """
    everything = [tensor for network in networks.values() for tensor in (*network.parameters(), *network.buffers())]
    shares: dict[float, list[nn.Parameter]] = {}
    for name, network in networks.items():
        shares.setdefault((slower or {}).get(name, 1.0), []).extend(p for p in network.parameters() if p.requires_grad)
    parameters = [p for network in networks.values() for p in network.parameters() if p.requires_grad]
    device, seed = parameters[0].device, int(generator.integers(2**63))
    groups = [{"params": some} for some in shares.values()]
    betas = (0.9, schedule.beta2)
    make = optimizer_class(schedule.optimizer)
    optimizer = make(groups, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, betas=betas)  # type: ignore[call-arg]
    averages = [p.detach().float().clone() if schedule.ema else p.detach() for p in parameters]  # else themselves
    checkpoint, now = _Checkpoint(out / f"{stage}.ckpt", networks, averages, optimizer, schedule), _Progress()
    if resumed := checkpoint.path.exists():
        now = checkpoint.load()
        report(f"{stage}: resumed at step {now.step}")
    if not now.done:  # a checkpoint has the networks, and for each parameter its average and AdamW's two moments
        check_folder(out, sum(tensor.nbytes for tensor in everything) + 12 * sum(p.numel() for p in parameters))
    if parallel.agreed(now.step, device) != now.step:
        raise InputError(f"--out {out}: the processes see different folders; name one that all machines share")
    with torch.no_grad():
        parallel.agree([*everything, *averages])
    if not resumed:
        checkpoint.save(now)

    def draw() -> None:
        if pictures is not None and not parallel.rank():
            with _averaged(networks, [*parameters], averages):
                write_sheet(pictures(), out / f"{stage}.png")

    log = _Log(out, stage, schedule, now.step, images * schedule.accumulate * parallel.count(), report) if not now.done else None
    saved = drawn = time.monotonic()
    started = saved - now.spent
    while log is not None:
        now.spent = parallel.agreed(time.monotonic() - started, device)  # so that all stop at the same step
        progress = max(now.step / schedule.steps, now.spent / 60 / schedule.max_minutes if schedule.max_minutes else 0.0)
        if progress >= 1:
            break
        rate = (
            schedule.learning_rate
            * min(1.0, (now.step + 1) / schedule.warmup)
            * (schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * progress)))
        )
        for group, share in zip(optimizer.param_groups, shares, strict=True):
            group["lr"] = rate * share
        optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=device)
        for batch in range(schedule.accumulate):
            _set_seeds(generator, seed, now)
            with parallel.part(parallel.rank() * schedule.accumulate + batch, parallel.count() * schedule.accumulate):
                value, figures = loss(now.step, progress)
            (value / schedule.accumulate).backward()
            total += value.detach()
            for name, figure in {**figures, "loss": float(value.detach())}.items():
                now.sums[name] = now.sums.get(name, 0.0) + figure / schedule.accumulate / schedule.log_every
        # Not by DistributedDataParallel: it averages what its own forward pass has built, and a loss calls several networks
        # directly, some of them, or parts of them, at some steps only.
        parallel.average([total, *(p.grad for p in parameters if p.grad is not None)])
        if not torch.isfinite(total):
            now = _back(checkpoint, now, stage, report)
            log.rewind(now.step)
            continue
        norm = torch.nn.utils.clip_grad_norm_(parameters, schedule.clip or math.inf)
        if torch.isfinite(norm):
            optimizer.step()
        decay = min(schedule.ema, (1 + now.step) / (10 + now.step))
        with torch.no_grad():
            torch._foreach_lerp_(averages, [p.detach().float() for p in parameters], 1 - decay)
        now.step += 1
        now.sums["norm"] = now.sums.get("norm", 0.0) + float(norm) / schedule.log_every
        if now.step % schedule.log_every == 0:
            means = torch.tensor(list(now.sums.values()), dtype=torch.float64, device=device)
            parallel.average([means])
            log.add(now, rate, dict(zip(now.sums, means.tolist(), strict=True)))
            now.sums = {}
        if time.monotonic() - saved > 60 * schedule.save_minutes:
            checkpoint.save(now)
            saved = time.monotonic()
        if time.monotonic() - drawn > 60 * schedule.picture_minutes:
            draw()
            drawn = time.monotonic()
    _set_seeds(generator, seed, now)
    with torch.no_grad():
        parallel.average([b for network in networks.values() for b in network.buffers() if b.is_floating_point()])
        if log is not None:
            log.close()
            draw()
            now.done = True
            checkpoint.save(now)
        for parameter, average in zip(parameters, averages, strict=True):
            parameter.copy_(average)


def _back(checkpoint: _Checkpoint, now: _Progress, stage: str, report: Callable[[str], None]) -> _Progress:
    """Takes the checkpoint up again. Raises GencommError the third time."""
    failures = now.failures + 1
    if failures == FAILURES:
        raise GencommError(
            f"{stage}: the loss is no number at step {now.step}, for the third time; take a lower learning_rate or --precision fp32"
        )
    then = replace(checkpoint.load(), spent=now.spent, failures=failures)
    report(f"{stage}: the loss is no number at step {now.step}; back to step {then.step}")
    checkpoint.save(then)  # so that a run that is interrupted now has the same draws
    return then


@contextlib.contextmanager
def _averaged(networks: Mapping[str, nn.Module], parameters: list[Tensor], averages: list[Tensor]) -> Iterator[None]:
    """What is within sees the networks with their averaged weights, in evaluation mode."""
    modes = {module: module.training for network in networks.values() for module in network.modules()}
    kept = [parameter.detach().clone() for parameter in parameters]
    with torch.no_grad():
        torch._foreach_copy_(parameters, averages)
    for network in networks.values():
        network.eval()
    try:
        yield
    finally:
        with torch.no_grad():
            torch._foreach_copy_(parameters, kept)
        for module, mode in modes.items():
            module.training = mode


def _set_seeds(generator: np.random.Generator, seed: int, now: _Progress) -> None:
    """Makes the randomness of a step a matter of its number and of the failures so far, and the same in all processes."""
    sequence = np.random.SeedSequence((seed, now.step, now.failures) if now.failures else (seed, now.step))
    generator.bit_generator.state = np.random.PCG64(sequence).state
    torch.manual_seed(int(sequence.generate_state(1)[0]))


class _Log:
    """The figures of a stage, as process 0 writes them; lines beyond ``step``, which is done again, are dropped.

    Args:
        images: that a step sees.
    """

    def __init__(self, out: Path, stage: str, schedule: Schedule, step: int, images: int, report: Callable[[str], None]) -> None:
        self.stage, self.schedule, self.images, self.report = stage, schedule, images, report
        self.path, self.writer = out / f"{stage}.log", None
        self.rewind(step)
        if schedule.tensorboard and not parallel.rank():
            tensorboard = imported("torch.utils.tensorboard", "--tensorboard: needs TensorBoard; pip install 'gencomm[train]'")
            self.writer = tensorboard.SummaryWriter(str(out / "tensorboard" / stage), purge_step=step + 1)

    def rewind(self, step: int) -> None:
        """Drops the lines beyond ``step``."""
        self.last = (step, time.monotonic())
        if not parallel.rank() and self.path.exists():
            kept = self.path.read_bytes().splitlines(keepends=True)[: step // self.schedule.log_every]
            write_files({self.path: b"".join(kept)})

    def add(self, now: _Progress, rate: float, figures: dict[str, float]) -> None:
        """One line."""
        if parallel.rank():
            return
        (before, then), self.last = self.last, (now.step, time.monotonic())
        seconds = max(self.last[1] - then, 1e-9) / max(now.step - before, 1)
        left = [(self.schedule.steps - now.step) * seconds / 60]
        if self.schedule.max_minutes:
            left.append(self.schedule.max_minutes - now.spent / 60)
        shown = {"step": now.step, "minutes": round(now.spent / 60, 2), "lr": round(rate, 6)}
        shown |= {name: round(value, 5) for name, value in figures.items()}
        if self.images:
            shown["images_per_s"] = round(self.images / seconds, 2)
        line = json.dumps(shown | {"minutes_left": round(max(min(left), 0.0), 1)})
        with self.path.open("a", encoding="utf-8") as log:
            log.write(line + "\n")
        self.report(f"{self.stage}: {line}")
        if self.writer is not None:
            for name, figure in ({"lr": rate} | figures).items():
                self.writer.add_scalar(name, figure, now.step)
            self.writer.flush()

    def close(self) -> None:
        """Ends TensorBoard's thread."""
        if self.writer is not None:
            self.writer.close()
