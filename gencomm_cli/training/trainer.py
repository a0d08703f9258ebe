"""The trainer that every method shares: it opens recipes, keeps and restores stages, and shares the time out between them.

A method's ``train.py`` says which networks each stage trains, how they are built, and by which loss they learn.
"""

from __future__ import annotations

import dataclasses
import shutil
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast, get_type_hints

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from gencomm_cli.errors import InputError, one_line
from gencomm_cli.methods import spec_of
from gencomm_cli.metrics.efficientnet_lite import EfficientNetLite
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.metrics.weights import load_efficientnet_lite
from gencomm_cli.presets import Component, Preset
from gencomm_cli.presets.build import build, builders
from gencomm_cli.presets.write import Part, store
from gencomm_cli.textfiles import parse_json, read_text
from gencomm_cli.training import checks, losses, parallel
from gencomm_cli.training.captions import captioned
from gencomm_cli.training.data import Photographs, load
from gencomm_cli.training.latents import Codec, Latents, compute
from gencomm_cli.training.loop import Precision, Schedule, optimizer_class
from gencomm_cli.training.stage import Plan, Stage, run_stage

Numbers = TypeVar("Numbers")
Report = Callable[[str], None]


@dataclass(frozen=True)
class TrainOptions:
    """What the user asks for.

    Attributes:
        data: photographs, as :func:`gencomm_cli.training.data.load` has them. out: folder of the run.
        config: the recipe's file; None for the shipped one. metric_weights: folder of LPIPS weights.
        max_minutes: for all that is left, shared out between the stages as the recipe's own limits are.
        resume: continue a run found in ``out``; without it, a non-empty ``out`` is refused.
        stages: which of them to train, None for those of the method; the others are taken from ``out`` or ``start``.
        start: preset (name or folder) whose weights every network starts from, instead of from the recipe's.
        captioner: of photographs without a caption, as :func:`gencomm_cli.text.captioners.caption` names them.
        threads: of a CPU; None: as many as torch takes.
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
    threads: int | None = None


def recipe_from(kind: type[Numbers], values: dict[str, Any], max_minutes: float | None = None) -> Numbers:
    """A frozen recipe from JSON values.

    Raises:
        InputError: a key is unknown or missing, or a value is not of its type or too small.
    """
    hints, fields = get_type_hints(kind), {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    if not isinstance(values, dict):
        raise InputError(f"--config: {values!r:.80} is no {kind.__name__}: a JSON object with {', '.join(fields)}")
    if unknown := set(values) - set(fields):
        raise InputError(f"--config: unknown key {', '.join(sorted(unknown))} in a {kind.__name__}")
    built: dict[str, Any] = {}
    for name, field in fields.items():
        if name not in values:
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                raise InputError(f"--config: a {kind.__name__} lacks {name}")
        elif dataclasses.is_dataclass(hints[name]):
            built[name] = recipe_from(cast(type[Any], hints[name]), values[name])
        elif problem := checks.wrong(field, hints[name], values[name]):
            raise InputError(f"--config: {kind.__name__}, {problem}")
        else:
            built[name] = values[name]
    recipe = kind(**built)
    if max_minutes is not None and isinstance(getattr(recipe, "schedule", None), Schedule):
        recipe = dataclasses.replace(recipe, schedule=dataclasses.replace(recipe.schedule, max_minutes=max_minutes))  # type: ignore[type-var, attr-defined]
    return recipe


def load_config(path: Path | None, shipped: str, needed: Collection[str], package: str | None = None) -> dict[str, Any]:
    """A recipe's file, or the shipped one, ``METHOD/NAME.json``; of a method from elsewhere, ``NAME.json`` in its ``package``.

    One that says ``"like": "NAME"`` has only what differs from the method's recipe of that name.

    Raises:
        InputError: it is not one, or lacks what is ``needed``.
    """
    own = files("gencomm_cli.methods") / shipped if package is None else files(package) / shipped.rpartition("/")[2]
    if path is None and not own.is_file():
        raise InputError(f"--config: there is no recipe {shipped}; see gencomm_cli/methods/*/*.json for those that are")
    text = read_text(path) if path else own.read_text("utf-8")
    examples = "see gencomm_cli/methods/*/nano.json for examples"
    config = parse_json(text, f"--config {path}:")
    if not isinstance(config, dict):
        raise InputError(f"--config {path}: is not a JSON object; {examples}")
    if "like" in config:
        config = changed(load_config(None, f"{Path(shipped).parent}/{config.pop('like')}.json", (), package), config)
    if missing := set(needed) - set(config):
        raise InputError(f"--config {path}: lacks {', '.join(sorted(missing))}; {examples}")
    return config


def changed(recipe: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``recipe`` with other values in the places of those in ``changes``, objects within objects too; where these name another
    ``class``, ``model`` is that one's alone."""
    if "class" in changes and changes["class"] != recipe.get("class"):
        recipe = {name: value for name, value in recipe.items() if name != "model"}
    both = {name for name, new in changes.items() if isinstance(new, dict) and isinstance(recipe.get(name), dict)}
    return {**recipe, **changes, **{name: changed(recipe[name], changes[name]) for name in both}}


