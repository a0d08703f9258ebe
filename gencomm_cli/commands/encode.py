"""``gencomm encode``: image → transmitted symbols."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.commands import flags
from gencomm_cli.options import options_of

if TYPE_CHECKING:
    from gencomm_cli.symbols import ChannelRecord


COUNTED = ("cp", "carriers", "pilots", *options_of(PathModel), "cir")
"""Flags of a channel whose pilots, prefixes and empty carriers count."""


@flags.with_options("transmitter")
@flags.with_channel(*COUNTED)
def encode(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Image to send; - is standard input.")],
    options: flags.Given,
    channel: flags.Given,
    output: Annotated[str | None, flags.output_option("Symbol file; IMAGE.tx.npz if not given.")] = None,
    method: flags.Method = flags.DEFAULT_METHOD,
    preset: flags.Preset = None,
    cbr: flags.Cbr = None,
    cbr_total: flags.CbrTotal = None,
    cbr_strict: flags.CbrStrict = False,
    snr: Annotated[
        float | None,
        typer.Option(metavar="DB", help="SNR that the transmitter knows; not given: none.", rich_help_panel=flags.CHANNEL),
    ] = None,
    fading: Annotated[
        flags.Fading,
        flags.choice_option(flags.Fading, "Fading that the transmitter knows; unknown by default.", flags.CHANNEL),
    ] = "unknown",
    device: flags.Device = "auto",
    precision: flags.Precision = "auto",
    json: flags.Json = False,
) -> None:
    """Turn an image into complex symbols of unit mean power.

    \b
    gencomm encode photo.png                       writes photo.tx.npz
    gencomm encode photo.png --cbr 0.01 --snr 5 --prompt "a red door"
    gencomm encode photo.png --method separate --codec avif --snr 10 --fading awgn
    gencomm encode photo.png --cbr-total 0.01 --snr 10 --fading multipath --tdl a --speed 120
    """
    from gencomm_cli import console, pipeline, symbols
    from gencomm_cli.images import read_image

    spec = flags.spec_of(method)
    (transmitter,) = pipeline.settled(spec, options, "transmitter")
    transmitter.check_alone()
    pipeline.check_rate(cbr, cbr_total, transmitter)
    target = flags.output(output, image, flags.beside(image, ".tx.npz"), channel.get("cir"))
    known = None if snr is None else pipeline.check_snr("snr", snr)
    coming = counted(fading, cbr_total, channel)
    pixels = read_image(flags.source(image))
    codec = pipeline.load(method, preset, device=device, precision=precision, options=transmitter)
    flags.check_room(target, 8 * codec.method.symbol_budget(1e-12, (pixels.shape[0], pixels.shape[1])))
    sent = codec.encode(
        pixels, cbr=cbr, cbr_total=cbr_total, strict=cbr_strict, snr=known, fading=fading, channel=coming, options=transmitter,
        say=console.say,
    )  # fmt: skip
    flags.write(target, symbols.to_bytes(sent), output)
    ratio = sent.compression_ratio
    if not json:
        compressed = "" if ratio is None else f", compression ratio {ratio:.0f}"
        with_side = f" + {sent.side_symbols.size} of side information" if sent.side_symbols.size else ""
        with_prompt = f" + {sent.prompt_symbols.size} for the prompt {sent.prompt!r}" if sent.prompt else ""
        console.say(f"{sent.symbols.size} symbols, CBR {sent.header.cbr.image:.5f}{compressed}{with_side}{with_prompt}")
    printed = {"output": target, "meta": sent.header.to_json(), "compression_ratio": ratio}
    console.result(json, printed, target, stdout_is_taken=target == "-")


def counted(fading: str, cbr_total: float | None, given: Mapping[str, Any]) -> ChannelRecord | None:
    """The channel whose pilots, prefixes and empty carriers a total counts; None where it has none.

    Args:
        given: flags, as :func:`gencomm_cli.commands.flags.channel_record` takes them.

    Raises:
        OptionError: they are given where nothing counts them.
    """
    from gencomm_cli.errors import OptionError

    if given and (fading != "multipath" or cbr_total is None):
        raise OptionError(next(iter(given)), "counts in --cbr-total with --fading multipath alone; leave it out")
    if fading != "multipath":
        return None
    return flags.channel_record(0.0, {"multipath": True, **given})[0]
