"""Every ledger cut every way: places add up to the places above them, intervals to the whole, as trees."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.carbon.breakdown import BY, RESOLUTIONS, ROWS, Cut, amount, cut, intervals, sums
from energy.carbon.cfe import CarbonFree, score
from energy.carbon.difference import difference
from energy.carbon.grid_average import grid_average
from energy.carbon.marginal import marginal
from energy.carbon.market_based import MarketBased, market_use
from energy.carbon.traced import Traced
from energy.domain.period import Period
from tests.carbon.periods import HIGH, LOW, build, periods, table, with_tables
from tests.carbon.test_grid_average import flat
from tests.carbon.test_market_based import DAY, certificate, contract, ledger, portfolios

CARBON_FREE = ("pv_rooftop", "wind_onshore", "hydro")
TREES = ({}, {2: 1, 3: 1}, {3: 2, 2: 1}, {1: 9, 2: 9, 3: 9}, {2: 2, 3: 2})
"""Buses by the station that feeds them: none, one station, one LV grid below another, a station without
assets of its own, and one in the grid that it feeds."""


def market(draw: st.DrawFn, period: Period) -> MarketBased:
    matching = draw(st.sampled_from(["annual", "hourly"]))
    contracts, certificates = draw(portfolios(period, matching == "hourly"))
    return ledger(period, contracts, certificates, matching=matching)


@st.composite
def ledgers(draw: st.DrawFn) -> tuple[Period, dict]:
    period = draw(periods())
    average = grid_average(period, flat(period, 500.0), flat(period, 30.0))
    return period, {
        "traced": Traced(period),
        "grid-average": average,
        "market-based": market(draw, period),
        "marginal": marginal(period),
    }


def total(of: Cut, period: Period, name: str, found: object) -> np.ndarray:
    return sums(period, {name: (found, of)}, np.zeros(1, dtype=np.int64))[name][:, 0]


@settings(max_examples=20, deadline=None)
@given(ledgers(), st.sampled_from(TREES))
def test_places_add_up_to_the_city_however_a_ledger_is_cut(
    drawn: tuple[Period, dict], stations: dict[int, int]
) -> None:
    """Places without any below, and those right below the city, add up to it, each ledger on its own."""
    period, kept = drawn
    for name, found in kept.items():
        city = total(cut(period, "city"), period, name, found)[:, 0]
        scale = np.nanmax(np.abs(total(cut(period, "asset"), period, name, found)))
        for by in BY:
            of = cut(period, by, station_of_bus=stations)
            values = total(of, period, name, found)
            column = {place.id: k for k, place in enumerate(of.places)}
            assert of.places[-1].id == "city"
            np.testing.assert_allclose(values[:, -1], city, rtol=1e-9, atol=1e-9 * scale)
            containing = {place.above for place in of.places}
            ends = [column[place.id] for place in of.places if place.id not in containing]
            np.testing.assert_allclose(values[:, ends].sum(axis=1), city, rtol=1e-9, atol=1e-9 * scale)
            for place in of.places:
                within = [column[other.id] for other in of.below(place)]
                if within:
                    np.testing.assert_allclose(
                        values[:, within].sum(axis=1),
                        values[:, column[place.id]],
                        rtol=1e-9,
                        atol=1e-9 * scale,
                    )


@settings(max_examples=15, deadline=None)
@given(ledgers())
def test_intervals_add_up_to_the_period(drawn: tuple[Period, dict]) -> None:
    period, kept = drawn
    of = cut(period, "asset")
    every = {name: intervals(period, name) for name in RESOLUTIONS}
    assert len(every["hour"].names) == len(set(every["hour"].names)) == period.time.steps
    assert every["total"].names == ("",)
    counts = {name: (found, of) for name, found in kept.items()}
    whole = sums(period, counts, every["total"].first)
    for found_in in every.values():
        known = found_in.known_hours(period)
        assert known.sum() == np.isfinite(period.actual.city["end_use_kg"]).sum()
        for name, found in sums(period, counts, found_in.first).items():
            assert found.shape[1:] == (len(found_in.names), len(of.places))
            np.testing.assert_allclose(found.sum(axis=1), whole[name][:, 0], rtol=1e-9, atol=1e-9)


@settings(max_examples=15, deadline=None)
@given(ledgers())
def test_a_ledger_says_the_same_as_its_own_sums(drawn: tuple[Period, dict]) -> None:
    """Official, market-based and traced stand on the same kWh; each as it sums itself."""
    period, kept = drawn
    of = cut(period, "district")
    found = {name: total(of, period, name, of_name) for name, of_name in kept.items()}
    official, apart = kept["grid-average"], difference(kept["grid-average"], period)
    for k, place in enumerate(of.places):
        key = place.name or "city"
        use = official.by_district()[place.name] if place.above else official.city()
        for part, tallied in (
            (use.scope2, found["grid-average"][:ROWS]),
            (use.losses, found["grid-average"][ROWS:]),
        ):
            assert amount(tallied[:, k]).kg == pytest.approx(part.kg, rel=1e-9, abs=1e-9)
            assert amount(tallied[:, k]).high_kg == pytest.approx(part.high_kg, rel=1e-9, abs=1e-9)
        assert amount(found["traced"][:, k]).kg == pytest.approx(apart[key].traced_kg, rel=1e-9, abs=1e-6)
        covered = kept["market-based"]
        mine = covered.by_district()[place.name] if place.above else covered.city()
        assert market_use(found["market-based"][:, k]).total.kg == pytest.approx(
            mine.total.kg, rel=1e-9, abs=1e-6
        )
        energies = (
            amount(found["traced"][:, k]).mwh,
            use.scope2.mwh,
            market_use(found["market-based"][:, k]).total.mwh,
        )
        assert energies == pytest.approx([use.scope2.mwh] * 3, rel=1e-9, abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(st.data())
def test_an_asset_has_its_share_of_what_covers_its_unit(data: st.DataObject) -> None:
    """Its positive use × class share over the unit's, hour by hour; never more than it uses."""
    period = data.draw(periods())
    found = market(data.draw, period)
    city, by_asset = found.city(), found.by_asset(period)
    assert set(by_asset) == {asset.id for asset in period.assets}
    for part in ("contracts", "certificates", "rest"):
        for name in ("kg", "mwh"):
            values = [getattr(getattr(use, part), name) for use in by_asset.values()]
            assert sum(values) == pytest.approx(getattr(getattr(city, part), name), rel=1e-9, abs=1e-9)
    used = np.maximum(np.nan_to_num(found.asset_mwh), 0.0)
    for k, asset in enumerate(period.assets):
        use = by_asset[asset.id]
        covered = use.contracts.mwh + use.certificates.mwh
        assert -1e-12 <= covered <= used[:, k].sum() * (1 + 1e-9) + 1e-12


