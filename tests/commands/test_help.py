"""The help of the commands: how long it is, what stands under which heading, and what it imports."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import typer

from gencomm_cli.app import app
from gencomm_cli.methods import specs
from gencomm_cli.methods.options import options_of
from tests.support.commands import ENVIRONMENT, Result

Here = Callable[..., Result]
Help = Callable[[str, int], list[str]]
ENDS = {"encode": ("transmitter",), "decode": ("receiver",), "roundtrip": ("transmitter", "receiver")}


@pytest.fixture
def help_of(here: Here, monkeypatch: pytest.MonkeyPatch) -> Help:
    """(command, columns of the terminal) → the lines of its help."""

    def lines(command: str, columns: int) -> list[str]:
        monkeypatch.setenv("COLUMNS", str(columns))
        done = here(*command.split(), "--help")
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().splitlines()

    return lines


def sections(lines: list[str]) -> dict[str, list[str]]:
    """Heading → its lines, without their indentation of two."""
    found: dict[str, list[str]] = {"": []}
    for line in lines:
        if re.fullmatch(r"\S.*:", line):
            found[line[:-1]] = []
        elif line:
            found[[*found][-1]].append(line[2:])
    return found


def flags(section: list[str]) -> set[str]:
    """Every flag that a line begins with."""
    return {flag for line in section if line.startswith("-") for flag in re.findall(r"--[a-z-]+", line.split("  ")[0])}


def readers(heading: str) -> set[str]:
    """The methods that a heading is of."""
    if heading == "Options":
        return set(specs())
    if heading.startswith("All but "):
        return set(specs()) - set(heading.removeprefix("All but ").split(" and "))
    return set(heading.split(", "))


@pytest.mark.parametrize(("columns", "most"), [(110, 120), (80, 175)])
def test_the_longest_help_can_be_read(help_of: Help, columns: int, most: int) -> None:
    lines = help_of("roundtrip", columns)
    assert len(lines) <= most
    assert max(map(len, lines[lines.index("Arguments:") :])) <= columns  # the examples before it are lines to copy
    assert not any("<=x" in line or "x>=0.0" in line for line in lines)  # a flag's range is said where it is not met
    multipath = sections(lines)["Multipath"]
    assert len(flags(multipath)) == 8
    assert len(multipath) == 7 or columns == 80


@pytest.mark.parametrize("command", ENDS)
def test_every_option_of_every_method_stands_under_the_names_of_its_readers(help_of: Help, command: str) -> None:
    read: dict[str, set[str]] = {}
    for spec in specs().values():
        for end in ENDS[command]:
            for option in options_of(getattr(spec, end)).values():
                read.setdefault(f"--{option.switch}", set()).add(spec.name)
                if option.kind is bool and option.default is None:
                    read.setdefault(f"--no-{option.switch}", set()).add(spec.name)
    assert len(read) > 10
    found = {heading: flags(lines) for heading, lines in sections(help_of(command, 110)).items()}
    for flag, names in read.items():
        assert [readers(heading) for heading, flags in found.items() if flag in flags] == [names], flag
    for heading, shown in found.items():
        if set(readers(heading)) <= set(specs()) and heading not in ("", "Options"):
            assert shown <= read.keys(), heading


def test_own_flags_come_first_and_shared_ones_before_those_of_one_method(help_of: Help) -> None:
    headings = list(sections(help_of("roundtrip", 110)))
    assert headings[1:7] == ["Arguments", "Options", "Rate", "Channel", "Multipath", "Paths of 3GPP, or measured"]
    sizes = [len(readers(heading)) for heading in headings[7:]]
    assert sizes == sorted(sizes, reverse=True)
    assert set(headings[-sizes.count(1) :]) == {"diffcom", "diffjscc", "lrisc", "separate", "textguided"}


def test_the_commands_are_grouped_with_an_example_each_and_no_colours(help_of: Help) -> None:
    lines = help_of("", 80)
    found = sections(lines)
    assert [*found][2:] == ["Send a picture", "Waveforms for radios", "Look and learn", "Measure and compare", "Weights"]
    examples = re.findall(r"^  (\w+) +[A-Z].*\n +gencomm (\w+)", "\n".join(lines), re.MULTILINE)
    assert [name for name, _ in examples] == [example for _, example in examples]
    assert len(examples) == len(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in "".join(lines)


@pytest.mark.parametrize(
    "command",
    ["", "encode", "channel", "modulate", "decode", "roundtrip", "inspect", "train", "doctor", "explain", "models", "bench"],
)
def test_help_imports_nothing_heavy(command: str) -> None:
    program = (
        "import sys\nfrom gencomm_cli.app import run\n"
        f"status = run({[*command.split(), '--help']!r})\n"
        "heavy = {'numpy', 'torch', 'PIL', 'diffusers', 'transformers', 'scipy', 'rich', 'yaml'} & set(sys.modules)\n"
        "sys.exit(status or (f'imported {heavy}' if heavy else 0))"
    )
    done: Any = subprocess.run([sys.executable, "-c", program], capture_output=True, env=ENVIRONMENT, check=False)
    assert done.returncode == 0, done.stderr
