"""The market-based ledger of a report: the officer's instruments laid over the official use."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from energy.carbon.cfe import CarbonFree
from energy.carbon.grid_average import GridAverage
from energy.carbon.instruments import (
    Certificates,
    Contracts,
    certificate_faults,
    contract_faults,
    in_one_hour,
)
from energy.carbon.market_based import MarketBased, Matching, market_based
from energy.domain.errors import InputError
from energy.domain.factors import Factor
from energy.domain.report import Words
from energy.service.reports.figures import words
from energy.service.reports.official import FIRST_MONTH, residual_rate
from energy.service.reports.registry import Choice, Context

MATCHING = Choice("matching", ("annual", "hourly"), "annual")


@dataclass(frozen=True)
class Market:
    """What the instruments of a city cover in a period.

    Attributes:
        found: the ledger as chosen. hourly: matched by the hour, of certificates only those of one hour: for
            the 24/7 score, which what is certified for more than one hour does not serve.
        factors: of the rest. notices: what a reader must know of instruments and fallback.
    """

    found: MarketBased
    hourly: MarketBased
    factors: tuple[Factor, ...]
    notices: tuple[Words, ...]


def market(context: Context, ledger: GridAverage) -> Market:
    """The instruments over the use of `ledger`; `InputError` with every fault of both files."""
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

    matching: Matching = "hourly" if context.choices[MATCHING.name] == "hourly" else "annual"
    found = matched(certificates, matching)
    granular = Certificates(rows=tuple(row for row in certificates.rows if in_one_hour(row)))
    hourly = found if matching == "hourly" else matched(granular, "hourly")
    notices = _unknown(context, contracts, certificates)
    if fallback:
        notices = (
            *notices,
            words(
                "No residual mix is known for the zone: the grid average stands in, flagged as an estimate.",
                "残余ミックスが不明のため、系統平均を推計として代用する。",
            ),
        )
    return Market(found, hourly, residual.factors, notices)


def carbon_free(context: Context, ledger: MarketBased) -> CarbonFree:
    """The 24/7 score with what `ledger` has matched. Carbon-free are the technologies that the factors call
    renewable, and nuclear power."""
    free: Collection[str] = {
        factor.technology
        for factor in context.factors.factors
        if factor.kind == "generation" and (factor.renewable or factor.technology == "nuclear")
    }
    return CarbonFree(context.period, free, ledger)


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
