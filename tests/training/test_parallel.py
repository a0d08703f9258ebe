"""Training by several processes: it learns what one process with the whole batch learns, and goes on after a kill."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import sys
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models import AutoencoderKL, UNet2DConditionModel
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel

from gencomm_cli import presets
from gencomm_cli.app import run
from gencomm_cli.methods.diffcom import train as diffcom
from gencomm_cli.methods.diffjscc.train import DiffJSCCTrainer
from gencomm_cli.methods.lrisc.train import LRISCTrainer
from gencomm_cli.methods.scsic.train import SCSICTrainer
from gencomm_cli.methods.textguided.prior import PriorRecipe, prior_stage, train_tokenizer
from gencomm_cli.methods.textguided.refiner import JSCCRecipe, RefinerRecipe, jscc_stage, refiner_stage
from gencomm_cli.networks.control import LatentControlNet
from gencomm_cli.networks.rate_adaptive import JSCCConfig, RateAdaptiveJSCC
from gencomm_cli.networks.text import TextEncoder
from gencomm_cli.networks.vae import KLCodec
from gencomm_cli.training import captions, losses, parallel
from gencomm_cli.training.captions import captioned
from gencomm_cli.training.data import Photographs, load
from gencomm_cli.training.latent_space import VAERecipe, vae_stage
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.loop import Schedule
from gencomm_cli.training.trainer import Trainer, TrainOptions, train
from tests.methods.diffcom import test_train as test_diffcom
from tests.methods.diffjscc import test_train as test_diffjscc
from tests.methods.lrisc import test_train as test_lrisc
from tests.methods.scsic import test_train as test_scsic
from tests.support.presets import TEXT, UNET, VAE, make_preset
from tests.support.training import asked, backbones, latents, learn, photographs, quiet

__all__ = ["latents", "make_preset", "photographs"]

data = test_diffcom.data
Curve = list[tuple[int, float]]


def curve(out: Path, stage: str) -> Curve:
    lines = [json.loads(line) for line in (out / f"{stage}.log").read_text().splitlines()]
    return [(line["step"], line["loss"]) for line in lines]


def same(first: Curve, second: Curve) -> None:
    """Equal to float tolerance, and not trivially so."""
    assert [step for step, _ in first] == [step for step, _ in second] == list(range(1, len(first) + 1))
    assert [loss for _, loss in first] == pytest.approx([loss for _, loss in second], rel=2e-4, abs=2e-5)
    assert len({loss for _, loss in first}) > len(first) // 2


def write_recipe(path: Path, steps: int, batch: int) -> Path:
    config = test_diffcom.recipe(steps, batch)
    for stage in diffcom.STAGES:
        config[stage]["recipe"]["schedule"] |= {"log_every": 1, "save_minutes": 0.0}
    path.write_text(json.dumps(config))
    return path


def start_pair(config: Path, data: Path, out: Path, *more: str) -> list[BaseProcess]:
    """``gencomm train diffcom`` in two processes that know of each other as torchrun and accelerate launch say it.

    What they print is in ``<out>.0`` and ``<out>.1``.
    """
    words = ["train", "diffcom", "--data", data, "--out", out, "--config", config, "--precision", "fp32", "--device", "cpu", *more]
    return start(one_of_two, out, [*map(str, words)])


def start(target: Callable[..., None], out: Path, *arguments: Any) -> list[BaseProcess]:
    """``target(rank, port, file for what it prints, *arguments)`` in two processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("forkserver")  # which imports everything once
    context.set_forkserver_preload([__name__])
    pair = [context.Process(target=target, args=(rank, port, f"{out}.{rank}", *arguments)) for rank in (0, 1)]
    for process in pair:
        process.start()
    return list(pair)


def meet(rank: int, port: int, said: str) -> None:
    for stream in (1, 2):
        os.dup2(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND), stream)
    met = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2, "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in met.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}


def one_of_two(rank: int, port: int, said: str, words: list[str]) -> None:
    meet(rank, port, said)
    sys.exit(run(words))


def caption_as_one_of_two(rank: int, port: int, said: str, data: Path, out: Path) -> None:
    """Prints what it asked the captioner, and in the end the captions that it has."""
    meet(rank, port, said)
    parallel.join("cpu")

    def answer(image: np.ndarray, captioner: str, device: str) -> str:
        print(f"process {rank} asks {captioner}", flush=True)
        return f"level {image.mean():.3f}"

    captions.caption = answer  # type: ignore[attr-defined]
    found = captioned(load(data, out / "cache", validation=False), "openai:a", out / "cache", "cpu", quiet)
    print(json.dumps(found.captions), flush=True)
    parallel.leave()


