"""Checkpoints of Deep-JSCC-PyTorch: the first DeepJSCC, trained on CIFAR-10 or ImageNet for one SNR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from torch import Tensor

from gencomm_cli.networks.convolutional import PUBLIC, ConvolutionalJSCCConfig
from gencomm_cli.released.checkpoint import Checkpoint
from gencomm_cli.released.conversion import Conversion, ConvertedComponent, only

KIND = "deepjscc"
CONVENTIONS = (
    "Deep-JSCC-PyTorch: each image's code has power 1 a real, and is decoded at that power; it is sent here at power 1 a complex "
    "symbol, of which the first half of the reals are the real parts.",
    "Deep-JSCC-PyTorch: no network is given the SNR; each is trained for the one in its file's name.",
    "Deep-JSCC-PyTorch: its Rayleigh channel, one real gain for each half of the code and unknown to the receiver, is no complex "
    "channel's; fading symbols are corrected in phase and not equalised, so that a gain |h| is left in them.",
)
SNR = {
    True: "Deep-JSCC-PyTorch: its program of 9 June 2024 has an SNR S of a real in noise of variance 10^(-S/10)/2, which is "
    "Es/N0 = S + 3.01 dB, and so this preset takes it; before, the noise had twice the power, and S was Es/N0. Of files of 7 June "
    "2024 nobody says which: if their PSNR in training is that of --snr S + 3.01, they are of the later kind; if it is that of "
    "--snr S, of the earlier, and snr_offset_db in config.json should be 0. In the later kind, results "
    "at 7 dB come out with --snr 10.01.",
    False: "Deep-JSCC-PyTorch (2023): its SNR is of a real in noise of variance 10^(-S/10), which is Es/N0.",
}


def recognises(tensors: Mapping[str, Tensor]) -> bool:
    """Whether names are those of Deep-JSCC-PyTorch."""
    return {"encoder.conv5.conv.weight", "decoder.tconv5.transconv.weight"} <= set(tensors)


def convert(checkpoints: Sequence[Checkpoint], config: Mapping[str, Any]) -> Conversion:
    """The codec. Raises InputError for more than one file."""
    tensors = only(checkpoints, KIND).tensors
    padded = tensors["decoder.tconv5.transconv.weight"].shape[-1] == 5
    conventions = PUBLIC if padded else replace(PUBLIC, snr_offset_db=0.0)
    ours = ConvolutionalJSCCConfig(int(tensors["encoder.conv5.conv.weight"].shape[0]), padded, conventions)
    return Conversion(
        "jscc", (ConvertedComponent("codec", "ConvolutionalJSCC", asdict(ours), tensors),), {},
        tuple((name, name) for name in tensors), conventions=(*CONVENTIONS, SNR[padded]),
    )  # fmt: skip
