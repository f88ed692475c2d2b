"""Documents with faults, read as far as they go: what one field has wrong hides nothing about the others.

A faulty field is left out where it may be, or something stands in for it: something small in one reading,
something large in another. What is found by comparing fields holds where it is found in both.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from energy.domain.errors import Fault

Model = TypeVar("Model", bound=BaseModel)

STAND_INS: tuple[tuple[Any, ...], ...] = (
    (0, 0.001, 1, 1.0, "a", "2000-01-01T00:00:00Z", "PT1S", [], {}, [0.0], False, "00:00", 2000),
    (1e9, 1e6, 1e3, 50, 2, 1, 0.999, "z", "2099-12-31T00:00:00Z", "P99D", [], {}, [1e6], True, "24:00", 2099),
)
"""Values tried in this order for a field that must be there: the first that is right by itself is taken."""
ATTEMPTS = 12
"""A document with more nested faults than this is not read."""


def contradictions(
    faults: Sequence[Fault], compared: Callable[[Sequence[Any]], Iterable[Fault]]
) -> list[Fault]:
    """What `compared` finds with either of `STAND_INS`, beside the `faults` of single fields."""
    wrong = {fault.path for fault in faults}
    found, also = (list(compared(stand_ins)) for stand_ins in STAND_INS)
    return [fault for fault in found if fault.path not in wrong and fault in also]


def readable(model: type[Model], document: Any, stand_ins: Sequence[Any] = ()) -> Model | None:
    """`document` as `model`, without its faulty fields or with `stand_ins` for them; None where neither
    can be read."""
    try:
        return model.model_validate(document)
    except ValidationError as error:
        if not isinstance(document, Mapping):
            return None
        faults = error.errors(include_url=False)
    patched = copy.deepcopy(dict(document))
    for _ in range(ATTEMPTS):
        for fault in faults:
            if not _patch(model, patched, fault, stand_ins):
                return None
        try:
            return model.model_validate(patched)
        except ValidationError as error:
            faults = error.errors(include_url=False)
    return None


def _patch(model: type[Model], document: dict[str, Any], fault: Any, stand_ins: Sequence[Any]) -> bool:
    """Take what is faulty out of `document`, or put a stand-in there; whether either was possible."""
    walked, where = _walk(document, fault["loc"])
    key = fault["loc"][len(walked)] if fault["loc"] else None
    if fault["type"] == "missing":
        if isinstance(where, dict) and _stand_in(model, document, where, fault["loc"], stand_ins):
            return True
    elif isinstance(where, dict) and key in where:
        del where[key]
        if stand_ins is STAND_INS[1] and fault["type"] != "extra_forbidden":
            # left out in one reading, there in the other: that it lacks is no contradiction
            _stand_in(model, document, where, (*walked, key), stand_ins)
        return True
    # positions in a list stay, and what lacks something goes: with the field that holds it
    while walked:
        *walked, key = walked
        _, where = _walk(document, (*walked, key))
        if isinstance(where, dict):
            del where[key]
            return True
    return False


def _walk(document: dict[str, Any], path: Sequence[Any]) -> tuple[list[Any], Any]:
    """The part of `path` that leads to the innermost object or list on it, and that."""
    where: Any = document
    for depth, key in enumerate(path[:-1]):
        if not _has(where, key):
            return list(path[:depth]), where
        where = where[key]
    return list(path[:-1]), where


def _stand_in(
    model: type[Model],
    document: dict[str, Any],
    where: dict[str, Any],
    path: Sequence[Any],
    stand_ins: Sequence[Any],
) -> bool:
    """Put the first of `stand_ins` that is right there at the end of `path`, or one of the words allowed."""
    words: list[str] = []
    for value in stand_ins:
        where[path[-1]] = copy.deepcopy(value)
        wrong = _faults_at(model, document, path)
        if not wrong:
            return True
        expected = [each["ctx"]["expected"] for each in wrong if each["type"] == "literal_error"]
        words = words or [word for text in expected for word in re.findall(r"'([^']*)'", text)]
    where.pop(path[-1], None)
    if words:
        where[path[-1]] = words[0] if stand_ins is STAND_INS[0] else words[-1]
    return bool(words)


def _has(where: Any, key: Any) -> bool:
    if isinstance(where, list) and isinstance(key, int):
        return key < len(where)
    return isinstance(where, dict) and key in where and isinstance(where[key], dict | list)


def _faults_at(model: type[Model], document: Mapping[str, Any], path: Sequence[Any]) -> list[Any]:
    """What `document` still has wrong at `path` or inside it."""
    try:
        model.model_validate(document)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        return [each for each in faults if tuple(each["loc"][: len(path)]) == tuple(path)]
    return []
