"""Shiftable loads: one binary for each step a run may start in."""

from __future__ import annotations

from math import ceil, floor
from random import Random

from tests.optimizer.builders import Document, at
from tests.optimizer.milp.formulation import Formulation
from tests.optimizer.milp.random_problem import Place


def formulate(f: Formulation, asset: Document) -> None:
    profile = asset["profile_kw"]
    begin, end = (f.step_of(asset[name]) for name in ("earliest_start", "latest_end"))
    # what the next horizon can still run is left to it; what lies outside is nobody's
    if begin >= f.steps or end <= 0:
        return
    starts = {t: f.binary() for t in range(max(0, ceil(begin)), min(f.steps, floor(end)) - len(profile) + 1)}
    if not starts and end - max(begin, f.steps) >= len(profile):
        return
    energy = sum(profile) * f.hours
    missed = f.column(0, 1, short=energy * asset.get("priority", 1.0), integer=True)
    f.row({missed: 1, **dict.fromkeys(starts.values(), 1.0)}, 1, 1)
    for t, start in starts.items():
        for k, p_kw in enumerate(profile):
            f.draw(asset, t + k, start, p_kw)


def draw(random: Random, name: str, place: Place) -> Document:
    profile = [float(random.randint(1, 9)) for _ in range(random.randint(1, min(3, place.steps)))]
    begin = random.randint(-2, place.steps - 1)
    end = random.randint(begin + len(profile), max(begin + len(profile), place.steps + 2))
    return {
        "type": "shiftable_load",
        "id": name,
        "connection": place.connection(random),
        "profile_kw": profile,
        "earliest_start": at(begin * place.hours),
        "latest_end": at(end * place.hours),
        "priority": random.choice([1.0, 2.0]),
    }
