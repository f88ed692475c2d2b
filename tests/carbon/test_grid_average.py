"""The official location-based ledger: sums agree however they are cut; what is unknown is never zero."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.carbon.grid_average import grid_average
from energy.carbon.rates import Rate, rate, together
from energy.domain.errors import Fault, InputError
from energy.domain.factors import Factor
from energy.domain.period import Period
from tests.carbon.periods import build, periods, table, with_tables


def factor(value: float, **changes: object) -> Factor:
    named = Factor(
        id="grid-de",
        technology="",
        renewable=False,
        value=value,
        low=value * 0.9,
        high=value * 1.2,
        unit="g/kWh",
        gas_basis="CO2",
        basis="direct",
        estimated=False,
        source="a source",
        data_year=2016,
        publication_year=2017,
        valid_from=date(2016, 1, 1),
        version=1,
        note="",
    )
    return replace(named, **changes)


def flat(period: Period, value: float, **changes: object) -> Rate:
    return rate(period.time, period.zone, lambda _: factor(value, **changes))


def close(found: float, expected: float) -> bool:
    return found == pytest.approx(expected, rel=1e-9, abs=1e-9)


@settings(max_examples=15)
@given(periods(), st.floats(0.0, 1500.0))
def test_districts_classes_and_assets_add_up_to_the_city(period: Period, value: float) -> None:
    ledger = grid_average(period, flat(period, value), flat(period, value / 10))
    city = ledger.city()
    for cut in (ledger.by_asset(), ledger.by_district(), ledger.by_class()):
        for name in ("kg", "low_kg", "high_kg", "mwh"):
            assert close(sum(getattr(use.scope2, name) for use in cut.values()), getattr(city.scope2, name))
            assert close(sum(getattr(use.losses, name) for use in cut.values()), getattr(city.losses, name))
    assert close(city.scope2.kg, city.scope2.mwh * value)
    assert close(city.losses.kg, city.scope2.kg / 10)
    assert city.scope2.low_kg <= city.scope2.kg <= city.scope2.high_kg or city.scope2.mwh < 0


@settings(max_examples=15)
@given(periods())
def test_no_kwh_counts_twice(period: Period) -> None:
    """Use, and what batteries hold more, is what came in or was generated, less losses and exports."""
    ledger = grid_average(period, flat(period, 400.0))
    mwh, kg = (table(period, f"tank_change_{unit}") for unit in ("mwh", "kg"))
    used = ledger.city().scope2.mwh + np.nansum(mwh[:, period.storages.index("bat")])
    assert ledger.by_asset()["bat"].scope2.mwh >= -1e-12
    city = period.actual.city
    generated = np.nansum(period.actual.districts["local_generation_mwh"])
    supplied = np.nansum(city["import_mwh"] - city["export_mwh"] - city["losses_mwh"]) + generated
    assert close(used, supplied)
    assert close(np.nansum(kg), np.nansum(city["storage_change_kg"]))
    assert close(np.nansum(mwh), np.nansum(city["storage_change_mwh"]))


def test_the_factor_is_the_one_valid_on_the_local_day() -> None:
    period = build(1, date(2016, 6, 30), 2)
    by_day = {date(2016, 6, 30): factor(500.0), date(2016, 7, 1): factor(400.0, version=2, estimated=True)}
    found = rate(period.time, period.zone, by_day.__getitem__)
    assert found.g_per_kwh.tolist() == [500.0] * 24 + [400.0] * 24
    assert found.factor_keys == ("grid-de@2016-01-01 v1", "grid-de@2016-01-01 v2")
    amount = found.amount(np.array([3.0] + [0.0] * 46 + [1.0]))
    assert (amount.kg, amount.mwh, amount.estimated_share) == (1900.0, 4.0, 0.25)
    assert (amount.low_kg, amount.high_kg) == pytest.approx((1710.0, 2280.0))


def test_a_missing_factor_is_not_estimated_and_never_zero() -> None:
    period = build(1, date(2016, 6, 30), 2)

    def find(day: date) -> Factor:
        if day == date(2016, 7, 1):
            raise InputError(Fault("zone 'DE'", "has no grid average"))
        return factor(500.0, low=None, high=None)

    found = rate(period.time, period.zone, find)
    assert found.gaps == ("zone 'DE': has no grid average",)
    used = np.zeros(48)
    used[0] = 2.0
    amount = found.amount(used)
    assert (amount.kg, amount.known) == (1000.0, True)
    assert np.isnan([amount.low_kg, amount.high_kg]).all()  # the source gives no range
    used[30] = 0.001
    assert not found.amount(used).known
    assert not grid_average(period, found).city().scope2.known
    assert grid_average(period, found).city().losses is None


def test_intervals_of_what_is_used_and_fed_back_cancel() -> None:
    period = build(1, date(2016, 6, 30), 1)
    used, returned = (flat(period, 100.0).amount(np.full(24, sign)) for sign in (1.0, -1.0))
    nothing = together((used, returned))
    assert (nothing.kg, nothing.low_kg, nothing.high_kg, nothing.mwh) == (0.0, 0.0, 0.0, 0.0)


def test_missing_days_are_left_out_or_estimated_and_said_to_be() -> None:
    whole, gap = (build(1, date(2016, 6, 28), 3, gap=gap) for gap in (False, True))
    out = grid_average(gap, flat(gap, 100.0))
    assert out.city().scope2.estimated_share == 0.0
    known = np.isfinite(table(gap, "drawn_mwh")).all(axis=1)
    assert close(out.city().scope2.mwh, grid_average(whole, flat(whole, 100.0)).energy_mwh[known].sum())
    found = grid_average(gap, flat(gap, 100.0), gaps="same-hour-mean")
    assert close(found.city().scope2.mwh, out.city().scope2.mwh * 1.5)
    assert close(found.city().scope2.estimated_share, 1.0 / 3.0)
    assert found.energy_mwh[24:48] == pytest.approx((out.energy_mwh[:24] + out.energy_mwh[48:]) / 2.0)
    nothing = with_tables(gap, drawn_mwh=np.full((gap.time.steps, len(gap.assets)), np.nan))
    with pytest.raises(InputError, match="no hour is known"):
        grid_average(nothing, flat(gap, 100.0), gaps="same-hour-mean")
