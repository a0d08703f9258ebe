"""Weights in 4 to 8 bits."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from gencomm_cli import presets
from gencomm_cli.errors import InputError, ModelMismatch
from gencomm_cli.networks.autoencoder import Autoencoder
from gencomm_cli.presets import file_hash
from gencomm_cli.presets.bits import SCALE, numbers, packed, unpacked
from gencomm_cli.presets.pack import pack_folder
from gencomm_cli.presets.weights import filled
from gencomm_cli.presets.write import Part, write_preset
from tests.support.commands import Result, failed


def network() -> torch.nn.Sequential:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(16, 32, 3), torch.nn.BatchNorm2d(32), torch.nn.Conv2d(32, 2, 1))


def models_folder(root: Path) -> Path:
    folder = root / "models/lrisc/mine"
    folder.mkdir(parents=True)
    save_file(
        {key: value.half() if value.is_floating_point() else value for key, value in network().state_dict().items()},
        folder / "n.safetensors",
    )
    entry = {"class": "N", "file": "lrisc/mine/n.safetensors", "sha256": file_hash(folder / "n.safetensors"), "config": {}}
    document = {"format": "gencomm-preset", "version": 1, "method": "lrisc", "components": {"n": entry}, "settings": {}}
    (folder / "config.json").write_text(json.dumps(document))
    return root / "models"


def test_no_weight_is_off_by_more_than_half_a_step_of_its_row() -> None:
    torch.manual_seed(1)
    weights = torch.randn(40, 3, 5, 5) * torch.logspace(-6, 3, 40)[:, None, None, None]
    weights[7] = 0
    restored = unpacked(packed({"w": weights}))["w"]
    steps = weights.flatten(1).abs().amax(1) / 127
    assert ((restored - weights).flatten(1).abs().amax(1) <= 0.5001 * steps).all()
    assert (restored[7] == 0).all()


@pytest.mark.parametrize("bits", [4, 5, 6, 7])
def test_fewer_bits_are_stored_in_as_many_and_clipped_where_that_is_better(bits: int) -> None:
    torch.manual_seed(1)
    weights, top = torch.randn(40, 48, 3, 3), 2 ** (bits - 1) - 1
    stored = packed({"w": weights}, bits)
    assert stored["w"].dtype == torch.uint8
    assert stored["w"].shape == (40, 6 * bits, 3, 3)
    assert numbers({name: tensor.shape for name, tensor in stored.items()}) == weights.numel() + 40
    restored = unpacked(stored)["w"]
    rows, steps = weights.flatten(1), stored[f"w.{bits}bit_scale"][:, None]
    assert torch.allclose(restored.flatten(1), (rows / steps).round().clamp(-top, top) * steps)
    plain = rows.abs().amax(1, keepdim=True) / top
    unclipped = ((rows / plain).round() * plain - rows).square().mean()
    error = (restored - weights).square().mean()
    assert error < unclipped if bits < 6 else error <= unclipped
    assert all(packed(stored, bits)[name] is tensor for name, tensor in stored.items())  # what is packed already stays


def test_ends_of_the_range_and_odd_widths() -> None:
    weights = torch.linspace(-1, 1, 64).repeat(32, 1)
    restored = unpacked(packed({"w": weights}, 4))["w"]
    assert (restored - weights).abs().max() <= 0.5001 / 7
    odd = packed({"w": torch.randn(40, 42), "basis": torch.randn(40, 48)}, 5, {"basis"})
    assert (odd["w"].dtype, odd["basis"].dtype) == (torch.int8, torch.float32)


def test_small_and_whole_number_tensors_stay_as_they_are() -> None:
    tensors = {
        "bias": torch.randn(4096),
        "tiny": torch.randn(4, 4),
        "count": torch.tensor(3),
        "table": torch.arange(5000).view(50, 100),
    }
    for name, stored in packed(tensors).items():
        assert torch.equal(stored, tensors[name])


def test_a_packed_preset_verifies_loads_and_is_half_the_size(tmp_path: Path) -> None:
    source, target = models_folder(tmp_path), tmp_path / "packed"
    tables = source / "shared/tables.safetensors"
    tables.parent.mkdir()
    save_file({"places": torch.randn(64, 64)}, tables)  # no preset names it as a network
    (written,) = pack_folder(source, target)
    assert (target / "shared/tables.safetensors").read_bytes() == tables.read_bytes()
    preset = presets.load_config(target / "lrisc/mine")
    presets.verify(preset)
    assert load_file(written)["0.weight"].dtype == torch.int8
    assert written.stat().st_size < 0.65 * (source / "lrisc/mine/n.safetensors").stat().st_size
    loaded, original = filled(network, preset.components["n"], torch.device("cpu")), network().eval()
    image = torch.randn(1, 16, 8, 8)
    with torch.no_grad():
        error = (loaded(image) - original(image)).square().mean() / original(image).square().mean()
    assert 0 < error < 1e-4
    again = pack_folder(target, tmp_path / "again")[0]
    assert again.read_bytes() == written.read_bytes()


def test_buffers_stay_as_they_are(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {
        "encoder_widths": [16, 16],
        "encoder_depths": [1, 1],
        "decoder_widths": [16, 16],
        "decoder_depths": [1, 1],
        "edge": 8,
    }
    autoencoder = Autoencoder(channels=8, factor=8, **sizes)
    torch.nn.init.normal_(autoencoder.basis)
    folder = tmp_path / "models/textguided/mine"
    write_preset(folder, "textguided", {"vae": Part("Autoencoder", {"channels": 8, "factor": 8, **sizes}, autoencoder, folder)}, {})
    (written,) = pack_folder(tmp_path / "models", tmp_path / "packed", 5)
    stored = load_file(written)
    assert torch.equal(stored["basis"], autoencoder.basis.half())
    assert any(name.endswith(".5bit_scale") for name in stored)


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        ("9", "--bits 9: give 4 to 8"),
        ("5,n", "5,n: give 4 to 8"),
        ("5,n=3", "give 4 to 8"),
        ("5,o=8", "no network is called o; there is: n"),
    ],
)
def test_bits_that_cannot_be_are_refused(here: Callable[..., Result], bits: str, said: str) -> None:
    models_folder(Path())
    failed(here("models", "pack", "models", "-o", "packed", "--bits", bits), 2, said)
    assert not Path("packed").exists()


def test_single_networks_have_bits_of_their_own(here: Callable[..., Result]) -> None:
    models_folder(Path())
    assert here("models", "pack", "models", "-o", "packed", "--bits", "5,n=6").returncode == 0
    assert "0.weight.6bit_scale" in load_file("packed/lrisc/mine/n.safetensors")


def test_hostile_scales_and_folders_are_refused(tmp_path: Path) -> None:
    stored = packed({"w": torch.randn(40, 40)})
    with pytest.raises(ValueError, match="has no matrix"):
        unpacked({**stored, "w" + SCALE.format(8): torch.ones(39)})
    with pytest.raises(ValueError, match="has no matrix"):
        unpacked({"w" + SCALE.format(8): torch.ones(40)})
    five = packed({"w": torch.randn(40, 40)}, 5)
    with pytest.raises(ValueError, match="no matrix of 5 bits"):
        unpacked({**five, "w": five["w"].to(torch.int8)})
    with pytest.raises(ValueError, match="no matrix of 6 bits"):
        unpacked({"w": five["w"][:, :20], "w.6bit_scale": five["w.5bit_scale"]})
    with pytest.raises(InputError, match="no preset in it"):
        pack_folder(tmp_path, tmp_path / "out")
    source = models_folder(tmp_path)
    with pytest.raises(InputError, match="name a new folder"):
        pack_folder(source, source)
    target = tmp_path / "packed"
    path = pack_folder(source, target)[0]
    save_file({**load_file(path), "0.weight" + SCALE.format(8): torch.ones(3)}, path)
    with pytest.raises(ModelMismatch, match="does not fit"):
        filled(network, presets.load_config(target / "lrisc/mine").components["n"], torch.device("cpu"))
