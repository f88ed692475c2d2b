"""The document of a dispatch problem, ``wattshed.dispatch/1``, and everything that may be wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Annotated, Any, Literal, Union

import numpy as np
from pydantic import AfterValidator, Field, ValidationError

from energy.domain.documents import (
    Document,
    Duration,
    Identifier,
    Instant,
    Items,
    expand,
    faults_of,
    nearest,
    series_fault,
)
from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray, IntArray
from energy.domain.reading import contradictions, readable
from energy.domain.time import TimeGrid, format_duration, format_instant
from optimizer.assets import ASSET_TYPES, Asset
from optimizer.assets.base import Fraction, Number, NumberSeries, Positive, PositiveSeries
from optimizer.fairness import Fairness, fairness_faults
from optimizer.islands import Islandable
from optimizer.offers import Offer, offer_faults
from optimizer.scenarios import WHOLE, Scenario, scenario_faults
from optimizer.shedding import shedding_faults
from optimizer.tariffs import Blocks, Tariff, tariff_faults

SCHEMA = "wattshed.dispatch/1"
STEPS_MAX = 200_000
SHORTEST_DEADLINE = timedelta(seconds=2)
"""Below this, reading and answering a large problem leave no time for anything between."""


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
                    f"{path}.{name}", "stands at a child connection; only roots buy and sell: remove it"
                )
        yield from tariff_faults(path, self)
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
            yield Fault(f"{path}.peak_interval", "is no multiple of time.resolution; change one of the two")

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


def read(document: Any) -> tuple[ProblemDocument, tuple[Asset, ...]]:
    """A ``wattshed.dispatch/1`` and its assets; `InputError` with every fault, each with its field path.

    What one field has wrong hides nothing about the others: they are checked against each other without it.
    """
    if not isinstance(document, Mapping):
        raise InputError(Fault("", f"a dispatch problem is a JSON object, not {type(document).__name__}"))
    faults: list[Fault] = []
    head: ProblemDocument | None = None
    try:
        head = ProblemDocument.model_validate({**document, "assets": []})
    except ValidationError as error:
        faults += faults_of(error, ProblemDocument)
    assets = _read_assets(document.get("assets"), faults)
    if head is not None and not faults:
        faults += _contradictions(document, assets, ())
    else:
        faults += contradictions(
            faults,
            lambda stand_ins: _contradictions(document, _with(assets, document, stand_ins), stand_ins),
        )
    if head is None or faults:
        raise InputError(faults)
    return head, tuple(asset for asset in assets if asset is not None)


def _with(
    assets: Sequence[Asset | None], document: Mapping[str, Any], stand_ins: Sequence[Any]
) -> list[Asset | None]:
    """`assets`, with those that could not be read as far as they go."""
    items = _objects(document.get("assets"))
    kinds = [ASSET_TYPES.get(str(item.get("type"))) for item in items]
    return [
        readable(kind, item, stand_ins) if asset is None and kind is not None else asset
        for asset, kind, item in zip(assets, kinds, items, strict=True)
    ]


def _read_assets(documents: Any, faults: list[Fault]) -> list[Asset | None]:
    """Each asset by its type, None where it has faults; these are added to `faults`."""
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
                asset = ASSET_TYPES[kind].model_validate(item)
            except ValidationError as error:
                faults += faults_of(error, ASSET_TYPES[kind], path)
        assets.append(asset)
    return assets


def _contradictions(
    document: Mapping[str, Any], assets: Sequence[Asset | None], stand_ins: Sequence[Any]
) -> Iterator[Fault]:
    """Faults between fields, some of which may be faulty by themselves: then `stand_ins` take their place."""
    time = document.get("time")
    steps = time.get("steps") if isinstance(time, Mapping) else None
    resolution = _resolution(time)
    if resolution is not None and resolution <= timedelta(0):
        yield Fault("time.resolution", "must be positive")
    items = _objects(document.get("connections"))
    connections = [readable(Connection, item, stand_ins) for item in items]
    network = (
        readable(Network, document["network"], stand_ins) if document.get("network") is not None else None
    )
    objective = readable(Objective, document.get("objective", {})) or Objective()

    for path, item, name in _series(items, _objects(document.get("assets"))):
        if isinstance(steps, int) and isinstance(item.get(name), list | tuple):
            yield from series_fault(f"{path}.{name}", tuple(item[name]), steps)
    yield from _connection_faults(
        items, connections, objective, resolution, needs_carbon=document.get("frontier") is not None
    )
    if not items and isinstance(document.get("connections"), list | tuple):
        yield Fault("connections", "is empty; at least one is needed, to buy from and sell to")
    if network is not None:
        roots = [str(item.get("id")) for item in items if item.get("parent") is None]
        if len(roots) != 1:
            yield Fault(
                "connections", f"with network exactly one root is needed; these are {', '.join(roots)}"
            )
        if network.vm_min_pu >= network.vm_max_pu:
            yield Fault("network.vm_min_pu", "is not below vm_max_pu; swap or correct them")
    horizon = readable(TimeDocument, time)
    grid = None
    if horizon is not None and horizon.resolution > timedelta(0):
        grid = TimeGrid(horizon.start, horizon.resolution, horizon.steps)
        yield from _faults_in_time(grid, assets, document)
    yield from _uncertainty_faults(document, connections, assets, grid)
    yield from _asset_faults(_objects(document.get("assets")), assets, items, network is not None)
    yield from shedding_faults(assets, connections)
    yield from fairness_faults(objective.fairness, assets)
    yield from offer_faults(
        [readable(Offer, item, stand_ins) for item in _objects(document.get("offers"))],
        assets,
        {
            str(item.get("id")): parent if isinstance(parent := item.get("parent"), str) else None
            for item in items
        },
        grid,
    )
    for number, (item, connection) in enumerate(zip(items, connections, strict=True)):
        # an `island` that cannot be read is a fault of its own, and hides whether there is one
        if connection is not None and isinstance(item.get("island", False), bool):
            yield from connection.island_faults(f"connections[{number}]", networked=network is not None)


def _resolution(time: Any) -> timedelta | None:
    """The resolution, where it can be read."""
    try:
        return _Resolution.model_validate({"resolution": time["resolution"]}).resolution
    except (ValidationError, TypeError, KeyError):
        return None


class _Resolution(Document):
    resolution: Duration


def _objects(items: Any) -> list[Mapping[str, Any]]:
    """The items of a list, an empty object for each that is none: positions stay."""
    if not isinstance(items, list | tuple):
        return []
    return [item if isinstance(item, Mapping) else {} for item in items]


def _series(
    connections: Sequence[Mapping[str, Any]], items: Sequence[Mapping[str, Any]]
) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Every field that may be a series: the path of its object, the object and its name."""
    for number, item in enumerate(connections):
        for name in SERIES_OF_CONNECTION:
            yield f"connections[{number}]", item, name
    for number, item in enumerate(items):
        kind = ASSET_TYPES.get(str(item.get("type")))
        for name in kind.series_fields if kind is not None else ():
            yield f"assets[{number}]", item, name
        for path in kind.nested_series if kind is not None else ():
            outer, name = path.split(".")
            if isinstance(item.get(outer), Mapping):
                yield f"assets[{number}].{outer}", item[outer], name


