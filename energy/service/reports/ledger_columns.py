"""The ledgers side by side: which of them a report asks for, and the columns that show each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from energy.carbon.breakdown import ROWS, Ledger
from energy.carbon.marginal import marginal
from energy.carbon.traced import Traced
from energy.domain.factors import Factor
from energy.domain.network import FloatArray
from energy.domain.report import Ledger as Rule
from energy.domain.report import Words
from energy.service.reports.at_margin import rates_of_upstream
from energy.service.reports.figures import AT_MARGIN, TRACED, words
from energy.service.reports.matched import carbon_free, market
from energy.service.reports.official import official
from energy.service.reports.registry import Choice, Context

ALL = "all"
LEDGER = Choice("ledger", (ALL, "traced", "grid-average", "market-based", "marginal", "cfe"), ALL)
Read = Callable[[FloatArray], tuple[FloatArray, FloatArray, FloatArray, FloatArray]]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """A column of numbers: `read` finds value, low and high end and estimated share in the sums `of` a
    ledger, each of shape (intervals, places). Those that are `additive` are sums of the places below."""

    id: str
    title: Words
    unit: str
    of: str
    read: Read
    rule: Rule = "none"
    method: str = ""
    factors: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    unknown: str = ""
    additive: bool = True


@dataclass
class Chosen:
    """What the chosen ledgers bring to the report."""

    ledgers: dict[str, Ledger] = field(default_factory=dict)
    quantities: list[Quantity] = field(default_factory=list)
    methods: list[str] = field(default_factory=list)
    factors: dict[str, Factor] = field(default_factory=dict)
    notices: list[Words] = field(default_factory=list)


def choose(context: Context) -> Chosen:
    """The ledgers that are asked for, and the columns that show them."""
    chosen, period = Chosen(), context.period
    asked = context.choices[LEDGER.name]
    wanted = LEDGER.values[1:] if asked == ALL else (asked,)
    if "traced" in wanted:
        chosen.ledgers["traced"] = Traced(period)
        chosen.methods += ["tracing", "tank", "interval"]
        chosen.quantities.append(_net_use("traced"))
        chosen.quantities.append(
            Quantity(
                id="traced_kg",
                title=words("Traced", "追跡"),
                unit="kg",
                of="traced",
                read=_kg(),
                rule="traced",
                method="tracing",
                inputs=TRACED,
            )
        )
    if {"grid-average", "market-based", "cfe"} & {*wanted}:
        _add_official(context, chosen, wanted)
    if "marginal" in wanted:
        at_margin = marginal(period)
        chosen.ledgers["marginal"] = at_margin
        chosen.methods.append(at_margin.method)
        chosen.notices += rates_of_upstream(at_margin)
        chosen.quantities += [
            Quantity(
                id="net_mwh",
                title=words("Net draw, generation deducted", "正味受電量（発電控除）"),
                unit="MWh",
                of="marginal",
                read=_mwh(),
            ),
            Quantity(
                id="marginal_kg",
                title=words("At the margin", "限界"),
                unit="kg",
                of="marginal",
                read=_kg(),
                rule="marginal",
                method=at_margin.method,
                inputs=AT_MARGIN,
                unknown="no marginal intensity of the upstream grid is known",
            ),
        ]
    # the score stands last: it is no carbon
    chosen.quantities.sort(key=lambda quantity: quantity.rule == "cfe")
    return chosen


def _add_official(context: Context, chosen: Chosen, wanted: tuple[str, ...]) -> None:
    """The official ledger, and what contracts and certificates make of the same use."""
    average = official(context)
    if "grid-average" in wanted:
        chosen.ledgers["grid-average"] = average
        chosen.methods.append("grid-average")
        chosen.factors |= {factor.key: factor for factor in average.factor.factors}
        if "traced" not in wanted:
            chosen.quantities.append(_net_use("grid-average"))
        chosen.quantities.append(
            Quantity(
                id="grid_average_kg",
                title=words("Official grid average", "公式の系統平均"),
                unit="kg",
                of="grid-average",
                read=_kg(),
                rule="grid-average",
                method="grid-average",
                factors=average.factor.factor_keys,
                unknown="; ".join(average.factor.gaps) or "no official factor is known",
            )
        )
        if average.losses is not None:
            chosen.factors |= {factor.key: factor for factor in average.losses.factors}
            chosen.quantities.append(
                Quantity(
                    id="losses_kg",
                    title=words("Official losses (scope 3)", "公式の送配電損失（スコープ3）"),
                    unit="kg",
                    of="grid-average",
                    read=_kg(1),
                    rule="grid-average",
                    method="grid-average",
                    factors=average.losses.factor_keys,
                    unknown="; ".join(average.losses.gaps) or "no official loss factor is known",
                )
            )
    if not {"market-based", "cfe"} & {*wanted}:
        return
    instruments = market(context, average)
    chosen.notices += instruments.notices
    if "market-based" in wanted:
        found = instruments.found
        chosen.ledgers["market-based"] = found
        chosen.methods.append("market-based")
        chosen.factors |= {factor.key: factor for factor in instruments.factors}
        if found.cancellations:
            chosen.notices.append(
                words(
                    "This report shows what certificates cover and cancels none; `market-based` does.",
                    "本レポートは証書の充当を示すのみで償却しない。償却は`market-based`で行う。",
                )
            )
        if len(wanted) == 1:
            chosen.quantities.append(_net_use("market-based", 3))
        chosen.quantities += [
            Quantity(
                id="covered_mwh",
                title=words("Contracts and certificates", "契約・証書"),
                unit="MWh",
                of="market-based",
                read=_mwh(0, 2),
                inputs=("contracts.csv", "certificates.csv"),
            ),
            Quantity(
                id="market_based_kg",
                title=words("Market-based", "マーケット基準"),
                unit="kg",
                of="market-based",
                read=_kg(0, 3),
                rule="market-based",
                method="market-based",
                factors=found.residual.factor_keys,
                inputs=("contracts.csv", "certificates.csv"),
                unknown="; ".join(found.residual.gaps) or "no factor of the rest is known",
            ),
        ]
    if "cfe" in wanted:
        chosen.ledgers["cfe"] = carbon_free(context, instruments.hourly)
        chosen.methods.append("cfe")
        if len(wanted) == 1:
            chosen.quantities.append(
                Quantity(
                    id="used_mwh",
                    title=words("Use", "使用量"),
                    unit="MWh",
                    of="cfe",
                    read=_used,
                    additive=False,
                )
            )
        chosen.quantities.append(
            Quantity(
                id="cfe_score",
                title=words("24/7 carbon-free", "24/7カーボンフリー率"),
                unit="",
                of="cfe",
                read=_score,
                rule="cfe",
                method="cfe",
                inputs=("upstream mix",),
                unknown="nothing is used",
                additive=False,
            )
        )


def _net_use(of: str, parts: int = 1) -> Quantity:
    return Quantity(
        id="energy_mwh", title=words("Net use", "正味使用量"), unit="MWh", of=of, read=_mwh(0, parts)
    )


def _kg(first: int = 0, parts: int = 1) -> Read:
    """Carbon of some `Cut.tallies` in a row, taken together."""

    def read(tallied: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        kg, low, high, _, size, doubtful, _ = _together(tallied, first, parts)
        return kg, low, high, _share(doubtful, size)

    return read


def _mwh(first: int = 0, parts: int = 1) -> Read:
    """Their energy."""

    def read(tallied: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        _, _, _, mwh, size, _, doubtful = _together(tallied, first, parts)
        unknown = np.full_like(mwh, np.nan)
        return mwh, unknown, unknown, _share(doubtful, size)

    return read


def _together(tallied: FloatArray, first: int, parts: int) -> FloatArray:
    chosen = tallied[first * ROWS : (first + parts) * ROWS]
    return np.asarray(chosen.reshape(parts, ROWS, *chosen.shape[1:]).sum(axis=0))


def _score(tallied: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    met, used, _, doubtful, _ = tallied
    unknown = np.full_like(met, np.nan)
    score = np.divide(met, used, out=np.full_like(met, np.nan), where=used > 0)
    return score, unknown, unknown, _share(doubtful, used)


def _used(tallied: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    _, used, _, _, doubtful = tallied
    unknown = np.full_like(used, np.nan)
    return used, unknown, unknown, _share(doubtful, used)


def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.zeros_like(whole), where=whole > 0)
