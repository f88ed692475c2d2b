"""Needs that no wider connection would meet and that have no closed form, as conflicts.

A need of steps (load, heat, hydrogen, swaps, comfort) is one conflict for each run of steps in which the same
keeps it from being met; one that is due at an instant is one over the time in which it could be met.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor

import numpy as np

from energy.domain.schedule import Conflict, Shortfall, ShortfallKind
from optimizer.assets.base import Asset
from optimizer.assets.reach import when, window
from optimizer.problem import DispatchProblem

DECIMALS = 6
"""Relaxations are rounded to this many: further digits are the solver's."""
NEEDS: Mapping[ShortfallKind, tuple[str, str]] = {
    "unserved_load": ("its load is short of", "Lower p_kw"),
    "heat_demand": ("its heat demand is short of", "Lower heat_demand_kw"),
    "hydrogen_demand": ("its hydrogen demand is short of", "Lower demand_kg"),
    "unmet_swap": ("it is short of", "Lower swaps"),
    "comfort": ("its room is outside its comfort band by", "Widen temp_min_c to temp_max_c"),
    "departure_energy": ("its departure need is short of", "Lower e_departure_min_kwh"),
    "trip_energy": ("the energy of its trip is short of", "Lower energy_kwh"),
    "energy_window": ("the energy of its window is short of", "Lower e_min_kwh"),
    "unserved_run": ("its run finds no place and is short of", "Widen its window"),
}
"""What a need lacks in words, and what would ease it."""
POWERS: Mapping[str, str] = {"kWh": "kW", "kelvin_hours": "K"}
"""Units of what a need of steps lacks at a time."""
WORDS: Mapping[str, str] = {"kelvin_hours": "K·h"}
"""Units in sentences, where they have another name."""


def unmet_needs(
    problem: DispatchProblem, shortfalls: Sequence[Shortfall], full: Sequence[str]
) -> Iterator[Conflict]:
    """`shortfalls` of assets and offers as conflicts; in their way are the limits of the grid at `full`."""
    assets = {asset.id: asset for asset in problem.assets}
    offers = {offer.id: offer for offer in problem.offers}
    runs: dict[tuple[str, ShortfallKind, str], dict[int, Shortfall]] = defaultdict(dict)
    for shortfall in shortfalls:
        if shortfall.offer is not None:
            yield offers[shortfall.offer].conflict(shortfall, problem.assets, problem.time)
            continue
        assert shortfall.asset is not None, "what connections lack is explained by their limits"
        asset = assets[shortfall.asset]
        why = _why(problem, asset, shortfall, full)
        if shortfall.since is None:
            step = round(problem.time.position(shortfall.at))
            runs[asset.id, shortfall.kind, why][step] = shortfall
        else:
            yield _due(problem, asset, shortfall, why)
    for (key, _, why), of_step in runs.items():
        steps = sorted(of_step)
        breaks = [n for n in range(1, len(steps)) if steps[n] > steps[n - 1] + 1]
        for first, last in zip([0, *breaks], [*breaks, len(steps)], strict=True):
            yield _run(problem, assets[key], [of_step[step] for step in steps[first:last]], why)


def _run(problem: DispatchProblem, asset: Asset, shortfalls: Sequence[Shortfall], why: str) -> Conflict:
    """A need of consecutive steps."""
    time, kind = problem.time, shortfalls[0].kind
    amounts, units = zip(*(_amount(shortfall) for shortfall in shortfalls), strict=True)
    total, unit = round(sum(amounts), DECIMALS), units[0]
    start, end = shortfalls[0].at, shortfalls[-1].at + time.resolution
    most = f" (up to {max(amounts) / time.hours:.4g} {POWERS[unit]})" if unit in POWERS else ""
    span = f"from {when(start, time)} to {when(end, time)}"
    lacks, remedy = NEEDS[kind]
    message = (
        f"asset {asset.id!r}: {span} {lacks} {_worded(total, unit)}{most} {why}. "
        f"{remedy}, or allow the shortfall."
    )
    return Conflict((asset.id,), asset.connection, start, end, kind, total, unit, message, amounts)


def _due(problem: DispatchProblem, asset: Asset, shortfall: Shortfall, why: str) -> Conflict:
    """A need that is due at an instant."""
    time = problem.time
    assert shortfall.since is not None
    start, end = window(shortfall.since, shortfall.at, time)
    amount, unit = _amount(shortfall)
    lacks, remedy = NEEDS[shortfall.kind]
    span = f"from {when(start, time)} to {when(end, time)}"
    if shortfall.kind == "unserved_load":
        span = f"after {when(end, time)}, while its island goes on,"
    message = (
        f"asset {asset.id!r}: {span} {lacks} {_worded(amount, unit)} {why}. {remedy}, or allow the shortfall."
    )
    return Conflict((asset.id,), asset.connection, start, end, shortfall.kind, amount, unit, message)


def _amount(shortfall: Shortfall) -> tuple[float, str]:
    """What is lacking, in the unit of the need."""
    if shortfall.unit is not None and shortfall.amount is not None:
        return round(shortfall.amount, DECIMALS), shortfall.unit
    return round(shortfall.amount_kwh, DECIMALS), "kWh"


def _worded(amount: float, unit: str) -> str:
    return f"{amount:.4g} {WORDS.get(unit, unit)}"


def _why(problem: DispatchProblem, asset: Asset, shortfall: Shortfall, full: Sequence[str]) -> str:
    """What keeps a need from being met."""
    first = last = round(problem.time.position(shortfall.at))
    if shortfall.since is not None:
        first = max(floor(problem.time.position(shortfall.since)), 0)
        last = max(ceil(problem.time.position(shortfall.at)) - 1, first)
    borders = [(key, problem.islands.exchange_kw[key][first : last + 1]) for key in _above(problem, asset)]
    if shortfall.kind == "unserved_load":
        returning = [key for key, most in borders if shortfall.since is None and 0 < most[0] < np.inf]
        return f"while {returning[0]!r} returns from an island" if returning else "with what its island has"
    within = "" if problem.network is None else ", within the limits of the grid"
    if full:
        within += f" at {', '.join(full[:5])}" + (" and others" if full[5:] else "")
    if any(np.isfinite(most).any() for _, most in borders):
        within += ", with what its island has"
    return f"whatever its connections could carry{within}"


def _above(problem: DispatchProblem, asset: Asset) -> Iterator[str]:
    """The connection of an asset and those above it."""
    key: str | None = asset.connection
    while key is not None:
        yield key
        key = problem.connections[key].parent
