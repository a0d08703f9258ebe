"""Conjugate gradients against a direct solution."""

from __future__ import annotations

import torch

from gencomm_cli.diffusion.conjugate_gradients import conjugate_gradients


def test_each_row_is_solved_and_a_solved_one_left_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    factor = torch.randn(5, 5, generator=generator, dtype=torch.float64)
    matrix = factor @ factor.T + torch.eye(5)
    b = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    b[1] = 0
    found = conjugate_gradients(lambda v: v @ matrix, b, 20)
    torch.testing.assert_close(found, torch.linalg.solve(matrix, b.T).T, atol=1e-5, rtol=1e-5)
    assert not found[1].any()
