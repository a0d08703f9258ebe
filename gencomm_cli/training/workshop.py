"""What recipes of several stages share: what is asked of them, stages that are kept and restored, time shared out between them."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from gencomm_cli.errors import InputError
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.metrics.weights import folder, load_lpips
from gencomm_cli.training import parallel
from gencomm_cli.training.captions import captioned
from gencomm_cli.training.data import Photographs, load
from gencomm_cli.training.loop import Precision, Schedule

Recipe = TypeVar("Recipe")


@dataclass(frozen=True)
class TrainOptions:
    """What the user asks for.

    Attributes:
        data: photographs, as :func:`gencomm_cli.training.data.load` has them. out: folder of the run.
        config: the recipe's file; None for nano's. metric_weights: folder of LPIPS weights.
        max_minutes: for all that is left, shared out between the stages as the recipe's own limits are.
        resume: continue a run found in ``out``; without it, a non-empty ``out`` is refused.
        stages: which of them to train, None for those of the method; the others are taken from ``out`` or ``start``.
        start: preset (name or folder) whose weights every network starts from, instead of from the recipe's.
        captioner: of photographs without a caption, as :func:`gencomm_cli.text.captioners.caption` names them.
        accumulate, precision, tensorboard: of every stage's :class:`~gencomm_cli.training.loop.Schedule`; None: as the recipe says.
    """

    data: Path
    out: Path
    config: Path | None = None
    metric_weights: Path | None = None
    max_minutes: float | None = None
    resume: bool = False
    device: str = "cpu"
    stages: tuple[str, ...] | None = None
    start: str | None = None
    accumulate: int | None = None
    precision: Precision | None = None
    tensorboard: bool | None = None
    captioner: str = "none"

    def photographs(self, report: Callable[[str], None]) -> Photographs:
        """The training photographs, with captions as they are asked for."""
        cache = self.out / "cache"
        return captioned(load(self.data, cache, validation=False), self.captioner, cache, self.device, report)

    def open(self, shipped: str, needed: Collection[str]) -> dict[str, Any]:
        """The configuration, with what is asked for in every stage's schedule; makes the folder of the run.

        Raises:
            InputError: as :func:`load_config` and :func:`open_folder`.
        """
        config = load_config(self.config, shipped, needed)
        open_folder(self.out, self.resume or parallel.rank() > 0)  # process 0 may be at work in it by now
        asked = {"accumulate": self.accumulate, "precision": self.precision, "tensorboard": self.tensorboard}
        for stage in config.values():
            if isinstance(stage, dict) and "schedule" in (recipe := stage.get("recipe") or stage):
                recipe["schedule"] |= {name: value for name, value in asked.items() if value is not None}
        return config


def recipe_from(kind: type[Recipe], values: dict[str, Any], max_minutes: float | None = None) -> Recipe:
    """A frozen recipe from JSON values; unknown keys are refused."""
    hints = get_type_hints(kind)
    unknown = set(values) - {field.name for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if unknown:
        raise InputError(f"--config: unknown key {', '.join(sorted(unknown))} in a {kind.__name__}")
    built = {
        key: recipe_from(hints[key], value) if dataclasses.is_dataclass(hints[key]) else value for key, value in values.items()
    }
    recipe = kind(**built)
    if max_minutes is not None and isinstance(getattr(recipe, "schedule", None), Schedule):
        recipe = dataclasses.replace(recipe, schedule=dataclasses.replace(recipe.schedule, max_minutes=max_minutes))  # type: ignore[type-var, attr-defined]
    return recipe


def load_config(path: Path | None, shipped: str, needed: Collection[str]) -> dict[str, Any]:
    """A configuration file, or the shipped one of that name.

    Raises:
        InputError: it is not one, or lacks what is ``needed``.
    """
    text = path.read_text("utf-8") if path else files("gencomm_cli.methods").joinpath(shipped).read_text("utf-8")
    try:
        config = json.loads(text)
        missing = set(needed) - set(config)
    except (ValueError, TypeError):
        raise InputError(f"{path}: not JSON; see gencomm_cli/methods/*/nano.json for examples") from None
    if missing:
        raise InputError(f"{path}: lacks {', '.join(sorted(missing))}; see gencomm_cli/methods/*/nano.json for examples")
    return config  # type: ignore[no-any-return]


def open_folder(out: Path, resume: bool) -> None:
    """Makes the folder of a run. Raises InputError where it holds a run that is not to be resumed."""
    if not resume and out.exists() and any(out.iterdir()):
        raise InputError(f"--out {out}: not empty; pass --resume to continue the run in it, or name a new folder")
    out.mkdir(parents=True, exist_ok=True)


def store(module: nn.Module, path: Path) -> None:
    """A network's weights in half precision, as presets hold them."""
    tensors = {key: value.detach().cpu().contiguous() for key, value in module.state_dict().items()}
    save_file({key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}, path)
    path.chmod(0o644)  # safetensors writes 0600, which a wheel would keep


