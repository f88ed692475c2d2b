"""What a solution of the program means for one problem: the schedule it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from energy.domain.network import FloatArray
from energy.domain.schedule import AssetSchedule, OfferSchedule, Schedule, Status
from optimizer.offer_rows import OfferRows
from optimizer.problem import DispatchProblem, answer, net_powers

if TYPE_CHECKING:
    from optimizer.model import Part, Program

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
        schedules.update((key, _without_noise(schedule)) for key, schedule in rows.schedules(clean))
        shortfalls += list(rows.shortfalls(clean))
        if isinstance(rows, OfferRows):
            offers = rows.held(clean)
    for key, q_kvar in part.reactive.series(clean).items():
        own_series = {**schedules[key].series, "q_kvar": q_kvar}
        schedules[key] = _without_noise(AssetSchedule(schedules[key].p_kw, own_series))
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


def _without_noise(schedule: AssetSchedule) -> AssetSchedule:
    """The schedule with zeros for what is left where two powers cancel, no zero negative."""

    def cleaned(values: FloatArray) -> FloatArray:
        return np.where(np.abs(values) < NEGLIGIBLE, 0.0, values)

    return AssetSchedule(
        cleaned(schedule.p_kw), {name: cleaned(values) for name, values in schedule.series.items()}
    )
