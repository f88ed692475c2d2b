"""Connections: what flows through them, what it costs, and what a kWh more would cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import PRICE_PARTS
from optimizer.assets.base import HardLimit
from optimizer.block_rows import BlockRows
from optimizer.documents import Connection
from optimizer.phase_rows import PhaseRows
from optimizer.problem import DispatchProblem
from optimizer.signal_rows import SignalRows
from optimizer.site import Columns, Site, linear

FLOWING_KW = 1e-6
"""A power below this is the solver's tolerance."""
SPARE_KW = 1.0
"""So much more than all that could flow may flow: a bound that binds would hide what a kWh more costs."""


@dataclass(frozen=True)
class BreachableLimit:
    """A limit of a connection that some scenarios may exceed.

    Attributes:
        flows: columns, kW.
        overruns: columns of what counts as shortfall and does not breach; empty where nothing does.
        limit_kw: what `flows` less `overruns` keep to unless the limit is breached.
        most_kw: what can flow at most.
    """

    connection: str
    flows: IntArray
    overruns: IntArray
    limit_kw: FloatArray
    most_kw: FloatArray


class ConnectionRows:
    """Import, export, overrun and peak of every connection, and the balance that ties assets to them.

    Attributes:
        imports, exports: columns, shape (connections, steps), kW ≥ 0.
        inflexible_kw: net power drawn that no column changes, shape (connections, steps).
        losses: columns of the root's network losses, kW, shape (steps,); fixed at zero until a
            linearisation of the step is added.
        root_imports: columns of what the root imports, shape (steps,).
        exclusive: pairs (import, export) that prices do not keep apart, shape (pairs, 2).
        overrun_steps: the step of each of `overruns`.
        overruns: columns, kW above an import limit, that count as shortfall.
        breachable: limits that only rows over all scenarios hold.
        exchange: the most that may flow through each connection, either way, for the sake of an island,
            kW; infinite where there is none.
        hard: upper bounds of imports and of exports by their limits, islands aside, kW.
    """

    def __init__(self, site: Site, problem: DispatchProblem) -> None:
        self._problem = problem
        self._steps = site.time.steps
        self.ids = list(problem.connections)
        self._connections: list[Connection] = list(problem.connections.values())
        count, steps = len(self.ids), self._steps
        self._root = self.ids.index(problem.root)
        importing = np.array([problem.import_price(c) for c in self._connections])
        exporting = np.array([problem.export_price(c) for c in self._connections])
        lowest, highest, inflexible = self._ranges(site)
        roots = np.array([connection.parent is None for connection in self._connections])
        cheapest = importing + np.array([[c.least_surcharge_per_mwh] for c in self._connections])
        apart = roots[:, None] & (exporting > cheapest)
        if problem.frontier is not None:
            apart |= roots[:, None] & self._apart_at_some_carbon_price(cheapest, exporting)
        import_limit = np.array([c.limit("import_limit_kw", steps) for c in self._connections])
        export_limit = np.array([c.limit("export_limit_kw", steps) for c in self._connections])
        exchange = np.array([problem.islands.exchange_kw[key] for key in self.ids])
        excess = np.clip(inflexible - import_limit, 0.0, None)
        # where load is shed for an island, no import limit is overrun
        excess[np.array([site.sheds[key] for key in self.ids])] = 0.0
        # the losses of a network pass the meter too, and what loads them is never more than all that passes
        most = 2 * np.maximum(np.abs(lowest), np.abs(highest))
        if problem.network is not None:
            excess[self._root, np.isfinite(import_limit[self._root])] = np.inf
            highest[self._root] = most[self._root]
        import_upper = np.where(
            apart, np.minimum(import_limit + excess, _spared(highest)), import_limit + excess
        )
        export_upper = np.where(apart, np.minimum(export_limit, _spared(-lowest)), export_limit)
        breachable = np.array([c.breach_probability > 0 for c in self._connections])
        import_upper[breachable] = _spared(highest[breachable])
        export_upper[breachable] = _spared(-lowest[breachable])
        self._excess, self.inflexible_kw = excess, inflexible
        self.hard = (import_limit + excess, export_limit)
        import_upper, export_upper = np.minimum(import_upper, exchange), np.minimum(export_upper, exchange)
        self.exchange = exchange

        imports = site.columns("import_kw", self.ids, upper=import_upper, price=importing)
        exports = site.columns("export_kw", self.ids, upper=export_upper, price=-exporting)
        overruns = site.columns("overrun_kw", self.ids, upper=excess)
        losses = site.columns("losses_kw", ["root"], upper=0.0)
        self.imports, self.exports, self.losses = imports.index, exports.index, losses.index[0]
        self.root_imports = imports.index[self._root]
        self._overrun_columns = overruns.index
        self.overruns = overruns.index[excess > 0]
        self.overrun_steps = np.nonzero(excess > 0)[1]
        self.throughput_kw = max(1.0, float(np.max(most, initial=0.0)) / 2)
        pairs = apart & (import_upper > 0) & (export_upper > 0)
        self.exclusive = np.column_stack([imports.index[pairs], exports.index[pairs]])

        self._phases, self._signals = PhaseRows(site, problem, losses), SignalRows(site, problem)

        children: dict[str, list[int]] = {}
        for number, connection in enumerate(self._connections):
            if connection.parent is not None:
                children.setdefault(connection.parent, []).append(number)

        def balance(_: Any, number: int, step: int) -> Any:
            key = self.ids[number]
            terms = [(1.0, imports.variable[number, step]), (-1.0, exports.variable[number, step])]
            terms += [(-a, columns.variable[k, step]) for a, columns, k in site.draws[key]]
            for child in children.get(key, ()):
                terms += [(-1.0, imports.variable[child, step]), (1.0, exports.variable[child, step])]
            if number == self._root:
                terms.append((-1.0, losses.variable[0, step]))
            return linear(terms) == float(site.drawn_kw[key][step])

        self._balance = site.rows("balance", count, steps, rule=balance)

        limited = np.argwhere((excess > 0) & ~breachable[:, None])

        def overrun(_: Any, row: int) -> Any:
            number, step = limited[row]
            return linear(
                [(1.0, imports.variable[number, step]), (-1.0, overruns.variable[number, step])]
            ) <= float(import_limit[number, step])

        site.rows("import_limit", len(limited), rule=overrun)
        none = np.zeros((count, 0), np.int64)
        self.breachable = tuple(
            BreachableLimit(self.ids[k], flows.index[k], over[k], limit[k], most[k])
            for k in np.flatnonzero(breachable)
            for flows, over, limit, most in (
                (imports, overruns.index, import_limit, import_upper),
                (exports, none, export_limit, export_upper),
            )
            if np.isfinite(limit[k]).all()
        )
        self._peaks(site, imports)
        self._blocks = BlockRows(site, self._connections, imports, most)

    def _apart_at_some_carbon_price(self, importing: FloatArray, exporting: FloatArray) -> NDArray[np.bool_]:
        """Whether exports earn more than imports cost at any price of carbon that is not negative."""
        paid, earned, carried, credited = (
            np.array(values)
            for values in zip(
                *(
                    (*self._problem.carbon_prices(c), *self._problem.carbon_intensities(c))
                    for c in self._connections
                ),
                strict=True,
            )
        )
        return (exporting - earned > importing - paid) | (credited > carried)

    def _peaks(self, site: Site, imports: Columns) -> None:
        """peak_kw ≥ mean import of every peak interval − what the month has seen already."""
        priced = [k for k, c in enumerate(self._connections) if c.peak_import_price_per_kw > 0]
        scale = site.time.hours / 1000
        prices = np.array([[self._connections[k].peak_import_price_per_kw / scale] for k in priced])
        peak = site.columns(
            "peak_excess_kw", [self.ids[k] for k in priced], steps=1, price=prices.reshape(-1, 1)
        )
        self._windows = [
            (row, k, window)
            for row, k in enumerate(priced)
            for window in self._connections[k].peak_windows(site.time)
        ]

        def peak_rule(_: Any, number: int) -> Any:
            row, k, window = self._windows[number]
            terms = [(1.0, peak.variable[row, 0])]
            terms += [(-1.0 / len(window), imports.variable[k, int(step)]) for step in window]
            return linear(terms) >= -self._connections[k].peak_import_so_far_kw

        self._peak = site.rows("peak", len(self._windows), rule=peak_rule)

    def _ranges(self, site: Site) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Lowest, highest and inflexible net power of each connection, its children's included."""
        lower, upper = site.bounds()
        own = {}
        for key in self.ids:
            low = high = site.drawn_kw[key]
            for coefficient, columns, number in site.draws[key]:
                ends = np.sort(
                    coefficient * np.stack([lower[columns.index[number]], upper[columns.index[number]]]),
                    axis=0,
                )
                low, high = low + ends[0], high + ends[1]
            own[key] = np.stack([low, high, site.inflexible_kw[key]])
        for key in reversed(self._problem.from_roots):
            exchange = self._problem.islands.exchange_kw[key]
            own[key] = np.clip(own[key], -exchange, exchange)
            parent = self._problem.connections[key].parent
            if parent is not None:
                own[parent] = own[parent] + own[key]
        stacked = np.stack([own[key] for key in self.ids])
        return stacked[:, 0], stacked[:, 1], stacked[:, 2]

    def place(self, row_number: Mapping[Any, int]) -> None:
        """Learn the row numbers of the compiled model."""
        self._balance_rows: IntArray = np.array(
            [
                [row_number[self._balance[k, step]] for step in range(self._steps)]
                for k in range(len(self.ids))
            ]
        )
        self._peak_rows = np.array([row_number[self._peak[k]] for k in range(len(self._windows))], np.int64)
        self._blocks.place(row_number)

    def balance_rows(self, key: str) -> IntArray:
        """The row of each step whose bound is what is drawn at the connection beside all columns, kW."""
        return self._balance_rows[self.ids.index(key)]

    @property
    def hard_limits(self) -> Sequence[HardLimit]:
        """Import and export limits that nothing may break."""
        limits = []
        steps = np.arange(self._steps)
        for name, columns, bounds in (
            ("import_limit_kw", self.imports, self.hard[0]),
            ("export_limit_kw", self.exports, self.hard[1]),
        ):
            for number, key in enumerate(self.ids):
                bound = np.isfinite(bounds[number])
                if bound.any():
                    limits.append(
                        HardLimit(
                            (),
                            key,
                            name,
                            "kW",
                            steps[bound],
                            columns[number, bound],
                            bounds[number, bound],
                            -1,
                            self._excess[number, bound] if columns is self.imports else None,
                        )
                    )
        return [*limits, *self.net_limits]

    @property
    def net_limits(self) -> Sequence[HardLimit]:
        """Those on phases and on controllable assets: upper bounds of columns that follow from others."""
        return [*self._phases.hard_limits, *self._signals.hard_limits]

    @property
    def shared_limits(self) -> Sequence[HardLimit]:
        """The stated limits, one column for each limited step. Of an import limit it is the flow, or its
        overrun (then above a bound of zero) where inflexible load exceeds the limit."""
        limits = []
        steps = np.arange(self._steps)
        for name, flows in (("import_limit_kw", self.imports), ("export_limit_kw", self.exports)):
            for number, connection in enumerate(self._connections):
                bounds = connection.limit(name, self._steps)
                columns = flows[number]
                if name == "import_limit_kw":
                    over = self._excess[number] > 0
                    columns = np.where(over, self._overrun_columns[number], columns)
                    bounds = np.where(over, 0.0, bounds)
                some = np.isfinite(bounds)
                if some.any():
                    limits.append(
                        HardLimit((), connection.id, name, "kW", steps[some], columns[some], bounds[some], -1)
                    )
        return [*limits, *self.net_limits]

    def prices(self, dual: FloatArray, net_kw: Mapping[str, FloatArray]) -> dict[str, dict[str, FloatArray]]:
        """Price per MWh at each connection, by part; the parts add up to ``total``, the dual of its balance.

        At a root that imports (exports) the energy and carbon parts are those of its tariff, the marginal
        block included, and the peak part is the dual of its peak rows; what is left is the rent of its
        limit: scarcity where the limit is overrun, congestion elsewhere. Where nothing flows, its own
        assets set the energy price.
        A child adds its own peak and limit to its parent's parts; an island has its own energy price.
        """
        problem = self._problem
        totals = dual[self._balance_rows]
        peak = np.zeros_like(totals)
        for (_, k, window), row in zip(self._windows, self._peak_rows, strict=True):
            peak[k, window] += dual[row] / len(window)
        surcharge = self._blocks.prices(dual)
        found: dict[str, dict[str, FloatArray]] = {}
        for key in problem.from_roots:
            number = self.ids.index(key)
            connection = self._connections[number]
            parts = {part: np.zeros(self._steps) for part in PRICE_PARTS}
            drawing, giving = net_kw[key] > FLOWING_KW, net_kw[key] < -FLOWING_KW
            if connection.parent is None:
                carbon_in, carbon_out = problem.carbon_prices(connection)
                energy_in = problem.import_price(connection) - carbon_in + surcharge[number]
                energy_out = problem.export_price(connection) - carbon_out
                parts["carbon"] = np.select([drawing, giving], [carbon_in, carbon_out], 0.0)
                parts["energy"] = np.select([drawing, giving], [energy_in, energy_out], totals[number])
                explained = drawing | giving
            else:
                alone = self.exchange[number] == 0.0
                parts.update(
                    {
                        part: np.where(alone, 0.0, values)
                        for part, values in found[connection.parent].items()
                        if part in parts
                    }
                )
                parts["energy"] = np.where(alone, totals[number], parts["energy"])
                explained = ~alone
            parts["peak"] = parts["peak"] + np.where(drawing, peak[number], 0.0)
            rest = np.where(explained, totals[number] - np.sum(list(parts.values()), axis=0), 0.0)
            rest[np.abs(rest) < 1e-9 * np.maximum(1.0, np.abs(totals[number]))] = 0.0
            limit = connection.limit("import_limit_kw", self._steps)
            overrun = net_kw[key] > limit + FLOWING_KW
            parts["scarcity"] = parts["scarcity"] + np.where(overrun, rest, 0.0)
            parts["congestion"] = parts["congestion"] + np.where(overrun, 0.0, rest)
            found[key] = {"total": np.sum(list(parts.values()), axis=0), **parts}
        return found


def _spared(most_kw: FloatArray) -> FloatArray:
    """An upper bound for a flow of at most that, zero where nothing can flow that way."""
    return np.where(most_kw > 0, most_kw + SPARE_KW, 0.0)
