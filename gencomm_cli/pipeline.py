"""The library: image → symbols → received symbols → image. Objects in, objects out; the commands are thin over it."""

from __future__ import annotations

import math
import re
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

import gencomm_cli
from gencomm_cli import presets, rates
from gencomm_cli.channels.estimation import BLOCK_PILOTS, Estimator
from gencomm_cli.channels.fading import Kind, draw_gain, draw_noise
from gencomm_cli.channels.fading import transmit as received_of
from gencomm_cli.channels.frame import Arrived, duration, pilot_period, send
from gencomm_cli.channels.measured import Measured, paths_of
from gencomm_cli.channels.ofdm import OfdmConfig, draw_taps, qpsk, through
from gencomm_cli.channels.path_model import PathModel
from gencomm_cli.channels.snr import SnrType, noise_power
from gencomm_cli.errors import ImageLost, InputError, ModelMismatch, OptionError, PromptLost, RateError
from gencomm_cli.methods import load_method, spec_of, specs
from gencomm_cli.methods.base import Decoded, Fading, Method, Received, Request, Transmission
from gencomm_cli.methods.options import (
    GainTransmitter,
    ReceiverOptions,
    SourceOptions,
    TextReceiver,
    TextTransmitter,
    TransmitterOptions,
    build,
    check_prompt,
    options_of,
)
from gencomm_cli.methods.spec import End, MethodSpec
from gencomm_cli.reception import channel_state
from gencomm_cli.seeds import generator
from gencomm_cli.symbols import SNR_RANGE, ChannelRecord, Csi, Header, Provenance, SymbolFile, Symbols
from gencomm_cli.symbols import read as read_symbols

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image as Picture

    from gencomm_cli.console import Progress
    from gencomm_cli.images import Pixels
    from gencomm_cli.text.payload import PayloadFormat

Say = Callable[[str], None]
TxSnr = float | Literal["channel", "unknown"]
"""What the transmitter knows of the SNR: a number of dB, the channel's, or nothing."""


def silent(line: str) -> None:
    """Where nobody reads what is said."""


@dataclass(frozen=True)
class Sent(SymbolFile):
    """What a transmitter sends, and beside it the prompt that went into it ("" for none), which no file holds."""

    prompt: str = ""


@dataclass(frozen=True)
class Reception(Decoded):
    """What the method decoded, and the prompt as it arrived; ``prompt_ok`` is None where none was sent or used."""

    prompt: str | None = None
    prompt_ok: bool | None = None

    @property
    def image(self) -> Pixels:
        """The refined image (the first of several), or the coarse one where there is none."""
        return self.refined[0] if self.refined else self.coarse


@dataclass(frozen=True)
class RoundTrip:
    """All that one send gives: the files, the images, and seconds a stage (encode, channel, decode)."""

    sent: Sent
    received: SymbolFile
    reception: Reception
    seconds: Mapping[str, float]


def pick_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N`` as a torch device.

    Raises:
        InputError: another name, or a CUDA device that is not here.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d{1,3})?", name):
        raise InputError(f"--device: {name!r} is not a device; use auto, cpu, cuda or cuda:N")
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise InputError(f"--device: there is no {name} here ({torch.cuda.device_count()} CUDA devices); use cpu")
    return device


def settled(spec: MethodSpec, given: Mapping[str, Any], *ends: End) -> tuple[Any, ...]:
    """The options of a method's ``ends`` with what is given; what both ends have goes to both. ``sources``: of `models add`.

    Raises:
        OptionError: a value that cannot be, or an option that the method does not read (one at its default does no harm).
    """
    classes: list[type[TransmitterOptions] | type[ReceiverOptions] | type[SourceOptions]] = [getattr(spec, end) for end in ends]
    known = {name for cls in classes for name in options_of(cls)}
    for name, value in given.items():
        if name not in known:
            readers = {
                each.name: option
                for each in specs().values()
                for end in ends
                if (cls := getattr(each, end)) is not None and (option := options_of(cls).get(name)) is not None
            }
            if not readers:
                raise OptionError(name, f"no method reads it; {spec.name} reads {', '.join(sorted(known))}")
            if any(option.default != value for option in readers.values()):
                raise OptionError(name, f"{spec.name} does not read it; it is for {' and '.join(readers)}")
    return tuple(build(cls, {name: value for name, value in given.items() if name in options_of(cls)}) for cls in classes)


