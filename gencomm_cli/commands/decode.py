"""``gencomm decode``: received symbols → image."""

from __future__ import annotations

from typing import Annotated

import typer

from gencomm_cli.commands import flags


def decode(
    received: Annotated[str, typer.Argument(metavar="RX", help="Symbol file of `gencomm channel`; - is standard input.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Image to write; rx.npz gives rx.png.")
    ] = None,
    steps: flags.Steps = None,
    guidance_scale: flags.GuidanceScale = None,
    start_step: flags.StartStep = None,
    samples: flags.Samples = 1,
    coarse: flags.Coarse = False,
    spacing: flags.Spacing = None,
    parameterization: flags.Parameterization = None,
    guidance_lambda: flags.GuidanceLambda = None,
    guidance_form: flags.GuidanceFormFlag = None,
    colour_fix: flags.ColourFix = None,
    condition: flags.Condition = None,
    variant: flags.VariantFlag = None,
    likelihood: flags.LikelihoodFlag = None,
    zeta: flags.Zeta = None,
    gamma: flags.Gamma = None,
    zeta_h: flags.ZetaH = None,
    tau: flags.Tau = None,
    eta: flags.Eta = None,
    confirm: flags.ConfirmFlag = None,
    blind_h: flags.BlindHFlag = None,
    blind_form: flags.BlindFormFlag = None,
    pick: flags.PickFlag = None,
    captioner: Annotated[
        str | None,
        typer.Option(
            metavar="none|builtin|hf:FOLDER_OR_ID|openai:MODEL", help="diffjscc: who captions the coarse image; builtin with nano."
        ),
    ] = None,
    estimator: flags.EstimatorFlag = "lmmse",
    reference: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Original image; prints metrics (PSNR in dB, SSIM, LPIPS, …).")
    ] = None,
    metric_weights: flags.MetricWeights = None,
    no_prompt: flags.NoPrompt = False,
    strict: flags.Strict = False,
    preset: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="Weights; those that the file names if not given.")
    ] = None,
    device: flags.Device = "auto",
    precision: flags.Precision = "auto",
    compile: flags.Compile = False,
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

    from gencomm_cli import console, pipeline, symbols
    from gencomm_cli.commands import results
    from gencomm_cli.errors import InputError
    from gencomm_cli.images import read_image
    from gencomm_cli.methods import READS

    diffcom = {
        "variant": variant, "likelihood": likelihood, "zeta": zeta, "gamma": gamma, "zeta_h": zeta_h, "tau": tau, "eta": eta,
        "confirm": confirm, "blind_h": blind_h, "blind_form": blind_form, "pick": pick,
    }  # fmt: skip
    target = flags.output(output, received, flags.beside(received, ".png"))
    paths = results.targets(target, flags.pictures(samples, coarse, pick))
    file = symbols.read(flags.source(received))
    pipeline.check_received(file)
    original = None if reference is None else read_image(flags.source(reference))
    if original is not None and original.shape[:2] != file.header.image_size:
        height, width = file.header.image_size
        raise InputError(f"--reference: {original.shape[1]}x{original.shape[0]}, but {width}x{height} was sent")
    folder = None if original is None else results.metrics_folder(metric_weights)
    header = file.header
    flags.check_read(
        header.method, steps=steps, guidance_scale=guidance_scale, start_step=start_step, samples=None if samples == 1 else samples,
        spacing=spacing, parameterization=parameterization, guidance_lambda=guidance_lambda, guidance_form=guidance_form,
        colour_fix=colour_fix, condition=condition, no_prompt=no_prompt, compile=compile, **diffcom,
    )  # fmt: skip
    if captioner is not None and "caption_from" not in READS[header.method]:
        raise InputError(f"--captioner: {header.method} captions nothing at the receiver; encode takes it")
    options = flags.decode_options(
        steps, guidance_scale, start_step, samples, coarse, spacing, parameterization, guidance_lambda, guidance_form, colour_fix,
        condition, captioner, **diffcom,
    )  # fmt: skip
    codec = pipeline.load_codec(
        header.method, preset or header.preset, device, weights_sha256=header.weights_sha256, precision=precision, compile=compile
    )
    started = perf_counter()
    with console.progress("decoding") as progress:
        reception = pipeline.decode(
            file, codec, options, seed=seed, use_prompt=not no_prompt, strict=strict, say=console.say, progress=progress,
            estimator=estimator,
        )  # fmt: skip
    extra = {
        "cbr": header.to_json()["cbr"],
        "prompt": {"received": reception.prompt, "ok": reception.prompt_ok},
        "seconds": {"decode": perf_counter() - started},
        **results.extras(header, reception),
    }
    if original is not None:
        extra["metrics"], extra["coarse_metrics"] = results.measured(original, reception, folder)
    results.write(reception, target, paths, {})
    results.report(target, paths, reception, extra, json)
