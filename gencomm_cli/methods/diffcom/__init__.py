"""DiffCom: the received signal guides posterior sampling (Wang et al., arXiv:2406.07390)."""

from gencomm_cli.methods.diffcom.options import Receiver, Transmitter, preset_name
from gencomm_cli.methods.spec import MethodSpec, Protocol

SPEC = MethodSpec(
    name="diffcom",
    summary="any JSCC codec; a diffusion prior samples images that the received signal confirms",
    title="DiffCom: Channel Received Signal is a Natural Condition to Guide Diffusion Posterior Sampling",
    authors="Wang et al.",
    reference="arXiv:2406.07390",
    implementation="gencomm_cli.methods.diffcom.method:DiffCom",
    transmitter=Transmitter,
    receiver=Receiver,
    rates="1/96 to 1/16, default 1/48",
    preset_name=preset_name,
    networks={"ResidualPrior": "gencomm_cli.methods.diffcom.residual_prior:ResidualPrior:ResidualPriorConfig"},
    training="gencomm_cli.methods.diffcom.train",
    stages="adjscc, swinjscc, prior (default: all)",
    start="random weights, or the linear optimum where its recipe says so (a name takes prior and codecs of its presets so named)",
    importers={
        "adjscc": "gencomm_cli.methods.diffcom.released_adjscc",
        "guided-diffusion": "gencomm_cli.methods.diffcom.released_guided_diffusion",
    },
    protocol=Protocol(
        alias="003",
        data="100 images of FFHQ, 100 of ImageNet",
        prepare="fit:256",
        snr_db=(0, 10),
        cbr=(1 / 48,),
        cbr_at=(1 / 48,),
        snr_type="received",
    ),
    rate_map=True,
)
