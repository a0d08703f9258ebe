"""Latency and memory of the full-size systems on a GPU, with random weights: ``python examples/latency_full.py``

    textguided     512², 5 steps with guidance       beside diffusers' StableDiffusionControlNetPipeline
    diffjscc       512², 50 steps                    beside the same
    HiFi-DiffCom   256², one step                    beside a plain loop in float32
    scsic          512² and 1024², 10 steps          beside diffusers' StableCascadeDecoderPipeline

Networks have the published sizes (Stable Diffusion 2.1's, Stable Cascade's with the small stage B, guided-diffusion's of 256²
faces) and numbers drawn at random, which take the same time. Times are those of a whole ``decode``, from received symbols to the
picture, captions excepted. Cold is the first call of a network, compilation included; warm is the median of the next ones.
Stock pipelines do no JSCC and run in the same number format. It is meant to fit ten minutes on a large GPU; what does not fit
``--budget`` is left out, and said. ``--tiny --device cpu`` runs the same code on tiny networks: that tests the script alone.
"""

from __future__ import annotations

import argparse
import gc
import platform
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from _common import markdown
from diffusers.models import ControlNetModel
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from gencomm_cli import presets
from gencomm_cli.diffusion.schedule import linear
from gencomm_cli.methods import diffcom, diffjscc, scsic, spec_of, textguided
from gencomm_cli.methods.base import Method, Received, Request
from gencomm_cli.methods.diffcom.guided_diffusion import RELEASED, arguments
from gencomm_cli.methods.diffcom.method import DiffCom
from gencomm_cli.methods.diffjscc.method import CsiEmbedding, DiffJSCC
from gencomm_cli.methods.options import ReceiverOptions
from gencomm_cli.methods.scsic.method import ScSic
from gencomm_cli.methods.scsic.networks import ScSicNetworks
from gencomm_cli.methods.textguided.method import TextGuided
from gencomm_cli.networks.acceleration import number_format
from gencomm_cli.networks.backbone import Networks
from gencomm_cli.networks.control import control_arguments
from gencomm_cli.networks.controlled import CSI_WIDTH
from gencomm_cli.networks.text import TextEncoder
from gencomm_cli.presets import Component, Preset
from gencomm_cli.presets.build import build_tokenizer, builders

CROSS, PLAIN = "CrossAttn{}Block2D", "{}Block2D"


@dataclass(frozen=True)
class Sizes:
    """Constructor arguments of every network, and what is divided out of the pictures' sides."""

    vae: dict[str, Any]
    unet: dict[str, Any]
    text: dict[str, Any]
    jscc: dict[str, Any]
    code: dict[str, Any]
    prior: dict[str, Any]
    codec: dict[str, Any]
    encoder: dict[str, Any]
    previewer: dict[str, Any]
    stage_a: dict[str, Any]
    stage_b: dict[str, Any]
    smaller: int


def full() -> Sizes:
    """As published."""
    blocks = ["SDCascadeResBlock", "SDCascadeTimestepBlock"]
    return Sizes(
        vae={
            "latent_channels": 4, "block_out_channels": [128, 256, 512, 512], "layers_per_block": 2,
            "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4, "scaling_factor": 0.18215,
        },
        unet={
            "in_channels": 4, "out_channels": 4, "block_out_channels": [320, 640, 1280, 1280], "layers_per_block": 2,
            "down_block_types": [*["CrossAttnDownBlock2D"] * 3, "DownBlock2D"],
            "up_block_types": ["UpBlock2D", *["CrossAttnUpBlock2D"] * 3],
            "cross_attention_dim": 1024, "attention_head_dim": [5, 10, 20, 20], "use_linear_projection": True,
        },
        text={
            "hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16,
            "hidden_act": "gelu", "max_position_embeddings": 77, "vocab_size": 49408, "bos_token_id": 1, "eos_token_id": 2,
        },
        jscc={
            "channels": 4, "code_channels": 5, "dims": [384], "depths": [8], "patch": 2, "states": 16, "expand": 2.0,
            "directions": 4,
        },
        code={"code_channels": 4, "fading": True},
        prior=arguments(256, **RELEASED["ffhq_10m"]),
        codec={},
        encoder={},
        previewer={},
        stage_a={"levels": 2, "bottleneck_blocks": 12, "embed_dim": 384, "latent_channels": 4, "scale_factor": 0.43},
        stage_b={
            "in_channels": 4, "out_channels": 4, "timestep_ratio_embedding_dim": 64, "patch_size": 2, "conditioning_dim": 1280,
            "block_out_channels": [320, 576, 1152, 1152], "num_attention_heads": [-1, 9, 18, 18],
            "down_num_layers_per_block": [2, 4, 14, 4], "up_num_layers_per_block": [4, 14, 4, 2],
            "down_blocks_repeat_mappers": [1, 1, 1, 1], "up_blocks_repeat_mappers": [2, 2, 2, 2],
            "block_types_per_layer": [blocks, *[[*blocks, "SDCascadeAttnBlock"]] * 3], "clip_text_pooled_in_channels": 1280,
            "clip_seq": 4, "effnet_in_channels": 16, "pixel_mapper_in_channels": 3, "kernel_size": 3,
            "dropout": [0.0, 0.0, 0.1, 0.1], "self_attn": True, "timestep_conditioning_type": ["sca"],
        },
        smaller=1,
    )  # fmt: skip


