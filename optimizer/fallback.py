"""The safe rule: what is answered where the deadline leaves no time for a schedule.

Named ``uncontrolled charging trimmed to limits``:

1. Every asset does what it does without control (`Asset.baseline`). Storage is idle: a battery charges
   only what its least energies ask for, and nothing is fed back from vehicles.
2. EVs charge from arrival at full power until the departure need and the drives that come before the next
   stay (without a need: the full battery) are met. Where an import limit of a connection, or of one
   above it, a limit on phases or a grid operator's signal leaves too little, those of the highest priority
   charge first, among them those that leave first; the others go on when there is room.
3. Nothing flows into or out of an island; what it cannot serve is left unserved, the lowest priority first.
   What limits still lack is shed, or curtailed, in proportion, where loads and generation allow it.

Earliest departure first is the classical rule without look-ahead (Liu and Layland, JACM 20(1), 1973). No
price is looked at. What limits then still lack is reported: imports as shortfalls, the rest as notices.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from energy.domain.network import BoolArray, FloatArray, IntArray
from energy.domain.schedule import AssetSchedule, Schedule, Shortfall
from optimizer.assets.charging import Charged, Charging
from optimizer.power_limits import PowerLimits
from optimizer.problem import DispatchProblem
from optimizer.settlement import answer, net_powers

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
        self._limits = PowerLimits(problem)
        found = [(asset, asset.charging(time)) for asset in problem.assets]
        self._chargers = [(asset, charging) for asset, charging in found if charging is not None]
        self._others = [asset for asset, charging in found if charging is None]
        self._kind = self._limits.numbers([asset for asset, _ in self._chargers])
        self._most = self._stacked([c.most_kw for _, c in self._chargers]) * charging

        self._baselines = {asset.id: asset.baseline(time) for asset in self._others}
        relief = [(asset, *asset.relief_kw(time)) for asset in self._others]
        self._giving = [item for item in relief if item[1].any() or item[2].any()]
        self._giving_kind = self._limits.numbers([asset for asset, *_ in self._giving])
        self._sheddable = self._stacked([shed for _, shed, _ in self._giving])
        self._curtailable = self._stacked([curtail for *_, curtail in self._giving])
        self._shed, self._curtailed = self._sheddable * shedding, self._curtailable * (1.0 - feeding)
        self._base = np.zeros((self._limits.kinds, time.steps))
        for asset, kind in zip(self._others, self._limits.numbers(self._others), strict=True):
            self._base[kind] += asset.drawn_kw(self._baselines[asset.id].p_kw)

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
        for key, flow in found.connections.items():
            stated = problem.connections[key].limit("export_limit_kw", time.steps)
            excess = flow.export_kw - np.minimum(stated, problem.islands.exchange_kw[key])
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
        """The chargers with power that press on a limit which is broken."""
        broken = self._excess(step, power) > ROUNDING_KW
        pressing = [
            bool((broken[rows] & (coefficients > 0)).any())
            for rows, coefficients in map(self._limits.touched, range(self._limits.kinds))
        ]
        return np.array(pressing, bool)[self._kind] & (power > 0)

    def _excess(self, step: int, power: FloatArray) -> FloatArray:
        """What each limit is exceeded by; negative where there is room."""
        count = self._limits.kinds
        relief = self._curtailed[:, step] - self._shed[:, step]
        drawn = (
            self._base[:, step]
            + np.bincount(self._giving_kind, relief, count)
            + np.bincount(self._kind, power, count)
        )
        return np.asarray(self._limits.coefficients @ drawn - self._limits.limit_kw[:, step])

    def _granted(self, step: int, wanted: FloatArray, least: FloatArray, rank: IntArray) -> FloatArray:
        """What fits below the limits, in the order of `rank`."""
        if (self._excess(step, wanted) <= ROUNDING_KW).all():
            return wanted
        power = np.zeros(len(wanted))
        room = -self._excess(step, power)
        for _ in range(PASSES):
            before = power.copy()
            for number in rank[wanted[rank] > power[rank] + ROUNDING_KW]:
                rows, coefficients = self._limits.touched(self._kind[number])
                up = coefficients > 0
                fits = float((room[rows[up]] / coefficients[up]).min(initial=wanted[number] - power[number]))
                if fits > ROUNDING_KW and power[number] + fits >= least[number]:
                    power[number] += fits
                    room[rows] -= coefficients * fits
            # what one phase draws may make room on another
            if not self._limits.mixed or np.array_equal(before, power):
                break
        return power

    def _relieve(self, step: int, power: FloatArray) -> bool:
        """Shed and curtail what limits lack, in proportion; says whether anything changed."""
        changed = False
        for _ in range(PASSES):
            if not self._give(step, power):
                break
            changed = True
        return changed

    def _give(self, step: int, power: FloatArray) -> bool:
        """Go over the limits that are exceeded once, those of leaves first."""
        changed = False
        for row in np.flatnonzero(self._excess(step, power) > ROUNDING_KW):
            excess = float(self._excess(step, power)[row])
            coefficients = self._limits.coefficients[[row]].toarray()[0][self._giving_kind]
            shed = np.where(coefficients > 0, self._sheddable[:, step] - self._shed[:, step], 0.0)
            curtail = np.where(coefficients < 0, self._curtailable[:, step] - self._curtailed[:, step], 0.0)
            most = float(np.abs(coefficients) @ (shed + curtail))
            if excess <= ROUNDING_KW or most <= ROUNDING_KW:
                continue
            share = min(1.0, excess / most)
            self._shed[:, step] += share * shed
            self._curtailed[:, step] += share * curtail
            changed = True
        return changed
