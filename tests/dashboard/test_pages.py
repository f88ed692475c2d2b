"""Every page, rendered on the server for every state a reader can be in; no browser needed."""

from __future__ import annotations

import asyncio
import inspect
import re
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from dash import Dash
from fastapi import FastAPI
from fastapi.testclient import TestClient

from dashboard.app import content_security_policy, create_dashboard, render
from dashboard.language import LANGUAGES, Language, _catalogue
from dashboard.off_loop import off_loop
from dashboard.pages import pages
from dashboard.reading import MARGINAL, steps_words
from dashboard.view import View
from dashboard.visit import visit
from energy.carbon.targets import PRESETS
from energy.domain.city import SiteUnit
from energy.domain.errors import Fault
from energy.domain.plan import SeriesTable
from energy.domain.time import TimeGrid
from tests.dashboard.builders import DAY, TownService, day_plan, town

NO_LIKE_DAY = (
    "has no earlier workday in the data that was known at 2016-01-03T11:00:00Z; plan a later day, or plan "
    "with perfect information"
)
PATHS = [page.path for page in pages()]


def words(component: Any) -> Iterator[str]:
    """All text a component shows, speaks, or hands to the browser to show."""
    if isinstance(component, str):
        yield component
    elif isinstance(component, (list, tuple)):
        for part in component:
            yield from words(part)
    elif isinstance(component, dict):
        for key, value in component.items():
            if key in {
                "headerName",
                "label",
                "text",
                "noRowsToShow",
                "name",
                "state",
                "kind",
            }:
                yield from words(value)
            elif isinstance(value, (dict, list)):
                yield from words([part for part in (value if isinstance(value, list) else [value])
                                  if not isinstance(part, str)])  # fmt: skip
    elif hasattr(component, "to_plotly_json"):
        properties = component.to_plotly_json().get("props", {})
        spoken = ("children", "label", "placeholder", "title", "aria-label", "thumbLabel")
        for name in spoken:
            yield from words(properties.get(name))
        for name in ("columnDefs", "rowData", "dashGridOptions", "data", "figure"):
            value = properties.get(name)
            value = value.to_plotly_json() if hasattr(value, "to_plotly_json") else value
            if isinstance(value, (dict, list)):
                yield from words([item for item in (value if isinstance(value, list) else [value])
                                  if not isinstance(item, str)])  # fmt: skip


def shown(service: TownService, path: str, search: str = "") -> str:
    return re.sub(r"<[^>]+>", "\n", "\n".join(words(render(service, path, search)[0])))


@pytest.fixture
def service() -> TownService:
    return TownService(day_plan())


@pytest.mark.parametrize("path", PATHS)
def test_a_page_names_its_city_and_its_information(service: TownService, path: str) -> None:
    text = shown(service, path)
    assert town().name in text
    assert "Perfect information (replay)" in text
    assert "secure" in text


@pytest.mark.parametrize("day", ["2016-03-27", "2016-10-30", DAY])
@pytest.mark.parametrize("path", PATHS)
def test_a_page_shows_days_of_92_96_and_100_quarter_hours(path: str, day: str) -> None:
    assert town().name in shown(TownService(day_plan(day)), path, f"?day={day}&district=east")


@pytest.mark.parametrize("path", PATHS)
def test_day_ahead_is_labelled_and_its_third_case_is_offered(path: str) -> None:
    service = TownService(day_plan(information="day-ahead"))
    text = shown(service, path)
    assert "Day-ahead" in text
    if path in ("/grid", "/carbon"):
        assert "Actual" in text


def test_a_replayed_city_has_no_now_and_another_says_when_it_was_updated(service: TownService) -> None:
    assert "updated" not in shown(service, "/")
    assert "updated 13:00" in shown(TownService(day_plan(), city=town(replay=False)), "/")


