"""The recipes on tiny networks and made photographs: every stage runs, learns, stops and resumes."""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel

from gencomm_cli import presets
from gencomm_cli.errors import InputError
from gencomm_cli.methods import load_method
from gencomm_cli.methods.base import Request
from gencomm_cli.methods.textguided.prior import PriorRecipe, train_prior, train_tokenizer
from gencomm_cli.methods.textguided.train import STAGES, Workshop, train
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.control import LatentControlNet
from gencomm_cli.networks.rate_adaptive import JSCCConfig, RateAdaptiveJSCC
from gencomm_cli.networks.text import TextEncoder
from gencomm_cli.networks.vae import LatentCodec, kl_divergence
from gencomm_cli.training.air import Air, draw, draw_cbr, send
from gencomm_cli.training.data import Photographs, is_validation, load, to_tensor
from gencomm_cli.training.jscc import JSCCRecipe, train_jscc
from gencomm_cli.training.latent_space import DecoderRecipe, VAERecipe, train_decoder, train_vae
from gencomm_cli.training.latents import WINDOW, Latents, compute, window
from gencomm_cli.training.loop import Schedule, fit
from gencomm_cli.training.refiner import RefinerRecipe, fold_pattern, train_refiner
from gencomm_cli.training.workshop import TrainOptions, load_config, recipe_from
from tests.support.presets import TEXT, UNET, VAE

CPU = torch.device("cpu")


def quiet(line: str) -> None:
    """Swallows progress."""


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Photographs:
    folder = tmp_path_factory.mktemp("photographs")
    rng = np.random.default_rng(0)
    names = [f"{index}.png" for index in range(40)]
    for name in names:
        coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((300, 256), Image.Resampling.BICUBIC).save(folder / name)
    (folder / "captions.tsv").write_text("\n".join(f"{name}\tpicture number {name[:-4]}" for name in names))
    return load(folder, tmp_path_factory.mktemp("cache"), validation=False)


@pytest.fixture(scope="module")
def latents(photographs: Photographs, tmp_path_factory: pytest.TempPathFactory) -> Latents:
    torch.manual_seed(0)
    codec = LatentCodec(AutoencoderKL(**VAE, scaling_factor=3.0)).eval()
    return compute(codec, photographs, tmp_path_factory.mktemp("latents") / "latents.npy", CPU, quiet)


def schedule(steps: int) -> Schedule:
    return Schedule(steps=steps, learning_rate=3e-3, warmup=5, ema=0.9)


def losses(out: Path, stage: str) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / f"{stage}.log").read_text().splitlines()]


def test_split_is_a_rule_by_name(photographs: Photographs) -> None:
    assert len(photographs) == sum(zlib.crc32(f"{index}.png".encode()) % 20 != 0 for index in range(40))
    assert not any(is_validation(name) for name in photographs.names)
    assert photographs.captions[0] == f"picture number {photographs.names[0][:-4]}"


