"""The critic of latents: it learns what is real, tells the maker, and leaves the maker's weights alone."""

from __future__ import annotations

import pytest
import torch

from gencomm_cli.methods.scsic.critic import LatentCritic, hinge_losses


def test_maker_and_critic_have_gradients_of_their_own() -> None:
    torch.manual_seed(0)
    critic, maker = LatentCritic(4, 16), torch.nn.Conv2d(4, 4, 3, padding=1)
    condition = torch.randn(2, 4, 16, 16, requires_grad=True)
    fooling, telling = hinge_losses(critic, torch.randn(2, 4, 16, 16), maker(condition), condition)
    fooling.backward(retain_graph=True)
    assert all(p.grad is None for p in critic.parameters())
    mine = maker.weight.grad.clone()  # type: ignore[union-attr]
    assert mine.abs().sum() > 0
    telling.backward()
    assert torch.equal(maker.weight.grad, mine)  # type: ignore[arg-type]
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in critic.parameters())


def test_a_maker_ends_with_the_spread_of_what_is_real() -> None:
    """z = c + n, made as c + g·n' from g = 0 on: |g| = 1 is the only one that cannot be told from it, at a critic's loss of 2."""
    torch.manual_seed(0)
    critic, gain = LatentCritic(1, 16), torch.nn.Parameter(torch.zeros(()))
    groups = [{"params": critic.parameters(), "lr": 4e-3}, {"params": [gain], "lr": 2e-2}]
    optimizer, gains, losses = torch.optim.Adam(groups, betas=(0.5, 0.9)), [], []
    for _ in range(150):
        condition, noise, other = torch.randn(3, 16, 1, 8, 8)
        fooling, telling = hinge_losses(critic, condition + noise, condition + gain * other, condition)
        optimizer.zero_grad()
        (fooling + telling).backward()
        optimizer.step()
        gains.append(abs(float(gain.detach())))
        losses.append(float(telling.detach()))
    assert sum(gains[-100:]) / 100 == pytest.approx(1, abs=0.15)
    assert sum(losses[-100:]) / 100 == pytest.approx(2, abs=0.2)
