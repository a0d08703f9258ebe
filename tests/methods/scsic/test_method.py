"""SC-SIC end to end on tiny real networks."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

from gencomm_cli import presets
from gencomm_cli.bench import papers
from gencomm_cli.diffusion.cosine import amplitudes, log_snr, time_of
from gencomm_cli.errors import InputError, OptionError, RateError
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.scsic.cascade import StageA, StageB
from gencomm_cli.methods.scsic.method import ScSic, cbr_of, grid_at, grids_about
from gencomm_cli.methods.scsic.options import Receiver
from gencomm_cli.rates import samples
from gencomm_cli.seeds import torch_normal
from gencomm_cli.text import short_code
from tests.support.presets import loaded_to_encode, randomise

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def make(make_scsic: Callable[..., Path]) -> Callable[..., ScSic]:
    """**settings → the method of a tiny preset."""
    return lambda **settings: ScSic.load(presets.load_config(make_scsic(**settings)), CPU)


@pytest.fixture(scope="module")
def method(make: Callable[..., ScSic]) -> ScSic:
    return make()


def photograph(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def received(method: ScSic, image: np.ndarray, **changes: Any) -> Received:
    sent = method.encode(image, Request(method.symbol_budget(method.default_cbr, image.shape[:2])))
    return dataclasses.replace(Received(sent.symbols, None, 0.1, image.shape[:2], side_symbols=sent.side_symbols), **changes)


@pytest.mark.parametrize("size", [(53, 37), (1, 1), (64, 96), (200, 130)])
def test_any_size_comes_back_at_its_size(method: ScSic, size: tuple[int, int]) -> None:
    decoded = method.decode(received(method, photograph(*size)), Receiver(steps=2, samples=2), seed=0)
    assert decoded.coarse.shape == (*size, 3)
    assert [image.shape for image in decoded.refined] == [(*size, 3)] * 2
    assert not np.array_equal(decoded.refined[0], decoded.refined[1])
    assert method.decode(received(method, photograph(*size)), Receiver(coarse=True), seed=0).refined == ()


def test_without_a_previewer_only_coarse_is_refused(make_scsic: Callable[..., Path]) -> None:
    preset = presets.load_config(make_scsic())
    parts = {name: component for name, component in preset.components.items() if name != "previewer"}
    whole, bare = (ScSic.load(dataclasses.replace(preset, components=found), CPU) for found in (preset.components, parts))
    message = received(whole, photograph(32, 48))
    options = Receiver(steps=2)
    decoded, expected = (method.decode(message, options, seed=0) for method in (bare, whole))
    assert np.array_equal(decoded.refined[0], expected.refined[0])
    assert np.array_equal(decoded.coarse, expected.refined[0])
    with pytest.raises(OptionError, match=r"coarse: preset .* has no previewer; leave it out"):
        bare.decode(message, Receiver(coarse=True), seed=0)


@pytest.mark.parametrize(
    ("size", "scale", "grid", "ratio"),
    [((512, 512), 0.75, (12, 12), 341), ((1024, 1024), 0.75, (24, 24), 341), ((1024, 1024), 1.0, (32, 32), 192)],
)
def test_the_papers_sizes_and_ratios(method: ScSic, size: tuple[int, int], scale: float, grid: tuple[int, int], ratio: int) -> None:
    """Section 4.3.2 and table 1: one real for 341 samples (0.29 %), and 192 with the larger embedding of figure 8b."""
    assert grid_at(scale, size) == grid
    symbols = method.symbol_budget(cbr_of(scale), size, bound=False) - short_code.SYMBOLS
    assert symbols == 8 * math.prod(grid)
    assert math.floor(samples(size) / (2 * symbols)) == ratio
    assert abs(symbols + short_code.SYMBOLS - cbr_of(scale) * samples(size)) <= 0.01 * cbr_of(scale) * samples(size)


def test_the_papers_protocols_ask_for_the_papers_embeddings(method: ScSic) -> None:
    """Sections 4.2 and 4.3.5, with the symbols of the gain."""
    paper, large = papers.protocol("scsic"), papers.protocol("scsic:1024")
    asked = [*((cbr, (512, 512)) for cbr in paper.cbr), *((cbr, (1024, 1024)) for cbr in large.cbr)]
    assert [(method.symbol_budget(*each) - short_code.SYMBOLS) // 8 for each in asked] == [12**2, 24**2, 32**2]
    assert paper.outage == large.outage == "sc-sic"


def test_unit_power_and_the_gain_beside_it(method: ScSic) -> None:
    sent = method.encode(photograph(256, 192), Request(method.symbol_budget(cbr_of(0.75), (256, 192), bound=False)))
    assert sent.symbols.shape == (8 * 6 * 4,)
    assert sent.symbols.dtype == sent.side_symbols.dtype == np.complex64
    assert np.mean(np.abs(sent.symbols) ** 2) == pytest.approx(1, abs=1e-4)
    np.testing.assert_allclose(np.abs(sent.side_symbols), 1, atol=1e-6)
    with pytest.raises(RateError, match="no embedding of 201 symbols"):
        method.encode(photograph(256, 192), Request(201))


def test_the_receiver_finds_the_grid_in_the_number_of_symbols() -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        size = (int(rng.integers(1, 2000)), int(rng.integers(1, 2000)))
        grid = grid_at(float(rng.uniform(0.05, 3.0)), size)
        assert grids_about(math.prod(grid), size)[0] == grid


@pytest.mark.parametrize("bound", [False, True])
def test_the_rate_is_the_largest_within_or_the_nearest_of_all_scales(method: ScSic, bound: bool) -> None:
    for size in ((500, 333), (333, 500), (97, 1000), (20, 30)):
        every = {math.prod(grid_at(scale, size)) for scale in np.linspace(0.5, 1.0, 20001)}
        for cbr in (0.0, 0.0007, 0.00146, 0.002, 1.0, math.inf):
            wanted = min((cbr * samples(size) - 8) / 8, 1e9)
            chosen = (method.symbol_budget(cbr, size, bound=bound) - 8) // 8
            assert chosen in every
            if bound:
                assert chosen == max((positions for positions in every if positions <= wanted), default=min(every))
            else:
                assert abs(chosen - wanted) == min(abs(positions - wanted) for positions in every)


def test_same_inputs_same_bytes_and_every_input_matters(method: ScSic, make: Callable[..., ScSic]) -> None:
    base = received(method, photograph(64, 96))

    def refined(given: Received = base, options: Receiver = Receiver(), seed: int = 0, by: ScSic = method) -> bytes:  # noqa: B008
        return by.decode(given, options, seed=seed).refined[0].tobytes()

    first = refined()
    assert first == refined()
    others = {
        "symbols": refined(dataclasses.replace(base, symbols=-base.symbols)),
        "gain's symbols": refined(dataclasses.replace(base, side_symbols=short_code.transmit(3))),
        "fading": refined(dataclasses.replace(base, gain=np.array([0.5 - 0.5j], np.complex64))),
        "fading of the gain's symbols": refined(dataclasses.replace(base, side_gain=np.array([-1.0], np.complex64))),
        "seed": refined(seed=1),
        "steps": refined(options=Receiver(steps=2)),
        "guidance": refined(options=Receiver(guidance_scale=3.0)),
        "no guidance": refined(options=Receiver(guidance_scale=1.0)),
    } | {
        f"{name} of the preset": refined(by=make(**{name: value}))
        for name, value in {"rescale": 0.0, "target": "v", "shift": 2.0, "guidance_scale": 4.0, "steps": 2}.items()
    }
    assert [name for name, value in others.items() if value == first] == []
    assert refined(by=make(antialias=True)) == first  # the encoder's business
    assert not np.array_equal(received(make(antialias=True), photograph(64, 96)).symbols, base.symbols)


def test_the_noise_power_matters_to_stage_b_only_where_it_is_given(method: ScSic, make: Callable[..., ScSic]) -> None:
    base = received(method, photograph(64, 64))
    noisier = dataclasses.replace(base, n0=0.3)
    aware = make(snr_aware=True)

    def refined(by: ScSic, given: Received) -> np.ndarray:
        return by.decode(given, Receiver(), seed=0).refined[0]

    assert np.array_equal(refined(method, base), refined(method, noisier))
    assert not np.array_equal(refined(aware, base), refined(aware, noisier))
    fading = dataclasses.replace(base, gain=np.linspace(0.5, 1.5, base.symbols.size).astype(np.complex64))
    assert not np.array_equal(refined(aware, fading), refined(aware, dataclasses.replace(fading, n0=0.3)))


@pytest.mark.parametrize("target", ["epsilon", "v"])
@pytest.mark.parametrize("guidance", [1.0, 2.5])
@torch.no_grad()
def test_a_single_step_is_the_denoisers_own_estimate(make: Callable[..., ScSic], target: str, guidance: float) -> None:
    """x̂_0 of pure noise at t = 1, by hand: eqs. 2, 3 and 6, and guidance towards Ẑ from zeros."""
    method = make(target=target, rescale=0.0)
    base = received(method, photograph(64, 96))
    decoded = method.decode(base, Receiver(steps=1, guidance_scale=guidance), seed=5).refined[0]
    grid = grid_at(0.75, (64, 96))
    gain = 10 ** ((short_code.receive(base.side_symbols, None, 0.1) - 16) * 0.4 / 20)  # type: ignore[operator]
    y = math.sqrt(2) * gain * torch.from_numpy(base.symbols).view(8, *grid)
    z_hat = torch.cat([y.real, y.imag])[None]
    x = torch_normal((1, 4, 16, 24), 5, "sampler 0 step -1")
    level = log_snr(torch.tensor(1.0))
    (a, b), time = amplitudes(level), time_of(level).view(1)  # t to the last bit: the network takes sinusoids of 10⁴ t
    unet, text = cast(StageB, method.networks.stage_b).unet, torch.zeros(1, 1, 4)
    conditional, unconditional = (unet(x, time, text, effnet=condition).sample for condition in (z_hat, 0 * z_hat))
    predicted = unconditional + guidance * (conditional - unconditional)
    x_0 = (x - b * predicted) / a if target == "epsilon" else a * x - b * predicted
    vqgan = cast(StageA, method.networks.stage_a).autoencoder
    expected = vqgan.decode(x_0 * 0.5).sample[0].permute(1, 2, 0).clamp(0, 1).numpy() * 255
    assert np.abs(decoded - expected).max() < 0.6  # rounding to 8 bits, and float32


def test_the_previewer_never_reaches_the_decoder(make: Callable[..., ScSic]) -> None:
    method = make()
    base = received(method, photograph(64, 64))
    before = method.decode(base, Receiver(), seed=0)
    assert method.networks.previewer is not None
    randomise(method.networks.previewer, 9)
    after = method.decode(base, Receiver(), seed=0)
    assert not np.array_equal(before.coarse, after.coarse)
    assert np.array_equal(before.refined[0], after.refined[0])


def test_a_lost_gain_is_one(method: ScSic) -> None:
    base = received(method, photograph(64, 64), n0=1.0)
    lost = method.decode(dataclasses.replace(base, side_symbols=np.zeros(8, np.complex64)), Receiver(), seed=0)
    one = method.decode(dataclasses.replace(base, side_symbols=3 * short_code.transmit(16)), Receiver(), seed=0)
    assert np.array_equal(lost.refined[0], one.refined[0])


@pytest.mark.parametrize("gain", [0.0, 1e-20, 1e-6, 0.03j])
@pytest.mark.parametrize("n0", [0.0, 0.1, 3.0])
def test_a_deep_fade_gives_an_image_and_no_error(method: ScSic, gain: complex, n0: float) -> None:
    rng = np.random.default_rng(1)
    base = received(method, photograph(32, 32))
    noise = (rng.standard_normal((2, base.symbols.size)).T @ [1, 1j]) * np.sqrt(n0 / 2)
    fading = np.array([gain], np.complex64)
    faded = dataclasses.replace(
        base, symbols=(gain * base.symbols + noise).astype(np.complex64), n0=n0, gain=fading, side_gain=fading
    )
    assert method.decode(faded, Receiver(steps=2), seed=0).refined[0].shape == (32, 32, 3)


def test_the_equaliser_undoes_a_known_gain(method: ScSic) -> None:
    base = received(method, photograph(64, 64), n0=0.0)
    gain = np.array([0.3 - 1.1j], np.complex64)
    faded = dataclasses.replace(base, symbols=base.symbols * gain, gain=gain)
    plain, equalised = (method.decode(given, Receiver(), seed=0).refined[0].astype(int) for given in (base, faded))
    assert np.abs(plain - equalised).max() <= 1


def test_what_cannot_be_is_refused(method: ScSic) -> None:
    base = received(method, photograph(64, 64))
    for symbols, side in ((base.symbols[:-1], base.side_symbols), (base.symbols, base.side_symbols[:-1])):
        with pytest.raises(InputError, match="no embedding of 64x64 pixels"):
            method.decode(dataclasses.replace(base, symbols=symbols, side_symbols=side), Receiver(), seed=0)
    with pytest.raises(OptionError, match=r"steps: .* 1 to 1000"):
        Receiver(steps=1001)


def test_a_transmitter_needs_neither_diffusers_nor_transformers() -> None:
    """They take seconds to import, and an encoder is plain torch."""
    assert not {"diffusers", "transformers"} & loaded_to_encode("scsic", "nano")
