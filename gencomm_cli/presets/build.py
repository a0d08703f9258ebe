"""Builds the networks that a preset names: from safetensors with a config, or pretrained through diffusers and transformers.

Both take seconds to import, which happens with the first network that needs them: a codec alone needs neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from torch import nn

from gencomm_cli.errors import InputError
from gencomm_cli.presets import Component, Preset, require, verify
from gencomm_cli.presets.files import checked, one_line
from gencomm_cli.presets.weights import filled

if TYPE_CHECKING:
    from diffusers.models import UNet2DConditionModel
    from transformers import PreTrainedTokenizerBase

    from gencomm_cli.methods.scsic.cascade import StageA, StageB
    from gencomm_cli.methods.scsic.efficientnet import EfficientNetEncoder
    from gencomm_cli.methods.scsic.embedding import Previewer
    from gencomm_cli.networks.control import LatentControlNet
    from gencomm_cli.networks.text import TextEncoder
    from gencomm_cli.networks.vae import LatentCodec

Builder = Callable[..., nn.Module]
"""Constructor arguments as JSON has them → a network."""


class Builders(Mapping[str, Builder]):
    """What builds a network of a class, by the class's name; its module is imported when it is asked for.

    Args:
        places: ``module:class`` of each, or ``module:class:configuration``, where the class takes a configuration's ``from_json``
            of the arguments.
    """

    def __init__(self, places: Mapping[str, str]) -> None:
        self.places = places

    def __getitem__(self, name: str) -> Builder:
        module, class_name, *config = self.places[name].split(":")
        found = import_module(module)
        made: Builder = getattr(found, class_name)
        if not config:
            return made
        from_json = getattr(found, config[0]).from_json
        return lambda **arguments: made(from_json(arguments))

    def __iter__(self) -> Iterator[str]:
        return iter(self.places)

    def __len__(self) -> int:
        return len(self.places)


PRETRAINED = Builders({
    "AutoencoderKL": "diffusers.models:AutoencoderKL",
    "UNet2DConditionModel": "diffusers.models:UNet2DConditionModel",
    "UNet2DModel": "diffusers.models:UNet2DModel",
    "CLIPTextModel": "transformers:CLIPTextModel",
    "PaellaVQModel": "gencomm_cli.methods.scsic.cascade:PaellaVQModel",
    "StableCascadeUNet": "diffusers.models:StableCascadeUNet",
})  # fmt: skip
"""Classes with a ``from_pretrained``."""

BUILDERS = Builders({
    **PRETRAINED.places,
    "CLIPTextModel": "gencomm_cli.networks.text:text_model",
    "Autoencoder": "gencomm_cli.networks.autoencoder:Autoencoder",
    "LatentControlNet": "gencomm_cli.networks.control:LatentControlNet",
    "RateAdaptiveJSCC": "gencomm_cli.networks.rate_adaptive:RateAdaptiveJSCC:JSCCConfig",
    "DeepJSCC": "gencomm_cli.networks.deepjscc:DeepJSCC:DeepJSCCConfig",
    "EfficientNetEncoder": "gencomm_cli.methods.scsic.efficientnet:EfficientNetEncoder",
    "Previewer": "gencomm_cli.methods.scsic.embedding:Previewer",
    "ADJSCC": "gencomm_cli.networks.adjscc:ADJSCC:ADJSCCConfig",
    "ConvolutionalJSCC": "gencomm_cli.networks.convolutional:ConvolutionalJSCC:ConvolutionalJSCCConfig",
    "SwinJSCC": "gencomm_cli.networks.swinjscc:SwinJSCC:SwinJSCCConfig",
    "MambaJSCC": "gencomm_cli.networks.mambajscc:MambaJSCC:MambaJSCCConfig",
    "LatentJSCC": "gencomm_cli.networks.ntscc:LatentJSCC:NTSCCConfig",
    "RateTables": "gencomm_cli.networks.rate_indices:RateTables",
    "ConditionalUNet": "gencomm_cli.networks.conditional_unet:ConditionalUNet:UNetConfig",
    "NonlinearTransform": "gencomm_cli.networks.transform:NonlinearTransform:TransformConfig",
})  # fmt: skip
"""Every class that a preset may name."""


def build(component: Component, device: torch.device, dtype: torch.dtype = torch.float32) -> nn.Module:
    """One network in evaluation mode on ``device``, its parameters frozen and of ``dtype``; channels last on CUDA.

    Raises:
        InputError: unknown class, or a pretrained model that cannot be loaded.
        ModelMismatch: the weights do not fit the configuration, or are not those that the preset names.
    """
    if component.class_name not in BUILDERS:
        raise InputError(f"component {component.name}: unknown class {component.class_name}; known: {', '.join(BUILDERS)}")
    module = _pretrained(component, dtype) if component.pretrained is not None else _own(component, component.path)
    nn.Module.to(module, device, dtype)  # not diffusers' own, which warns of layers that it would keep in float32
    if device.type == "cuda":
        nn.Module.to(module, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return module.eval().requires_grad_(False)


def _own(component: Component, path: Path | None) -> nn.Module:
    assert path is not None
    module = BUILDERS[component.class_name](**component.config)
    return filled(module, replace(component, path=path), torch.device("cpu"))


def _pretrained(component: Component, dtype: torch.dtype) -> nn.Module:
    """By its library from a folder in the library's layout; a class of this project's own from its one file."""
    source = str(checked(component)) if component.files else str(component.pretrained)
    loader = PRETRAINED.get(component.class_name)
    if loader is None:
        if len(component.files) != 1:
            raise InputError(f"component {component.name}: {component.class_name} cannot be loaded from a pretrained folder")
        return _own(component, Path(source) / next(iter(component.files)))
    try:
        module = cast(Any, loader).from_pretrained(
            source, subfolder=component.subfolder or "", torch_dtype=dtype, use_safetensors=True, variant=component.variant,
            local_files_only=bool(component.files),
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"component {component.name}: {component.pretrained} does not load ({one_line(error)}); give a local folder"
        ) from None
    return cast(nn.Module, module)


def build_tokenizer(component: Component) -> PreTrainedTokenizerBase:
    """The prompt's tokeniser: a ``tokenizer.json`` of this project, or a pretrained folder.

    Raises:
        InputError: it cannot be loaded.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        if component.pretrained is not None:
            source = str(checked(component)) if component.files else component.pretrained
            return AutoTokenizer.from_pretrained(  # type: ignore[no-any-return]
                source, subfolder=component.subfolder or "", local_files_only=bool(component.files)
            )
        return PreTrainedTokenizerFast(tokenizer_file=str(component.path), **component.config)
    except (OSError, ValueError) as error:
        raise InputError(f"component {component.name}: no tokeniser there ({str(error).splitlines()[0]})") from None


