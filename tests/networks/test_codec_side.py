"""Codecs that are decoded at their own power, on channels of their own choice: what the receiver has to know, and its use."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gencomm_cli.errors import InputError, RateError
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.diffcom.method import DiffCom
from gencomm_cli.methods.diffcom.options import Receiver, Transmitter
from gencomm_cli.methods.jscc.method import JSCC
from gencomm_cli.methods.options import ReceiverOptions
from gencomm_cli.networks.conditional_unet import ConditionalUNet, UNetConfig
from gencomm_cli.networks.conventions import Conventions
from gencomm_cli.networks.mamba import ChannelState, MambaConfig
from gencomm_cli.networks.mambajscc import MambaJSCC, MambaJSCCConfig
from gencomm_cli.networks.swinjscc import SwinJSCC, SwinJSCCConfig
from gencomm_cli.presets import Component, Preset
from tests.support.presets import randomise

CPU, SIZE, SNR_DB = torch.device("cpu"), (16, 24), 10.0
CHANNELS, TOKENS = 5, 24
SWIN = SwinJSCCConfig(
    (8, 12), (1, 1), (2, 3), 2, None, trained_size=16, choice="stable", conventions=Conventions(restored=True, equaliser="phase")
)
PRESET = Preset("jscc", "tiny", Path(), {}, {"cbr_range": [0.01, 0.2]}, "")


def swin() -> SwinJSCC:
    net = SwinJSCC(SWIN).eval().requires_grad_(False)
    randomise(net, 3)
    return net


def photograph(height: int, width: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def cross(method: JSCC | DiffCom, n0: float, side_n0: float = 0.01) -> tuple[Received, NDArray[np.complex64]]:
    """An image sent at five channels a token, and the noise that it met."""
    budget = method.symbol_budget(CHANNELS * TOKENS / 2 / (3 * SIZE[0] * SIZE[1]), SIZE, bound=False)
    sent = method.encode(photograph(*SIZE), Request(budget, snr_db=SNR_DB, fading="awgn", options=Transmitter()))
    random = np.random.default_rng(1)
    noise, more = (
        (random.normal(size=(count, 2)) @ [1, 1j] * (power / 2) ** 0.5).astype(np.complex64)
        for count, power in ((sent.symbols.size, n0), (sent.side_symbols.size, side_n0))
    )
    return Received(sent.symbols + noise, None, n0, SIZE, side_symbols=sent.side_symbols + more, side=sent.side), noise


def published(net: SwinJSCC, noise: NDArray[np.complex64], snr_db: float) -> torch.Tensor:
    """The published program's picture: the channels with the largest gates, unit power, noise, own power, those channels alone."""
    image = torch.tensor(photograph(*SIZE)).permute(2, 0, 1)[None] / 255
    features, gates = net.encoder(image, torch.tensor([SNR_DB]), torch.tensor([float(CHANNELS)]))
    chosen = gates.sum((0, 1, 2)).argsort(descending=True)[:CHANNELS].sort().values
    flat = features[..., chosen].flatten()
    gain = (2 * flat.square().mean()).sqrt()
    arrived = flat + gain * torch.from_numpy(np.concatenate([noise.real, noise.imag]))
    there = torch.zeros_like(features)
    there[..., chosen] = arrived.view(*features.shape[:3], -1)
    out: torch.Tensor = net.decoder(there, torch.tensor([snr_db]))
    return out[0].permute(1, 2, 0).clamp(0, 1) * 255


@pytest.mark.parametrize("n0", [0.1, 0.001])
def test_chosen_channels_and_own_power_arrive(n0: float) -> None:
    net = swin()
    method = JSCC(PRESET, net, CPU)
    received, noise = cross(method, n0)
    assert received.symbols.size == CHANNELS * TOKENS // 2
    assert received.side is not None
    assert received.side.payload_bits == 12  # one for each channel
    assert received.side_symbols.size > 24
    decoded = method.decode(received, ReceiverOptions(), seed=0)
    assert decoded.side_ok is True
    wanted = published(net, noise, -10 * float(np.log10(n0)))
    assert wanted.std() > 1
    assert np.abs(decoded.coarse - wanted.numpy()).max() < 0.7  # rounded, and the gain came in steps
    assert method.symbol_budget(1.0, SIZE) >= received.symbols.size + received.side_symbols.size


def test_lost_side_symbols() -> None:
    method = JSCC(PRESET, swin(), CPU)
    received, _ = cross(method, 0.1, side_n0=30.0)
    decoded = method.decode(received, ReceiverOptions(), seed=0)
    assert (decoded.outage, decoded.side_ok) == (True, False)
    assert (decoded.coarse == 128).all()
    with pytest.raises(InputError, match="are not what this codec sends"):
        method.decode(dataclasses.replace(received, side=None), ReceiverOptions(), seed=0)
    with pytest.raises(InputError, match="are not what tiny sends"):
        method.decode(dataclasses.replace(received, symbols=received.symbols[1:]), ReceiverOptions(), seed=0)


def test_diffcom_samples_with_the_known_codec() -> None:
    """x_d is the codec's picture, and samples draw near to what was received, on the channels that were sent."""
    sizes: dict[str, Any] = {
        "widths": [8, 12], "context_widths": [], "fold": 2, "kernel": 3, "time_width": 8, "variances": [0.1, 0.3]
    }  # fmt: skip
    net, preset = swin(), dataclasses.replace(PRESET, components={"prior": Component("prior", "ConditionalUNet", None, "", sizes)})
    method = DiffCom(preset, net, CPU)
    method.network = ConditionalUNet(UNetConfig.from_json(sizes)).eval().requires_grad_(False)
    randomise(method.network, 4)
    received, noise = cross(method, 0.001)
    options: dict[str, Any] = {"variant": "hifi", "start_step": 200, "steps": 10}
    decoded = method.decode(received, Receiver(**options), seed=0)
    assert np.abs(decoded.coarse - published(net, noise, 30.0).numpy()).max() < 0.7
    free = method.decode(received, Receiver(**options, zeta=0.0, gamma=0.0), seed=0)
    assert decoded.distances[0] < free.distances[0]
    assert decoded.side_ok is True
    lost = method.decode(dataclasses.replace(received, side_symbols=0 * received.side_symbols), Receiver(**options), seed=0)
    assert lost.outage
    assert (lost.refined[0] == 128).all()


def test_mambajscc_alone() -> None:
    """One rate; the code goes out by halves of its rows and comes back at its own power."""
    net = MambaJSCC(MambaJSCCConfig(MambaConfig(3, 4, (8, 12), (1, 1), states=4, adaptation="modnet"))).eval().requires_grad_(False)
    method = JSCC(PRESET, net, CPU)
    image = photograph(16, 24)
    sent = method.encode(image, Request(method.symbol_budget(0.5, SIZE), snr_db=SNR_DB))
    assert sent.symbols.size == 4 * 4 * 6 // 2
    assert sent.side_symbols.size == 24
    assert np.mean(np.abs(sent.symbols) ** 2) == pytest.approx(1, abs=1e-5)
    decoded = method.decode(Received(sent.symbols, None, 0.1, SIZE, side_symbols=sent.side_symbols), ReceiverOptions(), seed=0)
    x = torch.tensor(image).permute(2, 0, 1)[None] / 255
    wanted = net.decoder(net.encoder(x, ChannelState(SNR_DB)), ChannelState(10.0))[0].permute(1, 2, 0).clamp(0, 1) * 255
    assert np.abs(decoded.coarse - wanted.numpy()).max() < 0.7
    with pytest.raises(RateError, match="leave it out"):
        method.encode(image, Request(30))
