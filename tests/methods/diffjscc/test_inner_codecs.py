"""Other codecs inside DiffJSCC: SwinJSCC as trained here and as released, and NTSCC; what is sent beside the image counts."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from gencomm_cli import pipeline, presets
from gencomm_cli.channels.fading import transmit
from gencomm_cli.errors import InputError, RateError
from gencomm_cli.methods.base import Received, Request, Transmission
from gencomm_cli.methods.diffjscc.image_code import CODEC, LearnedImageCode, PictureCode
from gencomm_cli.methods.diffjscc.method import DiffJSCC
from gencomm_cli.methods.diffjscc.options import Receiver, Sources, Transmitter
from gencomm_cli.methods.diffjscc.train import DiffJSCCTrainer, coarse_images, donor
from gencomm_cli.methods.options import build
from gencomm_cli.networks.swinjscc import SwinJSCC, SwinJSCCConfig
from gencomm_cli.presets.pretrained import add
from gencomm_cli.presets.write import Part, taken, write_preset
from gencomm_cli.training.channel import ChannelDraw, awgn
from gencomm_cli.training.trainer import changed
from tests.support.presets import make_diffjscc, make_lrisc, make_preset, randomise, scenes
from tests.support.standins import stable_diffusion
from tests.support.training import CPU, asked, figures, quiet, write_photographs

__all__ = ["make_diffjscc", "make_lrisc", "make_preset"]

SIZES: dict[str, Any] = {"dims": [8, 8], "depths": [1, 2], "heads": [2, 2], "window": 2, "trained_size": 32}
SWIN: dict[str, dict[str, Any]] = {
    "fixed": SIZES | {"code_channels": 4},
    "adaptive": SIZES,
    "released": SIZES | {"choice": "stable", "conventions": {"restored": True, "equaliser": "phase"}},
}
RATE = {"fixed": 4 / (6 * 16), "adaptive": 0.02, "released": 0.02, "ntscc": 0.02}
BESIDE = {"fixed": False, "adaptive": False, "released": True, "ntscc": True}


def swin(kind: str) -> Part:
    torch.manual_seed(0)
    network = SwinJSCC(SwinJSCCConfig.from_json(SWIN[kind]))
    randomise(network, 3)
    return Part("SwinJSCC", SWIN[kind], network.state_dict())


@pytest.fixture(scope="module")
def methods(make_diffjscc: Callable[..., Path], make_lrisc: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A preset of each codec, loaded."""
    base, ntscc = presets.load_config(make_diffjscc("latent")), presets.load_config(make_lrisc())
    backbone = {name: taken(part) for name, part in base.components.items() if name != "jscc"}
    codecs: dict[str, Mapping[str, Any]] = {kind: {"jscc": swin(kind)} for kind in SWIN}
    codecs["ntscc"] = {name: taken(ntscc.components[name]) for name in ("transform", "jscc", "rates")}
    made = {}
    for kind, parts in codecs.items():
        settings = {name: value for name, value in base.settings.items() if name != "cbr_range"}
        preset = write_preset(tmp_path_factory.mktemp(kind), "diffjscc", backbone | dict(parts), settings)
        made[kind] = DiffJSCC.load(preset, CPU)
    return made


