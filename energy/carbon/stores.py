"""What batteries and EVs hold, over a period that may have gaps."""

from __future__ import annotations

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
