"""Reporting years: what a period is of one, and where the running one will end, from its days so far."""

from __future__ import annotations

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Literal

import numpy as np

from energy.carbon.rates import local_days
from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray
from energy.domain.period import Period


def by_day(period: Period, hourly: FloatArray) -> dict[date, float]:
    """Sums of an hourly series, shape (hours,), by local day; days with an unknown hour are left out."""
    days, position = local_days(period.time, period.zone)
    sums = np.bincount(position, weights=hourly, minlength=len(days))
    return {day: float(total) for day, total in zip(days, sums, strict=True) if np.isfinite(total)}


def year_share(period: Period, year: int, first_month: int = 1) -> float:
    """Which share of the hours of a reporting year `period` covers, 0 to 1."""
    first, last = (
        datetime(number, first_month, 1, tzinfo=period.zone).astimezone(UTC) for number in (year, year + 1)
    )
    common = min(last, period.time.end) - max(first, period.time.start)
    return max(common, timedelta(0)) / (last - first)


ForecastMethod = Literal["complete", "seasonal", "linear"]


@dataclass(frozen=True, slots=True)
class YearForecast:
    """Emissions of a whole year.

    Attributes:
        method: ``complete`` (every day is known), ``seasonal`` (the days that are missing as in the year
            before, scaled by how this year's days compare with the same days then), or ``linear`` (the
            days that are missing at the mean of those known).
        known_share: share of the year's days that are known.
        low, high: with the scale, or daily mean, of the lowest and highest month so far; NaN while fewer
            than two months have known days.
    """

    value: float
    low: float
    high: float
    method: ForecastMethod
    known_share: float


def year_forecast(
    daily: Mapping[date, float], year: int, before: Mapping[date, float] | None = None, first_month: int = 1
) -> YearForecast:
    """Where the year will end, from its days so far.

    Args:
        daily: emissions of the known days, ≥ 0, in any unit. before: those of the year before; used if
            it has every day. first_month: 4 for fiscal years from April.

    Raises:
        InputError: no day of the year is known.
    """
    days = _days_of_year(year, first_month)
    known = {day: daily[day] for day in days if day in daily and np.isfinite(daily[day])}
    if not known:
        raise InputError(Fault(f"year {year}", "no day is known; operate the city over some of it first"))
    total, share = sum(known.values()), len(known) / len(days)
    missing = [day for day in days if day not in known]
    if not missing:
        return YearForecast(total, total, total, "complete", 1.0)
    last_year = {day: (before or {}).get(_year_before(day), float("nan")) for day in days}
    seasonal = all(np.isfinite(value) for value in last_year.values()) and all(
        sum(last_year[day] for day in known if day.month == month) > 0 for month in {d.month for d in known}
    )
    weight = last_year if seasonal else dict.fromkeys(days, 1.0)
    ahead = sum(weight[day] for day in missing)
    scale = total / sum(weight[day] for day in known)
    months = [
        sum(known[day] for day in known if day.month == month)
        / sum(weight[day] for day in known if day.month == month)
        for month in sorted({day.month for day in known})
    ]
    ends = (min(months), max(months)) if len(months) > 1 else (float("nan"), float("nan"))
    return YearForecast(
        total + ahead * scale,
        total + ahead * ends[0],
        total + ahead * ends[1],
        "seasonal" if seasonal else "linear",
        share,
    )


def _days_of_year(year: int, first_month: int) -> list[date]:
    first, end = date(year, first_month, 1), date(year + 1, first_month, 1)
    return [first + timedelta(days=k) for k in range((end - first).days)]


def _year_before(day: date) -> date:
    """The same day a year before; 28 February for a leap day."""
    last = calendar.monthrange(day.year - 1, day.month)[1]
    return date(day.year - 1, day.month, min(day.day, last))
