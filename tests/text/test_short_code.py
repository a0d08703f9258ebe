"""The short code: its distances, its decisions against the closed form, and that it knows when it does not know."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest

from gencomm_cli.channels.fading import draw_gain, draw_noise, transmit
from gencomm_cli.text import modem, short_code

VALUES = range(32)


def sent(value: int) -> np.ndarray:
    return np.asarray(short_code.transmit(value))


def test_32_codewords_of_which_two_differ_in_8_or_16_places() -> None:
    assert sent(0).shape == (short_code.SYMBOLS,) == (8,)
    np.testing.assert_allclose(np.abs([sent(value) for value in VALUES]), 1, atol=1e-6)
    bits = [modem.demodulate(sent(value), None, 1.0, "qpsk") < 0 for value in VALUES]
    distances = [int((a != b).sum()) for a, b in combinations(bits, 2)]
    assert sorted(set(distances)) == [8, 16]
    assert distances.count(16) == 16
    assert np.array_equal(bits[5] ^ bits[9], bits[5 ^ 9])  # linear


@pytest.mark.parametrize("kind", ["awgn", "rayleigh", "block"])
def test_without_noise_every_number_arrives(kind: str) -> None:
    rng = np.random.default_rng(0)
    for value in VALUES:
        gain = draw_gain(kind, 8, rng)  # type: ignore[arg-type]
        received = transmit(sent(value), gain, draw_noise(8, rng), 0.0)
        assert short_code.receive(received, gain, 0.0) == value


def test_errors_stay_below_the_union_bound_and_losses_are_confessed() -> None:
    """At SNR γ a codeword at distance d is taken for the right one with probability Q(√(dγ)), each of its bits having SNR γ."""
    rng, n0 = np.random.default_rng(1), 10**-0.1
    numbers = rng.integers(32, size=4000)
    outcomes = [short_code.receive(transmit(sent(int(n)), None, draw_noise(8, rng), n0), None, n0) for n in numbers]
    wrong = np.mean([got is not None and got != n for got, n in zip(outcomes, numbers, strict=True)])
    lost = np.mean([got is None for got in outcomes])

    def tail(x: float) -> float:
        return 0.5 * math.erfc(x / math.sqrt(2))

    bound = 30 * tail(math.sqrt(8 / n0)) + tail(math.sqrt(16 / n0))
    assert wrong < bound
    assert wrong < 0.01  # what is accepted has a probability of 0.9 or more
    assert 0.01 < lost < 0.2
    nothing = [short_code.receive(draw_noise(8, rng) * 30, None, 900.0) for _ in range(200)]
    assert nothing == [None] * 200
