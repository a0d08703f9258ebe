import numpy as np
import pytest

from gencomm_cli.prompts import modem


@pytest.mark.parametrize("modulation", ["bpsk", "qpsk"])
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
    np.testing.assert_allclose(modem.demodulate(y, h, n0, modulation), expected.reshape(-1), rtol=1e-5)
    np.testing.assert_allclose(modem.demodulate(y, None, n0, modulation), modem.demodulate(y, np.ones(1, complex), n0, modulation))


@pytest.mark.parametrize("modulation", ["bpsk", "qpsk"])
def test_unit_power_and_hard_decisions(modulation: str) -> None:
    bits = np.random.default_rng(1).integers(0, 2, 101).astype(np.uint8)
    symbols = modem.modulate(bits, modulation)
    assert symbols.dtype == np.complex64
    assert len(symbols) == -(-101 // modem.BITS_PER_SYMBOL[modulation])
    np.testing.assert_allclose(np.abs(symbols), 1, rtol=1e-6)
    np.testing.assert_array_equal(modem.demodulate(symbols, None, 1.0, modulation)[:101] < 0, bits == 1)


def test_neighbours_in_gray_mapping_differ_in_one_bit() -> None:
    labels = [[0, 0], [0, 1], [1, 1], [1, 0]]
    points = np.array([modem.modulate(np.array(label, np.uint8), "qpsk")[0] for label in labels])
    np.testing.assert_allclose(np.abs(np.angle(points[1:] / points[:-1])), np.pi / 2, rtol=1e-6)


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
