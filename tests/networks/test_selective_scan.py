"""The scan against the recursion itself, its gradient, and vectors from MambaJSCC's published reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gencomm_cli.networks.selective_scan import _doubling, recurrence, selective_scan

VECTORS = Path(__file__).parent.parent / "vectors"


def step_by_step(decay: Tensor, drive: Tensor, start: Tensor) -> Tensor:
    states = []
    for a, b in zip(decay, drive, strict=True):
        start = a * start + b
        states.append(start)
    return torch.stack(states)


@pytest.mark.parametrize("length", [1, 2, 64, 65, 100, 1536])
def test_recurrence_equals_its_definition(length: int) -> None:
    torch.manual_seed(length)
    decay = torch.rand(length, 3, 5, dtype=torch.float64)
    drive, start = torch.randn(length, 3, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    assert torch.allclose(recurrence(decay, drive, start), step_by_step(decay, drive, start), atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 3, 64, 100, 1537])
def test_doubling_as_on_a_gpu_equals_the_definition(length: int) -> None:
    torch.manual_seed(length)
    decay = torch.rand(length, 3, 5, dtype=torch.float64)
    drive, start = torch.randn(length, 3, 5, dtype=torch.float64), torch.randn(3, 5, dtype=torch.float64)
    assert torch.allclose(_doubling(decay, drive, start), step_by_step(decay, drive, start), atol=1e-12)
    whole = _doubling(*(tensor.float() for tensor in (decay, drive, start)))
    assert torch.allclose(whole.double(), step_by_step(decay, drive, start), atol=1e-4)


@pytest.mark.parametrize("length", [7, 70])
def test_gradient(length: int) -> None:
    torch.manual_seed(0)
    arguments = [torch.rand(length, 2), torch.randn(length, 2), torch.randn(2)]
    assert torch.autograd.gradcheck(recurrence, [x.double().requires_grad_() for x in arguments])


@pytest.mark.parametrize("name", ["mamba_selective_scan_L100_a", "mamba_selective_scan_L2500_a"])
def test_published_reference(name: str) -> None:
    with np.load(VECTORS / f"{name}.npz", allow_pickle=False) as archive:
        vector = {key: archive[key] for key in archive.files}
    t = {key: torch.from_numpy(vector[key].astype(np.float32)) for key in ("u", "delta", "A", "B", "C", "D", "delta_bias", "h0")}
    scanned, bias = (t["u"], t["delta"], t["A"], t["B"], t["C"]), t["delta_bias"]
    cases = {
        "plain": selective_scan(*scanned, t["D"], bias),
        "h0": selective_scan(*scanned, t["D"], bias, start=t["h0"]),
        "plain_noD": selective_scan(*scanned, torch.zeros_like(t["D"]), bias),
    }
    for snr in (3, 17):
        if f"out_snr{snr}" in vector:
            cases[f"snr{snr}"] = selective_scan(*scanned, t["D"], bias, inject=(2048, snr))
    for case, (y, state) in cases.items():
        np.testing.assert_allclose(y.numpy(), vector[f"out_{case}"], atol=2e-4, err_msg=case)
        if f"state_{case}" in vector:
            np.testing.assert_allclose(state.numpy(), vector[f"state_{case}"], atol=2e-4, err_msg=case)
