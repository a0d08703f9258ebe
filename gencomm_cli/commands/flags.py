"""Flags of the commands, and how they are read. Nothing heavy: ``--help`` comes through here.

A command's flags are its own and those of the methods' options (:func:`with_options`), declared in the methods' folders alone.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal, get_args, get_type_hints

import typer
from typer.core import TyperCommand

from gencomm_cli import DEFAULT_METHOD as DEFAULT_METHOD
from gencomm_cli.channels.ofdm_config import OfdmConfig
from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.errors import InputError, OptionError
from gencomm_cli.methods import spec_of as spec_of
from gencomm_cli.methods import specs
from gencomm_cli.options import Flag, Option, options_of, ratio
from gencomm_cli.radio import SUFFIXES, files_of, is_recording

if TYPE_CHECKING:
    from gencomm_cli.channels.fading import Kind
    from gencomm_cli.channels.measured import Measured
    from gencomm_cli.methods.spec import End
    from gencomm_cli.symbols import ChannelRecord, SymbolFile

CHANNEL, MULTIPATH, PATHS, RATE = "Channel", "Multipath", "Paths of 3GPP, or measured", "Rate"
"""Groups of the help."""
KINDS: dict[Kind, str] = {"awgn": "awgn", "rayleigh": "rayleigh", "block": "block_rayleigh", "multipath": "multipath"}
"""By the channel's kind, the flag that asks for it."""
Csi = Literal["perfect", "estimated", "none"]
SnrType = Literal["esn0", "ebn0", "received"]
Fading = Literal["awgn", "rayleigh", "block", "multipath", "unknown"]
Estimator = Literal["lmmse", "ls", "authors"]
PrecisionName = Literal["auto", "fp32", "bf16", "fp16"]
Given = dict[str, Any]
"""Options of the methods that were given on a command line, by name."""


def read_ratio(text: str | float) -> float:
    """``0.0026``, or a fraction such as ``1/384``."""
    try:
        return ratio(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a ratio, such as 0.0033 or 1/384") from None


def output_option(help: str, metavar: str = "FILE") -> Any:
    """The flag of a command's result."""
    return typer.Option("--output", "-o", metavar=metavar, help=help)


def _ratio_option(help: str) -> Any:
    return typer.Option(parser=read_ratio, metavar="RATIO", help=help, rich_help_panel=RATE)


def choice_option(choices: Any, help: str, heading: str | None = None) -> Any:
    """A flag of the words of a Literal, whose help says the default."""
    return typer.Option(metavar="|".join(get_args(choices)), help=help, show_default=False, rich_help_panel=heading)


Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Seed of everything random here.")]
Device = Annotated[
    str, typer.Option(metavar="auto|cpu|cuda|cuda:N", help="Where the networks run; auto by default.", show_default=False)
]
Preset = Annotated[
    str | None, typer.Option(metavar="NAME|FOLDER", help="Weights: a shipped preset or a folder (`gencomm models list`).")
]
Method = Annotated[
    str,
    typer.Option(
        metavar="METHOD",
        help=", ".join(f"{name} (default)" if name == DEFAULT_METHOD else name for name in specs()) + ".",
        autocompletion=lambda: list(specs()),
        show_default=False,
    ),
]
Cbr = Annotated[float | None, _ratio_option("Channel uses for the image over 3*H*W; not given: the method's own.")]
CbrTotal = Annotated[float | None, _ratio_option("Like --cbr, but prompt, pilots, prefixes and empty carriers count too.")]
CbrStrict = Annotated[
    bool, typer.Option("--cbr-strict", help="Fail (status 5) where the preset has no rate that fits.", rich_help_panel=RATE)
]
CSI_HELP = "Fading known to the receiver (default: perfect); pilots of estimated count."
CsiFlag = Annotated[Csi, choice_option(Csi, CSI_HELP, CHANNEL)]
EstimatorFlag = Annotated[
    Estimator, choice_option(Estimator, "Gains from pilots; authors: LMMSE by carrier, as DiffCom's. Default: lmmse.", CHANNEL)
]
Precision = Annotated[
    PrecisionName, choice_option(PrecisionName, "Of large networks; auto (default): half on CUDA, fp32 on a CPU.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Fail (status 3) if the prompt, or the image of separate, is lost.")]
MetricWeights = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="LPIPS weights (`gencomm models get`); default: $GENCOMM_METRIC_WEIGHTS."),
]


