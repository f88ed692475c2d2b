"""The dashboard in a real browser, on the real service: what a reader does, and what the page then says."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import pytest

from dashboard import theme
from dashboard.language import Language
from dashboard.pages import pages
from tests.browser.conftest import DAY, Reader

pytestmark = pytest.mark.browser

PAGES = [(page.name, page.path) for page in pages()]
EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "inventory.csv"
CHARTS = {"city": ("city-map", "stack"), "plan": ("balance", "asset-chart"), "grid": ("grid-map", "band"),
          "carbon": ("sankey", "series"), "reports": (), "inventory": ()}  # fmt: skip


@pytest.mark.parametrize("lang", ["en", "ja"])
@pytest.mark.parametrize(("name", "path"), PAGES)
def test_a_page_draws_its_charts_without_a_complaint(reader: Reader, name: str, path: str, lang: str) -> None:
    page = reader.open(path, lang=lang)
    for chart in CHARTS[name]:
        reader.drawn(chart)
    page.wait_for_function("lang => document.documentElement.lang === lang", arg=lang)
    assert page.title() == f"{Language(lang)(f'page.{name}')} · Reference City"
    assert ("計画" in page.locator("nav").inner_text()) == (lang == "ja")


@pytest.mark.parametrize(("name", "path"), PAGES)
def test_a_phone_needs_no_horizontal_scroll(small_reader: Reader, name: str, path: str) -> None:
    page = small_reader.open(path, lang="ja")
    for chart in CHARTS[name]:
        small_reader.drawn(chart)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    bottom = page.locator("nav").bounding_box()
    assert bottom is not None
    assert bottom["y"] + bottom["height"] == pytest.approx(844, abs=1)
    page.evaluate("window.scrollTo(0, document.documentElement.scrollHeight)")
    last = page.locator(".card").last.bounding_box()
    assert last is not None
    assert last["y"] + last["height"] <= bottom["y"], "the bar covers nothing at the end of the page"


ON_A_PHONE = [
    ("/", "districts", ["地区", "g/kWh", "kg/h", "t CO₂e", "制御なし比"]),
    ("/plan", "assets", ["設備", "1日の電力", "電力量（kWh）", "シフト量（kWh）"]),
    ("/grid", "elements", ["設備", "最悪値", "時刻", "超過（h）"]),
    ("/reports", "report-versions", ["報告書", "期間", "版", "状態"]),
]


@pytest.mark.parametrize(("path", "table", "headings"), ON_A_PHONE)
def test_a_phone_shows_a_table_without_sideways_scrolling(
    small_reader: Reader, path: str, table: str, headings: list[str]
) -> None:
    page = small_reader.open(path, lang="ja")
    page.wait_for_function(
        "([table, count]) => document.querySelectorAll(`#${table} .ag-header-cell-text`).length === count",
        arg=[table, len(headings)],
    )
    shown = page.locator(f"#{table} .ag-header-cell-text")
    assert shown.all_text_contents() == headings
    # columns slide to their places
    page.wait_for_function(
        """table => {
            const edge = element => element.getBoundingClientRect().right;
            const last = [...document.querySelectorAll(`#${table} .ag-header-cell`)].at(-1);
            return edge(last) <= edge(document.getElementById(table)) + 1;
        }""",
        arg=table,
    )


def test_a_phone_stacks_what_it_hides_and_still_sorts_and_finds_it(small_reader: Reader) -> None:
    page = small_reader.open("/plan")
    first = page.locator("#assets .ag-row[row-index='0'] [col-id=name]")
    page.locator("#assets .stacked-words small").first.wait_for()
    ranked = first.inner_text()
    page.locator("#assets .ag-header-cell[col-id=name]").click()
    page.wait_for_function(
        "before => document.querySelector('#assets [row-index=\"0\"] [col-id=name]').innerText !== before",
        arg=ranked,
    )
    page.locator("#asset-filter").fill("Battery")
    page.wait_for_function(
        "() => { const rows = [...document.querySelectorAll('#assets .ag-row small')];"
        " return rows.length && rows.every(row => row.innerText.startsWith('Battery · ')); }"
    )
    page.set_viewport_size({"width": 1440, "height": 1000})
    page.locator("#assets .ag-header-cell[col-id=kind]").wait_for()
    assert page.locator("#assets small").count() == 0, "a wide screen has columns for it"


def test_the_first_column_of_a_wide_table_stays_while_the_others_scroll(small_reader: Reader) -> None:
    page = small_reader.open("/carbon")
    name = page.locator("#carbon-districts .ag-pinned-left-cols-container [col-id=name]").first
    name.wait_for()
    before = name.bounding_box()
    last = page.locator("#carbon-districts .ag-header-cell[col-id=discharged]")
    page.locator("#carbon-districts .ag-center-cols-viewport").evaluate("view => { view.scrollLeft = 9999; }")
    last.wait_for()
    assert name.bounding_box() == before


def test_states_of_the_inventory_stand_below_each_other_on_a_phone(small_reader: Reader) -> None:
    page = small_reader.open("/inventory", year="2016")
    page.locator(".entry-row.metered").first.wait_for()
    left = page.locator(".entry-row .entry-value > div > *, .entry-row .entry-value > .note").evaluate_all(
        "states => states.map(state => Math.round(state.getBoundingClientRect().left))"
    )
    assert len(left) > 20
    assert len(set(left)) == 1


def polygons(reader: Reader) -> dict[str, dict[str, object]]:
    """Value and fill of each district's polygon as drawn."""
    return reader.page.evaluate(
        "() => { const g = document.querySelector('#city-map .js-plotly-plot');"
        " return Object.fromEntries(Object.entries(g.layout.meta.polygons).map(([name, at]) =>"
        " [name, {value: g.data[at].meta && g.data[at].meta.value, fill: g.data[at].fillcolor}])); }"
    )


