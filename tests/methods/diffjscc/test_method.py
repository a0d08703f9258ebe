"""DiffJSCC end to end on tiny real networks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models import UNet2DConditionModel

from gencomm_cli import presets
from gencomm_cli.errors import OptionError, RateError
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.diffjscc.method import DiffJSCC
from gencomm_cli.methods.diffjscc.options import CONDITIONS, Receiver, Transmitter
from gencomm_cli.networks.control import LatentControlNet, control_arguments

CPU = torch.device("cpu")
KINDS = ("latent", "pixel", "published")


@pytest.fixture(scope="module")
def methods(make_diffjscc: Callable[..., Path]) -> dict[str, DiffJSCC]:
    return {kind: load(make_diffjscc(kind)) for kind in KINDS}


@pytest.fixture(scope="module", params=KINDS)
def method(request: pytest.FixtureRequest, methods: dict[str, DiffJSCC]) -> DiffJSCC:
    return methods[request.param]


def load(folder: Path) -> DiffJSCC:
    return DiffJSCC.load(presets.load_config(folder), CPU)


def photograph(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def received(method: DiffJSCC, image: np.ndarray, **changes: Any) -> Received:
    k = method.symbol_budget(0.02, image.shape[:2])
    sent = method.encode(image, Request(k)).symbols
    return dataclasses.replace(Received(sent, None, 0.1, image.shape[:2], "a red house"), **changes)


@pytest.mark.parametrize("size", [(53, 37), (1, 1), (64, 96)])
def test_any_size_comes_back_at_its_size(method: DiffJSCC, size: tuple[int, int]) -> None:
    decoded = method.decode(received(method, photograph(*size)), Receiver(steps=2), seed=0)
    assert decoded.coarse.shape == decoded.refined[0].shape == (*size, 3)
    assert decoded.coarse.dtype == np.uint8


def test_unit_power_nothing_beside_it_and_the_rate(methods: dict[str, DiffJSCC]) -> None:
    image = photograph(96, 128)
    for kind, method in methods.items():
        k = method.symbol_budget(1 / 384, (96, 128))
        assert k == (96 // 8 * 128 // 8 * 4 // 2 if kind == "published" else 96)  # one rate, or the one asked for
        sent = method.encode(image, Request(k, 3.0))
        assert sent.symbols.shape == (k,)
        assert sent.symbols.dtype == np.complex64
        assert np.mean(np.abs(sent.symbols) ** 2) == pytest.approx(1, abs=1e-4)
        assert sent.side_symbols.size == 0
        with pytest.raises(RateError, match="asked of a code"):
            method.encode(image, Request(10_000))
    assert methods["latent"].default_cbr == pytest.approx(1 / 384)
    assert methods["published"].default_cbr == pytest.approx(4 / (3 * 2**7))


def test_same_inputs_same_bytes_and_every_input_matters(method: DiffJSCC) -> None:
    base, options = received(method, photograph(64, 64)), Receiver()

    def refined(given: Received = base, options: Receiver = options, seed: int = 0) -> bytes:
        return method.decode(given, options, seed=seed).refined[0].tobytes()

    first = refined()
    assert first == refined() == refined(options=Receiver())
    others = {
        "noise power": refined(dataclasses.replace(base, n0=1.0)),
        "gain": refined(dataclasses.replace(base, gain=np.array([0.5 - 0.5j], np.complex64))),
        "seed": refined(seed=1),
        "prompt": refined(dataclasses.replace(base, prompt="two dogs")),
        "no prompt, no caption": refined(dataclasses.replace(base, prompt=None)),
        "caption": refined(dataclasses.replace(base, prompt=None), Receiver(captioner="builtin")),
        "steps": refined(options=Receiver(steps=2)),
        "guidance": refined(options=Receiver(guidance_lambda=100.0)),
        "form": refined(options=Receiver(guidance_lambda=100.0, guidance_form="authors")),
        "colour fix": refined(options=Receiver(colour_fix=True)),
    } | {
        f"without {condition}": refined(options=Receiver(condition=tuple(c for c in CONDITIONS if c != condition)))
        for condition in CONDITIONS
    }  # fmt: skip
    assert [name for name, value in others.items() if value == first] == []
    assert others["guidance"] != others["form"]
    assert others["without text"] == others["no prompt, no caption"]


def test_the_presets_settings_hold_where_no_option_is_given(make_diffjscc: Callable[..., Path]) -> None:
    method = load(make_diffjscc("latent", guidance_lambda=100.0, steps=2, condition=["spatial"]))
    base = received(method, photograph(32, 32))
    given = Receiver(steps=2, guidance_lambda=100.0, condition=("spatial",))
    by_setting, by_option = (method.decode(base, options, seed=0).refined[0] for options in (Receiver(), given))
    assert np.array_equal(by_setting, by_option)


def test_most_guidance_gives_the_vaes_own_reconstruction_of_the_coarse_image(method: DiffJSCC) -> None:
    """λ = C·H·W puts every ẑ_0 on f_v, and the last transition is ẑ_0 itself, whatever the noise before it."""
    base = received(method, photograph(64, 96))
    most = float(4 * 16 * 24)
    decoded = method.decode(base, Receiver(steps=4, guidance_lambda=most), seed=0)
    coarse = torch.from_numpy(decoded.coarse).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        expected = method.codec.decode(method.codec.encode(coarse))[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255
    assert np.abs(decoded.refined[0] - expected).max() < 0.51  # the refined image is rounded to 8 bits
    with pytest.raises(OptionError, match=r"^guidance_lambda: .*0 to 1536"):
        method.decode(base, Receiver(guidance_lambda=most + 1), seed=0)


@pytest.mark.parametrize("gain", [0.0, 1e-20, 1e-6, 0.03j])
@pytest.mark.parametrize("n0", [0.0, 0.1, 3.0])
def test_a_deep_fade_gives_an_image_and_no_error(method: DiffJSCC, gain: complex, n0: float) -> None:
    rng = np.random.default_rng(1)
    base = received(method, photograph(32, 32))
    noise = (rng.standard_normal((2, base.symbols.size)).T @ [1, 1j]) * np.sqrt(n0 / 2)
    arrived = (gain * base.symbols + noise).astype(np.complex64)
    faded = dataclasses.replace(base, symbols=arrived, n0=n0, gain=np.array([gain], np.complex64))
    decoded = method.decode(faded, Receiver(steps=2), seed=0)
    assert decoded.refined[0].shape == (32, 32, 3)


def test_zero_forcing_undoes_a_known_gain(methods: dict[str, DiffJSCC]) -> None:
    """On a clean channel any gain gives the image of h = 1, up to what networks that get h make of it."""
    method = methods["latent"]
    base = received(method, photograph(64, 64), n0=0.0)
    gain = np.array([0.3 - 1.1j], np.complex64)
    faded = dataclasses.replace(base, symbols=base.symbols * gain, gain=gain)
    plain, equalised = (method.decode(given, Receiver(coarse=True), seed=0).coarse.astype(int) for given in (base, faded))
    assert np.abs(plain - equalised).max() <= 1


def test_the_transmitters_gain(methods: dict[str, DiffJSCC]) -> None:
    """The rate-adaptive encoder sends for γ|h|²; the published one takes h as it is; both do without where h is unknown."""
    image = photograph(64, 64)

    def sent(method: DiffJSCC, snr_db: float | None, gain: complex | None) -> np.ndarray:
        return method.encode(image, Request(method.symbol_budget(0.02, (64, 64)), snr_db, options=Transmitter(gain=gain))).symbols

    adaptive, published = methods["latent"], methods["published"]
    np.testing.assert_allclose(sent(adaptive, 20.0, 0.1j), sent(adaptive, 0.0, 1.0), atol=1e-5)
    assert not np.allclose(sent(adaptive, 20.0, 0.1j), sent(adaptive, 20.0, None))
    assert not np.allclose(sent(published, 20.0, 0.1j), sent(published, 20.0, 0.1))
    np.testing.assert_array_equal(sent(published, 5.0, None), sent(published, 5.0, 1.0))


def test_fading_symbol_by_symbol_is_decoded_too(method: DiffJSCC) -> None:
    base = received(method, photograph(32, 32))
    gain = np.exp(1j * np.linspace(0, 3, base.symbols.size)).astype(np.complex64)
    turned = dataclasses.replace(base, symbols=base.symbols * gain, gain=gain)
    plain, equalised = (method.decode(given, Receiver(steps=2), seed=0).refined[0].astype(int) for given in (base, turned))
    assert np.abs(plain - equalised).max() <= 1


def test_coarse_and_samples(methods: dict[str, DiffJSCC]) -> None:
    method = methods["latent"]
    base = received(method, photograph(32, 32))
    coarse = method.decode(base, Receiver(coarse=True), seed=0)
    assert coarse.refined == ()
    calls: list[tuple[int, int]] = []
    several = method.decode(base, Receiver(steps=2, samples=3), seed=0, progress=lambda *at: calls.append(at))
    assert np.array_equal(several.coarse, coarse.coarse)
    assert len({image.tobytes() for image in several.refined}) == 3
    assert calls == [(done, 6) for done in range(1, 7)]


@pytest.mark.parametrize(
    ("field", "value", "line"),
    [
        ("steps", 0, "1 to 1000"),
        ("guidance_lambda", -1.0, "-1 is out of range; 0 or more"),
        ("guidance_form", "mine", "paper, authors"),
        ("condition", ("spatial", "smell"), "no smell"),
    ],
)
def test_options_that_cannot_be(make_diffjscc: Callable[..., Path], field: str, value: Any, line: str) -> None:
    with pytest.raises(OptionError, match=f"^{field}: .*{line}"):
        Receiver(**{field: value})
    method = load(make_diffjscc("latent", **{field: value}))
    with pytest.raises(OptionError, match=f"^{field}: .*{line}"):
        method.decode(received(method, photograph(16, 16)), Receiver(), seed=0)


def test_the_full_size_is_stable_diffusion_21_and_its_control_module() -> None:
    """Parameter counts: 865.9 M of SD 2.1's UNet as published, and the released control module's, whose hint has a bias here."""
    with torch.device("meta"):
        unet = UNet2DConditionModel(
            cross_attention_dim=1024, attention_head_dim=(5, 10, 20, 20), use_linear_projection=True, sample_size=64
        )
        control = LatentControlNet(**control_arguments(unet) | {"csi_width": 320})
    assert sum(parameter.numel() for parameter in unet.parameters()) == 865_910_724
    assert sum(parameter.numel() for parameter in control.parameters()) == 365_203_840 + 320
