"""What a grid's tables say: places of LV buses, storages in both directions, profiles in UTC."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandapower as pp
import pandas as pd
import pytest

from energy.domain.errors import InputError
from grid_models.elements import grid_elements, profile_series
from grid_models.sources import Grid


def place(x: float, y: float) -> str:
    return f'{{"type": "Point", "coordinates": [{x}, {y}]}}'


@pytest.fixture
def net() -> Any:
    """A 20 kV feeder with one LV grid of three buses, drawn elsewhere."""
    net = pp.create_empty_network()
    for name, vn_kv, x, y in (
        ("head", 20.0, 0.0, 0.0),
        ("station", 20.0, 1.0, 1.0),
        ("board", 0.4, 5.0, 5.0),
        ("house", 0.4, 5.1, 5.2),
        ("apart", 0.4, 7.0, 7.0),
    ):
        pp.create_bus(net, vn_kv, name=name)
        net.bus.loc[net.bus.index[-1], "geo"] = place(x, y)
    pp.create_ext_grid(net, 0)
    pp.create_line(net, 0, 1, 1.0, "NA2XS2Y 1x95 RM/25 12/20 kV")
    pp.create_transformer(net, 1, 2, "0.4 MVA 20/0.4 kV")
    pp.create_line(net, 2, 3, 0.1, "NAYY 4x150 SE")
    pp.create_line(net, 3, 4, 0.1, "NAYY 4x150 SE")
    pp.create_switch(net, 3, 2, et="l", closed=False)
    pp.create_load(net, 3, p_mw=0.01, q_mvar=0.002, scaling=2.0)
    pp.create_load(net, 3, p_mw=9.0, in_service=False)
    return net


def test_lv_buses_move_rigidly_onto_their_station(net: Any) -> None:
    buses = grid_elements(Grid("test", net)).buses
    assert buses[2].xy == (1.0, 1.0)
    assert buses[3].xy == pytest.approx((1.1, 1.2))
    assert [buses[k].station for k in range(5)] == [None, None, 1, 1, None]
    assert buses[4].xy == (7.0, 7.0)  # an open switch: no part of that LV grid
    assert [bus.external for bus in buses.values()] == [True, False, False, False, False]


def test_rows_in_service_with_their_scaling(net: Any) -> None:
    (load,) = grid_elements(Grid("test", net)).loads
    assert (load.bus, load.p_mw, load.q_mvar, load.profile) == (3, 0.02, 0.004, None)


def test_a_storage_that_reads_as_never_charging_does_both(net: Any) -> None:
    pp.create_storage(net, 3, p_mw=-0.05, max_e_mwh=0.1, sn_mva=0.05, min_p_mw=-0.05, max_p_mw=0.0)
    net.storage["efficiency_percent"] = 0.95
    net.storage["self-discharge_percent_per_day"] = 2.4
    (storage,) = grid_elements(Grid("test", net)).storages
    assert (storage.charge_max_mw, storage.discharge_max_mw, storage.e_max_mwh) == (0.05, 0.05, 0.1)
    assert storage.efficiency == 0.95
    assert storage.self_discharge_per_hour == pytest.approx(0.001)


def stamps(day: str, hours: list[int]) -> list[str]:
    return [f"{day} {hour:02d}:{minute:02d}" for hour in hours for minute in (0, 15, 30, 45)]


def profiles(times: list[str], values: np.ndarray | None = None) -> dict[str, pd.DataFrame]:
    numbers = np.arange(len(times), dtype=float) if values is None else values
    return {"load": pd.DataFrame({"time": times, "H0_pload": numbers})}


@pytest.mark.parametrize(
    ("day", "hours"),
    [
        ("27.03.2016", [0, 1, *range(3, 24)]),
        ("30.10.2016", [0, 1, 2, 2, *range(3, 24)]),
    ],
)
def test_local_stamps_become_utc_on_days_of_92_and_100_quarters(net: Any, day: str, hours: list[int]) -> None:
    time, values = profile_series(Grid("test", net, profiles(stamps(day, hours))), ["H0_pload"])
    assert time.steps == len(hours) * 4 == len(values)
    month, number = int(day[3:5]), int(day[:2])
    assert time.start == datetime(2016, month, number - 1, 23 if month == 3 else 22, tzinfo=UTC)


def test_stamps_that_ignore_the_change_of_clocks_are_refused(net: Any) -> None:
    grid = Grid("test", net, profiles(stamps("27.03.2016", list(range(24)))))
    with pytest.raises(InputError, match=r"27\.03\.2016 02:00.*03:00 is due"):
        profile_series(grid, ["H0_pload"])


def test_profiles_with_holes_are_refused(net: Any) -> None:
    times = stamps("01.06.2016", list(range(24)))
    holed = np.where(np.arange(len(times)) == 7, np.nan, 1.0)
    with pytest.raises(InputError, match=r"H0_pload.*not finite"):
        profile_series(Grid("test", net, profiles(times, holed)), ["H0_pload"])
