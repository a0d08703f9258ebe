"""DiffCom's recipes on tiny networks and made photographs: every stage learns, and what comes out are presets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from PIL import Image

from gencomm_cli import presets
from gencomm_cli.diffusion.schedule import linear
from gencomm_cli.diffusion.steps import AncestralStep
from gencomm_cli.errors import InputError
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.diffcom.guided_diffusion import RELEASED, arguments
from gencomm_cli.methods.diffcom.method import DiffCom
from gencomm_cli.methods.diffcom.options import Receiver, Transmitter, preset_of_codec
from gencomm_cli.methods.diffcom.residual_prior import ResidualPrior, ResidualPriorConfig
from gencomm_cli.methods.diffcom.train import (
    CODECS,
    STAGES,
    CodecRecipe,
    DiffComTrainer,
    NoisePriorRecipe,
    PriorRecipe,
    denoised,
    open_trainer,
    prior_stage,
    through_channel,
    variational_bound,
)
from gencomm_cli.presets.build import builders
from gencomm_cli.training import losses
from gencomm_cli.training.channel import ChannelDraw
from gencomm_cli.training.data import is_validation, load
from gencomm_cli.training.loop import Schedule
from gencomm_cli.training.trainer import TrainOptions, load_config, recipe_from, train
from tests.methods.diffcom.test_method import write_preset
from tests.support.training import CPU, asked, backbones, figures, quiet, write_photographs

MODELS: dict[str, dict[str, Any]] = {
    "adjscc": {
        "class": "ResidualADJSCC",
        "model": {
            "code_channels": 12,
            "factor": 4,
            "widths": [8, 8],
            "encoder_depths": [1, 1],
            "decoder_depths": [1, 1],
            "edge": 4,
        },
    },
    "swinjscc": {
        "class": "SwinJSCC",
        "model": {"dims": [8, 24], "depths": [1, 1], "heads": [1, 2], "window": 2, "trained_size": 16},
    },
    "prior": {"class": "ResidualPrior", "model": {"widths": [8, 8], "depths": [1, 1], "time_width": 8, "block": 8}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photographs"), np.random.default_rng(0)
    for index in range(8):
        if not is_validation(name := f"{index}.png"):
            plain = rng.integers(0, 256, (1, 1, 3)) + rng.integers(-20, 20, (24, 24, 3))
            Image.fromarray(plain.clip(0, 255).astype(np.uint8)).save(folder / name)
    return folder


def recipe(steps: int = 3, batch: int = 2) -> dict[str, Any]:
    values = {"schedule": {"steps": steps, "learning_rate": 1e-2, "warmup": 3, "ema": 0.5}, "batch": batch, "crop": 8}
    config: dict[str, Any] = {name: {**model, "recipe": dict(values)} for name, model in MODELS.items()}
    return config | {"name": "tiny", "settings": {"sampling": {"hifi": {"eta": 0.01, "likelihood": "norm"}}}}


def test_presets_for_every_codec_over_one_prior(data: Path, tmp_path: Path) -> None:
    path, out, said = tmp_path / "recipe.json", tmp_path / "run", list[str]()
    lrisc = tmp_path / "models" / "lrisc" / "tiny"
    config = recipe() | {"ntscc": str(lrisc)}
    config["settings"]["codecs"] = {"ntscc": {"cbr_range": [1 / 96, 1 / 24]}}
    path.write_text(json.dumps(config))
    first = train("diffcom", TrainOptions(data, out, path), said.append)
    assert said[-1].startswith("ntscc: left out (")
    lrisc.mkdir(parents=True)
    write_preset(lrisc, {"transform": "transform", "jscc": "jscc", "rates": "rates"}, "lrisc")
    assert train("diffcom", TrainOptions(data, out, path, resume=True), quiet) == first  # nothing is trained again
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    priors = set()
    for codec in (*CODECS, "ntscc"):
        preset = presets.load_config(Path(preset_of_codec(str(first), codec)))
        priors.add(preset.components["prior"].path)
        method = DiffCom.load(preset, CPU)
        assert method.cbr_range[1] == pytest.approx(1 / 24 if codec == "ntscc" else 1 / 16)
        sent = method.encode(image, Request(16, options=Transmitter()))
        decoded = method.decode(Received(sent.symbols, None, 0.1, (16, 16), side=sent.side), Receiver(), seed=0)
        assert decoded.refined[0].shape == (16, 16, 3)
    assert len(priors) == 1
    again = DiffComTrainer(asked(recipe(), data, out), quiet)
    assert all(again.restore(stage) for stage in STAGES)
    third = open_trainer(asked(recipe(), data, tmp_path / "third", start=str(first)), quiet)
    for stage in STAGES:  # what a preset holds is in half precision
        pairs = zip(third.module(stage).parameters(), again.module(stage).parameters(), strict=True)
        assert all(torch.allclose(ours, theirs, atol=2e-3, rtol=1e-3) for ours, theirs in pairs)
    with pytest.raises(InputError, match="there is no tune"):
        train("diffcom", TrainOptions(data, tmp_path / "other", path, stages=("tune",)), quiet)


def test_a_preset_of_other_networks_is_no_start(data: Path, tmp_path: Path) -> None:
    write_preset(tmp_path / "other", {"codec": "adjscc", "prior": "clean"})
    with pytest.raises(InputError, match=r"^--start: its codec is another network than the recipe's adjscc; leave --start out"):
        open_trainer(asked(recipe(), data, tmp_path / "run", start=str(tmp_path / "other")), quiet)


def test_the_shipped_recipe_at_cut_minutes(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its numbers, tiny networks and crops; LPIPS of the early samples is there, and what is finished is not trained again."""
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("squeeze"))
    config, path = load_config(None, "diffcom/nano.json", DiffComTrainer.expected()), tmp_path / "nano.json"
    threads: list[int] = []
    for stage in STAGES:
        config[stage] |= MODELS[stage]
        config[stage]["recipe"] |= {"batch": 2, "crop": 32}
        config[stage]["recipe"]["schedule"]["log_every"] = 1
    path.write_text(json.dumps(config | {"ntscc": None}))
    monkeypatch.setattr(torch, "set_num_threads", threads.append)
    options = TrainOptions(data, tmp_path / "run", path, max_minutes=0.03, resume=True, threads=1)
    folder = train("diffcom", options, quiet)
    logs = {stage: figures(tmp_path / "run", stage) for stage in STAGES}
    assert all(logs.values())
    assert max(figures(tmp_path / "run", "prior", "lpips")) > 0
    assert threads == [1]
    assert train("diffcom", options, quiet) == folder
    assert {stage: figures(tmp_path / "run", stage) for stage in STAGES} == logs
    assert presets.load_config(folder).settings["sampling"]["hifi"]["likelihood"] == "score"