@pytest.fixture(params=["fixed", "adaptive", "released", "ntscc"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def photograph() -> NDArray[np.uint8]:
    return np.asarray(scenes(1, 5)[0][:100, :120])


def sent_by(method: DiffJSCC, kind: str, snr_db: float | None = 12.0, gain: complex | None = None) -> Transmission:
    image = photograph()
    request = Request(method.symbol_budget(RATE[kind], image.shape[:2]), snr_db, "block", Transmitter(gain=gain))
    return method.encode(image, request)


def received(sent: Transmission, n0: float = 1e-4, gain: complex = 1.0, **changes: Any) -> Received:
    rng = np.random.default_rng(0)

    def through(symbols: NDArray[np.complex64]) -> NDArray[np.complex64]:
        noise = (rng.standard_normal((2, symbols.size)).T @ [1, 1j]) / 2**0.5
        return np.asarray(
            transmit(symbols, np.full(symbols.shape, gain, np.complex64), noise.astype(np.complex64), n0), np.complex64
        )

    h = np.array([gain], np.complex64)
    whole = Received(
        through(sent.symbols), h, n0, photograph().shape[:2], side_symbols=through(sent.side_symbols), side_gain=h, side=sent.side,
        tx_snr_db=12.0,
    )  # fmt: skip
    return replace(whole, **changes)


def test_a_picture_goes_over_within_the_rate_side_symbols_included(methods: Mapping[str, DiffJSCC], kind: str) -> None:
    method, image = methods[kind], photograph()
    budget = method.symbol_budget(RATE[kind], image.shape[:2])
    sent = sent_by(method, kind)
    assert np.mean(np.abs(sent.symbols) ** 2) == pytest.approx(1, abs=1e-3)
    assert (sent.side_symbols.size > 0) == BESIDE[kind]
    assert kind == "fixed" or budget <= RATE[kind] * image.size
    total = sent.symbols.size + sent.side_symbols.size
    assert (0.97 if kind != "released" else 0.7) * budget <= total <= budget  # released: whole channels, and room for a bad channel
    decoded = method.decode(received(sent), Receiver(steps=2), seed=0)
    assert decoded.refined[0].shape == decoded.coarse.shape == image.shape
    assert decoded.side_ok is (True if BESIDE[kind] else None)
    assert not decoded.outage


def test_a_known_gain_is_undone_for_every_codec(methods: Mapping[str, DiffJSCC], kind: str) -> None:
    sent = sent_by(methods[kind], kind)
    plain, turned = (
        methods[kind].decode(received(sent, 0.0, gain), Receiver(coarse=True), seed=0).coarse.astype(int)
        for gain in (1.0, 0.6 - 0.8j)
    )
    assert np.abs(plain - turned).max() <= 1


@pytest.mark.parametrize("kind", ["fixed", "adaptive"])
def test_the_encoder_hears_of_the_gain_as_of_an_snr(methods: Mapping[str, DiffJSCC], kind: str) -> None:
    """γ = 20 dB over h = 0.1 is 0 dB to a codec that is given an SNR."""
    faded, plain = (sent_by(methods[kind], kind, 20.0, gain).symbols for gain in (0.1j, 1.0))
    assert not np.allclose(faded, plain)
    np.testing.assert_allclose(faded, sent_by(methods[kind], kind, 0.0, 1.0).symbols, atol=1e-5)


def test_ntscc_shows_the_picture(methods: Mapping[str, DiffJSCC]) -> None:
    """At the linear start it sends pictures already."""
    coarse = methods["ntscc"].decode(received(sent_by(methods["ntscc"], "ntscc")), Receiver(coarse=True), seed=0).coarse
    error, flat = (np.square(photograph().astype(float) - other).mean() for other in (coarse, photograph().mean((0, 1))))
    assert error < flat / 4


def test_lost_side_symbols(methods: Mapping[str, DiffJSCC]) -> None:
    """NTSCC is left with the first symbol of each embedding, and is refined; without the channels that were sent nothing is."""
    for kind, outage in (("ntscc", False), ("released", True)):
        sent = sent_by(methods[kind], kind)
        noise = np.random.default_rng(1).standard_normal((2, sent.side_symbols.size)).T @ [1, 1j]
        decoded = methods[kind].decode(received(sent, side_symbols=noise.astype(np.complex64)), Receiver(steps=2), seed=0)
        assert (decoded.side_ok, decoded.outage) == (False, outage)
        assert decoded.refined[0].shape == photograph().shape
        assert (np.unique(decoded.refined[0]).tolist() == [128]) is outage


def test_rates_that_a_codec_has(methods: Mapping[str, DiffJSCC]) -> None:
    assert list(methods["fixed"].cbr_range) == pytest.approx([4 / 96] * 2)
    assert all(methods[kind].default_cbr == pytest.approx(1 / 384) for kind in ("adaptive", "ntscc"))
    with pytest.raises(RateError, match="too few for 56 embeddings"):
        methods["ntscc"].encode(photograph(), Request(50))


def test_the_file_holds_and_counts_the_side_symbols(methods: Mapping[str, DiffJSCC], tmp_path: Path) -> None:
    codec = pipeline.load("diffjscc", str(methods["ntscc"].preset.folder))
    tx = codec.encode(photograph(), cbr=0.02, snr=12, fading="awgn")
    tx.save(tmp_path / "tx.npz")
    rx = pipeline.transmit(pipeline.open_symbols(tmp_path / "tx.npz"), snr=12, seed=0)
    assert tx.header.cbr.side > 0
    assert codec.decode(rx, steps=2).refined[0].shape == (100, 120, 3)


def test_training_sends_pictures_as_the_encoder_does(methods: Mapping[str, DiffJSCC]) -> None:
    """A batch over a clean channel is what its pictures are alone, side symbols and all; the codes are of both forms."""
    forms = {"fixed": LearnedImageCode, "released": PictureCode, "ntscc": PictureCode}
    image = torch.from_numpy(scenes(2, 5)).permute(0, 3, 1, 2) / 255
    clean = awgn(2, 60.0, CPU)
    for kind, form in forms.items():
        code = methods[kind].code
        assert isinstance(code, form)
        with torch.no_grad():
            x_hat, gamma, h = coarse_images(code, image, clean, RATE[kind])
        assert (x_hat.shape, gamma.tolist(), h.tolist()) == (image.shape, [60, 60], [1, 1])
        for row, picture in enumerate(scenes(2, 5)):
            sent = methods[kind].encode(picture, Request(methods[kind].symbol_budget(RATE[kind], (128, 128)), 60.0, "awgn"))
            heard = received(sent, 1e-6, image_size=(128, 128), tx_snr_db=60.0)
            coarse = methods[kind].decode(heard, Receiver(coarse=True), seed=0).coarse
            assert np.abs(x_hat[row].clamp(0, 1).permute(1, 2, 0).numpy() * 255 - coarse).mean() < 1.5, kind


def test_a_picture_whose_channels_are_lost_is_grey_in_training_too(methods: Mapping[str, DiffJSCC]) -> None:
    image, nothing = torch.rand(1, 3, 32, 32), torch.tensor([-30.0])
    with torch.no_grad():
        x_hat, _, _ = coarse_images(
            methods["released"].code, image, ChannelDraw(nothing, nothing * torch.nan, torch.tensor([0])), 0.05
        )
    assert x_hat.unique().tolist() == [0.5]


BRIEF = {
    "schedule": {"steps": 3, "learning_rate": 3e-3, "warmup": 1, "ema": 0.5, "log_every": 1},
    "batch": 2,
    "crop": 16,
    "cbr": [0.02, 0.02],
}
RECIPE: dict[str, Any] = {
    "name": "mine", "start": "", "control": BRIEF, "rollout": BRIEF,
    "settings": {"csi": {"width": 64, "scale": 4.0}, "captioner": "none"},
}  # fmt: skip


def test_a_control_module_over_ntscc_trains_and_sends(
    make_preset: Callable[..., Path], make_lrisc: Callable[..., Path], tmp_path: Path
) -> None:  # fmt: skip
    """``codec`` takes a preset's networks as they are; there is no stage for them."""
    data, lrisc = write_photographs(tmp_path, 4), make_lrisc()
    recipe = {**RECIPE, "jscc": {}, "adversarial": {}, "codec": f"lrisc/{lrisc}"}
    options = asked(recipe, data, tmp_path / "run", stages=("control",))
    trainer = DiffJSCCTrainer(options, quiet, presets.load_config(make_preset()))
    made = presets.load_config(trainer.complete())
    assert np.isfinite(figures(trainer.out, "control")).all()
    theirs = presets.load_config(lrisc).components
    assert all(made.components[name].sha256 == theirs[name].sha256 for name in ("transform", "jscc", "rates"))
    method = DiffJSCC.load(made, CPU)
    assert method.decode(received(sent_by(method, "ntscc")), Receiver(steps=2), seed=0).side_ok
    with pytest.raises(InputError, match="there is no jscc; there is: control, rollout"):
        DiffJSCCTrainer(asked(recipe, data, tmp_path / "other", stages=("jscc",)), quiet, presets.load_config(make_preset()))


def test_a_preset_over_stable_diffusion_takes_all_of_ntscc(
    methods: Mapping[str, DiffJSCC], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENCOMM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    theirs = methods["ntscc"].preset
    sources = build(Sources, {"sd": str(stable_diffusion(tmp_path / "sd")), "jscc": str(theirs.folder)})
    made = presets.load_config(add("diffjscc", "mine", sources, None, quiet))
    assert all(made.components[name].sha256 == theirs.components[name].sha256 for name in CODEC)


def test_a_codec_that_sends_side_symbols_is_not_trained_here(make_preset: Callable[..., Path], tmp_path: Path) -> None:
    data = write_photographs(tmp_path, 4)
    brief = BRIEF | {"crop": 32}
    recipe = {**RECIPE, "jscc": {"class": "SwinJSCC", "model": SWIN["released"], "recipe": brief}, "adversarial": brief}
    options = asked(recipe, data, tmp_path / "run", stages=("jscc",))
    trainer = DiffJSCCTrainer(options, quiet, presets.load_config(make_preset()))
    with pytest.raises(InputError, match="codec: METHOD/PRESET"):
        trainer.run("jscc")


@pytest.mark.parametrize(
    ("name", "line"),
    [("nano", "'nano' is not METHOD/PRESET"), ("scsic/nano", "no codec that sends images"), ("lrisc/no", "no such preset")],
)
def test_a_codec_that_cannot_be_taken_is_one_line(name: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        donor(name)


def test_a_recipe_of_another_class_has_its_own_sizes_alone() -> None:
    recipe = {"jscc": {"class": "DeepJSCC", "model": {"downsamplings": 4}, "recipe": {"batch": 32}}}
    assert changed(recipe, {"jscc": {"class": "SwinJSCC", "model": {"window": 8}}})["jscc"] == {
        "class": "SwinJSCC", "model": {"window": 8}, "recipe": {"batch": 32},
    }  # fmt: skip
    assert changed(recipe, {"jscc": {"model": {"width": 8}}})["jscc"]["model"] == {"downsamplings": 4, "width": 8}
    assert json.loads(json.dumps(recipe)) == recipe  # as it was
