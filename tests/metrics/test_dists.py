"""DISTS with random weights against a plain computation, stage by stage."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.metrics.dists import DISTS, MIN_SIDE, L2Pool


def _model() -> DISTS:
    torch.manual_seed(4)
    model = DISTS().double().eval()
    with torch.no_grad():
        for weights in (model.alpha, model.beta):
            weights.copy_(torch.rand_like(weights))
        for name, parameter in model.features.named_parameters():
            if name.endswith("weight"):
                torch.nn.init.kaiming_normal_(parameter)
    return model


def test_l2_pooling_equals_a_loop() -> None:
    x = torch.randn(2, 3, 7, 10, dtype=torch.float64)
    hann = np.hanning(5)[1:-1]
    window = np.outer(hann, hann) / np.outer(hann, hann).sum()
    padded = np.pad(x.numpy(), ((0, 0), (0, 0), (1, 1), (1, 1)))
    expected = np.zeros((2, 3, 4, 5))
    for row in range(4):
        for column in range(5):
            cut = padded[:, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3]
            expected[:, :, row, column] = np.sqrt((cut**2 * window[: cut.shape[2], : cut.shape[3]]).sum((2, 3)) + 1e-12)
    np.testing.assert_allclose(L2Pool()(x).numpy(), expected, rtol=1e-12)


@torch.no_grad()
def _by_hand(model: DISTS, first: Tensor, second: Tensor) -> float:
    """One pair [1, 3, H, W]: thirteen convolutions by name, moments by NumPy."""
    weights = model.state_dict()

    def stages(image: Tensor) -> list[np.ndarray]:
        mean, deviation = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
        x = (image - image.new_tensor(mean).view(1, 3, 1, 1)) / image.new_tensor(deviation).view(1, 3, 1, 1)
        found = [image]
        for stage in ((0, 2), (5, 7), (10, 12, 14), (17, 19, 21), (24, 26, 28)):
            if stage[0]:
                x = L2Pool()(x)
            for index in stage:
                x = F.conv2d(x, weights[f"features.{index}.weight"], weights[f"features.{index}.bias"], padding=1).clamp(min=0)
            found.append(x)
        return [each[0].flatten(1).numpy() for each in found]

    alpha, beta = weights["alpha"].flatten().numpy(), weights["beta"].flatten().numpy()
    similarity, channel = 0.0, 0
    for a, b in zip(stages(first), stages(second), strict=True):
        for x, y in zip(a, b, strict=True):
            texture = (2 * x.mean() * y.mean() + 1e-6) / (x.mean() ** 2 + y.mean() ** 2 + 1e-6)
            structure = (2 * ((x - x.mean()) * (y - y.mean())).mean() + 1e-6) / (x.var() + y.var() + 1e-6)
            similarity += alpha[channel] * texture + beta[channel] * structure
            channel += 1
    assert channel == 1475
    return float(1 - similarity / (alpha.sum() + beta.sum()))


def test_equals_the_papers_sums_over_channels() -> None:
    model = _model()
    first, second = torch.rand(2, 2, 3, 33, 46, dtype=torch.float64)
    found = model(first, second)
    assert found.shape == (2,)
    for index in range(2):
        by_hand = _by_hand(model, first[index : index + 1], second[index : index + 1])
        assert by_hand > 0.01
        assert found[index].item() == pytest.approx(by_hand, abs=1e-9)


def test_equal_images_have_no_distance_and_gradient_flows() -> None:
    model = _model().float()
    first = torch.rand(1, 3, MIN_SIDE, MIN_SIDE, requires_grad=True)
    second = torch.rand(1, 3, MIN_SIDE, MIN_SIDE)
    assert model(second, second).abs().item() < 1e-5
    distance = model(first, second)
    torch.testing.assert_close(distance, model(second, first))
    distance.sum().backward()
    assert first.grad is not None
    assert torch.isfinite(first.grad).all()
    assert first.grad.abs().sum() > 0
