"""CDC, imported, against the transform and the U-Net that have its published numbers (see their own tests)."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor

from gencomm_cli.diffusion.conditional_unet import ConditionalUNet, UNetConfig
from gencomm_cli.diffusion.ddim import cosine_alpha_bar
from gencomm_cli.errors import InputError, ModelMismatch
from gencomm_cli.jscc.transform import NonlinearTransform, TransformConfig
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import convert
from tests.released.conftest import Import

SIZES = TransformConfig((8, 12, 16), (True, True, True), (6, 8, 10), (12, 12, 14))
UNET = UNetConfig((8, 12, 16, 20), (6, 8, 10), time_width=16)


def released(transform: NonlinearTransform, unet: ConditionalUNet) -> dict[str, Tensor]:
    """Tensors of the training object, without the averaging's prefix."""
    found = {f"context_fn.{name}": tensor for name, tensor in transform.state_dict().items()}
    found |= {f"denoise_fn.{name}": tensor for name, tensor in unet.state_dict().items()}
    return found | {"train_alphas_cumprod": cosine_alpha_bar().float(), "loss_fn_vgg.lin0.model.1.weight": torch.ones(1, 4, 1, 1)}


@torch.no_grad()
def test_the_imported_networks_compute_what_the_published_ones_do(imported: Import) -> None:
    torch.manual_seed(0)
    transform, unet = NonlinearTransform(SIZES).eval(), ConditionalUNet(UNET).eval()
    networks = imported(released(transform, unet))
    ours, refiner = cast(NonlinearTransform, networks["transform"]), cast(ConditionalUNet, networks["unet"])
    image, noise, time = torch.rand(1, 3, 64, 32) * 2 - 1, torch.randn(1, 3, 64, 32), torch.tensor([0.4])
    z = transform.encode(image)
    torch.testing.assert_close(ours.encode(image), z)
    torch.testing.assert_close(ours.information(z), transform.information(z))
    contexts = ours.contexts(z)
    for one, other in zip(contexts, transform.contexts(z), strict=True):
        torch.testing.assert_close(one, other)
    torch.testing.assert_close(refiner(noise, time, contexts, ours.image(z, contexts)), unet(noise, time, contexts))
    assert ours.image(z, contexts).abs().max() == 0  # grey, until it is trained


def test_the_averaged_copy_is_taken_and_the_rest_reported(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = released(NonlinearTransform(SIZES), ConditionalUNet(UNET))
    averaged = {f"ema_model.{name}": tensor for name, tensor in tensors.items()}
    trained = {f"online_model.{name}": torch.zeros_like(tensor) for name, tensor in tensors.items()}
    path = tmp_path / "cdc.pt"
    torch.save({"step": 7, "ema": averaged | trained | {"initted": torch.tensor(True), "step": torch.tensor(7)}}, path)
    from gencomm_cli.released.checkpoint import read_checkpoint

    conversion = convert([read_checkpoint(path)], None, {})
    reasons = dict(conversion.dropped)
    assert reasons["online_model.denoise_fn.time_mlp.0.weight"] == "beside the averaged weights"
    assert reasons["train_alphas_cumprod"] == "a buffer of the noise schedule, which is computed"
    assert reasons["loss_fn_vgg.lin0.model.1.weight"] == "LPIPS, the loss of training"
    assert conversion.settings == {"steps": 65, "start_noise": 0.8}
    assert "transform.to_latent.weight = 1" in conversion.missed
    unet = next(each for each in conversion.components if each.name == "unet")
    assert torch.equal(unet.tensors["time_mlp.0.weight"], tensors["denoise_fn.time_mlp.0.weight"])


def test_the_full_size_is_recognised() -> None:
    with torch.device("meta"):
        tensors = released(NonlinearTransform(TransformConfig()), ConditionalUNet(UNetConfig()))
    tensors["train_alphas_cumprod"] = cosine_alpha_bar().float()
    conversion = convert([Checkpoint(Path("cdc.pt"), tensors)], None, {})
    found = {each.name: each.config for each in conversion.components}
    assert TransformConfig.from_json(found["transform"]) == TransformConfig(coarse=True)
    assert UNetConfig.from_json(found["unet"]) == UNetConfig()


def test_another_schedule_and_a_damaged_file() -> None:
    torch.manual_seed(0)
    tensors = released(NonlinearTransform(SIZES), ConditionalUNet(UNET))
    with pytest.raises(InputError, match="its schedule has 20000 steps, not the 8193"):
        convert([Checkpoint(Path("cdc.pt"), tensors | {"train_alphas_cumprod": torch.rand(20000)})], None, {})
    tensors.pop("context_fn.hyper_enc.1.0.bias")
    with pytest.raises(ModelMismatch, match="is it whole"):
        convert([Checkpoint(Path("cdc.pt"), tensors)], None, {})
