import math

import numpy as np
import pytest
from numpy.typing import NDArray

from gencomm_cli.text import modem


@pytest.mark.parametrize("modulation", ["bpsk", "qpsk", "16qam", "64qam"])
def test_llr_against_the_log_sum_over_all_symbols(modulation: str) -> None:
    rng = np.random.default_rng(0)
    width = modem.BITS_PER_SYMBOL[modulation]
    labels = np.array([[i >> (width - 1 - b) & 1 for b in range(width)] for i in range(2**width)], np.uint8)
    points = np.array([modem.modulate(label, modulation)[0] for label in labels])
    y, h = (rng.normal(size=(2, 50)) for _ in range(2))
    y, h, n0 = y[0] + 1j * y[1], h[0] + 1j * h[1], 0.7
    likelihood = np.exp(-(np.abs(y[:, None] - h[:, None] * points) ** 2) / n0)
    zero, one = (np.stack([likelihood[:, labels[:, b] == bit].sum(1) for b in range(width)], 1) for bit in (0, 1))
    expected = np.log(zero / one)
    np.testing.assert_allclose(modem.demodulate(y, h, n0, modulation), expected.reshape(-1), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(modem.demodulate(y, None, n0, modulation), modem.demodulate(y, np.ones(1, complex), n0, modulation))


WIDTHS = {"bpsk": 1, "qpsk": 2, "16qam": 4, "64qam": 6}


def labels_and_points(modulation: str) -> tuple[NDArray[np.uint8], NDArray[np.complex64]]:
    width = WIDTHS[modulation]
    labels = np.array([[i >> (width - 1 - b) & 1 for b in range(width)] for i in range(2**width)], np.uint8)
    return labels, modem.modulate(labels.reshape(-1), modulation)


@pytest.mark.parametrize("modulation", WIDTHS)
def test_unit_power_and_hard_decisions(modulation: str) -> None:
    labels, points = labels_and_points(modulation)
    assert points.dtype == np.complex64
    assert np.mean(np.abs(points.astype(complex)) ** 2) == pytest.approx(1, rel=1e-6)
    np.testing.assert_array_equal(modem.demodulate(points, None, 0.01, modulation) < 0, labels.reshape(-1) == 1)
    bits = np.random.default_rng(1).integers(0, 2, 101).astype(np.uint8)
    symbols = modem.modulate(bits, modulation)
    assert len(symbols) == -(-101 // WIDTHS[modulation])
    np.testing.assert_array_equal(modem.demodulate(symbols, None, 0.01, modulation)[:101] < 0, bits == 1)


@pytest.mark.parametrize("modulation", ["qpsk", "16qam", "64qam"])
def test_nearest_neighbours_in_gray_mapping_differ_in_one_bit(modulation: str) -> None:
    labels, points = labels_and_points(modulation)
    distance = np.abs(points[:, None] - points) + 9 * np.eye(len(points))
    near = distance < 1.01 * distance.min()
    assert near.sum() == 4 * (2 ** WIDTHS[modulation] - 2 ** (WIDTHS[modulation] // 2))  # a square grid
    assert ((labels[:, None] != labels).sum(axis=2)[near] == 1).all()


def test_mapping_is_3gpps() -> None:
    """TS 38.211, section 5.1, written out as printed there."""
    rng = np.random.default_rng(2)
    b = rng.integers(0, 2, (20, 6)).astype(np.uint8).T
    s = 1 - 2 * b.astype(np.complex128)
    expected = {
        "qpsk": (s[0] + 1j * s[1]) / 2**0.5,
        "16qam": (s[0] * (2 - s[2]) + 1j * s[1] * (2 - s[3])) / 10**0.5,
        "64qam": (s[0] * (4 - s[2] * (2 - s[4])) + 1j * s[1] * (4 - s[3] * (2 - s[5]))) / 42**0.5,
    }
    for modulation, points in expected.items():
        sent = modem.modulate(b[: WIDTHS[modulation]].T.reshape(-1), modulation)
        np.testing.assert_allclose(np.abs(sent.astype(np.complex128) - points), 0, atol=1e-6)


def q(x: float) -> float:
    return 0.5 * math.erfc(x / 2**0.5)


def bit_error_rate(modulation: str, n0: float) -> float:
    """Exact error rate of Gray-mapped square QAM on AWGN [Cho & Yoon, IEEE Trans. Commun. 50(7), 2002, eqs. 14 and 16]."""
    width = max(1, WIDTHS[modulation] // 2)
    levels = 2**width
    step = (1 / n0) ** 0.5 * 2**0.5 if modulation == "bpsk" else (3 / ((levels**2 - 1) * n0)) ** 0.5
    total = 0.0
    for k in range(1, width + 1):
        for i in range(levels - levels // 2**k):
            turn = i * 2 ** (k - 1) / levels
            total += (-1) ** math.floor(turn) * (2 ** (k - 1) - math.floor(turn + 0.5)) * 2 * q((2 * i + 1) * step) / levels
    return total / width


@pytest.mark.parametrize("fading", [False, True])
@pytest.mark.parametrize(("modulation", "snr_db"), [("bpsk", 4.0), ("qpsk", 6.0), ("16qam", 12.0), ("64qam", 18.0)])
def test_uncoded_error_rate_is_the_closed_form(modulation: str, snr_db: float, fading: bool) -> None:
    rng = np.random.default_rng(3)
    n0, count = 10 ** (-snr_db / 10), 300_000
    bits = rng.integers(0, 2, count * WIDTHS[modulation]).astype(np.uint8)
    noise, gain = ((rng.normal(size=(2, count)) * 0.5**0.5).T.copy().view(complex)[:, 0] for _ in range(2))
    sent = modem.modulate(bits, modulation)
    received = sent * (gain if fading else 1) + n0**0.5 * noise
    measured = np.mean((modem.demodulate(received, gain if fading else None, n0, modulation) < 0) != bits)
    if fading:  # the mean over |h|^2, which is exponential: midpoints of 2000 classes of equal probability
        expected = float(np.mean([bit_error_rate(modulation, -n0 / math.log((i + 0.5) / 2000)) for i in range(2000)]))
    else:
        expected = bit_error_rate(modulation, n0)
    assert measured == pytest.approx(expected, rel=0.05)


@pytest.mark.parametrize("repetition", [1, 2, 4])
def test_copies_add_up(repetition: int) -> None:
    bits = np.random.default_rng(2).integers(0, 2, 99).astype(np.uint8)
    sent = modem.spread(bits, repetition)
    assert len(sent) == 99 * repetition
    np.testing.assert_array_equal(
        modem.combine(1.0 - 2.0 * sent.astype(np.float64), 99, repetition), repetition * (1.0 - 2.0 * bits)
    )


def test_interleaver_scatters() -> None:
    """Neighbours end up as far apart as in a random permutation (n / 3 on average), and copies differ."""
    order = modem.interleaver(600, 0)
    assert sorted(order.tolist()) == list(range(600))
    assert np.abs(np.diff(np.argsort(order))).mean() == pytest.approx(200, rel=0.15)
    assert np.mean(order == modem.interleaver(600, 1)) < 0.02
    assert modem.interleaver(8, 0).tolist() == [7, 4, 1, 5, 6, 3, 0, 2]
