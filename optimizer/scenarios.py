"""Scenarios: several forecasts of one horizon, each with its probability."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from energy.domain.documents import Document, faults_of, nearest, series_fault
from energy.domain.errors import Fault
from energy.domain.time import TimeGrid
from optimizer.assets.base import Asset
from optimizer.documents import Connection, Scenario

Part = TypeVar("Part", bound=Document)
WHOLE = 1e-9
"""How far the probabilities may be from one in sum."""


def split(path: str, parts: Mapping[str, Container[str]]) -> tuple[str, str, str]:
    """``assets.pv.available_kw`` as its list, id and field. Ids and fields may hold dots: the longest id
    that `parts` has wins."""
    kind, _, rest = path.partition(".")
    cut, known = rest.rfind("."), parts.get(kind, ())
    while cut > 0 and rest[:cut] not in known:
        cut = rest.rfind(".", 0, cut)
    if cut <= 0:
        cut = rest.rfind(".")
    return kind, rest[:cut], rest[cut + 1 :]


def with_series(part: Part, changes: Mapping[str, Any]) -> Part:
    """A connection or an asset with other series; ``heat.cop`` is one of an object inside it."""
    update: dict[str, Any] = {}
    for field, values in changes.items():
        outer, _, inner = field.rpartition(".")
        if outer:
            update[outer] = update.get(outer, getattr(part, outer)).model_copy(update={inner: values})
        else:
            update[field] = values
    return part.model_copy(update=update)


def changes_of(
    scenario: Scenario, parts: Mapping[str, Container[str]]
) -> dict[tuple[str, str], dict[str, Any]]:
    """The series of a scenario by field, of each part by its list and id."""
    changes: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    for path, values in scenario.series.items():
        kind, item, field = split(path, parts)
        changes[kind, item][field] = values
    return changes


def scenario_faults(
    items: Sequence[Mapping[str, Any]],
    connections: Mapping[str, Connection],
    assets: Mapping[str, Asset],
    connection_fields: Sequence[str],
    time: TimeGrid | None,
) -> Iterator[Fault]:
    """Unknown paths, wrong lengths and values, ids twice, and probabilities that are not one in sum.

    `items` are the scenarios as given; `connections` and `assets` by id, those that can be read; `time`
    where it can be read.
    """
    first: dict[str, int] = {}
    total = 0.0
    parts: Mapping[str, Mapping[str, Any]] = {"connections": connections, "assets": assets}
    for number, item in enumerate(items):
        where, key, probability = f"scenarios[{number}]", item.get("id"), item.get("probability")
        if isinstance(key, str):
            if key in first:
                yield Fault(
                    f"{where}.id",
                    f"{key!r} is also the id of scenarios[{first[key]}]; ids of scenarios must be unique",
                )
            first.setdefault(key, number)
        if isinstance(probability, int | float):
            total += probability
        series = item.get("series")
        changes: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
        for path, values in series.items() if isinstance(series, Mapping) else ():
            at = f"{where}.series.{path}"
            kind, name, field = split(str(path), parts)
            if kind not in parts:
                yield Fault(
                    at, f"{kind!r} is neither 'connections' nor 'assets'; write 'assets.pv.available_kw'"
                )
            elif name not in parts[kind]:
                hint = nearest(name, parts[kind]) if parts[kind] else "add it"
                yield Fault(at, f"{name!r} is not in {kind}; {hint}")
            else:
                part = parts[kind][name]
                own = (*part.series_fields, *part.nested_series) if isinstance(part, Asset) else ()
                known = own if isinstance(part, Asset) else connection_fields
                if field not in known:
                    hint = nearest(field, known) if known else "it has no series"
                    yield Fault(at, f"{field!r} is not a series of {kind}.{name}; {hint}")
                elif time is not None and isinstance(values, list | tuple) and len(values) != time.steps:
                    yield from series_fault(at, tuple(values), time.steps)
                else:
                    value = _value(part, field, values)
                    if isinstance(value, str):
                        yield Fault(at, value)
                    else:
                        changes[kind, name][field] = value
        for (kind, name), fields in changes.items():
            part = parts[kind][name]
            known_faults = set(_faults_of_part(part, time))
            for fault in _faults_of_part(with_series(part, fields), time):
                if fault not in known_faults:
                    yield Fault(f"{where}.series.{kind}.{name}{fault.path}", fault.message)
    if items and abs(total - 1.0) > WHOLE:
        yield Fault("scenarios", f"have probabilities that sum to {total:.10g}; they must sum to 1")


def _value(part: Any, field: str, values: Any) -> Any:
    """The series as the part reads it; in words what is wrong with it."""
    outer, _, inner = field.rpartition(".")
    owner = getattr(part, outer) if outer else part
    if owner is None:
        return f"{part.id!r} has no {outer}; add it or remove the series"
    given = {name: getattr(owner, name) for name in owner.model_fields_set}
    try:
        return getattr(type(owner).model_validate({**given, inner: values}), inner)
    except ValidationError as error:
        return "; ".join(fault.message for fault in faults_of(error, type(owner)))


def _faults_of_part(part: Any, time: TimeGrid | None) -> Iterator[Fault]:
    """What a connection or an asset says about itself, with paths from it on."""
    if not isinstance(part, Asset):
        yield from part.faults("", None if time is None else time.resolution)
        return
    found = list(part.faults(""))
    yield from found
    if time is not None and not found:
        yield from part.faults_in("", time)
