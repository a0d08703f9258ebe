"""LRISC end to end on tiny real networks at the linear start."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from gencomm_cli import presets
from gencomm_cli.channels.fading import draw_gain, draw_noise, transmit
from gencomm_cli.errors import InputError, ModelMismatch, OptionError, RateError
from gencomm_cli.methods.base import Received, Request, Transmission
from gencomm_cli.methods.lrisc import method as lrisc_method
from gencomm_cli.methods.lrisc.method import LRISC
from gencomm_cli.methods.lrisc.options import Receiver, Transmitter
from gencomm_cli.networks.conditional_unet import ConditionalUNet
from tests.support.docstrings import resolve_names, resolve_page
from tests.support.presets import make_lrisc, scenes  # noqa: F401 (a fixture)

CPU = torch.device("cpu")
PHOTO = scenes(1, seed=11)[0]


@pytest.fixture(scope="module")
def lrisc(make_lrisc: Callable[..., Path]) -> LRISC:  # noqa: F811
    return LRISC.load(presets.load_config(make_lrisc()), CPU)


def over(sent: Transmission, n0: float, kind: str = "awgn", seed: int = 0, size: tuple[int, int] = (128, 128)) -> Received:
    rng, parts = np.random.default_rng(seed), dict[str, Any]()
    for name, symbols in (("symbols", sent.symbols), ("side_symbols", sent.side_symbols)):
        gain = draw_gain(kind, symbols.size, rng)  # type: ignore[arg-type]
        parts[name] = transmit(symbols, gain, draw_noise(symbols.size, rng), n0).astype(np.complex64)
        parts["gain" if name == "symbols" else "side_gain"] = gain
    return Received(n0=n0, image_size=size, side=sent.side, **parts)


def psnr(image: np.ndarray, reference: np.ndarray = PHOTO) -> float:
    return float(-10 * np.log10(np.mean((image / 255.0 - reference / 255.0) ** 2)))


@pytest.mark.parametrize("kind", ["awgn", "rayleigh", "block"])
def test_a_picture_crosses(lrisc: LRISC, kind: str) -> None:
    sent = lrisc.encode(PHOTO, Request(1500, 20.0, "awgn" if kind == "awgn" else "rayleigh", Transmitter()))
    assert sent.side is not None
    decoded = lrisc.decode(over(sent, 0.01, kind, seed=2), Receiver(), seed=0)
    assert decoded.side_ok is True
    assert psnr(decoded.coarse) > 20
    assert psnr(decoded.refined[0]) > 18
    assert decoded.refined[0].shape == PHOTO.shape


def test_quality_falls_with_the_snr(lrisc: LRISC) -> None:
    sent = lrisc.encode(PHOTO, Request(1500, options=Transmitter()))  # the transmitter knows nothing
    quality = [psnr(lrisc.decode(over(sent, n0), Receiver(coarse=True), seed=0).coarse) for n0 in (0.01, 0.1, 1.0, 3.0)]
    assert quality == sorted(quality, reverse=True)


def test_a_flat_image_costs_less_at_the_same_beta(lrisc: LRISC) -> None:
    flat = np.full_like(PHOTO, 120)
    busy = np.random.default_rng(0).integers(0, 256, PHOTO.shape, dtype=np.uint8)
    used = [lrisc.encode(image, Request(1, 10.0, "awgn", Transmitter(beta=0.01))).symbols.size for image in (flat, PHOTO, busy)]
    assert used == sorted(used)
    assert used[0] < 0.8 * used[2]
    with pytest.raises(RateError, match="beta: 5 takes"):
        lrisc.encode(busy, Request(1, 10.0, "awgn", Transmitter(beta=5.0)))


@pytest.mark.parametrize("steps", [1, 5, 17, 65])
def test_any_number_of_steps(lrisc: LRISC, steps: int) -> None:
    received = over(lrisc.encode(PHOTO[32:96, 32:96], Request(400, 10.0, "awgn", Transmitter())), 0.1, size=(64, 64))
    done: list[tuple[int, int]] = []
    options = Receiver(steps=steps, samples=2)
    first = lrisc.decode(received, options, seed=4, progress=lambda *step: done.append(step))
    again = lrisc.decode(received, options, seed=4)
    other = lrisc.decode(received, options, seed=5)
    assert done[-1] == (2 * steps, 2 * steps)
    assert all(np.array_equal(a, b) for a, b in zip(first.refined, again.refined, strict=True))
    assert not np.array_equal(first.refined[0], first.refined[1])
    assert not np.array_equal(first.refined[0], other.refined[0])
    assert np.array_equal(first.coarse, other.coarse)


def test_refinement_listens_to_the_latent(lrisc: LRISC) -> None:
    """Each of the four contexts steers X_θ."""
    contexts = cast(ConditionalUNet, lrisc.unet).no_contexts(1, (128, 128))
    x, time = torch.randn(1, 3, 128, 128), torch.tensor([0.5])
    with torch.no_grad():
        without = lrisc.unet(x, time, contexts)
        for level in range(4):
            changed = [context + (0.5 if index == level else 0) for index, context in enumerate(contexts)]
            assert (lrisc.unet(x, time, changed) - without).abs().max() > 1e-5


@pytest.mark.parametrize("size", [(16, 16), (1, 1), (50, 129), (128, 64)])
def test_any_size(lrisc: LRISC, size: tuple[int, int]) -> None:
    image = np.resize(PHOTO, (*size, 3))
    budget = lrisc.symbol_budget(1 / 48, size)
    try:
        sent = lrisc.encode(image, Request(budget, 10.0, "awgn", Transmitter()))
    except RateError:
        assert budget < np.prod([-(-side // 16) for side in size])
        return
    assert sent.symbols.size + sent.side_symbols.size <= budget
    assert lrisc.decode(over(sent, 0.1, size=size), Receiver(), seed=0).refined[0].shape == image.shape


def test_budget_stays_in_the_presets_range(lrisc: LRISC) -> None:
    assert lrisc.symbol_budget(1 / 96, (512, 768)) == 12288
    assert lrisc.symbol_budget(1e-9, (512, 768)) == 3892
    assert lrisc.symbol_budget(float("inf"), (512, 768)) == round(0.0417 * 3 * 512 * 768)


def test_lost_rates_are_noticed_and_survived(lrisc: LRISC) -> None:
    sent = lrisc.encode(PHOTO, Request(1500, 20.0, "awgn", Transmitter()))
    received = over(sent, 0.01)
    lost = dataclasses.replace(received, side_symbols=-received.side_symbols)
    decoded = lrisc.decode(lost, Receiver(), seed=0)
    assert decoded.side_ok is False
    first = lrisc.decode(
        dataclasses.replace(lost, symbols=lost.symbols[:64], side=None, side_symbols=sent.symbols[:0]), Receiver(), seed=0
    )
    assert first.side_ok is None
    assert np.array_equal(first.coarse, decoded.coarse)  # every block from its first symbol
    assert psnr(decoded.coarse) > 10


def test_options_that_cannot_be(lrisc: LRISC) -> None:
    received = over(lrisc.encode(PHOTO, Request(800, 10.0, "awgn", Transmitter())), 0.1)
    with pytest.raises(OptionError, match=r"^steps: 1001 is out of range; 1 to 1000"):
        Receiver(steps=1001)
    with pytest.raises(OptionError, match=r"^beta: "):
        Transmitter(beta=0.1, allocation="uniform")
    with pytest.raises(InputError, match="the rates take"):
        lrisc.decode(dataclasses.replace(received, symbols=received.symbols[:-1]), Receiver(), seed=0)


def test_a_share_of_nothing_is_uniform(make_lrisc: Callable[..., Path]) -> None:  # noqa: F811
    """How a bench compares: a preset whose side symbols may take nothing."""
    method = LRISC.load(presets.load_config(make_lrisc(side_share=0.0)), CPU)
    sent = method.encode(PHOTO, Request(512, 10.0, "awgn", Transmitter()))
    assert sent.side is None
    assert sent.symbols.size == 512
    asked = method.encode(PHOTO, Request(512, 10.0, "awgn", Transmitter(allocation="uniform")))
    assert np.array_equal(asked.symbols, sent.symbols)


def test_the_transmitter_does_not_load_the_denoiser(make_lrisc: Callable[..., Path]) -> None:  # noqa: F811
    folder = make_lrisc()
    config = json.loads((folder / "config.json").read_text())
    (folder / "unet.safetensors").write_bytes(b"no tensors")
    config["components"]["unet"]["sha256"] = presets.file_hash(folder / "unet.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    method = LRISC.load(presets.load_config(folder), CPU)
    received = over(method.encode(PHOTO, Request(800, 10.0, "awgn", Transmitter())), 0.1)
    assert method.decode(received, Receiver(coarse=True), seed=0).refined == ()
    with pytest.raises(ModelMismatch, match=r"unet\.safetensors"):
        method.decode(received, Receiver(), seed=0)


def test_the_docstring_names_what_is_there() -> None:
    resolve_names(lrisc_method)
    resolve_page(lrisc_method)
