"""Every field of every document refuses nonsense by its path: what is new is covered by being there.

The fields come from the models; a sound document of each from `docs/examples`.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from energy.domain.errors import InputError
from optimizer import DispatchProblem
from optimizer.assets import ASSET_TYPES
from optimizer.documents import ProblemDocument
from tests.optimizer.builders import Document, load, problem_of

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
CASES_OF_COMMANDS = Path(__file__).parents[1] / "cases"
MAY_BE_NEGATIVE = (
    *(
        "price_per_mwh",
        "price_per_mw_h",
        "default_per_mwh",
        "marginal_cost_per_mwh",
        "fuel_cost_per_mwh",
        "p_kw",
        "q_kvar",
        "gains_kw",
    ),
    *("_c", "bus", "root_ext_grid", "series"),
)
"""Ends of the names of numbers that may have either sign: prices, demand that may feed, °C, indices."""

Step = str | int


def located(path: tuple[Step, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def at_path(document: Any, path: tuple[Step, ...]) -> Any:
    for step in path:
        document = document[step]
    return document


def changed(document: Document, path: tuple[Step, ...], value: Any) -> Document:
    """The document with another value at a path."""
    other = copy.deepcopy(document)
    at_path(other, path[:-1])[path[-1]] = value
    return other


def faults(document: Document) -> list[str]:
    """The paths of what is refused; empty where the document is accepted."""
    try:
        DispatchProblem.from_document(document)
    except InputError as error:
        return [fault.path for fault in error.faults]
    return []


def documents() -> list[tuple[str, Document]]:
    """Sound problems for each asset type, from the examples and cases; the asset stands first in each.

    One for each type, and one more for each that shows a part which those before do not.
    """
    found: list[tuple[str, Document]] = []
    shown: dict[str, set[str]] = {}
    for path in (*sorted(EXAMPLES.glob("*.json")), *sorted(CASES_OF_COMMANDS.glob("*/problem.json"))):
        document = json.loads(path.read_text(encoding="utf-8"))
        if document.get("schema") != "wattshed.dispatch/1" or faults(document):
            continue
        for asset in document["assets"]:
            parts = {key for key, value in asset.items() if isinstance(value, dict | list) and value}
            if asset["type"] in shown and parts <= shown[asset["type"]]:
                continue
            shown.setdefault(asset["type"], set()).update(parts)
            others = [other for other in document["assets"] if other is not asset]
            plain = {key: value for key, value in document.items() if key not in ("scenarios", "frontier")}
            found.append((asset["type"], {**plain, "assets": [asset, *others]}))
    return sorted(found, key=lambda item: item[0])


def heads() -> list[Document]:
    """Problems in which, together, every part of the head stands."""
    networked = problem_of(
        [load(1.0)],
        objective={},
        options={},
        network={"grid": "x", "vm_max_pu": 1.1},
        bus=0,
        import_limit_kw=9.0,
    )
    uncertain = {**problem_of([load(1.0)]), "scenarios": [{"id": "a", "probability": 1.0, "series": {}}]}
    shown = ("charging_hub", "fairness", "offers", "tariffs")
    examples = [json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8")) for name in shown]
    (root, *others) = examples[-1]["connections"]
    sold = {key: value for key, value in root.items() if key != "export_price_per_mwh"}
    sold["export_tariff"] = root["import_tariff"]
    return [networked, uncertain, *examples, {**examples[-1], "connections": [sold, *others]}]


def models_of(annotation: Any) -> list[type[BaseModel]]:
    """The document models somewhere in an annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in models_of(part)]


@dataclass(frozen=True)
class Place:
    """A field: where it stands, and its JSON schema."""

    path: tuple[Step, ...]
    schema: Mapping[str, Any]
    holds_documents: bool

    @property
    def name(self) -> str:
        return str(self.path[-1])

    @property
    def located(self) -> str:
        return located(self.path)

    @property
    def kinds(self) -> set[str]:
        """JSON types it may have; ``object`` where the schema refers to another."""
        parts = self.schema.get("anyOf", [self.schema])
        return {
            part.get("type", "string" if "const" in part or "enum" in part else "object") for part in parts
        }

    @property
    def formats(self) -> set[str]:
        return {part.get("format", "") for part in self.schema.get("anyOf", [self.schema])}


def places(model: type[BaseModel], document: Document, path: tuple[Step, ...] = ()) -> Iterator[Place]:
    """Every field of the model and of what stands in it."""
    properties = model.model_json_schema()["properties"]
    for name, info in model.model_fields.items():
        key = info.alias or name
        nested = models_of(info.annotation)
        yield Place((*path, key), properties[key], bool(nested))
        if not nested or key == "assets":
            continue
        value = at_path(document, path).get(key)
        if value is None or value == []:
            continue
        inner = (*path, key, 0) if isinstance(value, list) else (*path, key)
        yield from places(nested[0], document, inner)


def cases() -> list[Any]:
    """(document, place) of the head and of each asset type."""
    found = [
        pytest.param(head, place, id=f"head {number}: {place.located}")
        for number, head in enumerate(heads())
        for place in places(ProblemDocument, head)
    ]
    return found + [
        pytest.param(document, place, id=f"{kind} {number}: {place.located}")
        for number, (kind, document) in enumerate(documents())
        for place in places(ASSET_TYPES[kind], document, ("assets", 0))
    ]


