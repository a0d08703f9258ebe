"""Flags that several commands share, and how they are read. Nothing heavy: ``--help`` comes through here."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Literal

import typer

from gencomm_cli.errors import InputError

if TYPE_CHECKING:
    from gencomm_cli.channels.fading import Kind
    from gencomm_cli.channels.ofdm import OfdmConfig
    from gencomm_cli.methods.base import ClassicalOptions, DecodeOptions
    from gencomm_cli.pipeline import EncodeOptions
    from gencomm_cli.symbols import ChannelRecord

PROMPT_BYTES = 4096
Csi = Literal["perfect", "estimated", "none"]
SnrType = Literal["esn0", "ebn0", "received"]
Fading = Literal["awgn", "rayleigh", "block", "multipath", "unknown"]

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
Seed = Annotated[int, typer.Option(metavar="N", min=0, help="Seed of everything random here.")]
Device = Annotated[str, typer.Option(metavar="auto|cpu|cuda|cuda:N", help="Where the networks run.")]
Preset = Annotated[
    str | None, typer.Option(metavar="NAME|FOLDER", help="Weights: a shipped preset or a folder (`gencomm models list`).")
]
Domain = Annotated[
    Literal["latent", "pixel"] | None,
    typer.Option(metavar="latent|pixel", help="Insist on a preset that sends latents or pixels; not given: either. nano: latent."),
]
Method = Annotated[
    str,
    typer.Option(
        metavar="METHOD",
        help="textguided, diffjscc, lrisc, diffcom, scsic; baselines: jscc (a learned image codec alone, with --preset FOLDER as "
        "`gencomm models import` writes it), separate (image codec and channel code).",
    ),
]
Codec = Annotated[
    str | None,
    typer.Option(
        metavar="NAME",
        help="separate: avif (default), jpeg2000, webp, hevc, bpg or vtm (`gencomm doctor`); "
        "diffcom: adjscc (default), swinjscc or ntscc.",
    ),
]
Modulation = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="separate: auto (default: the fastest that holds at --snr), bpsk, qpsk, 16qam, 64qam."),
]
CodeRate = Annotated[
    str | None,
    typer.Option(metavar="R", help="separate: auto (default), 1/16, 1/8, 1/4, 1/2, 2/3, 3/4 or 5/6 message bits a coded bit."),
]
Fec = Annotated[str | None, typer.Option(metavar="ldpc|5g", help="separate: channel code, pyldpc's (default) or 5G NR's (Sionna).")]
Capacity = Annotated[
    bool, typer.Option("--capacity", help="separate: an ideal code at channel capacity. A bound to compare with, not a scheme.")
]


def ratio(text: str | float) -> float:
    """``0.0026``, or a fraction such as ``1/384``."""
    try:
        above, _, below = str(text).partition("/")
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{text!r} is not a ratio, such as 0.0033 or 1/384") from None


Cbr = Annotated[
    float | None,
    typer.Option(
        parser=ratio,
        metavar="RATIO",
        help="Channel uses for the image over 3*H*W. textguided, diffjscc: 0.0013 to 0.0208, default 0.0033 and 1/384; "
        "lrisc: 0.0033 to 0.0417, default 1/96; diffcom: 1/96 to 1/16, default 1/48; scsic: 0.00065 to 0.0026, default 0.00146; "
        "jscc: the preset's own; separate: default 1/96.",
    ),
]
Beta = Annotated[
    float | None,
    typer.Option(metavar="B", min=0.0, help="lrisc: symbols for each bit of information, in place of --cbr; 0.2 in the paper."),
]
Allocation = Annotated[
    Literal["adaptive", "uniform"] | None,
    typer.Option(
        help="lrisc, diffcom's ntscc: more symbols where there is more information (default), or the same everywhere, without side "
        "symbols."
    ),
]
CbrTotal = Annotated[
    float | None,
    typer.Option(
        parser=ratio, metavar="RATIO", help="Like --cbr, but prompt, pilots, cyclic prefixes and empty carriers count too."
    ),
]
CbrStrict = Annotated[bool, typer.Option("--cbr-strict", help="Fail (status 5) instead of taking the nearest rate.")]
Prompt = Annotated[str | None, typer.Option(metavar="TEXT", help="Text to send beside the image, at most 4 KiB of UTF-8.")]
Captioner = Annotated[
    str | None,
    typer.Option(
        metavar="none|builtin|hf:FOLDER_OR_ID|openai:MODEL",
        help="Who writes the prompt if --prompt does not (textguided: none by default), or captions the coarse image (diffjscc).",
    ),
]
CaptionFrom = Annotated[
    Literal["coarse", "original"] | None,
    typer.Option(help="diffjscc: the receiver captions what it gets (default), or the original's caption is sent and counted."),
]
Awgn = Annotated[bool, typer.Option("--awgn", help="No fading (the default).")]
Rayleigh = Annotated[bool, typer.Option("--rayleigh", help="Rayleigh fading, independent for every symbol.")]
BlockRayleigh = Annotated[bool, typer.Option("--block-rayleigh", help="Rayleigh fading, one gain for the whole image.")]
SnrTypeFlag = Annotated[
    SnrType,
    typer.Option(help="SNR counts the energy sent a symbol (Es/N0), a bit (Eb/N0; separate only), or that arrives after fading."),
]
Multipath = Annotated[
    bool, typer.Option("--multipath", help="OFDM over several Rayleigh paths, one impulse response for the whole image.")
]
Clip = Annotated[
    float | None,
    typer.Option(metavar="RATIO", help="multipath: limit amplitudes to RATIO times the signal's root mean power; not given: none."),
]
Cp = Annotated[int | None, typer.Option(metavar="N", help="multipath: samples of cyclic prefix, default 10; 0 is none.")]
Carriers = Annotated[int | None, typer.Option(metavar="N", help="multipath: sub-carriers, default 256.")]
Pilots = Annotated[int | None, typer.Option(metavar="N", help="multipath: OFDM symbols of pilots, default 1; none for --csi none.")]
Taps = Annotated[int | None, typer.Option(metavar="N", help="multipath: paths, one sample apart, default 8.")]
Decay = Annotated[float | None, typer.Option(metavar="R", help="multipath: path l has power ~ exp(-l/R), default 4 (samples).")]
NoInterleaver = Annotated[bool, typer.Option("--no-interleaver", help="multipath: do not shuffle symbols over the carriers.")]
CsiFlag = Annotated[
    Csi, typer.Option(help="Does the receiver know the fading? estimated: from pilots (counted); block and multipath only.")
]
RxSnr = Annotated[float | None, typer.Option(metavar="DB", help="SNR that the receiver is told; not given: the channel's.")]
EstimatorFlag = Annotated[
    Literal["lmmse", "ls", "authors"],
    typer.Option(help="Channel estimation from pilots; authors: DiffCom's program, LMMSE carrier by carrier."),
]
Steps = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=1000, help="Steps of the sampler; with nano 5 (textguided, lrisc), 50 (diffjscc) or 10 (scsic). "
        "diffcom: of those from the start step down; all of them if not given.",
    ),
]  # fmt: skip
GuidanceScale = Annotated[float | None, typer.Option(metavar="W", help="Classifier-free guidance; the preset's if not given.")]
StartStep = Annotated[
    int | None,
    typer.Option(
        metavar="N", min=1, max=1000,
        help="Noise level of the warm start; not given: the preset's table, or what eq. 21 says of SNR and CBR (diffcom).",
    ),
]  # fmt: skip
GuidanceLambda = Annotated[
    float | None,
    typer.Option(
        metavar="L", min=0.0, help="diffjscc: the coarse image's pull in each step, 0 (realism) to C*H*W of the latent (fidelity)."
    ),
]
GuidanceFormFlag = Annotated[
    Literal["paper", "authors"] | None, typer.Option(help="diffjscc: how --guidance-lambda weighs, as printed or as programmed.")
]
ColourFix = Annotated[
    bool | None, typer.Option("--colour-fix/--no-colour-fix", help="diffjscc: the coarse image's colours under the refined detail.")
]
Condition = Annotated[
    str | None,
    typer.Option(metavar="LIST", help="diffjscc: what guides the networks, of spatial,csi,text (default: all); or none."),
]
VariantFlag = Annotated[
    Literal["diffcom", "hifi", "blind"] | None,
    typer.Option(
        help="diffcom: plain posterior sampling from noise, with the coarse image's help (default), or without knowing the channel."
    ),
]
LikelihoodFlag = Annotated[
    Literal["squared", "norm", "score", "exact", "authors"] | None,
    typer.Option(
        help="diffcom: what pulls the samples: the squared norm as printed, the norm, Bayes' rule at the mean, the same with "
        "the prior's covariance (slow), or all as the authors' program has it; the preset's if not given."
    ),
]
Zeta = Annotated[
    float | None, typer.Option(metavar="Z", min=0.0, help="diffcom: how strongly the received signal pulls the image.")
]
Gamma = Annotated[float | None, typer.Option(metavar="G", min=0.0, help="diffcom: how strongly the coarse image does (hifi).")]
ZetaH = Annotated[
    float | None, typer.Option(metavar="Z", min=0.0, help="diffcom: how strongly it pulls the channel's taps (blind).")
]
Tau = Annotated[float | None, typer.Option(metavar="T", min=0.0, help="diffcom: tau of the start step, eq. 21 (hifi); default 20.")]
Eta = Annotated[
    float | None, typer.Option(metavar="E", min=0.0, help="diffcom: scales the start step and so the time (hifi); 0.2 with nano.")
]
ConfirmFlag = Annotated[
    Literal["decoded", "pixels"] | None,
    typer.Option(
        help="diffcom: the coarse image is compared with the sample as decoded from the air (default), or as it is (hifi)."
    ),
]
BlindHFlag = Annotated[
    Literal["diffusion", "lmmse"] | None,
    typer.Option(help="diffcom: taps of blind by diffusion, as published, or by LMMSE from the image so far."),
]
BlindFormFlag = Annotated[
    Literal["corrected", "authors"] | None,
    typer.Option(help="diffcom: the taps' mean as derived, or as the authors' program has it."),
]
PickFlag = Annotated[
    Literal["all", "best"] | None,
    typer.Option(help="diffcom: keep all --samples, or the one whose signal is nearest to what was received."),
]
Samples = Annotated[int, typer.Option(metavar="N", min=1, max=64, help="Draw several images: OUT.1.png …, and OUT.std.png.")]
Coarse = Annotated[bool, typer.Option("--coarse", help="The image before diffusion.")]
Spacing = Annotated[Literal["uniform", "quadratic"] | None, typer.Option(help="Spacing of the sampler's steps.")]
Parameterization = Annotated[
    Literal["u", "paper"] | None, typer.Option(help="What the sampler has predicted; the preset's if not given.")
]
Precision = Annotated[
    Literal["auto", "fp32", "bf16", "fp16"],
    typer.Option(help="Of the large networks; auto: half on CUDA, fp32 on a CPU. Symbols, channel and samplers are always fp32."),
]
Compile = Annotated[
    bool,
    typer.Option(
        "--compile", help="Compile the denoiser first (a minute or more, again for each image size); diffcom's prior, too."
    ),
]
NoPrompt = Annotated[bool, typer.Option("--no-prompt", help="Decode as if no prompt had been sent.")]
Strict = Annotated[bool, typer.Option("--strict", help="Fail (status 3) if the prompt, or the image of separate, is lost.")]
MetricWeights = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder with LPIPS weights (`gencomm models get lpips-alex`); also $GENCOMM_METRIC_WEIGHTS."),
]


def source(name: str) -> Path | BinaryIO:
    """``-`` is standard input."""
    return sys.stdin.buffer if name == "-" else Path(name)


def beside(source: str, suffix: str) -> str:
    """The default output: the input's name with another suffix."""
    return os.path.splitext(source)[0] + suffix


