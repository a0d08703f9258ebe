"""A learned image codec alone."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gencomm_cli import presets
from gencomm_cli.errors import InputError, RateError
from gencomm_cli.methods import load_method
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.jscc.method import JSCC
from gencomm_cli.methods.options import ReceiverOptions
from gencomm_cli.networks.adjscc import ADJSCC, ADJSCCConfig
from gencomm_cli.networks.conventions import Conventions
from gencomm_cli.networks.gain_code import CODEC_GAIN
from gencomm_cli.presets.write import Part, write_preset

PLAIN, RESTORED = Conventions(pairing="alternate"), Conventions(restored=True)


def method(folder: Path, conventions: Conventions, rate_adaptive: bool = False) -> JSCC:
    torch.manual_seed(0)
    config = ADJSCCConfig(4, 16, rate_adaptive, conventions=conventions)
    write_preset(folder, "jscc", {"codec": Part("ADJSCC", asdict(config), ADJSCC(config).state_dict())}, {}, "tiny")
    loaded = load_method(presets.find("jscc", str(folder)), torch.device("cpu"))
    assert isinstance(loaded, JSCC)
    return loaded


def scene(height: int = 30, width: int = 42) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("conventions", [PLAIN, RESTORED], ids=["plain", "restored"])
def test_the_picture_is_the_codec_s(tmp_path: Path, conventions: Conventions) -> None:
    """Clean, it is D of E's code: at unit power, or at its own where the preset restores it; sizes that 4 does not divide too."""
    jscc = method(tmp_path, conventions)
    image = scene()
    sent = jscc.encode(image, Request(jscc.symbol_budget(0.0, (30, 42)), snr_db=10.0))
    assert np.mean(np.abs(sent.symbols) ** 2) == pytest.approx(1, abs=1e-5)
    assert sent.side_symbols.size == (24 if conventions.restored else 0)
    received = Received(sent.symbols, None, 0.1, (30, 42), side_symbols=sent.side_symbols)
    found = jscc.decode(received, ReceiverOptions(), seed=0)
    padded = np.pad(image, ((0, 2), (0, 2), (0, 0)), "edge")
    codec, snr_db = cast(ADJSCC, jscc.codec), torch.tensor([10.0])
    with torch.no_grad():
        x = torch.tensor(padded).permute(2, 0, 1)[None] / 255
        code = codec.jscc_encoder(x, snr_db)
        scale = 1.0 if conventions.restored else float((2 * code.square().mean()).sqrt())
        wanted = codec.jscc_decoder(code / scale, snr_db)[0, :, :30, :42].permute(1, 2, 0) * 255
    assert np.abs(found.coarse - wanted.numpy()).max() < 0.6  # rounded
    assert found.refined == ()
    assert found.side_ok is (True if conventions.restored else None)


def test_gains_of_fading(tmp_path: Path) -> None:
    """With a known gain the symbols are MMSE equalised."""
    jscc = method(tmp_path, PLAIN)
    sent = jscc.encode(scene(), Request(jscc.symbol_budget(0.0, (30, 42)))).symbols
    h, n0 = np.complex64(0.3 - 0.4j), 0.05
    faded = jscc.decode(Received(h * sent, np.array([h]), n0, (30, 42)), ReceiverOptions(), seed=0).coarse
    by_hand = jscc.decode(Received(sent * np.float32(0.25 / 0.3), None, n0, (30, 42)), ReceiverOptions(), seed=0).coarse
    assert np.abs(faded.astype(int) - by_hand).max() <= 1


def test_rates(tmp_path: Path) -> None:
    jscc = method(tmp_path, RESTORED)
    assert jscc.default_cbr == pytest.approx(4 / 96)
    assert jscc.symbol_budget(0.5, (30, 42)) == 4 * 8 * 11 // 2 + 24
    with pytest.raises(RateError, match="leave it out"):
        jscc.encode(scene(), Request(100))
    free = method(tmp_path, RESTORED, rate_adaptive=True)
    assert free.default_cbr == 1 / 48
    assert free.symbol_budget(0.02, (60, 80)) == int(0.02 * 3 * 60 * 80)
    for image_size, count, side in (((30, 42), 175, 24), ((30, 42), 176, 0)):
        with pytest.raises(InputError, match=r"send the image again|are not what"):
            jscc.decode(
                Received(np.ones(count, np.complex64), None, 0.1, image_size, side_symbols=np.ones(side, np.complex64)),
                ReceiverOptions(), seed=0,
            )  # fmt: skip


def test_gains_travel_to_a_thousandth() -> None:
    random = np.random.default_rng(1)
    for gain in (0.01, 0.5, 1.0, 3.7, 100.0):
        symbols = CODEC_GAIN.send(gain)
        assert np.abs(symbols) == pytest.approx(1, abs=1e-6)
        noise = random.normal(size=(24, 2)) @ [1, 1j] * 0.2
        fading = np.exp(2j * np.pi * random.random(24)).astype(np.complex64)
        assert CODEC_GAIN.receive(symbols, None, 0.0) == pytest.approx(gain, rel=3e-4)
        assert CODEC_GAIN.receive((fading * symbols + noise).astype(np.complex64), fading, 0.08) == pytest.approx(gain, rel=3e-4)
    assert CODEC_GAIN.receive(np.zeros(24, np.complex64), None, 1.0) is None
