"""What a grid operator's signals leave to controllable assets (in Germany: section 14a EnWG). No solver.

A signal limits the net power that the controllable assets at or below its connection draw together, in
every step that its window touches. The limit applied is never below the sum of their statutory minima, an
asset counting in the steps in which it can draw at all; of several signals the lowest applies.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor

import numpy as np

from energy.domain.network import FloatArray
from energy.domain.schedule import AssetSchedule
from optimizer.assets.base import Asset, Controllable
from optimizer.problem import DispatchProblem

ROUNDING_KW = 1e-6


def signal_limits(problem: DispatchProblem) -> dict[str, FloatArray]:
    """The limit applied at each connection with signals, kW, shape (steps,); infinite outside windows."""
    limits = {}
    for key, connection in problem.connections.items():
        if not connection.grid_signals:
            continue
        least = np.zeros(problem.time.steps)
        for asset in _controllable(problem, key):
            assert isinstance(asset, Controllable)
            least += asset.statutory_min_kw * asset.can_draw(problem.time)
        applied = np.full(problem.time.steps, np.inf)
        for signal in connection.grid_signals:
            first = max(floor(problem.time.position(signal.start)), 0)
            window = slice(first, max(ceil(problem.time.position(signal.end)), first))
            applied[window] = np.minimum(applied[window], np.maximum(signal.limit_kw, least[window]))
        limits[key] = applied
    return limits


def signal_notices(
    problem: DispatchProblem, limits: Mapping[str, FloatArray], schedules: Mapping[str, AssetSchedule]
) -> list[str]:
    """Signals outside the horizon, and those that a schedule breaks: only a rule without a solver can."""
    notices = []
    for key, limit in limits.items():
        notices += [
            f"connection {key!r}: a grid signal is outside the horizon and left out"
            for signal in problem.connections[key].grid_signals
            if signal.end <= problem.time.start or signal.start >= problem.time.end
        ]
        drawn = np.zeros(problem.time.steps)
        for asset in _controllable(problem, key):
            drawn += asset.drawn_kw(schedules[asset.id].p_kw)
        excess = drawn - limit
        broken = excess > ROUNDING_KW * np.maximum(1.0, np.abs(drawn))
        if broken.any():
            notices.append(
                f"connection {key!r} is up to {excess.max():.4g} kW above its grid_signals, in "
                f"{int(broken.sum())} steps"
            )
    return notices


def _controllable(problem: DispatchProblem, connection: str) -> list[Asset]:
    below = problem.below(connection)
    return [a for a in problem.assets if isinstance(a, Controllable) and a.connection in below]
