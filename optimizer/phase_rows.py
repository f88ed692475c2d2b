"""Limits on the phases of connections, in Pyomo; only for connections that state one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np

from optimizer.assets.base import HardLimit
from optimizer.phases import PHASES, shares
from optimizer.problem import DispatchProblem
from optimizer.site import Columns, Site, linear

PAIRS = tuple(permutations(range(3), 2))
"""Ordered pairs of phases: the first may exceed the second by the limit."""


class PhaseRows:
    """Power on L1, L2 and L3, and the largest difference between two of them.

    phase_kw = Σ share · power drawn at or below the connection (+ a third of the network's losses at the
    root) ≤ phase_import_limit_kw; unbalance_kw ≥ phase_kw − phase_kw of every other phase.
    """

    def __init__(self, site: Site, problem: DispatchProblem, losses: Columns) -> None:
        steps = site.time.steps
        self._steps = np.arange(steps)
        limited = [
            (key, c)
            for key, c in problem.connections.items()
            if c.phase_import_limit_kw is not None or c.unbalance_limit_kw is not None
        ]
        self._ids = [key for key, _ in limited]
        self._import_limit = np.array([c.limit("phase_import_limit_kw", steps) for _, c in limited])
        self._import_limit = np.repeat(self._import_limit.reshape(-1, steps), 3, axis=0)
        labels = [f"{key}.{phase}" for key in self._ids for phase in PHASES]
        self._phase = phase = site.columns("phase_kw", labels, lower=-np.inf, upper=self._import_limit)
        below = {key: problem.below(key) for key in self._ids}

        def phase_power(_: Any, row: int, step: int) -> Any:
            key, number = self._ids[row // 3], row % 3
            terms, constant = [(1.0, phase.variable[row, step])], 0.0
            for origin, draws in site.origins.items():
                share = float(shares(origin.phases)[number])
                if share == 0.0:
                    continue
                for connection in below[key]:
                    constant += share * float(draws.constant_kw[connection][step])
                    terms += [
                        (-share * coefficient, columns.variable[k, step])
                        for coefficient, columns, k in draws.columns[connection]
                    ]
            if problem.connections[key].parent is None:
                terms.append((-1 / 3, losses.variable[0, step]))
            return linear(terms) == constant

        site.rows("phase_power", len(labels), steps, rule=phase_power)
        self._unbalanced = [
            (3 * row, key) for row, (key, c) in enumerate(limited) if c.unbalance_limit_kw is not None
        ]
        limits = [problem.connections[key].limit("unbalance_limit_kw", steps) for _, key in self._unbalanced]
        self._unbalance_limit = np.array(limits).reshape(-1, steps)
        self._unbalance = unbalance = site.columns(
            "unbalance_kw", [key for _, key in self._unbalanced], upper=self._unbalance_limit
        )

        def phase_unbalance(_: Any, number: int, pair: int, step: int) -> Any:
            (high, low), first = PAIRS[pair], self._unbalanced[number][0]
            return (
                linear(
                    [
                        (1.0, unbalance.variable[number, step]),
                        (-1.0, phase.variable[first + high, step]),
                        (1.0, phase.variable[first + low, step]),
                    ]
                )
                >= 0.0
            )

        site.rows("phase_unbalance", len(self._unbalanced), len(PAIRS), steps, rule=phase_unbalance)

    @property
    def hard_limits(self) -> Sequence[HardLimit]:
        """One limit for the three phases of a connection, and one for their unbalance."""
        limits = []
        for row, key in enumerate(self._ids):
            bounds = self._import_limit[3 * row : 3 * row + 3]
            bound = np.isfinite(bounds)
            columns = self._phase.index[3 * row : 3 * row + 3]
            limits.append(
                HardLimit(
                    (),
                    key,
                    "phase_import_limit_kw",
                    "kW",
                    np.tile(self._steps, 3)[bound.ravel()],
                    columns[bound],
                    bounds[bound],
                    -1,
                )
            )
        for number, (_, key) in enumerate(self._unbalanced):
            limits.append(
                HardLimit(
                    (),
                    key,
                    "unbalance_limit_kw",
                    "kW",
                    self._steps,
                    self._unbalance.index[number],
                    self._unbalance_limit[number],
                    -1,
                )
            )
        return limits
