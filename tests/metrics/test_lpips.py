"""LPIPS as an architecture (random weights), and the checks on metric weights."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from gencomm_cli.errors import InputError
from gencomm_cli.metrics import weights
from gencomm_cli.metrics.dists import DISTS
from gencomm_cli.metrics.inception import Inception
from gencomm_cli.metrics.lpips import LPIPS, MIN_SIDE, Backbone
from gencomm_cli.metrics.niqe import niqe
from gencomm_cli.metrics.report import NAMES, WITH_WEIGHTS, measure

BACKBONES: tuple[Backbone, ...] = ("alex", "squeeze", "vgg")


def _model(backbone: Backbone) -> LPIPS:
    torch.manual_seed(3)
    return LPIPS(backbone).eval()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_distance_is_zero_for_equal_images_symmetric_and_positive(backbone: Backbone) -> None:
    model = _model(backbone)
    first, second = torch.rand(3, 3, 64, 80), torch.rand(3, 3, 64, 80)
    assert model(first, first).abs().max() == 0
    torch.testing.assert_close(model(first, second), model(second, first))
    assert (model(first, second) > 0).all()
    assert model(first, second).shape == (3,)
    torch.testing.assert_close(model(first[1:2], second[1:2])[0], model(first, second)[1])


@pytest.mark.parametrize("backbone", BACKBONES)
def test_features_have_unit_length_or_none(backbone: Backbone) -> None:
    for layer in _model(backbone).embed(torch.rand(1, 3, 64, 64)):
        length = layer.square().sum(1)
        assert (((length - 1).abs() < 1e-3) | (length == 0)).all()


@pytest.mark.parametrize("backbone", BACKBONES)
def test_distance_equals_the_papers_sum_over_layers(backbone: Backbone) -> None:
    """Eq. 1: sum over layers of the mean over positions of ||w ⊙ (ŷ − ŷ0)||², with hooks instead of the module's own embed."""
    model = _model(backbone)
    with torch.no_grad():
        for head in model.heads:
            head.copy_(torch.rand_like(head))
    kept: list[torch.Tensor] = []
    for tap in model.taps:
        model.features[tap].register_forward_hook(lambda _module, _inputs, output: kept.append(output))
    first, second = torch.rand(1, 3, 48, 56), torch.rand(1, 3, 48, 56)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    for image in (first, second):
        model.features((image - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1))
    by_hand, layers = 0.0, len(model.taps)
    for layer, head in enumerate(model.heads):
        a, b = (x[0].detach().double().numpy() for x in (kept[layer], kept[layer + layers]))
        a, b = (x / (np.sqrt((x**2).sum(0)) + 1e-10) for x in (a, b))
        by_hand += float((head[0].detach().double().numpy() * (a - b) ** 2).sum(0).mean())
    # The published module scales by rounded constants (−0.030, 0.458, …), hence the tolerance.
    assert model(first, second).item() == pytest.approx(by_hand, rel=2e-2)


