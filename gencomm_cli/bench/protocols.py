"""How each paper measures: its images, sends, SNR and CBR points, and scores. What a flag says goes before the protocol."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from gencomm_cli.channels.fading import Kind
from gencomm_cli.channels.snr import SnrType

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Protocol:
    """One paper's way of measuring.

    Attributes:
        data: its images, in words. prepare: as ``--prepare``. repeats: sends of each image. channels: of its figures.
        snr_db, cbr: its points: the SNR points are taken at each of ``cbr_at``, the CBR points at each of ``snr_at``.
        fid_patches: FID over half-overlapping 256² patches instead of whole images. outage: how a lost image is scored.
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

    def points(self, snr_db: tuple[float, ...] | None, cbr: tuple[float, ...] | None) -> Points:
        """(SNR, CBR) of the paper's figures; SNRs that are given are taken at every CBR (given, or the paper's), and so on."""
        if snr_db is not None or cbr is not None:
            return tuple((x, y) for y in cbr or self.cbr for x in snr_db or self.snr_db)
        by_snr = tuple((x, y) for y in self.cbr_at for x in self.snr_db)
        by_cbr = tuple((x, y) for x in self.snr_at for y in self.cbr)
        return tuple(dict.fromkeys(by_snr + by_cbr))


PROTOCOLS = {
    "000": Protocol(
        data="DIV2K test split, Kodak",
        prepare="crop:256",
        snr_db=(1, 5, 10),  # those that the text names
        cbr=(0.0020, 0.0033, 0.0059, 0.011),
        cbr_at=(0.00326,),
        snr_at=(10,),
        channels=("awgn", "rayleigh"),
    ),
    "001": Protocol(
        data="Kodak, whole",
        prepare="none",
        snr_db=(1, 4, 7, 10, 13),
        cbr=(1 / 384, 1 / 192, 1 / 96, 1 / 48),
        cbr_at=(1 / 384, 1 / 96),
        snr_at=(1, 10),
        repeats=5,
        fid_patches=True,
    ),
    "002": Protocol(data="Kodak, whole", prepare="none", snr_db=(0, 5, 10), cbr=(1 / 96,), cbr_at=(1 / 96,)),
    "003": Protocol(
        data="100 images of FFHQ, 100 of ImageNet",
        prepare="fit:256",
        snr_db=(0, 10),
        cbr=(1 / 48,),
        cbr_at=(1 / 48,),
        snr_type="received",
    ),
    "004": Protocol(
        data="100 images of Cityscapes",
        prepare="stretch:512",
        snr_db=(1, 5, 10, 15, 20),
        cbr=(0.00146,),
        cbr_at=(0.00146,),
        outage="sc-sic",
    ),
}
"""By the papers' numbers: 000 text-guided (Chen et al.), 001 DiffJSCC, 002 LRISC, 003 DiffCom, 004 SC-SIC.

Figures give more points than the texts name: 002's CBRs are this project's, as its figure has no legible ones.
"""
