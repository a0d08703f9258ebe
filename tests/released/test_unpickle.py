"""Checkpoints are read as data: what torch writes comes back, and nothing that a file asks for is done."""

from __future__ import annotations

import builtins
import codecs
import collections
import contextlib
import functools
import io
import os
import pickle
import struct
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from gencomm_cli.errors import InputError
from gencomm_cli.released.checkpoint import read_checkpoint, read_config

FORMATS = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(value: Any, path: Path, zipped: bool = True) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=zipped)
    return path


def network() -> nn.Sequential:
    torch.manual_seed(0)
    shared = nn.PReLU()
    inner = nn.Sequential(nn.BatchNorm2d(4), shared, nn.Conv2d(4, 2, 1, bias=False), shared)
    inner.register_buffer("mask", torch.ones(3), persistent=False)
    return nn.Sequential(nn.Conv2d(3, 4, 3), inner)


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return list(found) == list(wanted) and all(
        found[name].dtype == wanted[name].dtype and torch.equal(found[name], wanted[name]) for name in wanted
    )


@FORMATS
def test_a_state_dict_comes_back(tmp_path: Path, zipped: bool) -> None:
    state = network().state_dict()
    state["turned"] = torch.arange(12.0).reshape(3, 4).T[1:]  # strided, with an offset
    state["scalar"], state["empty"] = torch.tensor(3), torch.empty(0, 2)
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.bool, torch.complex64):
        state[str(dtype)] = torch.tensor([1, 0, 1]).to(dtype)
    assert same(read_checkpoint(save(state, tmp_path / "a.pt", zipped)).tensors, state)


@FORMATS
def test_a_whole_module_is_walked_and_not_built(tmp_path: Path, zipped: bool) -> None:
    module = network()
    found = read_checkpoint(save(module, tmp_path / "a.pt", zipped))
    assert same(found.tensors, module.state_dict())  # shared modules twice, the buffer that is not persistent not at all
    assert found.wrappers == ("a whole module",)


def test_wrappers_are_taken_off(tmp_path: Path) -> None:
    module = network()
    state = module.state_dict()
    optimiser = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 3, 5, 5)).sum().backward()
    optimiser.step()
    state = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    lightning = {
        "epoch": 3, "state_dict": {f"module.{name}": tensor for name, tensor in state.items()},
        "optimizer_states": [optimiser.state_dict()], "hyper_parameters": collections.defaultdict(Path, rate=Path("a")),
        "best": np.float64(0.5), "scores": np.arange(3), "callbacks": {nn.Linear: functools.partial(nn.LayerNorm, eps=1e-6)},
    }  # fmt: skip
    found = read_checkpoint(save(lightning, tmp_path / "a.ckpt"))
    assert same(found.tensors, state)
    assert found.wrappers == ("state_dict", "module.")
    assert ("optimizer_states", "beside state_dict") in found.dropped
    averaged = {"model": state, "ema": {f"{kind}.{name}": t for kind in ("online_model", "ema_model") for name, t in state.items()}}
    found = read_checkpoint(save(averaged, tmp_path / "b.pt"))
    assert same(found.tensors, state)
    assert found.wrappers == ("ema", "ema_model.")
    assert ("online_model.0.weight", "beside the averaged weights") in found.dropped


def test_safetensors(tmp_path: Path) -> None:
    state = {"a": torch.randn(3), "b": torch.ones(2, dtype=torch.int64)}
    save_file(state, tmp_path / "a.safetensors")
    found = read_checkpoint(tmp_path / "a.safetensors").tensors
    assert same({name: found[name] for name in state}, state)
    assert len(found) == 2
    (tmp_path / "a.safetensors").write_bytes((tmp_path / "a.safetensors").read_bytes()[:-4])
    with pytest.raises(InputError, match="damaged safetensors"):
        read_checkpoint(tmp_path / "a.safetensors")


