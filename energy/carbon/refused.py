"""What else is wrong with a ``wattshed.flows/1`` that its model refuses, so that one run names everything."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Any

from pydantic import ValidationError

from energy.carbon.documents import FlowsDocument
from energy.carbon.flows import contradictions
from energy.domain.documents import faults_of, located
from energy.domain.errors import InputError

STAND_INS: dict[str, Any] = {
    "schema": "wattshed.flows/1",
    "time": {},
    "start": "2000-01-01T00:00:00Z",
    "resolution": "PT1H",
    "steps": 1,
    "buses": ["buses"],
} | dict.fromkeys(
    (
        "p_mw", "p_from_mw", "p_to_mw", "charge_mw", "discharge_mw", "carbon_g_per_kwh", "e_start_kwh",
        "carbon_start_g", "charge_efficiency", "discharge_efficiency",
    ),
    1.0,
)  # fmt: skip
"""What takes the place of a required field, so that the fields around it can be checked."""
NAMES = ("id", "bus", "from", "to")
"""Required too: their stand-in is their own path, which nothing else is called."""
ROUNDS_MAX = 4
"""A document, its items, their fields: each round mends one level."""


def parse_flows(document: Any) -> FlowsDocument:
    """`document` as its model; `InputError` with what is wrong by itself and what contradicts the rest.

    A field that is wrong by itself is not checked against others.
    """
    try:
        return FlowsDocument.model_validate(document)
    except ValidationError as error:
        faults = faults_of(error, FlowsDocument)
    mended = _mended(document)
    if mended is not None:
        paths = {fault.path for fault in faults}
        faults += [
            fault
            for fault in contradictions(
                mended,
                steps_known=paths.isdisjoint({"time", "time.steps"}),
                buses_known=not any(re.fullmatch(r"buses(\[\d+\](\.id)?)?", path) for path in paths),
            )
            if not _within(fault.path, paths)
        ]
    raise InputError(faults)


def _within(path: str, refused: Iterable[str]) -> bool:
    return any(path == other or path.startswith((f"{other}.", f"{other}[")) for other in refused)


def _mended(document: Any) -> FlowsDocument | None:
    """`document` with stand-ins for required fields that are refused, and without optional ones."""
    if not isinstance(document, dict):
        return None
    document = copy.deepcopy(document)
    for _ in range(ROUNDS_MAX):
        try:
            return FlowsDocument.model_validate(document)
        except ValidationError as error:
            for item in error.errors(include_url=False, include_context=False, include_input=False):
                _mend(document, item["loc"], unknown=item["type"] == "extra_forbidden")
    return None


def _mend(document: Any, location: tuple[str | int, ...], *, unknown: bool) -> None:
    owner = document
    for part in location[:-1]:
        owner = owner[part]
    last = location[-1]
    if isinstance(last, int):
        owner[last] = {}
    elif last in NAMES and not unknown:
        owner[last] = located(location)
    elif last in STAND_INS and not unknown:
        owner[last] = copy.deepcopy(STAND_INS[last])
    else:
        owner.pop(last, None)
