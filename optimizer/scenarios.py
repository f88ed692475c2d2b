"""Scenarios: several forecasts of one horizon, each with its probability."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, ValidationError

from energy.domain.documents import Document, Identifier, faults_of, nearest, series_fault
from energy.domain.errors import Fault
from optimizer.assets.base import Asset, NumberSeries

if TYPE_CHECKING:
    from optimizer.documents import Connection
    from optimizer.problem import DispatchProblem

WHOLE = 1e-9
"""How far the probabilities may be from one in sum."""


class Scenario(Document):
    """What differs in one forecast: series of connections and assets by path, such as
    ``assets.pv.available_kw``. What it does not name is as in the problem."""

    id: Identifier
    probability: Annotated[float, Field(gt=0, le=1)]
    series: dict[str, NumberSeries] = Field(default_factory=dict)


def split(path: str) -> tuple[str, str, str]:
    """``assets.pv.available_kw`` as its list, id and field; an id may hold dots."""
    kind, _, rest = path.partition(".")
    item, _, field = rest.rpartition(".")
    return kind, item, field


def problem_in(problem: DispatchProblem, scenario: Scenario) -> DispatchProblem:
    """`problem` as one scenario has it, without scenarios of its own."""
    changes: dict[tuple[str, str], dict[str, Any]] = {}
    for path, values in scenario.series.items():
        kind, item, field = split(path)
        changes.setdefault((kind, item), {})[field] = values
    return replace(
        problem,
        connections={
            key: connection.model_copy(update=changes.get(("connections", key), {}))
            for key, connection in problem.connections.items()
        },
        assets=tuple(
            asset.model_copy(update=changes.get(("assets", asset.id), {})) for asset in problem.assets
        ),
        scenarios=(),
        first_stage=None,
    )


def scenario_faults(
    items: Sequence[Mapping[str, Any]],
    connections: Mapping[str, Connection],
    assets: Mapping[str, Asset],
    connection_fields: Sequence[str],
    steps: int | None,
    resolution: timedelta | None,
) -> Iterator[Fault]:
    """Unknown paths, wrong lengths and values, ids twice, and probabilities that are not one in sum.

    `items` are the scenarios as given; `connections` and `assets` by id, those that can be read.
    """
    first: dict[str, int] = {}
    total = 0.0
    for number, item in enumerate(items):
        where, key, probability = f"scenarios[{number}]", item.get("id"), item.get("probability")
        if isinstance(key, str):
            if key in first:
                yield Fault(f"{where}.id", f"{key!r} is also scenarios[{first[key]}]; ids are unique")
            first.setdefault(key, number)
        if isinstance(probability, int | float):
            total += probability
        series = item.get("series")
        for path, values in series.items() if isinstance(series, Mapping) else ():
            at = f"{where}.series.{path}"
            kind, name, field = split(str(path))
            parts: Mapping[str, Document] = {"connections": connections, "assets": assets}.get(kind, {})
            if kind not in {"connections", "assets"}:
                yield Fault(
                    at, f"{kind!r} is neither 'connections' nor 'assets'; write 'assets.pv.available_kw'"
                )
            elif name not in parts:
                yield Fault(
                    at, f"{name!r} is not in {kind}; {nearest(name, parts)}" if parts else "is unknown"
                )
            else:
                part = parts[name]
                known = part.series_fields if isinstance(part, Asset) else connection_fields
                if field not in known:
                    hint = nearest(field, known) if known else "it has no series"
                    yield Fault(at, f"{field!r} is no series of {kind}.{name}; {hint}")
                else:
                    yield from _value_faults(at, part, field, values, steps, resolution)
    if items and abs(total - 1.0) > WHOLE:
        yield Fault("scenarios", f"have probabilities of {total:.10g} in sum; they must sum to 1")


def _value_faults(
    at: str, part: Any, field: str, values: Any, steps: int | None, resolution: timedelta | None
) -> Iterator[Fault]:
    """What the part of the problem would say to the series."""
    if isinstance(values, list | tuple) and steps is not None and len(values) != steps:
        yield from series_fault(at, tuple(values), steps)
        return
    given = {name: getattr(part, name) for name in part.model_fields_set}
    try:
        changed = type(part).model_validate({**given, field: values})
    except ValidationError as error:
        yield from (Fault(at, fault.message) for fault in faults_of(error, type(part)))
        return
    faults = changed.faults(at) if isinstance(changed, Asset) else changed.faults(at, resolution)
    known = part.faults(at) if isinstance(part, Asset) else part.faults(at, resolution)
    old = set(known)
    yield from (Fault(at, fault.message) for fault in faults if fault not in old)
