import math
from itertools import pairwise

import numpy as np
import pytest

from gencomm_cli.text import ldpc, modes
from gencomm_cli.text.modes import Mode


def test_sizes() -> None:
    code = ldpc.load()["r12n384"]
    mode = Mode(code, "qpsk", 2)
    assert mode.split(130) == (1, 130)
    assert mode.symbols(130) == 130 + code.parity_bits
    assert mode.split(500) == (3, 167)
    assert mode.symbols(500) == 3 * (167 + code.parity_bits)
    assert Mode(code, "bpsk", 1).split(0) == (1, 0)


@pytest.mark.parametrize("fading", ["awgn", "rayleigh"])
def test_choice_is_the_cheapest_that_meets_its_threshold(fading: modes.Fading) -> None:
    for snr in range(-5, 21):
        chosen = modes.choose(130, snr, fading)
        assert chosen.threshold_db(130, fading) <= snr
        for mode in modes.every():
            assert mode.symbols(130) >= chosen.symbols(130) or mode.threshold_db(130, fading) > snr


def test_more_snr_never_costs_more() -> None:
    kinds: tuple[modes.Fading, ...] = ("awgn", "rayleigh", "block")
    for fading in kinds:
        sizes = [modes.choose(130, snr, fading).symbols(130) for snr in range(-5, 30)]
        assert all(a >= b for a, b in pairwise(sizes) if a != sizes[0])
        assert sizes[-1] < sizes[5]


def test_robust_mode_where_the_transmitter_knows_nothing() -> None:
    assert modes.choose(130, None, "unknown") == modes.choose(130, 0.0, "rayleigh") == modes.choose(130, None, "awgn")
    assert modes.choose(130, 7.0, "unknown") == modes.choose(130, 7.0, "rayleigh")


def test_thresholds_are_above_capacity_and_not_absurdly() -> None:
    """No mode beats the Shannon limit log2(1 + SNR) of AWGN; sum-product decoding of these lengths is within 7 dB of it."""
    for mode in modes.every():
        bits = mode.code.k
        limit = 10 * math.log10(2 ** (bits / mode.symbols(bits)) - 1)
        assert limit < mode.threshold_db(bits, "awgn") < limit + 7
        assert mode.threshold_db(bits, "rayleigh") > mode.threshold_db(bits, "awgn")


def test_shortening_and_repetition_only_help() -> None:
    for code in ldpc.load().values():
        for fading in ("awgn", "rayleigh"):
            by_fill = [Mode(code, "qpsk", 1).threshold_db(bits, fading) for bits in np.linspace(0.3, 1, 8) * code.k // 1]
            assert by_fill == sorted(by_fill) or np.diff(by_fill).min() > -0.2  # measured: within their accuracy
            by_copies = [Mode(code, "bpsk", r).threshold_db(100, fading) for r in modes.REPETITIONS]
            assert by_copies[0] > by_copies[1] > by_copies[2]


def test_long_prompts_are_held_to_a_stricter_threshold() -> None:
    mode = Mode(ldpc.load()["r12n384"], "qpsk", 1)
    assert mode.threshold_db(mode.code.k * 5, "awgn") > mode.threshold_db(mode.code.k, "awgn")
