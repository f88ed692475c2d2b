"""Re-planning: what was done stays, what was promised stays unless changing it pays.

Steps that begin before ``options.now`` are past: their controls are those of the previous schedule, and
what follows from them (past energies, past flows at connections) is free, for meters are right and plans
are not. The steps after that which the previous schedule covers are committed, up to ``options.commit``.
Two problems are solved: one keeps the committed controls, one is free to change them. The free one is
taken where it serves more of the needs, or where it is cheaper by more than ``options.change_threshold``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np

from energy.domain.errors import DeadlineError, Fault, InputError
from energy.domain.network import FloatArray
from energy.domain.schedule import AssetSchedule, Schedule
from energy.domain.time import TimeGrid, format_instant
from optimizer.assets.load import Load
from optimizer.assets.renewable import Renewable
from optimizer.problem import DispatchProblem, Pins

UNSERVED_KWH = 1e-4
"""A plan that serves so much more is taken whatever it costs."""
ROUNDING = 1e-6
"""A gain below this share of the cost is the solver's."""
FORECAST = (Load, Renewable)
"""Assets that follow a forecast."""
STEERED = ("shed_kw", "curtailed_kw", "unserved_kw")
"""What is decided about them."""
CHANGED_KW = 1e-3
"""A power that differs by less did not change."""


@dataclass(frozen=True)
class Previous:
    """A schedule made before: of which problem, over which time, and what each asset was to do."""

    input_hash: str
    time: TimeGrid
    assets: Mapping[str, AssetSchedule]


def replan(
    problem: DispatchProblem, previous: Previous, solve: Callable[[DispatchProblem], Schedule]
) -> Schedule:
    """The schedule of `problem` that follows on `previous`, with its ``revision``.

    `solve` dispatches a problem, with a grid or without. Raises `InputError` where the two do not fit.
    """
    offset, past, until = _overlap(problem, previous)
    assets = {
        key: _aligned(schedule, offset, problem.time.steps) for key, schedule in previous.assets.items()
    }
    kept = free = None
    try:
        if until > past:
            kept = solve(replace(problem, pins=Pins(past, until, assets)))
        free = solve(replace(problem, pins=Pins(past, past, assets)) if past else problem)
    except DeadlineError:
        if kept is None or kept.status == "infeasible":
            raise
    chosen, why, gain = _choose(problem, kept, free)
    names = {asset.id for asset in problem.assets}
    notices = [f"asset {key!r} is new: the previous schedule has none" for key in sorted(names - set(assets))]
    notices += [f"asset {key!r} of the previous schedule is gone" for key in sorted(set(assets) - names)]
    revision = {
        "previous_hash": previous.input_hash,
        "overlap_steps": min(problem.time.steps, offset + previous.time.steps) - max(offset, 0),
        "past_steps": past,
        "kept_steps": 0 if chosen is free else until - past,
        "gain": gain,
        "threshold": problem.options.change_threshold,
        "changed": list(_changes(problem, chosen, assets, past, why)),
    }
    return replace(
        chosen,
        revision=revision,
        solve_seconds=sum(plan.solve_seconds for plan in (kept, free) if plan is not None),
        notices=(*chosen.notices, *notices),
    )


def check_overlap(problem: DispatchProblem, previous: Previous) -> None:
    """`InputError` with every fault where a schedule of `problem` cannot follow on `previous`."""
    _overlap(problem, previous)


def _choose(
    problem: DispatchProblem, kept: Schedule | None, free: Schedule | None
) -> tuple[Schedule, str, float | None]:
    """The plan to follow, why what changes does, and what changing the committed steps would save."""
    uncommitted = "these steps are not committed"
    if free is None:
        assert kept is not None
        notice = "the deadline passed before it was known whether changing what is committed pays"
        notices = (*kept.notices, notice)
        return replace(kept, status="feasible", best_bound=None, gap=None, notices=notices), uncommitted, None
    if kept is None:
        return free, uncommitted, None
    if "infeasible" in (kept.status, free.status):
        return free, "what was committed no longer keeps every limit", None
    gain, threshold = kept.objective["total"] - free.objective["total"], problem.options.change_threshold
    insecure = [plan.ac is not None and not plan.ac["secure"] for plan in (kept, free)]
    short = [sum(s.amount_kwh for s in plan.shortfalls) for plan in (kept, free)]
    turnover = sum(abs(value) for part, value in kept.objective.items() if part != "total")
    if insecure[0] and not insecure[1]:
        return free, "the grid no longer carries what was committed", gain
    if insecure[0] == insecure[1]:
        if short[0] > short[1] + UNSERVED_KWH:
            return free, f"what was committed leaves {short[0] - short[1]:.4g} kWh more unserved", gain
        if gain > max(threshold, ROUNDING * max(1.0, turnover)):
            why = f"the new plan is {gain:.4g} {problem.currency} cheaper; the threshold is {threshold:g}"
            return free, why, gain
    return _bounded(kept, free, problem.options.mip_gap), uncommitted, gain


