"""``meta`` of a symbol file, as records and as JSON.

A field that this version does not know is refused, not ignored: it may change what the symbols mean.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from gencomm_cli.channels.estimation import BLOCK_PILOTS
from gencomm_cli.channels.fading import Kind
from gencomm_cli.channels.frame import frame_uses, pilot_period
from gencomm_cli.channels.ofdm import ExtraUses, OfdmConfig, extra_uses
from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.channels.snr import SnrType
from gencomm_cli.errors import InputError, OptionError
from gencomm_cli.options import options_of
from gencomm_cli.rates import CBR, ImageSize
from gencomm_cli.symbols import fields
from gencomm_cli.symbols.fields import Rule, boolean, integer, matching, name, number, one_of, or_null, pair, rule
from gencomm_cli.text.payload import PayloadFormat

FORMAT = "gencomm-symbols"
VERSION = 1
MAX_PIXELS = 2**27
MAX_BYTES = 512 * 2**20
"""The most that a file may hold, and the most that reading it allocates."""
MAX_GAIN = 100.0
"""Of the parts of a gain that the transmitter knows; h ~ CN(0, 1) never comes near it."""
SNR_RANGE = (-100.0, 100.0)

_PLAIN = OfdmConfig()

Stage = Literal["tx", "rx"]
Csi = Literal["perfect", "estimated", "none"]
ChannelKind = Literal[Kind, "radio"]
"""Of a simulated channel of symbols, or what a waveform's receiver found."""


@dataclass(frozen=True)
class ChannelRecord:
    """What channel a file went through; SNR in dB (infinite: no noise).

    ``ofdm`` is there for multipath alone; its pilots are those that were really sent. ``rx_snr_db``: what the receiver takes for
    the SNR, if it was misled. ``paths``: what the paths of multipath follow, where it is not the exponential profile of a channel
    at rest; ``interference`` is then the mean power a carrier of what other carriers and OFDM symbols leave there, which the
    receiver knows as it knows N0. None of them is in ``meta`` where it is None or 0. Over a ``radio`` the SNR
    is the received one, as estimated, and the file has an estimated gain for each symbol.
    """

    kind: ChannelKind
    snr_db: float
    snr_type: SnrType
    csi: Csi
    ofdm: OfdmConfig | None = None
    rx_snr_db: float | None = None
    paths: PathModel | None = None
    interference: float = 0.0

    def __post_init__(self) -> None:
        """Raises InputError where the fields do not go together."""
        if (self.ofdm is not None) != (self.kind == "multipath"):
            raise InputError(f"ofdm is {'missing' if self.ofdm is None else 'there'}, against the channel's kind {self.kind}")
        if self.kind == "radio" and (self.csi, self.snr_type) != ("estimated", "received"):
            raise InputError("radio: gains are estimated and the SNR is the received one")
        if self.csi == "estimated" and self.kind not in ("block", "multipath", "radio"):
            raise OptionError("csi", f"estimated is for block and multipath fading, not {self.kind}; use perfect or none")
        if self.ofdm is not None and self.csi == ("none" if self.ofdm.pilots else "estimated"):
            raise OptionError("pilots", f"CSI {self.csi} does not go with {self.ofdm.pilots} OFDM symbols of pilots")
        if self.paths is not None and self.ofdm is None:
            raise OptionError("multipath", f"the models of paths are for it, not for {self.kind}")
        if self.paths is not None and self.ofdm is not None and (self.ofdm.taps, self.ofdm.decay) != (_PLAIN.taps, _PLAIN.decay):
            raise OptionError("taps", "with --decay is of the exponential profile; leave it out with a model of paths")
        if self.paths is None and self.interference:
            raise InputError("interference is of a model of paths, and there is none")
        if self.paths is not None and self.ofdm is not None:  # said in the file: the receiver may be of another version
            object.__setattr__(self, "paths", replace(self.paths, pilot_period=pilot_period(self.paths, self.ofdm)))

    def extra_uses(self, counts: Sequence[int]) -> ExtraUses:
        """Pilots, prefixes and empty carriers that come with so many image, prompt and side symbols."""
        if self.ofdm is not None and self.paths is not None:
            return frame_uses(counts, self.ofdm, pilot_period(self.paths, self.ofdm))
        if self.ofdm is not None:
            return extra_uses(counts, self.ofdm)
        return ExtraUses(pilots=BLOCK_PILOTS if self.csi == "estimated" and self.kind == "block" else 0)