def output(given: str | None, source: str, default: str) -> str:
    """Where the result goes: as given, ``-`` where the input is ``-``, or the default name; looked at before any work is done."""
    from gencomm_cli.outputs import check_writable

    name = given if given is not None else "-" if source == "-" else default
    if name == "-" and sys.stdout.isatty():
        raise InputError("-: standard output is a terminal; name a file with -o or use a pipe")
    if name != "-":
        check_writable(Path(name))
    return name


def write(name: str, content: bytes) -> None:
    """Writes a result to a file, whole or not at all, or to standard output."""
    from gencomm_cli.console import write_out
    from gencomm_cli.outputs import write_files

    if name == "-":
        write_out(content)
    else:
        write_files({Path(name): content})


def channel_kind(awgn: bool, rayleigh: bool, block_rayleigh: bool, multipath: bool) -> Kind:
    """The one channel that was asked for; AWGN if none was."""
    if awgn + rayleigh + block_rayleigh + multipath > 1:
        raise InputError("channel: --awgn, --rayleigh, --block-rayleigh and --multipath exclude each other; give one")
    return "rayleigh" if rayleigh else "block" if block_rayleigh else "multipath" if multipath else "awgn"


def ofdm_config(kind: Kind, *, no_interleaver: bool, **given: float | None) -> OfdmConfig | None:
    """The OFDM that was asked for, the paper's where nothing was; None where the channel is not multipath."""
    from gencomm_cli.channels.ofdm import OfdmConfig

    values: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if kind == "multipath":
        return OfdmConfig(**values, interleaver=not no_interleaver)
    if values or no_interleaver:
        raise InputError(f"--{next(iter(values), 'no-interleaver')}: is of OFDM over several paths; give --multipath too")
    return None


