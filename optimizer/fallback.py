"""The safe rule: what is answered where the deadline leaves no time for a schedule.

Named ``uncontrolled charging trimmed to limits``:

1. Every asset does what it does without control (`Asset.baseline`). Storage is idle: a battery charges
   only what its least energies ask for, and nothing is fed back from vehicles.
2. EVs charge from arrival at full power until the departure need and the drives that come before the next
   stay (without a need: the full battery) are met. Where the import limit of a connection, or of one
   above it, leaves too little, those of the highest priority charge first, among them those that leave
   first; the others go on when there is room.
3. Nothing flows into or out of an island; what it cannot serve is left unserved, the lowest priority first.
   What import limits still lack is shed, in proportion, where loads allow it; what export limits still
   lack is curtailed, in proportion, where generation allows it.

Earliest departure first is the classical rule without look-ahead (Liu and Layland, JACM 20(1), 1973). No
price is looked at. What limits then still lack is reported: imports as shortfalls, the rest as notices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np
import scipy.sparse as sp

from energy.domain.network import BoolArray, FloatArray, IntArray
from energy.domain.schedule import AssetSchedule, Schedule, Shortfall
from optimizer.assets.charging import Charged, Charging
from optimizer.problem import DispatchProblem, answer, net_powers

RULE = "uncontrolled charging trimmed to limits"
ROUNDING_KW = 1e-9
"""A limit exceeded by less is not exceeded."""
PASSES = 4
"""Curtailing below one limit can press on another; so often the rule goes over a step again."""


def fallback(
    problem: DispatchProblem,
    *,
    charging_share: FloatArray | None = None,
    feeding_share: FloatArray | None = None,
    shedding_share: FloatArray | None = None,
) -> Schedule:
    """The schedule of the safe rule, status ``fallback``, without bound and without prices.

    For a grid that cannot carry it, the shares (0 to 1, shape (steps,)) say how much of its full power a
    store may charge with, how much of the available power is fed by what can be curtailed, and how much
    of what loads allow is shed.
    """
    everything, nothing = np.ones(problem.time.steps), np.zeros(problem.time.steps)
    return _Rule(
        problem,
        everything if charging_share is None else charging_share,
        everything if feeding_share is None else feeding_share,
        nothing if shedding_share is None else shedding_share,
    ).schedule()


class _Rule:
    """One problem under the rule: chargers are simulated step by step, all together."""

    def __init__(
        self, problem: DispatchProblem, charging: FloatArray, feeding: FloatArray, shedding: FloatArray
    ) -> None:
        self._problem = problem
        time = problem.time
        ids = {key: number for number, key in enumerate(problem.connections)}
        above = [None if c.parent is None else ids[c.parent] for c in problem.connections.values()]
        self._paths = [_path(number, above) for number in range(len(ids))]
        self._leaves_first = [ids[key] for key in reversed(problem.from_roots)]
        # below[c, k]: the power of connection k passes through c
        count = np.array([len(path) for path in self._paths])
        ancestors = np.array(list(chain.from_iterable(self._paths)), np.int64)
        self._below = sp.csr_array(
            (np.ones(count.sum()), (ancestors, np.repeat(np.arange(len(ids)), count))),
            shape=(len(ids), len(ids)),
        )
        self._import_limit, self._export_limit = (
            np.array([c.limit(name, time.steps) for c in problem.connections.values()])
            for name in ("import_limit_kw", "export_limit_kw")
        )
        exchange = np.array([problem.islands.exchange_kw[key] for key in problem.connections])
        self._import_limit = np.minimum(self._import_limit, exchange)
        self._export_limit = np.minimum(self._export_limit, exchange)
        found = [(asset, asset.charging(time)) for asset in problem.assets]
        self._chargers = [(asset, charging) for asset, charging in found if charging is not None]
        self._others = [asset for asset, charging in found if charging is None]
        self._at = np.array([ids[asset.connection] for asset, _ in self._chargers], np.int64)
        self._most = self._stacked([c.most_kw for _, c in self._chargers]) * charging

        self._baselines = {asset.id: asset.baseline(time) for asset in self._others}
        relief = [(asset, *asset.relief_kw(time)) for asset in self._others]
        self._giving = [item for item in relief if item[1].any() or item[2].any()]
        self._giving_at = np.array([ids[asset.connection] for asset, *_ in self._giving], np.int64)
        self._sheddable = self._stacked([shed for _, shed, _ in self._giving])
        self._curtailable = self._stacked([curtail for *_, curtail in self._giving])
        self._shed, self._curtailed = self._sheddable * shedding, self._curtailable * (1.0 - feeding)
        self._base = np.zeros((len(ids), time.steps))
        for asset in self._others:
            self._base[ids[asset.connection]] += asset.drawn_kw(self._baselines[asset.id].p_kw)

    def _stacked(self, rows: Sequence[FloatArray]) -> FloatArray:
        return np.array(rows, float).reshape(len(rows), self._problem.time.steps)

    def schedule(self) -> Schedule:
        """Simulate, and answer."""
        problem, time = self._problem, self._problem.time
        schedules: dict[str, AssetSchedule] = dict(self._baselines)
        shortfalls: list[Shortfall] = []
        for (asset, _), charged in zip(self._chargers, self._simulate(), strict=True):
            schedules[asset.id] = asset.charged(charged, time)
            shortfalls += asset.shortfalls_of(charged, time)
        for (asset, *_), shed, curtailed in zip(self._giving, self._shed, self._curtailed, strict=True):
            schedules[asset.id] = asset.relieved(shed + curtailed, time)
        if problem.islands:
            schedules = problem.islands.shed(schedules, net_powers(problem, schedules))
        shortfalls += [s for asset in self._others for s in asset.unmet(schedules[asset.id], time)]
        notices = [f"fallback: {RULE}, storage idle; prices were not looked at, and price_per_mwh is zero"]
        if self._problem.scenarios:
            notices.append("fallback: the series are those of the problem itself, not of a scenario")
        found = answer(
            problem,
            {asset.id: schedules[asset.id] for asset in problem.assets},
            status="fallback",
            shortfalls=shortfalls,
        )
        for number, (key, flow) in enumerate(found.connections.items()):
            excess = flow.export_kw - self._export_limit[number]
            broken = int(np.sum(excess > 1e-6))
            if broken:
                notices.append(
                    f"fallback: connection {key!r} exports up to {excess.max():.4g} kW above its limit, in "
                    f"{broken} steps"
                )
        for asset in problem.assets:
            notices += [f"fallback: {words}" for words in asset.broken(schedules[asset.id], time)]
        return replace(found, notices=(*found.notices, *notices))

    def _simulate(self) -> list[Charged]:
        """Every charger from the first step to the last."""
        chargings = [charging for _, charging in self._chargers]
        steps, hours = self._problem.time.steps, self._problem.time.hours
        scalars = np.array(
            [(c.e_start_kwh, c.e_min_kwh, c.e_max_kwh, c.efficiency, c.retained) for c in chargings], float
        ).reshape(-1, 5)
        energy, lowest, highest, efficiency, retained = scalars.T
        least, target, drives = (
            self._stacked([getattr(c, name) for c in chargings])
            for name in ("least_kw", "target_kwh", "drives_kwh")
        )
        gain = efficiency * hours
        target = np.minimum(np.maximum(target, self._needed(lowest, gain, drives)), highest[:, None])
        ranks = self._ranks(chargings)
        powers, energies, unserved = (np.zeros((len(chargings), steps)) for _ in range(3))
        for step in range(steps):
            kept = energy * retained - drives[:, step]
            most = np.minimum(self._most[:, step], np.maximum(highest - kept, 0.0) / gain)
            wanted = np.minimum(np.maximum(target[:, step] - kept, 0.0) / gain, most)
            wanted = np.where(wanted > ROUNDING_KW, np.maximum(wanted, least[:, step]), 0.0)
            # nothing, where the least power does not fit
            wanted = np.where(wanted > most + ROUNDING_KW, 0.0, wanted)
            power = self._fitted(step, wanted, least[:, step], ranks[:, step])
            reached = kept + power * gain
            unserved[:, step] = np.where(drives[:, step] > 0, np.maximum(lowest - reached, 0.0), 0.0)
            energy = reached + unserved[:, step]
            powers[:, step], energies[:, step] = power, energy
        return [Charged(*rows) for rows in zip(powers, energies, unserved, strict=True)]

    def _needed(self, lowest: FloatArray, gain: FloatArray, drives: FloatArray) -> FloatArray:
        """The energy at the end of each step below which a coming drive goes short, charge as one may."""
        needed = np.repeat(lowest[:, None], drives.shape[1], axis=1)
        for step in range(drives.shape[1] - 2, -1, -1):
            before = needed[:, step + 1] + drives[:, step + 1] - self._most[:, step + 1] * gain
            needed[:, step] = np.maximum(lowest, before)
        return needed

    def _ranks(self, chargings: Sequence[Charging]) -> IntArray:
        """The order of chargers in each step: priority, then who leaves first, then id."""
        priority = self._stacked([c.priority for c in chargings])
        due = np.array([c.due for c in chargings], np.int64).reshape(len(chargings), self._problem.time.steps)
        number = np.arange(len(chargings))
        return np.array(
            [np.lexsort((number, due[:, step], -priority[:, step])) for step in range(due.shape[1])], np.int64
        ).T.reshape(due.shape)

    def _fitted(self, step: int, wanted: FloatArray, least: FloatArray, rank: IntArray) -> FloatArray:
        """The power each charger gets in a step; sheds and curtails what is left."""
        for _ in range(PASSES):
            power = self._granted(step, wanted, least, rank)
            if not self._relieve(step, power):
                return power
        # curtailing took away what chargers were granted: those that press on a limit stand still
        while (pressing := self._pressing(step, power)).any():
            power = np.where(pressing, 0.0, power)
            self._relieve(step, power)
        return power

    def _pressing(self, step: int, power: FloatArray) -> BoolArray:
        """The chargers with power below a connection whose import limit is broken."""
        broken = self._below @ self._own(step, power) > self._import_limit[:, step] + ROUNDING_KW
        return ((self._below.T @ broken.astype(float))[self._at] > 0) & (power > 0)

    def _relieve(self, step: int, power: FloatArray) -> bool:
        """Shed and curtail what limits lack; says whether anything changed."""
        changed = False
        for _ in range(PASSES):
            shed = self._give(step, power, self._import_limit, self._shed, self._sheddable, 1.0)
            curtailed = self._give(step, power, self._export_limit, self._curtailed, self._curtailable, -1.0)
            changed |= shed or curtailed
            if not curtailed:
                break
        return changed

    def _own(self, step: int, power: FloatArray) -> FloatArray:
        """Power drawn at each connection itself."""
        count = len(self._base)
        relief = self._curtailed[:, step] - self._shed[:, step]
        return (
            self._base[:, step]
            + np.bincount(self._giving_at, relief, count)
            + np.bincount(self._at, power, count)
        )

    def _granted(self, step: int, wanted: FloatArray, least: FloatArray, rank: IntArray) -> FloatArray:
        """What fits below the import limits, in the order of `rank`."""
        limit = self._import_limit[:, step]
        if (self._below @ self._own(step, wanted) <= limit + ROUNDING_KW).all():
            return wanted
        room = limit - self._below @ self._own(step, np.zeros(len(wanted)))
        power = np.zeros(len(wanted))
        for number in rank[wanted[rank] > 0]:
            path = self._paths[self._at[number]]
            granted = min(float(wanted[number]), float(room[path].min()))
            if granted > ROUNDING_KW and granted >= least[number]:
                power[number] = granted
                room[path] -= granted
        return power

    def _give(
        self,
        step: int,
        power: FloatArray,
        limits: FloatArray,
        given: FloatArray,
        possible: FloatArray,
        sense: float,
    ) -> bool:
        """Shed (sense 1) or curtail (−1) what limits lack, leaves first; says whether anything changed."""
        limit, changed = limits[:, step], False
        net = sense * (self._below @ self._own(step, power))
        if (net <= limit + ROUNDING_KW).all():
            return False
        for connection in self._leaves_first:
            excess = net[connection] - limit[connection]
            if excess <= ROUNDING_KW:
                continue
            behind = np.array([connection in self._paths[at] for at in self._giving_at], bool)
            left = np.where(behind, possible[:, step] - given[:, step], 0.0)
            if left.sum() <= ROUNDING_KW:
                continue
            given[:, step] += left * min(1.0, excess / left.sum())
            net = sense * (self._below @ self._own(step, power))
            changed = True
        return changed


def _path(number: int, above: Sequence[int | None]) -> list[int]:
    """A connection and all above it."""
    path = [number]
    while (parent := above[path[-1]]) is not None:
        path.append(parent)
    return path
