"""Bookkeeping of channel uses."""

from __future__ import annotations

import math

import pytest

from gencomm_cli.errors import RateError
from gencomm_cli.rates import account, check_met, image_target, samples, symbols_within, whole_symbols, with_remedy


def test_ratios_count_uses_over_three_times_the_pixels() -> None:
    cbr = account(0.0033, (512, 768), image=3893, prompt=150, side=7)
    assert cbr.image * 3 * 512 * 768 == pytest.approx(3893)
    assert cbr.total == pytest.approx((3893 + 150 + 7) / (3 * 512 * 768))
    assert math.isclose(cbr.total, cbr.image + cbr.prompt + cbr.side, rel_tol=1e-12)


def test_a_total_leaves_the_image_what_the_prompt_does_not_take() -> None:
    assert image_target(0.0033, False, 150, (512, 768)) == 0.0033
    assert image_target(0.0033, True, 150, (512, 768)) == pytest.approx(0.0033 - 150 / (3 * 512 * 768))
    assert image_target(0.0033, True, 150, (37, 53)) < 0


@pytest.mark.parametrize(("image", "met"), [(3892, True), (3893, False), (3934, False), (3853, False), (3855, True)])
def test_a_request_bounds_and_is_met_within_one_percent(image: int, met: bool) -> None:
    size = (512, 768)
    line = check_met(account(0.0033, size, image=image, prompt=0, side=0), 0.0033, size, strict=False)
    assert (line is None) == met


@pytest.mark.parametrize(("image", "met"), [(18, False), (19, True), (20, False)])
def test_or_within_one_symbol(image: int, met: bool) -> None:
    size = (37, 53)  # 0.0033 is 19.4 symbols
    cbr = account(0.0033, size, image=image, prompt=0, side=0)
    line = check_met(cbr, 0.0033, size, strict=False)
    assert (line is None) == met
    if not met:
        with pytest.raises(RateError, match="cannot be met at 53x37"):
            check_met(cbr, 0.0033, size, strict=True)


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
    found = with_remedy(RateError("3 symbols are too few", fits=100), total, prompt, size, None)
    assert found.flagged.startswith(f"{flag}3 symbols are too few; ")
    enough = float(found.problem.split("; ")[1].removesuffix(" or more would do"))
    needed = 100 + prompt * total
    assert whole_symbols(enough, size) >= needed
    assert enough < (needed + 1) / samples(size)
    other = RateError("takes too many", "beta")
    assert with_remedy(other, total, prompt, size, None) is other


def test_a_range_s_upper_end_is_rounded_and_the_request_is_not() -> None:
    """0.0208 of 64x48 is 191.7 symbols; as the printed end of a range that reaches 1/48 it is 192."""
    found = [symbols_within(cbr, (0.0013, 0.0208), (48, 64)) for cbr in (0.0, 0.01, 0.0208, 1 / 48, 1.0, math.inf)]
    assert found == [11, 92, 191, 192, 192, 192]
