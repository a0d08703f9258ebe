"""The manual's pages on full-size, released and launched training, followed word by word on stand-ins with the real layouts."""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from gencomm_cli.methods.scsic.options import Sources
from gencomm_cli.metrics.lpips import LPIPS
from gencomm_cli.networks.convolutional import ConvolutionalJSCC, ConvolutionalJSCCConfig
from gencomm_cli.presets.pretrained import add
from gencomm_cli.training import losses, trainer
from tests.methods.diffcom import test_released_guided_diffusion as test_guided_diffusion
from tests.methods.diffjscc import test_released as test_diffjscc
from tests.methods.jscc import test_released_swinjscc as test_swinjscc
from tests.methods.lrisc import test_released as test_cdc
from tests.methods.lrisc import test_train as test_lrisc
from tests.support.commands import Result, here
from tests.support.released import Weights
from tests.support.standins import stable_cascade, stable_diffusion
from tests.text.test_captioners import _save_blip, _save_tokenizer
from tests.training.test_full_size import RECIPES

__all__ = ["here"]
FULL_SIZE, LAUNCHED, RELEASED = "Full-size weights", "Several GPUs or machines", "Weights that others released"


def commands() -> dict[str, list[str]]:
    """The lines to type, by the heading that they stand under."""
    found = {}
    for page, heading in (("full-size", FULL_SIZE), ("training", LAUNCHED), ("released", RELEASED)):
        text = (Path(__file__).parents[1] / "docs" / f"{page}.md").read_text("utf-8")
        section = re.search(rf"^##? {heading}\n(.*?)(?=^##? |\Z)", text, re.DOTALL | re.MULTILINE)
        assert section is not None
        found[heading] = [
            line for block in re.findall(r"```sh\n(.*?)```", section[1], re.DOTALL) for line in block.splitlines() if line
        ]
    return found


def follow(here: Callable[..., Result], line: str) -> None:
    """Types one line, ``a && b`` too."""
    for command in line.split(" && "):
        program, *arguments = shlex.split(command, comments=True)
        assert program == "gencomm"
        result = here(*arguments)
        assert result.returncode == 0, f"{command}\n{result.stderr.decode()}"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with photographs, and a user without models."""
    monkeypatch.setenv("GENCOMM_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(losses, "load_perceptual", lambda *_: [LPIPS("squeeze").eval().requires_grad_(False)])
    (tmp_path / "photos").mkdir()
    rng = np.random.default_rng(0)
    for index in range(6):
        picture = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((256, 256), Image.Resampling.BICUBIC)
        picture.save(tmp_path / "photos" / f"{index}.png")
        picture.resize((64, 48)).save(tmp_path / "photo.png")
    return tmp_path


def blip(folder: Path) -> None:
    folder.mkdir(parents=True)
    _save_tokenizer(folder)
    _save_blip(folder)


def test_every_line_is_followed() -> None:
    assert {heading: len(lines) for heading, lines in commands().items()} == {FULL_SIZE: 16, LAUNCHED: 3, RELEASED: 11}


def test_the_full_size_section_works_as_written(here: Callable[..., Result], place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the place of the weights and the sizes of the recipes are others: those of the stand-ins."""
    recipes = {"textguided/paper.json": "textguided", "diffjscc/paper.json": "diffjscc", "scsic/paper.json": "scsic"}

    def small(path: Path | None, shipped: str, *_: object) -> dict[str, object]:
        assert path is None
        return {
            "name": {"textguided/paper.json": "sd", "diffjscc/paper.json": "sd", "scsic/paper.json": "cascade"}[shipped],
            **RECIPES[recipes[shipped]],
        }

    monkeypatch.setattr(trainer, "load_config", small)
    stable_cascade(place / "weights" / "stable-cascade")
    stable_diffusion(place / "weights" / "stable-diffusion-2-1-base")
    blip(place / "weights" / "blip2-opt-2.7b")
    for line in commands()[FULL_SIZE]:
        follow(here, line.replace("/weights/", f"{place}/weights/"))
    for method, preset in (("diffjscc", "runs/joint/models/diffjscc/sd"), ("scsic", "runs/cascade/models/scsic/cascade")):
        for line in commands()[FULL_SIZE][-4:]:  # the same with what the other methods trained
            line = line.replace("runs/text/models/textguided/sd", preset)
            follow(here, line.replace("gencomm encode", f"gencomm encode --method {method}"))


