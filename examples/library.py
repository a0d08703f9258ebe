#!/usr/bin/env python3
"""The library, cell by cell: what a notebook does with it. usage: library.py [IMAGE] [OUT.png]

Each ``# %%`` is a cell for editors that know them.
"""

# %% An image, and a method with its shipped weights
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import gencomm_cli
from gencomm_cli.metrics.report import measure

here = Path(__file__).parent
image = np.asarray(Image.open(sys.argv[1] if len(sys.argv) > 1 else here / "kodim23.png").convert("RGB"))
codec = gencomm_cli.load()

# %% Transmitter: complex symbols of unit mean power
tx = codec.encode(image, cbr=0.0033, snr=10, prompt="two macaws before green leaves")
print(f"{tx.symbols.size} symbols for the image, {tx.prompt_symbols.size} for the prompt, CBR {tx.header.cbr.total:.5f} in all")

# %% Channel: any of them, over and over
received = {snr: gencomm_cli.transmit(tx, snr=snr, fading="rayleigh", seed=0) for snr in (1, 10)}

# %% Receiver: it sees the received file and nothing else
pictures = []
for snr, rx in received.items():
    out = codec.decode(rx, steps=5)
    coarse, refined = (dict(measure(image, picture, None))["psnr"] for picture in (out.coarse, out.image))
    print(f"{snr:2} dB: prompt {out.prompt!r}, coarse {coarse:.2f} dB, refined {refined:.2f} dB")
    pictures.append(out.image)

# %% The three in one, over a channel that fades for the whole picture
trip = codec.roundtrip(image, gencomm_cli.channel("block", 10, "esn0", "estimated"), steps=2, seed=1)
print({stage: f"{seconds:.1f} s" for stage, seconds in trip.seconds.items()})

# %% Files are those of the commands
if len(sys.argv) > 2:
    target = Path(sys.argv[2])
    tx.save(target.with_suffix(".tx.npz"))
    Image.fromarray(pictures[-1]).save(target)
    print(gencomm_cli.open_symbols(target.with_suffix(".tx.npz")).header.method)