def tiny() -> Sizes:
    """The same classes with a few thousand numbers, for pictures of an eighth of the side."""
    blocks = ["SDCascadeResBlock", "SDCascadeTimestepBlock"]
    return Sizes(
        vae={
            "latent_channels": 4, "block_out_channels": [8, 8, 8, 8], "norm_num_groups": 4, "layers_per_block": 1,
            "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4,
        },
        unet={
            "in_channels": 4, "out_channels": 4, "block_out_channels": [8, 16], "layers_per_block": 1, "norm_num_groups": 4,
            "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"], "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
            "cross_attention_dim": 16, "attention_head_dim": 2,
        },
        text={
            "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
            "max_position_embeddings": 12, "vocab_size": 2048, "bos_token_id": 1, "eos_token_id": 2,
        },
        jscc={"channels": 4, "code_channels": 16, "dims": [8], "depths": [1]},
        code={
            "code_channels": 4, "width": 4, "encoder_width": 8, "decoder_width": 8, "encoder_blocks": 1, "decoder_blocks": 1,
            "fading": True,
        },
        prior=arguments(32, width=32, blocks=1, multipliers=(1, 2), attention=(16,), head_channels=16),
        codec={"width": 16},
        encoder={
            "stages": [["fused", 1, 1, 4, 1], ["fused", 2, 2, 4, 1], ["fused", 2, 2, 8, 1], ["mb", 2, 2, 8, 1], ["mb", 2, 2, 8, 1]],
            "stem": 4, "width": 8,
        },
        previewer={"hidden": 8},
        stage_a={"bottleneck_blocks": 1, "embed_dim": 8, "num_vq_embeddings": 8},
        stage_b={
            "in_channels": 4, "out_channels": 4, "timestep_ratio_embedding_dim": 8, "patch_size": 2, "conditioning_dim": 8,
            "block_out_channels": [8, 16], "num_attention_heads": [-1, 2], "down_num_layers_per_block": [1, 1],
            "up_num_layers_per_block": [1, 1], "clip_text_pooled_in_channels": 4, "clip_seq": 4, "effnet_in_channels": 16,
            "block_types_per_layer": [blocks, [*blocks, "SDCascadeAttnBlock"]], "timestep_conditioning_type": ["sca"],
            "down_blocks_repeat_mappers": [1, 1], "up_blocks_repeat_mappers": [1, 1], "dropout": [0.0, 0.0],
        },
        smaller=8,
    )  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """Where, in what, how often; ``until``: when nothing new is begun any more."""

    sizes: Sizes
    device: torch.device
    dtype: torch.dtype
    runs: int
    compile: bool
    until: float

    def random(self, class_name: str, config: dict[str, Any], dtype: torch.dtype) -> nn.Module:
        """A network with the numbers that its constructor draws, made where it runs."""
        torch.manual_seed(0)
        with self.device:
            module: nn.Module = builders()[class_name](**config)
        nn.Module.to(module, dtype)
        if self.device.type == "cuda":
            nn.Module.to(module, memory_format=torch.channels_last)  # type: ignore[call-overload]
        return module.eval().requires_grad_(False)

    def side(self, pixels: int) -> int:
        """Of the picture that stands for one of ``pixels``²."""
        return pixels // self.sizes.smaller

    def clock(self, run: Callable[[], object]) -> tuple[float, float, float | None]:
        """Seconds of the first call, median seconds of the next ones, and peak MiB of device memory (None on a CPU)."""
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.reset_peak_memory_stats()
        seconds = []
        for _ in range(1 + self.runs):
            if cuda:
                torch.cuda.synchronize()
            started = time.perf_counter()
            run()
            if cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - started)
        return seconds[0], statistics.median(seconds[1:]), torch.cuda.max_memory_allocated() / 2**20 if cuda else None


