"""DiffCom, HiFi and Blind end to end on tiny real networks."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models import UNet2DModel
from torch import nn

from gencomm_cli import pipeline, presets
from gencomm_cli.channels.fading import draw_noise
from gencomm_cli.channels.ofdm import OfdmConfig, draw_taps, places, response, through
from gencomm_cli.errors import InputError, ModelMismatch, OptionError, RateError
from gencomm_cli.methods.base import Decoded, Received, Request
from gencomm_cli.methods.diffcom import method as diffcom_method
from gencomm_cli.methods.diffcom.guided_diffusion import arguments
from gencomm_cli.methods.diffcom.method import DiffCom, Guidance
from gencomm_cli.methods.diffcom.options import Receiver, Transmitter
from gencomm_cli.methods.diffcom.residual_prior import ResidualPrior, ResidualPriorConfig
from gencomm_cli.methods.diffcom.settings import Sampling
from gencomm_cli.methods.jscc.method import JSCC
from gencomm_cli.networks import codec_side
from gencomm_cli.networks.adjscc import ADJSCC, ADJSCCConfig
from gencomm_cli.networks.conditional_unet import ConditionalUNet, UNetConfig
from gencomm_cli.networks.deepjscc import DeepJSCC, DeepJSCCConfig
from gencomm_cli.networks.ntscc import LatentJSCC, NTSCCConfig
from gencomm_cli.networks.rate_indices import RateTables
from gencomm_cli.networks.residual_adjscc import ResidualADJSCC, ResidualADJSCCConfig
from gencomm_cli.networks.swinjscc import SwinJSCC, SwinJSCCConfig
from gencomm_cli.networks.transform import NonlinearTransform, TransformConfig
from gencomm_cli.presets import write
from gencomm_cli.presets.write import Part, taken
from tests.support.docstrings import resolve_names, resolve_page
from tests.support.presets import PUBLISHED, RESIDUAL_LRISC, loaded_to_encode, randomise, randomised, scenes

CPU = torch.device("cpu")
OFDM = OfdmConfig(carriers=32, cp=4, taps=3, decay=2.0)
GUIDED = arguments(16, 32, 1, (1, 2), (), 16)
CLEAN: dict[str, Any] = {
    "widths": [8, 12], "context_widths": [], "fold": 2, "kernel": 3, "time_width": 8, "variances": [0.1, 0.3]
}  # fmt: skip
ADAPTIVE = {"code_channels": 6, "width": 16, "rate_adaptive": True}
RESIDUAL = {
    "code_channels": 16, "factor": 8, "widths": [8, 8], "encoder_depths": [1, 1], "decoder_depths": [1, 1], "edge": 4
}  # fmt: skip
AROUND = {"widths": [8, 8], "depths": [1, 1], "time_width": 8, "block": 8}
SWIN = {"dims": [8, 12], "depths": [1, 1], "heads": [2, 3], "window": 2, "trained_size": 16}
TRANSFORM = {
    "widths": [8, 8, 12], "halvings": [True, True, False], "context_widths": [4, 4, 4], "hyper_widths": [8, 8, 4], "fold": 2,
    "kernel": 3, "coarse": True,
}  # fmt: skip
LATENT = {"channels": 12, "depth": 1, "heads": 2, "window": 2, "mlp": 1, "snr_width": 8}
PARTS: dict[str, tuple[str, Callable[[], nn.Module], dict[str, Any]]] = {
    "adjscc": ("ADJSCC", lambda: ADJSCC(ADJSCCConfig(**ADAPTIVE)), ADAPTIVE),  # type: ignore[arg-type]
    "published": ("ADJSCC", lambda: ADJSCC(ADJSCCConfig(2, 16)), {"code_channels": 2, "width": 16}),
    "residual": ("ResidualADJSCC", lambda: ResidualADJSCC(ResidualADJSCCConfig.from_json(RESIDUAL)), RESIDUAL),
    "swinjscc": ("SwinJSCC", lambda: SwinJSCC(SwinJSCCConfig.from_json(SWIN)), SWIN),
    "transform": ("NonlinearTransform", lambda: NonlinearTransform(TransformConfig.from_json(TRANSFORM)), TRANSFORM),
    "jscc": ("LatentJSCC", lambda: LatentJSCC(NTSCCConfig.from_json(LATENT)), LATENT),
    "rates": ("RateTables", RateTables, {}),
    "clean": ("ConditionalUNet", lambda: ConditionalUNet(UNetConfig.from_json(CLEAN)), CLEAN),
    "around": ("ResidualPrior", lambda: ResidualPrior(ResidualPriorConfig.from_json(AROUND)), AROUND),
    "guided": ("UNet2DModel", lambda: UNet2DModel(**GUIDED), GUIDED),
}
KINDS = {
    "adjscc": {"codec": "adjscc", "prior": "clean"},
    "residual": {"codec": "residual", "prior": "around"},
    "swinjscc": {"codec": "swinjscc", "prior": "clean"},
    "published": {"codec": "published", "prior": "guided"},
    "ntscc": {"transform": "transform", "jscc": "jscc", "rates": "rates", "prior": "clean"},
}


def write_preset(folder: Path, networks: dict[str, str], method: str = "diffcom", **settings: Any) -> None:
    parts = {}
    for seed, (name, part) in enumerate(networks.items()):
        class_name, build, config = PARTS[part]
        torch.manual_seed(seed)
        module = build()
        randomise(module, seed)
        parts[name] = Part(class_name, config, module.state_dict())
    sampling = {"hifi": {"eta": 0.02}, "diffcom": {"steps": 3}, "blind": {"steps": 3, "likelihood": "norm"}}
    write.write_preset(folder, method, parts, {"sampling": sampling, **settings}, "tiny")


def make(folder: Path, networks: dict[str, str], **settings: Any) -> DiffCom:
    write_preset(folder, networks, **settings)
    return DiffCom.load(presets.load_config(folder), CPU)


@pytest.fixture(scope="module")
def methods(tmp_path_factory: pytest.TempPathFactory) -> dict[str, DiffCom]:
    return {kind: make(tmp_path_factory.mktemp(kind), parts) for kind, parts in KINDS.items()}


@pytest.fixture(scope="module", params=KINDS)
def method(request: pytest.FixtureRequest, methods: dict[str, DiffCom]) -> DiffCom:
    return methods[request.param]


def photograph(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def received(method: DiffCom, image: np.ndarray, **changes: Any) -> Received:
    """Over AWGN of 10 dB."""
    k = method.symbol_budget(1 / 48, image.shape[:2])
    sent = method.encode(image, Request(k, options=Transmitter()))
    noise = np.float32(0.1**0.5) * draw_noise(sent.symbols.size, np.random.default_rng(1))
    base = Received(
        sent.symbols + noise, None, 0.1, image.shape[:2], side_symbols=sent.side_symbols, side=sent.side, fading="awgn"
    )  # fmt: skip
    return dataclasses.replace(base, **changes)


def multipath(method: DiffCom, image: np.ndarray, *, csi: bool) -> Received:
    k = method.symbol_budget(1 / 48, image.shape[:2])
    sent = method.encode(image, Request(k, options=Transmitter())).symbols
    config = OFDM if csi else dataclasses.replace(OFDM, pilots=0)
    cir = draw_taps(config, np.random.default_rng(2))
    heard, _ = through(sent, cir, config, config.pilots)
    noise = np.float32(0.1**0.5) * draw_noise(k, np.random.default_rng(3))
    gain = response(cir, config)[places(k, config) % config.carriers].astype(np.complex64)
    known = {"gain": gain, "cir": cir} if csi else {"gain": None, "cir": None}
    return Received(
        (heard + noise).astype(np.complex64), n0=0.1, image_size=image.shape[:2], fading="multipath", ofdm=config, **known
    )  # fmt: skip


@pytest.mark.parametrize("size", [(33, 37), (1, 1)])
def test_any_size_comes_back_at_its_size(method: DiffCom, size: tuple[int, int]) -> None:
    decoded = method.decode(received(method, photograph(*size)), Receiver(), seed=0)
    assert decoded.coarse.shape == decoded.refined[0].shape == (*size, 3)
    assert decoded.coarse.dtype == np.uint8


@pytest.mark.parametrize("csi", [True, False], ids=["csi", "blind"])
def test_multipath_with_and_without_csi(methods: dict[str, DiffCom], csi: bool) -> None:
    heard = multipath(methods["adjscc"], photograph(32, 32), csi=csi)
    choices: tuple[dict[str, Any], ...] = ({"variant": "hifi"}, {"variant": "diffcom"}, {"likelihood": "authors"})
    if not csi:
        choices = ({}, {"blind_h": "lmmse"}, {"blind_form": "authors"}, {"likelihood": "authors"})
        choices = tuple({"variant": "blind"} | choice for choice in choices)
    seen = [methods["adjscc"].decode(heard, Receiver(**choice), seed=0).refined[0].tobytes() for choice in choices]
    assert len(set(seen)) == len(seen)


@pytest.mark.parametrize("kind", ["adjscc", "swinjscc", "ntscc"])
def test_with_clipping_and_without_prefix_the_residual_of_the_truth_is_the_noise(
    methods: dict[str, DiffCom], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W_h is what the simulator did: nothing but the noise is left over, through each codec."""
    method, image, seen = methods[kind], photograph(128, 128), list[Received]()
    image[:64] //= 8
    codec, config = pipeline.Codec(cast(Any, method), method.preset), OfdmConfig(carriers=64, cp=0, taps=3, decay=2.0, clip=0.8)
    sent = codec.encode(image, cbr=1 / 16, snr=10.0, fading="multipath")
    clean, noisy = (pipeline.transmit(sent, snr=snr, fading="multipath", ofdm=config, seed=2) for snr in (np.inf, 10.0))

    def catch(received: Received, options: Receiver, **unused: Any) -> Decoded:
        seen.append(received)
        return Decoded(image)

    monkeypatch.setattr(method, "decode", catch)
    codec.decode(noisy)
    known, side_ok = codec_side.receive(method.codec, seen[0], method.device)
    assert side_ok == (True if kind == "ntscc" else None)
    problem, _ = method._problem(seen[0], cast(Any, known))
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    noise = noisy.symbols - clean.symbols
    assert np.mean(np.abs(noise) ** 2) == pytest.approx(0.1, rel=0.15)
    np.testing.assert_allclose(problem.residuals(x)[0][0].numpy(), noise, atol=2e-5)
    assert seen[0].gain is not None
    assert not np.allclose(noisy.symbols - seen[0].gain * sent.symbols, noise, atol=0.1)  # a gain a symbol would not do


