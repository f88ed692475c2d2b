"""Synthetic fleets: sessions that can be served, never overlap, and depend on the seed alone."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.city import Vehicle
from energy.feeds.charging import ChargingDistributions, read_distributions
from energy.feeds.city import EvSection
from energy.service.cities import reference_city_directory
from energy.service.fleets import AWAY_MIN_HOURS, Site, draw_fleets

ZONE = ZoneInfo("Europe/Berlin")
DISTRIBUTIONS: ChargingDistributions = read_distributions(
    reference_city_directory() / "ev_distributions", "ev_distributions"
)
DEPOT = {
    "id": "depot",
    "kind": "depot",
    "vehicles": 2,
    "charge_max_kw": 100.0,
    "battery_kwh": [350.0],
    "kwh_per_km": 1.2,
    "timetable": [
        {"vehicles": 2, "days": "mon-fri", "leaves": "05:15", "returns": "20:30", "distance_km": 210.0}
    ],
}


def section(*fleets: dict[str, Any], seed: int = 1) -> EvSection:
    return EvSection.model_validate({"seed": seed, "fleets": list(fleets)})


def fleet(kind: str = "home", vehicles: int = 20, power: float = 11.0) -> dict[str, Any]:
    return {
        "id": kind,
        "kind": kind,
        "vehicles": vehicles,
        "charge_max_kw": power,
        "battery_kwh": [40.0, 77.0],
        "v2g_share": 0.3,
    }


def draw(ev: EvSection, first: date, last: date) -> tuple[tuple[Vehicle, ...], tuple[str, ...]]:
    sites = {fleet.id: [Site(3, 1.0), Site(5, 2.0)] for fleet in ev.fleets}
    return draw_fleets(ev, DISTRIBUTIONS, sites, first, last, ZONE)


@settings(max_examples=15)
@given(
    st.sampled_from(["home", "workplace", "public"]),
    st.integers(0, 2**32),
    st.sampled_from([3.7, 11.0, 150.0]),
)
def test_every_session_can_be_served(kind: str, seed: int, power: float) -> None:
    vehicles, _ = draw(section(fleet(kind, power=power), seed=seed), date(2016, 3, 1), date(2016, 4, 30))
    assert sum(vehicle.v2g for vehicle in vehicles) == 6
    for vehicle in vehicles:
        for session in vehicle.sessions:
            stay = session.departure - session.arrival
            assert timedelta(0) < stay <= timedelta(hours=24)
            at_plug = session.energy_kwh / vehicle.charge_efficiency
            assert 0 <= at_plug <= 0.9 * power * (stay / timedelta(hours=1)) * (1 + 1e-12)
            assert session.energy_kwh <= vehicle.e_max_kwh - vehicle.e_min_kwh + 1e-9
            assert session.distance_km == pytest.approx(session.energy_kwh / 0.18)
            assert session.discharge_max_kw == (power if vehicle.v2g else 0.0)
        for one, following in pairwise(vehicle.sessions):
            assert following.arrival - one.departure >= timedelta(hours=AWAY_MIN_HOURS)


def test_the_mean_is_the_asked_number_of_sessions_and_weekends_are_free_of_work() -> None:
    vehicles, _ = draw(
        section(fleet("home", 200), fleet("workplace", 200)), date(2016, 1, 1), date(2016, 12, 31)
    )
    for kind in ("home", "workplace"):
        count = sum(len(vehicle.sessions) for vehicle in vehicles if vehicle.fleet == kind)
        assert count / 200 / 366 == pytest.approx(0.4, abs=0.01)
    days = {
        session.arrival.astimezone(ZONE).weekday()
        for vehicle in vehicles
        if vehicle.fleet == "workplace"
        for session in vehicle.sessions
    }
    assert days == {0, 1, 2, 3, 4}


def test_the_same_seed_draws_the_same_and_a_new_fleet_changes_no_other() -> None:
    days = (date(2016, 5, 1), date(2016, 5, 31))
    alone, _ = draw(section(fleet("home")), *days)
    again, _ = draw(section(fleet("home")), *days)
    beside, _ = draw(section(fleet("public"), fleet("home")), *days)
    other, _ = draw(section(fleet("home"), seed=2), *days)
    assert alone == again == tuple(vehicle for vehicle in beside if vehicle.fleet == "home")
    assert alone != other


def test_a_depot_follows_its_timetable_over_a_change_of_clocks() -> None:
    vehicles, notices = draw(section(DEPOT), date(2016, 3, 24), date(2016, 3, 29))
    sessions = vehicles[0].sessions
    assert [session.arrival for session in sessions] == [
        datetime(2016, 3, 24, 19, 30, tzinfo=UTC),
        datetime(2016, 3, 25, 19, 30, tzinfo=UTC),
        datetime(2016, 3, 28, 18, 30, tzinfo=UTC),
        datetime(2016, 3, 29, 18, 30, tzinfo=UTC),
    ]
    assert sessions[0].departure == datetime(2016, 3, 25, 4, 15, tzinfo=UTC)
    assert sessions[1].departure == sessions[1].arrival + timedelta(hours=24)
    assert [session.energy_kwh for session in sessions] == pytest.approx([252.0] * 4)
    assert any("synthetic" in notice for notice in notices)


def test_what_is_capped_is_told() -> None:
    _, notices = draw(section(fleet("home", 50, power=3.7)), date(2016, 1, 1), date(2016, 2, 29))
    assert any("capped by power × stay" in notice for notice in notices)
    assert any("capped by the battery" in notice for notice in notices)
