"""Why each asset does what it does, in words, from the prices and the limits that bind.

A reason is read off the answer, it does not decide it: the price at the asset's place, the power it has in
other steps, its needs, and which limit is full. Any asset has one; stores have the most to say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import groupby

import numpy as np

from energy.domain.network import BoolArray, FloatArray
from energy.domain.schedule import AssetSchedule, Reason, Schedule
from optimizer.assets import Asset
from optimizer.assets.reach import when
from optimizer.prices import at_asset
from optimizer.problem import DispatchProblem
from optimizer.wording import SENTENCES, full, money

IDLE_KW = 1e-6
"""A power below this is none."""
MET_KWH = 1e-3
"""A need exceeded by no more than this is what the energy is for."""
SAME_PRICE = 0.05
"""Prices nearer than this per MWh are one: in words the difference is none."""
TURNS = 1e-3
"""A limit that changes the price at an asset by less per MWh than this is none of its own."""


@dataclass(frozen=True)
class FullLimit:
    """A limit of the grid that binds in a step, and what it adds to the price per MWh drawn at buses."""

    step: int
    kind: str
    element: str
    per_mwh: Mapping[int, float]


@dataclass(frozen=True)
class _Why:
    """What holds for one step; steps in a row with the same one share a sentence."""

    action: str
    code: str
    other: int | None = None
    limit: tuple[str, str] | None = None
    until: datetime | None = None
    by: datetime | None = None


@dataclass(frozen=True)
class _Place:
    """One asset with all that its reasons are made of; arrays have shape (steps,).

    It is `flexible` where it does something else than it would without control.
    """

    asset: Asset
    schedule: AssetSchedule
    drawn_kw: FloatArray
    price: FloatArray
    most_kw: FloatArray | None
    due: Mapping[int, tuple[datetime, float]]
    full: Mapping[str, Sequence[tuple[tuple[str, str], BoolArray]]]
    flexible: bool
    instants: Sequence[datetime] = field(repr=False)

    def limit(self, way: str, step: int) -> tuple[tuple[str, str] | None, datetime | None]:
        """The first limit in the asset's way that is full in the step, and until when it stays so."""
        for name, steps in self.full[way]:
            if steps[step]:
                free = np.flatnonzero(~steps[step:])
                return name, self.instants[step + int(free[0]) if len(free) else len(steps)]
        return None, None


class Reasons(Mapping[str, tuple[Reason, ...]]):
    """The reasons of a schedule by asset, found when they are first asked for: of the rounds of an AC loop
    only the last is read."""

    def __init__(
        self,
        problem: DispatchProblem,
        schedule: Schedule,
        binding: Sequence[FullLimit],
        languages: Sequence[str],
    ) -> None:
        self._of = problem, schedule, binding, languages

    @cached_property
    def _found(self) -> dict[str, tuple[Reason, ...]]:
        return reasons(*self._of)

    def __getitem__(self, asset: str) -> tuple[Reason, ...]:
        return self._found[asset]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def reasons(
    problem: DispatchProblem, schedule: Schedule, binding: Sequence[FullLimit], languages: Sequence[str]
) -> dict[str, tuple[Reason, ...]]:
    """The reasons of every asset that is to be explained, each step in exactly one, by asset."""
    full_connections = _full_connections(problem, schedule)
    found = {}
    for asset in problem.explained:
        place = _place(problem, schedule, asset, full_connections, binding)
        every = [_why(place, step) for step in range(problem.time.steps)]
        told, first = [], 0
        for why, group in groupby(every):
            last = first + len(list(group))
            told.append(_told(problem, place, why, first, last, languages))
            first = last
        found[asset.id] = tuple(told)
    return found


def _full_connections(problem: DispatchProblem, schedule: Schedule) -> dict[tuple[str, str], BoolArray]:
    """In which steps each connection uses all of a limit."""
    found = {}
    for key, connection in problem.connections.items():
        flow = schedule.connections[key]
        for name, kw in (("import_limit_kw", flow.import_kw), ("export_limit_kw", flow.export_kw)):
            limit = connection.limit(name, problem.time.steps)
            finite = np.where(np.isfinite(limit), limit, 0.0)
            found[name, key] = np.isfinite(limit) & (kw >= finite - IDLE_KW * np.maximum(1.0, finite))
    return found


def _place(
    problem: DispatchProblem,
    schedule: Schedule,
    asset: Asset,
    full_connections: Mapping[tuple[str, str], BoolArray],
    binding: Sequence[FullLimit],
) -> _Place:
    own, time = schedule.assets[asset.id], problem.time
    charging = asset.charging(time)
    above = problem.above(asset.connection)
    ways: dict[str, list[tuple[tuple[str, str], BoolArray]]] = {}
    for name, sign in (("import_limit_kw", 1.0), ("export_limit_kw", -1.0)):
        ways[name] = [((name, key), full_connections[name, key]) for key in above]
        of_grid: dict[tuple[str, str], BoolArray] = {}
        for limit in binding:
            if isinstance(asset.bus, int) and sign * limit.per_mwh.get(asset.bus, 0.0) > TURNS:
                steps = of_grid.setdefault((limit.kind, limit.element), np.zeros(time.steps, bool))
                steps[limit.step] = True
        ways[name] += sorted(of_grid.items(), key=lambda item: item[0])
    return _Place(
        asset,
        own,
        asset.drawn_kw(own.p_kw),
        at_asset(problem, schedule, asset),
        None if charging is None else charging.most_kw,
        dict(sorted(asset.due_kwh(time).items())),
        ways,
        not np.allclose(own.p_kw, asset.baseline(time).p_kw),
        [*time, time.end],
    )


