"""Why the traced figure differs from the official one, term by term.

Both are location-based and concern the same energy. With the net use E of an asset and hour, its official
factor f and the upstream intensity u that the trace starts from (ū its mean over time),

    traced = official + Σ E (ū − f) + Σ E (u − ū) + Σ (traced − E u):

the level of the factor (its source, year and basis: direct against life-cycle), the hours in which energy
is used, and what local generation, storage and the network make of the upstream mix.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from energy.carbon.grid_average import GridAverage
from energy.carbon.rates import carbon_kg
from energy.carbon.stores import Stores
from energy.domain.network import BoolArray, FloatArray
from energy.domain.period import CITY, AccountedDay, Period, TracedCarbon, ends_of


@dataclass(frozen=True, slots=True)
class Difference:
    """Traced against official carbon of the same energy, kg; NaN where the official factor is unknown.

    Attributes:
        official_kg, traced_kg: of use. level_kg, timing_kg, local_kg: the terms of the module's equation.
        official_losses_kg: at the official loss factor, NaN without one; traced_losses_kg: of the city's
            own network, as traced. The official factor covers the grid upstream as well.
        ends: the same with all factors at the low and at the high end of their ranges; NaN where these are
            not known.
    """

    official_kg: float
    level_kg: float
    timing_kg: float
    local_kg: float
    traced_kg: float
    official_losses_kg: float
    traced_losses_kg: float
    ends: tuple[Difference, ...] = ()


def difference(ledger: GridAverage, period: Period) -> dict[str, Difference]:
    """The difference of every district, and under `CITY` of all together."""
    names = (*period.districts, CITY)
    member = np.array(
        [[float(asset.district == name or name == CITY) for name in names] for asset in period.assets]
    ).reshape(len(period.assets), len(names))
    stores = Stores(period)

    def traced(day: AccountedDay) -> FloatArray:
        """What was used up, by place, and at both ends of the ranges."""

        def of(carbon: TracedCarbon) -> FloatArray:
            used = stores.net_use(day, carbon.drawn_kg, carbon.injected_kg, carbon.tank_change_kg)
            return np.asarray(used @ member)

        found = of(day.carbon)
        ends = [np.full_like(found, np.nan)] * 2 if day.ends is None else map(of, day.ends)
        return np.hstack([found, *ends])

    by_end = np.split(period.hourly(traced, 3 * len(names)), 3, axis=1)
    energy, upstream = ledger.energy_mwh @ member, period.upstream
    losses, own = ledger.losses, period.actual.districts
    unknown = np.full(period.time.steps, np.nan)
    solved = np.isfinite(own["loss_emissions_kg"]).all(axis=1)
    rates = (
        (ledger.factor.g_per_kwh, ledger.factor.low, ledger.factor.high),
        (unknown,) * 3 if losses is None else (losses.g_per_kwh, losses.low, losses.high),
        (upstream["carbon_g_per_kwh"], *ends_of(upstream, "carbon_g_per_kwh")),
        [table[solved] for table in (own["loss_emissions_kg"], *ends_of(own, "loss_emissions_kg"))],
    )
    stored = np.isfinite(upstream["carbon_g_per_kwh"])
    value, *ends = (_terms(energy, stored, *found) for found in zip(by_end, *rates, strict=True))
    return {
        name: replace(found, ends=of_ends) for name, found, *of_ends in zip(names, value, *ends, strict=True)
    }


def _terms(
    energy: FloatArray,
    stored: BoolArray,
    traced: FloatArray,
    factor: FloatArray,
    loss_factor: FloatArray,
    upstream: FloatArray,
    own_losses: FloatArray,
) -> list[Difference]:
    """The terms of every place by one set of factors: `energy` and `traced` of shape (hours, places), g/kWh
    of shape (hours,), losses of the districts (n, districts); `stored` hours make the mean."""
    known, mean = np.isfinite(energy), float(upstream[stored].mean())

    def total(hourly: FloatArray) -> FloatArray:
        return np.where(known, hourly, 0.0).sum(axis=0)

    official = carbon_kg(energy, factor)
    of_districts = own_losses.sum(axis=0)
    terms = (
        total(official),
        total(energy * mean - official),
        total(energy * (upstream - mean)[:, None]),
        total(traced - energy * upstream[:, None]),
        total(traced),
        total(energy * loss_factor[:, None]),
        np.append(of_districts, of_districts.sum()),
    )
    return [Difference(*place) for place in np.stack(terms, axis=1).tolist()]
