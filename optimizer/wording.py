"""The sentences of reasons, in every language that they come in."""

from __future__ import annotations

from collections.abc import Mapping

SENTENCES: Mapping[str, Mapping[str, str]] = {
    "charge_paid": {
        "en": "charges: the price is {price} {currency}/MWh, below zero",
        "ja": "充電：価格が{price} {currency}/MWhで、負である",
    },
    "charge_needed_cheapest": {
        "en": "charges: needed by {by} and this is the cheapest time left",
        "ja": "充電：{by}までに必要で、残り時間で最も安い",
    },
    "charge_needed": {
        "en": "charges: needed by {by}, and cheaper times are used in full",
        "ja": "充電：{by}までに必要で、より安い時間は使い切っている",
    },
    "charge_resale": {
        "en": "charges: {price} {currency}/MWh now, discharged at {other}",
        "ja": "充電：現在{price} {currency}/MWh、放電時{other} {currency}/MWh",
    },
    "charge": {
        "en": "charges: {price} {currency}/MWh now",
        "ja": "充電：現在{price} {currency}/MWh",
    },
    "discharge_refilled": {
        "en": "discharges: {price} {currency}/MWh now, refilled at {other}",
        "ja": "放電：現在{price} {currency}/MWh、再充電時{other} {currency}/MWh",
    },
    "discharge_stored": {
        "en": "discharges: {price} {currency}/MWh now, charged at {other}",
        "ja": "放電：現在{price} {currency}/MWh、充電時{other} {currency}/MWh",
    },
    "discharge": {
        "en": "discharges: {price} {currency}/MWh now",
        "ja": "放電：現在{price} {currency}/MWh",
    },
    "wait_cheaper": {
        "en": "waits: {at} is {difference} {currency}/MWh cheaper",
        "ja": "待機：{at}は{difference} {currency}/MWh安い",
    },
    "wait_cheaper_full": {
        "en": "waits: {at} is {difference} {currency}/MWh cheaper and {limit} until {until}",
        "ja": "待機：{at}は{difference} {currency}/MWh安く、{limit}（{until}まで）",
    },
    "wait_full": {
        "en": "waits: {limit} until {until}",
        "ja": "待機：{limit}（{until}まで）",
    },
    "wait": {
        "en": "waits: charging at {at} costs no more",
        "ja": "待機：{at}の充電でも費用は増えない",
    },
    "hold": {
        "en": "holds: at {at} a MWh is worth {difference} {currency} more",
        "ja": "保持：{at}には1 MWhの価値が{difference} {currency}高い",
    },
    "idle_met": {
        "en": "idle: what is needed by {by} is in the battery",
        "ja": "休止：{by}までの必要量は充電済み",
    },
    "idle": {
        "en": "idle: nothing to gain at {price} {currency}/MWh",
        "ja": "休止：{price} {currency}/MWhでは利得がない",
    },
    "idle_none": {
        "en": "idle: nothing is available",
        "ja": "休止：出力がない",
    },
    "away": {
        "en": "away: not connected",
        "ja": "不在：未接続",
    },
    "curtail_full": {
        "en": "curtailed: {limit}",
        "ja": "出力抑制：{limit}",
    },
    "curtail_price": {
        "en": "curtailed: power is worth {price} {currency}/MWh here",
        "ja": "出力抑制：ここでの電力の価値は{price} {currency}/MWh",
    },
    "shed": {
        "en": "sheds load: power costs {price} {currency}/MWh here",
        "ja": "負荷遮断：ここでの電力価格は{price} {currency}/MWh",
    },
    "shed_full": {
        "en": "sheds load: {limit}",
        "ja": "負荷遮断：{limit}",
    },
    "feed": {
        "en": "feeds in: power is worth {price} {currency}/MWh here",
        "ja": "出力：ここでの電力の価値は{price} {currency}/MWh",
    },
    "draw": {
        "en": "draws: power costs {price} {currency}/MWh here",
        "ja": "受電：ここでの電力価格は{price} {currency}/MWh",
    },
}
FULL: Mapping[str, Mapping[str, str]] = {
    "import_limit_kw": {"en": "import limit of {name} is full", "ja": "{name}の受電上限に達している"},
    "export_limit_kw": {"en": "export limit of {name} is full", "ja": "{name}の逆潮流上限に達している"},
    "loading_percent": {"en": "{name} is full", "ja": "{name}の容量上限に達している"},
    "vm_pu": {"en": "the voltage at {name} is at its limit", "ja": "{name}の電圧が限度に達している"},
}
ELEMENTS: Mapping[str, str] = {"line": "線路", "trafo": "変圧器", "trafo3w": "三巻線変圧器", "bus": "母線"}


def money(amount: float) -> str:
    """A price in words: whole numbers, below ten with one decimal."""
    text = f"{amount:.0f}" if abs(amount) >= 10 else f"{amount:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def full(kind: str, name: str, language: str) -> str:
    """That a limit is full; grid elements are named in the language, ids are not translated."""
    table, _, index = name.partition(" ")
    if language == "ja" and not kind.endswith("_kw"):
        name = ELEMENTS.get(table, table) + index
    return FULL[kind][language].format(name=name)
