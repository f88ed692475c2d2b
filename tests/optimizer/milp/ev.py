"""Electric vehicles: sessions, departure needs, trips."""

from __future__ import annotations

from math import ceil, floor
from random import Random

import numpy as np

from tests.optimizer.builders import Document, ev, session, trip
from tests.optimizer.milp.formulation import Formulation
from tests.optimizer.milp.random_problem import Place
from tests.optimizer.milp.rules import offers


def formulate(f: Formulation, asset: Document) -> None:
    priority = asset.get("priority", 1.0)
    charges: list[list[int]] = [[] for _ in range(f.steps)]
    discharges: list[list[int]] = [[] for _ in range(f.steps)]
    curve = asset.get("wear_curve", ())
    wear = (curve[0]["cost_per_mwh"] if curve else asset.get("wear_cost_per_mwh", 0.0)) / 1000 * f.hours
    callable_: dict[int, tuple[dict[int, float], dict[int, float]]] = {}
    for stay in asset.get("sessions", ()):
        begin, end = max(0.0, f.step_of(stay["arrival"])), min(f.step_of(stay["departure"]), float(f.steps))
        for t in range(floor(begin), ceil(end)) if begin < end else ():
            share = min(end, t + 1) - max(begin, t)
            back = stay.get("discharge_max_kw", 0.0)
            if not (asset.get("v2g_consent", True) and stay.get("v2g_consent", True)):
                back = 0.0
            charge = f.column(0, share * stay["charge_max_kw"])
            discharge = f.column(0, share * back, cost=wear)
            for column, way in ((charge, "charge"), (discharge, "discharge")):
                if stay.get(f"{way}_min_kw"):
                    f.zero_or_at_least(column, share * stay[f"{way}_min_kw"])
            charges[t].append(charge)
            discharges[t].append(discharge)
            if share == 1.0 and not (stay.get("charge_min_kw") or stay.get("discharge_min_kw")):
                callable_[t] = {charge: stay["charge_max_kw"]}, {discharge: back}
    trips = [
        (floor(f.step_of(drive["arrival"])), drive)
        for drive in asset.get("trips", ())
        if 0 <= f.step_of(drive["arrival"]) < f.steps
    ]
    missed = [f.column(0, drive["energy_kwh"], short=priority) for _, drive in trips]
    gain = asset.get("charge_efficiency", 1.0) * f.hours
    loss = f.hours / asset.get("discharge_efficiency", 1.0)
    energies: list[int] = []
    segments = _segments(asset)
    for t in range(f.steps):
        energy = f.column(asset.get("e_min_kwh", 0.0), asset["e_max_kwh"])
        terms = {energy: 1.0, **dict.fromkeys(charges[t], -gain), **dict.fromkeys(discharges[t], loss)}
        start = 0.0 if energies else asset["e_start_kwh"]
        if energies:
            terms[energies[-1]] = -1.0
        for (step, drive), short in zip(trips, missed, strict=True):
            if step == t:
                terms[short] = -1.0
                start -= drive["energy_kwh"]
        f.row(terms, start, start)
        into, out = dict.fromkeys(charges[t], -gain), dict.fromkeys(discharges[t], -loss)
        driven = 0.0
        for (step, drive), short in zip(trips, missed, strict=True):
            if step == t:
                out[short] = 1.0
                driven += drive["energy_kwh"]
        segments = _deeper(f, segments, into, out, driven)
        if charges[t]:
            f.either(charges[t], discharges[t])
        if discharges[t] and asset.get("v2g_reserve_kwh"):
            above = f.binary()
            f.row({energy: 1, above: -asset["v2g_reserve_kwh"]}, 0, np.inf)
            for column in discharges[t]:
                f.row({column: 1, above: -f.upper(column)}, -np.inf, 0)
        for column in charges[t]:
            f.draw(asset, t, column, 1.0)
        for column in discharges[t]:
            f.draw(asset, t, column, -1.0)
        energies.append(energy)
    f.unmet[asset["id"]] = dict.fromkeys(missed, 1.0)
    needs = []
    for stay in asset.get("sessions", ()):
        needs += _need(f, asset, stay, energies, list(zip(trips, missed, strict=True)))
    _provide(f, asset, callable_, energies, needs, {step for step, _ in trips})


Segment = tuple[int | None, float, float, float]
"""The energy of the step before (its column, or what it starts with), size, and price of a kWh taken."""


def _segments(asset: Document) -> list[Segment]:
    """The store cut by depth, the shallowest full; prices are what each is dearer than the first."""
    cut, left, above = [], asset["e_start_kwh"], 0.0
    for step in asset.get("wear_curve", ()):
        size = (step["depth"] - above) * asset["e_max_kwh"]
        dearer = step["cost_per_mwh"] - asset["wear_curve"][0]["cost_per_mwh"]
        cut.append((None, min(size, left), size, dearer / 1000 * asset.get("discharge_efficiency", 1.0)))
        above, left = step["depth"], left - min(size, left)
    return cut


