"""What the window computes, without the window: a picture is sent as the controls say, and what did not change is kept."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from gencomm_cli import DEFAULT_METHOD, presets
from gencomm_cli.channels.fading import Kind
from gencomm_cli.console import Progress, say
from gencomm_cli.images import Pixels, read_image
from gencomm_cli.methods import specs
from gencomm_cli.methods.options import SamplerOptions, TextTransmitter
from gencomm_cli.metrics.report import measure
from gencomm_cli.pipeline import Codec, Reception, Sent, channel_record, check_snr, load, pass_channel, settled
from gencomm_cli.symbols import ChannelRecord, SymbolFile

METRICS = ("psnr", "ssim", "lpips_alex")


class Superseded(Exception):
    """The controls have moved on since this send was asked for."""


@dataclass(frozen=True)
class Source:
    """What the transmitter starts from: a picture's file, its longest side in pixels after scaling down, ``METHOD/PRESET``, the CBR
    of image and side information, and a prompt ("" for what the method does alone)."""

    picture: str
    side: int
    model: str
    cbr: float
    prompt: str = ""


@dataclass(frozen=True)
class Link:
    """The channel, whether the transmitter knows its SNR and fading, and the sampler's steps at the receiver (0: the preset's)."""

    snr_db: float
    fading: Kind = "awgn"
    known: bool = True
    seed: int = 0
    steps: int = 0

    @property
    def channel(self) -> ChannelRecord:
        """As the library takes it."""
        return channel_record(self.fading, check_snr("snr", self.snr_db), "esn0", "perfect")


@dataclass(frozen=True)
class View:
    """What there is to see of a send: ``refined`` and its metrics are None as long as, and where, there is no refined picture.
    ``last``: nothing more comes."""

    original: Pixels
    coarse: Pixels
    refined: Pixels | None
    coarse_metrics: dict[str, float | None]
    refined_metrics: dict[str, float | None] | None
    sent: SymbolFile
    received: SymbolFile
    notes: tuple[str, ...]
    last: bool


@dataclass(frozen=True)
class Abilities:
    """A model's usual CBR, in words those that it can do, and whether it reads the steps and a prompt."""

    cbr: float
    rates: str
    samples: bool
    prompt: bool


def models() -> list[str]:
    """Every preset that is here as ``METHOD/PRESET``, those of the default method first."""
    order = [DEFAULT_METHOD, *specs()]
    known = (preset for preset in presets.available(say) if preset.method in order)
    found = sorted(known, key=lambda each: order.index(each.method))
    return [f"{preset.method}/{preset.name}" for preset in found]


def examples() -> list[Path]:
    """The photographs that come along: inside an installed package, or beside it in a checkout."""
    inside = Path(__file__).parents[1] / "examples"
    return sorted((inside if inside.is_dir() else Path(__file__).parents[2] / "examples").glob("kodim*.png"))


class Desk:
    """Sends one picture at a time. A later send of the same window ends an earlier one at its next step."""

    def __init__(self, device: str = "auto") -> None:
        self._computing, self._tickets, self._latest = threading.Lock(), itertools.count(), dict[str, int]()
        self._codec = lru_cache(2)(lambda model: load(*model.split("/", 1), device=device))
        self._original, self._encoded = lru_cache(4)(_original), lru_cache(4)(self._encode)

    def abilities(self, model: str, window: str = "") -> Abilities:
        """Loads the model, and ends what the window was doing. Raises what :func:`gencomm_cli.load` does."""
        self.forget(window)
        with self._computing:
            codec: Codec = self._codec(model)
        samples, prompt = issubclass(codec.spec.receiver, SamplerOptions), issubclass(codec.spec.transmitter, TextTransmitter)
        return Abilities(codec.method.default_cbr, codec.spec.rates, samples, prompt)

    def forget(self, window: str) -> None:
        """Ends what a window was doing."""
        self._latest.pop(window, None)

    def send(self, source: Source, link: Link, window: str = "", progress: Progress | None = None) -> Iterator[View]:
        """The picture as it arrives: the coarse one, then the refined one too, where the method refines.

        Args:
            window: whose send this is. progress: is called at each step of the sampler.

        Raises:
            GencommError: as the library does.
            Superseded: the same window has asked for another send, or was closed.
        """
        ticket = self._latest[window] = next(self._tickets)

        def watch(done: int = 0, total: int = 0, note: str = "", /) -> None:
            if self._latest.get(window) != ticket:
                raise Superseded
            if progress and total:
                progress(done, total, note)

        with self._computing:
            watch()
            original, codec = self._original(source.picture, source.side), self._codec(source.model)
            # A transmitter that knows nothing of the channel sends the same over every channel.
            sent, notes = self._encoded(source, (link.channel, link.seed) if link.known else None)
            watch()
            received = pass_channel(sent, link.channel, link.seed)
            said = list(notes)
            first: Reception = codec.decode(received, seed=link.seed, say=said.append, progress=watch, coarse=True)
            if first.prompt:
                said.append(f"prompt received: {first.prompt}")
            last, metrics = not issubclass(codec.spec.receiver, SamplerOptions), measure(original, first.coarse, names=METRICS)
            view = View(original, first.coarse, None, metrics, None, sent, received, tuple(said), last)
        yield view
        if last:
            return
        with self._computing:
            watch()
            refined = codec.decode(received, seed=link.seed, progress=watch, steps=link.steps or None).image
            view = replace(view, refined=refined, refined_metrics=measure(original, refined, names=METRICS), last=True)
        yield view

    def _encode(self, source: Source, known: tuple[ChannelRecord, int] | None) -> tuple[Sent, tuple[str, ...]]:
        """What is sent, and what there is to say of it; ``known`` is the channel and its seed, where the transmitter knows them."""
        codec, said = self._codec(source.model), list[str]()
        given = {"prompt": source.prompt.strip()} if source.prompt.strip() else {}
        (options,) = settled(codec.spec, given, "transmitter")
        original = self._original(source.picture, source.side)
        own = math.isclose(source.cbr, codec.method.default_cbr, rel_tol=0.005)  # where the slider stands, of three digits
        cbr = None if own else source.cbr
        if known is None:
            return codec.encode(original, cbr=cbr, options=options, say=said.append), tuple(said)
        channel, seed = known
        return codec.encode_for(original, channel, seed=seed, cbr=cbr, options=options, say=said.append), tuple(said)


def _original(picture: str, side: int) -> Pixels:
    """The picture as `encode` reads it, scaled down to ``side`` pixels at most."""
    from PIL import Image

    image = Image.fromarray(read_image(Path(picture)))
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)
