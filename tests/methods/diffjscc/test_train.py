"""DiffJSCC's recipes on tiny networks and made photographs: every stage learns, and what comes out is a preset."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from diffusers.models import UNet2DConditionModel
from numpy.typing import NDArray
from torch import nn

from gencomm_cli import presets
from gencomm_cli.errors import InputError
from gencomm_cli.methods.base import Received, Request
from gencomm_cli.methods.diffjscc import method as method_module
from gencomm_cli.methods.diffjscc import train as train_module
from gencomm_cli.methods.diffjscc.method import CsiEmbedding, DiffJSCC
from gencomm_cli.methods.diffjscc.options import Receiver
from gencomm_cli.methods.diffjscc.train import (
    STAGES,
    CoarseCaptioner,
    CodecRecipe,
    ControlRecipe,
    DiffJSCCTrainer,
    ReceivedBatches,
    coarse_images,
    find_base,
    open_trainer,
    start_control,
)
from gencomm_cli.networks.backbone import Backbone
from gencomm_cli.networks.control import LatentControlNet
from gencomm_cli.networks.controlled import controlled, csi_features
from gencomm_cli.training import losses
from gencomm_cli.training.channel import ChannelDraw, awgn
from gencomm_cli.training.data import is_validation, to_tensor
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.loop import Schedule
from gencomm_cli.training.patchgan import PatchGAN, adversarial_losses
from gencomm_cli.training.trainer import TrainOptions, load_config, recipe_from, train
from tests.support.presets import UNET, make_diffjscc, make_preset, randomise  # noqa: F401 (fixtures)
from tests.support.training import CPU, asked, backbones, figures, quiet, write_photographs

LOAD = losses.load_perceptual
ADAPTIVE = {"class": "RateAdaptiveJSCC", "model": {"channels": 4, "code_channels": 16, "dims": [8], "depths": [1]}}
CONVOLUTIONAL = {
    "class": "DeepJSCC",
    "model": {
        "code_channels": 4, "downsamplings": 3, "width": 8, "encoder_width": 16, "decoder_width": 16, "encoder_blocks": 1,
        "decoder_blocks": 1, "fading": True,
    },
}  # fmt: skip
SWIN = {
    "class": "SwinJSCC",
    "model": {"dims": [8, 8], "depths": [1, 2], "heads": [2, 2], "window": 2, "trained_size": 32, "code_channels": 4},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_photographs(tmp_path_factory.mktemp("photographs"), 12)
    assert any(not is_validation(path.name) for path in folder.iterdir())
    return folder


def recipe(jscc: dict[str, Any], steps: int = 3) -> dict[str, Any]:
    brief = {"steps": steps, "learning_rate": 3e-3, "warmup": 5, "ema": 0.9}
    codec = {"schedule": brief, "batch": 2, "crop": 32}
    return {
        "name": "tiny", "start": "", "jscc": {**jscc, "recipe": codec},
        "control": {"schedule": brief, "batch": 2, "crop": 8}, "adversarial": codec | {"adversarial": 0.01},
        "rollout": {"schedule": brief, "batch": 2, "crop": 8, "steps": [2, 3], "painted": 600},
        "settings": {"domain": "latent", "cbr_range": [0.001, 0.1], "csi": {"width": 64, "scale": 4.0}, "captioner": "none"},
    }  # fmt: skip


@pytest.fixture(autouse=True)
def _perceptual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: backbones("squeeze"))


def state(module: nn.Module) -> list[torch.Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def moved(before: list[torch.Tensor], module: nn.Module) -> bool:
    return not all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


@pytest.mark.parametrize("jscc", [ADAPTIVE, CONVOLUTIONAL, SWIN], ids=["adaptive", "convolutional", "swin"])
def test_from_a_backbone_to_a_preset_and_its_adversarial_twin(
    jscc: dict[str, Any], data: Path, make_preset: Callable[..., Path], tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    base, options = presets.load_config(make_preset()), asked(recipe(jscc), data, tmp_path / "run", stages=tuple(STAGES))
    trainer = DiffJSCCTrainer(options, quiet, base)
    backbone = {name: state(getattr(trainer.backbone, name)) for name in ("codec", "unet", "text")}
    for stage, plan in STAGES.items():
        (name,) = plan.networks
        before, coded = state(trainer.module(name)), state(trainer.module("jscc"))
        assert not trainer.restore(stage)
        trainer.run(stage)
        trainer.save(stage)
        assert moved(before, trainer.module(name)), stage
        assert moved(coded, trainer.module("jscc")) is (stage == "jscc")  # frozen in the others
    assert not any(moved(weights, getattr(trainer.backbone, name)) for name, weights in backbone.items())
    trainer.export(tmp_path / "models")
    for name in ("tiny", "tiny-adv"):
        method = DiffJSCC.load(find_base(str(tmp_path / "models" / "diffjscc" / name)), CPU)
        sent = method.encode(np.zeros((40, 30, 3), np.uint8), Request(method.symbol_budget(0.01, (40, 30))))
        decoded = method.decode(Received(sent.symbols, None, 0.1, (40, 30)), Receiver(steps=2), seed=0)
        assert decoded.refined[0].shape == (40, 30, 3)
    again = DiffJSCCTrainer(options, quiet, base)
    assert all(again.restore(stage) for stage in STAGES)
    for name in ("jscc", "control", "adversary"):
        assert not moved(state(trainer.module(name)), again.module(name))


def test_the_codec_and_the_control_module_learn(data: Path, make_preset: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    config, fast = recipe(CONVOLUTIONAL), {"steps": 100, "learning_rate": 1e-2, "warmup": 5, "ema": 0.9}
    config["jscc"]["recipe"] |= {"schedule": fast, "batch": 4, "snr_db": [15, 20], "shares": [1, 0, 0]}
    config["control"] |= {"schedule": fast, "batch": 4}
    trainer = DiffJSCCTrainer(asked(config, data, tmp_path / "run"), quiet, presets.load_config(make_preset()))
    for stage in ("jscc", "control"):
        trainer.run(stage)
        first, *_, last = figures(trainer.out, stage)
        assert last < first, stage


def test_the_codecs_loss_has_lpips_by_its_weight(data: Path, make_preset: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    trainer = DiffJSCCTrainer(asked(recipe(CONVOLUTIONAL), data, tmp_path / "run"), quiet, presets.load_config(make_preset()))

    def loss(**values: float) -> tuple[float, dict[str, float]]:
        torch.manual_seed(0)
        codec = CodecRecipe(Schedule(steps=1, learning_rate=1e-3), batch=2, crop=64, **values)  # type: ignore[arg-type]
        total, said = trainer.stage("jscc", codec, np.random.default_rng(0)).loss(0, 0.0)
        return float(total.detach()), said

    alone, beside = loss(), loss(perceptual=0.5)
    assert "lpips" not in alone[1]
    assert beside[0] == pytest.approx(alone[0] + 0.5 * beside[1]["lpips"], rel=1e-5)
    assert beside[1]["lpips"] > 0


def test_the_whole_recipe_shares_out_its_minutes_and_resumes(
    data: Path, make_preset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    path, out, said = tmp_path / "recipe.json", tmp_path / "run", list[str]()
    path.write_text(json.dumps(recipe(ADAPTIVE) | {"start": str(make_preset())}))
    options = TrainOptions(data, out, path, max_minutes=5.0, stages=("jscc", "control"))
    preset = presets.load_config(train("diffjscc", options, said.append))
    assert (preset.method, preset.name) == ("diffjscc", "tiny")
    assert [line.split(":")[0] for line in said if "finished" in line] == ["jscc", "control"]
    saved = torch.load(out / "jscc.ckpt", weights_only=True)["schedule"]
    assert saved["max_minutes"] == pytest.approx(2.5)
    said.clear()
    train("diffjscc", TrainOptions(data, out, path, resume=True, stages=("jscc", "control")), said.append)
    assert not any("finished" in line for line in said)
    with pytest.raises(InputError, match="--resume"):
        train("diffjscc", TrainOptions(data, out, path), quiet)
    with pytest.raises(InputError, match="there is no sharpen"):
        train("diffjscc", TrainOptions(data, tmp_path / "other", path, stages=("sharpen",)), quiet)
    monkeypatch.setattr(losses, "load_perceptual", LOAD)
    with pytest.raises(InputError, match="no such folder"):
        train("diffjscc", TrainOptions(data, tmp_path / "blind", path, metric_weights=tmp_path / "nowhere"), quiet)
    with pytest.raises(InputError, match="no such preset"):
        train("diffjscc", TrainOptions(data, tmp_path / "third", path, stages=("jscc",), start="no-such-preset"), quiet)


def test_the_shipped_recipe_builds_on_the_shipped_preset(data: Path, tmp_path: Path) -> None:
    config = load_config(None, "diffjscc/nano.json", ())
    trainer = open_trainer(TrainOptions(data, tmp_path / "run"), quiet)
    assert trainer.base == find_base(config["start"])
    assert sum(p.numel() for p in trainer.module("control").parameters()) > 1e6
    assert recipe_from(ControlRecipe, config["control"]).schedule.learning_rate == 5e-4
    assert recipe_from(CodecRecipe, config["jscc"]["recipe"]).schedule == Schedule(20000, 4e-4, max_minutes=90, weight_decay=0.0)


def test_a_control_module_of_textguided_goes_on_as_it_was() -> None:
    """With T as its starting step, textguided's module predicts what the one that is started from it predicts without."""
    unet = UNet2DConditionModel(**UNET).eval()
    trained = LatentControlNet.over(unet).eval()
    randomise(trained, 5)
    embedding = CsiEmbedding(64, 4.0)
    ours = start_control(unet, embedding, trained).eval()
    z, f_v = torch.randn(2, 2, 4, 8, 8)
    text, snr, h = torch.randn(2, 3, 16), torch.tensor([3.0, 12.0]), torch.randn(2, dtype=torch.complex64)
    t = torch.tensor([900, 20])
    with torch.no_grad():
        expected = controlled(unet, trained, z, t, text, f_v, csi_features(snr, torch.full((2,), 1000), h))
        got = controlled(unet, ours, z, t, text, f_v, embedding(snr, h))
        fresh = controlled(unet, start_control(unet, embedding, None).eval(), z, t, text, f_v, embedding(snr, h))
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(fresh, expected, atol=1e-3)
    with pytest.raises(InputError, match="66 numbers of CSI, not 10"):
        start_control(unet, CsiEmbedding(8, 4.0), trained)