def load(
    method: str = gencomm_cli.DEFAULT_METHOD,
    preset: str | None = None,
    *,
    device: str = "auto",
    precision: str = "auto",
    weights_sha256: str | None = None,
    compile: bool = False,
    options: TransmitterOptions | None = None,
) -> Codec:
    """Finds, verifies and loads a method's weights.

    Args:
        preset: a preset's name, or its folder; the method's own if None.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: as :func:`gencomm_cli.networks.acceleration.number_format` names it. compile: the denoiser, where there is one.
        weights_sha256: the weights that a received file names, if there is one.
        options: of the transmitter, where they choose among presets or insist on what the preset must be able to do.

    Raises:
        InputError: no such method, preset or device, or the preset cannot do what the options ask for.
        ModelMismatch: the weights are damaged, or not those that made the file.
    """
    spec = spec_of(method)
    options = options or spec.transmitter()
    found = presets.find(method, spec.preset(preset, options))
    if weights_sha256 not in (None, found.weights_sha256):
        raise ModelMismatch(
            f"{method}/{found.name}: the file was made with other weights ({str(weights_sha256)[:12]}… instead of "
            f"{found.weights_sha256[:12]}…); give the preset that made it with --preset"
        )
    options.check_preset(found)
    if not spec.needs_torch:
        return Codec(load_method(found, None), found)
    from gencomm_cli.networks.acceleration import number_format

    place = pick_device(device)
    loaded = load_method(found, place, number_format(precision, place))
    if compile:
        loaded.compile()  # type: ignore[attr-defined]
    return Codec(loaded, found, str(place))


