"""Text-guided diffusion communication (Chen et al., arXiv:2510.21299)."""

from gencomm_cli.methods.options import StableDiffusionSources
from gencomm_cli.methods.spec import MethodSpec, Protocol
from gencomm_cli.methods.textguided.options import Receiver, Transmitter

SPEC = MethodSpec(
    name="textguided",
    summary="a JSCC latent and a prompt, refined in a few steps of diffusion",
    title="Text-Guided Diffusion Model-based Generative Communication for Wireless Image Transmission",
    authors="Chen et al.",
    reference="arXiv:2510.21299",
    implementation="gencomm_cli.methods.textguided.method:TextGuided",
    transmitter=Transmitter,
    receiver=Receiver,
    rates="0.0013 to 0.0208, default 0.0033",
    training="gencomm_cli.methods.textguided.train",
    stages="vae, prior, jscc, decoder, control, refine (default: all)",
    start="random weights",
    pretrained="gencomm_cli.methods.textguided.pretrained",
    sources=StableDiffusionSources,
    protocol=Protocol(
        alias="000",
        data="DIV2K test split, Kodak",
        prepare="crop:256",
        snr_db=(1, 5, 10),  # those that the text names
        cbr=(0.0020, 0.0033, 0.0059, 0.011),
        cbr_at=(0.00326,),
        snr_at=(10,),
        channels=("awgn", "rayleigh"),
    ),
)
