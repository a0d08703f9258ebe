"""Gradients are the same with fewer activations kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers.models import UNet2DConditionModel
from torch import nn

from gencomm_cli.networks.autoencoder import Autoencoder
from gencomm_cli.networks.conditional_unet import ConditionalUNet, UNetConfig
from gencomm_cli.networks.rate_adaptive import JSCCConfig, RateAdaptiveJSCC
from gencomm_cli.training import checkpointing
from gencomm_cli.training.checkpointing import checkpointed
from tests.support.presets import UNET, randomise

SMALL = UNetConfig.from_json({"widths": [8, 8], "context_widths": [], "fold": 2, "kernel": 3, "time_width": 8})


def autoencoder() -> Autoencoder:
    return Autoencoder(4, 4, (8, 8), (2, 1), (8, 8), (1, 2), 4)


def through_unet(unet: Any) -> torch.Tensor:
    image = torch.rand(2, 3, 16, 16)
    out: torch.Tensor = unet(image, torch.rand(2), unet.no_contexts(2, (16, 16)))
    return out


def through_jscc(jscc: Any) -> torch.Tensor:
    snr = torch.tensor([3.0, 9.0])
    symbols = jscc.encode(torch.randn(2, 4, 8, 8), 20, snr)
    out: torch.Tensor = jscc.decode(symbols, torch.ones(symbols.shape), (8, 8), snr)
    return out


@pytest.mark.parametrize(
    ("make", "use"),
    [
        (autoencoder, lambda net: net.decode(net.encode(torch.rand(2, 3, 16, 16)))),
        (lambda: ConditionalUNet(SMALL), through_unet),
        (lambda: RateAdaptiveJSCC(JSCCConfig(channels=4, code_channels=16, dims=(8,), depths=(2,))), through_jscc),
        (
            lambda: UNet2DConditionModel(**UNET),
            lambda net: net(torch.randn(2, 4, 8, 8), torch.tensor([3, 7]), torch.randn(2, 3, 16)).sample,
        ),
    ],
    ids=["autoencoder", "unet", "jscc", "diffusers"],
)
def test_gradients_stay_and_blocks_are_computed_again(
    make: Callable[[], nn.Module], use: Callable[[Any], torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    module = make().train()
    randomise(module, 1)
    calls: list[int] = []
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            part.register_forward_hook(lambda *_: calls.append(1))  # type: ignore[arg-type]

    def gradients() -> tuple[list[torch.Tensor | None], int]:
        torch.manual_seed(1)
        calls.clear()
        module.zero_grad()
        use(module).square().sum().backward()  # type: ignore[no-untyped-call]
        return [parameter.grad for parameter in module.parameters()], len(calls)

    expected, once = gradients()
    with checkpointed([module]):
        found, again = gradients()
        with torch.no_grad():
            use(module)
    for a, b in zip(expected, found, strict=True):
        assert (a is None) == (b is None)
        if a is not None and b is not None:
            torch.testing.assert_close(a, b)
    assert again > once
    assert gradients()[1] == once  # and afterwards it is as it was


def test_batch_normalisation_counts_each_batch_once() -> None:
    block = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))
    with checkpointed([nn.Sequential(block)]):
        block(torch.rand(2, 3, 8, 8)).sum().backward()
    assert int(block.state_dict()["1.num_batches_tracked"]) == 1
    assert not checkpointing._is_block(block)
