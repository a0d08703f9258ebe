"""``gencomm roundtrip``: encode, channel and decode in one process, with metrics."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gencomm_cli.commands import flags

if TYPE_CHECKING:
    from gencomm_cli.methods.base import ClassicalOptions


def roundtrip(
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="Image to send; - is standard input.")],
    snr: Annotated[float, typer.Option(metavar="DB", help="SNR in dB, 10*log10(1/N0); inf is a clean channel.")],
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Image to write; photo.png gives photo.rx.png.")
    ] = None,
    compare: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Also write original, coarse and refined side by side.")
    ] = None,
    method: flags.Method = "textguided",
    preset: flags.Preset = None,
    domain: flags.Domain = None,
    cbr: flags.Cbr = None,
    cbr_total: flags.CbrTotal = None,
    cbr_strict: flags.CbrStrict = False,
    tx_snr: Annotated[
        str | None,
        typer.Option(metavar="DB|unknown", help="What the transmitter is told; not given: the channel's SNR and fading."),
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
    estimator: flags.EstimatorFlag = "lmmse",
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
    metric_weights: flags.MetricWeights = None,
    no_prompt: flags.NoPrompt = False,
    strict: flags.Strict = False,
    device: flags.Device = "auto",
    precision: flags.Precision = "auto",
    compile: flags.Compile = False,
    seed: flags.Seed = 0,
    json: flags.Json = False,
) -> None:
    """Send an image over a simulated channel and look at what arrives.

    \b
    gencomm roundtrip photo.png --snr 10           writes photo.rx.png
    gencomm roundtrip photo.png --snr 1 --rayleigh --prompt "a red door" --compare both.png
    gencomm roundtrip photo.png --snr 5 --block-rayleigh --method diffjscc --guidance-lambda 50
    gencomm roundtrip photo.png --snr 10 --method separate --codec avif --capacity
    """
    from gencomm_cli import console, images, pipeline
    from gencomm_cli.commands import results
    from gencomm_cli.outputs import check_writable

    diffcom = {
        "variant": variant, "likelihood": likelihood, "zeta": zeta, "gamma": gamma, "zeta_h": zeta_h, "tau": tau, "eta": eta,
        "confirm": confirm, "blind_h": blind_h, "blind_form": blind_form, "pick": pick,
    }  # fmt: skip
    flags.check_read(
        method, prompt=prompt, captioner=captioner, caption_from=caption_from, domain=domain, beta=beta, allocation=allocation,
        codec=codec, modulation=modulation,
        code_rate=code_rate, fec=fec, capacity=capacity, steps=steps, guidance_scale=guidance_scale, start_step=start_step,
        samples=None if samples == 1 else samples, spacing=spacing, parameterization=parameterization,
        guidance_lambda=guidance_lambda, guidance_form=guidance_form, colour_fix=colour_fix, condition=condition,
        no_prompt=no_prompt, compile=compile, **diffcom,
    )  # fmt: skip
    classical = flags.classical_options(method, codec, modulation, code_rate, fec, capacity)
    told_snr = told(tx_snr, snr_type, pipeline.check_snr("--snr", snr), classical)
    target = flags.output(output, image, flags.beside(image, ".rx.png"))
    paths = results.targets(target, flags.pictures(samples, coarse, pick))
    if compare is not None:
        check_writable(compare)
        images.check_format(compare)
    kind = flags.channel_kind(awgn, rayleigh, block_rayleigh, multipath)
    ofdm = flags.ofdm_config(
        kind, clip=clip, cp=cp, carriers=carriers, pilots=pilots, taps=taps, decay=decay, no_interleaver=no_interleaver
    )
    snr_db = pipeline.check_snr("--snr", snr)
    rx_snr_db = None if rx_snr is None else pipeline.check_snr("--rx-snr", rx_snr)
    encode_options = flags.encode_options(
        cbr=cbr,
        cbr_total=cbr_total,
        cbr_strict=cbr_strict,
        snr_db=told_snr,
        fading="unknown" if tx_snr == "unknown" else kind,
        gain=pipeline.told_gain(method, kind, seed) if tx_snr != "unknown" else None,
        prompt=prompt,
        captioner=flags.sent_caption(method, captioner, caption_from, prompt),
        device=device,
        classical=classical,
        beta=beta,
        allocation=allocation,
        channel=pipeline.channel_record(kind, snr_db, snr_type, csi, ofdm),
    )
    decode_options = flags.decode_options(
        steps, guidance_scale, start_step, samples, coarse, spacing, parameterization, guidance_lambda, guidance_form, colour_fix,
        condition, captioner, **diffcom,
    )  # fmt: skip
    pixels = images.read_image(flags.source(image))
    folder = results.metrics_folder(metric_weights)
    loaded = pipeline.load_codec(
        method,
        flags.preset_of(method, preset, codec),
        device,
        domain=domain,
        allocation=allocation,
        precision=precision,
        compile=compile,
    )
    with console.progress("decoding") as progress:
        trip = pipeline.roundtrip(
            pixels,
            loaded,
            encode_options,
            decode_options,
            kind=kind,
            snr_db=snr_db,
            snr_type=snr_type,
            csi=csi,
            seed=seed,
            use_prompt=not no_prompt,
            strict=strict,
            say=console.say,
            progress=progress,
            ofdm=ofdm,
            rx_snr_db=rx_snr_db,
            estimator=estimator,
        )
    reception = trip.reception
    metrics, coarse_metrics = results.measured(pixels, reception, folder)
    extra = {
        "metrics": metrics,
        "coarse_metrics": coarse_metrics,
        "cbr": trip.received.header.to_json()["cbr"],
        "compression_ratio": trip.sent.compression_ratio,
        "prompt": {"sent": trip.prompt or None, "received": reception.prompt, "ok": reception.prompt_ok},
        "seconds": trip.seconds,
        **results.extras(trip.sent.header, reception),
    }
    also: dict[Path, bytes] = {}
    if compare is not None:
        row = dict(zip(("original", "coarse", "refined"), (pixels, reception.coarse, *reception.refined), strict=False))
        also[compare] = images.encoded(images.side_by_side(row), compare.suffix)
    results.write(reception, target, paths, also)
    results.report(target, paths, reception, extra, json)


def told(tx_snr: str | None, snr_type: str, snr_db: float, classical: ClassicalOptions | None) -> float | None:
    """The Es/N0 in dB that the transmitter is told: the channel's, another, or none.

    Raises:
        InputError: not a number and not ``unknown``; or Eb/N0 of a mode that would depend on Es/N0.
    """
    from gencomm_cli.errors import InputError
    from gencomm_cli.pipeline import check_snr

    if tx_snr is None and snr_type == "ebn0":
        if classical is None or "auto" in (classical.modulation, classical.code_rate):
            raise InputError(
                "--snr-type ebn0: the mode sets Es/N0; fix --modulation and --code-rate, or give --tx-snr (Es/N0 in dB)"
            )
        return None
    if tx_snr in (None, "unknown"):
        return None if tx_snr else snr_db
    try:
        return check_snr("--tx-snr", float(tx_snr or math.nan))
    except ValueError:
        raise InputError(f"--tx-snr: {tx_snr!r} is not an SNR in dB; use a number, inf or unknown") from None
