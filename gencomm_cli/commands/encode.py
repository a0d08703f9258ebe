"""``gencomm encode``: image → transmitted symbols."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gencomm_cli.commands import flags

if TYPE_CHECKING:
    from gencomm_cli.symbols import ChannelRecord


def encode(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Image to send; - is standard input.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Symbol file; IMAGE.tx.npz if not given.")
    ] = None,
    method: flags.Method = "textguided",
    preset: flags.Preset = None,
    domain: flags.Domain = None,
    cbr: flags.Cbr = None,
    cbr_total: flags.CbrTotal = None,
    cbr_strict: flags.CbrStrict = False,
    snr: Annotated[
        float | None, typer.Option(metavar="DB", help="SNR that the transmitter is told; not given: it knows nothing.")
    ] = None,
    fading: Annotated[flags.Fading, typer.Option(help="Fading that the transmitter is told.")] = "unknown",
    cp: flags.Cp = None,
    carriers: flags.Carriers = None,
    pilots: flags.Pilots = None,
    gain: Annotated[
        str | None,
        typer.Option(metavar="RE,IM", help="diffjscc: gain of the --block-rayleigh channel that comes, told to the transmitter."),
    ] = None,
    prompt: flags.Prompt = None,
    captioner: flags.Captioner = None,
    caption_from: flags.CaptionFrom = None,
    beta: flags.Beta = None,
    allocation: flags.Allocation = None,
    codec: flags.Codec = None,
    modulation: flags.Modulation = None,
    code_rate: flags.CodeRate = None,
    fec: flags.Fec = None,
    capacity: flags.Capacity = False,
    device: flags.Device = "auto",
    precision: flags.Precision = "auto",
    json: flags.Json = False,
) -> None:
    """Turn an image into complex symbols of unit mean power.

    \b
    gencomm encode photo.png                       writes photo.tx.npz
    gencomm encode photo.png --cbr 0.01 --snr 5 --prompt "a red door"
    gencomm encode photo.png --method diffjscc --snr 5 --fading block --gain 0.6,-0.2
    gencomm encode photo.png --method scsic --cbr 0.0026
    gencomm encode photo.png --method separate --codec avif --snr 10 --fading awgn
    gencomm encode photo.png --method diffcom --fading multipath --cbr-total 0.03 --pilots 2
    """
    from gencomm_cli import console, pipeline, symbols
    from gencomm_cli.errors import InputError
    from gencomm_cli.images import read_image

    flags.check_read(
        method, prompt=prompt, captioner=captioner, caption_from=caption_from, gain=gain, domain=domain, beta=beta,
        allocation=allocation, codec=codec,
        modulation=modulation, code_rate=code_rate, fec=fec, capacity=capacity,
    )  # fmt: skip
    classical = flags.classical_options(method, codec, modulation, code_rate, fec, capacity)
    sender = flags.sent_caption(method, captioner, caption_from, prompt)
    if captioner not in (None, "none", sender):
        raise InputError("--captioner: diffjscc captions at the receiver; give it to decode, or add --caption-from original")
    target = flags.output(output, image, flags.beside(image, ".tx.npz"))
    options = flags.encode_options(
        cbr=cbr,
        cbr_total=cbr_total,
        cbr_strict=cbr_strict,
        snr_db=snr,
        fading=fading,
        gain=flags.block_gain(gain),
        prompt=prompt,
        captioner=sender,
        device=device,
        classical=classical,
        beta=beta,
        allocation=allocation,
        channel=counted(fading, cbr_total, cp=cp, carriers=carriers, pilots=pilots),
    )
    pixels = read_image(flags.source(image))
    loaded = pipeline.load_codec(
        method, flags.preset_of(method, preset, codec), device, domain=domain, allocation=allocation, precision=precision
    )
    file, sent_prompt = pipeline.encode(pixels, loaded, options, console.say)
    flags.write(target, symbols.to_bytes(file))
    ratio = file.compression_ratio
    if json:
        meta = file.header.to_json()
        printed = {"output": target, "meta": meta, "compression_ratio": ratio}
        console.print_json(printed, stdout_is_taken=target == "-")
        return
    compressed = "" if ratio is None else f", compression ratio {ratio:.0f}"
    with_side = f" + {file.side_symbols.size} of side information" if file.side_symbols.size else ""
    with_prompt = f" + {file.prompt_symbols.size} for the prompt {sent_prompt!r}" if sent_prompt else ""
    console.say(f"{file.symbols.size} symbols, CBR {file.header.cbr.image:.5f}{compressed}{with_side}{with_prompt}")
    if target != "-":
        console.out(target)


def counted(fading: str, cbr_total: float | None, **given: int | None) -> ChannelRecord | None:
    """The channel whose pilots, prefixes and empty carriers a total counts; None where it has none.

    Raises:
        InputError: the OFDM is described where it does not count.
    """
    from gencomm_cli.channels.ofdm import OfdmConfig
    from gencomm_cli.errors import InputError
    from gencomm_cli.pipeline import channel_record

    ofdm: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if ofdm and (fading != "multipath" or cbr_total is None):
        raise InputError(f"--{next(iter(ofdm))}: counts in --cbr-total with --fading multipath alone; leave it out")
    return channel_record("multipath", 0.0, "esn0", "perfect", OfdmConfig(**ofdm)) if fading == "multipath" else None