class _Keyed(dict[str, Any]):
    """A recipe's JSON object, which says what it lacks."""

    def __missing__(self, key: str) -> Any:
        raise InputError(f"--config: lacks {key!r} beside {', '.join(self)}; see gencomm_cli/methods/*/nano.json for examples")

    @classmethod
    def of(cls, value: Any) -> Any:
        """The same with all objects within."""
        return cls({name: cls.of(each) for name, each in value.items()}) if isinstance(value, dict) else value


def stage_values(config: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """The numbers of a stage, which stand beside the network's sizes or alone."""
    own: dict[str, Any] = config[stage]
    values = own.get("recipe") or own if isinstance(own, dict) else own
    if not isinstance(values, dict) or not isinstance(values.get("schedule"), dict):
        raise InputError(f"--config: {stage}: is not a JSON object with a schedule")
    return values


def train(method: str, options: TrainOptions, report: Report = print) -> Path:
    """Trains every stage of a method that is not finished, and writes its presets to ``options.out / "models"``.

    Returns:
        The folder of the preset that the recipe names.

    Raises:
        InputError: unusable recipe, data, folder or preset to start from.
    """
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    fresh = not options.out.exists()
    try:
        trainer: Trainer = import_module(spec_of(method).training).open_trainer(options, report)
        return trainer.complete()
    except InputError:
        if fresh and parallel.count() == 1 and options.out.is_dir() and not any(path.is_file() for path in options.out.iterdir()):
            shutil.rmtree(options.out)  # it failed before there was anything to go on from
        raise


class Trainer:
    """The networks of one run, trained stage by stage; finished stages are loaded from ``out``.

    A subclass says what stages there are, how the networks are built (:meth:`build`), what a stage is (:meth:`stage`), and what the
    presets are made of (:meth:`export`).

    Attributes:
        method: its name. shipped: the recipe that it has without ``--config``. needed: what that holds beside stages and settings.
        plans: what is known of each stage, in the order of the stages.
        measured: by a network's name, the entry of its configuration that is measured once it is trained.
        blueprints: class and arguments of each network that is built from the recipe, by its name.
        parts: the networks themselves, by the same names.

    Args:
        base: the preset to start from, or to stand on.
    """

    method: ClassVar[str]
    shipped: ClassVar[str] = "nano"
    needed: ClassVar[frozenset[str]] = frozenset()
    plans: ClassVar[Mapping[str, Plan]]
    measured: ClassVar[Mapping[str, str]] = {}

    def __init__(self, options: TrainOptions, report: Report = print, base: Preset | None = None) -> None:
        self.options, self.report, self.base = options, report, base
        self.out, self.device = options.out, torch.device(options.device)
        self.config = _Keyed.of(self.recipe())
        known = tuple(stage for stage in self.plans if stage in self.config)
        self.stages = options.stages or tuple(stage for stage in known if not self.plans[stage].optional)
        if unknown := set(self.stages) - set(known):
            raise InputError(f"--stages: there is no {', '.join(sorted(unknown))}; there is: {', '.join(known)}")
        self.settings: dict[str, Any] = self.config["settings"]
        resumed = options.resume or parallel.rank() > 0  # process 0 may be at work in the folder by now
        if not resumed and self.out.exists() and any(self.out.iterdir()):
            raise InputError(f"--out {self.out}: not empty; pass --resume to continue the run in it, or name a new folder")
        self.out.mkdir(parents=True, exist_ok=True)
        asked = {name: getattr(options, name) for name in ("accumulate", "precision", "tensorboard")}
        for stage in self.config.keys() & self.plans.keys():
            stage_values(self.config, stage)["schedule"] |= {name: value for name, value in asked.items() if value is not None}
        for stage in self.stages:  # now: what is missing should not be missed hours later
            optimizer_class(stage_values(self.config, stage)["schedule"].get("optimizer", "adamw"))
        if any(self.plans[stage].pictured for stage in self.stages):
            _ = self.perceptual
        torch.manual_seed(0)
        self.blueprints: dict[str, tuple[str, dict[str, Any]]] = {}
        self.parts: dict[str, nn.Module] = {}
        self.build()
        for stage in self.stages:
            recipe = self.recipe_of(stage)
            if self.plans[stage].watched and recipe.critic:
                _ = self.features

    @property
    def frozen_dtype(self) -> torch.dtype:
        """Number format of the large networks that no stage trains: the recipe's ``frozen``, fp32 (default) or bf16."""
        formats, asked = {"fp32": torch.float32, "bf16": torch.bfloat16}, self.config.get("frozen", "fp32")
        if asked not in formats:
            raise InputError(f"--config: frozen: {asked!r} is no number format of frozen networks; use fp32 or bf16")
        return formats[asked]

    @classmethod
    def expected(cls) -> set[str]:
        """What a recipe has to hold."""
        return {"name", "settings", *cls.plans, *cls.needed}

    def recipe(self) -> dict[str, Any]:
        """The recipe that is asked for, else the shipped one."""
        own = type(self).__module__.rpartition(".")[0]
        return load_config(self.options.config, f"{self.method}/{self.shipped}.json", self.expected(), own)

    @cached_property
    def photographs(self) -> Photographs:
        """The training photographs, with captions as they are asked for."""
        cache = self.out / "cache"
        photographs = self._load(validation=False)
        return captioned(photographs, self.options.captioner, cache, self.options.device, self.report)

    @cached_property
    def validation(self) -> Photographs | None:
        """Those of the validation split, of which sheets of pictures are drawn; None where there are none."""
        try:
            return self._load(validation=True)
        except InputError:
            return None

    def _load(self, validation: bool) -> Photographs:
        how = self.config.get("prepare", "none")
        return load(self.options.data, self.out / "cache", validation=validation, report=self.report, how=how)

    @cached_property
    def perceptual(self) -> list[LPIPS]:
        """The backbones of the perceptual loss."""
        return losses.load_perceptual(self.options.metric_weights, self.device)

    @cached_property
    def features(self) -> EfficientNetLite:
        """What a critic of pictures looks through."""
        return load_efficientnet_lite("lite0").to(self.device)

    def latents(self, codec: Codec, crop: int) -> Latents:
        """Latents of the training photographs, for crops of that side in latent positions.

        The recipe's ``latents`` has ``scales`` as :func:`compute` takes them, and the largest ``crop`` of all stages, so that they
        share what is computed.
        """
        asked = self.config.get("latents", {})
        scales, crop = asked.get("scales", (1.0, 1.0)), max(crop, asked.get("crop", 1))
        path = self.out / "latents.npy"
        return compute(
            codec, self.photographs, path, self.device, self.report, crop=crop, scales=scales,
            precision=self.options.precision or "auto",
        )  # fmt: skip

    def build(self) -> None:
        """Makes the networks, with the weights that they start from."""
        raise NotImplementedError

    def make(self, name: str, class_name: str, arguments: dict[str, Any]) -> nn.Module:
        """Builds a network, and notes how."""
        self.blueprints[name] = class_name, arguments
        if class_name not in builders():
            raise InputError(f"--config: {name}: there is no class {class_name}; there is: {', '.join(sorted(builders()))}")
        try:
            self.parts[name] = builders()[class_name](**arguments)
        except (TypeError, ValueError, KeyError, RuntimeError, ArithmeticError, IndexError, AttributeError) as error:
            raise InputError(f"--config: {name}: no {class_name} has these sizes ({one_line(error)})") from None
        return self.parts[name]

    def take(self, name: str, component: Component) -> None:
        """Gives a network the weights of a preset's. Raises InputError where it is of another class or size."""
        built = build(component, torch.device("cpu"))
        try:
            self.module(name).load_state_dict(built.state_dict())
        except RuntimeError:
            raise InputError(
                f"--start: its {component.name} is another network than the recipe's {name}; leave --start out, or give the recipe "
                "it was trained by as --config"
            ) from None
        self._note(name, self._notes(name, built))

    def module(self, name: str) -> nn.Module:
        """A network by its name; one that starts from networks that are trained before it is made when it is first asked for."""
        if name not in self.parts:
            self.parts[name] = self.derived(name)
        return self.parts[name]

    def derived(self, name: str) -> nn.Module:
        """A network that starts from others."""
        raise NotImplementedError

    def kind(self, stage: str) -> type[Any]:
        """A stage's kind of recipe."""
        return self.plans[stage].recipe

    def stage(self, stage: str, recipe: Any, generator: np.random.Generator) -> Stage:
        """A stage, whose predecessors are finished, ready to be trained by ``recipe``."""
        raise NotImplementedError

    def export(self, models: Path) -> Path:
        """Writes the preset, or presets, into ``models``; returns the folder of the one that the recipe names."""
        raise NotImplementedError

    def part(self, name: str, folder: Path | None = None) -> Part:
        """A network as a component of a preset."""
        module = self.module(name)
        class_name, arguments = self.blueprints[name]
        return Part(class_name, arguments | self._notes(name, module), module, folder)

    def complete(self) -> Path:
        """Trains what is left to train and writes the presets to ``out/models``."""
        self.work()
        models = self.out / "models"
        with parallel.first():
            return models if parallel.rank() else self.export(models)

    def work(self) -> None:
        """Restores every finished stage, and trains those asked for that are not, the minutes shared out between them."""
        finished = [stage for stage in self.plans if self.restore(stage)]
        left = [stage for stage in self.plans if stage in self.stages and stage not in finished]
        planned = {stage: stage_values(self.config, stage)["schedule"].get("max_minutes", 60) for stage in left}
        most, begun = self.options.max_minutes, time.monotonic()
        for index, stage in enumerate(left):
            started = time.monotonic()
            limit = None
            if most:
                share = planned[stage] / sum(planned[other] for other in left[index:])  # of what those before it have left
                limit = parallel.agreed(max(most - (started - begun) / 60, 1e-6) * share, self.device)
            self.run(stage, limit)
            with parallel.first():  # what a stage computes after its last step may differ in the last digit
                if parallel.rank():
                    self.restore(stage)
                else:
                    self.save(stage)
            self.report(f"{stage}: finished in {(time.monotonic() - started) / 60:.1f} minutes")

    def run(self, stage: str, max_minutes: float | None = None) -> None:
        """Trains one stage, whose predecessors are finished."""
        recipe = self.recipe_of(stage, max_minutes)
        checkpointing = bool(stage_values(self.config, stage).get("checkpointing", False))
        for name in self.plans[stage].networks:
            self.module(name)
        run_stage(
            stage, recipe, lambda generator: self.stage(stage, recipe, generator), self.out, self.report,
            validation=lambda: self.validation, checkpointing=checkpointing,
        )  # fmt: skip

    def recipe_of(self, stage: str, max_minutes: float | None = None) -> Any:
        """A stage's numbers. Raises InputError where they are not those of its kind."""
        values = {name: value for name, value in stage_values(self.config, stage).items() if name != "checkpointing"}
        return recipe_from(self.kind(stage), values, max_minutes)

    def save(self, stage: str) -> None:
        """Keeps a finished stage's averaged weights as ``<stage>.<network>.safetensors`` in float32."""
        for name in self.plans[stage].networks:
            module = self.module(name)
            tensors = {key: value.detach().float().cpu() for key, value in module.state_dict().items()}
            notes = {key: str(value) for key, value in self._notes(name, module).items()}
            store(tensors, self.out / f"{stage}.{name}.safetensors", notes)

    def restore(self, stage: str) -> bool:
        """Loads a finished stage; false where it is not finished. Raises InputError where its weights are damaged."""
        paths = {name: self.out / f"{stage}.{name}.safetensors" for name in self.plans[stage].networks}
        if not all(path.exists() for path in paths.values()):
            return False
        for name, path in paths.items():
            try:
                with safe_open(path, "pt") as opened:
                    self.module(name).load_state_dict({key: opened.get_tensor(key) for key in opened.keys()})  # noqa: SIM118
                    self._note(name, {key: float(value) for key, value in (opened.metadata() or {}).items()})
            except (SafetensorError, RuntimeError, ValueError):
                raise InputError(
                    f"{path}: is of another recipe or damaged; delete it to train this stage anew, or name a new --out"
                ) from None
        return True

    def _notes(self, name: str, module: nn.Module) -> dict[str, Any]:
        """What was measured of a network, and is no tensor."""
        key = self.measured.get(name)
        return {key: module.config[key]} if key is not None and key in getattr(module, "config", ()) else {}  # type: ignore[index, operator]

    def _note(self, name: str, notes: Mapping[str, Any]) -> None:
        if notes:
            self.module(name).register_to_config(**notes)  # type: ignore[operator]
