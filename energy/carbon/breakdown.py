"""How every ledger is cut: by district, connection, kind of asset or asset, over intervals of a period.

A ledger says what each asset does in each hour (`Ledger`); here that is summed to places and intervals while
the stored days are gone through once. The places of one cut are a tree: what a place holds is what the places
below it hold, so those without any below add up to the city, as do those right below the city. Places of
two cuts, or of two levels, are views of one energy and are never added to each other; nor are ledgers.

The connections of a city: each bus with an asset is a connection; those of an LV grid hang below the
station whose transformer feeds it; stations and all other buses hang below the city's connection to the grid.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, get_args

import numpy as np
from scipy.sparse import csr_array

from energy.carbon.rates import Amount
from energy.domain.network import FloatArray, IntArray
from energy.domain.period import CITY, AccountedDay, AssetEntry, Period

By = Literal["city", "district", "connection", "kind", "asset"]
BY: tuple[By, ...] = get_args(By)
Resolution = Literal["total", "year", "month", "day", "hour"]
RESOLUTIONS: tuple[Resolution, ...] = get_args(Resolution)
_NAMES = {"total": "", "year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d", "hour": "%Y-%m-%dT%H%z"}
ROWS = 7
"""Rows of `Cut.tallies`."""


@dataclass(frozen=True, slots=True)
class Place:
    """A row of a cut.

    Attributes:
        id: ``city``, ``district/east``, ``station/24`` (all that a station's bus feeds, itself included),
            ``bus/24`` (what is connected to this bus alone), ``kind/ev`` or ``asset/car1``.
        above: the place that contains it; empty for the city.
    """

    id: str
    above: str = ""

    @property
    def name(self) -> str:
        """What it is called within its cut: the district, bus, kind or asset."""
        return self.id.partition("/")[2]


@dataclass(frozen=True)
class Cut:
    """The places of one cut, the city last; what contains others stands before them.

    Attributes:
        member: 1 where an asset entry of the period belongs to a place, shape (assets, places).
        doubt: share of each asset's energy that is an estimate, 0 to 1, shape (assets,).
    """

    by: By
    places: tuple[Place, ...]
    member: csr_array
    doubt: FloatArray

    def placed(self, values: FloatArray) -> FloatArray:
        """Values of the assets, shape (hours, assets), summed to the places, shape (hours, places)."""
        return np.asarray(values @ self.member)

    def tallies(
        self, mwh: FloatArray, kg: FloatArray, low: FloatArray, high: FloatArray, estimated: FloatArray
    ) -> FloatArray:
        """What `amount` is made of, by hour and place, shape (7, hours, places): kg and its ends, MWh, the
        size of the energy, and the parts of that size whose carbon, and whose energy alone, rest on
        estimates. They add up over hours.

        Args:
            mwh, kg, low, high: of the assets, shape (hours, assets); hours of unknown energy are left out.
            estimated: share of the carbon's input that is an estimate, 0 to 1, shape (hours,).
        """
        known = np.isfinite(mwh)
        size = np.where(known, np.abs(mwh), 0.0)
        doubtful = size * np.maximum(np.nan_to_num(estimated)[:, None], self.doubt)
        sums = (np.where(known, values, 0.0) for values in (kg, low, high, mwh))
        rows = np.stack([*sums, size, doubtful, size * self.doubt])
        return self.placed(rows.reshape(-1, rows.shape[2])).reshape(ROWS, len(mwh), len(self.places))

    def below(self, place: Place) -> tuple[Place, ...]:
        """The places right below one."""
        return tuple(other for other in self.places if other.above == place.id)


class Ledger(Protocol):
    """A rule that counts the carbon of a period."""

    def tallies(self, day: AccountedDay, cut: Cut) -> FloatArray:
        """What adds up over the hours, of one stored day, shape (n, its hours, places)."""
        ...


def cut(
    period: Period,
    by: By,
    *,
    station_of_bus: Mapping[int, int] | None = None,
    doubt: Callable[[AssetEntry], float] = lambda _: 0.0,
) -> Cut:
    """The cut of a period `by` something.

    Args:
        station_of_bus: the bus of the station that feeds each bus of an LV grid.
        doubt: share of an asset's energy that is an estimate, 0 to 1.
    """
    chains = _chains(period.assets, by, station_of_bus or {})
    known: Iterable[Sequence[str]] = chains
    if by == "district":
        known = [(f"district/{name}",) for name in period.districts]
    elif by == "connection":
        known = sorted(chains, key=lambda chain: [int(place.partition("/")[2]) for place in chain])
    above = {place: (*chain[:k][-1:], CITY)[0] for chain in known for k, place in enumerate(chain)}
    places = (*(Place(name, of) for name, of in above.items()), Place(CITY))
    column = {place.id: k for k, place in enumerate(places)}
    pairs = [(row, column[name]) for row, chain in enumerate(chains) for name in (*chain, CITY)]
    rows, columns = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    member = csr_array((np.ones(len(pairs)), (rows, columns)), shape=(len(period.assets), len(places)))
    return Cut(by, places, member, np.array([doubt(asset) for asset in period.assets]))


def _chains(assets: Sequence[AssetEntry], by: By, station_of_bus: Mapping[int, int]) -> list[tuple[str, ...]]:
    """The places of each asset below the city, from the outermost in."""
    if by == "connection":
        stations = {asset.bus: _stations(asset.bus, station_of_bus) for asset in assets}
        feeding = {station for above in stations.values() for station in above}
        return [
            (
                *(f"station/{station}" for station in stations[asset.bus]),
                *((f"station/{asset.bus}",) if asset.bus in feeding else ()),
                f"bus/{asset.bus}",
            )
            for asset in assets
        ]
    own: Mapping[By, Callable[[AssetEntry], tuple[str, ...]]] = {
        "city": lambda _: (),
        "district": lambda asset: (f"district/{asset.district}",),
        "kind": lambda asset: (f"kind/{asset.kind}",),
        "asset": lambda asset: (f"asset/{asset.id}",),
    }
    return [own[by](asset) for asset in assets]


def _stations(bus: int, station_of_bus: Mapping[int, int]) -> list[int]:
    """The stations that feed a bus, from the outermost in: one LV grid may feed another."""
    found: list[int] = []
    while (station := station_of_bus.get(bus)) is not None and station not in (*found, bus):
        found.insert(0, station)
        bus = station
    return found


@dataclass(frozen=True)
class Intervals:
    """Intervals of a period, one after the other.

    Attributes:
        names: in local time, ``2016``, ``2016-06``, ``2016-06-21`` or ``2016-06-21T13+0200``; empty for all
            of the period. starts: UTC. first: the first hour of each, shape (intervals,).
    """

    names: tuple[str, ...]
    starts: tuple[datetime, ...]
    first: IntArray

    def known_hours(self, period: Period) -> IntArray:
        """How many hours of each have a stored day with an AC solution, shape (intervals,)."""
        known = np.isfinite(period.actual.city["end_use_kg"]).astype(np.int64)
        return np.asarray(np.add.reduceat(known, self.first))


def intervals(period: Period, resolution: Resolution) -> Intervals:
    """The local hours, days, months or years of a period, or all of it."""
    form = _NAMES[resolution]
    named = [instant.astimezone(period.zone).strftime(form) for instant in period.time]
    first = [hour for hour, name in enumerate(named) if hour == 0 or name != named[hour - 1]]
    return Intervals(
        tuple(named[hour] for hour in first),
        tuple(period.time.instant(hour) for hour in first),
        np.array(first, dtype=np.int64),
    )


def sums(period: Period, counts: Mapping[str, tuple[Ledger, Cut]], first: IntArray) -> dict[str, FloatArray]:
    """The tallies of ledgers by cuts, shape (n, intervals, places), from one way through the stored days.

    `first` holds the first hour of each interval, ascending from 0. What is kept is of the size of the
    answer and one day, however long the period.
    """
    found: dict[str, FloatArray] = {}
    for day in period.by_day:
        interval = np.searchsorted(first, np.arange(period.time.steps)[day.hours], side="right") - 1
        within = np.flatnonzero(np.diff(interval, prepend=-1))
        for name, (ledger, of) in counts.items():
            tallied = ledger.tallies(day, of)
            if name not in found:
                found[name] = np.zeros((len(tallied), len(first), len(of.places)))
            found[name][:, interval[within]] += np.add.reduceat(tallied, within, axis=1)
    return found


def amounts(period: Period, ledger: Ledger, *by: By) -> dict[str, Amount]:
    """What a ledger says of every place of some cuts, by the id of the place, over all the period."""
    counts: dict[str, tuple[Ledger, Cut]] = {name: (ledger, cut(period, name)) for name in by}
    found = sums(period, counts, np.zeros(1, dtype=np.int64))
    return {
        place.id: amount(found[name][:, 0, k])
        for name, (_, of) in counts.items()
        for k, place in enumerate(of.places)
    }


def amount(tallied: FloatArray) -> Amount:
    """The amount of some sums of `Cut.tallies`: the first seven of them."""
    kg, low, high, mwh, size, doubtful, _ = tallied[:ROWS].tolist()
    return Amount(kg, low, high, mwh, doubtful / size if size else 0.0)
