"""MambaJSCC's networks against numbers that the published program computes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gencomm_cli.networks.mamba import Adaptation, ChannelState, MambaConfig, MambaDecoder, MambaEncoder

VECTORS = Path(__file__).parent.parent / "vectors"


@pytest.mark.parametrize(("name", "adaptation"), [("no", "none"), ("ssm", "released"), ("attn", "modnet")])
def test_published_program(name: str, adaptation: Adaptation) -> None:
    with np.load(VECTORS / f"mambajscc_{name}_a.npz", allow_pickle=False) as archive:
        vector = {key: archive[key] for key in archive.files}
    args = json.loads(str(vector["meta_json"]))["args"]
    config = MambaConfig(
        channels=3, code_channels=args["out_chans"], dims=tuple(args["dims"]), depths=tuple(args["depths"]),
        states=args["ssm_d_state"], directions=args["scan_number"], adaptation=adaptation,
    )  # fmt: skip
    encoder, decoder = MambaEncoder(config), MambaDecoder(config)
    for part, network in (("encoder", encoder), ("decoder", decoder)):
        network.load_state_dict(
            {k.removeprefix(f"{part}/"): torch.from_numpy(v) for k, v in vector.items() if k.startswith(f"{part}/")}
        )
    cases = [key.removeprefix("latent_") for key in vector if key.startswith("latent_")]
    assert cases
    for case in cases:
        snr, size = case.split("_")
        channel = ChannelState(float(snr.removeprefix("snr")))
        with torch.no_grad():
            latent = encoder(torch.from_numpy(vector[f"image_{size}"]), channel)
            image = decoder(torch.from_numpy(vector[f"rx_{case}"]), channel)
        np.testing.assert_allclose(latent.numpy(), vector[f"latent_{case}"], atol=1e-3)
        np.testing.assert_allclose(image.numpy(), vector[f"recon_{case}"], atol=1e-3)


def test_released_adaptation_is_inert_on_short_sequences_and_acts_on_long_ones() -> None:
    config = MambaConfig(channels=3, code_channels=4, dims=(8, 8), depths=(1, 1), states=4, adaptation="released")
    torch.manual_seed(0)
    encoder = MambaEncoder(config).eval()
    with torch.no_grad():
        for side, differs in ((64, False), (128, True)):
            image = torch.rand(1, 3, side, side)
            low, high = (encoder(image, ChannelState(snr)) for snr in (1.0, 20.0))
            assert bool((low != high).any()) is differs


def test_four_directions_reach_every_pixel_from_every_pixel() -> None:
    config = MambaConfig(channels=1, code_channels=1, dims=(8,), depths=(1,), patch=1, states=4, directions=4, adaptation="none")
    torch.manual_seed(0)
    encoder = MambaEncoder(config)
    image = torch.randn(1, 1, 5, 7, requires_grad=True)
    encoder(image, ChannelState())[0, 0, 2, 3].backward()
    assert image.grad is not None
    assert bool((image.grad != 0).all())
