"""Several processes that train one model, started by ``accelerate launch`` or ``torchrun``: who takes which part of a batch, what
they average, who goes first. Without them there is one process, and nothing here does anything.

Every process draws the randomness of the whole batch, from the same seeds, and keeps the rows of its own part. So N processes with
batch b, or N accumulated batches of b, see exactly what one process would with batch N·b.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.overrides import TorchFunctionMode

from gencomm_cli.errors import imported

Rows = TypeVar("Rows")
BUCKET = 2**24
"""Numbers that are averaged at a time."""


def join(device: str) -> str:
    """Meets the processes that this one was started with, if it was, and returns the device of this one.

    Raises:
        InputError: there are some, and Accelerate is not installed.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    accelerate = imported("accelerate", "train: several processes need Accelerate; pip install 'gencomm[train]'")
    # The others wait while the first decodes photographs or computes latents, which may take hours.
    return str(accelerate.PartialState(cpu=device == "cpu", timeout=timedelta(days=2)).device)


def leave() -> None:
    """Says goodbye to the other processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def count() -> int:
    """Number of processes."""
    return dist.get_world_size() if dist.is_initialized() else 1


def rank() -> int:
    """Number of this process, from 0 on."""
    return dist.get_rank() if dist.is_initialized() else 0


def first() -> contextlib.AbstractContextManager[Any]:
    """What is within is done by process 0, then by the others: it writes files, they find them."""
    if count() == 1:
        return contextlib.nullcontext()
    from accelerate import PartialState

    return PartialState().main_process_first()


def average(tensors: Sequence[Tensor]) -> None:
    """Replaces tensors, which have the same shapes everywhere, by their means over all processes."""

    def mean(flat: Tensor) -> Tensor:
        dist.all_reduce(flat)
        return flat / count()

    _replace(tensors, mean)


def agree(tensors: Sequence[Tensor]) -> None:
    """Replaces tensors by those of process 0."""

    def same(flat: Tensor) -> Tensor:
        dist.broadcast(flat, 0)
        return flat

    _replace(tensors, same)


def _replace(tensors: Sequence[Tensor], together: Callable[[Tensor], Tensor]) -> None:
    """Replaces tensors by what all processes make of them ``together``, many in one message."""
    if count() == 1:
        return
    for bucket in _buckets(tensors):
        made = together(torch.cat([tensor.flatten() for tensor in bucket]))
        for tensor, new in zip(bucket, made.split([tensor.numel() for tensor in bucket]), strict=True):
            tensor.copy_(new.view_as(tensor))


def agreed(number: float, device: torch.device) -> float:
    """The number that process 0 has."""
    if count() == 1:
        return number
    tensor = torch.tensor([number], dtype=torch.float64, device=device)
    agree([tensor])
    return float(tensor)


def _buckets(tensors: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Tensors of one type together, as few as hold ``BUCKET`` numbers: many small messages would take long."""
    bucket: list[Tensor] = []
    for tensor in tensors:
        if bucket and (bucket[0].dtype != tensor.dtype or sum(one.numel() for one in bucket) >= BUCKET):
            yield bucket
            bucket = []
        bucket.append(tensor)
    if bucket:
        yield bucket


_part = (0, 1)


@contextlib.contextmanager
def part(index: int, parts: int) -> Iterator[None]:
    """What is within draws the randomness of ``parts`` times its batch, and keeps the rows of part ``index``."""
    global _part
    _part = (index, parts)
    try:
        with _RowsOfNoise() if parts > 1 else contextlib.nullcontext():
            yield
    finally:
        _part = (0, 1)


def rows(draw: Callable[[int], Rows], batch: int) -> Rows:
    """``draw(n)`` makes n rows, one a sample; this is our part's ``batch`` of them."""
    index, parts = _part
    return draw(parts * batch)[index * batch : (index + 1) * batch]  # type: ignore[index]


class _RowsOfNoise(TorchFunctionMode):
    """Makes torch's noise a draw of rows: the first dimension counts samples wherever a loss draws any.

    Here and not at each such place: one that forgot it would give all processes the same noise, and nobody would notice.
    """

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if function in (torch.randn_like, torch.rand_like):
            like = args[0].detach()
            return rows(lambda n: function(torch.cat([like] * (n // len(like))), **kwargs), len(like))
        if function in (torch.randn, torch.rand):
            size = args[0] if len(args) == 1 and not isinstance(args[0], int) else args
            return rows(lambda n: function(n, *size[1:], **kwargs), size[0])
        return function(*args, **kwargs)
