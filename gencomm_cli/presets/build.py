"""Builds the networks that a preset names: from safetensors with a config, or pretrained through diffusers and transformers.

Both take seconds to import, which happens with the first network that needs them: a codec alone needs neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from torch import nn

from gencomm_cli.errors import InputError, one_line
from gencomm_cli.methods import specs
from gencomm_cli.presets import Component
from gencomm_cli.presets.files import checked
from gencomm_cli.presets.finite import check_finite
from gencomm_cli.presets.weights import filled

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Builder = Callable[..., nn.Module]
"""Constructor arguments as JSON has them → a network."""


_PRETRAINED = {
    "AutoencoderKL": "diffusers.models:AutoencoderKL",
    "UNet2DConditionModel": "diffusers.models:UNet2DConditionModel",
    "UNet2DModel": "diffusers.models:UNet2DModel",
    "CLIPTextModel": "transformers:CLIPTextModel",
    "StableCascadeUNet": "diffusers.models:StableCascadeUNet",
}
"""Classes with a ``from_pretrained``."""

_SHARED = {
    "CLIPTextModel": "gencomm_cli.networks.text:text_model",
    "LatentControlNet": "gencomm_cli.networks.control:LatentControlNet",
    "RateAdaptiveJSCC": "gencomm_cli.networks.rate_adaptive:RateAdaptiveJSCC:JSCCConfig",
    "KLTJSCC": "gencomm_cli.networks.klt_jscc:KLTJSCC:KLTConfig",
    "CoarseHead": "gencomm_cli.networks.coarse:CoarseHead",
    "DeepJSCC": "gencomm_cli.networks.deepjscc:DeepJSCC:DeepJSCCConfig",
    "ADJSCC": "gencomm_cli.networks.adjscc:ADJSCC:ADJSCCConfig",
    "ResidualADJSCC": "gencomm_cli.networks.residual_adjscc:ResidualADJSCC:ResidualADJSCCConfig",
    "ConvolutionalJSCC": "gencomm_cli.networks.convolutional:ConvolutionalJSCC:ConvolutionalJSCCConfig",
    "SwinJSCC": "gencomm_cli.networks.swinjscc:SwinJSCC:SwinJSCCConfig",
    "MambaJSCC": "gencomm_cli.networks.mambajscc:MambaJSCC:MambaJSCCConfig",
    "ConditionalUNet": "gencomm_cli.networks.conditional_unet:ConditionalUNet:UNetConfig",
    "NonlinearTransform": "gencomm_cli.networks.transform:NonlinearTransform:TransformConfig",
    "LatentJSCC": "gencomm_cli.networks.ntscc:LatentJSCC:NTSCCConfig",
    "ResidualTransform": "gencomm_cli.networks.residual_transform:ResidualTransform:ResidualTransformConfig",
    "KLTLatentJSCC": "gencomm_cli.networks.klt_latent:KLTLatentJSCC:KLTLatentConfig",
    "ResidualUNet": "gencomm_cli.networks.residual_unet:ResidualUNet:ResidualUNetConfig",
    "RateTables": "gencomm_cli.networks.rate_indices:RateTables",
    "Autoencoder": "gencomm_cli.networks.autoencoder:Autoencoder",
}
"""Classes that several methods have, and the JSCC codecs."""


@cache
def builders() -> Mapping[str, Builder]:
    """What builds a network of each class that a preset may name, those that methods share and each method's own, by its name."""
    return {name: _builder(place) for name, place in {**_PRETRAINED, **_own_places(), **_SHARED}.items()}


def _own_places() -> dict[str, str]:
    return {name: place for spec in specs().values() for name, place in spec.networks.items()}


def _builder(place: str) -> Builder:
    """The builder for ``module:class``, whose module is imported when it is called; for ``module:class:configuration`` where the
    class takes a configuration's ``from_json`` of the arguments."""

    def built(**arguments: Any) -> nn.Module:
        module, class_name, *config = place.split(":")
        found = import_module(module)
        made: Builder = getattr(found, class_name)
        return made(getattr(found, config[0]).from_json(arguments)) if config else made(**arguments)

    return built


