"""`models add`: textguided over Stable Diffusion."""

from __future__ import annotations

from gencomm_cli.methods.options import StableDiffusionSources
from gencomm_cli.networks import stable_diffusion
from gencomm_cli.networks.controlled import CSI_WIDTH
from gencomm_cli.presets.pretrained import Composition, Source


def compose(source: Source, options: StableDiffusionSources) -> Composition:
    """Stable Diffusion, a control module that is given SNR, start step and gain, and the rate-adaptive JSCC.

    Raises:
        InputError: a part is missing, of another kind, or does not fit.
    """
    return stable_diffusion.compose(
        "textguided", source, options, {"steps": 5}, lambda _: CSI_WIDTH, ("RateAdaptiveJSCC", "KLTJSCC")
    )
