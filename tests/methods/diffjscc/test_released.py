"""DiffJSCC, imported, against the published layer lists of latent diffusion, OpenCLIP and the control module."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from diffusers.models import AutoencoderKL, UNet2DConditionModel
from torch import Tensor
from transformers import CLIPTextModel

from gencomm_cli.errors import InputError
from gencomm_cli.methods.diffjscc.method import CsiEmbedding
from gencomm_cli.methods.diffjscc.released import recognises
from gencomm_cli.networks.control import LatentControlNet
from gencomm_cli.networks.controlled import controlled
from gencomm_cli.networks.deepjscc import DeepJSCC
from gencomm_cli.networks.vae import KLCodec
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import convert
from tests.support.released import Import, Shapes, Weights, batch_norm, recorded

Get = Callable[..., Tensor]
SHARED = {
    "in_channels": 4, "attention_resolutions": [4, 2, 1], "num_res_blocks": 2, "channel_mult": [1, 2, 4, 4], "model_channels": 320,
    "num_head_channels": 64, "use_linear_in_transformer": True, "transformer_depth": 1, "context_dim": 1024,
}  # fmt: skip
FULL: dict[str, Any] = {
    "linear_start": 0.00085, "linear_end": 0.012, "timesteps": 1000, "scale_factor": 0.18215, "use_ema": False,
    "unet_config": {"params": SHARED | {"out_channels": 4}},
    "control_stage_config": {"params": SHARED | {"hint_channels": 4, "min_snr": -5, "snr_scale": 100}},
    "first_stage_config": {"params": {"embed_dim": 4, "ddconfig": {
        "z_channels": 4, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 128, "ch_mult": [1, 2, 4, 4], "num_res_blocks": 2,
    }}},
    "cond_stage_config": {"params": {"layer": "penultimate"}},
    "preprocess_config": {"target": "model.deepjscc_cnn.DeepJSCC", "params": {
        "ngf": 64, "max_ngf_E": 384, "max_ngf_D": 384, "n_downsample": 4, "C_channel": 4, "n_blocks_E": 4, "n_blocks_D": 4,
        "SNR_low": 0, "SNR_high": 14, "channel": "AWGN",
    }},
}  # fmt: skip
"""What the released ``config.yaml`` says of the networks (faces: min_snr is -5)."""


def tiny() -> dict[str, Any]:
    """The same at small widths."""
    found = copy.deepcopy(FULL)
    small = {"attention_resolutions": [1], "num_res_blocks": 1, "channel_mult": [1, 2], "model_channels": 32, "context_dim": 64}
    found["unet_config"]["params"] |= small | {"num_head_channels": 16}
    found["control_stage_config"]["params"] |= small | {"num_head_channels": 16}
    found["first_stage_config"]["params"]["ddconfig"] |= {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1}
    found["preprocess_config"]["params"] |= {"ngf": 4, "max_ngf_E": 8, "max_ngf_D": 8, "n_blocks_E": 1, "n_blocks_D": 1}
    return found


def at(get: Get, prefix: str) -> Get:
    def under(name: str, *shape: int, **more: float) -> Tensor:
        return get(f"{prefix}{name}", *shape, **more)

    return under


def conv(get: Get, name: str, x: Tensor, after: int, kernel: int = 3, stride: int = 1, padding: int | None = None) -> Tensor:
    weight, bias = get(f"{name}.weight", after, x.shape[1], kernel, kernel), get(f"{name}.bias", after)
    return F.conv2d(x, weight, bias, stride, kernel // 2 if padding is None else padding)


def linear(get: Get, name: str, x: Tensor, after: int, bias: bool = True) -> Tensor:
    return F.linear(x, get(f"{name}.weight", after, x.shape[-1]), get(f"{name}.bias", after) if bias else None)


def groups(get: Get, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
    width = x.shape[1]
    return F.group_norm(x, 32, get(f"{name}.weight", width, mean=1.0), get(f"{name}.bias", width), eps)


def layer(get: Get, name: str, x: Tensor) -> Tensor:
    width = x.shape[-1]
    return F.layer_norm(x, (width,), get(f"{name}.weight", width, mean=1.0), get(f"{name}.bias", width))


def heads(q: Tensor, k: Tensor, v: Tensor, width: int, causal: bool = False) -> Tensor:
    """Attention in heads of ``width``: q [B, T, C], k and v [B, S, C]."""
    q, k, v = (part.unflatten(2, (-1, width)).transpose(1, 2) for part in (q, k, v))
    scores = q @ k.transpose(2, 3) / math.sqrt(width)
    if causal:
        scores = scores + torch.full(scores.shape[2:], -torch.inf, device=scores.device).triu(1)
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


def embedding(value: Tensor, width: int) -> Tensor:
    angles = value.float()[:, None] * torch.exp(-math.log(10000) * torch.arange(width // 2, device=value.device) / (width // 2))
    return torch.cat([angles.cos(), angles.sin()], 1)


def mlp(get: Get, name: str, x: Tensor, after: int) -> Tensor:
    return linear(get, f"{name}.2", F.silu(linear(get, f"{name}.0", x, after)), after)


def residual(get: Get, x: Tensor, emb: Tensor, after: int) -> Tensor:
    h = conv(get, "in_layers.2", F.silu(groups(get, "in_layers.0", x)), after)
    h = h + linear(get, "emb_layers.1", F.silu(emb), after)[:, :, None, None]
    h = conv(get, "out_layers.3", F.silu(groups(get, "out_layers.0", h)), after)
    return h + (x if x.shape[1] == after else conv(get, "skip_connection", x, after, 1))


def transformer(get: Get, x: Tensor, context: Tensor, width: int) -> Tensor:
    def attend(get: Get, h: Tensor, to: Tensor) -> Tensor:
        q, k, v = (linear(get, f"to_{name}", part, channels, bias=False) for name, part in (("q", h), ("k", to), ("v", to)))
        return linear(get, "to_out.0", heads(q, k, v, width), channels)

    channels = x.shape[1]
    block = at(get, "transformer_blocks.0.")
    h = linear(get, "proj_in", groups(get, "norm", x, 1e-6).flatten(2).transpose(1, 2), channels)
    itself = layer(block, "norm1", h)
    h = h + attend(at(block, "attn1."), itself, itself)
    h = h + attend(at(block, "attn2."), layer(block, "norm2", h), context)
    value, gate = linear(block, "ff.net.0.proj", layer(block, "norm3", h), 8 * channels).chunk(2, -1)
    h = h + linear(block, "ff.net.2", value * F.gelu(gate), channels)
    return x + linear(get, "proj_out", h, channels).transpose(1, 2).reshape(x.shape)


def down(get: Get, x: Tensor, emb: Tensor, context: Tensor, params: dict[str, Any]) -> list[Tensor]:
    """Latent diffusion's encoder: the output of every input block, and of the middle one."""
    found, number = [conv(get, "input_blocks.0.0", x, params["model_channels"])], 1
    for level, factor in enumerate(params["channel_mult"]):
        for _ in range(params["num_res_blocks"]):
            block = at(get, f"input_blocks.{number}.")
            h = residual(at(block, "0."), found[-1], emb, factor * params["model_channels"])
            attends = 2**level in params["attention_resolutions"]
            found.append(transformer(at(block, "1."), h, context, params["num_head_channels"]) if attends else h)
            number += 1
        if level < len(params["channel_mult"]) - 1:
            found.append(conv(get, f"input_blocks.{number}.0.op", found[-1], found[-1].shape[1], 3, 2, 1))
            number += 1
    block, width = at(get, "middle_block."), found[-1].shape[1]
    h = transformer(at(block, "1."), residual(at(block, "0."), found[-1], emb, width), context, params["num_head_channels"])
    return [*found, residual(at(block, "2."), h, emb, width)]


