"""Ctrl-C and its like at every place of a command: a quiet end with the signal's status, and files that belong together.

The signals come from hooks at named places, or at each line in turn, so that every run is the same.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from gencomm_cli import interrupts, outputs
from gencomm_cli.interrupts import ended_by_signals
from gencomm_cli.outputs import write_files
from gencomm_cli.presets import write
from gencomm_cli.presets.write import whole
from tests.support.commands import ENVIRONMENT
from tests.support.symbols import sent

AT_IMPORT = """
class Finder:
    def find_spec(self, name, *_):
        if name == {module!r}:
            sys.meta_path.remove(self)
            {action}
sys.meta_path.insert(0, Finder())
"""
SWALLOWED = """
            try:
                end()
            except BaseException:  # as programs in C do
                raise ImportError("numpy.core failed")
"""
PLACES = {
    "imports of the commands": AT_IMPORT.format(module="gencomm_cli.app", action="end()"),
    "imports of numpy": AT_IMPORT.format(module="numpy", action="end()"),
    "an import that makes an error of it": AT_IMPORT.format(module="numpy", action=SWALLOWED.strip()),
    "before the rename": "import os\nos.replace = lambda *_: end()",
    "while it is cleaned up, again": "import os\nos.replace = lambda *_: end()\nunlink = os.unlink\n"
    "os.unlink = lambda path: (end(), unlink(path))",
    "Python's end": "import atexit\natexit.register(end)",
}
"""Where a command is when the signal comes: programs that make it so. All but the last have not written their file then."""


@pytest.mark.parametrize(
    ("place", "number"),
    [*((place, signal.SIGINT) for place in PLACES), *((place, signal.SIGTERM) for place in list(PLACES)[1::2])],
)
def test_a_signal_ends_a_command_quietly_wherever_it_comes(tmp_path: Path, place: str, number: signal.Signals) -> None:
    sent().save(tmp_path / "tx.npz")
    (tmp_path / "rx.npz").write_bytes(b"old")
    program = (
        "import signal, sys\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a runner in the background may have it ignored
        f"def end(*_): signal.raise_signal({int(number)})\n{PLACES[place]}\n"
        "from gencomm_cli.__main__ import main\nmain()"
    )
    command = [sys.executable, "-c", program, "channel", "tx.npz", "--snr", "1", "-o", "rx.npz"]
    result = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, check=False)
    assert result.stderr.strip() == b""
    finished = place == "Python's end"
    assert result.returncode in ([0] if finished else [128 + number, -number]), result.returncode
    assert ((tmp_path / "rx.npz").read_bytes() != b"old") == finished
    assert sorted(os.listdir(tmp_path)) == ["rx.npz", "tx.npz"]


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No signal came yet, and the handlers are put back."""
    monkeypatch.setattr(interrupts, "_first", None)
    before = {number: signal.getsignal(number) for number in interrupts.NUMBERS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_a_second_signal_is_of_the_same_wish_for_a_second(fresh: None, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def work() -> int:
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            signal.raise_signal(signal.SIGINT)
            done.append("cleaned")
            monkeypatch.setattr(interrupts, "ONE_WISH", 0.0)
            signal.raise_signal(signal.SIGTERM)
            done.append("never")
        return 0

    assert ended_by_signals(work) == 130
    assert done == ["cleaned"]
    assert signal.getsignal(signal.SIGINT) == signal.SIG_DFL  # a third one ends what hangs after all


def test_faults_of_a_commands_own_stay_what_they_are(fresh: None) -> None:
    def fail() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ended_by_signals(fail)

    def ignore() -> int:
        signal.raise_signal(signal.SIGTERM)
        return 3

    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # as nohup leaves SIGHUP
    assert ended_by_signals(ignore) == 3


def at_each_line(files: tuple[Any, ...], act: Callable[[], None], look: Callable[[bool], None]) -> int:
    """Acts again and again, interrupted at the first line of these modules, at the second, and so on, till it comes to its end.

    Args:
        look: takes whether it came to its end.
    """
    names = {module.__file__ for module in files}
    for place in range(1000):
        lines = 0

        def trace(frame: FrameType, event: str, _: Any, place: int = place) -> Any:
            nonlocal lines
            if frame.f_code.co_filename not in names:
                return None
            if event == "line":
                lines += 1
                if lines == place + 1:
                    signal.raise_signal(signal.SIGINT)
            return trace

        try:
            sys.settrace(trace)
            act()
            ended = True
        except KeyboardInterrupt:
            ended = False
        finally:
            sys.settrace(None)
        look(ended)
        if lines <= place:
            return place
    raise AssertionError("it never ends")


def test_files_that_belong_together_are_written_together_or_not_at_all(fresh: None, tmp_path: Path) -> None:
    paths, old, new = [tmp_path / "a", tmp_path / "b"], [b"old", b"older"], [b"new", b"newer"]
    found = []

    def look(ended: bool) -> None:
        found.append([path.read_bytes() for path in paths])
        assert found[-1] in ([new] if ended else [old, new])
        assert sorted(os.listdir(tmp_path)) == ["a", "b"]
        for path, content in zip(paths, old, strict=True):
            path.write_bytes(content)

    for path, content in zip(paths, old, strict=True):
        path.write_bytes(content)
    assert at_each_line((outputs, interrupts), lambda: write_files(dict(zip(paths, new, strict=True))), look) > 50
    assert old in found
    assert new in found


def test_a_preset_that_is_replaced_is_the_old_one_or_the_new(fresh: None, tmp_path: Path) -> None:
    folder = tmp_path / "preset"

    def fill(place: Path, content: str) -> None:
        for name in ("config.json", "weights"):
            (place / name).write_text(content)

    def replace() -> None:
        with whole(folder) as place:
            fill(place, "new")

    def look(_: bool) -> None:
        assert [path.name for path in sorted(tmp_path.iterdir())] == ["preset"]
        assert len({(folder / name).read_text() for name in ("config.json", "weights")}) == 1
        fill(folder, "old")

    folder.mkdir()
    fill(folder, "old")
    assert at_each_line((write, interrupts), replace, look) > 10
