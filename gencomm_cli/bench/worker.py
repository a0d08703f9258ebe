"""Turns jobs into rows, one process at a time: keeps one model and one image, and lets no failure out."""

from __future__ import annotations

import gc
import sys
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from gencomm_cli import pipeline
from gencomm_cli.bench.commandline import command
from gencomm_cli.bench.plan import COARSE, Job, Scheme
from gencomm_cli.bench.rows import Cell, Row
from gencomm_cli.bench.store import IMAGES, original
from gencomm_cli.bench.transmission import figures, transmit
from gencomm_cli.errors import GencommError, InputError, RateError
from gencomm_cli.images import Pixels, encoded, read_image
from gencomm_cli.outputs import write_files

LOST = {"psnr": 0.0, "ssim": 0.0, "lpips_alex": 1.0, "lpips_vgg": 1.0, "lpips_squeeze": 1.0}
"""What SC-SIC (arXiv:2507.17416) gives an image that was lost; metrics that it does not use have no value."""

Save = Literal["none", "first", "all"]


@dataclass(frozen=True)
class Workplace:
    """Where and how rows are made.

    Attributes:
        folder: of the bench. device: as torch names it. metrics: their names. weights: folder of metric weights, if there is one.
        save: which received images to keep: none, those of the first repeat, or all.
        precision, compile, clip_model: as on the command line.
    """

    folder: Path
    device: str
    metrics: tuple[str, ...]
    weights: Path | None = None
    save: Save = "all"
    precision: str = "auto"
    compile: bool = False
    clip_model: str | None = None


class Worker:
    """Makes rows; holds the last model and the last image that it used."""

    def __init__(self, place: Workplace) -> None:
        self.place = place
        self._codec: tuple[tuple[str, str], pipeline.Codec] | None = None
        self._original = lru_cache(1)(lambda name: read_image(place.folder / original(name)))

    def codec(self, scheme: Scheme) -> pipeline.Codec:
        """The scheme's method with its weights, loaded unless it is the one that was used last."""
        key = (scheme.method, scheme.preset_argument)
        if self._codec is None or self._codec[0] != key:
            if self._codec is not None:  # the old model's memory is free before the next one is loaded
                self._codec = None
                free_memory()
            place = self.place
            codec = pipeline.load(*key, device=place.device, precision=place.precision, compile=place.compile)
            self._codec = key, codec
        return self._codec[1]

    def rows(self, job: Job) -> list[Row]:
        """A row for each cell of the job; a failure is one too."""
        reset_peak(self.place.device)
        try:
            return self._rows(job)
        except Exception as error:
            line = error.flagged if isinstance(error, GencommError) else f"{type(error).__name__}: {error}"
            status: Literal["infeasible", "error"] = "infeasible" if isinstance(error, RateError) else "error"
            return [Row(cell, status, " ".join(line.split()), command=self._command(cell, job)) for cell in job.cells]

    def _command(self, cell: Cell, job: Job) -> str:
        return command(cell, job.scheme, self.place.device, self.place.precision)

    def _rows(self, job: Job) -> list[Row]:
        pixels = self._original(job.cell.image)
        if job.finished is not None:
            image = finished_image(job.finished, pixels)
            return [self._row(job, job.cell, pixels, image, False, {"cbr": {"requested": job.cell.cbr}}, {})]
        trip = transmit(pixels, self.codec(job.scheme), job.cell, job.scheme)
        known, rows = figures(trip, job.cell), []
        for cell in job.cells:
            image, seconds = received_image(trip.reception, cell), dict(trip.seconds)
            if cell.method.endswith(COARSE) and not job.scheme.coarse:
                del seconds["decode"]  # it was the refined image's
            rows.append(self._row(job, cell, pixels, image, trip.reception.outage, known, seconds))
        return rows

    def _row(
        self, job: Job, cell: Cell, pixels: Pixels, image: Pixels, outage: bool, known: dict[str, Any], seconds: dict[str, float]
    ) -> Row:
        from gencomm_cli.metrics.report import measure

        started = time.perf_counter()
        if outage and cell.outage == "sc-sic":
            metrics: dict[str, float | None] = {name: LOST.get(name) for name in self.place.metrics}
        else:
            metrics = measure(pixels, image, self.place.weights, self.place.metrics, self.place.clip_model)
        seconds = seconds | {"metrics": time.perf_counter() - started}
        output = ""
        if self.place.save == "all" or (self.place.save == "first" and cell.repeat == 0):
            output = f"{IMAGES}/{cell.id}.png"
            write_files({self.place.folder / output: encoded(image)})
        return Row(
            cell,
            "outage" if outage else "ok",
            size=(pixels.shape[0], pixels.shape[1]),
            metrics=metrics,
            seconds={name: round(value, 4) for name, value in seconds.items()},
            peak_mib=peak_mib(self.place.device),
            command=self._command(cell, job),
            output=output,
            **known,
        )


def finished_image(path: Path, pixels: Pixels) -> Pixels:
    """What another program received where ``pixels`` were sent. Raises InputError where its size is another."""
    image = read_image(path)
    if image.shape != pixels.shape:
        sizes = [f"{each.shape[1]}x{each.shape[0]}" for each in (image, pixels)]
        raise InputError(f"{path}: is {sizes[0]} where the image sent is {sizes[1]}; give images of that size")
    return image


def received_image(reception: pipeline.Reception, cell: Cell) -> Pixels:
    """The coarse image, or the first refined one, as the cell asks. Raises InputError where a preset makes no coarse one."""
    coarse, refined = cell.method.endswith(COARSE), reception.refined
    if coarse and refined and reception.coarse is refined[0]:
        raise InputError(f"{cell.method}: preset {cell.preset} makes no coarse image; leave that method out")
    return reception.coarse if coarse or not refined else refined[0]


def free_memory() -> None:
    """Gives back what nothing holds any more: model, pictures, CUDA's cache of them; and the captioner, which is loaded again."""
    from gencomm_cli.text.captioners import forget_model

    forget_model()
    gc.collect()
    if "torch" in sys.modules and sys.modules["torch"].cuda.is_available():
        sys.modules["torch"].cuda.empty_cache()


def reset_peak(device: str) -> None:
    """Begins to measure the peak anew, where that is possible: on a CUDA device."""
    if device.startswith("cuda"):
        import torch

        torch.cuda.reset_peak_memory_stats(device)


def peak_mib(device: str) -> float:
    """Peak memory in MiB: allocated on a CUDA device since :func:`reset_peak`, else resident in this process since it began."""
    if device.startswith("cuda"):
        import torch

        return round(torch.cuda.max_memory_allocated(device) / 2**20, 1)
    if sys.platform == "win32":  # which has no resource
        import psutil

        return round(psutil.Process().memory_info().peak_wset / 2**20, 1)
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)
