"""The market-based ledger: what a city has contracted, and for the rest the residual mix.

GHG Protocol Scope 2 Guidance (2015), chapters 6 and 7. The net use of each asset (that of the grid-average
ledger, hour by hour) is covered first by contracts, then by certificates, each cancelled once; what is left
has the residual mix, or a declared fallback, flagged as an estimate. Matching is a choice that reports show:

* ``annual``: a certificate covers use of its own reporting year, all of it alike.
* ``hourly``: a certificate covers use in its own hour only, and contracts of a volume deliver evenly.

What is not used is left over, never carried to another zone, year or (hourly) hour.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Literal, TypeVar
from zoneinfo import ZoneInfo

import numpy as np
from scipy.sparse import csr_array

from energy.carbon.breakdown import ROWS, Cut, amount, cut
from energy.carbon.grid_average import GridAverage
from energy.carbon.instruments import (
    Certificate,
    Certificates,
    Contract,
    Contracts,
    certificate_faults,
    contract_faults,
)
from energy.carbon.rates import Amount, Rate, local_days, together
from energy.domain.errors import Fault, InputError
from energy.domain.network import BoolArray, FloatArray, IntArray
from energy.domain.period import CITY, USER_CLASSES, AccountedDay, AssetEntry, Period, UserClass

Matching = Literal["annual", "hourly"]
Key = TypeVar("Key")
_BLOCK = 240
"""Hours whose assets are looked at at once."""


@dataclass(frozen=True, slots=True)
class Cancellation:
    """What this period uses of a certificate, MWh: to be kept, so that nobody uses it again."""

    certificate: str
    issuer: str
    consumer: str
    mwh: float


@dataclass(frozen=True, slots=True)
class MarketUse:
    """What covers the use of one group; `total` is all three, the market-based figure."""

    contracts: Amount
    certificates: Amount
    rest: Amount

    @property
    def total(self) -> Amount:
        return together((self.contracts, self.certificates, self.rest))


def market_use(tallied: FloatArray) -> MarketUse:
    """What some sums of `MarketBased.tallies` say, shape (21,)."""
    return MarketUse(*(amount(part) for part in np.split(tallied, range(ROWS, len(tallied), ROWS))))


@dataclass(frozen=True, slots=True)
class Unit:
    """The use of one district and user class that all instruments treat alike: of those assets that none of
    them names, or of one that is named."""

    district: str
    user: UserClass
    asset: str = ""


@dataclass(frozen=True)
class MarketBased:
    """The ledger of a period; arrays have shape (hours, units).

    Attributes:
        shares: of each asset's use, how much belongs to each unit, shape (assets, units).
        asset_mwh: net use of each asset, shape (hours, assets); `energy_mwh` that of the units, of which
            hours in which an asset feeds back more than it draws have nothing to cover: `demand_mwh` is what
            there is to cover. estimated: hours in which they are estimates, shape (hours,).
        contract_mwh, contract_kg, certificate_mwh, certificate_kg: what covers it.
        residual: factor of the rest. fallback: what stands in for a residual mix; empty where there is one.
        cancellations: new ones, at most one per certificate. left_mwh: by certificate of this period or
            year, what stays unused. outside: certificates of other hours or years, not touched.
        matched_mwh: by technology of the instruments: for the 24/7 score.
    """

    units: tuple[Unit, ...]
    districts: tuple[str, ...]
    shares: csr_array
    asset_mwh: FloatArray
    energy_mwh: FloatArray
    demand_mwh: FloatArray
    estimated: BoolArray
    contract_mwh: FloatArray
    contract_kg: FloatArray
    certificate_mwh: FloatArray
    certificate_kg: FloatArray
    residual: Rate
    fallback: str
    matching: Matching
    cancellations: tuple[Cancellation, ...]
    left_mwh: Mapping[str, float]
    outside: tuple[str, ...]
    matched_mwh: Mapping[str, FloatArray]

    def city(self) -> MarketUse:
        return self._sums([CITY], lambda _: CITY)[CITY]

    def by_district(self) -> dict[str, MarketUse]:
        return self._sums(self.districts, lambda unit: unit.district)

    def by_class(self) -> dict[UserClass, MarketUse]:
        return self._sums(USER_CLASSES, lambda unit: unit.user)

    def by_asset(self, period: Period) -> dict[str, MarketUse]:
        """By asset id, whatever its entries; `period` is that of the ledger."""
        of_assets = cut(period, "asset")
        blocks = _blocks(len(self.asset_mwh))
        found = np.sum([self._tallies(hours, of_assets).sum(axis=1) for hours in blocks], axis=0)
        return {
            place.name: market_use(found[:, k]) for k, place in enumerate(of_assets.places) if place.above
        }

    def tallies(self, day: AccountedDay, cut: Cut) -> FloatArray:
        """`Cut.tallies` of a day, of contracts, certificates and the rest: see `market_use`.

        Of what covers a unit in an hour each asset has the share that it has in what the unit uses.
        """
        return self._tallies(day.hours, cut)

    def matched(self, technologies: Collection[str], hours: slice) -> FloatArray:
        """What instruments of some technologies cover of each asset's use, shape (len(hours), assets)."""
        chosen = [mwh[hours] for name, mwh in self.matched_mwh.items() if name in technologies]
        return self._of_assets(np.sum(chosen, axis=0), hours) if chosen else 0.0 * self.asset_mwh[hours]

    def _tallies(self, hours: slice, cut: Cut) -> FloatArray:
        mwh = self.asset_mwh[hours]
        contract_mwh, contract_kg, certificate_mwh, certificate_kg = (
            self._of_assets(values[hours], hours)
            for values in (self.contract_mwh, self.contract_kg, self.certificate_mwh, self.certificate_kg)
        )
        rest = mwh - contract_mwh - certificate_mwh
        declared = np.zeros(len(mwh))
        estimated = np.where(self.estimated[hours], 1.0, self.residual.estimated[hours])
        parts = (
            (contract_mwh, contract_kg, contract_kg, contract_kg, declared),
            (certificate_mwh, certificate_kg, certificate_kg, certificate_kg, declared),
            (rest, *self.residual.ends(rest, hours), estimated),
        )
        return np.concatenate([cut.tallies(*part) for part in parts])

    def _of_assets(self, covered: FloatArray, hours: slice) -> FloatArray:
        """The part of each asset in what covers the units in some hours, shape (len(hours), assets)."""
        demand = self.demand_mwh[hours]
        part = np.divide(covered, demand, out=np.zeros_like(covered), where=demand > 0)
        used = np.maximum(np.nan_to_num(self.asset_mwh[hours]), 0.0)
        return np.asarray(used * (part @ self.shares.T))

    def _sums(self, keys: Sequence[Key], key: Callable[[Unit], Key]) -> dict[Key, MarketUse]:
        place = {name: k for k, name in enumerate(keys)}
        member = np.zeros((len(self.units), len(keys)))
        member[np.arange(len(self.units)), [place[key(unit)] for unit in self.units]] = 1.0
        contracted = _declared(self.contract_mwh, self.contract_kg, member)
        certified = _declared(self.certificate_mwh, self.certificate_kg, member)
        left = self.energy_mwh - self.contract_mwh - self.certificate_mwh
        rest = self.residual.amounts(left @ member, self.estimated)
        parts = zip(contracted, certified, rest, strict=True)
        return {name: MarketUse(*amounts) for name, amounts in zip(keys, parts, strict=True)}


