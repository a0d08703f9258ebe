"""Every importer against what was recorded of the authors' programs: names and shapes at full size, and real trained weights.

``GENCOMM_TEST_VECTORS`` names a folder with trained weights, which are not ours to ship: ``deepjscc_cifar_*.safetensors``, each
with the arrays that Deep-JSCC-PyTorch computes with it (``…_a.npz``).
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from gencomm_cli import presets
from gencomm_cli.diffusion.cosine import cosine_alpha_bar
from gencomm_cli.networks.convolutional import ConvolutionalJSCC
from gencomm_cli.presets.build import build
from gencomm_cli.released.checkpoint import Checkpoint, read_checkpoint
from gencomm_cli.released.conversion import Conversion, convert, write_preset
from tests.support.released import recorded

GIVEN = os.environ.get("GENCOMM_TEST_VECTORS")


def empty(shapes: dict[str, Any], **renamed: str) -> dict[str, Tensor]:
    """Tensors without numbers: as convert looks at names and shapes alone, a network of any size costs nothing."""
    with torch.device("meta"):
        tensors = {name: torch.empty(shape) for name, shape in shapes.items()}
    for before, after in renamed.items():
        tensors = {name.replace(before, after): tensor for name, tensor in tensors.items()}
    return tensors


def converted(*files: dict[str, Tensor], **config: Any) -> Conversion:
    """All recorded names are mapped or dropped; convert itself sees that ours are all there, in their shapes."""
    conversion = convert([Checkpoint(Path(f"{index}.pt"), each) for index, each in enumerate(files)], None, config)
    mapped, dropped = {theirs for theirs, _ in conversion.mapped}, {theirs for theirs, _ in conversion.dropped}
    assert mapped | dropped == set().union(*files)
    assert not mapped & dropped
    return conversion


def numbers(conversion: Conversion, component: str) -> int:
    found = next(each for each in conversion.components if each.name == component)
    return sum(tensor.numel() for tensor in found.tensors.values())


def adjscc() -> dict[str, Tensor]:
    """DiffCom's files call the halves otherwise than its module does."""
    names: dict[str, Any] = recorded("diffcom_adjscc_full_keys")
    return empty({name: shape for name, (shape, _) in names.items()}, jscc_encoder="Encoder", jscc_decoder="Decoder")


def test_adjscc() -> None:
    tensors = adjscc()
    conversion = converted(tensors)
    assert conversion.method == "jscc"
    assert conversion.dropped == ()
    assert numbers(conversion, "codec") == sum(tensor.numel() for tensor in tensors.values())


@pytest.mark.parametrize(("name", "parameters"), [("ffhq_10m", 93_563_910), ("256x256_diffusion_uncond", 552_814_086)])
def test_guided_diffusion(name: str, parameters: int) -> None:
    conversion = converted(adjscc(), empty(recorded(f"diffcom_unet_keys_{name}")))
    assert conversion.method == "diffcom"
    assert conversion.dropped == ()
    assert numbers(conversion, "prior") == parameters


def test_mambajscc() -> None:
    keys = recorded("mambajscc_released_keys")
    conversion = converted(empty(keys["encoder"]), empty(keys["decoder"]), adaptation="ssm")
    mamba = conversion.components[0].config["mamba"]
    assert (mamba["code_channels"], tuple(mamba["dims"]), tuple(mamba["depths"])) == (32, (128, 192, 256, 320), (2, 2, 6, 2))


def test_cdc() -> None:
    tensors = empty(recorded("cdc_xparam_full_keys"))
    tensors["train_alphas_cumprod"] = cosine_alpha_bar().float()  # which the importer reads
    conversion = converted(tensors)
    assert {theirs.partition("_")[0] for theirs, _ in conversion.dropped} == {"train"}
    theirs = sum(tensor.numel() for name, tensor in tensors.items() if not name.startswith("train_"))
    assert theirs == 53_885_379
    assert numbers(conversion, "unet") == sum(each.numel() for name, each in tensors.items() if name.startswith("denoise_fn."))


@pytest.mark.skipif(GIVEN is None, reason="GENCOMM_TEST_VECTORS names no folder with real trained weights")
@pytest.mark.parametrize(("name", "snr_db"), [("deepjscc_cifar_c4_snr13_awgn", 13.0), ("deepjscc_cifar_c8_snr7_awgn", 7.0)])
def test_real_trained_weights_compute_what_their_program_does(name: str, snr_db: float, tmp_path: Path) -> None:
    """Through the whole import: the file, the preset on disk, and the codec that is built of it."""
    source = tmp_path / "epoch_999.safetensors"
    shutil.copyfile(Path(str(GIVEN)) / f"{name}.safetensors", source)
    conversion = convert([read_checkpoint(source)], None, {})
    assert {theirs for theirs, _ in conversion.mapped} == set(load_file(source))
    write_preset(conversion, tmp_path / "preset", "cifar", [source])
    component = presets.load_config(tmp_path / "preset").components["codec"]
    codec = cast(ConvolutionalJSCC, build(component, torch.device("cpu")))
    with np.load(Path(str(GIVEN)) / f"{name}_a.npz", allow_pickle=False) as archive:
        vector = {key: torch.from_numpy(archive[key]) for key in archive.files if key.startswith(("in.", "out."))}
    image = vector["in.image"]
    size = (image.shape[2], image.shape[3])
    told, count = torch.full((len(image),), snr_db), codec.symbols(1, size)
    with torch.no_grad():
        sent = codec.encode(image, count, told)
        reals = codec.conventions.unpair(sent, vector["out.encoder"].shape[1:])
        torch.testing.assert_close(reals, vector["out.encoder"], atol=2e-6, rtol=0)
        for heard, picture in (("received", "image"), ("encoder", "image_noiseless")):
            symbols = codec.conventions.pair(vector[f"out.{heard}"]) / 2**0.5  # of power 1 a symbol
            torch.testing.assert_close(codec.decode(symbols, size, told), vector[f"out.{picture}"], atol=1e-6, rtol=0)
