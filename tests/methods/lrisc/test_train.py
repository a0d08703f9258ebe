"""LRISC's recipe on tiny networks and made photographs: every stage learns what it should, and what comes out is a preset."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn

from gencomm_cli import presets
from gencomm_cli.diffusion.cosine import STEPS, cosine_alpha_bar
from gencomm_cli.errors import InputError
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.lrisc.method import LRISC as Method
from gencomm_cli.methods.lrisc.options import Receiver, Transmitter
from gencomm_cli.methods.lrisc.train import PARTS, STAGES, LRISCTrainer, Recipe, StageLoss, draw_levels, through_channel
from gencomm_cli.metrics.efficientnet_lite import EfficientNetLite
from gencomm_cli.networks.conditional_unet import ConditionalUNet, UNetConfig
from gencomm_cli.networks.rate_allocation import GROUPS, RATES, group_means, quantise, spread
from gencomm_cli.networks.transform import NonlinearTransform, TransformConfig
from gencomm_cli.presets.build import builders
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import convert, write_preset
from gencomm_cli.training import losses
from gencomm_cli.training.channel import ChannelDraw
from gencomm_cli.training.loop import Schedule
from gencomm_cli.training.trainer import TrainOptions, load_config, recipe_from, train
from tests.support.presets import LRISC, RESIDUAL_LRISC, linear_lrisc, scenes
from tests.support.training import CPU, asked, backbones, quiet


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for index, picture in enumerate(scenes(12, seed=8)):
        Image.fromarray(picture).resize((160, 144)).save(folder / f"{index}.png")
    return folder


def recipe(steps: int = 2, parts: Mapping[str, tuple[str, dict[str, Any]]] = LRISC) -> dict[str, Any]:
    stage = {"schedule": {"steps": steps, "learning_rate": 1e-3, "warmup": 2, "ema": 0.5}, "batch": 3, "crop": 64, "pictures": 1}
    networks = {name: {"class": kind, **config} for name, (kind, config) in parts.items() if name != "rates"}
    return {
        "name": "tiny", "step": 0.2, "networks": networks,
        "transform": stage, "fixed": stage | {"refined": 0.0}, "adaptive": stage, "joint": stage | {"power": 2.0},
        "rollout": stage | {"path": 3, "critic": 0.1}, "tables": 4,
        "settings": {"cbr_range": [0.0033, 0.0417], "steps": 2},
    }  # fmt: skip


def state(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in module.state_dict().items()}


def moved(before: dict[str, torch.Tensor], module: nn.Module) -> set[str]:
    return {name for name, value in module.state_dict().items() if not torch.equal(before[name], value)}


@pytest.fixture(autouse=True)
def _perceptual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones())


def opened(config: dict[str, Any], data: Path, out: Path) -> LRISCTrainer:
    return LRISCTrainer(asked(config, data, out), quiet)


@pytest.mark.parametrize("parts", [LRISC, RESIDUAL_LRISC], ids=["published", "residual"])
def test_each_stage_trains_its_networks_and_a_preset_comes_out(
    data: Path, tmp_path: Path, parts: Mapping[str, tuple[str, dict[str, Any]]]
) -> None:
    trainer = opened(recipe(2, parts), data, tmp_path / "run")
    for stage in STAGES:
        trainer.start(stage)
        before = {name: state(trainer.module(name)) for name in PARTS}
        trainer.start = lambda _: None  # type: ignore[method-assign, assignment]
        trainer.run(stage)
        del trainer.start  # type: ignore[method-assign]
        trainer.save(stage)
        changed = {name for name in PARTS if moved(before[name], trainer.module(name))}
        assert changed == set(STAGES[stage].networks), stage
        published = (("transform", ("analysis.", "synthesis.")), ("jscc", ("scale_in.", "scale_out.")))
        for name, linear in published if parts is LRISC else ():
            learnt = any(key.startswith(linear) for key in moved(before[name], trainer.module(name)))
            assert learnt == (name in STAGES[stage].networks and stage not in ("joint", "rollout")), stage
        if stage == "fixed":
            assert not any("_snr." in name for name in moved(before["jscc"], trainer.module("jscc")))
        if stage == "adaptive":
            assert any("sent_snr." in name for name in moved(before["jscc"], trainer.module("jscc")))
    again = opened(recipe(2, parts), data, tmp_path / "run")
    assert all(again.restore(stage) for stage in STAGES)
    assert not any(moved(state(trainer.module(name)), again.module(name)) for name in PARTS)
    folder = trainer.export(tmp_path / "models")
    method = Method.load(presets.load_config(folder), CPU)
    picture = scenes(1)[0]
    sent = method.encode(picture, Request(1200, 20.0, "awgn", Transmitter()))
    received = Received(sent.symbols, None, 0.01, (128, 128), side_symbols=sent.side_symbols, side=sent.side)
    assert method.decode(received, Receiver(), seed=0).refined[0].shape == picture.shape
    plain = presets.load_config(folder.with_name("tiny-uniform"))
    assert plain.weights_sha256 == method.preset.weights_sha256
    assert Method.load(plain, CPU).encode(picture, Request(1200, 20.0, "awgn", Transmitter())).side is None
    assert sum(path.suffix == ".safetensors" for path in plain.folder.iterdir()) == 0


def test_the_tables_are_of_the_levels_that_occur(data: Path, tmp_path: Path) -> None:
    trainer = opened(recipe(), data, tmp_path / "run")
    for stage in ("transform", "fixed"):
        trainer.start(stage)
    tables = trainer.tables()
    assert (tables.frequencies > 0).all()
    interior = tables.table(1)[5, 5]
    assert interior.argmax() in (4, 5, 6)  # a level is like its neighbours
    assert torch.equal(tables.frequencies, trainer.tables().frequencies)


def test_the_transform_learns(data: Path, tmp_path: Path) -> None:
    config = recipe(80)
    schedule = config["transform"]["schedule"] | {"learning_rate": 3e-3, "log_every": 20}
    config["transform"] = config["transform"] | {"schedule": schedule, "rate": 0.05}
    trainer = opened(config, data, tmp_path / "run")
    trainer.run("transform")
    first, *_, last = [json.loads(line) for line in (trainer.out / "transform.log").read_text().splitlines()]
    assert last["loss"] < first["loss"]
    assert last["rate"] < first["rate"]


def test_levels_of_pictures_in_training() -> None:
    information = torch.rand(6, 8, 8, generator=torch.Generator().manual_seed(0)) * 100 + 1
    modes = set()
    for seed in range(40):
        sent, believed = draw_levels(information, 2, np.random.default_rng(seed))
        assert sent.shape == believed.shape == information.shape
        assert int(sent.max()) < len(RATES)
        for picture in sent.view(2, 3, 8, 8):
            modes.add("alike" if int(picture.max() - picture.min()) <= 1 else "adaptive")
        for a, b in zip(sent.view(2, -1), believed.view(2, -1), strict=True):
            assert torch.equal(a, b) or not b.any()
            modes.add("known" if torch.equal(a, b) else "lost")
    assert modes == {"alike", "adaptive", "known", "lost"}
    sent, believed = draw_levels(information, 2, np.random.default_rng(0), beta=0.2, uniform_share=0.0, lost_share=0.0)
    assert torch.equal(sent, believed)
    for ours, theirs in zip(sent.numpy(), information.double().numpy(), strict=True):  # eq. 3, of whichever group was drawn
        assert any(np.array_equal(ours, spread(quantise(0.2 * group_means(theirs, g)), g, (8, 8))) for g in GROUPS)


@torch.no_grad()
def test_the_channel_of_training_is_the_channel_of_use() -> None:
    """Without noise the linear start decodes what was sent, and crops of a picture share its power."""
    parts = linear_lrisc()
    jscc, z = parts["jscc"], torch.randn(4, 128, 4, 4)
    levels = torch.full((4, 4, 4), 8)
    still = ChannelDraw(torch.full((2,), 90.0), torch.full((2,), torch.nan), torch.zeros(2, dtype=torch.int64))
    one = through_channel(jscc, z, levels, levels, still)  # type: ignore[arg-type]
    gains = one[:, :24].flatten(1).norm(dim=1) / z[:, :24].flatten(1).norm(dim=1)
    assert float(gains[0]) == pytest.approx(float(gains[1]), rel=1e-3)
    assert float(gains[2]) == pytest.approx(float(gains[3]), rel=1e-3)
    assert float(gains[0]) != pytest.approx(float(gains[2]), rel=1e-6)
    torch.testing.assert_close(one[0, :24] / gains[0], z[0, :24], atol=0.02, rtol=0.02)


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_weights_of_eq_7(data: Path, tmp_path: Path, power: float) -> None:
    """ᾱ/(1 − ᾱ), over the density of the n that are drawn: n/T = u^power has 1/(power · u^(power − 1))."""
    trainer = opened(recipe(), data, tmp_path / "run")
    schedule = Schedule(steps=1, learning_rate=1e-3)
    networks, numbers = trainer.networks(), Recipe(schedule, weights=(0, 1e9), power=power)
    loss = StageLoss(networks, "transform", numbers, trainer.photographs, backbones(), np.random.default_rng(numbers.seed), CPU)
    image, seen = torch.rand(3, 3, 64, 64), list[torch.Tensor]()
    unet = cast(ConditionalUNet, networks.unet)

    def identity(x: torch.Tensor, time: torch.Tensor, *_: Any) -> torch.Tensor:
        seen.append(time)
        return x

    loss.networks = dataclasses.replace(networks, unet=identity)  # type: ignore[arg-type]
    x, weight = loss.refined(image, unet.no_contexts(3, (64, 64)), image)
    u = torch.from_numpy(np.random.default_rng(numbers.seed).random(3))
    n = (STEPS * u**power).long()
    bar = cosine_alpha_bar()[n]
    torch.testing.assert_close(weight.double(), bar / (1 - bar) * power * u ** (power - 1), rtol=1e-3, atol=1e-6)
    torch.testing.assert_close(seen[0], n / STEPS)
    noise = (x - bar.sqrt()[:, None, None, None] * image) / (1 - bar).sqrt()[:, None, None, None]
    assert float(noise.std()) == pytest.approx(1, rel=0.05)  # x_n is a true one, of the image itself


@pytest.mark.parametrize("stage", ["transform", "adaptive", "joint", "rollout"])
def test_eq_11_is_a_mean_over_the_batch_of_both_images(
    data: Path, tmp_path: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand, crop after crop, for x̂_0 and (where it has anything that is trained) x̄_0, each with its own weight."""
    trainer = opened(recipe(), data, tmp_path / "run")
    numbers = Recipe(
        Schedule(steps=1, learning_rate=1e-3), batch=4, crop=64, pictures=2, rate=0.0, medians=0.0, coarse=0.0,
    )  # fmt: skip

    def lpips(a: torch.Tensor, b: torch.Tensor, **_: bool) -> torch.Tensor:
        return (a - b).abs().mean((1, 2, 3))  # no roll changes it

    loss = StageLoss(trainer.networks(), stage, numbers, trainer.photographs, [lpips], np.random.default_rng(3), CPU)  # type: ignore[list-item]
    seen: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def refined(image: torch.Tensor, *rest: Any) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append((image, *StageLoss.refined(loss, image, *rest)))
        return seen[-1][1:]

    monkeypatch.setattr(loss, "refined", refined)
    monkeypatch.setattr(losses, "rolled", lambda made, image, _: (made, image))
    with torch.no_grad():
        found = float(loss(0, 0.0)[0])
        expected = 0.0
        for images, made, weights in seen:
            for image, x, weight in zip(images, made, weights, strict=True):
                d = numbers.distortion * float(weight) * float((image - x).square().mean())
                d_p = float(lpips((image[None] + 1) / 2, (x[None] + 1) / 2))
                expected += ((1 - numbers.perceptual) * d + numbers.perceptual * d_p) / 4
    assert [len(images) for images, *_ in seen] == ([4, 4] if stage == "joint" else [4])
    assert found == pytest.approx(expected, rel=1e-4)


