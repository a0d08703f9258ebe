"""The linear code of blocks that SC-SIC's small encoder and previewer start from, against brute force and theory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gencomm_cli.methods.scsic.blocks import BlockEncoder, BlockPreviewer, powers, start

SIZES: dict[str, Any] = {"channels": 6, "widths": (4, 4, 4), "depths": (1, 1, 1)}


def left(variances: torch.Tensor, p: torch.Tensor, snr: float) -> float:
    """The error that the best estimate leaves of components sent with powers p."""
    return float((variances / (1 + snr * p)).sum())


@pytest.mark.parametrize("snr", [0.1, 1.0, 10.0, 1000.0])
def test_no_other_powers_leave_less(snr: float) -> None:
    variances = torch.tensor([9.0, 4.0, 1.0, 0.3, 0.01, 0.001], dtype=torch.float64)
    p = powers(variances, snr)
    assert float(p.sum()) == pytest.approx(6)
    assert float(p.min()) >= 0
    assert (p.diff() <= 1e-12).all()
    rng = np.random.default_rng(0)
    others = torch.from_numpy(rng.dirichlet(np.full(6, 0.5), 20_000)) * 6
    near = (p + torch.from_numpy(rng.normal(0, 0.02, (20_000, 6)))).clamp_min(0)
    for tried in (others, 6 * near / near.sum(1, keepdim=True)):
        assert left(variances, p, snr) <= float((variances / (1 + snr * tried)).sum(1).min()) + 1e-9
    torch.testing.assert_close(powers(torch.ones(4, dtype=torch.float64), snr), torch.ones(4, dtype=torch.float64))


def test_the_start_is_the_best_linear_code() -> None:
    """Z has a mean power of 1, and the previewer's error over AWGN is what theory says of the components' variances."""
    torch.manual_seed(0)
    encoder, previewer = BlockEncoder(**SIZES), BlockPreviewer(channels=6, widths=(4, 4), depths=(1, 1), edge=4)
    directions = torch.linalg.qr(torch.randn(3072, 8))[0].T
    deviations = torch.tensor([9.0, 6, 4, 2, 1, 0.5, 0.2, 0.1])
    rows = torch.randn(3000, 8) * deviations
    blocks = (rows @ directions + 0.4).view(-1, 3, 32, 32)
    start(encoder, previewer, blocks, 10.0)
    with torch.no_grad():
        z = encoder(blocks)
        assert float(z.square().mean()) == pytest.approx(1, rel=1e-3)
        made = previewer(z + torch.randn_like(z) / 10**0.5)
    centred = (blocks - encoder.mean).flatten(1) @ directions.T
    found = torch.linalg.eigvalsh((centred.T @ centred / len(blocks)).double()).flip(0)
    expected = left(found[:6], powers(found[:6], 10.0), 10.0) + float(found[6:].sum())
    assert float((made - blocks).square().flatten(1).sum(1).mean()) == pytest.approx(expected, rel=0.03)


def test_both_are_linear_until_they_have_learned() -> None:
    torch.manual_seed(0)
    encoder, previewer = BlockEncoder(**SIZES), BlockPreviewer(channels=6, widths=(4, 4), depths=(1, 1), edge=4)
    start(encoder, previewer, torch.rand(50, 3, 32, 32))
    a, b = torch.rand(2, 1, 3, 64, 96)
    with torch.no_grad():
        za, zb = encoder(a), encoder(b)
        assert za.shape == (1, 6, 2, 3)
        torch.testing.assert_close(encoder((a + b) / 2), (za + zb) / 2, atol=1e-5, rtol=0)
        assert previewer(za).shape == a.shape
        torch.testing.assert_close(previewer((za + zb) / 2), (previewer(za) + previewer(zb)) / 2, atol=1e-5, rtol=0)
