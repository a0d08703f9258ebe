"""One function a command: image → symbols → received symbols → image. Objects in, objects out; files are the callers' business."""

from __future__ import annotations

import math
import re
import sys
import time
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import gencomm_cli
from gencomm_cli import presets, rates
from gencomm_cli.channels.estimation import BLOCK_PILOTS, Estimator
from gencomm_cli.channels.fading import Kind, draw_gain, draw_noise, transmit
from gencomm_cli.channels.ofdm import OfdmConfig, draw_taps, qpsk, through
from gencomm_cli.channels.snr import SnrType, noise_power
from gencomm_cli.errors import ImageLost, InputError, ModelMismatch, PromptLost
from gencomm_cli.methods.base import ClassicalOptions, DecodeOptions, Fading, Method, RateAllocation, Received, Request
from gencomm_cli.reception import channel_state
from gencomm_cli.seeds import generator
from gencomm_cli.symbols import SNR_RANGE, ChannelRecord, ClassicalFormat, Csi, Header, Provenance, SymbolFile, Symbols

if TYPE_CHECKING:
    import torch

    from gencomm_cli.console import Progress
    from gencomm_cli.images import Pixels
    from gencomm_cli.text.payload import PayloadFormat

Say = Callable[[str], None]
MAX_PROMPT_BYTES = 4096


@dataclass(frozen=True)
class EncodeOptions:
    """What the user asks of the transmitter.

    Attributes:
        cbr: complex channel uses for image and side information over 3·H·W, or for everything if ``cbr_is_total``;
            None for the method's default.
        strict: a rate that cannot be met is an error instead of a line.
        snr_db, fading: what the transmitter knows of the channel; None and ``"unknown"`` for nothing.
        gain: h of the block-fading channel that comes, if the transmitter is told it.
        prompt: text to send beside the image; None asks the captioner (``none``, ``builtin``, ``hf:…``, ``openai:…``).
        classical: how ``separate`` is to send. beta, allocation: how ``lrisc`` is to share out symbols, as in :class:`Request`.
        channel: what comes, as far as the transmitter knows it: a total counts its pilots and prefixes too.
    """

    cbr: float | None = None
    cbr_is_total: bool = False
    strict: bool = False
    snr_db: float | None = None
    fading: Fading = "unknown"
    gain: complex | None = None
    prompt: str | None = None
    captioner: str = "none"
    device: str = "auto"
    classical: ClassicalOptions = field(default_factory=ClassicalOptions)
    beta: float | None = None
    allocation: RateAllocation = "adaptive"
    channel: ChannelRecord | None = None


@dataclass(frozen=True)
class Codec:
    """A method with its weights loaded."""

    method: Method
    preset: presets.Preset


@dataclass(frozen=True)
class Reception:
    """Images [H, W, 3] uint8 and the prompt as they arrived; ``prompt_ok`` is None where none was sent or used.

    ``outage``: the image was lost, and grey stands for it. ``caption``: what the receiver said of the coarse image, if it did.
    ``side_ok`` is None where no side information was sent. ``distances``, ``taps``: as in
    :class:`gencomm_cli.methods.base.Decoded`."""

    coarse: Pixels
    refined: tuple[Pixels, ...]
    prompt: str | None
    prompt_ok: bool | None
    outage: bool = False
    caption: str | None = None
    side_ok: bool | None = None
    distances: tuple[float, ...] = ()
    taps: tuple[Symbols, ...] = ()


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