def test_the_city_says_what_is_wrong_and_what_the_plan_does(service: TownService) -> None:
    text = shown(service, "/")
    assert (
        "Without control 1 element would go out of limits in 7 quarter-hours, Bus 4 in Ost & Hafen most: "
        "1.070 pu at 12:00 (limit 1.050 pu). Planned: 1.040 pu; 40 kW of generation curtailed, batteries "
        "charge 54 kW." in text
    )


def test_the_city_says_what_the_plan_could_not_hold() -> None:
    text = shown(TownService(day_plan(broken=True)), "/")
    assert (
        "Bus 4 in Ost & Hafen most: 1.070 pu at 12:00 (limit 1.050 pu). The plan could not hold it." in text
    )
    assert "limits not held: 1" in text


def test_the_city_is_calm_where_nothing_is_wrong() -> None:
    assert "No limit is reached" in shown(TownService(day_plan(overvoltage=False)), "/")


def test_a_day_ahead_plan_says_what_it_missed() -> None:
    text = shown(TownService(day_plan(information="day-ahead")), "/")
    assert "The forecast missed it: as the day came, 1 element went out of limits in 7 quarter-hours" in text
    assert "secure as forecast · 7 quarter-hours missed" in text
    assert "as it came" in text


def test_the_remedy_of_a_violation_stands_beside_it_in_the_readers_language() -> None:
    service = TownService(day_plan(broken=True))
    assert "0.31 MW less at bus 4 would clear it" in remedies_shown(service, "en")
    assert "母線 4 の需要を 0.31 MW 減らせば解消" in remedies_shown(service, "ja")


def test_marginal_emissions_are_shown_where_the_plan_has_them(service: TownService) -> None:
    heading = "What a kWh more emits, g CO₂e/kWh"
    text = shown(service, "/carbon")
    assert heading in text
    assert "lowest 640 at Bus 6" in text
    assert "highest 740 at Bus 1" in text
    links = [getattr(part, "href", "") or "" for part in render(service, "/carbon", "")[0]._traverse()]
    assert any("layer=marginal" in link and "element=bus+1" in link for link in links)
    assert "Marginal CO₂e" in shown(service, "/grid")
    plan = day_plan()
    without = {name: table for name, table in plan.tables.items() if name != MARGINAL}
    bare = TownService(replace(plan, tables=without))
    assert heading not in shown(bare, "/carbon")
    assert "Marginal CO₂e" not in shown(bare, "/grid", "?layer=marginal")


def test_what_lies_upstream_is_ranked_only_where_it_uses_energy(service: TownService) -> None:
    def ranked(of: TownService) -> set[str]:
        parts = render(of, "/", "")[0]._traverse()
        totals = next(part for part in parts if getattr(part, "id", None) == "totals")
        return {row["id"] for row in totals.data}

    assert ranked(service) == {"west", "east", "hill"}
    plan = day_plan()
    energy = plan.tables["planned.district.energy_mwh"]
    values = energy.values.copy()
    values[:, energy.columns.index("boundary")] = 0.1
    tables = {**plan.tables, "planned.district.energy_mwh": SeriesTable(energy.columns, values)}
    assert "boundary" in ranked(TownService(replace(plan, tables=tables)))


@pytest.mark.parametrize("path", [path for path in PATHS if path != "/inventory"])
def test_tables_speak_the_readers_language_when_empty_and_to_screen_readers(
    service: TownService, path: str
) -> None:
    page = render(service, path, "?lang=ja")[0]
    tables = [part for part in page._traverse() if type(part).__name__ == "AgGrid"]
    assert tables
    for table in tables:
        said = table.dashGridOptions["localeText"]
        keys = {"noRowsToShow", "noMatchingRows", "ariaRowSelect", "ariaRowDeselect", "ariaSortableColumn"}
        assert set(said) == keys
        assert all(re.search(r"[ぁ-ん]", text) for text in said.values())


def test_see_why_names_the_element(service: TownService) -> None:
    link = next(part for part in render(service, "/", "")[0]._traverse() if _leads_to(part, "/grid?"))
    assert "element=bus+4" in link.href
    page = render(service, "/grid", "?element=bus+4")[0]
    table = next(part for part in page._traverse() if getattr(part, "id", None) == "elements")
    assert table.selectedRows == {"ids": ["bus 4"]}
    assert "bus 4" in {row["id"] for row in table.rowData}


