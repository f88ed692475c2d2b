"""The document of a dispatch problem, ``wattshed.dispatch/1``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from math import ceil, floor
from typing import Annotated, Literal, Union

import numpy as np
from pydantic import AfterValidator, Field

from energy.domain.documents import (
    Document,
    Duration,
    Identifier,
    Instant,
    Items,
    expand,
)
from energy.domain.errors import Fault
from energy.domain.network import FloatArray, IntArray
from energy.domain.time import TimeGrid, format_duration, format_instant
from optimizer.assets import ASSET_TYPES
from optimizer.fairness import Fairness
from optimizer.offers import Offer
from optimizer.quantities import Fraction, Number, NumberSeries, Positive, PositiveSeries
from optimizer.tariffs import Blocks, Tariff

SCHEMA = "wattshed.dispatch/1"
STEPS_MAX = 200_000
SHORTEST_DEADLINE = timedelta(seconds=2)
"""Below this, reading and answering a large problem leave no time for anything between."""


LONGEST = timedelta(days=366)
"""An island announced for longer than this is meant to have no end: `island_duration` null says so."""


class TimeDocument(Document):
    """`steps` intervals of length `resolution` from `start`."""

    start: Instant
    resolution: Duration
    steps: Annotated[int, Field(ge=1, le=STEPS_MAX)]


class GridSignal(Document):
    """A grid operator limits the net draw of controllable assets from `start` to `end`."""

    start: Instant
    end: Instant
    limit_kw: Positive


class Islandable(Document):
    """A connection that can be told to run on its own.

    `island_from` null is the start of the horizon, `island_duration` null its end. After the island the
    power through the connection is at most `island_return_ramp_kw_per_h` times the time since, either
    way, counted to the end of a step; null is unlimited.
    """

    island: bool = False
    island_from: Instant | None = None
    island_duration: Duration | None = None
    island_return_ramp_kw_per_h: Annotated[Positive, Field(gt=0)] | None = None

    def island_faults(self, path: str, *, networked: bool) -> Iterator[Fault]:
        """What about the island contradicts itself, or the grid."""
        if not self.island:
            for name in ("island_from", "island_duration", "island_return_ramp_kw_per_h"):
                if getattr(self, name) is not None:
                    yield Fault(
                        f"{path}.{name}", "is given, but island is false; set island to true or remove it"
                    )
            return
        duration = self.island_duration
        if duration is not None and duration <= timedelta(0):
            yield Fault(f"{path}.island_duration", "must be positive; null lasts to the horizon's end")
        elif duration is not None and duration > LONGEST:
            yield Fault(
                f"{path}.island_duration",
                f"is longer than {LONGEST.days} days; null lasts to the horizon's end",
            )
        if networked:
            yield Fault(
                f"{path}.island",
                "is true, but the AC power flow of a network has no source to form an island's voltage; "
                "dispatch the island without network",
            )

    def island_steps(self, time: TimeGrid) -> tuple[int, int]:
        """The first step that the island touches, and the first after it; either may be outside."""
        if not self.island:
            return 0, 0
        begin = 0.0 if self.island_from is None else time.position(self.island_from)
        if self.island_duration is None:
            return floor(begin), max(time.steps, floor(begin))
        return floor(begin), ceil(begin + self.island_duration / time.resolution)

    def exchange_kw(self, time: TimeGrid) -> FloatArray:
        """The most that may flow, either way, for the sake of an island; infinite where there is none."""
        limit, steps = np.full(time.steps, np.inf), np.arange(time.steps)
        begin, end = self.island_steps(time)
        if self.island and self.island_return_ramp_kw_per_h is not None:
            since_hours = (steps - end + 1) * time.hours
            limit = np.where(steps >= end, self.island_return_ramp_kw_per_h * since_hours, limit)
        limit[(steps >= begin) & (steps < end)] = 0.0
        return limit


class Connection(Islandable):
    """Where assets meet the grid, or a child connection its parent. Roots buy and sell.

    Prices are per MWh, in the problem's currency; the peak price is per kW of the highest mean import
    over `peak_interval` above `peak_import_so_far_kw`. A tariff stands in the place of a price series;
    `import_blocks` add to the import price. Limits are kW each way; null is unlimited.
    With scenarios, `breach_probability` is the chance that the limits may be exceeded at all; with a
    `breach_confidence` the scenarios are a sample of it, see `optimizer.breaches`.
    `phase_import_limit_kw` bounds each of its three phases, `unbalance_limit_kw` the largest difference
    between two of them.
    `shed_limit_fraction` and `shed_price_per_mwh` hold for the loads below that state none of their own.
    """

    id: Identifier
    bus: int | str | None = None
    import_limit_kw: PositiveSeries | None = None
    export_limit_kw: PositiveSeries | None = None
    import_price_per_mwh: NumberSeries | None = None
    export_price_per_mwh: NumberSeries | None = None
    import_tariff: Tariff | None = None
    export_tariff: Tariff | None = None
    import_blocks: Blocks | None = None
    carbon_g_per_kwh: PositiveSeries | None = None
    marginal_carbon_g_per_kwh: PositiveSeries | None = None
    peak_import_price_per_kw: Positive = 0.0
    peak_import_so_far_kw: Positive = 0.0
    peak_interval: Duration = timedelta(minutes=15)
    parent: Identifier | None = None
    breach_probability: Fraction = 0.0
    breach_confidence: Annotated[float, Field(gt=0, lt=1)] | None = None
    phase_import_limit_kw: PositiveSeries | None = None
    unbalance_limit_kw: PositiveSeries | None = None
    grid_signals: Items[GridSignal] = ()
    shed_limit_fraction: Fraction | None = None
    shed_price_per_mwh: Number | None = None

    def faults(self, path: str, resolution: timedelta | None) -> Iterator[Fault]:
        """Everything that contradicts itself, once each field is right by itself."""
        for name in MARKET_OF_ROOT:
            if self.parent is not None and getattr(self, name) is not None:
                yield Fault(
                    f"{path}.{name}",
                    "is given for a child connection, but only roots buy and sell; remove it",
                )
        for way in ("import", "export"):
            tariff: Tariff | None = getattr(self, f"{way}_tariff")
            if tariff is None:
                continue
            if getattr(self, f"{way}_price_per_mwh") is not None:
                yield Fault(
                    f"{path}.{way}_tariff",
                    f"is given together with {way}_price_per_mwh; give only one of the two",
                )
            yield from tariff.faults(f"{path}.{way}_tariff")
        if self.import_blocks is not None:
            yield from self.import_blocks.faults(f"{path}.import_blocks")
        for number, signal in enumerate(self.grid_signals):
            if signal.end <= signal.start:
                yield Fault(
                    f"{path}.grid_signals[{number}].end",
                    f"{format_instant(signal.end)} is not after start {format_instant(signal.start)}; "
                    "swap or correct them",
                )
        interval = self.peak_interval
        if interval <= timedelta(0):
            yield Fault(f"{path}.peak_interval", "must be positive")
        elif (
            self.peak_import_price_per_kw > 0
            and resolution is not None
            and interval > resolution > timedelta(0)
            and interval % resolution != timedelta(0)
        ):
            yield Fault(
                f"{path}.peak_interval", "is not a multiple of time.resolution; change one of the two"
            )

    def expanded(self, time: TimeGrid) -> Connection:
        """The same connection with price series in the place of its tariffs."""
        update: dict[str, object] = {}
        for way in ("import", "export"):
            tariff: Tariff | None = getattr(self, f"{way}_tariff")
            if tariff is not None:
                update[f"{way}_price_per_mwh"] = tuple(tariff.prices(time).tolist())
                update[f"{way}_tariff"] = None
        return self.model_copy(update=update)

    @property
    def least_surcharge_per_mwh(self) -> float:
        """The cheapest of its blocks."""
        return 0.0 if self.import_blocks is None else float(self.import_blocks.prices.min())

    def limit(self, name: str, steps: int) -> FloatArray:
        """A limit as a series, infinite where there is none."""
        value = getattr(self, name)
        return np.full(steps, np.inf) if value is None else expand(value, steps)

    def peak_windows(self, time: TimeGrid) -> list[IntArray]:
        """The steps of every peak interval (counted from 1970 in UTC); those cut by the horizon count
        with what lies inside. An interval of at most a step is the step."""
        if self.peak_interval <= time.resolution:
            return [np.array([step]) for step in range(time.steps)]
        starts = (time.datetimes - np.datetime64(0, "us")) // np.timedelta64(self.peak_interval, "us")
        edges = np.flatnonzero(np.diff(starts)) + 1
        return [np.asarray(window) for window in np.split(np.arange(time.steps), edges)]


SERIES_OF_CONNECTION = (
    "import_limit_kw",
    "export_limit_kw",
    "phase_import_limit_kw",
    "unbalance_limit_kw",
    "import_price_per_mwh",
    "export_price_per_mwh",
    "carbon_g_per_kwh",
    "marginal_carbon_g_per_kwh",
)
MARKET_OF_ROOT = (*SERIES_OF_CONNECTION[4:], "import_tariff", "export_tariff", "import_blocks")


def from_roots(connections: Mapping[str, Connection]) -> tuple[str, ...]:
    """Connection ids, parents before children."""
    ordered: list[str] = []
    waiting = list(connections)
    while waiting:
        ready = [key for key in waiting if connections[key].parent in (None, *ordered)]
        ordered += ready
        waiting = [key for key in waiting if key not in ready]
    return tuple(ordered)


def above(connections: Mapping[str, Connection], key: str) -> list[str]:
    """A connection and all above it, up to its root."""
    path = [key]
    while (parent := connections[path[-1]].parent) is not None:
        path.append(parent)
    return path


def below(connections: Mapping[str, Connection], key: str) -> tuple[str, ...]:
    """A connection and all below it, parents before children."""
    found = [key]
    for other in from_roots(connections):
        if connections[other].parent in found:
            found.append(other)
    return tuple(found)


class Objective(Document):
    """What is minimised beside energy cost; see the rules of the problem.

    `unserved_energy_price_per_kwh` only values shortfalls in the answer. `carbon_price_per_t` prices
    root imports at their average or marginal intensity; exports earn nothing unless told so.
    """

    carbon_price_per_t: Positive = 0.0
    fairness: Fairness | None = None
    unserved_energy_price_per_kwh: Positive = 10.0
    carbon_signal: Literal["average", "marginal"] = "average"
    export_carbon_credit: Literal["none", "average"] = "none"


class Network(Document):
    """The grid a problem is coupled to, and the limits it is operated within."""

    grid: Identifier
    vm_min_pu: Annotated[float, Field(gt=0, lt=2)] = 0.9
    vm_max_pu: Annotated[float, Field(gt=0, lt=2)] = 1.1
    loading_max_percent: Annotated[float, Field(gt=0, le=1e4)] = 100.0
    reactive: Literal["unity", "optimise"] = "unity"
    root_ext_grid: int | str | None = None
    include_static: bool = False
    taps: Literal["ignore", "ratio"] = "ignore"


def enough_time(deadline: timedelta) -> timedelta:
    """`deadline`, unless it is too short to be kept."""
    if deadline < SHORTEST_DEADLINE:
        raise ValueError(f"{format_duration(deadline)} is too short; at least PT2S is needed")
    return deadline


class Options(Document):
    """`deadline` counts from the accepted request; null waits for the optimum.

    `now`, `commit` and `change_threshold` (in the problem's currency, of the whole plan) say how a previous
    schedule binds; see `optimizer.rolling`. `bus_prices` asks for the price at every bus with an asset, with
    `network`; `marginal_emissions` for what a kWh more emits, at connections and at those buses; `explain`
    for reasons in these languages, of all assets or of `explain_assets`.
    """

    deadline: Annotated[Duration, AfterValidator(enough_time)] | None = None
    mip_gap: Annotated[float, Field(ge=0, lt=1)] = 1e-4
    now: Instant | None = None
    commit: Duration | None = None
    change_threshold: Positive = 0.0
    bus_prices: bool = True
    marginal_emissions: bool = False
    explain: Items[Literal["en", "ja"]] = ()
    explain_assets: Items[str] | None = None


# the registry decides at run time what the union holds, which no type checker can follow
_AnyAsset = Annotated[Union[tuple(ASSET_TYPES.values())], Field(discriminator="type")]  # type: ignore[valid-type]  # noqa: UP007


class Scenario(Document):
    """What differs in one forecast: series of connections and assets by path, such as
    ``assets.pv.available_kw``. What it does not name is as in the problem."""

    id: Identifier
    probability: Annotated[float, Field(gt=0, le=1)]
    series: dict[str, NumberSeries] = Field(default_factory=dict)


class ProblemDocument(Document):
    """``wattshed.dispatch/1``: powers in kW, energies in kWh, prices per MWh, carbon in g/kWh.

    `frontier` asks for so many points between least cost and least emissions. With `scenarios` the
    controls of all steps that begin within `first_stage` (null: the first step) are common to them.
    """

    schema_: Literal["wattshed.dispatch/1"] = Field(alias="schema")
    name: str = ""
    currency: str = "EUR"
    time: TimeDocument
    connections: Items[Connection]
    assets: Items[_AnyAsset]  # type: ignore[valid-type]
    objective: Objective = Objective()
    offers: Items[Offer] = ()
    network: Network | None = None
    options: Options = Options()
    frontier: Annotated[int, Field(ge=2, le=50)] | None = None
    scenarios: Items[Scenario] = ()
    first_stage: Duration | None = None
