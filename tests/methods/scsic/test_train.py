"""SC-SIC's recipe on tiny networks and made photographs: every stage learns, and what comes out are two presets."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models import StableCascadeUNet
from safetensors.torch import load_file
from torch import nn

from gencomm_cli import presets
from gencomm_cli.diffusion.cosine import log_snr, time_of
from gencomm_cli.errors import InputError
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.scsic.cascade import PaellaVQModel, StageA, StageB
from gencomm_cli.methods.scsic.efficientnet import EfficientNetEncoder
from gencomm_cli.methods.scsic.method import ScSic, times
from gencomm_cli.methods.scsic.options import Receiver
from gencomm_cli.methods.scsic.previewer import Previewer
from gencomm_cli.methods.scsic.train import STAGES, DiffusionRecipe, RolloutRecipe, SCSICTrainer, over_channel, settle
from gencomm_cli.training import losses
from gencomm_cli.training.data import to_tensor
from gencomm_cli.training.loop import Schedule
from gencomm_cli.training.trainer import Trainer, TrainOptions, load_config, recipe_from, train
from tests.support.presets import ENCODER, PREVIEWER, STAGE_A, STAGE_B
from tests.support.training import CPU, asked, backbones, figures, quiet, write_photographs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("photographs"), 12)


@pytest.fixture(autouse=True)
def _perceptual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("alex"))


def scale_of(trainer: Trainer) -> float:
    return float(cast(Any, trainer.module("stage_a")).config.scale_factor)


def opened(config: dict[str, Any], data: Path, out: Path) -> SCSICTrainer:
    return SCSICTrainer(asked(config, data, out), quiet)


def recipe(steps: int = 3, **settings: Any) -> dict[str, Any]:
    brief = {"steps": steps, "learning_rate": 3e-3, "warmup": 5, "ema": 0.9}
    diffusion = {"schedule": brief, "batch": 2, "crop": 16, "scales": [0.75, 1.0]}
    encoder = {"schedule": brief, "batch": 2, "crop": 128, "scales": [1.0]}  # LPIPS takes pictures of 32 pixels and more
    model = {key: value for key, value in STAGE_B.items() if key != "effnet_in_channels"}
    return copy.deepcopy({
        "name": "tiny",
        "vqgan": {"model": STAGE_A, "recipe": {"schedule": brief, "batch": 2, "crop": 32, "critic": 4}},
        "encoder": {"model": ENCODER, "previewer": PREVIEWER, "recipe": encoder},
        "diffusion": {"model": model, "recipe": diffusion},
        "finetune": diffusion | {"snr_db": [1, 20]},
        "rollout": diffusion | {"snr_db": [1, 20], "path": 3},
        "settings": {"antialias": True, "steps": 2, "target": "v", **settings},
    })  # fmt: skip


def state(module: nn.Module) -> list[torch.Tensor]:
    return [tensor.detach().clone() for tensor in module.state_dict().values()]


def moved(before: list[torch.Tensor], module: nn.Module) -> bool:
    return not all(torch.equal(a, b) for a, b in zip(before, module.state_dict().values(), strict=True))


@pytest.mark.parametrize("snr_aware", [False, True])
def test_from_nothing_to_a_preset_and_the_one_that_was_not_fine_tuned(snr_aware: bool, data: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "run", recipe(snr_aware=snr_aware)
    trainer, networks = opened(config, data, out), {stage: plan.networks for stage, plan in STAGES.items()}
    for stage, names in networks.items():
        assert not trainer.restore(stage)
        known = [name for trained in networks.values() for name in trained if name != "stage_b" or stage in ("finetune", "rollout")]
        before = {name: state(trainer.module(name)) for name in known}
        trainer.run(stage)
        trainer.save(stage)
        assert {name for name in known if moved(before[name], trainer.module(name))} == set(names), stage
    assert moved(state(trainer.module("plain")), trainer.module("stage_b"))
    trainer.export(tmp_path / "models")
    image = np.random.default_rng(0).integers(0, 256, (100, 90, 3), dtype=np.uint8)
    refined = []
    for name in ("tiny", "tiny-plain"):
        method = ScSic.load(presets.find("scsic", str(tmp_path / "models" / "scsic" / name)), CPU)
        sent = method.encode(image, Request(method.symbol_budget(0.00146, (100, 90))))
        received = Received(sent.symbols, None, 0.1, (100, 90), side_symbols=sent.side_symbols)
        refined.append(method.decode(received, Receiver(), seed=0).refined[0])
        assert method.networks.stage_a.scale == pytest.approx(scale_of(trainer))
    assert not np.array_equal(refined[0], refined[1])
    again = opened(config, data, out)
    assert all(again.restore(stage) for stage in STAGES)
    assert not any(moved(state(trainer.module(name)), again.module(name)) for names in networks.values() for name in names)
    assert scale_of(again) == scale_of(trainer)


def test_every_stage_learns(data: Path, tmp_path: Path) -> None:
    config = recipe(100, target="v")
    fast = {"steps": 100, "learning_rate": 1e-2, "warmup": 5, "ema": 0.9}
    for stage in STAGES:
        values = config[stage].get("recipe") or config[stage]
        values |= {"schedule": fast, "batch": 4 if values["crop"] == 16 else 2}
    config["vqgan"]["recipe"]["adversarial"] = 0.0
    trainer = opened(config, data, tmp_path / "run")
    for stage in STAGES:
        trainer.run(stage)
    for stage in list(STAGES)[:-1]:
        first, last = figures(trainer.out, stage)
        assert last < 0.97 * first, stage
    assert figures(trainer.out, "finetune")[0] < figures(trainer.out, "diffusion")[0]  # it goes on from there


def test_rollout_is_for_a_stage_b_that_predicts_v(data: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match='rollout needs "target": "v"'):
        opened(recipe(target="epsilon"), data, tmp_path / "run").run("rollout")


def test_rollout_trains_one_prediction_at_a_state_that_the_sampler_visits(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times are those of a sampler of 1 to ``path`` steps from the first on, and the last prediction alone has a gradient."""
    config = recipe(12)
    trainer = opened(config, data, tmp_path / "run")
    seen: list[tuple[float, bool]] = []
    forward = StageB.forward

    def spy(self: StageB, x: torch.Tensor, time: torch.Tensor, condition: torch.Tensor) -> torch.Tensor:
        seen.append((float(time[0]), torch.is_grad_enabled()))
        assert x.std() > 0.5
        return forward(self, x, time, condition)

    monkeypatch.setattr(StageB, "forward", spy)
    trainer.run("rollout")
    paths: list[list[float]] = [[]]
    for at, trained in seen:
        paths[-1].append(at)
        if trained:
            paths.append([])
    assert paths.pop() == []
    assert len(paths) == 12
    known = {count: time_of(log_snr(torch.tensor(times(count)[:-1]))).tolist() for count in (1, 2, 3)}
    assert all(any(path == pytest.approx(whole[: len(path)], abs=1e-5) for whole in known.values()) for path in paths)
    assert {len(path) for path in paths} == {1, 2, 3}


