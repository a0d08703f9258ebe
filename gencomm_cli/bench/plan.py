"""What a sweep asks for, and the transmissions that answer it: every cell belongs to one, in an order that loads a model once."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import gencomm_cli
from gencomm_cli import presets
from gencomm_cli.bench import options
from gencomm_cli.bench.photographs import Photograph
from gencomm_cli.bench.rows import Cell
from gencomm_cli.channels.snr import SnrType
from gencomm_cli.errors import InputError
from gencomm_cli.methods import READS
from gencomm_cli.pipeline import check_snr
from gencomm_cli.presets import file_hash
from gencomm_cli.symbols import Csi

COARSE = ":coarse"


@dataclass(frozen=True)
class Scheme:
    """A method as the sweep names it, taken apart.

    Attributes:
        name: for the cell. method: as METHODS has it; "" for a folder. preset, weights_sha256: for the cell.
        preset_argument: for --preset. coarse: the image before diffusion. image_codec, capacity: of ``separate``, as the command
            line has them. finished: pattern of finished images' files.
    """

    name: str
    method: str
    preset: str = ""
    weights_sha256: str = ""
    preset_argument: str = ""
    coarse: bool = False
    image_codec: str = ""
    capacity: bool = False
    finished: str = ""


@dataclass(frozen=True)
class Sweep:
    """The product of all that a bench is to try; fields as in :class:`~gencomm_cli.bench.rows.Cell`.

    Attributes:
        methods: as on the command line. points: pairs (SNR in dB, CBR). channels: as :mod:`gencomm_cli.bench.channels` names them.
        options: names with the values to try. repeats: sends of each; repeat r has seed + r.
    """

    methods: tuple[str, ...]
    points: tuple[tuple[float, float], ...]
    channels: tuple[str, ...] = ("awgn",)
    prompts: tuple[str, ...] = ("none",)
    steps: tuple[int | None, ...] = (None,)
    guidance: tuple[float | None, ...] = (None,)
    options: tuple[tuple[str, tuple[str, ...]], ...] = ()
    tx_snr_db: tuple[float | str, ...] = ("channel",)
    cbr_is_total: bool = False
    csi: Csi = "perfect"
    snr_type: SnrType = "esn0"
    outage: Literal["grey", "sc-sic"] = "grey"
    modulation: str = "auto"
    code_rate: str = "auto"
    fec: str = "ldpc"
    seed: int = 0
    repeats: int = 1

    def __post_init__(self) -> None:
        """Raises InputError where a value is out of its range."""
        for snr_db, cbr in self.points:
            check_snr("--snr", snr_db)
            if not 0 < cbr < 1e6:
                raise InputError(f"--cbr: {cbr:g} is not a ratio above 0; 0.0033 is usual")
        if self.snr_type == "ebn0" and (
            any(not text.startswith("separate") or text.endswith(":capacity") for text in self.methods)
            or ("channel" in self.tx_snr_db and "auto" in (self.modulation, self.code_rate))
        ):
            raise InputError("--snr-type ebn0: is for separate alone, with --modulation and --code-rate fixed, or with --tx-snr")
        for told in self.tx_snr_db:
            if not isinstance(told, str):
                check_snr("--tx-snr", told)
        for steps in self.steps:
            if steps is not None and not 1 <= steps <= 1000:
                raise InputError(f"--steps {steps}: out of range; 1 to 1000")
        for prompt in self.prompts:
            if prompt not in ("none", "own", "wrong", "builtin") and not prompt.startswith(("hf:", "openai:")):
                raise InputError(f"--prompts: {prompt!r} is not none, own, wrong, builtin, hf:FOLDER_OR_ID or openai:MODEL")

    def schemes(self) -> list[Scheme]:
        """The methods, taken apart.

        Raises:
            InputError: one is not there, or two folders have one name.
        """
        found = [scheme(text) for text in dict.fromkeys(self.methods)]
        folders = [each.name for each in found if each.finished]
        if len(folders) > len(set(folders)):
            raise InputError(f"--methods: two folders are called {max(folders, key=folders.count)}; rename one")
        options.check_used([each.method for each in found if not each.coarse], self.options)
        return found


@dataclass(frozen=True)
class Job:
    """One transmission and the cells that it answers: the refined image's, the coarse one's, or both. Or a ``finished`` image."""

    scheme: Scheme
    cells: tuple[Cell, ...]
    finished: Path | None = None

    @property
    def cell(self) -> Cell:
        """The cell that says how to send and decode: the refined image's if it is asked for."""
        return self.cells[0]


