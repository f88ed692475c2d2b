"""The carbon coefficient of EVs: from the charging network to grams per kilometre.

Charging adds the traced carbon of its bus and hour to the battery, a perfect mixing tank (see `tank`);
driving and V2G take the tank's mix out. So g/km is what was really driven on, not an average of the grid,
and for any group of vehicles and any hours

    driven + exported + residual + change of the tanks = charged.

V2G exports carry their carbon to whoever uses them; no "avoided" grams are deducted. What charging causes
at the margin is another question with its own figure (`EvGroup.marginal`), never added to this one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import numpy as np

from energy.carbon.marginal import Marginal
from energy.carbon.rates import Amount, ratio
from energy.carbon.stores import by_entry, tank_changes
from energy.domain.network import FloatArray, IntArray
from energy.domain.period import AssetEntry, Period

Key = TypeVar("Key", bound=Hashable)


@dataclass(frozen=True, slots=True)
class EvGroup:
    """What some vehicles did in some hours.

    Attributes:
        charged_mwh, charged_kg: at the plug. exported_mwh, exported_kg: V2G at the plug.
        driven_mwh, driven_kg: from the battery; distance_km: driven.
        change_kg: of the carbon in the batteries.
        marginal: what charging less V2G causes at the margin; None where not asked for, kg NaN where the
            marginal intensity is not known (NE).
        estimated_share: share of the charged energy's upstream intensity that is an estimate, 0 to 1.
    """

    charged_mwh: float
    charged_kg: float
    exported_mwh: float
    exported_kg: float
    driven_mwh: float
    driven_kg: float
    distance_km: float
    change_kg: float
    estimated_share: float
    marginal: Amount | None = None

    @property
    def g_per_km(self) -> float:
        """Carbon driven on per kilometre; NaN where nothing was driven."""
        return ratio(self.driven_kg * 1000.0, self.distance_km)

    @property
    def charged_g_per_kwh(self) -> float:
        """Intensity at the plug; NaN where nothing was charged."""
        return ratio(self.charged_kg, self.charged_mwh)

    @property
    def kwh_per_km(self) -> float:
        """From the battery; NaN where nothing was driven."""
        return ratio(self.driven_mwh * 1000.0, self.distance_km)

    @property
    def residual_kg(self) -> float:
        """Charged − driven − exported − change: what emptied tanks gave up, and rounding."""
        return self.charged_kg - self.driven_kg - self.exported_kg - self.change_kg

    @property
    def marginal_g_per_kwh(self) -> float:
        """What one kWh of net charging causes at the margin, on average; NaN where not known."""
        return float("nan") if self.marginal is None else self.marginal.g_per_kwh


@dataclass(frozen=True)
class EvLedger:
    """The EVs of a period, to be grouped by vehicle or by hour; all groups come from the same arrays,
    shape (hours, evs)."""

    period: Period
    evs: tuple[AssetEntry, ...]
    charged_mwh: FloatArray
    charged_kg: FloatArray
    exported_mwh: FloatArray
    exported_kg: FloatArray
    driven_mwh: FloatArray
    driven_kg: FloatArray
    distance_km: FloatArray
    change_kg: FloatArray
    marginal_kg: FloatArray | None

    def city(self) -> EvGroup:
        return self._group(np.arange(len(self.evs)), None)

    def by_vehicle(self) -> dict[str, EvGroup]:
        return self._by_asset(lambda asset: asset.id)

    def by_hub(self) -> dict[int, EvGroup]:
        """By the bus that the charger is connected to."""
        return self._by_asset(lambda asset: asset.bus)

    def by_district(self) -> dict[str, EvGroup]:
        return self._by_asset(lambda asset: asset.district)

    def by_fleet(self) -> dict[str, EvGroup]:
        """By vehicle class, the fleet of the EV."""
        return self._by_asset(lambda asset: asset.group)

    def by_hour_of_day(self) -> dict[int, EvGroup]:
        """By local hour, 0 to 23. Driving counts in the hour of arrival: the plug knows no earlier."""
        return self._by_time([instant.hour for instant in self._local])

    def by_month(self) -> dict[str, EvGroup]:
        """By local month, ``2016-06``."""
        return self._by_time([f"{instant:%Y-%m}" for instant in self._local])

    @property
    def _local(self) -> list[datetime]:
        return [instant.astimezone(self.period.zone) for instant in self.period.time]

    def _by_asset(self, key: Callable[[AssetEntry], Key]) -> dict[Key, EvGroup]:
        members: dict[Key, list[int]] = {}
        for k, asset in enumerate(self.evs):
            members.setdefault(key(asset), []).append(k)
        return {name: self._group(np.array(chosen), None) for name, chosen in members.items()}

    def _by_time(self, keys: list[Key]) -> dict[Key, EvGroup]:
        members: dict[Key, list[int]] = {}
        for hour, name in enumerate(keys):
            members.setdefault(name, []).append(hour)
        every = np.arange(len(self.evs))
        return {name: self._group(every, np.array(hours)) for name, hours in members.items()}

    def _group(self, evs: IntArray, hours: IntArray | None) -> EvGroup:
        rows = np.arange(len(self.charged_mwh)) if hours is None else hours
        chosen = np.ix_(rows, evs)

        def total(values: FloatArray) -> float:
            return float(np.nansum(values[chosen]))

        charged = np.nan_to_num(self.charged_mwh[chosen]).sum(axis=1)
        share = self._share(charged, rows)
        return EvGroup(
            charged_mwh=total(self.charged_mwh),
            charged_kg=total(self.charged_kg),
            exported_mwh=total(self.exported_mwh),
            exported_kg=total(self.exported_kg),
            driven_mwh=total(self.driven_mwh),
            driven_kg=total(self.driven_kg),
            distance_km=total(self.distance_km),
            change_kg=total(self.change_kg),
            estimated_share=share,
            marginal=self._at_margin(evs, rows),
        )

    def _share(self, mwh: FloatArray, rows: IntArray) -> float:
        weights = np.zeros(self.period.time.steps)
        weights[rows] = mwh
        return self.period.estimated_share(weights)

    def _at_margin(self, evs: IntArray, rows: IntArray) -> Amount | None:
        if self.marginal_kg is None:
            return None
        chosen = np.ix_(rows, evs)
        net = (self.charged_mwh - self.exported_mwh)[chosen]
        known = np.isfinite(net)
        weight = np.where(known, np.abs(net), 0.0).sum(axis=1)
        share = self._share(weight, rows)
        nan = float("nan")
        kg = float(self.marginal_kg[chosen][known].sum())
        return Amount(kg, nan, nan, float(net[known].sum()), share)


def ev_ledger(period: Period, marginal: Marginal | None = None, kinds: Collection[str] = ("ev",)) -> EvLedger:
    """The EVs of `period`, every asset of `kinds`; with `marginal` the consequential statement too."""
    plug = [k for k, asset in enumerate(period.assets) if asset.kind in kinds]
    evs = tuple(period.assets[k] for k in plug)
    at_plug = (period.drawn_mwh, period.drawn_kg, period.injected_mwh, period.injected_kg)
    in_battery = (period.driven_mwh, period.driven_kg, period.distance_km, tank_changes(period).kg)
    flows = [table[:, plug] for table in at_plug] + [by_entry(period, table, plug) for table in in_battery]
    # an hour of which a part is unknown is left out as a whole: what remains closes
    unknown = ~np.logical_and.reduce([np.isfinite(flow) for flow in flows])
    charged, charged_kg, exported, exported_kg, driven, driven_kg, distance, change = (
        np.where(unknown, np.nan, flow) for flow in flows
    )
    at_margin = None
    if marginal is not None:
        at_margin = np.where(unknown, np.nan, marginal.kg[:, plug])
    return EvLedger(
        period=period,
        evs=evs,
        charged_mwh=charged,
        charged_kg=charged_kg,
        exported_mwh=exported,
        exported_kg=exported_kg,
        driven_mwh=driven,
        driven_kg=driven_kg,
        distance_km=distance,
        change_kg=change,
        marginal_kg=at_margin,
    )