def test_the_critic_takes_part_in_the_second_half(data: Path, tmp_path: Path) -> None:
    config = recipe(100)
    config["vqgan"]["recipe"]["adversarial_from"] = 0.75
    opened(config, data, tmp_path / "run").run("vqgan")
    first, second = (json.loads(line) for line in (tmp_path / "run" / "vqgan.log").read_text().splitlines())
    assert "telling" not in first
    assert 0 < second["telling"] < 1  # half of what a step of it says, as it is in half of the line's steps


def test_latents_have_unit_variance_whatever_the_vqgan_makes_of_them(data: Path, tmp_path: Path) -> None:
    config = recipe(1)
    config["vqgan"]["recipe"]["batch"] = 16
    trainer = opened(config, data, tmp_path / "run")
    vqgan = cast(PaellaVQModel, trainer.module("stage_a"))
    vqgan.down_blocks[-1][1].weight.data.fill_(3.0)
    trainer.run("vqgan")
    assert scale_of(trainer) == pytest.approx(3, rel=0.1)
    image = to_tensor(trainer.photographs.crops(64, 32, np.random.default_rng(9))[0], CPU)
    with torch.no_grad():
        assert float(StageA(vqgan).encode(image).std()) == pytest.approx(1, abs=0.2)


def test_the_whole_recipe_shares_out_its_minutes_and_resumes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out, said = tmp_path / "recipe.json", tmp_path / "run", list[str]()
    path.write_text(json.dumps(recipe()))
    folder = train("scsic", TrainOptions(data, out, path, max_minutes=10.0), said.append)
    assert (folder.name, presets.load_config(folder).method) == ("tiny", "scsic")
    assert [line.split(":")[0] for line in said if "finished" in line] == list(STAGES)
    assert torch.load(out / "encoder.ckpt", weights_only=True)["schedule"]["max_minutes"] == pytest.approx(2.0)
    said.clear()
    train("scsic", TrainOptions(data, out, path, resume=True), said.append)
    assert not any("finished" in line for line in said)
    with pytest.raises(InputError, match="--resume"):
        train("scsic", TrainOptions(data, out, path), quiet)
    with pytest.raises(InputError, match="there is no sharpen"):
        train("scsic", TrainOptions(data, tmp_path / "other", path, stages=("sharpen",)), quiet)
    # Fine-tuning alone, from another preset: all else stays as that has it.
    config = recipe() | {"name": "tuned"}
    path.write_text(json.dumps(config))
    tuned = train("scsic", TrainOptions(data, tmp_path / "tuned", path, stages=("finetune",), start=str(folder)), quiet)
    for part, same in (("encoder", True), ("stage_a", True), ("previewer", True), ("stage_b", False)):
        before, after = (load_file(place / f"{part}.safetensors") for place in (folder, tuned))
        assert all(torch.equal(before[key], after[key]) for key in before) is same, part
    assert presets.file_hash(folder / "stage_b.safetensors") == presets.file_hash(
        tuned.parent / "tuned-plain" / "stage_b.safetensors"
    )