def load_codec(
    method: str,
    preset: str,
    device: str,
    *,
    weights_sha256: str | None = None,
    domain: str | None = None,
    allocation: str | None = None,
    precision: str = "auto",
    compile: bool = False,
) -> Codec:
    """Finds, verifies and loads a method's weights.

    Args:
        preset: a preset's name, or its folder.
        weights_sha256: the weights that a received file names, if there is one.
        domain: ``latent`` or ``pixel``, if the user insists on one. allocation: how symbols are to be shared out, if the user
            insists on it.
        precision: as :func:`gencomm_cli.networks.acceleration.number_format` names it. compile: the denoiser, where there is one.

    Raises:
        InputError: no such method, preset or device, or the preset has no such domain or allocation.
        ModelMismatch: the weights are damaged, or not those that made the file.
    """
    from gencomm_cli.methods import CLASSICAL, READS, check_method, load_method

    check_method(method)
    found = presets.find(method, preset)
    if weights_sha256 not in (None, found.weights_sha256):
        raise ModelMismatch(
            f"{method}/{found.name}: the file was made with other weights ({str(weights_sha256)[:12]}… instead of "
            f"{found.weights_sha256[:12]}…); give the preset that made it with --preset"
        )
    trained_for = found.settings.get("domain", "latent")
    if domain not in (None, trained_for):
        raise InputError(
            f"--domain {domain}: {method}/{found.name} sends the {trained_for}; give a preset trained for {domain} with --preset"
        )
    if allocation is not None and "codec" in found.components:  # of diffcom's codecs NTSCC alone has rates
        raise InputError(
            f"--allocation {allocation}: {method}/{found.name} sends every part of an image at the same rate; leave it out, "
            "or give --codec ntscc"
        )
    if method in CLASSICAL:
        return Codec(load_method(found, None), found)
    from gencomm_cli.networks.acceleration import number_format

    place = pick_device(device)
    loaded = load_method(found, place, number_format(precision, place))
    if compile and "compile" in READS[method]:
        loaded.compile()  # type: ignore[attr-defined]
    return Codec(loaded, found)


def encode(image: Pixels, codec: Codec, options: EncodeOptions, say: Say) -> tuple[SymbolFile, str]:
    """Image [H, W, 3] → symbol file, and the prompt that went into it ("" for none).

    Raises:
        InputError: the prompt is too long or not text.
        RateError: the rate is missed and ``options.strict`` is set.
    """
    image_size = (int(image.shape[0]), int(image.shape[1]))
    requested = options.cbr if options.cbr is not None else codec.method.default_cbr
    prompt = _prompt(image, options)
    prompt_symbols, prompt_format = _send_prompt(prompt, options)

    def budget() -> tuple[float, int]:
        extra_uses = None if options.channel is None else options.channel.extra_uses
        target = rates.image_target(requested, options.cbr_is_total, prompt_symbols.size, image_size, extra_uses)
        return target, codec.method.symbol_budget(max(target, 1e-12), image_size)

    target, count = budget()
    if options.prompt is None and options.captioner == "builtin" and prompt_symbols.size > count:
        say(f"prompt: left out, as its {prompt_symbols.size} symbols cost more than the image's {count}; --prompt sends one anyway")
        prompt, prompt_symbols, prompt_format = "", np.empty(0, np.complex64), None
        target, count = budget()
    sent = codec.method.encode(
        image,
        Request(
            count, options.snr_db, options.fading, options.gain, options.classical, beta=options.beta, allocation=options.allocation
        ),
    )
    for note in sent.notes:
        say(note)
    sizes = {"image": sent.symbols.size, "prompt": prompt_symbols.size, "side": sent.side_symbols.size}
    cbr = rates.account(requested if options.beta is None else None, image_size, **sizes)
    bound = options.beta is None and codec.method.exact_rate
    if bound and (line := rates.check_met(cbr, target, image_size, strict=options.strict)):
        say(line)
    header = Header(
        stage="tx",
        method=codec.preset.method,
        preset=codec.preset.name,
        weights_sha256=codec.preset.weights_sha256,
        image_size=image_size,
        cbr=cbr,
        prompt=prompt_format,
        tx_snr_db=options.snr_db,
        control_bits=rates.CONTROL_BITS
        + (0 if sent.classical is None else rates.CLASSICAL_BITS)
        + (0 if sent.side is None else rates.SIDE_BITS),
        provenance=Provenance(_versions(sent.classical), container_bytes=sent.container_bytes),
        classical=sent.classical,
        side=sent.side,
        tx_gain=options.gain,
    )
    return SymbolFile(header, sent.symbols, prompt_symbols, sent.side_symbols, ideal_bits=sent.ideal_bits), prompt


