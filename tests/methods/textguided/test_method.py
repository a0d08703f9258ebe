"""textguided end to end on tiny real networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import gencomm_cli
from gencomm_cli import presets
from gencomm_cli.errors import ModelMismatch, OptionError, RateError
from gencomm_cli.methods import load_method
from gencomm_cli.methods.base import Method, Received, Request
from gencomm_cli.methods.textguided.method import TextGuided
from gencomm_cli.methods.textguided.options import Parameterization, Receiver
from gencomm_cli.networks.control import LatentControlNet
from gencomm_cli.networks.controlled import CSI_WIDTH, controlled

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def method(make_preset: Callable[..., Path]) -> TextGuided:
    return TextGuided.load(presets.load_config(make_preset()), CPU)


def photograph(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def received(method: Method, image: np.ndarray, **changes: object) -> Received:
    k = method.symbol_budget(0.02, image.shape[:2])
    sent = method.encode(image, Request(k)).symbols
    base = Received(sent, None, 0.1, image.shape[:2], "a red house")
    return dataclasses.replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(53, 37), (1, 1), (64, 96), (17, 200)])
def test_any_size_comes_back_at_its_size(method: TextGuided, size: tuple[int, int]) -> None:
    image = photograph(*size)
    decoded = method.decode(received(method, image), Receiver(steps=2), seed=0)
    assert decoded.coarse.shape == decoded.refined[0].shape == (*size, 3)
    assert decoded.coarse.dtype == np.uint8


@pytest.mark.parametrize("domain", ["latent", "pixel"])
def test_both_domains_and_full_size_loading(make_preset: Callable[..., Path], domain: str) -> None:
    image = photograph(40, 48)
    whole = load_method(presets.load_config(make_preset(domain)), CPU)
    through_hub_layout = load_method(presets.load_config(make_preset(domain, pretrained=True)), CPU)
    for method in (whole, through_hub_layout):
        decoded = method.decode(received(method, image), Receiver(steps=3), seed=0)
        assert decoded.refined[0].shape == image.shape
        assert np.any(decoded.refined[0] != decoded.coarse)


def test_encoder_has_unit_power_and_the_rate_asked_for(method: TextGuided) -> None:
    image = photograph(96, 128)
    for cbr in (0.0013, 0.0033, 0.0208):
        k = method.symbol_budget(cbr, (96, 128))
        assert 0 <= cbr * 3 * 96 * 128 - k < 1
        sent = method.encode(image, Request(k, 3.0)).symbols
        assert sent.dtype == np.complex64
        assert sent.shape == (k,)
        assert np.mean(np.abs(sent) ** 2) == pytest.approx(1, abs=1e-4)


def test_budget_stays_in_range_and_too_many_symbols_are_refused(method: TextGuided) -> None:
    assert method.symbol_budget(1e-9, (64, 64)) == round(0.001 * 3 * 64 * 64)
    assert method.symbol_budget(1e-9, (1, 1)) == 1
    with pytest.raises(RateError):
        method.encode(photograph(16, 16), Request(10_000))


def test_a_preset_of_one_rate_has_it_by_default_and_makes_room_for_a_prompt(make_preset: Callable[..., Path]) -> None:
    codec = gencomm_cli.load("textguided", str(make_preset(cbr=0.02, cbr_range=[0.005, 0.02])), device="cpu")
    image, most = photograph(64, 64), int(0.02 * 3 * 64 * 64)
    assert codec.encode(image).symbols.size == most
    sent = codec.encode(image, cbr_total=0.02, prompt="a red door", snr=10.0)
    assert 0 < sent.prompt_symbols.size == most - sent.symbols.size


def test_same_inputs_same_bytes_and_every_input_matters(method: TextGuided) -> None:
    image = photograph(64, 64)
    base = received(method, image)
    options = Receiver(steps=3)

    def refined(given: Received, options: Receiver = options, seed: int = 0) -> bytes:
        return method.decode(given, options, seed=seed).refined[0].tobytes()

    first = refined(base)
    assert first == refined(base)
    gain = np.exp(1j * np.linspace(0, 1, base.symbols.size)).astype(np.complex64)
    others = {
        "prompt": refined(dataclasses.replace(base, prompt="two dogs")),
        "no prompt": refined(dataclasses.replace(base, prompt=None)),
        "noise power": refined(dataclasses.replace(base, n0=1.0)),
        "gain": refined(dataclasses.replace(base, gain=gain)),
        "seed": refined(base, seed=1),
        "steps": refined(base, Receiver(steps=2)),
        "start": refined(base, Receiver(steps=3, start_step=100)),
        "spacing": refined(base, Receiver(steps=3, spacing="quadratic")),
        "guidance": refined(base, Receiver(steps=3, guidance_scale=4.0)),
        "guidance of the text": refined(base, Receiver(steps=3, guidance_scale=4.0, guidance_of="text")),
        "parameterization": refined(base, Receiver(steps=3, parameterization="paper")),
    }
    assert [name for name, value in others.items() if value == first] == []
    assert refined(dataclasses.replace(base, prompt=None)) == refined(dataclasses.replace(base, prompt=""))


def test_a_known_rotation_by_the_channel_changes_nothing(method: TextGuided) -> None:
    base = received(method, photograph(64, 64))
    rotation = np.exp(2j * np.pi * np.random.default_rng(1).random(base.symbols.size)).astype(np.complex64)
    turned = dataclasses.replace(base, symbols=base.symbols * rotation, gain=rotation)
    options = Receiver(steps=2)
    plain, equalised = (method.decode(given, options, seed=0).refined[0].astype(int) for given in (base, turned))
    assert np.abs(plain - equalised).max() <= 1


def test_coarse_and_samples(method: TextGuided) -> None:
    base = received(method, photograph(32, 32))
    coarse = method.decode(base, Receiver(coarse=True), seed=0)
    assert coarse.refined == ()
    calls: list[tuple[int, int]] = []
    several = method.decode(base, Receiver(steps=2, samples=3), seed=0, progress=lambda *at: calls.append(at))
    assert np.array_equal(several.coarse, coarse.coarse)
    assert len({image.tobytes() for image in several.refined}) == 3
    assert calls == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(("field", "value"), [("steps", -1), ("steps", 1001), ("start_step", 1001)])
def test_options_out_of_range(field: str, value: int) -> None:
    with pytest.raises(OptionError, match=f"^{field}: {value} is out of range; 1 to 1000"):
        Receiver(**{field: value})  # type: ignore[arg-type]


def test_clean_and_dead_channels_give_an_image(method: TextGuided) -> None:
    base = received(method, photograph(32, 32))
    nothing = np.zeros(1, np.complex64)
    for n0, gain in ((0.0, None), (1e9, None), (0.1, nothing), (0.0, nothing)):
        decoded = method.decode(dataclasses.replace(base, n0=n0, gain=gain), Receiver(steps=2), seed=0)
        assert decoded.refined[0].shape == (32, 32, 3)


def test_flipped_byte_and_wrong_config_are_refused(make_preset: Callable[..., Path]) -> None:
    folder = make_preset()
    weights = folder / "jscc.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModelMismatch, match=r"jscc\.safetensors: SHA-256"):
        load_method(presets.load_config(folder), CPU)


@pytest.mark.parametrize("parameterization", ["u", "paper"])
def test_guidance_of_the_text_leaves_the_control_in_both_branches(
    method: TextGuided, monkeypatch: pytest.MonkeyPatch, parameterization: Parameterization
) -> None:
    """ẑ_0 = ẑ_0(none) + ω (ẑ_0(own) − ẑ_0(none)), each drawn by itself; of one step, or with ``paper`` the second of two."""
    base, latents = received(method, photograph(64, 64)), []
    steps, decode = 1 if parameterization == "u" else 2, method.codec.decode

    def kept(z: torch.Tensor) -> torch.Tensor:
        latents.append(z)
        return decode(z)

    monkeypatch.setattr(method.codec, "decode", kept)
    for prompt, scale in ((base.prompt, 1.0), ("", 1.0), (base.prompt, 4.0)):
        options = Receiver(steps=steps, guidance_scale=scale, guidance_of="text", parameterization=parameterization)
        method.decode(dataclasses.replace(base, prompt=prompt), options, seed=0)
    own, none, guided = latents[1::2]
    assert not torch.allclose(own, none, atol=1e-3)
    assert torch.allclose(guided, none + 4 * (own - none), atol=1e-3)


def test_both_branches_in_one_batch_are_guidance_of_two_passes(method: TextGuided) -> None:
    """ε̂ = free + ω (guided − free); the frozen UNet's branch knows neither control nor prompt."""
    networks = method.networks
    z, z_c, csi, t = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8), torch.randn(2, CSI_WIDTH), torch.tensor([10, 700])
    with torch.no_grad():
        prompt, nothing = networks.text(["a", "b"]), networks.text(["", ""])
        guided = controlled(networks.unet, networks.control, z, t, prompt, z_c, csi)
        free = networks.unet(z, t - 1, encoder_hidden_states=nothing).sample
        both = controlled(networks.unet, networks.control, z, t, prompt, z_c, csi, nothing, 2.5)
    assert not torch.allclose(guided, free, atol=1e-3)
    assert torch.allclose(both, free + 2.5 * (guided - free), atol=1e-5)


