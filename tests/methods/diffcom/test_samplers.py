"""DiffCom's samplers: their output's law on linear-Gaussian toys, and the published program's numbers."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from gencomm_cli.diffusion.schedule import linear, linear_float32, spaced_steps
from gencomm_cli.diffusion.steps import AncestralStep, noised
from gencomm_cli.methods.diffcom import method
from gencomm_cli.methods.diffcom.method import (
    ChannelPrior,
    Form,
    Guidance,
    adaptive_start,
    authors_start,
    distance,
    lmmse_taps,
    sample,
    sample_blind,
    sample_ddnm,
)
from gencomm_cli.methods.diffcom.pixel_prior import Prior
from tests.support.published import load

ALPHA_BAR = linear()
N0 = 0.2
Array = NDArray[np.float64]


# --- the linear-Gaussian toy -------------------------------------------------------------------------------------------------

RNG = np.random.default_rng(0)
DIMENSION, SYMBOLS = 3, 2
MEAN = RNG.normal(size=DIMENSION)
FACTOR = RNG.normal(size=(DIMENSION, DIMENSION)) / 2
COVARIANCE: Array = FACTOR @ FACTOR.T + 0.2 * np.eye(DIMENSION)
ENCODER = (RNG.normal(size=(2, SYMBOLS, DIMENSION)) / 2).astype(np.float64)  # real and imaginary parts
DECODER = RNG.normal(size=(DIMENSION, 2 * SYMBOLS)) / 2
RECEIVED = RNG.normal(size=2 * SYMBOLS)
REALS: Array = ENCODER.transpose(1, 0, 2).reshape(2 * SYMBOLS, DIMENSION)  # rows in the order of view_as_real


def shrinkage(a: float) -> Array:
    """∂x̂_{0|t}/∂x_t of the Gaussian prior."""
    gain: Array = np.sqrt(a) * COVARIANCE @ np.linalg.inv(a * COVARIANCE + (1 - a) * np.eye(DIMENSION))
    return gain


def gaussian_prior(x: Tensor, t: int) -> tuple[Tensor, None]:
    a = float(ALPHA_BAR[t])
    return torch.tensor(MEAN) + (x - a**0.5 * torch.tensor(MEAN)) @ torch.tensor(shrinkage(a)).T, None


def toy_residuals(x_0: Tensor) -> tuple[Tensor, Tensor]:
    sent = torch.view_as_complex((x_0 @ torch.tensor(REALS).T).unflatten(1, (SYMBOLS, 2)))
    received = torch.view_as_complex(torch.tensor(RECEIVED).view(SYMBOLS, 2))
    confirmed = torch.view_as_real(sent).flatten(1) @ torch.tensor(DECODER).T
    return received - sent, torch.tensor(DECODER @ RECEIVED) - confirmed


def law(transitions: int, dimension: int, run: Callable[[Tensor, Callable[[int], Tensor]], Tensor]) -> tuple[Array, Array]:
    """Mean and covariance of a sampler that is affine in its noise: one run for zero noise, one for every unit of it."""
    basis = torch.zeros(transitions + 1, 1 + dimension * (transitions + 1), dimension, dtype=torch.float64)
    for index in range(transitions + 1):
        rows = 1 + index * dimension + torch.arange(dimension)
        basis[index, rows, torch.arange(dimension)] = 1
    out = run(basis[0], lambda index: basis[index + 1]).numpy()
    return out[0], (out[1:] - out[0]).T @ (out[1:] - out[0])


def recursion(steps: list[int], guidance: Guidance, mean: Array, covariance: Array) -> tuple[Array, Array]:
    """The same law from the matrices of every step: x_s = M x_t + c + σ̃ ε, in float64, outside the sampler."""
    for t, s in itertools.pairwise(steps):
        a, b = float(ALPHA_BAR[t]), float(ALPHA_BAR[s])
        alpha, beta = a / b, 1 - a / b
        shrink = shrinkage(a)
        offset = MEAN - np.sqrt(a) * shrink @ MEAN  # x̂_0 = shrink x + offset
        matrix = np.sqrt(alpha) * (1 - b) / (1 - a) * np.eye(DIMENSION) + np.sqrt(b) * beta / (1 - a) * shrink
        constant = np.sqrt(b) * beta / (1 - a) * offset
        terms = [(guidance.zeta, REALS, RECEIVED), (guidance.gamma, DECODER @ REALS, DECODER @ RECEIVED)]
        for weight, operator, seen in terms:
            inner = 2 * weight * np.eye(len(seen))
            if guidance.form != "squared":
                inner *= beta / (np.sqrt(alpha) * guidance.n0)
            if guidance.form == "exact":
                spread = COVARIANCE - a * COVARIANCE @ np.linalg.inv(a * COVARIANCE + (1 - a) * np.eye(DIMENSION)) @ COVARIANCE
                noise = guidance.n0 / 2 * np.eye(len(seen))
                inner = weight * beta / np.sqrt(alpha) * np.linalg.inv(noise + operator @ spread @ operator.T)
            gradient = shrink.T @ operator.T @ inner
            matrix = matrix - gradient @ operator @ shrink
            constant = constant + gradient @ (seen - operator @ offset)
        mean = matrix @ mean + constant
        covariance = matrix @ covariance @ matrix.T + beta * (1 - b) / (1 - a) * np.eye(DIMENSION)
    return mean, covariance


@pytest.mark.parametrize(
    ("form", "zeta", "gamma"),
    [("squared", 0.03, 0.0), ("squared", 0.02, 0.01), ("score", 1.0, 0.0), ("score", 0.7, 0.2), ("exact", 1.0, 0.0)],
)
def test_law_of_the_output_on_a_linear_gaussian_toy(form: Form, zeta: float, gamma: float) -> None:
    """Algorithm 1 from pure noise; Algorithm 2 (γ > 0) from the noised x_d."""
    guidance = Guidance(zeta, gamma, form=form, n0=N0)
    steps = spaced_steps(30, 400 if gamma else 1000)
    start, spread = np.zeros(DIMENSION), 1.0
    if gamma:
        a = float(ALPHA_BAR[steps[0]])
        start, spread = np.sqrt(a) * DECODER @ RECEIVED, np.sqrt(1 - a)

    def run(noise: Tensor, draw: Callable[[int], Tensor]) -> Tensor:
        x = torch.tensor(start) + spread * noise
        return sample(x, steps, ALPHA_BAR, gaussian_prior, toy_residuals, guidance, draw)

    mean, covariance = law(len(steps) - 1, DIMENSION, run)
    expected, expected_covariance = recursion(steps, guidance, start, spread**2 * np.eye(DIMENSION))
    np.testing.assert_allclose(mean, expected, atol=1e-8)
    np.testing.assert_allclose(covariance, expected_covariance, atol=1e-8)


def test_exact_is_the_true_posterior() -> None:
    """Mean and covariance within 5 %, through an encoder that mixes and a prior that is correlated."""
    steps, guidance = spaced_steps(350, 1000), Guidance(1.0, form="exact", n0=N0)
    mean, covariance = law(
        350, DIMENSION, lambda x, draw: sample(x, steps, ALPHA_BAR, gaussian_prior, toy_residuals, guidance, draw)
    )
    gain = COVARIANCE @ REALS.T @ np.linalg.inv(REALS @ COVARIANCE @ REALS.T + N0 / 2 * np.eye(2 * SYMBOLS))
    posterior = COVARIANCE - gain @ REALS @ COVARIANCE
    np.testing.assert_allclose(mean, MEAN + gain @ (RECEIVED - REALS @ MEAN), rtol=0.05, atol=0.05 * np.abs(MEAN).max())
    assert np.linalg.norm(covariance - posterior) < 0.05 * np.linalg.norm(posterior)


@pytest.mark.parametrize(("form", "mean", "variance"), [("score", 1.00, 0.048), ("exact", 10 / 11, 1 / 11)], ids=["score", "exact"])
def test_the_bias_that_the_docstring_states(form: Form, mean: float, variance: float) -> None:
    """A unit Gaussian seen at 1 through noise of variance 0.1 a real number."""

    def prior(x: Tensor, t: int) -> tuple[Tensor, None]:
        return float(ALPHA_BAR[t]) ** 0.5 * x, None

    def residuals(x_0: Tensor) -> tuple[Tensor, None]:
        return 1 + 1j - torch.view_as_complex(x_0[:, None]), None

    steps, guidance = spaced_steps(1000), Guidance(1.0, form=form, n0=0.2)
    found, covariance = law(1000, 2, lambda x, draw: sample(x, steps, ALPHA_BAR, prior, residuals, guidance, draw))
    assert found == pytest.approx(mean, abs=0.005)
    assert np.diag(covariance) == pytest.approx(variance, rel=0.03)


@pytest.mark.parametrize("of_the_image", [0.3, 0.0])
def test_law_of_blind_taps_where_the_image_is_known(of_the_image: float) -> None:
    """Given x_0, y is linear in h: Algorithm 3's taps are complex Gaussians, whose law a recursion gives, at any ζ."""
    power = np.array([0.7, 0.3])
    response = (RNG.normal(size=(3, 2)) + 1j * RNG.normal(size=(3, 2))) / 3
    seen = RNG.normal(size=3) + 1j * RNG.normal(size=3)
    zeta, steps = 0.05, spaced_steps(50, 1000)

    def run(noise: Tensor, draw: Callable[[int], Tensor]) -> Tensor:
        def taps(unit: Tensor) -> Tensor:  # two reals a tap; CN(0, 1) has half of its variance in either
            return torch.view_as_complex(unit.unflatten(1, (2, 2))) / math.sqrt(2)

        def residual(x_0: Tensor, h: Tensor) -> Tensor:
            return torch.tensor(seen) - h @ torch.tensor(response).T + 0 * x_0

        _, h_0 = sample_blind(
            torch.zeros(len(noise), 1), taps(noise), steps, ALPHA_BAR, lambda x, t: (0 * x, None),
            ChannelPrior(torch.tensor(power)), residual, Guidance(of_the_image, zeta_h=zeta), lambda i: torch.zeros(len(noise), 1),
            lambda i: taps(draw(i)),
        )  # fmt: skip
        return torch.view_as_real(h_0).flatten(1)

    mean, covariance = law(len(steps) - 1, 4, run)
    expected, spread = np.zeros(2, complex), np.eye(2, dtype=complex)
    for t, s in itertools.pairwise(steps):
        a, b = float(ALPHA_BAR[t]), float(ALPHA_BAR[s])
        alpha, beta = a / b, 1 - a / b
        clean = np.sqrt(a) * power / (a * power + 1 - a)
        keep = np.sqrt(alpha) * (1 - b) / (1 - a) + np.sqrt(b) * beta / (1 - a) * clean
        gradient = 2 * zeta * np.diag(clean) @ response.conj().T
        matrix = np.diag(keep) - gradient @ response @ np.diag(clean)
        expected = matrix @ expected + gradient @ seen
        spread = matrix @ spread @ matrix.conj().T + beta * (1 - b) / (1 - a) * np.eye(2)
    np.testing.assert_allclose(mean.view(complex), expected, atol=1e-8)
    reals = np.block([[spread.real, -spread.imag], [spread.imag, spread.real]]) / 2
    order = [0, 2, 1, 3]  # of real and imaginary parts
    np.testing.assert_allclose(covariance, reals[np.ix_(order, order)], atol=1e-8)


