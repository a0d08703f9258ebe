"""What is written as a preset is found, verified and loaded again."""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from gencomm_cli import presets
from gencomm_cli.errors import InputError, ModelMismatch
from gencomm_cli.outputs import umask
from gencomm_cli.presets import Component, write
from gencomm_cli.presets.bits import unpacked
from gencomm_cli.presets.write import Part, store, taken, whole, write_preset


def test_networks_tensors_files_and_pretrained_parts(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network, tensors = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2)), {"w": torch.randn(4, 3).T[:2], "n": torch.arange(3)}
    (tmp_path / "words.json").write_text("{}")
    parts: dict[str, Part | Component] = {
        "net": Part("N", {"width": 3}, network, tmp_path / "models/shared/mine"),
        "table": Part("T", {}, tensors),
        "words": Part("W", {"pad": "-"}, tmp_path / "words.json"),
        "far": Component("far", "F", None, "", {}, "some/where", "unet", revision="abc", files={"unet/config.json": "0" * 64}),
    }
    made = write_preset(tmp_path / "models/lrisc/mine", "lrisc", parts, {"steps": 2})
    presets.verify(made)
    assert (made.method, made.name, made.settings) == ("lrisc", "mine", {"steps": 2})
    paths = {name: component.path for name, component in made.components.items()}
    assert paths == {
        "net": tmp_path / "models/shared/mine/net.safetensors",
        "table": made.folder / "table.safetensors",
        "words": made.folder / "words.json",
        "far": None,
    }
    assert made.components["net"].config == {"width": 3}
    assert made.components["far"].files == {"unet/config.json": "0" * 64}
    assert (made.components["far"].subfolder, made.components["far"].revision) == ("unet", "abc")
    stored = load_file(tmp_path / "models/shared/mine/net.safetensors")
    assert stored["0.weight"].dtype == torch.float16
    assert torch.equal(stored["0.weight"], network.state_dict()["0.weight"].half())
    assert stored["1.num_batches_tracked"].dtype == torch.int64
    assert torch.equal(load_file(made.folder / "table.safetensors")["w"], tensors["w"])  # in full precision
    assert (made.folder / "table.safetensors").stat().st_mode & 0o777 == 0o644


def test_numbers_that_half_precision_cannot_hold_stay_and_what_is_no_number_is_refused(tmp_path: Path) -> None:
    first = nn.Linear(2, 2).requires_grad_(False)
    network = nn.Sequential(first, nn.Linear(2, 2))
    first.weight.copy_(torch.tensor([[70_000.0, 1.0], [2.0, 3.0]]))
    write_preset(tmp_path / "large", "lrisc", {"net": Part("N", {}, network)}, {})
    stored = load_file(tmp_path / "large/net.safetensors")
    assert {name: tensor.dtype for name, tensor in stored.items() if name.endswith("weight")} == {
        "0.weight": torch.float32, "1.weight": torch.float16
    }  # fmt: skip
    assert torch.equal(unpacked(stored)["0.weight"], first.weight)
    weights: tuple[nn.Module | dict[str, torch.Tensor], ...] = (network, {"table": torch.tensor([1.0, math.inf])})
    for broken in weights:
        first.bias[1] = math.nan
        with pytest.raises(ModelMismatch, match=r"broken/net\.safetensors: net: .* holds NaN or infinite numbers"):
            write_preset(tmp_path / "broken", "lrisc", {"net": Part("N", {}, broken)}, {})
        assert os.listdir(tmp_path / "broken") == []


def test_siblings_share_files_and_others_take_them_along(tmp_path: Path) -> None:
    weights = {"n": Part("N", {}, {"w": torch.zeros(2)}), "k": Part("K", {}, {"w": torch.ones(2)})}
    first = write_preset(tmp_path / "models/lrisc/a", "lrisc", weights, {})
    sibling = write_preset(tmp_path / "models/lrisc/b", "lrisc", first.components, {"side_share": 0.0}, "other")
    assert (sibling.name, sibling.components["n"].path) == ("other", first.components["n"].path)
    assert sibling.weights_sha256 == first.weights_sha256
    assert [path.name for path in sibling.folder.iterdir()] == ["config.json"]
    parts = {"n": taken(first.components["n"]), "m": taken(first.components["k"], tmp_path / "away/shared/s")}
    away = write_preset(tmp_path / "away/lrisc/c", "lrisc", parts, {})
    assert away.components["n"].path == away.folder / "n.safetensors"
    assert away.components["m"].path == tmp_path / "away/shared/s/k.safetensors"  # shared under its own name


def test_what_is_written_anew_leaves_other_names_of_the_old_file_alone(tmp_path: Path) -> None:
    """Files that are taken along are links where the file system can, and a link's file is never written to."""
    first = write_preset(tmp_path / "a", "lrisc", {"n": Part("N", {}, {"w": torch.zeros(2)})}, {})
    write_preset(tmp_path / "b", "lrisc", {"n": taken(first.components["n"])}, {})
    for _ in range(2):
        write_preset(tmp_path / "b", "lrisc", {"n": Part("N", {}, {"w": torch.ones(2)})}, {})
    presets.verify(first)
    again = write_preset(tmp_path / "a", "lrisc", {"n": taken(first.components["n"])}, {})  # onto itself
    presets.verify(again)


def test_a_folder_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fill(folder: Path, content: str, fails: bool = False) -> None:
        with whole(folder) as temporary:
            for name in ("config.json", "w.safetensors"):
                (temporary / name).write_text(content)
            if fails:
                raise InputError("no")

    folder = tmp_path / ("a" * 255)
    with pytest.raises(InputError, match="no"):
        fill(folder, "first", fails=True)
    assert not folder.exists()
    fill(folder, "first")
    assert {path.name: path.read_text() for path in folder.iterdir()} == {"config.json": "first", "w.safetensors": "first"}
    assert stat.S_IMODE(folder.stat().st_mode) == 0o777 & ~umask()
    with pytest.raises(InputError, match="no"):
        fill(folder, "second", fails=True)
    assert (folder / "config.json").read_text() == "first"
    replace = os.replace

    def killed(source: Path, target: Path) -> None:
        replace(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        fill(folder, "second")
    assert [path.name for path in folder.iterdir()] == ["w.safetensors"]  # no preset, rather than half of one and half of another
    assert [path.name for path in tmp_path.iterdir()] == [folder.name]


def test_weights_are_written_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: object, path: Path, notes: object) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    store({"w": torch.ones(2)}, tmp_path / "w.safetensors", {"scale": "2"})
    monkeypatch.setattr(write, "save_file", full)
    with pytest.raises(InputError, match=r"w\.safetensors: cannot be written .*No space"):
        store({"w": torch.zeros(2)}, tmp_path / "w.safetensors")
    assert load_file(tmp_path / "w.safetensors")["w"].tolist() == [1, 1]
    assert os.listdir(tmp_path) == ["w.safetensors"]


def test_a_user_without_a_home_has_presets_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)  # what Python says of a user who is not in the system's list
    for name in ("GENCOMM_MODELS", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert not presets.user_root().exists()
