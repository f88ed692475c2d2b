"""What every asset type shares: its document, and the contract between a type's rows and the model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import combinations
from math import sqrt
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

import numpy as np
from pydantic import Field

from energy.domain.documents import Document, Identifier
from energy.domain.errors import Fault
from energy.domain.network import BoolArray, FloatArray, IntArray, Terminal
from energy.domain.schedule import AssetSchedule, Conflict, Shortfall
from energy.domain.time import TimeGrid
from optimizer.assets.charging import Charged, Charging
from optimizer.quantities import Phases, Positive, Priority

if TYPE_CHECKING:
    from optimizer.site import Site

SAME_KW = 1e-6
"""Powers that differ by less are the same."""
Burden = Literal["curtailment", "charging"]
BURDENS: tuple[Burden, ...] = get_args(Burden)
"""What districts may have to bear for others: curtailed generation, unmet charging."""


Direction = Literal["up", "down"]
"""Of reserve: "up" draws less or feeds more when it is called, "down" draws more or feeds less."""


@dataclass(frozen=True)
class Cap:
    """In one step at most `room_kw` + Σ coefficient × column of `terms` can be called."""

    step: int
    room_kw: float
    terms: tuple[tuple[float, int], ...]


@dataclass(frozen=True)
class Source:
    """Power that can be called in each step, at most `room_kw` + Σ coefficient × column of `terms`, and at
    most each of the `caps`.

    Columns have shape (steps,), −1 where there is none. A kWh called takes `kwh_per_kwh` of the room that
    the energy of the store leaves.
    """

    room_kw: FloatArray
    terms: tuple[tuple[float, IntArray], ...] = ()
    kwh_per_kwh: float = 0.0
    caps: tuple[Cap, ...] = ()


@dataclass(frozen=True)
class StorePlan:
    """Steps through which a store must be able to follow its plan after a call, without recharging.

    `need` is a step, the column that measures what it is short of, and the kWh needed at its end.
    """

    steps: IntArray
    need: tuple[int, int, float] | None = None


@dataclass(frozen=True)
class Store:
    """Energies that bound a call: columns at the end of each step (−1: none), above (`sign` +1) or below
    (−1) `bound_kwh`. Each kW of the columns `also` counts as called energy, by its coefficient."""

    energy: IntArray
    bound_kwh: FloatArray
    sign: Literal[1, -1]
    also: tuple[float, IntArray] | None = None
    plans: tuple[StorePlan, ...] = ()


@dataclass(frozen=True)
class Flexibility:
    """What one asset can hold as reserve in one direction; all sources share the store."""

    asset: str
    connection: str
    direction: Direction
    sources: tuple[Source, ...]
    store: Store | None = None


@dataclass(frozen=True)
class TerminalPower:
    """Columns that draw power at a terminal: `coefficients` kW drawn per unit of each column in its step."""

    terminal: Terminal
    steps: IntArray
    columns: IntArray
    coefficients: FloatArray


@dataclass(frozen=True)
class InverterPower:
    """The active power that an inverter carries in the steps it is connected.

    Attributes:
        steps: ascending, each once; kva: what it can carry, shape (steps,).
        constant_kw: power drawn that no column changes, shape (steps,).
        position, columns, coefficients: kW drawn per unit of each column, in ``steps[position]``.
    """

    asset: str
    steps: IntArray
    kva: FloatArray
    constant_kw: FloatArray
    position: IntArray
    columns: IntArray
    coefficients: FloatArray


@dataclass(frozen=True)
class HardLimit:
    """Column bounds that nothing may break: what `conflicts` names where they contradict each other.

    `sense` is +1 where the columns must stay above `bounds`, −1 where below. `allowed` is by how much the
    bounds lie beyond the stated limit already.
    """

    assets: tuple[str, ...]
    connection: str
    limit: str
    unit: str
    steps: IntArray
    columns: IntArray
    bounds: FloatArray
    sense: Literal[1, -1]
    allowed: FloatArray | None = None

    def since(self, step: int) -> HardLimit | None:
        """What of it binds in that step and later; None where nothing does."""
        kept = self.steps >= step
        if not kept.any():
            return None
        allowed = None if self.allowed is None else self.allowed[kept]
        return replace(
            self,
            steps=self.steps[kept],
            columns=self.columns[kept],
            bounds=self.bounds[kept],
            allowed=allowed,
        )


@dataclass(frozen=True)
class Kept:
    """What an asset holds when the horizon ends, for an island that goes on: of each unit of `content` (a
    Pyomo variable) above `least` it feeds `kwh_per_unit`, as far as `retained_per_hour` leaves it."""

    asset: str
    connection: str
    content: Any
    least: float
    kwh_per_unit: float
    feed_max_kw: float
    retained_per_hour: float = 1.0


class Asset(Document):
    """One asset at a connection.

    `bus` (index, or unique name) is where it meets the grid of a problem with `network`; without one it
    sits at its connection's bus. `power_factor` is the share of active in apparent power, and
    `reactive_sign` says whether the asset consumes or produces the reactive power that goes with it.
    `inverter_kva` is the apparent power of its inverter: with a network whose `reactive` is ``optimise``
    its reactive power is a control within that.
    `priority` weighs its unmet needs against those of others; `district` is whom it belongs to; `phases`
    are those it is connected to.
    `series_fields` may be series; `nested_series` are those of objects inside it (``heat.cop``).
    """

    series_fields: ClassVar[Sequence[str]] = ()
    nested_series: ClassVar[Sequence[str]] = ()
    has_inverter: ClassVar[bool] = False

    id: Identifier
    connection: Identifier
    bus: int | str | None = None
    power_factor: Annotated[float, Field(gt=0, le=1)] | None = None
    reactive_sign: Literal["consumes", "produces"] = "consumes"
    inverter_kva: Positive | None = None
    priority: Priority = 1.0
    district: Identifier | None = None
    phases: Phases = "L123"

    @property
    def q_per_power(self) -> float:
        """Mvar drawn per MW of active power, whichever way the active power flows."""
        if self.power_factor is None:
            return 0.0
        ratio = sqrt(1.0 - self.power_factor**2) / self.power_factor
        return ratio if self.reactive_sign == "consumes" else -ratio

    def terminal(self, direction: Literal[1, -1]) -> Terminal:
        """Where the asset draws (+1) or injects (−1); injected power turns the sign of the ratio."""
        assert isinstance(self.bus, int), "buses are resolved before terminals are asked for"
        return Terminal(self.bus, direction * self.q_per_power)

    @property
    def reactive_terminal(self) -> Terminal:
        """Where the reactive power of its inverter meets the grid."""
        assert isinstance(self.bus, int), "buses are resolved before terminals are asked for"
        return Terminal(self.bus, reactive=True)

    def faults(self, path: str) -> Iterator[Fault]:
        """Everything that contradicts itself, once each field is right by itself."""
        if self.inverter_kva is not None and not self.has_inverter:
            yield Fault(
                f"{path}.inverter_kva", "is given for a type whose inverter is not controlled; remove it"
            )
        elif self.inverter_kva is not None and self.power_factor is not None:
            yield Fault(
                f"{path}.inverter_kva", "is given together with power_factor; give only one of the two"
            )

    def faults_in(self, path: str, time: TimeGrid) -> Iterator[Fault]:
        """Everything that contradicts the problem's time; asked only of what is right by itself."""
        del path, time
        yield from ()

    def notices(self, time: TimeGrid) -> Iterator[str]:
        """What of this asset lies outside the horizon and is clipped."""
        del time
        yield from ()

    @abstractmethod
    def terminals(self) -> tuple[Terminal, ...]:
        """Where its flexible power meets the grid; empty for an inflexible asset."""

    @abstractmethod
    def baseline(self, time: TimeGrid) -> AssetSchedule:
        """What it does when nobody controls it."""

    def charging(self, time: TimeGrid) -> Charging | None:
        """How it charges when nobody controls it; None for what is no store that may wait."""
        del time
        return None

    def charged(self, charged: Charged, time: TimeGrid) -> AssetSchedule:
        """Its schedule after it charged so."""
        del time
        return AssetSchedule(charged.p_kw, {"e_kwh": charged.e_kwh})

    def shortfalls_of(self, charged: Charged, time: TimeGrid) -> Iterator[Shortfall]:
        """The needs that charging so leaves unmet."""
        del charged, time
        yield from ()

    def unmet(self, schedule: AssetSchedule, time: TimeGrid) -> Iterator[Shortfall]:
        """The needs that a schedule leaves unmet, of what has no `charging`."""
        del schedule, time
        yield from ()

    def relief_kw(self, time: TimeGrid) -> tuple[FloatArray, FloatArray]:
        """How much less than in `baseline` it can draw, and feed, kW; shape (steps,) each."""
        return np.zeros(time.steps), np.zeros(time.steps)

    def relieved(self, less_kw: FloatArray, time: TimeGrid) -> AssetSchedule:
        """The baseline with so much less drawn, or fed, as `relief_kw` allows."""
        del less_kw
        return self.baseline(time)

    def broken(self, schedule: AssetSchedule, time: TimeGrid) -> Iterator[str]:
        """Hard limits of its own that a schedule without control breaks, in words."""
        del schedule, time
        yield from ()

    def drawn_kw(self, p_kw: FloatArray) -> FloatArray:
        """Power drawn at the bus, consumer frame, from `p_kw` in the schedule's sign rule."""
        return p_kw

    def reactive_kvar(self, drawn_kw: FloatArray) -> FloatArray:
        """Reactive power drawn with that active power."""
        return np.abs(drawn_kw) * self.q_per_power

    def feeding_kw(self, steps: int) -> FloatArray:
        """What it could feed without a store, kW, shape (steps,): what an island can count on."""
        return np.zeros(steps)

    def presses(self, limit: str) -> bool:
        """Whether it can push its connection against a limit without being able to give way."""
        del limit
        return False

    def out_of_reach(self, time: TimeGrid) -> Iterator[Conflict]:
        """Its needs and hard limits that it could not keep if it had every connection to itself."""
        del time
        yield from ()

    def relaxed(self, conflicts: Sequence[Conflict], time: TimeGrid) -> Asset:
        """The same asset with the limits that `out_of_reach` named eased by their relaxations."""
        del conflicts, time
        return self

    def due_kwh(self, time: TimeGrid) -> Mapping[int, tuple[datetime, float]]:
        """Energy that it must hold at the end of some steps, and by when that is needed."""
        del time
        return {}

    @abstractmethod
    def costs(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, float]:
        """Its objective parts, in the problem's currency, from its schedule alone."""

    def state_after(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, Any]:
        """The fields that state how it stands before a horizon, as they are at the end of `schedule`; those
        of objects inside it by path (``tank.start_kg``)."""
        del schedule, time
        return {}

    def emissions_kg(self, schedule: AssetSchedule, time: TimeGrid) -> float:
        """What it emits itself, beside what its electricity carries."""
        del schedule, time
        return 0.0

    @property
    def bears(self) -> Burden | None:
        """What of the burdens that districts share it bears."""
        return None

    def at_stake_kwh(self, time: TimeGrid) -> float:
        """All that it could have to bear."""
        del time
        return 0.0

    def borne_kwh(self, schedule: AssetSchedule, shortfalls: Sequence[Shortfall], time: TimeGrid) -> float:
        """What it bears in a schedule that leaves `shortfalls` of its own."""
        del schedule, shortfalls, time
        return 0.0

    @classmethod
    @abstractmethod
    def rows(cls, site: Site, assets: Sequence[Any]) -> AssetRows:
        """Declare the variables and constraints of all assets of this type."""


