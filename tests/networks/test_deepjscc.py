"""DiffJSCC's convolutional codec against vectors of the published program and its released tensor names."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gencomm_cli.channels.equalisers import zero_forcing
from gencomm_cli.channels.fading import transmit
from gencomm_cli.networks.deepjscc import DeepJSCC, DeepJSCCConfig
from gencomm_cli.networks.rate_adaptive import to_complex, to_real

VECTORS = Path(__file__).parent.parent / "vectors"


def load(name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Constructor arguments and arrays."""
    with np.load(VECTORS / f"{name}.npz", allow_pickle=False) as archive:
        arrays = {key: torch.from_numpy(archive[key]) for key in archive.files if key != "meta_json"}
        return json.loads(str(archive["meta_json"]))["args"], arrays


@pytest.mark.parametrize("name", ["diffjscc_jscc_awgn_a", "diffjscc_jscc_rayleigh_a"])
def test_published_numbers(name: str) -> None:
    """From image to picture, every stage of it, with the published program's weights, noise and fading."""
    args, vector = load(name)
    config = DeepJSCCConfig(
        args["C_channel"], args["n_downsample"], args["ngf"], args["max_ngf_E"], args["max_ngf_D"],
        args["n_blocks_E"], args["n_blocks_D"], fading=args["channel"] == "Rayleigh",
    )  # fmt: skip
    code = DeepJSCC(config).eval()
    code.load_state_dict({key.removeprefix("sd/"): value for key, value in vector.items() if key.startswith("sd/")})
    image, snr_db = vector["image"], vector["snr_db"][:, 0]
    gain = torch.ones(len(image), dtype=torch.complex64)
    if config.fading:
        gain = torch.complex(vector["h_real"], vector["h_imag"]).flatten()
    size = (image.shape[2], image.shape[3])
    with torch.no_grad():
        torch.testing.assert_close(code.E(image, vector["csi"]), vector["latent"], atol=1e-5, rtol=0)
        sent = code.encode(image, code.symbols(0, size), snr_db, gain)
        published = torch.complex(vector["tx_real"], vector["tx_imag"]).flatten(1)
        torch.testing.assert_close(sent, published, atol=1e-5, rtol=0)
        # √N0 times a complex normal number of unit power is their 10^(−γ/20)/√2 times one of unit power a part.
        noise = to_complex(vector["noise_unit"].flatten(1)) / math.sqrt(2)
        received = transmit(sent, gain[:, None], noise, 10 ** (-snr_db / 10)[:, None])  # type: ignore[type-var]
        equalised = zero_forcing(received, gain[:, None])  # type: ignore[type-var]
        torch.testing.assert_close(to_real(equalised), vector["dec_in"].flatten(1), atol=1e-5, rtol=1e-5)
        trust = torch.ones_like(snr_db)
        for heard, picture in ((equalised, "recon"), (sent, "recon_noiseless")):
            torch.testing.assert_close(code.decode(heard, trust, size, snr_db, gain), vector[picture], atol=1e-5, rtol=0)


@pytest.mark.parametrize("channel", ["awgn", "rayleigh"])
def test_released_tensors_fit_the_full_size(channel: str) -> None:
    released = json.loads((VECTORS / f"diffjscc_jscc_released_keys_{channel}.json").read_text())
    with torch.device("meta"):
        code = DeepJSCC(DeepJSCCConfig(fading=channel == "rayleigh"))
    ours = {key: [list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in code.state_dict().items()}
    assert ours == released["state_dict"]
    assert sum(parameter.numel() for parameter in code.parameters()) == released["n_params"]


def test_published_rates() -> None:
    """A Kodak photograph takes 3,072 symbols at 1/384, as the paper's abstract counts."""
    for channels, published in ((2, 768), (4, 384), (8, 192), (16, 96), (32, 48)):
        assert DeepJSCCConfig(channels).cbr == pytest.approx(1 / published)
    with torch.device("meta"):
        assert DeepJSCC(DeepJSCCConfig(4)).symbols(10_000, (512, 768)) == 3072


def test_csi_reaches_both_ends_and_the_unknown_is_the_middle_of_the_range() -> None:
    torch.manual_seed(0)
    code = DeepJSCC(DeepJSCCConfig(2, 2, 4, 8, 8, 1, 1, fading=True, unknown_snr_db=7.0)).eval()
    for parameter in code.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    image, size, one = torch.rand(1, 3, 8, 8), (8, 8), torch.ones(1, dtype=torch.complex64)

    def sent(snr_db: float, gain: complex = 1) -> torch.Tensor:
        return code.encode(image, 4, torch.tensor([snr_db]), gain * one)

    def heard(snr_db: float, gain: complex = 1) -> torch.Tensor:
        return code.decode(sent(7.0), torch.ones(1, 4), size, torch.tensor([snr_db]), gain * one)

    with torch.no_grad():
        for end in (sent, heard):
            assert not torch.allclose(end(7.0), end(0.0))
            assert not torch.allclose(end(7.0), end(7.0, 1j))
        assert torch.equal(sent(math.nan), sent(7.0))
        assert float(sent(3.0).abs().square().mean()) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="3 symbols asked of a code that has 4"):
        code.encode(image, 3, torch.tensor([7.0]), one)
