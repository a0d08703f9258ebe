"""Does anything in a full-size step depend on data? ``python examples/export_steps.py [--tiny] [METHOD …]``

Each network pass that trains or samples is exported by ``torch.export`` at its published size and with fake tensors, which have no
numbers: a branch, a shape or a copy to the host that depends on some would stop it. Prints the operations of each graph. ``--tiny``
takes small networks of the same classes.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from _common import markdown, markdown_line
from latency_full import Sizes, full, tiny
from memory_table import fake_tensors, forget
from torch import Tensor, nn

from gencomm_cli.methods.diffjscc.method import CsiEmbedding
from gencomm_cli.methods.scsic.cascade import StageA, StageB
from gencomm_cli.networks.control import LatentControlNet
from gencomm_cli.networks.controlled import CSI_WIDTH, controlled
from gencomm_cli.presets.build import builders
from gencomm_cli.training.trainer import load_config

METHODS = ("textguided", "diffjscc", "lrisc", "diffcom", "scsic")
BATCH = 2


@dataclass(frozen=True)
class Step:
    """A pass: what it is called, the networks that it runs, and on what."""

    name: str
    networks: tuple[nn.Module, ...]
    function: Callable[..., Any]
    arguments: tuple[Any, ...]


class Exported(nn.Module):
    """A pass as one module."""

    def __init__(self, step: Step) -> None:
        super().__init__()
        self.networks, self.function = nn.ModuleList(step.networks), step.function

    def forward(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def made(name: str, arguments: dict[str, Any]) -> Any:
    """A network of a class of ours."""
    return builders()[name](**arguments).eval().requires_grad_(False)


def over_stable_diffusion(method: str, sizes: Sizes) -> Iterator[Step]:
    """Denoiser with control module, JSCC, autoencoder."""
    side = 512 // sizes.smaller
    unet, vae = made("UNet2DConditionModel", sizes.unet), made("AutoencoderKL", sizes.vae)
    width = CSI_WIDTH if method == "textguided" else CsiEmbedding(64, 4.0).size
    control = LatentControlNet.over(unet, width).eval().requires_grad_(False)
    z, t = torch.randn(BATCH, 4, side // 8, side // 8), torch.randint(1, 1000, (BATCH,))
    words = torch.randn(BATCH, sizes.text["max_position_embeddings"], sizes.unet["cross_attention_dim"])
    image, snr = torch.rand(BATCH, 3, side, side), torch.rand(BATCH)

    def denoise(z: Tensor, t: Tensor, words: Tensor, z_c: Tensor, csi: Tensor) -> Tensor:
        return controlled(unet, control, z, t, words, z_c, csi)

    yield Step("denoiser and control module", (unet, control), denoise, (z, t, words, z, torch.randn(BATCH, width)))
    yield Step("VAE, encode", (vae,), lambda image: vae.encode(image).latent_dist.mean, (image,))
    yield Step("VAE, decode", (vae,), lambda z: vae.decode(z).sample, (z,))
    if method == "textguided":
        jscc = made("RateAdaptiveJSCC", sizes.jscc)
        count = jscc.config.code_channels * (side // 8 // jscc.config.factor) ** 2 // 4
        yield Step("JSCC, encode", (jscc,), lambda z, snr: jscc.encode(z, count, snr), (z, snr))
        y = torch.randn(BATCH, count, dtype=torch.complex64)
        given = (y, y.abs(), snr)
        yield Step("JSCC, decode", (jscc,), lambda y, known, snr: jscc.decode(y, known, (side // 8, side // 8), snr), given)
    else:
        jscc = made("DeepJSCC", sizes.code)
        count = jscc.symbols(0, (side, side))
        y = torch.randn(BATCH, count, dtype=torch.complex64)
        yield Step("JSCC, encode", (jscc,), lambda image, snr, h: jscc.encode(image, count, snr, h), (image, snr, y[:, 0]))
        given = (y, y.abs(), snr, y[:, 0])
        yield Step("JSCC, decode", (jscc,), lambda y, known, snr, h: jscc.decode(y, known, (side, side), snr, h), given)


def lrisc(sizes: Sizes) -> Iterator[Step]:
    """Transform, JSCC and U-Net of the paper's recipe."""
    networks, side = load_config(None, "lrisc/paper.json", ())["networks"], 256 // min(sizes.smaller, 2)
    if sizes.smaller > 1:
        networks["transform"] |= {"widths": [8, 8, 8, 128], "context_widths": [8] * 4, "hyper_widths": [8] * 3}
        networks["jscc"] |= {"channels": 128, "depth": 1, "snr_width": 8}
        networks["unet"] |= {"widths": [8] * 6, "context_widths": [8] * 4}
    transform, jscc = made("NonlinearTransform", networks["transform"]), made("LatentJSCC", networks["jscc"])
    unet = made("ConditionalUNet", networks["unet"])
    image, snr = torch.rand(BATCH, 3, side, side), torch.rand(BATCH)
    z = torch.randn(BATCH, transform.config.widths[-1], side // 16, side // 16)
    levels = torch.randint(0, 4, (BATCH, side // 16, side // 16))
    yield Step("transform", (transform,), transform.encode, (image,))
    yield Step("rate of each embedding", (transform,), transform.information, (z,))
    yield Step("JSCC, encode", (jscc,), jscc.encode, (z, levels, snr))
    y = torch.randn(*jscc.mask(levels).shape, dtype=torch.complex64)
    yield Step("JSCC, decode", (jscc,), jscc.receive, (y, y.abs(), levels, snr))
    contexts = transform.contexts(z)
    yield Step("contexts and coarse image", (transform,), lambda z: transform.image(z, transform.contexts(z)), (z,))
    yield Step("denoiser", (unet,), unet, (image, snr, contexts, image))


def diffcom(sizes: Sizes) -> Iterator[Step]:
    """Codecs and prior of the paper's recipe."""
    config, side = load_config(None, "diffcom/paper.json", ()), 256 // min(sizes.smaller, 4)
    small = {"adjscc": {"width": 16}, "swinjscc": {"dims": [8] * 4, "depths": [1] * 4, "heads": [1] * 4, "window": 2}, "prior": {}}
    image, snr = torch.rand(BATCH, 3, side, side), torch.rand(BATCH)
    for name in ("adjscc", "swinjscc"):
        codec = made(config[name]["class"], config[name]["model"] | (small[name] if sizes.smaller > 1 else {}))
        count = codec.symbols(3 * side**2 // 48, (side, side))
        y = torch.randn(BATCH, count, dtype=torch.complex64)

        def encode(image: Tensor, snr: Tensor, codec: Any = codec, count: int = count) -> Tensor:
            return codec.encode(image, count, snr)

        def decode(y: Tensor, snr: Tensor, codec: Any = codec) -> Tensor:
            return codec.decode(y, (side, side), snr)

        yield Step(f"{config[name]['class']}, encode", (codec,), encode, (image, snr))
        yield Step(f"{config[name]['class']}, decode", (codec,), decode, (y, snr))
    prior = made("UNet2DModel", dict(sizes.prior))
    yield Step("prior", (prior,), lambda x, t: prior(x, t).sample, (image, torch.randint(0, 1000, (BATCH,))))


def scsic(sizes: Sizes) -> Iterator[Step]:
    """Encoder and stages A and B."""
    side = 1024 // sizes.smaller
    encoder, stage_a = made("EfficientNetEncoder", sizes.encoder), StageA(made("PaellaVQModel", sizes.stage_a))
    stage_b, image = StageB(made("StableCascadeUNet", sizes.stage_b)), torch.rand(BATCH, 3, side, side)
    x, z = torch.randn(BATCH, 4, side // 4, side // 4), torch.randn(BATCH, 16, side // 64, side // 64)
    yield Step("embedding", (encoder,), encoder, (image,))
    yield Step("denoiser, stage B", (stage_b,), stage_b, (x, torch.rand(BATCH), z))
    yield Step("stage A, encode", (stage_a,), stage_a.encode, (image,))
    yield Step("stage A, decode", (stage_a,), stage_a.decode, (x,))


def steps(method: str, sizes: Sizes) -> Iterator[Step]:
    """The passes of a method."""
    own = {"lrisc": lrisc, "diffcom": diffcom, "scsic": scsic}
    return own[method](sizes) if method in own else over_stable_diffusion(method, sizes)


def main() -> None:
    """Prints the table, line by line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("methods", nargs="*", default=METHODS, metavar="METHOD")
    parser.add_argument("--tiny", action="store_true", help="small networks: tests this script")
    given = parser.parse_args()
    print(markdown(["method", "step", "weights, M", "operations"], []), flush=True)
    with fake_tensors(), torch.no_grad():
        for method in given.methods:
            for step in steps(method, tiny() if given.tiny else full()):
                forget()
                graph = torch.export.export(Exported(step), step.arguments, strict=False).graph
                weights = sum(parameter.numel() for network in step.networks for parameter in network.parameters())
                operations = sum(node.op == "call_function" for node in graph.nodes)
                print(markdown_line([method, step.name, f"{weights / 1e6:.1f}", operations]), flush=True)


if __name__ == "__main__":
    main()
