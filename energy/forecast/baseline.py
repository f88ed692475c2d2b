"""The baseline forecast: the mean of the same quarter-hour on the last four like days.

Like days are workdays, Saturdays, and Sundays with holidays. It is the yardstick that later forecasts
must beat, and it knows no weather: it misses most of what sun and wind do tomorrow.
"""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

import numpy as np

from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray, IntArray
from energy.domain.time import TimeGrid, format_instant

LIKE_DAYS = 4

DayClass = Literal["workday", "Saturday", "Sunday or holiday"]


@dataclass(frozen=True)
class Forecast:
    """What is expected over `time`, from nothing that was not known at `issued`.

    Attributes:
        values: shape (steps, columns), in the unit of the history.
        like_days: how many days stand behind each step, 1 to 4, shape (steps,).
    """

    time: TimeGrid
    issued: datetime
    values: FloatArray
    like_days: IntArray

    @property
    def notices(self) -> tuple[str, ...]:
        """What is poor about the forecast, in words."""
        poor = self.like_days < LIKE_DAYS
        if not poor.any():
            return ()
        start, fewest = format_instant(self.time.start), self.like_days.min()
        steps = f"{poor.sum()} of {self.time.steps} steps"
        return (
            f"forecast from {start}: {steps} rest on fewer than {LIKE_DAYS} like days ({fewest} at least)",
        )


def noon_before(day: date, zone: ZoneInfo) -> datetime:
    """When a forecast for `day` is issued: noon local time on the day before, in UTC."""
    before = day - timedelta(days=1)
    return datetime(before.year, before.month, before.day, 12, tzinfo=zone).astimezone(UTC)


def day_class(day: date, holidays: Container[date] = ()) -> DayClass:
    """The class whose days are alike."""
    if day.weekday() == 6 or day in holidays:
        return "Sunday or holiday"
    return "Saturday" if day.weekday() == 5 else "workday"


def forecast(
    history: TimeGrid,
    values: FloatArray,
    target: TimeGrid,
    zone: ZoneInfo,
    issued: datetime,
    *,
    holidays: Container[date] = (),
) -> Forecast:
    """Forecast `target` from `values` of shape (history.steps, columns), as known at `issued`.

    An interval is known once it has ended. Quarter-hours are matched by the local clock: the hour that is
    skipped in spring is taken from earlier like days, the hour that comes twice in autumn is forecast
    twice alike and remembered by its first pass.

    Raises `InputError` where a day has no earlier like day in the history, `ValueError` where history and
    target differ in resolution or a value that would be used is not finite.
    """
    if target.resolution != history.resolution or history.position(target.start) % 1:
        raise ValueError(f"{target} is not aligned with the history, {history}")
    expected = np.zeros((target.steps, values.shape[1]))
    counts = np.zeros(target.steps, dtype=np.int64)
    slots = _clock_slots(target, zone)
    slots_per_day = timedelta(days=1) // target.resolution
    dates = np.array([instant.astimezone(zone).date() for instant in target])
    faults = []
    for day in sorted(set(dates)):
        steps = np.flatnonzero(dates == day)
        total = np.zeros((slots_per_day, values.shape[1]))
        count = np.zeros(slots_per_day, dtype=np.int64)
        for slot, known in _like_days(day, history, values, zone, issued, holidays):
            wanted = count[slot] < LIKE_DAYS
            total[slot[wanted]] += known[wanted]
            count[slot[wanted]] += 1
            if (count[slots[steps]] == LIKE_DAYS).all():
                break
        counts[steps] = count[slots[steps]]
        if (counts[steps] == 0).any():
            faults.append(
                Fault(
                    day.isoformat(),
                    f"has no earlier {day_class(day, holidays)} in the data that was known at "
                    f"{format_instant(issued)}; plan a later day, or plan with perfect information",
                )
            )
            continue
        expected[steps] = total[slots[steps]] / counts[steps, None]
    if faults:
        raise InputError(faults)
    if not np.isfinite(expected).all():
        raise ValueError("the history has values that are not finite")
    return Forecast(target, issued, expected, counts)


def _clock_slots(time: TimeGrid, zone: ZoneInfo) -> IntArray:
    """The place of each step on the local clock, 0 to 95 for quarter-hours."""
    clock = [instant.astimezone(zone) for instant in time]
    return np.array([timedelta(hours=at.hour, minutes=at.minute) // time.resolution for at in clock])


def _like_days(
    day: date,
    history: TimeGrid,
    values: FloatArray,
    zone: ZoneInfo,
    issued: datetime,
    holidays: Container[date],
) -> Iterator[tuple[IntArray, FloatArray]]:
    """The days like `day` before it, latest first: their known steps as clock slots and values."""
    past = day
    while True:
        past -= timedelta(days=1)
        time = TimeGrid.local_day(past, zone, history.resolution)
        if time.end <= history.start:
            return
        if day_class(past, holidays) != day_class(day, holidays):
            continue
        steps = np.arange(time.steps)
        rows = round(history.position(time.start)) + steps
        known = (rows >= 0) & (rows < history.steps) & (steps + 1 <= time.position(issued))
        slots, where = np.unique(_clock_slots(time, zone)[known], return_index=True)
        yield slots, values[rows[known][where]]
