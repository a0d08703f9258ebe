"""`models add`: scsic over Stable Cascade."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch

from gencomm_cli.errors import InputError
from gencomm_cli.methods.scsic.efficientnet import EfficientNetEncoder
from gencomm_cli.methods.scsic.options import Sources
from gencomm_cli.presets.pretrained import Composition, Source, component, document, fit, model


def compose(source: Source, options: Sources) -> Composition:
    """Stable Cascade's stages A and B, its semantic encoder and, where it is there, its previewer, which fit one another.

    Raises:
        InputError: one is missing, of another kind, or does not fit.
    """
    stage_a = model(source, "stage_a", "PaellaVQModel", "vqgan", options.variant)
    stage_b = model(source, "stage_b", "StableCascadeUNet", options.stage_b, options.variant)
    latent, sizes = cast(Any, stage_a.blueprint).config.latent_channels, cast(Any, stage_b.blueprint).config
    fit(source, "channels of stage B's input and of stage A's latent", sizes.in_channels, latent)
    components = {"stage_a": stage_a.component, "stage_b": stage_b.component}
    for name, class_name, file in (
        ("encoder", "EfficientNetEncoder", options.encoder), ("previewer", "Previewer", options.previewer)
    ):  # fmt: skip
        if name == "previewer" and file == Sources.previewer and file not in source.files:
            continue  # it makes the coarse image, and nothing else needs it
        if file not in source.files:
            raise InputError(
                f"{source.name}: lacks {file}; give --{name} FILE, a file of Stable Cascade's {name} below {source.name}"
            )
        components[name] = component(source, name, class_name, [file], _config(source, file))
    with torch.device("meta"):
        channels = EfficientNetEncoder(**components["encoder"].config).channels
    fit(source, "channels of stage B's condition and of the encoder's embedding", sizes.effnet_in_channels, channels)
    return Composition(components)


def _config(source: Source, file: str) -> dict[str, Any]:
    """Constructor arguments of encoder or previewer: in a ``.json`` beside the file, else as published."""
    beside = str(Path(file).with_suffix(".json"))
    return document(source, beside) if beside in source.files else {}
