"""Time: UTC, aware, of fixed step, labelled by the start of the interval."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

_DURATION = re.compile(
    r"P(?:(?P<weeks>\d+)W)?(?:(?P<days>\d+)D)?"
    r"(?:T(?:(?P<hours>\d+)H)?(?:(?P<minutes>\d+)M)?(?:(?P<seconds>\d+(?:\.\d+)?)S)?)?"
)


def parse_instant(text: str) -> datetime:
    """Read an RFC 3339 time with offset and return it in UTC.

    Raises `ValueError` for naive times: a time without an offset names two instants on the day the
    clocks go back and none in the hour they go forward.
    """
    try:
        instant = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise ValueError(f"{text!r} is not an RFC 3339 time; write it like 2016-06-21T00:00:00Z") from None
    if instant.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone; add an offset, as in {text}Z or {text}+01:00")
    try:
        return instant.astimezone(UTC)
    except OverflowError:
        raise ValueError(f"{text!r} lies outside the years 1 to 9999") from None


def format_instant(instant: datetime) -> str:
    """Write an aware time as RFC 3339 in UTC, to the second (to the microsecond where it has one)."""
    if instant.tzinfo is None:
        raise ValueError(f"{instant!r} has no time zone")
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_duration(text: str) -> timedelta:
    """Read an ISO 8601 duration of weeks, days, hours, minutes and seconds (``PT15M``)."""
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None or text.endswith(("P", "T")):
        raise ValueError(f"{text!r} is not an ISO 8601 duration; write it like PT15M, PT1H or P1D")
    try:
        return timedelta(**{unit: float(value) for unit, value in match.groupdict().items() if value})
    except OverflowError:
        raise ValueError(f"{text!r} is longer than any time span") from None


def format_duration(duration: timedelta) -> str:
    """Write a duration as ISO 8601, in the largest whole units up to hours."""
    for length, unit in ((timedelta(hours=1), "H"), (timedelta(minutes=1), "M"), (timedelta(seconds=1), "S")):
        if duration and duration % length == timedelta(0):
            return f"PT{duration // length}{unit}"
    return f"PT{duration.total_seconds():.6f}S"


@dataclass(frozen=True)
class TimeGrid:
    """`steps` intervals of equal `resolution` from `start` (UTC); interval k is [k, k+1) × resolution.

    Power is the mean of an interval; a state (energy, carbon) at index k is that at the end of
    interval k, so that the initial state is always a scalar of its own.
    """

    start: datetime
    resolution: timedelta
    steps: int

    def __post_init__(self) -> None:
        if self.start.tzinfo is None:
            raise ValueError(f"start {self.start!r} has no time zone")
        if self.resolution <= timedelta(0):
            raise ValueError(f"resolution {self.resolution} must be positive")
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; at least 1 is needed")
        object.__setattr__(self, "start", self.start.astimezone(UTC))

    @property
    def hours(self) -> float:
        """Length of one interval in hours: the only factor between MW and MWh."""
        return self.resolution / timedelta(hours=1)

    @property
    def end(self) -> datetime:
        """The end of the last interval."""
        return self.start + self.steps * self.resolution

    def instant(self, step: int) -> datetime:
        """The start of interval `step`; `step == steps` gives the end of the grid."""
        return self.start + step * self.resolution

    def step_at(self, instant: datetime) -> int:
        """The interval that contains `instant`; `IndexError` outside the grid."""
        step = (instant - self.start) // self.resolution
        if not 0 <= step < self.steps:
            raise IndexError(
                f"{format_instant(instant)} is outside {format_instant(self.start)} to "
                f"{format_instant(self.end)}"
            )
        return step

    def position(self, instant: datetime) -> float:
        """Where `instant` lies in steps from the start (2.5 = the middle of interval 2)."""
        return (instant - self.start) / self.resolution

    def positions(self, instants: Iterable[datetime]) -> NDArray[np.float64]:
        """The position of each of many."""
        start, resolution = self.start, self.resolution
        return np.array([(instant - start) / resolution for instant in instants], float)

    @cached_property
    def datetimes(self) -> NDArray[np.datetime64]:
        """Interval starts, shape (steps,), datetime64[us] in UTC."""
        first = np.datetime64(self.start.replace(tzinfo=None), "us")
        return first + np.arange(self.steps) * np.timedelta64(self.resolution, "us")

    def __iter__(self) -> Iterator[datetime]:
        return (self.instant(step) for step in range(self.steps))

    def window(self, first: int, steps: int) -> TimeGrid:
        """The grid of `steps` intervals that starts with interval `first` of this one."""
        return TimeGrid(self.instant(first), self.resolution, steps)

    def offset_of(self, inner: TimeGrid) -> int:
        """The step of this grid at which `inner` starts.

        Raises `ValueError` where `inner` has another resolution, is not aligned, or is not inside.
        """
        offset = (inner.start - self.start) / self.resolution
        if inner.resolution != self.resolution or offset != int(offset):
            raise ValueError(f"{inner} is not aligned with {self}")
        if offset < 0 or offset + inner.steps > self.steps:
            raise ValueError(
                f"{format_instant(inner.start)} to {format_instant(inner.end)} is not inside "
                f"{format_instant(self.start)} to {format_instant(self.end)}"
            )
        return int(offset)

    def document(self) -> dict[str, str | int]:
        """The grid as it stands in JSON documents."""
        return {
            "start": format_instant(self.start),
            "resolution": format_duration(self.resolution),
            "steps": self.steps,
        }

    @staticmethod
    def local_day(day: date, zone: ZoneInfo, resolution: timedelta = timedelta(minutes=15)) -> TimeGrid:
        """The local calendar day in `zone`: 92, 96 or 100 quarter-hours."""
        first = datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)
        following = day + timedelta(days=1)
        last = datetime(following.year, following.month, following.day, tzinfo=zone).astimezone(UTC)
        return TimeGrid(first, resolution, round((last - first) / resolution))