def test_a_fresh_control_module_leaves_the_unet_alone(method: TextGuided) -> None:
    """Zero-initialised outputs: before training, control over the UNet is the UNet."""
    control = LatentControlNet.over(method.networks.unet)
    z, text = torch.randn(2, 4, 8, 8), method.networks.text(["a", "b"])
    with torch.no_grad():
        bare = method.networks.unet(z, torch.tensor([9, 9]), encoder_hidden_states=text).sample
        under = controlled(
            method.networks.unet, control, z, torch.tensor([10, 10]), text, torch.randn_like(z), torch.zeros(2, CSI_WIDTH)
        )
    assert torch.allclose(bare, under, atol=1e-6)


def test_the_hint_equals_extra_input_channels(method: TextGuided) -> None:
    """conv_in(z) + hint(z_c) is one convolution of cat(z, z_c): DiffJSCC's form."""
    control = method.networks.control
    z, z_c = torch.randn(2, 1, 4, 8, 8)
    joint = torch.nn.functional.conv2d(
        torch.cat([z, z_c], 1),
        torch.cat([control.conv_in.weight, control.controlnet_cond_embedding.weight], 1),  # type: ignore[list-item]
        control.conv_in.bias + control.controlnet_cond_embedding.bias,  # type: ignore[operator, arg-type]
        padding=1,
    )
    assert torch.allclose(joint, control.conv_in(z) + control.controlnet_cond_embedding(z_c), atol=1e-5)
