"""``examples/measure/fuzz.py``: a few of its cases, and that it notices what it is to notice."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

import pytest

from gencomm_cli.symbols import to_bytes
from tests.support.symbols import received, sent

SCRIPT = runpy.run_path(str(Path(__file__).parents[1] / "examples" / "measure" / "fuzz.py"), run_name="fuzz")
WATCH = SCRIPT["Watch"]()


def files() -> list[bytes]:
    return [to_bytes(each) for each in (sent(), received(), received(kind="block", csi="estimated"), received(kind="multipath"))]


def test_a_few_hundred_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes, failures = SCRIPT["run"](400, 1, WATCH, files())
    assert failures == []
    assert {name.split()[0] for name in outcomes} >= {"symbols", "checkpoint", "preset"}
    assert outcomes["checkpoint refused"] > 50 < outcomes["symbols refused"]


@pytest.mark.parametrize(
    ("read", "noticed"),
    [
        (lambda path: 1 // 0, "ZeroDivisionError"),
        (lambda path: os.system("true"), "os.system"),
        (lambda path: open(f"/dev/shm/{os.getpid()}", "w").close(), "writes /dev/shm"),
    ],
)
def test_what_it_notices(monkeypatch: pytest.MonkeyPatch, read: Any, noticed: str) -> None:
    monkeypatch.setitem(SCRIPT["run"].__globals__, "read_symbols", read)
    _, failures = SCRIPT["run"](5, 2, WATCH, files())
    Path(f"/dev/shm/{os.getpid()}").unlink(missing_ok=True)
    assert any(noticed in line for line in failures)
