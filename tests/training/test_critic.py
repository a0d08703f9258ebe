"""The critic of pictures: it learns what is real, sees the condition, and leaves the features as they are."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from gencomm_cli.metrics.efficientnet_lite import EfficientNetLite
from gencomm_cli.training.critic import FeatureCritic, hinge_losses


def critic_of(width: int = 16) -> FeatureCritic:
    torch.manual_seed(0)
    return FeatureCritic(EfficientNetLite("lite0").requires_grad_(False), width)


def test_it_keeps_and_trains_its_heads_alone_on_four_scales() -> None:
    critic = critic_of()
    assert all(name.startswith("heads.") for name in critic.state_dict())
    assert not any(p.requires_grad for p in critic._features[0].parameters())
    assert critic(*torch.rand(2, 2, 3, 64, 96)).shape == (2, 4, 8, 12)


def test_it_learns_to_tell_sharp_from_blurred_and_says_so_to_the_maker() -> None:
    critic = critic_of()
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
    for _ in range(20):
        real = torch.rand(2, 3, 32, 32)
        blurred = F.avg_pool2d(real, 3, 1, 1)
        _, telling = hinge_losses(critic, real, blurred, blurred)
        optimizer.zero_grad()
        telling.backward()
        optimizer.step()
    assert float(telling.detach()) < 1.5  # 2 where nothing is told
    made = blurred.clone().requires_grad_()
    fooling, _ = hinge_losses(critic, real, made, blurred)
    fooling.backward()
    assert made.grad is not None
    with torch.no_grad():
        nearer = blurred - 0.02 * made.grad.sign()
        assert critic(nearer, blurred).mean() > critic(blurred, blurred).mean()


def test_the_condition_is_looked_at_and_has_no_gradient() -> None:
    critic = critic_of()
    image, own, other = torch.rand(3, 1, 3, 32, 32)
    assert not torch.allclose(critic(image, own), critic(image, other))
    maker, condition = image.requires_grad_(), own.requires_grad_()
    torch.stack(hinge_losses(critic, other, maker, condition)).sum().backward()
    assert condition.grad is None
    assert maker.grad is not None
    assert maker.grad.any()
