"""Bookkeeping of channel uses."""

from __future__ import annotations

import math

import pytest

from gencomm_cli.errors import RateError
from gencomm_cli.rates import account, image_target, missed, samples, symbols_within, whole_symbols, with_remedy


def test_ratios_count_uses_over_three_times_the_pixels() -> None:
    cbr = account(0.0033, (512, 768), image=3893, prompt=150, side=7)
    assert cbr.image * 3 * 512 * 768 == pytest.approx(3893)
    assert cbr.total == pytest.approx((3893 + 150 + 7) / (3 * 512 * 768))
    assert math.isclose(cbr.total, cbr.image + cbr.prompt + cbr.side, rel_tol=1e-12)


def test_a_total_leaves_the_image_what_the_prompt_does_not_take() -> None:
    assert image_target(0.0033, False, 150, (512, 768)) == 0.0033
    assert image_target(0.0033, True, 150, (512, 768)) == pytest.approx(0.0033 - 150 / (3 * 512 * 768))
    assert image_target(0.0033, True, 150, (37, 53)) < 0


@pytest.mark.parametrize(
    ("size", "image", "found"),
    [
        ((512, 768), 3892, None),
        ((512, 768), 3893, (True, "0.0033 cannot be met at 768x512; 0.003301 or more would do")),
        ((512, 768), 3853, (False, "0.0033 cannot be met at 768x512; the nearest is 0.00326623")),
        ((512, 768), 3855, None),
        ((37, 53), 18, (False, "0.0033 cannot be met at 53x37; the nearest is 0.00305966")),
        ((37, 53), 19, None),  # 0.0033 is 19.4 symbols
        ((37, 53), 20, (True, "0.0033 cannot be met at 53x37; 0.0034 or more would do")),
    ],
)
def test_a_request_bounds_and_is_met_within_a_symbol_or_one_percent(
    size: tuple[int, int], image: int, found: tuple[bool, str] | None
) -> None:
    assert missed(0.0033, image, image, 0.0033, size) == found


def test_a_total_is_met_where_the_image_takes_all_that_is_left_to_it() -> None:
    count = samples((512, 768))
    assert missed(0.0033, 3400, 2900, 2900 / count, (512, 768)) is None  # the rest of an OFDM symbol holds no more
    assert missed(0.0033, 3400, 2800, 2900 / count, (512, 768)) == (
        False,
        "0.0033 cannot be met at 768x512; the nearest is 0.00288222",
    )


@pytest.mark.parametrize("size", [(512, 768), (37, 53), (1, 1), (333, 1000)])
@pytest.mark.parametrize("cbr", [1 / 384, 1 / 48, 0.0033, 0.1, 1.0])
def test_whole_symbols_never_exceed_the_ratio_and_lose_none(size: tuple[int, int], cbr: float) -> None:
    count = whole_symbols(cbr, size)
    assert count / samples(size) <= cbr * (1 + 1e-9)
    assert (count + 1) / samples(size) > cbr
    for exact in (1, 7, samples(size)):
        assert whole_symbols(exact / samples(size), size) == exact


@pytest.mark.parametrize(("total", "prompt", "flag"), [(False, 9, "--cbr: "), (True, 9, "--cbr-total: ")])
def test_an_error_names_the_flag_that_was_given_and_what_would_do(total: bool, prompt: int, flag: str) -> None:
    size = (37, 53)
    found = with_remedy(RateError("3 symbols are too few", fits=100), total, prompt, size, None, 100)
    assert found.flagged.startswith(f"{flag}3 symbols are too few; ")
    enough = float(found.problem.split("; ")[1].removesuffix(" or more would do"))
    needed = 100 + prompt * total
    assert whole_symbols(enough, size) >= needed
    assert enough < (needed + 1) / samples(size)
    other = RateError("takes too many", "beta")
    assert with_remedy(other, total, prompt, size, None, 100) is other
    tiny = with_remedy(RateError("3 symbols are too few", fits=100), total, prompt, size, None, 99)
    assert tiny.problem == "3 symbols are too few; a larger picture would do"


def test_a_range_s_upper_end_is_rounded_and_the_request_is_not() -> None:
    """0.0208 of 64x48 is 191.7 symbols; as the printed end of a range that reaches 1/48 it is 192."""
    found = [symbols_within(cbr, (0.0013, 0.0208), (48, 64)) for cbr in (0.0, 0.01, 0.0208, 1 / 48, 1.0, math.inf)]
    assert found == [11, 92, 191, 192, 192, 192]