def _bounded(kept: Schedule, free: Schedule, mip_gap: float) -> Schedule:
    """`kept` with the bound of the problem that is free to change it."""
    total, bound = kept.objective["total"], free.best_bound
    if bound is None:
        return replace(kept, best_bound=None, gap=None)
    gap = max(0.0, total - bound) / max(abs(total), 1e-9)
    best = kept.status == "optimal" and gap <= max(mip_gap, ROUNDING)
    return replace(kept, status="optimal" if best else "feasible", best_bound=min(bound, total), gap=gap)


def _overlap(problem: DispatchProblem, previous: Previous) -> tuple[int, int, int]:
    """Where `previous` begins on the grid of `problem`, and the ends of the past and of what is committed."""
    time, before, options = problem.time, previous.time, problem.options
    faults: list[Fault] = []
    position = (before.start - time.start) / time.resolution
    offset = int(position)
    if before.resolution != time.resolution:
        faults.append(
            Fault("previous.time.resolution", "differs from time.resolution; they must be the same")
        )
    elif offset != position:
        faults.append(Fault("previous.time.start", "lies between the steps of the problem; align the two"))
    elif before.end <= time.start or before.start >= time.end:
        faults.append(
            Fault(
                "previous.time",
                f"{format_instant(before.start)} to {format_instant(before.end)} has no step in common with "
                f"the problem, {format_instant(time.start)} to {format_instant(time.end)}",
            )
        )
    if not {asset.id for asset in problem.assets} & set(previous.assets):
        faults.append(Fault("previous.assets", "has none of the assets of the problem"))
    if problem.scenarios:
        faults.append(
            Fault("scenarios", "cannot follow on a previous schedule; remove the scenarios or the schedule")
        )
    if faults:
        raise InputError(faults)
    past = 0
    end = min(time.steps, offset + before.steps)
    if options.now is not None:
        if not time.start <= options.now < time.end:
            raise InputError(Fault("options.now", "lies outside the time of the problem"))
        past = ceil(time.position(options.now))
        if past and (offset > 0 or end < past):
            raise InputError(
                Fault("options.now", "has steps before it that the previous schedule does not cover")
            )
    if options.commit is not None:
        end = min(end, past + int(options.commit / time.resolution))
    return offset, past, max(end, past)


def _aligned(schedule: AssetSchedule, offset: int, steps: int) -> AssetSchedule:
    """A schedule on the grid of the problem, NaN where it says nothing."""

    def shifted(values: FloatArray) -> FloatArray:
        found = np.full((steps, *values.shape[1:]), np.nan)
        first, last = max(offset, 0), min(offset + len(values), steps)
        found[first:last] = values[first - offset : last - offset]
        return found

    return AssetSchedule(
        shifted(schedule.p_kw), {name: shifted(values) for name, values in schedule.series.items()}
    )


def _changes(
    problem: DispatchProblem, chosen: Schedule, before: Mapping[str, AssetSchedule], past: int, why: str
) -> Iterator[dict[str, Any]]:
    """What each asset does otherwise than before, one entry per unbroken run of steps with more power than
    before, or with less. What lies before step `past` is an entry of its own: no schedule can change it."""
    forecast = {asset.id for asset in problem.assets if isinstance(asset, FORECAST)}
    for key in sorted(set(chosen.assets) & set(before)):
        new, old = chosen.assets[key].p_kw, before[key].p_kw
        steered = np.zeros(len(new), bool)
        for name in STEERED:
            if name in chosen.assets[key].series and name in before[key].series:
                difference = chosen.assets[key].series[name] - before[key].series[name]
                steered |= np.abs(difference) > CHANGED_KW
        known = np.nan_to_num(new - old)
        way = np.where(np.abs(known) > CHANGED_KW, np.sign(known), 0.0)
        edges = np.flatnonzero(np.diff(np.concatenate([[0.0], way, [0.0]])))
        for first, end in pairwise(sorted({*edges.tolist(), past})):
            if first == len(way) or not way[first]:
                continue
            reason = why if first >= past else "what was done in these steps does not fit the problem"
            yield {
                "asset": key,
                "start": format_instant(problem.time.instant(first)),
                "end": format_instant(problem.time.instant(end)),
                "from_kw": float(old[first:end].mean()),
                "to_kw": float(new[first:end].mean()),
                "why": "its forecast changed" if key in forecast and not steered[first:end].any() else reason,
            }
