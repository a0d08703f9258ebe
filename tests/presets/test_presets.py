"""Finding, parsing and verifying preset folders."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from gencomm_cli import presets
from gencomm_cli.errors import InputError, ModelMismatch


def folder_with(path: Path, **changes: Any) -> Path:
    path.mkdir()
    (path / "a.bin").write_bytes(b"weights")
    digest = hashlib.sha256(b"weights").hexdigest()
    document = {
        "format": "gencomm-preset", "version": 1, "method": "textguided", "name": "mine",
        "components": {"a": {"class": "A", "file": "a.bin", "sha256": digest, "config": {"x": 1}}}, "settings": {},
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(document | changes))
    return path


def test_weights_hash_is_that_of_sorted_component_hashes(tmp_path: Path) -> None:
    found = presets.find("textguided", str(folder_with(tmp_path / "p")))
    digest = hashlib.sha256(b"weights").hexdigest()
    assert found.weights_sha256 == hashlib.sha256(digest.encode()).hexdigest()
    assert presets.combined_hash(["b", "a"]) == hashlib.sha256(b"a\nb").hexdigest()
    presets.verify(found)


def test_a_flipped_byte_is_found(tmp_path: Path) -> None:
    folder = folder_with(tmp_path / "p")
    (folder / "a.bin").write_bytes(b"weightS")
    with pytest.raises(ModelMismatch, match="SHA-256"):
        presets.verify(presets.load_config(folder))


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "other"},
        {"version": 2},
        {"components": None},
        {"components": {"a": {"class": "A", "file": "a.bin"}}},
        {"components": {"a": {"class": "A", "file": "missing", "sha256": "0"}}},
        {"components": {"a": {"class": "A", "file": "a" * 5000, "sha256": "0"}}},
        {"components": {"a": {"class": "A", "file": "a\0b", "sha256": "0"}}},
        {"components": {"a": {"class": "A", "file": "../../etc/hostname", "sha256": "0"}}},
        {"components": {"a": 3}},
        {"method": 1},
    ],
)
def test_what_is_not_a_preset_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        presets.load_config(folder_with(tmp_path / "p", **changes))


def test_unknown_names_say_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is: nano"):
        presets.find("textguided", "nosuch")
    with pytest.raises(InputError):
        presets.find("textguided", "a" * 5000)
    with pytest.raises(InputError, match="not a preset"):
        presets.find("textguided", str(tmp_path))
    with pytest.raises(InputError, match="belongs to textguided"):
        presets.find("lrisc", str(folder_with(tmp_path / "p")))


def test_shipped_presets_are_whole() -> None:
    shipped = presets.available()
    assert [(preset.method, preset.name) for preset in shipped] == [
        ("diffcom", "nano"), ("diffcom", "nano-ntscc"), ("diffcom", "nano-swinjscc"), ("diffjscc", "nano"), ("lrisc", "nano"),
        ("lrisc", "nano-uniform"), ("scsic", "nano"), ("separate", "classical"), ("textguided", "nano"),
    ]  # fmt: skip
    for preset in shipped:
        presets.verify(preset)
        assert preset.card.startswith("#")
