"""The JSCC on its own: MSE(z, z_c) over random channels and rates, from the linear optimum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from gencomm_cli.networks.rate_adaptive import RateAdaptiveJSCC
from gencomm_cli.networks.vae import Domain
from gencomm_cli.training.air import Air, draw, draw_cbr, send
from gencomm_cli.training.data import to_tensor
from gencomm_cli.training.latents import Latents
from gencomm_cli.training.loop import Schedule, autocast, fit


@dataclass(frozen=True)
class JSCCRecipe:
    """λ_D · MSE(z, z_c) alone, at first on small crops."""

    schedule: Schedule
    batch: int = 16
    crop: int = 24
    seed: int = 2


def token_statistics(fields: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """Mean and covariance of flattened factor×factor tokens of fields [N, C, H, W], in the order of a convolution's kernel."""
    tokens = F.unfold(fields, factor, stride=factor).transpose(1, 2).flatten(0, 1).double()
    return tokens.mean(0), tokens.T.cov()


def through_air(jscc: RateAdaptiveJSCC, field: Tensor, samples: int, cbr: float, air: Air) -> tuple[Tensor, Tensor, Tensor]:
    """Sends fields [B, C, H, W] of ``samples`` source samples each: what is decoded, reliabilities [B, k], block gains [B]."""
    config, size = jscc.config, (field.shape[2], field.shape[3])
    most = config.code_channels * (size[0] // config.factor) * (size[1] // config.factor) // 2
    symbols = jscc.encode(field, max(1, min(round(cbr * samples), most)), air.told)
    equalised, trust, gain = send(symbols, air)
    return jscc.decode(equalised, trust, size, air.snr_db).float(), trust, gain


def train_jscc(
    jscc: RateAdaptiveJSCC,
    latents: Latents,
    recipe: JSCCRecipe,
    out: Path,
    device: torch.device,
    report: Callable[[str], None] = print,
    *,
    domain: Domain = "latent",
    linear: bool = True,
) -> None:
    """Trains in place, on latents or on pixels; ``linear`` sets the linear codec to the optimum first."""
    generator = np.random.default_rng(recipe.seed)
    torch.manual_seed(recipe.seed)

    def fields(count: int) -> Tensor:
        clean, pixels, _ = latents.crops(count, recipe.crop, generator)
        return (clean if domain == "latent" else to_tensor(pixels, torch.device("cpu"))).contiguous()

    if linear:
        jscc.start_linear(*token_statistics(fields(1000), jscc.config.factor))
    jscc.to(device).train()
    samples = 3 * (recipe.crop * latents.factor) ** 2

    def loss(step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        clean = fields(recipe.batch).to(device)
        air, cbr = draw(recipe.batch, generator, device), draw_cbr(generator)
        with autocast(device, recipe.schedule.precision):
            coarse, _, _ = through_air(jscc, clean, samples, cbr, air)
        error = (coarse - clean).square().mean((1, 2, 3))
        reference = air.snr_db.sub(10).abs() < 3
        shown = cbr == 0.0033 and bool(reference.any())
        return error.mean(), {"at10dB": float(error[reference].mean().detach()) * 2.5 if shown else 0.0}

    fit({"jscc": jscc}, loss, generator, recipe.schedule, out, "jscc", report=report)
    jscc.eval()