def _faults_in_time(
    time: TimeGrid, assets: Sequence[Asset | None], document: Mapping[str, Any]
) -> Iterator[Fault]:
    """Faults of assets with the problem's time, of those that have none by themselves."""
    for number, (asset, item) in enumerate(zip(assets, _objects(document.get("assets")), strict=True)):
        path = f"assets[{number}]"
        # most types have nothing to say about time, and a fleet is long
        if asset is None or type(asset).faults_in is Asset.faults_in or any(asset.faults(path)):
            continue
        short = any(
            True
            for place, fields, name in _series((), [item])
            if isinstance(fields.get(name), list | tuple)
            for _ in series_fault(f"{place}.{name}", tuple(fields[name]), time.steps)
        )
        if not short:
            yield from asset.faults_in(path, time)


def _connection_faults(
    items: Sequence[Mapping[str, Any]],
    connections: Sequence[Connection | None],
    objective: Objective,
    resolution: timedelta | None,
    *,
    needs_carbon: bool,
) -> Iterator[Fault]:
    signal = "marginal_carbon_g_per_kwh" if objective.carbon_signal == "marginal" else "carbon_g_per_kwh"
    parents: dict[str, Any] = {}
    for number, item in enumerate(items):
        key = item.get("id")
        if isinstance(key, str):
            if key in parents:
                yield Fault(
                    f"connections[{number}].id", f"{key!r} stands twice; ids are unique over connections"
                )
            parents[key] = item.get("parent")
    for number, connection in enumerate(connections):
        if connection is None:
            continue
        path = f"connections[{number}]"
        yield from connection.faults(path, resolution)
        if connection.parent is None and (objective.carbon_price_per_t > 0 or needs_carbon):
            needed = {signal}
            if objective.export_carbon_credit == "average":
                needed.add("carbon_g_per_kwh")
            for name in sorted(needed):
                if getattr(connection, name) is None:
                    priced = f"objective.carbon_price_per_t is {objective.carbon_price_per_t:g}"
                    yield Fault(
                        f"{path}.{name}",
                        f"is missing, but {'a frontier is asked for' if needs_carbon else priced}; "
                        "a missing intensity is not zero",
                    )
        yield from _parent_faults(f"{path}.parent", connection, parents)