def channel_record(
    kind: Kind, snr_db: float, snr_type: SnrType, csi: Csi, ofdm: OfdmConfig | None = None, rx_snr_db: float | None = None
) -> ChannelRecord:
    """The channel that is asked for; multipath is the paper's where ``ofdm`` says nothing else, and sends no pilots without CSI.

    Raises:
        InputError: what is asked for does not go together.
    """
    if kind == "multipath":
        ofdm = ofdm or OfdmConfig()
        ofdm = replace(ofdm, pilots=0 if csi == "none" else ofdm.pilots)
    return ChannelRecord(kind, snr_db, snr_type, csi, ofdm, rx_snr_db)


def pass_channel(
    file: SymbolFile,
    *,
    kind: Kind,
    snr_db: float,
    snr_type: SnrType,
    csi: Csi,
    seed: int,
    ofdm: OfdmConfig | None = None,
    rx_snr_db: float | None = None,
) -> SymbolFile:
    """Sent symbols → received symbols, with what the receiver is told of the channel.

    Image, prompt and side symbols have random streams of their own. A block gain, or an impulse response, is one for all three:
    they are one transmission, over multipath in three bursts. The gain is the one that the transmitter was told, if it was one.

    Args:
        ofdm: of multipath; the paper's if None. rx_snr_db: what the receiver is told instead of ``snr_db``.

    Raises:
        InputError: the file has been through a channel already, or was made for a block gain that this channel has not; or options
            do not go together.
    """
    if file.header.stage != "tx":
        raise InputError("symbols: have been through a channel already; give the transmitted file (tx)")
    told = file.header.tx_gain
    if told is not None and kind != "block":
        raise InputError(f"channel: the transmitter was told the block gain {told:.3g} (encode --gain); use --block-rayleigh")
    channel = channel_record(kind, snr_db, snr_type, csi, ofdm, rx_snr_db)
    received: dict[str, Any] = {}
    n0 = told_n0 = 0.0
    cir = None if channel.ofdm is None else draw_taps(channel.ofdm, generator(seed, "image fading"))
    for name, stream in (("symbols", "image"), ("prompt_symbols", "prompt"), ("side_symbols", "side")):
        sent: Symbols = getattr(file, name)
        gain = draw_gain(kind, sent.size, generator(seed, f"{stream} fading"))
        if kind == "block":
            gain = block_gain(seed) if told is None else np.array([told], np.complex64)
        pilots = None
        if channel.ofdm is not None and cir is not None and sent.size:
            sent, pilots = through(sent, cir, channel.ofdm, channel.ofdm.pilots if name == "symbols" else 0)
        if name == "symbols":  # the image goes first, and the pilots before it
            classical = file.header.classical
            bits = None if classical is None else 8 * classical.payload_bytes
            n0 = noise_power(snr_db, snr_type, sent, gain, bits)
            told_n0 = n0 if rx_snr_db is None else noise_power(rx_snr_db, snr_type, sent, gain, bits)
            if csi == "estimated" and gain is not None:
                pilots = gain * qpsk(BLOCK_PILOTS)
            if pilots is not None and pilots.size:
                noise = draw_noise(pilots.size, generator(seed, "pilot noise"))
                received["pilot_symbols"] = transmit(pilots.reshape(-1), None, noise, n0).astype(np.complex64)
        received[name] = transmit(sent, gain, draw_noise(sent.size, generator(seed, f"{stream} noise")), n0).astype(np.complex64)
        if csi == "perfect" and sent.size:
            received[name.replace("symbols", "csi_gain")] = gain
    if csi == "perfect":
        received["csi_cir"] = cir
    extra = channel.extra_uses((file.symbols.size, file.prompt_symbols.size, file.side_symbols.size))
    header = replace(
        file.header,
        stage="rx",
        cbr=rates.with_extra(file.header.cbr, file.header.image_size, extra),
        channel=channel,
        n0=told_n0,
        tx_gain=None,
        provenance=replace(file.header.provenance, channel_seed=seed),
    )
    return SymbolFile(header, ideal_bits=file.ideal_bits, **received)


