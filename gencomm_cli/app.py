"""``gencomm``: joins the commands. Imports nothing heavy, so that ``--help`` answers at once."""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer
from typer.exceptions import TyperException

import gencomm_cli
from gencomm_cli.commands.bench import bench
from gencomm_cli.commands.channel import channel
from gencomm_cli.commands.decode import decode
from gencomm_cli.commands.doctor import doctor
from gencomm_cli.commands.encode import encode
from gencomm_cli.commands.flags import Grouped
from gencomm_cli.commands.inspect import inspect
from gencomm_cli.commands.models import models
from gencomm_cli.commands.roundtrip import roundtrip
from gencomm_cli.commands.train import train
from gencomm_cli.commands.ui import ui
from gencomm_cli.console import out, say
from gencomm_cli.errors import GencommError, OptionError

app = typer.Typer(
    name="gencomm",
    rich_markup_mode=None,  # rich alone would take longer to import than the help takes to print
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 110},
    epilog="Exit status: 0 done, 1 internal fault, 2 bad usage or input, 3 prompt lost (--strict), 4 file and model do not "
    "match, 5 rate cannot be met (--cbr-strict).",
)
for command in (encode, channel, decode, roundtrip, inspect, train, ui, doctor):
    app.command(cls=Grouped)(command)
app.add_typer(bench, name="bench")
app.add_typer(models, name="models")


def _print_version(asked: bool) -> None:
    if asked:
        out(f"gencomm {gencomm_cli.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Send a photograph over a noisy channel and let a diffusion model repair what arrives.

    \b
    gencomm encode photo.png -o tx.npz --cbr 0.0033
    gencomm channel tx.npz --snr 1 --rayleigh
    gencomm decode rx.npz
    gencomm roundtrip photo.png --snr 1 --rayleigh     the three in one
    """


def run(arguments: list[str]) -> int:
    """Runs one command line and returns its exit status; every failure is one line on stderr."""
    try:
        status = app(args=arguments or ["--help"], prog_name="gencomm", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except GencommError as error:
        return _fail(error.flagged if isinstance(error, OptionError) else str(error), error.exit_status)
    except TyperException as error:
        return _fail(_usage(error), 2)
    except MemoryError:
        return _fail("memory: there is not enough for this; use a smaller image", 1)
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except Exception as error:
        if os.environ.get("GENCOMM_DEBUG"):
            raise
        return _fail(f"internal fault: {type(error).__name__}: {error}; GENCOMM_DEBUG=1 shows where", 1)


def main() -> None:
    """Entry point of the console script."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that temporary files are removed
    sys.exit(run(sys.argv[1:]))


def _fail(line: str, status: int) -> int:
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
    hints = sorted(getattr(error, "possibilities", None) or [])
    right = f"did you mean {' or '.join(hints)}?" if hints else f"see {command} --help"
    return f"{what}: {message[0].lower()}{message[1:]}; {right}"
