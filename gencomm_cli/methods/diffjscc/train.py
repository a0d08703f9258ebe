"""DiffJSCC's recipes (section III-A): the JSCC alone, the control module alone, and the baseline DeepJSCC-adv."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import torch
from diffusers.models import UNet2DConditionModel
from torch import Tensor, nn

from gencomm_cli.channels.equalisers import effective_snr_db, reliability
from gencomm_cli.diffusion.schedule import scaled_linear, spaced_steps
from gencomm_cli.diffusion.steps import noised
from gencomm_cli.errors import InputError
from gencomm_cli.methods import specs
from gencomm_cli.methods.base import Fading, Received, Request
from gencomm_cli.methods.diffjscc.image_code import CODEC, Decode, ImageCode, PictureCode, image_code, inner_codec
from gencomm_cli.methods.diffjscc.method import CsiEmbedding, clean_estimate, diffusion_loss, jscc_loss, sample
from gencomm_cli.methods.options import Domain
from gencomm_cli.metrics.efficientnet_lite import EfficientNetLite
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.backbone import BACKBONE, Backbone
from gencomm_cli.networks.coarse import CoarseHead
from gencomm_cli.networks.control import LatentControlNet, control_arguments
from gencomm_cli.networks.controlled import CSI_WIDTH, FEATURES, controlled
from gencomm_cli.networks.conventions import forced
from gencomm_cli.networks.klt_jscc import KLTJSCC
from gencomm_cli.networks.rate_adaptive import RateAdaptiveJSCC, sinusoid
from gencomm_cli.presets import Preset, find, find_any, is_pretrained, models_root, verify
from gencomm_cli.presets.build import build
from gencomm_cli.presets.write import taken, write_preset
from gencomm_cli.text import retrieval
from gencomm_cli.text.captioners import caption
from gencomm_cli.training.channel import ChannelDraw, SentRecipe, awgn, block_gains, through
from gencomm_cli.training.critic import critic_of
from gencomm_cli.training.data import Photographs, to_tensor
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.linear_start import start_code
from gencomm_cli.training.loop import autocast
from gencomm_cli.training.losses import fold_pattern, perceptual_loss, psnr
from gencomm_cli.training.parallel import rows
from gencomm_cli.training.patchgan import PatchGAN, adversarial_losses
from gencomm_cli.training.stage import Plan, Stage, frozen, trained
from gencomm_cli.training.trainer import Report, Trainer, TrainOptions


@dataclass(frozen=True)
class CodecRecipe(SentRecipe):
    """E‖x − x̂‖² (eq. 6) [+ LPIPS] [+ α · PatchGAN loss: DeepJSCC-adv] on random crops.

    Attributes:
        crop: side in pixels. perceptual: weight of LPIPS, not the paper's. adversarial: α; 0 is the JSCC itself.
    """

    shares: tuple[float, float, float] = (0.5, 0.2, 0.3)
    crop: int = 128
    perceptual: float = 0.0
    adversarial: float = 0.0
    seed: int = 2


@dataclass(frozen=True)
class ReceivedRecipe(SentRecipe):
    """Of a control module under the conditions that a receiver has; the JSCC is frozen.

    Attributes:
        crop: side in latent positions.
        captions: ``coarse`` captions x̂ with the captioner that the preset decodes with; ``given`` takes the photographs' own.
        caption_every: steps after which a photograph's x̂ is captioned anew, by the crop and channel of that step; 0: whenever it
            is seen, as in the authors' program. A run that is resumed begins with none.
        drop: each condition is left out for this share of the samples, each on its own, so that it can be switched off.
    """

    shares: tuple[float, float, float] = (0.5, 0.2, 0.3)
    crop: int = 16
    captions: Literal["coarse", "given"] = "coarse"
    caption_every: int = 0
    drop: float = 0.1


@dataclass(frozen=True)
class ControlRecipe(ReceivedRecipe):
    """E w(t)‖ε − ε_θ(z_t, c̄, t)‖² over t = 1 … T.

    w = 1 + min((1 − ᾱ_t)/ᾱ_t, ``emphasis``), where the second term counts errors of ẑ_0. Eq. 15 is ``emphasis`` = 0: there small
    networks leave ẑ_0 at large t, where the sampler lays out the picture, worse than the condition f_v itself.
    """

    emphasis: float = 0.0
    seed: int = 3


@dataclass(frozen=True)
class RolloutRecipe(ReceivedRecipe):
    """E‖z_0 − ẑ_0‖² [+ MSE and LPIPS of D(ẑ_0)] where the sampler itself comes by; everything but the control module is frozen.

    Not the paper's: it trains at states that the forward process leaves. The states that a small network's own sampler meets are
    others, and its errors grow over 50 steps unless it has learned to mend them.

    Attributes:
        steps: of the sampler, drawn anew for each batch. pixel, perceptual, grid: weights of D(ẑ_0)'s terms (as in
            ``RefinerRecipe``) at steps up to ``painted``. critic: of a hinge loss on the last of these pictures beside x̂, as there.
    """

    steps: tuple[int, ...] = (10, 25, 50)
    painted: int = 400
    pixel: float = 2.5
    perceptual: float = 1.0
    grid: float = 300.0
    critic: float = 0.0
    seed: int = 4


FADING: tuple[Fading, ...] = ("awgn", "rayleigh", "block")
"""What the kinds of :class:`~gencomm_cli.training.channel.ChannelDraw` are called on the command line."""


def coarse_images(code: ImageCode | PictureCode, image: Tensor, channel: ChannelDraw, cbr: float) -> tuple[Tensor, Tensor, Tensor]:
    """x̂ of images [B, 3, H, W] through the channel (eqs. 3–5), γ in dB [B] and h [B] as the receiver knows them."""
    if isinstance(code, PictureCode) and len(image) > 1:
        pictures = [coarse_images(code, image[row : row + 1], channel.row(row), cbr) for row in range(len(image))]
        x_hat, gamma, h = (torch.cat(parts) for parts in zip(*pictures, strict=True))
        return x_hat, gamma, h
    size = (image.shape[2], image.shape[3])
    block = block_gains(channel)
    known = torch.where(channel.tx_snr_db.isnan(), torch.ones_like(block), block)
    count = code.symbols(round(cbr * image[0].numel()), size)
    if isinstance(code, PictureCode):
        symbols, decode = sent_picture(code, image, count, channel, block, known)
    else:
        symbols, decode = code.encode(image, count, channel.tx_snr_db, known), code.decode
    received, gain, n0 = through(symbols, channel, block)
    weights = reliability(gain, n0)  # type: ignore[type-var]
    gamma = torch.where(channel.kind == 1, effective_snr_db(weights.mean(1)), channel.snr_db)
    return decode(forced(received, gain), weights, size, gamma, block).float(), gamma, block


def sent_picture(
    code: PictureCode, image: Tensor, count: int, channel: ChannelDraw, block: Tensor, known: Tensor
) -> tuple[Tensor, Decode]:
    """The symbols [1, k] of a picture [1, 3, H, W], and D_c as the side symbols say once they have been through the channel.

    Without gradient. A picture whose side symbols were needed and are lost is decoded as grey.
    """
    size, given = (image.shape[2], image.shape[3]), channel.tx_snr_db.item()
    tx_snr_db = None if math.isnan(given) else given
    request = Request(count, tx_snr_db, "unknown" if tx_snr_db is None else FADING[int(channel.kind)])
    sent = code.send(image, size, request, channel.tx_snr_db, known)
    side, gain, n0 = through(torch.from_numpy(sent.side_symbols)[None].to(image.device), channel, block)
    heard = Received(
        sent.symbols, None, float(n0), size, side_symbols=side[0].cpu().numpy(), side_gain=gain.expand_as(side)[0].cpu().numpy(),
        side=sent.side, tx_snr_db=tx_snr_db,
    )  # fmt: skip
    decode, _ = code.known(heard, image.device)
    return torch.from_numpy(sent.symbols)[None].to(image.device), decode or (lambda *_: torch.full_like(image, 0.5))


def codec_stage(
    parts: Mapping[str, nn.Module],
    code: ImageCode,
    photographs: Photographs,
    recipe: CodecRecipe,
    backbones: Sequence[LPIPS],
    generator: np.random.Generator,
    device: torch.device,
) -> Stage:
    """The JSCC, and the coarse head if any: ``parts`` that ``code`` sends images with."""
    networks = {name: trained(part, device, channels_last=isinstance(part, KLTJSCC)) for name, part in parts.items()}
    critic = PatchGAN().to(device) if recipe.adversarial else None
    if critic is not None:
        networks["critic"] = critic

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        image = to_tensor(photographs.crops(recipe.batch, recipe.crop, generator)[0], device)
        channel, cbr = recipe.draw(generator, device)
        with autocast(device, recipe.schedule.precision):
            x_hat = coarse_images(code, image, channel, cbr)[0]
            mse = jscc_loss(image, x_hat)
            total, figures = mse, {"psnr": psnr(mse)}
            if recipe.perceptual:
                perceptual = perceptual_loss(backbones, x_hat, image, generator)
                total = total + recipe.perceptual * perceptual
                figures["lpips"] = float(perceptual.detach())
            if critic is not None:
                fooling, telling = adversarial_losses(critic, image, x_hat)
                total = total + recipe.adversarial * (fooling + telling)
                figures |= {"fooling": float(fooling.detach()), "telling": float(telling.detach())}
        return total, figures

    def show(image: Tensor) -> Tensor:
        return coarse_images(code, image, awgn(len(image), 10.0, device), recipe.shown_cbr)[0]

    return Stage(networks, loss, show=show)


class CoarseCaptioner:
    """A captioner, as :func:`gencomm_cli.text.captioners.caption` has it, for many pictures.

    Of the built-in one the tables are loaded once; any other is asked for each picture.
    """

    def __init__(self, captioner: str = "builtin", device: str = "cpu") -> None:
        self.captioner, self.device = captioner, device
        if captioner == "builtin":
            self.tables = retrieval.load(models_root() / "shared" / "captioner")
            self.places = self.tables.locate(self.tables.captions)

    def __call__(self, images: Tensor) -> list[str]:
        """One caption for each of the images [B, 3, H, W]."""
        pictures = images.clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        if self.captioner != "builtin":
            return [caption(picture, self.captioner, self.device) for picture in pictures]
        found = np.stack([retrieval.features(picture) for picture in pictures])
        return [self.tables.captions[best] for best in (self.tables.expect(found) @ self.places.T).argmax(1)]


@dataclass(frozen=True)
class Conditions:
    """What a batch was sent as and what its receiver has: z_0, the image, x̂, f_v, f_t and the embedded CSI."""

    z_0: Tensor
    image: Tensor
    x_hat: Tensor
    f_v: Tensor
    f_t: Tensor
    csi: Tensor


class ReceivedBatches:
    """Batches of :class:`Conditions`, each of which is left out for a share of the samples."""

    def __init__(
        self, backbone: Backbone, code: ImageCode | PictureCode, csi: CsiEmbedding, latents: Latents, recipe: Any,
        generator: np.random.Generator, device: torch.device, captioner: str = "builtin",
    ) -> None:  # fmt: skip
        self.backbone, self.code, self.csi, self.latents, self.recipe = backbone, code, csi, latents, recipe
        self.generator, self.device = generator, device
        self.captioner = CoarseCaptioner(captioner, str(device)) if recipe.captions == "coarse" else None
        self.words: dict[int, tuple[int, str]] = {}
        """Of a photograph: the step that its coarse picture was captioned at, and the caption."""

    @torch.no_grad()
    def draw(self, step: int) -> Conditions:
        """The next batch, sent over channels of its own."""
        recipe, generator = self.recipe, self.generator
        clean, pixels, given, photographs = self.latents.crops(recipe.batch, recipe.crop, generator)
        z_0, image = clean.to(self.device), to_tensor(pixels, self.device)
        channel, cbr = recipe.draw(generator, self.device)
        x_hat, f_v, csi = self.receive(image, channel, cbr)
        captions = given if self.captioner is None else self.captions(x_hat, photographs, step)
        f_v = self._kept(f_v)
        dropped = rows(generator.random, recipe.batch) < recipe.drop
        # E_clip of eq. 8; with the others c̄ of eq. 9.
        f_t = self.backbone.text(["" if drop else words for drop, words in zip(dropped, captions, strict=True)])
        return Conditions(z_0, image, x_hat, f_v, f_t, self._kept(csi))

    def receive(self, image: Tensor, channel: ChannelDraw, cbr: float) -> tuple[Tensor, Tensor, Tensor]:
        """x̂ in [0, 1], f_v (eq. 7) and embedded CSI (of eq. 9) of images that were sent; x̂ in full precision, as it is decoded."""
        with torch.autocast(self.device.type, enabled=False):
            x_hat, gamma, h = coarse_images(self.code, image, channel, cbr)
        x_hat = x_hat.clamp(0, 1)
        return x_hat, self.backbone.codec.encode(x_hat).float(), self.csi(gamma, h)

    def captions(self, x_hat: Tensor, photographs: Sequence[int], step: int) -> list[str]:
        """E_blip of eq. 8 of coarse pictures [B, 3, H, W], as decoding makes it; of photographs that have one that is not too old
        yet, that."""
        assert self.captioner is not None
        found = [self.words.get(photograph, (-math.inf, "")) for photograph in photographs]
        stale = [row for row, (made, _) in enumerate(found) if step - made >= self.recipe.caption_every]
        fresh = dict(zip(stale, self.captioner(x_hat[stale]), strict=True)) if stale else {}
        self.words |= {photographs[row]: (step, words) for row, words in fresh.items() if self.recipe.caption_every}
        return [fresh.get(row, words) for row, (_, words) in enumerate(found)]

    def show(self, control: LatentControlNet, image: Tensor, steps: int = 10) -> Tensor:
        """What the receiver makes of images, by a few steps; without captions where the receiver does not make its own."""
        x_hat, f_v, csi = self.receive(image, awgn(len(image), 10.0, self.device), self.recipe.shown_cbr)
        f_t = self.backbone.text([""] * len(image) if self.captioner is None else self.captioner(x_hat))

        def predict(z: Tensor, t: int) -> Tensor:
            times = torch.full((len(z),), t, device=self.device)
            return controlled(self.backbone.unet, control, z, times, f_t, f_v, csi).float()

        noise = torch.randn_like(f_v)
        z = sample(noise, spaced_steps(steps), scaled_linear(), predict, lambda _: torch.randn_like(noise))
        return self.backbone.codec.decode(z)

    def _kept(self, tensor: Tensor) -> Tensor:
        """The condition [B, …], zero where it is left out."""
        keep = torch.from_numpy(rows(self.generator.random, self.recipe.batch) >= self.recipe.drop).to(self.device)
        return tensor * keep.view(-1, *[1] * (tensor.ndim - 1))


def control_stage(control: LatentControlNet, batches: ReceivedBatches) -> Stage:
    """The control module; every other network is frozen."""
    recipe, device, backbone = batches.recipe, batches.device, batches.backbone
    alpha_bar = scaled_linear().float().to(device)
    trained(control, device)

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        with autocast(device, recipe.schedule.precision):
            batch = batches.draw(step)
            t = torch.from_numpy(rows(lambda n: batches.generator.integers(1, len(alpha_bar), n), recipe.batch)).to(device)
            a, noise = alpha_bar[t].view(-1, 1, 1, 1), torch.randn_like(batch.z_0)
            z_t = noised(batch.z_0, a, noise)  # eq. 11
            predicted = controlled(backbone.unet, control, z_t, t, batch.f_t, batch.f_v, batch.csi)
        error = diffusion_loss(noise, predicted.float())
        # Of eq. 15; 1 where emphasis is 0.
        weight = 1 + ((1 - alpha_bar[t]) / alpha_bar[t]).clamp_max(recipe.emphasis)
        return (weight * error).mean(), {"unweighted": float(error.mean().detach())}

    return Stage({"control": control}, loss, show=partial(batches.show, control), through=(backbone.unet,))


def rollout_stage(
    control: LatentControlNet, batches: ReceivedBatches, backbones: Sequence[LPIPS], features: EfficientNetLite | None = None
) -> Stage:
    """The control module at three states of each run of the sampler, two of them late ones. ``features``: the critic's."""
    recipe, device, backbone, codec = batches.recipe, batches.device, batches.backbone, batches.backbone.codec
    alpha_bar = scaled_linear().to(device)
    networks: dict[str, nn.Module] = {"control": trained(control, device)}
    critic = critic_of(features, device) if recipe.critic else None
    if critic is not None:
        networks["critic"] = critic

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        steps = spaced_steps(int(batches.generator.choice(recipe.steps)))
        late = [index for index, t in enumerate(steps[:-1]) if t <= recipe.painted]
        visited = sorted({int(batches.generator.integers(len(steps) - 1)), *batches.generator.choice(late, 2).tolist()})
        terms, figures = [], {}
        with autocast(device, recipe.schedule.precision):
            batch = batches.draw(step)

            def predict(z: Tensor, t: int) -> Tensor:
                times = torch.full((recipe.batch,), t, device=device)
                return controlled(backbone.unet, control, z, times, batch.f_t, batch.f_v, batch.csi).float()

            z, reached = torch.randn_like(batch.z_0), 0
            for index in visited:
                with torch.no_grad():
                    z = sample(z, steps[reached : index + 1], alpha_bar, predict, lambda _: torch.randn_like(batch.z_0))
                reached, a = index, float(alpha_bar[steps[index]])
                z_0 = clean_estimate(z, predict(z, steps[index]), a)  # eq. 16
                terms.append((z_0 - batch.z_0).square().mean())
                figures["latent"] = float(terms[-1].detach())
                if steps[index] <= recipe.painted:
                    picture = codec.decode(z_0).float()
                    mse = (picture - batch.image).square().mean()
                    perceptual = perceptual_loss(backbones, picture, batch.image, batches.generator)
                    terms.append(recipe.pixel * mse + recipe.perceptual * perceptual)
                    if recipe.grid and codec.fold > 1:
                        terms.append(recipe.grid * fold_pattern(picture - batch.image, codec.fold))
                    figures |= {"psnr": psnr(mse), "lpips": float(perceptual.detach())}
        if critic is not None:
            told_apart, found = critic.loss(batch.image, picture, batch.x_hat, batches.generator, progress)
            terms.append(recipe.critic * told_apart)
            figures |= found
        return torch.stack(terms).sum() / len(visited), figures

    return Stage(networks, loss, show=partial(batches.show, control), through=(backbone.unet, codec))


