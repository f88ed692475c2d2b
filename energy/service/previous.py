"""Reading a ``wattshed.schedule/1`` that a new dispatch follows on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from energy.domain.documents import faults_of
from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray
from energy.domain.schedule import AssetSchedule
from energy.domain.time import TimeGrid
from optimizer.documents import TimeDocument
from optimizer.rolling import Previous

LARGEST = 1e12
"""No power in kW, energy in kWh or state is beyond this."""
NUMBER = f"a number from {-LARGEST:g} to {LARGEST:g} is needed"


class _Schedule(BaseModel):
    """What of a schedule matters to the one that follows; the rest may be there."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    schema_: Literal["wattshed.schedule/1"] = Field(alias="schema")
    status: Literal["optimal", "feasible", "fallback"]
    input_hash: str
    time: TimeDocument
    assets: Annotated[dict[str, dict[str, list[Any]]], Field(min_length=1)]


def read_previous(document: Any) -> Previous:
    """A schedule as `optimizer.rolling` needs it; `InputError` with every fault."""
    if not isinstance(document, Mapping):
        raise InputError(Fault("previous", f"is a schedule, a JSON object, not {type(document).__name__}"))
    try:
        read = _Schedule.model_validate(document)
    except ValidationError as error:
        raise InputError(faults_of(error, _Schedule, "previous")) from None
    time = TimeGrid(read.time.start, read.time.resolution, read.time.steps)
    faults: list[Fault] = []
    assets = {}
    for key, series in read.assets.items():
        path = f"previous.assets.{key}"
        found = {
            name: _values(f"{path}.{name}", values, time.steps, faults) for name, values in series.items()
        }
        if "p_kw" not in found:
            faults.append(Fault(f"{path}.p_kw", "is missing"))
            continue
        assets[key] = AssetSchedule(found.pop("p_kw"), found)
    if faults:
        raise InputError(faults)
    return Previous(read.input_hash, time, assets)


def _values(path: str, values: list[Any], steps: int, faults: list[Fault]) -> FloatArray:
    """A series: a number for each step, or for each step as many as there are slots."""
    if len(values) != steps:
        faults.append(Fault(path, f"has {len(values)} values for {steps} steps"))
    slots = len(values[0]) if values and isinstance(values[0], list) else None
    for number, value in enumerate(values):
        each = [value] if slots is None else value
        if not isinstance(each, list) or len(each) != (slots if slots is not None else 1):
            faults.append(Fault(path, f"value {number} is not a list of {slots} numbers, as the first is"))
        elif not all(_is_number(one) for one in each):
            faults.append(Fault(path, f"value {number} is {value!r}; {NUMBER}"))
        else:
            continue
        return np.zeros(0)
    return np.array(values, float)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= LARGEST
