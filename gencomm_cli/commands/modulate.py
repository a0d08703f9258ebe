"""``gencomm modulate`` and ``gencomm demodulate``: symbols → recording → symbols. Import neither torch nor Pillow."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gencomm_cli.commands import flags
from gencomm_cli.errors import InputError
from gencomm_cli.methods.options import build
from gencomm_cli.radio.options import WaveformOptions

if TYPE_CHECKING:
    from gencomm_cli.radio.link import Transmission

Datatype = Literal["cf32", "ci16"]


@flags.with_fields("settings", WaveformOptions)
def modulate(
    transmitted: Annotated[str, typer.Argument(metavar="TX", help="Symbol file of `gencomm encode`; - is standard input.")],
    settings: flags.Given,
    output: Annotated[
        str | None, flags.output_option("Recording: .sigmf, .sigmf-meta, .cf32 or .ci16; a.tx.sigmf if not given.")
    ] = None,
    sample_rate: Annotated[float, typer.Option(metavar="HZ", min=1, max=1e12, help="Of the recording; default 1e6.")] = 1e6,
    datatype: Annotated[Datatype, typer.Option(help="How a SigMF recording stores samples.")] = "cf32",
    json: flags.Json = False,
) -> None:
    """Turn a symbol file into a recording of OFDM bursts.

    All resource elements count: cbr.waveform of --json, and of the file that demodulate writes.

    \b
    gencomm modulate photo.tx.npz                  writes photo.tx.sigmf
    gencomm modulate tx.npz -o tx.ci16 --fft 512 --oversample 4 --rrc 0.2
    """
    from gencomm_cli import console, rates
    from gencomm_cli.outputs import write_files
    from gencomm_cli.radio import link, recordings
    from gencomm_cli.radio.waveform import Waveform

    target = flags.output(output, transmitted, flags.beside(transmitted, ".sigmf"), recording=True)
    waveform = build(Waveform, settings)
    file = flags.read_symbols(transmitted)
    sent = link.modulate(file, waveform)
    recording = sent.recording(waveform, sample_rate)
    written = recordings.files(Path(target), recording, f"{datatype}_le")
    flags.say_replaced(output, *written)
    write_files(written)
    cbr = rates.with_waveform(file.header.cbr, file.header.image_size, sent.uses)
    seconds = len(recording) / sample_rate
    meta = {**file.header.to_json(), "cbr": file.header.to_json()["cbr"] | {"waveform": cbr.waveform, "total": cbr.total}}
    printed = {"output": target, "bursts": len(sent.starts), "samples": len(recording), "seconds": seconds, "meta": meta}
    if not json:
        rate, peaks = f"CBR {cbr.total:.5f} with the waveform", f"PAPR {sent.papr_db:.1f} dB"
        console.say(f"bursts: {len(sent.starts)}, {seconds:.3g} s, {rate}, {peaks}")
    console.result(json, printed | {"papr_db": sent.papr_db}, target)


def demodulate(
    capture: Annotated[str, typer.Argument(metavar="CAPTURE", help="Recording: .sigmf, .sigmf-meta, .cf32 or .ci16.")],
    output: Annotated[str | None, flags.output_option("Symbol file; a.rx.npz of a.rx.sigmf. Several files: a.rx.1.npz …")] = None,
    fft: Annotated[int | None, typer.Option(metavar="N", help="As in modulate; the recording's own if not given.")] = None,
    oversample: Annotated[int | None, typer.Option(metavar="N", help="Likewise.")] = None,
    json: flags.Json = False,
) -> None:
    """Find the bursts in a recording: the symbols received.

    \b
    gencomm demodulate rx.sigmf                    writes rx.npz
    gencomm demodulate capture.cf32 -o rx.npz --fft 512 --oversample 4
    """
    from gencomm_cli import console, symbols
    from gencomm_cli.outputs import write_files
    from gencomm_cli.radio import link, recordings
    from gencomm_cli.radio.waveform import Waveform

    target = flags.output(output, capture, flags.beside(capture, ".npz"))
    recording = recordings.read(Path(capture))
    given = {"fft": fft, "oversample": oversample}
    known = {name: value for name, value in recording.settings if name in given}
    settings = known | {name: value for name, value in given.items() if value is not None}
    found = link.demodulate(recording, build(Waveform, settings | {"window": 0}))
    names = [target] if len(found) == 1 else [f"{os.path.splitext(target)[0]}.{number + 1}.npz" for number in range(len(found))]
    if target == "-":
        if len(found) > 1:
            raise InputError(f"--output: {len(found)} files do not fit on standard output; name a file with -o")
        flags.write(target, symbols.to_bytes(found[0].file), output)
    else:
        flags.say_replaced(output, *map(Path, names))
        write_files({Path(name): symbols.to_bytes(each.file) for name, each in zip(names, found, strict=True)})
    for each in found:
        if each.lost:
            console.say(f"bursts: {len(each.lost)} of {len(each.lost) + len(each.bursts)} are lost; their symbols are erasures")
        if missing := [burst for burst in each.bursts if burst.missing]:
            cut = f"the capture ends before burst {missing[0].piece.index} does (OFDM symbols that it lacks: {missing[0].missing})"
            console.say(f"bursts: {cut}; their symbols are erasures")
    if json:
        files = [_said(name, each) for name, each in zip(names, found, strict=True)]
        console.print_json({"output": target, "files": files}, stdout_is_taken=target == "-")
    elif target != "-":
        for name, each in zip(names, found, strict=True):
            first = each.bursts[0]
            offsets = f"frequency off by {first.found.cfo:.2f} carriers, clock by {1e6 * first.clock_offset:.0f} ppm"
            console.say(f"bursts: {len(each.bursts)}, the first with SNR {first.snr_db:.1f} dB, {offsets}")
            console.out(name)


def _said(name: str, transmission: Transmission) -> Mapping[str, object]:
    """What JSON says of one file."""
    return {
        "output": name,
        "meta": transmission.file.header.to_json(),
        "lost": list(transmission.lost),
        "bursts": [
            {
                "index": burst.piece.index, "start": burst.found.start, "cfo_carriers": burst.found.cfo,
                "clock_offset_ppm": 1e6 * burst.clock_offset, "snr_db": burst.snr_db, "missing": burst.missing,
            }
            for burst in transmission.bursts
        ],
    }  # fmt: skip
