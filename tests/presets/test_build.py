"""Building networks from what a preset names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from gencomm_cli.errors import InputError, ModelMismatch
from gencomm_cli.networks.rate_adaptive import JSCCConfig, RateAdaptiveJSCC
from gencomm_cli.presets import Component
from gencomm_cli.presets.build import build, build_tokenizer

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