def test_a_changed_image_is_decoded_again_and_caches_of_earlier_releases_stay(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    image, index, cache = tmp_path / "photos" / "0.png", tmp_path / "cache" / "train.json", tmp_path / "cache"

    def level(value: int) -> int:
        Image.new("RGB", (8, 8), (value,) * 3).save(image)
        os.utime(image, ns=(value, value))  # the same number of bytes: the time tells
        return int(load(image.parent, cache, validation=False).image(0).max())

    assert [level(7), level(9)] == [7, 9]
    document = json.loads(index.read_text())
    del document["stamps"]
    index.write_text(json.dumps(document))
    written = index.read_bytes(), index.stat().st_mtime_ns
    assert level(5) == 9
    assert (index.read_bytes(), index.stat().st_mtime_ns) == written


def test_crops_are_pieces_of_their_images(photographs: Photographs) -> None:
    crops, captions = photographs.crops(4, 32, np.random.default_rng(3))
    for crop, caption in zip(crops, captions, strict=True):
        image = photographs.image(photographs.captions.index(caption))
        rows = [np.lib.stride_tricks.sliding_window_view(image, (32, 32), (0, 1))]
        found = [np.all(rows[0] == np.moveaxis(c, -1, 0), axis=(2, 3, 4)).any() for c in (crop, crop[:, ::-1])]
        assert any(found)


def test_latents_are_computed_again_where_photographs_or_codec_changed(photographs: Photographs, tmp_path: Path) -> None:
    codec, path = LatentCodec(AutoencoderKL(**VAE, scaling_factor=3.0)).eval(), tmp_path / "latents.npy"
    changed = photographs.pixels.copy()
    changed[photographs.offsets[7] : photographs.offsets[8]] //= 2
    darker, fewer = replace(photographs, pixels=changed), replace(photographs, names=photographs.names[:30])

    def anew(photographs: Photographs, codec: LatentCodec) -> bool:
        before = path.stat().st_ino if path.exists() else 0
        found = compute(codec, photographs, path, CPU, quiet).values
        assert len(found) == len(photographs)
        with torch.no_grad():
            last = codec.encode(to_tensor(np.stack([window(photographs.image(len(photographs) - 1))]), CPU))
        assert np.abs(found[-1:] - last.numpy()).mean() < 0.05  # bfloat16
        return path.stat().st_ino != before

    assert anew(photographs, codec)
    kept = np.load(path, mmap_mode="r")
    assert not anew(photographs, codec)
    assert anew(darker, codec)
    assert anew(fewer, codec)
    assert anew(photographs, codec)
    assert len(kept) == len(photographs)  # what was opened before stays what it was
    assert anew(photographs, LatentCodec(codec.autoencoder.from_config({**codec.autoencoder.config, "scaling_factor": 2.9})).eval())
    assert anew(photographs, codec)
    with torch.no_grad():
        codec.autoencoder.encoder.conv_in.weight[0, 0, 0, 0] += 1e-4
    assert anew(photographs, codec)
    path.with_suffix(".json").unlink()  # as it was written before there was one
    assert anew(photographs, codec)


def test_latent_crops_line_up_with_their_pixels(photographs: Photographs, latents: Latents) -> None:
    codec = LatentCodec(AutoencoderKL(**VAE, scaling_factor=3.0))
    assert (latents.factor, latents.values.shape[1:]) == (codec.factor, (4, WINDOW // 4, WINDOW // 4))
    _, pixels, captions = latents.crops(3, 8, np.random.default_rng(0))
    for piece, caption in zip(pixels, captions, strict=True):
        image = window(photographs.image(photographs.captions.index(caption)))
        assert any(
            np.array_equal(piece, image[4 * top : 4 * top + 32, 4 * left : 4 * left + 32])
            for top in range(57)
            for left in range(57)
        )


def test_fold_pattern_is_the_power_of_a_net_and_of_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    net = torch.randn(1, 3, 4, 4, generator=generator)
    net -= net.mean((2, 3), keepdim=True)
    ramp = torch.linspace(-1, 1, 64).view(1, 1, 64, 1)
    error = 0.1 * net.repeat(2, 1, 16, 16)
    assert float(fold_pattern(error, 4)) == pytest.approx(0.01 * float(net.square().mean()), rel=1e-5)
    assert float(fold_pattern(error + 0.3, 4)) == pytest.approx(0.01 * float(net.square().mean()), rel=1e-4)
    assert float(fold_pattern(error, 1)) == 0
    smooth = fold_pattern(ramp.expand(1, 3, 64, 64), 4)  # what a slope looks like within a fold: 1.5 pixels' rise at most
    assert float(smooth) < float((2 / 63 * 1.5) ** 2)


def test_kl_against_torch() -> None:
    mean, logvar = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    normal = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum((1, 2, 3))
    assert torch.allclose(kl_divergence(mean, logvar), expected, rtol=1e-4)


def test_air_has_the_statistics_that_it_claims() -> None:
    rng = np.random.default_rng(0)
    air = draw(4000, rng, CPU)
    assert air.snr_db.min() >= -5
    assert air.snr_db.max() <= 20
    shares = torch.bincount(air.kind, minlength=3) / 4000
    assert torch.allclose(shares, torch.tensor([0.5, 0.35, 0.15]), atol=0.03)
    assert float(air.told.isnan().float().mean()) == pytest.approx(0.4, abs=0.03)
    rates = np.array([draw_cbr(rng) for _ in range(1000)])
    assert rates.min() >= 0.0013
    assert rates.max() <= 0.0208
    assert np.mean(rates == 0.0033) == pytest.approx(0.4, abs=0.06)
    torch.manual_seed(0)
    sent = torch.ones(3, 50_000, dtype=torch.complex64)
    snr = torch.tensor([5.0, 5.0, 5.0])
    estimate, trust, gain = send(sent, Air(snr, snr, torch.tensor([0, 1, 2])))
    n0 = 10**-0.5
    assert float((estimate[0] * (1 + n0) - 1).abs().square().mean()) == pytest.approx(n0, rel=0.03)
    error = (estimate - sent).abs().square().mean(1)
    assert torch.allclose(error, (1 - trust).mean(1), rtol=0.05)  # MMSE: the error's power is 1 − reliability
    assert trust[2].unique().numel() == 1
    assert trust[1].unique().numel() > 1000
    assert gain[:2].tolist() == [1, 1]
    assert abs(complex(gain[2]) - 1) > 1e-6


def test_vae_and_decoder_learn(photographs: Photographs, latents: Latents, tmp_path: Path) -> None:
    torch.manual_seed(0)
    autoencoder = AutoencoderKL(**VAE, scaling_factor=1.0)
    judges = [LPIPS("alex").eval().requires_grad_(False)]
    train_vae(autoencoder, photographs, VAERecipe(schedule(100), batch=4, crop=32), judges, tmp_path, CPU, quiet)
    first, last = losses(tmp_path, "vae")
    assert last < first
    codec = LatentCodec(autoencoder)
    with torch.no_grad():
        image = torch.from_numpy(photographs.crops(64, 32, np.random.default_rng(9))[0]).permute(0, 3, 1, 2) / 255
        assert float(codec.encode(image).std()) == pytest.approx(1, abs=0.2)
    encoder = [p.clone() for p in autoencoder.encoder.parameters()]
    train_decoder(codec, latents, DecoderRecipe(schedule(50), batch=2, crop=8), judges, tmp_path, CPU, quiet)
    assert all(torch.equal(a, b) for a, b in zip(encoder, autoencoder.encoder.parameters(), strict=True))


def test_prior_jscc_and_both_refining_stages_learn(latents: Latents, tmp_path: Path) -> None:
    torch.manual_seed(0)
    words = train_tokenizer(latents.photographs.captions, 300)
    unet, text_model = UNet2DConditionModel(**UNET), CLIPTextModel(CLIPTextConfig(**TEXT, vocab_size=len(words)))
    train_prior(unet, text_model, words, latents, PriorRecipe(schedule(100), batch=4), tmp_path, CPU, quiet)
    jscc = RateAdaptiveJSCC(JSCCConfig(channels=4, code_channels=16, dims=(8,), depths=(1,)))
    train_jscc(jscc, latents, JSCCRecipe(schedule(100), batch=4, crop=16, seed=1), tmp_path, CPU, quiet)
    for stage in ("prior", "jscc"):
        first, last = losses(tmp_path, stage)
        assert last < first, stage
    unet.requires_grad_(False)
    before = [p.clone() for p in unet.parameters()]
    control, codec = LatentControlNet.over(unet), LatentCodec(AutoencoderKL(**VAE, scaling_factor=3.0)).requires_grad_(False)
    text, judges = TextEncoder(words, text_model), [LPIPS("squeeze").eval().requires_grad_(False)]
    for stage, recipe in {
        "control": RefinerRecipe(schedule(50), batch=2, crop=8),
        "paper": RefinerRecipe(schedule(50), batch=2, crop=8, parameterization="paper"),
        "refine": RefinerRecipe(schedule(50), batch=2, crop=8, diffusion=0.1, pixel=10.0, perceptual=1.0, coarse=1.0, decoder=True),
    }.items():
        weights = [p.clone() for p in (*control.parameters(), *jscc.parameters())]
        train_refiner(stage, control, jscc, unet, codec, text, latents, recipe, judges, tmp_path, CPU, quiet)
        assert np.isfinite(losses(tmp_path, stage)).all()
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
        "control": refiner, "refine": refiner | {"pixel": 10.0, "perceptual": 1.0, "coarse": 1.0, "decoder": True},
    }  # fmt: skip


@pytest.mark.parametrize("domain", ["latent", "pixel"])
def test_from_photographs_to_a_preset_and_on_from_there(
    photographs: Photographs, tiny_recipe: dict[str, Any], tmp_path: Path, domain: str
) -> None:
    tiny_recipe["settings"]["domain"] = domain
    if domain == "pixel":
        tiny_recipe["jscc"]["model"] |= {"channels": 3, "dims": [8, 8], "depths": [1, 1]}
    data, out = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    out.mkdir()
    for index, name in enumerate(photographs.names):
        Image.fromarray(photographs.image(index)).save(data / name)
    judges = [LPIPS("alex").eval().requires_grad_(False)]
    shop = Workshop(tiny_recipe, load(data, out / "cache", validation=False), out, judges, CPU)
    for stage in STAGES:
        assert not shop.restore(stage)
        shop.run(stage, None, quiet)
        shop.save(stage)
    preset = presets.find("textguided", str(shop.export(tmp_path / "models")))
    method = load_method(preset, CPU)
    assert method.encode(np.zeros((20, 30, 3), np.uint8), Request(12)).symbols.shape == (12,)
    again = Workshop(tiny_recipe, load(data, out / "cache", validation=False), out, judges, CPU)
    assert all(again.restore(stage) for stage in STAGES)
    again.start_from(preset)
    for ours, theirs in zip(shop.jscc.parameters(), again.jscc.parameters(), strict=True):
        assert torch.equal(ours.half().float(), theirs)


def quadratic(out: Path, steps: int, max_minutes: float = 0.0) -> nn.Linear:
    torch.manual_seed(0)
    module = nn.Linear(3, 1)
    generator = np.random.default_rng(0)

    def loss(step: int, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        x = torch.from_numpy(generator.standard_normal((8, 3), dtype=np.float32))
        return (module(x) - x.sum(1, keepdim=True)).square().mean(), {}

    fit({"module": module}, loss, generator, Schedule(steps, 0.05, 5, max_minutes, ema=0.9, save_minutes=0), out, "q", report=quiet)
    return module


def test_fit_converges_stops_in_time_and_does_nothing_once_finished(tmp_path: Path) -> None:
    module = quadratic(tmp_path, 400)
    assert torch.allclose(module.weight, torch.ones(1, 3), atol=0.02)
    again = quadratic(tmp_path, 400)
    assert torch.equal(module.weight, again.weight)
    (tmp_path / "other").mkdir()
    quadratic(tmp_path / "other", 10**9, max_minutes=0.01)
    state = torch.load(tmp_path / "other" / "q.ckpt", weights_only=True)
    assert state["done"]
    assert 0 < state["step"] < 10**9


def test_an_interrupted_run_resumes_where_it_was(tmp_path: Path) -> None:
    quadratic(tmp_path, 60)
    state = torch.load(tmp_path / "q.ckpt", weights_only=True)
    assert state["step"] == 60
    state["done"] = False
    torch.save(state, tmp_path / "q.ckpt")
    quadratic(tmp_path, 90)
    assert torch.load(tmp_path / "q.ckpt", weights_only=True)["step"] == 90


def test_a_slower_module_moves_by_its_share_of_the_learning_rate(tmp_path: Path) -> None:
    """Adam's first step is the learning rate whatever the gradient, and EMA's first average a tenth of the first weights."""
    modules = {name: nn.Linear(3, 1, bias=False) for name in ("whole", "fifth", "frozen")}
    for module in modules.values():
        nn.init.zeros_(module.weight)
    modules["frozen"].requires_grad_(False)

    def loss(step: int, progress: float) -> tuple[torch.Tensor, dict[str, float]]:
        return torch.stack([(module.weight - 1).square().sum() for module in modules.values()]).sum(), {}

    fit(
        dict(modules), loss, np.random.default_rng(0), Schedule(1, 0.01, warmup=1, weight_decay=0.0), tmp_path, "q",
        slower={"fifth": 0.2}, report=quiet,
    )  # fmt: skip
    whole, fifth, frozen = (float(module.weight.detach().mean()) for module in modules.values())
    assert whole == pytest.approx(0.9 * 0.01, rel=1e-3)
    assert fifth == pytest.approx(0.2 * whole, rel=1e-3)
    assert frozen == 0


def test_recipes_refuse_what_they_do_not_know(tmp_path: Path) -> None:
    assert recipe_from(PriorRecipe, load_config(None, "textguided/nano.json", ())["prior"]["recipe"], 3.0).schedule.max_minutes == 3
    with pytest.raises(InputError, match="unknown key bacth"):
        recipe_from(PriorRecipe, {"schedule": {"steps": 1, "learning_rate": 1}, "bacth": 2})
    (tmp_path / "bad.json").write_text("{}")
    with pytest.raises(InputError, match="lacks"):
        load_config(tmp_path / "bad.json", "textguided/nano.json", STAGES)
    with pytest.raises(InputError, match="--resume"):
        train(TrainOptions(tmp_path, tmp_path))