class Grouped(TyperCommand):
    """A command whose help lists its options by group: its own first, then each ``rich_help_panel``."""

    def format_options(self, ctx, formatter):  # type: ignore[no-untyped-def]
        """Writes each group under its heading; a flag that takes more than a third of the width has a line of its own."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": []}
        for parameter in self.get_params(ctx):
            if (record := parameter.get_help_record(ctx)) is not None:
                own = "Arguments" if parameter.param_type_name == "argument" else "Options"
                groups.setdefault(getattr(parameter, "rich_help_panel", None) or own, []).append(record)
        for heading, records in groups.items():
            if records:
                short = [len(flag) for flag, _ in records if len(flag) <= formatter.width // 3]
                with formatter.section(heading):
                    formatter.write_dl(records, col_max=max(short, default=formatter.width // 4))


@dataclass(frozen=True)
class ChannelFlags:
    """What can be said of a simulated channel whatever its paths are."""

    awgn: Annotated[bool, Flag("No fading (the default).")] = False
    rayleigh: Annotated[bool, Flag("Rayleigh fading, independent for every symbol.")] = False
    block_rayleigh: Annotated[bool, Flag("Rayleigh fading, one gain for the whole image.")] = False
    multipath: Annotated[bool, Flag("OFDM over Rayleigh paths, one impulse response for the image.")] = False
    snr_type: Annotated[SnrType, Flag("Es/N0 (default), Eb/N0 (separate alone), or that of what arrives.")] = "esn0"
    csi: Annotated[Csi, Flag(CSI_HELP)] = "perfect"
    rx_snr: Annotated[float | None, Flag("SNR given to the receiver in the place of the channel's.", "DB")] = None


def with_options(*ends: End) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the methods' options of these ends to a command, which takes those that are given as ``options``, by name."""
    return lambda command: _extended(command, "options", _union(ends))