def test_blind_needs_no_gain_and_no_channel_without_taps(methods: dict[str, DiffCom]) -> None:
    """Over block fading there is one tap; AWGN has none, and fading symbol by symbol has too many."""
    method, image = methods["adjscc"], photograph(16, 16)
    base, options = received(method, image), Receiver(variant="blind", steps=2)
    faded = dataclasses.replace(base, symbols=base.symbols * np.complex64(0.5j), fading="block")
    knowing = dataclasses.replace(faded, gain=np.array([0.5j], np.complex64))
    blind, sighted = (method.decode(heard, options, seed=0) for heard in (faded, knowing))
    assert blind.taps[0].shape == (1,)
    assert np.array_equal(blind.refined[0], sighted.refined[0])  # it does not use the gain, where it has one
    assert not np.array_equal(blind.coarse, sighted.coarse)
    for fading in ("awgn", "rayleigh"):
        with pytest.raises(OptionError, match=r"^variant: blind finds the taps of block and multipath fading"):
            method.decode(dataclasses.replace(base, fading=fading), options, seed=0)  # type: ignore[arg-type]


def test_same_inputs_same_bytes_and_every_input_matters(methods: dict[str, DiffCom]) -> None:
    method = methods["adjscc"]
    base = received(method, photograph(32, 32))

    def refined(given: Received = base, options: Receiver | None = None, seed: int = 0) -> bytes:
        return method.decode(given, options or Receiver(), seed=seed).refined[0].tobytes()

    first = refined()
    assert first == refined() == refined(options=Receiver())
    others = {
        "noise power": refined(dataclasses.replace(base, n0=0.5)),
        "gain": refined(dataclasses.replace(base, gain=np.array([0.5 - 0.5j], np.complex64), fading="block")),
        "what the transmitter knew": refined(dataclasses.replace(base, tx_snr_db=0.0)),
        "seed": refined(seed=1),
    } | {
        str(options): refined(options=Receiver(**{"steps": 4} | options))
        for options in (
            {"variant": "diffcom"}, {"zeta": 0.0}, {"gamma": 0.0}, {"tau": 90.0}, {"eta": 0.04}, {"steps": 2}, {"start_step": 9},
            {"likelihood": "norm"}, {"likelihood": "authors"}, {"confirm": "pixels"},
            {"likelihood": "score", "start_step": 99, "zeta": 50.0, "gamma": 9.0},
            {"likelihood": "score", "start_step": 99, "zeta": 50.0}, {"likelihood": "exact", "start_step": 99, "zeta": 50.0},
        )
    }  # fmt: skip
    assert [name for name, value in others.items() if value == first] == []
    forms = [value for name, value in others.items() if "likelihood" in name]
    assert len(set(forms)) == len(forms)


