"""Makes the manual's figures: ``python docs/figures.py`` (a few minutes; the extra `plots`). Seed 0, one photograph."""

from __future__ import annotations

import math
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

import gencomm_cli
from gencomm_cli.images import Pixels
from gencomm_cli.methods import specs
from gencomm_cli.symbols import Symbols

HERE = Path(__file__).parent
PHOTO = np.asarray(Image.open(HERE.parent / "examples" / "kodim23.png").convert("RGB").resize((480, 320), Image.Resampling.LANCZOS))
PROMPT = "two macaws before green leaves"


def pictures(name: str, rows: dict[str, dict[str, Pixels]]) -> None:
    """Rows of pictures, each row and each picture with its words; nothing around them."""
    columns = max(map(len, rows.values()))
    figure, axes = plt.subplots(len(rows), columns, figsize=(3 * columns, 2.25 * len(rows)), squeeze=False, layout="constrained")
    for line, (row, shown) in zip(axes, rows.items(), strict=True):
        for axis in line:
            axis.axis("off")
        for axis, (words, pixels) in zip(line, shown.items(), strict=False):
            axis.imshow(pixels)
            axis.set_title(f"{row}{words}", fontsize=10)
    figure.savefig(HERE / "figures" / f"{name}.jpg", dpi=90, bbox_inches="tight", pad_inches=0.05, pil_kwargs={"quality": 88})


def constellations(name: str, shown: dict[str, Symbols]) -> None:
    """Complex symbols as points."""
    figure, axes = plt.subplots(1, len(shown), figsize=(2.4 * len(shown), 2.7), layout="constrained")
    for axis, (words, symbols) in zip(axes, shown.items(), strict=True):
        axis.scatter(symbols.real, symbols.imag, s=5)
        axis.set(xlim=(-2.5, 2.5), ylim=(-2.5, 2.5), aspect="equal", title=words, xlabel="in phase")
        axis.title.set_fontsize(10)
    axes[0].set_ylabel("quadrature")
    figure.savefig(HERE / "figures" / f"{name}.png", dpi=90)


def methods() -> None:
    """One photograph by every method that ships weights, at the method's own rate, over AWGN at 10 dB."""
    photo = np.asarray(Image.fromarray(PHOTO).resize((384, 256), Image.Resampling.LANCZOS))
    for name in specs().keys() - {"jscc"}:
        codec = gencomm_cli.load(name)
        sent = codec.encode(photo, snr=10, fading="awgn")
        out = codec.decode(gencomm_cli.transmit(sent, snr=10))
        shown = (
            {"sent": photo, "coarse": out.coarse, "refined": out.image} if out.refined else {"sent": photo, "received": out.image}
        )
        pictures(name, {f"{name}, 10 dB, CBR {sent.header.cbr.total:.4f}: ": shown})


def concepts() -> None:
    """What rate, noise, fading and CSI do, by one codec."""
    codec = gencomm_cli.load()

    by_rate = {}
    for cbr in (0.0013, 0.0033, 0.0104, 0.0208):
        sent = codec.encode(PHOTO, cbr=cbr, snr=10)
        by_rate[f"CBR {cbr:g}: {sent.symbols.size} symbols"] = codec.decode(gencomm_cli.transmit(sent, snr=10)).image
    pictures("cbr", {"": by_rate})

    coarse, refined = {}, {}
    for snr in (-5, 1, 10, 20):
        sent = codec.encode(PHOTO, snr=snr)
        out = codec.decode(gencomm_cli.transmit(sent, snr=snr))
        coarse[f"{snr} dB"], refined[f"{snr} dB"] = out.coarse, out.image
    pictures("snr", {"coarse, ": coarse, "refined, ": refined})

    sent = codec.encode(PHOTO, snr=10, prompt=PROMPT)
    faded = gencomm_cli.transmit(sent, snr=10, fading="rayleigh")
    gain = faded.prompt_csi_gain
    assert gain is not None
    constellations(
        "constellations",
        {
            "sent": sent.prompt_symbols,
            "AWGN, 1 dB": gencomm_cli.transmit(sent, snr=1).prompt_symbols,
            "AWGN, 10 dB": gencomm_cli.transmit(sent, snr=10).prompt_symbols,
            "Rayleigh, 10 dB": faded.prompt_symbols,
            "… equalised": faded.prompt_symbols * gain.conj() / (np.abs(gain) ** 2 + faded.header.n0),
        },
    )

    blind = {"sent": PHOTO}
    sent = codec.encode(PHOTO, snr=10, fading="block")
    for csi in ("perfect", "estimated", "none"):
        blind[f"CSI {csi}"] = codec.decode(gencomm_cli.transmit(sent, snr=10, fading="block", csi=csi)).image
    pictures("csi", {"": blind})

    values = np.linspace(-10, 25, 200)
    figure, axis = plt.subplots(figsize=(6, 3.2), layout="constrained")
    capacity = [math.log2(1 + 10 ** (value / 10)) for value in values]
    axis.plot(values, capacity)
    axis.set(xlabel="SNR in dB", ylabel="bits a complex symbol", title="AWGN: the most that can be carried, log₂(1 + SNR)")
    axis.grid(alpha=0.3)
    figure.savefig(HERE / "figures" / "capacity.png", dpi=90)


if __name__ == "__main__":
    concepts()
    methods()
