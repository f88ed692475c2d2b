"""Fairness: the spread between the shares of districts costs."""

from __future__ import annotations

from collections import defaultdict
from random import Random
from typing import TYPE_CHECKING

import numpy as np

from tests.optimizer.builders import Document, series

if TYPE_CHECKING:
    from tests.optimizer.milp.formulation import Formulation
    from tests.optimizer.milp.random_problem import Place


def formulate(f: Formulation) -> None:
    weights = f.document.get("objective", {}).get("fairness") or {}
    for burden, weight in weights.items():
        stakes: dict[str, float] = defaultdict(float)
        borne: dict[str, dict[int, float]] = defaultdict(dict)
        for asset in f.document["assets"]:
            if burden == "curtailment" and asset["id"] in f.fed:
                stakes[asset["district"]] += float(series(asset["available_kw"], f.steps).sum()) * f.hours
                borne[asset["district"]] |= dict.fromkeys(f.fed[asset["id"]], -f.hours)
            elif burden == "charging" and asset["type"] == "ev":
                stakes[asset["district"]] += uncharged_kwh(f, asset)
                borne[asset["district"]] |= f.unmet[asset["id"]]
        some = {district: kwh for district, kwh in stakes.items() if kwh > 0}
        if len(some) < 2 or not weight:
            continue
        most, least = f.column(0, np.inf, cost=weight), f.column(0, np.inf, cost=-weight)
        for district, kwh in some.items():
            share = {column: value / kwh for column, value in borne[district].items()}
            fixed = 1.0 if burden == "curtailment" else 0.0
            f.row({most: 1.0, **{k: -v for k, v in share.items()}}, fixed, np.inf)
            f.row({least: -1.0, **share}, -fixed, np.inf)


def uncharged_kwh(f: Formulation, asset: Document) -> float:
    """What a car lacks that is never charged: it drives as far as it can, and departs with what is left."""
    energy, least, lacking = asset["e_start_kwh"], asset.get("e_min_kwh", 0.0), 0.0
    events = [(f.step_of(drive["arrival"]), drive) for drive in asset["trips"]]
    events += [(min(f.step_of(stay["departure"]), f.steps), stay) for stay in asset["sessions"]]
    for when, event in sorted(events, key=lambda pair: pair[0]):
        if "energy_kwh" in event:
            if 0 <= when < f.steps:
                taken = min(event["energy_kwh"], energy - least)
                lacking += event["energy_kwh"] - taken
                energy -= taken
            continue
        begin, end = f.step_of(event["arrival"]), f.step_of(event["departure"])
        need = event.get("e_departure_min_kwh") or 0.0
        need -= (
            max(0.0, end - f.steps) * f.hours * event["charge_max_kw"] * asset.get("charge_efficiency", 1.0)
        )
        inside = begin < end and end > 0 and begin < f.steps
        if inside and need > least:
            lacking += max(0.0, need - energy)
    return float(lacking)


def draw(random: Random, document: Document, place: Place) -> None:
    """Every asset gets a district; a burden that only one asset bears is split with a twin of it."""
    for burden, kind in (("curtailment", "renewable"), ("charging", "ev")):
        if random.random() < 0.8:
            document["objective"].setdefault("fairness", {})[burden] = random.choice([0.05, 2.0])
            bearing = [asset for asset in document["assets"] if asset["type"] == kind]
            if len(bearing) == 1:
                document["assets"].append({**bearing[0], "id": f"{kind}_twin"})
    for number, asset in enumerate(document["assets"]):
        asset["district"] = ("north", "south", "west")[number % random.choice([2, 3])]
