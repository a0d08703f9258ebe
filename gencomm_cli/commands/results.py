"""What `decode` and `roundtrip` share: the images they write and the figures they print."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gencomm_cli import console, images
from gencomm_cli.commands import flags
from gencomm_cli.errors import InputError
from gencomm_cli.metrics import weights
from gencomm_cli.metrics.report import WITH_WEIGHTS
from gencomm_cli.outputs import check, write_files

if TYPE_CHECKING:
    from gencomm_cli.pipeline import Reception
    from gencomm_cli.symbols import Header

Metrics = dict[str, float | None]


def targets(
    output: str, samples: int, size: tuple[int, int], inputs: Sequence[str], also: Mapping[Path, tuple[int, ...]] | None = None
) -> list[Path]:
    """The files that ``samples`` images and their standard deviation go to: OUT.1.png … and OUT.std.png, or OUT.png alone.

    Args:
        size: [H, W] of the images. inputs: files that are read. also: the shapes of further pictures, by their files.

    Raises:
        InputError: a target cannot be written or is an input, or several images were to go to standard output.
    """
    path = Path(output)
    if output == "-" and samples > 1:
        raise InputError("--samples: several images do not fit on standard output; name a file with -o")
    pictures = [] if output == "-" else [path]
    if samples > 1:
        pictures = [path.with_suffix(f".{name}{path.suffix}") for name in (*range(1, samples + 1), "std")]
    also = also or {}
    shapes = {**dict.fromkeys(pictures[:1], (*size, 3)), **dict.fromkeys(pictures[samples:], size), **also}
    check(*pictures, *also, inputs=inputs, size=sum(images.check_format(each, shape) for each, shape in shapes.items()))
    return pictures


def encoded(reception: Reception, paths: Sequence[Path]) -> list[bytes]:
    """The files of the refined images (the coarse one where there is none) and of what samples differ in; without ``paths``, the
    one for standard output."""
    pictures = list(reception.refined or (reception.coarse,))
    if len(paths) > 1:
        pictures.append(deviation(pictures))
    suffixes = [images.suffix_of(path) for path in paths] or [".png"]
    return [images.encoded(picture, suffix) for picture, suffix in zip(pictures, suffixes, strict=True)]


def write(files: Sequence[bytes], paths: Sequence[Path], given: str | None, also: Mapping[Path, bytes] | None = None) -> None:
    """Writes what :func:`encoded` made, and further files, all or none; ``given`` as ``flags.output`` takes it."""
    if not paths:
        console.write_out(files[0])
    flags.say_replaced(given, *paths)
    write_files({**(also or {}), **dict(zip(paths, files, strict=False))})


def deviation(pictures: list[images.Pixels]) -> images.Pixels:
    """Standard deviation of samples [H, W, 3] as grey [H, W]: four grey levels for each of the 255, white from 64 on."""
    spread = np.stack(pictures).astype(np.float32).std(axis=0).mean(axis=2)
    return np.rint(4 * spread).clip(0, 255).astype(np.uint8)


def metrics_folder(given: Path | None) -> Path | None:
    """The folder with metric weights; one line on stderr where there is none."""
    found = weights.folder(given)
    if found is None:
        console.say("metrics: LPIPS, DISTS and NIQE are left out, as no weights are here; see `gencomm models get`")
    return found


def measured(reference: images.Pixels, reception: Reception, file: bytes, folder: Path | None) -> tuple[Metrics, Metrics]:
    """Metrics of the (first) image against the original, as its ``file`` has it, and of the coarse one."""
    from gencomm_cli.metrics.report import measure

    written = dict(measure(reference, images.read_image(io.BytesIO(file)), folder))
    return written, dict(measure(reference, reception.coarse, folder)) if reception.refined else written


def extras(header: Header, reception: Reception) -> dict[str, Any]:
    """What JSON says of some methods alone: how bits were coded and whether they were lost; the receiver's caption; side bits;
    of posterior samples their measurement distances, and the taps [re, im] that were found with them."""
    said: dict[str, Any] = {} if reception.caption is None else {"caption": reception.caption}
    if header.side is not None:
        said["side"] = {**asdict(header.side), "ok": reception.side_ok}
    if reception.distances:
        said["distances"] = list(reception.distances)
    if reception.taps:
        said["taps"] = [[[float(tap.real), float(tap.imag)] for tap in taps] for taps in reception.taps]
    return said if header.classical is None else {"classical": asdict(header.classical), "outage": reception.outage}


def show(metrics: Metrics, coarse: Metrics) -> None:
    """The metrics as a small table on stdout, less those without weights here."""
    console.out(f"{'':14}{'refined':>10}{'coarse':>10}")
    for name, value in metrics.items():
        if name not in WITH_WEIGHTS or value is not None or coarse.get(name) is not None:
            console.out(f"{name:14}{_figure(value)}{_figure(coarse.get(name))}")


def _figure(value: float | None) -> str:
    return f"{'-' if value is None else format(value, '.4f'):>10}"


def report(output: str, paths: list[Path], reception: Reception, extra: dict[str, Any], json: bool) -> None:
    """The JSON object, or the names of the images that were written."""
    if json:
        names = [str(path) for path in paths]
        several = {"outputs": names} if len(names) > 1 else {}
        console.print_json({"output": output, **several, **extra}, stdout_is_taken=output == "-")
        return
    if reception.prompt:
        console.say(f"prompt received: {reception.prompt!r}")
    if reception.caption:
        console.say(f"caption of the coarse image: {reception.caption!r}")
    for path in paths:
        console.out(str(path))
    if extra.get("metrics") is not None and output != "-":
        show(extra["metrics"], extra["coarse_metrics"])
