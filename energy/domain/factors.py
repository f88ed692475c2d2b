"""Emission factors: one value with all that makes it citable, and the registry that finds the right one.

A factor is never overwritten: a correction is a new version of the same id and first day, so a report that
names its registry version can be made again. What is missing is an error or, where the caller asks for
it, a stand-in marked estimated; never zero.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from itertools import pairwise
from typing import Any, Literal, get_args

from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError

Basis = Literal["life-cycle", "direct"]
Kind = Literal["generation", "grid", "residual", "supplier", "losses", "fuel"]
"""What a factor is of: electricity from one technology; the average of a grid; what is left of it once
certificates are taken out; a supplier's product (menu); network losses per kWh delivered; a fuel burned."""
KINDS: tuple[Kind, ...] = get_args(Kind)
PACKAGED = "packaged"
"""The origin of what ships with Wattshed."""
PER_KWH = "g/kWh"
PER_TJ = "kg/TJ"
SHARE = "kWh/kWh"


@dataclass(frozen=True, slots=True)
class Factor:
    """One emission factor, in one version, for one span of days.

    Attributes:
        kind: see `Kind`. technology: of electricity, or the fuel's name with ``_fuel``; empty otherwise.
        renewable: whether the technology counts as renewable.
        value, low, high: in `unit`; low and high are the range of the source, None where it gives none.
        unit: ``g/kWh`` of electricity, ``kg/TJ`` of fuel (net calorific value), or, for losses only,
            ``kWh/kWh``: kWh lost per kWh delivered.
        gas_basis: ``CO2``, or ``CO2e`` with the warming potentials, as in ``CO2e, GWP100 of AR5``.
        basis: combustion at the plant alone, or the whole life cycle.
        estimated: the source does not give this value for this use; `note` says how it came about.
        data_year: of the measurements; publication_year: of the source.
        valid_from, valid_to: first and last day it is to be used for; None: no end.
        zone: country (ISO 3166-1, ``DE``) or a zone of it (``JP-TK``); empty: anywhere.
        operator, menu: the supplier and its product, for kind ``supplier``.
        delivered: per kWh delivered, so that network losses are counted in; else per kWh generated.
        origin: ``packaged``, or the file of the city that brings it.
    """

    id: str
    technology: str
    renewable: bool
    value: float
    low: float | None
    high: float | None
    unit: str
    gas_basis: str
    basis: Basis
    estimated: bool
    source: str
    data_year: int
    publication_year: int
    valid_from: date
    version: int
    note: str
    kind: Kind = "generation"
    valid_to: date | None = None
    zone: str = ""
    operator: str = ""
    menu: str = ""
    delivered: bool = False
    origin: str = PACKAGED

    @property
    def g_per_kwh(self) -> float:
        """The value as g per kWh of electricity; `InputError` for a factor of fuel or a share of losses."""
        if self.unit != PER_KWH:
            remedy = "electricity needs the efficiency of a plant as well"
            if self.unit == SHARE:
                remedy = "ask `transmission_losses`, which weighs it with the grid average"
            kind = "per fuel" if self.unit == PER_TJ else "a share"
            raise InputError(Fault(f"factor {self.id!r}", f"is {kind} ({self.unit}); {remedy}"))
        return self.value

    @property
    def gases(self) -> str:
        """``CO2`` or ``CO2e``."""
        return self.gas_basis.split(",", 1)[0]

    @property
    def key(self) -> str:
        """What names this very row in lineage: ``grid-de@2016-01-01 v2``."""
        return f"{self.id}@{self.valid_from} v{self.version}"

    def valid_on(self, day: date) -> bool:
        """Whether `day` lies in its validity."""
        return self.valid_from <= day and (self.valid_to is None or day <= self.valid_to)

    def document(self) -> dict[str, Any]:
        """JSON-ready, every field."""
        return {
            field.name: value.isoformat() if isinstance(value, date) else value
            for field in fields(self)
            for value in (getattr(self, field.name),)
        }


