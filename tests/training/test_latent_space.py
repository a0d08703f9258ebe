"""The latent VAE: it learns, is scaled, and its decoder learns on alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models import AutoencoderKL

from gencomm_cli.networks.vae import KLCodec, kl_divergence
from gencomm_cli.training.data import Photographs
from gencomm_cli.training.latent_space import DecoderRecipe, VAERecipe, decoder_stage, vae_stage
from gencomm_cli.training.latents import Latents
from tests.support.presets import VAE
from tests.support.training import backbones, figures, latents, learn, photographs, schedule

__all__ = ["latents", "photographs"]


def test_kl_against_torch() -> None:
    mean, logvar = torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4)
    normal = torch.distributions.Normal(mean, (0.5 * logvar).exp())
    expected = torch.distributions.kl_divergence(normal, torch.distributions.Normal(0.0, 1.0)).sum((1, 2, 3))
    assert torch.allclose(kl_divergence(mean, logvar), expected, rtol=1e-4)


def test_vae_and_decoder_learn(photographs: Photographs, latents: Latents, tmp_path: Path) -> None:
    torch.manual_seed(0)
    autoencoder = AutoencoderKL(**VAE, scaling_factor=1.0)
    recipe, alex = VAERecipe(schedule(100), batch=4, crop=32), backbones("alex")
    learn("vae", recipe, tmp_path, vae_stage, KLCodec(autoencoder), photographs, recipe, alex)
    first, last = figures(tmp_path, "vae")
    assert last < first
    codec = KLCodec(autoencoder)
    with torch.no_grad():
        image = torch.from_numpy(photographs.crops(64, 32, np.random.default_rng(9))[0]).permute(0, 3, 1, 2) / 255
        assert float(codec.encode(image).std()) == pytest.approx(1, abs=0.2)
    encoder = [p.clone() for p in autoencoder.encoder.parameters()]
    half = DecoderRecipe(schedule(50), batch=2, crop=8)
    learn("decoder", half, tmp_path, decoder_stage, codec, latents, half, alex)
    assert all(torch.equal(a, b) for a, b in zip(encoder, autoencoder.encoder.parameters(), strict=True))
