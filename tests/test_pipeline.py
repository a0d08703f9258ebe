"""The channel between two symbol files."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from gencomm_cli.errors import InputError
from gencomm_cli.metrics.signal import received_snr_db
from tests.support.symbols import (
    received,
    sent,
    through,
)


def test_two_channel_passes_are_refused() -> None:
    with pytest.raises(InputError, match="been through a channel"):
        through(received(), kind="awgn", snr_db=1, snr_type="esn0", csi="perfect", seed=0)


def test_a_prompt_does_not_move_the_image_noise() -> None:
    options: dict[str, Any] = {"kind": "rayleigh", "snr_db": 3.0, "snr_type": "esn0", "csi": "perfect", "seed": 7}
    with_prompt, without = through(sent(), **options), through(sent(k_prompt=0), **options)
    np.testing.assert_array_equal(with_prompt.symbols, without.symbols)
    assert without.prompt_csi_gain is None


def test_a_block_gain_is_one_for_the_whole_transmission() -> None:
    file = received(kind="block")
    assert file.csi_gain is not None
    assert file.prompt_csi_gain is not None
    assert file.csi_gain[0] == file.prompt_csi_gain[0]


def test_received_snr_over_2000_block_fades_is_exponential() -> None:
    """As ``diffjscc`` meets it: one h an image, 2,000 seeds of the channel, at 5 dB on average."""
    found = []
    for seed in range(2000):
        faded = received(kind="block", snr_db=5.0, seed=seed)
        assert faded.header.n0 is not None
        figure = received_snr_db(sent().symbols, faded.csi_gain, faded.header.n0)
        assert figure is not None
        found.append(10 ** (figure / 10))
    assert stats.kstest(found, "expon", (0, 10**0.5)).pvalue > 0.01