class Recorder:
    """A code that sends ones and remembers what it is given."""

    multiple = 1

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        return wanted

    def encode(self, image: torch.Tensor, symbols: int, snr_db: torch.Tensor, gain: torch.Tensor) -> torch.Tensor:
        self.sent_for = gain
        return torch.ones(len(image), symbols, dtype=torch.complex64)

    def decode(
        self, equalised: torch.Tensor, reliability: torch.Tensor, size: tuple[int, int], snr_db: torch.Tensor, gain: torch.Tensor
    ) -> torch.Tensor:
        self.heard, self.reliability = equalised, reliability
        return torch.zeros(len(equalised), 3, *size)


def test_the_channel_that_both_stages_train_in() -> None:
    """Zero-forcing's error is N0/|h|², the encoder knows h only where it knows the SNR, and only slow fading has an h."""
    torch.manual_seed(0)
    snr = torch.tensor([10.0, 10.0, 10.0, 10.0])
    channel = ChannelDraw(snr, torch.tensor([10.0, 10.0, 10.0, torch.nan]), torch.tensor([0, 1, 2, 2]))
    code = Recorder()
    _, gamma, h = coarse_images(code, torch.zeros(4, 3, 100, 100), channel, 1.0)
    error = (code.heard - 1).abs().square().mean(1)
    for index in (0, 2, 3):
        assert float(error[index]) == pytest.approx(0.1 / float(h[index].abs().square()), rel=0.05)
    assert h[:2].tolist() == [1, 1]
    assert abs(complex(h[2]) - 1) > 1e-3
    assert code.sent_for.tolist() == [1, 1, complex(h[2]), 1]
    assert gamma[[0, 2, 3]].tolist() == [10, 10, 10]
    mean = float(code.reliability[1].mean())
    assert float(gamma[1]) == pytest.approx(10 * np.log10(mean / (1 - mean)), abs=1e-3)


