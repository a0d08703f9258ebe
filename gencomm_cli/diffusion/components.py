"""Builds the networks that a preset names: from safetensors with a config, or pretrained through diffusers and transformers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers.models import AutoencoderKL, StableCascadeUNet, UNet2DConditionModel, UNet2DModel
from torch import nn
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from gencomm_cli.diffusion.cascade import PaellaVQModel, Previewer, StageA, StageB
from gencomm_cli.diffusion.conditional_unet import ConditionalUNet, UNetConfig
from gencomm_cli.diffusion.control import LatentControlNet
from gencomm_cli.diffusion.text import TextEncoder
from gencomm_cli.diffusion.vae import LatentCodec
from gencomm_cli.diffusion.weights import filled
from gencomm_cli.errors import InputError
from gencomm_cli.jscc.adjscc import ADJSCC, ADJSCCConfig
from gencomm_cli.jscc.convolutional import ConvolutionalJSCC, ConvolutionalJSCCConfig
from gencomm_cli.jscc.deepjscc import DeepJSCC, DeepJSCCConfig
from gencomm_cli.jscc.efficientnet import EfficientNetEncoder
from gencomm_cli.jscc.mambajscc import MambaJSCC, MambaJSCCConfig
from gencomm_cli.jscc.rate_adaptive import JSCCConfig, RateAdaptiveJSCC
from gencomm_cli.jscc.swinjscc import SwinJSCC, SwinJSCCConfig
from gencomm_cli.jscc.transform import NonlinearTransform, TransformConfig
from gencomm_cli.presets import Component, Preset, require, verify


def _jscc(**config: Any) -> RateAdaptiveJSCC:
    return RateAdaptiveJSCC(JSCCConfig.from_json(config))


def _deepjscc(**config: Any) -> DeepJSCC:
    return DeepJSCC(DeepJSCCConfig(**config))


def _adjscc(**config: Any) -> ADJSCC:
    return ADJSCC(ADJSCCConfig.from_json(config))


def _convolutional(**config: Any) -> ConvolutionalJSCC:
    return ConvolutionalJSCC(ConvolutionalJSCCConfig.from_json(config))


def _mambajscc(**config: Any) -> MambaJSCC:
    return MambaJSCC(MambaJSCCConfig.from_json(config))


def _swinjscc(**config: Any) -> SwinJSCC:
    return SwinJSCC(SwinJSCCConfig.from_json(config))


def _conditional_unet(**config: Any) -> ConditionalUNet:
    return ConditionalUNet(UNetConfig.from_json(config))


def _transform(**config: Any) -> NonlinearTransform:
    return NonlinearTransform(TransformConfig.from_json(config))


def _text_model(**config: Any) -> CLIPTextModel:
    return CLIPTextModel(CLIPTextConfig(**config))


BUILDERS = {
    "AutoencoderKL": AutoencoderKL,
    "UNet2DConditionModel": UNet2DConditionModel,
    "LatentControlNet": LatentControlNet,
    "UNet2DModel": UNet2DModel,
    "CLIPTextModel": _text_model,
    "RateAdaptiveJSCC": _jscc,
    "DeepJSCC": _deepjscc,
    "EfficientNetEncoder": EfficientNetEncoder,
    "PaellaVQModel": PaellaVQModel,
    "StableCascadeUNet": StableCascadeUNet,
    "Previewer": Previewer,
    "ADJSCC": _adjscc,
    "ConvolutionalJSCC": _convolutional,
    "SwinJSCC": _swinjscc,
    "MambaJSCC": _mambajscc,
    "ConditionalUNet": _conditional_unet,
    "NonlinearTransform": _transform,
}

PRETRAINED: dict[str, Any] = {
    "AutoencoderKL": AutoencoderKL,
    "UNet2DConditionModel": UNet2DConditionModel,
    "UNet2DModel": UNet2DModel,
    "CLIPTextModel": CLIPTextModel,
    "PaellaVQModel": PaellaVQModel,
    "StableCascadeUNet": StableCascadeUNet,
}


def build(component: Component, device: torch.device) -> nn.Module:
    """One network in evaluation mode on ``device``, float32, its parameters frozen.

    Raises:
        InputError: unknown class, or a pretrained model that cannot be loaded.
        ModelMismatch: the weights do not fit the configuration.
    """
    if component.class_name not in BUILDERS:
        raise InputError(f"component {component.name}: unknown class {component.class_name}; known: {', '.join(BUILDERS)}")
    if component.pretrained is not None:
        loader = PRETRAINED.get(component.class_name)
        if loader is None:
            raise InputError(f"component {component.name}: {component.class_name} cannot be loaded from a pretrained folder")
        try:
            module = loader.from_pretrained(component.pretrained, subfolder=component.subfolder or "", torch_dtype=torch.float32)
        except (OSError, ValueError) as error:
            first = str(error).splitlines()[0]
            raise InputError(
                f"component {component.name}: {component.pretrained} does not load ({first}); give a local folder"
            ) from None
        return module.to(device).eval().requires_grad_(False)  # type: ignore[no-any-return]
    module = BUILDERS[component.class_name](**component.config)  # type: ignore[operator]
    return filled(cast(nn.Module, module), component, device)


def build_tokenizer(component: Component) -> PreTrainedTokenizerBase:
    """The prompt's tokeniser: a ``tokenizer.json`` of this project, or a pretrained folder.

    Raises:
        InputError: it cannot be loaded.
    """
    try:
        if component.pretrained is not None:
            return AutoTokenizer.from_pretrained(component.pretrained, subfolder=component.subfolder or "")  # type: ignore[no-any-return]
        return PreTrainedTokenizerFast(tokenizer_file=str(component.path), **component.config)
    except (OSError, ValueError) as error:
        raise InputError(f"component {component.name}: no tokeniser there ({str(error).splitlines()[0]})") from None


@dataclass(frozen=True)
class Backbone:
    """The pretrained half of textguided and DiffJSCC, in evaluation mode."""

    codec: LatentCodec
    unet: UNet2DConditionModel
    text: TextEncoder


@dataclass(frozen=True)
class Networks(Backbone):
    """All of textguided or DiffJSCC; the JSCC's class is the preset's choice."""

    control: LatentControlNet
    jscc: nn.Module


def load_backbone(preset: Preset, device: torch.device) -> Backbone:
    """Builds a preset's VAE, UNet and text encoder.

    Raises:
        InputError: a component is missing. ModelMismatch: weights are damaged or do not fit.
    """
    require(preset, "vae", "unet", "text_encoder", "tokenizer")
    verify(preset)
    vae, unet, text = (build(preset.components[name], device) for name in ("vae", "unet", "text_encoder"))
    words = TextEncoder(build_tokenizer(preset.components["tokenizer"]), cast(CLIPTextModel, text))
    return Backbone(LatentCodec(cast(AutoencoderKL, vae)).eval(), cast(UNet2DConditionModel, unet), words.eval())


def load_networks(preset: Preset, device: torch.device) -> Networks:
    """Builds all of a preset's networks. Raises what :func:`load_backbone` does."""
    require(preset, "vae", "unet", "text_encoder", "tokenizer", "control", "jscc")
    backbone = load_backbone(preset, device)
    control, jscc = (build(preset.components[name], device) for name in ("control", "jscc"))
    return Networks(backbone.codec, backbone.unet, backbone.text, cast(LatentControlNet, control), jscc)


@dataclass(frozen=True)
class Cascade:
    """All of SC-SIC, in evaluation mode: semantic encoder, VQGAN, latent diffusion model, and the previewer, if it has one."""

    encoder: EfficientNetEncoder
    stage_a: StageA
    stage_b: StageB
    previewer: Previewer | None


def load_cascade(preset: Preset, device: torch.device) -> Cascade:
    """Builds SC-SIC's networks.

    Raises:
        InputError: a component is missing. ModelMismatch: weights are damaged or do not fit.
    """
    names = ("encoder", "stage_a", "stage_b")
    require(preset, *names)
    verify(preset)
    encoder, vqgan, unet = (build(preset.components[name], device) for name in names)
    previewer = build(preset.components["previewer"], device) if "previewer" in preset.components else None
    return Cascade(
        cast(EfficientNetEncoder, encoder),
        StageA(cast(PaellaVQModel, vqgan)).eval(),
        StageB(cast(StableCascadeUNet, unet)).eval(),
        cast(Previewer | None, previewer),
    )