@dataclass(frozen=True)
class Control:
    """Columns that a schedule states: the part of its `series` that has the sign.

    Of a series by slot, `slot` says which. One that is not `promised` follows from what happens: it is kept
    of the past alone. Where several columns share a step, the power is divided over them; each is zero or
    between its `least` and its `most`, kW, as far as there is such a division.
    """

    asset: str
    series: str
    steps: IntArray
    columns: IntArray
    sign: Literal[1, -1] = 1
    least: FloatArray | None = None
    most: FloatArray | None = None
    slot: int | None = None
    promised: bool = True

    def stated(self, schedule: AssetSchedule | None) -> FloatArray:
        """What a schedule says of each column; NaN where it says nothing."""
        series = None
        if schedule is not None:
            series = schedule.p_kw if self.series == "p_kw" else schedule.series.get(self.series)
        if series is None or series.ndim != 1 + (self.slot is not None):
            return np.full(len(self.steps), np.nan)
        if self.slot is not None:
            if self.slot >= series.shape[1]:
                return np.full(len(self.steps), np.nan)
            series = series[:, self.slot]
        values = np.clip(self.sign * series[self.steps], 0.0, None)
        if self.least is None or self.most is None:
            return values
        for step in np.unique(self.steps[1:][np.diff(self.steps) == 0]):
            shared = self.steps == step
            values[shared] = divided(float(values[shared][0]), self.least[shared], self.most[shared])
        return values


