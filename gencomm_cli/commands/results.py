"""What `decode` and `roundtrip` share: the images they write and the figures they print."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from gencomm_cli import console, images
from gencomm_cli.errors import InputError
from gencomm_cli.metrics import weights
from gencomm_cli.outputs import check_writable, write_files

if TYPE_CHECKING:
    from gencomm_cli.pipeline import Reception
    from gencomm_cli.symbols import Header

Metrics = dict[str, float | None]


def targets(output: str, samples: int) -> list[Path]:
    """The files that ``samples`` images and their standard deviation go to: OUT.1.png … and OUT.std.png, or OUT.png alone.

    Raises:
        InputError: a target cannot be written, or several images were to go to standard output.
    """
    if output == "-":
        if samples > 1:
            raise InputError("--samples: several images do not fit on standard output; name a file with -o")
        return []
    path = Path(output)
    images.check_format(path)
    if samples == 1:
        return [path]
    paths = [path.with_suffix(f".{name}{path.suffix}") for name in (*range(1, samples + 1), "std")]
    for path in paths:
        check_writable(path)
    return paths


def write(reception: Reception, output: str, paths: list[Path], also: Mapping[Path, bytes]) -> None:
    """Writes the refined images (the coarse one where there is none), what samples differ in, and further files, all or none."""
    pictures = list(reception.refined or (reception.coarse,))
    if output == "-":
        write_files(also)
        console.write_out(images.encoded(pictures[0]))
        return
    if len(paths) > 1:
        pictures.append(deviation(pictures))
    named = {path: images.encoded(picture, path.suffix) for path, picture in zip(paths, pictures, strict=True)}
    write_files({**also, **named})


def deviation(pictures: list[images.Pixels]) -> images.Pixels:
    """Standard deviation of samples [H, W, 3] as grey [H, W]: four grey levels for each of the 255, white from 64 on."""
    spread = np.stack(pictures).astype(np.float32).std(axis=0).mean(axis=2)
    levels: images.Pixels = np.rint(4 * spread).clip(0, 255).astype(np.uint8)
    return levels


def metrics_folder(given: Path | None) -> Path | None:
    """The folder with metric weights; one line on stderr where there is none."""
    found = weights.folder(given)
    if found is None:
        console.say("metrics: LPIPS, DISTS and NIQE are left out, as no weights are here; see `gencomm models get`")
    return found


def measured(reference: images.Pixels, reception: Reception, folder: Path | None) -> tuple[Metrics, Metrics]:
    """Metrics of the (first) refined image and of the coarse one against the original."""
    from gencomm_cli.metrics.report import measure

    coarse = dict(measure(reference, reception.coarse, folder))
    return (dict(measure(reference, reception.refined[0], folder)) if reception.refined else coarse), coarse


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
    """The metrics as a small table on stdout."""
    console.out(f"{'':14}{'refined':>10}{'coarse':>10}")
    for name, value in metrics.items():
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
