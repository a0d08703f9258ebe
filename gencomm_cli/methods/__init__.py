"""The methods: the folders here, and the entry points ``gencomm.methods`` of installed packages. No method's name stands here."""

from __future__ import annotations

import gc
import pkgutil
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING, Any

from gencomm_cli.console import say
from gencomm_cli.errors import OptionError, one_line
from gencomm_cli.methods.spec import MethodSpec

if TYPE_CHECKING:
    import torch

    from gencomm_cli.methods.base import Method
    from gencomm_cli.presets import Preset

GROUP = "gencomm.methods"


@cache
def specs() -> Mapping[str, MethodSpec]:
    """Every method by name: those with a paper first. One line on stderr for each foreign package that is broken."""
    own = [import_module(f"{__name__}.{each.name}").SPEC for each in pkgutil.iter_modules(__path__) if each.ispkg]
    found = {spec.name: spec for spec in sorted(own, key=lambda spec: (not spec.reference, spec.name))}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        foreign = _foreign(entry, found)
        if foreign is not None:
            found[foreign.name] = foreign
    return found


def _foreign(entry: EntryPoint, taken: Mapping[str, MethodSpec]) -> MethodSpec | None:
    """The method of an installed package, or None where it is broken or its name is taken."""
    distribution = entry.dist.name if entry.dist else entry.value
    try:
        spec = entry.load()
        if not isinstance(spec, MethodSpec):
            raise TypeError(f"{entry.value} is no MethodSpec")
        if spec.name in taken:
            raise ValueError(f"the name {spec.name} is taken")
    except Exception as error:  # other people's code raises anything
        say(f"{distribution}: its method {entry.name} is left out ({type(error).__name__}: {one_line(error)})")
        return None
    return replace(spec, distribution=distribution, version=entry.dist.version if entry.dist else "")


def importers() -> Mapping[str, str]:
    """The module that converts each kind of released checkpoint, by the kind; of two of a name the first method's."""
    found: dict[str, str] = {}
    for spec in specs().values():
        found |= {kind: module for kind, module in spec.importers.items() if kind not in found}
    return found


def spec_of(method: str) -> MethodSpec:
    """The method of that name.

    Raises:
        OptionError: there is none.
    """
    if method not in specs():
        raise OptionError("method", f"{method!r} is not a method of this version; there is: {', '.join(specs())}")
    return specs()[method]


def resolved(place: str) -> Any:
    """What a spec names as ``module:name``."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def load_method(preset: Preset, device: torch.device | None, dtype: torch.dtype | None = None) -> Method:
    """The preset's method with its weights verified and loaded; ``device`` is None for a method without networks.

    Args:
        dtype: of the large networks; float32 if None.

    Raises:
        InputError: unknown method or unusable preset. ModelMismatch: damaged weights.
    """
    gc.disable()  # diffusers makes objects by the million while it is imported: the collector would take a fifth of the time
    try:
        method_class = resolved(spec_of(preset.method).implementation)
    finally:
        gc.enable()
    return method_class.load(preset, device, *(() if dtype is None else (dtype,)))
