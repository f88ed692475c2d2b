"""``market-based``: contracts and certificates, what they cover, and the 24/7 score."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from energy.carbon.breakdown import cut, sums
from energy.carbon.cfe import score
from energy.carbon.market_based import MarketBased, MarketUse
from energy.carbon.rates import Amount
from energy.domain.report import Cell, Column, Figure, Report, Table
from energy.service.reports.figures import DISTRICT, figure, of_amount, span, words
from energy.service.reports.matched import MATCHING, Market, carbon_free, market
from energy.service.reports.official import (
    FIRST_MONTH,
    GAPS,
    HOURS,
    estimated_hours,
    official,
)
from energy.service.reports.registry import Context, report

CANCELLATIONS = "cancellations"


@report(
    "market-based",
    words("Market-based emissions", "マーケット基準の排出量"),
    words(
        "What do contracts and certificates cover, what is left at the residual mix, and how carbon-free is "
        "each hour?",
        "契約と証書は何を賄い、何が残余ミックスに残り、各時間はどれだけカーボンフリーか。",
    ),
    (MATCHING, GAPS, HOURS, FIRST_MONTH),
)
def market_based_report(context: Context) -> Report:
    """By district: contracts, certificates, rest, beside the official average; cancellations; 24/7."""
    ledger = official(context)
    instruments = market(context, ledger)
    found = instruments.found
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
    kept = {factor.key: factor for factor in (*ledger.factor.factors, *instruments.factors)}
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
        _scores(context, instruments),
        methods=("market-based", "grid-average", "cfe"),
        factors=tuple(kept.values()),
        inputs=context.officer.files,
        notices=(*estimated_hours(ledger), *instruments.notices),
    )


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


def _scores(context: Context, instruments: Market) -> Table:
    """The 24/7 score: contracts and certificates in their own hour, and beside it what matching as chosen
    claims."""
    of_districts = cut(context.period, "district", doubt=context.doubt)
    counts = {
        "own_hour": (carbon_free(context, instruments.hourly), of_districts),
        "claim": (carbon_free(context, instruments.found), of_districts),
    }
    found = sums(context.period, counts, np.zeros(1, dtype=np.int64))
    days = span(context.period)
    rows: list[tuple[Cell, ...]] = []
    for k, place in enumerate(of_districts.places):
        own_hour, claim = (score(found[name][:, 0, k]) for name in counts)
        if not own_hour.used_mwh:
            continue
        rows.append(
            (
                context.place[place.name] if place.above else context.city.name,
                figure(
                    f"{place.id}/cfe_score",
                    own_hour.score,
                    "",
                    ledger="cfe",
                    method="cfe",
                    estimated_share=own_hour.estimated_share,
                    inputs=("upstream mix",),
                    days=days,
                ),
                figure(
                    f"{place.id}/annual_match",
                    claim.annual_match,
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