def _why(place: _Place, step: int) -> _Why:
    if place.most_kw is not None:
        return _why_store(place, place.most_kw, step)
    for series, action, way in (
        ("curtailed_kw", "curtail", "export_limit_kw"),
        ("shed_kw", "shed", "import_limit_kw"),
    ):
        if series in place.schedule.series and place.schedule.series[series][step] > IDLE_KW:
            limit, until = place.limit(way, step)
            if limit is not None:
                return _Why(action, f"{action}_full", limit=limit, until=until)
            return _Why(action, "shed" if action == "shed" else "curtail_price")
    power = place.drawn_kw[step]
    if abs(power) <= IDLE_KW:
        if "curtailed_kw" in place.schedule.series:
            return _Why("idle", "idle_none")
        later = np.flatnonzero(place.drawn_kw[step + 1 :] > IDLE_KW) + step + 1
        if place.flexible and len(later) and place.price[later[0]] < place.price[step] - SAME_PRICE:
            return _cheaper(place, step, int(later[0]))
        return _Why("idle", "idle")
    return _Why("draw", "draw") if power > 0 else _Why("feed", "feed")


def _cheaper(place: _Place, step: int, later: int) -> _Why:
    limit, until = place.limit("import_limit_kw", step)
    code = "wait_cheaper" if limit is None else "wait_cheaper_full"
    return _Why("wait", code, other=later, limit=limit, until=until)


def _why_store(place: _Place, most_kw: FloatArray, step: int) -> _Why:
    power, price = place.drawn_kw, place.price
    if power[step] < -IDLE_KW:
        after, before = (
            np.flatnonzero(power[step + 1 :] > IDLE_KW) + step + 1,
            np.flatnonzero(power[:step] > IDLE_KW),
        )
        if len(after):
            return _Why("discharge", "discharge_refilled", other=int(after[0]))
        if len(before):
            return _Why("discharge", "discharge_stored", other=int(before[-1]))
        return _Why("discharge", "discharge")
    by, due = _needed(place, step)
    if power[step] > IDLE_KW:
        return _why_charge(place, most_kw, step, by, due)
    if most_kw[step] <= IDLE_KW:
        return _Why("away", "away")
    later = np.flatnonzero(np.abs(power[step + 1 :]) > IDLE_KW) + step + 1
    if len(later):
        following = int(later[0])
        gain = price[following] - price[step]
        if power[following] > 0:
            if gain < -SAME_PRICE:
                return _cheaper(place, step, following)
            limit, until = place.limit("import_limit_kw", step)
            if limit is not None:
                return _Why("wait", "wait_full", limit=limit, until=until)
            if gain <= SAME_PRICE:
                return _Why("wait", "wait", other=following)
        elif gain > SAME_PRICE:
            return _Why("hold", "hold", other=following)
    if by is not None and due is not None and not (power[step + 1 : due + 1] > IDLE_KW).any():
        return _Why("idle", "idle_met", by=by)
    return _Why("idle", "idle")


def _needed(place: _Place, step: int) -> tuple[datetime | None, int | None]:
    """The next need that the store holds no more than, or that it holds, and its step."""
    for due, (by, kwh) in place.due.items():
        if due >= step and by > place.instants[step] and place.schedule.series["e_kwh"][due] <= kwh + MET_KWH:
            return by, due
    return None, None


def _why_charge(place: _Place, most_kw: FloatArray, step: int, by: datetime | None, due: int | None) -> _Why:
    power, price = place.drawn_kw, place.price
    if price[step] < -SAME_PRICE:
        return _Why("charge", "charge_paid")
    sold = np.flatnonzero(power[step + 1 :] < -IDLE_KW) + step + 1
    sold = sold[price[sold] > price[step] + SAME_PRICE]
    if due is not None and not (len(sold) and sold[0] <= due):
        left = np.arange(step + 1, due + 1)
        left = left[most_kw[left] > IDLE_KW]
        cheapest = not len(left) or price[step] <= price[left].min() + SAME_PRICE
        return _Why("charge", "charge_needed_cheapest" if cheapest else "charge_needed", by=by)
    if len(sold):
        return _Why("charge", "charge_resale", other=int(sold[0]))
    return _Why("charge", "charge")


def _told(
    problem: DispatchProblem, place: _Place, why: _Why, first: int, last: int, languages: Sequence[str]
) -> Reason:
    """The sentence for steps `first` to before `last`; its price is their mean."""
    price = float(place.price[first:last].mean())
    numbers = {"price_per_mwh": price, "p_kw": float(place.schedule.p_kw[first:last].mean())}
    words = {"price": money(price), "currency": problem.currency}
    if why.other is not None:
        other = float(place.price[why.other])
        numbers |= {"other_price_per_mwh": other, "difference_per_mwh": abs(price - other)}
        words |= {
            "other": money(other),
            "difference": money(abs(price - other)),
            "at": when(place.instants[why.other], problem.time),
        }
    for name, instant in (("by", why.by), ("until", why.until)):
        if instant is not None:
            words[name] = when(instant, problem.time)
    text = {}
    for language in languages:
        limit = {} if why.limit is None else {"limit": full(*why.limit, language)}
        text[language] = SENTENCES[why.code][language].format(**words, **limit)
    return Reason(place.instants[first], place.instants[last], why.action, why.code, numbers, text)
