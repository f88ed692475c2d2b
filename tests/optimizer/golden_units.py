"""Golden problems of generators, combined heat and power, and loads that can be moved."""

from __future__ import annotations

from tests.optimizer.builders import Document, at, problem_of
from tests.optimizer.units import chp, flexible_load, generator, shiftable_load

UNIT_PROBLEMS: dict[str, Document] = {
    "heat_balance": problem_of(
        [
            chp(
                p_min_kw=0.0,
                heat_store={
                    "e_min_kwh": 2.0,
                    "e_max_kwh": 40.0,
                    "e_start_kwh": 10.0,
                    "e_end_min_kwh": 8.0,
                    "loss_per_hour": 0.1,
                },
                boiler={"p_max_kw": 20.0, "efficiency": 0.8, "fuel_cost_per_mwh": 40.0},
            )
        ],
        steps=2,
    ),
    **dict.fromkeys(
        ("window_least", "window_most"),
        problem_of(
            [
                flexible_load(
                    p_min_kw=1.0,
                    energy_windows=[{"start": at(0.5), "end": at(9), "e_min_kwh": 80.0, "e_max_kwh": 90.0}],
                )
            ],
            steps=2,
        ),
    ),
    **dict.fromkeys(
        ("room_temperature", "room_least", "room_most"),
        problem_of(
            [
                flexible_load(
                    heat={"cop": 3.0},
                    room={
                        "capacity_kwh_per_k": 4.0,
                        "loss_kw_per_k": 0.5,
                        "temp_start_c": 20.0,
                        "temp_min_c": 19.0,
                        "temp_max_c": [24.0, 22.0],
                        "outdoor_c": 4.0,
                        "gains_kw": 1.0,
                    },
                )
            ],
            steps=2,
        ),
    ),
    **dict.fromkeys(
        ("run_once", "run_power"),
        problem_of([shiftable_load([3.0, 5.0], at(0.5), at(9), priority=2.0)], import_limit_kw=9.0),
    ),
    **dict.fromkeys(
        ("unit_state", "unit_min_down", "unit_least", "unit_most", "unit_ramp_from_start"),
        problem_of(
            [
                generator(
                    min_up="PT2H",
                    start_cost=3.0,
                    stop_cost=1.0,
                    no_load_cost_per_h=2.0,
                    ramp_kw_per_h=30.0,
                    start_ramp_kw=50.0,
                    stop_ramp_kw=40.0,
                    on_at_start=True,
                    p_start_kw=35.0,
                )
            ],
            steps=2,
        ),
    ),
    "reserve_cap": problem_of(
        [generator(ramp_kw_per_h=30.0, ramp_down_kw_per_h=25.0, on_at_start=True, p_start_kw=40.0)],
        steps=2,
        offers=[
            {
                "id": way,
                "connection": "poc",
                "direction": way,
                "start": at(0),
                "end": at(2),
                "max_kw": 9.0,
            }
            for way in ("up", "down")
        ],
    ),
    "unit_stopping": problem_of([generator(stop_ramp_kw=40.0)], steps=2),
    "unit_min_up": problem_of([generator(min_up="PT2H", min_down="PT3H", time_in_state="PT2H")], steps=3),
    **dict.fromkeys(
        ("unit_ramp_up", "unit_ramp_down"),
        problem_of(
            [
                generator("always", p_min_kw=0.0, ramp_kw_per_h=30.0, p_start_kw=40.0),
                generator("stops", ramp_kw_per_h=30.0, ramp_down_kw_per_h=20.0, start_ramp_kw=50.0),
            ],
            steps=2,
        ),
    ),
}
