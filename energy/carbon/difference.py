"""Why the traced figure differs from the official one, term by term.

Both are location-based and concern the same energy. With the net use E of an asset and hour, its official
factor f and the upstream intensity u that the trace starts from (ū its mean over time),

    traced = official + Σ E (ū − f) + Σ E (u − ū) + Σ (traced − E u):

the level of the factor (its source, year and basis: direct against life-cycle), the hours in which energy
is used, and what local generation, storage and the network make of the upstream mix.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energy.carbon.grid_average import GridAverage
from energy.carbon.stores import Stores
from energy.domain.network import FloatArray
from energy.domain.period import CITY, Period


@dataclass(frozen=True, slots=True)
class Difference:
    """Traced against official carbon of the same energy, kg; NaN where the official factor is unknown.

    Attributes:
        official_kg, traced_kg: of use. level_kg, timing_kg, local_kg: the terms of the module's equation.
        official_losses_kg: at the official loss factor, NaN without one; traced_losses_kg: of the city's
            own network, as traced. The official factor covers the grid upstream as well.
    """

    official_kg: float
    level_kg: float
    timing_kg: float
    local_kg: float
    traced_kg: float
    official_losses_kg: float
    traced_losses_kg: float


def difference(ledger: GridAverage, period: Period) -> dict[str, Difference]:
    """The difference of every district, and under `CITY` of all together."""
    names = (*period.districts, CITY)
    member = np.array(
        [[float(asset.district == name or name == CITY) for name in names] for asset in period.assets]
    ).reshape(len(period.assets), len(names))
    stores = Stores(period)
    energy = ledger.energy_mwh @ member
    traced = period.hourly(
        lambda day: stores.net_use(day, day.drawn_kg, day.injected_kg, day.tank_change_kg) @ member,
        len(names),
    )
    official = ledger.factor.kg(energy)
    upstream = period.upstream["carbon_g_per_kwh"][:, None]
    mean = float(np.nanmean(upstream))
    known = np.isfinite(energy)
    losses = np.full(len(names), np.nan)
    if ledger.losses is not None:
        losses = np.where(known, ledger.losses.kg(energy), 0.0).sum(axis=0)
    own = period.actual.districts["loss_emissions_kg"]
    own = np.nansum(np.column_stack((own, own.sum(axis=1))), axis=0)

    def total(hourly: FloatArray) -> FloatArray:
        return np.where(known, hourly, 0.0).sum(axis=0)

    level, timing = total(energy * mean - official), total(energy * (upstream - mean))
    local = total(traced - energy * upstream)
    official_kg, traced_kg = total(official), total(traced)
    return {
        name: Difference(
            official_kg=float(official_kg[k]),
            level_kg=float(level[k]),
            timing_kg=float(timing[k]),
            local_kg=float(local[k]),
            traced_kg=float(traced_kg[k]),
            official_losses_kg=float(losses[k]),
            traced_losses_kg=float(own[k]),
        )
        for k, name in enumerate(names)
    }