def test_best_of_several_has_the_smallest_distance(methods: dict[str, DiffCom]) -> None:
    method, image = methods["adjscc"], photograph(16, 16)
    base, reported = received(method, image), []
    every = method.decode(base, Receiver(samples=3), seed=0, progress=lambda *news: reported.append(news))
    best = method.decode(base, Receiver(samples=3, pick="best"), seed=0)
    problem, _ = method._problem(base, cast(Any, codec_side.receive(method.codec, base, method.device)[0]))
    distances = []
    for picture in every.refined:
        x = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1
        distances.append(float(problem.residuals(x)[0].abs().square().sum()))
    assert len(every.refined) == 3
    assert len(best.refined) == 1
    assert np.array_equal(best.refined[0], every.refined[int(np.argmin(distances))])
    np.testing.assert_allclose(np.square(every.distances), distances, rtol=0.05)  # those of 8-bit pictures
    assert best.distances == (min(every.distances),)
    assert every.taps == ()
    assert [done for done, _, _ in reported] == list(range(1, reported[-1][1] + 1))
    assert all(words.startswith("distance ") for _, _, words in reported)


def test_guidance_brings_the_sample_nearer_to_what_was_received(methods: dict[str, DiffCom]) -> None:
    """Guidance lowers the measurement distance, in every form."""
    method = methods["adjscc"]
    base = received(method, photograph(32, 32))

    def left(**options: Any) -> float:
        reported: list[str] = []
        method.decode(
            base, Receiver(start_step=20, gamma=0.0, **options), seed=0, progress=lambda *news: reported.append(news[2])
        )  # fmt: skip
        return float(reported[-1].removeprefix("distance "))

    free = left(zeta=0.0)
    for likelihood, zeta in (("norm", 1.0), ("squared", 0.5), ("score", 100.0), ("exact", 100.0)):
        assert left(likelihood=likelihood, zeta=zeta) < 0.985 * free