def _deeper(
    f: Formulation, segments: list[Segment], into: dict[int, float], out: dict[int, float], driven: float
) -> list[Segment]:
    """One more step: all that is charged goes into segments, all that is fed back or driven comes out."""
    after: list[Segment] = []
    for before, start, size, cost in segments:
        put, taken, energy = f.column(0, np.inf), f.column(0, np.inf, cost=cost), f.column(0, size)
        terms = {energy: 1.0, put: -1.0, taken: 1.0}
        if before is not None:
            terms[before] = -1.0
        f.row(terms, start, start)
        into, out = {**into, put: 1.0}, {**out, taken: 1.0}
        after.append((energy, 0.0, size, cost))
    if segments:
        f.row(into, 0, 0)
        f.row(out, driven, driven)
    return after


Need = tuple[int, dict[int, float], float]
"""The step at whose end a need holds, the columns that ease it, and its kWh."""


def _provide(
    f: Formulation,
    asset: Document,
    callable_: dict[int, tuple[dict[int, float], dict[int, float]]],
    energies: list[int],
    needs: list[Need],
    arrivals: set[int],
) -> None:
    """In steps that a session covers wholly. After a call the car follows its plan until the next session,
    and a drive that arrives as that begins."""
    none: dict[int, float] = {}
    charges = [callable_.get(t, (none, none))[0] for t in range(f.steps)]
    discharges = [callable_.get(t, (none, none))[1] for t in range(f.steps)]
    least = asset.get("e_min_kwh", 0.0)
    # whether it may discharge depends on what is in it: a call does not rely on more than is planned
    relied = asset.get("v2g_reserve_kwh", 0.0) <= least
    provider = offers.store(f, asset, charges, discharges, energies, [least] * f.steps, relied=relied)
    stays = sorted(
        (max(0, floor(f.step_of(s["arrival"]))), min(f.steps, ceil(f.step_of(s["departure"]))))
        for s in asset.get("sessions", ())
        if f.step_of(s["departure"]) > 0 and f.step_of(s["arrival"]) < f.steps
    )
    for number, (first, last) in enumerate(stays):
        end = stays[number + 1][0] if number + 1 < len(stays) else f.steps
        end = max(end + (end in arrivals), last)
        for t in range(first, end):
            due = [need for need in needs if need[0] == last - 1 and need[0] >= t]
            provider.follow[t] = (list(range(t, end)), due)
    f.providers.append(provider)


def _need(f: Formulation, asset: Document, stay: Document, energies: list[int], trips: list) -> list[Need]:
    """The need holds at the end of the last step touched, before the energy of a later trip leaves."""
    begin, end = f.step_of(stay["arrival"]), f.step_of(stay["departure"])
    need = stay.get("e_departure_min_kwh")
    if need is None or end <= 0 or begin >= f.steps or begin >= end:
        return []
    later = max(0.0, end - f.steps) * f.hours
    need -= later * stay["charge_max_kw"] * asset.get("charge_efficiency", 1.0)
    last = ceil(min(end, f.steps)) - 1
    if need <= asset.get("e_min_kwh", 0.0):
        return []
    priority = stay.get("priority") or asset.get("priority", 1.0)
    short = f.column(0, np.inf, short=priority)
    f.unmet[asset["id"]][short] = 1.0
    terms = {energies[last]: 1.0, short: 1.0}
    for (step, drive), missed in trips:
        if step == last and f.step_of(drive["departure"]) >= end:
            need -= drive["energy_kwh"]
            terms[missed] = -1.0
    f.row(terms, need, np.inf)
    return [(last, {short: 1.0}, need)]


WEAR: list[Document] = [
    {},
    {"wear_cost_per_mwh": 20.0},
    {"wear_curve": [{"depth": 0.2, "cost_per_mwh": 4.0}, {"depth": 1.0, "cost_per_mwh": 34.0}]},
]


def draw(random: Random, name: str, place: Place) -> Document:
    count = random.randint(2, min(5, 4 * place.steps))
    cuts = sorted(random.sample(range(-2, place.steps * 4 + 3), count))
    intervals = [(place.hours * cuts[k] / 4, place.hours * cuts[k + 1] / 4) for k in range(len(cuts) - 1)]
    sessions, trips = [], []
    for number, (begin, end) in enumerate(intervals):
        if number % 2 == 0:
            sessions.append(
                session(
                    begin,
                    end,
                    charge_max_kw=random.choice([7.0, 10.0]),
                    discharge_max_kw=random.choice([0.0, 8.0]),
                    charge_min_kw=random.choice([0.0, 0.0, 4.0]),
                    priority=random.choice([None, None, 2.0]),
                    v2g_consent=random.random() < 0.8,
                    e_departure_min_kwh=random.choice([None, 0.0, 15.0, 30.0]),
                )
            )
        elif random.random() < 0.8:
            trips.append(trip(begin, end, random.choice([1.0, 9.0])))
    return ev(
        sessions,
        name,
        connection=place.connection(random),
        e_max_kwh=random.choice([30.0, 40.0]),
        e_min_kwh=random.choice([0.0, 5.0]),
        charge_efficiency=random.choice([0.8, 0.9, 1.0]),
        discharge_efficiency=random.choice([0.8, 0.9, 1.0]),
        **random.choice(WEAR),
        priority=random.choice([1.0, 1.0, 3.0]),
        v2g_consent=random.random() < 0.9,
        v2g_reserve_kwh=random.choice([0.0, 0.0, 12.0]),
        trips=trips,
    )
