"""The carbon coefficient of EVs: from the charging network to grams per kilometre.

Charging adds the traced carbon of its bus and hour to the battery, a perfect mixing tank (see `tank`);
driving and V2G take the tank's mix out. So g/km is what was really driven on, not an average of the grid,
and for any group of vehicles and any hours

    driven + exported + residual + change of the tanks = charged

and so at either end of the factors' ranges, each an account of its own.

V2G exports carry their carbon to whoever uses them; no "avoided" grams are deducted. What charging causes
at the margin is another question with its own figure (`EvGroup.marginal`), never added to this one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar

import numpy as np

from energy.carbon.marginal import TALLIES, Marginal, amount, tallies
from energy.carbon.rates import Amount, ratio
from energy.carbon.stores import Stores
from energy.domain.network import BoolArray, FloatArray, IntArray
from energy.domain.period import AccountedDay, AssetEntry, Period, TracedCarbon

Key = TypeVar("Key", bound=Hashable)
_CARBON = ("charged_kg", "exported_kg", "driven_kg", "change_kg")
_FLOWS = ("charged_mwh", "exported_mwh", "driven_mwh", "distance_km", *_CARBON)


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
        ends: the same with all factors at the low, and all at the high end of their ranges; None where an
            hour of it has no ends.
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
    ends: tuple[EvGroup, EvGroup] | None = None

    def at_ends(self, of: Callable[[EvGroup], float]) -> tuple[float, float]:
        """A figure at the low and at the high end; NaN where these are not known."""
        nan = float("nan")
        return (nan, nan) if self.ends is None else (of(self.ends[0]), of(self.ends[1]))

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
    """The EVs of a period, to be grouped by vehicle or by hour.

    Attributes:
        of_ev, of_hour: sums over all hours and over all EVs of the same rows, shape (rows, evs) and (rows,
            hours): energies, km and carbon of `EvGroup`; that carbon at the low and at the high end (NaN
            where not known); the tallies (`marginal.tallies`) of what is charged and, where it was asked
            for, of what charging less V2G causes at the margin.
        known: hours in which some EV is known, shape (hours,).
    """

    period: Period
    evs: tuple[AssetEntry, ...]
    of_ev: FloatArray
    of_hour: FloatArray
    known: BoolArray

    def city(self) -> EvGroup:
        return _group(self.of_ev.sum(axis=1))

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
        return _groups(self.of_ev, [key(asset) for asset in self.evs])

    def _by_time(self, keys: list[Key]) -> dict[Key, EvGroup]:
        return _groups(self.of_hour, keys)


def ev_ledger(period: Period, marginal: Marginal | None = None, kinds: Collection[str] = ("ev",)) -> EvLedger:
    """The EVs of `period`, every asset of `kinds`; with `marginal` the consequential statement too."""
    plug = np.array([k for k, asset in enumerate(period.assets) if asset.kind in kinds], dtype=np.int64)
    evs, stores = tuple(period.assets[k] for k in plug), Stores(period)
    rows = len(_FLOWS) + 2 * len(_CARBON) + TALLIES * (1 if marginal is None else 2)
    of_hour = np.zeros((rows, period.time.steps))
    known = np.zeros(period.time.steps, dtype=np.bool_)
    of_days = [np.zeros((rows, len(evs)))]
    for day in period.by_day if evs else ():
        moved = (stores.by_entry(day, table, plug) for table in (day.driven_mwh, day.distance_km))
        traced = _carbon(stores, day, day.carbon, plug)
        flows = np.stack([day.drawn_mwh[:, plug], day.injected_mwh[:, plug], *moved, *traced])
        # an hour of which a part is unknown is left out as a whole: what remains closes
        unknown: BoolArray = np.logical_not(np.isfinite(flows).all(axis=0))
        charged, exported, *_ = np.where(unknown, np.nan, flows)
        ends = [np.full_like(traced, np.nan)] * 2
        if day.ends is not None:
            ends = [_carbon(stores, day, end, plug) for end in day.ends]
        parts = [np.where(unknown, 0.0, table) for table in (flows, *ends)]
        parts.append(tallies(period, day, charged, np.zeros_like(charged)))
        if marginal is not None:
            parts.append(tallies(period, day, charged - exported, marginal.kg(day)[:, plug]))
        tables = np.concatenate(parts)
        of_hour[:, day.hours] = tables.sum(axis=2)
        known[day.hours] = ~unknown.all(axis=1)
        of_days.append(tables.sum(axis=1))
    return EvLedger(period, evs, np.sum(of_days, axis=0), of_hour, known)


def _carbon(stores: Stores, day: AccountedDay, of: TracedCarbon, plug: IntArray) -> FloatArray:
    """The carbon of `_CARBON` on a day, at the plug and in the battery, shape (4, hours, evs)."""
    in_battery = (stores.by_entry(day, kg, plug) for kg in (of.driven_kg, of.tank_change_kg))
    return np.stack([of.drawn_kg[:, plug], of.injected_kg[:, plug], *in_battery])


def _groups(sums: FloatArray, keys: Sequence[Key]) -> dict[Key, EvGroup]:
    """The columns of `sums` by the key of each."""
    members: dict[Key, list[int]] = {}
    for k, name in enumerate(keys):
        members.setdefault(name, []).append(k)
    return {name: _group(sums[:, columns].sum(axis=1)) for name, columns in members.items()}


def _group(sums: FloatArray) -> EvGroup:
    width, first = len(_CARBON), len(_FLOWS)
    flows, low, high, *tallied = np.split(
        sums, [first, first + width, *range(first + 2 * width, len(sums), TALLIES)]
    )
    group = EvGroup(
        **dict(zip(_FLOWS, flows.tolist(), strict=True)),
        estimated_share=amount(tallied[0]).estimated_share,
        marginal=amount(tallied[1]) if len(tallied) > 1 else None,
    )
    if not np.isfinite([low, high]).all():
        return group
    of_end = (dict(zip(_CARBON, end.tolist(), strict=True)) for end in (low, high))
    return replace(group, ends=(replace(group, **next(of_end)), replace(group, **next(of_end))))
