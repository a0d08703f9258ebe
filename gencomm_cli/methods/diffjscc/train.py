"""DiffJSCC's recipes (paper 001, section III-A): the JSCC alone, the control module alone, and the baseline DeepJSCC-adv."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from diffusers.models import UNet2DConditionModel
from torch import Tensor, nn

from gencomm_cli import presets
from gencomm_cli.channels.equalisers import effective_snr_db, reliability
from gencomm_cli.diffusion.schedule import scaled_linear, spaced_steps
from gencomm_cli.errors import InputError
from gencomm_cli.methods.diffjscc.image_code import ImageCode, image_code
from gencomm_cli.methods.diffjscc.method import CsiEmbedding, equalise, sample
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.backbone import Backbone
from gencomm_cli.networks.control import CSI_WIDTH, FEATURES, LatentControlNet, control_arguments, controlled
from gencomm_cli.networks.rate_adaptive import RateAdaptiveJSCC, sinusoid
from gencomm_cli.networks.vae import Domain
from gencomm_cli.presets import FORMAT, VERSION, Component, Preset, entry_of, file_hash, find, is_pretrained, models_root
from gencomm_cli.presets.build import build, builders
from gencomm_cli.text import retrieval
from gencomm_cli.training.air import Air, block_gains, draw, draw_cbr, through
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.jscc import token_statistics
from gencomm_cli.training.latent_space import frozen
from gencomm_cli.training.latents import Latents, compute
from gencomm_cli.training.loop import Schedule, autocast, fit
from gencomm_cli.training.parallel import rows
from gencomm_cli.training.patchgan import PatchGAN, adversarial_losses
from gencomm_cli.training.refiner import fold_pattern
from gencomm_cli.training.workshop import StagedWorkshop, TrainOptions, load_judges, recipe_from, store

NETWORKS = {"jscc": ("jscc",), "control": ("control",), "rollout": ("control",), "adversarial": ("adversary",)}
"""What each stage trains, in the order of the stages."""

STAGES = ("jscc", "control", "rollout")
"""Without being asked for more; ``adversarial`` makes a baseline of the trained JSCC."""

Report = Callable[[str], None]


@dataclass(frozen=True)
class CodecRecipe:
    """E‖x − x̂‖² (eq. 6) [+ α · PatchGAN loss: DeepJSCC-adv] on random crops.

    Attributes:
        crop: side in pixels. snr_db: γ is uniform in it.
        shares: of AWGN, of fading symbol by symbol, of slow fading.
        adversarial: α; 0 is the JSCC itself.
    """

    schedule: Schedule
    batch: int = 8
    crop: int = 128
    snr_db: tuple[float, float] = (-5.0, 20.0)
    shares: tuple[float, float, float] = (0.5, 0.2, 0.3)
    adversarial: float = 0.0
    seed: int = 2


@dataclass(frozen=True)
class ControlRecipe:
    """E w(t)‖ε − ε_θ(z_t, c̄, t)‖² over t = 1 … T; the JSCC is frozen.

    w = 1 + min((1 − ᾱ_t)/ᾱ_t, ``emphasis``), where the second term counts errors of ẑ_0. Eq. 15 is ``emphasis`` = 0: there small
    networks leave ẑ_0 at large t, where the sampler lays out the picture, worse than the condition f_v itself.

    Attributes:
        crop: side in latent positions. snr_db, shares: as in :class:`CodecRecipe`.
        captions: ``coarse`` captions x̂ with the built-in captioner, as the receiver does; ``given`` takes the photographs' own.
        drop: each condition is left out for this share of the samples, each on its own, so that it can be switched off.
    """

    schedule: Schedule
    batch: int = 8
    crop: int = 16
    snr_db: tuple[float, float] = (-5.0, 20.0)
    shares: tuple[float, float, float] = (0.5, 0.2, 0.3)
    captions: Literal["coarse", "given"] = "coarse"
    drop: float = 0.1
    emphasis: float = 0.0
    seed: int = 3


@dataclass(frozen=True)
class RolloutRecipe:
    """E‖z_0 − ẑ_0‖² [+ MSE and LPIPS of D(ẑ_0)] where the sampler itself comes by; everything but the control module is frozen.

    Not the paper's: it trains at states that the forward process leaves. The states that a small network's own sampler meets are
    others, and its errors grow over 50 steps unless it has learned to mend them.

    Attributes:
        steps: of the sampler, drawn anew for each batch. pixel, perceptual, grid: weights of D(ẑ_0)'s terms (as in
            ``RefinerRecipe``) at steps up to ``painted``. crop, snr_db, shares, captions, drop: as in :class:`ControlRecipe`.
    """

    schedule: Schedule
    batch: int = 8
    crop: int = 16
    snr_db: tuple[float, float] = (-5.0, 20.0)
    shares: tuple[float, float, float] = (0.5, 0.2, 0.3)
    captions: Literal["coarse", "given"] = "coarse"
    drop: float = 0.1
    steps: tuple[int, ...] = (10, 25, 50)
    painted: int = 400
    pixel: float = 2.5
    perceptual: float = 1.0
    grid: float = 300.0
    seed: int = 4


def coarse_images(code: ImageCode, image: Tensor, air: Air, cbr: float) -> tuple[Tensor, Tensor, Tensor]:
    """x̂ of images [B, 3, H, W] through the air (eqs. 3–5), γ in dB [B] and h [B] as the receiver is told them."""
    size = (image.shape[2], image.shape[3])
    block = block_gains(air)
    known = torch.where(air.told.isnan(), torch.ones_like(block), block)
    symbols = code.encode(image, code.symbols(round(cbr * image[0].numel()), size), air.told, known)
    received, gain, n0 = through(symbols, air, block)
    weights = reliability(gain, n0)  # type: ignore[type-var]
    gamma = torch.where(air.kind == 1, effective_snr_db(weights.mean(1)), air.snr_db)
    return code.decode(equalise(received, gain), weights, size, gamma, block).float(), gamma, block


def train_codec(
    stage: str,
    jscc: nn.Module,
    code: ImageCode,
    photographs: Photographs,
    recipe: CodecRecipe,
    out: Path,
    device: torch.device,
    report: Report = print,
) -> None:
    """Trains ``jscc``, which ``code`` sends images with, in place; its SNR unknown to the encoder 40 % of the time."""
    generator = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    modules: dict[str, nn.Module] = {"jscc": jscc.to(device).requires_grad_(True).train()}
    critic = PatchGAN().to(device) if recipe.adversarial else None
    if critic is not None:
        modules["critic"] = critic

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        image = to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device)
        air, cbr = draw(recipe.batch, generator, device, recipe.snr_db, recipe.shares), draw_cbr(generator)
        with autocast(device, recipe.schedule.precision):
            x_hat = coarse_images(code, image, air, cbr)[0]
            mse = (x_hat - image).square().mean()
            total, figures = mse, {"psnr": float(-10 * mse.detach().log10())}
            if critic is not None:
                fooling, telling = adversarial_losses(critic, image, x_hat)
                total = total + recipe.adversarial * (fooling + telling)
                figures |= {"fooling": float(fooling.detach()), "telling": float(telling.detach())}
        return total, figures

    fit(modules, loss, generator, recipe.schedule, out, stage, report=report)
    frozen(jscc)


class CoarseCaptioner:
    """The built-in captioner for many pictures: its tables are loaded once."""

    def __init__(self) -> None:
        self.tables = retrieval.load(models_root() / "shared" / "captioner")
        self.places = self.tables.locate(self.tables.captions)

    def __call__(self, images: Tensor) -> list[str]:
        """One caption for each of the images [B, 3, H, W]."""
        pictures = images.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        found = np.stack([retrieval.features(picture) for picture in pictures])
        return [self.tables.captions[best] for best in (self.tables.expect(found) @ self.places.T).argmax(1)]


@dataclass(frozen=True)
class Conditions:
    """What a batch was sent as and what its receiver has: z_0, the image, f_v, f_t and the embedded CSI."""

    z_0: Tensor
    image: Tensor
    f_v: Tensor
    f_t: Tensor
    csi: Tensor


class Receiver:
    """Batches of :class:`Conditions`, each of which is left out for a share of the samples."""

    def __init__(
        self, backbone: Backbone, code: ImageCode, csi: CsiEmbedding, latents: Latents, recipe: ControlRecipe | RolloutRecipe,
        device: torch.device,
    ) -> None:  # fmt: skip
        self.backbone, self.code, self.csi, self.latents, self.recipe, self.device = backbone, code, csi, latents, recipe, device
        self.generator = np.random.default_rng(recipe.seed)
        self.captioner = CoarseCaptioner() if recipe.captions == "coarse" else None

    @torch.no_grad()
    def draw(self) -> Conditions:
        """The next batch, sent over channels of its own."""
        recipe, generator = self.recipe, self.generator
        clean, pixels, given = self.latents.crops(recipe.batch, recipe.crop, generator)
        z_0, image = clean.to(self.device), to_tensor(pixels, self.device)
        air, cbr = draw(recipe.batch, generator, self.device, recipe.snr_db, recipe.shares), draw_cbr(generator)
        x_hat, gamma, h = coarse_images(self.code, image, air, cbr)
        x_hat = x_hat.clamp(0, 1)
        f_v = self._kept(self.backbone.codec.encode(x_hat).float())
        captions = given if self.captioner is None else self.captioner(x_hat)
        dropped = rows(generator.random, recipe.batch) < recipe.drop
        f_t = self.backbone.text(["" if drop else words for drop, words in zip(dropped, captions, strict=True)])
        return Conditions(z_0, image, f_v, f_t, self._kept(self.csi(gamma, h)))

    def _kept(self, tensor: Tensor) -> Tensor:
        """The condition [B, …], zero where it is left out."""
        keep = torch.from_numpy(rows(self.generator.random, self.recipe.batch) >= self.recipe.drop).to(self.device)
        return tensor * keep.view(-1, *[1] * (tensor.ndim - 1))


def train_control(
    control: LatentControlNet,
    backbone: Backbone,
    code: ImageCode,
    csi: CsiEmbedding,
    latents: Latents,
    recipe: ControlRecipe,
    out: Path,
    device: torch.device,
    report: Report = print,
) -> None:
    """Trains the control module in place; every other network is frozen."""
    alpha_bar = scaled_linear().float().to(device)
    receiver = Receiver(backbone, code, csi, latents, recipe, device)
    torch.manual_seed(recipe.seed)
    control.to(device, memory_format=torch.channels_last).requires_grad_(True).train()  # type: ignore[call-overload]

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        with autocast(device, recipe.schedule.precision):
            batch = receiver.draw()
            t = torch.from_numpy(rows(lambda n: receiver.generator.integers(1, len(alpha_bar), n), recipe.batch)).to(device)
            a, noise = alpha_bar[t].view(-1, 1, 1, 1), torch.randn_like(batch.z_0)
            z_t = a.sqrt() * batch.z_0 + (1 - a).sqrt() * noise
            predicted = controlled(backbone.unet, control, z_t, t, batch.f_t, batch.f_v, batch.csi)
        error = (predicted.float() - noise).square().mean((1, 2, 3))
        weight = 1 + ((1 - alpha_bar[t]) / alpha_bar[t]).clamp_max(recipe.emphasis)
        return (weight * error).mean(), {"unweighted": float(error.mean().detach())}

    fit({"control": control}, loss, receiver.generator, recipe.schedule, out, "control", report=report)
    frozen(control)


def train_rollout(
    control: LatentControlNet,
    backbone: Backbone,
    code: ImageCode,
    csi: CsiEmbedding,
    latents: Latents,
    recipe: RolloutRecipe,
    judges: Sequence[LPIPS],
    out: Path,
    device: torch.device,
    report: Report = print,
) -> None:
    """Trains the control module in place at three states of each run of the sampler, two of them late ones."""
    alpha_bar = scaled_linear().to(device)
    receiver, codec = Receiver(backbone, code, csi, latents, recipe, device), backbone.codec
    torch.manual_seed(recipe.seed)
    control.to(device, memory_format=torch.channels_last).requires_grad_(True).train()  # type: ignore[call-overload]

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        steps = spaced_steps(int(receiver.generator.choice(recipe.steps)))
        late = [index for index, t in enumerate(steps[:-1]) if t <= recipe.painted]
        visited = sorted({int(receiver.generator.integers(len(steps) - 1)), *receiver.generator.choice(late, 2).tolist()})
        terms, figures = [], {}
        with autocast(device, recipe.schedule.precision):
            batch = receiver.draw()

            def predict(z: Tensor, t: int) -> Tensor:
                told = torch.full((recipe.batch,), t, device=device)
                return controlled(backbone.unet, control, z, told, batch.f_t, batch.f_v, batch.csi).float()

            z, reached = torch.randn_like(batch.z_0), 0
            for index in visited:
                with torch.no_grad():
                    z = sample(z, steps[reached : index + 1], alpha_bar, predict, lambda _: torch.randn_like(batch.z_0))
                reached, a = index, float(alpha_bar[steps[index]])
                z_0 = (z - (1 - a) ** 0.5 * predict(z, steps[index])) / a**0.5
                terms.append((z_0 - batch.z_0).square().mean())
                figures["latent"] = float(terms[-1].detach())
                if steps[index] <= recipe.painted:
                    picture = codec.decode(z_0).float()
                    mse = (picture - batch.image).square().mean()
                    perceptual = torch.stack([judge(picture, batch.image).mean() for judge in judges]).mean()
                    terms.append(recipe.pixel * mse + recipe.perceptual * perceptual)
                    if recipe.grid and codec.fold > 1:
                        terms.append(recipe.grid * fold_pattern(picture - batch.image, codec.fold))
                    figures |= {"psnr": float(-10 * mse.detach().log10()), "lpips": float(perceptual.detach())}
        return torch.stack(terms).sum() / len(visited), figures

    fit({"control": control}, loss, receiver.generator, recipe.schedule, out, "rollout", report=report)
    frozen(control)


def start_control(
    unet: UNet2DConditionModel, csi: CsiEmbedding, trained: nn.Module | None, anchored: bool = False
) -> LatentControlNet:
    """A control module for ``unet``, started from a trained one, or from the UNet's encoder.

    textguided's is told its starting step, which here is always T: that part of its first CSI layer becomes bias.

    Raises:
        InputError: the trained one is told the channel in another way.
    """
    control = LatentControlNet.over(unet, csi.size, anchored)
    if trained is None:
        return control
    state, first = trained.state_dict(), "class_embedding.linear_1"
    if state[f"{first}.weight"].shape[1] == CSI_WIDTH:
        snr, start, gain = state[f"{first}.weight"].split([FEATURES, FEATURES, 2], 1)
        state[f"{first}.weight"] = torch.cat([snr, gain], 1)
        state[f"{first}.bias"] = state[f"{first}.bias"] + start @ sinusoid(torch.tensor([1000.0]), FEATURES)[0]
    if state[f"{first}.weight"].shape[1] != csi.size:
        raise InputError(f"--start: its control module takes {state[f'{first}.weight'].shape[1]} numbers of CSI, not {csi.size}")
    control.load_state_dict({**control.state_dict(), **state})
    return control


class Workshop(StagedWorkshop):
    """The networks of one run: VAE, UNet and text encoder of the preset ``base``, and what is trained over them.

    JSCC and control module start from ``base``'s, where it has such of the same sizes.
    """

    networks = NETWORKS

    def __init__(
        self,
        config: dict[str, Any],
        base: Preset,
        photographs: Photographs,
        out: Path,
        device: torch.device,
        judges: Sequence[LPIPS] = (),
    ) -> None:
        self.config, self.base, self.photographs, self.out, self.device, self.judges = (
            config,
            base,
            photographs,
            out,
            device,
            judges,
        )
        torch.manual_seed(0)
        self.backbone = Backbone(base, device)
        self.backbone.load()  # now: built within a step, they would draw from its random numbers
        self.domain: Domain = config["settings"].get("domain", "latent")
        self.csi = CsiEmbedding(**config["settings"].get("csi", {}))
        trained = base.components.get("control")
        self.anchored: bool = config["settings"].get("anchored", False)
        started = None if trained is None else build(trained, torch.device("cpu"))
        self.control = start_control(self.backbone.unet, self.csi, started, self.anchored)
        self.jscc = self._jscc()
        self._adversary: nn.Module | None = None

    def _jscc(self) -> nn.Module:
        """The JSCC of the recipe: the base's weights if it is the same, else (rate-adaptive) the linear optimum."""
        class_name, sizes = self.config["jscc"]["class"], self.config["jscc"]["model"]
        jscc: nn.Module = builders()[class_name](**sizes)
        found = self.base.components.get("jscc")
        if found is not None and (found.class_name, dict(found.config)) == (class_name, sizes):
            jscc.load_state_dict(build(found, torch.device("cpu")).state_dict())
        elif isinstance(jscc, RateAdaptiveJSCC):
            pixels = self.photographs.crops(256, 128, np.random.default_rng(0))[0]
            fields = to_tensor(pixels, self.device)
            if self.domain == "latent":
                with torch.no_grad():
                    fields = torch.cat([self.backbone.codec.encode(part) for part in fields.split(16)])
            jscc.start_linear(*token_statistics(fields.contiguous().cpu(), jscc.config.factor))
        return jscc

    def module(self, name: str) -> nn.Module:
        """``jscc``, ``control``, or ``adversary``: the JSCC that is trained against a critic, a copy of the trained one."""
        if name == "adversary":
            if self._adversary is None:
                self._adversary = copy.deepcopy(self.jscc)
            return self._adversary
        return self.control if name == "control" else self.jscc

    def run(self, stage: str, max_minutes: float | None, report: Report) -> None:
        """Trains one stage, whose predecessors are finished."""
        codec, run = self.backbone.codec, (self.out, self.device, report)
        if stage in ("control", "rollout"):
            code = image_code(frozen(self.jscc.to(self.device)), codec, self.domain)
            latents = compute(codec, self.photographs, self.out / "latents.npy", self.device, report)
            networks = (self.control, self.backbone, code, self.csi, latents)
            if stage == "control":
                train_control(*networks, recipe_from(ControlRecipe, self.config[stage], max_minutes), *run)
            else:
                train_rollout(*networks, recipe_from(RolloutRecipe, self.config[stage], max_minutes), self.judges, *run)
            return
        jscc = self.module(NETWORKS[stage][0])
        values = self.config["jscc"]["recipe"] if stage == "jscc" else self.config[stage]
        codec_recipe = recipe_from(CodecRecipe, values, max_minutes)
        train_codec(stage, jscc, image_code(jscc, codec, self.domain), self.photographs, codec_recipe, *run)

    def export(self, models: Path, report: Report = print) -> Path:
        """Writes ``models/diffjscc/<name>``, ``<name>-adv`` if it was trained, and what they share with the base."""
        components = {
            part: self._shared(self.base.components[part], models) for part in ("vae", "unet", "text_encoder", "tokenizer")
        }
        control = control_arguments(self.backbone.unet) | {"csi_width": self.csi.size, "anchored": self.anchored}
        name, code = self.config["name"], self.config["jscc"]
        codes = {name: self.jscc} if self._adversary is None else {name: self.jscc, f"{name}-adv": self._adversary}
        for preset, jscc in codes.items():
            own = models / "diffjscc" / preset
            own.mkdir(parents=True, exist_ok=True)
            for part, class_name, module, arguments in (
                ("control", "LatentControlNet", self.control, control), ("jscc", code["class"], jscc, code["model"])
            ):  # fmt: skip
                path = own / f"{part}.safetensors"
                store(module, path)
                components[part] = {
                    "class": class_name, "file": str(path.relative_to(models)), "sha256": file_hash(path), "config": arguments
                }  # fmt: skip
            document = {
                "format": FORMAT, "version": VERSION, "method": "diffjscc", "name": preset,
                "components": components, "settings": self.config["settings"],
            }  # fmt: skip
            (own / "config.json").write_text(json.dumps(document, indent=1) + "\n")
        return models / "diffjscc" / name

    def _shared(self, component: Component, models: Path) -> dict[str, Any]:
        """A component of the base as the new preset names it; its file lies at the same place inside ``models``."""
        if component.path is None:
            return entry_of(component)
        relative = Path("shared") / self.base.name / component.path.name
        (models / relative).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(component.path, models / relative)
        return {
            "class": component.class_name, "file": str(relative), "sha256": component.sha256, "config": dict(component.config)
        }  # fmt: skip


