"""Codecs trained alone, as the baselines of papers: small ones of the recipes' classes learn, and send pictures by themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gencomm_cli import presets
from gencomm_cli.errors import InputError
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.jscc import train as module
from gencomm_cli.methods.jscc.method import JSCC
from gencomm_cli.methods.jscc.train import CodecRecipe, CodecTrainer, open_trainer, sent
from gencomm_cli.methods.options import ReceiverOptions
from gencomm_cli.networks.codec_side import most_symbols
from gencomm_cli.networks.swinjscc import SwinJSCC, SwinJSCCConfig
from gencomm_cli.presets.build import builders
from gencomm_cli.training import losses
from gencomm_cli.training.channel import ChannelDraw, through
from gencomm_cli.training.trainer import changed, load_config, recipe_from
from tests.support.training import CPU, asked, backbones, quiet, write_photographs

FAST = {
    "schedule": {"steps": 3, "learning_rate": 3e-3, "warmup": 1, "ema": 0.5, "log_every": 1},
    "batch": 2,
    "crop": 32,
    "checkpointing": False,
}
SMALL: dict[str, dict[str, Any]] = {
    "mambajscc": {"mamba": {"code_channels": 5, "dims": [8, 8], "depths": [1, 1], "states": 2, "expand": 1.0}},
    "swinjscc": {"dims": [8, 8], "depths": [1, 2], "heads": [2, 2], "window": 2, "trained_size": 32},
}


def small(name: str, **recipe: Any) -> dict[str, Any]:
    """A shipped recipe with a small network of its class."""
    return changed(load_config(None, f"jscc/{name}.json", ()), {"codec": {"model": SMALL[name], "recipe": FAST | recipe}})


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_photographs(tmp_path_factory.mktemp("photographs"), 4)


@pytest.fixture(autouse=True)
def _perceptual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("squeeze"))


@pytest.mark.parametrize("name", SMALL)
def test_a_recipe_trains_a_codec_that_sends_pictures_alone(name: str, data: Path, tmp_path: Path) -> None:
    trainer = CodecTrainer(asked(small(name), data, tmp_path / "run"), quiet)
    before = [parameter.detach().clone() for parameter in trainer.module("codec").parameters()]
    preset = presets.load_config(trainer.complete())
    assert not all(torch.equal(a, b) for a, b in zip(before, trainer.module("codec").parameters(), strict=True))
    assert ("lpips" in (trainer.out / "codec.log").read_text()) == (name == "mambajscc")
    method = JSCC.load(preset, CPU)
    assert method.default_cbr == pytest.approx(5 / (6 * 16))
    out = method.encode(np.full((40, 30, 3), 90, np.uint8), Request(method.symbol_budget(1, (40, 30)), 10.0))
    assert out.side_symbols.size == 0
    assert method.decode(Received(out.symbols, None, 0.1, (40, 30)), ReceiverOptions(), seed=0).coarse.shape == (40, 30, 3)
    again = open_trainer(asked(small(name), data, tmp_path / "more", start=str(preset.folder)), quiet)
    for ours, theirs in zip(trainer.module("codec").parameters(), again.module("codec").parameters(), strict=True):
        assert torch.equal(ours.half().float(), theirs)


def test_the_published_sizes_have_the_rate_of_the_figures() -> None:
    """CBR 0.00326 is 5 reals for each 16 × 16 pixels."""
    for name in SMALL:
        config = load_config(None, f"jscc/{name}.json", {"name", "settings", "codec"})
        values = {key: value for key, value in config["codec"]["recipe"].items() if key != "checkpointing"}
        recipe = recipe_from(CodecRecipe, values)
        assert (recipe.pixel, recipe.perceptual, recipe.alike) == (1, float(name == "mambajscc"), name == "mambajscc")
        with torch.device("meta"):
            codec: Any = builders()[config["codec"]["class"]](**config["codec"]["model"])
        assert codec.symbols(1, (256, 256)) == 640
        assert most_symbols(codec) == 0


def test_training_decodes_as_the_receiver_does(data: Path) -> None:
    """The same symbols over the same Rayleigh channel give the picture that :class:`JSCC` decodes."""
    codec = SwinJSCC(SwinJSCCConfig.from_json(SMALL["swinjscc"] | {"code_channels": 5})).eval()
    image, snr = torch.rand(1, 3, 32, 32), torch.tensor([7.0])
    seen: dict[str, torch.Tensor] = {}

    def keep(symbols: torch.Tensor, channel: ChannelDraw, block: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        seen["y"], seen["h"], seen["n0"] = through(symbols, channel, block)
        return seen["y"], seen["h"], seen["n0"]

    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "through", keep)
        x_hat = sent(codec, image, ChannelDraw(snr, snr, torch.tensor([1])), 0.05)
    method = object.__new__(JSCC)
    method.codec, method.device = codec, CPU  # type: ignore[assignment]
    heard = Received(seen["y"][0].numpy(), seen["h"][0].numpy(), float(seen["n0"]), (32, 32))
    shown = method.decode(heard, ReceiverOptions(), seed=0).coarse
    expected = x_hat[0].clamp(0, 1).mul(255).permute(1, 2, 0).numpy()
    assert np.abs(shown - expected).max() < 0.51


def test_one_snr_for_a_batch(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A codec that is given a single SNR sees no others."""
    drawn: list[torch.Tensor] = []

    def record(codec: Any, image: torch.Tensor, channel: ChannelDraw, cbr: float) -> torch.Tensor:
        drawn.append(channel.snr_db)
        return sent(codec, image, channel, cbr)

    monkeypatch.setattr(module, "sent", record)
    CodecTrainer(asked(small("mambajscc", batch=4), data, tmp_path / "run"), quiet).run("codec")
    assert [len(snr.unique()) for snr in drawn[:3]] == [1, 1, 1]
    assert len(torch.cat(drawn[:3]).unique()) == 3


def test_a_codec_that_needs_side_symbols_is_refused(data: Path, tmp_path: Path) -> None:
    config = small("mambajscc")
    config["codec"]["model"]["conventions"] = {"restored": True}
    with pytest.raises(InputError, match="needs side symbols"):
        CodecTrainer(asked(config, data, tmp_path / "run"), quiet)
