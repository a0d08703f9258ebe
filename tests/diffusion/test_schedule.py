"""Schedules against diffusers' own, and the grids of steps."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from diffusers.schedulers import DDIMScheduler

from gencomm_cli.diffusion.cosine import cosine_alpha_bar
from gencomm_cli.diffusion.schedule import linear, linear_float32, sampling_steps, scaled_linear


def test_stable_diffusions_schedule() -> None:
    scheduler = DDIMScheduler(1000, beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
    ours = scaled_linear().numpy()
    assert ours[0] == 1
    assert ours.size == 1001
    np.testing.assert_allclose(ours[1:], scheduler.alphas_cumprod.numpy(), rtol=2e-5)


def test_schedules_are_on_the_cpu_wherever_a_network_is_made() -> None:
    """Once transformers has loaded a model, ``torch.linspace`` may be the one of its own that ignores ``torch.device``."""
    for schedule in (scaled_linear, linear, linear_float32, cosine_alpha_bar):
        with torch.device("meta"):
            found = schedule()
        np.testing.assert_array_equal(found.numpy(), schedule().numpy())


@pytest.mark.parametrize(("start", "count"), [(500, 5), (600, 1), (3, 5), (1000, 50)])
def test_grids_fall_from_the_start_to_zero(start: int, count: int) -> None:
    for spacing in ("uniform", "quadratic"):
        steps = sampling_steps(start, count, spacing)  # type: ignore[arg-type]
        assert steps[0] == start
        assert steps[-1] == 0
        assert all(a > b for a, b in itertools.pairwise(steps))
    assert sampling_steps(500, 5) == [500, 400, 300, 200, 100, 0]
    assert sampling_steps(500, 5, "quadratic") == [500, 320, 180, 80, 20, 0]
