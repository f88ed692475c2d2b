"""The consequential ledger: it adds up, keeps its sign, and is not estimated where the margin is unknown."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.carbon.breakdown import amounts
from energy.carbon.ev import ev_ledger
from energy.carbon.marginal import marginal
from energy.domain.period import Period
from tests.carbon.periods import build, periods, table, with_tables


@st.composite
def dispatched(draw: st.DrawFn) -> Period:
    """A period whose days have marginal rates by asset and at the root, some hours of them none."""
    period = draw(periods())
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    rates = random.uniform(-500.0, 1500.0, (period.time.steps, len(period.assets) + 1))
    rates[random.random(len(rates)) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = np.nan
    kg = (table(period, "drawn_mwh") - table(period, "injected_mwh")) * rates[:, :-1]
    return replace(with_tables(period, marginal_kg=kg), marginal_at_root=rates[:, -1])


@settings(max_examples=25)
@given(dispatched())
def test_districts_kinds_and_assets_are_views_of_one_sum(period: Period) -> None:
    ledger = marginal(period)
    every = amounts(period, ledger, "city")["city"]
    for by in ("district", "kind", "asset"):
        groups = [of for place, of in amounts(period, ledger, by).items() if place != "city"]
        assert sum(of.kg for of in groups) == pytest.approx(every.kg, rel=1e-9, abs=1e-6)
        assert sum(of.mwh for of in groups) == pytest.approx(every.mwh, rel=1e-9, abs=1e-9)
    evs = ev_ledger(period, ledger).city().marginal
    assert evs is not None
    assert evs.kg == pytest.approx(amounts(period, ledger, "kind")["kind/ev"].kg, rel=1e-9, abs=1e-6)


@settings(max_examples=25)
@given(dispatched())
def test_hours_without_rates_of_their_dispatch_count_at_the_margin_upstream(period: Period) -> None:
    ledger, upstream = marginal(period), marginal(period, dispatch=False)
    without = ~ledger.by_dispatch
    for day in period.by_day:
        rows = without[day.hours]
        np.testing.assert_array_equal(ledger.kg(day)[rows], upstream.kg(day)[rows])
    known = np.isfinite(period.upstream["carbon_g_per_kwh"])
    assert ledger.method == (
        "marginal-dispatch"
        if not without[known].any()
        else "marginal"
        if without[known].all()
        else "marginal-mixed"
    )
    assert upstream.method == "marginal"


def test_at_the_margin_upstream_an_asset_causes_its_net_draw() -> None:
    period = build(3, date(2016, 6, 29), 1)
    ledger = marginal(period)
    net = table(period, "drawn_mwh") - table(period, "injected_mwh")
    expected = period.upstream["marginal_g_per_kwh"] @ net
    found = amounts(period, ledger, "asset", "district")
    for k, asset in enumerate(period.assets):
        assert found[f"asset/{asset.id}"].kg == pytest.approx(expected[k])
    assert found["district/boundary"].kg == 0.0
    city = period.actual.city
    assert ledger.of_connection().kg == pytest.approx(
        period.upstream["marginal_g_per_kwh"] @ (city["import_mwh"] - city["export_mwh"])
    )


def test_without_an_upstream_margin_nothing_is_estimated_but_what_draws_nothing() -> None:
    period = build(3, date(2016, 6, 29), 1, marginal=False)
    ledger = marginal(period)
    city = ev_ledger(period, ledger).city()
    assert city.marginal is not None
    assert np.isnan(city.marginal.kg)
    assert np.isnan(city.marginal_g_per_kwh)
    assert np.isnan(ledger.of_connection().kg)
    nothing = np.zeros((24, len(period.assets)))
    idle = with_tables(period, drawn_mwh=nothing, injected_mwh=nothing)
    assert amounts(idle, marginal(idle), "kind")["kind/load"].kg == 0.0
    assert ev_ledger(period).city().marginal is None
