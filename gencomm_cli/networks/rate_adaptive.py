"""MambaJSCC for any rate and SNR with one set of weights.

    z ─► encoder ─► code, channels in order of importance ─► first 2k reals ─► unit power ─► x ∈ R^2k ─► k complex symbols
    z_c ◄─ decoder ◄─ code and reliability planes, unsent channels zero ◄─ equalised reals ◄─ k received symbols

Beside the Mamba networks runs a linear codec that starts as the KLT with the powers that are optimal for a linear analog code, so
that the networks only learn what it cannot do.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gencomm_cli.networks.config import Config
from gencomm_cli.networks.layers import zeroed
from gencomm_cli.networks.mamba import Adaptation, ChannelState, MambaConfig, MambaDecoder, MambaEncoder

CONDITION_WIDTH = 64


def sinusoid(value: Tensor, width: int, scale: float = 1.0) -> Tensor:
    """Sinusoidal embedding [B, width] of scalars [B], as diffusion models embed their time step."""
    half = width // 2
    angles = scale * value.float()[:, None] * torch.exp(torch.arange(half, device=value.device) * (-math.log(1e4) / half))
    return torch.cat([angles.cos(), angles.sin()], 1)


def to_complex(x: Tensor) -> Tensor:
    """x ∈ R^2k → x_c ∈ C^k: the first k reals are the real parts, the last k the imaginary parts (arXiv:2510.21299, II-A)."""
    real, imaginary = x.float().chunk(2, -1)
    return torch.complex(real, imaginary)


def to_real(symbols: Tensor) -> Tensor:
    """Inverse of :func:`to_complex`."""
    return torch.cat([symbols.real, symbols.imag], -1)


def unit_power(symbols: Tensor) -> Tensor:
    """Scales each row of complex symbols [B, k] to E|x|² = 1 (arXiv:2404.17736, eq. 2 with P̄ = 1).

    A row of zeros becomes ones, since silence is no codeword.
    """
    power = symbols.abs().square().mean(-1, keepdim=True)
    return torch.where(power <= 1e-20, torch.ones_like(symbols), symbols / power.clamp_min(1e-20).sqrt())  # NaN stays NaN


def sent_positions(tokens: int, channels: int, reals: int) -> Tensor:
    """Which entries of a code [channels, tokens] are sent: int64 [reals] into the flattened array.

    Whole channels first, in order of importance; the last channel is spread evenly over the picture.

    Raises:
        ValueError: more reals than the code has.
    """
    if reals > channels * tokens:
        raise ValueError(f"{reals} reals asked of a code of {channels * tokens}")
    whole, rest = divmod(reals, tokens)
    spread = torch.arange(rest) * tokens // max(rest, 1)
    return torch.cat([torch.arange(whole * tokens), whole * tokens + spread])


@dataclass(frozen=True)
class JSCCConfig(Config):
    """Constructor arguments of :class:`RateAdaptiveJSCC`, as a preset's ``config.json`` holds them.

    Attributes:
        channels: of the field that is sent (latent channels, or 3 for pixels).
        code_channels: most reals a token; one token covers ``factor``² positions.
        adaptation: how the Mamba networks learn of the channel; ``shift`` for what is trained anew.
    """

    channels: int
    code_channels: int = 32
    dims: tuple[int, ...] = (192,)
    depths: tuple[int, ...] = (4,)
    patch: int = 2
    states: int = 4
    expand: float = 1.0
    directions: int = 2
    adaptation: Adaptation = "initial-state"

    @property
    def factor(self) -> int:
        """Positions a token along each side."""
        return int(self.patch * 2 ** (len(self.dims) - 1))

    def mamba(self) -> MambaConfig:
        """The sizes of the Mamba networks."""
        return MambaConfig(
            self.channels, self.code_channels, tuple(self.dims), tuple(self.depths), self.patch, self.states, self.expand,
            self.directions, self.adaptation, CONDITION_WIDTH,
        )  # fmt: skip


class Conditioned(nn.Module):
    """A code whose two ends know the rate and an SNR. The transmitter's may be unknown (NaN): a token that is learned.

    Args:
        code_channels: most reals a token. factor: positions a token along each side.
    """

    def __init__(self, code_channels: int, factor: int) -> None:
        super().__init__()
        self.code_channels, self.factor = code_channels, factor
        self.unknown_snr = nn.Parameter(torch.zeros(32))
        self.transmitter, self.receiver = (
            nn.Sequential(nn.Linear(64, CONDITION_WIDTH), nn.SiLU(), nn.Linear(CONDITION_WIDTH, CONDITION_WIDTH)) for _ in range(2)
        )

    def tokens(self, size: tuple[int, ...]) -> int:
        """Of a field of ``size`` (H, W)."""
        return (size[0] // self.factor) * (size[1] // self.factor)

    def symbols(self, wanted: int, size: tuple[int, int]) -> int:
        """Complex symbols, pilots included, nearest to ``wanted`` that a field of ``size`` (H, W) can have."""
        return max(1, min(wanted, self.code_channels * self.tokens(size) // 2))

    def _condition(self, network: nn.Module, snr_db: Tensor, reals_per_token: float) -> Tensor:
        snr = torch.where(snr_db.isnan()[:, None], self.unknown_snr, sinusoid(snr_db.nan_to_num(), 32, 4.0))
        rate = sinusoid(torch.full_like(snr_db, math.log2(reals_per_token)), 32, 16.0)
        return network(torch.cat([snr, rate], 1))


class RateAdaptiveJSCC(Conditioned):
    """Joint source-channel code from a field [B, C, H, W] to complex symbols [B, k] and back.

    H and W are multiples of ``config.factor``.
    """

    def __init__(self, config: JSCCConfig) -> None:
        factor, channels, code = config.factor, config.channels, config.code_channels
        super().__init__(code, factor)
        self.config = config
        self.encoder = MambaEncoder(config.mamba())
        self.decoder = MambaDecoder(config.mamba(), extra=code)
        self.analysis = nn.Conv2d(channels, code, factor, factor)
        self.synthesis = nn.ConvTranspose2d(code, channels, factor, factor)
        self.sent_gain, self.received_gain = (zeroed(nn.Linear(CONDITION_WIDTH, code)) for _ in range(2))
        zeroed(self.encoder.head)
        nn.init.zeros_(self.decoder.layers[-1].upsample.increment.weight)  # type: ignore[union-attr, arg-type]

    @torch.no_grad()
    def start_linear(self, mean: Tensor, covariance: Tensor, snr_db: float = 10.0, channels: int = 8) -> None:
        """Sets the linear codec to the KLT of flattened tokens (mean [D], covariance [D, D]), with the amplitudes that minimise
        the error of a linear analog code over ``channels`` channels: x_i = λ_i^(−1/4) c_i (Lee & Petersen, 1976)."""
        code, shape = self.config.code_channels, self.analysis.weight.shape
        values, vectors = torch.linalg.eigh(covariance.double())
        order = values.argsort(descending=True)[:code]
        values, vectors = values[order].clamp_min(1e-9), vectors[:, order]
        amplitude = values ** (-1 / 4)
        sent_power = (amplitude**2 * values)[:channels].mean()
        amplitude = amplitude * (0.5 / sent_power).sqrt()  # half a unit of power a real
        noise = 0.5 * 10 ** (-snr_db / 10)
        back = amplitude * values / (amplitude**2 * values + noise) * (1 + 2 * noise)  # undoes the equaliser's shrinkage
        beyond = (0, 0, 0, code - len(values))  # channels that a token of fewer numbers has no use for
        analysis = F.pad((vectors * amplitude).T, beyond)
        self.analysis.weight.copy_(analysis.float().view(shape))
        self.analysis.bias.copy_(-(analysis @ mean.double()).float())  # type: ignore[union-attr]
        self.synthesis.weight.copy_(F.pad((vectors * back).T, beyond).float().view(self.synthesis.weight.shape))
        field_mean = mean.view(self.config.channels, -1).mean(1)
        self.synthesis.bias.copy_(field_mean)  # type: ignore[union-attr]

    def encode(self, field: Tensor, symbols: int, snr_db: Tensor, image: Tensor | None = None) -> Tensor:
        """x_c = f_θ(z): complex symbols [B, ``symbols``] with E|x|² = 1 each row (arXiv:2510.21299, eq. 2).

        Args:
            field: [B, C, H, W]. image: which this code does not look at.
            snr_db: what the transmitter knows [B]; NaN where it knows nothing.

        Raises:
            ValueError: more symbols than the code has.
        """
        tokens = self.tokens(field.shape[-2:])
        condition = self._condition(self.transmitter, snr_db, 2 * symbols / tokens)
        gain = torch.exp(self.sent_gain(condition))[:, :, None, None]
        code = self.analysis(field) * gain + self.encoder(field, ChannelState(condition=condition))
        positions = sent_positions(tokens, self.config.code_channels, 2 * symbols).to(field.device)
        return unit_power(to_complex(code.flatten(1)[:, positions]))

    def decode(
        self, equalised: Tensor, reliability: Tensor, size: tuple[int, int], snr_db: Tensor, tx_snr_db: Tensor | None = None
    ) -> Tensor:
        """z_c = g_φ(y): the field [B, C, H, W] (arXiv:2510.21299, eq. 3).

        Args:
            equalised: complex symbols after the MMSE equaliser [B, k].
            reliability: |h|²/(|h|² + N0) of each symbol [B, k].
            size: (H, W).
            snr_db: the receiver's SNR [B]. tx_snr_db: the transmitter's, which this code does not use.
        """
        rows, columns = size[0] // self.config.factor, size[1] // self.config.factor
        tokens, reals = rows * columns, 2 * equalised.shape[1]
        condition = self._condition(self.receiver, snr_db, reals / tokens)
        positions = sent_positions(tokens, self.config.code_channels, reals).to(equalised.device)
        planes = torch.zeros(2, equalised.shape[0], self.config.code_channels * tokens, device=equalised.device)
        planes[0, :, positions] = to_real(equalised)
        planes[1, :, positions] = reliability.repeat(1, 2)
        code, reliabilities = planes.unflatten(-1, (self.config.code_channels, rows, columns))
        gain = torch.exp(self.received_gain(condition))[:, :, None, None]
        refined = self.decoder(torch.cat([code, reliabilities], 1), ChannelState(condition=condition))
        return refined + self.synthesis(code * gain)
