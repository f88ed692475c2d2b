"""Tariffs of root connections: prices by time of use, and surcharges by blocks of energy.

A time-of-use tariff is a price series in other words: it is expanded when the problem is read. Blocks add
to the price of a MWh by how much the billing period has imported already.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import combinations, pairwise
from typing import Annotated, Literal, get_args
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from pydantic import AfterValidator, Field

from energy.domain.documents import Document, Items
from energy.domain.errors import Fault
from energy.domain.network import FloatArray
from energy.domain.time import TimeGrid
from optimizer.quantities import Number, Positive

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
DAYS: tuple[Day, ...] = get_args(Day)
DAY = timedelta(days=1)


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone; write it like Europe/Berlin or UTC") from None
    return name


def _clock(text: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d|24:00", text):
        raise ValueError(f"{text!r} is not a time of day; write it like 07:30, midnight at the end as 24:00")
    return text


Zone = Annotated[str, AfterValidator(_known_zone)]
"""A name of the IANA time zone database."""
Clock = Annotated[str, AfterValidator(_clock)]
"""A local time of day, ``HH:MM``, up to ``24:00``."""


def _since_midnight(clock: str) -> timedelta:
    hours, minutes = clock.split(":")
    return timedelta(hours=int(hours), minutes=int(minutes))


class Period(Document):
    """A price that holds between two local times of day, on some days of some months (null: of all)."""

    days: Annotated[Items[Day], Field(min_length=1)] = DAYS
    from_: Clock = Field(alias="from")
    to: Clock
    months: Annotated[Items[Annotated[int, Field(ge=1, le=12)]], Field(min_length=1)] | None = None
    price_per_mwh: Number

    @property
    def span(self) -> tuple[timedelta, timedelta]:
        """Its local times since midnight."""
        return _since_midnight(self.from_), _since_midnight(self.to)

    def meets(self, other: Period) -> bool:
        """Whether both hold at some time."""
        months = self.months is None or other.months is None or set(self.months) & set(other.months)
        (begin, end), (its_begin, its_end) = self.span, other.span
        return bool(months and set(self.days) & set(other.days)) and begin < its_end and its_begin < end


class Tariff(Document):
    """Prices per MWh by local time: `default_per_mwh` wherever none of the `periods` holds."""

    time_zone: Zone
    default_per_mwh: Number
    periods: Items[Period] = ()

    def faults(self, path: str) -> Iterator[Fault]:
        """Periods that contradict themselves or each other."""
        for number, period in enumerate(self.periods):
            begin, end = period.span
            if begin >= end:
                yield Fault(
                    f"{path}.periods[{number}].to",
                    f"{period.to} is not after {period.from_}; split a period at midnight, 24:00",
                )
        for (first, one), (second, other) in combinations(enumerate(self.periods), 2):
            if one.meets(other):
                yield Fault(
                    f"{path}.periods[{second}]",
                    f"overlaps periods[{first}]; a time has one price: separate their days, months or hours",
                )

    def prices(self, time: TimeGrid) -> FloatArray:
        """The price of each step, shape (steps,); a step across a change has the mean by time."""
        prices = np.full(time.steps, self.default_per_mwh)
        for begin, end, offset in _offsets(ZoneInfo(self.time_zone), time.start, time.end):
            for midnight in _midnights(begin + offset, end + offset):
                for period in self.periods:
                    if DAYS[midnight.weekday()] not in period.days:
                        continue
                    if period.months is not None and midnight.month not in period.months:
                        continue
                    opens, closes = (midnight + since - offset for since in period.span)
                    share, first = _shares(time, max(opens, begin), min(closes, end))
                    steps = slice(first, first + len(share))
                    whole = share == 1.0
                    prices[steps][whole] = period.price_per_mwh
                    prices[steps][~whole] += ((period.price_per_mwh - self.default_per_mwh) * share)[~whole]
        return prices


class Block(Document):
    """A surcharge on the energy of a billing period up to `up_to_kwh`, counted from its start (null: on
    all that follows)."""

    up_to_kwh: Positive | None = None
    price_per_mwh: Number


class Blocks(Document):
    """Surcharges per MWh on top of a root's import price, by the energy imported within the billing period.

    Billing periods are local days or months of `time_zone`, or the horizon. `so_far_kwh` is what the one
    that is under way at the start of the horizon has imported before.
    """

    period: Literal["horizon", "day", "month"]
    time_zone: Zone = "UTC"
    so_far_kwh: Positive = 0.0
    blocks: Annotated[Items[Block], Field(min_length=1)]

    def faults(self, path: str) -> Iterator[Fault]:
        """Blocks out of order."""
        edges = [block.up_to_kwh for block in self.blocks]
        if edges[-1] is not None:
            yield Fault(
                f"{path}.blocks[{len(edges) - 1}].up_to_kwh",
                f"{edges[-1]:g} ends the last block; make it null: every kWh needs a price",
            )
        for number, (before, edge) in enumerate(pairwise([0.0, *edges[:-1]])):
            if edge is None:
                yield Fault(f"{path}.blocks[{number}].up_to_kwh", "is null; only the last block has no end")
            elif before is not None and edge <= before:
                yield Fault(
                    f"{path}.blocks[{number}].up_to_kwh",
                    f"{edge:g} kWh is not above {before:g}, where the block before ends; order them",
                )

    @property
    def prices(self) -> FloatArray:
        """The surcharge of each block, per MWh."""
        return np.array([block.price_per_mwh for block in self.blocks])

    @property
    def rising(self) -> bool:
        """Whether no block is cheaper than the one before: then the cheapest filling is in order."""
        return bool((np.diff(self.prices) >= 0).all())

    def widths(self, first: bool) -> FloatArray:
        """kWh that each block holds in a billing period, in the first of them beside `so_far_kwh`."""
        edges = np.array([0.0, *(block.up_to_kwh or 0.0 for block in self.blocks[:-1]), np.inf])
        return np.diff(np.maximum(edges, self.so_far_kwh if first else 0.0))

    def billing_periods(self, time: TimeGrid) -> list[BillingPeriod]:
        """The billing periods that the horizon touches, in order."""
        if self.period == "horizon":
            return [BillingPeriod(0, np.ones(time.steps), self.widths(first=True))]
        spans: dict[datetime, list[tuple[datetime, datetime]]] = defaultdict(list)
        for begin, end, offset in _offsets(ZoneInfo(self.time_zone), time.start, time.end):
            for midnight in _midnights(begin + offset, end + offset):
                key = midnight if self.period == "day" else midnight.replace(day=1)
                spans[key].append((max(midnight - offset, begin), min(midnight + DAY - offset, end)))
        periods: list[BillingPeriod] = []
        for key in sorted(spans):
            begin, end = min(span[0] for span in spans[key]), max(span[1] for span in spans[key])
            share, first = _shares(time, begin, end)
            periods.append(BillingPeriod(first, share, self.widths(first=not periods)))
        return periods

    def cost(self, import_kw: FloatArray, time: TimeGrid) -> float:
        """What the blocks add to the bill, in the problem's currency."""
        return sum(
            float(self.prices @ period.filled(period.energy_kwh(import_kw, time))) / 1000
            for period in self.billing_periods(time)
        )