def market_based(
    period: Period,
    ledger: GridAverage,
    residual: Rate,
    zone: str,
    contracts: Contracts,
    certificates: Certificates,
    *,
    matching: Matching = "annual",
    cancelled_mwh: Mapping[str, float] | None = None,
    elsewhere: Mapping[tuple[str, str], str] | None = None,
    fallback: str = "",
    first_month: int = 1,
) -> MarketBased:
    """The market-based ledger of `period`.

    Args:
        ledger: of the same period, whose net use is covered.
        residual: g/kWh of the residual mix; or of what stands in for it, then name it in `fallback`.
        zone: of the city's grid, the market of its instruments.
        cancelled_mwh: by certificate, what was cancelled before, for other consumers and periods. A period
            that is computed again must not bring its own cancellations. elsewhere: by issuer and id, which
            other city has cancelled it, and where.
        first_month: of the reporting year, 4 for Japan's fiscal years.

    Raises:
        InputError: every fault of every row; contracts whose shares of one use exceed 1.
    """
    before = cancelled_mwh or {}
    hourly = matching == "hourly"
    faults = contract_faults(contracts, period, zone)
    faults += certificate_faults(certificates, period, zone, before, hourly=hourly, elsewhere=elsewhere)
    units, shares = _units(
        period.assets,
        {*(row.consumer for row in contracts.rows), *(row.consumer for row in certificates.rows)},
    )
    if not faults:
        faults = _share_faults(contracts, period, units)
    if faults:
        raise InputError(faults)
    cover = _Cover(period, ledger, units, shares, first_month)
    for contract in contracts.rows:
        cover.contract(contract, hourly)
    contract_mwh, contract_kg = cover.mwh.copy(), cover.kg.copy()
    cancellations, left, outside = [], {}, []
    for alike in _alike(certificates, period, hourly, first_month):
        rows = cover.hour_of(alike[0]) if hourly else cover.years_of(alike[0])
        if not len(rows):
            outside += [row.id for row in alike]
            continue
        available = {row.id: max(0.0, row.mwh - before.get(row.id, 0.0)) for row in alike}
        used = cover.spend(alike[0], rows, sum(available.values()))
        for row in alike:
            taken = min(used, available[row.id])
            used -= taken
            left[row.id] = available[row.id] - taken
            if taken > 0:
                cancellations.append(Cancellation(row.id, row.issuer, row.consumer, taken))
    if fallback:
        residual = replace(residual, estimated=np.ones_like(residual.estimated))
    return MarketBased(
        units=cover.units,
        districts=period.districts,
        shares=csr_array(shares),
        asset_mwh=ledger.energy_mwh,
        energy_mwh=cover.energy,
        demand_mwh=cover.demand,
        estimated=ledger.estimated,
        contract_mwh=contract_mwh,
        contract_kg=contract_kg,
        certificate_mwh=cover.mwh - contract_mwh,
        certificate_kg=cover.kg - contract_kg,
        residual=residual,
        fallback=fallback,
        matching=matching,
        cancellations=tuple(cancellations),
        left_mwh=left,
        outside=tuple(outside),
        matched_mwh=cover.matched,
    )


