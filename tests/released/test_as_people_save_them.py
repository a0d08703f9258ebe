"""One codec in the ways in which people save checkpoints: imported with the weights that went in, or refused in one line."""

from __future__ import annotations

import argparse
import array
import collections
import datetime
import decimal
import enum
import fractions
import functools
import io
import ipaddress
import itertools
import operator
import pathlib
import pickle
import random
import re
import typing
import uuid
import zipfile
import zoneinfo
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import Tensor, nn

from gencomm_cli.errors import GencommError
from gencomm_cli.methods import importers
from gencomm_cli.networks.convolutional import ConvolutionalJSCC, ConvolutionalJSCCConfig
from gencomm_cli.released import conversion
from gencomm_cli.released.checkpoint import files_in, read_checkpoint
from gencomm_cli.released.conversion import convert

torch.manual_seed(0)
CODEC = ConvolutionalJSCC(ConvolutionalJSCCConfig(2))
STATE = {name: tensor.clone() for name, tensor in CODEC.state_dict().items()}


class Phase(enum.Enum):
    TRAIN = 1


class Flags(enum.IntFlag):
    ONE = 1
    TWO = 2


class ByName(enum.Enum):
    TRAIN = 1

    def __reduce_ex__(self, protocol: Any) -> Any:
        return getattr, (self.__class__, self._name_)  # as enumerations of the standard library are


class Outer:
    class Config:
        def __init__(self) -> None:
            self.rate = 1


class Moved:
    """Pickles as a global of another name: what another version of Python, or of a library, would write."""

    def __init__(self, module: str, name: str, *arguments: Any) -> None:
        self.place, self.arguments = (module, name), arguments


class Renaming(pickle._Pickler):
    """Writes :class:`Moved` by its place, which need not exist here."""

    def save(self, obj: Any, save_persistent_id: bool = True) -> None:
        if not isinstance(obj, Moved):
            return super().save(obj, save_persistent_id)  # type: ignore[misc, no-any-return]
        self.write(pickle.GLOBAL + f"{obj.place[0]}\n{obj.place[1]}\n".encode())  # type: ignore[attr-defined]
        super().save(obj.arguments)  # type: ignore[misc]
        self.write(pickle.REDUCE)  # type: ignore[attr-defined]


RENAMING = SimpleNamespace(Pickler=Renaming, __name__="renaming")


