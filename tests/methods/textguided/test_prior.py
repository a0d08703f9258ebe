"""The recipe of the small prior, the word vectors it starts from, and how its text reaches UNet and control module."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models import UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModel

from gencomm_cli.errors import InputError
from gencomm_cli.methods.textguided import prior, word_vectors
from gencomm_cli.methods.textguided.prior import PriorRecipe, train_tokenizer
from gencomm_cli.methods.textguided.train import TextGuidedTrainer
from gencomm_cli.networks.autoencoder import Autoencoder
from gencomm_cli.networks.control import LatentControlNet, control_arguments
from gencomm_cli.networks.controlled import CSI_WIDTH, controlled
from gencomm_cli.presets import load_config as load_preset
from gencomm_cli.presets.build import builders
from gencomm_cli.training.autoencoder import AutoencoderRecipe
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.loop import Schedule
from gencomm_cli.training.trainer import load_config, recipe_from
from tests.support.presets import TEXT, UNET
from tests.support.training import CPU, asked, quiet

CAPTIONS = ["a red house under a grey sky", "two dogs on green grass", "a cat beside a red door"] * 4


@pytest.fixture
def config() -> dict[str, Any]:
    return load_config(None, "textguided/nano.json", {"vae", "prior", "latents"})


def test_the_recipe_fits_its_networks(config: dict[str, Any]) -> None:
    codec = builders()[config["vae"]["class"]](**config["vae"]["model"])
    assert isinstance(codec, Autoencoder)
    assert recipe_from(AutoencoderRecipe, config["vae"]["recipe"]).pixel == 25
    sizes = config["prior"]
    recipe = recipe_from(PriorRecipe, sizes["recipe"])
    assert (recipe.crop, recipe.gamma, recipe.words) == (config["latents"]["crop"], 5.0, True)
    with torch.device("meta"):
        unet = UNet2DConditionModel(**sizes["unet"])
        control = LatentControlNet(**control_arguments(unet))
    assert unet.config["in_channels"] == codec.channels
    assert unet.config["cross_attention_dim"] == sizes["text"]["hidden_size"]
    assert sum("CrossAttn" in block for block in unet.config["down_block_types"]) == 2
    assert sum(p.numel() for p in unet.parameters()) < 14.5e6
    assert sum(p.numel() for p in control.parameters()) < 7e6


@pytest.fixture
def vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """A package of vectors, one for each token of a tokeniser of its own."""
    pieces = train_tokenizer(CAPTIONS, 300)
    table = torch.randn(len(pieces), 32)
    for name in (word_vectors.VECTORS, word_vectors.PIECES):
        (tmp_path / name).parent.mkdir(parents=True)
    save_file({"embedding.weight": table.half()}, tmp_path / word_vectors.VECTORS)
    pieces.backend_tokenizer.save(str(tmp_path / word_vectors.PIECES))
    monkeypatch.setattr(word_vectors, "distribution", lambda _: SimpleNamespace(locate_file=lambda name: tmp_path / name))
    return table.half().float()


def test_a_word_is_the_mean_of_its_pieces(vectors: torch.Tensor) -> None:
    pieces, words = train_tokenizer(CAPTIONS, 300), ["red", "house", "dogs"]
    means = torch.stack([vectors[pieces(word, add_special_tokens=False).input_ids].mean(0) for word in words])
    torch.testing.assert_close(word_vectors.word_vectors(words), means - means.mean(0))


def test_token_embeddings_start_from_them(vectors: torch.Tensor) -> None:
    tokenizer = train_tokenizer(CAPTIONS, 300)
    model = CLIPTextModel(CLIPTextConfig(**TEXT, vocab_size=len(tokenizer)))
    embedding: Any = model.get_input_embeddings().weight
    before = embedding.detach().clone()
    word_vectors.start_words(model, tokenizer)
    special = tokenizer.all_special_ids
    assert torch.equal(embedding[special], before[special])
    started = embedding[[token for token in range(len(tokenizer)) if token not in special]].detach()
    assert float(started.std()) == pytest.approx(1, abs=1e-3)
    spread = started.var(0)  # principal components, the largest first
    assert bool((spread[:-1] >= spread[1:]).all())


def test_without_the_package_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(word_vectors, "distribution", missing)
    with pytest.raises(InputError, match=r"pip install 'gencomm\[train\]'"):
        word_vectors.word_vectors(["red"])


def test_pooled_text_reaches_unet_and_control_module() -> None:
    torch.manual_seed(0)
    unet = UNet2DConditionModel(**UNET, addition_embed_type="text", addition_embed_type_num_heads=4).eval()
    control = LatentControlNet.over(unet).eval()
    assert control.config.addition_embed_type == "text"  # type: ignore[attr-defined]
    ours, theirs = control.add_embedding.state_dict(), unet.add_embedding.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    z, t = torch.randn(2, 4, 8, 8), torch.tensor([3, 900])
    text, other = torch.randn(2, 2, 5, 16)
    csi = torch.zeros(2, CSI_WIDTH)
    with torch.no_grad():
        free = unet(z, t - 1, encoder_hidden_states=text).sample
        torch.testing.assert_close(controlled(unet, control, z, t, text, z, csi), free)
        assert not torch.allclose(unet(z, t - 1, encoder_hidden_states=other).sample, free)
    plain = UNet2DConditionModel(**UNET)
    assert not any(name.startswith("addition") for name in control_arguments(plain))


def test_only_a_fresh_text_encoder_starts_from_word_vectors(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[object] = []
    monkeypatch.setattr(prior, "start_words", lambda model, tokenizer: started.append(model))
    tokenizer = train_tokenizer(CAPTIONS, 300)
    unet, model = UNet2DConditionModel(**UNET), CLIPTextModel(CLIPTextConfig(**TEXT, vocab_size=len(tokenizer)))
    run = (np.random.default_rng(0), CPU)
    for words, fresh in ((True, False), (False, True), (True, True)):
        recipe = PriorRecipe(Schedule(steps=1, learning_rate=1e-3), words=words)
        prior.prior_stage(unet, model, tokenizer, cast(Latents, None), recipe, *run, fresh=fresh)
        assert started == ([model] if words and fresh else [])


def test_a_run_from_a_preset_keeps_its_sizes(make_preset: Callable[..., Path], tmp_path: Path, config: dict[str, Any]) -> None:
    base = load_preset(make_preset())
    trainer = TextGuidedTrainer(asked(config, tmp_path / "data", tmp_path / "run", stages=("prior",)), quiet, base)
    for name in ("vae", "unet", "jscc", "text_encoder", "control"):
        kind, arguments = trainer.blueprints[name]
        assert kind == base.components[name].class_name
        assert arguments.items() >= dict(base.components[name].config).items()
