"""Stages A and B against the published program's numbers and names; previewer; what belongs to the condition."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_stable_cascade_unet_single_file_to_diffusers
from diffusers.models import StableCascadeUNet

from gencomm_cli.methods.scsic.cascade import PaellaVQModel, StageA, StageB
from gencomm_cli.methods.scsic.method import preview, resize, with_reliability
from gencomm_cli.methods.scsic.previewer import Previewer
from gencomm_cli.networks import vae
from tests.support.presets import STAGE_A

VECTORS = Path(__file__).parents[2] / "vectors"
BLOCKS = {"C": "SDCascadeResBlock", "T": "SDCascadeTimestepBlock", "A": "SDCascadeAttnBlock"}
LITE = {
    "c_in": 4, "c_out": 4, "c_r": 64, "patch_size": 2, "c_cond": 1280, "c_clip": 1280, "c_clip_seq": 4, "c_effnet": 16,
    "c_hidden": [320, 576, 1152, 1152], "nhead": [-1, 9, 18, 18], "blocks": [[2, 4, 14, 4], [4, 14, 4, 2]],
    "block_repeat": [[1, 1, 1, 1], [2, 2, 2, 2]], "level_config": ["CT", "CT", "CTA", "CTA"], "t_conds": ["sca"],
}  # fmt: skip
"""The 700 M stage B, in the published program's words."""


