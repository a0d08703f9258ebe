"""ResidualADJSCC: the closed form that it starts at, what its receiver reads, and the gradient that DiffCom needs."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from gencomm_cli.channels.equalisers import mmse, reliability
from gencomm_cli.channels.fading import draw_noise
from gencomm_cli.methods.base import Received
from gencomm_cli.networks import codec_side
from gencomm_cli.networks.klt_code import KLTCode
from gencomm_cli.networks.linear_code import water_filling
from gencomm_cli.networks.residual_adjscc import ResidualADJSCC, ResidualADJSCCConfig
from tests.support.presets import randomise

SMALL = ResidualADJSCCConfig(24, 4, widths=(8, 8), encoder_depths=(1, 1), decoder_depths=(1, 1), edge=4)
VALUES = torch.logspace(1, -4, 48, dtype=torch.float64)
CPU = torch.device("cpu")


def started() -> tuple[ResidualADJSCC, torch.Tensor]:
    """A code at its start for blocks of a known covariance, and such images [4, 3, 64, 64]."""
    torch.manual_seed(0)
    basis = torch.linalg.qr(torch.randn(48, 48, dtype=torch.float64))[0]
    code = ResidualADJSCC(SMALL).eval().requires_grad_(False)
    code.start_linear(torch.full((48,), 0.5), basis @ torch.diag(VALUES) @ basis.T)
    white = torch.linalg.qr(torch.randn(4, 256, 48, dtype=torch.float64))[0] * 16  # of the very covariance, not of about it
    tokens = 0.5 + white @ (basis * VALUES.sqrt()).T
    return code, F.fold(tokens.transpose(1, 2).float(), (64, 64), 4, stride=4)


def least_error(reals: int, snr_db: float) -> float:
    """Σ λ_i ν/(p_i + ν), and what is not sent."""
    nu = torch.tensor([0.5 * 10 ** (-snr_db / 10)], dtype=torch.float64)
    powers = water_filling(VALUES.sqrt(), (torch.arange(48) < reals).double(), nu)[0]
    return float((VALUES * nu / (powers + nu)).sum())


@pytest.mark.parametrize(("reals", "snr_db"), [(8, 10.0), (16, 0.0), (20, 20.0)])
def test_at_the_start_its_error_is_the_closed_form(reals: int, snr_db: float) -> None:
    code, image = started()
    known = torch.full((4,), snr_db)
    k = round(256 * reals / 2 / 0.99)
    sent = code.encode(image, k, known)
    torch.testing.assert_close(sent.abs().square().mean(1), torch.ones(4))
    received = sent + 10 ** (-snr_db / 20) * torch.randn_like(sent)
    error = (code.decode(received, (64, 64), known, tx_snr_db=known) - image).square().mean() * 48
    assert float(error) == pytest.approx(least_error(reals, snr_db), rel=0.03)


def test_a_receiver_that_knows_which_symbols_faded_does_better() -> None:
    code, image = started()
    image, generator = image[:1], np.random.default_rng(0)
    sent = code.encode(image, 2600, torch.tensor([10.0]))
    gain, noise = (draw_noise(2600, generator) * np.float32(scale) for scale in (1, 0.1**0.5))
    received = Received(gain * sent[0].numpy() + noise, gain, 0.1, (64, 64), tx_snr_db=10.0, fading="rayleigh")
    known, side_ok = codec_side.receive(code, received, CPU)
    assert known is not None
    assert side_ok is None
    h, y = torch.from_numpy(gain)[None], torch.from_numpy(received.symbols)[None]
    equalised, snr_db = mmse(y, h, 0.1), torch.tensor([6.0])
    made = known.decode(equalised, (64, 64), snr_db)
    errors = [float((one - image).square().mean()) for one in (made, code.decode(equalised, (64, 64), snr_db))]
    assert errors[0] < 0.8 * errors[1]
    torch.testing.assert_close(
        made, code.decode(equalised, (64, 64), snr_db, reliability(h, 0.1).float(), torch.tensor([10.0])), rtol=1e-4, atol=1e-4
    )


def test_the_encoder_is_deterministic_and_has_gradients() -> None:
    code, image = started()
    randomise(code, 0)
    image, known = image[:1].requires_grad_(), torch.tensor([10.0])
    first, again = (code.encode(image, 1000, known) for _ in range(2))
    assert torch.equal(first, again)
    target = torch.randn_like(first)
    (first - target).abs().square().sum().backward()
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()
    step = 1e-2 * image.grad / image.grad.norm()
    with torch.no_grad():
        nearer, farther = ((code.encode(image + sign * step, 1000, known) - target).abs().square().sum() for sign in (-1, 1))
    slope = float(farther - nearer) / 2e-2
    assert slope == pytest.approx(float(image.grad.norm()), rel=0.05)


def test_every_rate_snr_and_picture_counts() -> None:
    code, image = started()
    randomise(code, 0)
    assert code.symbols(10**9, (64, 64)) == 24 * 256 // 2
    assert code.symbols(1, (4, 4)) == 1
    with pytest.raises(ValueError, match=r"^3073 symbols asked of a code that has 3072"):
        code.encode(image, 3073, torch.zeros(4))
    loud, quiet, unknown = (code.encode(image, 512, torch.full((4,), snr)) for snr in (20.0, 0.0, math.nan))
    assert not torch.allclose(loud, quiet, atol=1e-2)
    assert torch.isfinite(unknown).all()
    high, low = (code.decode(loud, (64, 64), torch.full((4,), snr)) for snr in (20.0, 0.0))
    assert not torch.allclose(high, low, atol=1e-3)


def test_rates_of_a_small_code_are_those_of_the_linear_one() -> None:
    """Fewer reals than tokens: the first channel is spread over the picture."""
    code, image = started()
    assert isinstance(code, KLTCode)
    errors = []
    for k in (16, 100, 1000, 3072):
        sent = code.encode(image, k, torch.full((4,), 20.0))
        errors.append(float((code.decode(sent, (64, 64), torch.full((4,), 20.0)) - image).square().mean()))
    assert errors == sorted(errors, reverse=True)