class RandomNetworks(Networks):
    """textguided's or DiffJSCC's, with random numbers in the place of files."""

    def __init__(self, bench: Bench, method: str) -> None:
        sizes, settings = bench.sizes, {"steps": 5, "csi": {"width": 64, "scale": 4.0}, "captioner": "none"}
        unet = builders()["UNet2DConditionModel"]
        with torch.device("meta"):
            control = control_arguments(unet(**sizes.unet))  # type: ignore[arg-type, operator]
        control["csi_width"] = CSI_WIDTH if method == "textguided" else CsiEmbedding(64, 4.0).size
        jscc = ("RateAdaptiveJSCC", sizes.jscc) if method == "textguided" else ("DeepJSCC", sizes.code)
        parts = {
            "vae": ("AutoencoderKL", sizes.vae), "unet": ("UNet2DConditionModel", sizes.unet),
            "text_encoder": ("CLIPTextModel", sizes.text), "control": ("LatentControlNet", control), "jscc": jscc,
        }  # fmt: skip
        components = {name: Component(name, kind, None, "", config) for name, (kind, config) in parts.items()}
        components["tokenizer"] = presets.find("textguided", "nano").components["tokenizer"]
        super().__init__(Preset(method, "random", Path(), components, settings, ""), bench.device, bench.dtype)
        self.bench = bench

    def _build(self, name: str, dtype: torch.dtype) -> Any:
        component = self.preset.components[name]
        return self.bench.random(component.class_name, dict(component.config), dtype)

    @property
    def text(self) -> TextEncoder:  # type: ignore[override]
        """nano's tokeniser, whose words the large text encoder knows as numbers."""
        if not hasattr(self, "_text"):
            words = build_tokenizer(self.preset.components["tokenizer"])
            self._text = TextEncoder(words, self._build("text_encoder", self.dtype)).eval()
        return self._text


class RandomCascade(ScSicNetworks):
    """SC-SIC's, with random numbers in the place of files."""

    def __init__(self, bench: Bench) -> None:
        sizes = bench.sizes
        parts = {
            "encoder": ("EfficientNetEncoder", sizes.encoder), "previewer": ("Previewer", sizes.previewer),
            "stage_a": ("PaellaVQModel", sizes.stage_a), "stage_b": ("StableCascadeUNet", sizes.stage_b),
        }  # fmt: skip
        components = {name: Component(name, kind, None, "", config) for name, (kind, config) in parts.items()}
        super().__init__(Preset("scsic", "random", Path(), components, {}, ""), bench.device, bench.dtype)
        self.bench = bench

    def _build(self, name: str, dtype: torch.dtype) -> Any:
        component = self.preset.components[name]
        return self.bench.random(component.class_name, dict(component.config), dtype)


def received(method: Method, side: int) -> Received:
    """A noise picture's symbols through AWGN at 10 dB."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
    count, options = method.symbol_budget(method.default_cbr, (side, side)), spec_of(method.method).transmitter()
    sent = method.encode(image, Request(count, 10.0, options=options))
    noise = (rng.standard_normal((2, sent.symbols.size)).T @ [1, 1j]) * np.sqrt(0.1 / 2)
    return Received((sent.symbols + noise).astype(np.complex64), None, 0.1, (side, side), side_symbols=sent.side_symbols)


Row = tuple[str, Callable[[], Callable[[], object]]]
"""What is measured, and what makes it ready: the call to time."""


def ours(make: Callable[[], Method], side: int, options: ReceiverOptions, compiled: bool) -> Callable[[], object]:
    """``decode`` of one of this project's methods."""
    method = make()
    given = received(method, side)
    if compiled:
        method.compile()  # type: ignore[attr-defined]
    return lambda: method.decode(given, options, seed=0)


