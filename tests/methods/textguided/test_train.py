"""textguided's recipe on tiny networks and made photographs: every stage learns, and what comes out is a preset."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel

from gencomm_cli import presets
from gencomm_cli.methods import load_method
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.textguided.options import Receiver
from gencomm_cli.methods.textguided.prior import PriorRecipe, prior_stage, train_tokenizer
from gencomm_cli.methods.textguided.refiner import JSCCRecipe, RefinerRecipe, jscc_stage, refiner_stage
from gencomm_cli.methods.textguided.train import STAGES, TextGuidedTrainer, open_trainer
from gencomm_cli.metrics.efficientnet_lite import EfficientNetLite
from gencomm_cli.networks.control import LatentControlNet
from gencomm_cli.networks.rate_adaptive import JSCCConfig, RateAdaptiveJSCC
from gencomm_cli.networks.text import TextEncoder
from gencomm_cli.networks.vae import KLCodec
from gencomm_cli.training import losses
from gencomm_cli.training.data import Photographs
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.trainer import Trainer
from tests.support.presets import TEXT, UNET, VAE
from tests.support.training import CPU, asked, backbones, figures, latents, learn, photographs, quiet, schedule

__all__ = ["latents", "photographs"]


@pytest.fixture(autouse=True)
def _perceptual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("alex"))


def scale_of(trainer: Trainer) -> float:
    return float(cast(Any, trainer.module("vae")).config.scaling_factor)


def test_prior_jscc_and_both_refining_stages_learn(latents: Latents, tmp_path: Path) -> None:
    torch.manual_seed(0)
    words = train_tokenizer(latents.photographs.captions, 300)
    unet, text_model = UNet2DConditionModel(**UNET), CLIPTextModel(CLIPTextConfig(**TEXT, vocab_size=len(words)))
    prior = PriorRecipe(schedule(100), batch=4)
    learn("prior", prior, tmp_path, prior_stage, unet, text_model, words, latents, prior)
    jscc = RateAdaptiveJSCC(JSCCConfig(channels=4, code_channels=16, dims=(8,), depths=(1,)))
    codec = KLCodec(AutoencoderKL(**VAE, scaling_factor=3.0)).requires_grad_(False)
    sending = JSCCRecipe(schedule(100), batch=4, crop=16, seed=1)
    learn("jscc", sending, tmp_path, jscc_stage, jscc, codec, latents, sending, linear=False)
    for stage in ("prior", "jscc"):
        first, last = figures(tmp_path, stage)
        assert last < first, stage
    unet.requires_grad_(False)
    before = [p.clone() for p in unet.parameters()]
    control = LatentControlNet.over(unet)
    text, squeeze, features = TextEncoder(words, text_model), backbones("squeeze"), EfficientNetLite("lite0").requires_grad_(False)
    for stage, recipe in {
        "control": RefinerRecipe(schedule(10), batch=2, crop=8),
        "paper": RefinerRecipe(schedule(10), batch=2, crop=8, parameterization="paper"),
        "refine": RefinerRecipe(
            schedule(10),
            batch=2,
            crop=8,
            diffusion=0.1,
            pixel=10.0,
            perceptual=1.0,
            coarse=1.0,
            decoder=True,
            critic=0.1,
            through=2,
        ),
        "stage 2": RefinerRecipe(schedule(10), batch=2, crop=8, pixel=10.0, perceptual=1.0, path=False),
        "printed": RefinerRecipe(schedule(2), batch=2, crop=8, pixel=10.0, path=False, parameterization="paper"),
    }.items():
        weights = [p.clone() for p in (*control.parameters(), *jscc.parameters())]
        learn(stage, recipe, tmp_path, refiner_stage, control, jscc, unet, codec, text, latents, recipe, squeeze, features=features)
        assert np.isfinite(figures(tmp_path, stage)).all()
        assert any(not torch.equal(a, b) for a, b in zip(weights, (*control.parameters(), *jscc.parameters()), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, unet.parameters(), strict=True))  # frozen


@pytest.fixture
def tiny_recipe() -> dict[str, Any]:
    brief = {"steps": 3, "learning_rate": 1e-3}
    refiner = {"schedule": brief, "batch": 2, "crop": 8}
    return {
        "name": "tiny", "settings": {"domain": "latent", "cbr_range": [0.001, 0.1]},
        "vae": {"model": VAE | {"scaling_factor": 1.0}, "recipe": {"schedule": brief, "batch": 2, "crop": 32}},
        "prior": {"unet": UNET, "text": TEXT, "recipe": {"schedule": brief, "batch": 2, "crop": 8}},
        "jscc": {
            "model": {"channels": 4, "code_channels": 16, "dims": [8], "depths": [1]},
            "recipe": {"schedule": brief, "batch": 2, "crop": 8},
        },
        "decoder": {"schedule": brief, "batch": 2, "crop": 8},
        "control": refiner,
        "refine": refiner | {"pixel": 10.0, "perceptual": 1.0, "coarse": 1.0, "coarse_perceptual": 0.1, "decoder": True},
    }  # fmt: skip


KLT: dict[str, Any] = {
    "channels": 4, "code_channels": 16, "factor": 2, "pixels": 4, "width": 8, "depths": [1, 1], "token_width": 16, "token_depth": 1,
}  # fmt: skip


@pytest.mark.parametrize("code", ["latent", "pixel", "klt"])
def test_from_photographs_to_a_preset_and_on_from_there(
    photographs: Photographs, tiny_recipe: dict[str, Any], tmp_path: Path, code: str
) -> None:
    domain = tiny_recipe["settings"]["domain"] = "pixel" if code == "pixel" else "latent"
    if code == "klt":
        tiny_recipe["jscc"] |= {"class": "KLTJSCC", "model": KLT, "coarse": {"channels": 4, "factor": 4, "width": 8, "depth": 1}}
        tiny_recipe["jscc"]["recipe"] |= {"pixel": 10.0, "perceptual": 0.1, "emphasis": 0.5, "shown": 32}
    if domain == "pixel":
        tiny_recipe["jscc"]["model"] |= {"channels": 3, "dims": [8, 8], "depths": [1, 1]}
    data, out = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    for index, name in enumerate(photographs.names):
        Image.fromarray(photographs.image(index)).save(data / name)
    options = asked(tiny_recipe, data, out)
    trainer = TextGuidedTrainer(options, quiet)
    assert set(trainer.plans) == set(STAGES)
    for stage in STAGES:
        assert not trainer.restore(stage)
        trainer.run(stage)
        trainer.save(stage)
    found = []
    for weight in (0.0, 1.0, 2.0):
        torch.manual_seed(0)
        refine = replace(trainer.recipe_of("refine"), coarse_perceptual=weight)
        found.append(float(trainer.stage("refine", refine, np.random.default_rng(0)).loss(0, 0.0)[0].detach()))
    assert 0 < found[1] - found[0] == pytest.approx(found[2] - found[1], rel=1e-2)
    preset = presets.find("textguided", str(trainer.export(tmp_path / "models")))
    assert ("coarse" in preset.components) == (code == "klt")
    method = load_method(preset, CPU)
    sent = method.encode(np.zeros((20, 30, 3), np.uint8), Request(12))
    assert sent.symbols.shape == (12,)
    coarse = method.decode(Received(sent.symbols, None, 0.1, (20, 30)), Receiver(coarse=True), seed=0).coarse
    assert coarse.shape == (20, 30, 3)
    again = TextGuidedTrainer(options, quiet)
    assert all(again.restore(stage) for stage in STAGES)
    more = open_trainer(replace(options, out=tmp_path / "more", start=str(preset.folder)), quiet)
    for name in trainer.parts:
        for ours, theirs in zip(trainer.module(name).parameters(), more.module(name).parameters(), strict=True):
            assert torch.equal(ours.half().float(), theirs)
    assert scale_of(more) == scale_of(again) != 1
