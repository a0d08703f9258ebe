"""Memory that training at the papers' sizes takes: ``python examples/memory_table.py [METHOD …]``

Each stage of each ``paper.json`` is run for one optimiser step by its own trainer, with the published sizes and fake tensors, which
have shapes and types but no numbers. Every tensor that lives counts, from weights to what the backward pass keeps and computes
again. Networks run as on CUDA: in bfloat16, norms and softmax in float32, attention without its matrix. AdamW's moments and
averaged weights are added. Not counted: what CUDA itself takes, workspaces of its kernels, fragmentation. A tenth is left for them
in the largest batches.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from _common import markdown, markdown_line
from latency_full import Sizes, full
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from gencomm_cli import presets
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks import residual_unet, windows
from gencomm_cli.networks.backbone import PresetNetworks
from gencomm_cli.presets import Component, Preset
from gencomm_cli.presets.build import builders
from gencomm_cli.training import losses, stage
from gencomm_cli.training.data import Photographs
from gencomm_cli.training.latents import Codec, Latents
from gencomm_cli.training.loop import Loss, Schedule
from gencomm_cli.training.trainer import Trainer, TrainOptions, load_config, stage_values

GIB = 2**30
CARDS = (24, 48, 80)
SIDE = 1024
"""Of the one grey photograph that is learned from."""


def forget() -> None:
    """Empties the caches of tensors: what was made of one kind of tensors is of no use to another."""
    for cached in (windows.hidden, residual_unet._basis):
        cached.cache_clear()


@contextmanager
def fake_tensors() -> Iterator[None]:
    """Tensors have shapes and types and no numbers; no cache keeps one."""
    forget()
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            yield
    finally:
        forget()


class Alive(TorchDispatchMode):
    """Bytes of all tensors that live, and the most so far."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: weakref.WeakSet[Any] = weakref.WeakSet()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                self.count(tensor.untyped_storage())
        return out

    def count(self, storage: torch.UntypedStorage) -> None:
        """Takes a storage into account until it is freed."""
        if storage not in self.known:
            self.known.add(storage)
            self.now += storage.nbytes()
            self.most = max(self.most, self.now)
            weakref.finalize(storage, self.free, storage.nbytes())

    def free(self, count: int) -> None:
        """A storage is gone."""
        self.now -= count


def in_float32(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """As CUDA's autocast calls it; that of a CPU would leave bfloat16."""

    def call(*args: Any, **kwargs: Any) -> Tensor:
        if torch.is_autocast_enabled("cpu"):
            args, kwargs = tree_map(lambda leaf: leaf.float() if isinstance(leaf, Tensor) else leaf, (args, kwargs))
        return function(*args, **kwargs)

    return call


plain_attention = F.scaled_dot_product_attention


def attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any) -> Tensor:
    """``F.scaled_dot_product_attention`` by a kernel that keeps no matrix, but where a bias is learned: in small windows."""
    if attn_mask is not None and attn_mask.requires_grad:
        return plain_attention(query, key, value, attn_mask, **options)
    flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    made: Tensor = flash(query, key, value, attn_mask=attn_mask, scale=options.get("scale"))[0]
    return made


def numberless(method: str, instead: Any) -> Callable[[Tensor], Any]:
    """A tensor's method that gives its numbers; ``instead``, where it has none."""
    of_numbers = getattr(Tensor, method)
    return lambda tensor: instead(tensor) if isinstance(tensor, FakeTensor) else of_numbers(tensor)


AS_ON_CUDA = {
    torch: {"norm": in_float32(torch.norm), "softmax": in_float32(torch.softmax)},
    F: {name: in_float32(getattr(F, name)) for name in ("group_norm", "layer_norm", "softmax")}
    | {"scaled_dot_product_attention": attention},
    Tensor: {
        "__float__": numberless("__float__", lambda _: 0.5), "__bool__": numberless("__bool__", lambda _: False),
        "__int__": numberless("__int__", lambda _: 1), "item": numberless("item", lambda _: 0.5),
        "numpy": numberless("numpy", lambda tensor: np.ones(tensor.shape)),
    },
}  # fmt: skip
"""What stands in for a GPU and for numbers."""


