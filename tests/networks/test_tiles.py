"""Tiles: they cover, they blend, and a picture of any size takes no more memory at a time than one tile does."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from diffusers.models import AutoencoderKL
from torch import Tensor

from gencomm_cli.networks import vae
from gencomm_cli.networks.tiles import starts, tiled, window
from gencomm_cli.networks.vae import KLCodec
from tests.support.presets import VAE


@pytest.mark.parametrize(
    ("length", "tile", "overlap"), [(10, 16, 4), (16, 16, 4), (17, 16, 4), (100, 16, 4), (129, 128, 32), (64, 8, 2)]
)
def test_tiles_cover_and_share_at_least_the_overlap(length: int, tile: int, overlap: int) -> None:
    found = starts(length, tile, overlap)
    assert found[0] == 0
    assert max(found[-1] + tile, length) == max(length, tile)
    assert all(0 < after - before <= tile - overlap for before, after in itertools.pairwise(found))


def test_windows_of_neighbours_add_up_to_one() -> None:
    weights = window(16, 4)
    assert float(weights.min()) > 0
    torch.testing.assert_close(weights[-4:] + weights[:4], torch.ones(4))
    assert torch.equal(weights[4:-4], torch.ones(8))


@pytest.mark.parametrize("size", [(5, 7), (16, 33), (50, 61)])
def test_a_network_that_sees_one_position_is_the_same_in_tiles(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    for network in (torch.sin, lambda part: F.interpolate(part, scale_factor=4), lambda part: part.repeat_interleave(3, 1)):
        torch.testing.assert_close(tiled(network, x, 16, 4), network(x))
    even = torch.randn(1, 3, 8 * size[0], 8 * size[1], dtype=torch.float64)
    torch.testing.assert_close(tiled(lambda part: F.avg_pool2d(part, 8), even, 128, 32, 8), F.avg_pool2d(even, 8))


def test_a_convolution_differs_only_where_tiles_end() -> None:
    x, kernel = torch.randn(1, 1, 40, 40), torch.randn(1, 1, 3, 3)
    whole, apart = F.conv2d(x, kernel, padding=1), tiled(lambda part: F.conv2d(part, kernel, padding=1), x, 16, 4)
    wrong = (whole - apart).abs()[0, 0] > 1e-5
    edges = sorted({position for start in starts(40, 16, 4) for position in (start, start + 15)} - {0, 39})
    near = torch.zeros(40, 40, dtype=torch.bool)
    near[edges], near[:, edges] = True, True
    assert wrong.any()
    assert not wrong[~near].any()


def test_large_pictures_go_through_the_vae_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """A VAE of convolutions with the mean of a group's norm over the picture: tiles are near to the whole, not equal to it."""
    torch.manual_seed(0)
    codec = KLCodec(AutoencoderKL(**VAE)).eval()
    image = torch.rand(1, 3, 96, 160)
    with torch.no_grad():
        whole = codec.encode(image)
        picture = codec.decode(whole)
        monkeypatch.setattr(vae, "TILE", 64)
        monkeypatch.setattr(vae, "OVERLAP", 16)
        seen: list[int] = []
        inner = codec.autoencoder.decode

        def decode(latent: Tensor) -> Any:
            seen.append(latent.shape[2] * latent.shape[3])
            return inner(latent)

        monkeypatch.setattr(codec.autoencoder, "decode", decode)
        apart, tiles = codec.encode(image), codec.decode(whole)
    assert apart.shape == whole.shape
    assert tiles.shape == picture.shape
    assert max(seen) == (64 // codec.factor) ** 2
    assert len(seen) == 2 * 3
    assert float((apart - whole).square().mean()) < 0.25 * float(whole.var())
    assert float((tiles - picture).square().mean()) < 0.25 * float(picture.var())