@pytest.mark.parametrize("backbone", BACKBONES)
def test_textures_are_alike_wherever_their_strokes_lie(backbone: Backbone) -> None:
    """Two samples of one noise are as unlike as noise and grey by LPIPS, and much more alike by their textures."""
    model, noise = _model(backbone), torch.rand(2, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    one, other, grey = noise[:1], noise[1:], torch.full((1, 3, 128, 128), 0.5)
    plain = (model(one, other) / model(one, grey)).item()
    textures = (model(one, other, textures=True) / model(one, grey, textures=True)).item()
    assert textures < plain / 3
    assert model(one, one, textures=True).item() == 0


@pytest.mark.parametrize("backbone", BACKBONES)
def test_gradient_flows_to_the_image(backbone: Backbone) -> None:
    first = torch.rand(1, 3, 64, 64, requires_grad=True)
    _model(backbone)(first, torch.rand(1, 3, 64, 64)).sum().backward()
    assert first.grad is not None
    assert torch.isfinite(first.grad).all()
    assert first.grad.abs().sum() > 0


@pytest.mark.parametrize("backbone", BACKBONES)
def test_smallest_image_works(backbone: Backbone) -> None:
    assert torch.isfinite(_model(backbone)(torch.rand(1, 3, MIN_SIDE, MIN_SIDE), torch.rand(1, 3, MIN_SIDE, MIN_SIDE))).all()


def test_state_dict_has_torchvisions_keys() -> None:
    """Index and kind of each layer as in torchvision's alexnet() and squeezenet1_1()."""
    alex = {name for name in LPIPS("alex").state_dict() if name.startswith("features")}
    assert alex == {f"features.{index}.{kind}" for index in (0, 3, 6, 8, 10) for kind in ("weight", "bias")}
    parts = [f"features.{index}.{part}" for index in (3, 4, 6, 7, 9, 10, 11, 12) for part in ("squeeze", "expand1x1", "expand3x3")]
    squeeze = {name for name in LPIPS("squeeze").state_dict() if name.startswith("features")}
    assert squeeze == {f"{name}.{kind}" for name in ["features.0", *parts] for kind in ("weight", "bias")}
    vgg = {name: value.shape[0] for name, value in LPIPS("vgg").state_dict().items() if name.startswith("features")}
    widths = dict(zip((0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28), (64, 64, 128, 128, *[256] * 3, *[512] * 6), strict=True))
    assert vgg == {f"features.{index}.{kind}": width for index, width in widths.items() for kind in ("weight", "bias")}


def test_vgg_has_the_published_number_of_parameters_and_taps_relus_before_pooling() -> None:
    """14,714,688 without the classifier, as Keras counts VGG16 without its top."""
    model = LPIPS("vgg")
    assert sum(parameter.numel() for parameter in model.features.parameters()) == 14_714_688
    sides = [tuple(layer.shape[1:]) for layer in model.embed(torch.rand(1, 3, 35, 64))]
    assert sides == [(64, 35, 64), (128, 17, 32), (256, 8, 16), (512, 4, 8), (512, 2, 4)]
    assert all(isinstance(model.features[tap], torch.nn.ReLU) for tap in model.taps)
    assert all(isinstance(model.features[tap + 1], torch.nn.MaxPool2d) for tap in model.taps[:-1])


def _niqe() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    return {"mu_pris_param": rng.random((1, 36)), "cov_pris_param": np.cov(rng.normal(size=(80, 36)), rowvar=False)}


def _dists() -> DISTS:
    """With the backbone of LPIPS-VGG, which it shares a file with."""
    model = DISTS()
    features = {name: value for name, value in _model("vgg").state_dict().items() if name.startswith("features")}
    torch.manual_seed(9)
    alpha, beta = torch.rand(2, 1, 1475, 1, 1)
    model.load_state_dict(features | {"alpha": alpha, "beta": beta})
    return model.eval()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of random weights for every metric in the published layout, with hashes that vouch for them."""
    contents: dict[str, dict[str, np.ndarray]] = {"niqe.npz": _niqe()}
    for backbone in BACKBONES:
        model = _model(backbone)
        features = {name: value.numpy() for name, value in model.state_dict().items() if name.startswith("features")}
        contents[f"{backbone}_features.npz"] = features
        heads = {f"lin{index}.model.1.weight": head.detach().numpy() for index, head in enumerate(model.heads)}
        contents[f"lin_v0.1_{backbone}.npz"] = heads
    contents["dists.npz"] = {name: getattr(_dists(), name).detach().numpy() for name in ("alpha", "beta")}
    hashes: dict[str, dict[str, str]] = {}
    for file, arrays in contents.items():
        np.savez(tmp_path / file, **arrays)  # type: ignore[arg-type]
        hashes[file] = {name: weights.array_hash(array) for name, array in arrays.items()}
    # What publishers give no hashes of arrays for is vouched for by the record beside it.
    (tmp_path / "vgg_features.json").write_text(json.dumps(hashes.pop("vgg_features.npz")))
    monkeypatch.setattr(weights, "known_hashes", lambda: hashes)
    monkeypatch.delenv(weights.ENVIRONMENT, raising=False)
    return tmp_path


@pytest.mark.parametrize("backbone", BACKBONES)
def test_weights_load_into_their_places_and_are_frozen(backbone: Backbone, folder: Path) -> None:
    loaded = weights.load_lpips(backbone, folder)
    first, second = torch.rand(1, 3, 48, 48), torch.rand(1, 3, 48, 48)
    torch.testing.assert_close(loaded(first, second), _model(backbone)(first, second))
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not loaded.training


def test_an_array_that_is_not_the_published_one_is_refused(folder: Path) -> None:
    path = folder / "alex_features.npz"
    with np.load(path) as archive:
        arrays = {name: archive[name].copy() for name in archive.files}
    arrays["features.3.bias"][5] += 1e-3
    np.savez(path, **arrays)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"features\.3\.bias is not the published one") as caught:
        weights.load_lpips("alex", folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", ["missing", "truncated", "text", "array left out"])
def test_unreadable_weights_are_one_line(damage: str, folder: Path) -> None:
    path = folder / "lin_v0.1_squeeze.npz"
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "text":
        path.write_text("not weights")
    else:
        np.savez(path, other=np.zeros(3))
    with pytest.raises(InputError) as caught:
        weights.load_lpips("squeeze", folder)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_the_folder_is_the_one_given_then_the_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(weights.ENVIRONMENT, raising=False)
    assert weights.folder() is None
    monkeypatch.setenv(weights.ENVIRONMENT, str(tmp_path))
    assert weights.folder() == tmp_path
    (tmp_path / "given").mkdir()
    assert weights.folder(tmp_path / "given") == tmp_path / "given"
    with pytest.raises(InputError, match="no such folder") as caught:
        weights.folder(tmp_path / "nowhere")
    assert "\n" not in str(caught.value)


def test_arrays_without_shipped_hashes_need_the_record_beside_them(folder: Path) -> None:
    record = folder / "vgg_features.json"
    hashes = json.loads(record.read_text())
    record.write_text(json.dumps(hashes | {"features.5.bias": "0" * 64}))
    with pytest.raises(InputError, match=r"features\.5\.bias is not the published one"):
        weights.load_dists(folder)
    for text in ("[1, 2]", "no JSON", json.dumps({"features.0.bias": hashes["features.0.bias"]})):
        record.write_text(text)
        with pytest.raises(InputError) as caught:
            weights.load_lpips("vgg", folder)
        assert "\n" not in str(caught.value)
    record.unlink()
    with pytest.raises(InputError, match="not readable as metric weights"):
        weights.load_lpips("vgg", folder)


def test_inception_loads_without_its_classifier_and_its_counters(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state = {name: value.numpy() for name, value in Inception().state_dict().items() if value.is_floating_point()}
    np.savez(tmp_path / "inception.npz", **state)  # type: ignore[arg-type]
    (tmp_path / "inception.json").write_text(json.dumps({name: weights.array_hash(array) for name, array in state.items()}))
    loaded = weights.load_inception(tmp_path)
    assert not loaded.training
    for name, array in state.items():
        np.testing.assert_array_equal(loaded.state_dict()[name].numpy(), array)


def test_shipped_hashes_cover_every_array_of_the_networks() -> None:
    for backbone in BACKBONES:
        names = set(weights.known_hashes().get(f"{backbone}_features.npz", ()))
        assert backbone == "vgg" or names == {name for name in LPIPS(backbone).state_dict() if name.startswith("features")}
        assert len(weights.known_hashes()[f"lin_v0.1_{backbone}.npz"]) == len(LPIPS(backbone).heads)


def test_report_names_every_metric_and_leaves_out_what_is_undefined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv(weights.ENVIRONMENT, raising=False)
    small = rng.integers(0, 256, (1, 1, 3), np.uint8)
    assert measure(small, small) == dict.fromkeys(NAMES) | {"psnr": float("inf")}
    middle = rng.integers(0, 256, (37, 53, 3), np.uint8)
    found = measure(middle, 255 - middle)
    assert tuple(found) == NAMES
    assert {name for name, value in found.items() if value is None} == {"ms_ssim", *WITH_WEIGHTS}
    assert all(isinstance(value, float) for value in found.values() if value is not None)
    with pytest.raises(ValueError, match="cannot be compared"):
        measure(small, middle)


def test_report_uses_the_weights_that_are_there(folder: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 180, 193, 3), np.uint8)
    found = measure(first, second, folder)
    assert all(value is not None for value in found.values())
    a, b = (torch.tensor(x).permute(2, 0, 1)[None] / 255 for x in (first, second))
    for backbone in BACKBONES:
        assert found[f"lpips_{backbone}"] == pytest.approx(_model(backbone)(a, b).item(), rel=1e-5)
    assert found["dists"] == pytest.approx(_dists()(a, b).item(), rel=1e-4)
    pristine = _niqe()
    expected = niqe(b, torch.tensor(pristine["mu_pris_param"][0]), torch.tensor(pristine["cov_pris_param"]))
    assert expected is not None
    assert found["niqe"] == pytest.approx(expected.item())
    assert found["niqe"] != measure(second, first, folder)["niqe"]
    (folder / "squeeze_features.npz").unlink()
    again = measure(first, second, folder)
    assert again["lpips_squeeze"] is None
    assert again["lpips_alex"] == found["lpips_alex"]


def test_report_measures_what_is_asked_for(folder: Path) -> None:
    rng = np.random.default_rng(0)
    first, second = rng.integers(0, 256, (2, 40, 40, 3), np.uint8)
    everything = measure(first, second, folder)
    assert measure(first, second, folder, ["dists", "psnr"]) == {name: everything[name] for name in ("dists", "psnr")}
    assert list(measure(first, second, folder, ("gmsd", "psnr"))) == ["gmsd", "psnr"]
    assert measure(first, second, folder, []) == {}
    with pytest.raises(InputError, match="metric vif: there is none of that name") as caught:
        measure(first, second, folder, ["psnr", "vif"])
    assert "\n" not in str(caught.value)