def test_the_whole_recipe_resumes_and_goes_on_from_a_preset(data: Path, tmp_path: Path) -> None:
    path, out, said = tmp_path / "recipe.json", tmp_path / "run", list[str]()
    path.write_text(json.dumps(recipe()))
    preset = presets.load_config(train("lrisc", TrainOptions(data, out, path, max_minutes=4.0), said.append))
    assert (preset.method, preset.name) == ("lrisc", "tiny")
    assert [line.split(":")[0] for line in said if "finished" in line] == list(STAGES)
    minutes = torch.load(out / "joint.ckpt", weights_only=True)["schedule"]["max_minutes"]
    assert 0.8 < minutes < 4  # its fifth, and what the stages before it left
    said.clear()
    train("lrisc", TrainOptions(data, out, path, resume=True), said.append)
    assert not any("finished" in line for line in said)
    with pytest.raises(InputError, match="--resume"):
        train("lrisc", TrainOptions(data, out, path), quiet)
    more = train("lrisc", TrainOptions(data, tmp_path / "more", path, stages=("joint",), start=str(preset.folder)), quiet)
    assert presets.load_config(more).weights_sha256 != preset.weights_sha256


def test_a_start_from_an_imported_transform_and_unet(data: Path, tmp_path: Path) -> None:
    """Their sizes and weights are the preset's; the code between them is the recipe's, and starts at the linear optimum."""
    torch.manual_seed(1)
    sizes = TransformConfig((8, 12, 128), (True, True, True), (6, 8, 10), (12, 12, 14))
    parts = {"context_fn.": NonlinearTransform(sizes), "denoise_fn.": ConditionalUNet(UNetConfig((8, 12, 16, 20), (6, 8, 10)))}
    tensors = {f"{prefix}{name}": tensor for prefix, part in parts.items() for name, tensor in part.state_dict().items()}
    write_preset(convert([Checkpoint(tmp_path / "cdc.pt", tensors)], None, {}), tmp_path / "cdc", "cdc", [])
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps(recipe()))
    made = train("lrisc", TrainOptions(data, tmp_path / "run", path, stages=("fixed",), start=str(tmp_path / "cdc")), quiet)
    more = TrainOptions(data, tmp_path / "more", path, stages=("fixed", "joint"), start=str(tmp_path / "cdc"))
    joint = load_file(train("lrisc", more, quiet) / "transform.safetensors")
    assert all(joint[f"{name}.weight"].any() for name in ("analysis", "synthesis"))  # zero in an imported one: they are learnt
    preset = presets.load_config(made)
    assert preset.components["transform"].config["widths"] == [8, 12, 128]
    assert preset.components["jscc"].config["channels"] == 128
    kept, there = load_file(made / "unet.safetensors"), parts["denoise_fn."].state_dict()
    assert all(torch.equal(kept[name], tensor.half()) for name, tensor in there.items())
    method = Method.load(preset, CPU)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sent = method.encode(image, Request(method.symbol_budget(0.03, (64, 64)), snr_db=10.0, fading="awgn", options=Transmitter()))
    message = Received(sent.symbols, None, 0.1, (64, 64), side_symbols=sent.side_symbols, side=sent.side)
    assert method.decode(message, Receiver(), seed=0).refined[0].shape == image.shape
    with pytest.raises(InputError, match="lacks jscc, rates"):
        Method.load(presets.load_config(tmp_path / "cdc"), CPU)


