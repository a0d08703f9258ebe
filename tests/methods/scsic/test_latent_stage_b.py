"""Stage B over a latent prior: it begins as that prior, at the prior's own steps."""

from __future__ import annotations

import torch
from diffusers.models import UNet2DConditionModel
from torch import nn

from gencomm_cli.diffusion.cosine import time_of
from gencomm_cli.diffusion.schedule import scaled_linear
from gencomm_cli.methods.scsic.latent_stage_b import LatentStageB
from gencomm_cli.networks.autoencoder import widening
from tests.support.presets import UNET, randomise


def test_steps_are_those_of_as_much_noise() -> None:
    stage_b = LatentStageB(UNET, words=2, channels=3, widths=(4, 4), depths=(1, 1))
    levels = torch.logit(scaled_linear()[1:])
    known = torch.arange(2, 980)
    torch.testing.assert_close(stage_b.step(time_of(levels[known])), known.double(), atol=0.1, rtol=0, check_dtype=False)
    between = stage_b.step(time_of((levels[600] + levels[601]) / 2).view(1))
    assert 600.3 < float(between) < 600.7
    assert stage_b.step(torch.tensor([0.0, 1.0])).tolist() == [0, 999]  # beyond the prior's own levels
    assert (stage_b.step(torch.linspace(0, 1, 500)).diff() >= 0).all()


def test_at_the_start_it_is_the_prior_whatever_was_received() -> None:
    torch.manual_seed(0)
    prior = UNet2DConditionModel(**UNET)
    randomise(prior, 0)
    text, trunk = torch.randn(1, 5, 16), nn.Sequential(*widening(3, (4, 4), (1, 1)))
    stage_b = LatentStageB(UNET, words=5, channels=4, widths=(4, 4), depths=(1, 1))
    stage_b.start(prior, text, trunk)
    x, time, z = torch.randn(2, 4, 16, 24), torch.tensor([0.3, 0.8]), torch.randn(2, 4, 3, 4)
    with torch.no_grad():
        expected = prior(x, stage_b.step(time), encoder_hidden_states=text.expand(2, -1, -1)).sample
        torch.testing.assert_close(stage_b(x, time, z), expected)
        assert stage_b.multiple == 2
        torch.testing.assert_close(stage_b.spread(z), stage_b.spread(torch.cat([z[:, :3], 9 * z[:, 3:]], 1)))
        torch.testing.assert_close(stage_b.spread(z), trunk(z[:, :3]))
        stage_b.unet.conv_in.weight.add_(0.1)
        assert not torch.allclose(stage_b(x, time, z), stage_b(x, time, -z))
