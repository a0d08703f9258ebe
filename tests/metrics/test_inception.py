"""The Inception of FID: published figures, single layers by hand, and features over batches and patches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gencomm_cli.metrics.features import Features, patches
from gencomm_cli.metrics.inception import Inception

FILE_BYTES = 95_628_359
"""Size of the published weights-inception-2015-12-05-6726825d.pth, which holds 566 tensors, the classifier's two among them."""


@pytest.fixture(scope="module")
def model() -> Inception:
    torch.manual_seed(6)
    network = Inception().eval()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
        elif isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features) / 10
            module.running_var = torch.rand(module.num_features) + 0.5
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.1)
    return network


def test_has_the_published_number_of_tensors_and_parameters(model: Inception) -> None:
    """Keras counts 23,817,352 trainable parameters in its InceptionV3, whose 94 normalisations (17,216 channels) have no scale."""
    state = model.state_dict()
    assert len(state) + 2 == 566
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == 23_817_352 + 17_216 - (2048 * 1000 + 1000)
    published = 4 * (parameters + 2 * 17_216 + 2048 * 1008 + 1008) + 8 * 94
    assert 0 < FILE_BYTES - published < 100_000


def test_has_torchvisions_keys(model: Inception) -> None:
    a = ["branch1x1", "branch5x5_1", "branch5x5_2", *(f"branch3x3dbl_{i}" for i in (1, 2, 3)), "branch_pool"]
    b = ["branch3x3", *(f"branch3x3dbl_{i}" for i in (1, 2, 3))]
    c = ["branch1x1", *(f"branch7x7_{i}" for i in (1, 2, 3)), *(f"branch7x7dbl_{i}" for i in (1, 2, 3, 4, 5)), "branch_pool"]
    d = ["branch3x3_1", "branch3x3_2", *(f"branch7x7x3_{i}" for i in (1, 2, 3, 4))]
    e = ["branch1x1", "branch_pool", *(f"branch{n}_{i}" for n, i in (("3x3", "1"), ("3x3", "2a"), ("3x3", "2b")))]
    e += [f"branch3x3dbl_{i}" for i in ("1", "2", "3a", "3b")]
    stem = [f"Conv2d_{name}" for name in ("1a_3x3", "2a_3x3", "2b_3x3", "3b_1x1", "4a_3x3")]
    blocks = {"5b": a, "5c": a, "5d": a, "6a": b, "6b": c, "6c": c, "6d": c, "6e": c, "7a": d, "7b": e, "7c": e}
    layers = stem + [f"Mixed_{block}.{branch}" for block, branches in blocks.items() for branch in branches]
    parts = ["conv.weight", *(f"bn.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"))]
    assert set(model.state_dict()) == {f"{layer}.{part}" for layer in layers for part in parts}


def _pooled(x: np.ndarray, by_maximum: bool) -> np.ndarray:
    """[C, H, W] pooled over the neighbours that exist."""
    height, width = x.shape[1:]
    found = np.zeros_like(x)
    for row in range(height):
        for column in range(width):
            cut = x[:, max(0, row - 1) : row + 2, max(0, column - 1) : column + 2]
            found[:, row, column] = cut.max((1, 2)) if by_maximum else cut.mean((1, 2))
    return found


@pytest.mark.parametrize(("name", "channels", "by_maximum"), [
    ("Mixed_5b", 192, False), ("Mixed_6c", 768, False), ("Mixed_7b", 1280, False), ("Mixed_7c", 2048, True),
])  # fmt: skip
def test_pool_branch_by_hand(model: Inception, name: str, channels: int, by_maximum: bool) -> None:
    """Means leave the padding out; only the very last block pools by maximum."""
    x = torch.randn(1, channels, 5, 6)
    block = model.get_submodule(name)
    layer = block.get_submodule("branch_pool")
    state = {key: value.double().numpy() for key, value in layer.state_dict().items()}
    mixed = np.einsum("oi,ihw->ohw", state["conv.weight"][:, :, 0, 0], _pooled(x[0].double().numpy(), by_maximum))
    scale = state["bn.weight"] / np.sqrt(state["bn.running_var"] + 0.001)
    expected = (mixed - state["bn.running_mean"][:, None, None]) * scale[:, None, None] + state["bn.bias"][:, None, None]
    with torch.no_grad():
        found = block(x)[0, -len(expected) :].numpy()
    np.testing.assert_allclose(found, expected.clip(0), rtol=1e-4, atol=1e-4)