@dataclass(frozen=True)
class Codec:
    """A method with its weights, ready to encode and decode. Options are the method's, by name or as an object of its class."""

    method: Method
    preset: presets.Preset
    device: str = "cpu"

    @property
    def spec(self) -> MethodSpec:
        """What the method says of itself."""
        return spec_of(self.preset.method)

    def encode(
        self,
        image: Pixels | Picture,
        *,
        cbr: float | None = None,
        cbr_total: float | None = None,
        strict: bool = False,
        snr: float | None = None,
        fading: Fading = "unknown",
        channel: ChannelRecord | None = None,
        options: TransmitterOptions | None = None,
        say: Say = silent,
        **given: Any,
    ) -> Sent:
        """Image (PIL's, or uint8 [H, W, 3]) → symbols.

        Args:
            cbr: complex channel uses for image and side information over 3·H·W; None for the method's default.
            cbr_total: the same for everything that is sent, in its place.
            strict: a rate that cannot be met is an error instead of a line.
            snr, fading: what the transmitter knows of the channel, in dB; None and ``"unknown"`` for nothing.
            channel: what comes, as far as the transmitter knows it: a total counts its pilots and prefixes too.
            options, given: the method's own. say: takes what a user should read.

        Raises:
            InputError: the prompt is too long or not text, or options do not go together.
            RateError: the rate is missed and ``strict`` is set.
        """
        options = options or settled(self.spec, given, "transmitter")[0]
        check_rate(cbr, cbr_total, options)
        snr = None if snr is None else check_snr("snr", snr)
        pixels = as_pixels(image)
        image_size = (int(pixels.shape[0]), int(pixels.shape[1]))
        total = cbr_total is not None
        asked = strict or total or cbr is not None  # what nobody asked for is the preset's own rate
        requested = next((rate for rate in (cbr_total, cbr) if rate is not None), self.method.default_cbr)
        prompt = self._prompt(pixels, options)
        prompt_symbols: Symbols = np.empty(0, np.complex64)
        prompt_format: PayloadFormat | None = None
        if prompt:
            from gencomm_cli.text.link import transmit_prompt

            prompt_symbols, prompt_format = transmit_prompt(prompt, snr_db=snr, fading=fading)

        extra_uses = None if channel is None or not total else channel.extra_uses

        def budget(*, apart: bool = False) -> tuple[float, int]:
            target = rates.image_target(requested, total, prompt_symbols.size, image_size, extra_uses, apart=apart)
            return target, self.method.symbol_budget(max(target, 1e-12), image_size, bound=asked)

        target, count = budget()
        most = self.method.symbol_budget(math.inf, image_size)
        built_in = isinstance(options, TextTransmitter) and options.prompt is None and options.prompt_writer == "builtin"
        if built_in and prompt_symbols.size > count:
            cost = f"its {prompt_symbols.size} symbols cost more than the image's {count}"
            say(f"prompt: left out, as {cost}; --prompt sends one anyway")
            prompt, prompt_symbols, prompt_format = "", np.empty(0, np.complex64), None
            target, count = budget()

        def encoded() -> tuple[Transmission, tuple[int, int, int], int]:
            """What is sent, its numbers of symbols, and how many uses of the channel the request bounds."""
            try:
                sent = self.method.encode(pixels, Request(count, snr, fading, options))
            except RateError as error:
                raise rates.with_remedy(error, total, prompt_symbols.size, image_size, extra_uses, most) from None
            sizes = sent.symbols.size, prompt_symbols.size, sent.side_symbols.size
            uses = sum(sizes) if total else sizes[0] + sizes[2]
            return sent, sizes, uses + (sum(astuple(extra_uses(sizes))) if extra_uses else 0)

        sent, sizes, uses = encoded()
        if extra_uses and sizes[2] and uses > rates.whole_symbols(requested, image_size):
            target, count = budget(apart=True)
            sent, sizes, uses = encoded()
        for note in sent.notes:
            say(note)
        by_rate = options.rate_field is None
        account = rates.account(requested if by_rate else None, image_size, *sizes)
        miss = rates.missed(requested, uses, sizes[0] + sizes[2], target, image_size)
        if miss is not None and by_rate and asked and self.method.exact_rate:
            over, problem = miss
            error = RateError(problem, "cbr_total" if total else "cbr")
            if strict and (over or count >= most):  # else it is the next rate below that there is
                raise error
            say(error.flagged)
        header = Header(
            stage="tx",
            method=self.preset.method,
            preset=self.preset.name,
            weights_sha256=self.preset.weights_sha256,
            image_size=image_size,
            cbr=account,
            prompt=prompt_format,
            tx_snr_db=snr,
            control_bits=rates.CONTROL_BITS
            + (0 if sent.classical is None else rates.CLASSICAL_BITS)
            + (0 if sent.side is None else rates.SIDE_BITS),
            provenance=Provenance(_versions(self.spec, sent.versions), container_bytes=sent.container_bytes),
            classical=sent.classical,
            side=sent.side,
            tx_gain=options.gain if isinstance(options, GainTransmitter) else None,
        )
        return Sent(header, sent.symbols, prompt_symbols, sent.side_symbols, ideal_bits=sent.ideal_bits, prompt=prompt)

    def encode_for(
        self,
        image: Pixels | Picture,
        channel: ChannelRecord,
        *,
        tx_snr: TxSnr = "channel",
        options: TransmitterOptions,
        seed: int = 0,
        **rest: Any,
    ) -> Sent:
        """Image → symbols, as :meth:`encode`, for a channel that is known beforehand.

        Args:
            tx_snr: what the transmitter knows: the channel's SNR and fading, another SNR in dB, or nothing.
            options: the method's own. seed: of the channel, whose block gain the transmitter may know. rest: as of :meth:`encode`.
        """
        snr = known_snr(tx_snr, channel, options)
        fading: Fading = "unknown" if tx_snr == "unknown" or channel.kind == "radio" else channel.kind
        if isinstance(options, GainTransmitter) and channel.kind == "block" and tx_snr != "unknown":
            options = replace(options, gain=complex(block_gain(seed)[0]))
        return self.encode(image, snr=snr, fading=fading, channel=channel, options=options, **rest)

    def decode(
        self,
        received: SymbolFile,
        *,
        seed: int = 0,
        estimator: Estimator = "lmmse",
        strict: bool = False,
        options: ReceiverOptions | None = None,
        say: Say = silent,
        progress: Progress | None = None,
        **given: Any,
    ) -> Reception:
        """Received symbols → images. The method sees symbols, gains, N0, the size and the prompt, and nothing else of the file.

        Args:
            seed: of the sampler. estimator: what makes gains of pilots, where the file has these instead.
            strict: a lost prompt or image is an error instead of a line.
            options, given: the method's own. say: takes what a user should read. progress: is called at each step.

        Raises:
            InputError: the file has not been through a channel, or options cannot be.
            PromptLost, ImageLost: with ``strict``.
        """
        options = options or settled(self.spec, given, "receiver")[0]
        check_received(received)
        header = received.header
        assert header.channel is not None
        state = channel_state(received, estimator)
        most = self.method.symbol_budget(math.inf, header.image_size, bound=False)
        if received.symbols.size + received.side_symbols.size > most:
            raise InputError(
                f"symbols: {self.preset.name} sends at most {most} for an image of this size, not {received.symbols.size}"
            )
        prompt, prompt_ok = None, None
        if header.prompt is not None and not (isinstance(options, TextReceiver) and options.no_prompt):
            from gencomm_cli.text.link import receive_prompt

            prompt = receive_prompt(received.prompt_symbols, state.prompt_gain, state.n0, header.prompt)
            prompt_ok = prompt is not None
            if prompt is None:
                line = "prompt: lost on the channel (its CRC fails)"
                if strict:
                    raise PromptLost(f"{line}; without --strict the image is decoded without it")
                say(f"{line}; the image is decoded without it")
        # Of paths that change no one impulse response is W_h; unknown gains then differ from symbol to symbol, as Rayleigh's do.
        fading: Fading = "unknown" if header.channel.kind == "radio" else header.channel.kind
        ofdm = header.channel.ofdm
        if header.channel.paths is not None:
            fading, ofdm = "rayleigh" if state.gain is None else "multipath", None
        known = Received(
            received.symbols, state.gain, state.n0, header.image_size, prompt, received.side_symbols, state.side_gain,
            header.classical, received.ideal_bits, fading, ofdm, state.cir, header.side, header.tx_snr_db,
        )  # fmt: skip
        decoded = self.method.decode(known, options, seed=seed, progress=progress)
        for note in decoded.notes:
            say(note)
        if decoded.side_ok is False:
            say("side information: lost on the channel (its check fails); the image is decoded without it")
        if decoded.outage:
            if strict:
                raise ImageLost("image: lost on the channel; without --strict a grey one stands for it")
            say("image: lost on the channel; a grey one stands for it")
        return Reception(**vars(decoded), prompt=prompt, prompt_ok=prompt_ok)

    def roundtrip(
        self,
        image: Pixels | Picture,
        channel: ChannelRecord,
        *,
        cbr: float | None = None,
        cbr_total: float | None = None,
        strict_rate: bool = False,
        tx_snr: TxSnr = "channel",
        seed: int = 0,
        estimator: Estimator = "lmmse",
        strict: bool = False,
        transmitter: TransmitterOptions | None = None,
        receiver: ReceiverOptions | None = None,
        measured: Measured | None = None,
        say: Say = silent,
        progress: Progress | None = None,
        **given: Any,
    ) -> RoundTrip:
        """Encode, channel and decode, exactly as the three commands do. Raises what they raise.

        Args:
            tx_snr: what the transmitter knows: the channel's SNR and fading, another SNR in dB, or nothing.
            measured: the impulse responses that the channel names, if it does.
        """
        if transmitter is None or receiver is None:
            transmitter, receiver = settled(self.spec, given, "transmitter", "receiver")
        clock = [time.perf_counter()]
        sent = self.encode_for(
            image, channel, tx_snr=tx_snr, seed=seed, cbr=cbr, cbr_total=cbr_total, strict=strict_rate, options=transmitter, say=say
        )
        clock.append(time.perf_counter())
        received = pass_channel(sent, channel, seed, measured)
        clock.append(time.perf_counter())
        reception = self.decode(
            received, seed=seed, estimator=estimator, strict=strict, options=receiver, say=say, progress=progress
        )
        clock.append(time.perf_counter())
        stages = zip(("encode", "channel", "decode"), clock, clock[1:], strict=False)
        return RoundTrip(sent, received, reception, {name: end - start for name, start, end in stages})

    def rates_of(self, file: SymbolFile) -> NDArray[np.int64]:
        """How many symbols each block of the image takes, [rows, columns], as the side symbols say (of a sent or a received file).

        Raises:
            InputError: a method whose rates are the same everywhere, or side symbols that are lost.
        """
        header, rate_map = file.header, getattr(self.method, "rate_map", lambda received: None)
        state = channel_state(file) if header.stage == "rx" else None
        n0, gain = (0.0, None) if state is None else (state.n0, state.side_gain)
        known = Received(
            file.symbols, None, n0, header.image_size, side_symbols=file.side_symbols, side_gain=gain, side=header.side
        )  # fmt: skip
        if (found := rate_map(known)) is None:
            mapped = " and ".join(spec.name for spec in specs().values() if spec.rate_map)
            raise InputError(
                f"--rates: {header.method}/{self.preset.name} sends every part of an image at the same rate; it is for codes with "
                f"a rate for each part, of {mapped}"
            )
        symbols, side_ok = found
        if side_ok is False:
            raise InputError("--rates: the side symbols are lost on the channel; look at the file that was sent")
        return np.asarray(symbols, np.int64)

    def _prompt(self, image: Pixels, options: TransmitterOptions) -> str:
        if not isinstance(options, TextTransmitter):
            return ""
        if options.prompt is not None:
            return check_prompt(options.prompt)
        if options.prompt_writer == "none":
            return ""
        from gencomm_cli.text.captioners import caption

        return check_prompt(caption(image, options.prompt_writer, self.device))