@dataclass(frozen=True)
class Provenance:
    """For people. Decoders never see it: with the seed a receiver could draw the noise again.

    ``container_bytes``: of the image file that ``separate`` made, what was not sent because the receiver puts it back."""

    versions: dict[str, str] = field(default_factory=dict)
    channel_seed: int | None = None
    container_bytes: int | None = None


@dataclass(frozen=True)
class ClassicalFormat:
    """How ``separate`` coded the image's bits; its receiver knows it.

    Attributes:
        codec: of the image. payload_bytes: of its file as sent, less what ``container`` says was left out.
        container: ``kept``, or ``stripped`` where bytes that the receiver can put back were not sent.
        scale: the image was coded at 1/scale of its size along each side.
        modulation, code_rate, fec: as in ``ClassicalOptions``, none ``auto``; both are ``ideal`` where fec is ``capacity``.
        code: name of the mother code, "" where there is none. crc_bits: of the check over the payload.
    """

    codec: str
    payload_bytes: int
    container: str
    scale: int
    modulation: str
    code_rate: str
    fec: str
    code: str
    crc_bits: int


@dataclass(frozen=True)
class Header:
    """``meta`` of a symbol file.

    Attributes:
        image_size: (H, W) of the original image in pixels.
        prompt: how the prompt was coded; None if none was sent.
        tx_snr_db: the SNR in dB that the transmitter knew, or None.
        power: nominal E|x|² per complex symbol, always 1.
        n0: noise power per complex symbol; rx only, as is ``channel``.
        control_bits: size of the fields that the receiver is taken to know for nothing.
        classical: how the image's bits were coded, by ``separate`` alone; else None, and not in ``meta``.
        side: how the bits in the side symbols were coded; None, and not in ``meta``, where there are none.
        tx_gain: h of the block-fading channel that comes, as the transmitter knew it; tx only, and not in ``meta`` if None.
    """

    stage: Stage
    method: str
    preset: str
    weights_sha256: str
    image_size: ImageSize
    cbr: CBR
    prompt: PayloadFormat | None
    tx_snr_db: float | None
    control_bits: int
    power: float = 1.0
    channel: ChannelRecord | None = None
    n0: float | None = None
    provenance: Provenance = Provenance()
    classical: ClassicalFormat | None = None
    side: PayloadFormat | None = None
    tx_gain: complex | None = None

    def to_json(self) -> dict[str, Any]:
        """``meta`` as a JSON object; an infinite SNR is the string ``"inf"``."""
        return {"format": FORMAT, "version": VERSION} | fields.write(self, _LEFT_OUT)

    @classmethod
    def from_json(cls, meta: object) -> Header:
        """The header in a parsed ``meta``.

        Raises:
            InputError: a field is missing, unknown, of a wrong type or out of its range.
        """
        received = isinstance(meta, dict) and meta.get("stage") == "rx"
        given = fields.read("meta", meta, _HEADER | (_RECEIVED if received else _SENT), ("classical", "side", "tx_gain"))
        return cls(**{name: value for name, value in given.items() if name not in ("format", "version")})


def _record(kind: type, where: str, rules: Mapping[str, Rule], left_out: Collection[str] = ()) -> Rule:
    """The rule that a JSON object is a ``kind``, whose constructor has a say too."""

    def read(value: object) -> Any:
        given = fields.read(where, value, rules, left_out)
        try:
            return kind(**given)
        except InputError as error:
            raise ValueError(str(error)) from None

    return read


def _declared(kind: type) -> dict[str, Rule]:
    """The rules of an options dataclass, as its flags declare them."""
    rules: dict[str, Rule] = {}
    for key, option in options_of(kind).items():
        low, high = option.flag.low, option.flag.high
        if option.choices or option.kind is bool:
            rules[key] = one_of(*option.choices) if option.choices else boolean
        else:
            assert low is not None
            assert high is not None
            rules[key] = integer(int(low), int(high)) if option.kind is int else number(low, high)
    return rules


def _image_size(value: Any) -> ImageSize:
    height, width = pair(integer(1, MAX_PIXELS), "[height, width]", tuple)(value)
    if height * width > MAX_PIXELS:
        raise ValueError(f"{height}x{width} is more than 2^27 pixels")
    return height, width


