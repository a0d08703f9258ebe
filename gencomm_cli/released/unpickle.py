"""Pickles read as data: a reader that knows tensors and names, and never imports, calls or builds what a file names.

A class is a :class:`Name`, an object of a class that is not known here an :class:`Inert` that holds its state. The only calls that
a file can make are those of :data:`CALLS`, which are this project's own functions; any other is refused. The pure Python unpickler
is the base, since the C one allocates what a pickle's memo indices say.
"""

from __future__ import annotations

import io
import pickle
import sys
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections.abc import Callable, Sized
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from gencomm_cli.errors import InputError

MOST_ENTRIES = 500_000
"""Modules, parameters and buffers of a whole module."""


class Name(NamedTuple):
    """A class or function that a pickle names; never looked up."""

    module: str
    name: str


class Storage(NamedTuple):
    """Where a tensor's numbers lie: torch's name of their type (``FloatStorage``), the record's key, how many there are."""

    kind: str
    key: str
    numbers: int


class TensorRef(NamedTuple):
    """A strided view of a storage, as the file has it and not yet checked."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass
class Inert:
    """An object of a class that is not known here: what was put into it, and no behaviour."""

    kind: Name
    state: dict[Any, Any] = field(default_factory=dict)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.state[key] = value

    def append(self, value: Any) -> None:
        self.state[len(self.state)] = value


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> TensorRef:
    if not isinstance(storage, Storage) or not isinstance(size, tuple) or not isinstance(stride, tuple):
        raise pickle.UnpicklingError("a tensor without storage")
    return TensorRef(storage, offset, size, stride)


def _attribute(of: Any, attribute: Any, *_: Any) -> Name:
    """How classes within classes, and enumerations that are kept by name, are named before protocol 4; and methods of objects."""
    if isinstance(of, Inert):
        of = of.kind
    if not isinstance(of, Name) or not isinstance(attribute, str) or (_standard(of) and of.module not in VALUES):
        raise pickle.UnpicklingError("it calls builtins.getattr")
    return Name(of.module, f"{of.name}.{attribute}")


CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *_: data,
    ("collections", "OrderedDict"): lambda pairs=(): dict(pairs),
    ("builtins", "set"): lambda items=(): list(items),
    ("builtins", "getattr"): _attribute,
    ("torch", "Size"): lambda items=(): tuple(items),
    ("_codecs", "encode"): lambda text, *_: text.encode("latin1"),  # how protocol 2 writes bytes
}
"""What a file may call, and what is called in its place."""

VALUES = frozenset({
    "collections", "datetime", "_pydatetime", "decimal", "_decimal", "_pydecimal", "enum", "fractions", "ipaddress", "numbers",
    "pathlib", "pathlib._local", "uuid", "zoneinfo",
})  # fmt: skip
"""Modules of the standard library with values alone: whatever is called there, an honest program may have beside its tensors."""

HARMLESS = {
    *(("builtins", kind) for kind in (
        "bytearray", "bytes", "complex", "dict", "frozenset", "list", "object", "range", "slice", "type"
    )),
    ("_operator", "getitem"), ("argparse", "Namespace"), ("array", "array"), ("array", "_array_reconstructor"),
    ("copyreg", "_reconstructor"), ("functools", "partial"), ("itertools", "count"), ("logging", "getLogger"),
    ("operator", "attrgetter"), ("operator", "itemgetter"),
    ("random", "Random"), ("re", "_compile"), ("re", "RegexFlag"), ("string", "Template"), ("time", "struct_time"),
    ("types", "GenericAlias"), ("types", "SimpleNamespace"), ("urllib.parse", "ParseResult"), ("zoneinfo", "ZoneInfo._unpickle"),
    ("torch", "device"), ("torch.serialization", "_get_layout"), ("numpy", "dtype"),
    *(("torch._utils", f"_rebuild_{kind}") for kind in (
        "tensor_v3", "sparse_tensor", "qtensor", "nested_tensor", "meta_tensor_no_storage", "device_tensor_from_numpy"
    )),
    ("pandas._libs.internals", "_unpickle_block"), ("pandas.core.indexes.base", "_new_Index"),
    ("pandas._libs.tslibs.timestamps", "_unpickle_timestamp"),
    *((f"numpy.{core}.multiarray", call) for core in ("core", "_core") for call in ("scalar", "_reconstruct")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")), ("numpy.ma.core", "_mareconstruct"),
    *(("numpy.random._pickle", f"__{kind}_ctor") for kind in ("randomstate", "generator", "bit_generator")),
    ("numpy.random.bit_generator", "__pyx_unpickle_SeedSequence"),
}  # fmt: skip
"""Likewise single names. Nothing of all this is looked up or run: such values become :class:`Inert`."""


def _standard(name: Name) -> bool:
    return name.module.partition(".")[0] in sys.stdlib_module_names


def _instance(name: Any, *, called: bool) -> Inert:
    """An object of a class that the file names. A function has no place in a checkpoint, nor has most of the standard library."""
    if not isinstance(name, Name):
        raise pickle.UnpicklingError("an object without a class")
    known = name in HARMLESS or (name.module in VALUES and "." not in name.name)
    if not known and (_standard(name) or (called and not name.name.rpartition(".")[2].lstrip("_")[:1].isupper())):
        raise pickle.UnpicklingError("it calls " + ascii(f"{name.module}.{name.name}"[:100])[1:-1])
    return Inert(name)


class _Reader(pickle._Unpickler):
    """Opcodes that make objects are this class's own; those that only an attack, or Python before 2.3, would use are left out."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = {
        code: method
        for code, method in pickle._Unpickler.dispatch.items()
        if bytes([code])
        not in (pickle.INST, pickle.OBJ, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)
    }  # fmt: skip

    budget = 0
    """How many more items the file's calls and states may copy: a memo can name one long list any number of times."""

    def find_class(self, module: str, name: str) -> Any:
        return Name(*NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name)))  # Python 2's names

    def _spend(self, *copied: Any) -> None:
        self.budget -= sum(len(each) for each in copied if isinstance(each, Sized))
        if self.budget < 0:
            raise pickle.UnpicklingError("it copies one value without end")

    def persistent_load(self, pid: Any) -> Any:
        if isinstance(pid, tuple) and len(pid) >= 2 and pid[0] == "module":
            return pid[1]  # the legacy format: a class with its source text
        if (
            not isinstance(pid, tuple)
            or len(pid) < 5
            or pid[0] != "storage"
            or not isinstance(pid[1], Name)
            or type(pid[4]) is not int
        ):
            raise pickle.UnpicklingError("a persistent id that is no storage")
        return Storage(pid[1].name, str(pid[2]), pid[4])

    def _call(self) -> None:
        arguments, name = self.stack.pop(), self.stack[-1]
        known = CALLS.get(name) if isinstance(name, Name) else None
        if name == Name("torch._tensor", "_rebuild_from_type_v2") or name == Name("torch._utils", "_rebuild_from_type_v2"):
            known, arguments = CALLS.get(arguments[0]), arguments[2]  # a tensor with attributes of its own
        self._spend(*arguments)
        self.stack[-1] = known(*arguments) if known else _instance(name, called=True)

    def _new(self) -> None:
        self.stack.pop()
        self.stack[-1] = {} if self.stack[-1] == Name("collections", "OrderedDict") else _instance(self.stack[-1], called=False)

    def _new_with_keywords(self) -> None:
        self.stack.pop()
        self._new()

    def _bytes(self) -> None:
        size = int.from_bytes(self.read(8), "little")  # type: ignore[attr-defined]
        self.stack.append(self.read(size))  # type: ignore[attr-defined] # not allocated before it is seen to be there

    def _build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, Inert):
            parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)  # attributes, and those in slots
            for part in parts:
                if isinstance(part, dict):
                    self._spend(part)
                    made.state.update(part)
        elif not isinstance(made, dict | TensorRef):  # a state dict's _metadata, a parameter's attributes: left out
            raise pickle.UnpicklingError("a state for what has none")

    dispatch[pickle.REDUCE[0]] = _call
    dispatch[pickle.NEWOBJ[0]] = _new
    dispatch[pickle.NEWOBJ_EX[0]] = _new_with_keywords
    dispatch[pickle.BYTEARRAY8[0]] = _bytes
    dispatch[pickle.BUILD[0]] = _build