def click_district(reader: Reader, district: str) -> None:
    """Click where the district's name stands on the map."""
    spot = reader.page.evaluate(
        "name => { const g = document.querySelector('#city-map .js-plotly-plot');"
        " const t = g.data[g.layout.meta.labels], k = t.customdata.indexOf(name), l = g._fullLayout;"
        " const box = g.getBoundingClientRect();"
        " return [box.x + l.xaxis._offset + l.xaxis.d2p(t.x[k]),"
        " box.y + l.yaxis._offset + l.yaxis.d2p(t.y[k])]; }",
        district,
    )
    reader.page.mouse.move(*spot)
    reader.page.mouse.click(*spot)


def test_a_click_on_a_district_changes_address_row_and_chart(reader: Reader) -> None:
    page = reader.open("/")
    reader.drawn("city-map")
    reader.drawn("stack")
    page.wait_for_selector("#districts [row-id=ostertor]")
    click_district(reader, "ostertor")
    page.wait_for_url(re.compile("district=ostertor"))
    page.wait_for_selector("#districts .ag-row-selected[row-id=ostertor]")
    page.wait_for_function("() => document.querySelector('#stack-heading').innerText.includes('Ostertor')")
    page.locator("#districts [row-id=suedfeld] [col-id=name]").first.click()
    page.wait_for_url(re.compile("district=suedfeld"))
    page.wait_for_function("() => document.querySelector('#stack-heading').innerText.includes('Südfeld')")
    page.reload()
    page.wait_for_selector("#districts .ag-row-selected[row-id=suedfeld]")
    page.locator("#city-whole").click()
    page.wait_for_function("() => !location.search.includes('district')")


def test_polygon_colours_at_two_times_are_those_of_the_api(reader: Reader, address: str) -> None:
    zone = ZoneInfo("Europe/Berlin")
    start = datetime.fromisoformat(DAY).replace(tzinfo=zone)
    answer = httpx.get(
        f"{address}/api/v1/cities/reference/carbon",
        params={
            "from": start.isoformat(),
            "to": (start + timedelta(days=1)).isoformat(),
            "by": "district",
            "resolution": "PT15M",
            "ledger": "location",
        },
    ).json()
    page = reader.open("/", t="00:00")
    reader.drawn("city-map")
    ramp = page.locator("#scale-intensity")
    low, high = (float(text) for text in re.findall(r"[\d.]+", ramp.inner_text().replace(",", ""))[:2])
    slider = page.locator("[role=slider]")
    slider.focus()
    for presses in (0, 33):
        for _ in range(presses):
            slider.press("ArrowRight")
        step = presses
        page.wait_for_function(
            "label => document.querySelector('#time-label').innerText === label",
            arg=f"{step // 4:02d}:{step % 4 * 15:02d}",
        )
        page.wait_for_timeout(300)
        shown = polygons(reader)
        assert len(shown) >= 8
        for name, polygon in shown.items():
            value = answer["districts"][name]["carbon_g_per_kwh"][step]
            assert polygon["value"] == pytest.approx(value, rel=1e-9), (name, step)
            assert polygon["fill"] == theme.carbon_colour(value, (low, high)), (name, step)


