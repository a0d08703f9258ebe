"""Latents of the photographs: computed once, and cropped with their pixels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers.models import AutoencoderKL

from gencomm_cli.networks.vae import KLCodec, LatentCodec, latent_codec
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.latents import Latents, compute
from gencomm_cli.training.loop import Precision
from tests.support.presets import VAE
from tests.support.training import CPU, latents, photographs, quiet

__all__ = ["latents", "photographs"]


def test_latents_are_computed_again_where_photographs_or_codec_changed(photographs: Photographs, tmp_path: Path) -> None:
    codec, path = KLCodec(AutoencoderKL(**VAE, scaling_factor=3.0)).eval(), tmp_path / "latents.npy"
    changed = photographs.pixels.copy()
    changed[photographs.offsets[7] : photographs.offsets[8]] //= 2
    darker, fewer = replace(photographs, pixels=changed), replace(photographs, names=photographs.names[:30])

    def anew(photographs: Photographs, codec: LatentCodec) -> bool:
        before = path.stat().st_ino if path.exists() else 0
        found = compute(codec, photographs, path, CPU, quiet)
        assert len(found) == len(photographs)
        image = photographs.image(len(photographs) - 1)
        with torch.no_grad():
            last = codec.encode(to_tensor(np.stack([image, image[:, ::-1]]), CPU))
        assert np.abs(found.latent(len(found) - 1) - last.numpy()).mean() < 0.05  # bfloat16
        return path.stat().st_ino != before

    assert anew(photographs, codec)
    kept = np.load(path, mmap_mode="r")
    assert not anew(photographs, codec)
    assert anew(darker, codec)
    assert anew(fewer, codec)
    assert anew(photographs, codec)
    assert np.isfinite(kept).all()  # what was opened before stays what it was
    assert len(kept) == np.load(path, mmap_mode="r").size
    assert anew(
        photographs, latent_codec(codec.autoencoder.from_config({**codec.autoencoder.config, "scaling_factor": 2.9})).eval()
    )
    assert anew(photographs, codec)
    with torch.no_grad():
        codec.autoencoder.encoder.conv_in.weight[0, 0, 0, 0] += 1e-4
    assert anew(photographs, codec)
    path.with_suffix(".json").unlink()  # as it was written before there was one
    assert anew(photographs, codec)


def test_latents_have_the_precision_that_is_asked_for(photographs: Photographs, tmp_path: Path) -> None:
    codec, image = KLCodec(AutoencoderKL(**VAE, scaling_factor=3.0)).eval(), photographs.image(0)
    with torch.no_grad():
        exact = codec.encode(to_tensor(np.stack([image, image[:, ::-1]]), CPU)).numpy()

    def error(precision: Precision) -> float:
        found = compute(codec, photographs, tmp_path / "latents.npy", CPU, quiet, precision=precision)
        return float(np.abs(found.latent(0) - exact).max())

    assert error("bf16") > 5e-3 > 2e-3 > error("fp32")
    assert error("fp32") < 2e-3 < 5e-3 < error("bf16")


def whole(latents: Latents, entry: int) -> np.ndarray:
    """The cells' pixels of an entry's photograph."""
    height, width = latents.sizes[entry] // latents.factor * latents.factor
    return latents.photographs.view(latents.sources[entry], latents.sizes[entry], (0, 0), (height, width))


def test_latent_crops_line_up_with_their_pixels(latents: Latents) -> None:
    """Every crop and its pixels lie at the same place of the same photograph, mirrored or not; all places come."""
    assert (latents.factor, latents.channels) == (4, 4)
    assert latents.latent(0).shape == (2, 4, 64, 75)
    crops, pixels, captions, photographs = latents.crops(40, 8, np.random.default_rng(0))
    seen = set()
    assert [latents.photographs.captions[photograph] for photograph in photographs] == captions
    for crop, piece, entry in zip(crops.numpy(), pixels, photographs, strict=True):
        for mirrored, image in enumerate((whole(latents, entry), whole(latents, entry)[:, ::-1])):
            latent = latents.latent(entry)[mirrored]
            for top, left in np.ndindex(57, 68):
                here = np.array_equal(piece, image[4 * top : 4 * top + 32, 4 * left : 4 * left + 32])
                if here and np.array_equal(crop, latent[:, top : top + 8, left : left + 8]):
                    seen.add((mirrored, top, left))
    assert len(seen) >= 39  # two may coincide
    found = np.array(sorted(seen))
    assert 0.2 < found[:, 0].mean() < 0.8
    assert found[:, 1].max() > 45
    assert found[:, 2].max() > 55


def test_small_photographs_are_enlarged_and_scaled_ones_come_beside(photographs: Photographs, tmp_path: Path) -> None:
    codec = latent_codec(AutoencoderKL(**VAE, scaling_factor=3.0)).eval()
    few = replace(photographs, names=photographs.names[:3], captions=photographs.captions[:3], sizes=photographs.sizes[:3])
    large = compute(codec, few, tmp_path / "large.npy", CPU, quiet, crop=80)
    assert (large.sizes >= 320).all()
    assert (large.sizes[:, 0] == 320).all()
    assert large.crops(2, 80, np.random.default_rng(0))[1].shape == (2, 320, 320, 3)
    beside = compute(codec, few, tmp_path / "beside.npy", CPU, quiet, crop=8, scales=(0.5, 2.0))
    assert beside.sources.tolist() == [0, 0, 1, 1, 2, 2]
    assert np.array_equal(beside.sizes[::2], few.sizes)
    scales = beside.sizes[1::2] / few.sizes
    assert np.allclose(scales[:, 0], scales[:, 1], atol=0.01)
    assert len(set(scales[:, 0])) == 3
    assert ((scales > 0.49) & (scales < 2.01)).all()
    with torch.no_grad():
        last = codec.encode(to_tensor(whole(beside, 5)[None].copy(), CPU))
    assert np.abs(beside.latent(5)[0] - last[0].numpy()).mean() < 0.05
    assert beside.crops(4, 8, np.random.default_rng(0))[0].shape == (4, 4, 8, 8)
