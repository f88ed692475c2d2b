"""Offers: reserve that every provider can deliver in a call from any step, and that its connections carry.

After a call a store has what the plan left it less what was called. A kWh called up takes what charging
would have put in, or what discharging takes out. A kWh called down is taken to put in what charging does,
and the discharging of those steps is set against it at the same rate: on the safe side where it is reduced.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from tests.optimizer.builders import Document, at
from tests.optimizer.islands import LENGTHS
from tests.optimizer.places import lineage

if TYPE_CHECKING:
    from tests.optimizer.milp.formulation import Formulation
    from tests.optimizer.milp.random_problem import Place

AFTER_NEEDS = 1e-3
"""What a kWh of sold reserve that is not held weighs against needs."""
DURATIONS = {"PT7M30S": 0.125, **LENGTHS, "PT90M": 1.5}


Follow = tuple[list[int], list[tuple[int, dict[int, float], float]]]
"""Steps whose energies must last, and needs: the step at whose end, the columns that ease it, and kWh."""


@dataclass
class Provider:
    """What an asset says of itself: see the callers of `provide`.

    Attributes:
        less, more: per step pairs (kW constant, terms) that a call can take of, and kWh in store per kWh.
        energy: columns at the end of each step, and the bounds that a call up, or down, must leave.
        discharge: per step its discharging, kWh in store per kWh beside what charging would put in.
        caps: by direction and step what else bounds all that is called of it, as kW constant and terms.
        follow: for a call that ends in a step, the later steps whose energies must last; with the need
            of a departure: (step, column short, kWh) where there is one.
    """

    asset: Document
    up: list[list[tuple[float, dict[int, float], float]]]
    down: list[list[tuple[float, dict[int, float], float]]]
    energy: list[int] = field(default_factory=list)
    lowest: list[float] = field(default_factory=list)
    highest: float = 0.0
    discharge: list[dict[int, float]] = field(default_factory=list)
    follow: dict[int, Follow] = field(default_factory=dict)
    caps: dict[str, list[list[tuple[float, dict[int, float]]]]] = field(default_factory=dict)


def formulate(f: Formulation) -> None:
    offers = {offer["id"]: offer for offer in f.document.get("offers", ())}
    windows = {key: _window(f, offer) for key, offer in offers.items()}
    offers = {key: offer for key, offer in offers.items() if windows[key]}
    for key, offer in offers.items():
        income = offer["price_per_mw_h"] / 1000 * len(windows[key]) * f.hours
        f.held[key] = f.column(0, offer["max_kw"], cost=-income)
        if offer.get("min_kw"):
            f.zero_or_at_least(f.held[key], offer["min_kw"])
        if offer.get("committed_kw"):
            weight = AFTER_NEEDS * len(windows[key]) * f.hours
            short = f.column(0, offer["committed_kw"], short=weight)
            f.row({f.held[key]: 1, short: 1}, offer["committed_kw"], np.inf)
    reserve: dict[tuple[str, int], dict[int, float]] = {}
    through: dict[tuple[str, str, int], dict[int, float]] = {}
    for provider in f.providers:
        path = lineage(f.document, provider.asset["connection"])
        for way in ("up", "down"):
            served = [
                key
                for key, offer in offers.items()
                if offer["direction"] == way
                and offer["connection"] in path
                and (offer.get("providers") is None or provider.asset["id"] in offer["providers"])
            ]
            called: dict[tuple[str, int], dict[int, float]] = {}
            for t in sorted({t for key in served for t in windows[key]}):
                for room, terms, kwh_per_kwh in getattr(provider, way)[t]:
                    columns = [key for key in served if t in windows[key]]
                    held = {}
                    for key in columns:
                        column = f.column(0, np.inf)
                        held[column] = 1.0
                        reserve.setdefault((key, t), {})[column] = 1.0
                        called.setdefault((key, t), {})[column] = kwh_per_kwh
                        for connection in path:
                            through.setdefault((connection, way, t), {})[column] = 1.0
                    f.row({**held, **{k: -v for k, v in terms.items()}}, -np.inf, room)
                    for most, given in provider.caps.get(way, [[]] * f.steps)[t]:
                        f.row({**held, **{k: -v for k, v in given.items()}}, -np.inf, most)
            if provider.energy:
                _calls(f, provider, way, {key: offers[key] for key in served}, windows, called)
    for key in offers:
        for t in windows[key]:
            f.row({**reserve.get((key, t), {}), f.held[key]: -1.0}, 0, 0)
    for (connection, way, t), columns in through.items():
        _limit(f, connection, way, t, columns)


def _window(f: Formulation, offer: Document) -> range:
    first = max(0, round(f.step_of(offer["start"])))
    return range(first, max(first, min(f.steps, round(f.step_of(offer["end"])))))


def _calls(
    f: Formulation,
    provider: Provider,
    way: str,
    served: dict[str, Document],
    windows: dict[str, range],
    called: dict[tuple[str, int], dict[int, float]],
) -> None:
    for begin in sorted({t for key in served for t in windows[key]}):
        taken: dict[int, float] = {}
        last = None
        for t in range(begin, f.steps):
            shares = {
                key: min(DURATIONS[offer.get("duration", "PT1H")] / f.hours - (t - begin), 1.0)
                for key, offer in served.items()
                if begin in windows[key] and t in windows[key]
            }
            if max(shares.values(), default=0.0) <= 0:
                break
            for key, share in shares.items():
                for column, kwh in called.get((key, t), {}).items():
                    taken[column] = taken.get(column, 0.0) + max(share, 0.0) * f.hours * kwh
            if way == "down":
                for column, kwh in provider.discharge[t].items():
                    taken[column] = taken.get(column, 0.0) + f.hours * kwh
            if taken:
                last = t
                sign = 1.0 if way == "up" else -1.0
                bound = provider.lowest[t] if way == "up" else -provider.highest
                f.row({provider.energy[t]: sign, **{k: -v for k, v in taken.items()}}, bound, np.inf)
        if way == "up" and last in provider.follow:
            steps, needs = provider.follow[last]
            for t in steps:
                f.row(
                    {provider.energy[t]: 1.0, **{k: -v for k, v in taken.items()}}, provider.lowest[t], np.inf
                )
            for t, more, need in needs:
                f.row({provider.energy[t]: 1.0, **more, **{k: -v for k, v in taken.items()}}, need, np.inf)


def _limit(f: Formulation, key: str, way: str, t: int, columns: dict[int, float]) -> None:
    name, sign = ("export_limit_kw", -1.0) if way == "up" else ("import_limit_kw", 1.0)
    limit = float(min(f.limit(f.connections[key], name)[t], f.exchange[key][t]))
    if not isfinite(limit):
        return
    if sign * f.inflexible(key)[t] > limit:
        f.row(columns, 0, 0)
        return
    buy, sell = f.flows[key][t]
    f.row({buy: sign, sell: -sign, **columns}, -np.inf, limit)


def store(
    f: Formulation,
    asset: Document,
    charges: list[dict[int, float]],
    discharges: list[dict[int, float]],
    energy: list[int],
    lowest: list[float],
    *,
    relied: bool = True,
) -> Provider:
    """A battery or an EV: columns that may be called per step, with their largest powers; what the columns
    of `energy` must not fall below. More discharging than is planned is called only where it is `relied` on.
    """
    gain, loss = asset.get("charge_efficiency", 1.0), 1 / asset.get("discharge_efficiency", 1.0)
    up, down, back = [], [], []
    for into, out in zip(charges, discharges, strict=True):
        sources: list[tuple[float, dict[int, float], float]] = []
        if into:
            sources.append((0.0, dict.fromkeys(into, 1.0), gain))
        if out and relied:
            sources.append((sum(out.values()), dict.fromkeys(out, -1.0), loss))
        up.append(sources)
        room = sum(into.values())
        down.append(
            [(room, {**dict.fromkeys(into, -1.0), **dict.fromkeys(out, 1.0)}, gain)] if into or out else []
        )
        back.append(dict.fromkeys(out, loss - gain))
    return Provider(asset, up, down, energy, lowest, asset["e_max_kwh"], back)


def draw(random: Random, document: Document, place: Place) -> None:
    document["offers"] = []
    for number in range(random.choice([1, 1, 2])):
        first = random.randint(-1, place.steps - 1)
        last = random.randint(first + 1, place.steps + 1)
        connection = random.choice(document["connections"])["id"]
        offer = {
            "id": f"offer{number}",
            "connection": connection,
            "direction": random.choice(["up", "down"]),
            "start": at(first * place.hours),
            "end": at(last * place.hours),
            "price_per_mw_h": random.choice([5.0, 60.0, 400.0]),
            "max_kw": random.choice([3.0, 12.0, 50.0]),
            "min_kw": random.choice([0.0, 0.0, 2.0]),
            "duration": random.choice(["PT7M30S", "PT15M", "PT30M", "PT1H", "PT90M", "PT2H"]),
            "committed_kw": random.choice([None, None, 2.5]),
        }
        below = [a["id"] for a in document["assets"] if connection in lineage(document, a["connection"])]
        if below and random.random() < 0.2:
            offer["providers"] = random.sample(below, 1)
        document["offers"].append(offer)
