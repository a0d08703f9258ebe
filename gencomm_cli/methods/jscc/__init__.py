"""A learned image codec alone, without diffusion: the baseline of every paper."""

from gencomm_cli.methods.spec import MethodSpec

SPEC = MethodSpec(
    name="jscc",
    summary="baseline: a learned image codec alone, with --preset FOLDER as `gencomm models import` or `train` writes it",
    implementation="gencomm_cli.methods.jscc.method:JSCC",
    rates="the preset's own",
    training="gencomm_cli.methods.jscc.train",
    stages="codec",
    start="random weights, or the linear optimum where its recipe says so",
    importers={
        "deepjscc": "gencomm_cli.methods.jscc.released_deepjscc",
        "swinjscc": "gencomm_cli.methods.jscc.released_swinjscc",
        "mambajscc": "gencomm_cli.methods.jscc.released_mambajscc",
    },
)
