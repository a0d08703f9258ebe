"""The cosine schedule and its sampler against the published program's numbers, and against a prior whose exact score is known."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gencomm_cli.methods.scsic.cosine import Target, amplitudes, clean_and_noise, guide, log_snr, sample, time_of, times


def vectors() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parents[2] / "vectors" / "cascade_gdf_a.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def test_published_schedule() -> None:
    vector = vectors()
    t = torch.from_numpy(vector["t"])
    for shift in ("1", "2", "0.5"):
        np.testing.assert_allclose(log_snr(t, float(shift)).numpy(), vector[f"logSNR_shift{shift}"], rtol=1e-4, atol=1e-5)
    level = torch.from_numpy(vector["logSNR_shift1"])
    for ours, theirs in zip(amplitudes(level), ("vp_a", "vp_b"), strict=True):
        np.testing.assert_allclose(ours.numpy(), vector[theirs], atol=1e-6)
    np.testing.assert_allclose(time_of(level).numpy(), vector["noise_cond"], atol=1e-6)
    np.testing.assert_allclose(log_snr(torch.tensor([1.0, 0.0])).numpy(), vector["limits"], rtol=1e-5)
    np.testing.assert_allclose(time_of(log_snr(t))[1:-1].numpy(), t[1:-1].numpy(), atol=2e-5)  # the ends are clamped


@pytest.mark.parametrize(("run", "weight"), [("ddpm3", None), ("ddpm3_cfg", 1.5)])
def test_published_trajectories(run: str, weight: float | None) -> None:
    vector = vectors()
    assert json.loads(str(vector["meta_json"]))["runs"][run]["timesteps"] == 3
    condition, noise = torch.from_numpy(vector["cond"]), torch.from_numpy(vector["noise"])
    predictions: list[Tensor] = []

    def toy(x: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        return 0.97 * x + 0.02 * torch.tanh(condition) + 0.01 * time.view(-1, 1, 1, 1)

    def predict(x: Tensor, time: Tensor) -> Tensor:
        told = toy(x, time, condition)
        predictions.append(told if weight is None else guide(told, toy(x, time, torch.zeros_like(condition)), weight, 0.7))
        return predictions[-1]

    for done in range(1, 4):  # a run that is cut short gives the x̂_0 of its last step
        x_0 = sample(torch.from_numpy(vector["x_init"]), times(3)[: done + 1], predict, noise.__getitem__)
        np.testing.assert_allclose(x_0.numpy(), vector[f"x0_{run}"][done - 1], rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(predictions[-1].numpy(), vector[f"pred_{run}"][done - 1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("target", ["epsilon", "v"])
def test_targets_say_the_same(target: Target) -> None:
    x_0, epsilon = torch.randn(2, 3, 4, 5, 6)
    for level in log_snr(torch.tensor([0.1, 0.5, 0.9])):
        a, b = amplitudes(level)
        predicted = epsilon if target == "epsilon" else a * epsilon - b * x_0
        clean, noise = clean_and_noise(a * x_0 + b * epsilon, predicted, level, target)
        torch.testing.assert_close(clean, x_0, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(noise, epsilon, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("target", ["epsilon", "v"])
@pytest.mark.parametrize("ancestral", [True, False])
def test_a_gaussian_prior_comes_out_with_its_mean_and_variance(target: Target, ancestral: bool) -> None:
    """Data N(m, d²) has x̂_0 = m + √ᾱ d² (x − √ᾱ m)/(ᾱ d² + 1 − ᾱ); many exact steps must give that distribution back."""
    mean, deviation = 0.7, 0.5
    generator = torch.Generator().manual_seed(0)
    grid = times(100)

    def predict(x: Tensor, time: Tensor) -> Tensor:
        a, b = amplitudes(log_snr(time[:1]))
        x_0 = mean + a * deviation**2 * (x - a * mean) / (a**2 * deviation**2 + b**2)
        epsilon = (x - a * x_0) / b
        return epsilon if target == "epsilon" else a * epsilon - b * x_0

    def draw(index: int) -> Tensor:
        return torch.randn(1, 1, 100, 100, generator=generator)

    x = sample(draw(-1), grid, predict, draw if ancestral else None, target=target)
    assert float(x.mean()) == pytest.approx(mean, abs=0.03)
    assert float(x.std()) == pytest.approx(deviation, abs=0.02)


def test_the_shift_the_progress_and_a_single_step() -> None:
    seen: list[float] = []
    calls: list[tuple[int, int]] = []

    def predict(x: Tensor, time: Tensor) -> Tensor:
        assert time.shape == (2,)
        seen.append(float(time[0]))
        return x

    x = torch.ones(2, 1, 2, 2)
    sample(x, times(4), predict, shift=2.0, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert all(later < earlier for earlier, later in pairwise(seen))
    assert seen[1] > 0.75  # a shifted schedule is noisier at the same time
    a, b = amplitudes(log_snr(torch.tensor(1.0)))
    torch.testing.assert_close(sample(x, times(1), lambda x, t: 0.5 * x), x * (1 - 0.5 * b) / a)


def test_guidance() -> None:
    told, untold = torch.randn(2, 1, 4, 8, 8)
    torch.testing.assert_close(guide(told, untold, 1.0), told)
    torch.testing.assert_close(guide(told, untold, 3.0, 0.0), untold + 3 * (told - untold))
    assert float(guide(told, untold, 3.0, 1.0).std()) == pytest.approx(float(told.std()), rel=1e-5)
