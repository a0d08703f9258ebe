"""Folders of presets as people leave them: files that editors saved, cards in any encoding, damaged and hidden neighbours."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gencomm_cli import presets
from gencomm_cli.bench.references import read as read_published
from gencomm_cli.errors import InputError
from gencomm_cli.networks.convolutional import ConvolutionalJSCC, ConvolutionalJSCCConfig
from gencomm_cli.presets.write import Part, write_preset
from gencomm_cli.released.checkpoint import read_config
from gencomm_cli.training.trainer import load_config as load_recipe
from tests.support.commands import Result, failed

Here = Callable[..., Result]
MINE = Path("models/jscc/mine")


@pytest.fixture
def sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The config of a tiny preset in a models folder of the user's, ``MINE``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(presets.ENVIRONMENT, "models")
    with torch.no_grad():
        codec = ConvolutionalJSCC(ConvolutionalJSCCConfig(2))
        write_preset(MINE, "jscc", {"codec": Part("ConvolutionalJSCC", {"code_channels": 2}, codec)}, {"note": "é", "cbr": 0.02})
    return (MINE / "config.json").read_text("utf-8").replace("\\u00e9", "é")


SAVED: dict[str, Callable[[str], bytes]] = {
    "Notepad's mark": lambda text: text.encode("utf-8-sig"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "Latin-1": lambda text: text.encode("latin-1"),
    "lines of Windows": lambda text: text.replace("\n", "\r\n").encode(),
}
DAMAGED: dict[str, Callable[[str], bytes]] = {
    "empty": lambda _: b"",
    "cut": lambda text: text[:60].encode(),
    "a list": lambda _: b"[]",
    "nested too deep": lambda _: b"[" * 100_000,
    "binary": lambda _: bytes(100),
    "not a number": lambda text: text.replace("0.02", "NaN").encode(),
    "too large a number": lambda text: text.replace("0.02", "1e999").encode(),
    "settings twice": lambda text: text.replace('"settings"', '"settings": {}, "settings"').encode(),
    "no components": lambda text: text.replace('"components"', '"parts"').encode(),
}


@pytest.mark.parametrize("kind", SAVED)
def test_json_is_read_as_editors_save_it(kind: str, sound: str) -> None:
    (MINE / "config.json").write_bytes(SAVED[kind](sound))
    assert presets.load_config(MINE).settings == {"note": "é", "cbr": 0.02}
    Path("recipe.json").write_bytes(SAVED[kind](json.dumps({"name": "é"}, ensure_ascii=False)))
    assert load_recipe(Path("recipe.json"), "jscc/nano.json", ()) == {"name": "é"}
    assert read_config(Path("recipe.json")) == {"name": "é"}
    curve = {"label": "é", "source": "x", "metric": "psnr", "channel": "awgn", "cbr": 0.1, "points": [[1, 20]]}
    Path("curves.json").write_bytes(SAVED[kind](json.dumps([curve], ensure_ascii=False)))
    assert read_published(Path("curves.json"))[0].label == "é"


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_is_no_config_is_refused_in_one_line_and_stops_no_list(kind: str, sound: str, here: Here) -> None:
    broken = MINE.with_name("broken")
    broken.mkdir()
    (broken / "config.json").write_bytes(DAMAGED[kind](sound))
    for command in (["models", "show", broken], ["models", "verify"], ["models", "pack", "models", "-o", "packed"]):
        failed(here(*command), 2, "broken/config.json: ")
    with pytest.raises(InputError, match=r"broken/config\.json: "):
        presets.find("jscc", str(broken))
    assert not Path("packed").exists()
    for command in (["models", "list"], ["doctor"]):
        listed = here(*command)
        assert listed.returncode == 0, listed.stderr
        assert b"jscc/mine" in listed.stdout
        assert listed.stderr.count(b"left out: models/jscc/broken/config.json: ") == 1
    assert here("models", "show", "mine").returncode == 0


def test_hidden_folders_are_no_presets(sound: str, here: Here) -> None:
    for folder in (MINE.with_name("._mine"), MINE.parent.with_name("._jscc") / "mine"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_bytes(b"\0\5\x16\7")
    assert here("models", "verify", "jscc/mine").returncode == 0
    listed = here("models", "list")
    assert (listed.returncode, listed.stderr) == (0, b"")


@pytest.mark.parametrize("kind", SAVED)
def test_a_card_is_printed_whatever_its_encoding(kind: str, sound: str, here: Here) -> None:
    (MINE / "README.md").write_bytes(SAVED[kind]("# Café\n"))
    shown = here("models", "show", "jscc/mine")
    assert (shown.returncode, shown.stdout.decode()) == (0, "# Café\n")
    assert here("models", "push", "jscc/mine", "--to", "a/b", "--dry-run").returncode == 0
