"""The library: what a notebook does, and that the commands are thin over it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gencomm_cli
from gencomm_cli.errors import InputError, OptionError
from tests.support.commands import Result, picture


def test_importing_it_imports_nothing_heavy() -> None:
    program = "import sys, gencomm_cli; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    assert not {"numpy", "torch", "typer"} & set(loaded)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = gencomm_cli.nothing


def test_files_and_pictures_are_those_of_the_commands(here: Callable[..., Result], tmp_path: Path) -> None:
    Image.fromarray(picture(64, 96)).save("photo.png")
    here("encode", "photo.png", "--cbr", 0.01, "--snr", 10, "--fading", "rayleigh", "-o", "tx.npz")
    here("channel", "tx.npz", "--snr", 5, "--rayleigh", "--seed", 3, "-o", "rx.npz")
    here("decode", "rx.npz", "--steps", 2, "--seed", 4, "-o", "out.png")
    codec = gencomm_cli.load()
    tx = codec.encode(Image.open("photo.png"), cbr=0.01, snr=10, fading="rayleigh")
    tx.save(tmp_path / "mine.npz")
    assert (tmp_path / "mine.npz").read_bytes() == (tmp_path / "tx.npz").read_bytes()
    rx = gencomm_cli.transmit(gencomm_cli.open_symbols("mine.npz"), snr=5, fading="rayleigh", seed=3)
    assert (rx.symbols == gencomm_cli.open_symbols("rx.npz").symbols).all()
    out = codec.decode(rx, steps=2, seed=4)
    assert (out.image == np.asarray(Image.open("out.png"))).all()
    assert out.coarse.shape == out.image.shape


def test_the_prompt_goes_with_what_is_sent_and_into_no_file(tmp_path: Path) -> None:
    tx = gencomm_cli.load().encode(picture(64, 96), prompt="a purple elephant")
    assert tx.prompt == "a purple elephant"
    tx.save(tmp_path / "tx.npz")
    assert b"elephant" not in (tmp_path / "tx.npz").read_bytes()


def test_errors_name_fields() -> None:
    codec = gencomm_cli.load()
    with pytest.raises(OptionError, match=r"^beta: textguided does not read it; it is for lrisc$"):
        codec.encode(picture(64, 96), beta=0.2)
    with pytest.raises(OptionError, match=r"^steps: 0 is out of range; 1 to 1000$"):
        codec.decode(gencomm_cli.transmit(codec.encode(picture(64, 96)), snr=10), steps=0)
    with pytest.raises(InputError, match=r"not uint8 \[H, W, 3\]"):
        codec.encode(picture(64, 96).astype(np.float32))  # type: ignore[arg-type]
