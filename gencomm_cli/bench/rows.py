"""A cell is one transmission that is asked for, a row is what came of it. Rows are JSON objects, one a line of ``rows.jsonl``."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, NamedTuple, get_args, get_type_hints

from gencomm_cli.textfiles import jsonable

Status = Literal["ok", "outage", "infeasible", "error"]
Draws = Literal["each", "shared"]
"""``each``: every image has a channel and noise of its own. ``shared``: all images of a repeat have the same."""
Chosen = tuple[tuple[str, str], ...]
"""Options of a method with the values that were chosen for them, as text: pairs of name and value."""


class Keyed(NamedTuple):
    """An option that has a key of its own in a row: its name, its type there, and what stands there where it is not given."""

    option: str
    kind: type
    absent: str | None = None


KEYED = {
    "steps": Keyed("steps", int),
    "guidance": Keyed("guidance_scale", float),
    "modulation": Keyed("modulation", str, "auto"),
    "code_rate": Keyed("code_rate", str, "auto"),
    "fec": Keyed("fec", str, "ldpc"),
}
"""By key; `bench` has a flag for each. All other options of a row are one text, ``NAME=VALUE NAME=VALUE``."""


@dataclass(frozen=True)
class Cell:
    """Everything that affects a result, and nothing else: equal cells give equal results.

    Attributes:
        image: file name. image_sha256: of its decoded pixels (uint8 RGB, as ``read_image`` gives them) with their shape.
        method: as on the command line, less ``@PRESET``: ``METHOD``, ``METHOD:coarse``, ``METHOD:WORDS`` for methods with variants,
            ``folder:NAME`` (finished images).
        preset, weights_sha256: name and hash of its weights ("" for a folder), of an image codec with its version.
        channel: ``awgn``, ``rayleigh``, ``block``, ``multipath``, ``multipath:clip=0.8`` …
        snr_db: in dB, may be infinite. csi, snr_type: as on the command line.
        tx_snr_db: what the transmitter knows: a number of dB, ``channel`` (the channel's) or ``unknown``.
        cbr: as asked for; ``cbr_is_total``: prompt and pilots count too.
        prompt: ``none``, ``own`` (captions.tsv), ``wrong`` (the next image's), ``builtin``, ``hf:…``, ``openai:…``.
        prompt_text: the text itself for own and wrong, else ""; for a folder, what stands in for it: SHA-256 of the finished file.
        outage: how a lost image is scored: ``grey`` or ``sc-sic``.
        seed, repeat, draws: what ``own_seed``, with which it is sent, is made of.
        version: of gencomm, and of the package that the method is from.
        options: of the method that were given, in the order of their names, numbers in their shortest form; any order and form may
            be passed in.
    """

    image: str
    image_sha256: str
    method: str
    preset: str
    weights_sha256: str
    channel: str
    snr_db: float
    cbr: float
    snr_type: str = "esn0"
    csi: str = "perfect"
    tx_snr_db: float | str = "channel"
    cbr_is_total: bool = False
    prompt: str = "none"
    prompt_text: str = ""
    outage: str = "grey"
    seed: int = 0
    repeat: int = 0
    version: str = ""
    options: Chosen = ()
    draws: str = "shared"

    def __post_init__(self) -> None:
        """One form for equal options, so that equal cells have one id."""
        absent = {keyed.option: keyed.absent for keyed in KEYED.values()}
        chosen = ((name, canonical(value)) for name, value in dict(self.options).items() if value != absent.get(name))
        object.__setattr__(self, "options", tuple(sorted(chosen)))

    def option(self, name: str) -> str | None:
        """The value of an option, None where it is not given."""
        return dict(self.options).get(name)

    @property
    def own_seed(self) -> int:
        """Of channel, noise and sampler: seed + repeat, or a number below 2³¹ that depends on the image too."""
        seed = self.seed + self.repeat
        if self.draws == "shared":
            return seed
        return int.from_bytes(hashlib.sha256(f"{seed} {self.image_sha256}".encode()).digest()[:4]) >> 1

    def number(self, name: str) -> float | None:
        """The value of an option that is a number, None where it is not given or none."""
        return _number(self.option(name) or "")

    def to_json(self) -> dict[str, Any]:
        """As in a row; an infinite number is the string "inf"."""
        document = {field.name: getattr(self, field.name) for field in fields(self)}
        chosen = dict(document.pop("options"))
        for key, (name, kind, absent) in KEYED.items():
            document[key] = kind(chosen.pop(name)) if name in chosen else absent
        if self.draws == "shared":  # as it was written before there was another
            del document["draws"]
        if chosen:
            document["options"] = options_text(tuple(chosen.items()))
        return jsonable(document)

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Cell:
        """The cell in a row. Raises ValueError, TypeError or AttributeError where it is none."""
        values = _infinite(document)
        chosen = dict(options_of_text(values.pop("options", "")))
        for key, (name, kind, absent) in KEYED.items():
            if (value := values.pop(key, absent)) != absent:
                if not _fits(value, kind):
                    raise TypeError(f"{key} is of another type")
                chosen[name] = str(value)
        cell, hints = cls(**values, options=tuple(chosen.items())), get_type_hints(cls)
        if not all(_fits(getattr(cell, name), hints[name]) for name in values):
            raise TypeError("a field of the cell is of another type")
        return cell

    @property
    def clip(self) -> float | None:
        """Clip ratio of the OFDM signal, infinite where nothing is clipped; None where the channel is not multipath."""
        found = re.search(r":clip=([^:]+)", self.channel)
        return _number(found[1]) if found else math.inf if self.channel.startswith("multipath") else None

    @property
    def unclipped(self) -> str:
        """The channel without its clip ratio."""
        return re.sub(r":clip=[^:]+", "", self.channel)

    @property
    def id(self) -> str:
        """SHA-256 of the canonical JSON, the first 16 hex digits."""
        return _id(self.to_json())


def common(cell: Cell) -> Cell:
    """The cell less what differs within a setting: the image, its prompt and the seed."""
    return replace(cell, image="", image_sha256="", prompt_text="", seed=0, repeat=0)


def _id(document: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def _fits(value: Any, hint: Any) -> bool:
    kinds = get_args(hint) or (hint,)
    return (type(value) in kinds or (type(value) is int and float in kinds)) and value == value and value != -math.inf


def canonical(value: object) -> str:
    """A value as text; a number in the shortest form that is read back as it was: ``10`` for 10.0 and for "1e1"."""
    number = _number(text := str(value))
    if number is None:
        return text
    return str(int(number)) if math.isfinite(number) and number == int(number) else repr(number)


def _number(text: str) -> float | None:
    """The number, less those that nothing can be drawn over (NaN, −∞); None where it is none."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value > -math.inf else None


def options_text(chosen: Chosen) -> str:
    """``eta=0.3 zeta-h=1``, in the order of the names."""
    return " ".join(f"{name.replace('_', '-')}={value}" for name, value in sorted(chosen))


def options_of_text(text: str) -> Chosen:
    """What :func:`options_text` wrote, in whatever order and form."""
    pairs = (option.partition("=") for option in text.split())
    return tuple((name.replace("-", "_"), canonical(value)) for name, _, value in pairs)


@dataclass(frozen=True)
class Row:
    """What came of a cell.

    Attributes:
        status: ``ok``; ``outage`` (lost: scored as the cell's ``outage`` says); ``infeasible`` (the rate cannot be met); ``error``.
        error: the one line of an infeasible or failed cell, else "".
        size: [height, width]. cbr: {requested, image, prompt, side, pilots, cp, total}, measured. symbols: {image, prompt, side}.
        bits: {image, prompt}: bits that were carried, null where symbols are analog. prompt_ok: null where none was sent.
        side_ok: whether side information arrived; null where none was sent.
        classical: the header's ``classical`` where bits of an image codec were sent, with ``container_bytes`` (what of the file was
            not sent), ``tool`` (the codec's version) and ``budget_met``; else null.
        metrics: {psnr, ssim, ms_ssim, gmsd, lpips_alex, …}; null where undefined or without weights.
        signal: {received_snr_db, evm_percent}.
        seconds: {encode, channel, decode, metrics}. peak_mib: of the process, or of the CUDA device.
        command: a command line that makes the image again. output: its file, relative to the bench folder, or "".
    """

    cell: Cell
    status: Status
    error: str = ""
    size: tuple[int, int] | None = None
    cbr: dict[str, float | None] = field(default_factory=dict)
    symbols: dict[str, int] = field(default_factory=dict)
    bits: dict[str, int | None] = field(default_factory=dict)
    prompt_ok: bool | None = None
    classical: dict[str, Any] | None = None
    metrics: dict[str, float | None] = field(default_factory=dict)
    signal: dict[str, float | None] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    peak_mib: float | None = None
    command: str = ""
    output: str = ""
    side_ok: bool | None = None

    def to_json(self) -> dict[str, Any]:
        """``id``, then the cell under ``cell`` and the rest beside it; infinite figures are "inf"."""
        document = asdict(self)
        document["cell"] = self.cell.to_json()
        return {"id": self.cell.id, **jsonable(document)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Row:
        """The row in a parsed line. Its cell may be written otherwise than today, so that its id today is another.

        Raises:
            ValueError, TypeError, KeyError, AttributeError, OverflowError: it is none, or its id is not that of its cell.
        """
        values = {name: value for name, value in document.items() if name != "id"}
        stored, size = values.pop("cell"), values.pop("size")
        if document.get("id") != _id(stored):
            raise ValueError("the id is not the hash of the cell")
        if size is not None and (len(size) != 2 or not all(type(side) is int for side in size)):
            raise ValueError("size is no height and width")
        values |= {name: _infinite(values[name]) for name in ("metrics", "signal")}
        row = cls(Cell.from_json(stored), size=None if size is None else (size[0], size[1]), **values)
        if row.status not in get_args(Status) or not all(isinstance(text, str) for text in (row.error, row.command, row.output)):
            raise ValueError("status, error, command or output is none")
        if not all(known in (None, True, False) for known in (row.prompt_ok, row.side_ok)):
            raise ValueError("prompt_ok or side_ok is neither null nor a truth value")
        seconds = {name: value for name, value in figures(row.seconds).items() if value is not None}
        return replace(row, cbr=figures(row.cbr), metrics=figures(row.metrics), signal=figures(row.signal), seconds=seconds)


def figures(values: Mapping[str, Any]) -> dict[str, float | None]:
    """Numbers by name; None for those that are undefined (null, NaN, −∞). Raises TypeError where one is no number."""
    if not all(value is None or type(value) in (int, float) for value in values.values()):
        raise TypeError("a figure is no number")
    return {
        name: None if value is None or math.isnan(value) or value == -math.inf else float(value) for name, value in values.items()
    }


def _infinite(values: dict[str, Any]) -> dict[str, Any]:
    return {name: float("inf") if value == "inf" else value for name, value in values.items()}
