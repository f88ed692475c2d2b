"""A dispatch problem: validated, normalised, free of any solver. ``wattshed.dispatch/1`` is its document."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Annotated, Any, Literal, Union

import numpy as np
import rfc8785
from pydantic import Field, ValidationError

from energy.domain.documents import (
    Document,
    Duration,
    Identifier,
    Instant,
    Items,
    expand,
    faults_of,
    nearest,
    parse,
    series_fault,
)
from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray, IntArray, NodalPower, Terminal
from energy.domain.schedule import AssetSchedule, Schedule
from energy.domain.time import TimeGrid
from optimizer.assets import ASSET_TYPES, Asset
from optimizer.assets.base import NumberSeries, Positive, PositiveSeries

SCHEMA = "wattshed.dispatch/1"
STEPS_MAX = 200_000


class TimeDocument(Document):
    """`steps` intervals of length `resolution` from `start`."""

    start: Instant
    resolution: Duration
    steps: Annotated[int, Field(ge=1, le=STEPS_MAX)]


class Connection(Document):
    """Where assets meet the grid, or a child connection its parent. Roots buy and sell.

    Prices are per MWh, in the problem's currency; the peak price is per kW of the highest mean import
    over `peak_interval` above `peak_import_so_far_kw`. Limits are kW each way; null is unlimited.
    """

    id: Identifier
    bus: int | str | None = None
    import_limit_kw: PositiveSeries | None = None
    export_limit_kw: PositiveSeries | None = None
    import_price_per_mwh: NumberSeries | None = None
    export_price_per_mwh: NumberSeries | None = None
    carbon_g_per_kwh: PositiveSeries | None = None
    marginal_carbon_g_per_kwh: PositiveSeries | None = None
    peak_import_price_per_kw: Positive = 0.0
    peak_import_so_far_kw: Positive = 0.0
    peak_interval: Duration = timedelta(minutes=15)
    parent: Identifier | None = None

    def faults(self, path: str, time: TimeGrid) -> Iterator[Fault]:
        """Everything that contradicts itself, once each field is right by itself."""
        for name in SERIES_OF_CONNECTION:
            yield from series_fault(f"{path}.{name}", getattr(self, name), time.steps)
            if self.parent is not None and name in MARKET_OF_ROOT and getattr(self, name) is not None:
                yield Fault(
                    f"{path}.{name}", "stands at a child connection; only roots buy and sell: remove it"
                )
        interval = self.peak_interval
        if interval <= timedelta(0):
            yield Fault(f"{path}.peak_interval", "must be positive")
        elif (
            self.peak_import_price_per_kw > 0
            and interval > time.resolution
            and interval % time.resolution != timedelta(0)
        ):
            yield Fault(f"{path}.peak_interval", "is no multiple of time.resolution; change one of the two")

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
    "import_price_per_mwh",
    "export_price_per_mwh",
    "carbon_g_per_kwh",
    "marginal_carbon_g_per_kwh",
)
MARKET_OF_ROOT = SERIES_OF_CONNECTION[2:]


class Objective(Document):
    """What is minimised beside energy cost; see the rules of the problem.

    `unserved_energy_price_per_kwh` only values shortfalls in the answer. `carbon_price_per_t` prices
    root imports at their average or marginal intensity; exports earn nothing unless told so.
    """

    carbon_price_per_t: Positive = 0.0
    unserved_energy_price_per_kwh: Positive = 10.0
    carbon_signal: Literal["average", "marginal"] = "average"
    export_carbon_credit: Literal["none", "average"] = "none"


class Network(Document):
    """The grid a problem is coupled to, and the limits it is operated within."""

    grid: Identifier
    vm_min_pu: Annotated[float, Field(gt=0, lt=2)] = 0.9
    vm_max_pu: Annotated[float, Field(gt=0, lt=2)] = 1.1
    loading_max_percent: Annotated[float, Field(gt=0, le=1e4)] = 100.0
    reactive: Literal["unity"] = "unity"
    root_ext_grid: int | str | None = None
    include_static: bool = False
    taps: Literal["ignore", "ratio"] = "ignore"


class Options(Document):
    """`deadline` counts from the start of the dispatch; null waits for the optimum."""

    deadline: Duration | None = None
    mip_gap: Annotated[float, Field(ge=0, lt=1)] = 1e-4


_AnyAsset = Annotated[Union[tuple(ASSET_TYPES.values())], Field(discriminator="type")]  # type: ignore[valid-type]  # noqa: UP007


class ProblemDocument(Document):
    """``wattshed.dispatch/1``: powers in kW, energies in kWh, prices per MWh, carbon in g/kWh."""

    schema_: Literal["wattshed.dispatch/1"] = Field(alias="schema")
    name: str = ""
    currency: str = "EUR"
    time: TimeDocument
    connections: Items[Connection]
    assets: Items[_AnyAsset]  # type: ignore[valid-type]
    objective: Objective = Objective()
    network: Network | None = None
    options: Options = Options()


@dataclass(frozen=True)
class DispatchProblem:
    """What is to be dispatched. Assets and connections are in the order of their ids."""

    name: str
    currency: str
    time: TimeGrid
    connections: Mapping[str, Connection]
    assets: tuple[Asset, ...]
    objective: Objective
    network: Network | None
    options: Options

    @staticmethod
    def from_document(document: Any) -> DispatchProblem:
        """Read a ``wattshed.dispatch/1``; `InputError` with every fault, each with its field path."""
        if not isinstance(document, Mapping):
            raise InputError(Fault("", f"a dispatch problem is a JSON object, not {type(document).__name__}"))
        faults: list[Fault] = []
        head: ProblemDocument | None = None
        try:
            head = ProblemDocument.model_validate({**document, "assets": []})
        except ValidationError as error:
            faults += faults_of(error, ProblemDocument)
        assets = _read_assets(document.get("assets"), faults)
        time = _read_time(document.get("time"), faults)
        if time is not None:
            for number, asset in enumerate(assets):
                if asset is not None:
                    faults += asset.faults(f"assets[{number}]", time)
            if head is not None:
                faults += _contradictions(head, assets, time)
        if head is None or time is None or faults:
            raise InputError(faults)
        return DispatchProblem(
            head.name,
            head.currency,
            time,
            {c.id: c for c in sorted(head.connections, key=lambda c: c.id)},
            tuple(sorted((asset for asset in assets if asset is not None), key=lambda asset: asset.id)),
            head.objective,
            head.network,
            head.options,
        )

    def document(self) -> dict[str, Any]:
        """The normalised problem: defaults filled in, scalars expanded, times in UTC, assets by id."""
        steps = self.time.steps

        def plain(model: Document, series: Any) -> dict[str, Any]:
            fields = model.model_dump(mode="json")
            for name in series:
                if fields[name] is not None:
                    fields[name] = expand(getattr(model, name), steps).tolist()
            return fields

        return {
            "schema": SCHEMA,
            "name": self.name,
            "currency": self.currency,
            "time": self.time.document(),
            "connections": [plain(c, SERIES_OF_CONNECTION) for c in self.connections.values()],
            "assets": [plain(asset, asset.series_fields) for asset in self.assets],
            "objective": self.objective.model_dump(mode="json"),
            "network": None if self.network is None else self.network.model_dump(mode="json"),
            "options": self.options.model_dump(mode="json"),
        }

    @cached_property
    def input_hash(self) -> str:
        """SHA-256 of the RFC 8785 JSON of the normalised problem."""
        return "sha256:" + hashlib.sha256(rfc8785.dumps(self.document())).hexdigest()

    @cached_property
    def notices(self) -> tuple[str, ...]:
        """What was clipped, left out or assumed, in words."""
        unpriced = (
            f"connection {key!r} has no {way}_price_per_mwh: {what}"
            for key, connection in self.connections.items()
            for way, what in (("import", "imports cost nothing"), ("export", "exports earn nothing"))
            if connection.parent is None and getattr(connection, f"{way}_price_per_mwh") is None
        )
        return (*unpriced, *(notice for asset in self.assets for notice in asset.notices(self.time)))

    @cached_property
    def from_roots(self) -> tuple[str, ...]:
        """Connection ids, parents before children."""
        ordered: list[str] = []
        waiting = list(self.connections)
        while waiting:
            ready = [key for key in waiting if self.connections[key].parent in (None, *ordered)]
            ordered += ready
            waiting = [key for key in waiting if key not in ready]
        return tuple(ordered)

    def carbon_prices(self, connection: Connection) -> tuple[FloatArray, FloatArray]:
        """What carbon adds to a MWh imported, and credits to a MWh exported, shape (steps,) each."""
        steps, price = self.time.steps, self.objective.carbon_price_per_t / 1000
        average = expand(connection.carbon_g_per_kwh or 0.0, steps)
        signal = average
        if self.objective.carbon_signal == "marginal":
            signal = expand(connection.marginal_carbon_g_per_kwh or 0.0, steps)
        credit = average if self.objective.export_carbon_credit == "average" else np.zeros(steps)
        return signal * price, credit * price

    def import_price(self, connection: Connection) -> FloatArray:
        """What a MWh more imported costs, carbon included, peak not."""
        return (
            expand(connection.import_price_per_mwh or 0.0, self.time.steps)
            + self.carbon_prices(connection)[0]
        )

    def export_price(self, connection: Connection) -> FloatArray:
        """What a MWh more exported earns, carbon credit included."""
        return (
            expand(connection.export_price_per_mwh or 0.0, self.time.steps)
            + self.carbon_prices(connection)[1]
        )

    def resolve_buses(self, resolver: Callable[[int | str], int]) -> DispatchProblem:
        """The same problem with every asset at a bus index; an asset's own bus wins over its connection's.

        `resolver` raises `InputError` or `LookupError` for a bus that it does not know.
        """
        faults: list[Fault] = []

        def resolved(path: str, bus: int | str) -> int:
            try:
                return int(resolver(bus))
            except InputError as error:
                faults.extend(Fault(path, fault.message) for fault in error.faults)
            except LookupError as error:
                faults.append(Fault(path, f"bus {bus!r} is not in the grid: {error}"))
            return -1

        assets = []
        at_connection = {
            key: None if connection.bus is None else resolved(f"connections[{key!r}].bus", connection.bus)
            for key, connection in self.connections.items()
        }
        for asset in self.assets:
            path = f"assets[{asset.id!r}].bus"
            bus = at_connection[asset.connection] if asset.bus is None else resolved(path, asset.bus)
            if bus is None:
                faults.append(
                    Fault(path, f"is missing, and connection {asset.connection!r} has none; add one")
                )
            assets.append(asset.model_copy(update={"bus": bus}))
        if faults:
            raise InputError(faults)
        return replace(self, assets=tuple(assets))

    @property
    def terminals(self) -> tuple[Terminal, ...]:
        """Where flexible power meets the grid, ascending; buses must be resolved."""
        return tuple(sorted({terminal for asset in self.assets for terminal in asset.terminals()}))

    def nodal_power(self, schedule: Schedule) -> NodalPower:
        """Power drawn at the bus of each asset, MW and Mvar, consumer frame; one column per asset."""
        steps, count = self.time.steps, len(self.assets)
        p_kw, q_kvar = np.zeros((steps, count)), np.zeros((steps, count))
        for column, asset in enumerate(self.assets):
            drawn = asset.drawn_kw(schedule.assets[asset.id].p_kw)
            p_kw[:, column], q_kvar[:, column] = drawn, asset.reactive_kvar(drawn)
        buses = np.array([asset.bus for asset in self.assets], np.int64)
        return NodalPower(self.time, buses, p_kw / 1000, q_kvar / 1000)

    def uncontrolled(self) -> Schedule:
        """What happens when nobody dispatches: EVs charge at full power on arrival, storage idles."""
        from optimizer.answer import answer

        schedules: dict[str, AssetSchedule] = {asset.id: asset.baseline(self.time) for asset in self.assets}
        return answer(
            self,
            schedules,
            status="fallback",
            shortfalls=(),
            notices=("uncontrolled: every EV at full power on arrival, storage idle, nothing curtailed",),
        )


def _read_time(document: Any, faults: list[Fault]) -> TimeGrid | None:
    """The time grid; None where it has faults, which are added to `faults` unless pydantic named them."""
    try:
        read = TimeDocument.model_validate(document)
    except ValidationError:
        return None
    if read.resolution <= timedelta(0):
        faults.append(Fault("time.resolution", "must be positive"))
        return None
    return TimeGrid(read.start, read.resolution, read.steps)


def _read_assets(documents: Any, faults: list[Fault]) -> list[Asset | None]:
    """Each asset by its type, None where it has faults."""
    if not isinstance(documents, list | tuple):
        what = "is missing; add it" if documents is None else "must be a list of assets"
        faults.append(Fault("assets", what))
        return []
    known = ", ".join(sorted(ASSET_TYPES))
    assets: list[Asset | None] = []
    for number, item in enumerate(documents):
        path, asset = f"assets[{number}]", None
        kind = item.get("type") if isinstance(item, Mapping) else None
        if not isinstance(item, Mapping):
            faults.append(Fault(path, "must be an object"))
        elif not isinstance(kind, str) or kind not in ASSET_TYPES:
            what = "is missing" if kind is None else f"{kind!r} is not supported"
            hint = f"; {nearest(kind, ASSET_TYPES)}" if isinstance(kind, str) else ""
            faults.append(
                Fault(f"{path}.type", f"{what}; asset types here: {known}{hint if 'mean' in hint else ''}")
            )
        else:
            try:
                asset = parse(ASSET_TYPES[kind], item, path)
            except InputError as error:
                faults.extend(error.faults)
        assets.append(asset)
    return assets


def _contradictions(head: ProblemDocument, assets: list[Asset | None], time: TimeGrid) -> Iterator[Fault]:
    """Faults between fields that are right by themselves."""
    connections: dict[str, Connection] = {}
    objective = head.objective
    signal = "marginal_carbon_g_per_kwh" if objective.carbon_signal == "marginal" else "carbon_g_per_kwh"
    for number, connection in enumerate(head.connections):
        path = f"connections[{number}]"
        if connection.id in connections:
            yield Fault(f"{path}.id", f"{connection.id!r} stands twice; ids are unique over connections")
        connections[connection.id] = connection
        yield from connection.faults(path, time)
        if connection.parent is None and objective.carbon_price_per_t > 0:
            needed = {signal}
            if objective.export_carbon_credit == "average":
                needed.add("carbon_g_per_kwh")
            for name in sorted(needed):
                if getattr(connection, name) is None:
                    yield Fault(
                        f"{path}.{name}",
                        f"is missing, but objective.carbon_price_per_t is {objective.carbon_price_per_t:g}; "
                        "a missing intensity is not zero",
                    )
    for number, connection in enumerate(head.connections):
        yield from _parent_faults(f"connections[{number}].parent", connection, connections)
    if not connections:
        yield Fault("connections", "is empty; at least one is needed, to buy from and sell to")
    roots = [connection.id for connection in head.connections if connection.parent is None]
    if head.network is not None:
        if len(roots) != 1:
            yield Fault(
                "connections", f"with network exactly one root is needed; these are {', '.join(roots)}"
            )
        if head.network.vm_min_pu >= head.network.vm_max_pu:
            yield Fault("network.vm_min_pu", "is not below vm_max_pu; swap or correct them")
    ids: dict[str, int] = {}
    for number, asset in enumerate(assets):
        if asset is None:
            continue
        path = f"assets[{number}]"
        if asset.id in ids:
            yield Fault(
                f"{path}.id", f"{asset.id!r} is also assets[{ids[asset.id]}]; ids are unique over assets"
            )
        ids.setdefault(asset.id, number)
        if asset.connection not in connections:
            yield Fault(
                f"{path}.connection",
                f"{asset.connection!r} is no connection; {nearest(asset.connection, connections)}",
            )
        elif head.network is not None and asset.bus is None and connections[asset.connection].bus is None:
            yield Fault(f"{path}.bus", f"is missing, and connection {asset.connection!r} has none; add one")


def _parent_faults(
    path: str, connection: Connection, connections: Mapping[str, Connection]
) -> Iterator[Fault]:
    if connection.parent is None:
        return
    if connection.parent not in connections:
        yield Fault(
            path, f"{connection.parent!r} is no connection; {nearest(connection.parent, connections)}"
        )
        return
    seen: set[str] = {connection.id}
    above: str | None = connection.parent
    while above is not None and above in connections:
        if above in seen:
            yield Fault(path, f"{connection.id!r} is above itself; a connection tree has no circle")
            return
        seen.add(above)
        above = connections[above].parent
