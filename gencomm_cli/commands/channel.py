"""``gencomm channel``: transmitted → received symbols, or waveforms. Imports neither torch nor Pillow."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gencomm_cli.channels.ofdm_config import OfdmConfig
from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.commands import flags
from gencomm_cli.errors import InputError, OptionError
from gencomm_cli.methods.options import build, options_of
from gencomm_cli.radio import SUFFIXES, is_recording
from gencomm_cli.radio.options import Impairments

if TYPE_CHECKING:
    from gencomm_cli.channels.measured import Measured


@flags.with_fields("impairments", Impairments, "Waveforms (recordings of `gencomm modulate`)")
@flags.with_channel()
def channel(
    transmitted: Annotated[
        str, typer.Argument(metavar="TX", help="Symbol file of `gencomm encode`, or a recording; - is standard input.")
    ],
    channel: flags.Given,
    impairments: flags.Given,
    snr: Annotated[float, typer.Option(metavar="DB", help="SNR in dB, 10*log10(1/N0); inf is a clean channel.")],
    output: Annotated[str | None, flags.output_option("Symbol file; a.tx.npz gives a.rx.npz, tx.npz gives rx.npz.")] = None,
    seed: flags.Seed = 0,
    json: flags.Json = False,
) -> None:
    """Send symbols over a simulated radio channel.

    \b
    gencomm channel tx.npz --snr 1 --rayleigh      writes rx.npz
    gencomm channel photo.tx.npz --snr inf         writes photo.rx.npz
    gencomm channel tx.npz --snr 10 --multipath --csi estimated --clip 0.8
    gencomm channel tx.npz --snr 10 --tdl a --delay-spread 300e-9 --speed 120 --csi estimated
    gencomm channel tx.sigmf --snr 15 --cfo 6640 --clock-offset 20 --phase-noise=-80
    gencomm channel tx.sigmf --snr 20 --tdl a --delay-spread 300e-9 --speed 30
    """
    from gencomm_cli import console, pipeline, symbols

    target = flags.output(output, transmitted, received_name(transmitted), channel.get("cir"), recording=is_recording(transmitted))
    if is_recording(transmitted):
        plain = {"snr_type": "esn0", "csi": "perfect"}
        if {name for name, value in channel.items() if value != plain.get(name)} - {"clip", "cir", *options_of(PathModel)}:
            raise InputError("channel: a recording takes --snr, --clip, and the flags of paths and waveforms alone")
        if unread := {"subcarrier_spacing", "pilot_period"} & set(channel):
            raise OptionError(min(unread), "is for symbol files; a recording has carriers and pilots of its own")
        befalls = replace(build(Impairments, impairments), clip=OfdmConfig(clip=channel.get("clip")).clip)
        over = flags.path_model(channel)
        samples = _record(transmitted, target, befalls, over, pipeline.check_snr("snr", snr), seed, output)
        console.result(json, {"output": target, "samples": samples}, target)
        return
    if impairments:
        raise OptionError(next(iter(impairments)), f"is for recordings ({', '.join(SUFFIXES)}); `gencomm modulate` makes one")
    record, measured = flags.channel_record(snr, channel)
    sent = flags.read_symbols(transmitted)
    flags.check_room(target, sum(array.nbytes for array in sent.arrays().values()))
    file = pipeline.pass_channel(sent, record, seed, measured)
    flags.write(target, symbols.to_bytes(file), output)
    console.result(json, {"output": target, "meta": file.header.to_json()}, target, stdout_is_taken=target == "-")


def _record(
    source: str,
    target: str,
    impairments: Impairments,
    over: tuple[PathModel | None, Measured | None],
    snr_db: float,
    seed: int,
    given: str | None,
) -> int:
    """Writes the recording that arrives, and says how many samples it has."""
    from gencomm_cli.channels.measured import paths_of
    from gencomm_cli.console import say
    from gencomm_cli.outputs import write_files
    from gencomm_cli.radio import recordings
    from gencomm_cli.radio.impairments import impaired
    from gencomm_cli.seeds import generator

    (model, measured), sent, paths = over, recordings.read(Path(source)), None
    if model is not None:
        paths = paths_of(model, len(sent) / sent.sample_rate, generator(seed, "waveform fading"), measured)
    arrived = impaired(sent, impairments, snr_db, seed, paths)
    if not sent.spans and snr_db != math.inf:
        say(f"--snr: {source} does not say where its signal is, which is taken to fill recording and band; .sigmf does")
    written = recordings.files(Path(target), arrived)
    flags.say_replaced(given, *written)
    write_files(written)
    return len(arrived)


def received_name(transmitted: str) -> str:
    """``tx.npz`` → ``rx.npz``, ``a.tx.npz`` → ``a.rx.npz``, ``a.npz`` → ``a.rx.npz``, beside the input; likewise of recordings."""
    stem, suffix = os.path.splitext(transmitted) if is_recording(transmitted) else (transmitted.removesuffix(".npz"), ".npz")
    folder, name = os.path.split(stem)
    return os.path.join(folder, f"rx{suffix}" if name == "tx" else f"{name.removesuffix('.tx')}.rx{suffix}")