def block_gain(seed: int) -> Symbols:
    """h ~ CN(0, 1), complex64 [1], of the block-fading channel with this seed."""
    gain = draw_gain("block", 1, generator(seed, "image fading"))
    assert gain is not None
    return gain


def told_gain(method: str, kind: Kind, seed: int) -> complex | None:
    """The gain that the transmitter of a method with CSI at both ends is told before it encodes."""
    from gencomm_cli.methods import READS

    return complex(block_gain(seed)[0]) if kind == "block" and "gain" in READS[method] else None


def check_received(file: SymbolFile) -> None:
    """Raises InputError if the file has not been through a channel."""
    if file.header.stage != "rx":
        raise InputError("symbols: have not been through a channel; run `gencomm channel` first (--snr inf for a clean one)")


def decode(
    file: SymbolFile,
    codec: Codec,
    options: DecodeOptions,
    *,
    seed: int,
    use_prompt: bool,
    strict: bool,
    say: Say,
    progress: Progress | None = None,
    estimator: Estimator = "lmmse",
) -> Reception:
    """Received symbols → images. The method sees symbols, gains, N0, the size and the prompt, and nothing else of the file.

    Where the file has pilots instead of gains, ``estimator`` makes them of these.

    Raises:
        InputError: the file has not been through a channel.
        PromptLost: the prompt's CRC failed and ``strict`` is set; without it one line says so and the image is decoded alone.
        ImageLost: the image's bits were lost and ``strict`` is set; without it one line says so and the image is grey.
    """
    check_received(file)
    header = file.header
    assert header.channel is not None
    state = channel_state(file, estimator)
    most = codec.method.symbol_budget(math.inf, header.image_size)
    if file.symbols.size + file.side_symbols.size > most:
        raise InputError(f"symbols: {codec.preset.name} sends at most {most} for an image of this size, not {file.symbols.size}")
    prompt, prompt_ok = None, None
    if header.prompt is not None and use_prompt:
        from gencomm_cli.text.link import receive_prompt

        prompt = receive_prompt(file.prompt_symbols, state.prompt_gain, state.n0, header.prompt)
        prompt_ok = prompt is not None
        if prompt is None:
            line = "prompt: lost on the channel (its CRC fails)"
            if strict:
                raise PromptLost(f"{line}; without --strict the image is decoded without it")
            say(f"{line}; the image is decoded without it")
    received = Received(
        file.symbols, state.gain, state.n0, header.image_size, prompt, file.side_symbols, state.side_gain, header.classical,
        file.ideal_bits, header.channel.kind, header.channel.ofdm, state.cir, header.side, header.tx_snr_db,
    )  # fmt: skip
    decoded = codec.method.decode(received, options, seed=seed, progress=progress)
    for note in decoded.notes:
        say(note)
    if decoded.side_ok is False:
        say("side information: lost on the channel (its check fails); the image is decoded without it")
    if decoded.outage:
        if strict:
            raise ImageLost("image: lost on the channel; without --strict a grey one stands for it")
        say("image: lost on the channel; a grey one stands for it")
    return Reception(
        decoded.coarse, tuple(decoded.refined), prompt, prompt_ok, decoded.outage, decoded.caption, decoded.side_ok,
        decoded.distances, decoded.taps,
    )  # fmt: skip


def rates_of(file: SymbolFile, codec: Codec) -> NDArray[np.int64]:
    """How many symbols each block of the image takes, [rows, columns], as the side symbols say (of a sent or a received file).

    Raises:
        InputError: a method whose rates are the same everywhere, or side symbols that are lost.
    """
    header, levels_of = file.header, getattr(codec.method, "levels", lambda received: None)
    state = channel_state(file) if header.stage == "rx" else None
    n0, gain = (0.0, None) if state is None else (state.n0, state.side_gain)
    received = Received(
        file.symbols, None, n0, header.image_size, side_symbols=file.side_symbols, side_gain=gain, side=header.side
    )  # fmt: skip
    if (found := levels_of(received)) is None:
        raise InputError(
            f"--rates: {header.method}/{codec.preset.name} sends every part of an image at the same rate; "
            "it is for lrisc, and for diffcom with --codec ntscc"
        )
    from gencomm_cli.networks.rate_allocation import RATES

    levels, side_ok = found
    if side_ok is False:
        raise InputError("--rates: the side symbols are lost on the channel; look at the file that was sent")
    return np.array(RATES)[levels].astype(np.int64)