def load_judges(metric_weights: Path | None, device: torch.device) -> list[LPIPS]:
    """Both LPIPS backbones: trained against one alone, a network learns to game it.

    Raises:
        InputError: their weights are not at hand.
    """
    where = folder(metric_weights)
    if where is None:
        raise InputError("--metric-weights: training needs LPIPS weights; run `gencomm models get lpips-alex` and lpips-squeeze")
    return [load_lpips(backbone, where).to(device) for backbone in ("alex", "squeeze")]


class StagedWorkshop:
    """The networks of one run, trained stage by stage; finished stages are loaded from ``out``.

    A subclass says which networks each stage trains (``networks``, in the order of the stages), gives a network by name
    (``module``) and trains a stage (``run``).
    """

    networks: Mapping[str, tuple[str, ...]]
    config: dict[str, Any]
    out: Path

    def module(self, name: str) -> nn.Module:
        """A network by the name it has in a preset."""
        raise NotImplementedError

    def run(self, stage: str, max_minutes: float | None, report: Callable[[str], None]) -> None:
        """Trains one stage, whose predecessors are finished."""
        raise NotImplementedError

    def notes(self, name: str) -> dict[str, str]:
        """What is kept beside a network's weights."""
        return {}

    def heed(self, name: str, notes: Mapping[str, str]) -> None:
        """Takes up what was kept beside a network's weights."""

    def save(self, stage: str) -> None:
        """Keeps a finished stage's averaged weights as ``<stage>.<network>.safetensors`` in float32."""
        for name in self.networks[stage]:
            state = self.module(name).state_dict()
            tensors = {key: value.detach().float().cpu().contiguous() for key, value in state.items()}
            save_file(tensors, self.out / f"{stage}.{name}.safetensors", self.notes(name))

    def restore(self, stage: str) -> bool:
        """Loads a finished stage; false where it is not finished."""
        paths = {name: self.out / f"{stage}.{name}.safetensors" for name in self.networks[stage]}
        if not all(path.exists() for path in paths.values()):
            return False
        for name, path in paths.items():
            with safe_open(path, "pt") as opened:
                self.module(name).load_state_dict({key: opened.get_tensor(key) for key in opened.keys()})  # noqa: SIM118
                self.heed(name, opened.metadata() or {})
        return True

    def export(self, models: Path, report: Callable[[str], None]) -> Path:
        """Writes the preset, or presets, into ``models``; returns the folder of the one that the recipe names."""
        raise NotImplementedError

    def complete(self, stages: Sequence[str], options: TrainOptions, report: Callable[[str], None]) -> Path:
        """Trains every stage of ``stages`` that is not finished and writes the preset to ``out/models``.

        Raises:
            InputError: there is no such stage.
        """
        self.work(stages, options.max_minutes, report)
        models = self.out / "models"
        with parallel.first():
            return models if parallel.rank() else self.export(models, report)

    def work(self, stages: Sequence[str], max_minutes: float | None, report: Callable[[str], None]) -> None:
        """Restores every finished stage, and trains those of ``stages`` that are not, ``max_minutes`` shared out between them.

        Raises:
            InputError: there is no such stage.
        """
        if unknown := set(stages) - set(self.networks):
            raise InputError(f"--stages: there is no {', '.join(sorted(unknown))}; there is: {', '.join(self.networks)}")
        finished = [stage for stage in self.networks if self.restore(stage)]
        left = [stage for stage in self.networks if stage in stages and stage not in finished]
        schedules = {stage: (self.config[stage].get("recipe") or self.config[stage])["schedule"] for stage in left}
        planned = {stage: schedule.get("max_minutes", 60) for stage, schedule in schedules.items()}
        for stage in left:
            share = max_minutes * planned[stage] / sum(planned.values()) if max_minutes else None
            started = time.monotonic()
            self.run(stage, share, report)
            with parallel.first():  # what a stage computes after its last step may differ in the last digit
                if parallel.rank():
                    self.restore(stage)
                else:
                    self.save(stage)
            report(f"{stage}: finished in {(time.monotonic() - started) / 60:.1f} minutes")