def unet(get: Get, x: Tensor, t: Tensor, context: Tensor, params: dict[str, Any], controls: list[Tensor] | None = None) -> Tensor:
    """ε of the UNet whose decoder takes the controls, the last of which is the middle's."""
    base = params["model_channels"]
    emb = mlp(get, "time_embed", embedding(t, base), 4 * base)
    *skips, h = down(get, x, emb, context, params)
    if controls is not None:
        h = h + controls[-1]
        skips = [skip + control for skip, control in zip(skips, controls[:-1], strict=True)]
    number = 0
    for level, factor in reversed(list(enumerate(params["channel_mult"]))):
        for index in range(params["num_res_blocks"] + 1):
            block, place = at(get, f"output_blocks.{number}."), 1
            h = residual(at(block, "0."), torch.cat([h, skips.pop()], 1), emb, factor * base)
            if 2**level in params["attention_resolutions"]:
                h, place = transformer(at(block, "1."), h, context, params["num_head_channels"]), 2
            if level and index == params["num_res_blocks"]:
                h = conv(block, f"{place}.conv", F.interpolate(h, scale_factor=2), h.shape[1])
            number += 1
    return conv(get, "out.2", F.silu(groups(get, "out.0", h)), params["out_channels"])


def control(get: Get, x: Tensor, hint: Tensor, t: Tensor, snr_db: Tensor, context: Tensor, params: dict[str, Any]) -> list[Tensor]:
    base = params["model_channels"]
    emb = mlp(get, "time_embed", embedding(t, base), 4 * base)
    told = embedding(params["snr_scale"] * snr_db - params["min_snr"], base)
    emb = emb + mlp(get, "snr_embed", told, 4 * base)
    *found, middle = down(get, torch.cat([x, hint], 1), emb, context, params)
    zeros = [conv(get, f"zero_convs.{index}.0", h, h.shape[1], 1) for index, h in enumerate(found)]
    return [*zeros, conv(get, "middle_block_out.0", middle, middle.shape[1], 1)]


