"""Released checkpoints as flat dictionaries of tensors: torch's zip and legacy files and safetensors, mapped into memory.

Nothing is allocated for what a file claims before the file is seen to hold it.
"""

from __future__ import annotations

import io
import mmap
import re
import struct
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from gencomm_cli.errors import InputError
from gencomm_cli.released.unpickle import Inert, Storage, TensorRef, module_state, read_pickle
from gencomm_cli.textfiles import read_text

WRAPPERS = ("state_dict", "ema", "ema_model", "model", "model_state_dict", "net", "params")
"""Keys under which training programs put the weights, the ones to prefer first."""
PREFIXES = ("module.", "ema_model.")
"""What wrappers put before every name: DataParallel, ema_pytorch. For any other see :meth:`Checkpoint.parts`."""
COMPILED = re.compile(r"(?:(?<=\.)|^)(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch's own wrappers put before the names of the module that they wrap, at whatever depth."""
MOST_PARTS, DEEPEST_PART = 50, 4
DTYPES = {
    "DoubleStorage": torch.float64, "FloatStorage": torch.float32, "HalfStorage": torch.float16, "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64, "IntStorage": torch.int32, "ShortStorage": torch.int16, "CharStorage": torch.int8,
    "ByteStorage": torch.uint8, "BoolStorage": torch.bool, "ComplexFloatStorage": torch.complex64,
}  # fmt: skip
LONGEST_NAME, MOST_ENTRIES = 300, 100_000
SUFFIXES = (".ckpt", ".pt", ".pth", ".tar", ".pkl", ".model", ".safetensors")
"""Of files that hold weights."""
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LARGEST_CONFIG = 1_000_000
_SHARED = 4
"""Tensors may share storage, but not to take more than this many times the file's size."""

_NAMED = (
    (b"version https://git-lfs", "a pointer of Git LFS; fetch the file itself (git lfs pull)"),
    (b"<", "a web page; fetch the file again, in a browser if its host asks something first"),
)

Bytes = Callable[[Storage, int], Tensor]
"""uint8 [n] of a storage that is said to have n bytes."""


@dataclass(frozen=True)
class Checkpoint:
    """One released file.

    Attributes:
        path: where it was. tensors: by their names, without the wrappers'; mapped from the file: copy before writing to them.
        wrappers: what was taken off, as ``state_dict`` and ``module.``. dropped: (name, reason) of what was left out with them.
    """

    path: Path
    tensors: dict[str, Tensor]
    wrappers: tuple[str, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()

    def parts(self) -> Iterator[Checkpoint]:
        """The file as it is, and then what is under each prefix that several names share (``net.``, ``model.net.``): whatever
        program wrapped the network, its weights are one of these. Outer ones first, and of these the larger."""
        yield self
        words = (name.split(".")[:-1] for name in self.tensors)
        shared = Counter(prefix for each in words for prefix in accumulate(f"{word}." for word in each[:DEEPEST_PART]))
        several = [prefix for prefix, count in shared.items() if count > 1]
        for prefix in sorted(several, key=lambda prefix: (prefix.count("."), -shared[prefix]))[:MOST_PARTS]:
            beside = tuple((name, f"beside {prefix}") for name in self.tensors if not name.startswith(prefix))
            inside = {name.removeprefix(prefix): tensor for name, tensor in self.tensors.items() if name.startswith(prefix)}
            yield Checkpoint(self.path, inside, (*self.wrappers, prefix), self.dropped + beside)


def files_in(path: Path) -> list[Path]:
    """The checkpoints in a folder, by name; a file is its own list. Raises InputError where the folder has none."""
    if not path.is_dir():
        return [path]
    found = sorted(each for each in path.iterdir() if each.suffix in SUFFIXES and each.is_file())
    if not found:
        raise InputError(f"{path}: holds no checkpoint ({', '.join(SUFFIXES)}); name the released files")
    return found


def read_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint without running anything from it.

    Raises:
        InputError: there is no such file, it is no checkpoint, it is damaged, or it calls what no checkpoint needs.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give a released checkpoint")
    with path.open("rb") as file:
        head = file.read(32)
    if head[8:9] == b"{":
        try:
            return _unwrapped(path, load_file(path), (), [])
        except (SafetensorError, OSError, ValueError) as error:
            raise InputError(f"{path}: damaged safetensors ({str(error).splitlines()[0]}); fetch it again") from None
    if what := next((what for start, what in _NAMED if head.startswith(start)), None):
        raise InputError(f"{path}: {what}")
    if not head.startswith((b"PK\x03\x04", b"\x80")):
        raise InputError(f"{path}: neither a torch checkpoint nor safetensors; give one that its authors released")
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)  # writable for torch, and never written to the file
    root, storage = _zip(path, mapped) if head.startswith(b"PK") else _legacy(path, mapped)
    flat, wrappers, beside = _flat(path, root)
    budget = [_SHARED * len(mapped) + 65536]
    tensors = {name: _materialised(path, name, value, storage, budget) for name, value in flat.items()}
    return _unwrapped(path, tensors, wrappers, beside)


def _zip(path: Path, mapped: mmap.mmap) -> tuple[Any, Bytes]:
    """The pickle of torch's zip format, and its storages; torch stores records uncompressed."""
    try:
        with zipfile.ZipFile(path) as archive:
            records = {info.filename: info for info in archive.infolist()}
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        raise InputError(f"{path}: a damaged zip file; fetch it again") from None
    pickles = [name for name in records if name == "data.pkl" or name.endswith("/data.pkl")]
    if len(pickles) != 1 or any(name.endswith("constants.pkl") for name in records):
        what = "a TorchScript archive" if pickles else "a zip file without tensors"
        raise InputError(f"{path}: {what}, not a checkpoint; give torch.save's file as released")
    stem = pickles[0].removesuffix("data.pkl")

    def extent(name: str) -> tuple[int, int]:
        info = records.get(name)
        if info is None or info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise InputError(f"{path}: its record {name} is missing or compressed, which torch's never are; fetch it again")
        header = mapped[info.header_offset : info.header_offset + 30]
        if info.header_offset < 0 or len(header) != 30 or header[:4] != b"PK\x03\x04":
            raise InputError(f"{path}: a damaged zip file; fetch it again")
        start = info.header_offset + 30 + sum(struct.unpack("<HH", header[26:30]))
        if start + info.file_size > len(mapped):
            raise InputError(f"{path}: its record {name} is longer than the file; fetch it again")
        return start, info.file_size

    if f"{stem}byteorder" in records:
        start, size = extent(f"{stem}byteorder")
        if mapped[start : start + min(size, 16)] != b"little":
            raise InputError(f"{path}: written on a big-endian machine; save it again on a usual one")

    def storage(of: Storage, size: int) -> Tensor:
        start, there = extent(f"{stem}data/{of.key}")
        if size > there:
            raise InputError(f"{path}: claims {size} bytes for a record of {there}; it is damaged or hostile")
        return _bytes(mapped, start, size)

    start, size = extent(pickles[0])
    return read_pickle(io.BytesIO(mapped[start : start + size]), str(path)), storage


def _legacy(path: Path, mapped: mmap.mmap) -> tuple[Any, Bytes]:
    """The pickles of torch's old format: magic number, version, the machine, the object, its storages' keys; and storages."""
    mapped.seek(0)
    if read_pickle(mapped, str(path)) != _LEGACY_MAGIC:  # type: ignore[arg-type]
        raise InputError(f"{path}: a pickle, but not torch's; give a checkpoint saved by torch.save")
    _version, _machine, root, keys = (read_pickle(mapped, str(path)) for _ in range(4))  # type: ignore[arg-type]
    kinds = {each.storage.key: DTYPES.get(each.storage.kind) for each in _references(root)}
    places: dict[str, tuple[int, int]] = {}
    position = mapped.tell()
    for key in map(str, keys if isinstance(keys, list) else []):
        dtype = kinds.get(key)
        if dtype is None or position + 8 > len(mapped):
            raise InputError(f"{path}: damaged (storage {key[:40]!r}); fetch it again")
        size = struct.unpack("<q", mapped[position : position + 8])[0] * dtype.itemsize
        if not 0 <= size <= len(mapped) - position - 8:
            raise InputError(f"{path}: claims {size} bytes, more than the file has; it is damaged or hostile")
        places[key] = (position + 8, size)
        position += 8 + size

    def storage(of: Storage, size: int) -> Tensor:
        start, there = places.get(of.key, (0, -1))
        if size > there:
            raise InputError(f"{path}: damaged (storage {of.key[:40]!r}); fetch it again")
        return _bytes(mapped, start, size)

    return root, storage


def _bytes(mapped: mmap.mmap, start: int, size: int) -> Tensor:
    """uint8 [size]: the file's own pages, or a copy where numbers would not lie on their boundaries."""
    if size == 0:
        return torch.empty(0, dtype=torch.uint8)
    found = torch.frombuffer(mapped, dtype=torch.uint8, count=size, offset=start)
    return found if start % 16 == 0 else found.clone()


def _references(root: Any) -> list[TensorRef]:
    """Every tensor in an object of the unpickler's, at whatever depth."""
    found, waiting, seen = [], [root], set()
    while waiting:
        current = waiting.pop()
        if isinstance(current, TensorRef):
            found.append(current)
        elif isinstance(current, dict | list | tuple | Inert) and id(current) not in seen:
            seen.add(id(current))
            inside = current.state if isinstance(current, Inert) else current
            waiting += inside.values() if isinstance(inside, dict) else inside
    return found


def _flat(path: Path, root: Any) -> tuple[dict[str, TensorRef], tuple[str, ...], list[tuple[str, str]]]:
    """Tensors by dotted names, the keys under which they lay, and what lay beside them."""
    wrappers: list[str] = []
    beside: list[tuple[str, str]] = []
    while isinstance(root, dict):
        inner = next((key for key in WRAPPERS if isinstance(root.get(key), dict | Inert) and _references(root[key])), None)
        if inner is None:
            break
        wrappers.append(inner)
        beside += [(str(key), f"beside {inner}") for key, value in root.items() if key != inner and _references(value)]
        root = root[inner]
    flat: dict[str, TensorRef] = {}
    waiting: list[tuple[str, Any]] = [("", dict(enumerate(root)) if isinstance(root, list | tuple) else root)]
    left = MOST_ENTRIES
    while waiting and left > 0:
        name, value = waiting.pop()
        if isinstance(value, Inert):
            value = module_state(value)
            wrappers += [] if name else ["a whole module"]
        left -= len(value) if isinstance(value, dict) else 1
        if isinstance(value, TensorRef) and name:
            flat[name] = value
        elif isinstance(value, dict) and len(name) <= LONGEST_NAME and left > 0:
            waiting += [(f"{name}.{key}" if name else str(key), each) for key, each in reversed(value.items())]
    if waiting or not flat:
        raise InputError(f"{path}: holds no tensors by name; give a state dict or a whole module, as released")
    return flat, tuple(wrappers), beside


def _materialised(path: Path, name: str, ref: TensorRef, storage: Bytes, budget: list[int]) -> Tensor:
    """The tensor that a reference stands for, once it is seen to lie within its storage."""
    dtype = DTYPES.get(ref.storage.kind)
    whole = all(type(number) is int and number >= 0 for number in (ref.offset, ref.storage.numbers, *ref.size, *ref.stride))
    if dtype is None or not whole or len(ref.size) != len(ref.stride) or len(ref.size) > 8:
        raise InputError(f"{path}: {name[:80]} is not a tensor that is known here ({ref.storage.kind[:40]}); it is damaged")
    count = 1
    for size in ref.size:
        count *= size
    last = ref.offset + sum((size - 1) * stride for size, stride in zip(ref.size, ref.stride, strict=True)) if count else 0
    budget[0] -= count * dtype.itemsize
    if count > ref.storage.numbers or last >= max(ref.storage.numbers, 1) or budget[0] < 0:
        raise InputError(f"{path}: {name[:80]} claims more numbers than the file holds; it is damaged or hostile")
    numbers = storage(ref.storage, ref.storage.numbers * dtype.itemsize).view(dtype)
    return numbers.as_strided(ref.size, ref.stride, ref.offset)


def _unwrapped(path: Path, tensors: dict[str, Tensor], wrappers: tuple[str, ...], dropped: list[tuple[str, str]]) -> Checkpoint:
    """Takes off what wrappers put before the names. Where an averaged copy lies beside the trained one, the average is meant."""
    names = [*tensors, *(name for name, _ in dropped)]
    if odd := next((name for name in names if not name.isprintable() or len(name) > LONGEST_NAME), None):
        raise InputError(f"{path}: names a tensor {odd[:60]!a}, as no program does; it is damaged or hostile")
    stripped = list(wrappers)
    bare = {COMPILED.sub("", name): tensor for name, tensor in tensors.items()}
    if len(bare) == len(tensors) and bare.keys() != tensors.keys():
        tensors, stripped = bare, [*stripped, "torch's own"]
    while prefix := next((each for each in PREFIXES if any(name.startswith(each) for name in tensors)), None):
        if prefix != "ema_model." and not all(name.startswith(prefix) for name in tensors):
            break
        dropped += [(name, "beside the averaged weights") for name in tensors if not name.startswith(prefix)]
        tensors = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        stripped.append(prefix)
    return Checkpoint(path, tensors, tuple(stripped), tuple(dropped))


def read_config(path: Path) -> dict[str, Any]:
    """A configuration beside the weights, YAML or JSON, as plain data.

    Raises:
        InputError: there is no such file, or it is neither.
    """
    try:
        if path.stat().st_size > _LARGEST_CONFIG:
            raise InputError(f"{path}: too large for a configuration; give the file that lies beside the weights")
        found = yaml.safe_load(read_text(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); give the configuration beside the weights") from None
    except (yaml.YAMLError, ValueError, RecursionError):
        raise InputError(f"{path}: neither YAML nor JSON; give the configuration beside the weights") from None
    if not isinstance(found, dict):
        raise InputError(f"{path}: holds no names with values; give the configuration beside the weights")
    return found