def under(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def optimiser() -> torch.optim.Optimizer:
    found = torch.optim.Adam(CODEC.parameters())
    sum(parameter.sum() for parameter in CODEC.parameters()).backward()  # type: ignore[union-attr]
    found.step()
    CODEC.load_state_dict(STATE)
    return found


def beside(value: Any) -> dict[str, Any]:
    return {"model_state_dict": STATE, "beside": value}


class Bound(nn.Module):
    """Keeps one of its own methods under another name."""

    def __init__(self) -> None:
        super().__init__()
        self.codec, self.again = CODEC, self.extra_repr


KINDS: dict[str, Any] = {
    "state dict": STATE,
    "ordered": collections.OrderedDict(STATE),
    "parameters": {name: nn.Parameter(tensor) for name, tensor in STATE.items()},
    "DataParallel": under("module."),
    "compiled": under("_orig_mod."),
    "compiled DDP": under("_orig_mod.module."),
    "compiled parts": {name.replace("coder.", "coder._orig_mod.", 1): tensor for name, tensor in STATE.items()},
    "Lightning net": {"state_dict": under("net."), "pytorch-lightning_version": "2.4.0"},
    "Lightning model": {"state_dict": under("model."), "hyper_parameters": {"lr": 1e-4}},
    "Lightning, with a loss": {"state_dict": under("model.net.") | {f"lpips.{layer}.weight": torch.ones(2) for layer in (0, 1)}},
    "an odd prefix": under("jscc_codec_v2."),
    "model_state": {"model_state": STATE, "epoch": 3},
    "network": {"network": STATE},
    "weights": {"weights": STATE},
    "DeepSpeed": {"module": STATE, "dp_world_size": 2},
    "a list": [STATE, 7],
    "a tuple": (STATE, {"lr": 1e-3}),
    "with an optimiser": {"epoch": 1, "model_state_dict": STATE, "optimizer": optimiser().state_dict()},
    "an optimiser beside an odd name": {"jscc": STATE, "adam": optimiser().state_dict()},
    "an average": {"model": STATE, "ema_model": STATE},
    "an average without names": {"model": STATE, "ema": {"decay": 0.999, "shadow_params": [*STATE.values()]}},
    "Path": beside(pathlib.PosixPath("/data")),
    "Path of Python 3.13": beside(Moved("pathlib._local", "PosixPath", "data", "x")),
    "Path of Windows": beside(Moved("pathlib", "WindowsPath", "data")),
    "Namespace": beside(argparse.Namespace(data=pathlib.PosixPath("/data"), snr=7, now=datetime.datetime(2024, 1, 1))),
    "times": beside(
        [datetime.datetime.now(datetime.UTC), datetime.date(2024, 1, 1), datetime.timedelta(1), zoneinfo.ZoneInfo("UTC")]
    ),
    "collections": beside(
        [collections.defaultdict(list, a=[1]), collections.deque([1], 3), collections.Counter("aa"), {1}, frozenset({2})]
    ),
    "numbers": beside([decimal.Decimal("1.5"), fractions.Fraction(1, 3), 1j, range(3), slice(1), bytearray(b"a"), b"\xff", 2**70]),
    "enumerations": beside([Phase.TRAIN, Flags.ONE | Flags.TWO, re.IGNORECASE]),
    "an enumeration by name": beside(ByName.TRAIN),
    "a class in a class": beside(Outer.Config()),
    "other standard values": beside(
        [uuid.UUID(int=1), ipaddress.ip_address("127.0.0.1"), re.compile("a"), array.array("d", [1.0]), random.Random(0),
         functools.partial(nn.LayerNorm, eps=1e-6), operator.itemgetter("x"), SimpleNamespace(a=1)]
    ),
    "numpy": beside(
        [np.float64(31.2), np.arange(2.0), np.random.get_state(), np.dtype("f4"), np.ma.masked_array([1.0], [True])]  # noqa: NPY002
    ),
    "numpy's generators": beside([np.random.RandomState(0), np.random.default_rng(0)]),
    "torch values": beside([torch.device("cpu"), torch.float32, torch.Size([1]), torch.strided, torch.get_rng_state()]),
    "tensors of other kinds": beside(
        [torch.eye(3).to_sparse(), torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8), torch.empty(3, device="meta"),
         Moved("torch._utils", "_rebuild_nested_tensor", 1), Moved("torch._utils", "_rebuild_device_tensor_from_numpy", 1)]
    ),
    "types of values": beside([typing.Dict[str, int], typing.Optional[int], list[int], typing.Any]),  # noqa: UP006, UP045
    "a counter": beside(itertools.count(3)),
    "pandas": beside(
        [Moved("pandas._libs.internals", "_unpickle_block", np.ones(1)), Moved("pandas.core.indexes.base", "_new_Index"),
         Moved("pandas._libs.tslibs.timestamps", "_unpickle_timestamp", 1)]
    ),
    "half": {name: tensor.half() for name, tensor in STATE.items()},
    "bfloat16": {name: tensor.bfloat16() for name, tensor in STATE.items()},
    "double": {name: tensor.double() for name, tensor in STATE.items()},
    "a whole module": CODEC,
    "a module with a bound method": Bound(),
    "a module in a dictionary": {"model": CODEC, "epoch": 1},
}  # fmt: skip


def written(value: Any, path: Path, **how: Any) -> Path:
    torch.save(value, path, pickle_module=RENAMING, **how)
    return path


def weights(path: Path) -> dict[str, Tensor]:
    (component,) = convert([read_checkpoint(path)], None, {}).components
    return dict(component.tensors)


