"""Reading a ``wattshed.schedule/1`` that a new dispatch follows on."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from energy.domain.documents import faults_of
from energy.domain.errors import Fault, InputError
from energy.domain.schedule import AssetSchedule
from energy.domain.time import TimeGrid
from optimizer.documents import TimeDocument
from optimizer.rolling import Previous


class _Schedule(BaseModel):
    """What of a schedule matters to the one that follows; the rest may be there."""

    model_config = ConfigDict(strict=True, allow_inf_nan=False)

    schema_: Literal["wattshed.schedule/1"] = Field(alias="schema")
    status: Literal["optimal", "feasible", "fallback"]
    input_hash: str
    time: TimeDocument
    assets: Annotated[dict[str, dict[str, list[float] | list[list[float]]]], Field(min_length=1)]


def read_previous(document: Any) -> Previous:
    """A schedule as `optimizer.rolling` needs it; `InputError` with every fault."""
    try:
        read = _Schedule.model_validate(document)
    except ValidationError as error:
        raise InputError(faults_of(error, _Schedule, "previous")) from None
    time = TimeGrid(read.time.start, read.time.resolution, read.time.steps)
    faults, assets = [], {}
    for key, series in read.assets.items():
        found = {name: np.array(values, float) for name, values in series.items()}
        for name, values in found.items():
            if len(values) != time.steps:
                faults.append(
                    Fault(f"previous.assets.{key}.{name}", f"has {len(values)} values for {time.steps} steps")
                )
        if "p_kw" not in found:
            faults.append(Fault(f"previous.assets.{key}.p_kw", "is missing"))
            continue
        assets[key] = AssetSchedule(found.pop("p_kw"), found)
    if faults:
        raise InputError(faults)
    return Previous(read.input_hash, time, assets)
