"""Stable Diffusion under a latent diffusion method: the parts that a preset names, and whether what is trained over them fits."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, cast

import torch

from gencomm_cli.errors import InputError
from gencomm_cli.networks.control import LatentControlNet, control_arguments
from gencomm_cli.presets import Component
from gencomm_cli.presets.build import build_tokenizer
from gencomm_cli.presets.pretrained import LAYOUT, Composition, Model, Source, component, document, fit, from_preset, model

if TYPE_CHECKING:
    from gencomm_cli.methods.options import StableDiffusionSources

SCHEDULE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
"""Of the backbones that control modules are trained over: Stable Diffusion's, by noise prediction."""
TOKENIZER_FILES = (
    "tokenizer_config.json", "tokenizer.json", "vocab.json", "merges.txt", "special_tokens_map.json", "added_tokens.json",
)  # fmt: skip


def compose(
    method: str,
    source: Source,
    options: StableDiffusionSources,
    settings: Mapping[str, Any],
    csi_width: Callable[[Mapping[str, Any]], int],
    codecs: Collection[str] = (),
) -> Composition:
    """A preset over Stable Diffusion, with the control module and the JSCC of other presets where the options name some.

    Args:
        settings: of the preset; those that control module and JSCC were trained with replace them.
        csi_width: settings ↦ how many numbers of CSI the method gives its control module.
        codecs: classes of JSCC that the method sends with; empty for any.

    Raises:
        InputError: a part is missing, of another kind, or does not fit.
    """
    vae, unet, backbone = _backbone(source, options.variant)
    found, own = dict(settings), dict[str, Component]()
    if options.control is not None:
        preset, own["control"] = from_preset(method, "control", options.control)
        found |= preset.settings
        with torch.device("meta"):
            sizes = LatentControlNet(**own["control"].config).config
        for key, value in control_arguments(cast(Any, unet.blueprint)).items():
            fit(source, f"{key} of --control {options.control} and of the unet", _plain(sizes[key]), _plain(value))
        what = f"numbers of CSI that --control {options.control} takes and {method} gives"
        fit(source, what, sizes.csi_width, csi_width(found))
    if options.jscc is not None:
        preset, own["jscc"] = from_preset(method, "jscc", options.jscc)
        found |= {key: preset.settings[key] for key in ("domain", "cbr", "cbr_range") if key in preset.settings}
        jscc = own["jscc"]
        beside = {"transform", "rates"} & preset.components.keys()  # NTSCC's
        own |= {part: from_preset(method, part, options.jscc)[1] for part in sorted(beside)}
        if codecs and jscc.class_name not in codecs:
            raise InputError(
                f"--jscc {options.jscc}: is a {jscc.class_name}, and {method} sends with a {' or a '.join(codecs)} alone"
            )
        if jscc.class_name in ("RateAdaptiveJSCC", "KLTJSCC"):
            latent = found.get("domain", "latent") == "latent"
            channels = cast(Any, vae.blueprint).config.latent_channels if latent else 3
            fit(source, f"channels of --jscc {options.jscc} and of what it sends", jscc.config["channels"], channels)
    return Composition(backbone | own, found, tuple(part for part in ("control", "jscc") if part not in own))


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple | list) else value


def _backbone(source: Source, variant: str | None) -> tuple[Model, Model, dict[str, Component]]:
    """VAE and UNet, and the components: these, text encoder and tokeniser, which fit one another."""
    vae = model(source, "vae", "AutoencoderKL", "vae", variant)
    unet = model(source, "unet", "UNet2DConditionModel", "unet", variant)
    text = model(source, "text_encoder", "CLIPTextModel", "text_encoder", variant)
    sizes, words = cast(Any, unet.blueprint).config, cast(Any, text.blueprint).config
    latent = cast(Any, vae.blueprint).config.latent_channels
    if sizes.addition_embed_type is not None or sizes.class_embed_type is not None:
        raise InputError(f"{source.name}: its unet wants more than a prompt (SDXL's does); give Stable Diffusion 1.x or 2.x")
    fit(source, "channels of the unet's input and of the vae's latent", sizes.in_channels, latent)
    fit(source, "channels of the unet's output and of the vae's latent", sizes.out_channels, latent)
    fit(source, "width of the unet's cross-attention and of the text encoder", sizes.cross_attention_dim, words.hidden_size)
    if "scheduler/scheduler_config.json" in source.files:
        schedule = document(source, "scheduler/scheduler_config.json")
        if schedule.get("prediction_type", "epsilon") != "epsilon":
            raise InputError(
                f"{source.name}: its unet predicts {schedule['prediction_type']}; give one that predicts noise (SD 2.x: the base)"
            )
        for key, value in SCHEDULE.items():
            fit(source, f"the scheduler's {key} and ours", schedule.get(key, value), value)
    tokenizer = _tokenizer(source, "tokenizer", words.vocab_size)
    parts = {each.name: each for each in (vae.component, unet.component, text.component, tokenizer)}
    return vae, unet, parts


def _tokenizer(source: Source, subfolder: str, most: int) -> Component:
    """The tokeniser, of at most ``most`` tokens."""
    files = [f"{subfolder}/{name}" for name in TOKENIZER_FILES if f"{subfolder}/{name}" in source.files]
    if not files:
        raise InputError(f"{source.name}: lacks {subfolder}/tokenizer_config.json; give a local folder or a hub id in {LAYOUT}")
    found = component(source, "tokenizer", "CLIPTokenizer", files, {}, subfolder=subfolder)
    size = len(build_tokenizer(found))
    if size > most:
        raise InputError(
            f"{source.name}: {subfolder} has {size} tokens, and the text encoder knows {most}; they are of different models"
        )
    return found
