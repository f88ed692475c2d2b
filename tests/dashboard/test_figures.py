"""Figures are functions of a plan: what they draw is what its tables say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dashboard import theme
from dashboard.figures.carbon import district_series, marginal_band, sankey
from dashboard.figures.map import city_map, district_frames, draw, grid_frames, marginal_bounds, scene
from dashboard.figures.power import asset_day, balance, supply_stack
from dashboard.figures.voltage import voltage_band
from dashboard.language import Language
from dashboard.pages.plan import strip
from dashboard.reading import MARGINAL, extremes, response
from dashboard.view import View, day_bounds, day_labels
from energy.domain.plan import SeriesTable
from tests.dashboard.builders import day_plan, town

EN = Language("en")


def test_cividis_is_dark_when_clean_clamped_and_grey_where_unknown() -> None:
    bounds = (100.0, 500.0)
    assert theme.carbon_colour(100, bounds) == theme.carbon_colour(-5, bounds) == "#00224e"
    assert theme.carbon_colour(500, bounds) == theme.carbon_colour(1e9, bounds) == "#fee838"
    assert theme.carbon_colour(float("nan"), bounds) == theme.EMPTY
    assert theme.ink_on("#00224e") == "#ffffff"
    assert theme.ink_on("#fee838") == theme.INK


@pytest.mark.parametrize("step", [0, 40, 95])
def test_map_frames_hold_the_plans_values_and_their_colours(step: int) -> None:
    plan, city = day_plan(), town()
    frames = district_frames(plan, city, EN)
    intensity = plan.tables["planned.district.carbon_g_per_kwh"]
    for k, district in enumerate(frames["districts"]):
        value = intensity.column(district)[step]
        shown = frames["intensity"]["values"][step][k]
        assert shown is None if np.isnan(value) else shown == value
        assert frames["intensity"]["fills"][step][k] == theme.carbon_colour(value, city.carbon_map_bounds)


def test_the_map_draws_every_polygon_line_and_station_once() -> None:
    city = town()
    drawing, figure = draw(city), city_map(city, EN)
    assert set(drawing.outlines) == {"west", "east"}
    assert set(drawing.anchors) == {"west", "east", "hill"}, "a district without polygon keeps its name"
    assert len(drawing.segments) == len(city.grid_lines)
    assert len(drawing.stations) == len(set(city.bus_xy.values()))
    assert figure.layout.yaxis.scaleanchor == "x"
    assert set(figure.layout.meta["polygons"]) == {"west", "east"}
    assert scene(city, EN)["segment_names"][1] == "Line 0 in Weststadt"


def test_grid_frames_hold_loading_direction_and_voltage() -> None:
    plan, city = day_plan(), town()
    frames = grid_frames(plan, city, "uncontrolled")
    assert frames["loading"][48][2] == pytest.approx(90.0, abs=0.1)
    assert frames["forward"][0][0]
    assert not frames["forward"][48][0]
    stations = draw(city).stations
    hot = next(k for k, station in enumerate(stations) if 4 in station[2])
    assert frames["voltage"][48][hot] == pytest.approx(1.07)


def test_marginal_rates_stand_at_their_stations_and_over_the_day() -> None:
    plan, city = day_plan(), town()
    rates = plan.tables[MARGINAL]
    frames = grid_frames(plan, city, "uncontrolled")
    for position, (_, _, buses) in enumerate(draw(city).stations):
        known = [rates.column(str(bus))[48] for bus in buses if str(bus) in rates.columns]
        expected = pytest.approx(np.mean(known), abs=0.5) if known else None
        assert frames["marginal"][48][position] == expected, "rates are of the plan in every case"
    assert marginal_bounds(plan) == tuple(np.percentile(rates.values, (5, 95)))
    low, high, root, average = marginal_band(plan, city, EN, step=40).data
    assert (low.y[48], high.y[48]) == tuple(np.percentile(rates.values[48], (5, 95)))
    assert np.array_equal(root.y, rates.column("grid"))
    assert np.array_equal(average.y, plan.tables["planned.totals"].column("carbon_g_per_kwh"))


def test_rates_that_are_not_estimated_leave_a_gap() -> None:
    plan, city = day_plan(), town()
    values = plan.tables[MARGINAL].values.copy()
    values[10] = np.nan
    tables = {**plan.tables, MARGINAL: SeriesTable(plan.tables[MARGINAL].columns, values)}
    gap = replace(plan, tables=tables)
    assert set(grid_frames(gap, city, "planned")["marginal"][10]) == {None}
    assert np.isfinite(marginal_bounds(gap)).all()
    assert all(np.isnan(line.y[10]) for line in marginal_band(gap, city, EN, step=40).data[:3])


def test_stacks_start_at_zero_and_mirror_uses() -> None:
    plan, city = day_plan(), town()
    stack = supply_stack(plan, city, EN, step=7)
    assert stack.layout.yaxis.rangemode == "tozero"
    assert stack.layout.shapes[0].x0 == 7
    drawn = sum(np.array(trace.y) for trace in stack.data if trace.stackgroup)
    np.testing.assert_allclose(drawn, plan.tables["planned.supply_mw"].values.sum(axis=1))
    mirrored = [trace for trace in balance(plan, city, EN, step=7).data if trace.stackgroup == "down"]
    assert all((np.array(trace.y) <= 0).all() for trace in mirrored)
    one = supply_stack(plan, city, EN, step=7, district="east")
    drawn = sum(np.array(trace.y) for trace in one.data if trace.stackgroup)
    source = plan.tables["planned.district_source_mwh"]
    east = [name for name in source.columns if name.startswith("east/")]
    np.testing.assert_allclose(drawn, sum(source.column(name) for name in east) / plan.time.hours)


@pytest.mark.parametrize("day", ["2016-03-27", "2016-10-30"])
def test_every_figure_has_one_place_per_interval_when_clocks_change(day: str) -> None:
    plan, city = day_plan(day), town()
    labels = day_labels(plan.time, city.zone)
    assert len(set(labels)) == plan.time.steps in (92, 100)
    for figure in (
        supply_stack(plan, city, EN, step=0),
        balance(plan, city, EN, step=0),
        asset_day(plan, city, EN, "car", step=0),
        voltage_band(plan, city, EN, step=0),
        district_series(plan, city, EN, step=0),
    ):
        assert list(figure.layout.xaxis.categoryarray) == list(labels)


def test_sankey_carries_each_source_to_each_district() -> None:
    plan, city = day_plan(), town()
    links = sankey(plan, city, EN).data[0].link
    total = plan.tables["planned.district_source_mwh"].values.sum()
    assert sum(links.value) == pytest.approx(total)


def test_an_unsolved_step_leaves_a_gap_and_no_error() -> None:
    plan, city = day_plan(), town()
    plan.tables["planned.vm_pu"].values[3] = np.nan
    plan.tables["planned.loading_percent"].values[3] = np.nan
    assert np.isnan(voltage_band(plan, city, EN, step=3).data[0].y[3])
    assert grid_frames(plan, city, "planned")["loading"][3][0] is None
    assert extremes(plan, "planned", city)


def test_the_worst_element_comes_first_and_the_response_is_counted() -> None:
    plan, city = day_plan(), town()
    worst = extremes(plan, "uncontrolled", city)[0]
    assert (worst.element, worst.step, worst.beyond) == ("bus 4", 48, True)
    assert worst.value == pytest.approx(1.07)
    assert not any(extreme.beyond for extreme in extremes(plan, "planned", city))
    does = response(plan, city, 48)
    assert does.curtailed_kw == pytest.approx(40)
    assert does.battery_charges_kw == pytest.approx(54)
    assert does.evs_delayed == 0


def test_a_strip_says_who_draws_and_who_gives() -> None:
    assert strip(np.array([0.0, 1.0, -1.0, 0.5])) == "09i4"
    assert strip(np.zeros(3)) == "000"


def test_an_address_restores_a_view_and_forgets_what_is_wrong() -> None:
    view = View(city="town", day="2016-06-21", t="13:30", district="east", lang="ja")
    query = dict(pair.split("=") for pair in view.search().removeprefix("?").replace("%3A", ":").split("&"))
    assert View.from_query(query) == view
    odd = View.from_query({"lang": "xx", "day": "yesterday", "info": "guess", "who": "me"})
    assert odd == View()


def test_day_bounds_are_whole_local_days() -> None:
    first, last = day_bounds(town())
    assert (first.isoformat(), last.isoformat()) == ("2016-01-01", "2016-12-31")
