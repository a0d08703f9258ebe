"""Every command, flag and choice of before the redesign is still there, if hidden."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.compatibility.record import FLAGS, choices, commands
from tests.support.commands import Result

RECORDED: dict[str, Any] = json.loads(FLAGS.read_text())
TODAY = dict(commands())


def test_every_command_is_there() -> None:
    assert set(RECORDED) <= set(TODAY)


@pytest.mark.parametrize("path", RECORDED)
def test_every_flag_is_taken_with_its_values(path: str) -> None:
    """As many values as before, the same choices, and nothing asked for that was not. Defaults are recorded, not compared."""
    today = {name: parameter for parameter in TODAY[path].params for name in (*parameter.opts, *parameter.secondary_opts)}
    before = set()
    for option in RECORDED[path]["options"]:
        for name in option["options"]:
            assert name in today, name
            parameter = today[name]
            before.add(id(parameter))
            assert parameter.is_flag == option.get("is_flag", False), name
            assert parameter.required <= option.get("required", False), name
            assert (parameter.multiple or parameter.nargs != 1) == option.get("several", False), name
            if choices(parameter):
                assert option.get("choices"), f"{name} took anything"
                assert set(option["choices"]) <= set(choices(parameter)), name
    added = [parameter for parameter in today.values() if parameter.param_type_name == "option" and id(parameter) not in before]
    assert not any(parameter.required for parameter in added)


@pytest.mark.parametrize("path", RECORDED)
def test_as_many_arguments_are_taken(path: str) -> None:
    arguments = [parameter for parameter in TODAY[path].params if parameter.param_type_name == "argument"]
    before = RECORDED[path]["arguments"]
    assert len(arguments) >= len(before)
    for argument, old in zip(arguments, before, strict=False):
        assert argument.required <= old.get("required", False)
        assert (argument.nargs != 1) == old.get("several", False)
    assert not any(argument.required for argument in arguments[len(before) :])


@pytest.mark.parametrize("path", RECORDED)
def test_help_is_printed(here: Callable[..., Result], path: str) -> None:
    for flag in ("--help", "-h"):
        done = here(*path.split(), flag)
        assert done.returncode == 0, done.stderr
        assert b"Usage: gencomm" in done.stdout
