"""``gencomm encode``: image → transmitted symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, get_args

import typer

from gencomm_cli.commands import flags

if TYPE_CHECKING:
    from gencomm_cli.symbols import ChannelRecord


@flags.with_options("transmitter")
def encode(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Image to send; - is standard input.")],
    options: flags.Given,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Symbol file; IMAGE.tx.npz if not given.")
    ] = None,
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
        typer.Option(
            metavar="|".join(get_args(flags.Fading)),
            help="Fading that the transmitter knows; unknown by default.",
            show_default=False,
            rich_help_panel=flags.CHANNEL,
        ),
    ] = "unknown",
    cp: flags.Cp = None,
    carriers: flags.Carriers = None,
    pilots: flags.Pilots = None,
    device: flags.Device = "auto",
    precision: flags.Precision = "auto",
    json: flags.Json = False,
) -> None:
    """Turn an image into complex symbols of unit mean power.

    \b
    gencomm encode photo.png                       writes photo.tx.npz
    gencomm encode photo.png --cbr 0.01 --snr 5 --prompt "a red door"
    gencomm encode photo.png --method separate --codec avif --snr 10 --fading awgn
    """
    from gencomm_cli import console, pipeline, symbols
    from gencomm_cli.images import read_image

    spec = flags.spec_of(method)
    (transmitter,) = pipeline.settled(spec, options, "transmitter")
    transmitter.check_alone()
    pipeline.check_rate(cbr, cbr_total, transmitter)
    target = flags.output(output, image, flags.beside(image, ".tx.npz"))
    known = None if snr is None else pipeline.check_snr("snr", snr)
    channel = counted(fading, cbr_total, cp=cp, carriers=carriers, pilots=pilots)
    pixels = read_image(flags.source(image))
    codec = pipeline.load(method, preset, device=device, precision=precision, options=transmitter)
    flags.check_room(target, 8 * codec.method.symbol_budget(1e-12, (pixels.shape[0], pixels.shape[1])))
    sent = codec.encode(
        pixels, cbr=cbr, cbr_total=cbr_total, strict=cbr_strict, snr=known, fading=fading, channel=channel, options=transmitter,
        say=console.say,
    )  # fmt: skip
    flags.write(target, symbols.to_bytes(sent), output)
    ratio = sent.compression_ratio
    if json:
        printed = {"output": target, "meta": sent.header.to_json(), "compression_ratio": ratio}
        console.print_json(printed, stdout_is_taken=target == "-")
        return
    compressed = "" if ratio is None else f", compression ratio {ratio:.0f}"
    with_side = f" + {sent.side_symbols.size} of side information" if sent.side_symbols.size else ""
    with_prompt = f" + {sent.prompt_symbols.size} for the prompt {sent.prompt!r}" if sent.prompt else ""
    console.say(f"{sent.symbols.size} symbols, CBR {sent.header.cbr.image:.5f}{compressed}{with_side}{with_prompt}")
    if target != "-":
        console.out(target)


def counted(fading: str, cbr_total: float | None, **given: int | None) -> ChannelRecord | None:
    """The channel whose pilots, prefixes and empty carriers a total counts; None where it has none.

    Raises:
        OptionError: the OFDM is described where it does not count.
    """
    from gencomm_cli.errors import OptionError
    from gencomm_cli.pipeline import channel_record

    if (described := [name for name, value in given.items() if value is not None]) and (fading != "multipath" or cbr_total is None):
        raise OptionError(described[0], "counts in --cbr-total with --fading multipath alone; leave it out")
    ofdm = flags.ofdm_config(fading, given)
    return None if ofdm is None else channel_record("multipath", 0.0, "esn0", "perfect", ofdm)