def check_rate(cbr: float | None, cbr_total: float | None, options: TransmitterOptions) -> None:
    """Raises OptionError where no such rate can be asked for."""
    for name, value in (("cbr", cbr), ("cbr_total", cbr_total)):
        if value is not None and not 0 < value < 1e6:
            raise OptionError(name, f"{value:g} is not a ratio above 0; 0.0033 is usual")
    if cbr is not None and cbr_total is not None:
        raise OptionError("cbr_total", "excludes --cbr; give one of them")
    if options.rate_field is not None and (cbr is not None or cbr_total is not None):
        raise OptionError(
            options.rate_field, "sets the rate itself, which --cbr, --cbr-total and --allocation uniform exclude; drop one"
        )


def known_snr(tx_snr: TxSnr, channel: ChannelRecord, options: TransmitterOptions) -> float | None:
    """The Es/N0 in dB that the transmitter knows, or None.

    Raises:
        InputError: Eb/N0 of a mode that would depend on Es/N0.
    """
    if tx_snr == "channel" and channel.snr_type == "ebn0":
        if not options.mode_is_fixed:
            raise OptionError(
                "snr_type", "ebn0: the mode sets Es/N0; fix --modulation and --code-rate, or give --tx-snr (Es/N0 in dB)"
            )
        return None
    if tx_snr == "unknown":
        return None
    return channel.snr_db if tx_snr == "channel" else check_snr("tx_snr", float(tx_snr))