def _leads_to(part: Any, where: str) -> bool:
    return getattr(part, "className", "") == "button" and getattr(part, "href", "").startswith(where)


@pytest.mark.parametrize(
    ("minutes", "lang", "text"),
    [
        (15, "en", "7 quarter-hours"),
        (60, "en", "1 hour"),
        (30, "ja", "7 コマ（30分）"),
        (15, "ja", "1 コマ（15分）"),
    ],
)
def test_intervals_are_called_by_their_length(minutes: int, lang: str, text: str) -> None:
    time = TimeGrid(datetime(2016, 6, 21, tzinfo=UTC), timedelta(minutes=minutes), 24)
    assert steps_words(Language(lang), time, int(text[0])) == text


def remedies_shown(service: TownService, lang: str) -> list[str]:
    page = render(service, "/grid", f"?lang={lang}")[0]
    table = next(part for part in page._traverse() if getattr(part, "id", None) == "elements")
    return [row["remedy"] for row in table.rowData]


def test_districts_are_compared_with_yesterday_where_it_is_stored(service: TownService) -> None:
    assert "to uncontrolled" in shown(service, "/")
    both = TownService(day_plan("2016-06-20"), day_plan())
    assert "to yesterday" in shown(both, "/", f"?day={DAY}")
    assert "to yesterday" not in shown(both, "/", "?day=2016-06-20")


def test_a_page_opens_at_the_worst_time_without_control(service: TownService) -> None:
    assert visit(service, View()).step == 48
    assert visit(service, View(t="06:15")).step == 25
    calm = day_plan(overvoltage=False)
    intensity = calm.tables["planned.district.carbon_g_per_kwh"].values
    intensity[30, :2] = (1.0, 900.0)
    assert visit(TownService(calm), View()).step == 30


def test_estimates_and_synthetic_sessions_are_labelled(service: TownService) -> None:
    assert "estimated" in shown(service, "/")
    assert "Upstream grid (estimated)" in shown(service, "/plan")
    assert "synthetic" in shown(service, "/plan", "?asset=car")
    text = shown(service, "/carbon")
    assert "synthetic" in text
    assert "estimated 100 %" in text


@pytest.mark.parametrize("path", [page.path for page in pages() if page.without_plan is None])
def test_a_day_without_a_plan_offers_to_plan_it(service: TownService, path: str) -> None:
    text = shown(service, path, "?day=2016-01-19")
    assert "No plan for Tue 19 January 2016 yet" in text
    assert "Plan this day" in text


def test_a_day_outside_the_data_becomes_the_nearest_inside(service: TownService) -> None:
    assert "31 December 2016" in shown(service, "/", "?day=2031-01-01")


def test_work_in_progress_and_its_failure_are_shown(service: TownService) -> None:
    job = service.start_plan("town", "2016-01-19", "perfect")
    address = f"?day=2016-01-19&job={job.id}"
    assert "Planning Tue 19 January 2016" in shown(service, "/", address)
    service.end(job.id, state="failed", error="bad input", faults=(Fault("city.toml", "no price"),))
    text = shown(service, "/", address)
    assert "Tue 19 January 2016 could not be planned" in text
    assert "city.toml: no price" in text
    assert "Plan this day again" in text


def test_an_unknown_page_says_so(service: TownService) -> None:
    assert "There is no page at /nowhere." in shown(service, "/nowhere")


