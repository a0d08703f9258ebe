"""DiffJSCC's CSI embedding and control module against the published program's numbers and its released tensor names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models import UNet2DConditionModel
from diffusers.models.embeddings import TimestepEmbedding

from gencomm_cli.methods.diffjscc.method import CsiEmbedding
from gencomm_cli.methods.diffjscc.released import control_weights
from gencomm_cli.networks.control import LatentControlNet
from gencomm_cli.networks.controlled import controlled

VECTORS = Path(__file__).parent.parent / "vectors"
NO_GAIN = torch.ones(4, dtype=torch.complex64)


def load(name: str) -> dict[str, torch.Tensor]:
    with np.load(VECTORS / f"{name}.npz", allow_pickle=False) as archive:
        return {key: torch.from_numpy(archive[key]) for key in archive.files if key != "meta_json"}


@pytest.mark.parametrize(("minimum", "scale"), [(0, 100), (0, 1), (-5, 100), (-5, 1)])
def test_published_sinusoids(minimum: int, scale: int) -> None:
    vector = load("diffjscc_snr_embed_a")
    told = CsiEmbedding(320, scale, minimum, gain=False)(vector["snr_db"], NO_GAIN)
    torch.testing.assert_close(told, vector[f"sinusoid320_min{minimum}_scale{scale}"], atol=1e-4, rtol=0)


def test_published_embedding_through_the_mlp_that_the_control_module_uses() -> None:
    vector = load("diffjscc_snr_embed_a")
    mlp = TimestepEmbedding(32, 128)
    mlp.load_state_dict(
        {f"linear_{n}.{kind}": vector[f"snr_embed/{2 * n - 2}.{kind}"].float() for n in (1, 2) for kind in ("weight", "bias")}
    )
    with torch.no_grad():
        out = mlp(CsiEmbedding(32, 100.0, 0.0, gain=False)(vector["snr_db"], NO_GAIN))
    torch.testing.assert_close(out, vector["snr_emb"], atol=1e-4, rtol=0)


def test_the_gain_follows_the_sinusoid() -> None:
    embedding = CsiEmbedding(8, 4.0)
    told = embedding(torch.tensor([3.0]), torch.tensor([0.6 - 0.8j]))
    assert told.shape == (1, embedding.size)
    assert told[0, -2:].tolist() == pytest.approx([0.6, -0.8])


TINY: dict[str, Any] = {
    "down_block_types": ("CrossAttnDownBlock2D", "DownBlock2D"), "block_out_channels": (32, 64), "layers_per_block": 1,
    "cross_attention_dim": 16, "attention_head_dim": (2, 4), "use_linear_projection": True, "csi_width": 32,
}  # fmt: skip


def test_published_controls() -> None:
    vector = load("diffjscc_controlnet_a")
    released = {key.removeprefix("control/"): value.float() for key, value in vector.items() if key.startswith("control/")}
    control = LatentControlNet(**TINY).eval()
    control.load_state_dict(control_weights(released, blocks=1))
    csi = CsiEmbedding(32, 100.0, 0.0, gain=False)(vector["snr_db"][:, 0], NO_GAIN[:2])
    with torch.no_grad():
        down, mid = control(vector["x_t"], vector["t"], vector["context"], vector["hint"], class_labels=csi, return_dict=False)
    assert len(down) == 4
    for index, ours in enumerate([*down, mid]):
        torch.testing.assert_close(ours, vector[f"control_{index}"], atol=1e-4, rtol=0)


def test_released_tensors_fit_the_full_size() -> None:
    """All of the released control module's tensors find their place, and nothing of ours stays empty."""
    released = json.loads((VECTORS / "diffjscc_controlnet_released_keys.json").read_text())
    with torch.device("meta"):
        theirs = {name: torch.empty(shape) for name, shape in released["state_dict"].items()}
        control = LatentControlNet(
            block_out_channels=(320, 640, 1280, 1280), cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20),
            use_linear_projection=True, csi_width=320,
        )  # fmt: skip
    mapped = control_weights(theirs, blocks=2)
    assert {name: value.shape for name, value in mapped.items()} == {
        name: value.shape for name, value in control.state_dict().items()
    }
    hint_bias = 320  # ours alone, and zero
    assert sum(parameter.numel() for parameter in control.parameters()) == released["n_params"] + hint_bias
    with pytest.raises(KeyError, match="decoder"):
        control_weights({"decoder.weight": torch.empty(1)}, blocks=2)


def test_an_anchored_module_mixes_as_two_estimates_of_one_latent_are_mixed() -> None:
    """With its learned part at zero, ẑ_0 is the inverse-variance mean of the network's and the hint, computed here by hand."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        **{name: value for name, value in TINY.items() if name != "csi_width"}, up_block_types=("UpBlock2D", "CrossAttnUpBlock2D")
    )
    plain = LatentControlNet.over(unet, 32)
    anchored = LatentControlNet.over(unet, 32, anchored=True)
    for name in ("lean_here", "lean_now"):
        torch.nn.init.zeros_(anchored.get_submodule(name).bias)  # type: ignore[arg-type]
    z_t, hint, text, csi = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.randn(2, 3, 16), torch.randn(2, 32)
    t = torch.tensor([900, 100])
    with torch.no_grad():
        free, held = (controlled(unet, module, z_t, t, text, hint, csi) for module in (plain, anchored))
    alpha_bar = torch.cumprod(1 - torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2, 0)
    for index, step in enumerate((900, 100)):
        a = alpha_bar[step - 1]
        estimate = (z_t[index] - (1 - a).sqrt() * free[index]) / a.sqrt()
        network, condition = (1 - a) / a, 1.0  # error variances of the two estimates, up to a common factor
        expected = (estimate / network + hint[index] / condition) / (1 / network + 1 / condition)
        found = (z_t[index] - (1 - a).sqrt() * held[index]) / a.sqrt()
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4)
