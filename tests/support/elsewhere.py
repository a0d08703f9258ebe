"""A device that this machine does not have, for tests of where tensors lie.

Its tensors are computed on the CPU and say that they lie on ``ELSEWHERE``. An operation on tensors of both is refused, as CUDA
refuses it, and so is a view of them by NumPy: what runs here leaves no tensor behind on the CPU, whatever the accelerator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_leaves, tree_map

ELSEWHERE = torch.device("meta")  # the one other device that every build of torch lets tensors claim
aten = torch.ops.aten
CROSSING = {aten._to_copy.default, aten.copy_.default}
"""Operations that take tensors from one device to the other."""
INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}
"""Their indices (the second argument) may lie on the CPU where the rest lies elsewhere, not the other way round."""

AT_ONCE = {aten._conj.default: aten._conj_physical.default, aten._neg_view.default: aten.neg.default}
"""Views that put an operation off by a mark on the tensor, which would be lost here: the operation itself."""


class Far(Tensor):
    """A tensor elsewhere; ``here`` has its numbers."""

    here: Tensor

    @staticmethod
    def __new__(cls, here: Tensor) -> Far:
        return Tensor._make_wrapper_subclass(  # type: ignore[attr-defined, no-any-return]
            cls, here.size(), strides=here.stride(), storage_offset=here.storage_offset(), dtype=here.dtype, device=ELSEWHERE
        )

    def __init__(self, here: Tensor) -> None:
        self.here = here

    def tolist(self) -> Any:
        return self.here.tolist()

    def new_tensor(self, data: Any, *, dtype: torch.dtype | None = None, device: Any = None) -> Tensor:  # type: ignore[override]
        return self.here.new_tensor(data, dtype=dtype).to(ELSEWHERE if device is None else device)

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
    far = any(isinstance(tensor, Far) for tensor in tensors)
    if func in INDEXING and isinstance(args[0], Far):
        tensors = [leaf for leaf in tree_leaves((args[0], args[2:])) if isinstance(leaf, Tensor)]
    if far and func not in CROSSING:
        left = [tuple(tensor.shape) for tensor in tensors if not isinstance(tensor, Far) and tensor.dim() > 0]
        if left:
            raise RuntimeError(f"{func}: a tensor of shape {left[0]} lies on the CPU, others elsewhere")
    asked = kwargs.get("device")
    if func is aten.copy_.default:
        far = isinstance(args[0], Far)
    elif asked is not None:
        far = torch.device(asked).type == ELSEWHERE.type
    inner_args, inner_kwargs = tree_map(lambda leaf: leaf.here if isinstance(leaf, Far) else leaf, (tuple(args), dict(kwargs)))
    if asked is not None:
        inner_kwargs["device"] = torch.device("cpu")
    out = AT_ONCE.get(func, func)(*inner_args, **inner_kwargs)
    if not far:
        return out
    if func in AT_ONCE:
        return Far(out)
    return return_and_correct_aliasing(
        func, tuple(args), dict(kwargs), tree_map(lambda leaf: Far(leaf) if isinstance(leaf, Tensor) else leaf, out)
    )


class _Elsewhere(TorchDispatchMode):
    """Catches what makes tensors elsewhere out of none."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        return _run(func, args, kwargs or {})


@contextmanager
def elsewhere() -> Iterator[torch.device]:
    """The device, while the context is open."""
    autocast = torch.autocast
    with pytest.MonkeyPatch.context() as patch, _Elsewhere():
        for name in ("tensor", "as_tensor"):  # they make a tensor and move it where nobody can see it
            patch.setattr(torch, name, _first_here(getattr(torch, name)))
        patch.setattr(torch, "autocast", lambda kind, *args, **kwargs: autocast("cpu" if kind == "meta" else kind, *args, **kwargs))
        yield ELSEWHERE


def _first_here(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """``make``, then moved."""

    def made(values: Any, *args: Any, device: Any = None, **kwargs: Any) -> Tensor:
        tensor = make(values, *args, **kwargs)
        return tensor if device is None else tensor.to(device)

    return made


def whole(tensor: Tensor) -> Tensor:
    """A tensor's numbers, wherever it lies."""
    return tensor.here if isinstance(tensor, Far) else tensor