def test_perceptual_weight_counts(data: Path) -> None:
    photographs, values = load(data, data / "cache", validation=False), []
    for weight in (0.0, 10.0):
        torch.manual_seed(0)
        made = PriorRecipe(Schedule(1, 1e-3), batch=2, crop=32, perceptual=weight)
        unet = ResidualPrior(ResidualPriorConfig((8,), (1,), 8, 8))
        stage = prior_stage(unet, photographs, made, np.random.default_rng(0), CPU, backbones=backbones("squeeze"))
        values.append(stage.loss(0, 0.0))
    (without, plain), (with_lpips, pictured) = values
    assert "lpips" not in plain
    assert pictured["lpips"] > 0
    assert float((with_lpips - without).detach()) == pytest.approx(10 * pictured["lpips"], rel=1e-3)


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_learns(stage: str, data: Path, tmp_path: Path) -> None:
    config = recipe(steps=100, batch=4)
    config[stage]["recipe"] |= {"seed": 0}
    if stage in CODECS:
        config[stage]["recipe"] |= {"snr_db": [15, 20], "shares": [1, 0, 0], "cbr": [1 / 20, 1 / 16]}
    DiffComTrainer(asked(config, data, tmp_path / "run"), quiet).run(stage)
    first, last = figures(tmp_path / "run", stage)
    assert last < 0.98 * first


def test_what_was_not_trained_is_not_written(data: Path, tmp_path: Path) -> None:
    path, out, said = tmp_path / "recipe.json", tmp_path / "run", list[str]()
    path.write_text(json.dumps(recipe()))
    train("diffcom", TrainOptions(data, out, path, stages=("adjscc",)), said.append)
    assert not (out / "models" / "diffcom").exists()
    assert said[-1].startswith("no preset yet")
    train("diffcom", TrainOptions(data, out, path, stages=("prior",), resume=True), said.append)
    assert [folder.name for folder in (out / "models" / "diffcom").iterdir()] == ["tiny"]
    assert "swinjscc: left out (not trained)" in said


def test_fading_is_equalised_and_awgn_is_left_as_it_is() -> None:
    class Code:
        multiple = 1

        def symbols(self, wanted: int, size: tuple[int, int]) -> int:
            return wanted

        def encode(self, image: torch.Tensor, symbols: int, snr_db: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(image), symbols, dtype=torch.complex64)

        def decode(self, equalised: torch.Tensor, size: tuple[int, int], snr_db: torch.Tensor) -> torch.Tensor:
            self.snr_db = snr_db
            return torch.view_as_real(equalised)

    torch.manual_seed(0)
    code, snr_db = Code(), torch.tensor([30.0, 30.0, 0.0])
    channel = ChannelDraw(snr_db, snr_db, torch.tensor([0, 1, 0]))
    heard = through_channel(cast(Any, code), torch.zeros(3, 3, 64, 64), 1 / 16, channel)
    errors = (heard - torch.tensor([1.0, 0.0])).square().sum(-1).mean(1)
    assert errors[0] == pytest.approx(1e-3, rel=0.2)
    assert errors[2] == pytest.approx(1.0, rel=0.2)
    assert 1e-3 < errors[1] < 0.05  # deep fades cost more
    assert code.snr_db[[0, 2]].tolist() == pytest.approx([30, 0], abs=1e-3)
    assert 10 < code.snr_db[1] < 30


