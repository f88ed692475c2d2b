"""What stands in the cells of report files: numbers as they are read, words that all formats share."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping

from babel.numbers import format_decimal

from energy.domain.city import BOUNDARY
from energy.domain.report import Edition, Figure, Language, Report, Table, Words

WORDS: Mapping[str, Words] = {
    "activity": {"en": "Activity data", "ja": "活動量の質"},
    "after": {"en": "After", "ja": "変更後"},
    "approved": {"en": "Approved", "ja": "承認済み"},
    "basis": {"en": "Basis", "ja": "範囲"},
    "before": {"en": "Before", "ja": "変更前"},
    "change_log": {"en": "Change log", "ja": "変更履歴"},
    "city": {"en": "City", "ja": "都市"},
    "code": {"en": "Code", "ja": "プログラム"},
    "complete_elsewhere": {
        "en": "The first {shown} of {rows} rows; all of them are in the XLSX, CSV and JSON files.",
        "ja": "全{rows}行のうち最初の{shown}行。全行はXLSX・CSV・JSONにある。",
    },
    "data_year": {"en": "Year of data", "ja": "データの年"},
    "day": {"en": "Day", "ja": "日"},
    "draft": {"en": "Draft", "ja": "下書き"},
    "edition": {"en": "Version", "ja": "版"},
    "others": {"en": "others", "ja": "その他"},
    "empty": {"en": "Nothing to show.", "ja": "該当なし。"},
    "estimated": {"en": "Estimated share", "ja": "推計の割合"},
    "explanation": {"en": "Explanation", "ja": "説明"},
    "factor": {"en": "Factor", "ja": "係数"},
    "factor_quality": {"en": "Factor quality", "ja": "係数の質"},
    "factors": {"en": "Factors", "ja": "排出係数"},
    "figure": {"en": "Figure", "ja": "数値"},
    "figures": {"en": "Figures and their quality", "ja": "数値とその質"},
    "gas_basis": {"en": "Gases", "ja": "対象ガス"},
    "hash": {"en": "Hash", "ja": "ハッシュ"},
    "high": {"en": "High", "ja": "上限"},
    "id": {"en": "Id", "ja": "ID"},
    "information": {"en": "Information", "ja": "情報"},
    "input": {"en": "Input", "ja": "入力"},
    "inputs": {"en": "Inputs", "ja": "入力データ"},
    "ledger": {"en": "Ledger", "ja": "算定方式"},
    "low": {"en": "Low", "ja": "下限"},
    "method": {"en": "Method", "ja": "方法"},
    "methods": {"en": "Methods", "ja": "算定方法"},
    "note": {"en": "Note", "ja": "注"},
    "notices": {"en": "What to know beforehand", "ja": "注意事項"},
    "no_change": {"en": "First version: nothing to compare with", "ja": "初版のため比較対象なし"},
    "notation": {"en": "Notation key", "ja": "注記記号"},
    "page": {"en": "Page", "ja": "ページ"},
    "period": {"en": "Period", "ja": "期間"},
    "publication_year": {"en": "Published", "ja": "公表年"},
    "published": {"en": "Published", "ja": "公表済み"},
    "quality": {"en": "Quality", "ja": "データの質"},
    "runs": {"en": "Runs", "ja": "計算"},
    "setting": {"en": "Setting", "ja": "設定"},
    "source": {"en": "Source", "ja": "出典"},
    "state": {"en": "State", "ja": "状態"},
    "status": {"en": "Status", "ja": "結果"},
    "unit": {"en": "Unit", "ja": "単位"},
    "validity": {"en": "Valid", "ja": "適用期間"},
    "value": {"en": "Value", "ja": "値"},
    "version": {"en": "Version", "ja": "版"},
    "zone": {"en": "Zone", "ja": "地域"},
}
SETTINGS: Mapping[str, Words] = {
    "activity_quality": {
        "en": "Data quality of the city's meters (GPC table 5.3)",
        "ja": "計測データの質（GPC表5.3）",
    },
    "account": {"en": "account of their own", "ja": "独立の勘定"},
    "aggregated": {"en": "local generation first (aggregated)", "ja": "地域内発電を優先（集約）"},
    "all": {"en": "all, side by side", "ja": "すべて（並記）"},
    "annual": {"en": "annual", "ja": "年間"},
    "asset": {"en": "asset", "ja": "設備"},
    "assets": {"en": "kinds and single assets", "ja": "種類と個々の設備"},
    "basis": {"en": "Basis of factors", "ja": "係数の範囲"},
    "by": {"en": "Cut by", "ja": "内訳"},
    "cfe": {"en": "24/7 carbon-free", "ja": "24/7カーボンフリー率"},
    "city": {"en": "city", "ja": "都市"},
    "connection": {"en": "connection", "ja": "接続点"},
    "coupling": {"en": "Coupling of local generation", "ja": "地域内発電の扱い"},
    "day": {"en": "day", "ja": "日"},
    "day-ahead": {"en": "day-ahead", "ja": "前日計画"},
    "direct": {"en": "direct", "ja": "直接"},
    "district": {"en": "district", "ja": "地区"},
    "estimate": {"en": "nearest factor, as an estimate", "ja": "最も近い係数で推計"},
    "first_month": {"en": "First month of the reporting year", "ja": "報告年度の開始月"},
    "gaps": {"en": "Days without a valid factor", "ja": "有効な係数がない日"},
    "generators": {"en": "on generators", "ja": "発電側に配分"},
    "grid-average": {"en": "official grid average", "ja": "公式の系統平均"},
    "gwp": {"en": "Warming potentials of entries", "ja": "入力の地球温暖化係数"},
    "hours": {"en": "Hours without a stored day", "ja": "保存日のない時間"},
    "hour": {"en": "hour", "ja": "時間"},
    "hourly": {"en": "hourly", "ja": "時間別"},
    "information": {"en": "Information of the plans", "ja": "計画の情報"},
    "kind": {"en": "kind of asset", "ja": "設備の種類"},
    "kinds": {"en": "kinds of assets", "ja": "設備の種類"},
    "ledger": {"en": "Ledger", "ja": "算定方式"},
    "left-out": {"en": "left out", "ja": "除外"},
    "life-cycle": {"en": "life-cycle", "ja": "ライフサイクル"},
    "loads": {"en": "on loads", "ja": "需要側に配分"},
    "losses": {"en": "Losses", "ja": "損失"},
    "marginal": {"en": "Marginal ledger by", "ja": "限界勘定の内訳"},
    "market-based": {"en": "market-based", "ja": "マーケット基準"},
    "matching": {"en": "Matching of certificates", "ja": "証書の照合"},
    "month": {"en": "month", "ja": "月"},
    "ne": {"en": "not estimated (NE)", "ja": "推計しない（NE）"},
    "perfect": {"en": "perfect", "ja": "完全情報"},
    "resolution": {"en": "Resolution of the series", "ja": "時系列の間隔"},
    "same-hour-mean": {"en": "mean of the same clock hour, as an estimate", "ja": "同じ時刻の平均で推計"},
    "total": {"en": "whole period", "ja": "期間全体"},
    "traced": {"en": "traced", "ja": "追跡"},
    "year": {"en": "year", "ja": "年"},
    "zone": {"en": "Zone of the official factors", "ja": "公式係数の地域"},
}
"""Settings and their choices, for registry, files and pages alike; what is not here (a zone, a name) is
shown as it is."""
_UPSTREAM: Words = {"en": "Upstream", "ja": "上位系統"}
_LOCALE = {"en": "en_GB", "ja": "ja_JP"}
DIGITS = 4
"""Significant digits that people read; machines read all of them in JSON, CSV and XLSX."""
ROUNDING = 1e-12
"""What is smaller beside the largest of its unit in a table is what sums that cancel leave: people read 0."""


def number(value: float | None, language: Language, digits: int = DIGITS, beside: float = 0.0) -> str:
    """A number with its thousands grouped, to `digits` significant digits at least; empty where unknown.

    `beside` is the largest magnitude of its kind: what is only rounding beside it reads 0.
    """
    if value is None or not math.isfinite(value):
        return ""
    if isinstance(value, float) and abs(value) < ROUNDING * beside:
        value = 0.0
    if isinstance(value, int):
        text = format_decimal(value, locale=_LOCALE[language])
    elif abs(value) >= 1e15 or 0 < abs(value) < 1e-9:
        text = f"{value:.{digits - 1}e}"
    else:
        decimals = 0 if value == 0 else max(0, digits - 1 - math.floor(math.log10(abs(value))))
        pattern = "#,##0." + "#" * decimals
        text = format_decimal(round(value, decimals), format=pattern, locale=_LOCALE[language])
    return str(text).replace("-", "−")


def plain(text: str | Words, language: Language) -> str:
    """Text in one language; what lies beyond every district is called as pages call it."""
    said = text if isinstance(text, str) else text[language]
    return _UPSTREAM[language] if said == BOUNDARY else said


def shown(figure: Figure, language: Language, beside: float = 0.0) -> str:
    """A figure as people read it: its number, or the notation key that stands for it."""
    return number(figure.value, language, beside=beside) if figure.notation is None else figure.notation


def largest(table: Table) -> dict[str, float]:
    """The largest magnitude in a table by unit; that of a bare number is its column's."""
    found: dict[str, float] = defaultdict(float)
    for row in table.rows:
        for cell, column in zip(row, table.columns, strict=True):
            unit, value = (cell.unit, cell.value) if isinstance(cell, Figure) else (column.unit, cell)
            if isinstance(value, int | float) and math.isfinite(value):
                found[unit] = max(found[unit], abs(value))
    return found


def largest_beside(report: Report) -> dict[str, float]:
    """The largest magnitude beside each figure, by its key."""
    return {
        cell.key: most[cell.unit]
        for table in report.tables
        for most in [largest(table)]
        for row in table.rows
        for cell in row
        if isinstance(cell, Figure)
    }


def edition_line(edition: Edition, language: Language) -> str:
    """``Version 3, approved by N. N.``"""
    state = WORDS[edition.state][language]
    by = edition.approved_by
    if language == "ja":
        return f"第{edition.number}版・{state}" + (f"（承認者：{by}）" if by else "")
    return f"{WORDS['edition'][language]} {edition.number}, {state}" + (f" (by {by})" if by else "")


def settings(report: Report, language: Language) -> list[tuple[str, str]]:
    """Every choice that shaped the report, in words."""

    def said(key: str) -> str:
        return SETTINGS[key][language] if key in SETTINGS else key

    return [(said(name), said(value)) for name, value in report.settings.items()]


def harmless(text: str) -> str:
    """Text that no spreadsheet takes for a formula (OWASP, CSV injection)."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
