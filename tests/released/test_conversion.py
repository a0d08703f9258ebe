"""From conversions to presets: what joins, what is written, what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from gencomm_cli import presets
from gencomm_cli.errors import InputError, ModelMismatch
from gencomm_cli.presets.build import builders
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import Conversion, ConvertedComponent, check, convert, joined, report, write_preset

CODEC = ConvertedComponent("codec", "ADJSCC", {}, {})
PRIOR = ConvertedComponent("prior", "UNet2DModel", {}, {})


def only(component: ConvertedComponent, method: str, **needs: str) -> Conversion:
    return Conversion(method, (component,), {component.name: 1}, ((f"their {component.name}", component.name),), needs=needs)


def test_a_codec_is_a_preset_alone_and_with_a_prior() -> None:
    assert joined([only(CODEC, "jscc")]).method == "jscc"
    prior = only(PRIOR, "diffcom", codec="a prior alone is no preset")
    both = joined([only(CODEC, "jscc"), prior])
    assert (both.method, both.components) == ("diffcom", (CODEC, PRIOR))
    assert both.settings == {"codec": 1, "prior": 1}
    assert both.mapped == (("their codec", "codec"), ("their prior", "prior"))
    with pytest.raises(InputError, match="prior alone is no preset"):
        joined([prior])
    with pytest.raises(InputError, match="no preset together"):  # it asks for nothing
        joined([only(CODEC, "jscc"), only(PRIOR, "diffcom")])
    with pytest.raises(InputError, match="no preset together"):
        joined([only(CODEC, "jscc"), only(CODEC, "jscc")])
    with pytest.raises(InputError, match="no preset together"):
        joined([only(CODEC, "jscc"), only(ConvertedComponent("vae", "AutoencoderKL", {}, {}), "diffjscc")])


def convolutional(**changed: torch.Tensor | None) -> ConvertedComponent:
    with torch.device("meta"):
        module = builders()["ConvolutionalJSCC"](code_channels=4)
    tensors = {name: torch.zeros(tensor.shape) for name, tensor in module.state_dict().items()}
    for name, tensor in changed.items():
        key = name.replace("__", ".")
        tensors = {other: kept for other, kept in tensors.items() if other != key} | ({} if tensor is None else {key: tensor})
    return ConvertedComponent("codec", "ConvolutionalJSCC", {"code_channels": 4}, tensors)


def test_what_does_not_fit_is_named() -> None:
    check(convolutional())
    for component, reason in (
        (convolutional(encoder__conv1__conv__bias=None), "encoder.conv1.conv.bias is missing"),
        (convolutional(encoder__conv1__conv__bias=torch.zeros(17)), r"bias is \(17,\) instead of \(16,\)"),
        (convolutional(encoder__more=torch.zeros(1)), "encoder.more is unknown"),
        (convolutional(encoder__more=torch.zeros(1), encoder__most=torch.zeros(1)), "and 1 more"),
    ):
        with pytest.raises(ModelMismatch, match=reason) as caught:
            check(component)
        assert "\n" not in str(caught.value)


def test_kinds_are_recognised_or_named() -> None:
    ours = Checkpoint(Path("a.pt"), dict(convolutional().tensors))
    flat = Checkpoint(Path("b.pt"), ours.tensors | {"encoder.conv5.conv.weight": torch.ones(())})
    assert convert([ours], None, {}).components[0].config["code_channels"] == 4
    assert convert([ours], "deepjscc", {}).mapped == tuple((name, name) for name in ours.tensors)
    for files, kind, error, reason in (
        ([ours], "adjscc", InputError, "is not of kind adjscc; it looks like deepjscc"),
        ([ours], "other", InputError, "kind: other is unknown; there is: .*adjscc"),
        ([ours, ours], None, InputError, "are all of kind deepjscc"),
        ([Checkpoint(Path("b.pt"), {"w": torch.ones(1)})], None, InputError, r"b\.pt: of no kind that is known \(1 tensors: w"),
        ([flat], None, ModelMismatch, "looks like deepjscc"),
    ):  # fmt: skip
        with pytest.raises(error, match=reason) as caught:
            convert(files, kind, {})
        assert "\n" not in str(caught.value)


def test_a_preset_is_written_whole_and_nothing_is_overwritten(tmp_path: Path) -> None:
    source, folder = tmp_path / "theirs.pt", tmp_path / "ours"
    source.write_bytes(b"weights")
    shared = torch.randn(16)
    component = convolutional(encoder__conv1__conv__bias=shared)
    twice = {"decoder.tconv4.transconv.bias": shared, "encoder.conv2.conv.weight": torch.randn(2, 32, 16, 5, 5)[1]}
    component = ConvertedComponent("codec", "ConvolutionalJSCC", {"code_channels": 4}, {**component.tensors, **twice})
    whole = Conversion(
        "jscc", (component,), {"cbr": 0.1}, (("a", "b"),), (("c", "why"), ("d", "why")), ("e",), conventions=("They count so.",)
    )
    write_preset(whole, folder, "mine", [source])
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "codec.safetensors", "config.json", "tensors.tsv"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "theirs.pt"]
    preset = presets.load_config(folder)
    presets.verify(preset)
    assert (preset.method, preset.name, preset.settings) == ("jscc", "mine", {"cbr": 0.1})
    assert presets.file_hash(source) in preset.card
    assert "They count so." in preset.card
    assert report(whole) == [
        "mapped 1: codec (ConvolutionalJSCC)", "dropped 2: why (c, d)",
        "missed 1: not in the files, filled with what does the same (e)",
    ]  # fmt: skip
    assert (folder / "tensors.tsv").read_text() == "mapped\ta\tb\ndropped\tc\twhy\ndropped\td\twhy\nmissed\t\te\n"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(InputError, match=r"not empty.*--force"):
        write_preset(whole, folder, "other", [source])
    assert before == {path.name: path.read_bytes() for path in folder.iterdir()}
    write_preset(whole, folder, "other", [source], force=True)
    assert json.loads((folder / "config.json").read_text())["name"] == "other"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["ours", "theirs.pt"]
    with pytest.raises(InputError, match="is a file"):
        write_preset(whole, source, "mine", [source], force=True)
    with pytest.raises(InputError, match="there is no folder"):
        write_preset(whole, tmp_path / "none" / "ours", "mine", [source])