def test_first_layer_by_hand(model: Inception) -> None:
    """Every second position of a 3×3 correlation with the image in -1..1, normalised with ε = 0.001."""
    image = torch.rand(1, 3, 299, 299)
    kept: list[Tensor] = []
    hook = model.Conv2d_1a_3x3.register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    with torch.no_grad():
        assert model(image).shape == (1, 2048)
    hook.remove()
    assert kept[0].shape == (1, 32, 149, 149)
    state = {key: value.double().numpy() for key, value in model.Conv2d_1a_3x3.state_dict().items()}
    for row, column in ((0, 0), (7, 148), (148, 3)):
        cut = 2 * image[0, :, 2 * row : 2 * row + 3, 2 * column : 2 * column + 3].double().numpy() - 1
        sums = np.einsum("oihw,ihw->o", state["conv.weight"], cut) - state["bn.running_mean"]
        expected = sums / np.sqrt(state["bn.running_var"] + 0.001) * state["bn.weight"] + state["bn.bias"]
        np.testing.assert_allclose(kept[0][0, :, row, column].numpy(), expected.clip(0), rtol=1e-4, atol=1e-5)


def test_patches_are_half_overlapping() -> None:
    image = torch.arange(512 * 768, dtype=torch.float32).view(1, 1, 512, 768).expand(2, 3, 512, 768)
    found = patches(image)
    assert found.shape == (2 * 3 * 5, 3, 256, 256)
    for index in range(30):
        row, column = divmod(index % 15, 5)
        torch.testing.assert_close(found[index], image[0, :, 128 * row : 128 * row + 256, 128 * column : 128 * column + 256])
    assert patches(torch.rand(1, 3, 255, 600)).shape == (0, 3, 256, 256)
    assert patches(torch.rand(1, 3, 383, 384)).shape == (2, 3, 256, 256)


class _Means(nn.Module):
    """Stands in for the network where only the bookkeeping is looked at: the mean of each image, 2048 times."""

    dimensions = 2048

    def __init__(self) -> None:
        super().__init__()
        self.one = nn.Parameter(torch.ones(2048))
        self.sizes: list[int] = []

    def forward(self, image: Tensor) -> Tensor:
        self.sizes.append(len(image))
        return image.mean((1, 2, 3))[:, None] * self.one


def test_features_are_in_order_and_made_in_batches() -> None:
    images = torch.rand(7, 3, 300, 384)
    network = _Means()
    whole = Features(network, batch=2)  # type: ignore[arg-type]
    found = whole.of(images)
    assert network.sizes == [2, 2, 2, 1]
    assert found.shape == (7, 2048)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found[:, 11], images.mean((1, 2, 3)).numpy(), rtol=1e-6)
    cut = Features(_Means(), by_patch=True)  # type: ignore[arg-type]
    assert cut.of(torch.rand(3, 3, 100, 900)).shape == (0, 2048)
    assert cut.of(images).shape == (14, 2048)
    np.testing.assert_allclose(cut.of(images)[3, 0], images[1, :, :256, 128:384].mean().item(), rtol=1e-6)


def test_features_of_an_image_do_not_depend_on_its_batch(model: Inception) -> None:
    images = torch.rand(2, 3, 64, 80)
    together, alone = Features(model).of(images), Features(model).of(images[1:])
    np.testing.assert_allclose(together[1], alone[0], rtol=1e-3, atol=1e-3 * np.abs(alone).max())
    assert np.linalg.norm(together[0] - together[1]) > 1e-2 * np.linalg.norm(together[0])


def test_torch_fidelity_agrees(model: Inception, tmp_path: object) -> None:
    """At 299×299, where neither resizes; it takes 8 bits and scales by 128."""
    library = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3", reason="torch-fidelity", exc_type=ImportError)
    state = dict(model.state_dict()) | {"fc.weight": torch.zeros(1008, 2048), "fc.bias": torch.zeros(1008)}
    torch.save(state, f"{tmp_path}/weights.pth")
    theirs = library.FeatureExtractorInceptionV3("theirs", ["2048"], feature_extractor_weights_path=f"{tmp_path}/weights.pth")
    image = torch.randint(0, 256, (1, 3, 299, 299), dtype=torch.uint8)
    with torch.no_grad():
        ours = model(((image.float() - 128) / 128 + 1) / 2)
    torch.testing.assert_close(ours, theirs(image)[0], rtol=1e-3, atol=1e-3)
