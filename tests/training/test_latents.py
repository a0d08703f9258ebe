"""Latents of the photographs: computed once, and cropped with their pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers.models import AutoencoderKL

from gencomm_cli.networks.vae import LatentCodec
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.latents import WINDOW, Latents, compute, window
from tests.support.presets import VAE
from tests.support.training import CPU, latents, photographs, quiet

__all__ = ["latents", "photographs"]


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
