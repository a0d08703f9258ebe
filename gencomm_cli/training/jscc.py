"""The latent JSCC on its own: MSE(z, z_c) over random channels and rates, from the linear optimum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.jscc.rate_adaptive import RateAdaptiveJSCC
from gencomm_cli.training.air import draw, draw_cbr, send
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.loop import Schedule, autocast, fit


@dataclass(frozen=True)
class JSCCRecipe:
    """λ_D · MSE(z, z_c) alone, at first on small crops."""

    schedule: Schedule
    batch: int = 16
    crop: int = 24
    seed: int = 2


def token_statistics(latents: Latents, factor: int, generator: np.random.Generator, count: int = 2000) -> tuple[Tensor, Tensor]:
    """Mean and covariance of flattened factor×factor tokens, in the order of a convolution's kernel."""
    fields = torch.cat([latents.crops(50, 16, generator)[0] for _ in range(count // 50)])
    tokens = F.unfold(fields, factor, stride=factor).transpose(1, 2).flatten(0, 1).double()
    return tokens.mean(0), tokens.T.cov()


def symbols_for(cbr: float, positions: int, factor: int, code_reals: int) -> int:
    """k for a latent of ``positions`` positions, each f×f pixels, within what the code can carry."""
    return max(1, min(round(cbr * 3 * positions * factor**2), code_reals // 2))


def code_reals(jscc: RateAdaptiveJSCC, rows: int, columns: int) -> int:
    """Most reals for a field of that size."""
    return jscc.config.code_channels * (rows // jscc.config.factor) * (columns // jscc.config.factor)


def train_jscc(
    jscc: RateAdaptiveJSCC,
    latents: Latents,
    recipe: JSCCRecipe,
    out: Path,
    device: torch.device,
    report: Callable[[str], None] = print,
    *,
    linear: bool = True,
) -> None:
    """Trains in place; ``linear`` sets the linear codec to the optimum first."""
    generator = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)
    if linear:
        jscc.start_linear(*token_statistics(latents, jscc.config.factor, generator))
    jscc.to(device).train()

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean = latents.crops(recipe.batch, recipe.crop, generator)[0].to(device)
        air = draw(recipe.batch, generator, device)
        cbr = draw_cbr(generator)
        count = symbols_for(cbr, recipe.crop**2, latents.factor, code_reals(jscc, recipe.crop, recipe.crop))
        with autocast(device):
            symbols = jscc.encode(clean, count, air.told)
            coarse = jscc.decode(*send(symbols, air)[:2], (recipe.crop, recipe.crop), air.snr_db)
        error = (coarse.float() - clean).square().mean((1, 2, 3))
        reference = air.snr_db.sub(10).abs() < 3
        shown = cbr == 0.0033 and bool(reference.any())
        return error.mean(), {"at10dB": float(error[reference].mean().detach()) * 2.5 if shown else 0.0}

    fit({"jscc": jscc}, loss, recipe.schedule, out, "jscc", report=report)
    jscc.eval()
