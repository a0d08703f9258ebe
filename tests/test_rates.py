"""Bookkeeping of channel uses."""

from __future__ import annotations

import math

import pytest

from gencomm_cli.errors import RateError
from gencomm_cli.rates import account, check_met, image_target


def test_ratios_count_uses_over_three_times_the_pixels() -> None:
    cbr = account(0.0033, (512, 768), image=3893, prompt=150, side=7)
    assert cbr.image * 3 * 512 * 768 == pytest.approx(3893)
    assert cbr.total == pytest.approx((3893 + 150 + 7) / (3 * 512 * 768))
    assert math.isclose(cbr.total, cbr.image + cbr.prompt + cbr.side, rel_tol=1e-12)


def test_a_total_leaves_the_image_what_the_prompt_does_not_take() -> None:
    assert image_target(0.0033, False, 150, (512, 768)) == 0.0033
    assert image_target(0.0033, True, 150, (512, 768)) == pytest.approx(0.0033 - 150 / (3 * 512 * 768))
    assert image_target(0.0033, True, 150, (37, 53)) < 0


@pytest.mark.parametrize(("image", "met"), [(3893, True), (3894, True), (3931, True), (3934, False), (3853, False), (3855, True)])
def test_a_request_is_met_within_one_percent(image: int, met: bool) -> None:
    size = (512, 768)
    line = check_met(account(0.0033, size, image=image, prompt=0, side=0), 0.0033, size, strict=False)
    assert (line is None) == met


@pytest.mark.parametrize(("image", "met"), [(18, False), (19, True), (20, True), (21, False)])
def test_or_within_one_symbol(image: int, met: bool) -> None:
    size = (37, 53)  # 0.0033 is 19.4 symbols
    cbr = account(0.0033, size, image=image, prompt=0, side=0)
    line = check_met(cbr, 0.0033, size, strict=False)
    assert (line is None) == met
    if not met:
        with pytest.raises(RateError, match="cannot be met at 53x37"):
            check_met(cbr, 0.0033, size, strict=True)