def _cbr(value: Any) -> CBR:
    parts = ("image", "prompt", "side", "pilots", "cp", "idle")
    rules = dict.fromkeys((*parts, "waveform", "total"), _SIZE) | {"requested": or_null(_SIZE)}
    cbr: CBR = _record(CBR, "meta.cbr", rules, _LEFT_OUT[CBR])(value)
    expected = cbr.waveform or sum(getattr(cbr, part) for part in parts)
    if abs(cbr.total - expected) > 1e-9 * max(1.0, cbr.total):
        raise ValueError(f"total {cbr.total:g} is not {'waveform' if cbr.waveform else 'the sum of its parts'}")
    return cbr


def _snr(value: Any) -> float:
    return math.inf if value == "inf" else number(*SNR_RANGE)(value)


def _versions(value: Any) -> dict[str, str]:
    if not isinstance(value, dict) or len(value) > 20:
        raise ValueError("is not a short JSON object")
    return {name(key): name(version) for key, version in value.items()}


_LEFT_OUT: fields.LeftOut = {
    Header: ("channel", "n0", "classical", "side", "tx_gain"), CBR: ("idle", "waveform"),
    ChannelRecord: ("ofdm", "rx_snr_db", "paths", "interference"), PathModel: ("tdl", "cdl", "umi", "uma", "cir", "delay_spread"),
    PayloadFormat: ("text_model",), Provenance: ("channel_seed", "container_bytes"),
}  # fmt: skip
_SIZE = number(0.0, 1e9)
_OFDM = _declared(OfdmConfig) | {"clip": or_null(_SIZE)}
_PATHS = _declared(PathModel) | {"cir": matching("[0-9a-f]{64}", "a SHA-256 in lower-case hexadecimal")}
_CHANNEL = {
    "kind": one_of(*get_args(ChannelKind)), "snr_db": _snr, "snr_type": one_of(*get_args(SnrType)), "csi": one_of(*get_args(Csi)),
    "ofdm": _record(OfdmConfig, "meta.channel.ofdm", _OFDM), "rx_snr_db": _snr,
    "paths": _record(PathModel, "meta.channel.paths", _PATHS, _LEFT_OUT[PathModel]), "interference": _SIZE,
}  # fmt: skip
_PAYLOAD = {"code": name, "modulation": one_of("bpsk", "qpsk"), "repetition": one_of(1, 2, 4), "crc_bits": integer(0, 64)}
_PROMPT = {"payload_bits": integer(0, 2**17), "text_model": name} | _PAYLOAD
_SIDE = {"payload_bits": integer(0, 2**24)} | _PAYLOAD
_CLASSICAL = {
    "codec": name, "payload_bytes": integer(0, MAX_BYTES), "container": one_of("kept", "stripped"), "scale": integer(1, 64),
    "modulation": name, "code_rate": matching(r"\d{1,2}/\d{1,2}|ideal", "a code rate"), "fec": name,
    "code": lambda value: value if value == "" else name(value), "crc_bits": integer(0, 64),
}  # fmt: skip
_PROVENANCE = {"versions": _versions, "channel_seed": integer(0, 2**64), "container_bytes": integer(0, 2**64)}
_version = rule(lambda value: type(value) is int and value == VERSION, f"{VERSION}, the version that this gencomm reads; update it")
_HEADER = {
    "format": one_of(FORMAT), "version": _version, "stage": one_of(*get_args(Stage)), "method": name, "preset": name,
    "weights_sha256": matching("[0-9a-f]{64}", "a SHA-256 in lower-case hexadecimal"), "image_size": _image_size, "cbr": _cbr,
    "prompt": or_null(_record(PayloadFormat, "meta.prompt", _PROMPT)), "tx_snr_db": or_null(_snr),
    "control_bits": integer(0, 2**20), "power": number(1.0, 1.0),
    "provenance": _record(Provenance, "meta.provenance", _PROVENANCE, _LEFT_OUT[Provenance]),
    "classical": _record(ClassicalFormat, "meta.classical", _CLASSICAL), "side": _record(PayloadFormat, "meta.side", _SIDE),
}  # fmt: skip
_RECEIVED = {"channel": _record(ChannelRecord, "meta.channel", _CHANNEL, _LEFT_OUT[ChannelRecord]), "n0": number(0.0, 1e12)}
_SENT = {"tx_gain": pair(number(-MAX_GAIN, MAX_GAIN), "[real, imaginary]", lambda parts: complex(*parts))}
