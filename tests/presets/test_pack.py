"""Weights in 8 bits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from gencomm_cli import presets
from gencomm_cli.errors import InputError, ModelMismatch
from gencomm_cli.presets import file_hash
from gencomm_cli.presets import pack as packing
from gencomm_cli.presets.weights import filled


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
    restored = packing.unpacked(packing.packed({"w": weights}))["w"]
    steps = weights.flatten(1).abs().amax(1) / 127
    assert ((restored - weights).flatten(1).abs().amax(1) <= 0.5001 * steps).all()
    assert (restored[7] == 0).all()


def test_small_and_whole_number_tensors_stay_as_they_are() -> None:
    tensors = {
        "bias": torch.randn(4096),
        "tiny": torch.randn(4, 4),
        "count": torch.tensor(3),
        "table": torch.arange(5000).view(50, 100),
    }
    for name, stored in packing.packed(tensors).items():
        assert torch.equal(stored, tensors[name])


def test_a_packed_preset_verifies_loads_and_is_half_the_size(tmp_path: Path) -> None:
    source, target = models_folder(tmp_path), tmp_path / "packed"
    tables = source / "shared/tables.safetensors"
    tables.parent.mkdir()
    save_file({"places": torch.randn(64, 64)}, tables)  # no preset names it as a network
    (written,) = packing.pack_folder(source, target)
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
    again = packing.pack_folder(target, tmp_path / "again")[0]
    assert again.read_bytes() == written.read_bytes()


def test_hostile_scales_and_folders_are_refused(tmp_path: Path) -> None:
    stored = packing.packed({"w": torch.randn(40, 40)})
    with pytest.raises(ValueError, match="has no matrix"):
        packing.unpacked({**stored, "w" + packing.SCALE: torch.ones(39)})
    with pytest.raises(ValueError, match="has no matrix"):
        packing.unpacked({"w" + packing.SCALE: torch.ones(40)})
    with pytest.raises(InputError, match="no preset in it"):
        packing.pack_folder(tmp_path, tmp_path / "out")
    source = models_folder(tmp_path)
    with pytest.raises(InputError, match="name a new folder"):
        packing.pack_folder(source, source)
    target = tmp_path / "packed"
    path = packing.pack_folder(source, target)[0]
    save_file({**load_file(path), "0.weight" + packing.SCALE: torch.ones(3)}, path)
    with pytest.raises(ModelMismatch, match="does not fit"):
        filled(network, presets.load_config(target / "lrisc/mine").components["n"], torch.device("cpu"))
