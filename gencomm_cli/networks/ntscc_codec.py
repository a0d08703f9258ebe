"""Non-linear transform source-channel coding as one codec: LRISC's transmitter and the first half of its receiver.

x ─► g_e ─► z ─┬─► h_e, h_d ─► −log2 p(z_i | ŷ) ─► levels ─┬─► range coder ─► CRC, LDPC, modem ─► side symbols
               └─► f_e ◄───────────────────────────────────┘
                    └─► symbols ─► channel ─► f_d (levels) ─► ẑ ─► g_s ─► coarse image
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gencomm_cli.errors import InputError, RateError
from gencomm_cli.methods.base import Received, Request, Transmission, no_symbols
from gencomm_cli.networks import rate_indices
from gencomm_cli.networks.linear_code import pilot_places, pilots, pilots_for, size_of, with_pilots
from gencomm_cli.networks.ntscc import LatentJSCC, pack, unit_power, unpack
from gencomm_cli.networks.rate_allocation import (
    GROUPS,
    RATES,
    Floats,
    Levels,
    group_means,
    group_sums,
    quantise,
    solve_beta,
    spread,
    symbols_of,
    uniform,
)
from gencomm_cli.networks.rate_indices import RateTables
from gencomm_cli.networks.residual_transform import ResidualTransform
from gencomm_cli.networks.tensors import as_symbols, finite
from gencomm_cli.networks.transform import NonlinearTransform
from gencomm_cli.presets import Preset, require
from gencomm_cli.presets.build import build
from gencomm_cli.symbols import Symbols
from gencomm_cli.text.modes import Fading
from gencomm_cli.text.payload import PayloadFormat

MOST_SIDE = 0.15
"""Share of the budget that side symbols may take."""

TOLERANCE = 0.01
"""Of the budget, what an allocation may leave unused."""

TRIES = 64
"""How many groups are tried for the rest."""

Kind = Literal["adaptive", "uniform"]


@dataclass(frozen=True)
class Allocation:
    """Who gets how much.

    Attributes:
        levels: of the embeddings inside the picture, [rows, columns].
        side_symbols, side: the levels as they are sent; empty and None where the allocation is uniform.
        group: one level serves group × group embeddings; None where the allocation is uniform.
        pilots: symbols that go with the code.
    """

    levels: Levels
    side_symbols: Symbols = field(default_factory=no_symbols)
    side: PayloadFormat | None = None
    group: int | None = None
    pilots: int = 0

    @property
    def symbols(self) -> int:
        """Image and side symbols together."""
        return symbols_of(self.levels) + self.pilots + self.side_symbols.size


class NTSCC(nn.Module):
    """The transform, the code and the tables of one preset. Images are [1, 3, H', W'] in [0, 1], padded to ``multiple``.

    ``size`` is everywhere (H, W) of the picture without padding; embeddings that lie outside it take no symbols.
    """

    def __init__(self, transform: NonlinearTransform | ResidualTransform, code: LatentJSCC, tables: RateTables) -> None:
        super().__init__()
        self.transform, self.code, self.tables = transform, code, tables
        self.multiple = transform.config.multiple

    @classmethod
    def load(cls, preset: Preset, device: torch.device) -> NTSCC:
        """Builds a preset's ``transform``, ``jscc`` and ``rates``, whose files are verified already.

        Raises:
            InputError: a component is missing. ModelMismatch: weights do not fit.
        """
        names = ("transform", "jscc", "rates")
        require(preset, *names)
        parts: list[Any] = [build(preset.components[name], device) for name in names]
        return cls(*parts).eval()

    def shape(self, size: tuple[int, int]) -> tuple[int, int]:
        """Embeddings (rows, columns) of a picture."""
        rows, columns = (-(-side // self.transform.config.factor) for side in size)
        return rows, columns

    def budget(self, wanted: int, size: tuple[int, int]) -> int:
        """The most image and side symbols within ``wanted`` for a picture; at least 1."""
        return max(1, min(wanted, RATES[-1] * math.prod(self.shape(size))))

    def pilots(self, code: int) -> int:
        """Symbols that go with so many of the code."""
        return int(pilots_for(torch.tensor(code))) if self.code.piloted else 0

    def latent(self, image: Tensor) -> Tensor:
        """z = g_e(x): [1, C, H'/factor, W'/factor]."""
        return self.transform.encode(2 * image - 1)

    @torch.no_grad()
    def information(self, z: Tensor, size: tuple[int, int]) -> Floats:
        """−log2 p(z_i | ŷ) of the embeddings inside the picture: bits, float64 [rows, columns]."""
        rows, columns = self.shape(size)
        return self.transform.information(z)[0, :rows, :columns].double().cpu().numpy()

    def allocate(
        self, information: Floats, budget: int, *, snr_db: float | None, fading: Fading, side_share: float = MOST_SIDE,
        kind: Kind = "adaptive",
    ) -> Allocation:  # fmt: skip
        """The allocation of at most ``budget`` symbols, side symbols included: eq. 3 at the β that meets it.

        The smallest groups whose levels fit into ``side_share`` of the budget; where none do, the uniform allocation.

        Args:
            snr_db, fading: what the transmitter knows, which chooses how the levels are protected.

        Raises:
            RateError: fewer symbols than embeddings.
        """
        budget_of_code = budget - pilots(budget + 1) * self.code.piloted
        if budget_of_code < information.size:
            raise RateError(
                f"{budget} symbols are too few for {information.size} embeddings; one each is the least",
                fits=information.size + self.pilots(information.size),
            )
        for group in GROUPS if kind == "adaptive" else ():
            found = self._fit(information, group, budget, snr_db, fading, side_share)
            if found is not None:
                return found
        levels = uniform(budget_of_code, (information.shape[0], information.shape[1]))
        return Allocation(levels, pilots=self.pilots(symbols_of(levels)))

    def _fit(
        self, information: Floats, group: int, budget: int, snr_db: float | None, fading: Fading, side_share: float
    ) -> Allocation | None:
        """The adaptive allocation of at most ``budget`` symbols with one level for group × group embeddings, if there is one whose
        side symbols take no more than their share."""
        means, sizes = group_means(information, group), group_sums(np.ones_like(information), group)
        table = self.tables.table(group)

        def side(levels: Levels) -> int:
            """An upper bound on the side symbols."""
            return PayloadFormat.choose(rate_indices.most_bits(levels, table), snr_db=snr_db, fading=fading).symbols

        def cost(levels: Levels) -> float:
            code = int((np.array(RATES)[levels] * sizes).sum())
            return float(code + self.pilots(code) + side(levels))

        beta = solve_beta(means, budget, cost)
        levels = quantise(beta * means)
        if cost(levels) > budget or side(levels) > side_share * budget:
            return None
        # One step of a large group may be more than what is left: then others that are next to rise, and small enough, do.
        rising = np.argsort((means * beta - np.array(RATES)[levels]).ravel())[: -TRIES - 1 : -1]
        for index in rising:
            if budget - cost(levels) <= TOLERANCE * budget:
                break
            higher = levels.copy()
            higher.ravel()[index] = min(higher.ravel()[index] + 1, len(RATES) - 1)
            levels = higher if cost(higher) <= budget else levels
        return self.with_side(levels, group, information.shape, snr_db, fading)

    def with_side(self, levels: Levels, group: int, shape: tuple[int, ...], snr_db: float | None, fading: Fading) -> Allocation:
        """The allocation that gives groups these levels, with its side symbols."""
        payload = rate_indices.encode(levels, group, self.tables)
        side = PayloadFormat.choose(payload.size, snr_db=snr_db, fading=fading)
        each = spread(levels, group, (shape[0], shape[1]))
        return Allocation(each, side.transmit(payload), side, group, self.pilots(symbols_of(each)))

    def at_beta(
        self, information: Floats, beta: float, *, snr_db: float | None, fading: Fading, side_share: float = MOST_SIDE
    ) -> Allocation:
        """k_i = Q(−β log2 p(z_i | ŷ)) (eq. 3), with the smallest groups whose levels fit into ``side_share`` of all symbols, else
        the largest."""
        for group in GROUPS:
            levels = quantise(beta * group_means(information, group))
            found = self.with_side(levels, group, information.shape, snr_db, fading)
            if found.side_symbols.size <= side_share * found.symbols:
                break
        return found

    def _grid(self, levels: Levels, shape: tuple[int, int], device: torch.device) -> Tensor:
        """Levels as the code takes them, [1, rows, columns] with the padding's embeddings."""
        grid = torch.full((1, *shape), len(RATES), device=device)
        grid[0, : levels.shape[0], : levels.shape[1]] = torch.from_numpy(levels)
        return grid

    def send(self, z: Tensor, levels: Levels, snr_db: float | None) -> Tensor:
        """s = f_e(z, levels) (eq. 4) with E|s|² = 1: complex [k], differentiable in z. ``snr_db``: what the transmitter knows."""
        grid = self._grid(levels, (z.shape[2], z.shape[3]), z.device)
        mask = self.code.mask(grid)
        code = self.code.encode(z, grid, torch.tensor([math.nan if snr_db is None else snr_db], device=z.device))
        if not self.code.piloted:
            return pack(unit_power(code, mask)[0], mask[0])
        packed = pack(code[0], mask[0])
        return with_pilots(packed[None], self.pilots(len(packed)))[0]

    def receive(
        self, equalised: Tensor, reliability: Tensor, levels: Levels, size: tuple[int, int], tx_snr_db: float = math.nan
    ) -> Tensor:
        """ẑ [1, C, H'/factor, W'/factor] of MMSE-equalised symbols, complex [k], each of ``reliability`` |h|²/(|h|² + N0), [k];
        where the code knows it, with the standard deviation of its error [1, 2C, …].

        Args:
            levels: where they take fewer than all symbols, of the first of the code. size: (H', W') of the padded picture.
            tx_snr_db: what the transmitter knew, NaN for nothing.
        """
        grid = self._grid(levels, self.shape(size), equalised.device)
        mask = self.code.mask(grid)
        sent = None
        if self.code.piloted:
            places = pilot_places(len(equalised), pilots(len(equalised))).to(equalised.device)
            sent = size_of(equalised[None, places], reliability[None, places])[0]
            equalised, reliability = equalised[~places], reliability[~places]
        count = int(mask.sum())
        symbols, r = (unpack(part[:count], mask[0])[None] for part in (equalised, reliability))
        return self.code.receive(symbols, r, grid, torch.tensor([tx_snr_db], device=equalised.device), sent)

    def transmit(
        self, image: Tensor, size: tuple[int, int], request: Request, snr_db: Tensor, kind: Kind = "adaptive"
    ) -> Transmission:
        """An image [1, 3, H', W'] as many symbols as are asked for, side symbols included. ``snr_db``: what the code is given [1].

        Raises:
            RateError: fewer symbols than embeddings.
        """
        z = finite(self.latent(image), "transform")
        found = self.allocate(self.information(z, size), request.symbols, snr_db=request.snr_db, fading=request.fading, kind=kind)
        return self.transmission(z, found, None if request.snr_db is None else float(snr_db))

    def transmission(self, z: Tensor, rates: Allocation, snr_db: float | None, notes: tuple[str, ...] = ()) -> Transmission:
        """z at these rates, as :meth:`send` has it, and the rates as side symbols."""
        return Transmission(
            as_symbols(self.send(z, rates.levels, snr_db), "jscc"), rates.side_symbols, side=rates.side, notes=notes
        )

    def levels_at_receiver(self, received: Received) -> tuple[Levels, bool | None]:
        """The levels, and whether the side symbols arrived (None where there are none).

        Without side symbols: the uniform allocation. Where they are lost: every embedding at the lowest level, whose symbols come
        first, so that the first ``rows · columns`` symbols still say a little.

        Raises:
            InputError: the number of symbols is none that a transmitter sends.
        """
        shape, side = self.shape(received.image_size), received.side
        symbols = received.symbols.size - pilots(received.symbols.size) * self.code.piloted
        if symbols < shape[0] * shape[1]:
            raise InputError(f"symbols: {symbols} are fewer than the {shape[0] * shape[1]} embeddings of an image of this size")
        if side is None and received.side_symbols.size:
            raise InputError("side symbols: are there, and the header does not say how they carry bits (meta.side)")
        if side is None:
            levels = uniform(symbols, shape)
        else:
            payload = side.receive(received.side_symbols, received.side_gain, received.n0)
            decoded = None if payload is None else rate_indices.decode(payload, shape, self.tables)
            if decoded is None:
                return np.zeros(shape, np.int64), False
            levels = spread(decoded[0], decoded[1], shape)
        if symbols_of(levels) != symbols:
            raise InputError(f"symbols: there are {symbols}, and the rates take {symbols_of(levels)}")
        return levels, None if side is None else True

    def rate_map(self, received: Received) -> tuple[NDArray[np.int64], bool | None]:
        """Symbols of each block of the image [rows, columns], and whether the side symbols arrived."""
        levels, side_ok = self.levels_at_receiver(received)
        return np.array(RATES)[levels].astype(np.int64), side_ok

    def coarse(self, z: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The coarse image g_s(ẑ) [1, 3, H', W'] in [−1, 1], not clamped, and the contexts of ẑ."""
        contexts = self.transform.contexts(z)
        return self.transform.image(z, contexts), contexts
