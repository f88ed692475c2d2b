"""Indicators and avoided emissions: shares stay shares, and every comparison closes with the accounts."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings

from energy.carbon.avoided import avoided
from energy.carbon.indicators import compare, district_indicators
from energy.domain.period import Account, Period
from tests.carbon.periods import HIGH, LOW, build, periods


def close(found: float, expected: float) -> bool:
    return found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=15)
@given(periods())
def test_indicators_are_shares_and_agree_between_city_and_districts(period: Period) -> None:
    found = compare(period)
    places = [found.actual, found.uncontrolled, *district_indicators(period).values()]
    for place in places:
        shares = (place.self_consumption, place.self_sufficiency, place.renewable_share, place.loss_share)
        assert all(np.isnan(share) or 0.0 <= share <= 1.0 + 1e-12 for share in shares)
    districts = district_indicators(period).values()
    for name in ("end_use_mwh", "emissions_kg", "renewable_mwh", "loss_mwh", "loss_kg", "generated_mwh"):
        assert close(sum(getattr(place, name) for place in districts), getattr(found.actual, name))
    assert close(found.uncontrolled.cost, np.nansum(period.uncontrolled.city["cost"]))
    assert found.planned == found.actual
    assert found.hours == np.isfinite(period.actual.city["cost"]).sum()


def test_definitions_on_two_hours() -> None:
    period = build(1, date(2016, 6, 30), 1)
    city = dict(period.actual.city) | {
        "import_mwh": np.r_[1.0, 0.0, np.zeros(22)],
        "export_mwh": np.r_[0.0, 3.0, np.zeros(22)],
        "peak_import_mw": np.r_[1.5, 0.0, np.zeros(22)],
    }
    local = np.zeros((24, 3))
    local[:2, 1] = [1.0, 4.0]
    account = Account(dict(period.actual.districts) | {"local_generation_mwh": local}, city)
    found = compare(replace(period, actual=account, planned=account, uncontrolled=account)).actual
    assert found.self_consumption == pytest.approx(2.0 / 5.0)
    assert found.self_sufficiency == pytest.approx(2.0 / 3.0)
    assert found.peak_mw == 1.5
    kwh, kg = found.per(10.0)
    assert (kwh, kg) == (pytest.approx(found.end_use_mwh * 100), pytest.approx(found.footprint_kg / 10))
    with pytest.raises(ValueError, match="a number above 0"):
        found.per(0.0)


@settings(max_examples=15)
@given(periods())
def test_avoided_emissions_close_with_the_accounts(period: Period) -> None:
    found = avoided(period)
    footprints = [
        np.nansum(account.city["end_use_kg"] + account.city["losses_kg"] + account.city["ev_driven_kg"])
        for account in (period.uncontrolled, period.actual)
    ]
    assert found.average.reduction_kg == pytest.approx(footprints[0] - footprints[1], rel=1e-9, abs=1e-6)
    compared = compare(period)
    saved_kg = compared.uncontrolled.footprint_kg - compared.actual.footprint_kg
    assert found.average.reduction_kg == pytest.approx(saved_kg, rel=1e-9, abs=1e-6)
    for share, end in zip((LOW, HIGH), found.average.at_ends(lambda of: of.reduction_kg), strict=True):
        assert end == pytest.approx(share * found.average.reduction_kg, rel=1e-9, abs=1e-6)
    assert np.isnan(found.marginal.at_ends(lambda of: of.reduction_kg)).all()
    net = [a.city["import_mwh"] - a.city["export_mwh"] for a in (period.uncontrolled, period.actual)]
    rates = period.upstream["marginal_g_per_kwh"]
    local = [np.nansum(a.districts["local_generation_kg"]) for a in (period.uncontrolled, period.actual)]
    gross = np.nansum((net[0] - net[1]) * rates) + local[0] - local[1]
    assert found.marginal.baseline_kg - found.marginal.project_kg == pytest.approx(gross, rel=1e-9, abs=1e-6)
    assert np.sign(found.marginal.storage_leakage_kg) == -np.sign(found.storage_change_mwh)


@settings(max_examples=10)
@given(periods())
def test_doing_nothing_avoids_nothing(period: Period) -> None:
    found = avoided(replace(period, actual=period.uncontrolled))
    for statement in (found.average, found.marginal):
        assert (statement.reduction_kg, statement.storage_leakage_kg) == (0.0, 0.0)
    assert (found.moved_mwh, found.import_change_mwh) == (0.0, 0.0)


def test_without_a_margin_the_marginal_statement_is_not_estimated() -> None:
    found = avoided(build(5, date(2016, 6, 29), 1, marginal=False))
    assert np.isnan(found.marginal.reduction_kg)
    assert np.isfinite(found.average.reduction_kg)
    assert found.average.estimated_share == pytest.approx(1.0)
    assert {item.name for item in fields(found)} >= {"average", "marginal"}