def released(place: Path) -> None:
    """Files as they are released, by their names, in their authors' layouts, with random numbers."""
    torch.manual_seed(0)
    prior, x = Weights(), torch.randn(1, 3, 16, 16)
    test_guided_diffusion.unet(prior, x, torch.tensor([5]), 64, test_guided_diffusion.Design())
    torch.save(dict(test_guided_diffusion.codec()), place / "ADJSCC_C=2.pth.tar")
    torch.save(dict(prior), place / "ffhq_10m.pt")
    torch.save(ConvolutionalJSCC(ConvolutionalJSCCConfig(8)).state_dict(), place / "epoch_999.pkl")
    swin = test_swinjscc.released(test_swinjscc.Design("w_SAandRA"), Weights)
    torch.save(dict(swin), place / "SwinJSCC_w_SAandRA_AWGN_HRimage.model")
    cdc = test_cdc.released(test_cdc.Design((8, 12, 128)))
    tensors = {f"ema_model.{name}": tensor for name, tensor in cdc.items()}
    torch.save({"step": 1, "ema": tensors}, place / "cdc.pt")
    folder = place / "DiffJSCC-OpenImage-CBR-1-384"
    folder.mkdir()
    weights, _ = test_diffjscc.released(test_diffjscc.tiny())
    torch.save({"state_dict": dict(weights)}, folder / "model.ckpt")
    (folder / "config.yaml").write_text(yaml.safe_dump({"target": "model.cldm.ControlLDM", "params": test_diffjscc.tiny()}))
    words = Tokenizer(WordLevel({"<pad>": 0, "<unk>": 1, "a": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", unk_token="<unk>")
    tokenizer.save_pretrained(place / "sd2" / "tokenizer")


def test_weights_that_others_released_are_used_as_written(
    here: Callable[..., Result], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are the place of the captioner, the sizes of lrisc's recipe, and the number of steps."""
    monkeypatch.setattr(trainer, "load_config", lambda *_: test_lrisc.recipe())
    released(place)
    blip(place / "weights" / "blip2-opt-2.7b")
    for line in commands()[RELEASED]:
        line = line.replace("Salesforce/", f"{place}/weights/")
        follow(here, re.sub("(--method diff(?:com|jscc))", r"\1 --steps 3", line))


def shards(place: Path) -> None:
    """The photographs as photos-000.tar and photos-001.tar."""
    webdataset = pytest.importorskip("webdataset", reason="webdataset is not installed (extra `train`)")
    pattern = str(place / "photos-%03d.tar")
    with webdataset.ShardWriter(pattern, maxcount=3, verbose=0) as writer:
        for path in sorted((place / "photos").iterdir()):
            writer.write({"__key__": path.stem, "png": path.read_bytes(), "txt": "a red house"})


def test_training_is_launched_as_written(place: Path) -> None:
    """Others: two processes in all, on the CPU, with a tiny recipe that needs no judge; one machine stands for both.

    A minute for all three: without GENCOMM_SLOW_TESTS it is the first alone.
    """
    pytest.importorskip("accelerate", reason="Accelerate is not installed (extra `train`)")
    shards(place)
    stable_cascade(place / "full")
    add("scsic", "cascade", Sources(cascade=str(place / "full")), None, lambda line: None)
    (place / "recipe.json").write_text(json.dumps({"name": "mine", **RECIPES["scsic"]}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    smaller = {
        "--multi_gpu --num_processes 8": f"--cpu --num_processes 2 --main_process_port {port}", "000..099": "000..001",
        "--nnodes 2 --nproc-per-node 8": "--nnodes 2 --nproc-per-node 1", "--nproc-per-node 8": "--nproc-per-node 2",
        "head:29400": f"127.0.0.1:{port}", "/shared/": f"{place}/shared/", "-m gencomm_cli": "-m -- gencomm_cli",
    }  # fmt: skip
    programs = {"accelerate launch": "accelerate.commands.launch", "torchrun": "torch.distributed.run"}
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1]), "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    for line in commands()[LAUNCHED][: None if os.environ.get("GENCOMM_SLOW_TESTS") else 1]:
        for before, after in (smaller | {name: f"{sys.executable} -m {module}" for name, module in programs.items()}).items():
            line = line.replace(before, after)
        words = shlex.split(f"{line} --start cascade --config recipe.json --device cpu")
        machines = [
            subprocess.Popen(words, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            for _ in range(2 if "--nnodes" in line else 1)
        ]
        said = [machine.communicate(timeout=120)[0].decode() for machine in machines]
        assert [machine.returncode for machine in machines] == [0] * len(machines), "\n".join([line, *said])
        assert "".join(said).count("finetune: finished") == ("--resume" not in line)  # by process 0 alone
        out = place / ("shared" if "--nnodes" in line else "runs") / "large"
        assert (out / "models" / "scsic" / "mine" / "config.json").is_file()