class _Cover:
    """The use of a period and what has been laid over it so far."""

    def __init__(
        self,
        period: Period,
        ledger: GridAverage,
        units: tuple[Unit, ...],
        shares: FloatArray,
        first_month: int,
    ) -> None:
        self.units = units
        self.energy = ledger.energy_mwh @ shares
        # an hour in which an asset feeds back more than it draws has nothing to cover
        self.open = np.concatenate(
            [
                np.nan_to_num(np.maximum(ledger.energy_mwh[hours], 0.0), copy=False) @ shares
                for hours in _blocks(len(ledger.energy_mwh))
            ]
        )
        self.demand = self.open.copy()
        self.mwh, self.kg = np.zeros_like(self.open), np.zeros_like(self.open)
        self.matched: dict[str, FloatArray] = {}
        self.time, self.zone = period.time, period.zone
        self.days, self.day_of_hour = local_days(period.time, period.zone)
        self.years = np.array([_reporting_year(self.days[k], first_month) for k in self.day_of_hour])
        self.first_month = first_month
        self.known = np.isfinite(ledger.energy_mwh).all(axis=1)
        self._of_consumer: dict[str, IntArray] = {}

    def hour_of(self, row: Certificate) -> IntArray:
        """The hour of the period in which the certificate was generated; none if it lies outside."""
        if not self.time.start <= row.start < self.time.end:
            return np.zeros(0, dtype=np.int64)
        return np.array([self.time.step_at(row.start)])

    def years_of(self, row: Certificate) -> IntArray:
        """The hours of the reporting years in which it was generated."""
        return np.flatnonzero(np.isin(self.years, _years_of(row, self.zone, self.first_month)))

    def contract(self, row: Contract, hourly: bool) -> None:
        rows = np.flatnonzero(_valid(row, self.days)[self.day_of_hour] & self.known)
        if not len(rows):
            return
        columns = self._columns(row.consumer)
        if row.share is not None:
            chosen = np.ix_(rows, columns)
            self._lay(rows, columns, np.minimum(row.share * self.demand[chosen], self.open[chosen]), row)
            return
        first, end = (_midnight(day, self.zone) for day in (row.start, row.end + timedelta(days=1)))
        per_hour = (row.volume_mwh or 0.0) / ((end - first) / timedelta(hours=1))
        if hourly:
            wanted = self.open[np.ix_(rows, columns)]
            total = wanted.sum(axis=1, keepdims=True)
            part = np.divide(per_hour, total, out=np.zeros_like(total), where=total > 0)
            self._lay(rows, columns, wanted * np.minimum(part, 1.0), row)
        else:
            self.spend(row, rows, per_hour * len(rows))

    def spend(self, row: Contract | Certificate, rows: IntArray, available_mwh: float) -> float:
        """Lay a volume over what is open in some hours, all of it alike; what it covers, MWh."""
        columns = self._columns(row.consumer)
        wanted = self.open[np.ix_(rows, columns)]
        total = float(wanted.sum())
        if total <= 0 or available_mwh <= 0:
            return 0.0
        self._lay(rows, columns, wanted * min(1.0, available_mwh / total), row)
        return min(total, available_mwh)

    def _columns(self, consumer: str) -> IntArray:
        if consumer not in self._of_consumer:
            self._of_consumer[consumer] = _columns(consumer, self.units)
        return self._of_consumer[consumer]

    def _lay(
        self, rows: IntArray, columns: IntArray, covered: FloatArray, row: Contract | Certificate
    ) -> None:
        chosen = np.ix_(rows, columns)
        self.open[chosen] = np.maximum(self.open[chosen] - covered, 0.0)
        self.mwh[chosen] += covered
        self.kg[chosen] += covered * row.g_per_kwh
        self.matched.setdefault(row.technology, np.zeros_like(self.mwh))[chosen] += covered