def test_the_shipped_recipe_is_whole() -> None:
    config = load_config(None, "diffcom/nano.json", {"name", *STAGES, "settings"})
    kinds: dict[str, type[Any]] = {"adjscc": CodecRecipe, "swinjscc": CodecRecipe, "prior": PriorRecipe}
    recipes = [recipe_from(kinds[name], config[name]["recipe"]) for name in STAGES]
    assert sum(recipe.schedule.max_minutes for recipe in recipes) <= 480
    with torch.device("meta"):
        for name in STAGES:
            module = builders()[config[name]["class"]](**config[name]["model"])
            assert sum(parameter.numel() for parameter in module.parameters()) < 15e6  # a file of 8 bits stays below 16 MB


def test_the_papers_recipe_has_the_papers_sizes() -> None:
    config = load_config(None, "diffcom/paper.json", DiffComTrainer.expected())
    assert config["prior"]["model"] == json.loads(json.dumps(arguments(**RELEASED["ffhq_10m"])))
    counts = {}
    with torch.device("meta"):
        for stage in STAGES:
            module = builders()[config[stage]["class"]](**config[stage]["model"])
            counts[stage] = round(sum(parameter.numel() for parameter in module.parameters()) / 1e6, 1)
    assert counts == {"adjscc": 15.9, "swinjscc": 33.1, "prior": 93.6}  # millions
    for stage in STAGES:
        values = dict(config[stage]["recipe"])
        assert values.pop("checkpointing")
        kind: type[CodecRecipe | NoisePriorRecipe] = NoisePriorRecipe if stage == "prior" else CodecRecipe
        found = recipe_from(kind, values)
        assert found.crop == 256
        assert found.schedule.weight_decay == 0


def test_the_papers_recipe_trains(tmp_path: Path) -> None:
    """Narrow networks of its classes, photographs of other sizes than its crop, some smaller; three steps of each stage."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for size in ((200, 300), (590, 410)):
        write_photographs(folder, 3, size=size)
        for file in sorted(folder.glob("?.png")):
            file.rename(file.with_name(f"{size[0]}-{file.name}"))
    config = load_config(None, "diffcom/paper.json", DiffComTrainer.expected())
    config["adjscc"]["model"]["width"] = 16
    config["swinjscc"]["model"] |= {"dims": [8, 8, 8, 192], "depths": [1, 1, 1, 1], "heads": [1, 1, 1, 1]}
    config["prior"]["model"] |= {
        "block_out_channels": [8] * 6,
        "attention_head_dim": 4,
        "norm_num_groups": 2,
        "attn_norm_num_groups": 2,
    }
    for stage in STAGES:
        values = config[stage]["recipe"]
        values |= {"batch": 1, "schedule": values["schedule"] | {"steps": 3, "log_every": 1}}
    trainer = open_trainer(asked(config, folder, tmp_path / "run"), quiet)
    preset = presets.load_config(trainer.complete())
    for stage in STAGES:
        assert np.isfinite(figures(trainer.out, stage)).all()
        assert len(figures(trainer.out, stage)) == 3
    method = DiffCom.load(preset, CPU)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    sent = method.encode(image, Request(method.symbol_budget(1 / 48, (64, 64)), 10.0, options=Transmitter()))
    decoded = method.decode(Received(sent.symbols, None, 0.1, (64, 64)), Receiver(steps=2), seed=0)
    assert decoded.refined[0].shape == (64, 64, 3)
    assert denoised(method.network, torch.rand(1, 3, 64, 64), 300).shape == (1, 3, 64, 64)  # what sheets show


def test_the_variance_learns_by_the_bound() -> None:
    """Against the divergence of torch's normal laws, and the mass of one grey level; the mean's gradient is left out."""
    torch.manual_seed(0)
    alpha_bar, t = linear(), torch.tensor([1, 2, 500, 1000])
    clean = (torch.rand(4, 3, 4, 4) * 255).round() / 127.5 - 1
    x_0, v = clean + 0.01 * torch.randn_like(clean), torch.rand_like(clean)
    found = variational_bound(clean, x_0, v, t, alpha_bar)
    for index, at in enumerate(t.tolist()):
        step, x = AncestralStep(float(alpha_bar[at]), float(alpha_bar[at - 1])), torch.randn(3, 4, 4)
        if at == 1:
            least, most = AncestralStep(float(alpha_bar[2]), float(alpha_bar[1])).variance, step.beta
            law = torch.distributions.Normal(x_0[0], torch.exp(0.5 * (v[0] * np.log(most) + (1 - v[0]) * np.log(least))))
            expected = -(law.cdf(clean[0] + 1 / 255) - law.cdf(clean[0] - 1 / 255)).log2()
        else:
            ours = torch.distributions.Normal(step.mean(x, x_0[index]), step.deviation(v[index]))
            true = torch.distributions.Normal(step.mean(x, clean[index]), step.variance**0.5)
            expected = torch.distributions.kl_divergence(true, ours) / np.log(2)
        assert float(found[index]) == pytest.approx(float(expected.mean()), rel=1e-3, abs=1e-5)
