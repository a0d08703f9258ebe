"""Pairing, power and equalisers of published programs, against each written out."""

from __future__ import annotations

import pytest
import torch

from gencomm_cli.networks.conventions import Conventions, Pairing
from gencomm_cli.networks.rate_adaptive import unit_power

SHAPE = (3, 4, 2)
CODE = torch.arange(1.0, 49.0).reshape(2, *SHAPE)
PAIRS = {
    "halves": [complex(1 + place, 13 + place) for place in range(12)],
    "alternate": [complex(1 + 2 * place, 2 + 2 * place) for place in range(12)],
    "rows": [complex(1 + 8 * channel + place, 5 + 8 * channel + place) for channel in range(3) for place in range(4)],
}


@pytest.mark.parametrize("pairing", PAIRS)
def test_pairs(pairing: Pairing) -> None:
    conventions = Conventions(pairing=pairing)
    symbols = conventions.pair(CODE)
    assert symbols.shape == (2, 12)
    assert symbols[0].tolist() == PAIRS[pairing]
    assert torch.equal(conventions.unpair(symbols, SHAPE), CODE)


@pytest.mark.parametrize("pairing", ["halves", "alternate"])
def test_an_odd_number_of_reals_has_a_zero_added(pairing: Pairing) -> None:
    conventions = Conventions(pairing=pairing)
    symbols = conventions.pair(CODE[:, :, :3, :1])
    assert symbols.shape == (2, 5)
    assert symbols[0, -1].imag == 0
    assert torch.equal(conventions.unpair(symbols, (3, 3, 1)), CODE[:, :, :3, :1])


@pytest.mark.parametrize("power", [0.5, 1.0])
def test_the_decoder_takes_reals_of_its_power(power: float) -> None:
    conventions = Conventions(real_power=power)
    reals = conventions.unpair(unit_power(conventions.pair(CODE)), SHAPE)
    torch.testing.assert_close(reals.square().mean((1, 2, 3)), torch.full((2,), power))
    torch.testing.assert_close(reals / reals[:, :1, :1, :1], CODE / CODE[:, :1, :1, :1])


def test_equalisers() -> None:
    h, y, n0 = torch.tensor([[0.6 + 0.8j, -0.5j]]), torch.tensor([[1.0 + 2.0j, 3.0 + 0j]]), 0.25
    wanted = {
        "mmse": [h_conj * y_k / (abs(h_conj) ** 2 + n0) for h_conj, y_k in zip([0.6 - 0.8j, 0.5j], [1 + 2j, 3], strict=True)],
        "zero-forcing": [(1 + 2j) / (0.6 + 0.8j), 3 / -0.5j],
        "phase": [(1 + 2j) * (0.6 - 0.8j), 3 * 1j],
    }
    for equaliser, values in wanted.items():
        conventions = Conventions(equaliser=equaliser)  # type: ignore[arg-type]
        torch.testing.assert_close(conventions.equalise(y, h, n0), torch.tensor([values], dtype=torch.complex64))
        assert conventions.equalise(y, None, n0) is y
    loud = Conventions(equaliser="zero-forcing").equalise(y, torch.tensor([[1e-20 + 0j, 1.0]]), n0)
    assert loud.abs().max() < 2e3


def test_an_offset_of_the_snr() -> None:
    assert Conventions(snr_offset_db=3.0).program_snr(torch.tensor([10.0])).item() == 7.0
    assert Conventions(snr_offset_db=3.0).program_snr(torch.tensor([torch.nan])).isnan().all()


@pytest.mark.parametrize("pairing", ["halves", "alternate"])
def test_an_odd_number_of_reals_keeps_its_power(pairing: Pairing) -> None:
    """√(nP)·z/‖z‖ of n reals, as published, comes back whether or not a zero filled the last symbol."""
    conventions = Conventions(pairing, real_power=1.0)
    for count in (7, 8):
        code = torch.randn(2, count, 1, 1)
        published = count**0.5 * code / torch.linalg.vector_norm(code, dim=1, keepdim=True)
        symbols = unit_power(conventions.pair(code))
        assert symbols.shape == (2, 4)
        torch.testing.assert_close(conventions.unpair(symbols, (count, 1, 1)), published)