def find_base(name: str) -> Preset:
    """The preset to build on: a folder's, else diffjscc's or textguided's of that name.

    Raises:
        InputError: there is none.
    """
    if (Path(name) / "config.json").is_file():
        return presets.load_config(Path(name))
    try:
        return find("diffjscc", name)
    except InputError:
        return find("textguided", name)


def train(options: TrainOptions, report: Report = print) -> Path:
    """Trains every stage that is not finished and writes the preset to ``options.out / "models"``.

    Raises:
        InputError: unusable recipe, data or folder.
    """
    full_size = options.start is not None and is_pretrained(find_base(options.start))
    shipped = "diffjscc/paper.json" if full_size else "diffjscc/nano.json"
    config = options.open(shipped, {"name", "start", "jscc", "control", "rollout", "adversarial", "settings"})
    stages, device = options.stages or STAGES, torch.device(options.device)
    judges = load_judges(options.metric_weights, device) if "rollout" in stages else []
    base = find_base(options.start or config["start"])
    if full_size and "captioner" in base.settings:  # as `models add --captioner` was told
        config["settings"]["captioner"] = base.settings["captioner"]
    if options.captioner != "none":
        for stage in ("control", "rollout"):
            config[stage]["captions"] = "given"
    return Workshop(config, base, options.photographs(report), options.out, device, judges).complete(stages, options, report)