def test_a_contract_of_one_asset_covers_that_asset_alone() -> None:
    period = build(4, DAY, 1)
    found = ledger(
        period,
        [contract(consumer="asset:farm", share=0.5)],
        [certificate(1, period.time.start, 24, 1.0, consumer="class:industry")],
    ).by_asset(period)
    assert found["farm"].contracts.mwh == pytest.approx(found["farm"].total.mwh / 2)
    assert found["shop"].certificates.mwh == pytest.approx(1.0)
    others = [use for name, use in found.items() if name not in ("farm", "shop")]
    assert all(use.contracts.mwh == use.certificates.mwh == 0.0 for use in others)


def test_connections_nest_as_the_grid_feeds_them() -> None:
    """Chargers at bus 2 hang below station 1, and it below the city's connection."""
    period = build(3, date(2016, 6, 29), 1)
    of = cut(period, "connection", station_of_bus={2: 1})
    assert {place.id: place.above for place in of.places} == {
        "station/1": "city",
        "bus/1": "station/1",
        "bus/2": "station/1",
        "bus/3": "city",
        "city": "",
    }
    members = {
        place.id: {period.assets[row].id for row in of.member[:, [k]].nonzero()[0]}
        for k, place in enumerate(of.places)
    }
    assert members["bus/1"] == {"home", "pv"}
    assert members["station/1"] == members["bus/1"] | members["bus/2"]
    assert members["city"] == {asset.id for asset in period.assets}


