"""Grid operators' signals: what they leave to controllable assets, and never less than the law does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer import DispatchProblem, dispatch, uncontrolled
from optimizer.rolling import Previous, replan
from tests.optimizer.builders import Document, at, battery, ev, load, problem_of, session, solve
from tests.optimizer.test_problem import faults


def signal(start: float, end: float, limit_kw: float) -> Document:
    return {"start": at(start), "end": at(end), "limit_kw": limit_kw}


def charging(name: str, **more: Any) -> Document:
    return ev([session(0, 3, e_departure_min_kwh=25.0)], name, **more)


def test_the_limit_holds_for_controllable_assets_alone_and_never_below_their_minima() -> None:
    """Two EVs with 4.2 kW each: a signal of 0 leaves them 8.4 kW; the load is not theirs to answer for."""
    document = problem_of(
        [load(20.0), charging("a", statutory_min_kw=4.2), charging("b", statutory_min_kw=4.2)],
        steps=3,
        import_price_per_mwh=[1.0, 50.0, 90.0],
        grid_signals=[signal(0, 1.5, 0.0)],
    )
    answer = solve(document)
    assert answer["connections"]["poc"]["grid_signal_limit_kw"] == pytest.approx([8.4, 8.4, None])
    assert answer["connections"]["poc"]["import_kw"] == pytest.approx([28.4, 28.4, 33.2])
    assert answer["shortfalls"] == []


def test_an_asset_that_is_away_adds_no_minimum() -> None:
    away = ev([session(1, 3)], "away", statutory_min_kw=4.2)
    answer = solve(problem_of([charging("a", statutory_min_kw=4.2), away], grid_signals=[signal(0, 2, 1.0)]))
    assert answer["connections"]["poc"]["grid_signal_limit_kw"] == pytest.approx([4.2, 8.4, None, None])


def test_a_signal_above_counts_what_children_draw_and_what_a_battery_feeds_back() -> None:
    connections: Any = [
        {
            "id": "poc",
            "import_price_per_mwh": 50.0,
            "grid_signals": [signal(0, 4, 6.0), signal(0, 1, 9.0), signal(1, 2, 2.0)],
        },
        {"id": "hub", "parent": "poc"},
    ]
    assets = [charging("a", connection="hub"), battery(e_start_kwh=4.0)]
    answer = solve(problem_of(assets, connections=connections))
    assert answer["connections"]["poc"]["grid_signal_limit_kw"] == [6.0, 2.0, 6.0, 6.0]
    # 14 kWh of signals until departure and 4 kWh from the battery serve the 15 kWh
    assert answer["shortfalls"] == []


def test_a_signal_counts_what_draws_two_connections_below() -> None:
    connections: Any = [
        {"id": "poc", "import_price_per_mwh": 50.0, "grid_signals": [signal(0, 4, 3.0)]},
        {"id": "hub", "parent": "poc"},
        {"id": "row", "parent": "hub"},
    ]
    answer = solve(problem_of([charging("a", connection="row")], connections=connections))
    # 9 of the 15 kWh it needs
    assert sum(s["amount_kwh"] for s in answer["shortfalls"]) == pytest.approx(6.0)


def test_a_flexible_load_is_controllable_while_it_may_draw() -> None:
    pump = {
        "type": "flexible_load",
        "id": "pump",
        "connection": "poc",
        "p_max_kw": [9.0, 0.0, 9.0],
        "statutory_min_kw": 4.2,
        "energy_windows": [{"start": at(0), "end": at(3), "e_min_kwh": 13.0}],
    }
    answer = solve(problem_of([pump], steps=3, grid_signals=[signal(0, 2, 1.0)]))
    assert answer["connections"]["poc"]["grid_signal_limit_kw"] == pytest.approx([4.2, 1.0, None])
    assert answer["assets"]["pump"]["p_kw"] == pytest.approx([4.0, 0.0, 9.0], abs=0.3)


def test_an_end_energy_that_a_signal_forbids_is_a_conflict() -> None:
    answer = solve(problem_of([battery(e_end_min_kwh=20.0)], grid_signals=[signal(0, 4, 4.0)]))
    (conflict,) = answer["conflicts"]
    assert conflict["limit"] in {"grid_signals", "e_end_min_kwh"}
    assert conflict["assets"] == ["b1"]


@settings(max_examples=40)
@given(
    limits=st.lists(st.sampled_from([0.0, 3.0, 8.0]), min_size=1, max_size=3),
    starts=st.lists(st.integers(0, 9), min_size=3, max_size=3),
    minima=st.lists(st.sampled_from([0.0, 4.2]), min_size=3, max_size=3),
    prices=st.lists(st.integers(-40, 150).map(float), min_size=6, max_size=6),
)
def test_signals_are_kept(
    limits: list[float], starts: list[int], minima: list[float], prices: list[float]
) -> None:
    """The checker recomputes the limit from the problem; what the law leaves is met as a need."""
    document = problem_of(
        [
            load(5.0),
            battery(e_start_kwh=9.0, statutory_min_kw=minima[0]),
            ev([session(0.5, 5, discharge_max_kw=6.0)], "a", statutory_min_kw=minima[1]),
            ev([session(2, 6, e_departure_min_kwh=25.0)], "b", statutory_min_kw=minima[2]),
        ],
        steps=6,
        import_price_per_mwh=prices,
        export_price_per_mwh=[price - 5.0 for price in prices],
        grid_signals=[
            signal(start / 2, start / 2 + 1.5, limit) for start, limit in zip(starts, limits, strict=False)
        ],
    )
    assert solve(document)["status"] == "optimal"


def test_wrong_signals_are_refused() -> None:
    found = faults(
        problem_of(
            [battery(statutory_min_kw=-1.0), load(1.0, statutory_min_kw=4.2)],
            grid_signals=[signal(0, 1, -5.0)],
        )
    )
    assert found.keys() == {
        "connections[0].grid_signals[0].limit_kw",
        "assets[0].statutory_min_kw",
        "assets[1].statutory_min_kw",
    }
    backwards = faults(problem_of([load(1.0)], grid_signals=[signal(0, 1, 5.0), signal(2, 1, 5.0)]))
    assert backwards.keys() == {"connections[0].grid_signals[1].end"}


def test_signals_outside_the_horizon_and_broken_ones_are_told() -> None:
    document = problem_of([charging("a")], grid_signals=[signal(9, 10, 1.0), signal(0, 1, 3.0)])
    notices = uncontrolled(DispatchProblem.from_document(document)).notices
    assert "connection 'poc': a grid signal is outside the horizon and left out" in notices
    assert "connection 'poc' is up to 7 kW above its grid_signals, in 1 steps" in notices


def test_a_signal_binds_nothing_that_is_past() -> None:
    """10 kW were drawn in the first hour; a signal of 3 kW and a limit that came since hold after it."""
    plain = problem_of([charging("a", phases="L1")], import_price_per_mwh=[1.0, 50.0, 90.0, 99.0])
    done = dispatch(DispatchProblem.from_document(plain))
    assert done.assets["a"].p_kw[0] == pytest.approx(10.0)
    later = problem_of(
        plain["assets"],
        import_price_per_mwh=[1.0, 50.0, 90.0, 99.0],
        grid_signals=[signal(0, 4, 3.0)],
        unbalance_limit_kw=8.0,
        options={"now": at(1)},
    )
    previous = Previous(done.input_hash, done.time, done.assets)
    answer = replan(DispatchProblem.from_document(later), previous, dispatch)
    assert answer.status == "optimal"
    assert answer.assets["a"].p_kw == pytest.approx([10.0, 3.0, 2.0, 0.0])
