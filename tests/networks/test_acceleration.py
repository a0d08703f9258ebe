"""Number formats and compilation: the same pictures, up to rounding, with everything but the large networks in float32."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gencomm_cli import presets
from gencomm_cli.errors import InputError
from gencomm_cli.methods import load_method, spec_of
from gencomm_cli.methods.base import Method, Received, Request
from gencomm_cli.methods.diffcom.method import DiffCom
from gencomm_cli.methods.diffcom.options import Receiver, Transmitter
from gencomm_cli.methods.diffcom.pixel_prior import Prior
from gencomm_cli.networks.acceleration import number_format
from gencomm_cli.presets.build import steady
from tests.methods.diffcom.test_method import KINDS, write_preset
from tests.support.presets import make_diffjscc, make_lrisc, make_preset, make_scsic

__all__ = ["make_diffjscc", "make_lrisc", "make_preset", "make_scsic"]
CPU = torch.device("cpu")
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)


METHODS = ["textguided", "diffjscc", "scsic", "lrisc"]


@pytest.fixture
def folder(
    request: pytest.FixtureRequest, make_preset: Callable[..., Path], make_diffjscc: Callable[..., Path],
    make_scsic: Callable[..., Path], make_lrisc: Callable[..., Path],
) -> Path:  # fmt: skip
    """A tiny preset of each method that has steps; guidance runs where there is any."""
    return {
        "textguided": lambda: make_preset(guidance_scale=2.0, steps=3), "diffjscc": make_diffjscc, "scsic": make_scsic,
        "lrisc": make_lrisc,
    }[request.param]()  # fmt: skip


def received(method: Method) -> Received:
    count, options = method.symbol_budget(method.default_cbr, (40, 48)), spec_of(method.method).transmitter()
    sent = method.encode(IMAGE, Request(count, 10.0, options=options))
    return Received(sent.symbols, None, 0.1, (40, 48), side_symbols=sent.side_symbols, side=sent.side)


def refined(method: Method, given: Received) -> Any:
    return method.decode(given, spec_of(method.method).receiver(), seed=0).refined[0].astype(int)


def test_names_of_formats() -> None:
    assert number_format("auto", CPU) == number_format("fp32", CPU) == torch.float32
    assert number_format("bf16", CPU) == torch.bfloat16
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert steady(torch.float16) == torch.float32
    assert steady(torch.bfloat16) == torch.bfloat16
    for name in ("fp16", "fp8"):
        with pytest.raises(InputError, match="--precision"):
            number_format(name, CPU)


@pytest.mark.parametrize("folder", METHODS, indirect=True)
def test_half_precision_changes_pictures_by_little_and_symbols_hardly(folder: Path) -> None:
    whole, half = (load_method(presets.load_config(folder), CPU, dtype) for dtype in (torch.float32, torch.bfloat16))
    given = received(whole)
    assert np.abs(given.symbols - received(half).symbols).mean() < 0.03  # the VAE's rounding; the JSCC is in float32
    one, other = refined(whole, given), refined(half, given)
    assert np.abs(one - other).mean() < 3
    assert np.any(one != other)


@pytest.mark.parametrize("folder", METHODS if os.environ.get("GENCOMM_SLOW_TESTS") else ["scsic"], indirect=True)
def test_compiled_steps_are_the_same_steps(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Traced as for a GPU (one graph, no break, static shapes), and then run as it is: a code generator would take a minute."""
    calls: list[dict[str, Any]] = []
    compile = torch.compile

    def trace(function: Callable[..., Any], **how: Any) -> Callable[..., Any]:
        calls.append(how)
        return compile(function, backend="eager", fullgraph=True, **how)

    monkeypatch.setattr(torch, "compile", trace)
    method = load_method(presets.load_config(folder), CPU)
    given = received(method)
    plain = refined(method, given)
    method.compile()  # type: ignore[attr-defined]
    assert np.abs(plain - refined(method, given)).max() <= 1
    assert calls == [{"dynamic": False}]


@pytest.mark.parametrize("kind", ["adjscc", "published"] if os.environ.get("GENCOMM_SLOW_TESTS") else ["adjscc"])
def test_a_compiled_prior_has_the_same_gradient(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One step of posterior sampling, forward and backward traced as for a GPU; ``published`` also gives the variance."""
    compile = torch.compile
    monkeypatch.setattr(
        torch, "compile", lambda function, **how: compile(function, backend="aot_eager_decomp_partition", fullgraph=True, **how)
    )
    write_preset(tmp_path, KINDS[kind])
    method = DiffCom.load(presets.load_config(tmp_path), CPU)
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    weights = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    plain = method.prior
    method.compile()

    def step(prior: Prior) -> tuple[torch.Tensor, ...]:
        given = x.clone().requires_grad_()
        x_0, v = prior(given, 400)
        (gradient,) = torch.autograd.grad((x_0 * weights).sum(), given)
        return (x_0.detach(), gradient) if v is None else (x_0.detach(), gradient, v)

    for found, expected in zip(step(method.prior), step(plain), strict=True):
        assert expected.abs().max() > 0
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)
    sent = method.encode(IMAGE[:16, :16], Request(method.symbol_budget(method.default_cbr, (16, 16)), 10.0, options=Transmitter()))
    given = Received(sent.symbols, None, 0.1, (16, 16), fading="awgn")
    fast = method.decode(given, Receiver(steps=3), seed=0).refined[0].astype(int)
    method.prior = plain
    assert np.abs(fast - method.decode(given, Receiver(steps=3), seed=0).refined[0]).max() <= 1