def test_the_printed_blind_estimate_diverges_and_the_corrected_one_is_the_mean() -> None:
    """E[h_0 | h_t] by regression; the sign alone put right grows without bound at t = T."""
    power = torch.tensor([0.5, 0.05], dtype=torch.float64)
    a, h = 0.3, torch.tensor([1.0 + 1j, -2.0j], dtype=torch.complex128)
    cross, total = a**0.5 * power, a * power + 1 - a  # E[h_0 h_t*], E|h_t|²
    torch.testing.assert_close(ChannelPrior(power).clean(h, a), cross / total * h)
    last = float(ALPHA_BAR[-1])
    sign_alone = (1 - (1 - last) / power) / last**0.5
    assert sign_alone.abs().min() > 100
    assert float(ChannelPrior(power).clean(h, last).abs().max()) < 0.02


def test_lmmse_taps_are_the_posterior_mean_and_learn_the_noise() -> None:
    generator = torch.Generator().manual_seed(1)
    response = torch.randn(1, 400, 3, generator=generator, dtype=torch.complex128)
    power = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)
    h = torch.randn(1, 3, generator=generator, dtype=torch.complex128) * power.sqrt()
    noise = torch.randn(1, 400, generator=generator, dtype=torch.complex128)
    for n0 in (0.01, 1.0):
        y = (response @ h[..., None])[..., 0] + n0**0.5 * noise
        covariance = response[0] @ torch.diag(power).to(response) @ response[0].mH + n0 * torch.eye(400)
        expected = torch.diag(power).to(response) @ response[0].mH @ torch.linalg.solve(covariance, y[0])
        torch.testing.assert_close(lmmse_taps(y, response, power, n0)[0], expected, rtol=0.02, atol=1e-3)
        torch.testing.assert_close(lmmse_taps(y, response, power, 0.0)[0], expected, rtol=0.02, atol=1e-3)