def as_pixels(image: Pixels | Picture) -> Pixels:
    """An image of Pillow's (as :func:`gencomm_cli.colours.srgb` has it), or an array, as uint8 [H, W, 3].

    Raises:
        InputError: an array of another type or shape, or an image that cannot be decoded.
    """
    if not isinstance(image, np.ndarray):
        from gencomm_cli.colours import srgb

        try:
            return srgb(image)
        except Exception as error:  # Pillow decodes a file only now, and raises anything at all
            raise InputError(f"image: cannot be converted to sRGB ({error}); give an image of Pillow's that can be") from None
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"image: {image.dtype} {list(image.shape)} is not uint8 [H, W, 3]; give such an array, or an image of Pillow's"
        )
    return image


def channel_record(
    kind: Kind,
    snr_db: float,
    snr_type: SnrType,
    csi: Csi,
    ofdm: OfdmConfig | None = None,
    rx_snr_db: float | None = None,
    paths: PathModel | None = None,
    measured: Measured | None = None,
) -> ChannelRecord:
    """The channel that is asked for; multipath is the paper's where ``ofdm`` says nothing else, and sends no pilots without CSI.
    ``measured``: what ``paths`` names, for the speed that it means.

    Raises:
        InputError: what is asked for does not go together.
    """
    if kind == "multipath":
        ofdm = ofdm or OfdmConfig()
        ofdm = replace(ofdm, pilots=0 if csi == "none" else ofdm.pilots)
    if paths is not None and measured is not None:
        paths = measured.at_speed(paths)
    given = None if rx_snr_db is None else check_snr("rx_snr", rx_snr_db)
    return ChannelRecord(kind, check_snr("snr", snr_db), snr_type, csi, ofdm, given, paths)