def test_a_net_of_the_embeddings_blocks_is_penalised_wherever_it_is(data: Path, tmp_path: Path) -> None:
    trainer = opened(recipe(), data, tmp_path / "run")
    numbers = [Recipe(Schedule(steps=1, learning_rate=1e-3), perceptual=1.0, grid=grid) for grid in (0.0, 5.0)]
    without, with_grid = (
        StageLoss(trainer.networks(), "joint", each, trainer.photographs, backbones(), np.random.default_rng(0), CPU)
        for each in numbers
    )
    net = torch.randn(3, 16, 16)
    net = 0.1 * (net - net.mean((1, 2), keepdim=True)).repeat(2, 1, 4, 4)
    image = torch.rand(2, 3, 64, 64)
    power = pytest.approx(5.0 * float(net.square().mean()), rel=1e-4)
    assert float(without.norm(image, image + net, {})) == float(without.distortion(image, image + net, 1.0, {}, "x")) == 0
    assert float(with_grid.norm(image, image + net, {})) == power
    assert float(with_grid.distortion(image, image + net + 0.2, 1.0, {}, "x")) == power


def test_what_the_sampler_ends_in_has_a_critic_and_no_regression(data: Path, tmp_path: Path) -> None:
    """Its gradient reaches the U-Net alone, through the last two steps; the photograph reaches it through the critic only."""
    trainer = opened(recipe(), data, tmp_path / "run")
    networks, numbers = trainer.networks(), Recipe(Schedule(steps=1, learning_rate=1e-3), critic=0.5, path=4)
    features = EfficientNetLite("lite0").requires_grad_(False)
    loss = StageLoss(
        networks, "rollout", numbers, trainer.photographs, backbones(), np.random.default_rng(0), CPU, features=features
    )
    image, z = torch.rand(2, 3, 64, 64), torch.randn(2, 128, 4, 4)
    contexts = networks.transform.contexts(z)
    coarse, unet = networks.transform.image(z, contexts), networks.unet
    calls: list[bool] = []
    unet.register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    loss.generator = np.random.default_rng(0)
    early, figures = loss.told_apart(image, contexts, coarse, 0.0)
    assert calls[-2:] == [True, True]
    assert not any(calls[:-2])
    early.backward()
    assert all(parameter.grad is None for parameter in (*unet.parameters(), *networks.transform.parameters()))  # not yet
    late, _ = loss.told_apart(image, contexts, coarse, 0.5)
    late.backward()
    assert all(parameter.grad is None for parameter in networks.transform.parameters())
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in unet.parameters())
    assert float(early.detach()) == pytest.approx(0.5 * figures["telling"], rel=1e-5)
    loss.recipe = dataclasses.replace(numbers, textures=3.0)
    with_textures, figures = loss.told_apart(image, contexts, coarse, 0.0)
    assert float(with_textures.detach()) == pytest.approx(0.5 * figures["telling"] + 3 * figures["textures"], rel=1e-5)


