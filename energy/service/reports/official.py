"""The official factors of a city's period, as every report on them looks them up."""

from __future__ import annotations

from datetime import date

from energy.carbon.gaps import GapRule
from energy.carbon.grid_average import GridAverage, grid_average
from energy.carbon.rates import Rate, rate
from energy.domain.errors import Fault, InputError
from energy.domain.factors import Factor
from energy.domain.report import Words
from energy.service.reports.figures import words
from energy.service.reports.registry import Choice, Context

GAPS = Choice("gaps", ("estimate", "ne"), "estimate")
HOURS = Choice("hours", ("left-out", "same-hour-mean"), "left-out")
FIRST_MONTH = Choice("first_month", tuple(str(month) for month in range(1, 13)), "1")
_NO_ZONE = "the city has no zone; set zone under [factors] in city.toml"


def official(context: Context) -> GridAverage:
    """The location-based ledger at official factors; what has none is not known, never zero."""
    average = average_rate(context)
    losses = None if losses_within(average) else losses_rate(context)
    return grid_average(context.period, average, losses, gaps=gap_rule(context))


def gap_rule(context: Context) -> GapRule:
    """What becomes of hours that no stored day accounts; a report without the choice leaves them out."""
    return "same-hour-mean" if context.choices.get(HOURS.name) == "same-hour-mean" else "left-out"


def estimated_hours(ledger: GridAverage) -> tuple[Words, ...]:
    """What a reader must know of hours whose energy is an estimate."""
    if not ledger.estimated.any():
        return ()
    share = float(ledger.estimated.mean())
    return (
        words(
            f"The energy of {share:.1%} of the hours is estimated: the mean of the known hours with the same "
            "local clock hour (same-hour-mean).",
            f"{share:.1%}の時間の電力量は推計値：現地時刻が同じ既知の時間の平均（same-hour-mean）。",
        ),
    )


def average_rate(context: Context) -> Rate:
    """The supplier's factor where the city names its supplier (Japan), else the grid's average."""
    city, registry = context.city, context.factors
    stand_in = context.choices.get(GAPS.name, "ne") == "estimate"

    def find(day: date) -> Factor:
        if city.carbon.operator:
            return registry.supplier(city.carbon.operator, city.carbon.menu or "", day, stand_in=stand_in)
        if not city.grid_zone:
            raise InputError(Fault("zone", _NO_ZONE))
        return registry.grid_average(city.grid_zone, day, stand_in=stand_in)

    return rate(context.period.time, context.period.zone, find)


def losses_rate(context: Context) -> Rate:
    """Emissions of losses per kWh delivered."""
    stand_in = context.choices.get(GAPS.name, "ne") == "estimate"

    def find(day: date) -> Factor:
        if not context.city.grid_zone:
            raise InputError(Fault("zone", _NO_ZONE))
        return context.factors.transmission_losses(context.city.grid_zone, day, stand_in=stand_in)

    return rate(context.period.time, context.period.zone, find)


def losses_within(average: Rate) -> bool:
    """Whether the factors are per kWh delivered, so that network losses are counted in."""
    return bool(average.factors) and all(factor.delivered for factor in average.factors)


def residual_rate(context: Context) -> tuple[Rate, str]:
    """The residual mix, and what stands in for it where none is published: the grid average, flagged."""
    city, registry = context.city, context.factors
    stand_in = context.choices.get(GAPS.name, "ne") == "estimate"

    def find(day: date) -> Factor:
        return registry.residual_mix(city.grid_zone, day, stand_in=stand_in)

    found = rate(context.period.time, context.period.zone, find)
    if found.factors:
        return found, ""
    return average_rate(context), "grid average"
