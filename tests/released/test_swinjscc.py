"""SwinJSCC, imported in its four modes, against the network that has its published numbers (see its own test)."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor

from gencomm_cli.errors import InputError
from gencomm_cli.jscc.swinjscc import SwinJSCC, SwinJSCCConfig, _modnet
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import convert
from tests.released.conftest import Import

TINY: dict[str, Any] = {"dims": (8, 12, 16), "depths": (2, 2, 1), "heads": (2, 3, 4), "window": 4, "trained_size": 32}
MODES: dict[str, dict[str, Any]] = {
    "wo_SAandRA": {"code_channels": 6, "snr": False}, "w_SA": {"code_channels": 6, "snr": True}, "w_RA": {"snr": False},
    "w_SAandRA": {"snr": True},
}  # fmt: skip


def released(net: SwinJSCC) -> dict[str, Tensor]:
    """The published state dict: buffers of the training size, and a ModNet in each network even where it is not used."""
    tensors = dict(net.state_dict())
    config = net.config
    for part, stages in (("encoder", range(len(config.dims))), ("decoder", reversed(range(len(config.dims))))):
        for layer, stage in enumerate(stages):
            window, shift = config.geometry(stage)
            for block in range(config.depths[stage]):
                name = f"{part}.layers.{layer}.blocks.{block}"
                tensors[f"{name}.attn.relative_position_index"] = torch.zeros(window**2, window**2, dtype=torch.long)
                if block % 2 and shift:
                    windows = (config.trained_size // 2 ** (stage + 1) // window) ** 2
                    tensors[f"{name}.attn_mask"] = torch.zeros(windows, window**2, window**2)
        if config.code_channels is not None and not config.snr:
            for name, modules in zip(("bm_list", "sm_list"), _modnet(config.dims[-1]), strict=True):
                tensors |= {f"{part}.{name}.{inner}": tensor for inner, tensor in modules.state_dict().items()}
    return tensors | {"distortion_loss.MS_SSIM.window": torch.ones(3, 1, 11, 11)}


@pytest.mark.parametrize("mode", list(MODES))
@torch.no_grad()
def test_the_imported_codec_computes_what_the_published_one_does(imported: Import, mode: str) -> None:
    torch.manual_seed(0)
    net = SwinJSCC(SwinJSCCConfig(**TINY, **MODES[mode])).eval()
    for parameter in net.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    config = {"snr": MODES[mode]["snr"]} if "code_channels" in MODES[mode] else None
    ours = cast(SwinJSCC, imported(released(net), config=config)["codec"])
    snr_db, rate = torch.tensor([7.0]), torch.tensor([5.0])
    image = torch.rand(1, 3, 32, 64)
    features, gates = net.encoder(image, snr_db, rate)
    channels = None
    if "code_channels" not in MODES[mode]:  # the channels with the largest gates, in the order that they have
        channels = torch.zeros(16, dtype=torch.bool)
        channels[gates.sum((0, 1, 2)).argsort(descending=True)[:5]] = True
        features = features[..., channels]
    count = features.numel() // 2
    assert ours.symbols(count, (32, 64)) == count
    if channels is not None:
        assert torch.equal(ours.choose(image, count, snr_db), channels)
    flat = features.flatten(1)  # token by token; the first half is real
    code = ours.code(image, count, snr_db, channels)
    torch.testing.assert_close(code, torch.complex(flat[:, :count], flat[:, count:]))
    heard = code + 0.1 * torch.complex(torch.randn(1, count), torch.randn(1, count))
    there = torch.zeros(1, 4, 8, 16 if channels is not None else 6)
    there[..., channels if channels is not None else slice(None)] = torch.cat([heard.real, heard.imag], 1).view(1, 4, 8, -1)
    torch.testing.assert_close(ours.decode(heard, (32, 64), snr_db, channels), net.decoder(there, snr_db))
    assert ours.conventions.restored


@pytest.mark.parametrize("mode", list(MODES))
def test_the_file_name_says_what_the_tensors_do_not(mode: str) -> None:
    with torch.device("meta"):
        tensors = released(SwinJSCC(SwinJSCCConfig(**MODES[mode])))
    conversion = convert([Checkpoint(Path(f"SwinJSCC_{mode}_AWGN_HRimage_snr10.model"), tensors)], None, {"choice": "bitonic"})
    found = SwinJSCCConfig.from_json(conversion.components[0].config)
    assert (found.dims, found.depths, found.trained_size) == ((128, 192, 256, 320), (2, 2, 6, 2), 256)
    assert (found.snr, found.code_channels) == (MODES[mode]["snr"], MODES[mode].get("code_channels"))
    assert found.choice == "bitonic"
    if "code_channels" in MODES[mode]:
        with pytest.raises(InputError, match=r"keep the released name, or give --config with snr: true"):
            convert([Checkpoint(Path("best.model"), tensors)], None, {})
    with pytest.raises(InputError, match="choice is old; stable or bitonic"):
        convert([Checkpoint(Path("w_SA.model"), tensors)], None, {"choice": "old"})
