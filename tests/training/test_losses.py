"""Losses of pictures."""

from __future__ import annotations

import pytest
import torch

from gencomm_cli.training.losses import fold_pattern


def test_fold_pattern_is_the_power_of_a_net_and_of_nothing_else() -> None:
    generator = torch.Generator().manual_seed(0)
    net = torch.randn(1, 3, 4, 4, generator=generator)
    net -= net.mean((2, 3), keepdim=True)
    ramp = torch.linspace(-1, 1, 64).view(1, 1, 64, 1)
    error = 0.1 * net.repeat(2, 1, 16, 16)
    assert float(fold_pattern(error, 4)) == pytest.approx(0.01 * float(net.square().mean()), rel=1e-5)
    assert float(fold_pattern(error + 0.3, 4)) == pytest.approx(0.01 * float(net.square().mean()), rel=1e-4)
    assert float(fold_pattern(error, 1)) == 0
    assert float(fold_pattern(error[..., :16, :12], 4)) == pytest.approx(0.01 * float(net.square().mean()), rel=1e-5)  # fewer folds
    smooth = fold_pattern(ramp.expand(1, 3, 64, 64), 4)  # what a slope looks like within a fold: 1.5 pixels' rise at most
    assert float(smooth) < float((2 / 63 * 1.5) ** 2)
