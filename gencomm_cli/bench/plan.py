"""What a sweep asks for, and the transmissions that answer it: every cell belongs to one, in an order that loads a model once."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import gencomm_cli
from gencomm_cli import presets
from gencomm_cli.bench import channels, options
from gencomm_cli.bench.options import Axes
from gencomm_cli.bench.photographs import Photograph
from gencomm_cli.bench.rows import KEYED, Cell, Chosen, Draws
from gencomm_cli.channels.snr import SnrType
from gencomm_cli.errors import InputError
from gencomm_cli.methods import resolved, spec_of, specs
from gencomm_cli.methods.options import TextTransmitter, TransmitterOptions, build
from gencomm_cli.methods.spec import MethodSpec
from gencomm_cli.pipeline import check_snr
from gencomm_cli.presets import file_hash
from gencomm_cli.symbols import Csi

COARSE = ":coarse"


@dataclass(frozen=True)
class Scheme:
    """A method as the sweep names it, taken apart.

    Attributes:
        name: for the cell. method: its name alone; "" for a folder. preset, weights_sha256: for the cell.
        preset_argument: for --preset. coarse: the image before diffusion. options: of the transmitter, as METHOD:WORDS has them.
        finished: pattern of finished images' files.
    """

    name: str
    method: str
    preset: str = ""
    weights_sha256: str = ""
    preset_argument: str = ""
    coarse: bool = False
    options: Chosen = ()
    finished: str = ""

    @property
    def spec(self) -> MethodSpec:
        """What the method says of itself; a folder has none."""
        return spec_of(self.method)

    @property
    def version(self) -> str:
        """Of gencomm, and of the package that the method is from where that is another."""
        own = self.spec.version if self.method else ""
        return f"{gencomm_cli.__version__}, {self.spec.distribution} {own}" if own else gencomm_cli.__version__

    @property
    def takes_prompts(self) -> bool:
        """Whether text can be sent beside the image."""
        return bool(self.method) and issubclass(self.spec.transmitter, TextTransmitter)

    def prompted(self, prompt: str, text: str = "") -> Mapping[str, str]:
        """The options with which a prompt is sent: ``text``, or what the captioner that ``prompt`` names writes."""
        if text or prompt == "none":
            return {"prompt": text} if text else {}
        assert issubclass(self.spec.transmitter, TextTransmitter)
        return self.spec.transmitter.captioned_by(prompt)

    def given(self, cell: Cell, *, coarse: bool) -> dict[str, str]:
        """All options of a cell by name, as text."""
        found = {**dict(self.options), **self.prompted(cell.prompt, cell.prompt_text), **dict(cell.options)}
        return found | ({"coarse": "on"} if coarse else {})

    def combinations(self, swept: Axes) -> list[Chosen]:
        """The values of swept options that it is tried with; see :func:`gencomm_cli.bench.options.combinations`."""
        return options.combinations(self.spec, swept, self.options, coarse=self.coarse) if self.method else [()]

    def is_here(self) -> bool:
        """Whether this machine has the same weights (and image codec)."""
        found = presets.find(self.method, self.preset_argument)
        return _weights(self.spec, found, dict(self.options)) == self.weights_sha256


@dataclass(frozen=True)
class Sweep:
    """The product of all that a bench is to try; fields as in :class:`~gencomm_cli.bench.rows.Cell`.

    Attributes:
        methods: as on the command line. points: pairs (SNR in dB, CBR). channels: as :mod:`gencomm_cli.bench.channels` names them.
        options: names with the values to try. repeats: sends of each. draws: None is each.
    """

    methods: tuple[str, ...]
    points: tuple[tuple[float, float], ...]
    channels: tuple[str, ...] = ("awgn",)
    prompts: tuple[str, ...] = ("none",)
    options: Axes = ()
    tx_snr_db: tuple[float | str, ...] = ("channel",)
    cbr_is_total: bool = False
    csi: Csi = "perfect"
    snr_type: SnrType = "esn0"
    outage: Literal["grey", "sc-sic"] = "grey"
    seed: int = 0
    repeats: int = 1
    draws: Draws | None = None

    def __post_init__(self) -> None:
        """Raises InputError where a value is out of its range."""
        for snr_db, cbr in self.points:
            check_snr("snr", snr_db)
            if not 0 < cbr < 1e6:
                raise InputError(f"--cbr: {cbr:g} is not a ratio above 0; 0.0033 is usual")
        for known in self.tx_snr_db:
            if not isinstance(known, str):
                check_snr("tx_snr", known)
        for prompt in self.prompts:
            if prompt not in ("none", "own", "wrong", "builtin") and not prompt.startswith(("hf:", "openai:")):
                raise InputError(f"--prompts: {prompt!r} is not none, own, wrong, builtin, hf:FOLDER_OR_ID or openai:MODEL")

    def schemes(self) -> list[Scheme]:
        """The methods, taken apart.

        Raises:
            InputError: one is not there, two folders have one name, or a method cannot do what is asked of it.
        """
        found = [scheme(text) for text in dict.fromkeys(self.methods)]
        folders = [each.name for each in found if each.finished]
        if len(folders) > len(set(folders)):
            raise InputError(f"--methods: two folders are called {max(folders, key=folders.count)}; rename one")
        methods = [each for each in found if each.method]
        for each in methods:
            self._check(each)
        self._check_used(methods)
        return found

    def _check(self, each: Scheme) -> None:
        """Raises InputError where a method, or its preset, cannot do what is asked of it."""
        preset = presets.find(each.method, each.preset_argument)
        for chosen in each.combinations(self.options):
            transmitter, _, known = options.built(each.spec, dict((*each.options, *chosen)))
            transmitter.check_preset(preset)
            for channel in self.channels:
                known.over(channels.parse(channel).paths)
            self._check_snr_type(transmitter)
        for prompt in self.prompts if each.takes_prompts else ():
            if prompt not in ("own", "wrong") and (both := each.prompted(prompt).keys() & dict(self.options).keys()):
                raise InputError(f"{options.flag(min(both))}: --prompts {prompt} says it already; leave out one of them")

    def _check_snr_type(self, transmitter: TransmitterOptions) -> None:
        if self.snr_type == "ebn0" and not (
            transmitter.carries_bits and (transmitter.mode_is_fixed or "channel" not in self.tx_snr_db)
        ):
            coded = " and ".join(spec.name for spec in specs().values() if spec.transmitter().carries_bits)
            raise InputError(f"--snr-type ebn0: is for {coded} alone, with --modulation and --code-rate fixed, or with --tx-snr")

    def _check_used(self, methods: Sequence[Scheme]) -> None:
        """Raises InputError where an option of ``--option`` is read by none of the methods, or cannot be with the others."""
        own = {keyed.option for keyed in KEYED.values()}  # these have flags of their own, which may be for none
        tried = {name for each in methods for chosen in each.combinations(self.options) for name, _ in chosen}
        for name in {name for name, _ in self.options} - tried - own:
            reading = [each for each in methods if name in options.swept_of(each.spec, coarse=each.coarse)]
            if not reading:
                raise InputError(
                    f"{options.flag(name)}: none of these methods reads it; it is for {' and '.join(options.readers()[name])}"
                )
            for each in reading:  # it changes nothing: why may be worth a line
                for chosen in options.products(each.spec, self.options, coarse=each.coarse):
                    options.built(each.spec, dict((*each.options, *chosen)))


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


def scheme(text: str) -> Scheme:
    """A method of the sweep: METHOD[@PRESET][:coarse], METHOD[@PRESET]:WORDS where it has variants, or folder:DIR.

    Raises:
        InputError: no such method, variant or preset.
    """
    if text.startswith("folder:"):
        return _folder(text)
    base, *words = text.split(":")
    method, at, named = base.partition("@")
    if method not in specs():
        raise InputError(f"--methods: {text!r} is not a method of this version; there is: {', '.join(specs())}, folder:DIR")
    if at and not named:
        raise InputError(f"--methods: {text!r} names no preset; give METHOD@PRESET, or METHOD for the default")
    spec, coarse, chosen = spec_of(method), False, {}
    if spec.variants is not None:
        chosen = dict(spec.variants(words))
    elif words:
        coarse = True
        if words != ["coarse"]:
            raise InputError(f"--methods: {text!r} is not METHOD, METHOD:coarse, METHOD@PRESET or METHOD@PRESET:coarse")
    found = presets.find(method, spec.preset(named or None, build(spec.transmitter, chosen)))
    shipped = found.folder.resolve().is_relative_to(presets.models_root().resolve())
    argument = found.folder.name if shipped else str(found.folder.resolve())
    variant = (name if value == "on" else value for name, value in chosen.items())
    name = ":".join((method, *variant)) + (COARSE if coarse else "")
    return Scheme(name, method, found.name, _weights(spec, found, chosen), argument, coarse, tuple(chosen.items()))


def _weights(spec: MethodSpec, preset: presets.Preset, chosen: Mapping[str, str]) -> str:
    """What a cell has as ``weights_sha256``."""
    if not spec.weights:
        return preset.weights_sha256
    return resolved(spec.weights)(preset.weights_sha256, chosen)


def _folder(text: str) -> Scheme:
    pattern = text.removeprefix("folder:")
    label = Path(*itertools.takewhile(lambda part: "{" not in part, Path(pattern).parts)).name
    if not label:
        raise InputError(
            f"--methods: {text!r} is not folder:DIR, where DIR may hold {{snr}}, {{cbr}}, {{channel}}, {{repeat}} and {{name}}"
        )
    return Scheme(f"folder:{label}", "", finished=pattern if "{name}" in pattern else f"{pattern}/{{name}}")


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
    varied = method.combinations(sweep.options)
    prompts = sweep.prompts if method.takes_prompts else ("none",)
    for index, photograph in enumerate(photographs):
        captions = {"own": photograph.caption, "wrong": photographs[(index + 1) % len(photographs)].caption}
        for channel, (snr_db, cbr), known, prompt, chosen, repeat in itertools.product(
            sweep.channels, sweep.points, sweep.tx_snr_db if method.method else ("channel",), prompts, varied, range(sweep.repeats)
        ):
            if prompt in captions and not captions[prompt]:
                raise InputError(f"--prompts {prompt}: {photograph.name} or the next image has no caption; captions.tsv gives them")
            yield Cell(
                photograph.name, photograph.sha256, method.name, method.preset, method.weights_sha256, channel, snr_db, cbr,
                sweep.snr_type, sweep.csi, known, sweep.cbr_is_total, prompt, captions.get(prompt, ""), sweep.outage, sweep.seed,
                repeat, method.version, chosen, sweep.draws or "each",
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
            sends = options.swept_of(each.spec, coarse=True)
            of_symbols = tuple((name, value) for name, value in cell.options if name in sends)
            sent = replace(cell, method=each.name.removesuffix(COARSE), options=of_symbols)
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