def read_pickle(stream: io.BufferedIOBase, what: str) -> Any:
    """One pickle from a stream, as dictionaries, lists, strings, numbers, :class:`TensorRef`, :class:`Name` and :class:`Inert`.

    Args:
        what: the file's name, for the error.

    Raises:
        InputError: it is no pickle, it is damaged, or it calls what a checkpoint has no need to call.
    """
    reader, start = _Reader(stream, encoding="utf-8", errors="replace"), stream.tell()
    stream.seek(0, io.SEEK_END)
    reader.budget = 4 * (stream.tell() - start) + 65536
    stream.seek(start)
    try:
        return reader.load()
    except RecursionError:
        reason = "it is nested too deeply"
    except pickle.UnpicklingError as error:
        reason = str(error)
    except Exception:  # the opcodes' own checks are many: whatever a damaged pickle raises, it is damaged
        reason = "it is damaged"
    raise InputError(f"{what}: not opened, as {reason}; give a checkpoint of tensors (torch.save of a state dict, or safetensors)")


def module_state(module: Inert) -> dict[str, Any]:
    """The state dict of a whole pickled ``torch.nn.Module``: parameters and persistent buffers by their dotted names.

    Raises:
        InputError: modules within modules without end.
    """
    found: dict[str, Any] = {}
    waiting, seen = [("", module)], 0
    while waiting:
        prefix, current = waiting.pop()
        inner = [(f"{prefix}{name}.", each) for name, each in _entries(current.state.get("_modules")) if isinstance(each, Inert)]
        seen += 1 + len(inner) + sum(len(_entries(current.state.get(group))) for group in ("_parameters", "_buffers"))
        if seen > MOST_ENTRIES or len(prefix) > 1000:
            raise InputError("checkpoint: its modules contain each other without end; give an honest one")
        unsaved = current.state.get("_non_persistent_buffers_set") or ()
        for group in ("_parameters", "_buffers"):
            for name, value in _entries(current.state.get(group)):
                if value is not None and not (group == "_buffers" and name in unsaved):
                    found[f"{prefix}{name}"] = value
        waiting += reversed(inner)  # in the order of the layers
    return found


def _entries(group: Any) -> list[tuple[Any, Any]]:
    return list(group.items()) if isinstance(group, dict) else []
