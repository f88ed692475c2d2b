"""The page Reports: what it shows of a stored report, in both languages."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from dashboard.language import LANGUAGES, Language
from dashboard.pages.reports import (
    faults_said,
    file_address,
    stored_periods,
    version_name,
    version_of,
    version_rows,
    version_view,
)
from dashboard.report_tables import explanation, figure_at, figure_words, report_tables, table_rows
from energy.domain.errors import Fault, InputError
from energy.domain.report import (
    Column,
    Edition,
    Figure,
    Report,
    ReportKey,
    State,
    StoredReport,
    Table,
    figure_id,
)
from energy.feeds.factors import load_factors
from energy.feeds.officer import OfficerInputs
from energy.service.period import days_of
from energy.service.reports.desk import Desk
from energy.store import Store
from tests.carbon.periods import build
from tests.dashboard.builders import town
from tests.dashboard.test_pages import words

DAY = "2016-06-21"
STORED = datetime(2026, 1, 1, 12, tzinfo=UTC)
KEY = ReportKey("town", "district-carbon", "2016-06-01/2016-06-15", "resolution=hour")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Desk, Report, Edition]:
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('reports') / 'store.db'}")
    desk = Desk(
        store.reports,
        lambda *_: build(7, date.fromisoformat(DAY), 1),
        lambda _: OfficerInputs(),
        lambda _: load_factors(),
        store.runs,
    )
    return desk, *desk.make(town(), "district-carbon", DAY)


def test_periods_are_years_months_and_days_of_which_something_is_stored() -> None:
    assert stored_periods(["2016-06-21", "2016-07-01", "2016-06-21"]) == [
        "2016", "2016-07", "2016-06", "2016-07-01", "2016-06-21",
    ]  # fmt: skip
    assert stored_periods([]) == []


def test_an_address_names_a_version_and_nothing_else() -> None:
    assert version_of("town", version_name(KEY, 3)) == (KEY, 3)
    for wrong in ("", "a|b|c", "a|b|c|x", "a|b|c|1|2"):
        assert version_of("town", wrong) is None


@pytest.mark.parametrize("lang", LANGUAGES)
def test_every_cell_shows_the_figure_of_the_report(made: tuple[Desk, Report, Edition], lang: str) -> None:
    _, report, _ = made
    say = Language(lang)
    for table in report.tables:
        rows = table_rows(table, say, ZoneInfo(report.zone))
        assert len(rows) == len(table.rows)
        for place, cells in enumerate(table.rows):
            for k, cell in enumerate(cells):
                if not isinstance(cell, Figure):
                    assert figure_at(report, table.id, place, k) is None
                    continue
                assert figure_at(report, table.id, place, k) == cell
                assert rows[place][f"c{k}"] == cell.value
                said = rows[place][f"c{k}_said"]
                assert bool(said["estimated"]) == (cell.estimated_share > 0 and cell.notation is None)
                assert bool(said["range"]) == (cell.low is not None and cell.low != cell.high)
    assert figure_at(report, "no such table", 0, 0) is None
    assert figure_at(report, report.tables[0].id, 10_000, 0) is None


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_version_offers_what_its_state_allows(made: tuple[Desk, Report, Edition], lang: str) -> None:
    _, report, _ = made
    say = Language(lang)
    allowed: dict[State, set[str]] = {
        "draft": {"report-approve"},
        "approved": {"report-publish"},
        "published": set(),
    }
    for state, offered in allowed.items():
        edition = Edition(1, "sha256:0", state, STORED)
        buttons = [
            part
            for piece in version_view(KEY, report, edition, say)
            for part in getattr(piece, "_traverse", list)()
            if getattr(part, "id", None) in ("report-approve", "report-publish")
        ]
        assert {part.id for part in buttons if not part.hidden} == offered


def test_files_are_asked_of_the_api_in_the_language_of_the_page() -> None:
    address = file_address(KEY, 2, "pdf", Language("ja"))
    assert address == (
        "/api/v1/cities/town/reports/district-carbon?period=2016-06-01%2F2016-06-15"
        "&variant=resolution%3Dhour&version=2&format=pdf&language=ja"
    )


def test_a_figure_leads_to_its_parts_and_runs(made: tuple[Desk, Report, Edition]) -> None:
    desk, report, edition = made
    key = next(key for key, figure in report.figures.items() if figure.parts)
    found = desk.explain(figure_id("town", report.name, report.period, key, edition.content))
    text = "\n".join(words(explanation(found, report, Language("en"))))
    for part in (key, *report.figures[key].parts[:5], found["id"], *(day.day for day in report.days)):
        assert part in text


def test_a_japanese_report_holds_no_english(made: tuple[Desk, Report, Edition]) -> None:
    _, report, edition = made
    say = Language("ja")
    view: list[Any] = [*version_view(KEY, report, edition, say), *report_tables(report, say)]
    stored = version_rows([StoredReport(KEY, edition)], say)
    assert stored[0]["state"] == "下書き"
    lines = "\n".join([*words(view), *words(stored)]).split("\n")
    assert [line for line in lines if re.search(r"[a-z]{3,} [a-z]{3,}", line)] == []


def test_reasons_of_an_inventory_are_in_the_readers_language(made: tuple[Desk, Report, Edition]) -> None:
    desk, _, _ = made
    report, _ = desk.make(town(), "city-inventory", DAY)
    found = {figure.explanation for figure in report.figures.values() if figure.explanation}
    assert "no figure has been entered" in found
    said = [Language("ja").engine(text) for reason in found for text in reason.split("; ")]
    assert [text for text in said if re.search(r"[a-z]{3,} [a-z]{3,}", text)] == []


def test_text_cells_are_said_in_the_readers_language_and_bare_numbers_sort_as_such() -> None:
    titles = ("activity", "source", "origin", "place", "amount")
    columns = tuple(Column(name, {"en": name, "ja": name}) for name in titles)
    cells = ("losses of grid electricity", "metered by the assets of the city", "metered", "boundary", -41.04)
    table = Table("lines", {"en": "lines", "ja": "lines"}, columns, (cells,))
    (row,) = table_rows(table, Language("ja"), ZoneInfo("Europe/Berlin"))
    assert [row[f"c{k}"] for k in range(4)] == ["系統電力のロス", "市内設備の計測値", "計測", "上位系統"]
    assert (row["c4"], row["c4_said"]["text"]) == (-41.04, "−41.04")
    (row,) = table_rows(table, Language("en"), ZoneInfo("Europe/Berlin"))
    assert [row[f"c{k}"] for k in range(4)] == [*cells[:3], "Upstream"]


def test_what_rounding_leaves_of_a_sum_that_cancels_reads_zero() -> None:
    column = Column("mwh", {"en": "exchange", "ja": "exchange"}, "MWh")
    cells = ((12.5,), (-12.5,), (Figure(key="city", value=-4.9e-15, unit="MWh"),), (-4.9e-15,))
    table = Table("exchange", {"en": "exchange", "ja": "exchange"}, (column,), cells)
    rows = table_rows(table, Language("en"), ZoneInfo("Europe/Berlin"))
    assert [row["c0_said"]["text"] for row in rows] == ["12.5", "−12.5", "0", "0"]
    assert [row["c0"] for row in rows] == [12.5, -12.5, -4.9e-15, -4.9e-15]


def test_a_page_shows_the_beginning_of_what_no_browser_holds(
    made: tuple[Desk, Report, Edition], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, report, _ = made
    say, districts = Language("en"), report.tables[0]
    said = f"The first 2 of {len(districts.rows)} rows; all of them are in the XLSX, CSV and JSON files."
    assert said not in list(words(report_tables(report, say)))
    monkeypatch.setattr("dashboard.report_tables.MOST_CELLS", 2 * len(districts.columns) + 1)
    assert len(table_rows(districts, say, ZoneInfo(report.zone))) == 2
    assert said in list(words(report_tables(report, say)))


def test_what_is_not_estimated_claims_no_estimate_and_an_empty_table_says_so(
    made: tuple[Desk, Report, Edition],
) -> None:
    _, report, _ = made
    say = Language("en")
    unknown = next(figure for figure in report.figures.values() if figure.notation == "NE")
    assert figure_words(replace(unknown, estimated_share=1.0), say) == {
        "text": "NE", "range": "", "estimated": "",
    }  # fmt: skip
    empty = replace(report, tables=(replace(report.tables[0], rows=()),))
    assert "Nothing to list" in list(words(report_tables(empty, say)))


def test_why_a_report_failed_is_said_in_japanese() -> None:
    """What no catalogue knows stays English, and says so to whoever reads it aloud."""
    japanese, english = Language("ja"), Language("en")
    with pytest.raises(InputError) as refused:
        days_of("June")
    (item,) = faults_said(refused.value.faults, "", japanese)
    assert item.lang == "ja"
    assert item.children.startswith("period: 'June'は期間ではありません")
    missing = (
        "town has no stored day in 2016-06 with perfect information; fill the store with "
        "`wattshed operate --from 2016-06-01 --to 2016-06-30`"
    )
    (told,) = faults_said((), missing, japanese)
    assert told.children.startswith("2016-06に保存された日がありません")
    assert faults_said((), missing, english)[0].children == missing
    (other,) = faults_said((Fault("targets.toml", "odd"),), "", japanese)
    assert (other.children, other.lang) == ("targets.toml: odd", "en")
    promoted = Fault("kpi 2016 version 1", "is draft and cannot become published; approve it first")
    assert "先に承認してください" in faults_said((promoted,), "", japanese)[0].children
