"""What schedules of a problem's assets come to: balances, cost, emissions, shortfalls. No solver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from energy.domain.network import FloatArray
from energy.domain.schedule import (
    OBJECTIVE_PARTS,
    PRICE_PARTS,
    AssetSchedule,
    ConnectionSchedule,
    OfferSchedule,
    Schedule,
    Shortfall,
    Status,
)
from optimizer.offers import offer_revenue, unheld
from optimizer.phases import phase_notices, phase_powers, phase_unbalance
from optimizer.problem import DispatchProblem
from optimizer.signals import signal_limits, signal_notices
from optimizer.solver import NAME

OVERRUN = 1e-6
"""Import beyond a limit by at most this share of it (and of 1 kW) is the solver's tolerance."""
NEGLIGIBLE_KW = 1e-9


def net_powers(
    problem: DispatchProblem, schedules: Mapping[str, AssetSchedule], losses_kw: FloatArray | None = None
) -> dict[str, FloatArray]:
    """Net power drawn through each connection, its children's included, shape (steps,) each.

    `losses_kw` of the network are drawn at the root.
    """
    net = {key: np.zeros(problem.time.steps) for key in problem.connections}
    for asset in problem.assets:
        net[asset.connection] += asset.drawn_kw(schedules[asset.id].p_kw)
    for key in reversed(problem.from_roots):
        parent = problem.connections[key].parent
        if parent is not None:
            net[parent] += net[key]
        elif losses_kw is not None:
            net[key] = net[key] + losses_kw
    for values in net.values():
        values[np.abs(values) < NEGLIGIBLE_KW] = 0.0
    return net


def answer(
    problem: DispatchProblem,
    schedules: Mapping[str, AssetSchedule],
    *,
    status: Status,
    shortfalls: Sequence[Shortfall],
    losses_kw: FloatArray | None = None,
    prices: Mapping[str, Mapping[str, FloatArray]] | None = None,
    offers: Mapping[str, OfferSchedule] | None = None,
    notices: Sequence[str] = (),
    **figures: Any,
) -> Schedule:
    """The schedule of `problem` in which assets do what `schedules` says.

    `shortfalls` are those of assets; overruns of import limits are found here.
    """
    net = net_powers(problem, schedules, losses_kw)
    phases = phase_powers(problem, schedules, losses_kw)
    signals = signal_limits(problem)
    unpriced = {part: np.zeros(problem.time.steps) for part in ("total", *PRICE_PARTS)}
    connections = {
        key: ConnectionSchedule(
            np.clip(power, 0.0, None),
            np.clip(-power, 0.0, None),
            unpriced if prices is None else prices[key],
            signals.get(key),
        )
        for key, power in net.items()
    }
    lacking = unheld(problem.offers, problem.time) if offers is None else ()
    every = _in_order(*shortfalls, *overruns(problem, connections), *lacking)
    figures = {"best_bound": None, "gap": None, "build_seconds": 0.0, "solve_seconds": 0.0, **figures}
    return Schedule(
        status=status,
        input_hash=problem.input_hash,
        time=problem.time,
        objective=objective(problem, schedules, connections, every, offers or {}),
        offers=offers or {},
        bound_kind="exact" if problem.network is None else "linear",
        solver=NAME,
        fairness={}
        if problem.objective.fairness is None
        else problem.objective.fairness.report(problem.assets, schedules, every, problem.time),
        connections=connections,
        assets=dict(schedules),
        shortfalls=every,
        notices=(
            *problem.notices,
            *notices,
            *phase_notices(problem, phases),
            *signal_notices(problem, signals, schedules),
        ),
        phase_unbalance=phase_unbalance(problem, phases),
        **figures,
    )


def _in_order(*shortfalls: Shortfall) -> tuple[Shortfall, ...]:
    return tuple(sorted(shortfalls, key=lambda s: (s.at, s.kind, s.asset or "", s.connection or "")))


def overruns(problem: DispatchProblem, connections: Mapping[str, ConnectionSchedule]) -> list[Shortfall]:
    """Import beyond its limit, one shortfall per connection and step."""
    found = []
    for key, connection in problem.connections.items():
        limit = connection.limit("import_limit_kw", problem.time.steps)
        excess = connections[key].import_kw - limit
        for step in np.flatnonzero(excess > OVERRUN * np.maximum(1.0, limit)):
            amount = float(excess[step]) * problem.time.hours
            found.append(Shortfall("import_limit", problem.time.instant(int(step)), amount, connection=key))
    return found