def numbers(flag: str, text: str) -> tuple[float, ...]:
    """``1,5,10``, ``1/384,1/96``, ``inf``, and ranges ``-5:1:15`` (start:step:stop, both ends in).

    Raises:
        InputError: anything else.
    """
    found: list[float] = []
    try:
        for part in text.split(","):
            values = [_number(value) for value in part.split(":")]
            if len(values) == 1:
                found += values
                continue
            start, step, stop = values
            count = math.floor((stop - start) / step + 1e-9) + 1
            if not 1 <= count <= 10_000:
                raise ValueError
            found += [round(start + index * step, 9) for index in range(count)]
    except (ValueError, ZeroDivisionError, OverflowError):
        raise InputError(f"{flag}: {text!r} is not a list of numbers; give 1,5,10 or start:step:stop, as in -5:1:15") from None
    return tuple(dict.fromkeys(found))


def _number(text: str) -> float:
    above, _, below = text.partition("/")
    value = float(above) / float(below or 1)
    if math.isnan(value):
        raise ValueError
    return value


def scheme(text: str) -> Scheme:
    """A method of the sweep: METHOD[@PRESET][:coarse], separate[:CODEC][:capacity] or folder:DIR.

    Raises:
        InputError: no such method, codec or preset.
    """
    from gencomm_cli.methods import METHODS, default_preset

    if text.startswith("folder:"):
        return _folder(text)
    base, *variants = text.split(":")
    method, _, preset = base.partition("@")
    if method not in METHODS:
        raise InputError(f"--methods: {text!r} is not a method of this version; there is: {', '.join(METHODS)}, folder:DIR")
    found = presets.find(method, preset or default_preset(method))
    shipped = found.folder.resolve().is_relative_to(presets.models_root().resolve())
    argument = found.folder.name if shipped else str(found.folder.resolve())
    if method == "separate":
        return _separate(text, found, argument, variants)
    if variants not in ([], ["coarse"]):
        raise InputError(f"--methods: {text!r} is not METHOD, METHOD:coarse, METHOD@PRESET or METHOD@PRESET:coarse")
    name = method + (COARSE if variants else "")
    return Scheme(name, method, found.name, found.weights_sha256, argument, coarse=bool(variants))


def _folder(text: str) -> Scheme:
    pattern = text.removeprefix("folder:")
    label = Path(*itertools.takewhile(lambda part: "{" not in part, Path(pattern).parts)).name
    if not label:
        raise InputError(
            f"--methods: {text!r} is not folder:DIR, where DIR may hold {{snr}}, {{cbr}}, {{channel}}, {{repeat}} and {{name}}"
        )
    return Scheme(f"folder:{label}", "", finished=pattern if "{name}" in pattern else f"{pattern}/{{name}}")


def _separate(text: str, preset: presets.Preset, argument: str, variants: list[str]) -> Scheme:
    """``separate[:CODEC][:capacity]``."""
    from gencomm_cli.methods.separate import codecs

    capacity = variants[-1:] == ["capacity"]
    codec = variants[: len(variants) - capacity] or ["avif"]
    if len(codec) > 1:
        raise InputError(f"--methods: {text!r} is not separate, separate:CODEC or separate:CODEC:capacity")
    codecs.find(codec[0])
    weights = weights_hash(preset, codec[0])
    name = f"separate:{codec[0]}{':capacity' if capacity else ''}"
    return Scheme(name, "separate", preset.name, weights, argument, image_codec=codec[0], capacity=capacity)


def weights_hash(preset: presets.Preset, image_codec: str = "") -> str:
    """What a cell has as ``weights_sha256``; the version of ``separate``'s image codec counts as weights do."""
    from gencomm_cli.methods.separate import codecs

    return presets.combined_hash([preset.weights_sha256, codecs.version_tag(image_codec)]) if image_codec else preset.weights_sha256


