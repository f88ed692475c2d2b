"""Hours without a stored day or an AC solution: left out, or estimated by a named method."""

from __future__ import annotations

from typing import Literal

import numpy as np

from energy.domain.errors import Fault, InputError
from energy.domain.network import BoolArray, FloatArray
from energy.domain.period import Period

GapRule = Literal["left-out", "same-hour-mean"]
"""``left-out``: figures cover the known hours only, and say so. ``same-hour-mean``: an unknown hour takes the
mean of the known hours with the same local clock hour, and counts as an estimate."""


def filled(period: Period, values: FloatArray, rule: GapRule) -> tuple[FloatArray, BoolArray]:
    """`values`, shape (hours, n), with their gaps treated, and which hours are estimated.

    A clock hour that is never known takes the mean of all known hours.

    Raises:
        InputError: a gap is to be estimated and no hour is known at all.
    """
    gap: BoolArray = np.logical_not(np.isfinite(values).all(axis=1))
    if rule == "left-out" or not gap.any():
        return values, np.zeros(len(values), dtype=np.bool_)
    if gap.all():
        raise InputError(
            Fault(f"period {period.label}", "no hour is known; store at least one day of it first")
        )
    clock = np.array([instant.astimezone(period.zone).hour for instant in period.time])
    estimate: FloatArray = np.array(values)
    for hour in np.unique(clock[gap]):
        known = np.logical_not(gap) & (clock == hour)
        estimate[gap & (clock == hour)] = values[known if known.any() else np.logical_not(gap)].mean(axis=0)
    return estimate, gap