def same(path: Path) -> None:
    found = weights(path)
    assert found.keys() == STATE.keys()
    for name, tensor in found.items():
        assert torch.allclose(tensor.float(), STATE[name], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("name", KINDS)
def test_what_people_save(tmp_path: Path, name: str) -> None:
    same(written(KINDS[name], tmp_path / "a.pth"))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_protocol_and_the_legacy_format(tmp_path: Path, protocol: int) -> None:
    values = KINDS["numbers"]["beside"] + KINDS["collections"]["beside"] + [Outer.Config(), np.arange(3), pathlib.PosixPath("a")]
    for zipped in (True, False):
        torch.save(beside(values), tmp_path / "a.pth", pickle_protocol=protocol, _use_new_zipfile_serialization=zipped)
        same(tmp_path / "a.pth")


def test_a_folder_has_hidden_twins_and_the_hub_s_name(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "pytorch_model.bin")
    assert files_in(tmp_path) == [tmp_path / "pytorch_model.bin"]
    for name in ("a.pth", "._a.pth"):
        (tmp_path / name).touch()
    assert files_in(tmp_path) == [tmp_path / "a.pth"]


def test_safetensors_of_both_kinds(tmp_path: Path) -> None:
    for state in (STATE, under("module."), under("net.")):
        save_file(state, tmp_path / "a.safetensors")
        same(tmp_path / "a.safetensors")


def refusals() -> dict[str, tuple[bytes, str]]:
    def saved(value: Any) -> bytes:
        buffer = io.BytesIO()
        torch.save(value, buffer, pickle_module=RENAMING)
        return buffer.getvalue()

    def spoilt(number: float) -> dict[str, Tensor]:
        return STATE | {"decoder.tconv5.transconv.bias": torch.full((3,), number)}

    plain = saved(STATE)
    return {
        "LFS": (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a pointer of Git LFS"),
        "web page": (b"<!DOCTYPE html><html><title>Google Drive</title></html>", "a web page"),
        "empty": (b"", "neither a torch checkpoint"),
        "cut": (plain[: len(plain) // 2], "damaged zip"),
        "NaN": (saved(spoilt(float("nan"))), "codec: decoder.tconv5.transconv.bias holds NaN or infinite"),
        "infinite": (saved(spoilt(float("inf"))), "codec: decoder.tconv5.transconv.bias holds NaN or infinite"),
        "NaN in safetensors": (save(spoilt(float("nan"))), "holds NaN or infinite"),
        "another network": (saved(nn.Linear(2, 2).state_dict()), "of no kind that is known"),
        "os": (saved(beside(Moved("os", "system", "true"))), "it calls os.system"),
        "through a module of values": (saved(beside(Moved("pathlib", "os.system", "true"))), "it calls pathlib.os.system"),
        "getattr": (saved(beside(Moved("builtins", "getattr", "os", "system"))), "it calls builtins.getattr"),
        "import": (saved(beside(Moved("importlib", "import_module", "os"))), "it calls importlib.import_module"),
        "Python 2": (saved(beside(Moved("__builtin__", "eval", "1"))), "it calls builtins.eval"),
        "a function of others": (saved(beside(Moved("numpy.f2py.crackfortran", "getlincoef", "1", {}))), "it calls numpy.f2py"),
    }  # fmt: skip


@pytest.mark.parametrize("name", refusals())
def test_what_is_refused_in_one_line(tmp_path: Path, name: str) -> None:
    content, reason = refusals()[name]
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(GencommError, match=re.escape(reason)) as caught:
        weights(path)
    assert "\n" not in str(caught.value)
    assert "a.pth" in str(caught.value)


COPIES = {
    "bytes": (b"X" + (200_000).to_bytes(4, "little") + b"a" * 200_000, b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"),
    "lists": (b"](" + b"K\x01" * 200_000 + b"e", b"c__builtin__\nset\nh\x00\x85R"),
}


@pytest.mark.parametrize("kind", COPIES)
def test_a_memo_cannot_be_copied_without_end(tmp_path: Path, kind: str) -> None:
    """One long value, and a thousand calls that each would copy it."""
    value, call = COPIES[kind]
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("a/data.pkl", b"\x80\x02" + value + b"q\x000](" + call * 1000 + b"e.")
    with pytest.raises(GencommError, match="copies one value without end"):
        read_checkpoint(tmp_path / "a.pt")


def test_names_cannot_be_multiplied_without_end(tmp_path: Path) -> None:
    """A dictionary of many names that all hold one dictionary of many names."""
    inner = {str(number): torch.ones(1) if number == 0 else None for number in range(2000)}
    with pytest.raises(GencommError, match="no tensors by name"):
        read_checkpoint(written({str(number): inner for number in range(2000)}, tmp_path / "a.pt"))


class Broken:
    def recognises(self, tensors: Any) -> bool:
        raise RuntimeError("no\nsuch thing")


@pytest.mark.parametrize("how", ["its module", "its function"])
def test_another_package_that_is_broken_is_left_out_with_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    theirs = {"theirs": "no.such.module"} if how == "its module" else {"theirs": "tests"}
    monkeypatch.setattr(conversion, "importers", lambda: theirs | dict(importers()))
    if how == "its function":
        real: Callable[[str], Any] = conversion.converter
        monkeypatch.setattr(conversion, "converter", lambda kind: Broken() if kind == "theirs" else real(kind))
    same(written(under("net."), tmp_path / "a.pth"))
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].startswith("theirs: its importer is left out (")