def _finished(scheme: Scheme, cell: Cell) -> Path:
    """The file of a folder's finished image; a suffix that differs is tried as .png.

    Raises:
        InputError: it is not there.
    """
    values = {
        "name": cell.image, "snr": f"{cell.snr_db:g}", "cbr": f"{cell.cbr:g}", "channel": cell.channel, "repeat": str(cell.repeat)
    }  # fmt: skip
    try:
        path = Path(scheme.finished.format(**values))
    except (KeyError, IndexError, ValueError):
        raise InputError(
            f"--methods: folder:{scheme.finished} may hold {{snr}}, {{cbr}}, {{channel}}, {{repeat}} and {{name}}, and no "
            "other braces"
        ) from None
    for candidate in (path, path.with_suffix(".png")):
        if candidate.is_file():
            return candidate
    raise InputError(f"{path}: there is no such finished image; sweep only over what {scheme.name} has")


def _wanted(sweep: Sweep, method: Scheme, photographs: Sequence[Photograph]) -> Iterable[Cell]:
    """The cells of one method, image by image. What a method does not read is not swept."""
    coded = method.method == "separate"
    sampled = bool(method.method) and not coded and not method.coarse
    guided = sampled and "guidance_scale" in READS[method.method]
    varied = options.settings(method.method, sweep.options, sampled=sampled) if method.method else [""]
    prompts = sweep.prompts if "prompt" in READS.get(method.method, ()) else ("none",)
    moded = coded and not method.capacity
    for index, photograph in enumerate(photographs):
        captions = {"own": photograph.caption, "wrong": photographs[(index + 1) % len(photographs)].caption}
        for channel, (snr_db, cbr), told, prompt, steps, guidance, chosen, repeat in itertools.product(
            sweep.channels, sweep.points, sweep.tx_snr_db if method.method else ("channel",), prompts,
            sweep.steps if sampled else (None,), sweep.guidance if guided else (None,), varied, range(sweep.repeats),
        ):  # fmt: skip
            if prompt in captions and not captions[prompt]:
                raise InputError(f"--prompts {prompt}: {photograph.name} or the next image has no caption; captions.tsv gives them")
            yield Cell(
                photograph.name, photograph.sha256, method.name, method.preset, method.weights_sha256, channel, snr_db, cbr,
                sweep.snr_type, sweep.csi, told, sweep.cbr_is_total, prompt, captions.get(prompt, ""), steps, guidance,
                sweep.modulation if moded else "auto", sweep.code_rate if moded else "auto", sweep.fec if moded else "ldpc",
                sweep.outage, sweep.seed, repeat, gencomm_cli.__version__, chosen,
            )  # fmt: skip


def jobs(sweep: Sweep, photographs: Sequence[Photograph]) -> list[Job]:
    """All transmissions of a sweep, one preset after the other. METHOD:coarse is read off METHOD's transmission where there is one.

    Raises:
        InputError: a method, preset, caption or finished image is not there.
    """
    schemes = sweep.schemes()
    made: dict[Cell, Job] = {}
    carriers: dict[Cell, Cell] = {}
    for each in sorted(schemes, key=lambda each: each.coarse):
        for cell in _wanted(sweep, each, photographs):
            if each.finished:
                path = _finished(each, cell)
                cell = replace(cell, prompt_text=file_hash(path))
                made[cell] = Job(each, (cell,), path)
                continue
            read_off = each.coarse or each.method != "separate"
            of_channel = options.of_channel(cell.options)
            sent = replace(cell, method=each.method, steps=None, guidance=None, options=of_channel) if read_off else cell
            if each.coarse and sent in carriers:
                carrier = made[carriers[sent]]
                made[carriers[sent]] = replace(carrier, cells=(*carrier.cells, cell))
                continue
            made[cell] = Job(each, (cell,))
            carriers.setdefault(sent, cell)
    order = {key: index for index, key in enumerate(dict.fromkeys((each.method, each.preset_argument) for each in schemes))}
    return sorted(made.values(), key=lambda job: order[job.scheme.method, job.scheme.preset_argument])


def pending(jobs: Iterable[Job], done: set[str]) -> list[Job]:
    """The jobs with the cells that are not done."""
    left = (replace(job, cells=tuple(cell for cell in job.cells if cell.id not in done)) for job in jobs)
    return [job for job in left if job.cells]


def parts(text: str) -> tuple[int, int]:
    """``i/N``, with i from 1 to N. Raises InputError where it is none."""
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise InputError(f"--shard: {text!r} is not i/N with i from 1 to N, as in 1/4")
    return int(match[1]), int(match[2])


def shard(jobs: Sequence[Job], part: tuple[int, int]) -> list[Job]:
    """Every N-th job from the i-th on, of (i, N)."""
    return list(jobs[part[0] - 1 :: part[1]])
