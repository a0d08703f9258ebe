"""SC-SIC: semantic image communication via Stable Cascade (Khalid et al., arXiv:2507.17416)."""

from gencomm_cli.methods.scsic.options import Receiver, Sources
from gencomm_cli.methods.spec import MethodSpec, Protocol

SPEC = MethodSpec(
    name="scsic",
    summary="16 numbers for each 32x32 pixels, and Stable Cascade's stages B and A",
    title="Efficient and Robust Semantic Image Communication via Stable Cascade",
    authors="Khalid et al.",
    reference="arXiv:2507.17416",
    implementation="gencomm_cli.methods.scsic.method:ScSic",
    receiver=Receiver,
    rates="0.00065 to 0.0026, default 0.00146",
    networks={
        "PaellaVQModel": "gencomm_cli.methods.scsic.cascade:PaellaVQModel",
        "EfficientNetEncoder": "gencomm_cli.methods.scsic.efficientnet:EfficientNetEncoder",
        "Previewer": "gencomm_cli.methods.scsic.previewer:Previewer",
        "BlockEncoder": "gencomm_cli.methods.scsic.blocks:BlockEncoder",
        "BlockPreviewer": "gencomm_cli.methods.scsic.blocks:BlockPreviewer",
        "LatentStageB": "gencomm_cli.methods.scsic.latent_stage_b:LatentStageB",
    },
    training="gencomm_cli.methods.scsic.train",
    stages="encoder, diffusion, finetune, rollout (default: all; finetune alone over Stable Cascade)",
    start="textguided's nano",
    importers={"stable-cascade": "gencomm_cli.methods.scsic.released"},
    pretrained="gencomm_cli.methods.scsic.pretrained",
    sources=Sources,
    protocol=Protocol(
        alias="004",
        data="100 images of Cityscapes",
        prepare="stretch:512",
        snr_db=(1, 5, 10, 15, 20),
        cbr=(0.00148,),  # 0.00146 as printed, and the gain
        cbr_at=(0.00148,),
        outage="sc-sic",
    ),
    protocols={
        "1024": Protocol(
            data="100 images of Cityscapes",
            prepare="stretch:1024",
            snr_db=(1, 5, 10, 15, 20),
            cbr=(0.00148, 0.00261),  # [16, 24, 24] and [16, 32, 32], each with its gain
            cbr_at=(0.00148, 0.00261),
            outage="sc-sic",
        )
    },
)
