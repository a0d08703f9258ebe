"""``gencomm models``: presets and metric weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gencomm_cli.commands import flags
from gencomm_cli.methods import importers

if TYPE_CHECKING:
    from gencomm_cli.methods.spec import MethodSpec
    from gencomm_cli.presets import Preset

models = typer.Typer(
    help="Presets (weights of the methods) and weights of the metrics.\n\n\b\ngencomm models list", rich_markup_mode=None
)

PresetName = Annotated[str, typer.Argument(metavar="PRESET", help="METHOD/NAME as `gencomm models list` prints it, or a folder.")]

MetricName = Literal["lpips-alex", "lpips-squeeze", "lpips-vgg", "dists", "inception", "niqe"]


@models.command("list")
def list_presets(json: flags.Json = False) -> None:
    """List the methods, and the presets of each that are here."""
    from gencomm_cli import console, presets
    from gencomm_cli.methods import specs

    found = presets.available(console.say)
    if json:
        fields = ("name", "title", "authors", "reference", "summary", "rates", "distribution")
        methods = [
            {field: getattr(spec, field) for field in fields}
            | {"presets": [preset.name for preset in found if preset.method == spec.name]}
            for spec in specs().values()
        ]
        console.print_json({"methods": methods, "presets": [_described(preset) for preset in found]})
        return
    for method in dict.fromkeys((*specs(), *(preset.method for preset in found))):
        for line in _title(method, specs().get(method)):
            console.out(line)
        for preset in found:
            if preset.method == method:
                console.out(f"  {method + '/' + preset.name:24}{_size(preset) / 1e6:8.1f} MB  {preset.folder}")


@models.command()
def show(preset: PresetName, json: flags.Json = False) -> None:
    """Print a preset's card."""
    from gencomm_cli import console

    found = _find(preset)
    console.result(json, _described(found) | {"card": found.card}, found.card.rstrip())


@models.command()
def verify(
    preset: Annotated[str | None, typer.Argument(metavar="[PRESET]", help="METHOD/NAME or a folder; all if not given.")] = None,
    json: flags.Json = False,
) -> None:
    """Check that every file of weights has its SHA-256 and finite numbers (status 4 if one has not)."""
    from gencomm_cli import console, presets
    from gencomm_cli.presets.files import verify_pretrained
    from gencomm_cli.presets.weights import check_files

    found = presets.available() if preset is None else [_find(preset)]
    for each in found:
        presets.verify(each)
        verify_pretrained(each)
        check_files(each)
        if not json:
            console.out(f"{each.method}/{each.name}: intact, {each.weights_sha256}")
    if json:
        console.print_json({"intact": [_described(each) for each in found]})


@models.command()
def get(
    name: Annotated[MetricName, typer.Argument(metavar="NAME", help="inception is for FID and KID; the rest are metrics' names.")],
    metric_weights: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Where to put them; $GENCOMM_METRIC_WEIGHTS or ~/.cache/gencomm/metrics.")
    ] = None,
    json: flags.Json = False,
) -> None:
    """Fetch the weights of a metric from their publishers, once."""
    from gencomm_cli import console
    from gencomm_cli.metrics.fetch import fetch

    written = [str(path) for path in fetch(name, metric_weights, console.say)]
    console.result(json, {"outputs": written}, *written)


@models.command("import")
def import_checkpoint(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE", help="What the authors released, or its folder; several where one preset is made of several files."
        ),
    ],
    output: Annotated[Path, flags.output_option("Folder of the preset that is written.", "FOLDER")],
    kind: Annotated[
        str | None,
        typer.Option(
            metavar="KIND",
            help=f"What the files are, of {', '.join(importers())}; recognised from their tensors if not given.",
        ),
    ] = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="The preset's name; the folder's if not given.")] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The configuration that was released beside the weights (YAML or JSON).")
    ] = None,
    tokenizer: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Tokeniser of the text model, where the files have one without a tokeniser."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the preset that is in FOLDER.")] = False,
    json: flags.Json = False,
) -> None:
    """Convert released checkpoints to a preset; nothing in them is run.

    \b
    gencomm models import ADJSCC_C=2.pth.tar -o presets/adjscc
    gencomm models import ADJSCC_C=2.pth.tar ffhq_10m.pt -o presets/ffhq
    gencomm models import DiffJSCC-OpenImage-CBR-1-384 --tokenizer sd2/tokenizer -o presets/openimage
    gencomm models import effnet_encoder.safetensors stage_a.safetensors stage_b_lite_bf16.safetensors -o presets/cascade
    """
    from gencomm_cli import console, presets
    from gencomm_cli.released import conversion
    from gencomm_cli.released.checkpoint import files_in, read_checkpoint, read_config

    files = [each for path in files for each in files_in(path)]
    conversion.check_target(output, files if config is None else [*files, config], force)
    settings = {} if config is None else read_config(config)
    converted = conversion.convert([read_checkpoint(path) for path in files], kind, settings)
    if tokenizer is not None:
        converted = conversion.with_tokenizer(converted, tokenizer)
    conversion.write_preset(converted, output, name or output.absolute().name, files, force=force)
    written = presets.load_config(output)
    report = {
        "mapped": [{"theirs": theirs, "ours": ours} for theirs, ours in converted.mapped],
        "dropped": [{"theirs": theirs, "reason": reason} for theirs, reason in converted.dropped],
        "missed": list(converted.missed),
        "lacks": list(converted.lacks),
    }
    lines = *conversion.report(converted), f"{written.method}/{written.name}: {output}"
    console.result(json, _described(written) | {"outputs": [str(output)]} | report, *lines)


