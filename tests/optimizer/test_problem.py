"""Reading problems: faults with paths, normalisation, terminals and powers at buses."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from energy.domain.errors import InputError
from optimizer import DispatchProblem, dispatch, uncontrolled
from optimizer.assets import ASSET_TYPES
from optimizer.problem import ProblemDocument
from tests.optimizer.builders import Document, at, battery, ev, load, problem_of, renewable, session, trip


def faults(document: object) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        DispatchProblem.from_document(document)
    return {fault.path: fault.message for fault in caught.value.faults}


def test_importing_the_optimizer_pulls_in_no_grid_web_or_database_package() -> None:
    script = (
        "import sys, optimizer; "
        "print([m for m in ('pandapower', 'fastapi', 'dash', 'sqlalchemy', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_number_beyond_every_unit_is_named_with_its_place_in_the_series() -> None:
    found = faults(problem_of([load([1.0, 2e9]), load(-3e9, "other")], steps=2))
    assert found == {
        "assets[0].p_kw": "value 1: 2e+09 is beyond ±1e+09; check its unit",
        "assets[1].p_kw": "-3e+09 is beyond ±1e+09; check its unit",
    }


MACHINE = {"p_max_kw": 40.0, "kwh_per_kg": 20.0}
EV_LACKS = ["e_max_kwh", "e_start_kwh", "sessions[0].charge_max_kw"]
WINDOW = {"earliest_start": at(3), "latest_end": at(1)}


@pytest.mark.parametrize(
    ("asset", "paths"),
    [
        (
            {
                "type": "hydrogen_station",
                "electrolyser": {"p_max_kw": 100.0, "kwh_per_kg": 0.0},
                "fuel_cell": {**MACHINE, "p_min_kw": 50.0},
                "tank": {"start_kg": 7.0, "max_kg": 6.0},
            },
            ["electrolyser.kwh_per_kg", "fuel_cell.p_min_kw", "tank.start_kg"],
        ),
        (
            {"type": "shiftable_load", "profile_kw": [], **WINDOW},
            ["profile_kw", "latest_end"],
        ),
        (
            {
                "type": "flexible_load",
                "p_max_kw": "much",
                "heat": {"cop": 3.0, "heat_demand_kw": -1.0, "store": {"e_max_kwh": 3.0, "e_start_kwh": 9.0}},
            },
            ["p_max_kw", "heat.heat_demand_kw", "heat.store.e_start_kwh"],
        ),
        (
            {
                "type": "ev",
                "e_start_kwh": 70.0,
                "e_max_kwh": 60.0,
                "sessions": [{**session(3, 1), "departure": 1}],
            },
            ["sessions[0].departure", "e_start_kwh"],
        ),
        # what a stand-in would contradict is no fault
        (
            {"type": "battery", "discharge_max_kw": 1.0, "charge_max_kw": 1.0, "e_start_kwh": 5.0},
            ["e_max_kwh"],
        ),
        ({"type": "ev", "sessions": [session(0, 2, charge_max_kw=-1.0, charge_min_kw=2.0)]}, EV_LACKS),
    ],
)
def test_a_faulty_field_that_must_be_there_hides_no_other_fault(asset: Document, paths: list[str]) -> None:
    found = faults(problem_of([{"id": "a", "connection": "poc", **asset}]))
    assert sorted(found) == sorted(f"assets[0].{path}" for path in paths)


def test_a_faulty_offer_and_a_faulty_tariff_hide_nothing() -> None:
    offer = {
        "id": "o",
        "connection": "nowhere",
        "direction": "left",
        "start": at(3),
        "end": at(2),
        "max_kw": 1.0,
    }
    blocks = {"blocks": [{"up_to_kwh": None, "price_per_mwh": 2.0}]}
    connections = [
        {"id": "poc"},
        {"id": "hub", "parent": "poc", "import_price_per_mwh": 1.0, "import_blocks": blocks},
    ]
    assert faults(problem_of([load(1.0)], offers=[offer], connections=connections)).keys() == {
        "offers[0].direction",
        "offers[0].end",
        "offers[0].connection",
        "connections[1].import_blocks.period",
        "connections[1].import_blocks",
        "connections[1].import_price_per_mwh",
    }


def test_every_fault_is_named_at_once() -> None:
    found = faults(
        problem_of(
            [
                load([1.0, 2.0], p_kww=3.0),
                renewable(-1.0),
                battery(e_start_kwh=30.0, charge_max_kw=1e308),
                battery("b2", e_start_kwh=30.0),
                ev(
                    [
                        session(3, 1),
                        session(0, 2, charge_min_kw=20.0),
                        session(1, 4, e_departure_min_kwh=99.0),
                    ],
                    trips=[trip(0.5, 0.75, 5.0)],
                ),
                {"type": "reactor", "id": "fusion", "connection": "poc"},
            ],
            import_price_per_mwh=[1.0, 2.0],
        )
    )
    assert found.keys() == {
        "assets[0].p_kw",
        "assets[0].p_kww",
        "assets[1].available_kw",
        "assets[2].charge_max_kw",
        "assets[2].e_start_kwh",
        "assets[3].e_start_kwh",
        "assets[4].sessions[0].departure",
        "assets[4].sessions[1].charge_min_kw",
        "assets[4].sessions[2]",
        "assets[4].sessions[2].e_departure_min_kwh",
        "assets[4].trips[0]",
        "assets[5].type",
        "connections[0].import_price_per_mwh",
    }
    assert "did you mean 'p_kw'" in found["assets[0].p_kww"]
    assert ", ".join(sorted(ASSET_TYPES)) in found["assets[5].type"]


def test_a_faulty_field_hides_no_fault_of_another() -> None:
    document = problem_of(
        [
            load([1.0, 2.0], connection="pocc"),
            battery("base", e_start_kwh=30.0, charge_efficiency=95.0),
            load([1.0], "c", q_kvar=[float("nan")], power_factor=2.0),
        ],
        import_price_per_mwh=[1.0, 2.0, 3.0],
        peak_import_price_per_kw=1.0,
        peak_interval="PT90M",
        colour="green",
    )
    document["time"]["start"] = "2022-08-29T00:00:00"
    assert faults(document).keys() == {
        "time.start",
        "connections[0].colour",
        "connections[0].import_price_per_mwh",
        "connections[0].peak_interval",
        "assets[0].connection",
        "assets[0].p_kw",
        "assets[1].id",
        "assets[1].charge_efficiency",
        "assets[1].e_start_kwh",
        "assets[2].power_factor",
        "assets[2].p_kw",
        "assets[2].q_kvar",
    }


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"schema": "wattshed.dispatch/2"}, "schema"),
        ({"connections": []}, "connections"),
        ({"assets": None}, "assets"),
        ({"extra": 1}, "extra"),
        ({"connections": [{"id": "poc"}, {"id": "poc"}]}, "connections[1].id"),
        ({"connections": [{"id": "poc"}, {"id": "a", "parent": "b"}]}, "connections[1].parent"),
        ({"connections": [{"id": "poc"}, {"id": "a", "parent": "a"}]}, "connections[1].parent"),
        (
            {"connections": [{"id": "poc"}, {"id": "a", "parent": "poc", "carbon_g_per_kwh": 1.0}]},
            "connections[1].carbon_g_per_kwh",
        ),
        ({"objective": {"carbon_price_per_t": 5.0}}, "connections[0].carbon_g_per_kwh"),
        ({"time": {"start": "2022-08-29T00:00:00", "resolution": "PT1H", "steps": 4}}, "time.start"),
        ({"time": {"start": "2022-08-29T00:00:00Z", "resolution": "PT0H", "steps": 4}}, "time.resolution"),
        ({"time": {"start": "2022-08-29T00:00:00Z", "resolution": "PT1H", "steps": 0}}, "time.steps"),
        ({"assets": [load(1.0), load(2.0)]}, "assets[1].id"),
        ({"assets": [load(1.0, connection="pocc")]}, "assets[0].connection"),
        ({"assets": [load(float("nan"))]}, "assets[0].p_kw"),
        ({"assets": [load([1.0, 2.0, float("inf"), 0.0])]}, "assets[0].p_kw"),
        ({"assets": [battery(charge_efficiency=1.2)]}, "assets[0].charge_efficiency"),
        ({"assets": [battery(e_min_kwh=5.0)]}, "assets[0].e_start_kwh"),
        ({"assets": [battery(self_discharge_per_hour=1.0)]}, "assets[0].self_discharge_per_hour"),
        ({"assets": [battery(e_end_min_kwh=21.0)]}, "assets[0].e_end_min_kwh"),
        ({"assets": [load(1.0, shed_limit_fraction=0.5)]}, "assets[0].shed_price_per_mwh"),
    ],
)
def test_refused(change: Document, path: str) -> None:
    assert path in faults({**problem_of([]), **change})


@pytest.mark.parametrize("document", [None, [], "text", 5])
def test_what_is_no_object_is_refused(document: object) -> None:
    assert "JSON object" in faults(document)[""]


def test_the_hash_sees_what_is_meant_not_how_it_is_written() -> None:
    plain = problem_of([load(1.0), battery()])
    other = problem_of([battery(e_min_kwh=0), load([1, 1.0, 1, 1], q_kvar=0.0)])
    other["time"]["start"] = "2022-08-29T02:00:00+02:00"
    one, two = DispatchProblem.from_document(plain), DispatchProblem.from_document(other)
    assert one.input_hash == two.input_hash
    assert one.input_hash.startswith("sha256:")
    changed = DispatchProblem.from_document(problem_of([load(1.1), battery()]))
    assert changed.input_hash != one.input_hash


def test_a_normalised_problem_reads_as_itself() -> None:
    problem = DispatchProblem.from_document(
        problem_of(
            [ev([session(0, 2)], trips=[trip(2, 3, 1.0)]), renewable(2.0)], network={"grid": "x"}, bus=0
        )
    )
    again = DispatchProblem.from_document(problem.document())
    assert again.document() == problem.document()
    assert again.input_hash == problem.input_hash


def test_the_schema_names_every_asset_type() -> None:
    schema = str(ProblemDocument.model_json_schema())
    assert all(name in schema for name in ("'load'", "'renewable'", "'battery'", "'ev'"))


def test_powers_at_buses_follow_power_factors_in_the_consumer_frame() -> None:
    document = problem_of(
        [
            load(10.0, bus=1, q_kvar=3.0),
            renewable(20.0, bus="two", power_factor=0.8),
            battery(bus=2, power_factor=0.8, reactive_sign="produces", e_start_kwh=10.0, e_end_min_kwh=10.0),
        ],
        steps=1,
        network={"grid": "x"},
    )
    problem = DispatchProblem.from_document(document).resolve_buses(lambda bus: {"two": 2}.get(bus, bus))
    # a generator that consumes reactive power while it injects draws negative power and positive Mvar
    flexible = [terminal for terminal in problem.terminals if terminal.flexible]
    assert [terminal.bus for terminal in flexible] == [2, 2]
    assert [terminal.q_mvar_per_mw for terminal in flexible] == pytest.approx([-0.75, 0.75])
    # and where only a price is asked for, at unity
    assert [terminal.bus for terminal in problem.terminals if not terminal.flexible] == [1, 2]
    power = problem.nodal_power(dispatch(problem))
    columns = dict(zip((asset.id for asset in problem.assets), power.p_mw[0] * 1000, strict=True))
    assert columns == pytest.approx({"b1": 0.0, "base": 10.0, "pv": -20.0})
    reactive = dict(zip((asset.id for asset in problem.assets), power.q_mvar[0] * 1000, strict=True))
    assert reactive == pytest.approx({"b1": 0.0, "base": 3.0, "pv": 15.0})
    assert power.buses.tolist() == [2, 1, 2]


def test_unknown_buses_are_all_named() -> None:
    document = problem_of([renewable(1.0, bus=8), load(1.0, bus=7)], network={"grid": "x"})
    with pytest.raises(InputError) as caught:
        DispatchProblem.from_document(document).resolve_buses({}.__getitem__)
    assert {fault.path[:9]: fault.message[:5] for fault in caught.value.faults} == {
        "assets[0]": "bus 8",
        "assets[1]": "bus 7",
    }


def test_uncontrolled_evs_charge_at_once_to_their_need() -> None:
    document = problem_of(
        [ev([session(0.5, 4, e_departure_min_kwh=22.0)]), battery(e_start_kwh=5.0), renewable(3.0)],
        import_price_per_mwh=[90.0, 80.0, 1.0, 1.0],
    )
    schedule = uncontrolled(DispatchProblem.from_document(document))
    assert np.allclose(schedule.assets["ev1"].p_kw, [5.0, 7.0, 0.0, 0.0])
    assert np.allclose(schedule.assets["b1"].p_kw, 0.0)
    assert np.allclose(schedule.connections["poc"].import_kw, [2.0, 4.0, 0.0, 0.0])
    assert schedule.status == "fallback"
