"""What a method says of itself: one :class:`MethodSpec`, ``SPEC`` in its package. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gencomm_cli.methods.options import ReceiverOptions, SourceOptions, TransmitterOptions

if TYPE_CHECKING:
    from gencomm_cli.channels.fading import Kind
    from gencomm_cli.channels.snr import SnrType

End = Literal["transmitter", "receiver", "sources"]
"""Fields of :class:`MethodSpec` that hold a class of options."""
Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Protocol:
    """A paper's way of measuring.

    Attributes:
        data: its images, in words. prepare: as ``--prepare``. repeats: sends of each image. channels: of its figures.
        snr_db, cbr: its points: the SNR points are taken at each of ``cbr_at``, the CBR points at each of ``snr_at``.
        fid_patches: FID over half-overlapping 256² patches instead of whole images. outage: how a lost image is scored.
        alias: what ``bench --protocol`` calls it beside the method's name.
    """

    data: str
    prepare: str
    snr_db: tuple[float, ...]
    cbr: tuple[float, ...]
    cbr_at: tuple[float, ...]
    snr_at: tuple[float, ...] = ()
    channels: tuple[Kind, ...] = ("awgn",)
    repeats: int = 1
    fid_patches: bool = False
    outage: Literal["grey", "sc-sic"] = "grey"
    snr_type: SnrType = "esn0"
    alias: str = ""

    def points(self, snr_db: tuple[float, ...] | None, cbr: tuple[float, ...] | None) -> Points:
        """(SNR, CBR) of the paper's figures; SNRs that are given are taken at every CBR (given, or the paper's), and so on."""
        if snr_db is not None or cbr is not None:
            return tuple((x, y) for y in cbr or self.cbr for x in snr_db or self.snr_db)
        by_snr = tuple((x, y) for y in self.cbr_at for x in self.snr_db)
        by_cbr = tuple((x, y) for x in self.snr_at for y in self.cbr)
        return tuple(dict.fromkeys(by_snr + by_cbr))


@dataclass(frozen=True)
class Tool:
    """A library or program that a method works with.

    Attributes:
        kind: what it is, in one word, as ``codec``. version: name and version, None where it is not here; ``lacks`` says so.
    """

    kind: str
    name: str
    version: str | None
    lacks: str = "not here"


@dataclass(frozen=True)
class MethodSpec:
    """A method as the rest of the package sees it.

    Attributes:
        name: on the command line. title, authors, reference: of its paper (arXiv number or DOI); "" for a baseline without one.
        summary: one line for the help.
        implementation: ``module:class`` with the members of :class:`gencomm_cli.methods.base.Method`.
        transmitter, receiver: its options.
        rates: the CBRs of its default preset and the default, in words, for the help.
        networks: by the class's name in a preset, ``module:class`` of every network that no other method has, or
            ``module:class:configuration``, where the class takes a configuration's ``from_json`` of the arguments.
        needs_torch: false for a method without networks.
        default_preset: where none is named.
        preset_name: the preset that is meant by a name and the transmitter's options.
        variants: what the words behind METHOD in `bench` (METHOD:A:B) are as options of the transmitter, as text; None where there
            are none. variant_help: these words, for the help.
        weights: ``module:function`` that makes a bench cell's hash of a preset's and of such options, where more than the preset
            decides.
        training: module with ``open_trainer(options, report)``, which gives a
            :class:`gencomm_cli.training.trainer.Trainer`; "" where nothing is trained. stages: in words, for the help.
        start: what training starts from where no preset is named, in words, for the help.
        importers: module (a :class:`gencomm_cli.released.conversion.Converter`) of each kind of released checkpoint that it
            converts, by the kind's name.
        pretrained: module (a :class:`gencomm_cli.presets.pretrained.Composer`) with what `models add` makes a preset over
            pretrained models with; "" where it cannot. sources: its options.
        doctor: ``module:function`` that gives the :class:`Tool` s that it works with, as `gencomm doctor` lists them.
        extras: packages of each extra of its distribution that it has a use for.
        presets: folder of presets that are shipped outside this project's own, as ``<method>/<preset>/`` below it.
        protocol: how its paper measures. protocols: with other data, by that data's name.
        rate_map: whether `inspect --rates` can show the rates of each part of an image.
        distribution, version: the installed package that it is from, where it is not this one.
    """

    name: str
    summary: str
    implementation: str
    transmitter: type[TransmitterOptions] = TransmitterOptions
    receiver: type[ReceiverOptions] = ReceiverOptions
    title: str = ""
    authors: str = ""
    reference: str = ""
    rates: str = ""
    networks: Mapping[str, str] = field(default_factory=dict)
    needs_torch: bool = True
    default_preset: str = "nano"
    preset_name: Callable[[str, TransmitterOptions], str] | None = None
    variants: Callable[[Sequence[str]], Mapping[str, str]] | None = None
    variant_help: str = ""
    weights: str = ""
    training: str = ""
    stages: str = ""
    start: str = ""
    importers: Mapping[str, str] = field(default_factory=dict)
    pretrained: str = ""
    sources: type[SourceOptions] | None = None
    doctor: str = ""
    extras: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    presets: Path | None = None
    protocol: Protocol | None = None
    protocols: Mapping[str, Protocol] = field(default_factory=dict)
    rate_map: bool = False
    distribution: str = ""
    version: str = ""

    @property
    def package(self) -> str:
        """Where its files lie: ``numbers.json``, what its paper printed, among them."""
        return self.implementation.partition(":")[0].rpartition(".")[0]

    def preset(self, named: str | None, options: TransmitterOptions) -> str:
        """The preset that is asked for, or meant where none is named."""
        base = named or self.default_preset
        return base if self.preset_name is None else self.preset_name(base, options)
