"""``gencomm``: joins the commands. Imports nothing heavy, so that ``--help`` answers at once."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

import gencomm_cli
from gencomm_cli.commands.bench import bench
from gencomm_cli.commands.channel import channel
from gencomm_cli.commands.decode import decode
from gencomm_cli.commands.doctor import doctor
from gencomm_cli.commands.encode import encode
from gencomm_cli.commands.explain import explain
from gencomm_cli.commands.flags import Grouped
from gencomm_cli.commands.inspect import inspect
from gencomm_cli.commands.models import models
from gencomm_cli.commands.modulate import demodulate, modulate
from gencomm_cli.commands.roundtrip import roundtrip
from gencomm_cli.commands.train import train
from gencomm_cli.commands.ui import ui
from gencomm_cli.console import flush_streams, open_streams, out, say
from gencomm_cli.errors import GencommError, InputError
from gencomm_cli.interrupts import came, ended_by_signals

SEND, RADIO, LOOK, MEASURE, WEIGHTS = "Send a picture", "Waveforms for radios", "Look and learn", "Measure and compare", "Weights"
"""Groups of the commands in the help."""


class ByTask(TyperGroup):
    """The commands by what one wants of them (``rich_help_panel``), each with the first example of its own help."""

    def format_commands(self, ctx, formatter):  # type: ignore[no-untyped-def]
        """Writes each group under its heading."""
        groups: dict[str, list[tuple[str, str]]] = {task: [] for task in (SEND, RADIO, LOOK, MEASURE, WEIGHTS)}
        command: Any
        for name, command in self.commands.items():
            lines_of_help = map(str.strip, (command.help or "").splitlines())  # none under python -OO
            example = next((line for line in lines_of_help if line.startswith("gencomm ")), "")
            lines = [(name, command.get_short_help_str(formatter.width)), ("", example.split("   ")[0])]
            groups[command.rich_help_panel] += lines
        for heading, lines in groups.items():
            with formatter.section(heading):
                formatter.write_dl(lines)


app = typer.Typer(
    name="gencomm",
    cls=ByTask,
    rich_markup_mode=None,  # rich alone would take longer to import than the help takes to print
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 110},
    epilog="Exit status: 0 done, 1 internal fault, 2 bad usage or input, 3 prompt lost (--strict), 4 file and model do not "
    "match, 5 rate cannot be met (--cbr-strict).",
)
COMMANDS = {
    SEND: (encode, channel, decode, roundtrip), RADIO: (modulate, demodulate), LOOK: (ui, inspect, explain, doctor),
    WEIGHTS: (train,),
}  # fmt: skip
for task, commands in COMMANDS.items():
    for command in commands:
        app.command(cls=Grouped, rich_help_panel=task)(command)
app.add_typer(bench, name="bench", rich_help_panel=MEASURE)
app.add_typer(models, name="models", rich_help_panel=WEIGHTS)


def _print_version(asked: bool) -> None:
    if asked:
        out(f"gencomm {gencomm_cli.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Send a photograph over a noisy channel and let a diffusion model repair what arrives."""


def run(arguments: list[str]) -> int:
    """Runs one command line and returns its exit status; every failure is one line on stderr."""
    try:
        _check_given(arguments)
        status = app(args=arguments or ["--help"], prog_name="gencomm", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except GencommError as error:
        return _fail(error.flagged, error.exit_status)
    except TyperException as error:
        return _fail(_usage(error), 2)
    except MemoryError:
        return _fail("memory: there is not enough for this; use a smaller image", 1)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # Typer's own way out, with another status
            return 141
        raise
    except Exception as error:
        if os.environ.get("GENCOMM_DEBUG"):
            raise
        if isinstance(error, OSError):  # of the machine: a full disk, a file that is gone
            what = error.filename or "input or output"
            return _fail(f"{what}: {error.strerror or error}; see to its place, its permissions and the free space", 2)
        return _fail(f"internal fault: {type(error).__name__}: {error}; GENCOMM_DEBUG=1 shows where", 1)


def _check_given(arguments: list[str]) -> None:
    """Refuses empty words but for a prompt: they come from unset variables, and would mean the folder here, or nothing at all."""
    for before, text in pairwise(["gencomm", *arguments]):
        name = text[:-1] if text.startswith("--") and text.endswith("=") else before if not text else "--prompt"
        if name != "--prompt":
            raise InputError(f"{name}: an empty word is given; give a value, or leave it out")


def main() -> None:
    """Entry point of the console script."""
    open_streams()
    sys.exit(ended_by_signals(_run_and_flush))


def _run_and_flush() -> int:
    status = run(sys.argv[1:])
    return status if flush_streams() else status or 2


def _fail(line: str, status: int) -> int:
    if came():  # an import or a program that a signal ended fails in many ways
        return came()
    say("error: " + " ".join(line.split()))
    return status


def _usage(error: TyperException) -> str:
    """A usage error of Typer's as ``<what>: <what is wrong, and what would be right>``."""
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    command = context.command_path if context else "gencomm"
    what = getattr(error, "option_name", None) or (
        command if parameter is None else parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.metavar
    )
    message = (error.message or f"missing; {parameter.help if parameter else ''}").rstrip(".")
    message = message.removeprefix("Value error, ")  # pydantic's word for a check of ours
    hints = sorted(getattr(error, "possibilities", None) or [])
    right = f"did you mean {' or '.join(hints)}?" if hints else f"see {command} --help"
    return f"{what}: {message[0].lower()}{message[1:]}; {right}"
