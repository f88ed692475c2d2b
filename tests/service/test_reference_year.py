"""The reference year's arithmetic, on a small city."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from energy.domain.city import City
from energy.service.cities import city_twin, init_city, open_city
from energy.service.reference_year import (
    Breaches,
    balance_lines,
    charging_on_arrival,
    uncontrolled_breaches,
    uncontrolled_power,
)


@pytest.fixture
def city(tmp_path: Path) -> City:
    """A scaffolded city of a small LV grid, cut to a winter week, with limits it cannot keep."""
    init_city(tmp_path / "small", "pandapower:create_kerber_landnetz_freileitung_1")
    path = tmp_path / "small" / "city.toml"
    text = path.read_text(encoding="utf-8").replace("last_day = 2016-12-31", "last_day = 2016-01-07")
    path.write_text(text.replace("vm_min_pu = 0.9\n", "vm_min_pu = 0.99\n"), encoding="utf-8")
    return open_city(tmp_path / "small")


def test_charging_on_arrival_delivers_what_sessions_need(city: City) -> None:
    position = {bus: k for k, bus in enumerate(sorted(city.bus_names))}
    p_mw = charging_on_arrival(city, position)
    end = city.profiles.time.end
    need = sum(
        session.energy_kwh / vehicle.charge_efficiency
        for vehicle in city.vehicles
        for session in vehicle.sessions
        if session.departure <= end
    )
    open_end = sum(
        session.energy_kwh / vehicle.charge_efficiency
        for vehicle in city.vehicles
        for session in vehicle.sessions
        if session.departure > end
    )
    delivered = p_mw.sum() * city.profiles.time.hours * 1000
    assert need - 1e-6 <= delivered <= need + open_end + 1e-6


def test_breaches_are_those_the_twin_finds(city: City) -> None:
    twin, power = city_twin(city), uncontrolled_power(city)
    state = twin.solve(power)
    found = uncontrolled_breaches(city, twin).found
    assert found.any()
    assert np.flatnonzero(found.any(axis=1)).tolist() == state.violated_steps.tolist()


def test_days_are_counted_once_by_kind_season_and_hour(city: City) -> None:
    time = city.profiles.time
    found = np.zeros((time.steps, 3), dtype=bool)
    found[0:3, 0] = True  # local midnight of the first day
    found[96 + 4 * 12, 2] = True  # noon of the second
    breaches = Breaches.of(city, time, found)
    assert breaches.days(["undervoltage"]) == breaches.days(["overvoltage"]) == 1
    assert breaches.days(["undervoltage", "overvoltage"]) == 2
    assert breaches.days(["overvoltage"], hours=[12]) == 1
    assert breaches.days(["overvoltage"], hours=[13]) == 0
    assert breaches.days(["overvoltage"], months=[6]) == 0
    assert any(line.startswith("any of these") for line in breaches.lines())
    assert next(balance_lines(city)).startswith("use ")
