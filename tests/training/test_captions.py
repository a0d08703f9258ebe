"""Captions by a model: made once for what has none, kept by what the pictures show, and what the text encoder is given."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch import Tensor

from gencomm_cli import presets
from gencomm_cli.errors import InputError
from gencomm_cli.methods.diffjscc.options import Sources
from gencomm_cli.methods.options import StableDiffusionSources
from gencomm_cli.networks.text import TextEncoder
from gencomm_cli.presets.pretrained import add
from gencomm_cli.text.captioners import caption
from gencomm_cli.training import captions, losses
from gencomm_cli.training.captions import captioned
from gencomm_cli.training.data import Photographs, load
from gencomm_cli.training.trainer import TrainOptions, train
from tests.support.standins import stable_diffusion
from tests.support.training import backbones, quiet
from tests.training.test_full_size import RECIPES


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four training images, two of which have captions."""
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for index in range(4):
        picture = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((256, 256), Image.Resampling.BICUBIC)
        picture.save(tmp_path / "photos" / f"{index}.png")
    (tmp_path / "photos" / "captions.tsv").write_text("0.png\ta red house\n2.png\ttwo dogs\n")
    return tmp_path / "photos"


class Captioner:
    """Counts, and answers with the brightness of the image."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        monkeypatch.setattr(captions, "caption", self)

    def __call__(self, image: np.ndarray, captioner: str, device: str) -> str:
        if captioner == "openai:broken" and self.asked:
            raise InputError("answers 500")
        self.asked.append(captioner)
        return f"level {image.mean():.3f}"


def test_each_image_without_a_caption_is_captioned_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captioner, cache, said = Captioner(monkeypatch), tmp_path / "cache", list[str]()
    found = load(folder, cache, validation=False)
    assert found.captions == ["a red house", "", "two dogs", ""]
    before = {path.name: path.read_bytes() for path in cache.iterdir()}

    def once(photographs: Photographs, name: str = "openai:a") -> list[str]:
        return captioned(photographs, name, cache, "cpu", said.append).captions

    expected = ["a red house", f"level {found.image(1).mean():.3f}", "two dogs", f"level {found.image(3).mean():.3f}"]
    assert once(found) == expected
    assert captioner.asked == ["openai:a"] * 2
    assert said == ["captions: 2 of 2"]
    assert once(found) == expected  # from the file
    assert once(replace(found, captions=["a red house", "two cats", "two dogs", ""])) == [*expected[:1], "two cats", *expected[2:]]
    assert len(captioner.asked) == 2
    assert once(found, "openai:b") == expected  # another model has its own
    assert captioner.asked[2:] == ["openai:b"] * 2
    pixels = found.pixels.copy()
    pixels[found.offsets[1]] ^= 255
    once(replace(found, pixels=pixels))  # another picture
    assert captioner.asked[4:] == ["openai:a"]
    assert {path.name: path.read_bytes() for path in cache.iterdir() if path.name != "captions.json"} == before


def test_what_was_made_before_a_failure_is_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    captioner = Captioner(monkeypatch)
    found = load(folder, tmp_path / "cache", validation=False)
    for _ in range(2):
        with pytest.raises(InputError, match="answers 500"):
            captioned(found, "openai:broken", tmp_path / "cache", "cpu", quiet)
    assert captioner.asked == ["openai:broken"]
    assert len(json.loads((tmp_path / "cache" / "captions.json").read_text())["openai:broken"]) == 1


def test_without_a_captioner_nothing_is_written(folder: Path, tmp_path: Path) -> None:
    found = load(folder, tmp_path / "cache", validation=False)
    assert captioned(found, "none", tmp_path / "cache", "cpu", quiet) is found
    assert not (tmp_path / "cache" / "captions.json").exists()


@pytest.mark.parametrize("method", ["textguided", "diffjscc"])
def test_captions_reach_the_text_encoder(method: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The built-in captioner's of the whole photographs; for diffjscc instead of those of the coarse crops."""
    monkeypatch.setenv("GENCOMM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("squeeze"))
    heard, forward = set[str](), TextEncoder.forward

    def listen(self: TextEncoder, texts: list[str]) -> Tensor:
        heard.update(texts)
        return forward(self, texts)

    monkeypatch.setattr(TextEncoder, "forward", listen)
    named = "openai:gpt" if method == "diffjscc" else None  # what the preset is to decode with
    sd = str(stable_diffusion(tmp_path / "full"))
    add(method, "bare", StableDiffusionSources(sd=sd) if named is None else Sources(sd=sd, captioner=named), None, quiet)
    (tmp_path / "recipe.json").write_text(json.dumps({"name": "mine", **RECIPES[method]}))
    options = TrainOptions(
        folder, tmp_path / "out", tmp_path / "recipe.json", start="bare", stages=("jscc", "control"), captioner="builtin"
    )
    assert presets.load_config(train(method, options, quiet)).settings.get("captioner") == named
    images = [np.asarray(Image.open(folder / f"{index}.png")) for index in (1, 3)]
    known = {"", "a red house", "two dogs", *(caption(image, "builtin", "cpu") for image in images)}
    assert len(known) > 3
    assert heard <= known
    assert len(heard - {""}) > 1
