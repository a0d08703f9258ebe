"""Standard streams that are closed or full, and names outside the terminal's encoding: never a fault, never a word in a file."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from gencomm_cli.app import run
from gencomm_cli.console import out
from tests.support.commands import COMMAND, ENVIRONMENT, Result, failed
from tests.support.symbols import sent

CHANNEL = ["channel", "tx.npz", "--snr", "1", "-o", "out.npz"]


@pytest.fixture
def expected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> bytes:
    """What CHANNEL writes, in a folder with tx.npz."""
    monkeypatch.chdir(tmp_path)
    sent().save(Path("tx.npz"))
    assert run(CHANNEL) == 0
    return Path("out.npz").read_bytes()


def shell(redirections: str, *arguments: str, **environment: str) -> Result:
    """A command with redirections, as a shell has them."""
    command = ["sh", "-c", f'"$@" {redirections}', "sh", *COMMAND, *arguments]
    return subprocess.run(command, capture_output=True, env=ENVIRONMENT | environment, stdin=subprocess.DEVNULL, check=False)


def test_a_missing_stream_is_the_null_device(expected: bytes) -> None:
    closed = shell("<&- >&- 2>&-", *CHANNEL)  # the file that is written would be opened in a stream's place
    assert (closed.returncode, closed.stdout, closed.stderr) == (0, b"", b"")
    assert Path("out.npz").read_bytes() == expected
    piped = shell("2>&-", *CHANNEL[:-1], "-", "--json")
    assert (piped.returncode, piped.stdout) == (0, expected)
    empty = shell("<&- >&-", "channel", "-", "--snr", "1", "-o", "other.npz")
    assert empty.returncode == 2
    assert empty.stderr.decode().startswith("error: standard input: is empty")


def test_a_stream_that_takes_nothing_is_one_line(expected: bytes) -> None:
    for arguments in (CHANNEL, ["--help"]):
        full = shell("> /dev/full", *arguments)
        assert full.returncode == 2
        assert full.stderr.count(b"\n") == 1, full.stderr
        assert b"No space left on device" in full.stderr
    os.rename("out.npz", "rx.npz")
    silent = shell("2> /dev/full", "channel", "tx.npz", "--snr", "1")  # what is said of the file that is replaced goes nowhere
    assert (silent.returncode, silent.stdout) == (0, b"rx.npz\n")


def test_names_outside_the_locale_are_printed_as_they_are(expected: bytes) -> None:
    os.rename("tx.npz", "é.tx.npz")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    named = shell("", "channel", "é.tx.npz", "--snr", "1", "--json", **plain)
    assert named.returncode == 0, named.stderr
    assert os.fsencode(json.loads(named.stdout)["output"].encode("ascii", "surrogateescape")) == "é.rx.npz".encode()
    assert shell("", "channel", "é.tx.npz", "--snr", "1", **plain).stdout == "é.rx.npz\n".encode()


def test_python_without_docstrings_has_help_too() -> None:
    done = subprocess.run([COMMAND[0], "-OO", *COMMAND[1:], "--help"], capture_output=True, env=ENVIRONMENT, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"demodulate" in done.stdout


def test_a_line_may_hold_anything(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    for line, printed in (("é", "é".encode()), (os.fsdecode(b"caf\xe9"), b"caf\xe9"), ("\ud800", rb"\ud800")):
        out(line)
        assert capfdbinary.readouterr().out == printed + b"\n"


def test_what_the_machine_refuses_is_no_fault_of_the_program(here: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    from gencomm_cli import presets

    for error, status, line in (
        (OSError(28, "No space left on device", "a.bin"), 2, b"error: a.bin: No space left on device; see to"),
        (OSError("cut off"), 2, b"error: input or output: cut off; see to"),
        (BrokenPipeError(32, "Broken pipe"), 141, b""),
        (KeyError("a"), 1, b"error: internal fault: KeyError"),
    ):

        def fail(*_: object, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr(presets, "available", fail)
        done = here("models", "list")
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (status, b"", int(bool(line)))
        assert done.stderr.startswith(line)


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("bench", "run", "photo.png", "--out", ""), "--out: an empty word"),  # it would fill the folder here
        (("bench", "run", "photo.png", "--out="), "--out: an empty word"),
        (("bench", "run", "photo.png", "--snr", "", "--out", "o"), "--snr: an empty word"),  # it would be the default
        (("train", "textguided", "--data", "", "--out", "o"), "--data: an empty word"),
        (("encode", ""), "encode: an empty word"),
        (("encode", "photo.png", "--preset", ""), "--preset: an empty word"),
        (("bench", "run", "photo.png", "--methods", ",", "--out", "o"), "--methods: ',' lists nothing"),
        (("bench", "run", "photo.png", "--methods", "scsic@", "--out", "o"), "--methods: 'scsic@' names no preset"),
    ],
)
def test_what_unset_variables_leave_is_refused(
    here: Callable[..., Result], photo: Path, arguments: tuple[str, ...], what: str
) -> None:
    failed(here(*arguments), 2, what)
    assert os.listdir() == ["photo.png"]


def test_an_input_that_is_no_file_is_named_before_the_output(here: Callable[..., Result]) -> None:
    for name in ("https://example.com/a.png", "~/a.png"):
        failed(here("encode", name), 2, f"{name}: no such file")
