"""Stable Cascade, imported, against the networks that have its published numbers (see their own tests), under its own names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from diffusers.models import StableCascadeUNet
from torch import Tensor

from gencomm_cli.diffusion.cascade import PaellaVQModel
from gencomm_cli.diffusion.embedding import Previewer
from gencomm_cli.errors import InputError
from gencomm_cli.jscc.efficientnet import EfficientNetEncoder
from gencomm_cli.released import stable_cascade
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import convert
from tests.jscc.test_efficientnet import cascade_encoder_shapes
from tests.published import VECTORS
from tests.released.conftest import Import

STAGE_A: dict[str, Any] = {"bottleneck_blocks": 2, "embed_dim": 16, "num_vq_embeddings": 8, "scale_factor": 0.43}
STAGE_B: dict[str, Any] = {
    "in_channels": 4, "out_channels": 4, "timestep_ratio_embedding_dim": 8, "patch_size": 2, "conditioning_dim": 12,
    "block_out_channels": [16, 128], "num_attention_heads": [-1, 2], "down_num_layers_per_block": [1, 2],
    "up_num_layers_per_block": [2, 1], "down_blocks_repeat_mappers": [1, 1], "up_blocks_repeat_mappers": [2, 2],
    "block_types_per_layer": [["SDCascadeResBlock", "SDCascadeTimestepBlock"],
                              ["SDCascadeResBlock", "SDCascadeTimestepBlock", "SDCascadeAttnBlock"]],
    "clip_text_pooled_in_channels": 20, "clip_seq": 3, "effnet_in_channels": 16, "pixel_mapper_in_channels": 3,
    "timestep_conditioning_type": ["sca"], "dropout": [0.0, 0.0],
}  # fmt: skip


def stage_a_names(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.replace("vquantizer.embedding.", "vquantizer.codebook."): tensor for name, tensor in ours.items()}


def stage_b_names(ours: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published names: attention's three projections are one tensor."""
    theirs = {}
    for name, tensor in ours.items():
        if ".to_q." in name:
            parts = [ours[name.replace(".to_q.", f".to_{part}.")] for part in "qkv"]
            theirs[name.replace(".to_q.", ".attn.in_proj_")] = torch.cat(parts)
        elif ".to_k." not in name and ".to_v." not in name:
            theirs[name.replace(".to_out.0.", ".attn.out_proj.").replace("clip_txt_pooled_mapper", "clip_mapper")] = tensor
    return theirs


@torch.no_grad()
def test_the_imported_networks_compute_what_the_published_ones_do(imported: Import) -> None:
    torch.manual_seed(0)
    encoder, vqgan, previewer = EfficientNetEncoder().eval(), PaellaVQModel(**STAGE_A).eval(), Previewer(16, 16).eval()
    unet = StableCascadeUNet(**STAGE_B).eval()
    for parameter in unet.parameters():
        torch.nn.init.normal_(parameter, std=0.2)  # some start at zero
    extra = {"channel_context_mapper.0.weight": torch.ones(4, 3, 1, 1), "channel_context_mapper.0.bias": torch.ones(4)}
    networks = imported(
        encoder.state_dict(), stage_a_names(vqgan.state_dict()) | {"vquantizer.ema_element_count": torch.ones(8)},
        stage_b_names(unet.state_dict()) | extra, previewer.state_dict(),
    )  # fmt: skip
    image = torch.rand(1, 3, 64, 32)
    z = encoder(image)
    torch.testing.assert_close(networks["encoder"](image), z)
    torch.testing.assert_close(networks["previewer"](z), previewer(z))
    latent = vqgan.encode(image).latents
    stage_a = cast(Any, networks["stage_a"])
    torch.testing.assert_close(stage_a.encode(image).latents, latent)
    torch.testing.assert_close(stage_a.decode(latent).sample, vqgan.decode(latent).sample)
    assert stage_a.config.scale_factor == 0.43
    time, text = torch.tensor([0.4]), torch.zeros(1, 1, 20)
    ours = cast(Any, networks["stage_b"])(latent, time, text, effnet=z).sample
    torch.testing.assert_close(ours, unet(latent, time, text, effnet=z).sample)


def test_the_published_files_are_recognised_at_their_full_size() -> None:
    keys = json.loads((VECTORS / "cascade_released_keys.json").read_text())
    with torch.device("meta"):
        tensors = [
            {name: torch.empty(shape) for name, shape in keys[part]["state_dict"].items()} for part in ("stage_b_lite", "stage_a")
        ]
        tensors.append({name: torch.empty(shape) for name, shape in cascade_encoder_shapes().items()})
    conversion = convert([Checkpoint(Path(f"{index}.safetensors"), each) for index, each in enumerate(tensors)], None, {})
    assert len(conversion.mapped) == sum(map(len, tensors)) + 2 * _packed(tensors[0])
    assert conversion.dropped == ()
    found = {each.name: each.config for each in conversion.components}
    assert found["stage_b"]["block_out_channels"] == [320, 576, 1152, 1152]
    assert found["stage_b"]["num_attention_heads"][2:] == [18, 18]
    assert found["stage_a"]["bottleneck_blocks"] == 12
    assert conversion.lacks[0].startswith("previewer")


def _packed(tensors: dict[str, Tensor]) -> int:
    """Tensors that become three."""
    return sum("in_proj" in name for name in tensors)


def test_all_three_files_are_needed_and_each_once() -> None:
    marks = {name: {mark: torch.zeros(1) for mark in marks} for name, marks in stable_cascade.MARKS.items()}
    with pytest.raises(InputError, match=r"stage_a.safetensors, stage_b\*.safetensors is missing; give"):
        convert([Checkpoint(Path("e.safetensors"), marks["encoder"])], None, {})
    with pytest.raises(InputError, match=r"b\.safetensors: is a second stage_b beside a\.safetensors"):
        convert([Checkpoint(Path(f"{name}.safetensors"), marks["stage_b"]) for name in "ab"], None, {})