def test_process_0_captions_and_the_other_reads(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="Accelerate is not installed (extra `train`)")
    pair = start(caption_as_one_of_two, tmp_path / "pair", data, tmp_path / "pair")
    for process in pair:
        process.join(100)
    first, second = ((tmp_path / f"pair.{rank}").read_text().splitlines() for rank in (0, 1))
    assert [process.exitcode for process in pair] == [0, 0], (first, second)
    *asked, captions_there = first
    made = json.loads(captions_there)
    assert asked == ["process 0 asks openai:a"] * len(set(made))
    assert len(set(made)) == len(made) > 1
    assert second == [captions_there]


def test_two_processes_learn_what_one_learns_from_the_doubled_batch(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="Accelerate is not installed (extra `train`)")
    pytest.importorskip("tensorboard", reason="TensorBoard is not installed (extra `train`)")
    stages = ("adjscc", "prior")
    half, whole = write_recipe(tmp_path / "half.json", 10, 2), write_recipe(tmp_path / "whole.json", 10, 4)
    pair = start_pair(half, data, tmp_path / "pair", "--stages", ",".join(stages), "--tensorboard")
    for process in pair:
        process.join(100)
    first, second = ((tmp_path / f"pair.{rank}").read_text() for rank in (0, 1))
    assert [process.exitcode for process in pair] == [0, 0], (first, second)
    assert first.endswith(f"\n{tmp_path / 'pair'}\n")
    assert (first.count("prior: finished"), "prior" in second, str(tmp_path / "pair") in second) == (1, False, False)
    folder = train("diffcom", TrainOptions(data, tmp_path / "one", whole, stages=stages, precision="fp32"), quiet)
    for stage in stages:
        same(curve(tmp_path / "pair", stage), curve(tmp_path / "one", stage))
        assert list((tmp_path / "pair" / "tensorboard" / stage).iterdir())
    train("diffcom", TrainOptions(data, tmp_path / "twice", half, stages=stages[:1], precision="fp32", accumulate=2), quiet)
    same(curve(tmp_path / "twice", "adjscc"), curve(tmp_path / "one", "adjscc"))
    for name in ("codec", "prior"):
        ours, theirs = (load_file(place / f"{name}.safetensors") for place in (tmp_path / "pair/models/diffcom/tiny", folder))
        assert all(torch.allclose(ours[key].float(), theirs[key].float(), atol=2e-3) for key in theirs)


def test_what_two_processes_began_before_a_kill_one_finishes_as_if_it_had_not_been(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="Accelerate is not installed (extra `train`)")
    steps = 60
    half, whole = write_recipe(tmp_path / "half.json", steps, 2), write_recipe(tmp_path / "whole.json", steps, 4)
    pair, log = start_pair(half, data, tmp_path / "killed", "--stages", "adjscc"), tmp_path / "killed" / "adjscc.log"
    while not (log.exists() and log.read_bytes().count(b"\n") >= 10) and pair[0].is_alive():
        time.sleep(0.005)
    for process in pair:
        process.kill()
        process.join()
    assert 10 <= log.read_bytes().count(b"\n") < steps
    said: list[str] = []
    for out, resume in ((tmp_path / "killed", True), (tmp_path / "one", False)):
        train("diffcom", TrainOptions(data, out, whole, resume=resume, stages=("adjscc",), precision="fp32"), said.append)
    assert any(line.startswith("adjscc: resumed at step ") for line in said)
    same(curve(tmp_path / "killed", "adjscc"), curve(tmp_path / "one", "adjscc"))


def schedule(accumulate: int) -> Schedule:
    return Schedule(6, 1e-3, 3, accumulate=accumulate, precision="fp32", log_every=1)


Train = Callable[[int, int, Path], None]