def test_unit_power_and_the_rate(methods: dict[str, DiffCom]) -> None:
    image = photograph(64, 96)
    for kind, method in methods.items():
        k = method.symbol_budget(1 / 48, (64, 96))
        assert k == 384
        assert method.symbol_budget(1 / 96, (64, 96)) == (384 if kind == "published" else 192)
        assert method.exact_rate == (kind != "published")
        sent = method.encode(image, Request(k, 3.0, options=Transmitter()))
        assert 0.98 * k <= sent.symbols.size + sent.side_symbols.size <= k
        assert sent.symbols.dtype == np.complex64
        assert np.mean(np.abs(sent.symbols) ** 2) == pytest.approx(1, abs=1e-4)
        with pytest.raises(RateError, match="symbols"):
            method.encode(image, Request(1 if kind == "ntscc" else 10**6, options=Transmitter()))


def test_ntscc_sends_its_rates_and_needs_them(methods: dict[str, DiffCom]) -> None:
    """Rates are side symbols; where they are lost there is a coarse image, and nothing to sample from."""
    method, image = methods["ntscc"], photograph(128, 128)
    image[:64] //= 8  # the lower half has more to say
    sent = method.encode(image, Request(method.symbol_budget(1 / 16, (128, 128)), 20.0, options=Transmitter()))
    assert sent.side is not None
    assert 0 < sent.side_symbols.size < 0.15 * 3072
    base = Received(sent.symbols, None, 0.01, (128, 128), side_symbols=sent.side_symbols, side=sent.side, tx_snr_db=20.0)
    there = method.decode(base, Receiver(steps=2), seed=0)
    lost = method.decode(dataclasses.replace(base, side_symbols=-sent.side_symbols), Receiver(steps=2, samples=2), seed=0)
    assert (there.side_ok, lost.side_ok) == (True, False)
    assert not np.array_equal(there.coarse, lost.coarse)
    assert not np.array_equal(there.coarse, there.refined[0])
    assert all(np.array_equal(picture, lost.coarse) for picture in lost.refined)
    problem, _ = method._problem(base, cast(Any, codec_side.receive(method.codec, base, method.device)[0]))
    x = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
    assert float(problem.residuals(x)[0].abs().max()) < 1e-4  # the receiver encodes as the transmitter did


