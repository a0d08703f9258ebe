"""How fast networks run: their number format, and compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, ParamSpec, TypeVar

import torch

from gencomm_cli.errors import InputError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
P = ParamSpec("P")
R = TypeVar("R")


def number_format(precision: str, device: torch.device) -> torch.dtype:
    """What the large networks run in. ``auto``: bfloat16 on CUDA devices that have it, float16 on older ones, float32 on a CPU.

    float32 is float32 everywhere: TensorFloat-32, which cuDNN would take for it, is switched off, so that CPU and CUDA agree.
    Symbols, the channel and the samplers' arithmetic are float32 whatever this says.

    Raises:
        InputError: there is no such precision on this device.
    """
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    formats = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
    if precision == "auto":
        if device.type != "cuda":
            return torch.float32
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if precision not in formats:
        raise InputError(f"--precision: {precision!r} is none; use auto, fp32, bf16 or fp16")
    if precision == "fp16" and device.type != "cuda":
        raise InputError("--precision fp16: is for CUDA devices; use fp32 or bf16 on a CPU")
    return formats[precision]


def compiled(function: Callable[P, R], device: torch.device) -> Callable[P, R]:
    """``function`` through torch.compile, once for each shape of its arguments; on CUDA its kernels are replayed as one graph.

    What it returns is overwritten by its next call.
    """
    if device.type != "cuda":
        return torch.compile(function, dynamic=False)
    fast = torch.compile(function, dynamic=False, mode="reduce-overhead")

    def step(*arguments: P.args, **named: P.kwargs) -> R:
        torch.compiler.cudagraph_mark_step_begin()
        return fast(*arguments, **named)

    return step
