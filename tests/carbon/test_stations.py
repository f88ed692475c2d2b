"""Hydrogen and swap stations: their tanks close, and a kg of hydrogen carries what its electricity did."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.carbon.ev import ev_ledger
from energy.carbon.marginal import marginal
from energy.carbon.stations import stations
from energy.domain.period import Period
from tests.carbon.periods import periods, table, with_tables

KINDS = {"car1": "hydrogen_station", "car2": "swap_station"}


@st.composite
def with_stations(draw: st.DrawFn) -> tuple[Period, float]:
    """A period whose first car is a hydrogen station and whose second a swap station; kWh per kg."""
    period, per_kg = draw(periods()), draw(st.floats(30.0, 80.0))
    assets = tuple(replace(asset, kind=KINDS.get(asset.id, asset.kind)) for asset in period.assets)
    kg = table(period, "driven_mwh") * 1000 / per_kg * [key == "car1" for key in period.storages]
    return replace(with_tables(period, hydrogen_kg=kg), assets=assets), per_kg


@settings(max_examples=20)
@given(with_stations())
def test_what_is_charged_is_taken_given_back_or_still_there(made: tuple[Period, float]) -> None:
    period, per_kg = made
    hydrogen, swaps = stations(period, marginal(period))
    for station in (hydrogen, swaps):
        assert station.use.residual_kg == pytest.approx(0.0, abs=1e-9 * max(1.0, station.use.charged_kg))
    carbon = np.nansum(period.actual.city["ev_driven_kg"])
    assert hydrogen.use.driven_kg + swaps.use.driven_kg == pytest.approx(carbon, rel=1e-9)
    assert not ev_ledger(period).evs
    # a kg carries the carbon of the kWh that made it
    assert hydrogen.kg_per_kg == pytest.approx(hydrogen.g_per_kwh * per_kg / 1000, rel=1e-9, nan_ok=True)
    assert np.isnan(swaps.hydrogen_kg)
    assert np.isnan(swaps.kg_per_kg)


@settings(max_examples=10)
@given(with_stations())
def test_of_days_without_the_mass_no_carbon_per_kg_is_claimed(made: tuple[Period, float]) -> None:
    period, _ = made
    first, *others = period.by_day
    hydrogen, _ = stations(replace(period, by_day=(replace(first, hydrogen_kg=None), *others)))
    driven = first.driven_mwh[:, period.storages.index("car1")].sum()
    assert np.isnan(hydrogen.kg_per_kg) == bool(driven > 0 or not hydrogen.hydrogen_kg)
    never = tuple(replace(day, hydrogen_kg=None) for day in period.by_day)
    assert np.isnan(stations(replace(period, by_day=never))[0].kg_per_kg)