def test_ntscc_around_its_linear_optimum(make_lrisc: Callable[..., Path], tmp_path: Path) -> None:
    theirs = presets.load_config(make_lrisc(RESIDUAL_LRISC))
    parts = {name: taken(theirs.components[name], tmp_path / "theirs") for name in ("transform", "jscc", "rates")}
    prior = randomised({"prior": ("ResidualPrior", PARTS["around"][1](), AROUND)})
    preset = write.write_preset(tmp_path / "ntscc", "diffcom", parts | prior, {})
    method, image = DiffCom.load(preset, CPU), scenes(1)[0]
    sent = method.encode(image, Request(1024, 10.0, options=Transmitter()))
    noise = np.float32(0.1**0.5) * draw_noise(sent.symbols.size, np.random.default_rng(1))
    heard = Received(sent.symbols + noise, None, 0.1, (128, 128), side_symbols=sent.side_symbols, side=sent.side, tx_snr_db=10.0)
    decoded = method.decode(heard, Receiver(steps=2, likelihood="score", eta=0.1), seed=0)
    assert np.mean((decoded.coarse - image.astype(float)) ** 2) < 400
    assert not np.array_equal(decoded.coarse, decoded.refined[0])
    problem, _ = method._problem(heard, cast(Any, codec_side.receive(method.codec, heard, method.device)[0]))
    x = (torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1).requires_grad_()
    left = problem.residuals(x)[0]
    assert float(left.detach().abs().square().mean()) == pytest.approx(0.1, rel=0.1)  # the noise alone
    assert torch.autograd.grad(left.abs().square().sum(), x)[0].abs().mean() > 0


def test_coarse_is_the_same_with_and_without_refinement(method: DiffCom) -> None:
    base = received(method, photograph(16, 16))
    coarse, both = (method.decode(base, Receiver(coarse=coarse), seed=0) for coarse in (True, False))
    assert isinstance(coarse, Decoded)
    assert coarse.refined == ()
    assert np.array_equal(coarse.coarse, both.coarse)


