"""The critic of pictures: it learns what is real, sees the condition, and leaves the features as they are."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from gencomm_cli.metrics.efficientnet_lite import EfficientNetLite
from gencomm_cli.training.critic import FeatureCritic

RANDOM = np.random.default_rng(0)


def critic_of(width: int = 16) -> FeatureCritic:
    torch.manual_seed(0)
    return FeatureCritic(EfficientNetLite("lite0").requires_grad_(False), width)


def test_it_keeps_and_trains_its_heads_alone_on_four_scales() -> None:
    critic = critic_of()
    assert all(name.startswith("heads.") for name in critic.state_dict())
    assert not any(p.requires_grad for p in critic._features[0].parameters())
    image, condition = (critic.seen(each) for each in torch.rand(2, 2, 3, 64, 96))
    assert critic(image, condition).shape == (2, 4, 8, 12)


def test_it_learns_to_tell_sharp_from_blurred_and_says_so_to_the_maker() -> None:
    critic = critic_of()
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
    for _ in range(20):
        real = torch.rand(2, 3, 32, 32)
        blurred = F.avg_pool2d(real, 3, 1, 1)
        _, telling = critic.losses(real, blurred, blurred, RANDOM)
        optimizer.zero_grad()
        telling.backward()
        optimizer.step()
    assert float(telling.detach()) < 1.5  # 2 where nothing is told
    made = blurred.clone().requires_grad_()
    fooling, _ = critic.losses(real, made, blurred, RANDOM)
    fooling.backward()
    assert made.grad is not None
    with torch.no_grad():
        before, after, beside = (critic.seen(each) for each in (blurred, blurred - 0.02 * made.grad.sign(), blurred))
        assert critic(after, beside).mean() > critic(before, beside).mean()


def test_maker_critic_and_condition_have_gradients_of_their_own() -> None:
    critic = critic_of()
    image, made, condition = torch.rand(3, 1, 3, 32, 32)
    assert not torch.allclose(critic(*map(critic.seen, (image, made))), critic(*map(critic.seen, (image, condition))))
    fooling, telling = critic.losses(image, made.requires_grad_(), condition.requires_grad_(), RANDOM)
    fooling.backward()
    assert all(p.grad is None for p in critic.parameters())
    assert made.grad is not None
    mine = made.grad.clone()
    assert mine.any()
    telling.backward()
    assert torch.equal(made.grad, mine)
    assert condition.grad is None
    assert any(p.grad is not None and p.grad.any() for p in critic.parameters())