def test_a_preset_of_the_recipes_sizes_may_take_the_reliability(data: Path, tmp_path: Path) -> None:
    folders = [tmp_path / "plain", tmp_path / "aware"]
    first, second = (opened(recipe(snr_aware=index > 0), data, folder) for index, folder in enumerate(folders))
    base = presets.load_config(first.export(tmp_path / "models"))
    second.start_from(base)
    old, new = (trainer.module("plain").get_parameter("effnet_mapper.0.weight") for trainer in (first, second))
    torch.testing.assert_close(new, torch.cat([old.half().float(), torch.zeros_like(old[:, :1])], 1))
    with pytest.raises(InputError, match="has no stage_b of the recipe's size"):  # not the other way round
        first.start_from(presets.load_config(second.export(tmp_path / "models")))
    previewer = {name: component for name, component in base.components.items() if name != "previewer"}
    with pytest.raises(InputError, match="has no previewer of the recipe's size"):
        first.start_from(replace(base, components=previewer))


def test_the_shipped_recipe_is_small_enough() -> None:
    config = load_config(None, "scsic/nano.json", {"name", *STAGES, "settings"})
    with torch.device("meta"):
        networks = (
            PaellaVQModel(**config["vqgan"]["model"]),
            EfficientNetEncoder(**config["encoder"]["model"]),
            Previewer(16, **config["encoder"]["previewer"]),
            StableCascadeUNet(**config["diffusion"]["model"], effnet_in_channels=16),
        )
    assert 2 * sum(tensor.numel() for network in networks for tensor in network.state_dict().values()) < 10e6
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


def test_statistics_settle_to_those_of_the_weights_as_they_are() -> None:
    norm = nn.BatchNorm2d(3)
    every = torch.randn(10, 4, 3, 8, 8) * 3 + 1
    batches = iter(every)
    norm.running_mean.fill_(7)  # type: ignore[union-attr]
    settle(norm, lambda: norm(next(batches)), 10)
    torch.testing.assert_close(norm.running_mean, every.mean((0, 1, 3, 4)))
    torch.testing.assert_close(norm.running_var, every.transpose(1, 2).flatten(2).var(2).mean(0), rtol=0.02, atol=0)
    assert norm.momentum == 0.1
    assert not norm.training
    assert not any(parameter.requires_grad for parameter in norm.parameters())
