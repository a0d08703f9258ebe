"""The code around KLT and LMMSE: the closed form it starts at, powers, pilots, rates of any size."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from gencomm_cli.channels.equalisers import mmse, reliability
from gencomm_cli.networks.klt_jscc import KLTJSCC, KLTConfig
from gencomm_cli.networks.linear_code import size_of, water_filling, with_pilots
from gencomm_cli.networks.rate_adaptive import unit_power

SMALL = KLTConfig(channels=4, code_channels=16, factor=2, pixels=2, width=8, depths=(1, 1), token_width=16, token_depth=1)
VALUES = torch.logspace(1, -3, 16, dtype=torch.float64)


def started(weights: torch.Tensor | None = None) -> tuple[KLTJSCC, torch.Tensor, torch.Tensor]:
    """A code at its start for tokens of a known covariance, such a field and its image."""
    torch.manual_seed(0)
    jscc = KLTJSCC(SMALL).eval()
    basis = torch.linalg.qr(torch.randn(16, 16, dtype=torch.float64))[0]
    jscc.start_linear(torch.full((16,), 0.5), basis @ torch.diag(VALUES) @ basis.T, weights)
    white = torch.linalg.qr(torch.randn(4, 64 * 64, 16, dtype=torch.float64))[0] * 64  # of the very covariance, not of about it
    tokens = 0.5 + white @ (basis * VALUES.sqrt()).T
    return jscc, F.fold(tokens.transpose(1, 2).float(), (128, 128), 2, stride=2), torch.rand(4, 3, 256, 256)


def least_error(reals: float, snr_db: float) -> float:
    """Σ λ_i ν/(p_i + ν) by bisection over the water level, for a whole number of reals a token."""
    nu, values = 0.5 * 10 ** (-snr_db / 10), VALUES[: round(reals)]
    low, high = 1e-9, 1e9
    for _ in range(200):
        level = math.sqrt(low * high)
        powers = (level * values.sqrt() - nu).clamp_min(0)
        low, high = (level, high) if powers.sum() < reals / 2 else (low, level)
    return float((values * nu / (powers + nu)).sum() + VALUES[round(reals) :].sum())


@pytest.mark.parametrize(("reals", "snr_db"), [(4, 10.0), (8, 1.0), (12, -5.0), (15, 10.0)])
@pytest.mark.parametrize("fading", [False, True])
def test_at_the_start_its_error_is_the_closed_form(reals: int, snr_db: float, fading: bool) -> None:
    jscc, field, image = started()
    n0, tokens = 10 ** (-snr_db / 10), 64 * 64
    symbols = round(tokens * reals / 2 / 0.99)
    snr = torch.full((4,), snr_db)
    with torch.no_grad():
        sent = jscc.encode(field, symbols, snr, image)
        h = torch.randn_like(sent) if fading else torch.ones_like(sent)
        received = h * sent + math.sqrt(n0) * torch.randn_like(sent)
        out = jscc.decode(mmse(received, h, torch.tensor(n0)), reliability(h, n0), (128, 128), snr, snr)
    assert torch.allclose(sent.abs().square().mean(1), torch.ones(4), atol=1e-4)
    expected = least_error(reals, snr_db)
    if fading:  # the same powers, and the mean error over |h|² ~ Exp(1), from fewer draws of h than 1 % takes
        nodes = -torch.log1p(-(torch.arange(20000, dtype=torch.float64) + 0.5) / 20000)
        spread = VALUES.sqrt()
        powers = water_filling(spread, (reals - torch.arange(16.0)).clamp(0, 1).double(), torch.tensor([n0 / 2]).double())[0]
        expected = float((VALUES * (n0 / 2 / (nodes[:, None] * powers + n0 / 2)).mean(0)).sum())
    assert (out - field).double().square().mean().item() * 16 == pytest.approx(expected, rel=0.02 if fading else 0.01)


def test_weights_move_the_error_to_the_channels_that_count_less() -> None:
    errors = []
    for weights in (None, torch.tensor([10.0, 1.0, 1.0, 1.0])):
        jscc, field, image = started(weights)
        with torch.no_grad():
            sent = jscc.encode(field, 4096 * 3, torch.full((4,), math.nan), image)
            out = jscc.decode(0.9 * sent, torch.full(sent.shape, 0.9), (128, 128), torch.full((4,), 9.5))
        errors.append((out - field).square().mean((0, 2, 3)))
    assert errors[1][0] < errors[0][0]
    assert errors[1].sum() > errors[0].sum()


def test_powers_are_half_a_unit_a_real_and_leave_out_what_drowns() -> None:
    spread, share = VALUES.sqrt().float(), torch.tensor([1.0] * 6 + [0.5] + [0.0] * 9)
    powers = water_filling(spread, share, torch.tensor([0.005, 0.5, 50.0]))
    assert torch.allclose((powers * share).sum(1), torch.full((3,), 3.25), rtol=1e-5)
    assert (powers[:, 7:] == 0).all()
    assert (powers > 0).sum(1).tolist() == sorted((powers > 0).sum(1).tolist(), reverse=True)
    assert (powers > 0).sum(1)[0] == 7


@pytest.mark.parametrize("size", [1e-3, 0.4, 1.0, 2.5, 1e3])
def test_pilots_tell_the_size_and_power_is_unit(size: float) -> None:
    torch.manual_seed(0)
    code = unit_power(torch.randn(2, 1980, dtype=torch.complex64)) / size
    sent = with_pilots(code, 20)
    assert torch.allclose(sent.abs().square().mean(1), torch.ones(2), atol=1e-4)
    places = torch.arange(20) * 100
    for noise in (0.0, 0.1):
        received = mmse(sent[:, places] + math.sqrt(noise) * torch.randn(2, 20, dtype=torch.complex64), None, noise)
        told = size_of(received, torch.full((2, 20), 1 / (1 + noise)))
        known = min(max(size, math.exp(-1.5)), math.exp(1.5))
        assert told.flatten().tolist() == pytest.approx([known] * 2, rel=0.01 if noise == 0 else 0.2)


def test_contrast_survives_that_every_picture_is_sent_with_one_power() -> None:
    jscc, field, image = started()
    with torch.no_grad():
        for contrast in (0.5, 1.0, 2.0):
            scaled = 0.5 + contrast * (field - 0.5)
            sent = jscc.encode(scaled, 4096 * 8, torch.full((4,), 20.0), image)
            out = jscc.decode(sent, torch.ones(sent.shape), (128, 128), torch.full((4,), 30.0), torch.full((4,), 20.0))
            assert ((out - scaled).square().mean() / (scaled - 0.5).square().mean()).item() < 0.01


@pytest.mark.parametrize("symbols", [1, 5, 23, 96])
def test_any_rate_decodes_to_the_size_of_the_field_and_gradients_are_numbers(symbols: int) -> None:
    torch.manual_seed(0)
    jscc = KLTJSCC(SMALL)
    for parameter in jscc.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    field, image = torch.randn(3, 4, 8, 12), torch.rand(3, 3, 16, 24)
    field[0], image[0] = 0, 0.5  # a grey picture
    sent = jscc.encode(field, symbols, torch.tensor([3.0, math.nan, 20.0]), image)
    assert sent.shape == (3, symbols)
    r = torch.tensor([1.0, 0.5, 0.0])[:, None].expand(3, symbols)
    out = jscc.decode(sent * r, r, (8, 12), torch.tensor([3.0, 3.0, 3.0]))
    assert out.shape == field.shape
    out.square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in jscc.parameters() if p.grad is not None)


def test_more_symbols_than_the_code_has() -> None:
    with pytest.raises(ValueError, match="reals"):
        KLTJSCC(SMALL).encode(torch.zeros(1, 4, 8, 8), 150, torch.zeros(1), torch.zeros(1, 3, 16, 16))