def plain(get: Get, x: Tensor, after: int) -> Tensor:
    """The autoencoder's residual block."""
    h = conv(get, "conv1", F.silu(groups(get, "norm1", x, 1e-6)), after)
    h = conv(get, "conv2", F.silu(groups(get, "norm2", h, 1e-6)), after)
    return h + (x if x.shape[1] == after else conv(get, "nin_shortcut", x, after, 1))


def middle(get: Get, x: Tensor) -> Tensor:
    width = x.shape[1]
    x = plain(at(get, "mid.block_1."), x, width)
    one = at(get, "mid.attn_1.")
    h = groups(one, "norm", x, 1e-6)
    q, k, v = (conv(one, name, h, width, 1).flatten(2).transpose(1, 2) for name in "qkv")
    h = heads(q, k, v, width).transpose(1, 2).unflatten(2, x.shape[2:])
    return plain(at(get, "mid.block_2."), x + conv(one, "proj_out", h, width, 1), width)


def vae_encode(get: Get, x: Tensor, dd: dict[str, Any]) -> Tensor:
    """Mean and log-variance."""
    inside = at(get, "encoder.")
    h = conv(inside, "conv_in", x, dd["ch"])
    for level, factor in enumerate(dd["ch_mult"]):
        for index in range(dd["num_res_blocks"]):
            h = plain(at(inside, f"down.{level}.block.{index}."), h, factor * dd["ch"])
        if level < len(dd["ch_mult"]) - 1:
            h = conv(inside, f"down.{level}.downsample.conv", F.pad(h, (0, 1, 0, 1)), h.shape[1], 3, 2, 0)
    h = conv(inside, "conv_out", F.silu(groups(inside, "norm_out", middle(inside, h), 1e-6)), 2 * dd["z_channels"])
    return conv(get, "quant_conv", h, 2 * dd["z_channels"], 1)


def vae_decode(get: Get, z: Tensor, dd: dict[str, Any]) -> Tensor:
    inside = at(get, "decoder.")
    h = conv(inside, "conv_in", conv(get, "post_quant_conv", z, dd["z_channels"], 1), dd["ch"] * dd["ch_mult"][-1])
    h = middle(inside, h)
    for level, factor in reversed(list(enumerate(dd["ch_mult"]))):
        for index in range(dd["num_res_blocks"] + 1):
            h = plain(at(inside, f"up.{level}.block.{index}."), h, factor * dd["ch"])
        if level:
            h = conv(inside, f"up.{level}.upsample.conv", F.interpolate(h, scale_factor=2), h.shape[1])
    return conv(inside, "conv_out", F.silu(groups(inside, "norm_out", h, 1e-6)), dd["out_ch"])