@models.command()
def pack(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A models folder as `gencomm train` writes it.")],
    output: Annotated[Path, flags.output_option("New folder for the same presets.", "DIR")],
    bits: Annotated[str, typer.Option(metavar="4…8[,NETWORK=N]…", help="Of each weight, and of those of single networks.")] = "8",
    json: flags.Json = False,
) -> None:
    """Store presets in 8 bits a weight, or fewer: half the size, slightly coarser.

    \b
    gencomm models pack runs/mine/models -o packed
    gencomm models pack runs/mine/models -o small --bits 5,jscc=8,vae=6
    gencomm roundtrip photo.png -o received.png --preset packed/METHOD/mine --method METHOD
    """
    from gencomm_cli import console
    from gencomm_cli.errors import InputError
    from gencomm_cli.presets.pack import pack_folder

    if not re.fullmatch("[4-8](,[^,=]+=[4-8])*", bits):
        raise InputError(f"--bits {bits}: give 4 to 8, and others for single networks if you like, as in 5,jscc=8")
    most, *others = bits.split(",")
    written = pack_folder(folder, output, int(most), {name: int(its) for name, its in (each.split("=") for each in others)})
    lines = (f"{path}: {path.stat().st_size / 1e6:.1f} MB" for path in written)
    console.result(json, {"outputs": [str(path) for path in written]}, *lines)


@models.command()
def push(
    preset: PresetName,
    to: Annotated[str, typer.Option(metavar="OWNER/NAME", help="Repository of the Hugging Face hub; made if it is not there.")],
    private: Annotated[bool, typer.Option("--private", help="Make it a private one.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent, and send nothing.")] = False,
    json: flags.Json = False,
) -> None:
    """Publish a preset on the Hugging Face hub, under your login there.

    \b
    gencomm models push runs/mine/models/METHOD/mine --to OWNER/NAME --dry-run
    """
    from gencomm_cli import console
    from gencomm_cli.presets.push import push

    files = push(_find(preset), to, private=private, dry_run=dry_run)
    lines = [f"{size / 1e6:8.2f} MB  {name}" for name, size in files.items()]
    lines.append(f"{to}: {'nothing was sent' if dry_run else 'sent'}")
    console.result(json, {"repository": to, "sent": not dry_run, "files": files}, *lines)


@models.command(cls=flags.Grouped)
@flags.with_options("sources")
def add(
    method: Annotated[str, flags.method_with("pretrained")],
    name: Annotated[str, typer.Option(metavar="NAME", help="Of the new preset; --preset NAME then takes it.")],
    options: flags.Given,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Models folder for it; $GENCOMM_MODELS or ~/.local/share/gencomm/models, where --preset looks."
        ),
    ] = None,
    json: flags.Json = False,
) -> None:  # fmt: skip
    """Make a preset over pretrained models that you have, or that are on the hub.

    \b
    gencomm models add METHOD --name sd21 --sd /weights/stable-diffusion-2-1-base --control mine --jscc mine
    gencomm models add METHOD --name sd21 --sd OWNER/NAME
    gencomm models add METHOD --name cascade --cascade /weights/stable-cascade --stage-b decoder_lite
    """
    from gencomm_cli import console, pipeline
    from gencomm_cli.presets import load_config, pretrained

    (sources,) = pipeline.settled(flags.spec_of(method), options, "sources")
    folder = pretrained.add(method, name, sources, out, console.say)
    console.result(json, _described(load_config(folder)), str(folder))


def _find(name: str) -> Preset:
    from gencomm_cli import presets
    from gencomm_cli.errors import InputError

    if Path(name, "config.json").is_file():
        return presets.load_config(Path(name))
    for preset in presets.available(lambda _: None):
        if name in (preset.name, f"{preset.method}/{preset.name}"):
            return preset
    raise InputError(f"{name}: no such preset and no such folder; `gencomm models list` says what there is")


def _title(method: str, spec: MethodSpec | None) -> list[str]:
    """A method in a line or two: its paper and the package that it is from, if that is another; what it is, and its rates."""
    if spec is None:
        return [f"{method}: the package with this method is not installed"]
    source = f" [from {spec.distribution}]" if spec.distribution else ""
    what = f"{spec.summary}; CBR {spec.rates}" if spec.rates else spec.summary
    if not spec.title:
        return [f"{method}: {what}{source}"]
    paper = ", ".join(part for part in (spec.authors, spec.reference) if part)
    return [f"{method}: {spec.title}" + (f" ({paper})" if paper else "") + source, f"  {what}"]


def _size(preset: Preset) -> int:
    return sum(component.path.stat().st_size for component in preset.components.values() if component.path is not None)


def _described(preset: Preset) -> dict[str, object]:
    return {
        "method": preset.method,
        "name": preset.name,
        "folder": str(preset.folder),
        "bytes": _size(preset),
        "weights_sha256": preset.weights_sha256,
        "components": {name: component.sha256 for name, component in preset.components.items()},
    }