def test_the_day_plays_and_the_layers_change(reader: Reader) -> None:
    page = reader.open("/", t="06:00")
    reader.drawn("city-map")
    page.locator("#play").click()
    page.wait_for_function("() => document.querySelector('#time-label').innerText > '06:30'")
    page.locator("#play").click()
    page.locator("label", has_text="Voltage").click()
    page.wait_for_url(re.compile("layer=voltage"))
    page.wait_for_selector("#scale-voltage >> visible=true")
    heading = page.locator("nav a", has_text="Grid").get_attribute("href")
    assert heading is not None
    assert "layer=voltage" in heading


def test_the_slider_is_reached_and_moved_by_keyboard(reader: Reader) -> None:
    page = reader.open("/", t="06:00")
    reader.drawn("city-map")
    page.locator("#play").focus()
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('role')") == "slider"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile("t=06%3A15"))
    assert page.locator("#time-label").inner_text() == "06:15"


def test_a_district_of_the_carbon_table_stands_out_in_the_series(reader: Reader) -> None:
    page = reader.open("/carbon")
    reader.drawn("series")
    page.locator("#carbon-districts [row-id=westend] [col-id=name]").first.click()
    page.wait_for_url(re.compile("district=westend"))
    page.wait_for_function("() => document.querySelector('#series-legend').innerText.includes('Westend')")
    assert "SimBench" in page.locator(".stacked").inner_text()
    assert "ODbL 1.0" in page.locator(".stacked").inner_text()


def test_an_asset_is_picked_and_searched(reader: Reader) -> None:
    page = reader.open("/plan")
    reader.drawn("asset-chart")
    page.wait_for_selector("#assets .ag-row")
    before = page.locator("#asset-name").inner_text()
    page.locator("#asset-filter").fill("home-lv-0")
    page.wait_for_function(
        "() => [...document.querySelectorAll('#assets .ag-row [col-id=name]')].every("
        "cell => cell.innerText.includes('home-lv-0'))"
    )
    page.locator("#assets .ag-row [col-id=name]").first.click()
    page.wait_for_function("name => document.querySelector('#asset-name').innerText !== name", arg=before)
    assert page.locator("#asset-name").inner_text().startswith("home-lv-0")
    page.wait_for_url(re.compile("asset=home-lv-0"))
    assert "synthetic" in page.locator("#asset-card").inner_text()


def test_see_why_leads_to_the_grid_at_that_time(reader: Reader) -> None:
    page = reader.open("/")
    reader.drawn("city-map")
    words = page.locator("#finding").inner_text()
    when = re.search(r"\d\d:\d\d", words)
    assert when is not None
    page.locator("#finding a").click()
    reader.drawn("grid-map")
    assert page.locator("#time-label").inner_text() == when[0]
    page.locator("#grid-case label", has_text="Planned").click()
    page.wait_for_url(re.compile("case=planned"))
    page.locator("#elements .ag-row").first.wait_for()


def test_a_station_and_a_row_are_picked_on_the_grid(reader: Reader) -> None:
    page = reader.open("/grid", layer="marginal", t="12:00")
    reader.drawn("grid-map")
    spot = page.evaluate(
        "() => { const g = document.querySelector('#grid-map .js-plotly-plot');"
        " const { left, top } = g.getBoundingClientRect(), { xaxis, yaxis } = g._fullLayout;"
        " const { x, y } = g.data[g.layout.meta.stations];"
        " return [left + xaxis._offset + xaxis.d2p(x[60]), top + yaxis._offset + yaxis.d2p(y[60])]; }"
    )
    page.mouse.move(*spot)
    page.mouse.click(*spot)
    page.locator("#grid-picked", has_text="g CO₂e/kWh").wait_for()
    page.wait_for_url(re.compile(r"element=bus"))
    assert page.locator("#time-label").inner_text() == "12:00", "a click on the map leaves the time"
    row = page.locator("#elements .ag-row").nth(2)
    row.locator(".ag-cell").first.focus()
    page.keyboard.press("Enter")
    name, when = row.locator("[col-id=element]").inner_text(), row.locator("[col-id=time]").inner_text()
    page.locator("#grid-picked", has_text=name).wait_for()
    page.wait_for_function("when => document.querySelector('#time-label').innerText === when", arg=when)


