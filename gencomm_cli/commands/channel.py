"""``gencomm channel``: transmitted → received symbols. Imports neither torch nor Pillow."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from gencomm_cli.commands import flags


def channel(
    transmitted: Annotated[str, typer.Argument(metavar="TX", help="Symbol file of `gencomm encode`; - is standard input.")],
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
    """
    from gencomm_cli import console, pipeline, symbols

    target = flags.output(output, transmitted, received_name(transmitted))
    channel = flags.channel_record(
        snr, kinds={"awgn": awgn, "rayleigh": rayleigh, "block": block_rayleigh, "multipath": multipath}, snr_type=snr_type,
        csi=csi, rx_snr=rx_snr, ofdm={
            "clip": clip, "cp": cp, "carriers": carriers, "pilots": pilots, "taps": taps, "decay": decay,
            "no_interleaver": no_interleaver,
        },
    )  # fmt: skip
    file = pipeline.pass_channel(symbols.read(flags.source(transmitted)), channel, seed)
    flags.write(target, symbols.to_bytes(file), output)
    if json:
        meta = file.header.to_json()
        console.print_json({"output": target, "meta": meta}, stdout_is_taken=target == "-")
    elif target != "-":
        console.out(target)


def received_name(transmitted: str) -> str:
    """``tx.npz`` → ``rx.npz``, ``a.tx.npz`` → ``a.rx.npz``, ``a.npz`` → ``a.rx.npz``, beside the input."""
    folder, name = os.path.split(transmitted.removesuffix(".npz"))
    return os.path.join(folder, "rx.npz" if name == "tx" else f"{name.removesuffix('.tx')}.rx.npz")
