"""Why figures of carbon have no interval: each reason once, in both languages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import get_args

import numpy as np

from energy.carbon.year_end import ForecastMethod
from energy.domain.factors import Factor
from energy.domain.period import Period, ends_of
from energy.domain.report import Figure, Words
from energy.service.reports.figures import words

_OF_CARBON = ("traced", "grid-average", "market-based", "marginal", "entered")


def without_interval(
    period: Period, figures: Iterable[Figure], factors: Mapping[str, Factor]
) -> tuple[Words, ...]:
    """What keeps known figures of carbon from having an interval; `factors` by key."""
    lacking = [
        figure
        for figure in figures
        if figure.ledger in _OF_CARBON and figure.unit and figure.value is not None and figure.low is None
    ]
    ledgers = {figure.ledger for figure in lacking}
    notices = [*_of_days(period)] if "traced" in ledgers else []
    named = sorted({key for figure in lacking for key in figure.factors})
    rangeless = [key for key in named if key in factors and factors[key].low is None]
    if rangeless:
        listed = ", ".join(rangeless)
        notices.append(
            words(
                f"Figures made with these factors have no interval, their sources give no range: {listed}.",
                f"次の係数は出典に幅がないため、用いた数値に区間はない：{listed}。",
            )
        )
    if "marginal" in ledgers:
        notices.append(
            words(
                "Marginal figures have no interval: the upstream's marginal intensity is taken at one value, "
                "without a range.",
                "限界の数値に区間はない：上位系統の限界炭素強度は幅のない単一の値で扱うため。",
            )
        )
    if any(figure.ledger == "entered" or "inventory.csv" in figure.inputs for figure in lacking):
        notices.append(
            words(
                "The officer's entries are single numbers: they and what contains them have no interval.",
                "担当者の入力は単一の値であり、それを含む数値に区間はない。",
            )
        )
    if any(figure.rule == "its gases" for figure in lacking):
        notices.append(
            words(
                "Rows of some of the gases have no interval: ranges are of all gases together.",
                "一部のガスだけの行に区間はない：幅は全ガスの合計に対するものであるため。",
            )
        )
    if any(figure.rule in get_args(ForecastMethod) for figure in lacking):
        notices.append(
            words(
                "Of the year's end there is no interval: fewer than two of its months are known, or all are "
                "and the factor has no range.",
                "年末値に区間はない：既知の月が二つ未満、または全月が既知で係数に幅がないため。",
            )
        )
    return tuple(notices)


def _of_days(period: Period) -> Iterable[Words]:
    """Of traced carbon: days without both ends."""
    old = period.without_ends
    if old:
        yield words(
            f"{len(old)} days ({old[0]} … {old[-1]}) were stored without the low and high ends of their "
            "carbon: figures with them have no interval; `wattshed operate` plans them again.",
            f"{len(old)}日（{old[0]} … {old[-1]}）は炭素の下限・上限なしで保存されており、"
            "含む数値に区間はない。`wattshed operate`で再計画できる。",
        )
    carbon = period.actual.city["end_use_kg"]
    unknown = np.isfinite(carbon) & np.isnan(ends_of(period.actual.city, "end_use_kg")[0])
    days = {
        f"{at.astimezone(period.zone).date()}" for at, lost in zip(period.time, unknown, strict=True) if lost
    }
    if count := len(days - set(old)):
        yield words(
            f"On {count} days the upstream intensity, the factor of a plant or the carbon of a storage has "
            "no range: traced figures with them have no interval.",
            f"{count}日は上位系統の炭素強度、発電所の係数または蓄電池の炭素に幅がなく、"
            "含む追跡値に区間はない。",
        )
