"""``gencomm encode``: image → transmitted symbols."""

from __future__ import annotations

from typing import Annotated

import typer

from gencomm_cli.commands import flags


def encode(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Image to send; - is standard input.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Symbol file; IMAGE.tx.npz if not given.")
    ] = None,
    method: flags.Method = "textguided",
    preset: flags.Preset = "nano",
    domain: flags.Domain = None,
    cbr: flags.Cbr = None,
    cbr_total: flags.CbrTotal = None,
    cbr_strict: flags.CbrStrict = False,
    snr: Annotated[
        float | None, typer.Option(metavar="DB", help="SNR that the transmitter is told; not given: it knows nothing.")
    ] = None,
    fading: Annotated[flags.Fading, typer.Option(help="Fading that the transmitter is told.")] = "unknown",
    prompt: flags.Prompt = None,
    captioner: flags.Captioner = "none",
    device: flags.Device = "auto",
    json: flags.Json = False,
) -> None:
    """Turn an image into complex symbols of unit mean power.

    \b
    gencomm encode photo.png                       writes photo.tx.npz
    gencomm encode photo.png --cbr 0.01 --snr 5 --prompt "a red door"
    """
    from gencomm_cli import console, pipeline, symbols
    from gencomm_cli.images import read_image

    target = flags.output(output, image, flags.beside(image, ".tx.npz"))
    options = flags.encode_options(
        cbr=cbr,
        cbr_total=cbr_total,
        cbr_strict=cbr_strict,
        snr_db=snr,
        fading=fading,
        prompt=prompt,
        captioner=captioner,
        device=device,
    )
    pixels = read_image(flags.source(image))
    codec = pipeline.load_codec(method, preset, device, domain=domain)
    file, sent_prompt = pipeline.encode(pixels, codec, options, console.say)
    flags.write(target, symbols.to_bytes(file))
    if json:
        meta = file.header.to_json()
        console.print_json({"output": target, "meta": meta}, stdout_is_taken=target == "-")
        return
    with_prompt = f" + {file.prompt_symbols.size} for the prompt {sent_prompt!r}" if sent_prompt else ""
    console.say(f"{file.symbols.size} symbols, CBR {file.header.cbr.image:.5f}{with_prompt}")
    if target != "-":
        console.out(target)
