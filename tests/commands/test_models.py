"""`models list`, and what `models`, `train` and `doctor` take from the methods' specs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gencomm_cli import presets
from gencomm_cli.methods import importers, spec_of, specs
from gencomm_cli.methods.spec import Tool
from tests.support.commands import Result, failed

Here = Callable[..., Result]


def tools() -> list[Tool]:
    return [Tool("modem", "qam", "qam 1.0"), Tool("modem", "ofdm", None, "ofdm is missing")]


@pytest.fixture
def foreign(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method more, of another package."""
    theirs = replace(
        spec_of("jscc"), name="theirs", summary="a method of others", distribution="gencomm-theirs",
        doctor=f"{__name__}:tools", extras={"modems": ("no-such-modem",)},
    )  # fmt: skip
    both = {**specs(), "theirs": theirs}
    monkeypatch.setattr("gencomm_cli.methods.specs", lambda: both)


def test_methods_are_listed_with_their_presets(here: Here, tmp_path: Path, foreign: None, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = here("models", "list").stdout.decode().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("lrisc: Latent Feature-Guided"))
    assert lines[at].endswith("(Chen et al., arXiv:2504.21577)")
    assert [line.split()[0] for line in lines[at + 2 : at + 4]] == ["lrisc/nano", "lrisc/nano-uniform"]
    assert lines[at + 1].endswith("; CBR 0.0033 to 0.0417, default 1/96")
    assert "theirs: a method of others; CBR the preset's own [from gencomm-theirs]" in lines
    found = json.loads(here("models", "list", "--json").stdout)
    known = {each["name"]: each for each in found["methods"]}
    assert known["lrisc"]["presets"] == ["nano", "nano-uniform"]
    assert (known["theirs"]["distribution"], known["theirs"]["presets"]) == ("gencomm-theirs", [])
    assert {(preset["method"], preset["name"]) for preset in found["presets"]} >= {("lrisc", "nano")}
    monkeypatch.setenv("GENCOMM_MODELS", str(tmp_path))
    (tmp_path / "gone" / "mine").mkdir(parents=True)
    document = {"format": "gencomm-preset", "version": 1, "method": "gone", "name": "mine", "components": {}, "settings": {}}
    (tmp_path / "gone" / "mine" / "config.json").write_text(json.dumps(document))
    lines = here("models", "list").stdout.decode().splitlines()
    assert lines[-2] == "gone: the package with this method is not installed"
    assert lines[-1].startswith("  gone/mine")


def test_doctor_asks_the_methods_for_their_tools_and_extras(here: Here, foreign: None) -> None:
    found = json.loads(here("doctor", "--json").stdout)
    assert found["modems"] == {"qam": "qam 1.0", "ofdm": None}
    assert found["extras"]["modems"] == {"no-such-modem": None}
    assert {"heif", "sionna", "train"} <= set(found["extras"])
    lines = here("doctor").stdout.decode().splitlines()
    assert {"modem qam       qam 1.0", "modem ofdm      ofdm is missing", "extra modems    without no-such-modem"} <= set(lines)
    assert any(line.startswith("codec avif      libavif") for line in lines)


def test_only_methods_that_can_are_trained_and_added(here: Here, tmp_path: Path) -> None:
    failed(here("train", "separate", "--data", tmp_path, "--out", "out"), 2, "METHOD: 'separate' is not one of", "lrisc")
    failed(here("models", "add", "lrisc", "--name", "x"), 2, "METHOD: 'lrisc' is not one of", "scsic")


def test_a_preset_is_pushed_with_all_that_it_needs(here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``diffcom/nano-ntscc`` has no file of its own: what it takes from others goes along, and the folder stands by itself."""
    sent: list[dict[str, object]] = []

    class Hub:
        def create_repo(self, repository: str, **given: object) -> None:
            sent.append({"repository": repository, **given})

        def upload_folder(self, *, folder_path: Path, **given: object) -> None:
            sent.append(given)
            shutil.copytree(folder_path, tmp_path / "downloaded")

    monkeypatch.setattr("huggingface_hub.HfApi", Hub)
    push = ("models", "push", "diffcom/nano-ntscc", "--to", "me/ntscc")
    named = json.loads(here(*push, "--dry-run", "--json").stdout)
    assert not sent
    assert here(*push, "--private").stdout.endswith(b"me/ntscc: sent\n")
    assert sent[0] == {"repository": "me/ntscc", "private": True, "exist_ok": True}
    assert sent[1]["repo_id"] == "me/ntscc"
    assert named == {
        "repository": "me/ntscc", "sent": False,
        "files": {path.name: path.stat().st_size for path in sorted((tmp_path / "downloaded").iterdir())},
    }  # fmt: skip
    found = presets.load_config(tmp_path / "downloaded")
    presets.verify(found)
    assert found.weights_sha256 == presets.find("diffcom", "nano-ntscc").weights_sha256
    assert all(component.path and component.path.parent == found.folder for component in found.components.values())
    failed(here(*push[:3], "--to", "ntscc"), 2, "--to: 'ntscc' is not a repository of the hub; OWNER/NAME is expected")

    def refused(*_: object, **__: object) -> None:
        raise OSError("no network")

    monkeypatch.setattr(Hub, "create_repo", refused)
    failed(here(*push), 1, "--to me/ntscc: not uploaded (no network); log in with `hf auth login`")


def test_help_follows_from_the_specs(here: Here) -> None:
    words = " ".join(here("train", "--help").stdout.decode().split())
    assert all(f"{spec.name}: of {spec.stages}" in words for spec in specs().values() if spec.training)
    words = " ".join(here("models", "import", "--help").stdout.decode().split())
    assert all(kind in words for kind in importers())