@dataclass(frozen=True)
class BillingPeriod:
    """The steps from `first` on that a billing period covers, each by a share, and what its blocks hold."""

    first: int
    share: FloatArray
    widths_kwh: FloatArray

    @property
    def steps(self) -> slice:
        return slice(self.first, self.first + len(self.share))

    def energy_kwh(self, import_kw: FloatArray, time: TimeGrid) -> float:
        """What it imports."""
        return float(self.share @ import_kw[self.steps]) * time.hours

    def filled(self, energy_kwh: float) -> FloatArray:
        """kWh of it in each block."""
        before = np.concatenate([[0.0], np.cumsum(self.widths_kwh[:-1])])
        return np.clip(energy_kwh - before, 0.0, self.widths_kwh)


def _offsets(
    zone: ZoneInfo, start: datetime, end: datetime
) -> Iterator[tuple[datetime, datetime, timedelta]]:
    """Spans of constant offset from UTC, as naive UTC: local time is UTC plus the offset."""

    def offset(instant: datetime) -> timedelta:
        found = instant.replace(tzinfo=UTC).astimezone(zone).utcoffset()
        assert found is not None
        return found

    begin, end = start.replace(tzinfo=None), end.replace(tzinfo=None)
    probe = begin
    while probe < end:
        following = min(probe + DAY, end)
        if offset(following) != offset(probe):
            low, high = probe, following
            while high - low > timedelta(seconds=1):
                middle = low + ((high - low) / 2 // timedelta(seconds=1)) * timedelta(seconds=1)
                middle = middle if middle > low else low + timedelta(seconds=1)
                low, high = (middle, high) if offset(middle) == offset(probe) else (low, middle)
            # the clocks change on whole seconds
            change = high.replace(microsecond=0)
            if begin < change:
                yield begin, change, offset(probe)
            begin = change
        probe = following
    yield begin, end, offset(begin)


def _midnights(begin: datetime, end: datetime) -> Iterator[datetime]:
    """The midnights that begin the days from `begin` to `end`."""
    midnight = begin.replace(hour=0, minute=0, second=0, microsecond=0)
    while midnight < end:
        yield midnight
        midnight += DAY


def _shares(time: TimeGrid, begin: datetime, end: datetime) -> tuple[FloatArray, int]:
    """The share of each step, from the first that it touches, that a span of naive UTC covers."""
    low, high = (time.position(instant.replace(tzinfo=UTC)) for instant in (begin, end))
    if high <= low:
        return np.zeros(0), 0
    steps = np.arange(int(low), int(np.ceil(high)))
    return np.clip(np.minimum(steps + 1, high) - np.maximum(steps, low), 0.0, 1.0), int(low)
