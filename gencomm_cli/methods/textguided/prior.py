"""The text-conditional prior: UNet and text encoder, trained together on latents by plain noise prediction."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from diffusers.models import UNet2DConditionModel
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor
from transformers import CLIPTextModel, PreTrainedTokenizerFast

from gencomm_cli.diffusion.schedule import scaled_linear
from gencomm_cli.networks.text import TextEncoder
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.loop import Schedule, autocast
from gencomm_cli.training.parallel import rows
from gencomm_cli.training.stage import Stage, trained

SPECIAL_TOKENS = {"pad_token": "<|pad|>", "bos_token": "<|start|>", "eos_token": "<|end|>"}


@dataclass(frozen=True)
class PriorRecipe:
    """E‖ε − ε_θ(z_t, t, o)‖² over t = 1 … T, with the prompt dropped for ``drop`` of the samples."""

    schedule: Schedule
    batch: int = 48
    crop: int = 16
    drop: float = 0.1
    seed: int = 1


def train_tokenizer(captions: Iterable[str], vocabulary: int = 2048) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokeniser: lower-cased, every string encodes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        captions,
        trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=list(SPECIAL_TOKENS.values()), initial_alphabet=alphabet, show_progress=False
        ),
    )
    tokenizer.post_processor = processors.TemplateProcessing(  # type: ignore[assignment]
        single="<|start|> $A <|end|>", special_tokens=[("<|start|>", 1), ("<|end|>", 2)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **SPECIAL_TOKENS)


def prior_stage(
    unet: UNet2DConditionModel,
    text_model: CLIPTextModel,
    tokenizer: PreTrainedTokenizerFast,
    latents: Latents,
    recipe: PriorRecipe,
    generator: np.random.Generator,
    device: torch.device,
) -> Stage:
    """Both networks together."""
    trained(unet, device)
    text = TextEncoder(tokenizer, trained(text_model, device, channels_last=False))
    alpha_bar = scaled_linear().float().to(device)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean, _, captions = latents.crops(recipe.batch, recipe.crop, generator)
        clean = clean.to(device, memory_format=torch.channels_last)
        dropped = rows(generator.random, recipe.batch) < recipe.drop
        captions = ["" if drop else caption for drop, caption in zip(dropped, captions, strict=True)]
        t = torch.from_numpy(rows(lambda n: generator.integers(1, len(alpha_bar), n), recipe.batch)).to(device)
        noise = torch.randn_like(clean)
        a = alpha_bar[t].view(-1, 1, 1, 1)
        with autocast(device, recipe.schedule.precision):
            predicted = unet(a.sqrt() * clean + (1 - a).sqrt() * noise, t - 1, encoder_hidden_states=text(captions)).sample
        error = (predicted.float() - noise).square().mean((1, 2, 3))
        early = t < 300
        return error.mean(), {"early": float(error[early].mean().detach()) if early.any() else 0.0}

    return Stage({"unet": unet, "text": text_model}, loss)
