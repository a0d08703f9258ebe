"""The manual's JSON Schemas, held to whatever a command prints with ``--json`` in any test."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource

FOLDER = Path(__file__).parents[2] / "docs" / "schemas"
SCHEMAS = {path.name: json.loads(path.read_text("utf-8")) for path in FOLDER.glob("*.json")}


@cache
def validator(name: str) -> Draft202012Validator:
    """Of a schema, or of a definition in one: ``row.json``, ``commands.json#/$defs/encode``."""
    registry: Registry[Any] = Registry().with_resources((key, Resource.from_contents(schema)) for key, schema in SCHEMAS.items())
    return Draft202012Validator({"$ref": name}, registry=registry)


def name_of(words: list[str]) -> str:
    """The definition of a command: its name, and the second one of ``bench`` and ``models``."""
    if words[0] == "bench":
        return f"bench-{words[1]}" if words[1] in ("merge", "predictability", "report") else "bench-run"
    return "-".join(words[: 2 if words[0] == "models" else 1])


def check_printed(words: list[str], stdout: bytes) -> None:
    """Raises ValidationError where a command that was asked for JSON printed something else than its schema says."""
    if "--json" in words and stdout.startswith(b"{"):
        validator(f"commands.json#/$defs/{name_of(words)}").validate(json.loads(stdout))