def test_captions_of_many_pictures_are_the_captioners_own() -> None:
    from gencomm_cli.text.captioners import caption

    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    pictures[1] //= 4
    images = torch.from_numpy(pictures).permute(0, 3, 1, 2) / 255
    assert CoarseCaptioner()(images) == [caption(picture, "builtin", "cpu") for picture in pictures]


def test_training_captions_with_what_decodes(
    data: Path, make_preset: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    """The captioner of the preset is shown each coarse picture, as the receiver shows it."""
    seen: list[tuple[tuple[int, ...], str]] = []

    def caption(picture: NDArray[np.uint8], captioner: str, _: str) -> str:
        seen.append((picture.shape, captioner))
        return "a door"

    monkeypatch.setattr(train_module, "caption", caption)
    config = recipe(CONVOLUTIONAL)
    config["settings"]["captioner"] = "hf:somewhere"
    config["control"]["schedule"]["steps"] = 1
    DiffJSCCTrainer(asked(config, data, tmp_path / "run"), quiet, presets.load_config(make_preset())).run("control")
    assert seen[:2] == [((32, 32, 3), "hf:somewhere")] * 2


class Counting:
    """A captioner that says which pictures it was shown, and when."""

    def __init__(self) -> None:
        self.shown: list[float] = []

    def __call__(self, images: torch.Tensor) -> list[str]:
        self.shown += [float(image.mean()) for image in images]
        return [f"{float(image.mean())} at {len(self.shown)}" for image in images]


def batches(preset: presets.Preset, captioner: str, **recipe: Any) -> ReceivedBatches:
    """Of photographs that the test brings along."""
    method = DiffJSCC.load(preset, CPU)
    numbers = ControlRecipe(Schedule(1, 1e-3), **recipe)
    return ReceivedBatches(
        Backbone(preset, CPU), method.code, method.csi, cast(Latents, None), numbers, np.random.default_rng(0), CPU, captioner
    )


def test_a_photographs_words_are_kept_for_some_steps(make_diffjscc: Callable[..., Path]) -> None:  # noqa: F811
    """Of photographs 4, 5 and 6, by pictures of 0, 1, 2, …; with 0 nothing is kept, not even within a step."""
    preset = presets.load_config(make_diffjscc("published"))
    pictures = torch.arange(8.0).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    for every, shown in ((3, [0, 1, 3, 4, 6]), (0, [0, 1, 2, 3, 4, 5, 6, 7])):
        kept, captioner = batches(preset, "none", caption_every=every), Counting()
        kept.captioner = captioner  # type: ignore[assignment]
        said = [
            kept.captions(pictures[2 * turn : 2 * turn + 2], photographs, step)
            for turn, (photographs, step) in enumerate((([4, 5], 0), ([5, 6], 1), ([4, 6], 3), ([6, 4], 4)))
        ]
        assert captioner.shown == shown
        if every:
            assert said[1][0] == said[0][1]  # of photograph 5
            assert said[2][1] == said[1][1] != said[3][0]  # of photograph 6, stale by the last turn
            assert said[3][1] == said[2][0] != said[0][0]  # of photograph 4


def test_train_and_decode_see_the_same_words(
    make_diffjscc: Callable[..., Path], monkeypatch: pytest.MonkeyPatch  # noqa: F811
) -> None:  # fmt: skip
    """Over the same channel both caption the very same 8-bit picture, by the preset's captioner."""
    preset = presets.load_config(make_diffjscc("pixel", captioner="hf:somewhere"))

    def caption(picture: NDArray[np.uint8], captioner: str, _: str) -> str:
        return f"{captioner} {hashlib.sha256(picture.tobytes()).hexdigest()}"

    for module in (train_module, method_module):
        monkeypatch.setattr(module, "caption", caption)
    quiet_channel = lambda symbols, channel, block: (symbols, torch.ones_like(symbols), torch.full((len(symbols), 1), 1e-3))  # noqa: E731
    monkeypatch.setattr(train_module, "through", quiet_channel)
    rng, method = np.random.default_rng(0), DiffJSCC.load(preset, CPU)
    pictures = rng.integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    learnt = batches(preset, preset.settings["captioner"])
    said = []
    for picture in pictures:
        with torch.no_grad():
            x_hat, *_ = learnt.receive(to_tensor(picture[None], CPU), awgn(1, 30.0, CPU), 1 / 96)
        said += learnt.captions(x_hat, [0], 0)
        sent = method.encode(picture, Request(method.symbol_budget(1 / 96, (64, 64)), 30.0))
        assert method.decode(Received(sent.symbols, None, 1e-3, (64, 64)), Receiver(steps=1), seed=0).caption == said[-1]
    assert len(set(said)) == 2


def test_patchgan_sees_70_pixels_and_its_losses_stay_apart() -> None:
    torch.manual_seed(0)
    critic = PatchGAN(4).eval()  # batch normalisation would spread a pixel's influence in training
    image = torch.rand(1, 3, 192, 192, requires_grad=True)
    verdict = critic(image)
    assert verdict.shape == (1, 1, 22, 22)
    (gradient,) = torch.autograd.grad(verdict[0, 0, 11, 11], image)
    rows = gradient.abs().sum((0, 1, 3)).nonzero()
    assert int(rows.max() - rows.min()) + 1 == 70
    made = (image.detach() * 0.5).requires_grad_()
    fooling, telling = adversarial_losses(critic, image.detach(), made)
    fooling.backward()
    assert made.grad is not None
    assert all(parameter.grad is None for parameter in critic.parameters())
    made.grad = None
    telling.backward()
    assert made.grad is None
    assert all(parameter.grad is not None for parameter in critic.parameters())
    real, fake = (critic(x).detach() for x in (image, made))
    assert float(fooling.detach()) == pytest.approx(float((fake - 1).square().mean()))
    assert float(telling.detach()) == pytest.approx(float(((real - 1).square().mean() + fake.square().mean()) / 2))


def test_the_code_around_the_klt_is_trained_with_its_coarse_head(
    data: Path, make_preset: Callable[..., Path], tmp_path: Path  # noqa: F811
) -> None:  # fmt: skip
    klt = {
        "channels": 4, "code_channels": 16, "factor": 2, "pixels": 4, "width": 8, "depths": [1, 1], "token_width": 16,
        "token_depth": 1,
    }  # fmt: skip
    jscc = {"class": "KLTJSCC", "model": klt, "coarse": {"channels": 4, "factor": 4, "width": 8, "depth": 1}}
    options = asked(recipe(jscc), data, tmp_path / "run", stages=tuple(STAGES))
    trainer = DiffJSCCTrainer(options, quiet, presets.load_config(make_preset()))
    before = {name: state(trainer.module(name)) for name in ("jscc", "coarse")}
    preset = presets.load_config(trainer.complete())
    assert all(moved(before[name], trainer.module(name)) for name in before)
    sibling = presets.load_config(preset.folder.with_name("tiny-adv"))
    assert preset.components["coarse"].sha256 == sibling.components["coarse"].sha256
    method, image = DiffJSCC.load(preset, CPU), np.full((40, 60, 3), 90, np.uint8)
    sent = method.encode(image, Request(24, 10.0))
    coarse = method.decode(Received(sent.symbols, None, 0.1, (40, 60)), Receiver(coarse=True), seed=0).coarse
    assert coarse.shape == image.shape


def test_rollouts_teach_the_states_that_the_sampler_meets(data: Path, make_preset: Callable[..., Path], tmp_path: Path) -> None:  # noqa: F811
    config = recipe(ADAPTIVE)
    config["rollout"] |= {"schedule": {"steps": 100, "learning_rate": 1e-2, "warmup": 5, "ema": 0.9}, "batch": 4, "perceptual": 0.0}
    trainer = DiffJSCCTrainer(asked(config, data, tmp_path / "run"), quiet, presets.load_config(make_preset()))
    trainer.run("rollout")
    first, *_, last = figures(trainer.out, "rollout", "latent")
    assert last < first
