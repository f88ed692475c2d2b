"""The frontier between cost and emissions on a grid: every point is an answer of the AC loop of its own.

As in `optimizer.frontier`, the ends are the least cost and the least emissions, with limits on emissions at
equal distances between; what a point costs and emits is what AC power flow says.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from energy.domain.errors import DeadlineError
from energy.domain.progress import Progress
from energy.domain.schedule import FrontierPoint
from optimizer.frontier import APART, priced_by_difference


@dataclass(frozen=True)
class Aim:
    """Least cost, then least emissions, or the other way round, with emissions of at most `most_kg`."""

    emissions_first: bool = False
    most_kg: float = np.inf


@dataclass(frozen=True)
class Candidate:
    """A point, and what counts before its cost and emissions: the lower, the better."""

    point: FrontierPoint
    severity: float
    unmet_kwh: float

    @property
    def rank(self) -> tuple[float, float]:
        return self.severity, self.unmet_kwh


Pursue = Callable[[Aim, Progress], Candidate | None]


def frontier_on_grid(
    count: int, known: Candidate, pursue: Pursue, progress: Progress
) -> tuple[tuple[FrontierPoint, ...], tuple[str, ...]]:
    """At most `count` points, cheapest first, and notices of what is missing or not secure.

    `pursue` gives the best answer to an aim, None where there is none, and raises `DeadlineError`. `known` is
    an answer to the problem proper, which at no price of carbon may be the cheapest of all.
    """
    found: list[Candidate] = []
    notices: list[str] = []
    try:
        found += _search(count, known, pursue, progress)
    except DeadlineError:
        notices.append(f"the deadline passed: the frontier has fewer than its {count} points")
    points = tuple(priced_by_difference(_in_order(found)))
    insecure = sum(point.ac is None or not point.ac["secure"] for point in points)
    if insecure:
        notices.append(f"{insecure} of {len(points)} points of the frontier are not secure: see their ac")
    return points, tuple(notices)


def _search(count: int, known: Candidate, pursue: Pursue, progress: Progress) -> Iterator[Candidate]:
    def one(number: int, aim: Aim) -> Candidate | None:
        def of_all(share: float, message: str) -> None:
            progress((number + share) / (count + 1), f"frontier, point {number} of {count}: {message}")

        return pursue(aim, of_all)

    cheapest = min(filter(None, (one(1, Aim()), known)), key=_by_cost)
    yield cheapest
    cleanest = one(2, Aim(emissions_first=True))
    if cleanest is None:
        return
    yield cleanest
    most = cheapest.point.emissions_kg
    span = most - cleanest.point.emissions_kg
    if span <= APART * max(1.0, abs(most)):
        return
    for number, between in enumerate(_halving(count - 1), start=3):
        candidate = one(number, Aim(most_kg=most - span * between / (count - 1)))
        if candidate is not None:
            yield candidate


def _halving(last: int) -> Iterator[int]:
    """1 to `last` − 1, so that what has come by any time lies evenly between 0 and `last`."""
    stride = 1 << (last - 1).bit_length()
    while stride > 1:
        yield from range(stride // 2, last, stride)
        stride //= 2


def _by_cost(candidate: Candidate) -> tuple[tuple[float, float], float, float]:
    return candidate.rank, candidate.point.cost, candidate.point.emissions_kg


def _in_order(candidates: Sequence[Candidate]) -> list[FrontierPoint]:
    """The points of which each is dearer and cleaner than the one before; where two contradict each other,
    security counts first, then needs, then emissions."""
    kept: list[FrontierPoint] = []
    for candidate in sorted(candidates, key=lambda each: (*each.rank, each.point.emissions_kg)):
        new = candidate.point
        if all(_compromise(new, old) for old in kept):
            kept.append(new)
    return sorted(kept, key=lambda point: point.cost)


def _compromise(one: FrontierPoint, other: FrontierPoint) -> bool:
    """Whether one of two points is clearly cheaper, and the other cleaner."""
    cheap, clean = sorted((one, other), key=lambda point: point.cost)
    pays = clean.cost - cheap.cost > APART * max(1.0, abs(clean.cost))
    return pays and clean.emissions_kg < cheap.emissions_kg
