"""Every recipe in the tree takes three optimiser steps of each of its stages: on small networks of its classes, on photographs of
200 × 300 and of 600 pixels, by the data path of real training, with crops an eighth of its own. One is killed and goes on.

Of a recipe that is like another, the paper's first stage that it changes is enough. lrisc's and diffcom's ``paper.json`` have tests
of their own, ``test_the_papers_recipe_trains``.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gencomm_cli import presets
from gencomm_cli.methods import specs
from gencomm_cli.methods.diffcom.train import DiffComTrainer
from gencomm_cli.methods.diffjscc import train as diffjscc
from gencomm_cli.methods.lrisc.train import LRISCTrainer
from gencomm_cli.methods.options import build
from gencomm_cli.methods.scsic.train import CascadeTrainer, SCSICTrainer
from gencomm_cli.methods.textguided.train import OverBackbone, TextGuidedTrainer
from gencomm_cli.presets.pretrained import add
from gencomm_cli.training import losses
from gencomm_cli.training.trainer import Trainer, changed, load_config, stage_values
from tests.methods.diffcom.test_train import MODELS
from tests.methods.textguided.test_train import KLT
from tests.support.commands import COMMAND, ENVIRONMENT
from tests.support.presets import RESIDUAL_LRISC, TEXT, UNET, make_preset
from tests.support.standins import stable_cascade, stable_diffusion
from tests.support.training import asked, backbones, figures, quiet, write_photographs

__all__ = ["make_preset"]
METHODS = Path(presets.__file__).parents[1] / "methods"
ELSEWHERE = {"lrisc/paper", "diffcom/paper", "diffjscc/paper-swinjscc", "diffjscc/paper-ntscc"}
RECIPES = sorted(
    name
    for path in METHODS.glob("*/*.json")
    if path.stem != "numbers" and (name := f"{path.parent.name}/{path.stem}") not in ELSEWHERE and path.parent.name != "jscc"
)
TRAINERS: dict[str, type[Trainer]] = {
    "textguided/nano": TextGuidedTrainer, "textguided": OverBackbone, "diffjscc/nano": diffjscc.DiffJSCCTrainer,
    "diffjscc": diffjscc.OverBackbone, "scsic/nano": SCSICTrainer, "scsic": CascadeTrainer, "lrisc/nano": LRISCTrainer,
    "diffcom/nano": DiffComTrainer,
}  # fmt: skip
AUTOENCODER = {
    "encoder_widths": [8, 8],
    "encoder_depths": [1, 1],
    "decoder_widths": [8, 8, 8],
    "decoder_depths": [1, 1, 1],
    "edge": 4,
}
MAMBA = {"states": 2, "expand": 1.0}
PUBLISHED = {"width": 4, "encoder_width": 8, "decoder_width": 8, "encoder_blocks": 1, "decoder_blocks": 1}
SMALL: dict[str, dict[str, Any]] = {
    "textguided/nano": {
        "vae": {"model": AUTOENCODER},
        "prior": {"unet": UNET | {"down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "in_channels": 8, "out_channels": 8,
                                  "addition_embed_type_num_heads": 2}, "text": TEXT, "vocabulary": 300, "recipe": {"words": False}},
        "jscc": {"model": {**KLT, "channels": 8, "pixels": 8}, "coarse": {"width": 8, "depth": 1}},
    },
    "textguided": {"jscc": {"model": MAMBA}},
    "diffjscc/nano": {
        "jscc": {"model": {**KLT, "pixels": 4}, "coarse": {"channels": 4, "factor": 4, "width": 8, "depth": 1}},
        "rollout": {"steps": [2, 3], "painted": 600}, "settings": {"captioner": "builtin"},
    },
    "diffjscc": {"jscc": {"model": PUBLISHED}, "settings": {"csi": {"width": 8}, "captioner": "builtin"}},
    "scsic/nano": {
        "encoder": {
            "model": {"channels": 4, "widths": [8, 8, 8], "depths": [1, 1, 1]},
            "previewer": {"widths": [8, 8, 8], "depths": [1, 1, 1], "edge": 4},
        },
        "rollout": {"path": 2},
    },
    "scsic": {},
    "lrisc/nano": {"networks": {name: sizes for name, (_, sizes) in RESIDUAL_LRISC.items() if name != "rates"}, "tables": 1},
    "diffcom/nano": {name: {"model": model["model"]} for name, model in MODELS.items()},
}  # fmt: skip
"""Sizes of networks; what the recipe says beside them (rate, fading, domain, classes) stays."""


def small(name: str) -> tuple[str, dict[str, Any], type[Trainer]]:
    """The key of a recipe above, the recipe at those sizes, and what trains it."""
    method = name.split("/")[0]
    key = name if name in TRAINERS else method
    config = changed(load_config(None, f"{name}.json", ()), SMALL[key])
    if key == "textguided":
        levels = len(config["jscc"]["model"]["dims"])
        config["jscc"]["model"] |= {"dims": [8] * levels, "depths": [1] * levels}
    for stage in config.keys() & TRAINERS[key].plans.keys():
        values = stage_values(config, stage)
        smallest = {"lrisc": 64, "diffcom": 32, "scsic": 128 if stage == "encoder" else 16}.get(method, 32 if stage == "vae" else 8)
        values |= {"batch": 2, "crop": max(values.get("crop", 128) // 8, smallest)}
        values |= {"pictures": 2} if "pictures" in values else {}
        values["schedule"] |= {"steps": 3, "log_every": 1, "accumulate": 1, "max_minutes": 0}
    if "prepare" in config:  # with the crop
        how, side = config["prepare"].split(":")
        config["prepare"] = f"{how}:{int(side) // 8 * (2 if how == 'fit' else 1)}"
    return key, config, TRAINERS[key]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for size in ((300, 200), (600, 450)):
        write_photographs(folder, 3, (4, 4), size)
        for file in sorted(folder.glob("?.png")):
            file.rename(file.with_name(f"{size[0]}-{file.name}"))
    (folder / "captions.tsv").write_text("\n".join(f"{path.name}\ta red house" for path in sorted(folder.iterdir())))
    return folder


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, presets.Preset]:
    """A preset over a stand-in of what each method stands on."""
    folder = tmp_path_factory.mktemp("full")
    full = {"sd": stable_diffusion(folder / "sd"), "cascade": stable_cascade(folder / "cascade")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENCOMM_MODELS", str(folder / "models"))
        found = {}
        for method in ("textguided", "diffjscc", "scsic"):
            kind = specs()[method].sources
            assert kind is not None
            made = add(method, "bare", build(kind, {kind.base: str(full["cascade" if method == "scsic" else "sd"])}), None, quiet)
            found[method] = presets.load_config(made)
    return found


@pytest.fixture(autouse=True)
def _perceptual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("squeeze"))


@pytest.mark.parametrize("name", RECIPES)
def test_it_takes_three_steps(
    name: str, data: Path, bases: dict[str, presets.Preset], make_preset: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LRISCTrainer, "fields", lambda self, count, fields=LRISCTrainer.fields: fields(self, max(count // 10, 16)))
    key, config, trainer_class = small(name)
    base = presets.load_config(make_preset()) if key == "diffjscc/nano" else bases.get(key)
    if key == "scsic/nano":
        config["start"] = str(make_preset())
    arguments = [] if key == "diffcom/nano" else [base]
    named = json.loads((METHODS / f"{name}.json").read_text())
    own = config if "like" not in named or name == "textguided/paper-pixel" else named
    stages = tuple(stage for stage in trainer_class.plans if stage in own)
    stages = stages if own is config else tuple(stage for stage in stages if not trainer_class.plans[stage].optional)[:1]
    trainer = trainer_class(asked(config, data, tmp_path / "run", stages=stages), quiet, *arguments)
    trainer.work()
    for stage in stages:
        assert len(figures(trainer.out, stage)) == 3, stage
        assert np.isfinite(figures(trainer.out, stage)).all(), stage
    frozen = {torch.bfloat16} if config.get("frozen") == "bf16" else {torch.float32}
    if key in ("textguided", "diffjscc"):
        backbone: Any = trainer.parts["unet"] if key == "textguided" else trainer.backbone.unet  # type: ignore[attr-defined]
        assert {parameter.dtype for parameter in backbone.parameters()} == frozen
        assert {parameter.dtype for parameter in trainer.module("control").parameters()} == {torch.float32}


@pytest.mark.parametrize("method", ["textguided", "diffjscc", "scsic", "lrisc", "diffcom"])
def test_every_stage_of_the_papers_recipes_may_save_memory(method: str) -> None:
    config = load_config(None, f"{method}/paper.json", ())
    plans = TRAINERS.get(method, TRAINERS.get(f"{method}/nano"))
    assert plans is not None
    for stage in config.keys() & plans.plans.keys():
        assert stage_values(config, stage)["checkpointing"] is True


def test_a_run_that_was_killed_goes_on(data: Path, tmp_path: Path) -> None:
    """The same figures at every step as one that was not."""
    config = {"name": "tiny", "settings": {}, **changed(load_config(None, "diffcom/nano.json", ()), SMALL["diffcom/nano"])}
    for stage in MODELS:
        values = config[stage]["recipe"]
        values |= {"batch": 2, "crop": 16, "linear": False} if stage != "prior" else {"batch": 2, "crop": 16}
        values["schedule"] |= {"steps": 60, "log_every": 1, "max_minutes": 0, "save_minutes": 0, "precision": "fp32"}
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps(config))

    def start(out: Path, *more: str) -> subprocess.Popen[bytes]:
        words = [
            "train",
            "diffcom",
            "--data",
            data,
            "--out",
            out,
            "--config",
            recipe,
            "--stages",
            "adjscc",
            "--threads",
            "1",
            *more,
        ]
        return subprocess.Popen([*COMMAND, *map(str, words), "--device", "cpu"], env=ENVIRONMENT, stderr=subprocess.DEVNULL)

    running, out = start(tmp_path / "killed"), tmp_path / "killed"
    deadline = time.monotonic() + 120
    while not (out / "adjscc.log").exists() or (out / "adjscc.log").read_bytes().count(b"\n") < 5:
        assert running.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(running.pid, signal.SIGKILL)
    assert running.wait() == -signal.SIGKILL
    assert not (out / "adjscc.adjscc.safetensors").exists()
    assert start(out, "--resume").wait() == 0
    whole = tmp_path / "whole"
    DiffComTrainer(asked(config, data, whole, stages=("adjscc",)), quiet).work()
    assert figures(out, "adjscc") == pytest.approx(figures(whole, "adjscc"), rel=1e-4)