def words(get: Get, tokens: Tensor, width: int, layers: int, vocabulary: int) -> Tensor:
    """OpenCLIP's features before the last layer, normalised."""
    h = get("token_embedding.weight", vocabulary, width)[tokens] + get("positional_embedding", tokens.shape[1], width)
    before = h
    for number in range(layers):
        block, before = at(get, f"transformer.resblocks.{number}."), h
        packed, bias = (
            get(f"transformer.resblocks.{number}.attn.in_proj_weight", 3 * width, width),
            block("attn.in_proj_bias", 3 * width),
        )
        q, k, v = F.linear(layer(block, "ln_1", h), packed, bias).chunk(3, -1)
        h = h + linear(block, "attn.out_proj", heads(q, k, v, 64, causal=True), width)
        h = h + linear(block, "mlp.c_proj", F.gelu(linear(block, "mlp.c_fc", layer(block, "ln_2", h), 4 * width)), width)
    get("text_projection", width, width)
    get("logit_scale")
    get("attn_mask", tokens.shape[1], tokens.shape[1])
    return layer(get, "ln_final", before)


def bare(weights: Weights, name: str, x: Tensor, after: int, stride: int = 1, padding: int = 1, kernel: int = 3) -> Tensor:
    """A convolution without a bias."""
    return F.conv2d(x, weights(f"{name}.weight", after, x.shape[1], kernel, kernel), None, stride, padding)


def told(weights: Weights, name: str, x: Tensor, csi: Tensor, blocks: int, mirrored: bool) -> Tensor:
    """The codec's residual blocks, each with a gain and an offset by what the picture and the channel are like."""
    width = x.shape[1]
    for number in range(0, 2 * blocks, 2):
        h = x
        for place in (1, 5) if mirrored else (0, 3):
            h = F.pad(h, (1, 1, 1, 1), "reflect") if mirrored else F.pad(h, (1, 1, 1, 1))
            h = bare(weights, f"{name}.{number}.conv_block.{place}", h, width, padding=0)
            h = batch_norm(weights, f"{name}.{number}.conv_block.{place + 1}", h)
            h = h.relu() if place < 2 else h
        x = x + h
        seen, layers = torch.cat([x.mean((2, 3)), csi], 1), f"{name}.{number + 1}.model"
        gain, offset = (
            linear(weights, f"{layers}_{part}.2", linear(weights, f"{layers}_{part}.0", seen, width).relu(), width)[..., None, None]
            for part in ("multi", "add")
        )
        x = x * gain.sigmoid() + offset
    return x


def code(weights: Weights, image: Tensor, csi: Tensor, params: dict[str, Any]) -> Tensor:
    """The codec's symbols [B, C/2, h, w], of unit power in each picture."""
    name, width = "preprocess_model.E", params["ngf"]
    x = bare(weights, f"{name}.net.1", F.pad(image, (3, 3, 3, 3), "reflect"), width, padding=0, kernel=7)
    x = batch_norm(weights, f"{name}.net.2", x).relu()
    for level in range(1, params["n_downsample"] + 1):
        x = bare(weights, f"{name}.net.{3 * level + 1}", x, min(params["max_ngf_E"], width * 2**level), 2)
        x = batch_norm(weights, f"{name}.net.{3 * level + 2}", x).relu()
    x = told(weights, f"{name}.res_list", x, csi, params["n_blocks_E"], mirrored=False)
    x = conv(weights, f"{name}.projection", x, params["C_channel"])
    z = torch.complex(*x.chunk(2, 1))
    return z / z.abs().square().mean((1, 2, 3), keepdim=True).sqrt()