def start_control(
    unet: UNet2DConditionModel, csi: CsiEmbedding, trained: nn.Module | None, anchored: bool = False
) -> LatentControlNet:
    """A control module for ``unet``, started from a trained one, or from the UNet's encoder.

    textguided's also takes its starting step, which here is always T: that part of its first CSI layer becomes bias.

    Raises:
        InputError: the trained one takes the channel in another way.
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


BASES = ("diffjscc", "textguided")
"""Methods whose presets are built on."""

STAGES = {
    "jscc": Plan(CodecRecipe, ("jscc",)),
    "control": Plan(ControlRecipe, ("control",)),
    "rollout": Plan(RolloutRecipe, ("control",), pictured=True, watched=True),
    "adversarial": Plan(CodecRecipe, ("adversary",), optional=True),  # a baseline of the trained JSCC
}


class DiffJSCCTrainer(Trainer):
    """Over the VAE, UNet and text encoder of the preset ``base``; without one, of that which the recipe names.

    JSCC and control module start from ``base``'s, where it has such of the same sizes. A recipe with ``codec``, METHOD/PRESET,
    takes that preset's codec as it is, and has no stage for it: NTSCC, or one that was imported.
    """

    method = "diffjscc"
    needed = frozenset({"start"})
    plans = STAGES
    donor: Preset | None = None  # of nothing but the codec that the recipe takes

    def recipe(self) -> dict[str, Any]:
        config = super().recipe()
        left_out = ("jscc", "adversarial") if "codec" in config else ()
        return {name: value for name, value in config.items() if name not in left_out}

    def build(self) -> None:
        base = self.base = self.base or find_any(self.config["start"], *BASES)
        if is_pretrained(base) and "captioner" in base.settings:  # as `models add --captioner` has it
            self.settings["captioner"] = base.settings["captioner"]
        if self.options.captioner != "none":
            for stage in ("control", "rollout"):
                self.config[stage]["captions"] = "given"
        self.backbone = Backbone(base, self.device)
        self.backbone.load()  # now: built within a step, they would draw from its random numbers
        self.domain: Domain = self.settings.get("domain", "latent")
        self.csi = CsiEmbedding(**self.settings.get("csi", {}))
        anchored: bool = self.settings.get("anchored", False)
        theirs, unet = base.components.get("control"), self.backbone.unet
        start = None if theirs is None else build(theirs, torch.device("cpu"))
        self.parts["control"] = start_control(unet, self.csi, start, anchored)
        self.backbone.keep_in(self.frozen_dtype)
        arguments = control_arguments(unet) | {"csi_width": self.csi.size, "anchored": anchored}
        self.blueprints["control"] = "LatentControlNet", arguments
        if "codec" in self.config:
            self.donor = donor(self.config["codec"])
        else:
            self._build_jscc(base)

    def _build_jscc(self, base: Preset) -> None:
        """JSCC and coarse head of the recipe: the base's weights where it has the same, else the linear optimum."""
        sizes = self.config["jscc"]
        jscc, head = self.make("jscc", sizes.get("class", "RateAdaptiveJSCC"), sizes["model"]), None
        if "coarse" in sizes:
            head = self.make("coarse", "CoarseHead", sizes["coarse"])
            self.plans = type(self).plans | {"jscc": Plan(CodecRecipe, ("jscc", "coarse"))}  # type: ignore[misc]
        ours, theirs = {"jscc", "coarse"} & self.parts.keys(), base.components
        if all(n in theirs and (theirs[n].class_name, dict(theirs[n].config)) == self.blueprints[n] for n in ours):
            for name in ours:
                self.take(name, base.components[name])
        elif isinstance(jscc, RateAdaptiveJSCC | KLTJSCC):
            image = to_tensor(self.photographs.crops(256, 256, np.random.default_rng(0))[0], self.device)
            fields = image
            if self.domain == "latent":
                with torch.no_grad():
                    fields = torch.cat([self.backbone.codec.encode(part) for part in image.split(16)])
            start_code(jscc, cast(CoarseHead | None, head), fields.contiguous().cpu(), image.cpu())

    def derived(self, name: str) -> nn.Module:
        """The JSCC that is trained against a critic: a copy of the trained one."""
        self.blueprints["adversary"] = self.blueprints["jscc"]
        return copy.deepcopy(self.parts["jscc"])

    def stage(self, stage: str, recipe: Any, generator: np.random.Generator) -> Stage:
        codec = self.backbone.codec
        head = frozen(self.parts["coarse"].to(self.device)) if "coarse" in self.parts else None
        if stage in ("jscc", "adversarial"):
            parts = {name: self.parts[name] for name in self.plans[stage].networks}
            code = image_code(parts[self.plans[stage].networks[0]], codec, self.domain, head)
            if isinstance(code, PictureCode):
                raise InputError("--config: jscc needs side symbols, and can be taken from a preset alone: codec: METHOD/PRESET")
            backbones = self.perceptual if recipe.perceptual else []
            return codec_stage(parts, code, self.photographs, recipe, backbones, generator, self.device)
        jscc = frozen(self.parts["jscc"].to(self.device)) if self.donor is None else inner_codec(self.donor, self.device)
        code = image_code(jscc, codec, self.domain, head)
        latents = self.latents(codec, recipe.crop)
        captioner = self.settings.get("captioner", "builtin")
        batches = ReceivedBatches(self.backbone, code, self.csi, latents, recipe, generator, self.device, captioner)
        control = cast(LatentControlNet, self.parts["control"])
        if stage == "control":
            return control_stage(control, batches)
        return rollout_stage(control, batches, self.perceptual, self.features if recipe.critic else None)

    def export(self, models: Path) -> Path:
        """Writes ``models/diffjscc/<name>``, ``<name>-adv`` if it was trained, and what they share with the base."""
        assert self.base is not None
        shared, own = models / "shared" / self.base.name, models / self.method / self.config["name"]
        parts = {name: taken(self.base.components[name], shared) for name in BACKBONE} | {"control": self.part("control")}
        if "coarse" in self.parts:
            parts["coarse"] = self.part("coarse")
        if self.donor is not None:
            theirs = {name: taken(component) for name, component in self.donor.components.items()}
            write_preset(own, self.method, parts | theirs, self.settings)
        codes = {"jscc": own, "adversary": own.with_name(f"{own.name}-adv")}
        for code in codes.keys() & self.parts.keys():
            write_preset(codes[code], self.method, parts | {"jscc": self.part(code)}, self.settings)
        return own


