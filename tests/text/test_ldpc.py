import warnings

import numpy as np
import pytest
import text_link

from gencomm_cli.text import ldpc

NAMES = [f"{rate}n{n}" for rate in ("r14", "r12", "r34") for n in (192, 288, 384, 576, 768, 1152, 1536)]


def test_codes_are_regular_and_of_the_promised_sizes() -> None:
    assert sorted(ldpc.load()) == sorted(NAMES)
    for name, code in ldpc.load().items():
        column_weight, row_weight = text_link.RATES[name[:3]]
        assert code.n == int(name[4:])
        assert code.checks.shape[1] == row_weight
        assert (np.bincount(code.checks.reshape(-1), minlength=code.n) == column_weight).all()
        assert code.k == pytest.approx(code.n * (1 - column_weight / row_weight), abs=4)


@pytest.mark.parametrize("name", NAMES)
def test_codewords_meet_every_check(name: str) -> None:
    code = ldpc.load()[name]
    messages = np.random.default_rng(0).integers(0, 2, (20, code.k)).astype(np.uint8)
    words = code.encode(messages)
    np.testing.assert_array_equal(words[:, : code.k], messages)
    assert not (words[:, code.checks].sum(axis=2) & 1).any()


def test_shortened_codeword_is_the_full_one_less_its_zeros() -> None:
    code = ldpc.load()["r12n384"]
    messages = np.zeros((5, code.k), np.uint8)
    messages[:, :100] = np.random.default_rng(1).integers(0, 2, (5, 100))
    full = code.encode(messages)
    np.testing.assert_array_equal(code.encode(messages[:, :100]), np.delete(full, np.s_[100 : code.k], axis=1))


@pytest.mark.parametrize("name", ["r14n192", "r12n384", "r34n768"])
@pytest.mark.parametrize("llr", [3.0, 1e3])
def test_decoding_corrects_flipped_bits_even_at_enormous_llrs(name: str, llr: float) -> None:
    code = ldpc.load()[name]
    rng = np.random.default_rng(2)
    messages = rng.integers(0, 2, (3, code.k * 3 // 4)).astype(np.uint8)
    received = llr * (1.0 - 2.0 * code.encode(messages).astype(np.float64))
    for word in received:
        word[rng.choice(len(word), 3, replace=False)] *= -0.5
    decoded = code.decode(received, code.k * 3 // 4)
    assert decoded is not None
    np.testing.assert_array_equal(decoded, messages)


def test_codewords_without_a_wrong_bit_are_taken_as_they_are() -> None:
    code = ldpc.load()["r12n192"]
    messages = np.random.default_rng(6).integers(0, 2, (3, 60), dtype=np.uint8)
    np.testing.assert_array_equal(code.decode((5 - 10.0 * code.encode(messages)).astype(np.float64), 60), messages)


def test_noise_is_no_codeword() -> None:
    code = ldpc.load()["r12n192"]
    rng = np.random.default_rng(3)
    assert all(code.decode(rng.normal(size=(1, 60 + code.parity_bits)), 60) is None for _ in range(20))


def test_builder_starts_from_make_ldpc_and_solves_it() -> None:
    import pyldpc

    h, g = pyldpc.make_ldpc(48, 3, 6, seed=7)
    checks = text_link.make_checks("r12n48", 7)
    np.testing.assert_array_equal(np.nonzero(h)[1].reshape(len(h), -1), checks)
    code = text_link.systematic("r12n48", checks)
    assert code.k == g.shape[1]
    words = code.encode(np.eye(code.k, dtype=np.uint8))
    assert not (words[:, code.checks].sum(axis=2) & 1).any()


def test_measured_losses_are_pyldpcs() -> None:
    """The builder's fast decoder loses the very words that pyldpc loses, at an SNR where about half are lost."""
    code = ldpc.load()["r12n192"]
    rng = np.random.default_rng(4)
    received = rng.normal(2.9, np.sqrt(2 * 2.9), (150, code.n))
    fast = text_link.simulator()(code.checks, received.clip(-ldpc.MAX_LLR, ldpc.MAX_LLR), ldpc.ITERATIONS)
    slow = sum(m is None or bool(m.any()) for m in (code.decode(word[None], code.k) for word in received))
    assert 20 < slow < 130
    assert abs(fast - slow) <= 2


def test_decoding_is_pyldpcs() -> None:
    """Word by word, at an SNR where about half are lost: the same bits where it ends in a codeword, and none where it does not."""
    import pyldpc

    code, rng = ldpc.load()["r12n192"], np.random.default_rng(5)
    messages = rng.integers(0, 2, (100, code.k), dtype=np.uint8)
    received = (1.0 - 2 * code.encode(messages)) * rng.normal(2.9, np.sqrt(2 * 2.9), (100, code.n))
    received = received.clip(-ldpc.MAX_LLR, ldpc.MAX_LLR)
    matrix = np.zeros((len(code.checks), code.n))
    np.put_along_axis(matrix, code.checks.astype(np.int64), 1, axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it did not converge
        expected = np.array([pyldpc.decode(matrix, word / 2, 0.0, ldpc.ITERATIONS) for word in received], np.uint8)
    alone = np.concatenate([code._sum_product(word[None]) for word in received])
    np.testing.assert_array_equal(code._sum_product(received), alone)
    held = code.holds(expected)
    assert 30 < held.sum() < 70
    np.testing.assert_array_equal(code.holds(alone), held)
    np.testing.assert_array_equal(alone[held], expected[held])
