"""`models import` as a user meets it, and what it writes in use."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from gencomm_cli.networks.convolutional import ConvolutionalJSCC, ConvolutionalJSCCConfig
from tests.methods.diffjscc.test_released import released as random_diffjscc
from tests.methods.diffjscc.test_released import tiny as tiny_diffjscc
from tests.support.commands import Result, failed
from tests.support.standins import clip_tokenizer

Here = Callable[..., Result]


class Malicious:
    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch ran",)


@pytest.fixture
def released(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    torch.save(ConvolutionalJSCC(ConvolutionalJSCCConfig(8)).state_dict(), tmp_path / "epoch_999.pkl")
    return tmp_path / "epoch_999.pkl"


def test_an_imported_codec_is_used_like_any_other(here: Here, photo: Path, released: Path) -> None:
    done = here("models", "import", released, "-o", "cifar")
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().splitlines() == ["mapped 29: codec (ConvolutionalJSCC)", "jscc/cifar: cifar"]
    assert here("models", "verify", "cifar").returncode == 0
    card = here("models", "show", "cifar").stdout.decode()
    assert "3.01 dB" in card
    assert here("encode", photo, "--method", "jscc", "--preset", "cifar", "-o", "tx.npz").returncode == 0
    assert here("channel", "tx.npz", "--snr", 10, "--block-rayleigh", "-o", "rx.npz").returncode == 0
    assert here("decode", "rx.npz", "--preset", "cifar", "-o", "three.png").returncode == 0
    channel = ("--snr", 10, "--block-rayleigh", "--tx-snr", "unknown")
    whole = here("roundtrip", photo, "--method", "jscc", "--preset", "cifar", *channel, "-o", "one.png", "--json")
    assert whole.returncode == 0, whole.stderr
    assert Path("three.png").read_bytes() == Path("one.png").read_bytes()
    assert json.loads(whole.stdout)["cbr"]["image"] == pytest.approx(8 / 96)
    swept = here("bench", "run", photo, "--methods", "jscc@cifar", "--snr", "1,20", "--out", "results")
    assert swept.returncode == 0, swept.stderr
    low, high = map(json.loads, Path("results/rows.jsonl").read_text().splitlines())
    assert all((row["cell"]["method"], row["status"]) == ("jscc", "ok") for row in (low, high))
    failed(here("roundtrip", photo, "--method", "jscc", "--preset", "cifar", "--snr", 1, "--steps", 3), 2, "jscc does not read it")
    nearest = here("encode", photo, "--method", "jscc", "--preset", "cifar", "--cbr", 0.01, "-o", "tx.npz")
    assert b"0.01 cannot be met at" in nearest.stderr
    strict = ("--cbr", 0.01, "--cbr-strict")
    failed(here("encode", photo, "--method", "jscc", "--preset", "cifar", *strict), 5, "0.08334 or more would do")
    failed(here("encode", photo, "--method", "jscc"), 2, "no such preset of jscc", "gencomm train jscc")


def test_a_folder_with_its_configuration_and_a_tokeniser(here: Here, photo: Path) -> None:
    """DiffJSCC, as it is released; the tokeniser comes from elsewhere."""
    weights, _ = random_diffjscc(tiny_diffjscc())
    Path("released").mkdir()
    torch.save({"state_dict": dict(weights), "epoch": 3, "hyper_parameters": {"learning_rate": 1e-4}}, "released/model.ckpt")
    Path("released/config.yaml").write_text(yaml.safe_dump({"target": "model.cldm.ControlLDM", "params": tiny_diffjscc()}))
    words = Tokenizer(WordLevel({"<pad>": 0, "<unk>": 1, "a": 2}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>").save_pretrained("tokenizer")
    bare = here("models", "import", "released", "-o", "bare")
    assert bare.returncode == 0, bare.stderr
    lines = bare.stdout.decode().splitlines()
    assert any(line.startswith("lacks tokenizer: it is not in the checkpoint") for line in lines)
    assert any("a copy of the autoencoder's encoder" in line for line in lines)
    way = ("--method", "diffjscc", "--snr", 5, "--steps", 2, "--condition", "spatial,csi", "-o", "out.png", "--json")
    failed(here("encode", photo, "--method", "diffjscc", "--preset", "bare", "-o", "tx.npz"), 2, "lacks tokenizer")
    whole = here("models", "import", "released", "-o", "whole", "--tokenizer", "tokenizer")
    assert whole.returncode == 0, whole.stderr
    assert b"lacks" not in whole.stdout
    done = here("roundtrip", photo, "--preset", "whole", *way)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["cbr"]["image"] == pytest.approx(1 / 384)
    failed(here("models", "import", "released", "-o", "no", "--tokenizer", "released"), 2, "no tokeniser there")
    clip_tokenizer(Path("larger")).save_pretrained("larger")
    failed(here("models", "import", "released", "-o", "no", "--tokenizer", "larger"), 2, "has 54 tokens", "knows 40")
    Path("empty").mkdir()
    failed(here("models", "import", "empty", "-o", "no"), 2, "empty: holds no checkpoint")
    assert not Path("no").exists()


def test_the_report_as_json(here: Here, released: Path) -> None:
    found = json.loads(here("models", "import", released, "-o", "cifar", "--name", "mine", "--kind", "deepjscc", "--json").stdout)
    assert (found["method"], found["name"], found["outputs"]) == ("jscc", "mine", ["cifar"])
    assert {"theirs": "encoder.conv1.conv.weight", "ours": "encoder.conv1.conv.weight"} in found["mapped"]
    assert (len(found["mapped"]), found["dropped"], found["missed"]) == (29, [], [])


def test_what_is_wrong_gets_one_line_and_nothing_is_written(here: Here, photo: Path, released: Path) -> None:
    torch.save({"state_dict": {"w": torch.ones(1)}, "hyper_parameters": Malicious()}, "evil.ckpt")
    torch.save({"w": torch.ones(1)}, "other.pt")
    Path("config.yaml").write_text("[")
    failed(here("models", "import", "evil.ckpt", "-o", "new"), 2, "evil.ckpt: not opened", "system")
    assert not Path("ran").exists()
    failed(here("models", "import", "other.pt", "-o", "new"), 2, "other.pt: of no kind that is known", "adjscc")
    failed(here("models", "import", photo, "-o", "new"), 2, "neither a torch checkpoint nor safetensors")
    failed(here("models", "import", "none.pt", "-o", "new"), 2, "no such file")
    failed(here("models", "import", released, "-o", "no/new"), 2, "no folder")
    failed(here("models", "import", released, "-o", photo), 2, "is a file")
    failed(here("models", "import", released, "--kind", "adjscc", "-o", "new"), 2, "looks like deepjscc")
    failed(here("models", "import", released, "--config", "config.yaml", "-o", "new"), 2, "neither YAML nor JSON")
    failed(here("models", "import", released), 2, "-o")
    Path("full").mkdir()
    Path("full/mine.txt").write_text("kept")
    failed(here("models", "import", released, "-o", "full"), 2, "--force")
    Path("full/config.json").write_text("{}")
    again = ("models", "import", released, "--config", "full/config.json", "-o", "full", "--force")
    failed(here(*again), 2, "full: holds what is imported")
    Path("full/config.json").unlink()
    assert not Path("new").exists()
    assert [path.name for path in Path("full").iterdir()] == ["mine.txt"]