def recovered(weights: Weights, z: Tensor, csi: Tensor, params: dict[str, Any]) -> Tensor:
    """The codec's picture of equalised symbols."""
    name, levels = "preprocess_model.G", params["n_downsample"]
    widths = [min(params["max_ngf_D"], params["ngf"] * 2**level) for level in reversed(range(levels + 1))]
    x = bare(weights, f"{name}.mask_conv", torch.cat([z.real, z.imag], 1), widths[0])
    x = told(weights, f"{name}.res_list", x, csi, params["n_blocks_D"], mirrored=True)
    for level, after in enumerate(widths[1:]):
        kernels = weights(f"{name}.model.{3 * level}.weight", x.shape[1], after, 3, 3)
        x = F.conv_transpose2d(x, kernels, None, 2, 1, 1)
        x = batch_norm(weights, f"{name}.model.{3 * level + 1}", x).relu()
    return conv(weights, f"{name}.model.{3 * levels + 1}", F.pad(x, (2, 2, 2, 2), "reflect"), 3, 5, padding=0).sigmoid()


def run(get: Weights, config: dict[str, Any], device: str, *, width: int, layers: int, vocabulary: int) -> dict[str, Tensor]:
    """Every network once: its inputs and outputs."""
    random = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random).to(device)

    dd, params = config["first_stage_config"]["params"]["ddconfig"], config["unet_config"]["params"]
    tokens = torch.tensor([[3, 1, 4, 1, 5, 9]], device=device)
    z_t, hint, image, snr_db = draw(1, 4, 8, 8), draw(1, 4, 8, 8), draw(1, 3, 16, 16), torch.tensor([4.0], device=device)
    text, t = words(at(get, "cond_stage_model.model."), tokens, width, layers, vocabulary), torch.tensor([321], device=device)
    controls = control(at(get, "control_model."), z_t, hint, t, snr_db, text, config["control_stage_config"]["params"])
    autoencoder = at(get, "first_stage_model.")
    photo = torch.rand(1, 3, 32, 32, generator=random).to(device)
    preprocess = config["preprocess_config"]["params"]
    gain = draw(1, 2) if preprocess["channel"] == "Rayleigh" else torch.tensor([[1.0, 0.0]], device=device)
    csi = torch.cat([snr_db[:, None], gain], 1) if preprocess["channel"] == "Rayleigh" else snr_db[:, None]
    sent = code(get, photo, csi, preprocess)
    heard = sent + 0.1 * torch.complex(draw(*sent.shape), draw(*sent.shape))
    return {
        "photo": photo, "gain": gain, "sent": sent, "heard": heard, "received": recovered(get, heard, csi, preprocess),
        "tokens": tokens, "text": text, "z_t": z_t, "hint": hint, "t": t, "snr_db": snr_db, "image": image,
        "epsilon": unet(at(get, "model.diffusion_model."), z_t, t, text, params, controls),
        "latent": 0.18215 * vae_encode(autoencoder, image, dd).chunk(2, 1)[0],
        "picture": vae_decode(autoencoder, z_t / 0.18215, dd),
    }  # fmt: skip


def released(config: dict[str, Any]) -> tuple[Weights, dict[str, Tensor]]:
    """A whole checkpoint of random numbers, and what its networks compute."""
    weights = Weights()
    expected = run(weights, config, "cpu", width=64, layers=3, vocabulary=40)
    weights["betas"] = torch.zeros(1000)
    copied = [name for name in weights if name.startswith(("first_stage_model.encoder.", "first_stage_model.quant_conv."))]
    weights.update({name.replace("first_stage_model", "cond_encoder", 1): weights[name] for name in copied})
    return weights, expected


