"""SC-SIC's recipe on tiny networks and made photographs: every stage learns, and what comes out are two presets."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from gencomm_cli import presets
from gencomm_cli.diffusion.cosine import log_snr, time_of
from gencomm_cli.errors import InputError
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.scsic.blocks import BlockEncoder, BlockPreviewer
from gencomm_cli.methods.scsic.latent_stage_b import LatentStageB
from gencomm_cli.methods.scsic.method import ScSic, times
from gencomm_cli.methods.scsic.options import Receiver
from gencomm_cli.methods.scsic.train import STAGES, DiffusionRecipe, RolloutRecipe, SCSICTrainer, open_trainer, over_channel
from gencomm_cli.metrics import weights
from gencomm_cli.training import losses
from gencomm_cli.training.loop import Schedule
from gencomm_cli.training.trainer import TrainOptions, load_config, recipe_from, train
from tests.support.presets import make_preset
from tests.support.training import CPU, asked, backbones, figures, quiet, write_photographs

__all__ = ["make_preset"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("photographs"), 12)


@pytest.fixture(autouse=True)
def _perceptual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("alex"))


@pytest.fixture
def prior(make_preset: Callable[..., Path]) -> str:
    """A textguided preset to stand on."""
    return str(make_preset())


def opened(config: dict[str, Any], data: Path, out: Path) -> SCSICTrainer:
    return SCSICTrainer(asked(config, data, out), quiet)


def recipe(prior: str, steps: int = 3, **settings: Any) -> dict[str, Any]:
    brief = {"steps": steps, "learning_rate": 3e-3, "warmup": 5, "ema": 0.9}
    diffusion = {"schedule": brief, "batch": 2, "crop": 16, "scales": [0.75, 1.0]}
    encoder = {"schedule": brief, "batch": 2, "crop": 128, "scales": [1.0]}  # LPIPS takes pictures of 32 pixels and more
    return copy.deepcopy({
        "name": "tiny",
        "start": prior,
        "encoder": {
            "model": {"channels": 4, "widths": [8, 8, 8], "depths": [1, 1, 1]},
            "previewer": {"widths": [8, 8, 8], "depths": [1, 1, 1], "edge": 4}, "recipe": encoder,
        },
        "diffusion": {"recipe": diffusion},
        "finetune": diffusion | {"snr_db": [1, 20]},
        "rollout": diffusion | {"snr_db": [1, 20], "path": 3},
        "settings": {"antialias": True, "steps": 2, "target": "v", **settings},
    })  # fmt: skip


def state(module: nn.Module) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in module.state_dict().values()]


def moved(before: list[torch.Tensor], module: nn.Module) -> bool:
    return not all(torch.equal(a, b) for a, b in zip(before, module.state_dict().values(), strict=True))


@pytest.mark.parametrize("snr_aware", [False, True])
def test_from_a_prior_to_a_preset_and_the_one_that_was_not_fine_tuned(
    snr_aware: bool, prior: str, data: Path, tmp_path: Path
) -> None:
    out, config = tmp_path / "run", recipe(prior, snr_aware=snr_aware)
    trainer, networks = opened(config, data, out), {stage: plan.networks for stage, plan in STAGES.items()}
    made: set[str] = {"encoder", "previewer"}
    for stage, names in networks.items():
        assert not trainer.restore(stage)
        for name in names:
            trainer.module(name)
        made |= set(names)
        before = {name: state(trainer.module(name)) for name in made}
        trainer.run(stage)
        trainer.save(stage)
        assert {name for name in made if moved(before[name], trainer.module(name))} == set(names), stage
    assert moved(state(trainer.module("plain")), trainer.module("stage_b"))
    folder = trainer.export(tmp_path / "models")
    assert [path.name for path in (tmp_path / "models" / "shared").glob("*/*")] == ["vae.safetensors"]  # as textguided has it
    image = np.random.default_rng(0).integers(0, 256, (100, 90, 3), dtype=np.uint8)
    refined = []
    for name in ("tiny", "tiny-plain"):
        preset = presets.find("scsic", str(tmp_path / "models" / "scsic" / name))
        method = ScSic.load(preset, CPU)
        assert method.multiple == method.networks.stage_a.factor * method.networks.stage_b.multiple
        sent = method.encode(image, Request(method.symbol_budget(0.00146, (100, 90))))
        received = Received(sent.symbols, None, 0.1, (100, 90), side_symbols=sent.side_symbols)
        refined.append(method.decode(received, Receiver(), seed=0).refined[0])
    assert not np.array_equal(refined[0], refined[1])
    again = opened(config, data, out)
    assert all(again.restore(stage) for stage in STAGES)
    assert not any(moved(state(trainer.module(name)), again.module(name)) for names in networks.values() for name in names)
    (tmp_path / "recipe.json").write_text(json.dumps(config))
    further = open_trainer(TrainOptions(data, tmp_path / "further", tmp_path / "recipe.json", start=str(folder)), quiet)
    halves = {name: tensor.half().float() for name, tensor in trainer.module("stage_b").state_dict().items()}
    for key, tensor in further.module("plain").state_dict().items():
        torch.testing.assert_close(tensor, halves[key], msg=key)


def test_every_stage_learns(prior: str, data: Path, tmp_path: Path) -> None:
    config = recipe(prior)
    fast = {"steps": 60, "learning_rate": 1e-2, "warmup": 5, "ema": 0.9, "log_every": 30}
    for stage in STAGES:
        values = config[stage].get("recipe") or config[stage]
        values |= {"schedule": fast, "batch": 4 if values["crop"] == 16 else 2}
    config["rollout"]["schedule"] = fast | {"steps": 24, "log_every": 12}
    trainer = opened(config, data, tmp_path / "run")
    for stage in STAGES:
        trainer.run(stage)
    for stage in list(STAGES)[:-1]:
        first, last = figures(trainer.out, stage)
        assert last < 0.97 * first, stage
    assert figures(trainer.out, "finetune")[0] < figures(trainer.out, "diffusion")[0]  # it goes on from there
    telling = figures(trainer.out, "rollout", "telling")
    assert telling[-1] < 2  # the hinge loss of a critic that can tell nothing
    assert figures(trainer.out, "rollout", "textures")[-1] > 0


def test_what_repeats_from_block_to_block_counts_more(prior: str, data: Path, tmp_path: Path) -> None:
    config, found = recipe(prior), []
    for grid in (0.0, 1.0, 2.0):
        config["encoder"]["recipe"]["grid"] = grid
        trainer = opened(config, data, tmp_path / f"run{grid}")
        torch.manual_seed(0)
        stage = trainer.stage("encoder", trainer.recipe_of("encoder"), np.random.default_rng(0))
        found.append(float(stage.loss(0, 0.0)[0].detach()))
    assert 0 < found[1] - found[0] == pytest.approx(found[2] - found[1], rel=1e-3)


def test_missing_weights_of_the_critics_eyes_are_said_at_once(
    prior: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "distribution", Mock(side_effect=PackageNotFoundError))
    config = recipe(prior)
    assert "critic" not in config["rollout"]  # its default counts
    with pytest.raises(InputError, match="EfficientNet-Lite0: its weights are not here"):
        opened(config, data, tmp_path / "run")
    config["rollout"]["critic"] = 0.0
    opened(config, data, tmp_path / "other")


def test_rollout_is_for_a_stage_b_that_predicts_v(prior: str, data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match='rollout needs "target": "v"'):
        opened(recipe(prior, target="epsilon"), data, tmp_path / "run").run("rollout")


def test_rollout_is_eq_4_and_a_critic_of_what_the_sampler_ends_in(
    prior: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every batch has one prediction at a random time, and a whole path of 2 to ``path`` steps, whose last has a gradient; the
    times are of the preset's own schedule."""
    trainer = opened(recipe(prior, 12, s=0.02), data, tmp_path / "run")
    seen: list[tuple[list[float], bool]] = []
    forward = LatentStageB.forward

    def spy(self: LatentStageB, x: torch.Tensor, time: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        seen.append((time.tolist(), torch.is_grad_enabled()))
        return forward(self, x, time, condition)

    monkeypatch.setattr(LatentStageB, "forward", spy)
    trainer.run("rollout")
    known = {count: time_of(log_snr(torch.tensor(times(count)[:-1]), s=0.02), 0.02).tolist() for count in (2, 3)}
    lengths, batches = set[int](), 0
    while seen:
        of_eq_4, grad = seen.pop(0)
        assert grad
        assert len(of_eq_4) == 2
        assert len(set(of_eq_4)) == 2
        path = [seen.pop(0)]
        while not path[-1][1]:
            path.append(seen.pop(0))
        assert [at for (at,), _ in path] == pytest.approx(known[len(path)], abs=1e-5)  # half of two pictures are played
        lengths.add(len(path))
        batches += 1
    assert batches == 12
    assert lengths == {2, 3}


def test_the_whole_recipe_shares_out_its_minutes_and_resumes(prior: str, data: Path, tmp_path: Path) -> None:
    path, out, said = tmp_path / "recipe.json", tmp_path / "run", list[str]()
    path.write_text(json.dumps(recipe(prior)))
    folder = train("scsic", TrainOptions(data, out, path, max_minutes=10.0), said.append)
    assert (folder.name, presets.load_config(folder).method) == ("tiny", "scsic")
    assert [line.split(":")[0] for line in said if "finished" in line] == list(STAGES)
    assert torch.load(out / "encoder.ckpt", weights_only=True)["schedule"]["max_minutes"] == pytest.approx(2.5)
    said.clear()
    train("scsic", TrainOptions(data, out, path, resume=True), said.append)
    assert not any("finished" in line for line in said)
    with pytest.raises(InputError, match="--resume"):
        train("scsic", TrainOptions(data, out, path), quiet)
    with pytest.raises(InputError, match="there is no sharpen"):
        train("scsic", TrainOptions(data, tmp_path / "other", path, stages=("sharpen",)), quiet)
    # Fine-tuning alone, from another preset: all else stays as that has it.
    path.write_text(json.dumps(recipe(prior) | {"name": "tuned"}))
    tuned = train("scsic", TrainOptions(data, tmp_path / "tuned", path, stages=("finetune",), start=str(folder)), quiet)
    for part, same in (("encoder", True), ("previewer", True), ("stage_b", False)):
        before, after = (load_file(place / f"{part}.safetensors") for place in (folder, tuned))
        assert all(torch.equal(before[key], after[key]) for key in before) is same, part
    stage_a = [presets.load_config(place).components["stage_a"].sha256 for place in (folder, tuned)]
    assert stage_a[0] == stage_a[1]
    assert presets.file_hash(folder / "stage_b.safetensors") == presets.file_hash(
        tuned.parent / "tuned-plain" / "stage_b.safetensors"
    )


def test_the_shipped_recipe_is_small_enough() -> None:
    config = load_config(None, "scsic/nano.json", {"name", *STAGES, "settings"})
    prior = load_config(None, "textguided/nano.json", ())["prior"]["unet"]
    previewer = config["encoder"]["previewer"]
    with torch.device("meta"):
        networks = (
            BlockEncoder(**config["encoder"]["model"]),
            BlockPreviewer(**previewer),
            LatentStageB(prior, widths=previewer["widths"], depths=previewer["depths"]),
        )
    for network in networks:
        assert sum(tensor.numel() for tensor in network.state_dict().values()) < 20e6  # a file of 16 MiB holds that in 6 bits
    for stage, kind in (("diffusion", DiffusionRecipe), ("finetune", DiffusionRecipe), ("rollout", RolloutRecipe)):
        values = config[stage].get("recipe") or config[stage]
        assert isinstance(recipe_from(kind, values).schedule, Schedule)
    assert "snr_db" not in config["diffusion"]["recipe"]


def test_the_channel_that_stage_b_trains_in() -> None:
    """Ẑ − Z on AWGN has the variance of its SNR; without one Ẑ is Z; the reliability is that of each symbol."""
    torch.manual_seed(0)
    z, generator = 1.5 * torch.randn(3, 16, 40, 40), np.random.default_rng(0)
    same, reliability = over_channel(z, None, (1, 0, 0), generator)
    assert torch.equal(same, z)
    assert reliability.shape == (3, 8 * 1600)
    assert float(reliability.min()) == 1
    z_hat, reliability = over_channel(z, (6.0, 6.0), (1, 0, 0), generator)
    ratio = z.square().mean((1, 2, 3)) / (z_hat - z).square().mean((1, 2, 3))
    torch.testing.assert_close(10 * ratio.log10(), torch.full((3,), 6.0), atol=0.1, rtol=0)
    assert float(reliability.std()) < 1e-6
    assert float(reliability[0, 0]) == pytest.approx(1 / (1 + 10**-0.6))
    _, fading = over_channel(z, (6.0, 6.0), (0, 1, 0), generator)
    assert float(fading.std(1).min()) > 0.1
    _, block = over_channel(z, (6.0, 6.0), (0, 0, 1), generator)
    assert float(block.std(1).max()) < 1e-6
    assert len(set(block[:, 0].tolist())) == 3
