"""The latent codec over diffusers' AutoencoderKL, folded and not."""

from __future__ import annotations

import pytest
import torch
from diffusers.models import AutoencoderKL

from gencomm_cli.networks.vae import KLCodec


def autoencoder(fold: int) -> AutoencoderKL:
    torch.manual_seed(0)
    return AutoencoderKL(
        in_channels=3 * fold**2, out_channels=3 * fold**2, latent_channels=4, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, scaling_factor=0.5,
    ).eval()  # fmt: skip


@pytest.mark.parametrize(("fold", "factor"), [(1, 2), (2, 4), (4, 8)])
def test_sizes(fold: int, factor: int) -> None:
    codec = KLCodec(autoencoder(fold))
    image = torch.rand(2, 3, 64, 32)
    with torch.no_grad():
        latent = codec.encode(image)
        assert (codec.factor, codec.channels) == (factor, 4)
        assert latent.shape == (2, 4, 64 // factor, 32 // factor)
        assert codec.decode(latent).shape == image.shape


def test_unfolded_is_stable_diffusions_convention() -> None:
    """Images in −1 … 1, the posterior's mode times the scaling factor; decoding divides by it."""
    model = autoencoder(1)
    codec, image = KLCodec(model), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        expected = model.encode(2 * image - 1).latent_dist.mode() * 0.5
        assert torch.allclose(codec.encode(image), expected, atol=1e-6)
        assert torch.allclose(codec.decode(expected), model.decode(expected / 0.5).sample / 2 + 0.5, atol=1e-6)