def vectors(stage: str) -> tuple[dict[str, np.ndarray], dict[str, torch.Tensor], dict[str, Any]]:
    with np.load(VECTORS / f"cascade_stage_{stage}_a.npz", allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    state = {key.removeprefix("sd/"): torch.from_numpy(value) for key, value in arrays.items() if key.startswith("sd/")}
    return arrays, state, json.loads(str(arrays["meta_json"]))["args"]


def stage_b(args: dict[str, Any]) -> StableCascadeUNet:
    """diffusers' network for the published program's arguments."""
    return StableCascadeUNet(
        in_channels=args["c_in"], out_channels=args["c_out"], timestep_ratio_embedding_dim=args["c_r"],
        patch_size=args["patch_size"], conditioning_dim=args["c_cond"], block_out_channels=args["c_hidden"],
        num_attention_heads=args["nhead"], down_num_layers_per_block=args["blocks"][0],
        up_num_layers_per_block=args["blocks"][1], down_blocks_repeat_mappers=args["block_repeat"][0],
        up_blocks_repeat_mappers=args["block_repeat"][1],
        block_types_per_layer=[[BLOCKS[letter] for letter in level] for level in args["level_config"]],
        clip_text_pooled_in_channels=args["c_clip"], clip_seq=args["c_clip_seq"], effnet_in_channels=args["c_effnet"],
        pixel_mapper_in_channels=3, timestep_conditioning_type=args["t_conds"], dropout=[0.0] * len(args["c_hidden"]),
    )  # fmt: skip


def our_names(released: dict[str, Any]) -> dict[str, Any]:
    """diffusers' names of the published stage A's tensors."""
    return {key.replace("vquantizer.codebook.", "vquantizer.embedding."): value for key, value in released.items()}


@torch.no_grad()
def test_stage_a_gives_the_published_numbers() -> None:
    arrays, state, args = vectors("a")
    vqgan = PaellaVQModel(
        levels=args["levels"], bottleneck_blocks=args["bottleneck_blocks"], embed_dim=args["c_hidden"],
        latent_channels=args["c_latent"], num_vq_embeddings=args["codebook_size"], scale_factor=0.43,
    )  # fmt: skip
    vqgan.load_state_dict(our_names(state))
    stage = StageA(vqgan).eval()
    assert (stage.channels, stage.factor) == (4, 4)
    latent = stage.encode(torch.from_numpy(arrays["image"]))
    np.testing.assert_allclose(latent.numpy(), arrays["latent"], atol=1e-5)
    for given, expected in (("latent", "recon"), ("latent_random", "recon_random")):
        np.testing.assert_allclose(stage.decode(torch.from_numpy(arrays[given])).numpy(), arrays[expected], atol=1e-5)


@torch.no_grad()
def test_a_large_picture_is_decoded_in_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles that overlap leave soft seams, where tiles side by side leave hard ones; what fits is decoded at once."""
    monkeypatch.setattr(vae, "TILE", 64)
    monkeypatch.setattr(vae, "OVERLAP", 32)
    torch.manual_seed(0)
    stage = StageA(PaellaVQModel(**{**STAGE_A, "bottleneck_blocks": 0})).eval()
    seen: list[tuple[int, int]] = []
    network = stage._decode

    def note(latent: torch.Tensor) -> torch.Tensor:
        seen.append((latent.shape[2], latent.shape[3]))
        return network(latent)

    monkeypatch.setattr(stage, "_decode", note)
    small, large = torch.randn(1, 4, 16, 32), torch.randn(2, 4, 40, 56)
    torch.testing.assert_close(stage.decode(small), network(small), rtol=0, atol=0)  # 64 × 128 pixels are not more than two tiles
    assert seen == [(16, 32)]
    whole, parts = network(large), stage.decode(large)
    assert seen[1:] == [(16, 16)] * (4 * 6)
    torch.testing.assert_close(parts[..., :32, :32], whole[..., :32, :32])  # of one tile alone, far from its ends
    hard = torch.cat([torch.cat([network(part) for part in row.split(8, 3)], 3) for row in large.split(8, 2)], 2)
    error, seams = (float((made - whole).abs().max()) for made in (parts, hard))
    assert 0 < error < 0.15 * float(whole.std())
    assert error < 0.25 * seams


@torch.no_grad()
def test_stage_b_gives_the_published_numbers() -> None:
    arrays, state, args = vectors("b")
    unet = stage_b(args).eval()
    unet.load_state_dict(convert_stable_cascade_unet_single_file_to_diffusers(state))
    x, time, condition, text = (torch.from_numpy(arrays[name]) for name in ("x", "r", "effnet", "clip"))
    np.testing.assert_allclose(unet.get_timestep_ratio_embedding(time).numpy(), arrays["r_embed"], atol=3e-4)
    conditional = unet(x, time, text[:, None], effnet=condition).sample
    np.testing.assert_allclose(conditional.numpy(), arrays["out"], atol=3e-4)
    stage = StageB(unet)
    np.testing.assert_allclose(stage(x, time, torch.zeros_like(condition)).numpy(), arrays["out_uncond"], atol=3e-4)
    assert float((stage(x, time, condition) - torch.from_numpy(arrays["out_uncond"])).abs().max()) > 0.01
    assert stage.multiple == 4


def test_the_full_size_has_the_published_names_and_shapes() -> None:
    released = json.loads((VECTORS / "cascade_released_keys.json").read_text())
    with torch.device("meta"):
        unet, vqgan = stage_b(LITE), PaellaVQModel(scale_factor=0.43)
        theirs = {name: torch.empty(shape) for name, shape in released["stage_b_lite"]["state_dict"].items()}
    unet.load_state_dict(convert_stable_cascade_unet_single_file_to_diffusers(theirs), assign=True)  # strict: names and shapes
    assert sum(parameter.numel() for parameter in unet.parameters()) == released["stage_b_lite"]["n_params"] == 699_471_248
    shapes = {name: tuple(shape) for name, shape in our_names(released["stage_a"]["state_dict"]).items()}
    assert {name: tuple(tensor.shape) for name, tensor in vqgan.state_dict().items()} == shapes
    assert (StageA(vqgan).factor, StageB(unet).multiple) == (4, 16)


def test_the_published_previewers_layers() -> None:
    with torch.device("meta"):
        shapes = {name: tuple(tensor.shape) for name, tensor in Previewer().state_dict().items()}
    for name, shape in {
        "blocks.0.weight": (512, 16, 1, 1), "blocks.2.running_mean": (512,), "blocks.3.weight": (512, 512, 3, 3),
        "blocks.6.weight": (512, 256, 2, 2), "blocks.12.weight": (256, 128, 2, 2), "blocks.18.weight": (128, 128, 2, 2),
        "blocks.21.weight": (128, 128, 3, 3), "blocks.24.weight": (3, 128, 1, 1),
    }.items():  # fmt: skip
        assert shapes[name] == shape, name
    assert Previewer(16, 8).eval()(torch.randn(2, 16, 3, 4)).shape == (2, 3, 24, 32)
    assert preview(Previewer(16, 8).eval(), torch.randn(1, 16, 3, 4), (70, 50)).shape == (1, 3, 70, 50)


def test_what_the_encoder_sees() -> None:
    image = torch.zeros(1, 3, 512, 384)
    image[..., ::2] = 1
    low, near = resize(image, (12, 9), True), resize(image, (12, 9), False)
    assert low.shape == near.shape == (1, 3, 384, 288)
    assert set(near.unique().tolist()) == {0.0, 1.0}
    assert float((low[..., 8:-8] - 0.5).abs().max()) < 0.25  # stripes of a pixel are beyond the smaller picture


def test_reliability_is_a_plane_beside_the_embedding() -> None:
    reliability = torch.rand(2, 8 * 3 * 4)
    z = torch.randn(2, 16, 3, 4)
    condition = with_reliability(z, reliability)
    torch.testing.assert_close(condition[:, :16], z)
    torch.testing.assert_close(condition[:, 16], reliability.view(2, 8, 3, 4).mean(1))
    with pytest.raises(RuntimeError):
        with_reliability(z, reliability[:, 1:])
