"""The classical baseline: an image codec, then a channel code. And its bound: the same codec over an ideal code.

            transmitter                                      channel                receiver
  s ─► codec at the best quality that fits ─► CRC-24 ─► LDPC ─► interleaver ─► QAM ─► h ⊙ x + n ─► LLRs ─► LDPC ─► CRC ─► codec ─► ŝ
                                                                                                     fails ─► grey: an outage

With ``capacity`` an ideal code takes the place of CRC, LDPC and QAM. Its symbols are a Gaussian codeword that carries nothing; the
payload travels beside them, and arrives iff its rate is at most the channel's capacity. That is a bound, not a scheme.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.metadata import version
from typing import cast

import numpy as np

from gencomm_cli.channels.fading import Kind, draw_noise
from gencomm_cli.errors import InputError, RateError
from gencomm_cli.methods.base import Decoded, Image, Received, Request, Transmission, lost
from gencomm_cli.methods.options import ReceiverOptions
from gencomm_cli.methods.separate import codecs
from gencomm_cli.methods.separate.capacity import capacity
from gencomm_cli.methods.separate.modes import Modes
from gencomm_cli.methods.separate.options import Transmitter
from gencomm_cli.presets import Preset, verify
from gencomm_cli.rates import ImageSize, whole_symbols
from gencomm_cli.seeds import generator
from gencomm_cli.symbols import ClassicalFormat, Symbols
from gencomm_cli.text import crc
from gencomm_cli.text.modes import FADE_MARGIN_DB

MAX_SNR_DB = 100.0
"""What an ideal code makes of a channel without noise."""


class Separate:
    """Codecs, codes and the measured table of modes."""

    method = "separate"
    default_cbr = 1 / 96
    exact_rate = False

    def __init__(self, modes: Modes) -> None:
        self.modes = modes

    @classmethod
    def load(cls, preset: Preset, device: object = None) -> Separate:
        """Reads the preset's tables; there is no network, so ``device`` is of no account.

        Raises:
            InputError: a component is missing. ModelMismatch: a file is damaged.
        """
        paths = [component.path for name in ("codes", "modes") if (component := preset.components.get(name)) is not None]
        if len(paths) < 2 or None in paths:
            raise InputError(f"preset {preset.name}: lacks codes or modes; separate needs both")
        verify(preset)
        return cls(Modes.load(*paths))  # type: ignore[arg-type]

    def symbol_budget(self, cbr: float, image_size: ImageSize, *, bound: bool = True) -> int:
        """The most symbols within ``cbr`` · 3HW; at least 1, at most one a source sample."""
        return max(1, whole_symbols(min(cbr, 1.0), image_size))

    def encode(self, image: Image, request: Request) -> Transmission:
        """The image uint8 [H, W, 3] as well as ``request.symbols`` carry it; no more symbols are sent than its bits take.

        Raises:
            OptionError: the codec, or what the code needs, is not installed.
            RateError: not even the smallest picture fits.
        """
        options = cast(Transmitter, request.options)
        codec = codecs.find(options.codec)
        if options.capacity:
            return self._encode_ideal(image, request, options.codec)
        mode = self.modes.choose(
            request.symbols, request.snr_db, request.fading, options, least=lambda: codecs.smallest(codec, image)
        )
        coded = _fitted(codec, image, mode.payload_bytes(request.symbols), lambda size: mode.link.symbols(8 * size + crc.BITS))
        form = ClassicalFormat(
            options.codec, len(coded.payload), coded.container, coded.scale, mode.link.modulation, mode.code_rate, options.fec,
            mode.link.code.name, crc.BITS,
        )  # fmt: skip
        payload = np.unpackbits(np.frombuffer(coded.payload, np.uint8))
        symbols = mode.link.transmit(crc.protect(payload, _known(form)))
        return Transmission(symbols, classical=form, container_bytes=coded.container_bytes, versions=_versions(form))

    def _encode_ideal(self, image: Image, request: Request, codec: str) -> Transmission:
        """The rate is the capacity at the SNR that the transmitter knows; on block fading (over multipath) that of AWGN (Rayleigh
        fading) ``FADE_MARGIN_DB`` below it."""
        snr_db, fading = (0.0, "unknown") if request.snr_db is None else (min(request.snr_db, MAX_SNR_DB), request.fading)
        back_off = FADE_MARGIN_DB.get(fading, 0.0)
        kind: Kind = "awgn" if fading in ("awgn", "block") else "rayleigh"
        rate = capacity(kind, 10 ** ((snr_db - back_off) / 10))
        budget = math.floor(request.symbols * rate / 8)
        coded = _fitted(codecs.find(codec), image, budget, lambda size: math.ceil(8 * size / rate))
        form = ClassicalFormat(
            codec, len(coded.payload), coded.container, coded.scale, "ideal", "ideal", "capacity", code="", crc_bits=0
        )
        count = min(request.symbols, math.ceil(8 * len(coded.payload) / rate))
        return Transmission(
            _codeword(count), classical=form, ideal_bits=np.frombuffer(coded.payload, np.uint8).copy(),
            container_bytes=coded.container_bytes, versions=_versions(form),
        )  # fmt: skip

    def decode(
        self, received: Received, options: ReceiverOptions, *, seed: int, progress: Callable[[int, int], None] | None = None
    ) -> Decoded:
        """The codec's picture as ``coarse``, or an outage: what was lost is lost whole.

        Raises:
            InputError: the header does not go with the symbols. OptionError: the codec is not installed.
        """
        form = received.classical
        if form is None:
            raise InputError("meta.classical is missing; separate needs it")
        codec = codecs.find(form.codec)
        if form.scale not in codecs.SCALES:
            raise InputError(f"meta.classical.scale: {form.scale} is not one of {', '.join(map(str, codecs.SCALES))}")
        payload = self._receive_ideal(received, form) if form.fec == "capacity" else self._receive(received, form)
        height, width = received.image_size
        if payload is not None:
            try:
                return Decoded(codecs.show(codec, payload, form.container, form.scale, width, height))
            except InputError:
                raise
            except Exception:  # other people's decoders, on bytes that may come from anywhere, raise anything
                pass
        return lost(received.image_size)

    def _receive(self, received: Received, form: ClassicalFormat) -> bytes | None:
        mode = self.modes.mode(form.fec, form.code, form.code_rate, form.modulation)
        if form.crc_bits != crc.BITS:
            raise InputError(f"meta.classical.crc_bits: {form.crc_bits} is not {crc.BITS}")
        bits = 8 * form.payload_bytes + crc.BITS
        if received.symbols.size != mode.link.symbols(bits):
            raise InputError(f"symbols: there are {received.symbols.size}, and meta.classical has {mode.link.symbols(bits)}")
        message = mode.link.receive(received.symbols, received.gain, received.n0, bits)
        payload = None if message is None else crc.verified(message, _known(form))
        return None if payload is None else np.packbits(payload).tobytes()

    def _receive_ideal(self, received: Received, form: ClassicalFormat) -> bytes | None:
        """The payload iff its rate is at most the capacity of the channel as it was; without CSI there is no such guarantee.

        One gain, or multipath's carriers, last for the whole image: what counts is their capacity, not that of their law.
        """
        if received.ideal_bits is None or received.fading == "unknown" or (received.gain is None and received.fading != "awgn"):
            return None
        snr = math.inf if received.n0 == 0 else 1.0 / received.n0
        if received.gain is not None and received.fading in ("block", "multipath"):
            powers = np.abs(received.gain.astype(np.complex128)) ** 2
            most = float(np.mean([capacity("awgn", snr * power) for power in powers]))
        else:
            most = capacity(received.fading, snr)
        rate = 8 * form.payload_bytes / received.symbols.size
        return received.ideal_bits.tobytes() if rate <= most * (1 + 1e-6) else None


def _fitted(codec: codecs.ImageCodec, image: Image, budget: int, symbols: Callable[[int], int]) -> codecs.Coded:
    """The picture coded within ``budget`` bytes. Raises RateError, which counts what would do in ``symbols`` of so many bytes."""
    try:
        return codecs.fit(codec, image, budget)
    except RateError as error:
        raise RateError(error.problem, fits=None if error.fits is None else symbols(error.fits)) from None


def _known(form: ClassicalFormat) -> bytes:
    """What the CRC covers of the header: the fields that say how to read the payload."""
    return f"{form.codec} {form.container} {form.scale} {form.payload_bytes} ".encode()


def _versions(form: ClassicalFormat) -> dict[str, str]:
    """Of the image codec, and of torch where the channel code is Sionna's."""
    return {form.codec: codecs.version_tag(form.codec)} | ({"torch": version("torch")} if form.fec == "5g" else {})


def _codeword(count: int) -> Symbols:
    """A Gaussian codeword complex64 [count] of mean power exactly 1; it carries no information."""
    symbols = draw_noise(count, generator(0, "ideal codeword"))
    return symbols / np.sqrt(np.mean(np.abs(symbols) ** 2))