def test_step_sizes_go_with_their_likelihood() -> None:
    settings = {"variant": "hifi", "sampling": {"hifi": {"likelihood": "norm", "zeta": 0.7, "gamma": 0.2, "eta": 0.2}}}

    def settled(**options: Any) -> Sampling:
        return Sampling.settle(Receiver(**options), settings)

    def sizes(sampling: Sampling) -> tuple[str, float, float, float]:
        return sampling.likelihood, sampling.zeta, sampling.gamma, sampling.eta

    assert sizes(settled()) == ("norm", 0.7, 0.2, 0.2)
    assert sizes(settled(zeta=0.1)) == ("norm", 0.1, 0.2, 0.2)
    assert sizes(settled(likelihood="squared")) == ("squared", 0.3, 0.3, 0.2)
    assert sizes(settled(likelihood="authors")) == ("authors", 0.25, 0.25, 0.2)
    assert sizes(settled(variant="diffcom", likelihood="norm")) == ("norm", 1.0, 0.0, 1.0)  # the authors' form, with their sizes
    assert sizes(settled(likelihood="exact")) == ("exact", 1.0, 0.0, 0.2)
    assert sizes(settled(variant="diffcom")) == ("squared", 0.6, 0.0, 1.0)
    assert Guidance.of(settled(variant="blind", likelihood="authors"), 0.1).decays


def test_a_preset_may_guide_less_where_there_is_more_noise() -> None:
    settings = {"sampling": {"hifi": {"likelihood": "norm", "zeta": [[0.0, 0.1], [10.0, 1.0]], "gamma": 0.2}}}
    at = [Sampling.settle(Receiver(), settings, snr_db=snr_db) for snr_db in (-5.0, 0.0, 5.0, 10.0, 20.0)]
    assert [sampling.zeta for sampling in at] == pytest.approx([0.1, 0.1, 0.55, 1.0, 1.0])
    assert {sampling.gamma for sampling in at} == {0.2}
    assert Sampling.settle(Receiver(zeta=0.4), settings, snr_db=0.0).zeta == 0.4