def donor(name: str) -> Preset:
    """Of the preset METHOD/PRESET nothing but its codec, under the names that it has in ``diffjscc``.

    Raises:
        InputError: there is no such preset, or it has no codec that sends images. ModelMismatch: its weights are damaged.
    """
    method, _, preset = name.partition("/")
    if method not in specs() or not preset:
        raise InputError(f"--config: codec: {name!r} is not METHOD/PRESET, as lrisc/nano is")
    found = find(method, preset)
    parts = {{"codec": "jscc"}.get(each, each): component for each, component in found.components.items()}
    if "jscc" not in parts:
        raise InputError(f"--config: codec: {name} has no codec that sends images; a preset of jscc, lrisc or diffcom has one")
    alone = replace(found, components={each: parts[each] for each in CODEC if each in parts})
    verify(alone)
    return alone


class OverBackbone(DiffJSCCTrainer):
    """The same with the paper's recipe, over a pretrained backbone; the paper has no ``rollout``."""

    shipped = "paper"
    plans = STAGES | {"rollout": replace(STAGES["rollout"], optional=True)}


def open_trainer(options: TrainOptions, report: Report) -> Trainer:
    """The trainer of what is asked for; raises what :func:`gencomm_cli.training.trainer.train` does."""
    base = None if options.start is None else find_any(options.start, *BASES)
    return (OverBackbone if base is not None and is_pretrained(base) else DiffJSCCTrainer)(options, report, base)
