"""A linear program of a problem, and what its columns mean.

Everything is in kW and kWh. Costs are prices per MWh of the power columns, so that the dual of a balance
row is a price per MWh; `Program.cost_scale` turns the objective into the problem's currency.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from energy.domain.documents import expand
from energy.domain.network import FloatArray, IntArray
from optimizer.assets.base import AssetRows
from optimizer.problem import DispatchProblem, Pins
from optimizer.reactive import ReactiveRows
from optimizer.solver import LinearProgram

if TYPE_CHECKING:
    # Pyomo takes a second to import: what only reads a program need not pay for it
    from optimizer.connections import ConnectionRows


@dataclass(frozen=True)
class Part:
    """One problem inside a program: what `connections` and `assets` number counts from its first column
    and row. `probability` weighs what it costs and leaves unserved."""

    problem: DispatchProblem
    connections: ConnectionRows
    assets: tuple[AssetRows, ...]
    reactive: ReactiveRows
    columns: slice
    rows: slice
    probability: float = 1.0

    def unserved(self) -> FloatArray:
        """What is unserved, in kWh times priority, as coefficients on its columns."""
        coefficients = np.zeros(self.columns.stop - self.columns.start)
        coefficients[self.connections.overruns] = self.problem.time.hours
        for rows in self.assets:
            coefficients[rows.needs] = rows.need_weights
        return coefficients

    def emissions(self, *, at_margin: bool = False) -> FloatArray:
        """kg per unit of each column: what root imports carry, less export credit, and assets' own.

        `at_margin` counts what the grid above emits more: the marginal intensity of imports less exports.
        """
        problem, hours = self.problem, self.problem.time.hours
        coefficients = np.zeros(self.columns.stop - self.columns.start)
        for number, connection in enumerate(problem.connections.values()):
            if connection.parent is None:
                if at_margin:
                    marginal = connection.marginal_carbon_g_per_kwh
                    carried = credited = expand(marginal or 0.0, problem.time.steps)
                else:
                    carried, credited = problem.carbon_intensities(connection)
                coefficients[self.connections.imports[number]] = carried * hours / 1000
                coefficients[self.connections.exports[number]] = -credited * hours / 1000
        for rows in self.assets:
            columns, kg_per_kwh = rows.emitting
            np.add.at(coefficients, columns, kg_per_kwh * hours)
        return coefficients


@dataclass
class Program:
    """A linear program of one problem, or of several scenarios of one, and what its columns mean.

    Columns and rows beyond those of its parts tie the parts together. Of the columns `past` it is known what
    they did: no minimum, exclusion or reserve applies to them.
    """

    linear: LinearProgram
    parts: tuple[Part, ...]
    names: Callable[[], list[str]]
    row_names: Callable[[], list[str]]
    cost_scale: float
    past: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))

    @property
    def connections(self) -> ConnectionRows:
        """The connections of a program of one part."""
        (part,) = self.parts
        return part.connections

    @property
    def assets(self) -> tuple[AssetRows, ...]:
        """The assets of a program of one part."""
        (part,) = self.parts
        return part.assets

    @property
    def reactive(self) -> ReactiveRows:
        """The steered inverters of a program of one part."""
        (part,) = self.parts
        return part.reactive

    def at_carbon_price(self, price_per_t: float) -> Program:
        """The same program, of one part, with another price of carbon."""
        (part,) = self.parts
        objective = part.problem.objective
        more = (price_per_t - objective.carbon_price_per_t) / 1000 / self.cost_scale
        problem = replace(
            part.problem, objective=objective.model_copy(update={"carbon_price_per_t": price_per_t})
        )
        linear = replace(self.linear, cost=self.linear.cost + more * part.emissions())
        return replace(self, linear=linear, parts=(replace(part, problem=problem),))

    def pin(self, pins: Pins) -> None:
        """Close the bounds of its columns around the controls of `pins`, as near as they allow.

        Those of the past are facts: a power keeps its value whatever limit it breaks, its own included. What
        is steered of a forecast stays within that.
        """
        (part,) = self.parts
        linear = self.linear
        done, beyond_kw = [self.past], 0.0
        for rows in part.assets:
            states, steps = rows.states
            free = states[steps < pins.past]
            linear.lower[free], linear.upper[free] = -np.inf, np.inf
            takes, steps = rows.surplus
            linear.upper[takes[steps < pins.past]] = np.inf
            columns, unserved = rows.left_unserved(pins.assets, pins.past)
            linear.lower[columns] = linear.upper[columns] = unserved
            for control in rows.stated_controls():
                value = control.stated(pins.assets.get(control.asset))
                until = pins.until if control.promised else pins.past
                kept = (control.steps < until) & np.isfinite(value)
                columns, past = control.columns[kept], control.steps[kept] < pins.past
                fitting = np.clip(value[kept], linear.lower[columns], linear.upper[columns])
                if control.series == "p_kw":
                    beyond_kw += float(np.clip(value[kept] - fitting, 0.0, None)[past].sum())
                    fitting = np.where(past, value[kept], fitting)
                linear.lower[columns] = linear.upper[columns] = fitting
                done.append(columns[past])
        flows = part.connections
        of_past = flows.imports[:, : pins.past], flows.exports[:, : pins.past]
        for columns in (*of_past, flows.overruns[flows.overrun_steps < pins.past]):
            linear.upper[columns] = np.maximum(linear.upper[columns], flows.throughput_kw + beyond_kw)
        for limit in flows.net_limits:
            linear.upper[limit.columns[limit.steps < pins.past]] = np.inf
        self.past = np.concatenate([*done, self._hold_facts(pins)])

    def _hold_facts(self, pins: Pins) -> IntArray:
        """Hold what machines did before step `pins.past`; limits of theirs give way to that, and to going on.

        Gives back the columns that are held.
        """
        (part,), linear = self.parts, self.linear
        stated = [item for rows in part.assets for item in rows.going_on(pins.assets, pins.past)]
        if not stated:
            return np.zeros(0, np.int64)
        columns, steps, values = (np.concatenate([item[k] for item in stated]) for k in range(3))
        past = steps < pins.past
        linear.lower[columns[past]] = linear.upper[columns[past]] = values[past]
        # rows that reach back before now, and tie nothing but these columns
        own = linear.matrix[:, columns]
        of_past, count = own[:, past], linear.matrix.shape[0]
        entries = np.bincount(linear.matrix.indices, minlength=count)
        whole = np.bincount(own.indices, minlength=count) == entries
        reaching = np.flatnonzero(whole & (np.bincount(of_past.indices, minlength=count) > 0))
        activity = (own @ values)[reaching]
        linear.row_lower[reaching] = np.minimum(linear.row_lower[reaching], activity)
        linear.row_upper[reaching] = np.maximum(linear.row_upper[reaching], activity)
        return columns[past]

    @cached_property
    def exclusive(self) -> IntArray:
        """Pairs of columns of which one must be zero, shape (pairs, 2)."""
        pairs = np.concatenate(
            [
                pairs + part.columns.start
                for part in self.parts
                for pairs in (part.connections.exclusive, *(rows.exclusive for rows in part.assets))
            ]
        )
        return pairs[~np.isin(pairs, self.past).all(axis=1)]

    @cached_property
    def imports(self) -> IntArray:
        """The columns of power imported through a connection."""
        return np.concatenate([part.connections.imports.ravel() + part.columns.start for part in self.parts])

    @cached_property
    def semicontinuous(self) -> tuple[IntArray, FloatArray]:
        """Columns that are zero or at least so much."""
        stepped = [
            (rows.semicontinuous + part.columns.start, rows.semicontinuous_min)
            for part in self.parts
            for rows in part.assets
        ]
        columns = np.concatenate([np.zeros(0, np.int64), *(columns for columns, _ in stepped)])
        least = np.concatenate([np.zeros(0), *(least for _, least in stepped)])
        undone = ~np.isin(columns, self.past)
        return columns[undone], least[undone]

    @cached_property
    def reserves(self) -> tuple[IntArray, FloatArray]:
        """Pairs (power, energy), shape (pairs, 2), whose power is zero unless the energy is so much."""
        reserved = [
            (rows.reserves + part.columns.start, rows.reserved_kwh)
            for part in self.parts
            for rows in part.assets
        ]
        pairs = np.concatenate([np.zeros((0, 2), np.int64), *(pairs for pairs, _ in reserved)])
        least = np.concatenate([np.zeros(0), *(least for _, least in reserved)])
        undone = ~np.isin(pairs[:, 0], self.past)
        return pairs[undone], least[undone]

    @cached_property
    def unserved(self) -> FloatArray:
        """What is unserved, in kWh times priority and probability, as coefficients on the columns."""
        coefficients = np.zeros(len(self.linear.cost))
        for part in self.parts:
            coefficients[part.columns] = part.probability * part.unserved()
        return coefficients
