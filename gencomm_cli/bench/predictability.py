"""How much the receiver makes up: LPIPS between several sends of one image (SC-SIC, arXiv:2507.17416, table 2).

Each send has its own seed, hence its own channel and sampler noise. μ and σ are the mean and the standard deviation of LPIPS over
all pairs of received images: 300 pairs of 25 sends.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

from gencomm_cli.bench.photographs import Photograph
from gencomm_cli.bench.plan import Sweep, jobs
from gencomm_cli.bench.rows import Cell
from gencomm_cli.bench.transmission import transmit
from gencomm_cli.bench.worker import Worker, Workplace, finished_image, received_image
from gencomm_cli.errors import InputError, RateError
from gencomm_cli.images import Pixels
from gencomm_cli.metrics import weights
from gencomm_cli.metrics.lpips import LPIPS, MIN_SIDE
from gencomm_cli.outputs import utf8, write_files
from gencomm_cli.photographs import pixel_hash
from gencomm_cli.textfiles import jsonable

NAME = "predictability"


@dataclass(frozen=True)
class Predictability:
    """One setting: ``mean`` and ``deviation`` of pairwise LPIPS over ``sends``, ``lost`` of which were outages (grey images).

    ``options`` are as in a row, ``A=1 B=2``. Mean and deviation are None where the rate cannot be met.
    """

    method: str
    preset: str
    options: str
    channel: str
    snr_db: float
    cbr: float
    sends: int
    lost: int
    mean: float | None
    deviation: float | None

    @property
    def label(self) -> str:
        """METHOD@PRESET and the options; the preset ``nano`` goes without saying."""
        name = self.method if self.preset in ("", "nano") else f"{self.method}@{self.preset}"
        return f"{name} {self.options}".rstrip()


def pairwise(images: Sequence[Pixels], model: LPIPS) -> tuple[float, float]:
    """Mean and sample standard deviation of LPIPS over all pairs of images [H, W, 3], at least three of them.

    LPIPS is a squared Euclidean distance between features that are scaled by the roots of its heads: each image is embedded once.
    """
    with torch.inference_mode():
        vectors = [_scaled(model, torch.tensor(image).permute(2, 0, 1)[None].float() / 255) for image in images]
        distances = torch.pdist(torch.stack(vectors)).square().double().numpy()
    return float(np.mean(distances)), float(np.std(distances, ddof=1))


def _scaled(model: LPIPS, image: torch.Tensor) -> torch.Tensor:
    layers = zip(model.embed(image), model.heads, strict=True)
    return torch.cat([(features * (head / features[0, 0].numel()).sqrt()).flatten() for features, head in layers])


def load_model(backbone: str, folder: Path | None) -> LPIPS:
    """LPIPS with the published weights.

    Raises:
        InputError: they are not in ``folder``.
    """
    if folder is None or not (folder / f"{backbone}_features.npz").exists():
        raise InputError(f"--lpips {backbone}: its weights are not here; `gencomm models get lpips-{backbone}` fetches them once")
    return weights.load_lpips(backbone, folder)


def predictability(
    pixels: Pixels, name: str, prompt: str, sweep: Sweep, place: Workplace, backbone: str, say: Callable[[str], None]
) -> tuple[Predictability, ...]:
    """Sends an image [H, W, 3] ``sweep.repeats`` times at each setting of the sweep.

    Args:
        name: of the image, for messages. prompt: its caption, for the prompt ``own``. backbone: of LPIPS.

    Raises:
        InputError: as the sweep does; an image below 32 pixels, fewer than three sends, finished images that are not of the image's
            size or do not differ by ``{repeat}``, no coarse image where one is asked for, or LPIPS has no weights.
    """
    if sweep.repeats < 3:
        raise InputError(f"--sends {sweep.repeats}: too few for a deviation over pairs; 3 or more, 25 are usual")
    if min(pixels.shape[:2]) < MIN_SIDE:
        raise InputError(f"{name}: {pixels.shape[1]}x{pixels.shape[0]} is too small for LPIPS; {MIN_SIDE} pixels a side at least")
    model, worker = load_model(backbone, place.weights), Worker(place)
    received: dict[Cell, list[Pixels]] = {}
    lost: dict[Cell, int] = {}
    planned = jobs(sweep, [Photograph(name, prompt, pixel_hash(pixels))])
    for job in planned:  # before the first send
        if job.finished is not None:
            finished_image(job.finished, pixels)
            if "{repeat}" not in job.scheme.finished:
                raise InputError(f"--methods: {job.scheme.name} needs a file of each send: folder:DIR/{{repeat}} (0, 1, 2, ...)")
    for index, job in enumerate(planned):
        settings = {replace(cell, repeat=0, prompt_text=""): cell for cell in job.cells}
        try:
            if job.finished is not None:
                images, outage = dict.fromkeys(settings, finished_image(job.finished, pixels)), False
            else:
                reception = transmit(pixels, worker.codec(job.scheme), job.cell, job.scheme).reception
                images, outage = {key: received_image(reception, cell) for key, cell in settings.items()}, reception.outage
        except RateError:
            received |= {setting: [] for setting in settings}
            continue
        for setting, image in images.items():
            received.setdefault(setting, []).append(image)
            lost[setting] = lost.get(setting, 0) + outage
        if (index + 1) % sweep.repeats == 0:
            say(f"predictability: {index + 1} of {len(planned)} sends")
    return tuple(
        Predictability(
            cell.method, cell.preset, cell.to_json().get("options", ""), cell.channel, cell.snr_db, cell.cbr, len(images),
            lost.get(cell, 0), *(pairwise(images, model) if images else (None, None)),
        )
        for cell, images in received.items()
    )  # fmt: skip


def table(found: Sequence[Predictability]) -> str:
    """Markdown: a line a channel, CBR and SNR, a column a method."""
    methods = list(dict.fromkeys(each.label for each in found))
    lines: dict[tuple[str, float, float], dict[str, str]] = {}
    for each in found:
        text = "infeasible" if each.mean is None else f"{each.mean:.3f} ± {each.deviation:.3f}"
        text += f" ({each.lost} lost)" if each.lost else ""
        lines.setdefault((each.channel, each.cbr, each.snr_db), {})[each.label] = text
    rows = [["channel", "CBR", "SNR (dB)", *methods], ["---", "---:", "---:", *["---:"] * len(methods)]]
    for (channel, cbr, snr_db), cells in lines.items():
        rows.append([channel, f"{cbr:.4g}", f"{snr_db:g}", *(cells.get(method, "–") for method in methods)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def write(found: Sequence[Predictability], image: Path, backbone: str, folder: Path) -> dict[str, object]:
    """Writes ``predictability.json`` and ``predictability.md`` into the folder, and returns what the first one holds."""
    settings = jsonable([asdict(each) for each in found])
    document: dict[str, object] = {"image": image.name, "metric": f"lpips_{backbone}", "settings": settings}
    folder.mkdir(parents=True, exist_ok=True)
    text = f"LPIPS ({backbone}) between sends of {image.name}, mean ± standard deviation over all pairs\n\n{table(found)}\n"
    files = {f"{NAME}.json": json.dumps(document, indent=1, allow_nan=False) + "\n", f"{NAME}.md": text}
    write_files({folder / name: utf8(content) for name, content in files.items()})
    return document
