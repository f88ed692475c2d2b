"""``avoided``: what control has avoided, in the terms of a crediting mechanism."""

from __future__ import annotations

from collections.abc import Callable

from energy.carbon.avoided import Statement, avoided
from energy.domain.report import Cell, Column, Ledger, Report, Table
from energy.service.reports.figures import AT_MARGIN, TRACED, figure, span, words
from energy.service.reports.registry import Context, report

_ROWS = (
    ("average", "tracing", words("Average: traced sources", "平均：追跡した供給源")),
    ("marginal", "marginal", words("Marginal: net imports", "限界：正味受電")),
)


@report(
    "avoided",
    words("Avoided emissions", "削減貢献量"),
    words(
        "How much less was emitted than without control, and how sure is that?",
        "制御がない場合に比べて排出はどれだけ減り、どの程度確かか。",
    ),
)
def avoided_emissions(context: Context) -> Report:
    """Baseline, project, leakage, reduction and interval by both methods; never added to an inventory."""
    found = avoided(context.period)
    statements = {"average": found.average, "marginal": found.marginal}
    table = Table(
        "statements",
        words("Statements", "計算結果"),
        (
            Column("method", words("Method", "方法")),
            Column("baseline_kg", words("Baseline: without control", "ベースライン：制御なし"), "kg"),
            Column("project_kg", words("Project: what happened", "プロジェクト：実績"), "kg"),
            Column("leakage_kg", words("Leakage: less left in storages", "リーケージ：蓄電残量の差"), "kg"),
            Column("reduction_kg", words("Reduction", "削減量"), "kg"),
        ),
        tuple((title, *_figures(context, key, statements[key], method)) for key, method, title in _ROWS),
        words(
            "The two answer different questions and are never added. The marginal one is NE without an "
            "upstream marginal intensity.",
            "二つの数値は異なる問いへの答えであり、合算しない。上位系統の限界強度がない場合、限界はNEとする。",
        ),
    )
    days = span(context.period)
    energy = Table(
        "energy",
        words("Energy behind it", "背景となる電力量"),
        (Column("quantity", words("Quantity", "項目")), Column("mwh", words("Energy", "電力量"), "MWh")),
        tuple(
            (
                title,
                figure(
                    f"energy/{key}",
                    value,
                    "MWh",
                    method="avoided",
                    estimated_share=context.energy_share,
                    days=days,
                ),
            )
            for key, value, title in (
                ("import_change_mwh", found.import_change_mwh, words("Change of imports", "受電量の変化")),
                ("moved_mwh", found.moved_mwh, words("Moved in time", "時間移動した電力量")),
                (
                    "storage_change_mwh",
                    found.storage_change_mwh,
                    words("More left in storages", "蓄電残量の増加"),
                ),
            )
        ),
        words(
            f"Over the {found.hours} hours that baseline and project both know.",
            f"ベースラインとプロジェクトの両方が既知の{found.hours}時間を対象とする。",
        ),
    )
    return context.report("avoided", table, energy, methods=("avoided", "tracing", "marginal", "interval"))


def _figures(context: Context, key: str, found: Statement, method: str) -> tuple[Cell, ...]:
    days = span(context.period)
    why = "no marginal intensity of the upstream grid is known" if key == "marginal" else "no hour is known"
    parts = tuple(f"{key}/{name}" for name in ("baseline_kg", "project_kg", "leakage_kg"))
    values: tuple[Callable[[Statement], float], ...] = (
        lambda statement: statement.baseline_kg,
        lambda statement: statement.project_kg,
        lambda statement: statement.storage_leakage_kg,
    )
    low, high = found.at_ends(lambda statement: statement.reduction_kg)
    ledger: Ledger = "marginal" if key == "marginal" else "traced"
    inputs = AT_MARGIN if key == "marginal" else TRACED
    share = max(context.energy_share, found.estimated_share)
    return (
        *(
            figure(
                name, value(found), "kg", explanation=why, low=found.at_ends(value)[0],
                high=found.at_ends(value)[1], ledger=ledger, method=method, estimated_share=share,
                inputs=inputs, days=days,
            )
            for name, value in zip(parts, values, strict=True)
        ),
        figure(
            f"{key}/reduction_kg", found.reduction_kg, "kg", explanation=why, low=low,
            high=high, ledger=ledger, method="avoided", estimated_share=share, inputs=inputs,
            parts=parts, rule="baseline − project − leakage", days=days,
        ),
    )  # fmt: skip