def pretrained_class(name: str) -> Any | None:
    """The class of that name, if it has a ``from_pretrained``."""
    if (place := {**_own_places(), **_PRETRAINED}.get(name)) is None:
        return None
    module, class_name, *_ = place.split(":")
    found = getattr(import_module(module), class_name)
    return found if hasattr(found, "from_pretrained") else None


def build(component: Component, device: torch.device, dtype: torch.dtype = torch.float32) -> nn.Module:
    """One network in evaluation mode on ``device``, its parameters frozen and of ``dtype``; channels last on CUDA.

    Raises:
        InputError: unknown class, or a pretrained model that cannot be loaded.
        ModelMismatch: the weights do not fit the configuration, are not the preset's, or are not finite in ``dtype``.
    """
    if component.class_name not in builders():
        raise InputError(f"component {component.name}: unknown class {component.class_name}; known: {', '.join(builders())}")
    module = _pretrained(component, dtype) if component.pretrained is not None else _own(component, component.path)
    nn.Module.to(module, device, dtype)  # not diffusers' own, which warns of layers that it would keep in float32
    if device.type == "cuda":
        nn.Module.to(module, memory_format=torch.channels_last)  # type: ignore[call-overload]
    check_finite(module.state_dict(), f"{component.path or component.pretrained}: {component.name} in {dtype}")
    return module.eval().requires_grad_(False)


def _own(component: Component, path: Path | None) -> nn.Module:
    assert path is not None
    return filled(lambda: builders()[component.class_name](**component.config), replace(component, path=path), torch.device("cpu"))


def _pretrained(component: Component, dtype: torch.dtype) -> nn.Module:
    """By its library from a folder in the library's layout; a class of this project's own from its one file."""
    source = _source(component)
    loader = pretrained_class(component.class_name)
    if loader is None:
        if len(component.files) != 1:
            raise InputError(f"component {component.name}: {component.class_name} cannot be loaded from a pretrained folder")
        return _own(component, Path(source) / next(iter(component.files)))
    with _loading(component):
        return loader.from_pretrained(
            source, subfolder=component.subfolder or "", torch_dtype=dtype, use_safetensors=True, variant=component.variant,
            local_files_only=bool(component.files),
        )  # fmt: skip


def pretrained_config(component: Component) -> Mapping[str, Any]:
    """What a pretrained model of diffusers' says of its sizes, without its weights.

    Raises:
        InputError: it cannot be read.
    """
    source, loader = _source(component), cast(Any, pretrained_class(component.class_name))
    with _loading(component):
        return loader.load_config(source, subfolder=component.subfolder or "", local_files_only=bool(component.files))


def _source(component: Component) -> str:
    """The folder or hub id of a pretrained model, once its files are those that the preset names."""
    return str(checked(component)) if component.files else str(component.pretrained)


@contextmanager
def _loading(component: Component) -> Iterator[None]:
    """Raises InputError where what is within fails to load."""
    try:
        yield
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(
            f"component {component.name}: {component.pretrained} does not load ({one_line(error)}); give a local folder"
        ) from None


def build_tokenizer(component: Component) -> PreTrainedTokenizerBase:
    """The prompt's tokeniser: a ``tokenizer.json`` of this project, or a pretrained folder.

    Raises:
        InputError: it cannot be loaded.
    """
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    try:
        if component.pretrained is not None:
            place = {"subfolder": component.subfolder or "", "local_files_only": bool(component.files)}
            return AutoTokenizer.from_pretrained(_source(component), **place)
        return PreTrainedTokenizerFast(tokenizer_file=str(component.path), **component.config)
    except (OSError, ValueError) as error:
        raise InputError(f"component {component.name}: no tokeniser there ({str(error).splitlines()[0]})") from None


def steady(dtype: torch.dtype) -> torch.dtype:
    """What an autoencoder runs in beside a denoiser of ``dtype``: its activations overflow float16."""
    return torch.float32 if dtype == torch.float16 else dtype
