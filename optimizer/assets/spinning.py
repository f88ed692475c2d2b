"""Spinning reserve: what a unit that is on can give more, or less, within its ramps.

A call may begin or end in any step, so the power with it keeps the ramp from the step before as planned, and
that to the step after as planned; then it keeps those between two steps of one call too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from energy.domain.network import FloatArray, IntArray
from optimizer.assets.base import Cap, Direction, Flexibility, Source

Terms = list[tuple[float, int]]


@dataclass(frozen=True)
class Unit:
    """The limits of a unit, kW, and its columns; `states` are those of on, start and stop, shape (3, steps),
    None where it is always on.

    `up` and `down` are ramps per step, infinite without. `before` is its power before the horizon, where it
    was on and that is known.
    """

    asset: str
    connection: str
    least: FloatArray
    most: FloatArray
    up: float
    down: float
    before: float | None
    power: IntArray
    states: IntArray | None

    def flexibility(self) -> Iterator[Flexibility]:
        """What it can hold in both directions."""
        ways: tuple[tuple[Direction, Iterator[Cap]], ...] = (("up", self._up()), ("down", self._down()))
        for direction, caps in ways:
            bounded = tuple(cap for cap in caps if np.isfinite(cap.room_kw))
            yield Flexibility(self.asset, self.connection, direction, (Source(self.most, caps=bounded),))

    def _up(self) -> Iterator[Cap]:
        """p + reserve ≤ most, ≤ p before + up, ≤ p after + down."""
        for t, p in enumerate(self.power.tolist()):
            yield self._cap(t, [(-1.0, p)], on=(t, self.most[t]))
            if t > 0:
                terms = [(1.0, int(self.power[t - 1])), (-1.0, p)]
                yield self._cap(t, terms, on=(t - 1, self.up), start=(t, self.most[t]))
            elif self.before is not None:
                yield Cap(0, self.before + self.up, ((-1.0, p),))
            if t + 1 < len(self.power):
                terms = [(1.0, int(self.power[t + 1])), (-1.0, p)]
                yield self._cap(t, terms, on=(t + 1, self.down), stop=(t + 1, self.most[t]))

    def _down(self) -> Iterator[Cap]:
        """p − reserve ≥ least, ≥ p before − down, ≥ p after − up."""
        for t, p in enumerate(self.power.tolist()):
            yield self._cap(t, [(1.0, p)], on=(t, -self.least[t]))
            if t > 0:
                terms = [(1.0, p), (-1.0, int(self.power[t - 1]))]
                yield self._cap(t, terms, on=(t, self.down), stop=(t, self.most[t - 1]))
            elif self.before is not None:
                yield self._cap(0, [(1.0, p)], on=(0, self.down - self.before))
            if t + 1 < len(self.power):
                terms = [(1.0, p), (-1.0, int(self.power[t + 1]))]
                yield self._cap(t, terms, on=(t, self.up), start=(t + 1, self.most[t + 1]))

    def _cap(self, step: int, terms: Terms, *, on: tuple[int, float], **turns: tuple[int, float]) -> Cap:
        """Reserve ≤ Σ terms + what being on, starting and stopping in some steps allow."""
        if self.states is None or not np.isfinite(on[1]):
            return Cap(step, float(on[1]), tuple(terms))
        of = {"on": on, **turns}
        allowed = [
            (float(of[name][1]), int(columns[of[name][0]]))
            for name, columns in zip(("on", "start", "stop"), self.states, strict=True)
            if name in of
        ]
        return Cap(step, 0.0, (*terms, *allowed))
