"""A critic of latents: it tells drawn ones from a photograph's, given what both are estimated from."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class LatentCritic(nn.Module):
    """Latent and condition [B, C, H, W] → how real each neighbourhood looks [B, 1, H/4, W/4].

    Dense convolutions of Lipschitz constant 1 (Miyato et al., arXiv:1802.05957), no normalisation. The condition is the estimate
    that the drawn latent starts from: with it a drawn latent has to be one of *this* picture.
    """

    def __init__(self, channels: int, width: int = 128) -> None:
        super().__init__()
        sizes = [(2 * channels, width, 3, 1), (width, width, 4, 2), (width, width, 3, 1), (width, 2 * width, 4, 2)]
        layers: list[nn.Module] = []
        for before, after, kernel, stride in sizes:
            layers += [spectral_norm(nn.Conv2d(before, after, kernel, stride, 1)), nn.LeakyReLU(0.2)]
        self.layers = nn.Sequential(*layers, spectral_norm(nn.Conv2d(2 * width, 1, 3, padding=1)))

    def forward(self, latent: Tensor, condition: Tensor) -> Tensor:
        verdict: Tensor = self.layers(torch.cat([latent, condition], 1))
        return verdict


def hinge_losses(critic: LatentCritic, real: Tensor, made: Tensor, condition: Tensor) -> tuple[Tensor, Tensor]:
    """Hinge losses (arXiv:1705.02894): the maker's of ``made``, and the critic's; neither reaches the other's weights."""
    condition = condition.detach()
    critic.requires_grad_(False)
    fooling = -critic(made, condition).mean()
    critic.requires_grad_(True)
    telling = F.relu(1 - critic(real, condition)).mean() + F.relu(1 + critic(made.detach(), condition)).mean()
    return fooling, telling
