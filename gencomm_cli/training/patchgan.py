"""PatchGAN (Isola et al., 2017): a critic that looks at a picture patch by patch; DeepJSCC-adv trains against it."""

from __future__ import annotations

from torch import Tensor, nn


class PatchGAN(nn.Module):
    """Image [B, 3, H, W] in [0, 1] → how real each overlapping 70 × 70 patch looks [B, 1, h, w]; H and W at least 32."""

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level, stride in ((1, 2), (2, 2), (4, 1)):
            layers += [
                nn.Conv2d(level * width, 2 * level * width, 4, stride, 1, bias=False),
                nn.BatchNorm2d(2 * level * width),
                nn.LeakyReLU(0.2),
            ]
        self.layers = nn.Sequential(*layers, nn.Conv2d(8 * width, 1, 4, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        return self.layers(2 * image - 1)


def adversarial_losses(critic: PatchGAN, real: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    """Least-squares GAN losses: the maker's of ``made``, and the critic's; neither reaches the other's weights."""
    critic.requires_grad_(False)
    fooling = (critic(made) - 1).square().mean()
    critic.requires_grad_(True)
    telling = ((critic(real) - 1).square().mean() + critic(made.detach()).square().mean()) / 2
    return fooling, telling