def transmit(
    sent: SymbolFile,
    *,
    snr: float,
    fading: Kind | None = None,
    snr_type: SnrType = "esn0",
    csi: Csi = "perfect",
    ofdm: OfdmConfig | None = None,
    rx_snr: float | None = None,
    paths: PathModel | None = None,
    measured: Measured | None = None,
    seed: int = 0,
) -> SymbolFile:
    """Sent symbols → received symbols, over a simulated channel.

    Args:
        snr: in dB; infinite is a clean channel. fading: ``awgn``, ``rayleigh``, ``block`` or ``multipath``; AWGN if None, but
            multipath with ``paths``.
        snr_type: what the SNR counts: energy sent a symbol (``esn0``), a bit (``ebn0``), or what arrives (``received``).
        csi: what the receiver knows of the fading: ``perfect``, ``estimated`` (from pilots, which count) or ``none``.
        ofdm: of multipath; DiffCom's if None. rx_snr: what the receiver takes it to be, in the place of ``snr``.
        paths: of multipath, such as ``PathModel(tdl="a", speed=30)``; DiffCom's, at rest, if None. measured: impulse responses of
            a file (:func:`gencomm_cli.channels.measured.read`), for ``PathModel(cir=measured.sha256)``.

    Raises:
        InputError: as :func:`pass_channel`.
    """
    kind: Kind = fading or ("awgn" if paths is None else "multipath")
    channel = channel_record(kind, snr, snr_type, csi, ofdm, rx_snr, paths, measured)
    return pass_channel(sent, channel, seed, measured)


def open_symbols(source: str | Path) -> SymbolFile:
    """Reads and checks a symbol file. Raises InputError."""
    return read_symbols(Path(source))


