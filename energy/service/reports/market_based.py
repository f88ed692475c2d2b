"""``market-based``: contracts and certificates, what they cover, and the 24/7 score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from energy.carbon.cfe import CarbonFreeScore, carbon_free_scores
from energy.carbon.instruments import (
    Certificates,
    Contracts,
    certificate_faults,
    contract_faults,
    in_one_hour,
)
from energy.carbon.market_based import MarketBased, MarketUse, Matching, market_based
from energy.carbon.rates import Amount
from energy.domain.errors import InputError
from energy.domain.factors import Factor
from energy.domain.report import Cell, Column, Figure, Report, Table, Words
from energy.service.reports.figures import DISTRICT, figure, of_amount, span, words
from energy.service.reports.official import (
    FIRST_MONTH,
    GAPS,
    HOURS,
    estimated_hours,
    official,
    residual_rate,
)
from energy.service.reports.registry import Choice, Context, report

CANCELLATIONS = "cancellations"
_MATCHING = Choice("matching", ("annual", "hourly"), "annual")


@report(
    "market-based",
    words("Market-based emissions", "マーケット基準の排出量"),
    words(
        "What do contracts and certificates cover, what is left at the residual mix, and how carbon-free is "
        "each hour?",
        "契約と証書は何を賄い、何が残余ミックスに残り、各時間はどれだけカーボンフリーか。",
    ),
    (_MATCHING, GAPS, HOURS, FIRST_MONTH),
)
def market_based_report(context: Context) -> Report:
    """By district: contracts, certificates, rest, beside the official average; cancellations; 24/7."""
    ledger = official(context)
    residual, fallback = residual_rate(context)
    contracts, certificates = _instruments(context)

    def matched(certificates: Certificates, matching: Matching) -> MarketBased:
        return market_based(
            context.period,
            ledger,
            residual,
            context.city.grid_zone,
            contracts,
            certificates,
            matching=matching,
            cancelled_mwh=context.cancelled_mwh,
            elsewhere=context.cancelled_elsewhere,
            fallback=fallback,
            first_month=int(context.choices[FIRST_MONTH.name]),
        )

    matching: Matching = "hourly" if context.choices[_MATCHING.name] == "hourly" else "annual"
    found = matched(certificates, matching)
    # the 24/7 score knows only hours: what is certified for more than one serves none of them
    granular = Certificates(rows=tuple(row for row in certificates.rows if in_one_hour(row)))
    hourly = found if matching == "hourly" else matched(granular, "hourly")
    days = span(context.period)
    uses = {**found.by_district(), "": found.city()}
    average = {**ledger.by_district(), "": ledger.city()}
    rows: list[tuple[Cell, ...]] = []
    for place, use in uses.items():
        at, name = (f"district/{place}", context.place[place]) if place else ("city", context.city.name)
        beside = of_amount(
            f"{at}/grid_average_kg",
            average[place].scope2,
            ledger="grid-average",
            method="grid-average",
            factors=ledger.factor.factor_keys,
            explanation="; ".join(ledger.factor.gaps) or "no official factor is known",
            days=days,
        )
        rows.append((name, *_use(context, at, use, found), beside))
    kept = {factor.key: factor for factor in (*ledger.factor.factors, *residual.factors)}
    factors: tuple[Factor, ...] = tuple(kept.values())
    notices = (*estimated_hours(ledger), *_unknown(context, contracts, certificates))
    if fallback:
        notices = (
            *notices,
            words(
                "No residual mix is known for the zone: the grid average stands in, flagged as an estimate.",
                "残余ミックスが不明のため、系統平均を推計として代用する。",
            ),
        )
    return context.report(
        "market-based",
        Table(
            "uses",
            words("What covers the use", "使用電力量の内訳"),
            (
                DISTRICT,
                Column("contract_mwh", words("Contracts", "契約"), "MWh"),
                Column("contract_kg", words("Contracts", "契約"), "kg"),
                Column("certificate_mwh", words("Certificates", "証書"), "MWh"),
                Column("certificate_kg", words("Certificates", "証書"), "kg"),
                Column("rest_mwh", words("Rest", "残余"), "MWh"),
                Column("rest_kg", words("Rest", "残余"), "kg"),
                Column("market_based_kg", words("Market-based", "マーケット基準"), "kg"),
                Column(
                    "grid_average_kg", words("Grid average, not to be added", "系統平均（合算不可）"), "kg"
                ),
            ),
            tuple(rows),
        ),
        _cancellations(found, context.cancelled_mwh),
        _scores(context, hourly, found),
        methods=("market-based", "grid-average", "cfe"),
        factors=factors,
        inputs=context.officer.files,
        notices=notices,
    )


def _instruments(context: Context) -> tuple[Contracts, Certificates]:
    """The officer's instruments; `InputError` with every fault of both files, of cells and of meaning."""
    period, zone = context.period, context.city.grid_zone
    contracts, unread_contracts = Contracts.read(context.officer.contracts)
    certificates, unread = Certificates.read(context.officer.certificates)
    if unread_contracts or unread:
        hourly = context.choices["matching"] == "hourly"
        raise InputError(
            [
                *unread_contracts,
                *contract_faults(contracts, period, zone),
                *unread,
                *certificate_faults(
                    certificates,
                    period,
                    zone,
                    context.cancelled_mwh,
                    hourly=hourly,
                    elsewhere=context.cancelled_elsewhere,
                ),
            ]
        )
    return contracts, certificates