BACKBONE = ("vae", "unet", "text_encoder", "tokenizer")
"""The pretrained half of textguided and DiffJSCC."""


class Backbone:
    """The pretrained half of textguided and DiffJSCC, in evaluation mode; each network is loaded when it is first asked for.

    Args:
        dtype: of all networks but the JSCC, whose symbols are float32. In float16 the VAE stays in float32: it would overflow.

    Raises:
        InputError: a component is missing. ModelMismatch: weights are damaged or do not fit (a pretrained one: once it is loaded).
    """

    needs: tuple[str, ...] = BACKBONE

    def __init__(self, preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        require(preset, *self.needs)
        verify(preset)
        self.preset, self.device, self.dtype = preset, device, dtype

    def _build(self, name: str, dtype: torch.dtype) -> Any:
        return build(self.preset.components[name], self.device, dtype)

    def load(self) -> None:
        """Loads the pretrained half at once."""
        _ = self.codec, self.unet, self.text

    @cached_property
    def codec(self) -> LatentCodec:
        """The VAE."""
        from gencomm_cli.networks.vae import latent_codec

        return latent_codec(self._build("vae", steady(self.dtype))).eval()

    @cached_property
    def unet(self) -> UNet2DConditionModel:
        """The denoiser."""
        return self._build("unet", self.dtype)

    @cached_property
    def text(self) -> TextEncoder:
        """Tokeniser and text encoder."""
        from gencomm_cli.networks.text import TextEncoder

        return TextEncoder(build_tokenizer(self.preset.components["tokenizer"]), self._build("text_encoder", self.dtype)).eval()

    @property
    def halvings(self) -> int:
        """How often the denoiser halves the latent; known before it is loaded."""
        widths = self.preset.components["unet"].config.get("block_out_channels") or self.unet.config.block_out_channels
        return len(widths) - 1


class Networks(Backbone):
    """All of textguided or DiffJSCC; the JSCC's class is the preset's choice."""

    needs = (*Backbone.needs, "control", "jscc")

    @cached_property
    def control(self) -> LatentControlNet:
        """The control module."""
        return self._build("control", self.dtype)

    @cached_property
    def jscc(self) -> nn.Module:
        """The JSCC, in float32."""
        return self._build("jscc", torch.float32)


class Cascade:
    """All of SC-SIC, in evaluation mode: semantic encoder, VQGAN, latent diffusion model, and the previewer, if it has one.

    Each is loaded when it is first asked for.

    Args:
        dtype: of stages A and B (A stays in float32 where this is float16); the others are float32.

    Raises:
        InputError: a component is missing. ModelMismatch: weights are damaged or do not fit (a pretrained one: once it is loaded).
    """

    def __init__(self, preset: Preset, device: torch.device, dtype: torch.dtype = torch.float32) -> None:
        require(preset, "encoder", "stage_a", "stage_b")
        verify(preset)
        self.preset, self.device, self.dtype = preset, device, dtype

    def _build(self, name: str, dtype: torch.dtype) -> Any:
        return build(self.preset.components[name], self.device, dtype)

    @cached_property
    def encoder(self) -> EfficientNetEncoder:
        """E."""
        return self._build("encoder", torch.float32)

    @cached_property
    def stage_a(self) -> StageA:
        """f_Θ and its inverse."""
        from gencomm_cli.methods.scsic.cascade import StageA

        return StageA(self._build("stage_a", steady(self.dtype))).eval()

    @cached_property
    def stage_b(self) -> StageB:
        """The denoiser."""
        from gencomm_cli.methods.scsic.cascade import StageB

        return StageB(self._build("stage_b", self.dtype)).eval()

    @property
    def multiple(self) -> int:
        """Pixels that both sides of an image are multiples of; known before the networks are loaded, if the preset says it."""
        a, b = (self.preset.components[name].config for name in ("stage_a", "stage_b"))
        if {"block_out_channels", "patch_size"} <= b.keys() and {"up_down_scale_factor", "levels"} <= a.keys():
            factor = a["up_down_scale_factor"] * 2 ** (a["levels"] - 1)
            return int(factor * b["patch_size"] * 2 ** (len(b["block_out_channels"]) - 1))
        return self.stage_a.factor * self.stage_b.multiple

    @cached_property
    def previewer(self) -> Previewer | None:
        """Ẑ to a coarse image; None where the preset has none."""
        return self._build("previewer", torch.float32) if "previewer" in self.preset.components else None


def steady(dtype: torch.dtype) -> torch.dtype:
    """What an autoencoder runs in beside a denoiser of ``dtype``: its activations overflow float16."""
    return torch.float32 if dtype == torch.float16 else dtype
