"""Ledgers at both ends of the factors' ranges: each end closes as the value does; the unknown stays so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.carbon.avoided import avoided
from energy.carbon.breakdown import amount, cut, intervals, sums
from energy.carbon.difference import difference
from energy.carbon.ev import EvGroup, ev_ledger
from energy.carbon.grid_average import grid_average
from energy.carbon.indicators import Indicators, compare, district_indicators
from energy.carbon.rates import Rate
from energy.carbon.stations import stations
from energy.carbon.traced import Traced
from energy.domain.period import CITY, Account, AccountedDay, Period, TracedCarbon, end_name, ends_of
from tests.carbon.periods import HIGH, LOW, periods
from tests.carbon.test_grid_average import flat
from tests.carbon.test_stations import with_stations

ENDS = (LOW, HIGH)
CARBON: dict[str, Callable[[EvGroup], float]] = {
    name: lambda group, name=name: getattr(group, name)
    for name in ("charged_kg", "exported_kg", "driven_kg", "change_kg", "g_per_km", "charged_g_per_kwh")
}


def close(found: float, expected: float) -> bool:
    return found == pytest.approx(expected, rel=1e-9, abs=1e-7, nan_ok=True)


def narrowed(period: Period, share: float) -> Period:
    """The period with every range drawn to a share of its width."""

    def drawn(value: np.ndarray, end: np.ndarray) -> np.ndarray:
        return value + share * (end - value)

    def table(values: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        carbon = [name for name in values if name.endswith(("_kg", "_g_per_kwh"))]
        names = [name for name in carbon if end_name(name, "low") in values]
        ends = {name: ends_of(values, name) for name in names}
        return values | {
            end_name(name, end): drawn(values[name], found)
            for name in names
            for end, found in zip(("low", "high"), ends[name], strict=True)
        }

    def account(of: Account) -> Account:
        return Account(table(dict(of.districts)), table(dict(of.city)))

    def day(of: AccountedDay) -> AccountedDay:
        ends = tuple(
            TracedCarbon(
                *(
                    drawn(getattr(of.carbon, item.name), getattr(end, item.name))
                    for item in fields(TracedCarbon)
                )
            )
            for end in of.ends or ()
        )
        return replace(of, read_ends=lambda: ends)

    actual = account(period.actual)
    return replace(
        period,
        actual=actual,
        planned=actual,
        uncontrolled=account(period.uncontrolled),
        upstream=table(dict(period.upstream)),
        by_day=tuple(map(day, period.by_day)),
    )


@settings(max_examples=10)
@given(periods())
def test_evs_close_at_either_end_in_every_grouping(period: Period) -> None:
    ledger = ev_ledger(period)
    city = ledger.city()
    for groups in (ledger.by_vehicle(), ledger.by_hub(), ledger.by_hour_of_day(), ledger.by_month()):
        for group in groups.values():
            assert group.ends is not None
            for end, share in zip(group.ends, ENDS, strict=True):
                assert end.residual_kg == pytest.approx(0.0, abs=1e-9 * max(1.0, end.charged_kg))
                assert all(close(of(end), share * of(group)) for of in CARBON.values())
                assert (end.charged_mwh, end.distance_km) == (group.charged_mwh, group.distance_km)
            for name in ("charged_kg", "exported_kg", "driven_kg"):
                low, high = group.at_ends(CARBON[name])
                assert low <= getattr(group, name) <= high
        for name in ("charged_kg", "exported_kg", "driven_kg", "change_kg"):
            for k in range(2):
                total = sum(group.at_ends(CARBON[name])[k] for group in groups.values())
                assert close(total, city.at_ends(CARBON[name])[k])
    driven = [float(np.nansum(end)) for end in ends_of(period.actual.city, "ev_driven_kg")]
    assert all(map(close, city.at_ends(CARBON["driven_kg"]), driven))


@settings(max_examples=10)
@given(with_stations())
def test_hydrogen_and_swaps_have_their_ends(made: tuple[Period, float]) -> None:
    for station in stations(made[0]):
        assert station.use.ends is not None
        for end, share in zip(station.use.ends, ENDS, strict=True):
            at_the_end = replace(station, use=end)
            assert close(at_the_end.kg_per_kg, share * station.kg_per_kg)
            assert close(at_the_end.g_per_kwh, share * station.g_per_kwh)


def figures(period: Period, rate: Rate) -> dict[str, tuple[float, float, float]]:
    """Every traced figure of a period with its two ends, by name."""

    def indicators(of: Indicators) -> tuple[float, ...]:
        return of.emissions_kg, of.loss_kg, of.footprint_kg, of.g_per_kwh

    found: dict[str, tuple[float, float, float]] = {}
    for name, of in CARBON.items():
        city = ev_ledger(period).city()
        found[f"ev/{name}"] = (of(city), *city.at_ends(of))
    compared = compare(period)
    places = {"actual": compared.actual, "uncontrolled": compared.uncontrolled, **district_indicators(period)}
    for place, at in places.items():
        for k, values in enumerate(zip(*(indicators(each) for each in (at, *at.ends)), strict=True)):
            found[f"{place}/{k}"] = values
    statement = avoided(period).average
    for name in ("baseline_kg", "project_kg", "storage_leakage_kg", "reduction_kg"):
        ends = statement.at_ends(lambda of, name=name: getattr(of, name))
        found[f"avoided/{name}"] = (getattr(statement, name), *ends)
    for place, apart in difference(grid_average(period, rate), period).items():
        for name in ("official_kg", "level_kg", "timing_kg", "local_kg", "traced_kg", "traced_losses_kg"):
            found[f"difference/{place}/{name}"] = tuple(getattr(each, name) for each in (apart, *apart.ends))
    of_city = cut(period, "district")
    tallied = sums(period, {"traced": (Traced(period), of_city)}, intervals(period, "total").first)["traced"]
    for k, place in enumerate(of_city.places):
        traced = amount(tallied[:, 0, k])
        found[f"traced/{place.id}"] = (traced.kg, traced.low_kg, traced.high_kg)
    return found


@settings(max_examples=5)
@given(periods(), st.floats(0.0, 1.0))
def test_intervals_are_as_wide_as_the_ranges(period: Period, share: float) -> None:
    """Linear, and without width low = value = high; a source without range leaves none."""
    rate = flat(period, 400.0)
    rate = replace(rate, low=LOW * rate.g_per_kwh, high=HIGH * rate.g_per_kwh)

    def at(share: float) -> dict[str, tuple[float, float, float]]:
        scaled = replace(
            rate,
            low=rate.g_per_kwh + share * (rate.low - rate.g_per_kwh),
            high=rate.g_per_kwh + share * (rate.high - rate.g_per_kwh),
        )
        return figures(narrowed(period, share), scaled)

    whole, part, none = figures(period, rate), at(share), at(0.0)
    for name, (value, *ends) in whole.items():
        for end, expected, drawn, without in zip(ends, ENDS, part[name][1:], none[name][1:], strict=True):
            slack = 1e-7 * (1.0 + abs(value))
            assert end == pytest.approx(expected * value, rel=1e-9, abs=slack, nan_ok=True), name
            assert drawn == pytest.approx(value + share * (end - value), rel=1e-9, abs=slack, nan_ok=True), (
                name
            )
            assert without == pytest.approx(value, rel=1e-9, abs=slack, nan_ok=True), name


@settings(max_examples=5)
@given(periods(missing=False), st.data())
def test_one_day_without_ends_leaves_no_interval_and_no_narrower_one(
    period: Period, data: st.DataObject
) -> None:
    lost = data.draw(st.integers(0, len(period.by_day) - 1))
    rows = period.by_day[lost].hours

    def cleared(table: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        kept = {name: np.array(values) for name, values in table.items()}
        for name, values in kept.items():
            if name.endswith(("_low_kg", "_high_kg", "_low_g_per_kwh", "_high_g_per_kwh")):
                values[rows] = np.nan
        return kept

    def account(of: Account) -> Account:
        return Account(cleared(dict(of.districts)), cleared(dict(of.city)))

    days = list(period.by_day)
    days[lost] = replace(days[lost], read_ends=lambda: None)
    without = replace(
        period,
        actual=account(period.actual),
        uncontrolled=account(period.uncontrolled),
        upstream=cleared(dict(period.upstream)),
        by_day=tuple(days),
    )
    rate = flat(period, 400.0)
    before = figures(period, rate)
    for name, (value, *ends) in figures(without, rate).items():
        assert value == pytest.approx(before[name][0], nan_ok=True), name
        of_nothing = name == "traced/district/boundary"  # no asset is there
        assert np.isnan(ends).all() or of_nothing or name.endswith("official_kg"), name


@settings(max_examples=5)
@given(periods())
def test_the_terms_between_traced_and_official_add_up_at_either_end(period: Period) -> None:
    rate = flat(period, 400.0)
    rate = replace(rate, low=0.5 * rate.g_per_kwh, high=1.1 * rate.g_per_kwh)
    found = difference(grid_average(period, rate), period)
    for end in (0, 1):
        for place in found.values():
            at = place.ends[end]
            terms = at.official_kg + at.level_kg + at.timing_kg + at.local_kg
            assert at.traced_kg == pytest.approx(terms, rel=1e-9, abs=1e-6)
        traced = sum(place.ends[end].traced_kg for name, place in found.items() if name != CITY)
        assert traced == pytest.approx(found[CITY].ends[end].traced_kg, rel=1e-9, abs=1e-6)