def with_fields(argument: str, cls: type, heading: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the flags of an options dataclass under a heading; the command takes those that are given as ``argument``, by name."""
    return lambda command: _extended(command, argument, _fields(cls, heading))


def with_channel(*only: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the flags that describe a channel, those named or all, to a command, which takes those that are given as ``channel``."""
    added = {
        **_fields(ChannelFlags, CHANNEL),
        **_fields(OfdmConfig, MULTIPATH),
        **_fields(PathModel, PATHS),
        "cir": Annotated[
            Path | None, typer.Option(metavar="FILE", help="Measured: .npz of delays, gains, interval.", rich_help_panel=PATHS)
        ],
    }
    return lambda command: _extended(command, "channel", {name: added[name] for name in only or added})


def _fields(cls: type, heading: str | None) -> dict[str, Any]:
    return {name: _flag({"": option}, heading) for name, option in options_of(cls).items()}


def _extended(command: Callable[..., None], argument: str, added: Mapping[str, Any]) -> Callable[..., None]:
    hints = get_type_hints(command, include_extras=True)
    own = [p.replace(annotation=hints[p.name]) for p in inspect.signature(command).parameters.values() if p.name != argument]
    keyword = inspect.Parameter.KEYWORD_ONLY

    @wraps(command)
    def call(**values: Any) -> None:
        given = {name: value for name in added if (value := values.pop(name)) is not None}
        command(**values, **{argument: given})

    extra = [inspect.Parameter(name, keyword, default=None, annotation=hint) for name, hint in added.items()]
    call.__signature__ = inspect.Signature([p.replace(kind=keyword) for p in own] + extra)  # type: ignore[attr-defined]
    call.__annotations__ = {p.name: p.annotation for p in (*own, *extra)}
    return call


def _union(ends: tuple[End, ...]) -> dict[str, Any]:
    """A flag's type, as Typer takes it, by name: of every option that some method has, those of the most methods first."""
    readers: dict[str, dict[str, Option]] = {}
    having = [spec for spec in specs().values() if all(getattr(spec, end) for end in ends)]
    for spec in having:
        for end in ends:
            for name, option in options_of(getattr(spec, end)).items():
                readers.setdefault(name, {})[spec.name] = option
    return {
        name: _flag(found, _heading(list(found), [spec.name for spec in having if spec.name not in found]))
        for name, found in sorted(readers.items(), key=lambda item: -len(item[1]))
    }


def _flag(readers: Mapping[str, Option], heading: str | None) -> Any:
    """Of one option, by the methods that have it. One that means the same everywhere has one help, else each method's own."""
    first = next(iter(readers.values()))
    helps = {name: option.flag.help for name, option in readers.items()}
    same = len(set(helps.values())) == 1
    metavar = first.flag.metavar or "|".join(first.choices) or None
    shown: dict[str, Any] = {
        "help": first.flag.help if same else " ".join(f"{name}: {words}" for name, words in helps.items()),
        "rich_help_panel": heading,
        "metavar": metavar,
    }
    names = [f"--{first.switch}", *(f"--{old}" for old in first.flag.also)]
    kind: Any = str  # of what the option itself parses or checks
    if first.kind is bool:
        kind, shown["metavar"] = bool, None
        names[0] += f"/--no-{first.switch}" if first.default is not False else ""
    elif len({(option.kind, option.choices, option.flag.parse) for option in readers.values()}) == 1 and first.flag.parse is None:
        if first.choices and first.flag.metavar is None:
            kind = Literal[first.choices]
        elif first.kind in (int, float):
            kind = first.kind
    return Annotated[kind | None, typer.Option(*names, **shown)]


def _heading(readers: list[str], others: list[str]) -> str | None:
    """Of the flags that these methods read and the others do not; None for those that every method reads."""
    if not others:
        return None
    return f"All but {' and '.join(others)}" if len(others) < len(readers) - 1 else ", ".join(readers)


def method_with(field: str) -> Any:
    """The argument METHOD of a command for the methods whose spec has something in that field."""
    names = [spec.name for spec in specs().values() if getattr(spec, field)]

    def read(text: str) -> str:
        if text not in names:
            raise typer.BadParameter(f"{text!r} is not one of {', '.join(names)}")
        return text

    return typer.Argument(parser=read, metavar="METHOD", help=f"One of {', '.join(names)}.", autocompletion=lambda: names)


def source(name: str) -> Path | BinaryIO:
    """``-`` is standard input."""
    return sys.stdin.buffer if name == "-" else Path(name)


def read_symbols(name: str) -> SymbolFile:
    """A symbol file, ``-`` from standard input. Raises InputError, of a recording with the command that makes one of it."""
    from gencomm_cli import symbols

    if is_recording(name):
        raise InputError(f"{name}: is a recording, not a symbol file; `gencomm demodulate` makes one of it")
    return symbols.read(source(name))


def beside(source: str, suffix: str) -> str:
    """The default output: the input's name with another suffix."""
    return os.path.splitext(source)[0] + suffix


def check_room(name: str, size: int) -> None:
    """Refuses an output, as :func:`output` gives it, whose ``size`` in bytes at the least has no room."""
    from gencomm_cli.outputs import check

    if name != "-":
        check(Path(name), size=size)


def output(given: str | None, source: str, default: str, *others: Path | None, recording: bool = False) -> str:
    """Where the result goes: as given, ``-`` where the input is ``-``, or the default name; looked at before any work is done.

    Args:
        source: the input, which the output is not to replace. others: further ones, None where a flag is not given.
        recording: whether the result is one, or may not be named like one.
    """
    from gencomm_cli.outputs import check

    name = given if given is not None else "-" if source == "-" else default
    if name == "-" and recording:
        raise InputError("--output: a recording is a file of its own; name one with -o")
    if name == "-" and sys.stdout.isatty():
        raise InputError("-: standard output is a terminal; name a file with -o or use a pipe")
    if not os.path.basename(name):
        raise InputError(f"{name or '-o'}: is no name of a file; name a file to write")
    if is_recording(name) != recording:
        right = f"is no recording by its name; name one that ends in {', '.join(SUFFIXES)}"
        raise InputError(f"{name}: {right if recording else 'would be taken for a recording by its name; name another file'}")
    if given is None and not os.path.isdir(os.path.dirname(name) or "."):
        raise InputError(f"{source}: no such file; name one that is there")
    if name != "-":
        check(*map(Path, files_of(name)), inputs=(*files_of(source), *filter(None, others)))
    return name


def say_replaced(given: str | None, *targets: Path) -> None:
    """Says which files that were there a default name replaces: `a.png` and `a.jpg` share one."""
    from gencomm_cli.console import say

    for target in targets:
        if given is None and target.is_file():
            say(f"{target}: was there and is replaced; -o names another file")


def write(name: str, content: bytes, given: str | None) -> None:
    """Writes a result to a file, whole or not at all, or to standard output; ``given`` as :func:`output` takes it."""
    from gencomm_cli.console import write_out
    from gencomm_cli.outputs import write_files

    if name == "-":
        write_out(content)
    else:
        say_replaced(given, Path(name))
        write_files({Path(name): content})


def channel_record(snr: float, given: Mapping[str, Any]) -> tuple[ChannelRecord, Measured | None]:
    """The channel that the flags of :func:`with_channel` describe, AWGN if none is asked for, and the measured impulse responses if
    ``--cir`` names a file. A model of paths makes it multipath.

    Raises:
        InputError: they contradict each other, or describe OFDM without multipath.
    """
    from gencomm_cli import pipeline

    asked: list[Kind] = [kind for kind, flag in KINDS.items() if given.get(flag)]
    model, measured = path_model(given)
    if model is not None and not asked:
        asked = ["multipath"]
    if len(asked) > 1:
        raise InputError("channel: --awgn, --rayleigh, --block-rayleigh and --multipath exclude each other; give one")
    kind: Kind = asked[0] if asked else "awgn"
    said = given.get("snr_type", "esn0"), given.get("csi", "perfect")
    channel = pipeline.channel_record(kind, snr, *said, ofdm_config(kind, given), given.get("rx_snr"), model, measured)
    _say_too_fast(channel)
    return channel, measured


def _say_too_fast(channel: ChannelRecord) -> None:
    """Says which pilots would suffice where gains that are to be estimated change too fast for those that are sent."""
    from gencomm_cli.channels.frame import longest_period, pilot_period
    from gencomm_cli.console import say

    model, config = channel.paths, channel.ofdm
    if model is None or config is None or channel.csi != "estimated":
        return
    period, longest = pilot_period(model, config), longest_period(model, config)
    if period > max(longest, 0):
        right = f"{int(longest)} would do" if longest >= 1 else "take more --subcarrier-spacing"
        say(f"--pilot-period: {period} is too long for gains that change by {model.doppler:.0f} Hz; {right}")


def path_model(given: Mapping[str, Any]) -> tuple[PathModel | None, Measured | None]:
    """The model of paths that the flags describe, and the measured impulse responses if ``--cir`` names a file; None where none is.

    Raises:
        InputError: they contradict each other, or the file is none.
    """
    model = {name: given[name] for name in options_of(PathModel) if name in given}
    if "cir" not in given:
        return (PathModel(**model) if model else None), None
    from gencomm_cli.channels.measured import read

    measured = read(given["cir"])
    return PathModel(**model, cir=measured.sha256), measured


def ofdm_config(kind: str, given: Mapping[str, Any]) -> OfdmConfig | None:
    """The OFDM that was asked for, DiffCom's where nothing was; None where the channel is not multipath.

    Raises:
        OptionError: OFDM is described for another channel.
    """
    values = {name: given[name] for name in options_of(OfdmConfig) if name in given}
    if kind != "multipath":
        if values:
            raise OptionError(next(iter(values)), "is of OFDM over several paths; give --multipath too")
        return None
    return OfdmConfig(**values)
