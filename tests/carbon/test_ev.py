"""EV coefficients: the carbon of the charging network in its places, for every grouping."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings

from energy.carbon.ev import ev_ledger
from energy.carbon.grid_average import grid_average
from energy.carbon.marginal import marginal
from energy.domain.period import Period
from tests.carbon.periods import build, periods, table, with_tables
from tests.carbon.test_grid_average import flat

CASE = Path(__file__).parents[1] / "cases" / "tank_ev_v2g" / "original.json"


def close(found: float, expected: float) -> bool:
    return found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=15)
@given(periods())
def test_what_is_charged_is_driven_exported_or_still_there(period: Period) -> None:
    ledger = ev_ledger(period, marginal(period))
    groupings = (
        ledger.by_vehicle(),
        ledger.by_hub(),
        ledger.by_district(),
        ledger.by_fleet(),
        ledger.by_hour_of_day(),
        ledger.by_month(),
    )
    city = ledger.city()
    for groups in groupings:
        for group in groups.values():
            assert group.residual_kg == pytest.approx(0.0, abs=1e-9 * max(1.0, group.charged_kg))
        for name in ("charged_kg", "charged_mwh", "driven_kg", "distance_km", "exported_kg", "change_kg"):
            assert close(sum(getattr(group, name) for group in groups.values()), getattr(city, name))
        assert close(sum(g.marginal.kg for g in groups.values() if g.marginal), city.marginal.kg)
    assert close(city.driven_kg, float(np.nansum(period.actual.city["ev_driven_kg"])))
    assert city.charged_mwh == 0.0 or city.estimated_share == pytest.approx(1.0)


def test_an_asset_whose_entry_changed_counts_once() -> None:
    """On its second day the battery has another bus, and one car another fleet."""
    period = build(6, date(2016, 6, 28), 2)
    moved = [replace(period.assets[5], bus=3, district="west"), replace(period.assets[6], group="pool")]
    columns = [5, 6]

    def split(values: np.ndarray) -> np.ndarray:
        later = values[:, columns].copy()
        later[:24] = 0.0
        earlier = values.copy()
        earlier[24:, columns] = 0.0
        return np.hstack((earlier, later))

    names = ("drawn_mwh", "drawn_kg", "injected_mwh", "injected_kg")
    tables = {name: split(table(period, name)) for name in names}
    changed = replace(with_tables(period, **tables), assets=(*period.assets, *moved))
    before, after = ev_ledger(period), ev_ledger(changed)
    for name in ("charged_kg", "driven_kg", "distance_km", "change_kg"):
        assert close(getattr(after.city(), name), getattr(before.city(), name))
    for group in (*after.by_fleet().values(), *after.by_vehicle().values()):
        assert group.residual_kg == pytest.approx(0.0, abs=1e-9)
    assert set(after.by_fleet()) == {"taxi", "home", "pool"}
    rate = flat(period, 400.0)
    whole, parts = (grid_average(of, rate) for of in (period, changed))
    assert close(parts.city().scope2.kg, whole.city().scope2.kg)
    assert close(parts.by_asset()["bat"].scope2.kg, whole.by_asset()["bat"].scope2.kg)
    assert close(sum(use.scope2.kg for use in parts.by_district().values()), whole.city().scope2.kg)


def test_an_hour_of_which_a_part_is_unknown_is_left_out_whole() -> None:
    period = build(6, date(2016, 6, 28), 1)
    drawn, lost = table(period, "drawn_kg"), table(period, "drawn_mwh")[7, 6]
    drawn[7, 6] = np.nan
    found = ev_ledger(with_tables(period, drawn_kg=drawn)).city()
    assert found.residual_kg == pytest.approx(0.0, abs=1e-9)
    assert found.charged_mwh == pytest.approx(ev_ledger(period).city().charged_mwh - lost)


def test_the_published_session_with_v2g() -> None:
    """The worked case of the tank, booked as a day: charge, drive, charge, V2G, drive."""
    case = json.loads(CASE.read_text(encoding="utf-8"))
    expected, log = case["expected"], case["expected"]["log"]
    period = build(1, date(2016, 6, 28), 1)
    zero, car = np.zeros((24, len(period.assets))), 6
    booked = {name: zero.copy() for name in ("drawn_mwh", "drawn_kg", "injected_mwh", "injected_kg")}
    battery = {name: np.zeros((24, 3)) for name in ("driven_mwh", "driven_kg", "distance_km", "tank_kg")}
    for hour, ((kind, amount, *more), done) in enumerate(zip(case["inputs"]["events"], log, strict=True)):
        if kind == "charge":
            booked["drawn_mwh"][hour, car], booked["drawn_kg"][hour, car] = (
                amount / 1e3,
                amount * more[0] / 1e3,
            )
        elif kind == "drive_km":
            battery["distance_km"][hour, 1] = amount
            battery["driven_mwh"][hour, 1], battery["driven_kg"][hour, 1] = (
                amount * more[0] / 1e3,
                done[3] / 1e3,
            )
        else:
            booked["injected_mwh"][hour, car] = amount * case["inputs"]["eta_discharge"] / 1e3
            booked["injected_kg"][hour, car] = done[3] / 1e3
        battery["tank_kg"][hour:, 1] = done[2] / 1e3
    (day,) = period.by_day
    day = replace(day, **booked, **battery, opening_kg=np.array([0.0, case["inputs"]["M0_g"] / 1e3, 0.0]))
    found = ev_ledger(replace(period, by_day=(day,))).by_vehicle()["car1"]
    tolerance = case["tolerance"]
    assert found.g_per_km == pytest.approx(expected["drive_g_per_km"], abs=tolerance)
    assert found.charged_kg * 1e3 == pytest.approx(expected["charge_emissions_g"], abs=tolerance)
    assert found.exported_kg * 1e3 == pytest.approx(expected["v2g_exported_g"], abs=tolerance)
    assert found.residual_kg == pytest.approx(0.0, abs=1e-6)
