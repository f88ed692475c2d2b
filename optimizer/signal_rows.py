"""A grid operator's signals, in Pyomo; only for connections and steps that have one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from optimizer.assets.base import HardLimit
from optimizer.problem import DispatchProblem
from optimizer.signals import signal_limits
from optimizer.site import Site, linear


class SignalRows:
    """controllable_kw = Σ power drawn by controllable assets at or below the connection ≤ applied limit."""

    def __init__(self, site: Site, problem: DispatchProblem) -> None:
        limits = signal_limits(problem)
        self._ids = list(limits)
        self._limit = np.array(list(limits.values())).reshape(-1, site.time.steps)
        limited = np.isfinite(self._limit)
        self._columns = controllable = site.columns(
            "controllable_kw",
            self._ids,
            lower=np.where(limited, -np.inf, 0.0),
            upper=np.where(limited, self._limit, 0.0),
        )
        below = [problem.below(key) for key in self._ids]
        places = np.argwhere(limited).tolist()

        def grid_signal(_: Any, place: int) -> Any:
            number, step = places[place]
            terms, constant = [(1.0, controllable.variable[number, step])], 0.0
            for origin, draws in site.origins.items():
                if not origin.controllable:
                    continue
                for connection in below[number]:
                    constant += float(draws.constant_kw[connection][step])
                    terms += [(-a, columns.variable[k, step]) for a, columns, k in draws.columns[connection]]
            return linear(terms) == constant

        site.rows("grid_signal", len(places), rule=grid_signal)

    @property
    def hard_limits(self) -> Sequence[HardLimit]:
        """One limit for all signals of a connection."""
        limits = []
        for number, key in enumerate(self._ids):
            steps = np.flatnonzero(np.isfinite(self._limit[number]))
            columns, bounds = self._columns.index[number, steps], self._limit[number, steps]
            limits.append(HardLimit((), key, "grid_signals", "kW", steps, columns, bounds, -1))
        return limits
