"""What crosses the seam between twin, dispatcher and ledger: powers, grid states, linear limits.

Bus keys are the grid source's own bus indices. Powers at buses are in the consumer frame (``+`` draws);
power at a branch end is what enters the branch there (pandapower's ``p_from_mw``, ``p_to_mw``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from energy.domain.time import TimeGrid, format_instant

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

Quantity = Literal["vm_pu", "loading_percent"]

SECURE_VM_PU = 1e-4
"""An AC voltage beyond its limit by at most this still counts as secure."""
SECURE_LOADING_PERCENT = 0.1
"""An AC loading beyond its limit by at most this still counts as secure."""


@dataclass(frozen=True, slots=True, order=True)
class ElementId:
    """One element of the grid, as every document names it."""

    table: str
    index: int
    name: str | None = None

    def document(self) -> dict[str, Any]:
        return {"table": self.table, "index": self.index, "name": self.name}

    def __str__(self) -> str:
        return f"{self.table} {self.index}" + (f" ({self.name})" if self.name else "")


@dataclass(frozen=True)
class NodalPower:
    """Power drawn at buses over a horizon, consumer frame; a bus may appear in several columns.

    Attributes:
        time: the horizon.
        buses: bus index of each column, shape (columns,).
        p_mw, q_mvar: mean power drawn, shape (steps, columns); negative injects.
    """

    time: TimeGrid
    buses: IntArray
    p_mw: FloatArray
    q_mvar: FloatArray

    def __post_init__(self) -> None:
        expected = (self.time.steps, len(self.buses))
        for name in ("p_mw", "q_mvar"):
            values = getattr(self, name)
            if values.shape != expected:
                raise ValueError(f"{name} has shape {values.shape}; {expected} is needed")
            if not np.isfinite(values).all():
                raise ValueError(f"{name} has values that are not finite")


@dataclass(frozen=True, slots=True)
class Violation:
    """One AC value beyond its true limit."""

    time: datetime
    element: ElementId
    quantity: Quantity
    value: float
    limit: float

    def document(self) -> dict[str, Any]:
        return {
            "time": format_instant(self.time),
            "element": self.element.document(),
            "quantity": self.quantity,
            "value": self.value,
            "limit": self.limit,
        }


@dataclass(frozen=True)
class OperatingLimits:
    """The limits a grid is operated within: voltage at every energised bus but the slack, loading of
    every rated branch (by current, as pandapower defines it)."""

    vm_min_pu: float = 0.9
    vm_max_pu: float = 1.1
    loading_max_percent: float = 100.0


@dataclass(frozen=True)
class GridState:
    """The AC solution of every step of a horizon. Elements in the twin's order.

    Attributes:
        converged: shape (steps,). Where False, every value of the step is NaN: non-convergence is a
            value, not a crash.
        vm_pu: shape (steps, buses), NaN at de-energised buses.
        loading_percent: shape (steps, branches) by current; NaN for unrated branches.
        losses_mw: shape (steps,): power entering all branches and leaving none, transformer iron losses
            included, DC lines and switches with impedance too. Shunts (in `NetworkFlows.shunt_mw`) and
            wards are not losses: they draw.
        slack_p_mw, slack_q_mvar: shape (steps, slack buses); ``+`` is drawn from the upstream grid.
        voltage: complex voltage per internal node, shape (steps, nodes): what the twin derives flows
            and sensitivities from.
        engine: ``"batched"`` or ``"runpp"``.
    """

    time: TimeGrid
    buses: tuple[ElementId, ...]
    branches: tuple[ElementId, ...]
    slack_buses: IntArray
    converged: BoolArray
    vm_pu: FloatArray
    loading_percent: FloatArray
    losses_mw: FloatArray
    slack_p_mw: FloatArray
    slack_q_mvar: FloatArray
    voltage: NDArray[np.complex128]
    engine: str
    violations: tuple[Violation, ...]

    @property
    def secure(self) -> bool:
        """Every step solved, and no value beyond its limit by more than 1e-4 pu or 0.1 %."""
        return bool(self.converged.all()) and not self.violations

    @property
    def violated_steps(self) -> IntArray:
        """The steps with a violation or without a solution, ascending."""
        steps = {self.time.step_at(violation.time) for violation in self.violations}
        steps.update(np.flatnonzero(~self.converged).tolist())
        return np.array(sorted(steps), dtype=np.int64)


@dataclass(frozen=True)
class NetworkFlows:
    """Active power flows of a horizon between electrical nodes (buses fused by closed switches).

    Attributes:
        node_of_bus: the node of each bus that has one (de-energised buses have none).
        node_count: nodes include internal ones (open line ends, star points of three-winding
            transformers) that no bus maps to.
        from_node, to_node: shape (branches,).
        p_from_mw, p_to_mw: power entering the branch at either end, shape (steps, branches).
        branches: the element each branch belongs to.
        slack_node: shape (slacks,); slack_p_mw: shape (steps, slacks), ``+`` drawn from upstream.
        shunt_mw: active power of shunts, shape (steps, nodes), ``+`` draws.
    """

    time: TimeGrid
    node_of_bus: dict[int, int]
    node_count: int
    branches: tuple[ElementId, ...]
    from_node: IntArray
    to_node: IntArray
    p_from_mw: FloatArray
    p_to_mw: FloatArray
    slack_node: IntArray
    slack_p_mw: FloatArray
    shunt_mw: FloatArray


@dataclass(frozen=True, slots=True, order=True)
class Terminal:
    """Where flexible power meets the grid: a bus, and the reactive power drawn per active power drawn.

    One that is not `flexible` draws nothing itself: only what a MW more there would do is asked for.
    At a `reactive` terminal the power is reactive alone: Mvar wherever terminals are said to draw MW.
    """

    bus: int
    q_mvar_per_mw: float = 0.0
    flexible: bool = True
    reactive: bool = False

    @property
    def at_unity(self) -> bool:
        """Whether active power alone is drawn here."""
        return not self.reactive and self.q_mvar_per_mw == 0.0


@dataclass(frozen=True)
class Losses:
    """The losses of steps over the power p[t] drawn at terminals, MW: squares of flows, and a rest.

        flow_mw[t, k] = directions[k] · p[t]
        losses_mw[t] = rest_mw[t] + Σ_k square_mw[t, k]
        square_mw[t, k] ≥ constant[l] + slope[l] · flow_mw[t, k]
        rest_mw[t] ≥ rest_constant[r] + rest_slope[r] · flow_mw[t] + rest_coefficients[r] · p[t]

    for every l with step[l] == t and flow[l] == k, and every r with rest_step[r] == t.

    Losses are convex: square by square a few tangents bend like them, where it takes many of their sum. All
    squares of a step come with its first rest, and all that are added to one program have the same
    `directions`, shape (flows, terminals).
    """

    directions: FloatArray
    rest_step: IntArray
    rest_constant: FloatArray
    rest_slope: FloatArray
    rest_coefficients: FloatArray
    step: IntArray
    flow: IntArray
    constant: FloatArray
    slope: FloatArray

    @staticmethod
    def linear(step: IntArray, constant: FloatArray, coefficients: FloatArray) -> Losses:
        """Losses that are linear: a rest alone, `coefficients` of shape (steps, terminals)."""
        count, terminals = coefficients.shape
        integers, numbers = np.zeros(0, np.int64), np.zeros(0)
        none = np.zeros((0, terminals))
        return Losses(
            none, step, constant, np.zeros((count, 0)), coefficients, integers, integers, numbers, numbers
        )

    @staticmethod
    def none(terminals: int) -> Losses:
        """No losses at all."""
        return Losses.linear(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, terminals)))

    def __bool__(self) -> bool:
        return bool(len(self.rest_step) or len(self.step))

    def __add__(self, more: Losses) -> Losses:
        if not self or not more:
            return self or more
        if not np.array_equal(self.directions, more.directions):
            raise ValueError("losses over different flows cannot be added")
        names = [name for name in self.__dataclass_fields__ if name != "directions"]
        return Losses(
            self.directions,
            *(np.concatenate([getattr(self, name), getattr(more, name)]) for name in names),
        )

    def squares_mw(self, p_mw: FloatArray) -> FloatArray:
        """The value of each tangent, shape (tangents,), when terminals draw `p_mw` (steps, terminals)."""
        flow_mw = p_mw @ self.directions.T
        return self.constant + self.slope * flow_mw[self.step, self.flow]


@dataclass(frozen=True)
class GridLimits:
    """Linear limits on the power drawn at terminals, and linear losses: what the dispatcher obeys.

    Row r bounds one quantity of one element in one step:

        lower[r] ≤ constant[r] + coefficients[r] · p[step[r]] ≤ upper[r]

    with p[t] the active power drawn at each terminal in MW (shape (terminals,)); the power of
    everything that is no terminal is inside `constant`. Loading rows bound the *signed* loading.

    Limits accumulate over the rounds of the coupling loop (``limits + more``); they are never replaced.
    """

    terminals: tuple[Terminal, ...]
    step: IntArray
    element: tuple[ElementId, ...]
    quantity: tuple[Quantity, ...]
    coefficients: FloatArray
    constant: FloatArray
    lower: FloatArray
    upper: FloatArray
    losses: Losses

    @staticmethod
    def none(terminals: Sequence[Terminal]) -> GridLimits:
        """No limits at all on these terminals."""
        count, numbers = len(terminals), np.zeros(0)
        return GridLimits(
            tuple(terminals),
            np.zeros(0, np.int64),
            (),
            (),
            np.zeros((0, count)),
            numbers,
            numbers,
            numbers,
            Losses.none(count),
        )

    def __len__(self) -> int:
        return len(self.step)

    def __add__(self, more: GridLimits) -> GridLimits:
        if self.terminals != more.terminals:
            raise ValueError("limits over different terminals cannot be added")
        join = np.concatenate
        return GridLimits(
            self.terminals,
            join([self.step, more.step]),
            self.element + more.element,
            self.quantity + more.quantity,
            join([self.coefficients, more.coefficients]),
            join([self.constant, more.constant]),
            join([self.lower, more.lower]),
            join([self.upper, more.upper]),
            self.losses + more.losses,
        )
