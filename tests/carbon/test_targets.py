"""Targets: paths through their milestones, budgets that add up, forecasts that name their method."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy.carbon.targets import PRESETS, read_targets
from energy.carbon.year_end import by_day, year_forecast
from energy.domain.errors import InputError
from tests.carbon.periods import build


def read(*entries: dict) -> tuple:
    return read_targets({"target": list(entries)}, ("east", "west"))


def japan(**changes: object) -> dict:
    return {"id": "city", "preset": "japan", "base": 1000.0, **changes}


def test_the_path_of_a_preset_passes_its_milestones() -> None:
    (target,) = read(japan())
    assert target.path(2013) == 1_000_000.0
    assert target.path(2030) == pytest.approx(540_000.0)
    assert target.path(2021.5) == pytest.approx(770_000.0)
    assert target.path(2050) == target.path(2060) == 0.0
    assert np.isnan(target.path(2012))
    assert target.gap(2030, 600_000.0) == pytest.approx(60_000.0)
    assert target.source == PRESETS["japan"].source


@pytest.mark.parametrize(
    ("preset", "base_year", "year", "left"),
    [
        ("eu", 1990, 2030, 0.45),
        ("uk", 1990, 2030, 0.32),
        ("uk", 1990, 2035, 0.19),
        ("japan", 2013, 2040, 0.27),
    ],
)
def test_presets_are_the_published_ones(preset: str, base_year: int, year: int, left: float) -> None:
    (target,) = read(japan(preset=preset))
    assert target.years[0] == base_year
    assert target.path(year) == pytest.approx(left * 1_000_000.0)


def test_china_needs_the_citys_own_base() -> None:
    with pytest.raises(InputError, match=r"base_year: is missing .*own base year"):
        read(japan(preset="china"))
    (target,) = read(japan(preset="china", base_year=2029))
    assert target.path(2060) == 0.0


@given(
    st.floats(1.0, 1e6),
    st.integers(1990, 2020),
    st.lists(st.floats(0.0, 1.0), min_size=1, max_size=4),
    st.data(),
)
def test_budgets_add_up(base: float, base_year: int, reductions: list[float], data: st.DataObject) -> None:
    years = [base_year + 7 * (k + 1) for k in range(len(reductions))]
    stones = [{"year": y, "reduction": r} for y, r in zip(years, reductions, strict=True)]
    (target,) = read({"id": "a", "base": base, "base_year": base_year, "milestones": stones})
    emitted = {base_year + 1 + k: data.draw(st.floats(0.0, 1e9)) for k in range(data.draw(st.integers(0, 6)))}
    budget = target.budget(emitted)
    path = {year: target.path(year) for year in range(base_year + 1, years[-1] + 1)}
    assert budget.left_kg == pytest.approx(sum(path.values()) - sum(emitted.values()), rel=1e-9, abs=1e-3)
    assert all(min(target.values) <= value <= max(target.values) for value in path.values())


def test_a_budget_needs_every_year() -> None:
    (target,) = read(japan())
    with pytest.raises(InputError, match="emissions of 2014, 2015 are missing"):
        target.budget({2016: 1.0})
    assert target.budget({2016: 1.0}, 2016).emitted_kg == 1.0
    with pytest.raises(InputError, match="no path in 2000"):
        target.budget({}, 2000)
    (share,) = read(
        {
            "id": "r",
            "quantity": "renewable_share",
            "base": 0.2,
            "base_year": 2016,
            "milestones": [{"year": 2030, "value": 0.8}],
        }
    )
    assert share.path(2023) == pytest.approx(0.5)
    with pytest.raises(InputError, match="is for a share"):
        share.budget({})


def test_every_fault_of_every_entry_at_once() -> None:
    with pytest.raises(InputError) as refused:
        read(
            japan(preset="japn"),
            japan(milestones=[{"year": 2030, "reduction": 0.5}], district="east", sector="I.1"),
            {
                "id": "share",
                "quantity": "renewable_share",
                "base": 20.0,
                "base_year": 2016,
                "sector": "I.1",
                "milestones": [{"year": 2010, "reduction": 0.5}],
            },
            {"id": "none", "base": 1.0, "base_year": 2000},
            japan(id="moon", district="est"),
            japan(id="trade", sector="comercial"),
        )
    text = str(refused.value)
    for part in (
        "target[0].preset: 'japn': did you mean 'japan'?",
        "target[1].id: 'city' is used twice",
        "target[1].milestones: preset 'japan' has its own",
        "target[1]: has a district and a sector",
        "target[2].milestones: the years [2016, 2010] must ascend",
        "a renewable share of 20 is above 1",
        "target[2].sector: renewable shares are known by district",
        "target[2].milestones[0].reduction",
        "target[3].milestones: are missing",
        "target[4].district: 'est' is not known; did you mean",
        "target[5].sector: 'comercial' is not known; did you mean 'commercial'?",
    ):
        assert part in text
    with pytest.raises(InputError, match="either reduction or value"):
        read({"id": "a", "base": 1.0, "base_year": 2000, "milestones": [{"year": 2030}]})


def test_a_faulty_field_hides_no_contradiction_and_makes_none() -> None:
    with pytest.raises(InputError) as refused:
        read(
            japan(base="1000", note="x", district="est", sector="I.1"),
            {"id": "city", "base": 0.2, "preset": 5, "quantity": "renewable_share", "sector": "I.1"},
            japan(id="city", base_year="2013", quantity="emission"),
            {
                "id": "own",
                "base": 1.0,
                "base_year": 2000,
                "milestones": [
                    {"year": "2030", "value": 0.5},
                    {"year": 2040, "value": "0.5"},
                    {"year": 2050, "value": 0.5, "reduction": 0.5},
                ],
            },
            {"id": "late", "base": -1.0, "base_year": 2000, "milestones": [{"year": 1990, "value": 0.5}]},
        )
    assert sorted(fault.path for fault in refused.value.faults) == [
        "target[0]",
        "target[0].base",
        "target[0].district",
        "target[0].note",
        "target[1].id",
        "target[1].preset",
        "target[1].sector",
        "target[2].base_year",
        "target[2].id",
        "target[2].quantity",
        "target[3].milestones[0].year",
        "target[3].milestones[1].value",
        "target[3].milestones[2]",
        "target[4].base",
        "target[4].milestones",
    ]


YEAR_2015 = [date(2015, 1, 1) + timedelta(days=k) for k in range(365)]
YEAR_2016 = [date(2016, 1, 1) + timedelta(days=k) for k in range(366)]


def test_a_season_is_followed_where_last_year_is_known() -> None:
    before = {day: 2.0 if day.month < 4 else 1.0 for day in YEAR_2015}
    so_far = {day: 4.0 if day.month == 1 else 2.0 for day in YEAR_2016 if day.month < 3}
    found = year_forecast(so_far, 2016, before)
    scale = (4.0 * 31 + 2.0 * 29) / (2.0 * 60)
    ahead = 2.0 * 31 + 1.0 * 275
    assert found.method == "seasonal"
    assert found.value == pytest.approx(182.0 + scale * ahead)
    assert (found.low, found.high) == (pytest.approx(182.0 + ahead), pytest.approx(182.0 + 2 * ahead))
    assert found.known_share == pytest.approx(60 / 366)


def test_without_last_year_the_rest_is_as_the_days_so_far() -> None:
    so_far = {day: 3.0 for day in YEAR_2016 if day.month == 1}
    found = year_forecast(so_far, 2016, {YEAR_2015[0]: 1.0})
    assert (found.method, found.value) == ("linear", pytest.approx(3.0 * 366))
    assert np.isnan([found.low, found.high]).all()
    with pytest.raises(InputError, match="no day is known"):
        year_forecast({}, 2016)


def test_fiscal_years_start_in_april() -> None:
    days = [date(2016, 4, 1) + timedelta(days=k) for k in range(365)]
    assert year_forecast(dict.fromkeys(days, 1.0), 2016, first_month=4).method == "complete"


@given(st.lists(st.floats(0.0, 100.0), min_size=1, max_size=366))
def test_forecasts_hold_what_is_known_and_end_complete(values: list[float]) -> None:
    found = year_forecast(dict(zip(YEAR_2016, values, strict=False)), 2016)
    assert found.value >= sum(values) - 1e-9
    if len(values) == 366:
        assert found.value == pytest.approx(sum(values))
    elif np.isfinite(found.low):
        slack = 1e-9 * (1.0 + found.high)
        assert found.low - slack <= found.value <= found.high + slack


def test_days_with_a_gap_are_not_known() -> None:
    period = build(1, date(2016, 3, 26), 3, gap=True)
    use = period.actual.city["end_use_kg"]
    assert by_day(period, use) == {
        date(2016, 3, 26): pytest.approx(use[:24].sum()),
        date(2016, 3, 28): pytest.approx(use[47:].sum()),
    }
