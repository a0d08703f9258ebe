"""A cell is one transmission that is asked for, a row is what came of it. Rows are JSON objects, one a line of ``rows.jsonl``."""

from __future__ import annotations

import hashlib
import json
import math
import re
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Status = Literal["ok", "outage", "infeasible", "error"]


@dataclass(frozen=True)
class Cell:
    """Everything that affects a result, and nothing else: equal cells give equal results.

    Attributes:
        image: file name. image_sha256: of its decoded pixels (uint8 RGB, as ``read_image`` gives them) with their shape.
        method: as on the command line, less ``@PRESET``: ``textguided``, ``textguided:coarse``, ``separate:avif``,
            ``separate:avif:capacity``, ``folder:NAME`` (finished images).
        preset, weights_sha256: name and hash of its weights ("" for a folder); of ``separate`` with the image codec's version.
        channel: ``awgn``, ``rayleigh``, ``block``, ``multipath``, ``multipath:clip=0.8`` …
        snr_db: in dB, may be infinite. csi, snr_type: as on the command line.
        tx_snr_db: what the transmitter is told: a number of dB, ``channel`` (the channel's) or ``unknown``.
        cbr: as asked for; ``cbr_is_total``: prompt and pilots count too.
        prompt: ``none``, ``own`` (captions.tsv), ``wrong`` (the next image's), ``builtin``, ``hf:…``, ``openai:…``.
        prompt_text: the text itself for own and wrong, else ""; for a folder, what stands in for it: SHA-256 of the finished file.
        steps, guidance: of the sampler; None takes the preset's. outage: how a lost image is scored: ``grey`` or ``sc-sic``.
        modulation, code_rate, fec: of ``separate``; "auto", "auto", "ldpc" for the rest.
        seed, repeat: repeat r is sent with seed + r. version: of gencomm.
        options: of the receiver beside these, as ``guidance-lambda=10 condition=spatial+csi``.
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
    steps: int | None = None
    guidance: float | None = None
    modulation: str = "auto"
    code_rate: str = "auto"
    fec: str = "ldpc"
    outage: str = "grey"
    seed: int = 0
    repeat: int = 0
    version: str = ""
    options: str = ""

    def to_json(self) -> dict[str, Any]:
        """As in a row; an infinite SNR is the string "inf", and options are left out where there are none."""
        fields = {name: "inf" if value == float("inf") else value for name, value in asdict(self).items()}
        return {name: value for name, value in fields.items() if name != "options" or value}

    @property
    def guidance_lambda(self) -> float | None:
        """λ of diffjscc where it is set; None takes the preset's."""
        found = re.search(r"(?:^| )guidance-lambda=(\S+)", self.options)
        return float(found[1]) if found else None

    @property
    def clip(self) -> float | None:
        """Clip ratio of the OFDM signal, infinite where nothing is clipped; None where the channel is not multipath."""
        found = re.search(r":clip=([^:]+)", self.channel)
        return float(found[1]) if found else math.inf if self.channel.startswith("multipath") else None

    @property
    def unclipped(self) -> str:
        """The channel without its clip ratio."""
        return re.sub(r":clip=[^:]+", "", self.channel)

    @property
    def id(self) -> str:
        """SHA-256 of the canonical JSON, the first 16 hex digits."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Row:
    """What came of a cell.

    Attributes:
        status: ``ok``; ``outage`` (lost: scored as the cell's ``outage`` says); ``infeasible`` (the rate cannot be met); ``error``.
        error: the one line of an infeasible or failed cell, else "".
        size: [height, width]. cbr: {requested, image, prompt, side, pilots, cp, total}, measured. symbols: {image, prompt, side}.
        bits: {image, prompt}: bits that were carried, null where symbols are analog. prompt_ok: null where none was sent.
        side_ok: whether side information arrived; null where none was sent.
        classical: the header's ``classical`` for ``separate``, with ``container_bytes`` (what of the file was
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
        return {"id": self.cell.id, **_finite(document)}

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> Row:
        """The row in a parsed line. Raises ValueError or TypeError where it is none."""
        values = {name: value for name, value in document.items() if name != "id"}
        cell = _infinite(values.pop("cell"))
        values |= {name: _infinite(values[name]) for name in ("metrics", "signal")}
        size = values.pop("size")
        row = cls(Cell(**cell), size=None if size is None else (size[0], size[1]), **values)
        if row.cell.id != document.get("id"):
            raise ValueError("the id is not the hash of the cell")
        return row


def _infinite(values: dict[str, Any]) -> dict[str, Any]:
    return {name: float("inf") if value == "inf" else value for name, value in values.items()}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(item) for name, item in value.items()}
    return "inf" if value == float("inf") else value
