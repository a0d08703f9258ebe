"""``gencomm bench``: sweeps, their joining, and what is made of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from gencomm_cli.commands import flags
from gencomm_cli.errors import GencommError, InputError
from gencomm_cli.methods import specs
from gencomm_cli.methods.options import options_of

if TYPE_CHECKING:
    from gencomm_cli.bench.options import Axes


class RunUnlessNamed(TyperGroup):
    """``bench IMAGES…`` means ``bench run IMAGES…``."""

    def parse_args(self, ctx, args):  # type: ignore[no-untyped-def]
        """Puts ``run`` first where no command is."""
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


bench = typer.Typer(
    cls=RunUnlessNamed,
    rich_markup_mode=None,
    help="Sweeps over methods, channels, SNR and CBR. `bench IMAGES…` means `bench run`."
    "\n\n\b\ngencomm bench photos --out results --snr 1,5,10\ngencomm bench report results",
)


def _swept(name: str) -> Any:
    """The flag of an option that has one of its own here: the same as ``--option NAME=LIST``."""
    ends = ((spec.name, options_of(end)) for spec in specs().values() for end in (spec.transmitter, spec.receiver))
    readers = {method: options[name].flag.help for method, options in ends if name in options}
    return typer.Option(metavar="LIST", help=f"{', '.join(readers)}: {next(iter(readers.values()), '')}")


def _option_names() -> list[str]:
    from gencomm_cli.bench.options import readers

    return [f"{name.replace('_', '-')}=" for name in sorted(readers())]


def _protocol_names() -> list[str]:
    from gencomm_cli.bench.papers import protocols

    return list(protocols())


FORMS = ", ".join(
    ["METHOD, METHOD@PRESET, METHOD:coarse (before diffusion)", *filter(None, (s.variant_help for s in specs().values()))]
)
DEFAULT_METHODS = f"{flags.DEFAULT_METHOD},{flags.DEFAULT_METHOD}:coarse"
Images = Annotated[list[Path], typer.Argument(metavar="IMAGES...", help="Images, or folders of them with captions.tsv.")]
Out = Annotated[Path, typer.Option(metavar="DIR", help="Folder for rows.jsonl, originals/ and images/.")]
Methods = Annotated[
    str,
    typer.Option(
        metavar="LIST",
        help=f"{FORMS}, folder:DIR (finished images of the same names; DIR may hold {{snr}}, {{cbr}}, {{channel}}, {{repeat}}, "
        "{name}).",
    ),
]
Snr = Annotated[str | None, typer.Option(metavar="LIST", help="In dB: 1,5,10 or -5:1:15 (both ends in). Default 1,5,10.")]
Cbrs = Annotated[str | None, typer.Option(metavar="LIST", help="As --cbr of encode; 1/384 is one too. Default 0.0033.")]
Channels = Annotated[
    str | None,
    typer.Option(
        metavar="LIST",
        help="Of awgn, rayleigh, block, multipath, multipath:clip=0.8:cp=0, multipath:tdl=a:speed=120. Default awgn.",
    ),
]
Compile = Annotated[bool, typer.Option("--compile", help="Compile the denoisers first.")]
Prompt = Annotated[str | None, typer.Option(metavar="TEXT", help="Text to send beside the image, at most 4 KiB of UTF-8.")]
Steps = Annotated[int | None, typer.Option(metavar="N", min=1, max=1000, help="Steps of the sampler; the preset's if not given.")]
GuidanceScale = Annotated[float | None, typer.Option(metavar="W", help="Classifier-free guidance; the preset's if not given.")]
Prepare = Annotated[
    str | None, typer.Option(metavar="none|crop:N|fit:N|stretch:N", help="What is done to each image first. Default none.")
]
Option = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME=LIST",
        autocompletion=_option_names,
        help="Values of another option of the methods, as guidance-lambda=0,10,50 or condition=spatial+csi,spatial, or of "
        "estimator, rx-snr, speed and delay-spread; may be repeated.",
    ),
]
Fid = Annotated[bool, typer.Option("--fid", help="Also FID and KID of each setting's images, in DIR/sets.jsonl.")]
KidLite = Annotated[
    bool,
    typer.Option(
        "--kid-lite",
        help="Also KID of each setting's images with EfficientNet-Lite1 (pip install 'gencomm[metrics]'), x1000, over "
        "half-overlapping 256x256 patches.",
    ),
]


def listed(text: str, flag: str | None = None) -> tuple[str, ...]:
    """``a,b`` as words. Raises InputError where there is none, and a ``flag`` that needs one."""
    found = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if flag and not found:
        raise InputError(f"{flag}: {text!r} lists nothing; name what is to be tried, or leave it out")
    return found


@bench.command()
def run(
    images: Images,
    out: Out,
    methods: Methods = DEFAULT_METHODS,
    channels: Channels = None,
    snr: Snr = None,
    cbr: Cbrs = None,
    total: Annotated[bool, typer.Option("--total", help="--cbr bounds the prompt too.")] = False,
    steps: Annotated[str | None, _swept("steps")] = None,
    guidance: Annotated[str | None, _swept("guidance_scale")] = None,
    option: Option = None,
    prompts: Annotated[
        str,
        typer.Option(metavar="LIST", help="Of none, own (captions.tsv), wrong (the next image's), builtin, hf:..., openai:..."),
    ] = "none",
    repeats: Annotated[int | None, typer.Option(metavar="N", min=1, help="Sends of each, with other seeds. Default 1.")] = None,
    seed: flags.Seed = 0,
    draws: Annotated[
        Literal["each", "shared"] | None,
        typer.Option(help="each (default): every image has a channel and noise of its own; shared: all of a repeat have the same."),
    ] = None,
    tx_snr: Annotated[
        str, typer.Option(metavar="LIST", help="What the transmitter knows: numbers, channel (the channel's SNR), unknown.")
    ] = "channel",
    csi: flags.CsiFlag = "perfect",
    snr_type: Annotated[flags.SnrType | None, typer.Option(help="As for channel; default esn0.")] = None,
    modulation: Annotated[str | None, _swept("modulation")] = None,
    code_rate: Annotated[str | None, _swept("code_rate")] = None,
    fec: Annotated[str | None, _swept("fec")] = None,
    outage: Annotated[
        Literal["grey", "sc-sic"] | None,
        typer.Option(help="A lost image counts as grey (default), or as PSNR 0, SSIM 0, LPIPS 1, FID 500."),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(
            metavar="METHOD[:DATA]",
            autocompletion=_protocol_names,
            help="The images, sends, points and scores of a method's paper; flags that are given go before it.",
        ),
    ] = None,
    prepare: Prepare = None,
    metrics: Annotated[
        str | None, typer.Option(metavar="LIST", help="Names as in the JSON of roundtrip, and clip_score; all if not given.")
    ] = None,
    clip_model: Annotated[
        str | None, typer.Option(metavar="FOLDER|ID", help="The CLIP of clip_score: a folder, or an id of the Hugging Face hub.")
    ] = None,
    metric_weights: flags.MetricWeights = None,
    save_images: Annotated[
        Literal["none", "first", "all"], typer.Option(help="Received images to keep; first: of repeat 0.")
    ] = "all",
    fid: Fid = False,
    fid_patches: Annotated[
        bool | None,
        typer.Option("--fid-patches/--fid-whole", help="FID over half-overlapping 256x256 patches, or whole images (default)."),
    ] = None,
    kid_lite: KidLite = False,
    device: flags.Device = "auto",
    precision: flags.Precision = "auto",
    compile: Compile = False,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, max=256, help="Processes, each with its own model.")] = 1,
    dask: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Send rows to the workers of a Dask cluster: tcp://HOST:8786, tls://..., or local:N (N processes here). Trust the "
            "scheduler and its network: Dask's connections carry pickles, which can run code; TLS is set in Dask's configuration.",
        ),
    ] = None,
    shard: Annotated[str, typer.Option(metavar="i/N", help="Only the i-th of N parts; `bench merge` joins them.")] = "1/1",
    json: flags.Json = False,
) -> None:
    """Send images by every method over every channel, one row a transmission.

    \b
    gencomm bench photos --out results --methods METHOD,METHOD:coarse --snr 1,5,10
    gencomm bench kodak --out paper --protocol METHOD --methods METHOD --shard 1/4
    gencomm bench kodak --out paper --protocol METHOD --methods METHOD --dask tcp://head:8786

    Running the same command again goes on where it stopped, however it stopped: a row is in DIR/rows.jsonl whole or not at all, and
    its results do not depend on interruptions. A failed cell is a row with its error, the run goes on and ends with status 1; the
    next run tries it again. A rate that cannot be met is a row too, `infeasible`, and no failure.
    """
    from gencomm_cli import console
    from gencomm_cli.bench.options import numbers
    from gencomm_cli.bench.papers import protocol as protocol_of
    from gencomm_cli.bench.plan import Sweep, parts
    from gencomm_cli.methods.spec import Protocol

    part = parts(shard)
    if dask and jobs > 1:
        raise InputError("--jobs: is for processes of this command; leave it out with --dask (local:N has N of them)")
    paper = protocol_of(protocol) if protocol else Protocol("", "none", (1, 5, 10), (0.0033,), (0.0033,))
    sweep = Sweep(
        methods=listed(methods, "--methods"),
        points=paper.points(numbers("--snr", snr) if snr else None, numbers("--cbr", cbr) if cbr else None),
        channels=_channels(channels) if channels else paper.channels,
        prompts=listed(prompts, "--prompts"),
        options=_axes(option, steps=steps, guidance_scale=guidance, modulation=modulation, code_rate=code_rate, fec=fec),
        tx_snr_db=tuple(_known(part) for part in listed(tx_snr, "--tx-snr")),
        cbr_is_total=total,
        csi=csi,
        snr_type=snr_type or paper.snr_type,
        outage=outage or paper.outage,
        seed=seed,
        repeats=repeats or paper.repeats,
        draws=draws,
    )
    from gencomm_cli.bench import run as bench_run
    from gencomm_cli.bench.worker import Workplace

    # A cluster's workers each see for themselves what devices they have.
    where = device if dask else _device(device)
    measured = _metrics(metrics, clip_model)
    place = Workplace(out, where, measured, _weights(metric_weights), save_images, precision, compile, clip_model)
    if (fid or kid_lite) and (save_images != "all" or part != (1, 1)):
        flag = "--fid" if fid else "--kid-lite"
        raise InputError(
            f"{flag}: needs all received images; leave out --save-images, and give {flag} to `bench merge` after --shard"
        )
    by_patch = paper.fid_patches if fid_patches is None else fid_patches
    measure_sets = _measure_sets(out, fid, by_patch, kid_lite, metric_weights, "auto" if dask else device)
    rows = bench_run.run(sweep, images, place, prepare=prepare or paper.prepare, part=part, processes=jobs, dask=dask)
    measure_sets()
    counts = bench_run.counts(rows)
    if infeasible := next((row for row in rows if row.status == "infeasible"), None):
        console.say(f"bench: {counts['infeasible']} rows are infeasible, the first: {infeasible.cell.image}, {infeasible.error}")
    line = f"{out / 'rows.jsonl'}: " + ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    console.result(json, {"output": str(out), "rows": counts}, line)
    if counts["error"]:
        first = next(row.error for row in rows if row.status == "error")
        raise GencommError(
            f"bench: {counts['error']} of {len(rows)} rows failed (the first: {first}); the same command tries them again"
        )


@bench.command()
def merge(
    folders: Annotated[list[Path], typer.Argument(metavar="DIR...", help="Bench folders, shards of one sweep or of several.")],
    output: Annotated[Path, flags.output_option("Folder for all their rows and images.", "OUT")],
    fid: Fid = False,
    fid_patches: Annotated[bool, typer.Option("--fid-patches", help="FID over half-overlapping 256x256 patches.")] = False,
    kid_lite: KidLite = False,
    metric_weights: flags.MetricWeights = None,
    device: flags.Device = "auto",
) -> None:
    """Join bench folders; two different results of one cell are refused."""
    from gencomm_cli import console
    from gencomm_cli.bench.store import merge

    measure_sets = _measure_sets(output, fid, fid_patches, kid_lite, metric_weights, device)
    console.out(f"{output / 'rows.jsonl'}: {merge(folders, output)} rows")
    measure_sets()


@bench.command()
def predictability(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Image to send again and again.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for predictability.json and predictability.md.")],
    methods: Methods = DEFAULT_METHODS,
    channels: Channels = None,
    snr: Annotated[str, typer.Option(metavar="LIST", help="In dB: 1,5,10 or -5:1:15 (both ends in).")] = "1,5,10,15,20",
    cbr: Annotated[str, typer.Option(metavar="LIST", help="As --cbr of encode; 1/384 is one too.")] = "0.0033",
    prompt: Prompt = None,
    steps: Steps = None,
    guidance: GuidanceScale = None,
    option: Option = None,
    csi: flags.CsiFlag = "perfect",
    prepare: Prepare = None,
    sends: Annotated[int, typer.Option(metavar="N", min=3, help="Sends of the image, each with its own seed.")] = 25,
    seed: flags.Seed = 0,
    lpips: Annotated[Literal["alex", "squeeze", "vgg"], typer.Option(help="Backbone of LPIPS.")] = "alex",
    metric_weights: flags.MetricWeights = None,
    device: flags.Device = "auto",
    precision: flags.Precision = "auto",
    compile: Compile = False,
    json: flags.Json = False,
) -> None:
    """Mean and deviation of LPIPS between several sends of one image: how much is made up anew each time.

    \b
    gencomm bench predictability photo.png --out often --methods METHOD,METHOD:coarse --snr 1,10
    gencomm bench predictability photo.png --out often --methods 'METHOD,folder:theirs/{snr}dB/{repeat}'   (0, 1, ...: one a send)
    """
    from gencomm_cli import console
    from gencomm_cli.bench.options import numbers
    from gencomm_cli.bench.plan import Sweep

    points = tuple((x, y) for y in numbers("--cbr", cbr) for x in numbers("--snr", snr))
    sweep = Sweep(
        listed(methods, "--methods"),
        points,
        _channels(channels or "awgn"),
        prompts=("none",) if prompt is None else ("own",),
        options=_axes(option, steps=steps, guidance_scale=guidance),
        csi=csi,
        seed=seed,
        repeats=sends,
    )
    from gencomm_cli.bench import predictability as study
    from gencomm_cli.bench.worker import Workplace
    from gencomm_cli.images import read_image
    from gencomm_cli.outputs import check_folder
    from gencomm_cli.photographs import prepare as prepared

    check_folder(out)
    place = Workplace(out, _device(device), (), _weights(metric_weights), "none", precision, compile)
    pixels = prepared(read_image(image), prepare or "none")
    found = study.predictability(pixels, image.name, prompt or "", sweep, place, lpips, console.say)
    document = study.write(found, image, lpips, out)
    console.result(json, document, study.table(found))


@bench.command()
def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `bench run` filled.")],
    output: Annotated[Path | None, flags.output_option("The page; DIR/report.html if not given.")] = None,
    references: Annotated[
        bool, typer.Option("--references", help="Draw published codecs too, as if an ideal code carried them (Kodak, AWGN).")
    ] = False,
    published: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw curves of yours too: JSON, as the manual's page on measuring has it.")
    ] = None,
) -> None:
    """Make a page (report.html), plots and tables of a bench folder."""
    from gencomm_cli import console
    from gencomm_cli.bench import references as others
    from gencomm_cli.bench.report import write_report

    beside: tuple[others.Reference, ...] = others.codecs() if references else ()
    if published:
        beside += others.read(published)
    console.out(str(write_report(folder, output, beside)))


def _channels(text: str):  # type: ignore[no-untyped-def]
    from gencomm_cli.bench.channels import name

    return tuple(dict.fromkeys(map(name, listed(text)))) or (name(text),)


def _axes(given: list[str] | None, **own: object) -> Axes:
    """What ``--option`` sweeps, after the options that have flags of their own."""
    from gencomm_cli.bench.options import axes

    return axes([*(f"{name}={value}" for name, value in own.items() if value is not None), *(given or ())])


def _known(text: str) -> float | str:
    from gencomm_cli.bench.options import numbers

    return text if text in ("channel", "unknown") else numbers("--tx-snr", text)[0]


def _device(name: str) -> str:
    from gencomm_cli.pipeline import pick_device

    return str(pick_device(name))


def _metrics(text: str | None, clip_model: str | None) -> tuple[str, ...]:
    from gencomm_cli.metrics.report import CLIP_SCORE, NAMES

    known = NAMES if clip_model is None else (*NAMES, CLIP_SCORE)
    found = known if text is None else listed(text)
    if CLIP_SCORE in set(found) - set(known):
        raise InputError(f"--metrics: {CLIP_SCORE} needs a model; give --clip-model FOLDER, or an id of the Hugging Face hub")
    if unknown := [name for name in found if name not in known]:
        raise InputError(f"--metrics: {unknown[0]!r} is no metric; choose from {', '.join((*NAMES, CLIP_SCORE))}")
    return tuple(found)


def _measure_sets(
    folder: Path, fid: bool, by_patch: bool, kid_lite: bool, metric_weights: Path | None, device: str
) -> Callable[[], None]:
    """What measures whole sets, with its weights already loaded: if they are missing, that is said before the sweep."""
    if not (fid or kid_lite):
        return lambda: None
    from gencomm_cli import console
    from gencomm_cli.bench.sets import with_inception, with_lite, write_sets

    measures = [with_inception(_weights(metric_weights), _device(device), by_patch)] if fid else []
    measures += [with_lite(_device(device))] if kid_lite else []
    return lambda: write_sets(folder, measures, console.say)


def _weights(given: Path | None) -> Path | None:
    from gencomm_cli.metrics.weights import folder

    return folder(given)