@pytest.mark.parametrize(
    "search", ["", "?day=2016-01-19", "?district=east", "?case=uncontrolled&layer=voltage"]
)
@pytest.mark.parametrize("path", [*PATHS, "/nowhere"])
def test_a_japanese_page_holds_no_english(service: TownService, path: str, search: str) -> None:
    """No text of the English catalogue that differs in Japanese is left on a Japanese page."""
    japanese = shown(service, path, search + ("&" if search else "?") + "lang=ja")
    english, own = _catalogue("en"), _catalogue("ja")
    lines = {line.strip() for line in japanese.split("\n")}
    untranslated = []
    for key, text in english.items():
        if text == own[key] or len(text) < 3:
            continue
        pattern = re.sub(r"\\\{\w+\\\}", ".+", re.escape(text))
        untranslated += [(key, line) for line in lines if re.fullmatch(pattern, line)]
    assert untranslated == []
    sentences = [line for line in lines if re.search(r"[a-z]{3,} [a-z]{3,}", line)]
    assert sentences == []


def test_catalogues_have_the_same_keys_and_the_same_values_in_each_text() -> None:
    english, japanese = _catalogue("en"), _catalogue("ja")
    assert list(english) == list(japanese) == sorted(english)
    for key, text in english.items():
        assert set(re.findall(r"\{(\w+)\}", text)) == set(re.findall(r"\{(\w+)\}", japanese[key])), key
        assert japanese[key].strip(), key


def test_every_catalogue_text_is_used(service: TownService) -> None:
    """A key is written out in the code, or built from a prefix that is."""
    from pathlib import Path

    import dashboard

    root = Path(dashboard.__file__).parent
    code = "\n".join(path.read_text(encoding="utf-8") for path in root.rglob("*.py"))
    built = set(re.findall(r'f"([a-z0-9_.]+\.)\{', code))
    named = set(re.findall(r'named\(say, "(\w+)"', code))
    for key in _catalogue("en"):
        stem = key.removesuffix(".one").removesuffix(".other")
        spelled = f'"{stem}"' in code or key.startswith((*built, "engine."))
        assert spelled or key.split(".")[0] in named, key


def test_numbers_and_dates_follow_the_language() -> None:
    from datetime import date

    english, japanese = (Language(code) for code in LANGUAGES)
    assert english.number(-1234.56, 1) == "−1,234.6"
    assert english.number(-0.001, 1) == "0.0"
    assert english.number(5, signed=True) == "+5"
    assert english.number(float("nan")) == "–"
    assert english.scientific(-4.2e-12) == "−4.2e−12"
    assert english.scientific(0.0) == "0"
    assert english.figures(0.01234) == "0.0123"
    assert english.date(date(2016, 6, 21)) == "Tue 21 June 2016"
    assert japanese.date(date(2016, 6, 21)) == "2016年6月21日（火）"


def test_what_engines_say_is_known_and_citations_stay() -> None:
    japanese = Language("ja")
    assert japanese.engine("dispatch and AC power flow, round 3") == "最適化と交流潮流計算（3 回目）"
    moved = "moves with line 7: 0.3 MW less generation at bus 8 would clear it"
    assert japanese.engine(moved) == "電力線 7 に連動：母線 8 の発電を 0.3 MW 減らせば解消"
    assert japanese.engine("ENTSO-E Transparency Platform") == "ENTSO-E Transparency Platform"
    assert Language("en").engine(moved) == moved


@pytest.mark.parametrize(
    "text",
    [
        "no number of these gases is known",
        "not known",
        "nothing was delivered, or its mass is not known",
        "a day was stored without the mass of its hydrogen",
        "the path begins in 2013",
        "a share is not added up",
        "no factor of the rest is known",
        "the direct grid average of DE: is not known for 2016-06-21, only for 2017-01-01 to now",
        "is not known for 2016-06-21, only for 2017-01-01 to now; add it to factors.csv",
        "zone 'DE': has no direct residual mix",
        "has no life-cycle factor of network losses; did you mean 'FR'?",
        "losses of DE: are counted in the grid average already: mine@2016-01-01 v1 is per kWh delivered",
        "is valid from 2016-06-01 while a@2016-01-01 is until further notice; end that one first (valid_to)",
        "covers the same as a from 2016-01-01 on, so neither can be chosen; end or withdraw one of the two",
        "is ambiguous: a@2016-01-01 v1, b@2016-01-01 v1; end or withdraw all but one in factors.csv",
        "unknown key; did you mean 'base'?",
        "are missing; name a preset or at least one milestone",
        "'japn': did you mean 'japan'?",
        "has a district and a sector; give one of the two",
        "a renewable share of 20 is above 1; write 60 % as 0.6",
        "give either reduction or value",
        f"is missing ({PRESETS['china'].note})",
        "consumer 'district:est': did you mean 'east'?",
        "cancels 5 MWh of 'GO', but it is cancelled by city 'b' by now; make a new version instead",
        "3 of its 5 MWh are cancelled by other reports",
        "'5': input should be a valid number",
    ],
)
def test_reasons_and_faults_of_reports_are_said_in_japanese(text: str) -> None:
    said = Language("ja").engine(text)
    assert said != text
    assert not re.search(r"[a-z]{3,} [a-z]{3,}", said), said
    assert Language("en").engine(text) == text


