"""The numbers that a problem may state, each checked as it is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, Field

from energy.domain.documents import Series
from energy.domain.errors import Fault

LARGEST = 1e9
"""No number of a problem may be larger: 1e9 kW is a terawatt, and beyond it a solver loses the small ones."""


def _bounded(value: Any) -> Any:
    values = value if isinstance(value, tuple) else (value,)
    for position, item in enumerate(values):
        if item is not None and abs(item) > LARGEST:
            where = f"value {position}: " if isinstance(value, tuple) else ""
            raise ValueError(f"{where}{item:g} is beyond ±{LARGEST:g}; check its unit")
    return value


def _not_negative(value: Any) -> Any:
    values = value if isinstance(value, tuple) else (value,)
    for position, item in enumerate(values):
        if item is not None and item < 0:
            where = f"value {position} is " if isinstance(value, tuple) else ""
            raise ValueError(f"{where}{item:g}; it must not be negative")
    return value


Number = Annotated[float, AfterValidator(_bounded)]
Positive = Annotated[float, AfterValidator(_bounded), AfterValidator(_not_negative)]
NumberSeries = Annotated[Series, AfterValidator(_bounded)]
PositiveSeries = Annotated[Series, AfterValidator(_bounded), AfterValidator(_not_negative)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Efficiency = Annotated[float, Field(gt=1e-4, le=1)]
Priority = Annotated[float, Field(gt=0, le=1e3)]
"""What an unmet need weighs against those of others."""
Phases = Literal["L1", "L2", "L3", "L123"]
"""Where a power is drawn: on one phase, or evenly on three."""


def crossed(
    path: str,
    low_name: str,
    low: float | tuple[float, ...],
    high_name: str,
    high: float | tuple[float, ...],
    unit: str,
) -> Iterator[Fault]:
    """A fault where a lower bound is above its upper one, at the first such step."""
    lows, highs = np.atleast_1d(low), np.atleast_1d(high)
    if len(lows) != len(highs) and 1 not in (len(lows), len(highs)):
        return  # a length is wrong, which is a fault of its own
    above = np.flatnonzero(lows > highs)
    if len(above):
        lows, highs = np.broadcast_arrays(lows, highs)
        where = f" at value {above[0]}" if len(lows) > 1 else ""
        yield Fault(
            f"{path}.{low_name}",
            f"{lows[above[0]]:g} {unit} is above {high_name} {highs[above[0]]:g}{where}; "
            "swap or correct them",
        )