@dataclass(frozen=True)
class FactorRegistry:
    """The factors in force; `version` names the table, down to its bytes.

    Look-ups raise `InputError` where there is no factor. With `stand_in=True` the one of the nearest day
    takes its place, marked estimated, with a note that says so. A factor of the city's own comes before a
    packaged one. A zone without a factor takes its country's (``JP-TK`` → ``JP``).
    """

    factors: tuple[Factor, ...]
    version: str

    @property
    def technologies(self) -> frozenset[str]:
        """Those with a factor of generation."""
        return frozenset(factor.technology for factor in self.factors if factor.kind == "generation")

    def generation(self, technology: str, basis: Basis = "life-cycle", day: date | None = None) -> Factor:
        """Electricity from `technology`, g/kWh; without `day` the newest."""
        of_basis = [f for f in self.factors if f.kind == "generation" and f.basis == basis]
        found = [f for f in of_basis if f.technology == technology]
        if not found:
            known = {f.technology for f in of_basis}
            raise InputError(
                Fault(
                    f"technology {technology!r}",
                    f"has no {basis} emission factor; {nearest(technology, known)}",
                )
            )
        if day is None:
            return _newest(found, f"technology {technology!r}")
        return self._on_day(found, day, f"technology {technology!r} ({basis})", stand_in=False)

    def grid_average(
        self, zone: str, day: date, basis: Basis = "direct", *, stand_in: bool = False
    ) -> Factor:
        """The official average of a grid, g/kWh."""
        return self._of_zone("grid", zone, day, basis, stand_in)

    def residual_mix(
        self, zone: str, day: date, basis: Basis = "direct", *, stand_in: bool = False
    ) -> Factor:
        """The mix of a grid without what certificates were issued for, g/kWh."""
        return self._of_zone("residual", zone, day, basis, stand_in)

    def supplier(self, operator: str, menu: str, day: date, *, stand_in: bool = False) -> Factor:
        """A supplier's product (``menu``; empty: the supplier as a whole), g/kWh."""
        of_kind = [f for f in self.factors if f.kind == "supplier"]
        of_operator = [f for f in of_kind if f.operator == operator]
        if not of_operator:
            known = {f.operator for f in of_kind}
            raise InputError(Fault(f"supplier {operator!r}", f"has no factor; {nearest(operator, known)}"))
        found = [f for f in of_operator if f.menu == menu]
        if not found:
            known = {f.menu or "(as a whole)" for f in of_operator}
            raise InputError(Fault(f"supplier {operator!r}", f"has no menu {menu!r}; {nearest(menu, known)}"))
        return self._on_day(found, day, f"supplier {operator!r} {menu}".rstrip(), stand_in=stand_in)

    def transmission_losses(
        self, zone: str, day: date, basis: Basis = "direct", *, stand_in: bool = False
    ) -> Factor:
        """Emissions of losses on the way, g per kWh delivered.

        A source that gives the lost share alone is weighed with the grid average of the day. Where there
        is none since the grid average is per kWh delivered, the error says so.
        """
        try:
            found = self._of_zone("losses", zone, day, basis, stand_in)
        except InputError as missing:
            try:
                average = self.grid_average(zone, day, basis, stand_in=stand_in)
            except InputError:
                raise missing from None
            if not average.delivered:
                raise
            why = f"are counted in the grid average already: {average.key} is per kWh delivered"
            raise InputError(Fault(f"losses of {zone}", why)) from None
        if found.unit != SHARE:
            return found
        average = self.grid_average(zone, day, basis, stand_in=stand_in)
        return replace(
            found,
            value=found.value * average.g_per_kwh,
            low=None if found.low is None else found.low * average.g_per_kwh,
            high=None if found.high is None else found.high * average.g_per_kwh,
            unit=PER_KWH,
            gas_basis=average.gas_basis,
            estimated=found.estimated or average.estimated,
            note=f"{found.value:g} kWh lost per kWh delivered × {average.value:g} g/kWh ({average.key})",
        )

    def combustion(self, fuel: str) -> Factor:
        """A fuel burned (``natural_gas``, ``diesel``), kg/TJ of net calorific value."""
        by_fuel: dict[str, list[Factor]] = {}
        for factor in self.factors:
            if factor.kind == "fuel":
                by_fuel.setdefault(factor.technology.removesuffix("_fuel"), []).append(factor)
        if fuel not in by_fuel:
            raise InputError(Fault(f"fuel {fuel!r}", f"has no combustion factor; {nearest(fuel, by_fuel)}"))
        return _newest(by_fuel[fuel], f"fuel {fuel!r}")

    def _of_zone(self, kind: Kind, zone: str, day: date, basis: Basis, stand_in: bool) -> Factor:
        words = {"grid": "grid average", "residual": "residual mix", "losses": "factor of network losses"}
        # a share of losses holds for either basis: it takes the basis of the average it is weighed with
        of_kind = [f for f in self.factors if f.kind == kind and (f.basis == basis or f.unit == SHARE)]
        found: list[Factor] = []
        for place in (zone, zone.split("-", 1)[0]):
            found = found or [f for f in of_kind if f.zone == place]
        if not found:
            known = {f.zone for f in of_kind}
            raise InputError(
                Fault(f"zone {zone!r}", f"has no {basis} {words[kind]}; {nearest(zone, known or ('none',))}")
            )
        return self._on_day(found, day, f"the {basis} {words[kind]} of {zone}", stand_in=stand_in)

    @staticmethod
    def _on_day(found: list[Factor], day: date, what: str, *, stand_in: bool) -> Factor:
        valid = [f for f in found if f.valid_on(day)]
        if valid:
            return _own_first(valid, what)
        spans = ", ".join(f"{f.valid_from} to {f.valid_to or 'now'}" for f in found)
        if not stand_in:
            raise InputError(Fault(what, f"is not known for {day}, only for {spans}; add it to factors.csv"))
        closest = min((_days_off(f, day), f.valid_from) for f in found)
        nearest_day = _own_first([f for f in found if (_days_off(f, day), f.valid_from) == closest], what)
        note = f"stands in for {day}: none is valid then"
        return replace(
            nearest_day, estimated=True, note=f"{nearest_day.note}; {note}" if nearest_day.note else note
        )


