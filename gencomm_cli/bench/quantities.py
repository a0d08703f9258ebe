"""What is measured: names as in the rows, labels and units for people, and which way is better."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Quantity:
    """``better``: whether higher or lower values are better, or neither. ``digits``: decimals to print."""

    name: str
    label: str
    unit: str = ""
    better: Literal["higher", "lower", ""] = ""
    digits: int = 3

    @property
    def title(self) -> str:
        """Label, unit and an arrow towards the better: ``PSNR (dB) ↑``."""
        arrow = {"higher": " ↑", "lower": " ↓", "": ""}[self.better]
        return f"{self.label} ({self.unit}){arrow}" if self.unit else self.label + arrow


KNOWN = {
    quantity.name: quantity
    for quantity in (
        Quantity("psnr", "PSNR", "dB", "higher", 2),
        Quantity("ssim", "SSIM", better="higher"),
        Quantity("ms_ssim", "MS-SSIM", better="higher"),
        Quantity("gmsd", "GMSD", better="lower"),
        Quantity("haarpsi", "HaarPSI", better="higher"),
        Quantity("lpips_alex", "LPIPS (AlexNet)", better="lower"),
        Quantity("lpips_vgg", "LPIPS (VGG)", better="lower"),
        Quantity("lpips_squeeze", "LPIPS (SqueezeNet)", better="lower"),
        Quantity("dists", "DISTS", better="lower"),
        Quantity("niqe", "NIQE", better="lower", digits=2),
        Quantity("clip_score", "CLIP score", better="higher"),
        Quantity("fid", "FID", better="lower", digits=1),
        Quantity("kid", "KID (Inception)", better="lower", digits=4),
        Quantity("kid_lite1", "KID (EfficientNet-Lite1)", "×1000", "lower", 1),
        Quantity("received_snr_db", "Received SNR", "dB", digits=2),
        Quantity("evm_percent", "EVM", "%", "lower", 1),
        Quantity("prompt_error_rate", "Prompt error rate", "%", "lower", 1),
        Quantity("side_error_rate", "Side information lost", "%", "lower", 1),
        Quantity("outage_rate", "Outage rate", "%", "lower", 1),
        Quantity("encode_seconds", "Encoding time", "s", "lower", 2),
        Quantity("decode_seconds", "Decoding time", "s", "lower", 2),
    )
}

RATES = ("prompt_error_rate", "side_error_rate", "outage_rate")
NOT_QUALITY = ("received_snr_db", "evm_percent", *RATES, "encode_seconds", "decode_seconds")
"""Left out of the printed tables, whose columns are few."""

CHANNELS = {"awgn": "AWGN", "rayleigh": "Rayleigh", "block": "Block Rayleigh", "multipath": "Multipath"}


def quantity(name: str) -> Quantity:
    """The known quantity of that name, or one that is called what the row calls it."""
    return KNOWN.get(name, Quantity(name, name))


def in_order(names: set[str]) -> list[str]:
    """Known names in the order above, then the others."""
    return [name for name in KNOWN if name in names] + sorted(names - KNOWN.keys())


def number(value: float, digits: int = 3) -> str:
    """``value`` with so many decimals; ∞ where it is infinite."""
    return "∞" if value == float("inf") else f"{value:.{digits}f}"


def compact(value: float | None) -> str:
    """A sweep's value as a person would write it: ``10``, ``0.0033``, ``∞``; ``default`` for None."""
    return "default" if value is None else "∞" if value == float("inf") else f"{value:.4g}"
