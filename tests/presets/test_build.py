"""Building networks from what a preset names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gencomm_cli.errors import InputError, ModelMismatch
from gencomm_cli.methods import load_method
from gencomm_cli.networks.convolutional import ConvolutionalJSCC, ConvolutionalJSCCConfig
from gencomm_cli.networks.rate_adaptive import JSCCConfig, RateAdaptiveJSCC
from gencomm_cli.networks.text import text_model
from gencomm_cli.presets import Component, load_config
from gencomm_cli.presets.build import build, build_tokenizer
from gencomm_cli.presets.weights import check_files
from gencomm_cli.presets.write import Part, write_preset
from tests.support.presets import TEXT

CPU = torch.device("cpu")
SIZES: dict[str, Any] = {"channels": 4, "code_channels": 8, "dims": [8], "depths": [1]}


def component(path: Path | None, **changes: Any) -> Component:
    return Component(**({"name": "jscc", "class_name": "RateAdaptiveJSCC", "path": path, "sha256": "", "config": SIZES} | changes))


def test_half_precision_weights_come_back_as_float32_frozen_and_in_evaluation_mode(tmp_path: Path) -> None:
    made = RateAdaptiveJSCC(JSCCConfig.from_json(SIZES))
    save_file({key: value.half() for key, value in made.state_dict().items()}, tmp_path / "w.safetensors")
    built = build(component(tmp_path / "w.safetensors"), CPU)
    assert not built.training
    for ours, theirs in zip(made.parameters(), built.parameters(), strict=True):
        assert theirs.dtype == torch.float32
        assert not theirs.requires_grad
        assert torch.equal(ours.half().float(), theirs)


def test_weights_of_another_size_do_not_fit(tmp_path: Path) -> None:
    made = RateAdaptiveJSCC(JSCCConfig.from_json(SIZES | {"dims": [12]}))
    save_file(made.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ModelMismatch, match="does not fit its config"):
        build(component(tmp_path / "w.safetensors"), CPU)
    (tmp_path / "w.safetensors").write_bytes(b"not safetensors")
    with pytest.raises(ModelMismatch):
        build(component(tmp_path / "w.safetensors"), CPU)


def test_unknown_classes_and_missing_pretrained_folders(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="unknown class os"):
        build(component(tmp_path, class_name="os"), CPU)
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(InputError, match="give a local folder"):
        build(component(None, class_name="AutoencoderKL", pretrained=nowhere), CPU)
    with pytest.raises(InputError, match="cannot be loaded from a pretrained folder"):
        build(component(None, pretrained=nowhere), CPU)
    with pytest.raises(InputError, match="no tokeniser there"):
        build_tokenizer(component(None, pretrained=nowhere))


def spoilt(folder: Path, number: float) -> Path:
    """A preset of one small codec with one such number among its weights, as another program may have written it."""
    state = ConvolutionalJSCC(ConvolutionalJSCCConfig(2)).half().state_dict()
    state["decoder.tconv5.transconv.bias"][1] = number
    folder.mkdir()
    save_file(state, folder / "codec.safetensors")
    write_preset(folder, "jscc", {"codec": Part("ConvolutionalJSCC", {"code_channels": 2}, folder / "codec.safetensors")}, {})
    return folder


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e6], ids=["NaN", "infinite", "too large for half precision"])
def test_numbers_that_are_not_finite_are_refused_by_name(tmp_path: Path, number: float) -> None:
    preset = load_config(spoilt(tmp_path / "mine", number))  # stored in half precision
    for refuse in (lambda: check_files(preset), lambda: build(preset.components["codec"], CPU), lambda: load_method(preset, CPU)):
        with pytest.raises(ModelMismatch, match=r"codec: decoder\.tconv5\.transconv\.bias holds NaN or infinite") as caught:
            refuse()
        assert "\n" not in str(caught.value)


def test_weights_that_overflow_in_the_format_asked_for(tmp_path: Path) -> None:
    made = RateAdaptiveJSCC(JSCCConfig.from_json(SIZES))
    with torch.no_grad():
        next(made.parameters()).fill_(1e5)
    save_file(made.state_dict(), tmp_path / "w.safetensors")
    build(component(tmp_path / "w.safetensors"), CPU)
    with pytest.raises(ModelMismatch, match=r"jscc in torch\.float16: .* holds NaN or infinite"):
        build(component(tmp_path / "w.safetensors"), CPU, torch.float16)


def test_a_configuration_cannot_ask_for_more_than_its_weights_hold(tmp_path: Path) -> None:
    save_file(RateAdaptiveJSCC(JSCCConfig.from_json(SIZES)).state_dict(), tmp_path / "w.safetensors")
    for config, reason in (
        (SIZES | {"dims": [10**5], "channels": 10**5}, "larger than its weights"),
        (SIZES | {"depths": [10**9]}, "larger than its weights"),
        (SIZES | {"dims": None}, "no network has its config"), (SIZES | {"odd": 1}, "no network has its config"),
    ):  # fmt: skip
        with pytest.raises(ModelMismatch, match=reason) as caught:
            build(component(tmp_path / "w.safetensors", config=config), CPU)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "text_model."])
def test_a_text_model_loads_under_the_names_of_any_release(prefix: str) -> None:
    """Before transformers 5.6 the names had a prefix."""
    model, other = text_model(**TEXT, vocab_size=20), text_model(**TEXT, vocab_size=20)
    bare = {name.removeprefix("text_model."): tensor for name, tensor in model.state_dict().items()}
    other.load_state_dict({f"{prefix}{name}": tensor for name, tensor in bare.items()})
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    with pytest.raises(RuntimeError, match="Missing key"):
        other.load_state_dict({f"odd.{name}": tensor for name, tensor in bare.items()})