@dataclass(frozen=True)
class Use:
    """Numbers of weights that are trained and of all, and bytes: of one step without the optimiser, and with each optimiser."""

    trained: int
    weights: int
    step: int
    adamw: int
    adamw8bit: int


def use(trained: int, weights: int, step: int, averaged: bool) -> Use:
    """Two float32 moments a weight, or two of a byte each with a scale for each 256; the averages are float32."""
    averages = 4 * trained * averaged
    return Use(trained, weights, step, step + averages + 8 * trained, step + averages + round((2 + 8 / 256) * trained))


class Measured(Exception):
    """The step is done; nothing after it matters."""


def one_step(alive: Alive, result: list[Use]) -> Callable[..., None]:
    """In the place of :func:`gencomm_cli.training.loop.fit`: the batches of one optimiser step, at most two."""

    def fit(
        networks: Mapping[str, nn.Module], loss: Loss, _: np.random.Generator, schedule: Schedule, *__: Any, **___: Any
    ) -> None:
        gc.collect()
        alive.most, weights = alive.now, alive.now
        for _batch in range(min(schedule.accumulate, 2)):
            torch.autograd.backward(loss(0, 0.99)[0])
        trained = sum(p.numel() for network in networks.values() for p in network.parameters() if p.requires_grad)
        result.append(use(trained, weights, alive.most, schedule.ema > 0))
        raise Measured

    return fit


def grey() -> Photographs:
    """One photograph."""
    sizes = np.array([[SIDE, SIDE]])
    return Photographs(["grey.png"], ["a grey square"], np.full(3 * SIDE**2, 128, np.uint8), np.zeros(1, np.int64), sizes)


