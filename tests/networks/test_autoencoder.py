"""The autoencoder around PCA, and as the codec that presets name."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch

from gencomm_cli.networks import vae
from gencomm_cli.networks.autoencoder import Autoencoder
from gencomm_cli.networks.vae import KLCodec, PCACodec, latent_codec
from gencomm_cli.presets.build import builders
from tests.support.presets import randomise


def tiny(channels: int = 6, factor: int = 4) -> Autoencoder:
    torch.manual_seed(0)
    return Autoencoder(channels, factor, (8, 8), (1, 1), (8, 8), (1, 1), 4).eval()


def blocks(count: int = 3000, side: int = 4) -> torch.Tensor:
    """Blocks whose pixels depend on one another: [N, 3, side, side] around 0.4."""
    generator = np.random.default_rng(0)
    mixing = generator.standard_normal((3 * side**2, 3 * side**2)) * np.geomspace(1, 0.01, 3 * side**2)
    return torch.from_numpy(0.4 + 0.05 * generator.standard_normal((count, 3 * side**2)) @ mixing.T).float().view(-1, 3, side, side)


def picture(parts: torch.Tensor, columns: int) -> torch.Tensor:
    """Blocks [N, 3, f, f] side by side: [1, 3, H, W]."""
    count, _, side, _ = parts.shape
    grid = parts.view(count // columns, columns, 3, side, side).permute(2, 0, 3, 1, 4)
    return grid.reshape(1, 3, count // columns * side, columns * side)


@torch.no_grad()
def test_at_the_start_it_is_pca() -> None:
    """Against numpy's SVD; the residuals are zero and the latent's variances are 1."""
    codec, parts = tiny(), blocks()
    codec.start(parts)
    rows = parts.double().numpy()
    mean = rows.mean((0, 2, 3), keepdims=True)
    flat = (rows - mean).reshape(len(rows), -1)
    _, _, vectors = np.linalg.svd(flat, full_matrices=False)
    expected = (flat @ vectors[:6].T @ vectors[:6]).reshape(rows.shape) + mean
    image = picture(parts, 60)
    z = codec.encode(image)
    assert torch.equal(codec.encoder(image), torch.zeros_like(z))
    made = codec.decode(z)
    assert torch.equal(codec.decoder(z), torch.zeros_like(made))
    assert np.abs(made.numpy() - picture(torch.from_numpy(expected), 60).numpy()).max() < 1e-5
    assert torch.allclose(z.square().mean((0, 2, 3)), torch.ones(6), atol=1e-3)
    lost = float((made - image).square().mean())
    assert lost == pytest.approx(float(((flat - flat @ vectors[:6].T @ vectors[:6]) ** 2).mean()), rel=1e-3)


@pytest.mark.parametrize(("channels", "factor", "size"), [(6, 4, (32, 48)), (8, 8, (32, 48)), (3, 2, (6, 10))])
@torch.no_grad()
def test_shapes_and_the_residuals_of_random_weights(channels: int, factor: int, size: tuple[int, int]) -> None:
    codec = tiny(channels, factor)
    codec.start(blocks(500, factor))
    image = torch.rand(2, 3, *size)
    before = codec.decode(codec.encode(image))
    randomise(codec, 3)
    z = codec.encode(image)
    assert z.shape == (2, channels, size[0] // factor, size[1] // factor)
    assert codec.decode(z).shape == image.shape
    assert not torch.allclose(codec.decode(z), before)


@torch.no_grad()
def test_normalised_latents_have_zero_mean_and_unit_variance_and_mean_the_same() -> None:
    codec = tiny()
    codec.start(blocks())
    randomise(codec, 3)
    image = torch.rand(4, 3, 64, 64)
    before = codec.decode(codec.encode(image))
    for _ in range(2):  # and again it changes nothing
        codec.normalise(codec.encode(image))
        z = codec.encode(image)
        assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(6), atol=1e-4)
        assert torch.allclose(z.std((0, 2, 3)), torch.ones(6), atol=1e-4)
        assert torch.allclose(codec.decode(z), before, atol=1e-4)


@torch.no_grad()
def test_as_a_codec_it_keeps_formats_and_takes_large_pictures_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    network = tiny()
    network.start(blocks())
    randomise(network, 3)
    codec = latent_codec(network)
    assert isinstance(codec, PCACodec)
    assert not isinstance(codec, KLCodec)
    assert (codec.channels, codec.factor, codec.fold, codec.scaling) == (6, 4, 2, 1.0)
    image = torch.rand(1, 3, 96, 160)
    z = codec.encode(image)
    assert torch.equal(z, network.encode(image))
    whole = codec.decode(z)
    assert torch.equal(whole, network.decode(z))
    assert {name.split(".")[0] for name, _ in codec.decoder().named_parameters()} == {"decoder"}
    network.to(torch.bfloat16)
    assert codec.encode(image).dtype == codec.decode(z).dtype == torch.float32
    assert torch.allclose(codec.decode(z), whole, atol=0.1)
    network.float()
    monkeypatch.setattr(vae, "TILE", 64)
    monkeypatch.setattr(vae, "OVERLAP", 32)
    assert codec.encode(image).shape == z.shape
    inside = (codec.decode(z) - whole).abs()
    assert inside.shape == image.shape
    assert float(inside.mean()) < 0.05 * float(whole.std())  # of convolutions that reach over tiles' ends


def test_a_preset_names_it_by_its_arguments_and_diffusers_is_not_imported() -> None:
    program = (
        "import sys\nfrom gencomm_cli.presets.build import builders\nfrom gencomm_cli.networks.vae import latent_codec\n"
        "latent_codec(builders()['Autoencoder'](channels=4, factor=4, encoder_widths=[8, 8], encoder_depths=[1, 1], "
        "decoder_widths=[8, 8], decoder_depths=[1, 1], edge=4))\nprint('diffusers' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr
    assert isinstance(builders()["Autoencoder"](channels=4, factor=4), Autoencoder)