def test_blind_with_lmmse_taps_finds_image_and_channel() -> None:
    """y = h·(2, x): one tap, one known symbol among unknown ones; the update replaces the taps' diffusion."""
    h, x = 0.8 - 0.6j, torch.tensor([[0.9, -0.4]], dtype=torch.float64)

    def sent(x_0: Tensor) -> Tensor:
        return torch.cat([torch.full((len(x_0), 4), 2.0, dtype=x_0.dtype), x_0], 1) + 0j

    y = h * sent(x)

    def prior(x: Tensor, t: int) -> tuple[Tensor, None]:
        return float(ALPHA_BAR[t]) ** 0.5 * x, None

    generator = torch.Generator().manual_seed(0)
    found, taps = sample_blind(
        torch.randn(1, 2, generator=generator, dtype=torch.float64), torch.zeros(1, 1, dtype=torch.complex128),
        spaced_steps(300, 1000), ALPHA_BAR, prior, ChannelPrior(torch.ones(1)), lambda x_0, taps: y - taps * sent(x_0),
        Guidance(0.3, form="norm"),
        lambda i: torch.randn(1, 2, generator=generator, dtype=torch.float64), lambda i: torch.zeros(1, 1),
        update=lambda x_0: lmmse_taps(y, sent(x_0)[..., None], torch.ones(1, dtype=torch.float64), 1e-4),
    )  # fmt: skip
    assert complex(taps[0, 0]) == pytest.approx(h, abs=0.05)
    torch.testing.assert_close(found, x, atol=0.35, rtol=0)  # a step is 0.3 long, however near the image is


