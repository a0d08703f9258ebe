"""`gencomm channel` and `gencomm inspect` on files made by hand: names, pipes, JSON, statuses, and no heavy imports."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gencomm_cli import symbols
from tests.support.commands import COMMAND, ENVIRONMENT, Result, failed
from tests.support.symbols import received, sent

Gencomm = Callable[..., Result]


@pytest.fixture
def tx(tmp_path: Path) -> Path:
    sent().save(tmp_path / "tx.npz")
    return tmp_path / "tx.npz"


def test_default_names(here: Gencomm, tx: Path) -> None:
    assert here("channel", "tx.npz", "--snr", 1).stdout == b"rx.npz\n"
    for name in ("photo.tx.npz", "photo.npz"):
        tx.with_name(name).write_bytes(tx.read_bytes())
        assert here("channel", name, "--snr", 1).stdout == b"photo.rx.npz\n"
    assert here("channel", tx, "--snr", 1).stdout.decode().strip() == str(tx.with_name("rx.npz"))


def test_a_pipe_gives_the_bytes_that_files_give(gencomm: Gencomm, tx: Path) -> None:
    assert gencomm("channel", "tx.npz", "--snr", "-2.5", "--rayleigh", "--seed", 3).returncode == 0
    piped = gencomm("channel", "-", "--snr=-2.5", "--rayleigh", "--seed", 3, stdin=tx.read_bytes())
    assert piped.returncode == 0
    assert piped.stdout == tx.with_name("rx.npz").read_bytes()
    assert piped.stderr == b""


def test_json_goes_where_the_file_does_not(gencomm: Gencomm, tx: Path) -> None:
    named = gencomm("channel", "tx.npz", "--snr", "inf", "--json")
    printed = json.loads(named.stdout)
    assert printed["output"] == "rx.npz"
    assert printed["meta"]["channel"] == {"kind": "awgn", "snr_db": "inf", "snr_type": "esn0", "csi": "perfect"}
    assert printed["meta"]["n0"] == 0
    piped = gencomm("channel", "-", "--snr", "inf", "--json", stdin=tx.read_bytes())
    assert json.loads(piped.stderr)["meta"] == printed["meta"]
    assert piped.stdout == tx.with_name("rx.npz").read_bytes()


def test_a_clean_channel_changes_nothing(here: Gencomm, tx: Path) -> None:
    here("channel", "tx.npz", "--snr", "inf")
    np.testing.assert_array_equal(symbols.read(tx.with_name("rx.npz")).symbols, sent().symbols)


@pytest.mark.parametrize(
    ("flag", "kind", "gains"), [("--awgn", "awgn", None), ("--rayleigh", "rayleigh", 100), ("--block-rayleigh", "block", 1)]
)
def test_kinds_of_fading(here: Gencomm, tx: Path, flag: str, kind: str, gains: int | None) -> None:
    assert here("channel", "tx.npz", "--snr", 10, flag).returncode == 0
    file = symbols.read(tx.with_name("rx.npz"))
    assert file.header.channel is not None
    assert file.header.channel.kind == kind
    assert (None if file.csi_gain is None else file.csi_gain.size) == gains
    assert here("channel", "tx.npz", "--snr", 10, flag, "--csi", "none").returncode == 0
    blind = symbols.read(tx.with_name("rx.npz"))
    assert blind.csi_gain is None
    np.testing.assert_array_equal(blind.symbols, file.symbols)


def test_multipath_and_its_flags(here: Gencomm, tx: Path) -> None:
    flags = ["--clip", 0.8, "--cp", 0, "--carriers", 64, "--pilots", 2, "--taps", 4, "--decay", 2, "--no-interleaver"]
    printed = json.loads(here("channel", "tx.npz", "--snr", 10, "--multipath", *flags, "--json").stdout)["meta"]
    assert printed["channel"]["ofdm"] == {
        "carriers": 64, "cp": 0, "pilots": 2, "taps": 4, "decay": 2.0, "clip": 0.8, "interleaver": False,
    }  # fmt: skip
    assert printed["cbr"]["pilots"] == pytest.approx(128 / (3 * 37 * 53))
    plain = json.loads(here("channel", "tx.npz", "--snr", 10, "--multipath", "--csi", "estimated", "--json").stdout)["meta"]
    assert plain["channel"]["ofdm"] == {
        "carriers": 256, "cp": 10, "pilots": 1, "taps": 8, "decay": 4.0, "clip": None, "interleaver": True,
    }  # fmt: skip
    text = here("inspect", "rx.npz").stdout.decode()
    assert "multipath" in text
    assert "pilot_symbols     256 values" in text
    assert "csi_cir" not in text
    given = json.loads(here("channel", "tx.npz", "--snr", 10, "--rx-snr", 0, "--json").stdout)["meta"]
    assert (given["n0"], given["channel"]["snr_db"], given["channel"]["rx_snr_db"]) == (1, 10, 0)


def test_seeds_give_other_noise(here: Gencomm, tx: Path) -> None:
    here("channel", "tx.npz", "--snr", 1)
    first = tx.with_name("rx.npz").read_bytes()
    here("channel", "tx.npz", "--snr", 1, "--seed", 0)
    assert tx.with_name("rx.npz").read_bytes() == first
    here("channel", "tx.npz", "--snr", 1, "--seed", 1)
    assert tx.with_name("rx.npz").read_bytes() != first


def test_inspect(here: Gencomm, tx: Path) -> None:
    printed = json.loads(here("inspect", "tx.npz", "--json").stdout)
    assert printed["meta"] == sent().header.to_json() | {"image_size": [37, 53]}
    assert printed["arrays"]["symbols"] == {"size": 100, "mean_power": pytest.approx(1, abs=1e-6)}
    assert printed["arrays"]["side_symbols"] == {"size": 0, "mean_power": None}
    text = here("inspect", "tx.npz").stdout.decode()
    assert "textguided" in text
    assert "100 values, mean power 1.0000" in text


@pytest.mark.parametrize(
    "command",
    [
        "channel tx.npz --snr 1 --rayleigh",
        "channel tx.npz --snr 1 --multipath --clip 1",
        "inspect tx.npz",
        "--help",
        "decode --help",
    ],
)
def test_light_commands_import_nothing_heavy(command: str, tx: Path) -> None:
    program = (
        "import sys\nfrom gencomm_cli.app import run\n"
        f"status = run({command.split()!r})\n"
        "heavy = {'torch', 'PIL', 'pyldpc', 'constriction', 'diffusers', 'transformers', 'scipy', 'rich'} & set(sys.modules)\n"
        "sys.exit(status or (f'imported {heavy}' if heavy else 0))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, cwd=tx.parent, env=ENVIRONMENT, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["channel", "missing.npz", "--snr", "1"], ["missing.npz: no such file"]),
        (["channel", ".", "--snr", "1"], [".: is a folder"]),
        (["channel", "tx.npz"], ["--snr", "missing"]),
        (["channel", "--snr", "1"], ["TX", "missing"]),
        (["channel", "tx.npz", "--snr", "high"], ["--snr", "valid number"]),
        (["channel", "tx.npz", "--snr", "nan"], ["--snr", "-100 to 100"]),
        (["channel", "tx.npz", "--snr=-inf"], ["--snr"]),
        (["channel", "tx.npz", "--snr", "1", "--rayleigh", "--awgn"], ["exclude each other"]),
        (["channel", "tx.npz", "--snr", "1", "--multipath", "--block-rayleigh"], ["exclude each other"]),
        (["channel", "tx.npz", "--snr", "1", "--clip", "0.8"], ["--clip", "--multipath"]),
        (["channel", "tx.npz", "--snr", "1", "--multipath", "--clip", "0"], ["--clip", "0.01 to 100"]),
        (["channel", "tx.npz", "--snr", "1", "--multipath", "--cp", "300"], ["--cp", "256"]),
        (["channel", "tx.npz", "--snr", "1", "--csi", "estimated"], ["--csi: estimated", "block", "multipath"]),
        (["channel", "tx.npz", "--snr", "1", "--rx-snr", "nan"], ["--rx-snr"]),
        (["channel", "tx.npz", "--snr", "1", "--csi", "guess"], ["--csi: 'guess' is not one of", "perfect", "none"]),
        (["channel", "tx.npz", "--snr", "1", "--speed", "30"], ["--tdl: give exactly one", "--cir"]),
        (["channel", "tx.npz", "--snr", "1", "--snr-type", "ebn0"], ["--snr-type", "esn0"]),
        (["channel", "tx.npz", "--snr", "1", "--seed", "-1"], ["--seed"]),
        (["channel", "tx.npz", "--snr", "1", "--rayliegh"], ["--rayliegh", "--rayleigh"]),
        (["channel", "tx.npz", "--snr", "1", "-o", "no/where.npz"], ["there is no folder no"]),
        (["channel", "tx.npz", "--snr", "1", "-o", "."], ["is a folder"]),
        (["channel", "tx.npz", "more", "--snr", "1"], ["gencomm channel", "more"]),
        (["chanel", "tx.npz"], ["chanel", "channel"]),
        (["inspect"], ["FILE", "missing"]),
        (["models"], ["gencomm models"]),
        (["models", "show", "nothing"], ["nothing: no such preset"]),
        (["models", "get", "vgg"], ["NAME", "lpips-alex"]),
        (["decode", "tx.npz"], ["have not been through a channel"]),
        (["encode", "tx.npz"], ["is not an image"]),
        (["train", "textguided", "--data", "nowhere", "--out", "x"], ["--data", "nowhere"]),
        (["train", "separate", "--data", ".", "--out", "x"], ["METHOD", "textguided"]),
    ],
)
def test_bad_usage_is_one_line_and_status_2(here: Gencomm, tx: Path, arguments: list[str], words: list[str]) -> None:
    failed(here(*arguments), 2, *words)
    assert os.listdir(tx.parent) == ["tx.npz"]


def test_bad_files_leave_the_output_alone(here: Gencomm, tx: Path) -> None:
    rx = tx.with_name("rx.npz")
    rx.write_bytes(b"old")
    tx.write_bytes(tx.read_bytes()[:-30])
    failed(here("channel", "tx.npz", "--snr", 1), 2, "tx.npz: is not an intact symbol file")
    assert rx.read_bytes() == b"old"
    assert sorted(os.listdir(tx.parent)) == ["rx.npz", "tx.npz"]


def test_measured_paths_are_not_replaced_by_what_they_befall(here: Gencomm, tx: Path, tmp_path: Path) -> None:
    np.savez("cir.npz", delays=np.zeros(1), gains=np.ones((1, 1), complex), interval=np.ones(1))
    before = Path("cir.npz").read_bytes()
    Image.new("RGB", (8, 8)).save("a.png")
    for words in (("channel", tx, "--snr", 9), ("encode", "a.png", "--cbr-total", 1, "--fading", "multipath")):
        failed(here(*words, "--cir", "cir.npz", "-o", "cir.npz"), 2, "cir.npz: is the input itself")
    assert Path("cir.npz").read_bytes() == before


def test_sending_what_was_received_is_refused(here: Gencomm, tx: Path) -> None:
    here("channel", "tx.npz", "--snr", 1)
    failed(here("channel", "rx.npz", "--snr", 1), 2, "been through a channel already")


def test_a_reader_that_goes_away_is_no_fault(tx: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    result = subprocess.run(
        [*COMMAND, "channel", "-", "--snr", "1"],
        input=tx.read_bytes(),
        stdout=write,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
        check=False,
    )
    os.close(write)
    assert result.returncode == 141
    assert result.stderr == b""


def test_permissions_follow_the_umask_and_links_stay(gencomm: Gencomm, tx: Path) -> None:
    real, link = tx.with_name("real.npz"), tx.with_name("link.npz")
    real.write_bytes(b"")
    link.symlink_to(real)
    assert gencomm("channel", "tx.npz", "--snr", 1, "-o", "link.npz").returncode == 0
    assert link.is_symlink()
    assert symbols.read(real).header.stage == "rx"
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(real.stat().st_mode) == 0o666 & ~umask
    assert gencomm("channel", "tx.npz", "--snr", 1, "-o", "/dev/null").returncode == 0
    assert not os.path.isfile("/dev/null")


def test_completion_installs(gencomm: Gencomm, tmp_path: Path) -> None:
    result = gencomm("--install-completion", "bash", HOME=str(tmp_path), _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert result.returncode == 0, result.stderr
    assert any("gencomm" in path.read_text() for path in tmp_path.rglob("*") if path.is_file())
    completed = gencomm(_GENCOMM_COMPLETE="complete_bash", COMP_WORDS="gencomm in", COMP_CWORD="1")
    assert completed.stdout.split() == [b"inspect"]


def test_help_names_every_command_and_version_is_printed(here: Gencomm) -> None:
    text = here("--help").stdout.decode()
    for command in ("encode", "channel", "decode", "roundtrip", "inspect", "train", "doctor", "models"):
        assert command in text
        assert here(command, "--help").returncode == 0
    assert here().stdout.decode() == text
    assert here("--version").stdout.startswith(b"gencomm 0.")


def test_a_file_of_a_method_that_is_not_here_says_so(here: Callable[..., Result], tmp_path: Path) -> None:
    file = received()
    replace(file, header=replace(file.header, method="theirs")).save(tmp_path / "theirs.npz")
    failed(here("decode", "theirs.npz"), 2, "symbols: are of method 'theirs', which is not here; install")
