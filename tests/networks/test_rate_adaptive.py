"""The rate-adaptive code: mapping, power, rates of any size, and the linear optimum it starts from."""

from __future__ import annotations

import math

import pytest
import torch

from gencomm_cli.channels.equalisers import mmse, reliability
from gencomm_cli.networks.rate_adaptive import JSCCConfig, RateAdaptiveJSCC, sent_positions, to_complex, to_real, unit_power

SMALL = JSCCConfig(channels=4, code_channels=8, dims=(16,), depths=(1,))


def test_first_half_is_real_second_imaginary() -> None:
    x = torch.arange(6.0)[None]
    symbols = to_complex(x)
    assert symbols.tolist() == [[0 + 3j, 1 + 4j, 2 + 5j]]
    assert torch.equal(to_real(symbols), x)


def test_every_row_has_unit_power_and_zeros_do_not_stay_silent() -> None:
    symbols = torch.complex(*torch.randn(2, 3, 50)) * torch.tensor([1e-3, 1.0, 1e3])[:, None]
    assert torch.allclose(unit_power(symbols).abs().square().mean(1), torch.ones(3))
    assert torch.allclose(unit_power(torch.zeros(1, 7, dtype=torch.complex64)).abs(), torch.ones(1, 7))


@pytest.mark.parametrize(("tokens", "channels", "reals"), [(12, 8, 2), (12, 8, 38), (7, 3, 21), (1536, 32, 7786)])
def test_positions_are_distinct_fill_channels_in_order_and_spread_the_rest(tokens: int, channels: int, reals: int) -> None:
    positions = sent_positions(tokens, channels, reals)
    assert positions.unique().numel() == reals
    per_channel = torch.bincount(positions // tokens, minlength=channels)
    whole, rest = divmod(reals, tokens)
    assert per_channel.tolist() == [tokens] * whole + ([rest] if rest else []) + [0] * (channels - whole - bool(rest))
    if rest:
        gaps = (positions[whole * tokens :] % tokens).diff()
        assert not gaps.numel() or int(gaps.max() - gaps.min()) <= 1


def test_more_reals_than_the_code_has() -> None:
    with pytest.raises(ValueError, match="97 reals"):
        sent_positions(12, 8, 97)


def test_the_linear_start_reaches_the_optimum_of_linear_analog_codes() -> None:
    """For Gaussian tokens with eigenvalues λ the least error of n linear channels of unit power is (Σ√λ)²N0/(n + n·N0 …).

    With amplitudes a_i = c·λ_i^(−1/4) and an LMMSE receiver the distortion is Σ λ_i σ²/(a_i² λ_i + σ²); the code must reach it.
    """
    torch.manual_seed(0)
    jscc = RateAdaptiveJSCC(SMALL)
    basis = torch.linalg.qr(torch.randn(16, 16, dtype=torch.float64))[0]
    values = torch.logspace(1, -3, 16, dtype=torch.float64)
    jscc.start_linear(torch.zeros(16), basis @ torch.diag(values) @ basis.T, snr_db=10.0, channels=8)
    tokens = torch.randn(1, 64 * 64, 16, dtype=torch.float64) @ (basis * values.sqrt()).T
    field = torch.nn.functional.fold(tokens.transpose(1, 2).float(), (128, 128), 2, stride=2)
    n0 = 0.1
    with torch.no_grad():
        symbols = jscc.encode(field, 64 * 64 * 4, torch.full((1,), math.nan))
        noise = torch.complex(*torch.randn(2, *symbols.shape)) * math.sqrt(n0 / 2)
        weights = torch.full(symbols.shape, float(reliability(None, n0)))
        received = jscc.decode(mmse(symbols + noise, None, n0), weights, (128, 128), torch.tensor([10.0]))
    top, noise_per_real = values[:8], n0 / 2
    amplitude = top ** (-0.5)
    power = amplitude * (0.5 / (amplitude * top).mean())
    expected = (top * noise_per_real / (power * top + noise_per_real)).sum() + values[8:].sum()
    measured = (received - field).double().square().mean() * 16
    assert measured.item() == pytest.approx(expected.item(), rel=0.03)


@pytest.mark.parametrize("symbols", [1, 5, 23, 96])
def test_any_rate_decodes_to_the_size_of_the_field(symbols: int) -> None:
    jscc = RateAdaptiveJSCC(SMALL)
    field = torch.randn(2, 4, 8, 12)
    sent = jscc.encode(field, symbols, torch.tensor([3.0, math.nan]))
    assert sent.shape == (2, symbols)
    out = jscc.decode(sent, torch.ones(2, symbols), (8, 12), torch.tensor([3.0, 3.0]))
    assert out.shape == field.shape


def test_unknown_snr_is_a_trained_token_and_differs_from_any_number() -> None:
    torch.manual_seed(0)
    jscc = RateAdaptiveJSCC(SMALL)
    for parameter in jscc.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    field = torch.randn(1, 4, 8, 8)
    with torch.no_grad():
        known, unknown = (jscc.encode(field, 20, torch.tensor([snr])) for snr in (5.0, math.nan))
    assert not torch.allclose(known, unknown)
    jscc.encode(field, 20, torch.tensor([math.nan])).real.sum().backward()
    assert jscc.unknown_snr.grad is not None
    assert bool((jscc.unknown_snr.grad != 0).any())