@pytest.mark.parametrize("stage", ["vae", "prior", "jscc", "control"])
def test_accumulated_batches_are_one_batch_in_textguided(
    stage: str, photographs: Photographs, latents: Latents, tmp_path: Path
) -> None:
    """So are batches of several processes: each takes the rows that an accumulated batch would."""

    def run(batch: int, accumulate: int, out: Path) -> None:
        torch.manual_seed(0)
        plan = schedule(accumulate)
        recipe: Any
        words = train_tokenizer(latents.photographs.captions, 300)
        text_model = CLIPTextModel(CLIPTextConfig(**TEXT, vocab_size=len(words)))
        unet, autoencoder = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE, scaling_factor=3.0)
        jscc = RateAdaptiveJSCC(JSCCConfig(channels=4, code_channels=16, dims=(8,), depths=(1,)))
        alex, codec = backbones("alex"), KLCodec(autoencoder)
        if stage == "vae":
            recipe = VAERecipe(plan, batch=batch, crop=32)
            learn(stage, recipe, out, vae_stage, codec, photographs, recipe, alex)
        elif stage == "prior":
            recipe = PriorRecipe(plan, batch=batch, crop=8, drop=0.5)
            learn(stage, recipe, out, prior_stage, unet, text_model, words, latents, recipe)
        elif stage == "jscc":
            recipe = JSCCRecipe(plan, batch=batch, crop=16)
            learn(stage, recipe, out, jscc_stage, jscc, codec, latents, recipe)
        else:
            text, control = TextEncoder(words, text_model), LatentControlNet.over(unet)
            recipe = RefinerRecipe(plan, batch=batch, crop=8, drop=0.5)
            learn(stage, recipe, out, refiner_stage, control, jscc, unet, codec, text, latents, recipe, alex)

    compare(run, stage, tmp_path)


@pytest.mark.parametrize(
    ("method", "stage"), [("diffjscc", "control"), ("lrisc", "fixed"), ("scsic", "diffusion"), ("scsic", "finetune")]
)
def test_accumulated_batches_are_one_batch_in_other_methods(
    method: str,
    stage: str,
    photographs: Photographs,
    make_preset: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for index, name in enumerate(photographs.names):
        Image.fromarray(photographs.image(index)).save(folder / name)
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("alex") * 2)
    base = make_preset()

    def run(batch: int, accumulate: int, out: Path) -> None:
        plan = {"steps": 6, "learning_rate": 1e-3, "warmup": 3, "accumulate": accumulate, "precision": "fp32", "log_every": 1}
        kind: type[Trainer]
        if method == "diffjscc":
            config: dict[str, Any] = test_diffjscc.recipe(test_diffjscc.ADAPTIVE)
            config["control"] |= {"schedule": plan, "batch": batch, "drop": 0.5}
            kind = DiffJSCCTrainer
        elif method == "lrisc":
            config = test_lrisc.recipe()
            config[stage] |= {"schedule": plan, "batch": 2 * batch, "pictures": batch, "refined": 0.0}
            kind = LRISCTrainer
        else:
            config = test_scsic.recipe(str(base), 6)
            recipe = config[stage] if stage == "finetune" else config[stage]["recipe"]
            recipe |= {"schedule": plan, "batch": batch, "drop": 0.5, "snr_db": [1, 20], "shares": [0.4, 0.3, 0.3]}
            kind = SCSICTrainer
        start = presets.load_config(base) if method == "diffjscc" else None
        kind(asked(config, folder, out, stages=(stage,)), quiet, start).run(stage)

    compare(run, stage, tmp_path)


def compare(run: Train, stage: str, tmp_path: Path) -> None:
    for name, batch, accumulate in (("parts", 2, 2), ("whole", 4, 1)):
        (tmp_path / name).mkdir()
        run(batch, accumulate, tmp_path / name)
    same(curve(tmp_path / "parts", stage), curve(tmp_path / "whole", stage))


def test_rows_of_all_parts_are_the_whole_draw() -> None:
    def draw(batch: int) -> list[torch.Tensor]:
        generator = np.random.default_rng(0)
        torch.manual_seed(0)
        like = torch.zeros(batch, 3, 4, 5).to(memory_format=torch.channels_last)
        size = torch.Size((batch, 2))
        return [
            torch.from_numpy(parallel.rows(generator.random, batch)), torch.randn_like(like), torch.rand_like(like[:, :2]),
            torch.randn(batch, 7), torch.rand(size), torch.randn((batch,), dtype=torch.complex64), torch.tensor(generator.random()),
        ]  # fmt: skip

    whole, shares = draw(6), []
    for index in range(3):
        with parallel.part(index, 3):
            shares.append(draw(2))
    for expected, *found in zip(whole, *shares, strict=True):
        if expected.ndim:
            assert torch.equal(torch.cat(found), expected)
        else:  # what is drawn for the whole batch is the same everywhere
            assert all(torch.equal(one, expected) for one in found)
    assert torch.equal(draw(6)[1], whole[1])  # and outside there is one part