def _blocks(hours: int) -> Iterator[slice]:
    """All hours, so many at once that no second table of the size of a year's assets is made."""
    return (slice(first, first + _BLOCK) for first in range(0, hours, _BLOCK))


def _alike(
    certificates: Certificates, period: Period, hourly: bool, first_month: int
) -> list[list[Certificate]]:
    """Certificates that cover the same hours of the same consumer alike, oldest first."""
    groups: dict[tuple[object, ...], list[Certificate]] = {}
    for row in sorted(certificates.rows, key=lambda row: (row.start, row.id)):
        when = row.start if hourly else _years_of(row, period.zone, first_month)
        groups.setdefault((row.consumer, row.technology, row.g_per_kwh, when), []).append(row)
    return list(groups.values())


def _years_of(row: Certificate, zone: ZoneInfo, first_month: int) -> tuple[int, ...]:
    ends = (row.start, row.end - timedelta(microseconds=1))
    return tuple(sorted({_reporting_year(end.astimezone(zone).date(), first_month) for end in ends}))


def _columns(consumer: str, units: Sequence[Unit]) -> IntArray:
    kind, _, name = consumer.partition(":")
    of: Mapping[str, Callable[[Unit], str]] = {
        "district": lambda unit: unit.district,
        "class": lambda unit: unit.user,
        "asset": lambda unit: unit.asset,
    }
    chosen = [k for k, unit in enumerate(units) if consumer == CITY or of[kind](unit) == name]
    return np.array(chosen, dtype=np.int64)


def _units(assets: Sequence[AssetEntry], consumers: Collection[str]) -> tuple[tuple[Unit, ...], FloatArray]:
    """The units that instruments of these consumers tell apart, and which share of each asset's use belongs
    to each, shape (assets, units)."""
    parts: dict[Unit, dict[int, float]] = {}
    for k, asset in enumerate(assets):
        name = asset.id if f"asset:{asset.id}" in consumers else ""
        for user, share in asset.classes.items():
            if share > 0:
                parts.setdefault(Unit(asset.district, user, name), {})[k] = share
    shares = np.zeros((len(assets), len(parts)))
    for column, of in enumerate(parts.values()):
        shares[list(of), column] = list(of.values())
    return tuple(parts), shares


def _share_faults(contracts: Contracts, period: Period, units: Sequence[Unit]) -> list[Fault]:
    """Contracts whose shares of one use exceed 1 on some day."""
    days, _ = local_days(period.time, period.zone)
    total = np.zeros((len(days), len(units)))
    faults = []
    for row in contracts.rows:
        if row.share is None:
            continue
        chosen = np.ix_(np.flatnonzero(_valid(row, days)), _columns(row.consumer, units))
        total[chosen] += row.share
        if (total[chosen] > 1.0 + 1e-9).any():
            day = days[int(np.argmax(total.max(axis=1)))]
            faults.append(
                Fault(
                    f"contracts.csv: {row.id!r}",
                    f"on {day} the contracts cover {total.max():.4g} of a consumer's use; shares of one "
                    "use add up to at most 1",
                )
            )
    return faults


def _valid(row: Contract, days: Sequence[date]) -> BoolArray:
    return np.array([row.start <= day <= row.end for day in days], dtype=np.bool_)


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def _reporting_year(day: date, first_month: int) -> int:
    return day.year if day.month >= first_month else day.year - 1


def _declared(mwh: FloatArray, kg: FloatArray, member: FloatArray) -> tuple[Amount, ...]:
    """Amounts of groups at factors that contracts state: no range."""
    return tuple(
        Amount(float(carbon), float(carbon), float(carbon), float(energy), 0.0)
        for energy, carbon in zip(mwh.sum(axis=0) @ member, kg.sum(axis=0) @ member, strict=True)
    )
