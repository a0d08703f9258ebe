"""DiffJSCC: diffusion-aided joint source-channel coding (Yang et al., arXiv:2404.17736)."""

from gencomm_cli.methods.diffjscc.options import Receiver, Sources, Transmitter
from gencomm_cli.methods.spec import MethodSpec, Protocol

SPEC = MethodSpec(
    name="diffjscc",
    summary="a JSCC image, refined by a diffusion model under image, caption and CSI",
    title="Diffusion-Aided Joint Source Channel Coding For High Realism Wireless Image Transmission",
    authors="Yang et al.",
    reference="arXiv:2404.17736",
    implementation="gencomm_cli.methods.diffjscc.method:DiffJSCC",
    transmitter=Transmitter,
    receiver=Receiver,
    rates="0.0013 to 0.0208, default 1/384",
    training="gencomm_cli.methods.diffjscc.train",
    stages="jscc, control, rollout (default: these), adversarial",
    start="the recipe's",
    importers={"diffjscc": "gencomm_cli.methods.diffjscc.released"},
    pretrained="gencomm_cli.methods.diffjscc.pretrained",
    sources=Sources,
    protocol=Protocol(
        alias="001",
        data="Kodak, whole",
        prepare="none",
        snr_db=(1, 4, 7, 10, 13),
        cbr=(1 / 384, 1 / 192, 1 / 96, 1 / 48),
        cbr_at=(1 / 384, 1 / 96),
        snr_at=(1, 10),
        repeats=5,
        fid_patches=True,
    ),
    protocols={
        "celeba-hq": Protocol("3,000 test images of CelebA-HQ", "fit:512", (-5, 0, 5), (1 / 768, 1 / 192), (1 / 768, 1 / 192))
    },
)