def test_an_asset_that_moved_is_one_asset_at_two_connections() -> None:
    period = build(3, date(2016, 6, 29), 2)
    moved = replace(period.assets[6], bus=3, district="west")
    wider = replace(period, assets=(*period.assets, moved))
    both = with_tables(
        wider,
        **{
            name: np.column_stack((table(period, name), table(period, name)[:, 6]))
            for name in ("drawn_mwh", "drawn_kg", "injected_mwh", "injected_kg")
        },
    )
    of = cut(both, "asset")
    assert [place.id for place in of.places].count("asset/car1") == 1
    assert of.member.sum(axis=0)[of.places.index(next(p for p in of.places if p.name == "car1"))] == 2


def test_what_an_asset_is_unsure_of_is_weighed_by_its_energy() -> None:
    period = build(3, date(2016, 6, 29), 1)
    sure = replace(period, upstream={**period.upstream, "estimated_share": np.zeros(period.time.steps)})
    of = cut(sure, "kind", doubt=lambda asset: 1.0 if asset.kind == "ev" else 0.0)
    values = total(of, sure, "", grid_average(sure, flat(sure, 500.0)))
    shares = {place.name: amount(values[:, k]).estimated_share for k, place in enumerate(of.places)}
    assert shares["ev"] == pytest.approx(1.0)
    assert shares["load"] == 0.0
    assert 0.0 < shares[""] < 1.0


@pytest.mark.parametrize("by", BY)
def test_traced_carbon_has_the_ends_that_its_days_were_stored_with(by: str) -> None:
    """Each end is an account of its own: as all factors are there, so are the places' figures."""
    period = build(3, date(2016, 6, 29), 2)
    first, second = period.by_day
    of = cut(period, by)
    partly = replace(period, by_day=(first, replace(second, read_ends=lambda: None)))
    for found in map(amount, total(of, period, "", Traced(period)).T):
        assert (found.low_kg, found.high_kg) == pytest.approx((LOW * found.kg, HIGH * found.kg), abs=1e-9)
    for found in map(amount, total(of, partly, "", Traced(partly)).T):
        assert np.isnan(found.low_kg) or not found.mwh
        assert np.isfinite(found.kg)


@settings(max_examples=15, deadline=None)
@given(periods(), st.sampled_from(BY))
def test_scores_are_shares_that_contracts_only_raise(period: Period, by: str) -> None:
    of = cut(period, by)
    free = ledger(period, [contract(share=0.3)])
    found = [
        total(of, period, "", rule)
        for rule in (
            CarbonFree(period, ()),
            CarbonFree(period, CARBON_FREE),
            CarbonFree(period, CARBON_FREE, free),
        )
    ]
    for k in range(len(of.places)):
        none, local, contracted = (score(values[:, k]) for values in found)
        if not none.used_mwh:
            assert np.isnan(local.score)
            continue
        assert 0.0 <= none.score <= local.score + 1e-12 <= contracted.score + 2e-12 <= 1.0 + 3e-12
        assert local.annual_match <= contracted.annual_match + 1e-12


@settings(max_examples=15, deadline=None)
@given(periods())
def test_within_a_place_a_surplus_serves_the_others(period: Period) -> None:
    """The city meets at least what its parts meet; where nothing is fed back its use is theirs."""
    loads = [asset.kind in ("load", "renewable") for asset in period.assets]
    plain = with_tables(
        period,
        **{
            name: table(period, name) * loads
            for name in ("drawn_mwh", "drawn_kg", "injected_mwh", "injected_kg")
        },
    )
    for by in BY:
        met, used, contracted, *_ = total(cut(plain, by), plain, "", CarbonFree(plain, CARBON_FREE))
        assert used[:-1].sum() == pytest.approx(used[-1]) or by == "city"
        assert contracted[:-1].sum() == pytest.approx(contracted[-1]) or by == "city"
        assert met[:-1].sum() <= met[-1] * (1 + 1e-12)
