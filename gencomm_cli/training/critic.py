"""A critic of pictures that looks at them through a trained network's eyes.

Features that know photographs leave little to learn: a few minutes beside a decoder on a CPU are enough to say what is missing
(Sauer et al., arXiv:2111.01007). No method's paper has it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from gencomm_cli.metrics.efficientnet_lite import EfficientNetLite
from gencomm_cli.training.losses import rolled
from gencomm_cli.training.stage import trained


def critic_of(features: EfficientNetLite | None, device: torch.device) -> FeatureCritic:
    """A critic to be trained, which looks through ``features``."""
    assert features is not None
    return trained(FeatureCritic(features), device)


class FeatureCritic(nn.Module):
    """Image and condition [B, 3, H, W] → how real each neighbourhood looks, on four scales [B, 4, H/8, W/8].

    Small networks of Lipschitz constant 1 (Miyato et al., arXiv:1802.05957) over the maps of strides 4 to 32 of both pictures. With
    the condition, the picture that the drawn one starts from, a drawn one has to be of the same scene.

    Args:
        features: frozen, on the device of the images; not a part of this module, so that it is neither trained nor stored.
    """

    def __init__(self, features: EfficientNetLite, width: int = 64) -> None:
        super().__init__()
        self._features = (features,)
        self.heads = nn.ModuleList()
        for channels in features.channels[1:]:
            sizes = [(2 * channels, width, 3), (width, width, 3), (width, 1, 1)]
            layers = [spectral_norm(nn.Conv2d(*size, padding="same")) for size in sizes]
            self.heads.append(nn.Sequential(layers[0], nn.LeakyReLU(0.2), layers[1], nn.LeakyReLU(0.2), layers[2]))

    def forward(self, maps: Sequence[Tensor], beside: Sequence[Tensor]) -> Tensor:
        """From the maps of images and conditions, as :meth:`seen` gives them."""
        verdicts = [head(torch.cat(pair, 1)) for head, pair in zip(self.heads, zip(maps, beside, strict=True), strict=True)]
        return torch.cat([F.interpolate(each, verdicts[1].shape[2:], mode="area") for each in verdicts], 1)

    def seen(self, image: Tensor) -> list[Tensor]:
        """Maps of images [B, 3, H, W] in [0, 1], each position's features of mean square 1."""
        with torch.autocast(image.device.type, enabled=False):  # its depthwise convolutions crawl in bfloat16
            maps = self._features[0].maps(image.float())[1:]
        return [each * (each.square().mean(1, keepdim=True) + 1e-4).rsqrt() for each in maps]

    def losses(self, image: Tensor, made: Tensor, condition: Tensor, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Hinge losses (arXiv:1705.02894): the maker's of ``made``, and the critic's; neither reaches the other's weights.

        All pictures [B, 3, H, W] are rolled alike at random first, as the features have strides.
        """
        first, second = rolled(torch.cat([image, condition], 1), torch.cat([made, condition.detach()], 1), generator)
        with torch.no_grad():
            real, beside = (self.seen(each) for each in first.split(3, 1))
        drawn = self.seen(second[:, :3])
        self.requires_grad_(False)
        fooling = -self(drawn, beside).mean()
        self.requires_grad_(True)
        telling = F.relu(1 - self(real, beside)).mean() + F.relu(1 + self([each.detach() for each in drawn], beside)).mean()
        return fooling, telling

    def loss(
        self, image: Tensor, made: Tensor, condition: Tensor, generator: np.random.Generator, progress: float
    ) -> tuple[Tensor, dict[str, float]]:
        """Both hinge losses, the maker's from a tenth of the stage on: first the critic learns what to tell. And figures to log."""
        fooling, telling = self.losses(image, made, condition, generator)
        figures = {"fooling": float(fooling.detach()), "telling": float(telling.detach())}
        return telling + fooling if progress > 0.1 else telling, figures
