"""The spaced sampler against the published program's trajectories, and against a prior whose exact score is known."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from gencomm_cli.diffusion.schedule import scaled_linear, spaced_steps
from gencomm_cli.diffusion.steps import AncestralStep
from gencomm_cli.methods.diffjscc.method import Guidance, clean_estimate, diffusion_loss, jscc_loss, posterior_mean, sample

ALPHA_BAR = scaled_linear()


def vectors() -> dict[str, np.ndarray]:
    with np.load(Path(__file__).parents[2] / "vectors" / "diffjscc_spaced_sampler_a.npz", allow_pickle=False) as archive:
        return {key: archive[key] for key in archive.files}


def test_published_steps_and_schedule() -> None:
    vector = vectors()
    for count in (10, 50, 100):
        assert [t - 1 for t in spaced_steps(count)[:-1]] == sorted(vector[f"timesteps_{count}"].tolist(), reverse=True)
    np.testing.assert_allclose(ALPHA_BAR[spaced_steps(10)[-2::-1]].numpy(), vector["alphas_cumprod_10"], rtol=1e-12)
    assert 501 in spaced_steps(5)
    assert {833, 501} <= set(spaced_steps(25))
    assert spaced_steps(1) == [1000, 0]
    assert spaced_steps(1000) == list(range(1000, -1, -1))


def space_timesteps(total: int, count: int) -> list[int]:
    """The published rule for one section, step by step."""
    stride, index, found = (total - 1) / (count - 1), 0.0, []
    for _ in range(count):
        found.append(round(index))
        index += stride
    return found


def test_published_steps_of_every_count() -> None:
    for count in range(2, 1001):
        assert [t - 1 for t in reversed(spaced_steps(count)[:-1])] == space_timesteps(1000, count), count


@pytest.mark.parametrize(
    ("name", "weight", "repeats"), [("traj_plain", 0.0, 1), ("traj_guided", 100.0, 1), ("traj_guided_repeat5", 100.0, 5)]
)
def test_published_trajectories(name: str, weight: float, repeats: int) -> None:
    vector = vectors()
    assert json.loads(str(vector["meta_json"]))["toy"] == "eps(x,t)=0.1*x+0.0*t/1000"
    noise = torch.from_numpy(vector["noise"])
    guidance = Guidance(torch.from_numpy(vector["target"]), weight, "authors", repeats)
    steps = spaced_steps(10)
    seen: list[int] = []
    for done in range(1, 11):  # a run that is cut short ends in the state after that step

        def predict(z: Tensor, t: int) -> Tensor:
            seen.append(t - 1)
            return 0.1 * z

        z = sample(torch.from_numpy(vector["x_T"]), steps[: done + 1], ALPHA_BAR, predict, noise.__getitem__, guidance=guidance)
        np.testing.assert_allclose(z.numpy(), vector[name][done - 1], rtol=1e-5, atol=1e-4)
    assert seen[-10:] == vector["t_seen"].tolist()


def gaussian_noise(mean: float, deviation: float) -> Callable[[Tensor, int], Tensor]:
    """ε(z, t) of data N(mean, deviation²), from the score of N(√ᾱ mean, ᾱ deviation² + 1 − ᾱ)."""

    def predict(z: Tensor, t: int) -> Tensor:
        a = float(ALPHA_BAR[t])
        score = (z - math.sqrt(a) * mean) / (a * deviation**2 + 1 - a)
        return math.sqrt(1 - a) * score

    return predict


@pytest.mark.parametrize(("mean", "deviation"), [(0.7, 0.5), (-1.0, 2.0)])
def test_a_gaussian_prior_is_recovered(mean: float, deviation: float) -> None:
    generator = torch.Generator().manual_seed(0)
    shape = (1, 1, 100, 200)
    z = sample(
        torch.randn(shape, generator=generator), spaced_steps(1000), ALPHA_BAR, gaussian_noise(mean, deviation),
        lambda _: torch.randn(shape, generator=generator),
    )  # fmt: skip
    assert float(z.mean()) == pytest.approx(mean, abs=0.05 * deviation)  # z_1000 still holds 0.5 % of the variance of the data
    assert float(z.std()) == pytest.approx(deviation, rel=0.03)
    standard = ((z - z.mean()) / z.std()).flatten()
    assert float((standard**4).mean()) == pytest.approx(3, abs=0.15)


def test_without_noise_the_same_start_gives_the_same_end_and_noise_matters() -> None:
    start, predict = torch.randn(1, 2, 4, 4), gaussian_noise(0.3, 1.0)
    first, second = (sample(start, spaced_steps(7), ALPHA_BAR, predict) for _ in range(2))  # type: ignore[arg-type]
    assert torch.equal(first, second)
    noisy = sample(start, spaced_steps(7), ALPHA_BAR, predict, lambda _: torch.randn(start.shape))  # type: ignore[arg-type]
    assert not torch.allclose(first, noisy)


def test_guidance_goes_from_nothing_to_the_target() -> None:
    torch.manual_seed(0)
    start, target = torch.randn(2, 1, 4, 8, 6)
    guidance, predict, steps = Guidance(target, 0.0), gaussian_noise(0.0, 1.0), spaced_steps(50)
    most = target[0].numel()

    def distance(weight: float) -> float:
        z = sample(start, steps, ALPHA_BAR, predict, guidance=replace(guidance, weight=weight))  # type: ignore[arg-type]
        return float((z - target).square().mean())

    plain = float((sample(start, steps, ALPHA_BAR, predict) - target).square().mean())  # type: ignore[arg-type]
    distances = [distance(weight) for weight in (0.0, 10.0, 50.0, 100.0, float(most))]
    assert distances[0] == plain
    assert all(b < a for a, b in pairwise(distances))
    assert distances[-1] < 1e-9


def test_one_guided_step_by_hand() -> None:
    """Both forms at one transition from the formulas as the paper prints them, in scalars."""
    t, s, z, eps, target, weight = 600, 580, 0.8, -0.4, 1.5, 0.5
    a, a_next = float(ALPHA_BAR[t]), float(ALPHA_BAR[s])
    beta = 1 - a / a_next
    z_0 = (z - (1 - a) ** 0.5 * eps) / a**0.5
    c_0, c_t = a_next**0.5 * beta / (1 - a), (1 - beta) ** 0.5 * (1 - a_next) / (1 - a)
    expected = {
        "paper": c_0 * (z_0 - weight * (z_0 - target)) + c_t * z,
        "authors": c_0 * z_0 + c_t * z - 0.5 * weight * (z_0 - target),
    }
    latent = torch.full((1, 1, 1, 1), z, dtype=torch.float64)
    for form, value in expected.items():
        guidance = Guidance(torch.full_like(latent, target), weight, form)  # type: ignore[arg-type]
        got = sample(latent, [t, s], ALPHA_BAR, lambda z, _: torch.full_like(z, eps), guidance=guidance)
        assert float(got) == pytest.approx(value, rel=1e-10)
    idle = Guidance(torch.full_like(latent, target), weight, above=600)
    assert float(sample(latent, [t, s], ALPHA_BAR, lambda z, _: torch.full_like(z, eps), guidance=idle)) == pytest.approx(
        c_0 * z_0 + c_t * z, rel=1e-10
    )


def test_eqs_12_and_13_are_the_same_mean() -> None:
    """Of z̃_0 (eq. 16) and of ε_θ itself: μ = (z_t − ε (1 − α_t)/√(1 − ᾱ_t)) / √α_t."""
    torch.manual_seed(0)
    z_t, eps = torch.randn(2, 1, 4, 8, 6, dtype=torch.float64)
    a, a_next = float(ALPHA_BAR[600]), float(ALPHA_BAR[599])
    alpha = a / a_next
    expected = (z_t - eps * (1 - alpha) / (1 - a) ** 0.5) / alpha**0.5
    step, z_0 = AncestralStep(a, a_next), clean_estimate(z_t, eps, a)
    torch.testing.assert_close(posterior_mean(z_t, z_0, step), expected)
    torch.testing.assert_close(step.mean(z_t, z_0), expected)


def test_losses_are_means_of_squares() -> None:
    torch.manual_seed(0)
    x, x_hat = torch.randn(2, 3, 4, 8, 6)
    assert float(jscc_loss(x, x_hat)) == pytest.approx(np.mean((x - x_hat).numpy() ** 2))
    each = diffusion_loss(x, x_hat)
    assert each.shape == (3,)
    assert float(each.mean()) == pytest.approx(float(jscc_loss(x, x_hat)))
