"""Reading documents strictly: unknown keys named with the nearest known one, every fault at once.

The base class of all document models, the types of their fields, and what pydantic finds as `Fault`s.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from functools import cache
from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    Strict,
    ValidationError,
    WithJsonSchema,
)

from energy.domain.errors import Fault, InputError
from energy.domain.time import format_duration, format_instant, parse_duration, parse_instant


class Document(BaseModel):
    """A frozen JSON object that refuses unknown keys, NaN and infinities."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


def _instant(value: Any) -> datetime:
    if isinstance(value, datetime):
        value = value.isoformat()
    if not isinstance(value, str):
        raise ValueError(f"{value!r} is not an RFC 3339 time; write it like 2016-06-21T00:00:00Z")
    return parse_instant(value)


def _day(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return date.fromisoformat(value)
    except ValueError:
        raise ValueError(f"{value!r} is not a date; write it like 2016-06-21") from None


def _duration(value: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    return parse_duration(value)


def _finite_series(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{value} is a truth value; a number or a list of numbers is needed")
    if isinstance(value, int | float):
        if not math.isfinite(value):
            raise ValueError(f"{value} is not a finite number")
        return float(value)
    if isinstance(value, list | tuple):
        for position, item in enumerate(value):
            if isinstance(item, bool) or not isinstance(item, int | float):
                raise ValueError(f"value {position} is {item!r}; a number is needed")
            if not math.isfinite(item):
                raise ValueError(f"value {position} is {item}; a finite number is needed")
        return tuple(float(item) for item in value)
    raise ValueError(f"{value!r} is neither a number nor a list of numbers")


Instant = Annotated[
    datetime,
    BeforeValidator(_instant),
    PlainSerializer(format_instant, return_type=str),
    WithJsonSchema({"type": "string", "format": "date-time"}),
]
"""An RFC 3339 time with offset, held in UTC."""

Day = Annotated[date, BeforeValidator(_day), WithJsonSchema({"type": "string", "format": "date"})]
"""A calendar date, ISO 8601."""

Duration = Annotated[
    timedelta,
    BeforeValidator(_duration),
    PlainSerializer(format_duration, return_type=str),
    WithJsonSchema({"type": "string", "format": "duration"}),
]
"""An ISO 8601 duration."""

Series = Annotated[
    float | tuple[float, ...],
    BeforeValidator(_finite_series),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "array", "items": {"type": "number"}}]}),
]
"""A number (a constant series) or exactly one number per step."""


def _identifier(value: str) -> str:
    if not value.strip():
        raise ValueError("an id must not be empty")
    return value


Identifier = Annotated[str, AfterValidator(_identifier)]
"""A non-empty id."""

Item = TypeVar("Item")
Items = Annotated[tuple[Item, ...], Strict(False)]
"""A JSON array held as a tuple; its items stay strict."""

DocumentModel = TypeVar("DocumentModel", bound=BaseModel)


def expand(series: float | tuple[float, ...], steps: int) -> NDArray[np.float64]:
    """The series as an array of shape (steps,); the length must have been checked before."""
    if isinstance(series, float | int):
        return np.full(steps, float(series))
    values = np.asarray(series, dtype=float)
    if values.shape != (steps,):
        raise ValueError(f"the series has {len(values)} values, the time grid {steps} steps")
    return values


def series_fault(path: str, series: float | tuple[float, ...] | None, steps: int) -> Iterable[Fault]:
    """A fault if `series` is a list whose length is not `steps`."""
    if isinstance(series, tuple) and len(series) != steps:
        yield Fault(
            path,
            f"has {len(series)} values, but time.steps is {steps}; give {steps} values, or one number "
            "for a constant",
        )


def located(location: Iterable[str | int]) -> str:
    """``('assets', 3, 'p_kw')`` as ``assets[3].p_kw``."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else (f".{part}" if path else str(part))
    return path


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean 'p_kw'?``, or the list of what is known: for the end of an error message."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(names) or 'none'}"


def faults_of(error: ValidationError, model: type[BaseModel], prefix: str = "") -> list[Fault]:
    """What pydantic found, as faults with field paths."""
    faults = []
    for item in error.errors(include_url=False):
        location = item["loc"]
        path = located(location)
        if prefix:
            path = f"{prefix}.{path}" if path else prefix
        kind, context = item["type"], item.get("ctx", {})
        if kind == "extra_forbidden":
            known = _known_keys(model, location[:-1])
            message = f"unknown key; {nearest(str(location[-1]), known)}"
        elif kind == "missing":
            message = "is missing; add it"
        elif kind == "value_error":
            message = str(context.get("error", item["msg"]))
        elif kind == "finite_number":
            message = f"{item['input']!r} is not a finite number"
        else:
            message = f"{_shown(item['input'])}: {item['msg'][0].lower()}{item['msg'][1:]}"
        faults.append(Fault(path, message))
    return faults


def parse(model: type[DocumentModel], document: Any, prefix: str = "") -> DocumentModel:
    """`document` as `model`, or `InputError` with every fault that pydantic finds."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        raise InputError(faults_of(error, model, prefix)) from None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@cache
def _schema_of(model: type[BaseModel]) -> Mapping[str, Any]:
    """The JSON schema of a model; pydantic takes 0.1 s for that of a problem, each time it is asked."""
    return model.model_json_schema()


def _known_keys(model: type[BaseModel], location: tuple[str | int, ...]) -> list[str]:
    """The keys of the object at `location`, found by walking the model's annotations."""
    schema = _schema_of(model)
    definitions: Mapping[str, Any] = schema.get("$defs", {})

    def resolve(node: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        if "$ref" in node:
            return resolve(definitions[node["$ref"].rsplit("/", 1)[1]])
        for union in ("anyOf", "oneOf", "allOf"):
            if union in node:
                return [leaf for part in node[union] for leaf in resolve(part)]
        return [node]

    nodes = resolve(schema)
    for part in location:
        following: list[Mapping[str, Any]] = []
        for node in nodes:
            if isinstance(part, int):
                if "items" in node:
                    following += resolve(node["items"])
            elif part in node.get("properties", {}):
                following += resolve(node["properties"][part])
            elif isinstance(node.get("additionalProperties"), Mapping):
                following += resolve(node["additionalProperties"])
        # pydantic puts the tag of a discriminated union into the location; it is no step of the path
        nodes = following or nodes
    return sorted({key for node in nodes for key in node.get("properties", {})})