@pytest.mark.parametrize(("path", "chart"), [("/plan", "balance"), ("/carbon", "marginal")])
def test_charts_follow_the_clock(reader: Reader, path: str, chart: str) -> None:
    page = reader.open(path, t="12:00")
    reader.drawn(chart)
    page.locator("#time [role=slider]").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_url(re.compile("t=12%3A15"))
    page.wait_for_function(
        "id => document.querySelector('#' + id + ' .js-plotly-plot').layout.shapes[0].x0 === 49", arg=chart
    )


def test_the_language_changes_in_place_and_keeps_the_view(reader: Reader) -> None:
    page = reader.open("/grid", t="09:15", layer="voltage")
    reader.drawn("grid-map")
    page.locator("#lang label", has_text="日本語").click()
    page.wait_for_function("() => document.querySelector('nav').innerText.includes('系統')")
    reader.drawn("grid-map")
    assert page.locator("#time-label").inner_text() == "09:15"
    assert "lang=ja" in page.url
    assert "layer=voltage" in page.url


def test_another_day_is_planned_from_the_page(reader: Reader) -> None:
    page = reader.open("/", day="2016-01-19")
    page.locator("#plan-start").click()
    page.wait_for_url(re.compile("job="))
    page.locator(".empty [role=progressbar]").wait_for()
    page.wait_for_selector(".cards", timeout=240_000)
    reader.drawn("city-map")
    assert "job=" not in page.url
    assert "day=2016-01-19" in page.url
    assert "AC-checked" in page.locator("#state").inner_text()


def entered(address: str) -> list[dict]:
    found: list[dict] = (
        httpx.get(f"{address}/api/v1/cities/reference/inventory").raise_for_status().json()["rows"]
    )
    return found


def test_an_officer_enters_a_number_then_a_table(reader: Reader, address: str, tmp_path: Path) -> None:
    page = reader.open("/inventory", year="2016")
    page.locator(".entry-row.metered", has_text="II.1.2").wait_for()
    page.get_by_role("button", name="III.1.2: Enter").click()
    field = page.locator(".entry-block")
    field.get_by_label("Tonnes of the gas").fill("-310")
    field.get_by_label("Source of the data").fill("waste office")
    page.locator("#inventory-save").click()
    field.get_by_text("Is negative (-310000 kg)").wait_for()
    field.get_by_text("The data quality is missing").wait_for()
    assert entered(address) == []
    field.get_by_label("Tonnes of the gas").fill("310")
    field.get_by_label("Quality of the data").click()
    page.get_by_role("option", name="M · medium").click()
    page.locator("#inventory-save").click()
    page.locator("#inventory-said", has_text="1 entry in inventory.csv").wait_for()
    page.locator(".entry-row.entered", has_text="waste office").wait_for()
    (row,) = entered(address)
    assert (row["reference"], row["tonnes"], row["year"]) == ("III.1.2", 310.0, 2016)

    bad = tmp_path / "bad.csv"
    bad.write_text("reference,tonnes\nI.1.2,3\nI.9.9,3\n", "utf-8")
    page.set_input_files("#inventory-upload input", bad)
    page.locator(".file-faults tr", has_text="I.9.9").get_by_text("is not of the GPC").wait_for()
    later = tmp_path / "later.csv"
    later.write_text(EXAMPLE.read_text("utf-8").replace("2016", "2017"), "utf-8")
    page.set_input_files("#inventory-upload input", later)
    page.locator("#inventory-take").click()
    page.locator("#inventory-said", has_text="8 entries in inventory.csv").wait_for()
    page.wait_for_url("**year=2017**")
    page.locator(".entry-row.entered", has_text="gas works").wait_for()
    assert {item.get("year") for item in entered(address)} == {2016, 2017, None}, "entries of 2016 stay"