@pytest.mark.parametrize("name", ["nano", "paper"])
def test_the_shipped_recipes_are_whole(name: str) -> None:
    config = load_config(None, f"lrisc/{name}.json", LRISCTrainer.expected())
    for stage in STAGES.keys() & config.keys():
        values = dict(config[stage])
        assert values.pop("checkpointing", name == "paper") == (name == "paper")
        found = recipe_from(Recipe, values)
        assert found.batch % found.pictures == 0
        assert found.perceptual == 0.5  # η of the paper
        assert found.refined >= 0.5 or stage not in ("joint", "rollout")  # eq. 7 in every batch, for half of it at least
    with torch.device("meta"):
        for part, usual in PARTS.items():
            sizes = dict(config["networks"][part])
            builders()[sizes.pop("class", usual)](**sizes)


def test_the_papers_recipe_trains(tmp_path: Path) -> None:
    """An eighth of its widths, photographs of other sizes than its crop, some smaller; three steps of each stage."""
    rng, folder = np.random.default_rng(0), tmp_path / "photographs"
    folder.mkdir()
    for index, (width, height) in enumerate(rng.integers(200, 600, (4, 2))):
        Image.fromarray(scenes(1, index)[0]).resize((int(width), int(height))).save(folder / f"{index}.png")
    config = load_config(None, "lrisc/paper.json", {"networks"})
    sizes = config["networks"]
    for part, name in (
        ("transform", "context_widths"),
        ("transform", "hyper_widths"),
        ("unet", "widths"),
        ("unet", "context_widths"),
    ):
        sizes[part][name] = [width // 8 for width in sizes[part][name]]
    sizes["transform"]["widths"] = [8, 16, 24, 128]
    sizes["jscc"] |= {"channels": 128, "depth": 1, "snr_width": 48}
    for stage in STAGES.keys() & config.keys():
        config[stage] |= {"batch": 2, "pictures": 2} | {"schedule": config[stage]["schedule"] | {"steps": 3, "log_every": 1}}
    config["tables"] = 1
    trainer = opened(config, folder, tmp_path / "run")
    assert trainer.stages == ("transform", "fixed", "adaptive", "joint")
    preset = presets.load_config(trainer.complete())
    losses_of = [json.loads(line)["loss"] for stage in trainer.stages for line in (trainer.out / f"{stage}.log").open()]
    assert len(losses_of) == 12
    assert np.isfinite(losses_of).all()
    before, after = (load_file(trainer.out / f"{stage}.jscc.safetensors")["scale_in.weight"] for stage in ("adaptive", "joint"))
    assert not torch.equal(before, after)  # no linear optimum to keep
    method = Method.load(preset, CPU)
    sent = method.encode(scenes(1)[0], Request(600, 10.0, "awgn", Transmitter()))
    assert method.decode(
        Received(sent.symbols, None, 0.1, (128, 128), side_symbols=sent.side_symbols, side=sent.side), Receiver(coarse=True), seed=0
    ).coarse.shape == (128, 128, 3)
    with pytest.raises(InputError, match="--stages: there is no rollout; there is: transform, fixed, adaptive, joint"):
        LRISCTrainer(asked(config, folder, tmp_path / "other", stages=("rollout",)), quiet)
    sizes["transform"]["coarse"] = False
    with pytest.raises(InputError, match="makes no coarse image"):
        opened(config, folder, tmp_path / "none")
