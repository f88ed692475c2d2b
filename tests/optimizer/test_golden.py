"""One tiny LP file per kind of constraint, to be read; a kind without one fails.

``python -m tests.optimizer.test_golden`` writes them anew. Read the difference before committing it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from energy.domain.network import ElementId, GridLimits, Losses, Terminal
from optimizer import Dispatcher, DispatchProblem
from optimizer.conflicts import NetworkLimits, SharedLimits
from tests.optimizer.builders import Document, at, battery, ev, load, problem_of, renewable, session, trip
from tests.optimizer.golden_units import UNIT_PROBLEMS
from tests.optimizer.stations import hydrogen_station, swap_station

GOLDEN = Path(__file__).parent / "golden"

FRONTIER = problem_of(
    [load([0.0, 5.0]), battery()],
    steps=2,
    import_price_per_mwh=[90.0, 100.0],
    carbon_g_per_kwh=[400.0, 50.0],
    frontier=3,
)
ELASTIC = ("held_need", "limit_excess", "limit_slack")
BREACH = problem_of(
    [load([3.0, 12.0], shed_limit_fraction=0.5, shed_price_per_mwh=300.0)],
    steps=2,
    import_limit_kw=10.0,
    export_limit_kw=4.0,
    breach_probability=0.3,
    scenarios=[
        {"id": "high", "probability": 0.25, "series": {"assets.base.p_kw": 14.0}},
        {"id": "low", "probability": 0.75},
    ],
)
PROBLEMS: dict[str, Document] = {
    "balance": problem_of(
        [load([5.0, 6.0], shed_limit_fraction=0.5, shed_price_per_mwh=300.0), renewable([2.0, 3.0])],
        steps=2,
        export_limit_kw=7.0,
    ),
    "import_limit": problem_of([load([5.0, 12.0])], steps=2, import_limit_kw=10.0),
    "peak": problem_of(
        [load([5.0, 6.0, 7.0, 8.0])],
        resolution="PT15M",
        peak_import_price_per_kw=2.0,
        peak_import_so_far_kw=4.0,
        peak_interval="PT30M",
    ),
    "block_energy": problem_of(
        [load([5.0, 6.0, 7.0], shed_limit_fraction=0.1, shed_price_per_mwh=120.0)],
        steps=3,
        import_blocks={
            "period": "day",
            "time_zone": "Etc/GMT+2",
            "so_far_kwh": 4.0,
            "blocks": [
                {"up_to_kwh": 3.0, "price_per_mwh": 1.0},
                {"up_to_kwh": 9.0, "price_per_mwh": 2.0},
                {"price_per_mwh": 30.0},
            ],
        },
    ),
    **dict.fromkeys(
        ("block_full", "block_order"),
        problem_of(
            [load([5.0, 6.0])],
            steps=2,
            import_blocks={
                "period": "horizon",
                "blocks": [{"up_to_kwh": 8.0, "price_per_mwh": 30.0}, {"price_per_mwh": 10.0}],
            },
        ),
    ),
    **dict.fromkeys(
        ("share_most", "share_least"),
        problem_of(
            [renewable(4.0, "n", district="north"), renewable([8.0, 2.0], "s", district="south")],
            steps=2,
            export_limit_kw=5.0,
            objective={"fairness": {"curtailment": 2.0}},
        ),
    ),
    **dict.fromkeys(
        (
            "offer_held",
            "offer_committed",
            "reserve_room",
            "reserve_energy",
            "reserve_plan",
            "reserve_spare",
            "reserve_need",
            "reserve_later",
            "reserve_limit",
        ),
        problem_of(
            [
                ev(
                    [session(0, 2, discharge_max_kw=4.0, e_departure_min_kwh=20.0)],
                    charge_efficiency=0.8,
                    discharge_efficiency=0.5,
                )
            ],
            steps=2,
            export_limit_kw=3.0,
            offers=[
                {
                    "id": way,
                    "connection": "poc",
                    "direction": way,
                    "start": at(0),
                    "end": at(2),
                    "price_per_mw_h": 7.0,
                    "max_kw": 9.0,
                    "duration": "PT90M",
                    "committed_kw": sold,
                }
                for way, sold in (("up", 1.0), ("down", None))
            ],
        ),
    ),
    "storage_balance": problem_of(
        [
            battery(
                e_start_kwh=5.0,
                e_end_min_kwh=4.0,
                charge_efficiency=0.8,
                discharge_efficiency=0.5,
                self_discharge_per_hour=0.1,
                wear_cost_per_mwh=9.0,
            )
        ],
        steps=2,
    ),
    "ev_energy": problem_of(
        [
            ev(
                [session(0, 1.5, discharge_max_kw=4.0), session(3, 4)],
                trips=[trip(1.5, 2.5, 7.0)],
                charge_efficiency=0.8,
                discharge_efficiency=0.5,
                wear_cost_per_mwh=9.0,
            )
        ]
    ),
    **dict.fromkeys(
        ("ev_segments", "ev_segment_lost"),
        problem_of(
            [
                ev(
                    [session(0, 2, discharge_max_kw=4.0)],
                    trips=[trip(2, 2.5, 7.0)],
                    discharge_efficiency=0.5,
                    wear_curve=[
                        {"depth": 0.1, "cost_per_mwh": 10.0},
                        {"depth": 1.0, "cost_per_mwh": 40.0},
                    ],
                ),
                ev([session(1, 2, discharge_max_kw=3.0)], "flat", wear_cost_per_mwh=9.0),
            ],
            steps=3,
        ),
    ),
    "ev_need": problem_of([ev([session(0, 2, e_departure_min_kwh=25.0)], e_min_kwh=5.0)], steps=2),
    "fleet_power": problem_of(
        [ev([session(0, 2)], "a"), ev([session(1, 2, discharge_max_kw=3.0)], "b")], steps=2
    ),
    "exclusion": problem_of(
        [battery()], steps=2, import_price_per_mwh=10.0, export_price_per_mwh=[20.0, 5.0]
    ),
    "semicontinuous": problem_of(
        [ev([session(0, 2, charge_min_kw=6.0, e_departure_min_kwh=14.0)])],
        steps=2,
        import_price_per_mwh=[10.0, 5.0],
        import_limit_kw=[10.0, 4.0],
    ),
    "discharge_reserve": problem_of(
        [ev([session(0, 2, discharge_max_kw=4.0)], e_min_kwh=2.0, v2g_reserve_kwh=9.0)],
        steps=2,
        import_price_per_mwh=[100.0, 10.0],
        export_price_per_mwh=[60.0, 5.0],
    ),
    **dict.fromkeys(
        ("phase_power", "phase_unbalance"),
        problem_of(
            [
                load(6.0),
                renewable(9.0, phases="L2"),
                ev([session(0, 1)], "a", phases="L1"),
                ev([session(0, 1)], "b", phases="L3"),
            ],
            steps=1,
            phase_import_limit_kw=7.0,
            unbalance_limit_kw=4.6,
        ),
    ),
    **dict.fromkeys(
        ("segment_balance", "segment_charge", "segment_discharge"),
        problem_of(
            [
                battery(
                    e_start_kwh=6.0,
                    charge_efficiency=0.8,
                    discharge_efficiency=0.5,
                    self_discharge_per_hour=0.1,
                    wear_curve=[
                        {"depth": 0.2, "cost_per_mwh": 10.0},
                        {"depth": 1.0, "cost_per_mwh": 40.0},
                    ],
                )
            ],
            steps=2,
        ),
    ),
    "grid_signal": problem_of(
        [
            load(6.0),
            battery(statutory_min_kw=4.2, e_start_kwh=2.0),
            ev([session(0, 2)], statutory_min_kw=4.2),
        ],
        steps=3,
        grid_signals=[{"start": at(0.5), "end": at(3), "limit_kw": 5.0}],
    ),
    "held_shortfall": problem_of([ev([session(0, 1, e_departure_min_kwh=30.0)])], steps=1),
    "held_cost": problem_of([load([5.0, 6.0])], steps=2, carbon_g_per_kwh=[400.0, 50.0], frontier=2),
    "emission_limit": FRONTIER,
    "common_control": problem_of(
        [load(5.0), battery(), ev([session(0, 2)])],
        steps=2,
        scenarios=[
            {"id": "high", "probability": 0.75, "series": {"assets.base.p_kw": [5.0, 9.0]}},
            {"id": "low", "probability": 0.25},
        ],
    ),
    "breach": BREACH,
    "breach_budget": BREACH,
    "kept_overrun": problem_of([load(12.0), battery(e_end_min_kwh=6.0)], steps=1, import_limit_kw=9.0),
    **dict.fromkeys(
        ELASTIC,
        problem_of(
            [ev([session(0, 2, charge_max_kw=7.0, e_departure_min_kwh=25.0)]), load([0.0, 7.0])],
            steps=2,
            import_limit_kw=6.0,
        ),
    ),
    **dict.fromkeys(
        ("hydrogen_tank", "machine_most", "machine_least", "machine_start", "one_machine"),
        problem_of(
            [
                hydrogen_station(
                    electrolyser={
                        "p_min_kw": 20,
                        "p_max_kw": 100,
                        "kwh_per_kg": 50,
                        "start_cost": 4,
                        "on_at_start": True,
                    },
                    demand_kg=[1.0, 2.0],
                )
            ],
            steps=2,
        ),
    ),
    **dict.fromkeys(
        (
            "slot_balance",
            "swap_full",
            "swaps_served",
            "station_power",
            "swap_count",
            "swap_turn",
            "swap_round",
        ),
        problem_of(
            [
                swap_station(p_max_kw=12.0, swaps=[1.0, 2.0]),
                swap_station(
                    "v2g",
                    battery={
                        "e_full_kwh": 10.0,
                        "charge_max_kw": 8.0,
                        "discharge_max_kw": 4.0,
                        "charge_efficiency": 0.8,
                        "discharge_efficiency": 0.5,
                    },
                    e_start_kwh=10.0,
                    swaps=[1.0, 0.0],
                    wear_cost_per_mwh=9.0,
                ),
            ],
            steps=2,
        ),
    ),
    **UNIT_PROBLEMS,
    **dict.fromkeys(
        ("island_feed", "island_rest"),
        problem_of(
            [
                load(3.0, priority=2.0, shed_limit_fraction=0.5, shed_price_per_mwh=300.0),
                battery(
                    e_start_kwh=6.0, e_min_kwh=1.0, discharge_efficiency=0.8, self_discharge_per_hour=0.1
                ),
            ],
            steps=2,
            island=True,
            island_from=at(1),
            island_duration="PT3H",
            island_return_ramp_kw_per_h=2.0,
        ),
    ),
    "grid_limit": problem_of([renewable(8.0, bus=3), load(2.0, bus=1)], steps=1),
    "highest": problem_of(
        [ev([session(0, 1, charge_max_kw=40.0, e_departure_min_kwh=45.0)], bus=3)], steps=1
    ),
    "losses": problem_of([renewable(8.0, bus=3), load(2.0, bus=1)], steps=1),
    "inverter": problem_of(
        [battery(inverter_kva=10.0, bus=3, charge_max_kw=10.0), load(2.0, bus=1)],
        steps=1,
        network={"grid": "handmade", "reactive": "optimise"},
    ),
    "loss_rest": problem_of([renewable(8.0, bus=3), load(2.0, bus=1)], steps=1),
    "square": problem_of([renewable(8.0, bus=3), load(2.0, bus=1)], steps=1),
    "flow": problem_of([renewable(8.0, bus=3), renewable(5.0, id="far", bus=5), load(2.0, bus=1)], steps=1),
}
LIMITS: dict[str, GridLimits] = {
    "grid_limit": GridLimits(
        (Terminal(3),),
        np.array([0, 0]),
        (ElementId("bus", 3), ElementId("line", 0)),
        ("vm_pu", "loading_percent"),
        np.array([[-2.0], [-500.0]]),
        np.array([1.0, 0.0]),
        np.array([0.95, -100.0]),
        np.array([1.01, 100.0]),
        Losses.none(1),
    ),
}
LIMITS["highest"] = LIMITS["grid_limit"]
LIMITS["losses"] = replace(
    GridLimits.none([Terminal(3)]),
    losses=Losses.linear(np.array([0]), np.array([0.0001]), np.array([[-0.05]])),
)
LIMITS["loss_rest"] = replace(
    GridLimits.none([Terminal(3)]),
    losses=Losses.linear(np.array([0, 0]), np.array([0.0001, 0.0003]), np.array([[-0.05], [-0.02]])),
)
LIMITS["square"] = replace(
    GridLimits.none([Terminal(3)]),
    losses=Losses(
        directions=np.array([[1.0]]),
        rest_step=np.array([0]),
        rest_constant=np.array([0.0001]),
        rest_slope=np.array([[0.01]]),
        rest_coefficients=np.array([[-0.05]]),
        step=np.array([0, 0]),
        flow=np.array([0, 0]),
        constant=np.array([-0.0003, -0.0012]),
        slope=np.array([-0.02, -0.04]),
    ),
)
LIMITS["flow"] = replace(
    GridLimits.none([Terminal(3), Terminal(5)]),
    losses=Losses(
        directions=np.array([[0.5, 1.0], [0.0, 1.0]]),
        rest_step=np.array([0]),
        rest_constant=np.array([0.0]),
        rest_slope=np.array([[0.01, 0.0]]),
        rest_coefficients=np.array([[0.0, 0.0]]),
        step=np.array([0, 0]),
        flow=np.array([0, 1]),
        constant=np.array([-0.0001, -0.0002]),
        slope=np.array([-0.02, -0.03]),
    ),
)
LIMITS["inverter"] = GridLimits(
    (Terminal(3), Terminal(3, reactive=True)),
    np.array([0]),
    (ElementId("bus", 3),),
    ("vm_pu",),
    np.array([[-2.0, -4.0]]),
    np.array([0.94]),
    np.array([0.95]),
    np.array([1.05]),
    Losses.none(2),
)


def written(kind: str, path: Path) -> str:
    """The program of a golden problem after its solve, as an LP file."""
    dispatcher = Dispatcher(DispatchProblem.from_document(PROBLEMS[kind]))
    if kind in LIMITS:
        dispatcher.add(LIMITS[kind])
    # the conflict of an infeasible problem is sought in its own program
    answer = dispatcher.solve(explain=kind == "kept_overrun")
    if kind in ELASTIC:
        # without assets nothing is named in closed form, which would take a program of its own
        SharedLimits(replace(dispatcher.problem, assets=()), answer, dispatcher._stages).least()
    if kind == "highest":
        NetworkLimits(dispatcher.problem, answer, dispatcher._stages).least()
    dispatcher.write(path)
    return path.read_text(encoding="utf-8")


def kinds(program: str) -> set[str]:
    """The kinds of constraint in an LP file."""
    rows = program.split("st\n", 1)[1].split("bounds\n", 1)[0]
    return set(re.findall(r"^ (?:[a-z_]+\.)?([a-z_]+)\(", rows, flags=re.MULTILINE))


@pytest.mark.parametrize("kind", PROBLEMS)
def test_golden(kind: str, tmp_path: Path) -> None:
    program = written(kind, tmp_path / "program.lp")
    assert kind in kinds(program)
    assert program == (GOLDEN / f"{kind}.lp").read_text(encoding="utf-8")


def test_every_kind_of_constraint_has_a_golden_program() -> None:
    """Kinds are the Pyomo constraints, the fleet's rows and the names under which rows are added."""
    sources = "\n".join(
        path.read_text(encoding="utf-8") for path in (Path(__file__).parents[2] / "optimizer").rglob("*.py")
    )
    stated = set(re.findall(r'site\.rows\("([a-z_]+)"', sources))
    sparse = {
        name
        for name in re.findall(r'f"([a-z_]+)\(\{', sources)
        if not name.endswith(("_kw", "_kvar", "_kwh"))
    }
    added = set(re.findall(r'(?:add_rows|_rows|hold)\(\s*"([a-z_]+)"', sources))
    assert stated | sparse | added == set(PROBLEMS)


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for each in PROBLEMS:
        written(each, GOLDEN / f"{each}.lp")