@pytest.fixture
def app(service: TownService) -> Dash:
    return create_dashboard(service, FastAPI())


def test_every_callback_leaves_the_event_loop_free(app: Dash) -> None:
    from dash._callback import GLOBAL_CALLBACK_MAP

    callbacks = {**GLOBAL_CALLBACK_MAP, **app.callback_map}
    ours = [spec["callback"] for spec in callbacks.values() if "callback" in spec]
    assert len(ours) >= 6
    for callback in ours:
        function = inspect.unwrap(callback)
        assert inspect.iscoroutinefunction(callback), function
        assert function is not callback


def test_off_loop_does_not_hold_up_the_loop() -> None:
    async def race() -> float:
        slow = asyncio.create_task(off_loop(time.sleep)(0.3))
        started = time.perf_counter()
        await asyncio.sleep(0.01)
        waited = time.perf_counter() - started
        await slow
        return waited

    assert asyncio.run(race()) < 0.2


def test_pages_and_assets_come_from_this_server_alone(app: Dash) -> None:
    with TestClient(app.server) as client:
        for path in [*PATHS, "/nowhere"]:
            html = client.get(path).text
            assert not re.findall(r'(?:src|href)="(?:https?:)?//', html), path
        for asset in ("00-fonts.css", "wattshed.css", "wattshed.js", "grid.js"):
            text = client.get(f"/assets/{asset}").text
            addresses = [url for url in re.findall(r"https?://[^\s\"')]+", text) if "w3.org" not in url]
            assert addresses == [], asset


@pytest.mark.parametrize("path", [*PATHS, "/nowhere"])
def test_the_first_page_that_is_asked_for_has_its_scripts_and_styles(path: str) -> None:
    app = create_dashboard(TownService(day_plan()), FastAPI())
    with TestClient(app.server) as client:
        html = client.get(path).text
    for asset in ("wattshed.css", "wattshed.js", "grid.js"):
        assert f"/assets/{asset}" in html


def test_the_policy_allows_no_inline_script_but_dashs_starter(app: Dash) -> None:
    scripts = re.search(r"script-src ([^;]+)", content_security_policy(app))
    assert scripts is not None
    assert "unsafe" not in scripts[1]
    assert scripts[1].count("sha256-") == 1


def test_a_picked_asset_says_why_in_the_reader_s_words_and_clock(service: TownService) -> None:
    text = shown(service, "/plan", "?asset=car&t=03:00")
    assert "Waits: 11:00 is 31 EUR/MWh cheaper and line 2 is full until 10:30" in text
    assert "00:00–11:00" in text
    assert "11:00–00:00" in text  # a reason that goes on the next day ends with this one
    japanese = shown(service, "/plan", "?asset=car&lang=ja")
    assert "待機：11:00は31 EUR/MWh安く" in japanese
    assert "Why, step by step" not in shown(service, "/plan", "?asset=shop")