def _uncertainty_faults(
    document: Mapping[str, Any],
    connections: Sequence[Connection | None],
    assets: Sequence[Asset | None],
    time: TimeGrid | None,
) -> Iterator[Fault]:
    """Faults of the frontier, the scenarios and what stands only beside them."""
    for name, others in (("frontier", ("scenarios",)), ("scenarios", ("network",))):
        for other in others:
            if document.get(name) and document.get(other):
                yield Fault(name, f"is not supported together with {other}; remove one of the two")
    scenarios, options = _objects(document.get("scenarios")), document.get("options")
    if scenarios and isinstance(options, Mapping) and options.get("explain"):
        yield Fault("scenarios", "is not supported together with options.explain; remove one of the two")
    if isinstance(options, Mapping) and isinstance(options.get("explain_assets"), list | tuple):
        known = {asset.id for asset in assets if asset is not None}
        yield from (
            Fault(f"options.explain_assets[{number}]", f"there is no asset {key!r}; {nearest(key, known)}")
            for number, key in enumerate(options["explain_assets"])
            if isinstance(key, str) and key not in known
        )
    yield from scenario_faults(
        scenarios,
        {connection.id: connection for connection in connections if connection is not None},
        {asset.id: asset for asset in assets if asset is not None},
        SERIES_OF_CONNECTION,
        time,
    )
    for number, connection in enumerate(connections):
        if connection is not None and connection.breach_confidence is not None:
            yield from _confidence_faults(f"connections[{number}].breach_confidence", connection, scenarios)
        path = f"connections[{number}].breach_probability"
        if connection is None or connection.breach_probability == 0:
            continue
        if not scenarios:
            yield Fault(path, "stands without scenarios, which say how likely a breach is; add them")
        if document.get("offers"):
            yield Fault(
                path,
                "stands beside offers: where a limit may be exceeded, delivery within it cannot be "
                "guaranteed; remove one of the two",
            )
        if connection.import_limit_kw is None and connection.export_limit_kw is None:
            yield Fault(path, "stands without import_limit_kw or export_limit_kw; there is nothing to breach")
    stage = document.get("first_stage")
    if stage is None:
        return
    if not scenarios:
        yield Fault("first_stage", "stands without scenarios; add them or remove it")
    try:
        length = _Resolution.model_validate({"resolution": stage}).resolution
    except ValidationError:
        return
    if time is None:
        return
    if length <= timedelta(0) or length % time.resolution:
        yield Fault("first_stage", "is no positive multiple of time.resolution; change one of the two")
    elif length > time.resolution * time.steps:
        yield Fault("first_stage", "is longer than the horizon; shorten it")


def _confidence_faults(
    path: str, connection: Connection, scenarios: Sequence[Mapping[str, Any]]
) -> Iterator[Fault]:
    if connection.breach_probability == 0:
        yield Fault(path, "stands without a breach_probability to be kept; add it")
    chances = [c for item in scenarios if isinstance(c := item.get("probability"), int | float)]
    if chances and max(chances) - min(chances) > WHOLE:
        yield Fault(
            path,
            "asks for scenarios that are a sample, all equally likely; give each the same probability, "
            "or remove it",
        )


def _parent_faults(path: str, connection: Connection, parents: Mapping[str, Any]) -> Iterator[Fault]:
    if connection.parent is None:
        return
    if connection.parent not in parents:
        yield Fault(path, f"{connection.parent!r} is no connection; {nearest(connection.parent, parents)}")
        return
    seen: set[Any] = {connection.id}
    above: Any = connection.parent
    while isinstance(above, str) and above in parents:
        if above in seen:
            yield Fault(path, f"{connection.id!r} is above itself; a connection tree has no circle")
            return
        seen.add(above)
        above = parents[above]


def _asset_faults(
    items: Sequence[Mapping[str, Any]],
    assets: Sequence[Asset | None],
    connections: Sequence[Mapping[str, Any]],
    networked: bool,
) -> Iterator[Fault]:
    bus_of = {item["id"]: item.get("bus") for item in connections if isinstance(item.get("id"), str)}
    ids: dict[str, int] = {}
    for number, (item, asset) in enumerate(zip(items, assets, strict=True)):
        path, key, connection = f"assets[{number}]", item.get("id"), item.get("connection")
        if asset is not None:
            yield from asset.faults(path)
        if isinstance(key, str):
            if key in ids:
                yield Fault(f"{path}.id", f"{key!r} is also assets[{ids[key]}]; ids are unique over assets")
            ids.setdefault(key, number)
        if isinstance(connection, str):
            if connection not in bus_of:
                known = f"; {nearest(connection, bus_of)}" if bus_of else ""
                yield Fault(f"{path}.connection", f"{connection!r} is no connection{known}")
            elif networked and item.get("bus") is None and bus_of[connection] is None:
                yield Fault(f"{path}.bus", f"is missing, and connection {connection!r} has none; add one")