@pytest.mark.parametrize("value", ["much", None, True, [], [0.1], [[0, 0.1], [10]], [[0, "much"]], [[10, 1], [0, 0.1]], [[[0.0]]]])
def test_a_malformed_setting_is_one_line(tmp_path: Path, value: Any) -> None:
    write_preset(tmp_path, KINDS["adjscc"], sampling={"hifi": {"zeta": value}})
    with pytest.raises(ModelMismatch, match=r"^diffcom/tiny: sampling\.hifi\.zeta is .*pairs \[SNR in dB, value\]") as caught:
        DiffCom.load(presets.load_config(tmp_path), CPU)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sampling", "message"),
    [
        ([1], "sampling: settings by variant"), ({"hifi": 3}, "sampling.hifi: settings by variant"),
        ({"hifi": {"zta": 1}}, "sampling.hifi.zta: unknown; there is: variant, likelihood, zeta"),
        ({"hifi": {"zeta": -1}}, "sampling.hifi.zeta: -1 is out of range; 0 to"),
        ({"hifi": {"eta": [[0, 1], [10, 2e6]]}}, "sampling.hifi.eta: 2e\\+06 is out of range"),
        ({"hifi": {"likelihood": "none"}}, "sampling.hifi.likelihood: 'none' is not one of its values"),
    ],
)  # fmt: skip
def test_settings_of_another_form_are_one_line(tmp_path: Path, sampling: Any, message: str) -> None:
    write_preset(tmp_path, KINDS["adjscc"], sampling=sampling)
    with pytest.raises(ModelMismatch, match=f"^diffcom/tiny: {message}"):
        DiffCom.load(presets.load_config(tmp_path), CPU)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "hfi"}, "variant: 'hfi' is not one of its values; there is: diffcom, hifi, blind"),
        ({"zeta": -1.0}, "zeta: -1 is out of range"), ({"zeta_h": float("nan")}, "zeta_h: nan is out of range"),
        ({"steps": 1001}, "steps: 1001 is out of range"), ({"pick": "best"}, "pick: best is one of several; add --samples 4"),
    ],
)  # fmt: skip
def test_values_that_cannot_be_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=f"^{message}"):
        Receiver(**options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (Receiver(variant="blind", likelihood="exact"), "variant: blind starts from noise"),
        (Receiver(variant="blind", start_step=9), "start_step: is not read with --variant blind"),
        (Receiver(likelihood="exact", gamma=0.3), "gamma: does not go with --likelihood exact"),
        (Receiver(variant="diffcom", gamma=0.0), "gamma: is not read with --variant diffcom --likelihood squared; leave it"),
        (Receiver(variant="diffcom", tau=9.0), "tau: is not read with --variant diffcom"),
        (Receiver(variant="diffcom", eta=0.5), "eta: is not read with --variant diffcom"),
        (Receiver(variant="diffcom", confirm="pixels"), "confirm: is not read with --variant diffcom"),
        (Receiver(blind_h="lmmse"), "blind_h: is not read with --variant hifi"),
        (Receiver(zeta_h=0.2), "zeta_h: is not read with --variant hifi"),
        (Receiver(blind_form="authors"), "blind_form: is not read with --variant hifi"),
        (Receiver(likelihood="authors", tau=9.0), "tau: is not read with --variant hifi --likelihood authors"),
        (Receiver(variant="blind", gamma=0.1), "gamma: is not read with --variant blind"),
        (Receiver(variant="blind", blind_h="lmmse", zeta_h=0.1), "zeta_h: is not read .* --blind-h lmmse"),
        (Receiver(start_step=9, eta=0.1), "eta: is for the start step of eq. 21, which --start-step sets"),
    ],
)
def test_options_that_cannot_be_are_named(options: Receiver, message: str) -> None:
    with pytest.raises(OptionError, match=f"^{message}"):
        Sampling.settle(options, {})


def test_what_the_likelihood_reads_is_taken() -> None:
    for options in ({"variant": "diffcom", "likelihood": "authors", "eta": 0.5}, {"variant": "diffcom", "start_step": 9}):
        settled = Sampling.settle(Receiver(**options), {})  # type: ignore[arg-type]
        assert {name: getattr(settled, name) for name in options} == options


@pytest.mark.parametrize("fading", ["multipath", "block", "rayleigh", "awgn"])
def test_of_an_unknown_channel_it_is_said_what_is_done(methods: dict[str, DiffCom], fading: Any) -> None:
    """Blind is taken where it can be and nothing else is asked for."""
    method, image = methods["adjscc"], photograph(16, 16)
    heard = dataclasses.replace(received(method, image), fading=fading)
    if fading == "multipath":
        heard = multipath(method, image, csi=False)

    def decoded(**options: Any) -> Decoded:
        return method.decode(heard, Receiver(steps=2, **options), seed=0)

    free, sighted = decoded(), decoded(variant="hifi")
    if fading == "awgn":
        assert free.notes == sighted.notes == ()
        return
    assert [note.startswith("channel: unknown to the receiver, and hifi samples") for note in sighted.notes] == [True]
    if fading == "rayleigh":
        assert free.notes == sighted.notes
        assert "blind" not in free.notes[0]
        return
    blind = decoded(variant="blind")
    assert np.array_equal(free.refined[0], blind.refined[0])
    assert len(free.taps) == len(blind.taps) == 1
    assert free.notes == ("channel: unknown to the receiver; --variant blind is taken, which finds it",)
    assert "--variant blind finds it" in sighted.notes[0]