@pytest.mark.parametrize(
    ("lang", "texts"),
    [
        (
            "en",
            [
                "car: energy at departure short of 3.50 kWh at 08:00",
                "Cell: battery swaps short of 16 swaps from 11:00 to 13:00",
                "Cell: import limit cannot hold from 12:00 to 13:00; 12.0 kW more would do",
                (
                    "Cell: battery swaps cannot be met from 11:00 to 13:00; 16 swaps less would do; "
                    "so would a grid for a loading of 130.71 %, a voltage down to 0.94161 pu; "
                    "AC power flow has not confirmed that this is enough"
                ),
                "Re-planned at 10:15: the rest of the day is planned anew. Changing it gains 4.50 EUR.",
                "Roof, 20:00 to 21:00: 10.0 to 29.0 kW; its forecast changed",
                "and 2 smaller changes",
            ],
        ),
        (
            "ja",
            [
                "car：出発時の必要量が08:00に3.50 kWh不足",
                "Cell：電池交換が11:00から13:00まで16回不足",
                "Cell：受電上限が12:00から13:00まで守れない。12.0 kWの緩和で解消",
                (
                    "Cell：電池交換が11:00から13:00まで満たせない。16回減らせば解消。"
                    "または系統を負荷率130.71 %、電圧下限0.94161 puまで許容するよう増強"
                    "（交流潮流計算では、これで足りると確認できていない）"
                ),
                "10:15に再計画：残りの時間を新たに計画。変更により4.50 EUR改善。",
                "Roof（20:00〜21:00）：10.0 kWから29.0 kWへ。予測が変わった",
            ],
        ),
    ],
)
def test_what_was_not_met_and_what_a_replan_changed_stands_on_the_plan(lang: str, texts: list[str]) -> None:
    text = shown(TownService(day_plan(broken=True)), "/plan", f"?lang={lang}")
    for expected in texts:
        assert expected in text
    calm = shown(TownService(day_plan()), "/plan", f"?lang={lang}")
    assert not any(expected in calm for expected in texts)


def test_units_of_a_city_have_names_kinds_and_what_they_hold() -> None:
    unit = SiteUnit("h2", "Depot", 5, "hydrogen_station", "hydrogen_station", 0.0, 400.0, {}, {})
    plan = day_plan()
    tables = dict(plan.tables)
    for case in ("planned", "uncontrolled"):
        power = tables[f"{case}.asset_p_kw"]
        drawn = np.full((96, 1), 30.0)
        tables[f"{case}.asset_p_kw"] = SeriesTable((*power.columns, "h2"), np.hstack([power.values, drawn]))
        tables[f"{case}.unit_series"] = SeriesTable(("h2/tank_kg",), np.full((96, 1), 4.0))
    service = TownService(replace(plan, tables=tables), city=replace(town(), units=(unit,)))
    text = shown(service, "/plan", "?asset=h2")
    assert "Depot" in text
    assert "Hydrogen in the tank, kg" in text


@pytest.mark.parametrize(
    ("message", "japanese"),
    [
        (
            NO_LIKE_DAY,
            "12:00の時点で参照できる過去の平日がありません。後の日を選ぶか、完全情報で計画してください",
        ),
        (
            "import_limit_kw cannot hold from 2016-01-03T11:00:00Z to 2016-01-03T12:00:00Z; relax it by 9 kW",
            "受電上限を12:00から13:00まで守れません。9 kW緩和してください",
        ),
        (
            "what was done so far leaves no schedule for the rest of the day",
            "これまでの運転では残りの時間の計画が立てられません",
        ),
    ],
)
def test_faults_of_planning_are_in_the_reader_s_language(message: str, japanese: str) -> None:
    service = TownService()
    job = service.start_plan("town", "2016-01-03", "day-ahead")
    service.end(job.id, state="failed", error="bad input", faults=(Fault("2016-01-03", message),))
    search = f"?day=2016-01-03&info=day-ahead&job={job.id}"
    assert japanese in shown(service, "/", search + "&lang=ja")
    english = shown(service, "/", search)
    assert message.partition("2016")[0] in english
    assert "T11:00:00Z" not in english