def changes(before: Iterable[Factor], after: Iterable[Factor]) -> list[dict[str, Any]]:
    """What changed from one registry to another, by id and first day: one entry per factor.

    Each has ``id``, ``valid_from``, ``change`` (``added``, ``withdrawn``, ``changed``) and, where changed,
    ``fields``: name → ``[old, new]``.
    """
    old, new = ({(f.id, f.valid_from): f for f in factors} for factors in (before, after))
    entries = []
    for key in sorted({*old, *new}):
        entry: dict[str, Any] = {"id": key[0], "valid_from": key[1].isoformat()}
        if key not in old:
            entry |= {"change": "added", "value": new[key].value, "unit": new[key].unit}
        elif key not in new:
            entry |= {"change": "withdrawn", "value": old[key].value, "unit": old[key].unit}
        else:
            was, now = old[key].document(), new[key].document()
            moved = {name: [was[name], now[name]] for name in was if was[name] != now[name]}
            if not moved:
                continue
            entry |= {"change": "changed", "fields": moved}
        entries.append(entry)
    return entries


def overlaps(factors: Iterable[Factor]) -> list[Fault]:
    """A fault for every two factors of one id that claim the same day."""
    by_id: dict[str, list[Factor]] = {}
    for factor in factors:
        by_id.setdefault(factor.id, []).append(factor)
    faults = []
    for same in by_id.values():
        same.sort(key=lambda f: f.valid_from)
        for earlier, later in pairwise(same):
            if earlier.valid_to is None or later.valid_from <= earlier.valid_to:
                faults.append(
                    Fault(
                        f"factor {later.id!r}",
                        f"is valid from {later.valid_from} while {earlier.key} is until "
                        f"{earlier.valid_to or 'further notice'}; end that one first (valid_to)",
                    )
                )
    return faults


def contested(factors: Iterable[Factor]) -> list[Fault]:
    """A fault for every two factors of different ids that are of the same thing on the same day: no look-up
    could tell which counts."""
    alike: dict[tuple[str, ...], list[Factor]] = {}
    for f in factors:
        alike.setdefault((f.kind, f.technology, f.zone, f.operator, f.menu, f.basis), []).append(f)
    faults = []
    for same in alike.values():
        same.sort(key=lambda f: f.valid_from)
        for earlier, later in pairwise(same):
            apart = earlier.valid_to is not None and earlier.valid_to < later.valid_from
            if earlier.id != later.id and not apart:
                faults.append(
                    Fault(
                        f"factor {later.id!r}",
                        f"covers the same as {earlier.key} from {later.valid_from} on, so neither can be "
                        "chosen; end or withdraw one of the two",
                    )
                )
    return faults


def in_force(rows: Iterable[Factor], withdrawn: Mapping[tuple[str, date], int] | None = None) -> list[Factor]:
    """Of each id and first day the newest version, unless it was withdrawn later."""
    newest: dict[tuple[str, date], Factor] = {}
    for row in rows:
        known = newest.get((row.id, row.valid_from))
        if known is None or row.version > known.version:
            newest[row.id, row.valid_from] = row
    gone = withdrawn or {}
    return [row for key, row in newest.items() if gone.get(key, 0) <= row.version]


def _days_off(factor: Factor, day: date) -> int:
    if day < factor.valid_from:
        return (factor.valid_from - day).days
    return 0 if factor.valid_to is None else max(0, (day - factor.valid_to).days)


def _newest(found: list[Factor], what: str) -> Factor:
    """Of the city's own, else of the packaged, the one that is valid from the latest day."""
    own = [f for f in found if f.origin != PACKAGED] or found
    latest = max(f.valid_from for f in own)
    return _own_first([f for f in own if f.valid_from == latest], what)


def _own_first(found: list[Factor], what: str) -> Factor:
    """The city's own before the packaged; `InputError` where two of one origin claim the same."""
    own = [f for f in found if f.origin != PACKAGED] or found
    if len(own) > 1:
        raise InputError(
            Fault(
                what,
                f"is ambiguous: {', '.join(f.key for f in own)}; end or withdraw all but one in factors.csv",
            )
        )
    return own[0]
