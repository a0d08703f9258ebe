"""The methods, one file a paper, loaded by name."""

from __future__ import annotations

import gc
from importlib import import_module
from typing import TYPE_CHECKING

from gencomm_cli.errors import InputError

if TYPE_CHECKING:
    import torch

    from gencomm_cli.methods.base import Method
    from gencomm_cli.presets import Preset

METHODS = {
    "textguided": "gencomm_cli.methods.textguided.method:TextGuided",
    "diffjscc": "gencomm_cli.methods.diffjscc.method:DiffJSCC",
    "lrisc": "gencomm_cli.methods.lrisc.method:LRISC",
    "diffcom": "gencomm_cli.methods.diffcom.method:DiffCom",
    "scsic": "gencomm_cli.methods.scsic.method:ScSic",
    "jscc": "gencomm_cli.methods.jscc.method:JSCC",
    "separate": "gencomm_cli.methods.separate.method:Separate",
}
"""Where each method's class lives; nothing is imported before it is asked for."""
CLASSICAL = frozenset({"separate"})
"""Methods without networks: they run without torch."""

_NETWORK = frozenset({"domain", "prompt", "captioner", "no_prompt", "steps", "samples"})
READS = {
    "textguided": _NETWORK | {"compile", "guidance_scale", "start_step", "spacing", "parameterization"},
    "diffjscc": _NETWORK | {"compile", "gain", "caption_from", "guidance_lambda", "guidance_form", "colour_fix", "condition"},
    "lrisc": frozenset({"compile", "steps", "samples", "beta", "allocation"}),
    "diffcom": frozenset({"codec", "allocation", "compile", "steps", "start_step", "samples"})
    | {"variant", "likelihood", "zeta", "gamma", "zeta_h", "tau", "eta", "confirm", "blind_h", "blind_form", "pick"},
    "scsic": frozenset({"compile", "steps", "samples", "guidance_scale"}),
    "jscc": frozenset(),
    "separate": frozenset({"codec", "modulation", "code_rate", "fec", "capacity"}),
}
"""The flags that each method reads, beside those that every method does."""


def variant_reads(name: str, variant: str, likelihood: str = "", blind_h: str = "") -> bool:
    """Whether a variant of diffcom, with this likelihood and way to find the taps, reads one of diffcom's flags."""
    hifi, blind, authors = variant == "hifi", variant == "blind", likelihood == "authors"
    readers = {
        "gamma": hifi, "confirm": hifi and likelihood != "exact", "tau": hifi and not authors,
        "eta": hifi or (authors and not blind), "start_step": not blind, "blind_h": blind,
        "zeta_h": blind and blind_h != "lmmse", "blind_form": blind and blind_h != "lmmse",
    }  # fmt: skip
    return readers.get(name, True)


def check_method(method: str) -> None:
    """Raises InputError where there is no such method."""
    if method not in METHODS:
        raise InputError(f"--method: {method!r} is not a method of this version; there is: {', '.join(METHODS)}")


def default_preset(method: str) -> str:
    """The preset that a method takes where none is named."""
    return "classical" if method in CLASSICAL else "nano"


def load_method(preset: Preset, device: torch.device | None, dtype: torch.dtype | None = None) -> Method:
    """The preset's method with its weights verified and loaded; ``device`` is None for a method without networks.

    Args:
        dtype: of the large networks; float32 if None.

    Raises:
        InputError: unknown method or unusable preset. ModelMismatch: damaged weights.
    """
    if preset.method not in METHODS:
        raise InputError(f"method {preset.method}: unknown; there is: {', '.join(METHODS)}")
    module, _, name = METHODS[preset.method].partition(":")
    gc.disable()  # diffusers makes objects by the million while it is imported: the collector would take a fifth of the time
    try:
        method_class = getattr(import_module(module), name)
    finally:
        gc.enable()
    method: Method = method_class.load(preset, device, *(() if dtype is None else (dtype,)))
    return method