def _use(context: Context, at: str, use: MarketUse, found: MarketBased) -> tuple[Cell, ...]:
    days = span(context.period)
    why = "; ".join(found.residual.gaps) or "no factor of the rest is known"

    def pair(name: str, amount: Amount, inputs: tuple[str, ...]) -> tuple[Figure, Figure]:
        kg = of_amount(
            f"{at}/{name}_kg",
            amount,
            ledger="market-based",
            method="market-based",
            factors=found.residual.factor_keys if name == "rest" else (),
            explanation=why,
            days=days,
        )
        return (
            figure(
                f"{at}/{name}_mwh",
                amount.mwh,
                "MWh",
                estimated_share=context.energy_share,
                inputs=inputs,
                days=days,
            ),
            replace(kg, inputs=inputs),
        )

    total = of_amount(
        f"{at}/market_based_kg",
        use.total,
        ledger="market-based",
        method="market-based",
        explanation=why,
        days=days,
    )
    parts = (
        *pair("contract", use.contracts, ("contracts.csv",)),
        *pair("certificate", use.certificates, ("certificates.csv",)),
        *pair("rest", use.rest, ()),
    )
    keys = tuple(part.key for part in parts if part.unit == "kg")
    return (*parts, replace(total, parts=keys, rule="sum"))


def _cancellations(found: MarketBased, before: Mapping[str, float]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            cancelled.certificate,
            cancelled.issuer,
            cancelled.consumer,
            figure(f"cancelled/{cancelled.certificate}", cancelled.mwh, "MWh", inputs=("certificates.csv",)),
            found.left_mwh.get(cancelled.certificate, 0.0),
            before.get(cancelled.certificate, 0.0),
        )
        for cancelled in found.cancellations
    ]
    return Table(
        CANCELLATIONS,
        words("Certificates cancelled", "償却した証書"),
        (
            Column("certificate", words("Certificate", "証書")),
            Column("issuer", words("Issuer", "発行者")),
            Column("consumer", words("For", "対象")),
            Column("mwh", words("Cancelled", "償却量"), "MWh"),
            Column("left_mwh", words("Left", "残り"), "MWh"),
            Column("before_mwh", words("Cancelled before", "償却済み"), "MWh"),
        ),
        tuple(rows),
        words(
            f"Not of this period: {', '.join(found.outside) or 'none'}.",
            f"この期間外の証書：{', '.join(found.outside) or 'なし'}。",
        ),
    )


def _carbon_free(context: Context) -> set[str]:
    """Technologies that count as carbon-free: those the factors call renewable, and nuclear power."""
    return {
        factor.technology
        for factor in context.factors.factors
        if factor.kind == "generation" and (factor.renewable or factor.technology == "nuclear")
    }


def _unknown(context: Context, contracts: Contracts, certificates: Certificates) -> tuple[Words, ...]:
    """Instruments of a technology that the factors do not know: carbon-free or not, nobody can tell."""
    known = context.factors.technologies
    named = {row.technology for row in contracts.rows} | {row.technology for row in certificates.rows}
    found = sorted(named - known - {""})
    if not found:
        return ()
    names, choice = ", ".join(found), ", ".join(sorted(known))
    return (
        words(
            "Technologies of contracts or certificates that no factor has count as carbon-free nowhere: "
            f"{names}. Known: {choice}.",
            f"契約・証書のうち係数表にない技術はカーボンフリーに算入されない：{names}。既知の技術：{choice}。",
        ),
    )


def _scores(context: Context, hourly: MarketBased, found: MarketBased) -> Table:
    """24/7 by district: local carbon-free plants, contracts and certificates in their own hour, and beside
    it what matching as in `found` claims."""
    free = _carbon_free(context)

    def scores(ledger: MarketBased) -> dict[str, CarbonFreeScore]:
        contracted = sum(
            (mwh for technology, mwh in ledger.matched_mwh.items() if technology in free),
            start=0.0 * context.period.actual.districts["energy_mwh"],
        )
        return carbon_free_scores(context.period, free, contracted)

    claims = scores(found)
    days = span(context.period)
    rows: list[tuple[Cell, ...]] = []
    for place, score in scores(hourly).items():
        at, name = (
            ("city", context.city.name) if place == "city" else (f"district/{place}", context.place[place])
        )
        rows.append(
            (
                name,
                figure(
                    f"{at}/cfe_score",
                    score.score,
                    "",
                    ledger="cfe",
                    method="cfe",
                    estimated_share=context.traced_share(),
                    inputs=("upstream mix",),
                    days=days,
                ),
                figure(
                    f"{at}/annual_match",
                    claims[place].annual_match,
                    "",
                    ledger="cfe",
                    method="cfe",
                    estimated_share=context.energy_share,
                    days=days,
                ),
            )
        )
    return Table(
        "cfe",
        words("24/7 carbon-free score", "24/7カーボンフリー率"),
        (
            DISTRICT,
            Column("cfe_score", words("In its own hour", "時間一致")),
            Column("annual_match", words("What matching by the year would claim", "年間照合での主張値")),
        ),
        tuple(rows),
    )