@dataclass(frozen=True)
class RoundTrip:
    """All that one send gives: the files, the images, the prompt that was sent ("" for none), and seconds a stage."""

    sent: SymbolFile
    received: SymbolFile
    reception: Reception
    prompt: str
    seconds: dict[str, float]


def roundtrip(
    image: Pixels,
    codec: Codec,
    encode_options: EncodeOptions,
    decode_options: DecodeOptions,
    *,
    kind: Kind,
    snr_db: float,
    snr_type: SnrType,
    csi: Csi,
    seed: int,
    use_prompt: bool,
    strict: bool,
    say: Say,
    progress: Progress | None = None,
    ofdm: OfdmConfig | None = None,
    rx_snr_db: float | None = None,
    estimator: Estimator = "lmmse",
) -> RoundTrip:
    """Encode, channel and decode in one process, exactly as the three commands do. Raises what they raise."""
    started = time.perf_counter()
    sent, prompt = encode(image, codec, encode_options, say)
    encoded = time.perf_counter()
    received = pass_channel(sent, kind=kind, snr_db=snr_db, snr_type=snr_type, csi=csi, seed=seed, ofdm=ofdm, rx_snr_db=rx_snr_db)
    passed = time.perf_counter()
    reception = decode(
        received, codec, decode_options, seed=seed, use_prompt=use_prompt, strict=strict, say=say, progress=progress,
        estimator=estimator,
    )  # fmt: skip
    seconds = {"encode": encoded - started, "channel": passed - encoded, "decode": time.perf_counter() - passed}
    return RoundTrip(sent, received, reception, prompt, seconds)


def check_snr(flag: str, snr_db: float) -> float:
    """An SNR in dB as the command line allows it: in −100…100, or infinite.

    Raises:
        InputError: anything else.
    """
    if snr_db != math.inf and not SNR_RANGE[0] <= snr_db <= SNR_RANGE[1]:
        raise InputError(f"{flag}: {snr_db:g} is not an SNR in dB from {SNR_RANGE[0]:g} to {SNR_RANGE[1]:g}, or inf")
    return snr_db


def check_prompt(text: str) -> str:
    """The prompt in Unicode's composed form (NFC).

    Raises:
        InputError: it is not text, or longer than 4 KiB of UTF-8.
    """
    text = unicodedata.normalize("NFC", text)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InputError("--prompt: is not valid UTF-8 text; check the terminal's encoding") from None
    if size > MAX_PROMPT_BYTES:
        raise InputError(f"--prompt: {size} bytes of UTF-8 are more than {MAX_PROMPT_BYTES}; shorten it")
    return text


def _prompt(image: Pixels, options: EncodeOptions) -> str:
    if options.prompt is not None:
        return check_prompt(options.prompt)
    if options.captioner == "none":
        return ""
    from gencomm_cli.text.captioners import caption

    return check_prompt(caption(image, options.captioner, options.device))


def _send_prompt(prompt: str, options: EncodeOptions) -> tuple[Symbols, PayloadFormat | None]:
    if not prompt:
        return np.empty(0, np.complex64), None
    from gencomm_cli.text.link import transmit_prompt

    return transmit_prompt(prompt, snr_db=options.snr_db, fading=options.fading)


def _versions(classical: ClassicalFormat | None) -> dict[str, str]:
    versions = {"gencomm": gencomm_cli.__version__, "numpy": np.__version__}
    if "torch" in sys.modules and (classical is None or classical.fec == "5g"):  # where it took part
        versions["torch"] = str(sys.modules["torch"].__version__)
    if classical is not None:
        from gencomm_cli.methods.separate.codecs import version_tag

        versions[classical.codec] = version_tag(classical.codec)
    return versions