def encode_options(
    *,
    cbr: float | None,
    cbr_total: float | None,
    cbr_strict: bool,
    snr_db: float | None,
    fading: Fading,
    gain: complex | None = None,
    prompt: str | None,
    captioner: str,
    device: str,
    classical: ClassicalOptions | None = None,
    beta: float | None = None,
    allocation: Literal["adaptive", "uniform"] | None = None,
    channel: ChannelRecord | None = None,
) -> EncodeOptions:
    """The transmitter's options, checked before anything heavy is imported."""
    from gencomm_cli.methods.base import ClassicalOptions
    from gencomm_cli.pipeline import EncodeOptions, check_prompt, check_snr

    for flag, value in (("--cbr", cbr), ("--cbr-total", cbr_total)):
        if value is not None and not 0 < value < 1e6:
            raise InputError(f"{flag}: {value:g} is not a ratio above 0; 0.0033 is usual")
    if cbr is not None and cbr_total is not None:
        raise InputError("--cbr-total: excludes --cbr; give one of them")
    if beta is not None and (cbr is not None or cbr_total is not None or allocation == "uniform"):
        raise InputError("--beta: sets the rate itself, which --cbr, --cbr-total and --allocation uniform exclude; drop one")
    if captioner not in ("none", "builtin") and not captioner.removeprefix("hf:").removeprefix("openai:") != captioner:
        raise InputError(f"--captioner: {captioner!r} is not none, builtin, hf:FOLDER_OR_ID or openai:MODEL")
    if prompt is not None:
        prompt = check_prompt(prompt)
    return EncodeOptions(
        cbr=cbr if cbr_total is None else cbr_total,
        cbr_is_total=cbr_total is not None,
        strict=cbr_strict,
        snr_db=None if snr_db is None else check_snr("--snr", snr_db),
        fading=fading,
        gain=gain,
        prompt=prompt,
        captioner=captioner,
        device=device,
        classical=classical or ClassicalOptions(),
        beta=beta,
        allocation=allocation or "adaptive",
        channel=channel,
    )