class Reduced:
    """Pickles to a call of ``function``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def attacks(mark: Path) -> dict[str, Any]:
    touch = f"open({str(mark)!r}, 'w').close()"
    module = network()
    module[1].evil = Reduced(os.system, f"touch {mark}")  # type: ignore[assignment]
    return {
        "os.system": Reduced(os.system, f"touch {mark}"),
        "eval": Reduced(eval, touch),
        "exec": Reduced(exec, touch),
        "subprocess": Reduced(subprocess.check_call, ["touch", str(mark)]),
        "Popen": Reduced(subprocess.Popen, ["touch", str(mark)]),
        "open": Reduced(builtins.open, str(mark), "w"),
        "codecs": Reduced(codecs.open, str(mark), "w"),
        "getattr": Reduced(getattr, "os", "upper"),
        "torch.load": Reduced(torch.load, str(mark)),
        "load_from_bytes": Reduced(torch.storage._load_from_bytes, pickle.dumps(Reduced(os.system, f"touch {mark}"))),
        "nested": {"state_dict": {"w": torch.ones(2)}, "hyper_parameters": [Reduced(eval, touch)]},
        "module": module,
    }


@FORMATS
@pytest.mark.parametrize("name", attacks(Path("x")))
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, name: str, zipped: bool) -> None:
    mark = tmp_path / "ran"
    path = save(attacks(mark)[name], tmp_path / "a.pt", zipped)
    if name not in ("torch.load", "getattr", "Popen"):  # the last would be run beside us
        with contextlib.suppress(Exception):
            torch.load(path, weights_only=False)
        assert mark.exists()  # it is an attack indeed
        mark.unlink()
    with pytest.raises(InputError, match=r"not opened, as it calls") as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)
    assert not mark.exists()


BY_HAND = {
    "instance": b"(ios\nsystem\n(S'touch ran'\ntR.",
    "object": b"(cos\nsystem\nS'touch ran'\no.",
    "new object": b"\x80\x02cposix\nsystem\nX\x09\x00\x00\x00touch ran\x85\x81.",
    "state of a function": b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}b.",
    "state of a class": b"\x80\x02ccollections\nOrderedDict\n}b.",
    "bytes by the gigabyte": b"\x80\x05\x96\x00\x00\x00\x00\x10\x00\x00\x00.",
    "memo by the gigabyte": b"\x80\x02]r\xff\xff\xff\xff.",
    "extension": b"\x80\x02\x82\x01.",
    "a called number": b"\x80\x02K\x01)R.",
    "no end": b"\x80\x02]",
    "nothing": b"\x80",
}


@pytest.mark.parametrize("name", BY_HAND)
def test_opcodes_that_no_checkpoint_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile("a.pt", "w") as archive:
        archive.writestr("a/data.pkl", BY_HAND[name])
    with pytest.raises(InputError, match=r"a\.pt: (not opened|holds no tensors)"):
        read_checkpoint(Path("a.pt"))
    assert not Path("ran").exists()


def rezip(source: Path, target: Path, compression: int = zipfile.ZIP_STORED, **changed: bytes) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for name in old.namelist():
            new.writestr(name, changed.get(name.rpartition("/")[2].replace(".", "_"), old.read(name)))
    return target


def test_sizes_are_checked_before_anything_is_allocated(tmp_path: Path) -> None:
    path = save({"a": torch.ones(1000)}, tmp_path / "a.pt")
    read_checkpoint(rezip(path, tmp_path / "b.pt"))
    with pytest.raises(InputError, match="missing or compressed"):
        read_checkpoint(rezip(path, tmp_path / "b.pt", zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(path) as archive:
        inside = archive.read("a/data.pkl")
    huge = inside.replace(b"M\xe8\x03", b"J\xff\xff\xff\x7f")  # 1000 as 2³¹ − 1, in the storage, the size, or both
    storage_only = inside.replace(b"M\xe8\x03", b"J\xff\xff\xff\x7f", 1)
    size_only = storage_only.replace(b"M\xe8\x03", b"J\xff\xff\xff\x7f").replace(b"J\xff\xff\xff\x7f", b"M\xe8\x03", 1)
    for content, reason in ((huge, "claims more"), (storage_only, "claims 8589934588 bytes"), (size_only, "claims more")):
        with pytest.raises(InputError, match=reason):
            read_checkpoint(rezip(path, tmp_path / "b.pt", data_pkl=content))
    (tmp_path / "c.pt").write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match="damaged zip"):
        read_checkpoint(tmp_path / "c.pt")
    expanded = {str(number): torch.ones(1000).as_strided((1000,), (1,)) for number in range(50)}
    shared = torch.ones(100_000)
    expanded |= {f"again {number}": shared for number in range(9)}
    with pytest.raises(InputError, match="claims more"):
        read_checkpoint(save(expanded, tmp_path / "d.pt"))


def test_a_legacy_file_that_claims_more_than_it_has(tmp_path: Path) -> None:
    path = save({"a": torch.ones(1000)}, tmp_path / "a.pt", zipped=False)
    content = path.read_bytes()
    count = struct.pack("<q", 1000)
    assert content.count(count) == 1
    path.write_bytes(content.replace(count, struct.pack("<q", 2**60)))
    with pytest.raises(InputError, match="more than the file has"):
        read_checkpoint(path)
    path.write_bytes(content[:-8])
    with pytest.raises(InputError, match="more than the file has"):
        read_checkpoint(path)


def test_containers_in_each_other_without_end(tmp_path: Path) -> None:
    ring: dict[str, Any] = {"a": torch.ones(1)}
    ring["b"] = ring
    wide: dict[str, Any] = {"a": torch.ones(1)}
    for _ in range(60):
        wide = {"a": wide, "b": wide}
    module, doubled = nn.Sequential(nn.PReLU()), nn.Sequential(nn.PReLU())
    module._modules["again"] = module
    for _ in range(40):
        doubled = nn.Sequential(doubled, doubled)
    for number, value in enumerate((ring, wide, module, doubled)):
        with pytest.raises(InputError, match=r"without end|no tensors by name|names a tensor"):
            read_checkpoint(save(value, tmp_path / f"{number}.pt"))


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    def refused(content: bytes | None, reason: str) -> None:
        path = tmp_path / "a.pt"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=reason) as caught:
            read_checkpoint(path)
        assert "\n" not in str(caught.value)

    refused(None, "no such file")
    refused(b"", "neither a torch checkpoint nor safetensors")
    refused(b"\x89PNG\r\n", "neither a torch checkpoint nor safetensors")
    refused(pickle.dumps({"a": 1}), "not torch's")
    scripted = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.ReLU()), scripted)
    refused(scripted.getvalue(), "TorchScript")
    archive = io.BytesIO()
    np.savez(archive, a=np.ones(3))
    refused(archive.getvalue(), "zip file without tensors")
    for value, reason in (
        ({"a": 1}, "holds no tensors"),
        (torch.ones(2), "no tensors by name"),
        ({"a\x1b[2J": torch.ones(2)}, "names a tensor"),
    ):
        buffer = io.BytesIO()
        torch.save(value, buffer)
        refused(buffer.getvalue(), reason)


def test_a_configuration_is_plain_data(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("model: {size: 3}\nlist: [1, 2]\n")
    assert read_config(path) == {"model": {"size": 3}, "list": [1, 2]}
    for content, reason in (
        (f"!!python/object/apply:os.system ['touch {tmp_path}/ran']", "neither YAML nor JSON"), ("- 1", "no names"),
        ("{", "neither"),
        ("#" * 2_000_000, "too large"),
    ):  # fmt: skip
        path.write_text(content)
        with pytest.raises(InputError, match=reason):
            read_config(path)
    assert not (tmp_path / "ran").exists()
    with pytest.raises(InputError, match="cannot be read"):
        read_config(tmp_path / "none")
