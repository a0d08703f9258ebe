"""Random channels: as often, as noisy and as reliable as they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gencomm_cli.training.channel import ChannelDraw, SentRecipe, draw, draw_cbr, send
from gencomm_cli.training.loop import Schedule

CPU = torch.device("cpu")


def test_draws_have_the_statistics_that_they_claim() -> None:
    rng = np.random.default_rng(0)
    drawn = draw(4000, rng, CPU)
    assert drawn.snr_db.min() >= -5
    assert drawn.snr_db.max() <= 20
    shares = torch.bincount(drawn.kind, minlength=3) / 4000
    assert torch.allclose(shares, torch.tensor([0.5, 0.35, 0.15]), atol=0.03)
    assert float(drawn.tx_snr_db.isnan().float().mean()) == pytest.approx(0.4, abs=0.03)
    rates = np.array([draw_cbr(rng) for _ in range(1000)])
    assert rates.min() >= 0.0013
    assert rates.max() <= 0.0208
    assert np.mean(rates == 0.0033) == pytest.approx(0.4, abs=0.06)
    torch.manual_seed(0)
    sent = torch.ones(3, 50_000, dtype=torch.complex64)
    snr = torch.tensor([5.0, 5.0, 5.0])
    estimate, reliability, gain = send(sent, ChannelDraw(snr, snr, torch.tensor([0, 1, 2])))
    n0 = 10**-0.5
    assert float((estimate[0] * (1 + n0) - 1).abs().square().mean()) == pytest.approx(n0, rel=0.03)
    error = (estimate - sent).abs().square().mean(1)
    assert torch.allclose(error, (1 - reliability).mean(1), rtol=0.05)  # MMSE: the error's power is 1 − reliability
    assert reliability[2].unique().numel() == 1
    assert reliability[1].unique().numel() > 1000
    assert gain[:2].tolist() == [1, 1]
    assert abs(complex(gain[2]) - 1) > 1e-6


def test_a_paper_may_inform_every_transmitter_and_send_at_one_rate() -> None:
    recipe = SentRecipe(Schedule(1, 1.0), 200, (0, 14), (0.5, 0.5, 0.0), informed=1.0, cbr=(0.0059, 0.0059))
    channel, cbr = recipe.draw(np.random.default_rng(0), CPU)
    assert torch.equal(channel.tx_snr_db, channel.snr_db)
    assert (float(channel.snr_db.min()) >= 0, float(channel.snr_db.max()) <= 14, set(channel.kind.tolist())) == (True, True, {0, 1})
    assert cbr == pytest.approx(0.0059)
    assert (recipe.shown_cbr, SentRecipe(Schedule(1, 1.0)).shown_cbr) == (0.0059, 0.0033)
