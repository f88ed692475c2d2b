"""What a solution of the program means for one problem: the schedule it stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import accumulate, pairwise

import numpy as np

from energy.domain.network import FloatArray
from energy.domain.schedule import AssetSchedule, OfferSchedule, Schedule, Status
from optimizer.offer_rows import OfferRows
from optimizer.problem import DispatchProblem
from optimizer.program import Part, Program
from optimizer.settlement import answer, net_powers
from optimizer.solver import NAME

DECIMALS = 9
"""The solver's values are rounded to 1e-9 kW and kWh: further digits are noise."""
NEGLIGIBLE = 1e-9
"""Powers and energies below this are zero."""


def outcome(
    program: Program,
    part: Part,
    x: FloatArray,
    dual: FloatArray | None,
    *,
    status: Status,
    lossy_steps: Sequence[int] = (),
    problem: DispatchProblem | None = None,
) -> Schedule:
    """The schedule of `part` in the solution; without prices where there is no `dual`.

    `lossy_steps` are those with linearised losses. `problem` replaces the part's own where other limits
    count.
    """
    problem = part.problem if problem is None else problem
    lower, upper = program.linear.lower[part.columns], program.linear.upper[part.columns]
    own = x[part.columns]
    clean = np.clip(np.round(own, DECIMALS), lower, upper)
    losses = part.connections.losses[list(lossy_steps)]
    clean[losses] = own[losses]
    schedules: dict[str, AssetSchedule] = {}
    shortfalls = []
    offers: dict[str, OfferSchedule] = {}
    for rows in part.assets:
        schedules.update(rows.schedules(clean))
        shortfalls += list(rows.shortfalls(clean))
        if isinstance(rows, OfferRows):
            offers = rows.held(clean)
    for key, q_kvar in part.reactive.series(clean).items():
        own_series = {**schedules[key].series, "q_kvar": q_kvar}
        schedules[key] = AssetSchedule(schedules[key].p_kw, own_series)
    schedules = _without_noise(schedules)
    losses_kw = clean[part.connections.losses]
    prices = None
    if dual is not None:
        net = net_powers(problem, schedules, losses_kw)
        prices = part.connections.prices(dual[part.rows] / part.probability, net)
    return answer(
        problem,
        {asset.id: schedules[asset.id] for asset in problem.assets},
        status=status,
        shortfalls=shortfalls,
        offers=offers,
        losses_kw=losses_kw,
        prices=prices,
    )


def no_schedule(problem: DispatchProblem, notices: Sequence[str] = ()) -> Schedule:
    """The answer to a problem that is infeasible."""
    return Schedule(
        status="infeasible",
        input_hash=problem.input_hash,
        time=problem.time,
        objective={},
        best_bound=None,
        bound_kind="exact" if problem.network is None else "linear",
        gap=None,
        build_seconds=0.0,
        solve_seconds=0.0,
        solver=NAME,
        connections={},
        assets={},
        notices=(*problem.notices, *notices),
    )


def _without_noise(schedules: Mapping[str, AssetSchedule]) -> dict[str, AssetSchedule]:
    """The schedules with zeros for what is left where two powers cancel, no zero negative."""
    every = [values for own in schedules.values() for values in (own.p_kw, *own.series.values())]
    # one array for all: a fleet has thousands
    flat = np.concatenate([np.zeros(0), *(values.ravel() for values in every)])
    noise = (np.abs(flat) < NEGLIGIBLE) & ((flat != 0.0) | np.signbit(flat))
    if not noise.any():
        return dict(schedules)
    flat[noise] = 0.0
    edges = accumulate((values.size for values in every), initial=0)
    cleaned = (
        flat[first:last].reshape(values.shape)
        for (first, last), values in zip(pairwise(edges), every, strict=True)
    )
    return {
        key: AssetSchedule(next(cleaned), {name: next(cleaned) for name in own.series})
        for key, own in schedules.items()
    }