def classical_options(
    method: str, codec: str | None, modulation: str | None, code_rate: str | None, fec: str | None, capacity: bool
) -> ClassicalOptions | None:
    """How ``separate`` is to send; None where no flag of it was given."""
    from gencomm_cli.methods import CLASSICAL
    from gencomm_cli.methods.base import ClassicalOptions

    if method not in CLASSICAL:
        return None
    given = {"codec": codec, "modulation": modulation, "code_rate": code_rate, "fec": fec}
    if not capacity and not any(given.values()):
        return None
    if capacity and (modulation or code_rate or fec):
        raise InputError("--capacity: excludes --modulation, --code-rate and --fec, as an ideal code has none; drop them")
    return ClassicalOptions(capacity=capacity, **{name: value for name, value in given.items() if value is not None})


def check_read(method: str, **given: object) -> None:
    """Refuses flags that the method would not read; None, False and a captioner ``none`` count as not given.

    Raises:
        InputError: one was given, or there is no such method.
    """
    from gencomm_cli.methods import METHODS, READS, check_method

    check_method(method)
    for name, value in given.items():
        if value in (None, False) or name in READS[method] or (name, value) == ("captioner", "none"):
            continue
        readers = [other for other in METHODS if name in READS[other]]
        raise InputError(f"--{name.replace('_', '-')}: {method} does not read it; it is for {' and '.join(readers)}")