def objective(
    problem: DispatchProblem,
    schedules: Mapping[str, AssetSchedule],
    connections: Mapping[str, ConnectionSchedule],
    shortfalls: Sequence[Shortfall],
    offers: Mapping[str, OfferSchedule],
) -> dict[str, float]:
    """The objective's parts and their total, in the problem's currency, from the schedule alone."""
    parts = dict.fromkeys(OBJECTIVE_PARTS, 0.0)
    mwh_per_kw = problem.time.hours / 1000
    for key, connection in problem.connections.items():
        flow = connections[key]
        if connection.parent is None:
            carbon_in, carbon_out = problem.carbon_prices(connection)
            price_in = problem.import_price(connection) - carbon_in
            price_out = problem.export_price(connection) - carbon_out
            parts["energy"] += mwh_per_kw * float(price_in @ flow.import_kw - price_out @ flow.export_kw)
            if connection.import_blocks is not None:
                parts["energy"] += connection.import_blocks.cost(flow.import_kw, problem.time)
            parts["carbon"] += mwh_per_kw * float(carbon_in @ flow.import_kw - carbon_out @ flow.export_kw)
        if connection.peak_import_price_per_kw > 0:
            highest = max(float(flow.import_kw[w].mean()) for w in connection.peak_windows(problem.time))
            excess = max(0.0, highest - connection.peak_import_so_far_kw)
            parts["peak"] += connection.peak_import_price_per_kw * excess
    for asset in problem.assets:
        for part, amount in asset.costs(schedules[asset.id], problem.time).items():
            parts[part] += amount
        emitted_t = asset.emissions_kg(schedules[asset.id], problem.time) / 1000
        parts["carbon"] += emitted_t * problem.objective.carbon_price_per_t
    unserved = sum(shortfall.amount_kwh for shortfall in shortfalls)
    parts["shortfall"] = problem.objective.unserved_energy_price_per_kwh * unserved
    parts["flexibility"] -= offer_revenue(problem.offers, offers, problem.time)
    fairness = problem.objective.fairness
    if fairness is not None:
        parts["fairness"] = fairness.cost(
            fairness.report(problem.assets, schedules, shortfalls, problem.time)
        )
    return {"total": sum(parts.values()), **parts}


def emissions_kg(
    problem: DispatchProblem,
    schedules: Mapping[str, AssetSchedule],
    connections: Mapping[str, ConnectionSchedule],
) -> float:
    """What root imports carry by the carbon signal, less export credit, and what assets emit themselves."""
    emitted = sum(asset.emissions_kg(schedules[asset.id], problem.time) for asset in problem.assets)
    for key, connection in problem.connections.items():
        if connection.parent is None:
            flow = connections[key]
            carried, credited = problem.carbon_intensities(connection)
            grams = float(carried @ flow.import_kw - credited @ flow.export_kw) * problem.time.hours
            emitted += grams / 1000
    return float(emitted)


def settle(
    problem: DispatchProblem, schedule: Schedule, root_import_kw: FloatArray, root_export_kw: FloatArray
) -> Schedule:
    """The same controls with the root's power as AC power flow has it; the objective counts that."""
    root = problem.root
    flow = replace(schedule.connections[root], import_kw=root_import_kw, export_kw=root_export_kw)
    connections = {**schedule.connections, root: flow}
    of_assets = tuple(s for s in schedule.shortfalls if s.kind != "import_limit")
    every = _in_order(*of_assets, *overruns(problem, connections))
    return replace(
        schedule,
        connections=connections,
        shortfalls=every,
        objective=objective(problem, schedule.assets, connections, every, schedule.offers),
    )


def uncontrolled(problem: DispatchProblem) -> Schedule:
    """What happens when nobody dispatches: EVs charge at full power on arrival, storage idles."""
    return answer(
        problem,
        {asset.id: asset.baseline(problem.time) for asset in problem.assets},
        status="fallback",
        shortfalls=(),
        notices=("uncontrolled: every EV at full power on arrival, storage idle, nothing curtailed",),
    )