def test_samples_that_diverge_say_so(methods: dict[str, DiffCom]) -> None:
    heard = multipath(methods["adjscc"], photograph(16, 16), csi=False)
    with pytest.raises(OptionError, match=r"^zeta: .*: the samples diverge; take smaller ones"):
        methods["adjscc"].decode(heard, Receiver(variant="blind", likelihood="squared", zeta_h=1e5, steps=30), seed=0)


def test_a_class_that_is_no_codec_is_refused(tmp_path: Path) -> None:
    """DiffJSCC's network, which needs others to make an image."""
    folder = tmp_path / "com"
    folder.mkdir()
    make(folder, KINDS["adjscc"])
    codec = Part("DeepJSCC", PUBLISHED, DeepJSCC(DeepJSCCConfig(**PUBLISHED)).state_dict())
    for loader in (DiffCom, JSCC):
        parts: dict[str, Any] = {**presets.load_config(folder).components, "codec": codec}
        write.write_preset(folder, loader.method, parts, {}, "tiny")  # type: ignore[attr-defined]
        with pytest.raises(InputError, match="preset tiny: DeepJSCC is no codec that makes symbols by itself; ADJSCC, "):
            loader.load(presets.load_config(folder), CPU)  # type: ignore[attr-defined]


def test_presets_without_their_parts_are_refused(tmp_path: Path) -> None:
    make(tmp_path, KINDS["adjscc"])
    document = json.loads((tmp_path / "config.json").read_text())
    del document["components"]["prior"]
    (tmp_path / "config.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match="lacks prior; diffcom needs them all"):
        DiffCom.load(presets.load_config(tmp_path), CPU)


def test_the_transmitter_does_not_load_the_prior(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is built for the first refined image; weights that do not fit are noticed then."""
    write_preset(tmp_path, KINDS["adjscc"])
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "prior.safetensors").write_bytes(b"no tensors")
    config["components"]["prior"]["sha256"] = presets.file_hash(tmp_path / "prior.safetensors")
    (tmp_path / "config.json").write_text(json.dumps(config))
    method = DiffCom.load(presets.load_config(tmp_path), CPU)
    base = received(method, photograph(33, 37))
    assert method.multiple == 4  # known without it: two of the prior's folds, at half the size
    assert method.decode(base, Receiver(coarse=True), seed=0).refined == ()
    with pytest.raises(ModelMismatch, match=r"prior\.safetensors"):
        method.decode(base, Receiver(), seed=0)


def test_the_docstring_names_what_is_there() -> None:
    resolve_names(diffcom_method)
    resolve_page(diffcom_method)


def test_a_transmitter_needs_neither_diffusers_nor_transformers() -> None:
    assert not {"diffusers", "transformers"} & loaded_to_encode("diffcom", "nano")


def test_a_transmitter_does_without_the_prior(tmp_path: Path) -> None:
    """What is wrong with its weights is said where they are first needed; a pretrained one's sizes are read off its folder."""
    write_preset(tmp_path / "own", KINDS["published"])
    preset = presets.load_config(tmp_path / "own")
    weights = preset.components["prior"].path
    assert weights is not None
    UNet2DModel(**GUIDED).save_config(tmp_path / "theirs")
    theirs = dataclasses.replace(preset.components["prior"], path=None, config={}, pretrained=str(tmp_path / "theirs"))
    weights.write_bytes(b"damaged")
    for made in (preset, dataclasses.replace(preset, components={**preset.components, "prior": theirs})):
        method = DiffCom.load(made, CPU)
        heard = received(method, photograph(16, 16))
        assert method.multiple == 4
        assert method.decode(heard, Receiver(coarse=True), seed=0).coarse.shape == (16, 16, 3)
        with pytest.raises((ModelMismatch, InputError), match="SHA-256 differs" if made is preset else "does not load"):
            method.decode(heard, Receiver(), seed=0)
    theirs = dataclasses.replace(theirs, pretrained=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="nowhere does not load"):
        DiffCom.load(dataclasses.replace(preset, components={**preset.components, "prior": theirs}), CPU)
