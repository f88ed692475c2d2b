"""Hydrogen and swap stations: the carbon of what vehicles take with them, out of the tank it waited in.

The store of a station is a mixing tank like that of an EV (see `tank`), its carbon carried from day to day:
an electrolyser or charger brings in the traced carbon of its bus and hour, the fuel cell or the racks give
the mix back, and vehicles take it away. So for each station and any days

    taken by vehicles + given back + residual + change of the tank = charged.

Hydrogen counts as the electricity that makes it: what electrolyser and fuel cell lose stays with what they
deliver.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from energy.carbon.ev import EvGroup, ev_ledger
from energy.carbon.marginal import Marginal
from energy.carbon.rates import ratio
from energy.domain.network import BoolArray, FloatArray
from energy.domain.period import AccountedDay, AssetEntry, Period

HYDROGEN, SWAPS = "hydrogen_station", "swap_station"


@dataclass(frozen=True, slots=True)
class Station:
    """What one station took in and gave.

    Attributes:
        asset: its first entry in the period.
        use: as of an EV: `driven_mwh` and `driven_kg` (of carbon) left with vehicles, as electricity that
            made the hydrogen or as energy in swapped batteries; `exported_…` was given back.
        hydrogen_kg: that vehicles took; NaN at a swap station, and where a day does not tell.
    """

    asset: AssetEntry
    use: EvGroup
    hydrogen_kg: float

    @property
    def kg_per_kg(self) -> float:
        """kg CO2 per kg of hydrogen delivered; NaN where none was, or its mass is not known."""
        return ratio(self.use.driven_kg, self.hydrogen_kg)

    @property
    def g_per_kwh(self) -> float:
        """Carbon per kWh that vehicles took; NaN where they took none."""
        return ratio(self.use.driven_kg, self.use.driven_mwh)


def stations(period: Period, marginal: Marginal | None = None) -> tuple[Station, ...]:
    """Every hydrogen and swap station of `period`, in the order of its assets; with `marginal` the
    consequential statement too."""
    ledger = ev_ledger(period, marginal, (HYDROGEN, SWAPS))
    entries = {asset.id: asset for asset in reversed(ledger.evs)}
    hydrogen = [name for name, asset in entries.items() if asset.kind == HYDROGEN]
    kg = _hydrogen_kg(period, hydrogen, ledger.known)
    return tuple(
        Station(entries[name], use, kg.get(name, float("nan"))) for name, use in ledger.by_vehicle().items()
    )


def _hydrogen_kg(period: Period, stations: Sequence[str], known: BoolArray) -> dict[str, float]:
    """What vehicles took of each station in the hours that the ledger knows: the others are no gap of it."""
    if not stations:
        return {}
    columns = [period.storages.index(name) for name in stations]

    def taken(day: AccountedDay) -> FloatArray:
        mwh = day.driven_mwh[:, columns]
        kg = np.full_like(mwh, np.nan) if day.hydrogen_kg is None else day.hydrogen_kg[:, columns]
        return np.where(mwh == 0, np.nan_to_num(kg), kg)

    kg = period.hourly(taken, len(columns))[known].sum(axis=0)
    return dict(zip(stations, kg.tolist(), strict=True))
