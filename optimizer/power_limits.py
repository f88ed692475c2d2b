"""The limits on power as rows without a solver: Σ coefficient · power drawn ≤ limit, in every step.

Import and export of connections (of islands too), power on a phase and its excess over another, and what
grid operators' signals leave to controllable assets. Assets of one kind, that is of one connection, the
same phases and alike controllable, have the same coefficients.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise, permutations

import numpy as np
import scipy.sparse as sp

from energy.domain.network import FloatArray, IntArray
from optimizer.assets import Asset
from optimizer.assets.base import Controllable
from optimizer.phases import PHASES, shares
from optimizer.problem import DispatchProblem
from optimizer.quantities import Phases
from optimizer.signals import signal_limits

Row = tuple[dict[int, float], FloatArray]
"""Coefficients by number of kind, and the limit, kW, shape (steps,)."""


class PowerLimits:
    """Rows of all finite limits of a problem, those of connections before those of their parents.

    Attributes:
        coefficients: shape (rows, kinds).
        limit_kw: shape (rows, steps).
        mixed: whether drawing more of one kind can make room for another.
    """

    def __init__(self, problem: DispatchProblem) -> None:
        self._problem = problem
        self._kinds: dict[tuple[str, Phases, bool], int] = {}
        for asset in problem.assets:
            self._kinds.setdefault(_kind(asset), len(self._kinds))
        self._signals = signal_limits(problem)
        rows = [row for key in reversed(problem.from_roots) for row in self._of(key)]
        rows = [(terms, limit) for terms, limit in rows if terms and np.isfinite(limit).any()]
        entries = [(n, kind, value) for n, (terms, _) in enumerate(rows) for kind, value in terms.items()]
        row, kind, value = (np.array([entry[k] for entry in entries]) for k in range(3))
        self.coefficients = sp.csr_array(
            (value.astype(float), (row.astype(np.int64), kind.astype(np.int64))),
            shape=(len(rows), len(self._kinds)),
        )
        self.limit_kw = np.array([limit for _, limit in rows]).reshape(len(rows), problem.time.steps)
        self.mixed = any(c.unbalance_limit_kw is not None for c in problem.connections.values())
        by_kind = sp.csc_array(self.coefficients)
        edges = by_kind.indptr
        self._touched = [
            (by_kind.indices[a:b].astype(np.int64), by_kind.data[a:b]) for a, b in pairwise(edges)
        ]

    @property
    def kinds(self) -> int:
        """How many kinds of assets there are."""
        return len(self._kinds)

    def numbers(self, assets: Sequence[Asset]) -> IntArray:
        """The kind of each asset."""
        return np.array([self._kinds[_kind(asset)] for asset in assets], np.int64)

    def touched(self, kind: int) -> tuple[IntArray, FloatArray]:
        """The rows in which a kind has a part, and its coefficients there."""
        return self._touched[kind]

    def _of(self, key: str) -> Iterator[Row]:
        """The rows of one connection."""
        connection, steps = self._problem.connections[key], self._problem.time.steps
        below, exchange = self._problem.below(key), self._problem.islands.exchange_kw[key]
        kinds = {number: kind for kind, number in self._kinds.items() if kind[0] in below}
        for name, sign in (("import_limit_kw", 1.0), ("export_limit_kw", -1.0)):
            yield dict.fromkeys(kinds, sign), np.minimum(connection.limit(name, steps), exchange)
        on = [
            {number: float(shares(phases)[k]) for number, (_, phases, _) in kinds.items()}
            for k in range(len(PHASES))
        ]
        most = connection.limit("phase_import_limit_kw", steps)
        for phase in on:
            yield {number: share for number, share in phase.items() if share}, most
        for one, other in permutations(on, 2):
            more = {number: one[number] - other[number] for number in kinds if one[number] != other[number]}
            yield more, connection.limit("unbalance_limit_kw", steps)
        if key in self._signals:
            controllable = {number: 1.0 for number, kind in kinds.items() if kind[2]}
            yield controllable, self._signals[key]


def _kind(asset: Asset) -> tuple[str, Phases, bool]:
    return asset.connection, asset.phases, isinstance(asset, Controllable)