def block_gain(text: str | None) -> complex | None:
    """``RE,IM`` as the gain of a block-fading channel.

    Raises:
        InputError: it is none.
    """
    if text is None:
        return None
    import numpy as np

    from gencomm_cli.symbols import MAX_GAIN

    try:
        real, imaginary = map(float, text.split(","))
    except ValueError:
        real = imaginary = float("nan")
    if not (abs(real) <= MAX_GAIN and abs(imaginary) <= MAX_GAIN):
        raise InputError(f"--gain: {text!r} is not RE,IM with parts from -{MAX_GAIN:g} to {MAX_GAIN:g}, as in 0.6,-0.2")
    return complex(np.complex64(complex(real, imaginary)))


def sent_caption(method: str, captioner: str | None, caption_from: str | None, prompt: str | None) -> str:
    """Who captions at the transmitter. diffjscc's captions are made at the receiver unless ``caption_from`` is ``original``.

    Raises:
        InputError: flags that contradict each other.
    """
    if method != "diffjscc":
        return captioner or "none"
    if caption_from == "coarse" and prompt is not None:
        raise InputError("--prompt: is sent, which --caption-from coarse excludes; drop one of them")
    return "none" if caption_from != "original" else captioner or "builtin"


def decode_options(
    steps: int | None,
    guidance_scale: float | None,
    start_step: int | None,
    samples: int,
    coarse: bool,
    spacing: Literal["uniform", "quadratic"] | None,
    parameterization: Literal["u", "paper"] | None,
    guidance_lambda: float | None,
    guidance_form: Literal["paper", "authors"] | None,
    colour_fix: bool | None,
    condition: str | None,
    captioner: str | None,
    **diffcom: Any,
) -> DecodeOptions:
    """The sampler's options; those of DiffCom by the names that they have in :class:`DecodeOptions`."""
    from gencomm_cli.methods.base import DecodeOptions

    return DecodeOptions(
        steps=steps,
        guidance_scale=guidance_scale,
        start_step=start_step,
        coarse=coarse,
        samples=samples,
        spacing=spacing,
        parameterization=parameterization,
        guidance_lambda=guidance_lambda,
        guidance_form=guidance_form,
        colour_fix=colour_fix,
        condition=conditions(condition),
        captioner=captioner,
        **diffcom,
    )


def preset_of(method: str, preset: str | None, codec: str | None) -> str:
    """The preset that is asked for; DiffCom has one for each codec.

    Raises:
        InputError: there is no such codec, or the preset is named after another one.
    """
    from gencomm_cli.methods import default_preset
    from gencomm_cli.presets import DIFFCOM_CODECS, preset_name

    base = preset or default_preset(method)
    if method != "diffcom" or codec is None:
        return base
    for own in DIFFCOM_CODECS:
        if base.rstrip("/").endswith(f"-{own}"):
            if own != codec:
                raise InputError(f"--codec {codec}: --preset {base} is that of {own}; leave out one of the two")
            return base
    return preset_name(base, codec)


def pictures(samples: int, coarse: bool, pick: str | None) -> int:
    """How many images come out."""
    return 1 if coarse or pick == "best" else samples


def conditions(text: str | None) -> tuple[str, ...] | None:
    """``spatial,csi,text`` as words, ``none`` as no word; None where nothing is said.

    Raises:
        InputError: a word that is none of them.
    """
    from gencomm_cli.methods.base import CONDITIONS

    if text is None:
        return None
    words = () if text == "none" else tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    if unknown := set(words) - set(CONDITIONS):
        raise InputError(f"--condition: there is no {', '.join(sorted(unknown))}; there is: {', '.join(CONDITIONS)}, or none")
    return words
