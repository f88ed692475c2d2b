"""A model under construction, in Pyomo: what asset types and connections declare themselves in.

Pyomo states variables and constraints. Their bounds and prices stay in arrays, and its compiler lays the
columns out in the order of declaration: a column's number is known the moment it is declared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pyomo.environ as pyo
from pyomo.core.expr.numeric_expr import LinearExpression

from energy.domain.network import BoolArray, FloatArray, IntArray
from energy.domain.time import TimeGrid
from optimizer.quantities import Phases


@dataclass(frozen=True)
class Columns:
    """One kind of variable: `variable[number, step]` in Pyomo, `index[number, step]` in the program."""

    variable: Any
    index: IntArray

    def before(self, step: int) -> IntArray:
        """The numbers of all columns of earlier steps."""
        return self.index[:, :step].ravel()


@dataclass(frozen=True)
class Origin:
    """What the assets have in common whose rows are being declared."""

    phases: Phases = "L123"
    controllable: bool = False


@dataclass(frozen=True)
class Draws:
    """What assets of one origin draw at each connection: (kW per unit, columns, row) and constants, kW."""

    columns: dict[str, list[tuple[float, Columns, int]]]
    constant_kw: dict[str, FloatArray]


class Site:
    """A model under construction: what asset types declare their variables and draws into.

    `sheds` are the steps in which load at a connection may go unserved; see `optimizer.islands`.
    """

    def __init__(
        self,
        time: TimeGrid,
        connections: Iterable[str],
        carbon_price_per_t: float = 0.0,
        sheds: Mapping[str, BoolArray] | None = None,
    ) -> None:
        self.time = time
        self.carbon_price_per_t = carbon_price_per_t
        self.model = pyo.ConcreteModel(name="dispatch")
        self._block = self.model
        self._labels: list[tuple[str, Sequence[str], int]] = []
        self.variables: list[pyo.Var] = []
        self.order: list[Any] = []
        self._positions: dict[tuple[int, ...], pyo.Set] = {}
        self._lower: list[FloatArray] = []
        self._upper: list[FloatArray] = []
        self._cost: list[FloatArray] = []
        self._integer: list[IntArray] = []
        steps = self.time.steps
        self.draws: dict[str, list[tuple[float, Columns, int]]] = defaultdict(list)
        self.drawn_kw = {key: np.zeros(steps) for key in connections}
        self.inflexible_kw = {key: np.zeros(steps) for key in self.drawn_kw}
        self.sheds = sheds or {key: np.zeros(steps, bool) for key in self.drawn_kw}
        self.origins: dict[Origin, Draws] = {}
        self._suffix = ""
        self.begin(Origin())

    def begin(self, origin: Origin) -> None:
        """What is declared from now on is of assets of this origin; their names carry their phase."""
        self._origin = origin
        self._suffix = "" if origin.phases == "L123" else f"_{origin.phases}"
        constants = {key: np.zeros(self.time.steps) for key in self.drawn_kw}
        self.origins.setdefault(origin, Draws(defaultdict(list), constants))

    def named(self, name: str) -> str:
        """`name`, told apart from that of other phases."""
        return name + self._suffix

    @contextmanager
    def block(self, name: str) -> Iterator[None]:
        """Declare in a block of its own: what two asset types share may then have the same names in both."""
        outer, self._block = self._block, pyo.Block()
        outer.add_component(self.named(name), self._block)
        try:
            yield
        finally:
            self._block = outer

    def columns(
        self,
        name: str,
        labels: Sequence[str],
        *,
        steps: int | None = None,
        lower: Any = 0.0,
        upper: Any = np.inf,
        price: Any = 0.0,
        integer: bool = False,
    ) -> Columns:
        """Declare one variable per label and step; bounds and price broadcast to (labels, steps).

        A price is per MWh of a column in kW; a cost per piece (a start) enters divided by `mwh_per_kw`.
        """
        shape = (len(labels), self.time.steps if steps is None else steps)
        name = self.named(name)
        variable = self._declared(name, pyo.Var, shape)
        first = len(self.order)
        if variable:
            self.variables.append(variable)
            self.order.extend(variable.values())
        self._labels.append((name, labels, shape[1]))
        for values, store in ((lower, self._lower), (upper, self._upper), (price, self._cost)):
            store.append(np.broadcast_to(np.asarray(values, float), shape).ravel())
        index = np.arange(first, len(self.order)).reshape(shape)
        if integer:
            self._integer.append(index.ravel())
        return Columns(variable, index)

    @property
    def mwh_per_kw(self) -> float:
        """MWh of a step per kW."""
        return self.time.hours / 1000

    def rows(self, name: str, *shape: int, rule: Callable[..., Any]) -> Any:
        """Declare one constraint for each position of `shape`; `rule(model, *position)` states it."""
        return self._declared(self.named(name), pyo.Constraint, shape, rule=rule)

    def _declared(self, name: str, kind: Callable[..., Any], shape: tuple[int, ...], **stated: Any) -> Any:
        """A Pyomo component over all positions of `shape`; those of one shape share the set of these."""
        if 0 in shape:
            return {}
        if shape not in self._positions:
            every = list(product(*map(range, shape))) if len(shape) > 1 else list(range(*shape))
            self._positions[shape] = pyo.Set(initialize=every, dimen=len(shape))
            self._positions[shape].construct()
        component = kind(self._positions[shape], **stated)
        self._block.add_component(name, component)
        return component

    def draw(self, connection: str, columns: Columns, number: int, coefficient: float) -> None:
        """Row `number` of `columns` draws `coefficient` kW per unit at the connection, in its step."""
        self.draws[connection].append((coefficient, columns, number))
        self.origins[self._origin].columns[connection].append((coefficient, columns, number))

    def must_draw(self, connection: str, p_kw: FloatArray) -> None:
        """What columns declared with `draw` cannot go below."""
        self.inflexible_kw[connection] += p_kw

    def draw_constant(self, connection: str, p_kw: FloatArray, *, flexible: bool) -> None:
        """A series drawn at the connection; `flexible` where some column may take it back."""
        self.drawn_kw[connection] += p_kw
        self.origins[self._origin].constant_kw[connection] += p_kw
        if not flexible:
            self.inflexible_kw[connection] += p_kw

    def names(self) -> list[str]:
        """A readable name for each column."""
        return [
            f"{name}({label},{step})"
            for name, labels, steps in self._labels
            for label in labels
            for step in range(steps)
        ]

    def bounds(self) -> tuple[FloatArray, FloatArray]:
        """Lower and upper bounds of all columns so far."""
        empty = np.zeros(0)
        return np.concatenate([empty, *self._lower]), np.concatenate([empty, *self._upper])

    def costs(self) -> FloatArray:
        """Prices of all columns so far."""
        return np.concatenate([np.zeros(0), *self._cost])

    def integers(self) -> IntArray:
        """The columns that take whole values only."""
        return np.concatenate([np.zeros(0, np.int64), *self._integer])


def linear(terms: Sequence[tuple[float, Any]]) -> Any:
    """Σ coefficient · variable, built without the cost of Pyomo's operators."""
    return LinearExpression(linear_coefs=[term[0] for term in terms], linear_vars=[term[1] for term in terms])
