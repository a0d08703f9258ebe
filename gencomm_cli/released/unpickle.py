"""Pickles read as data: a reader that knows tensors and names, and never imports, calls or builds what a file names.

A class is a :class:`Name`, an object of a class that is not known here an :class:`Inert` that holds its state. The only calls that
a file can make are those of :data:`CALLS`, which are this project's own functions; any other is refused. The pure Python unpickler
is the base, since the C one allocates what a pickle's memo indices say.
"""

from __future__ import annotations

import io
import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple

from gencomm_cli.errors import InputError

MOST_MODULES = 100_000


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


def _text(text: str, *_: Any) -> bytes:
    return text.encode("latin1")


CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_parameter"): lambda data, *_: data,
    ("torch._utils", "_rebuild_parameter_with_state"): lambda data, *_: data,
    ("collections", "OrderedDict"): lambda pairs=(): dict(pairs),
    ("builtins", "set"): lambda items=(): list(items),
    ("__builtin__", "set"): lambda items=(): list(items),
    ("torch", "Size"): lambda items=(): tuple(items),
    ("_codecs", "encode"): _text,  # how protocol 2 writes bytes
}
"""What a file may call, and what is called in its place."""

HARMLESS = {
    ("torch", "device"), ("functools", "partial"), ("collections", "defaultdict"), ("collections", "Counter"),
    ("argparse", "Namespace"), ("pathlib", "Path"), ("pathlib", "PosixPath"), ("pathlib", "WindowsPath"), ("numpy", "dtype"),
    ("numpy.core.multiarray", "scalar"), ("numpy._core.multiarray", "scalar"), ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"), ("copyreg", "_reconstructor"), ("copy_reg", "_reconstructor"),
    ("datetime", "datetime"), ("datetime", "timedelta"), ("types", "SimpleNamespace"),
}  # fmt: skip
"""Beside tensors, honest training programs put these into checkpoints: they become :class:`Inert`."""

_STANDARD = sys.stdlib_module_names | {"__builtin__", "commands", "copy_reg"}  # the last three are Python 2's


def _instance(name: Any, *, called: bool) -> Inert:
    """An object of a class that the file names. A function has no place in a checkpoint, nor has the standard library."""
    if not isinstance(name, Name):
        raise pickle.UnpicklingError("an object without a class")
    standard = name.module.partition(".")[0] in _STANDARD
    if name not in HARMLESS and (standard or (called and not name.name.rpartition(".")[2][:1].isupper())):
        raise pickle.UnpicklingError("it calls " + ascii(f"{name.module}.{name.name}"[:100])[1:-1])
    return Inert(name)


class _Reader(pickle._Unpickler):
    """Opcodes that make objects are this class's own; those that only an attack, or Python before 2.3, would use are left out."""

    stack: list[Any]
    dispatch: ClassVar[dict[int, Any]] = {
        code: method
        for code, method in pickle._Unpickler.dispatch.items()
        if bytes([code])
        not in (pickle.INST, pickle.OBJ, pickle.NEWOBJ_EX, pickle.EXT1, pickle.EXT2, pickle.EXT4, pickle.BYTEARRAY8,
                pickle.NEXT_BUFFER, pickle.READONLY_BUFFER)
    }  # fmt: skip

    def find_class(self, module: str, name: str) -> Any:
        return Name(module, name)

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
        self.stack[-1] = known(*arguments) if known else _instance(name, called=True)

    def _new(self) -> None:
        self.stack.pop()
        self.stack[-1] = {} if self.stack[-1] == Name("collections", "OrderedDict") else _instance(self.stack[-1], called=False)

    def _build(self) -> None:
        state, made = self.stack.pop(), self.stack[-1]
        if isinstance(made, Inert):
            parts = state if isinstance(state, tuple) and len(state) == 2 else (state,)  # attributes, and those in slots
            for part in parts:
                if isinstance(part, dict):
                    made.state.update(part)
        elif not isinstance(made, dict | TensorRef):  # a state dict's _metadata, a parameter's attributes: left out
            raise pickle.UnpicklingError("a state for what has none")

    dispatch[pickle.REDUCE[0]] = _call
    dispatch[pickle.NEWOBJ[0]] = _new
    dispatch[pickle.BUILD[0]] = _build


def read_pickle(stream: io.BufferedIOBase, what: str) -> Any:
    """One pickle from a stream, as dictionaries, lists, strings, numbers, :class:`TensorRef`, :class:`Name` and :class:`Inert`.

    Args:
        what: the file's name, for the error.

    Raises:
        InputError: it is no pickle, it is damaged, or it calls what a checkpoint has no need to call.
    """
    try:
        return _Reader(stream, encoding="utf-8", errors="replace").load()
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
        seen += 1
        if seen > MOST_MODULES or len(prefix) > 1000:
            raise InputError("checkpoint: its modules contain each other without end; give an honest one")
        unsaved = current.state.get("_non_persistent_buffers_set") or ()
        for group in ("_parameters", "_buffers"):
            for name, value in _entries(current.state.get(group)):
                if value is not None and not (group == "_buffers" and name in unsaved):
                    found[f"{prefix}{name}"] = value
        inner = [(f"{prefix}{name}.", each) for name, each in _entries(current.state.get("_modules")) if isinstance(each, Inert)]
        waiting += reversed(inner)  # in the order of the layers
    return found


def _entries(group: Any) -> list[tuple[Any, Any]]:
    return list(group.items()) if isinstance(group, dict) else []
