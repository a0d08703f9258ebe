"""Constructor arguments of networks, as presets hold them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, get_type_hints


class Config:
    """Base of the frozen dataclasses that networks are constructed from."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """From a preset's ``config.json``, where tuples are lists, and configurations within are objects."""
        hints = get_type_hints(cls)

        def value(name: str, given: Any) -> Any:
            if isinstance(given, dict) and isinstance(kind := hints.get(name), type) and issubclass(kind, Config):
                return kind.from_json(given)
            return tuple(given) if isinstance(given, list) else given

        return cls(**{name: value(name, given) for name, given in values.items()})
