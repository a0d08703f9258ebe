"""What the networks take of what was received."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gencomm_cli.channels.equalisers import mmse
from gencomm_cli.channels.fading import draw_gain, draw_noise
from gencomm_cli.errors import NotFinite
from gencomm_cli.methods.base import Received
from gencomm_cli.networks.rate_adaptive import unit_power
from gencomm_cli.networks.tensors import SNR_RANGE, Heard, as_symbols, to_image
from gencomm_cli.symbols import Symbols

CPU = torch.device("cpu")


def heard(gain: Symbols | None, n0: float) -> Heard:
    return Heard.of(Received(draw_noise(500, np.random.default_rng(0)), gain, n0, (8, 8), None), CPU)


@pytest.mark.parametrize("kind", ["awgn", "rayleigh", "block"])
def test_it_is_what_the_equalisers_say(kind: str) -> None:
    gain = draw_gain(kind, 500, np.random.default_rng(1))  # type: ignore[arg-type]
    found = heard(gain, 0.3)
    y = draw_noise(500, np.random.default_rng(0))
    np.testing.assert_array_equal(found.y[0].numpy(), y)
    assert (found.gain is None) == (gain is None)
    power = 1.0 if gain is None else np.abs(gain) ** 2
    np.testing.assert_allclose(found.reliability[0].numpy(), np.broadcast_to(power / (power + 0.3), 500), rtol=1e-5)
    assert found.reliability.dtype == torch.float32
    np.testing.assert_allclose(found.mmse()[0].numpy(), mmse(y, gain, 0.3), rtol=1e-4, atol=1e-6)


def test_effective_snr_is_the_snr_without_fading_and_less_with_it() -> None:
    awgn, block = heard(None, 0.1), heard(np.array([0.5j], np.complex64), 0.1)
    for snr in (awgn.snr_db, awgn.effective_snr_db, block.snr_db):
        torch.testing.assert_close(snr, torch.tensor([10.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(block.effective_snr_db, torch.tensor([10 + 20 * np.log10(0.5)]).float(), atol=1e-4, rtol=0)
    faded = heard(draw_gain("rayleigh", 500, np.random.default_rng(1)), 0.1)
    assert float(faded.effective_snr_db) < 9


def test_snrs_stay_in_the_networks_range() -> None:
    for n0, end in ((0.0, SNR_RANGE[1]), (1e5, SNR_RANGE[0])):
        assert float(heard(None, n0).snr_db) == float(heard(None, n0).effective_snr_db) == end
    assert heard(None, 0.0).mean_snr_db == pytest.approx(90, abs=1e-3)
    assert heard(None, 1e5).mean_snr_db == pytest.approx(-40, abs=1e-3)


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_name_their_network(number: float) -> None:
    picture = torch.zeros(1, 3, 8, 8)
    picture[0, 1, 2, 3] = number
    with pytest.raises(NotFinite, match="unet: gives NaN or infinite numbers"):
        to_image(picture, (8, 8), "unet")
    with pytest.raises(NotFinite, match="jscc: gives"):
        as_symbols(unit_power(torch.full((1, 4), number, dtype=torch.complex64))[0], "jscc")
    assert to_image(torch.ones(1, 3, 8, 8), (5, 7), "unet").shape == (5, 7, 3)