@pytest.mark.parametrize("tried", [True, False])
def test_blind_turns_an_inverted_image_over(tried: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A nearly odd code, begun at −x: with −h it explains y nearly as well, and no small step leads out of there."""
    monkeypatch.setattr(method, "INVERTED", method.INVERTED if tried else 0.0)
    generator = torch.Generator().manual_seed(0)
    x, h = torch.rand(1, 64, generator=generator, dtype=torch.float64) - 0.4, 0.8 - 0.6j

    def sent(x_0: Tensor) -> Tensor:
        return 2 * x_0 + x_0.square() + 0j

    def draw(index: int) -> Tensor:
        return torch.randn(1, 64, generator=generator, dtype=torch.float64)

    y, steps = h * sent(x), spaced_steps(60, 200)
    found, taps = sample_blind(
        noised(-x, float(ALPHA_BAR[200]), draw(0)), torch.zeros(1, 1, dtype=torch.complex128), steps, ALPHA_BAR,
        lambda x, t: (float(ALPHA_BAR[t]) ** 0.5 * x, None), ChannelPrior(torch.ones(1)), lambda x_0, taps: y - taps * sent(x_0),
        Guidance(0.3, form="norm"), draw, lambda i: torch.zeros(1, 1),
        update=lambda x_0: lmmse_taps(y, sent(x_0)[..., None], torch.ones(1, dtype=torch.float64), 1e-4),
    )  # fmt: skip
    assert (float((found * x).sum()) > 0) == tried
    assert (float((taps[0, 0] * h.conjugate()).real) > 0) == tried


# --- the published program ---------------------------------------------------------------------------------------------------


def constant(value: Tensor) -> Callable[[int], Tensor]:
    return lambda index: value


def published_operator(vector: dict[str, Tensor], run: str, h: Tensor | None, image: Tensor) -> Tensor:
    """W_h(E(x)) of the published program: interleaved, normalised by the power of what was really sent."""
    encoded = F.conv2d((image + 1) / 2, vector["codec.enc_weight"], vector["codec.enc_bias"], stride=4).flatten(1)
    sent = encoded[:, vector[f"{run}.perm"]] / vector[f"{run}.avg_pwr"].sqrt()
    if run.endswith("awgn"):
        return sent / math.sqrt(2)
    taps = vector[f"{run}.taps_est"].flatten()[:4] if h is None else h[0]  # only L = 4 of the estimated taps
    carriers: Tensor = torch.complex(*sent.view(1, 2, 4, 16).unbind(1)) * torch.fft.fft(taps, 16)
    return carriers


def published_inverse(vector: dict[str, Tensor], run: str, y: Tensor) -> Tensor:
    """D(W_h⁻¹(y)): MMSE equalised, de-interleaved, decoded."""
    if not run.endswith("awgn"):
        response = torch.fft.fft(vector[f"{run}.taps_est"].flatten())
        y = y * response.conj() / (response.abs().square() + 16 * float(vector[f"{run}.noise_pwr"]))
        y = torch.cat([y.real.flatten(1), y.imag.flatten(1)], 1)
    s = y[:, vector[f"{run}.perm"].argsort()].view(1, 8, 4, 4)
    return F.conv_transpose2d(s, vector["codec.dec_weight"], vector["codec.dec_bias"], stride=4)


def published_prior(vector: dict[str, Tensor]) -> Prior:
    def prior(x: Tensor, t: int) -> tuple[Tensor, Tensor]:
        out = F.conv2d(x, vector["den.weight"], vector["den.bias"]) + ((t - 1) / 1000 * vector["den.t_vector"]).view(1, 6, 1, 1)
        noise, v = out.chunk(2, 1)
        a = float(ALPHA_BAR[t])
        return ((x - (1 - a) ** 0.5 * noise) / a**0.5).clamp(-1, 1), (v + 1) / 2

    return prior


@pytest.mark.parametrize("run", ["diffcom.awgn", "diffcom.ofdm", "hifi_diffcom.awgn", "hifi_diffcom.ofdm", "blind_diffcom.ofdm"])
def test_published_sampling(run: str) -> None:
    """Chains of three to five steps in the middle, and the last three, in the authors' form."""
    meta, vector = load("diffcom_sampling_a")
    settings = meta["runs"][run]
    blind, hyper = run.startswith("blind"), settings["hyper"]
    guidance = Guidance(hyper["zeta"], hyper["gamma"], hyper.get("h_lr", 0.0), "norm", decays=blind, last=False)
    y, x_d = vector[f"{run}.received"], vector[f"{run}.x_mse"]
    y = y if run.endswith("awgn") else y[0]
    first = 2 if blind else 0

    def residuals(x_0: Tensor) -> tuple[Tensor, Tensor | None]:
        sent = published_operator(vector, run, None, x_0)
        return y - sent, x_d - published_inverse(vector, run, sent) if guidance.gamma else None

    for steps, x_name in ((range(first, 5), "x_restart_mid" if blind else "x_init"), (range(5, 8), "x_restart")):
        x = vector[f"{run}.{x_name}"]
        h = vector[f"{run}.step{steps[0]}.h_t"].view(1, 4) if blind else torch.zeros(1, 4)
        for index in steps:  # one by one: the published decay counts from the first of all steps
            t = settings["steps"][index]["t"] + 1
            here = f"{run}.step{index}"
            noise = vector[f"{here}.noise"] if index < 7 else torch.zeros_like(x)
            distances: list[float] = []

            def note(done: int, total: int, found: Tensor, distances: list[float] = distances) -> None:
                distances.append(float(found))

            if blind:
                scale = guidance.scale(t, settings["t_start"])
                scaled = replace(guidance, decays=False, zeta=scale, zeta_h=scale * guidance.zeta_h)
                x, h = sample_blind(
                    x, h, [t, t - 1], ALPHA_BAR, published_prior(vector), ChannelPrior(torch.ones(4), "authors"),
                    lambda x_0, h_0: y - published_operator(vector, run, h_0, x_0), scaled, constant(noise),
                    constant(vector[f"{here}.h_noise"].view(1, 4) / math.sqrt(2)), report=note, taps_alpha_bar=linear_float32(),
                )  # fmt: skip
            else:
                prior = published_prior(vector)
                if guidance.gamma:
                    source = residuals(prior(x, t)[0])[1]
                    assert source is not None
                    assert float(guidance.gamma * distance(source)) == pytest.approx(float(vector[f"{here}.loss.x_mse"]), rel=1e-5)
                x = sample(x, [t, t - 1], ALPHA_BAR, prior, residuals, guidance, constant(noise), note)
            assert guidance.zeta * distances[0] == pytest.approx(float(vector[f"{here}.loss.ofdm_sig"]), rel=1e-4)
        torch.testing.assert_close(x, vector[f"{here}.x_next"], atol=2e-5, rtol=0)
        if blind:
            torch.testing.assert_close(
                h, vector[f"{here}.h_next"].view(1, 4), atol=1e-6 if steps[0] < 5 else 2e-4, rtol=0
            )  # betas of their own


def test_published_float32_tables() -> None:
    product, found = np.float32(1), linear_float32().numpy()
    for index, beta in enumerate(np.linspace(1e-4, 0.02, 1000), 1):
        product = np.float32(product * np.float32(np.float32(1) - np.float32(beta)))
        assert found[index] == product
    noise, exact = 1 - found[1:], 1 - ALPHA_BAR.numpy()[1:]
    assert 1e-4 < np.abs(noise / exact - 1).max() < 3e-4
    assert np.abs(found - ALPHA_BAR.numpy()).max() < 1e-6


def test_published_schedule() -> None:
    vector = {key: value.numpy() for key, value in load("diffcom_schedule_a")[1].items()}
    alpha_bar = ALPHA_BAR.numpy()
    np.testing.assert_allclose(alpha_bar[1::37], vector["alphas_cumprod"], rtol=1e-12)
    for place, index in enumerate(range(37, 1000, 37), 1):
        step = AncestralStep(float(alpha_bar[index + 1]), float(alpha_bar[index]))
        one, zero = torch.ones(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
        assert float(step.mean(zero, one)) == pytest.approx(vector["posterior_mean_coef1"][place], rel=1e-9)
        assert float(step.mean(one, zero)) == pytest.approx(vector["posterior_mean_coef2"][place], rel=1e-9)
        assert step.variance == pytest.approx(vector["posterior_variance"][place], rel=1e-9)
    for row, snr_db in zip(vector["t_start"], vector["snr_db"], strict=True):
        for found, eta in zip(row, vector["N"], strict=True):
            assert authors_start(10 ** (-snr_db / 10), ALPHA_BAR, eta) == min(found, 1000)
    constant, _, linear = vector["lr"]  # of 1.2; theirs falls to 0.3 here, which no run of theirs has it do
    for t, same, falling in zip(vector["lr.t"], constant, linear, strict=True):
        assert 1.2 * Guidance().scale(int(t) + 1, 1000) == pytest.approx(same, rel=1e-6)
        assert 0.3 + 0.9 * Guidance(decays=True).scale(int(t) + 1, 1000) == pytest.approx(falling, rel=1e-6)


def test_adaptive_start_and_the_steps_that_are_visited() -> None:
    """Eq. 21 at ρ = 1/48; T_s falls with SNR, grows with η, and stays in 1 … T."""
    found = [adaptive_start(10 ** (-snr_db / 10), 1 / 48, ALPHA_BAR) for snr_db in (0, 5, 10, 20)]
    assert found == [246, 232, 214, 176]
    assert adaptive_start(0.1, 1 / 48, ALPHA_BAR, eta=0.2) == 43
    assert adaptive_start(0.1, 1 / 48, ALPHA_BAR, eta=9.0) == 1000
    assert adaptive_start(0.0, 1 / 16, ALPHA_BAR, eta=1e-6) == 1
    assert spaced_steps(5, 5) == [5, 4, 3, 2, 1, 0]
    assert spaced_steps(3, 1000) == [1000, 501, 1, 0]
    assert spaced_steps(50, 2) == [2, 1, 0]
    assert spaced_steps(1, 7) == [7, 0]


def test_a_perfect_match_is_no_fault() -> None:
    """‖·‖ has no derivative at zero; the sampler takes none."""
    x = torch.zeros(1, 2)
    out = sample(x, [1, 0], ALPHA_BAR, lambda x, t: (0 * x, None), lambda x_0: (x_0, None), Guidance(form="norm"), lambda i: x)
    assert torch.equal(out, x)


def test_ddnm_keeps_the_coarse_blocks_and_draws_the_rest() -> None:
    """Under a unit Gaussian prior the samples have its deviation within blocks, and x_d's means exactly."""
    torch.manual_seed(0)
    x_d, steps, said = torch.randn(1, 3, 64, 64), spaced_steps(200), list[float]()

    def unit(x: Tensor, t: int) -> tuple[Tensor, None]:
        return float(ALPHA_BAR[t]) ** 0.5 * x, None

    noise = torch.Generator().manual_seed(1)
    x = sample_ddnm(
        torch.randn(1, 3, 64, 64), steps, ALPHA_BAR, unit, x_d, 4, lambda _: torch.randn(1, 3, 64, 64, generator=noise),
        lambda done, total, left: said.append(float(left)),
    )  # fmt: skip
    means = F.avg_pool2d(x, 4)
    torch.testing.assert_close(means, F.avg_pool2d(x_d, 4), atol=1e-5, rtol=0)
    assert float((x - F.interpolate(means, scale_factor=4)).var()) == pytest.approx(15 / 16, rel=0.05)
    assert len(said) == 200
    assert said[-1] < said[0]
