"""The marginal ledger as a report shows it: by district, kind of asset and connection, never added up."""

from __future__ import annotations

from energy.carbon.breakdown import By, amounts
from energy.carbon.marginal import Marginal, MarginalMethod
from energy.carbon.rates import Amount
from energy.domain.period import CITY
from energy.domain.report import Cell, Column, Figure, Table, Words
from energy.service.reports.figures import AT_MARGIN, figure, span, words
from energy.service.reports.registry import Choice, Context

KINDS = {
    "load": words("Loads", "需要"),
    "renewable": words("Renewables", "再エネ"),
    "battery": words("Batteries", "蓄電池"),
    "ev": words("EVs", "EV"),
    "generator": words("Generators", "発電機"),
    "chp": words("Combined heat and power", "コージェネレーション"),
    "heat_pump": words("Heat pumps", "ヒートポンプ"),
    "hydrogen_station": words("Hydrogen stations", "水素ステーション"),
    "swap_station": words("Swap stations", "電池交換ステーション"),
    "shiftable_load": words("Shiftable loads", "シフト可能需要"),
}
"""How reports name the types of the dispatcher's registry; others stand by their own name."""


BY = Choice("marginal", ("kinds", "assets"), "kinds")


def marginal_table(context: Context, ledger: Marginal) -> Table:
    """What a kWh more would have caused: the connection, each district, each kind of asset; each asset
    where that is chosen."""
    by: tuple[By, ...] = ("district", "kind")
    if context.choices.get(BY.name) == "assets":
        by += ("asset",)
    names = {f"district/{key}": words(name, name) for key, name in context.place.items()}
    for asset in context.period.assets:
        names[f"kind/{asset.kind}"] = KINDS.get(asset.kind, words(asset.kind, asset.kind))
        names[f"asset/{asset.id}"] = words(asset.name, asset.name)
    found = amounts(context.period, ledger, *by)
    rows = [
        _row(context, ledger, "connection", words("Connection", "連系点"), ledger.of_connection()),
        *(
            _row(context, ledger, place, names[place], amount)
            for place, amount in found.items()
            if place != CITY
        ),
    ]
    return Table(
        "marginal",
        words("At the margin (not to be added)", "限界（合算不可）"),
        (
            Column("place", words("Place or kind of asset", "場所・設備の種類")),
            Column("net_mwh", words("Net draw", "正味受電量"), "MWh"),
            Column("marginal_kg", words("What it causes", "引き起こす排出量"), "kg"),
            Column("g_per_kwh", words("Per kWh", "1 kWhあたり"), "g/kWh"),
        ),
        tuple(rows),
        words(
            "What the net draw causes in the whole system at its place and time. The connection, the "
            "districts, the kinds of assets and the assets are views of the same energy.",
            "その場所・時間の正味受電が系統全体に引き起こす排出量。連系点・地区・設備の種類・設備は同じ電力量の"
            "別々の見方である。",
        ),
    )


def rates_of_upstream(ledger: Marginal) -> tuple[Words, ...]:
    """What a reader must know where days have no marginal rates of their own dispatch."""
    if ledger.method != "marginal-mixed":
        return ()
    share = 1.0 - ledger.share_by_dispatch
    return (
        words(
            f"The dispatch of {share:.1%} of the hours has no marginal rates (needs were unserved, or the "
            "day was stored without them): there the upstream's marginal intensity counts at every bus.",
            f"{share:.1%}の時間は給電計画の限界係数がなく（需要の未充足、または係数なしで保存された日）、"
            "全母線に上位系統の限界炭素強度を適用した。",
        ),
    )


def _row(context: Context, ledger: Marginal, key: str, title: Words, amount: Amount) -> tuple[Cell, ...]:
    at, days = f"marginal/{key}", span(context.period)
    kg = caused(f"{at}/kg", amount, ledger.method, days, context.energy_share)
    rate = figure(
        f"{at}/g_per_kwh",
        amount.g_per_kwh,
        "g/kWh",
        explanation="no net draw, or no marginal intensity is known",
        ledger="marginal",
        method=ledger.method,
        estimated_share=max(context.energy_share, amount.estimated_share),
        parts=(f"{at}/kg", f"{at}/mwh"),
        rule="ratio",
        days=days,
    )
    return (
        title,
        figure(f"{at}/mwh", amount.mwh, "MWh", estimated_share=context.energy_share, days=days),
        kg,
        rate,
    )


def caused(
    key: str,
    amount: Amount | None,
    method: MarginalMethod,
    days: tuple[str, str] | None,
    estimated_share: float = 0.0,
) -> Figure:
    """The kg that `amount` caused at the margin, NE without one; `estimated_share` of its energy at least."""
    return figure(
        key,
        float("nan") if amount is None else amount.kg,
        "kg",
        explanation="no marginal intensity of the upstream grid is known",
        ledger="marginal",
        method=method,
        estimated_share=0.0 if amount is None else max(estimated_share, amount.estimated_share),
        inputs=AT_MARGIN,
        days=days,
    )
