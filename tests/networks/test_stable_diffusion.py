"""Stable Diffusion under a latent diffusion method: what is missing or does not fit is said before anything is written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from gencomm_cli import presets
from gencomm_cli.errors import InputError
from gencomm_cli.methods.options import StableDiffusionSources
from gencomm_cli.presets.pretrained import add
from tests.support.pretrained import quiet


def edit(file: str, **changes: Any) -> Callable[[Path], None]:
    def change(sd: Path) -> None:
        document = json.loads((sd / file).read_text())
        (sd / file).write_text(json.dumps(document | changes))

    return change


def pickled(sd: Path) -> None:
    path = sd / "vae" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))


def cut_off(sd: Path) -> None:
    path = sd / "unet" / "diffusion_pytorch_model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def fewer(sd: Path) -> None:
    path = sd / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors["conv_in.bias"]
    save_file(tensors, path)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda sd: shutil.rmtree(sd / "vae"), "lacks vae/config.json; give a local folder or a hub id in diffusers' layout"),
        (lambda sd: shutil.rmtree(sd / "tokenizer"), "lacks tokenizer/tokenizer_config.json"),
        (lambda sd: (sd / "unet" / "config.json").write_text("[]"), "unet/config.json is not a JSON object"),
        (edit("vae/config.json", _class_name="AutoencoderTiny"), "is of a AutoencoderTiny; AutoencoderKL belongs there"),
        (edit("text_encoder/config.json", architectures=["CLIPTextModelWithProjection"]), "CLIPTextModel belongs there"),
        (edit("unet/config.json", down_block_types=["NoSuchBlock"] * 2), "no UNet2DConditionModel has this configuration"),
        (edit("unet/config.json", layers_per_block=2), "and its config.json asks for"),
        (edit("scheduler/scheduler_config.json", prediction_type="v_prediction"), "v_prediction; give one that predicts noise"),
        (edit("scheduler/scheduler_config.json", beta_end=0.02), "the scheduler's beta_end and ours: 0.02 is not 0.012"),
        (pickled, "vae has pickled weights alone"),
        (cut_off, "not safetensors"),
        (fewer, "holds"),
    ],
)  # fmt: skip
def test_what_is_missing_or_does_not_fit_is_one_line(weights: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(weights / "sd")
    with pytest.raises(InputError) as caught:
        add("textguided", "sd", StableDiffusionSources(sd=str(weights / "sd")), None, quiet)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not presets.user_root().exists() or not list(presets.user_root().rglob("config.json"))


def swapped(method: str, part: str, **changes: Any) -> Callable[[Path], None]:
    def change(weights: Path) -> None:
        path = weights / method / "config.json"
        document = json.loads(path.read_text())
        document["components"][part]["config"] |= changes
        path.write_text(json.dumps(document))

    return change


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (swapped("textguided", "control", block_out_channels=[8, 24]), "block_out_channels of --control"),
        (swapped("textguided", "control", csi_width=10), "numbers of CSI"),
        (swapped("textguided", "jscc", channels=8), "channels of --jscc"),
        (lambda weights: (weights / "textguided" / "jscc.safetensors").unlink(), "neither in the preset's folder"),
    ],
)
def test_parts_of_other_presets_must_fit(weights: Path, spoil: Callable[[Path], object], words: str) -> None:
    spoil(weights)
    own = str(weights / "textguided")
    with pytest.raises(InputError, match=words):
        add("textguided", "sd", StableDiffusionSources(sd=str(weights / "sd"), control=own, jscc=own), None, quiet)
