"""No tensor is left behind on the CPU: every method on a device of its own kind (see ``tests.support.elsewhere``), as with CUDA."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gencomm_cli import presets
from gencomm_cli.methods import load_method
from gencomm_cli.methods.diffcom.method import DiffCom
from gencomm_cli.methods.diffcom.options import Receiver
from gencomm_cli.methods.lrisc.train import LRISCTrainer
from gencomm_cli.training import losses, stage
from tests.methods.diffcom import test_train as test_diffcom
from tests.methods.diffcom.test_method import KINDS, multipath, photograph, write_preset
from tests.methods.diffjscc import test_train as test_diffjscc
from tests.methods.lrisc import test_train as test_lrisc
from tests.methods.scsic import test_train as test_scsic
from tests.methods.textguided.test_train import tiny_recipe
from tests.support.elsewhere import ELSEWHERE, Far, elsewhere, whole
from tests.support.presets import make_diffjscc, make_lrisc, make_preset, make_scsic
from tests.support.training import asked, backbones, write_photographs
from tests.test_cuda import preset, received, refined

__all__ = ["make_diffjscc", "make_lrisc", "make_preset", "make_scsic", "preset", "tiny_recipe"]
CPU = torch.device("cpu")


def test_such_a_device_computes_and_mixes_with_no_other() -> None:
    with elsewhere() as device:
        far, near = torch.tensor([1.0, 2.0], device=device), torch.tensor([3.0, 4.0])
        assert isinstance(far + 1, Far)
        assert far.device == ELSEWHERE
        assert (far * near.to(device)).cpu().numpy().tolist() == [3, 8]
        assert float(far.sum()) == 3  # one number may travel
        place, there = torch.tensor([0]), torch.tensor([1], device=device)
        assert (far[place].item(), far[there].item()) == (1, 2)
        for mixed in (
            lambda: far + near, lambda: torch.cat([far, near]), lambda: torch.nn.functional.linear(near, far), lambda: near[there],
            lambda: far.index_put((place,), near[:1]),
        ):  # fmt: skip
            with pytest.raises(RuntimeError, match="lies on the CPU"):
                mixed()
        with pytest.raises(RuntimeError):
            far.numpy()
        leaf = torch.ones(3, device=device, requires_grad=True)
        leaf.square().sum().backward()
        assert leaf.grad is not None
        assert whole(leaf.grad).tolist() == [2, 2, 2]


def test_every_method_decodes_to_the_same_picture(preset: presets.Preset) -> None:
    on_cpu = load_method(preset, CPU)
    given = received(on_cpu)
    gain = np.array([0.8 - 0.9j], np.complex64)
    faded = dataclasses.replace(given, symbols=given.symbols * gain, gain=gain, fading="block", side_gain=gain)
    faded.side_symbols[:] *= gain
    pictures = [refined(on_cpu, each, steps=2) for each in (given, faded)]
    with elsewhere() as device:
        method = load_method(preset, device)
        np.testing.assert_allclose(received(method).symbols, given.symbols, atol=1e-4)
        for each, picture in zip((given, faded), pictures, strict=True):
            assert np.abs(refined(method, each, steps=2) - picture).mean() < 0.5


@pytest.mark.parametrize("kind", KINDS)
def test_diffcom_over_multipath(kind: str, tmp_path: Path) -> None:
    write_preset(tmp_path, KINDS[kind])
    found, image = presets.load_config(tmp_path), photograph(32, 48)
    on_cpu = DiffCom.load(found, CPU)
    known, unknown = (multipath(on_cpu, image, csi=csi) for csi in (True, False))
    with elsewhere() as device:
        method = DiffCom.load(found, device)
        for given, options in (
            (known, Receiver(steps=2, variant="diffcom")),
            (known, Receiver(steps=2, variant="hifi")),
            (unknown, Receiver(steps=2, variant="blind")),
        ):
            pair = [each.decode(given, options, seed=0).refined[0].astype(int) for each in (method, on_cpu)]
            assert np.abs(pair[0] - pair[1]).mean() < 0.5


@pytest.mark.parametrize("method", ["textguided", "diffjscc", "lrisc", "diffcom", "scsic"])
def test_every_stage_of_training(
    method: str, make_preset: Callable[..., Path], tiny_recipe: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    data.mkdir()
    write_photographs(data, 6)
    done: list[str] = []

    def once(
        modules: dict[str, nn.Module], loss: Callable[[int, float], tuple[Tensor, dict[str, float]]], *given: Any, **_: Any
    ) -> None:
        """In the place of ``fit``: one loss and its gradient."""
        value, figures = loss(0, 0.9)
        value.backward()  # type: ignore[no-untyped-call]
        assert value.device == ELSEWHERE
        assert all(isinstance(figure, float) for figure in figures.values())
        for module in modules.values():
            assert any(parameter.grad is not None for parameter in module.parameters())
        done.append(given[3])

    monkeypatch.setattr(stage, "fit", once)
    fields = LRISCTrainer.fields
    monkeypatch.setattr(LRISCTrainer, "fields", lambda self, count: fields(self, count // 40))
    recipe = {
        "textguided": tiny_recipe, "diffjscc": test_diffjscc.recipe(test_diffjscc.ADAPTIVE), "lrisc": test_lrisc.recipe(),
        "diffcom": test_diffcom.recipe(), "scsic": test_scsic.recipe(str(make_preset()), snr_aware=True),
    }[method]  # fmt: skip
    if method == "diffjscc":
        recipe["start"] = str(make_preset())
    with elsewhere() as device:
        perceptual = [lpips.to(device) for lpips in backbones("alex")]
        monkeypatch.setattr(losses, "load_perceptual", lambda *_: perceptual)
        trainer = import_module(f"gencomm_cli.methods.{method}.train").open_trainer(
            asked(recipe, data, out, device=str(device)), lambda _: None
        )
        for name in trainer.plans:
            trainer.run(name)
    assert done == list(trainer.plans)
