"""The text-conditional prior: UNet and text encoder, trained together on latents by noise prediction."""

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
from gencomm_cli.diffusion.steps import min_snr_weight, noised
from gencomm_cli.methods.textguided.word_vectors import start_words
from gencomm_cli.networks.text import TextEncoder
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.loop import Schedule, autocast
from gencomm_cli.training.parallel import rows
from gencomm_cli.training.stage import Stage, trained

SPECIAL_TOKENS = {"pad_token": "<|pad|>", "bos_token": "<|start|>", "eos_token": "<|end|>"}


@dataclass(frozen=True)
class PriorRecipe:
    """E w(t)‖ε − ε_θ(z_t, t, o)‖² over t = 1 … T with min-SNR weights w.

    Attributes:
        crop: side in latent positions. drop: share of prompts replaced by the empty one.
        gamma: of the weights; infinite: w = 1.
        words: start the text encoder's token embeddings from static word vectors (:func:`start_words`).
    """

    schedule: Schedule
    batch: int = 16
    crop: int = 32
    drop: float = 0.1
    gamma: float = 5.0
    words: bool = False
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
    *,
    fresh: bool = True,
) -> Stage:
    """Both networks together; ``fresh``: from nothing, else from weights that they have already.

    The t of a batch are drawn from its shares of 1 … T, one from each, which makes the loss less noisy than t of their own would.
    """
    if recipe.words and fresh:
        start_words(text_model, tokenizer)
    trained(unet, device)
    text = TextEncoder(tokenizer, trained(text_model, device, channels_last=False))
    alpha_bar = scaled_linear().float().to(device)
    last = len(alpha_bar) - 1

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean, _, captions, *_ = latents.crops(recipe.batch, recipe.crop, generator)
        clean = clean.to(device, memory_format=torch.channels_last)
        dropped = rows(generator.random, recipe.batch) < recipe.drop
        captions = ["" if drop else caption for drop, caption in zip(dropped, captions, strict=True)]
        shares = rows(lambda n: (np.arange(n) + generator.random(n)) / n, recipe.batch)
        t = torch.from_numpy(1 + (shares * last).astype(np.int64)).to(device)
        noise = torch.randn_like(clean)
        a = alpha_bar[t].view(-1, 1, 1, 1)
        with autocast(device, recipe.schedule.precision):
            predicted = unet(noised(clean, a, noise), t - 1, encoder_hidden_states=text(captions)).sample
        error = (predicted.float() - noise).square().mean((1, 2, 3))
        weight = min_snr_weight(alpha_bar[t], recipe.gamma)
        return (weight * error).mean(), {"unweighted": float(error.mean().detach())}

    return Stage({"unet": unet, "text": text_model}, loss)
