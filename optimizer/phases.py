"""Which phases assets draw on, and how unevenly that loads the phases of a connection. No solver.

An asset on one phase draws all of its power there, one on three a third on each. Power without a phase of
its own (network losses) is even.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

import numpy as np

from energy.domain.network import FloatArray
from energy.domain.schedule import AssetSchedule, PhaseUnbalance
from optimizer.problem import DispatchProblem
from optimizer.quantities import Phases

PHASES = ("L1", "L2", "L3")
NEGLIGIBLE_KW = 1e-6
"""A difference below this is the solver's rounding."""


def shares(phases: Phases) -> FloatArray:
    """The shares of a power on L1, L2 and L3, shape (3,)."""
    if phases == "L123":
        return np.full(3, 1 / 3)
    return np.array([float(phases == phase) for phase in PHASES])


def phase_powers(
    problem: DispatchProblem, schedules: Mapping[str, AssetSchedule], losses_kw: FloatArray | None = None
) -> dict[str, FloatArray]:
    """Net power drawn on each phase of each connection, its children's included, kW, shape (3, steps)."""
    net = {key: np.zeros((3, problem.time.steps)) for key in problem.connections}
    drawn: dict[tuple[str, Phases], FloatArray] = defaultdict(lambda: np.zeros(problem.time.steps))
    for asset in problem.assets:
        drawn[asset.connection, asset.phases] += asset.drawn_kw(schedules[asset.id].p_kw)
    for (key, phases), power in drawn.items():
        net[key] += np.outer(shares(phases), power)
    for key in reversed(problem.from_roots):
        parent = problem.connections[key].parent
        if parent is not None:
            net[parent] += net[key]
        elif losses_kw is not None:
            net[key] += losses_kw / 3
    return net


def phase_unbalance(problem: DispatchProblem, powers: Mapping[str, FloatArray]) -> PhaseUnbalance:
    """The largest difference between two phases: at the connections that limit it, or at all if none does."""
    limited = {key for key, c in problem.connections.items() if c.unbalance_limit_kw is not None}
    found = PhaseUnbalance(bool(limited), 0.0)
    for key in sorted(limited or problem.connections):
        difference = powers[key].max(axis=0) - powers[key].min(axis=0)
        step = int(difference.argmax())
        if difference[step] > max(found.largest_kw or 0.0, NEGLIGIBLE_KW):
            found = PhaseUnbalance(bool(limited), float(difference[step]), key, problem.time.instant(step))
    return found


def phase_notices(problem: DispatchProblem, powers: Mapping[str, FloatArray]) -> list[str]:
    """Limits on phases that powers break, in words: only a rule without a solver can."""
    notices = []
    for key, connection in problem.connections.items():
        spread = powers[key].max(axis=0) - powers[key].min(axis=0)
        for name, value in (
            ("phase_import_limit_kw", powers[key].max(axis=0)),
            ("unbalance_limit_kw", spread),
        ):
            excess = value - connection.limit(name, problem.time.steps)
            broken = excess > NEGLIGIBLE_KW * np.maximum(1.0, np.abs(value))
            if broken.any():
                notices.append(
                    f"connection {key!r} is up to {excess.max():.4g} kW above its {name}, in "
                    f"{int(broken.sum())} steps"
                )
    return notices