CASES = cases()


def bad_values(place: Place) -> Iterator[Any]:
    """What no field of its kind may hold."""
    kinds = place.kinds
    if "object" not in kinds:
        yield {"a": 1}
    if "boolean" not in kinds:
        yield True
    if "string" not in kinds:
        yield "x"
    if "null" not in kinds:
        yield None
    if "array" not in kinds:
        yield [1.0]
    elif not place.holds_documents:
        yield [{"a": 1}]
        yield ["x"]
        yield [None]
    else:
        yield ["x"]
    if not kinds & {"number", "integer"}:
        yield 5.5
    if kinds & {"number", "integer"}:
        yield from (float("nan"), float("inf"), float("-inf"), 1e308, -1e308)
        if not place.name.endswith(MAY_BE_NEGATIVE):
            yield -1.0
        if "array" in kinds:
            yield [float("nan")]
            yield [1e308]
    if "date-time" in place.formats:
        yield from ("2022-08-29T00:00:00", "tomorrow", "2022-13-29T00:00:00Z", "")
    if "duration" in place.formats:
        yield from ("1h", "-PT1H", "PT", "")


def test_every_part_of_every_document_stands_in_a_sound_one() -> None:
    found = documents()
    assert {kind for kind, _ in found} == set(ASSET_TYPES), "a type without a sound example"
    for document in (*heads(), *(document for _, document in found)):
        assert faults(document) == []
    opened = {case.values[1].path[:-1] for case in CASES}
    closed = {
        case.id
        for case in CASES
        for path in [case.values[1].path]
        if case.values[1].holds_documents and path != ("assets",)
        if not opened & {path, (*path, 0)}
    }
    assert closed == set(), "no example has these; let one show them"


@pytest.mark.parametrize(("document", "place"), CASES)
def test_nonsense_is_refused_by_its_path(document: Document, place: Place) -> None:
    accepted = [
        value
        for value in bad_values(place)
        if not any(path.startswith(place.located) for path in faults(changed(document, place.path, value)))
    ]
    assert accepted == []


@pytest.mark.parametrize(("document", "place"), CASES)
def test_an_unknown_key_beside_it_is_refused(document: Document, place: Place) -> None:
    path = (*place.path[:-1], f"{place.name}_")
    assert located(path) in faults(changed(document, path, 1.0))


def pairs() -> list[Any]:
    """(document, lower place, upper name) of every *min* that has its *max* beside it."""
    return [
        pytest.param(case.values[0], place, upper, id=case.id)
        for case in CASES
        for place in [case.values[1]]
        for upper in [place.name.replace("_min", "_max").replace("min_", "max_")]
        if upper != place.name
        and any(
            other.values[1].path == (*place.path[:-1], upper)
            for other in CASES
            if other.values[0] is case.values[0]
        )
    ]


@pytest.mark.parametrize(("document", "place", "upper"), pairs())
def test_swapped_bounds_are_refused(document: Document, place: Place, upper: str) -> None:
    higher = at_path(document, place.path[:-1]).get(upper)
    if higher is None:
        higher, document = 1.0, changed(document, (*place.path[:-1], upper), 1.0)
    above = max(higher) if isinstance(higher, list) else higher
    found = faults(changed(document, place.path, above * 1.5 + 1.0))
    assert {place.located, located((*place.path[:-1], upper))} & set(found)


def spans() -> list[Any]:
    """(document, place of the end, name of the begin) of every two instants that make a span."""
    ends = {"departure": "arrival", "arrival": "departure", "latest_end": "earliest_start"}
    return [
        pytest.param(case.values[0], place, ends[place.name], id=case.id)
        for case in CASES
        for place in [case.values[1]]
        if "date-time" in place.formats
        and place.name in ends
        # a session begins with its arrival, a trip with its departure
        and (place.name == "latest_end" or ("trips" in place.path) == (place.name == "arrival"))
    ]


@pytest.mark.parametrize(("document", "place", "begin"), spans())
def test_a_span_that_ends_before_it_begins_is_refused(document: Document, place: Place, begin: str) -> None:
    start = datetime.fromisoformat(at_path(document, place.path[:-1])[begin])
    before = (start - timedelta(hours=1)).isoformat()
    assert place.located in faults(changed(document, place.path, before))


def timed() -> list[Any]:
    """(document) of every asset type that has instants of its own."""
    return [
        pytest.param(document, id=kind)
        for kind, document in documents()
        if any("date-time" in place.formats for place in places(ASSET_TYPES[kind], document, ("assets", 0)))
    ]


@pytest.mark.parametrize("document", timed())
def test_what_lies_outside_the_horizon_is_told(document: Document) -> None:
    """Not refused: sessions, trips and windows are cut out of longer ones. But said, by the asset's id."""
    asset = document["assets"][0]

    def later(value: Any) -> Any:
        if isinstance(value, list):
            return [later(item) for item in value]
        if isinstance(value, dict):
            return {key: later(item) for key, item in value.items()}
        try:
            return (datetime.fromisoformat(value) + timedelta(days=999)).isoformat()
        except (TypeError, ValueError):
            return value

    moved = {**asset, **{key: later(value) for key, value in asset.items() if key not in ("type", "id")}}
    problem = DispatchProblem.from_document(changed(document, ("assets", 0), moved))
    assert any(repr(asset["id"]) in notice and "outside" in notice for notice in problem.notices)
