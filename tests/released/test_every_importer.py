"""What every importer has in common: hostile files are refused and not run, and wrong ones get one line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gencomm_cli.errors import InputError, ModelMismatch
from gencomm_cli.methods import importers
from gencomm_cli.released.checkpoint import Checkpoint, read_checkpoint
from gencomm_cli.released.conversion import convert
from tests.methods.diffcom import test_released_adjscc as test_adjscc
from tests.methods.diffcom import test_released_guided_diffusion as test_guided_diffusion
from tests.methods.diffjscc import test_released as test_diffjscc
from tests.methods.jscc import test_released_deepjscc as test_deepjscc
from tests.methods.jscc import test_released_mambajscc as test_mambajscc
from tests.methods.jscc import test_released_swinjscc as test_swinjscc
from tests.methods.lrisc import test_released as test_cdc
from tests.methods.scsic import test_released as test_stable_cascade
from tests.support.released import Shapes, Weights

Files = tuple[list[Weights], Mapping[str, Any]]
"""The files of one preset, and ``--config``."""


def adjscc(new: type[Weights]) -> Files:
    weights = new()
    test_adjscc.decode(weights, test_adjscc.encode(weights, torch.ones(1, 3, 8, 8), 1.0), 1.0)
    return [weights], {}


def guided_diffusion(new: type[Weights]) -> Files:
    weights = new()
    test_guided_diffusion.unet(weights, torch.ones(1, 3, 4, 4), torch.ones(1), 32, test_guided_diffusion.Design())
    return [weights, *adjscc(new)[0]], {"num_head_channels": test_guided_diffusion.HEAD}


def deepjscc(new: type[Weights]) -> Files:
    weights = new()
    test_deepjscc.decode(weights, test_deepjscc.encode(weights, torch.ones(1, 3, 8, 8), True, 8), True)
    return [weights], {}


def swinjscc(new: type[Weights]) -> Files:
    weights, design = new(), test_swinjscc.Design("w_SAandRA")
    features, _ = test_swinjscc.encode(weights, torch.ones(1, 3, 32, 32), 1.0, 1.0, design)
    test_swinjscc.decode(weights, features, 1.0, design)
    return [weights], {}


def mambajscc(new: type[Weights]) -> Files:
    weights, parts, design = new(), (new(), new()), test_mambajscc.Design("no")
    test_mambajscc.decode(weights, test_mambajscc.encode(weights, torch.ones(1, 3, 8, 8), 1.0, design), 1.0, design)
    for name, tensor in weights.items():
        parts[name.startswith("decoder")][name] = tensor
    return list(parts), {"adaptation": "no"}


def diffjscc(new: type[Weights]) -> Files:
    weights, config = new(), test_diffjscc.tiny()
    test_diffjscc.run(weights, config, torch.get_default_device().type, width=64, layers=3, vocabulary=40)
    return [weights], {"params": config}


def cdc(new: type[Weights]) -> Files:
    weights = new()
    test_cdc.fill(weights, torch.ones(1, 3, 32, 32), test_cdc.Design())
    return [weights], {}


def stable_cascade(new: type[Weights]) -> Files:
    return test_stable_cascade.released(new, test_stable_cascade.Design(), 16, 2), {"scale_factor": 0.43, "head_width": 64}


FILES: dict[str, Callable[[type[Weights]], Files]] = {
    "adjscc": adjscc, "guided-diffusion": guided_diffusion, "deepjscc": deepjscc, "swinjscc": swinjscc, "mambajscc": mambajscc,
    "diffjscc": diffjscc, "cdc": cdc, "stable-cascade": stable_cascade,
}  # fmt: skip
KINDS = pytest.mark.parametrize("kind", list(importers()))


class Malicious:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch {self.mark}",)


def broken(names: list[str], shapes: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """A tensor lost, or without dimensions, or with one more, or larger: each at another place of the file."""
    changes: list[Callable[[Tensor], Tensor | None]] = [
        lambda _: None, lambda tensor: torch.empty((), device="meta"), lambda tensor: tensor[None],
        lambda tensor: torch.empty([size + 1 for size in tensor.shape], device="meta"),
    ]  # fmt: skip
    found = []
    for number, name in enumerate(names[:: max(1, len(names) // 4)]):
        changed = changes[number % len(changes)](shapes[name])
        rest = {other: tensor for other, tensor in shapes.items() if other != name}
        found.append(rest if changed is None else {**rest, name: changed})
    return found


@KINDS
def test_a_malicious_file_is_refused_and_not_run(tmp_path: Path, kind: str) -> None:
    state, mark = dict(FILES[kind](Weights)[0][0]), tmp_path / "ran"
    first = next(iter(state))
    for number, value in enumerate((
        {"state_dict": state, "hyper_parameters": Malicious(mark)}, {**state, "more": Malicious(mark)},
        {**state, first: Malicious(mark)},
    )):  # fmt: skip
        path = tmp_path / f"{number}.pt"
        torch.save(value, path)
        with pytest.raises(InputError, match="not opened, as it calls") as caught:
            convert([read_checkpoint(path)], kind, {})
        assert "\n" not in str(caught.value)
    assert not mark.exists()
    torch.load(path, weights_only=False)
    assert mark.exists()  # it is an attack indeed


@KINDS
def test_a_wrong_file_gets_one_line(kind: str) -> None:
    with torch.device("meta"):
        files, config = FILES[kind](Shapes)
        other = FILES["deepjscc" if kind != "deepjscc" else "adjscc"](Shapes)[0][0]
    whole = [Checkpoint(Path(f"{number}.pt"), dict(each)) for number, each in enumerate(files)]
    assert convert(whole, None, config).components
    for tensors, reason in ((dict(other), f"is not of kind {kind}; it looks like"), ({"w": torch.ones(1)}, "of no kind")):
        with pytest.raises(InputError, match=reason) as caught:
            convert([Checkpoint(Path("wrong.pt"), tensors)], kind, config)
        assert "\n" not in str(caught.value)
    lines = []
    for place, shapes in enumerate(files):
        # tables that are computed, and counters, may be anything
        names = [
            name for name in shapes if not name.endswith(("_index", "mask", "batches_tracked", "text_projection", "logit_scale"))
        ]
        for tensors in broken(names, dict(shapes)):
            with pytest.raises((InputError, ModelMismatch)) as refused:
                convert([*whole[:place], Checkpoint(Path("wrong.pt"), tensors), *whole[place + 1 :]], None, config)
            lines.append(str(refused.value))
    assert len(lines) >= 4
    assert not any("\n" in line or len(line) > 400 for line in lines)
