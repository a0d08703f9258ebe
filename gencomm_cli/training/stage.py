"""What one stage of a recipe trains, and how it is run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from gencomm_cli.training.checkpointing import checkpointed
from gencomm_cli.training.data import Photographs
from gencomm_cli.training.loop import Loss, Schedule, fit
from gencomm_cli.training.pictures import Show, pairs

Module = TypeVar("Module", bound=nn.Module)


class Recipe(Protocol):
    """A frozen dataclass of a stage's numbers."""

    @property
    def schedule(self) -> Schedule: ...

    @property
    def batch(self) -> int: ...

    @property
    def seed(self) -> int: ...


@dataclass(frozen=True)
class Plan:
    """What is known of a stage before anything is built.

    Attributes:
        recipe: its kind of recipe. networks: those it trains.
        pictured: its loss is perceptual, and needs LPIPS weights. optional: it is trained only where it is asked for.
        watched: where the recipe has a ``critic``, that one needs the weights of what it looks through.
    """

    recipe: type[Any]
    networks: tuple[str, ...]
    pictured: bool = False
    optional: bool = False
    watched: bool = False


@dataclass(frozen=True)
class Stage:
    """A stage, ready to be trained.

    Attributes:
        networks: what is optimised, by name. loss: as :func:`~gencomm_cli.training.loop.fit` takes it.
        slower: the learning rate of some networks as a share of the schedule's.
        show: what the networks make of pictures, for the sheets.
        through: frozen networks that gradients pass through.
        finish: what is left to do once the averaged weights are in the networks.
    """

    networks: Mapping[str, nn.Module]
    loss: Loss
    slower: Mapping[str, float] = field(default_factory=dict)
    show: Show | None = None
    through: Sequence[nn.Module] = ()
    finish: Callable[[], None] = lambda: None


def run_stage(
    name: str,
    recipe: Recipe,
    make: Callable[[np.random.Generator], Stage],
    out: Path,
    report: Callable[[str], None] = print,
    *,
    validation: Callable[[], Photographs | None] = lambda: None,
    checkpointing: bool = False,
) -> None:
    """Trains in place, and leaves the networks frozen.

    Args:
        make: the stage, whose loss draws from the generator it is given, and from torch's own, which has the recipe's seed too.
        out: as :func:`~gencomm_cli.training.loop.fit` has it.
        validation: gives what sheets of pictures are drawn of. checkpointing: of gradients, for less memory.
    """
    generator = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    stage = make(generator)
    networks = [*stage.networks.values(), *stage.through]
    pictures = None
    if stage.show is not None and (photographs := validation()) is not None:
        pictures = pairs(photographs, stage.show, next(networks[0].parameters()).device)
    with checkpointed(networks) if checkpointing else contextlib.nullcontext():
        fit(
            stage.networks, stage.loss, generator, recipe.schedule, out, name, slower=stage.slower, images=recipe.batch,
            pictures=pictures, report=report,
        )  # fmt: skip
    for network in stage.networks.values():
        frozen(network)
    stage.finish()


def trained(module: Module, device: torch.device, *, channels_last: bool = True) -> Module:
    """The module on ``device``, in training mode, with gradients for all its parameters."""
    module.to(device).requires_grad_(True).train()
    return nn.Module.to(module, memory_format=torch.channels_last) if channels_last else module  # type: ignore[call-overload]


def frozen(module: Module) -> Module:
    """The module in evaluation mode, without gradients for its parameters."""
    return module.eval().requires_grad_(False)
