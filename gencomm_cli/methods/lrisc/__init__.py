"""LRISC: latent feature-guided conditional diffusion (Chen et al., arXiv:2504.21577)."""

from gencomm_cli.methods.lrisc.options import Receiver, Transmitter
from gencomm_cli.methods.spec import MethodSpec, Protocol

SPEC = MethodSpec(
    name="lrisc",
    summary="latent features at a rate for each region, and a diffusion model under them",
    title="Latent Feature-Guided Conditional Diffusion for High-Fidelity Generative Image Semantic Communication",
    authors="Chen et al.",
    reference="arXiv:2504.21577",
    implementation="gencomm_cli.methods.lrisc.method:LRISC",
    transmitter=Transmitter,
    receiver=Receiver,
    rates="0.0033 to 0.0417, default 1/96",
    training="gencomm_cli.methods.lrisc.train",
    stages="transform, fixed, adaptive, joint, rollout (default: all)",
    start="the linear optimum",
    importers={"cdc": "gencomm_cli.methods.lrisc.released"},
    # The paper's figure has no legible CBRs: these are this project's.
    protocol=Protocol(alias="002", data="Kodak, whole", prepare="none", snr_db=(0, 5, 10), cbr=(1 / 96,), cbr_at=(1 / 96,)),
    rate_map=True,
)