@pytest.mark.parametrize("channel", ["AWGN", "Rayleigh"])
@torch.no_grad()
def test_the_imported_networks_compute_what_the_published_ones_do(imported: Import, channel: str) -> None:
    config = tiny()
    config["preprocess_config"]["params"]["channel"] = channel
    weights, expected = released(config)
    networks = imported(weights, config={"params": config})
    text = cast(CLIPTextModel, networks["text_encoder"])(expected["tokens"]).last_hidden_state
    torch.testing.assert_close(text, expected["text"], atol=1e-5, rtol=1e-4)
    codec = KLCodec(cast(AutoencoderKL, networks["vae"])).eval()
    torch.testing.assert_close(codec.encode((expected["image"] + 1) / 2), expected["latent"], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(2 * codec.decode(expected["z_t"]) - 1, expected["picture"], atol=1e-5, rtol=1e-4)
    csi = CsiEmbedding(32, 100.0, -5.0, gain=False)(expected["snr_db"], torch.ones(1, dtype=torch.complex64))
    ours = controlled(
        cast(UNet2DConditionModel, networks["unet"]), cast(LatentControlNet, networks["control"]), expected["z_t"],
        expected["t"] + 1, expected["text"], expected["hint"], csi,
    )  # fmt: skip
    torch.testing.assert_close(ours, expected["epsilon"], atol=1e-5, rtol=1e-4)
    jscc, snr_db, gain = cast(DeepJSCC, networks["jscc"]), expected["snr_db"], torch.view_as_complex(expected["gain"])
    torch.testing.assert_close(jscc.encode(expected["photo"], 8, snr_db, gain), expected["sent"].flatten(1), atol=1e-5, rtol=1e-4)
    assert expected["received"].std() > 0.01
    received = jscc.decode(expected["heard"].flatten(1), torch.ones(1, 8), (32, 32), snr_db, gain)
    torch.testing.assert_close(received, expected["received"], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("channel", ["AWGN", "Rayleigh"])
def test_the_transcribed_codec_has_the_recorded_names(channel: str) -> None:
    params = FULL["preprocess_config"]["params"]
    shapes, csi = Shapes(), torch.empty(1, 3 if channel == "Rayleigh" else 1, device="meta")
    recovered(shapes, code(shapes, torch.empty(1, 3, 32, 32, device="meta"), csi, params), csi, params)
    names = recorded(f"diffjscc_jscc_released_keys_{channel.lower()}")["state_dict"]
    assert shapes.listed() == {f"preprocess_model.{name}": tuple(shape) for name, (shape, _) in names.items()}


def test_every_tensor_of_the_full_size_finds_its_place() -> None:
    shapes = Shapes()
    run(shapes, FULL, "meta", width=1024, layers=24, vocabulary=49408)
    # positional_embedding has 77 rows; the pass above took six words
    shapes["cond_stage_model.model.positional_embedding"] = torch.empty(77, 1024, device="meta")
    assert recognises(shapes)
    conversion = convert([Checkpoint(Path("model.ckpt"), dict(shapes))], None, {"params": FULL})  # which compares every shape
    assert {theirs for theirs, _ in conversion.mapped} | {theirs for theirs, _ in conversion.dropped} == set(shapes)
    assert conversion.missed == ("control.controlnet_cond_embedding.bias = 0",)
    counts = {each.name: sum(tensor.numel() for tensor in each.tensors.values()) for each in conversion.components}
    assert (counts["unet"], counts["vae"], counts["control"]) == (865_910_724, 83_653_863, 365_203_840 + 320)
    assert conversion.settings["csi"] == {"width": 320, "scale": 100.0, "minimum": -5.0, "gain": False}
    assert conversion.settings["cbr_range"] == [1 / 384] * 2
    assert any(line.startswith("tokenizer:") for line in conversion.lacks)


@pytest.mark.parametrize(
    ("place", "value", "words"),
    [
        (("scale_factor",), 1.0, "scale_factor is 1.0"),
        (("preprocess_config", "target"), "model.deepjscc_swin.DeepJSCC", "not the convolutional codec"),
        (("unet_config", "params", "num_res_blocks"), 10**9, "from 1 to 16 would be right"),
        (("control_stage_config",), None, "has no control_stage_config"),
        (("cond_stage_config", "params", "layer"), "last", "takes the penultimate"),
    ],
)
def test_a_configuration_of_something_else(place: tuple[str, ...], value: Any, words: str) -> None:
    config = tiny()
    inside = config
    for name in place[:-1]:
        inside = inside[name]
    inside[place[-1]] = value
    names = ("model.diffusion_model.x", "first_stage_model.x", "cond_stage_model.model.x", "control_model.x", "preprocess_model.x")
    checkpoint = Checkpoint(Path("model.ckpt"), {name: torch.zeros(1) for name in names})
    with pytest.raises(InputError, match=words):
        convert([checkpoint], None, {"params": config})
    with pytest.raises(InputError, match=r"not DiffJSCC's config\.yaml"):
        convert([checkpoint], None, {"model": {}})
    with pytest.raises(InputError, match=r"config\.yaml: cannot be read"):
        convert([checkpoint], None, {})