def grey_latents(trainer: Trainer, codec: Codec, crop: int) -> Latents:
    """Its latents, which are never computed."""
    values = np.zeros(2 * codec.channels * (SIDE // codec.factor) ** 2, np.float16)
    return Latents(trainer.photographs, values, np.zeros(1, np.int64), trainer.photographs.sizes, codec.factor, codec.channels)


def base(method: str, sizes: Sizes) -> Preset | None:
    """The preset to stand on: networks of the published sizes, without weights."""
    parts = {
        "scsic": {
            "encoder": ("EfficientNetEncoder", sizes.encoder), "stage_a": ("PaellaVQModel", sizes.stage_a),
            "stage_b": ("StableCascadeUNet", sizes.stage_b),
        },
        "textguided": (stable_diffusion := {
            "vae": ("AutoencoderKL", sizes.vae), "unet": ("UNet2DConditionModel", sizes.unet),
            "text_encoder": ("CLIPTextModel", sizes.text),
        }),
        "diffjscc": stable_diffusion,
    }.get(method)  # fmt: skip
    if parts is None:
        return None
    components = {name: Component(name, kind, None, "", config) for name, (kind, config) in parts.items()}
    if "vae" in components:
        components["tokenizer"] = presets.find("textguided", "nano").components["tokenizer"]
    return Preset(method, "published", Path(), components, {}, "")


def bare(networks: Any, name: str, dtype: torch.dtype) -> nn.Module:
    """A network of a preset, without its weights."""
    component = networks.preset.components[name]
    return nn.Module.to(builders()[component.class_name](**component.config), dtype).eval().requires_grad_(False)


def apply(module: nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> nn.Module:
    """``Module._apply``, which exchanges tensors in place: fake ones do not let it."""
    for part in module.modules():
        for name, parameter in part._parameters.items():
            if parameter is not None and (made := function(parameter.detach())).dtype != parameter.dtype:
                part._parameters[name] = nn.Parameter(made, parameter.requires_grad)
        part._buffers |= {name: None if buffer is None else function(buffer) for name, buffer in part._buffers.items()}
    return module


def copied(tensor: Tensor, memo: dict[int, Any]) -> Tensor:
    """In the place of a copy by storage, which a fake tensor has none of."""
    made: Tensor = tensor.detach().clone()
    return memo.setdefault(id(tensor), nn.Parameter(made) if isinstance(tensor, nn.Parameter) else made)


TRAINERS = {
    "textguided": "OverBackbone", "diffjscc": "OverBackbone", "lrisc": "LRISCTrainer", "diffcom": "DiffComTrainer",
    "scsic": "CascadeTrainer",
}  # fmt: skip


def measure(method: str, name: str, config: Mapping[str, Any], sizes: Sizes) -> Use:
    """What a stage of a recipe takes, over networks of ``sizes``."""
    on, result, alive = base(method, sizes), list[Use](), Alive()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        (folder / "recipe.json").write_text(json.dumps(config))
        for place, replacement in (
            (PresetNetworks, {"_build": bare}), ("gencomm_cli.networks.backbone", {"verify": mock.DEFAULT}),
            ("gencomm_cli.methods.textguided.refiner", {"start_code": mock.DEFAULT}),
            (Trainer, {"photographs": grey(), "validation": None, "latents": grey_latents}),
            (losses, {"load_perceptual": lambda *_: [LPIPS(each).eval().requires_grad_(False) for each in ("alex", "squeeze")]}),
            (stage, {"fit": one_step(alive, result)}), (nn.Module, {"_apply": apply}), (Tensor, {"__deepcopy__": copied}),
            *AS_ON_CUDA.items(),
        ):  # fmt: skip
            stack.enter_context(mock.patch.multiple(place, **replacement))
        stack.enter_context(fake_tensors())
        stack.enter_context(alive)
        options = TrainOptions(folder, folder / "run", folder / "recipe.json", stages=(name,), captioner="builtin")
        make = getattr(import_module(f"gencomm_cli.methods.{method}.train"), TRAINERS[method])
        trainer = make(options, lambda _: None, *([] if method == "diffcom" else [on]))
        with suppress(Measured):
            trainer.run(name)
    return result[0]


def largest(found: Use, batch: int, optimizer: int, card: int) -> int:
    """Batch that fits into nine tenths of ``card`` GiB: beyond ``batch``, weights and optimiser stay and all else grows with it at
    most; below, the gradients stay too."""
    sample = (found.step - found.weights) / batch
    room = 0.9 * card * GIB - (optimizer - found.step) - found.weights
    return int(room / sample) if room / sample >= batch else max(0, int((room - 4 * found.trained) / sample))


def row(method: str, name: str) -> list[object]:
    """A line of the table."""
    config = load_config(None, f"{method}/paper.json", ())
    stage_values(config, name)["schedule"]["precision"] = "bf16"
    batch, found = stage_values(config, name)["batch"], measure(method, name, config, full())
    gib = [f"{count / GIB:.1f}" for count in (found.weights, found.adamw, found.adamw8bit)]
    fits = [" / ".join(str(largest(found, batch, each, card)) for card in CARDS) for each in (found.adamw, found.adamw8bit)]
    return [f"{method}, `{name}`", f"{found.trained / 1e6:.0f}", gib[0], batch, *gib[1:], *fits]


def main() -> None:
    """Prints the table, line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=TRAINERS, metavar="METHOD")
    given = parser.parse_args()
    cards = f"{' / '.join(map(str, CARDS))} GiB"
    header = ["stage", "trained, M", "weights, GiB", "batch", "AdamW, GiB", "8 bits, GiB"]
    print(markdown([*header, f"largest batch, {cards}", "8 bits"], []), flush=True)
    for method in given.methods:
        plans = getattr(import_module(f"gencomm_cli.methods.{method}.train"), TRAINERS[method]).plans
        for name in (name for name in plans if name in load_config(None, f"{method}/paper.json", ())):
            print(markdown_line(row(method, name)), flush=True)


if __name__ == "__main__":
    main()
