"""What batteries and EVs hold and drive, over a period that may have gaps, by the entries of its assets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from energy.carbon.rates import local_days
from energy.domain.network import FloatArray
from energy.domain.period import Period


@dataclass(frozen=True)
class TankChanges:
    """Change of every tank by hour, MWh and kg, shape (hours, storages); NaN where no day is stored."""

    mwh: FloatArray
    kg: FloatArray


def tank_changes(period: Period) -> TankChanges:
    """The change in each hour: from the hour before, at a stored day's start from what the day opened
    with. So the changes of a period add up without the days that are missing."""
    days, day_of_hour = local_days(period.time, period.zone)
    first = np.searchsorted(day_of_hour, np.arange(len(days)))
    position = {str(day): int(hour) for day, hour in zip(days, first, strict=True)}
    opened = [position[run.day] for run in period.days]

    def change(tank: FloatArray, opening: FloatArray) -> FloatArray:
        before = np.vstack((np.full((1, tank.shape[1]), np.nan), tank[:-1]))
        before[opened] = opening
        return np.asarray(tank - before)

    return TankChanges(change(period.tank_mwh, period.opening_mwh), change(period.tank_kg, period.opening_kg))


def by_entry(period: Period, values: FloatArray, entries: Sequence[int]) -> FloatArray:
    """A table of storages, shape (hours, storages), by some of the period's asset entries, shape (hours,
    len(entries)); entries without a storage get 0.

    An asset whose entry changed (its bus, its fleet) stands once per entry: each local day belongs to
    the entry that had most to do on it, the first of them on an idle day.
    """
    found = np.zeros((len(values), len(entries)))
    days, day_of_hour = local_days(period.time, period.zone)
    same: dict[str, list[int]] = {}
    for k, asset in enumerate(period.assets):
        same.setdefault(asset.id, []).append(k)
    column = {name: k for k, name in enumerate(period.storages)}
    for place, entry in enumerate(entries):
        name = period.assets[entry].id
        if name not in column:
            continue
        series = values[:, column[name]]
        if len(same[name]) > 1:
            busy = np.abs(period.drawn_mwh[:, same[name]]) + np.abs(period.injected_mwh[:, same[name]])
            daily = np.zeros((len(days), len(same[name])))
            np.add.at(daily, day_of_hour, np.nan_to_num(busy))
            owner = np.array(same[name])[daily.argmax(axis=1)][day_of_hour]
            series = np.where(owner == entry, series, 0.0)
        found[:, place] = series
    return found