@torch.no_grad()
def stock_controlled(bench: Bench, side: int, steps: int, guidance: float) -> Callable[[], object]:
    """diffusers' own: a ControlNet over Stable Diffusion, hinted by a picture; DDIM."""
    sizes, (words, width) = bench.sizes, (bench.sizes.text["max_position_embeddings"], bench.sizes.unet["cross_attention_dim"])
    unet = bench.random("UNet2DConditionModel", sizes.unet, bench.dtype)
    control = nn.Module.to(ControlNetModel.from_unet(unet), bench.device, bench.dtype).eval()
    pipeline = diffusers.StableDiffusionControlNetPipeline(
        vae=bench.random("AutoencoderKL", sizes.vae, bench.dtype), text_encoder=None, tokenizer=None, unet=unet, controlnet=control,
        scheduler=diffusers.DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", clip_sample=False),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    prompt, hint = (torch.randn(1, *shape, device=bench.device, dtype=bench.dtype) for shape in ((words, width), (3, side, side)))
    return lambda: pipeline(
        prompt_embeds=prompt, negative_prompt_embeds=prompt, image=hint.abs().clamp(0, 1), height=side, width=side,
        num_inference_steps=steps, guidance_scale=guidance, output_type="np",
    )  # fmt: skip


@torch.no_grad()
def stock_cascade(bench: Bench, side: int, steps: int) -> Callable[[], object]:
    """diffusers' own: Stable Cascade's decoder, given an embedding of SC-SIC's size."""
    sizes = bench.sizes
    pooled, positions = sizes.stage_b["clip_text_pooled_in_channels"], side * 3 // 4 // 32
    text = CLIPTextModelWithProjection(CLIPTextConfig(**(sizes.text | {"num_hidden_layers": 1}), projection_dim=pooled))
    pipeline = diffusers.StableCascadeDecoderPipeline(
        decoder=bench.random("StableCascadeUNet", sizes.stage_b, bench.dtype), tokenizer=None,
        text_encoder=text.to(bench.device, bench.dtype), scheduler=diffusers.DDPMWuerstchenScheduler(),
        vqgan=bench.random("PaellaVQModel", sizes.stage_a, bench.dtype), latent_dim_scale=side / 4 / positions,
    )  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    z, words = (
        torch.randn(1, *shape, device=bench.device, dtype=bench.dtype) for shape in ((16, positions, positions), (1, pooled))
    )
    return lambda: pipeline(
        z, prompt_embeds=words, prompt_embeds_pooled=words, negative_prompt_embeds=words, negative_prompt_embeds_pooled=words,
        num_inference_steps=steps, guidance_scale=1.5, output_type="np",
    )  # fmt: skip


def hifi(bench: Bench) -> DiffCom:
    """HiFi-DiffCom over ADJSCC."""
    prior = Component("prior", "UNet2DModel", None, "", bench.sizes.prior)
    codec = bench.random("ADJSCC", bench.sizes.codec, torch.float32)
    method = DiffCom(Preset("diffcom", "random", Path(), {"prior": prior}, {}, ""), codec, bench.device)  # type: ignore[arg-type]
    method.network = bench.random("UNet2DModel", bench.sizes.prior, bench.dtype)
    return method


def stock_posterior(bench: Bench, side: int, steps: int) -> Callable[[], object]:
    """Algorithm 2 as one writes it down: float32, a look at the loss in every step."""
    prior: Any = bench.random("UNet2DModel", bench.sizes.prior, torch.float32)
    codec: Any = bench.random("ADJSCC", bench.sizes.codec, torch.float32)
    alpha_bar, snr = linear().to(bench.device), torch.tensor([10.0], device=bench.device)
    count = codec.symbols(10**9, (side, side))
    with torch.no_grad():
        y = codec.encode(torch.rand(1, 3, side, side).to(bench.device), count, snr)
        y = y + 0.1**0.5 * torch.randn_like(y)
        x_d = codec.decode(y, (side, side), snr)

    def run() -> None:
        x = torch.randn(1, 3, side, side).to(bench.device)
        for t in range(steps, 0, -1):
            x = x.detach().requires_grad_()
            a, a_next = alpha_bar[t].float(), alpha_bar[t - 1].float()
            noise = prior(x, torch.tensor([t - 1], device=bench.device)).sample[:, :3]
            x_0 = ((x - (1 - a).sqrt() * noise) / a.sqrt()).clamp(-1, 1)
            heard = codec.encode((x_0 + 1) / 2, count, snr)
            latent, source = y - heard, x_d - codec.decode(heard, (side, side), snr)
            loss = 0.3 * latent.abs().square().sum() + 0.3 * source.square().sum()
            (gradient,) = torch.autograd.grad(loss, x)
            alpha = a / a_next
            mean = (alpha.sqrt() * (1 - a_next) * x + a_next.sqrt() * (1 - alpha) * x_0) / (1 - a)
            deviation = ((1 - alpha) * (1 - a_next) / (1 - a)).sqrt()
            x = mean.detach() - gradient + deviation * torch.randn(1, 3, side, side).to(bench.device)
            loss.detach().item()

    return run


POSTERIOR_STEPS = 20


def systems(bench: Bench) -> Iterator[tuple[str, int, list[Row]]]:
    """Name, steps to divide the times by, and rows of each system; the last row is what it is compared with."""

    def both(make: Callable[[], Method], side: int, options: ReceiverOptions) -> list[Row]:
        found: list[Row] = [("gencomm", lambda: ours(make, side, options, False))]
        return [*found, ("gencomm --compile", lambda: ours(make, side, options, True))] if bench.compile else found

    side = bench.side(512)
    yield "textguided 512², 5 steps, guidance", 1, [
        *both(
            lambda: TextGuided(
                (networks := RandomNetworks(bench, "textguided")).preset, networks, bench.device
            ), side, textguided.Receiver(steps=5, guidance_scale=2.0),
        ),
        ("diffusers", lambda: stock_controlled(bench, side, 5, 2.0)),
    ]  # fmt: skip
    yield "diffjscc 512², 50 steps", 1, [
        *both(
            lambda: DiffJSCC((networks := RandomNetworks(bench, "diffjscc")).preset, networks, bench.device), side,
            diffjscc.Receiver(steps=50),
        ),
        ("diffusers", lambda: stock_controlled(bench, side, 50, 1.0)),
    ]  # fmt: skip
    small = bench.side(256)
    options = diffcom.Receiver(variant="hifi", steps=POSTERIOR_STEPS, start_step=POSTERIOR_STEPS)
    yield (
        "HiFi-DiffCom 256², each step",
        POSTERIOR_STEPS,
        [
            *both(lambda: hifi(bench), small, options),
            ("plain loop, float32", lambda: stock_posterior(bench, small, POSTERIOR_STEPS)),
        ],
    )
    for pixels in (512, 1024):
        large = bench.side(pixels)
        yield f"scsic {pixels}², 10 steps, guidance", 1, [
            *both(
                lambda: ScSic((networks := RandomCascade(bench)).preset, networks, bench.device), large, scsic.Receiver(steps=10)
            ),
            ("diffusers", lambda large=large: stock_cascade(bench, large, 10)),  # type: ignore[misc]
        ]  # fmt: skip


def measure(bench: Bench, only: str) -> list[list[object]]:
    """The table's rows, of systems whose name begins with ``only``."""
    table: list[list[object]] = []
    for system, divisor, rows in systems(bench):
        if not system.startswith(only):
            continue
        found: list[tuple[str, tuple[float, float, float | None] | None]] = []
        for label, ready in rows:
            late = time.monotonic() > bench.until
            print(f"{system}: {label}" + (", left out: no time is left" if late else ""), file=sys.stderr, flush=True)
            found.append((label, None if late else bench.clock(ready())))
            gc.collect()
            if bench.device.type == "cuda":
                torch.cuda.empty_cache()
        stock = found[-1][1]
        for label, figures in found:
            cold, warm, peak = figures or (None, None, None)
            ratio = stock[1] / warm if stock and warm else None
            timed = [None if each is None else each / divisor for each in (cold, warm)]
            table.append([system, label, *timed, ratio, None if peak is None else round(peak)])
    return table


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--precision", default="auto", help="auto, fp32, bf16 or fp16")
    parser.add_argument("--runs", type=int, default=5, help="warm calls of each row")
    parser.add_argument("--no-compile", action="store_true", help="leave out the rows with --compile")
    parser.add_argument("--budget", type=float, default=540.0, help="seconds after which no row is begun")
    parser.add_argument("--only", default="", metavar="NAME", help="systems whose name begins so")
    parser.add_argument("--tiny", action="store_true", help="tiny networks: tests this script")
    given = parser.parse_args()
    device = torch.device(given.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here, so nothing full-size is measured; --tiny --device cpu tests this script")
    dtype = number_format(given.precision, device)
    bench = Bench(
        tiny() if given.tiny else full(), device, dtype, given.runs, not given.no_compile, time.monotonic() + given.budget
    )
    where = torch.cuda.get_device_name(device) if device.type == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    print(
        f"{where}; {str(dtype).removeprefix('torch.')}; Python {platform.python_version()}, torch {torch.__version__}, "
        f"CUDA {torch.version.cuda}, diffusers {diffusers.__version__}"
        + ("; tiny networks: no figures of the systems" * given.tiny)
    )
    print()
    header = ["system", "program", "cold, s", "warm, s", "times as fast as stock", "peak memory, MiB"]
    print(markdown(header, measure(bench, given.only)))


if __name__ == "__main__":
    main()
