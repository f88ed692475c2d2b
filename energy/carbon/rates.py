"""Emission factors hour by hour, and what they make of energy: amounts with interval and estimated share."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import date
from zoneinfo import ZoneInfo

import numpy as np

from energy.domain.errors import InputError
from energy.domain.factors import Factor
from energy.domain.network import BoolArray, FloatArray, IntArray
from energy.domain.time import TimeGrid


@dataclass(frozen=True, slots=True)
class Amount:
    """Carbon of some energy.

    Attributes:
        kg: NaN where a part of the energy has no factor: not estimated (NE), never zero.
        low_kg, high_kg: with all factors at the lower, and all at the upper end of their ranges, so that
            intervals add up like the amounts themselves (of energy fed back, low is above high); NaN where
            a factor gives no range.
        mwh: the energy. estimated_share: share of it whose factor is an estimate, 0 to 1.
    """

    kg: float
    low_kg: float
    high_kg: float
    mwh: float
    estimated_share: float

    @property
    def known(self) -> bool:
        return bool(np.isfinite(self.kg))

    @property
    def g_per_kwh(self) -> float:
        """The mean intensity; NaN where nothing was used or a part is unknown."""
        return ratio(self.kg, self.mwh)


def ratio(part: float, whole: float) -> float:
    """Part over whole; NaN of nothing."""
    return part / whole if whole else float("nan")


def together(amounts: Iterable[Amount]) -> Amount:
    """The sum of amounts of one ledger; nothing at all is zero."""
    parts = tuple(amounts)
    weight = sum(abs(part.mwh) for part in parts)
    estimated = sum(abs(part.mwh) * part.estimated_share for part in parts)
    return Amount(
        math.fsum(part.kg for part in parts),
        math.fsum(part.low_kg for part in parts),
        math.fsum(part.high_kg for part in parts),
        math.fsum(part.mwh for part in parts),
        estimated / weight if weight else 0.0,
    )


@dataclass(frozen=True)
class Rate:
    """One emission factor per hour, each as valid on that hour's local day.

    Attributes:
        g_per_kwh, low, high: shape (hours,); `g_per_kwh` NaN where no factor is valid, `low` and `high`
            also where the source gives no range.
        estimated: 1 where the factor is marked as an estimate (a stand-in included), else 0.
        factors: every factor used, in order. gaps: why hours have none, one sentence each.
    """

    g_per_kwh: FloatArray
    low: FloatArray
    high: FloatArray
    estimated: FloatArray
    factors: tuple[Factor, ...]
    gaps: tuple[str, ...] = ()

    def kg(self, mwh: FloatArray) -> FloatArray:
        """Carbon of `mwh`, shape (hours, …), hour by hour; hours of unknown energy stay NaN."""
        return carbon_kg(mwh, self.g_per_kwh)

    def ends(self, mwh: FloatArray, hours: slice) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Carbon of `mwh` in some of the hours, shape (len(hours), …), and its low and high ends."""
        kg, low, high = (carbon_kg(mwh, values[hours]) for values in (self.g_per_kwh, self.low, self.high))
        return kg, low, high

    def amounts(self, mwh: FloatArray, estimated: BoolArray | None = None) -> tuple[Amount, ...]:
        """The whole of each column of `mwh`, shape (hours, n). Hours of unknown energy are left out:
        `Period.covered` says how many. `estimated` marks hours whose energy is an estimate."""
        kg, low, high = (carbon_kg(mwh, values) for values in (self.g_per_kwh, self.low, self.high))
        known = np.isfinite(mwh)
        energy = np.where(known, mwh, 0.0)
        weight = np.abs(energy)
        doubtful = self.estimated if estimated is None else np.where(estimated, 1.0, self.estimated)
        total = weight.sum(axis=0)
        share = np.divide(doubtful @ weight, total, out=np.zeros_like(total), where=total > 0)
        sums = (np.where(known, values, 0.0).sum(axis=0) for values in (kg, low, high, energy))
        return tuple(Amount(*map(float, column)) for column in zip(*sums, share, strict=True))

    def amount(self, mwh: FloatArray, estimated: BoolArray | None = None) -> Amount:
        """The whole of one series, shape (hours,)."""
        return self.amounts(mwh[:, None], estimated)[0]

    @property
    def factor_keys(self) -> tuple[str, ...]:
        """The key of every factor used (`Factor.key`), sorted."""
        return tuple(sorted(factor.key for factor in self.factors))

    @property
    def delivered(self) -> bool:
        """Whether every factor counts per kWh delivered, network losses included."""
        return bool(self.factors) and all(factor.delivered for factor in self.factors)

    @property
    def estimates(self) -> tuple[str, ...]:
        """How the factors marked as estimates came about, one sentence each."""
        return tuple(f"{factor.key}: {factor.note}" for factor in self.factors if factor.estimated)


def rate(time: TimeGrid, zone: ZoneInfo, find: Callable[[date], Factor]) -> Rate:
    """The factor of every hour: `find` is asked once for each local day.

    `find` is a look-up of the factor registry, as in ``partial(registry.grid_average, "DE")``; where it
    knows none (`InputError`), the day's hours have no factor. With its ``stand_in`` the nearest one takes
    the place, and the hours count as estimated.
    """
    days, day_of_step = local_days(time, zone)
    values = np.full((len(days), 4), np.nan)
    factors: dict[tuple[str, int, date], Factor] = {}
    gaps: dict[str, None] = {}
    for k, day in enumerate(days):
        try:
            factor = find(day)
        except InputError as error:
            gaps |= dict.fromkeys(str(fault) for fault in error.faults)
            values[k, 3] = 0.0
            continue
        factors[factor.id, factor.version, factor.valid_from] = factor
        low, high = (np.nan if bound is None else bound for bound in (factor.low, factor.high))
        values[k] = factor.g_per_kwh, low, high, float(factor.estimated)
    g_per_kwh, low, high, estimated = values[day_of_step].T
    return Rate(g_per_kwh, low, high, estimated, tuple(factors.values()), tuple(gaps))


def local_days(time: TimeGrid, zone: ZoneInfo) -> tuple[list[date], IntArray]:
    """The local days that `time` touches, in order, and the position of each step's day among them."""
    days: list[date] = []
    position = np.empty(time.steps, dtype=np.int64)
    for step, instant in enumerate(time):
        day = instant.astimezone(zone).date()
        if not days or days[-1] != day:
            days.append(day)
        position[step] = len(days) - 1
    return days, position


def carbon_kg(mwh: FloatArray, g_per_kwh: FloatArray) -> FloatArray:
    """MWh, shape (hours, …), × g/kWh, shape (hours,) = kg; no energy has no carbon, whatever the rate."""
    factor = g_per_kwh.reshape(-1, *(1,) * (mwh.ndim - 1))
    return np.where(mwh == 0, 0.0, mwh * factor)
