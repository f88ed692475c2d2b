"""Reading a dispatch problem: everything that may be wrong with it, in one list."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from energy.domain.documents import Document, Duration, faults_of, nearest, series_fault
from energy.domain.errors import Fault, InputError
from energy.domain.reading import contradictions, readable
from energy.domain.time import TimeGrid
from optimizer.assets import ASSET_TYPES, Asset
from optimizer.documents import (
    SERIES_OF_CONNECTION,
    Connection,
    Network,
    Objective,
    ProblemDocument,
    TimeDocument,
)
from optimizer.offers import Offer, offer_faults
from optimizer.scenarios import WHOLE, scenario_faults
from optimizer.shedding import shedding_faults


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
                Fault(f"{path}.type", f"{what}; known asset types: {known}{hint if 'mean' in hint else ''}")
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
        yield Fault("connections", "is empty; at least one connection is needed, to buy from and sell to")
    if network is not None:
        roots = [str(item.get("id")) for item in items if item.get("parent") is None]
        if len(roots) != 1:
            yield Fault(
                "connections",
                f"a problem with a network needs exactly one root; the roots here are {', '.join(roots)}",
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
    if objective.fairness is not None:
        yield from objective.fairness.faults(assets)
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
                    f"connections[{number}].id", f"{key!r} is used twice; ids of connections must be unique"
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
            yield Fault(path, "needs scenarios, which say how likely a breach is; add them")
        if document.get("offers"):
            yield Fault(
                path,
                "cannot be combined with offers: where a limit may be exceeded, delivery within it cannot be "
                "guaranteed; remove one of the two",
            )
        if connection.import_limit_kw is None and connection.export_limit_kw is None:
            yield Fault(
                path,
                "needs import_limit_kw or export_limit_kw: there is no limit to breach; add one, or remove "
                "this",
            )
    stage = document.get("first_stage")
    if stage is None:
        return
    if not scenarios:
        yield Fault("first_stage", "needs scenarios; add them or remove it")
    try:
        length = _Resolution.model_validate({"resolution": stage}).resolution
    except ValidationError:
        return
    if time is None:
        return
    if length <= timedelta(0) or length % time.resolution:
        yield Fault("first_stage", "is not a positive multiple of time.resolution; change one of the two")
    elif length > time.resolution * time.steps:
        yield Fault("first_stage", "is longer than the horizon; shorten it")


def _confidence_faults(
    path: str, connection: Connection, scenarios: Sequence[Mapping[str, Any]]
) -> Iterator[Fault]:
    if connection.breach_probability == 0:
        yield Fault(path, "needs a breach_probability above zero; add one")
    chances = [c for item in scenarios if isinstance(c := item.get("probability"), int | float)]
    if chances and max(chances) - min(chances) > WHOLE:
        yield Fault(
            path,
            "needs scenarios that are a sample, all equally likely; give each the same probability, "
            "or remove it",
        )


def _parent_faults(path: str, connection: Connection, parents: Mapping[str, Any]) -> Iterator[Fault]:
    if connection.parent is None:
        return
    if connection.parent not in parents:
        hint = nearest(connection.parent, parents)
        yield Fault(path, f"{connection.parent!r} is not a connection of this problem; {hint}")
        return
    seen: set[Any] = {connection.id}
    above: Any = connection.parent
    while isinstance(above, str) and above in parents:
        if above in seen:
            yield Fault(path, f"{connection.id!r} is its own ancestor; parents must not form a circle")
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
                yield Fault(
                    f"{path}.id",
                    f"{key!r} is also the id of assets[{ids[key]}]; ids of assets must be unique",
                )
            ids.setdefault(key, number)
        if isinstance(connection, str):
            if connection not in bus_of:
                known = f"; {nearest(connection, bus_of)}" if bus_of else ""
                yield Fault(
                    f"{path}.connection", f"{connection!r} is not a connection of this problem{known}"
                )
            elif networked and item.get("bus") is None and bus_of[connection] is None:
                yield Fault(f"{path}.bus", f"is missing, and connection {connection!r} has none; add one")
