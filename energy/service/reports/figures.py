"""Figures from numbers: what is not known becomes a notation key with its reason, never a zero."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from energy.carbon.rates import Amount
from energy.domain.city import LOCAL_GENERATION
from energy.domain.period import Period
from energy.domain.report import Column, Figure, Ledger, Words

UNKNOWN = "not known for any hour of the period"
TRACED = ("upstream intensity", LOCAL_GENERATION)
"""The inputs of traced carbon: what comes in, and what the city's own plants emit."""
AT_MARGIN = ("upstream marginal intensity", LOCAL_GENERATION)
"""Those of marginal carbon."""


def words(english: str, japanese: str) -> Words:
    """A text in both languages."""
    return {"en": english, "ja": japanese}


def span(period: Period) -> tuple[str, str] | None:
    """First and last stored day of a period."""
    days = [day.day for day in period.days]
    return (min(days), max(days)) if days else None


def figure(
    key: str,
    value: float,
    unit: str,
    *,
    explanation: str = UNKNOWN,
    low: float = math.nan,
    high: float = math.nan,
    ledger: Ledger = "none",
    method: str = "",
    estimated_share: float = 0.0,
    factors: Sequence[str] = (),
    inputs: Sequence[str] = (),
    parts: Sequence[str] = (),
    rule: str = "",
    days: tuple[str, str] | None = None,
) -> Figure:
    """A figure; NE with `explanation` where `value` is NaN.

    `low` and `high` are the figure with all factors at an end of their ranges. One that takes carbon off
    (a change, a difference) need not lie between them: its interval reaches to it.
    """
    if math.isfinite(value) and not math.isfinite(estimated_share):
        raise ValueError(f"figure {key!r}: the estimated share of its input is {estimated_share}")
    found = Figure(
        key=key,
        value=value if math.isfinite(value) else None,
        unit=unit,
        notation=None if math.isfinite(value) else "NE",
        explanation="" if math.isfinite(value) else explanation,
        ledger=ledger,
        method=method,
        # sums of shares may miss 1 by rounding
        estimated_share=min(1.0, estimated_share) if math.isfinite(estimated_share) else 0.0,
        factors=tuple(factors),
        inputs=tuple(inputs),
        parts=tuple(parts),
        rule=rule,
        days=days,
    )
    if math.isfinite(value) and math.isfinite(low) and math.isfinite(high):
        return replace(found, low=min(low, high, value), high=max(low, high, value))
    return found


def of_amount(
    key: str,
    amount: Amount,
    *,
    ledger: Ledger,
    method: str,
    factors: Sequence[str] = (),
    explanation: str = UNKNOWN,
    days: tuple[str, str] | None = None,
) -> Figure:
    """An amount of carbon as a figure, kg."""
    return figure(
        key,
        amount.kg,
        "kg",
        explanation=explanation,
        low=amount.low_kg,
        high=amount.high_kg,
        ledger=ledger,
        method=method,
        estimated_share=amount.estimated_share,
        factors=factors,
        days=days,
    )


def sum_of(
    key: str,
    value: float,
    unit: str,
    parts: Iterable[Figure],
    *,
    ledger: Ledger,
    method: str,
    rule: str = "sum",
    explanation: str = UNKNOWN,
    days: tuple[str, str] | None = None,
) -> Figure:
    """The sum of figures of one unit: its estimated share is theirs by size, its interval the sum of theirs
    where all have one. `value` is given, for sums that take a part of each."""
    known = [part for part in parts if part.value is not None]
    sizes = [abs(part.value or 0.0) for part in known]
    shares = [part.estimated_share for part in known]
    weighed = sum(size * share for size, share in zip(sizes, shares, strict=True))
    return figure(
        key,
        value,
        unit,
        explanation=explanation,
        low=_ends([part.low for part in known]) if rule == "sum" else math.nan,
        high=_ends([part.high for part in known]) if rule == "sum" else math.nan,
        ledger=ledger,
        method=method,
        estimated_share=weighed / sum(sizes) if any(sizes) else max(shares, default=0.0),
        parts=tuple(part.key for part in known),
        rule=rule,
        days=days,
    )


def _ends(bounds: Sequence[float | None]) -> float:
    return math.fsum(math.nan if bound is None else bound for bound in bounds)


DISTRICT = Column("district", words("District", "地区"))
ENERGY = Column("energy_mwh", words("Energy", "電力量"), "MWh")
TIME = Column("time", words("Start", "開始"), "time")
