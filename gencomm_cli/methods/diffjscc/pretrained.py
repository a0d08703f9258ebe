"""`models add`: diffjscc over Stable Diffusion."""

from __future__ import annotations

from dataclasses import replace

from gencomm_cli.methods.diffjscc.method import CsiEmbedding
from gencomm_cli.methods.diffjscc.options import Sources
from gencomm_cli.networks import stable_diffusion
from gencomm_cli.presets.pretrained import Composition, Source
from gencomm_cli.text.captioners import settled


def compose(source: Source, options: Sources) -> Composition:
    """Stable Diffusion, a control module that is given CSI as its own preset says, any JSCC, and a captioner.

    Raises:
        InputError: a part is missing, of another kind, or does not fit.
    """
    captioner = {} if options.captioner is None else {"captioner": settled(options.captioner)}
    made = stable_diffusion.compose(
        "diffjscc", source, options, {"steps": 50}, lambda settings: CsiEmbedding(**settings.get("csi", {})).size
    )
    return replace(made, settings={**made.settings, **captioner})
