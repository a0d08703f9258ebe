"""``gencomm roundtrip``: encode, channel and decode in one process, with metrics."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gencomm_cli.commands import flags

if TYPE_CHECKING:
    from gencomm_cli.pipeline import TxSnr


@flags.with_options("transmitter", "receiver")
@flags.with_channel()
def roundtrip(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Image to send; - is standard input.")],
    options: flags.Given,
    channel: flags.Given,
    snr: Annotated[float, typer.Option(metavar="DB", help="SNR in dB, 10*log10(1/N0); inf is a clean channel.")],
    output: Annotated[str | None, flags.output_option("Image to write; photo.png gives photo.rx.png.")] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write original, coarse and refined side by side.")
    ] = None,
    method: flags.Method = flags.DEFAULT_METHOD,
    preset: flags.Preset = None,
    metric_weights: flags.MetricWeights = None,
    strict: flags.Strict = False,
    device: flags.Device = "auto",
    precision: flags.Precision = "auto",
    seed: flags.Seed = 0,
    json: flags.Json = False,
    cbr: flags.Cbr = None,
    cbr_total: flags.CbrTotal = None,
    cbr_strict: flags.CbrStrict = False,
    tx_snr: Annotated[
        str | None,
        typer.Option(
            metavar="DB|unknown", help="What the transmitter knows; not given: the channel's SNR and fading.",
            rich_help_panel=flags.CHANNEL,
        ),
    ] = None,
    estimator: flags.EstimatorFlag = "lmmse",
) -> None:  # fmt: skip
    """Send an image over a simulated channel and look at what arrives.

    \b
    gencomm roundtrip photo.png --snr 10           writes photo.rx.png
    gencomm roundtrip photo.png --snr 1 --rayleigh --prompt "a red door" --compare both.png
    """
    from gencomm_cli import console, images, pipeline
    from gencomm_cli.commands import results

    transmitter, receiver = pipeline.settled(flags.spec_of(method), options, "transmitter", "receiver")
    pipeline.check_rate(cbr, cbr_total, transmitter)
    record, measured = flags.channel_record(snr, channel)
    known = at_transmitter(tx_snr)
    pipeline.known_snr(known, record, transmitter)
    target = flags.output(output, image, flags.beside(image, ".rx.png"))
    pixels = images.read_image(flags.source(image))
    labels = ("original", "coarse", "refined")
    also = {} if compare is None else {compare: images.side_by_side(dict.fromkeys(labels, pixels)).shape}
    paths = results.targets(target, receiver.pictures, pixels.shape[:2], (image,), also)
    folder = results.metrics_folder(metric_weights)
    codec = pipeline.load(
        method, preset, device=device, precision=precision, options=transmitter, compile=getattr(receiver, "compile", False)
    )
    with console.progress("decoding") as progress:
        trip = codec.roundtrip(
            pixels, record, cbr=cbr, cbr_total=cbr_total, strict_rate=cbr_strict, tx_snr=known, seed=seed, estimator=estimator,
            strict=strict, transmitter=transmitter, receiver=receiver, measured=measured, say=console.say, progress=progress,
        )  # fmt: skip
    reception = trip.reception
    files = results.encoded(reception, paths)
    metrics, coarse_metrics = results.measured(pixels, reception, files[0], folder)
    extra = {
        "metrics": metrics,
        "coarse_metrics": coarse_metrics,
        "cbr": trip.received.header.to_json()["cbr"],
        "compression_ratio": trip.sent.compression_ratio,
        "prompt": {"sent": trip.sent.prompt or None, "received": reception.prompt, "ok": reception.prompt_ok},
        "seconds": trip.seconds,
        **results.extras(trip.sent.header, reception),
    }
    row = dict(zip(labels, (pixels, reception.coarse, *reception.refined), strict=False))
    drawn = {path: images.encoded(images.side_by_side(row), images.suffix_of(path)) for path in also}
    results.write(files, paths, output, drawn)
    results.report(target, paths, reception, extra, json)


def at_transmitter(tx_snr: str | None) -> TxSnr:
    """What the transmitter knows: a number of dB, ``channel`` or ``unknown``.

    Raises:
        InputError: something else.
    """
    from gencomm_cli.errors import InputError
    from gencomm_cli.pipeline import check_snr

    if tx_snr is None:
        return "channel"
    if tx_snr == "unknown":
        return "unknown"
    try:
        return check_snr("tx_snr", float(tx_snr))
    except ValueError:
        raise InputError(f"--tx-snr: {tx_snr!r} is not an SNR in dB; use a number, inf or unknown") from None
