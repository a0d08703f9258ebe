"""CUDA against the CPU: the same file, the same picture. Without a GPU these tests are skipped, and say so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from gencomm_cli import presets
from gencomm_cli.methods import load_method, spec_of
from gencomm_cli.methods.base import Method, Received, Request
from gencomm_cli.methods.options import options_of
from gencomm_cli.networks.acceleration import number_format
from gencomm_cli.networks.selective_scan import selective_scan
from tests.methods.diffcom.test_method import KINDS, write_preset
from tests.support.commands import Result, here, photo
from tests.support.presets import make_diffjscc, make_lrisc, make_preset, make_scsic

__all__ = ["here", "make_diffjscc", "make_lrisc", "make_preset", "make_scsic", "photo"]
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device here")
CPU, CUDA = torch.device("cpu"), torch.device("cuda")
IMAGE = np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8)


PRESETS = ["textguided", "diffjscc", "scsic", "lrisc", "diffcom", "jscc"]
SHIPPED = [f"nano {method}" for method in ("textguided", "diffjscc", "lrisc", "diffcom", "scsic")]


@pytest.fixture(params=[*PRESETS, *SHIPPED])
def preset(
    request: pytest.FixtureRequest, make_preset: Callable[..., Path], make_diffjscc: Callable[..., Path],
    make_scsic: Callable[..., Path], make_lrisc: Callable[..., Path], tmp_path: Path,
) -> presets.Preset:  # fmt: skip
    """Tiny presets, and the shipped ones."""
    shipped, _, method = str(request.param).rpartition(" ")
    if shipped:
        if presets.folder_of(method, shipped) is None:
            pytest.skip(f"there is no {shipped} of {method} yet")
        return presets.find(method, shipped)

    def with_codec() -> Path:
        write_preset(tmp_path, KINDS["published"] if method == "diffcom" else {"codec": "published"}, method)
        return tmp_path

    make: dict[str, Callable[[], Path]] = {
        "textguided": lambda: make_preset(guidance_scale=2.0, steps=3), "diffjscc": make_diffjscc, "scsic": make_scsic,
        "lrisc": make_lrisc, "diffcom": with_codec, "jscc": with_codec,
    }  # fmt: skip
    return presets.load_config(make[method]())


def received(method: Method) -> Received:
    count, options = method.symbol_budget(method.default_cbr, (40, 48)), spec_of(method.method).transmitter()
    sent = method.encode(IMAGE, Request(count, 10.0, options=options))
    return Received(sent.symbols, None, 0.1, (40, 48), "a red house", sent.side_symbols, side=sent.side, fading="awgn")


def refined(method: Method, given: Received, **options: Any) -> NDArray[np.int64]:
    """The refined picture; of ``jscc``, which has none, the codec's. Posterior sampling takes three steps of its hundreds."""
    few: dict[str, Any] = {"steps": 3} if method.method == "diffcom" else {}
    receiver = spec_of(method.method).receiver
    known = {name: value for name, value in (few | options).items() if name in options_of(receiver)}  # jscc takes no steps
    decoded = method.decode(given, receiver(**known), seed=0)
    return (decoded.refined[0] if decoded.refined else decoded.coarse).astype(np.int64)


def test_in_float32_both_decode_a_file_to_the_same_picture(preset: presets.Preset) -> None:
    number_format("fp32", CUDA)
    on_cpu, on_cuda = load_method(preset, CPU), load_method(preset, CUDA)
    given = received(on_cpu)
    np.testing.assert_allclose(received(on_cuda).symbols, given.symbols, atol=1e-3)
    assert np.abs(refined(on_cpu, given) - refined(on_cuda, given)).mean() < 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(preset: presets.Preset, dtype: torch.dtype) -> None:
    whole, half = load_method(preset, CUDA), load_method(preset, CUDA, dtype)
    given = received(whole)
    assert np.abs(refined(whole, given, steps=3) - refined(half, given, steps=3)).mean() < 4


def test_compiled_and_replayed_steps_are_the_same_steps(preset: presets.Preset) -> None:
    if preset.method == "jscc":
        pytest.skip("jscc takes no steps")
    method = load_method(preset, CUDA)
    given = received(method)
    plain = refined(method, given, steps=3)
    method.compile()  # type: ignore[attr-defined]
    for _ in range(3):  # compiled, captured, replayed
        assert np.abs(plain - refined(method, given, steps=3)).mean() < 1


@pytest.mark.parametrize("method", ["textguided", "diffcom"])
def test_the_command_decodes_a_file_to_the_same_picture(here: Callable[..., Result], photo: Path, method: str) -> None:
    few = ("--steps", 3, "--seed", 1)
    assert here("encode", photo, "--method", method, "-o", "tx.npz").returncode == 0
    assert here("channel", "tx.npz", "--snr", 10, "--rayleigh", "-o", "rx.npz").returncode == 0
    pictures = []
    for device, *precision in (("cpu",), (str(CUDA), "--precision", "fp32")):
        done = here("decode", "rx.npz", "-o", f"{device}.png", "--device", device, *few, *precision)
        assert done.returncode == 0, done.stderr
        pictures.append(np.asarray(Image.open(f"{device}.png")).astype(np.int64))
    assert pictures[0].std() > 5
    assert np.abs(pictures[0] - pictures[1]).mean() < 1


def test_the_scan_is_the_same() -> None:
    u, delta = torch.randn(2, 8, 1500), torch.randn(2, 8, 1500)
    a, b, c = -torch.rand(8, 4), torch.randn(2, 2, 4, 1500), torch.randn(2, 2, 4, 1500)
    given = (u, delta, a, b, c, torch.randn(8), torch.randn(8))
    y, last = selective_scan(*given)
    y_cuda, last_cuda = selective_scan(*(each.to(CUDA) for each in given))
    torch.testing.assert_close(y_cuda.cpu(), y, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(last_cuda.cpu(), last, atol=1e-4, rtol=1e-4)