def divided(p_kw: float, least: FloatArray, most: FloatArray) -> FloatArray:
    """A power over several columns, each zero or between `least` and `most`: over as many as can carry it.

    Where none can, in proportion to `most`.
    """
    for count in range(len(most), 0, -1):
        for some in combinations(range(len(most)), count):
            chosen = list(some)
            low, room = float(least[chosen].sum()), float((most - least)[chosen].sum())
            if low - SAME_KW <= p_kw <= low + room + SAME_KW:
                parts = np.zeros(len(most))
                above = (p_kw - low) / room if room > 0 else 0.0
                parts[chosen] = least[chosen] + above * (most - least)[chosen]
                return parts
    whole = float(most.sum())
    return p_kw * most / whole if whole > 0 else np.zeros(len(most))


class Controllable(Document):
    """What a grid operator's signal may limit; `statutory_min_kw` is what the law leaves it at least."""

    statutory_min_kw: Positive = 0.0

    @abstractmethod
    def can_draw(self, time: TimeGrid) -> BoolArray:
        """The steps in which it can draw at all."""


class AssetRows(ABC):
    """All assets of one type in one model. Column numbers are final once the model is compiled.

    Attributes:
        exclusive: pairs of columns of which one must be zero, shape (pairs, 2).
        semicontinuous: columns that are zero or at least `semicontinuous_min`.
        reserves: pairs (power, energy), shape (pairs, 2): power is zero unless the energy is at least
            `reserved_kwh`.
        needs: columns that measure what is unserved: kWh, or the unit of the need.
        need_weights: kWh that a unit of each counts for, times the priority of its asset.
        emitting: columns in kW that emit, and kg per kWh of each.
    """

    exclusive: IntArray = np.zeros((0, 2), np.int64)
    semicontinuous: IntArray = np.zeros(0, np.int64)
    semicontinuous_min: FloatArray = np.zeros(0)
    reserves: IntArray = np.zeros((0, 2), np.int64)
    reserved_kwh: FloatArray = np.zeros(0)
    needs: IntArray = np.zeros(0, np.int64)
    need_weights: FloatArray = np.zeros(0)
    emitting: tuple[IntArray, FloatArray] = np.zeros(0, np.int64), np.zeros(0)

    def place(self, first_column: int) -> None:
        """Called once, before anything else is asked, with where the columns of `block` begin."""
        del first_column

    def block(self) -> SparseBlock | None:
        """Columns and rows of its own beside the Pyomo model; asked once."""
        return None

    @property
    def hard_limits(self) -> Sequence[HardLimit]:
        """What can make the problem infeasible."""
        return ()

    @property
    def states(self) -> tuple[IntArray, IntArray]:
        """Columns with limits that follow from the controls (energies in store, power of a fleet), and the
        step of each: in the past they are what the controls make of them."""
        return np.zeros(0, np.int64), np.zeros(0, np.int64)

    @property
    def surplus(self) -> tuple[IntArray, IntArray]:
        """Columns that take what is made beyond the need, and the step of each: in the past whatever came."""
        return np.zeros(0, np.int64), np.zeros(0, np.int64)

    def stated_controls(self) -> Iterator[Control]:
        """What decides the rest: where these are given, a schedule is. Without any, nothing is kept."""
        yield from ()

    def left_unserved(self, known: Mapping[str, AssetSchedule], until: int) -> tuple[IntArray, FloatArray]:
        """Columns of needs in the steps before `until`, of which no series says what was unserved, and what
        was by the schedules `known`: the energies of these steps do not hold it, for they are free."""
        del known, until
        return np.zeros(0, np.int64), np.zeros(0)

    def going_on(
        self, known: Mapping[str, AssetSchedule], until: int
    ) -> Iterator[tuple[IntArray, IntArray, FloatArray]]:
        """Columns of power and of being on, their steps, and their values: before step `until` what the
        schedules `known` say was done, after it what follows if that goes on. The limits that tie these
        columns, and no others, give way to both."""
        del known, until
        yield from ()

    def terminal_powers(self) -> Iterator[TerminalPower]:
        """Which columns draw where; the inflexible power of a terminal comes from `constant_powers`."""
        yield from ()

    def constant_powers(self) -> Iterator[tuple[Terminal, FloatArray]]:
        """Power drawn at terminals that no column changes, kW, shape (steps,)."""
        yield from ()

    def inverter_powers(self, kva: Mapping[str, float]) -> Iterator[InverterPower]:
        """What each of the assets in `kva` that is of this type puts through its inverter of that size."""
        del kva
        yield from ()

    def controls(self, steps: int) -> IntArray | None:
        """Columns that are set in the first `steps` steps before it is known which scenario comes true.

        None where the type has not said so: it is refused together with scenarios.
        """
        del steps
        return None

    def flexibility(self) -> Iterator[Flexibility]:
        """What each asset can hold as reserve; nothing where a type does not say so."""
        yield from ()

    def burdens(self) -> Iterator[tuple[Burden, str, IntArray, float]]:
        """What each asset bears: the columns that measure it, and the kWh of a unit of them."""
        yield from ()

    def stores(self) -> Iterator[Kept]:
        """What is left at the end of the horizon, of every asset that can feed it back."""
        yield from ()

    @abstractmethod
    def schedules(self, x: FloatArray) -> Iterator[tuple[str, AssetSchedule]]:
        """Each asset's schedule from the solution."""

    def shortfalls(self, x: FloatArray) -> Iterator[Shortfall]:
        """The needs that the solution leaves unmet."""
        del x
        yield from ()


Entries = tuple[IntArray, IntArray, FloatArray | float]
"""Rows, columns and values of a part of a matrix; one number where all values are the same."""


@dataclass
class SparseBlock:
    """Columns and rows that enter the linear program beside the Pyomo model.

    `entries` are the parts of its matrix: rows count from the block's first, columns, its own and others,
    are numbered as the program's. Bounds and costs come in parts too, one after the other. `column_names`
    and `row_names` are made only when somebody reads the problem.
    """

    entries: Sequence[Entries]
    lower: Sequence[FloatArray]
    upper: Sequence[FloatArray]
    cost: Sequence[FloatArray]
    row_lower: Sequence[FloatArray]
    row_upper: Sequence[FloatArray]
    column_names: Callable[[], list[str]]
    row_names: Callable[[], list[str]]