def pass_channel(file: SymbolFile, channel: ChannelRecord, seed: int, measured: Measured | None = None) -> SymbolFile:
    """Sent symbols → received symbols, with what the receiver knows of the channel.

    Image, prompt and side symbols have random streams of their own. A block gain, or an impulse response, is one for all three:
    they are one transmission, over multipath in three bursts. The gain is the one that the transmitter knew, if it knew one.
    ``measured``: the impulse responses, where the channel's paths are from a file.

    Raises:
        InputError: the file has been through a channel already, or was made for a block gain that this channel has not.
    """
    if file.header.stage != "tx":
        raise InputError("symbols: have been through a channel already; give the transmitted file (tx)")
    kind, csi, known = channel.kind, channel.csi, file.header.tx_gain
    if kind == "radio":
        raise InputError("channel: a radio takes waveforms; give a simulated channel, or run `gencomm modulate`")
    if known is not None and kind != "block":
        raise InputError(f"channel: the transmitter knew the block gain {known:.3g} (encode --gain); use --block-rayleigh")
    received: dict[str, Any] = {}
    n0 = stated_n0 = 0.0
    cir = arrived = None
    if channel.paths is not None:
        channel, arrived = _over_paths(file, channel, generator(seed, "image fading"), measured)
    elif channel.ofdm is not None:
        cir = draw_taps(channel.ofdm, generator(seed, "image fading"))
    streams = (("symbols", "image"), ("prompt_symbols", "prompt"), ("side_symbols", "side"))
    for index, (name, stream) in enumerate(streams):
        sent: Symbols = getattr(file, name)
        gain = draw_gain(kind, sent.size, generator(seed, f"{stream} fading"))
        if kind == "block":
            gain = block_gain(seed) if known is None else np.array([known], np.complex64)
        pilots, csi_gain = None, gain
        if arrived is not None:
            sent, csi_gain, pilots = arrived.symbols[index], arrived.gains[index], None if index else arrived.pilots
        if channel.ofdm is not None and cir is not None and sent.size:
            sent, pilots = through(sent, cir, channel.ofdm, channel.ofdm.pilots if name == "symbols" else 0)
        if name == "symbols":  # the image goes first, and the pilots before it
            classical = file.header.classical
            bits = None if classical is None else 8 * classical.payload_bytes
            n0 = noise_power(channel.snr_db, channel.snr_type, sent, gain, bits)
            stated = channel.rx_snr_db
            stated_n0 = n0 if stated is None else noise_power(stated, channel.snr_type, sent, gain, bits)
            if csi == "estimated" and gain is not None:
                pilots = gain * qpsk(BLOCK_PILOTS)
            if pilots is not None and pilots.size:
                noise = draw_noise(pilots.size, generator(seed, "pilot noise"))
                received["pilot_symbols"] = received_of(pilots.reshape(-1), None, noise, n0).astype(np.complex64)
        received[name] = received_of(sent, gain, draw_noise(sent.size, generator(seed, f"{stream} noise")), n0).astype(np.complex64)
        if csi == "perfect" and sent.size:
            received[name.replace("symbols", "csi_gain")] = csi_gain
    if csi == "perfect":
        received["csi_cir"] = cir
    extra = channel.extra_uses((file.symbols.size, file.prompt_symbols.size, file.side_symbols.size))
    header = replace(
        file.header,
        stage="rx",
        cbr=rates.with_extra(file.header.cbr, file.header.image_size, extra),
        channel=channel,
        n0=stated_n0,
        tx_gain=None,
        provenance=replace(file.header.provenance, channel_seed=seed),
    )
    return SymbolFile(header, ideal_bits=file.ideal_bits, **received)


def _over_paths(
    file: SymbolFile, channel: ChannelRecord, rng: np.random.Generator, measured: Measured | None
) -> tuple[ChannelRecord, Arrived]:
    """What arrives of a frame without noise, and the channel with what only shows then."""
    model, config = channel.paths, channel.ofdm
    assert model is not None
    assert config is not None
    bursts = (file.symbols, file.prompt_symbols, file.side_symbols)
    sample_rate = config.carriers * model.subcarrier_spacing
    period = pilot_period(model, config)
    paths = paths_of(model, duration([burst.size for burst in bursts], config, period, sample_rate), rng, measured)
    if measured is not None:
        model = measured.at_speed(model)
    arrived = send(bursts, paths, config, period, sample_rate)
    return replace(channel, paths=model, interference=arrived.interference), arrived


def block_gain(seed: int) -> Symbols:
    """h ~ CN(0, 1), complex64 [1], of the block-fading channel with this seed."""
    gain = draw_gain("block", 1, generator(seed, "image fading"))
    assert gain is not None
    return gain


def check_received(file: SymbolFile) -> None:
    """Raises InputError if the file has not been through a channel, or is of a method that is not here."""
    if file.header.stage != "rx":
        raise InputError("symbols: have not been through a channel; run `gencomm channel` first (--snr inf for a clean one)")
    if file.header.method not in specs():
        raise InputError(f"symbols: are of method {file.header.method!r}, which is not here; install the package that brings it")


def check_snr(field: str, snr_db: float) -> float:
    """An SNR in dB as options may have it: in −100…100, or infinite.

    Raises:
        OptionError: anything else.
    """
    if snr_db != math.inf and not SNR_RANGE[0] <= snr_db <= SNR_RANGE[1]:
        raise OptionError(field, f"{snr_db:g} is not an SNR in dB from {SNR_RANGE[0]:g} to {SNR_RANGE[1]:g}, or inf")
    return float(snr_db)


def _versions(spec: MethodSpec, others: Mapping[str, str]) -> dict[str, str]:
    versions = {"gencomm": gencomm_cli.__version__, "numpy": np.__version__}
    if spec.needs_torch and "torch" in sys.modules:
        versions["torch"] = str(sys.modules["torch"].__version__)
    return versions | dict(others)
