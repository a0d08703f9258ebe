"""``gencomm decode``: received symbols → image."""

from __future__ import annotations

from typing import Annotated

import typer

from gencomm_cli.commands import flags


@flags.with_options("receiver")
def decode(
    received: Annotated[str, typer.Argument(metavar="RX", help="Symbol file of `gencomm channel`; - is standard input.")],
    options: flags.Given,
    output: Annotated[str | None, flags.output_option("Image to write; rx.npz gives rx.png.")] = None,
    reference: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Original image; prints metrics (PSNR in dB, SSIM, LPIPS, …).")
    ] = None,
    metric_weights: flags.MetricWeights = None,
    estimator: flags.EstimatorFlag = "lmmse",
    strict: flags.Strict = False,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="Weights; those that the file names if not given.")
    ] = None,
    device: flags.Device = "auto",
    precision: flags.Precision = "auto",
    seed: flags.Seed = 0,
    json: flags.Json = False,
) -> None:
    """Rebuild the image from received symbols.

    \b
    gencomm decode rx.npz                          writes rx.png
    gencomm decode rx.npz --coarse -o before.png
    gencomm decode rx.npz --guidance-lambda 100
    gencomm decode rx.npz --samples 4 --reference photo.png
    """
    from time import perf_counter

    from gencomm_cli import console, pipeline
    from gencomm_cli.commands import results
    from gencomm_cli.errors import InputError
    from gencomm_cli.images import read_image

    file = flags.read_symbols(received)
    target = flags.output(output, received, flags.beside(received, ".png"))
    pipeline.check_received(file)
    header = file.header
    (receiver,) = pipeline.settled(flags.spec_of(header.method), options, "receiver")
    paths = results.targets(target, receiver.pictures, header.image_size, (received, *filter(None, [reference])))
    original = None if reference is None else read_image(flags.source(reference))
    if original is not None and original.shape[:2] != header.image_size:
        height, width = header.image_size
        raise InputError(f"--reference: {original.shape[1]}x{original.shape[0]}, but {width}x{height} was sent")
    folder = None if original is None else results.metrics_folder(metric_weights)
    codec = pipeline.load(
        header.method, preset or header.preset, device=device, precision=precision, weights_sha256=header.weights_sha256,
        compile=getattr(receiver, "compile", False),
    )  # fmt: skip
    started = perf_counter()
    with console.progress("decoding") as progress:
        reception = codec.decode(
            file, seed=seed, estimator=estimator, strict=strict, options=receiver, say=console.say, progress=progress
        )
    extra = {
        "cbr": header.to_json()["cbr"],
        "prompt": {"received": reception.prompt, "ok": reception.prompt_ok},
        "seconds": {"decode": perf_counter() - started},
        **results.extras(header, reception),
    }
    files = results.encoded(reception, paths)
    if original is not None:
        extra["metrics"], extra["coarse_metrics"] = results.measured(original, reception, files[0], folder)
    results.write(files, paths, output)
    results.report(target, paths, reception, extra, json)
