"""The cosine schedule against the published program's numbers."""

from __future__ import annotations

import torch

from gencomm_cli.diffusion.cosine import amplitudes, log_snr, time_of
from tests.support.published import load


def test_published_schedule() -> None:
    _, vector = load("cascade_gdf_a")
    t, level = vector["t"], vector["logSNR_shift1"]
    for shift in ("1", "2", "0.5"):
        torch.testing.assert_close(log_snr(t, float(shift)), vector[f"logSNR_shift{shift}"], rtol=1e-4, atol=1e-5)
    for ours, theirs in zip(amplitudes(level), ("vp_a", "vp_b"), strict=True):
        torch.testing.assert_close(ours, vector[theirs], rtol=1e-7, atol=1e-6)
    torch.testing.assert_close(time_of(level), vector["noise_cond"], rtol=1e-7, atol=1e-6)
    torch.testing.assert_close(log_snr(torch.tensor([1.0, 0.0])), vector["limits"].float(), rtol=1e-5, atol=0)
    torch.testing.assert_close(time_of(log_snr(t))[1:-1], t[1:-1], rtol=1e-7, atol=2e-5)  # the ends are clamped
