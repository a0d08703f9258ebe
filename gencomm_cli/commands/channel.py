"""``gencomm channel``: transmitted → received symbols, or waveforms. Imports neither torch nor Pillow."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.commands import flags
from gencomm_cli.errors import InputError, OptionError
from gencomm_cli.methods.options import build
from gencomm_cli.radio import SUFFIXES, is_recording
from gencomm_cli.radio.options import Impairments

if TYPE_CHECKING:
    from gencomm_cli.channels.measured import Measured


@flags.with_fields("of_paths", PathModel, flags.PATHS)
@flags.with_fields("impairments", Impairments, "Waveforms (recordings of `gencomm modulate`)")
def channel(
    transmitted: Annotated[
        str, typer.Argument(metavar="TX", help="Symbol file of `gencomm encode`, or a recording; - is standard input.")
    ],
    impairments: flags.Given,
    of_paths: flags.Given,
    snr: Annotated[float, typer.Option(metavar="DB", help="SNR in dB, 10*log10(1/N0); inf is a clean channel.")],
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Symbol file; a.tx.npz gives a.rx.npz, tx.npz gives rx.npz."),
    ] = None,
    snr_type: flags.SnrTypeFlag = "esn0",
    awgn: flags.Awgn = False,
    rayleigh: flags.Rayleigh = False,
    block_rayleigh: flags.BlockRayleigh = False,
    multipath: flags.Multipath = False,
    clip: flags.Clip = None,
    cp: flags.Cp = None,
    carriers: flags.Carriers = None,
    pilots: flags.Pilots = None,
    taps: flags.Taps = None,
    decay: flags.Decay = None,
    no_interleaver: flags.NoInterleaver = False,
    cir: flags.Cir = None,
    csi: flags.CsiFlag = "perfect",
    rx_snr: flags.RxSnr = None,
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

    target = flags.output(output, transmitted, received_name(transmitted), recording=is_recording(transmitted))
    if is_recording(transmitted):
        others = [awgn, rayleigh, block_rayleigh, multipath, cp, carriers, pilots, taps, decay, no_interleaver, rx_snr]
        if any(each is not None and each is not False for each in others) or (snr_type, csi) != ("esn0", "perfect"):
            raise InputError("channel: a recording takes --snr, --clip, and the flags of paths and waveforms alone")
        if unread := {"subcarrier_spacing", "pilot_period"} & set(of_paths):
            raise OptionError(min(unread), "is for symbol files; a recording has carriers and pilots of its own")
        befalls, over = replace(build(Impairments, impairments), clip=clip), flags.path_model(of_paths, cir)
        samples = _record(transmitted, target, befalls, over, pipeline.check_snr("snr", snr), seed, output)
        if json:
            console.print_json({"output": target, "samples": samples})
        else:
            console.out(target)
        return
    if impairments:
        raise OptionError(next(iter(impairments)), f"is for recordings ({', '.join(SUFFIXES)}); `gencomm modulate` makes one")
    channel, measured = flags.channel_record(
        snr, kinds={"awgn": awgn, "rayleigh": rayleigh, "block": block_rayleigh, "multipath": multipath}, snr_type=snr_type,
        csi=csi, rx_snr=rx_snr, ofdm={
            "clip": clip, "cp": cp, "carriers": carriers, "pilots": pilots, "taps": taps, "decay": decay,
            "no_interleaver": no_interleaver,
        }, paths=of_paths, cir=cir,
    )  # fmt: skip
    sent = flags.read_symbols(transmitted)
    flags.check_room(target, sum(array.nbytes for array in sent.arrays().values()))
    file = pipeline.pass_channel(sent, channel, seed, measured)
    flags.write(target, symbols.to_bytes(file), output)
    if json:
        meta = file.header.to_json()
        console.print_json({"output": target, "meta": meta}, stdout_is_taken=target == "-")
    elif target != "-":
        console.out(target)


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
