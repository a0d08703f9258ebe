"""LRISC's sampler: the published program's numbers, and a Gaussian whose exact answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gencomm_cli.diffusion.cosine import STEPS, cosine_alpha_bar
from gencomm_cli.methods.lrisc.method import sample, visited
from tests.networks.test_conditional_unet import published, vectors

ALPHA_BAR = cosine_alpha_bar()


@pytest.mark.parametrize("count", [1, 2, 5, 17, 65, 500])
def test_published_steps(count: int) -> None:
    found = vectors("schedule")
    assert visited(count) == found[f"sample.steps{count}.index"].flip(0).tolist()
    torch.testing.assert_close(
        ALPHA_BAR[visited(count)].float().flip(0), found[f"sample.steps{count}.alphas_cumprod"], rtol=1e-6, atol=0
    )


@pytest.mark.parametrize(("eta", "name"), [(0.0, "out.decoded"), (0.5, "out.decoded_eta0.5")])
def test_published_decoding(eta: float, name: str) -> None:
    network, _, contexts = published()
    found = vectors("ddim")
    done: list[tuple[int, int]] = []
    out = sample(
        found["in.init"], visited(5), ALPHA_BAR, lambda x, time: network(x, torch.tensor([time]), contexts), ancestral=eta,
        draw=lambda index: found[f"in.eta_noise{index}"], progress=lambda *step: done.append(step),
    )  # fmt: skip
    torch.testing.assert_close(out, found[name], atol=1e-4, rtol=0)
    assert done == [(step, 5) for step in range(1, 6)]


def gaussian(mean: float, variance: float) -> tuple[list[float], object]:
    """E[x_0 | x_n] of x_0 ~ N(mean, variance), and the times at which it was asked."""
    asked: list[float] = []

    def predict(x: Tensor, time: float) -> Tensor:
        asked.append(time)
        a = float(ALPHA_BAR[round(time * STEPS)])
        expected: Tensor = mean + variance * a**0.5 / (variance * a + 1 - a) * (x - a**0.5 * mean)
        return expected

    return asked, predict


@pytest.mark.parametrize(("count", "tolerance"), [(17, 0.06), (65, 0.02), (500, 0.003)])
def test_a_gaussian_is_recovered(count: int, tolerance: float) -> None:
    """With the exact predictor η = 0 is the probability flow: each x_N goes to mean + √variance · x_N."""
    _, predict = gaussian(0.1, 0.01)
    noise = torch.randn(1, 1, 1, 20000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    out = sample(noise, visited(count), ALPHA_BAR, predict)  # type: ignore[arg-type]
    assert (out - (0.1 + 0.1 * noise)).abs().max() < tolerance * noise.abs().max()


def test_ancestral_sampling_draws_from_the_gaussian() -> None:
    """Eq. 6 with the exact predictor; its error falls with the number of steps."""
    _, predict = gaussian(0.1, 0.01)
    draws = torch.Generator().manual_seed(2)
    noise = torch.randn(1, 1, 1, 5000, generator=draws, dtype=torch.float64)

    def deviation(count: int) -> float:
        out = sample(
            noise, visited(count), ALPHA_BAR, predict, ancestral=1.0,  # type: ignore[arg-type]
            draw=lambda _: torch.randn(noise.shape, generator=draws, dtype=torch.float64),
        )  # fmt: skip
        assert out.mean() == pytest.approx(0.1, abs=0.006)
        return float(out.std())

    assert deviation(1000) == pytest.approx(0.1, rel=0.03)
    assert abs(deviation(1000) - 0.1) < abs(deviation(200) - 0.1)


@pytest.mark.parametrize("count", [1, 2, 5, 17, 65])
def test_pseudo_continuous_time(count: int) -> None:
    asked, predict = gaussian(0.0, 0.1)
    sample(torch.randn(1, 3, 4, 4), visited(count), ALPHA_BAR, predict)  # type: ignore[arg-type]
    assert len(asked) == count
    assert asked[0] == (STEPS - 1) / STEPS
    assert asked == sorted(asked, reverse=True)
    assert count == 1 or asked[-1] == 0


def test_noise_is_not_left_out_in_silence() -> None:
    with pytest.raises(ValueError, match="give draw"):
        sample(torch.zeros(1, 3, 2, 2), visited(3), ALPHA_BAR, lambda x, _: x, ancestral=1.0)


def test_predictions_are_clamped_as_pixels_are() -> None:
    out = sample(torch.zeros(1, 3, 2, 2), visited(3), ALPHA_BAR, lambda x, _: torch.full_like(x, 7.0))
    assert torch.equal(out, torch.ones_like(out))
