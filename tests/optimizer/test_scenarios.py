"""Scenarios and chances of a breach: against enumeration, an independent formulation, and their bounds."""

from __future__ import annotations

from itertools import chain, combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from energy.domain.errors import DeadlineError, InputError
from optimizer import Dispatcher, DispatchProblem, dispatch
from optimizer.assets.base import AssetRows
from tests.optimizer.builders import (
    Document,
    at,
    battery,
    ev,
    load,
    problem_of,
    renewable,
    session,
)
from tests.optimizer.milp.formulation import HOURS
from tests.optimizer.milp.random_problem import problems
from tests.optimizer.uncertainty import check_scenarios, of_scenario

NEAR = 1e-5


def solved(document: Document) -> Document:
    return dispatch(DispatchProblem.from_document(document)).document()


def scenario(name: str, probability: float, **series: Any) -> Document:
    """Names of series have dots: ``assets__base__p_kw``."""
    paths = {path.replace("__", "."): values for path, values in series.items()}
    return {"id": name, "probability": probability, "series": paths}


@st.composite
def uncertain(draw: Any) -> Document:
    document: Document = draw(problems(("load", "renewable", "battery", "ev")))
    steps = document["time"]["steps"]

    def some(low: int, high: int) -> list[float]:
        return draw(st.lists(st.integers(low, high).map(float), min_size=steps, max_size=steps))

    minutes = round(HOURS[document["time"]["resolution"]] * 60)
    count = draw(st.integers(2, 3))
    weights = draw(st.lists(st.integers(1, 5), min_size=count, max_size=count))
    found = []
    for number, weight in enumerate(weights):
        series = {"connections.poc.import_price_per_mwh": some(-60, 150)}
        for asset in document["assets"]:
            if asset["type"] == "load":
                series[f"assets.{asset['id']}.p_kw"] = some(0, 15)
            elif asset["type"] == "renewable":
                series[f"assets.{asset['id']}.available_kw"] = some(0, 20)
        found.append({"id": f"s{number}", "probability": weight / sum(weights), "series": series})
    return {
        **document,
        "scenarios": found,
        "first_stage": draw(st.sampled_from([None, f"PT{minutes}M", f"PT{steps * minutes}M"])),
    }


def weighted(answer: Document) -> float:
    return float(
        sum(
            found["probability"] * sum(s["amount_kwh"] for s in found["shortfalls"])
            for found in answer["scenarios"].values()
        )
    )


@settings(max_examples=25)
@given(document=uncertain())
def test_every_problem_with_scenarios(document: Document) -> None:
    answer = solved(document)
    alone = [solved(of_scenario(document, each["id"])) for each in document["scenarios"]]
    infeasible = [each["status"] == "infeasible" for each in alone]
    if answer["status"] == "infeasible":
        assert bool(answer["conflicts"]) == any(infeasible)
        return
    assert not any(infeasible)
    check_scenarios(document, answer)
    chances = [each["probability"] for each in document["scenarios"]]
    least = [sum(s["amount_kwh"] for s in each["shortfalls"]) for each in alone]
    assert weighted(answer) >= float(np.dot(chances, least)) - NEAR
    value = answer["scenario_value"]
    known = [each["objective"]["total"] for each in alone]
    assert value["wait_and_see"] == pytest.approx(float(np.dot(chances, known)), abs=NEAR)
    assert value["expected"] == answer["objective"]["total"]
    if weighted(answer) < NEAR:
        # with shortfalls the cheaper plan may be the one that leaves more unserved
        assert value["perfect_information"] >= -NEAR
        if value["mean_forecast"] is not None:
            assert value["stochastic_solution"] >= -NEAR


@settings(max_examples=20)
@given(document=problems(("load", "renewable", "battery", "ev")), share=st.sampled_from([0.2, 0.5]))
def test_equal_scenarios_are_none(document: Document, share: float) -> None:
    plain = solved(document)
    document["scenarios"] = [scenario("a", share), scenario("b", 1 - share)]
    answer = solved(document)
    assert answer["status"] == plain["status"]
    if plain["status"] != "infeasible":
        assert answer["objective"]["total"] == pytest.approx(plain["objective"]["total"], abs=NEAR)


@settings(max_examples=30)
@given(
    demand=st.lists(st.lists(st.integers(0, 12).map(float), min_size=3, max_size=3), min_size=3, max_size=3),
    price=st.lists(st.integers(10, 200).map(float), min_size=3, max_size=3),
    first=st.integers(1, 3),
)
def test_same_optimum_as_a_formulation_of_its_own(
    demand: list[list[float]], price: list[float], first: int
) -> None:
    """A lossless battery of 5 kW and 8 kWh, three scenarios; columns are p, then e and import of each."""
    chances = [0.2, 0.3, 0.5]
    document = problem_of(
        [load(demand[0]), battery(charge_max_kw=5.0, discharge_max_kw=5.0, e_max_kwh=8.0, e_start_kwh=4.0)],
        steps=3,
        import_price_per_mwh=price,
        export_price_per_mwh=0.0,
        scenarios=[
            scenario(f"s{k}", chance, assets__base__p_kw=demand[k]) for k, chance in enumerate(chances)
        ],
        first_stage=f"PT{first}H",
    )
    size = 27
    cost, bounds = np.zeros(size), [(-5.0, 5.0)] * 9 + [(0.0, 8.0)] * 9 + [(0.0, None)] * 9
    upper, limit, equal, value = [], [], [], []
    for k, chance in enumerate(chances):
        for t in range(3):
            p, e, buy = 3 * k + t, 9 + 3 * k + t, 18 + 3 * k + t
            cost[buy] = chance * price[t] / 1000
            row = np.zeros(size)
            row[[p, buy]] = 1.0, -1.0
            upper.append(row)
            limit.append(-demand[k][t])
            row = np.zeros(size)
            row[[e, p]] = 1.0, -1.0
            if t:
                row[e - 1] = -1.0
            equal.append(row)
            value.append(0.0 if t else 4.0)
            if t < first and k:
                row = np.zeros(size)
                row[[p, t]] = 1.0, -1.0
                equal.append(row)
                value.append(0.0)
    best = linprog(cost, A_ub=upper, b_ub=limit, A_eq=equal, b_eq=value, bounds=bounds)
    answer = solved(document)
    assert answer["objective"]["total"] == pytest.approx(best.fun, abs=1e-6)
    check_scenarios(document, answer)


@settings(max_examples=20)
@given(
    demand=st.lists(st.lists(st.integers(0, 14).map(float), min_size=3, max_size=3), min_size=3, max_size=3),
    wind=st.lists(st.lists(st.integers(0, 14).map(float), min_size=3, max_size=3), min_size=3, max_size=3),
    allowed=st.sampled_from([0.1, 0.2, 0.5, 0.7, 1.0]),
    limits=st.sampled_from([(4.0, 3.0), (8.0, 0.0), (6.0, None), (None, 2.0)]),
)
def test_breaches_are_the_best_of_all_sets_of_scenarios(
    demand: list[list[float]], wind: list[list[float]], allowed: float, limits: tuple[float | None, ...]
) -> None:
    chances = {"a": 0.2, "b": 0.3, "c": 0.5}
    names = list(chances)

    def document_of(breached: tuple[str, ...], **more: Any) -> Document:
        """Without a breach_probability: the limits are wide where `breached`."""
        series = [
            {
                "assets__base__p_kw": demand[k],
                "assets__wind__available_kw": wind[k],
                **{
                    f"connections__poc__{way}_limit_kw": 1e3
                    for way, limit in zip(("import", "export"), limits, strict=True)
                    if limit is not None and name in breached
                },
            }
            for k, name in enumerate(names)
        ]
        return problem_of(
            [load(0.0), renewable(0.0, "wind"), battery(e_start_kwh=5.0, wear_cost_per_mwh=3.0)],
            steps=3,
            import_price_per_mwh=[50.0, 90.0, 70.0],
            export_price_per_mwh=[20.0, 60.0, 30.0],
            import_limit_kw=limits[0],
            export_limit_kw=limits[1],
            scenarios=[scenario(name, chances[name], **series[k]) for k, name in enumerate(names)],
            options={"mip_gap": 0.0},
            **more,
        )

    sets = chain.from_iterable(combinations(names, count) for count in range(4))
    tried = [
        solved(document_of(each)) for each in sets if sum(chances[name] for name in each) <= allowed + 1e-9
    ]
    best = min((weighted(each), each["objective"]["total"]) for each in tried)
    document = document_of((), breach_probability=allowed)
    answer = solved(document)
    assert weighted(answer) == pytest.approx(best[0], abs=1e-4)
    cost = min(each["objective"]["total"] for each in tried if weighted(each) <= best[0] + 1e-6)
    assert answer["objective"]["total"] == pytest.approx(cost, abs=1e-3)
    check_scenarios(document, answer)


def test_a_first_stage_that_no_scenario_alone_forbids_is_explained() -> None:
    """The battery has to be full after the first step in one scenario and is not allowed to in the other."""
    document = problem_of(
        [renewable([12.0, 0.0], curtailable=False), battery(), load([0.0, 0.0])],
        steps=2,
        import_limit_kw=0.0,
        export_limit_kw=2.0,
        scenarios=[
            scenario("wind", 0.5),
            scenario("calm", 0.5, assets__pv__available_kw=[0.0, 0.0]),
        ],
    )
    answer = solved(document)
    assert answer["status"] == "infeasible"
    assert answer["conflicts"] == []
    assert any("shorten first_stage" in notice for notice in answer["notices"])


def test_an_infeasible_scenario_is_named_with_its_conflicts() -> None:
    document = problem_of(
        [renewable([1.0], curtailable=False)],
        steps=1,
        export_limit_kw=2.0,
        scenarios=[scenario("calm", 0.9), scenario("storm", 0.1, assets__pv__available_kw=[9.0])],
    )
    answer = solved(document)
    assert answer["status"] == "infeasible"
    assert [(c["limit"], c["relaxation"]) for c in answer["conflicts"]] == [("export_limit_kw", 7.0)]
    assert any("'storm'" in notice for notice in answer["notices"])


def test_semicontinuous_charging_is_common_and_exact_in_every_scenario() -> None:
    document = problem_of(
        [ev([session(0, 2, charge_min_kw=6.0, e_departure_min_kwh=14.0)]), load(0.0)],
        steps=2,
        import_price_per_mwh=[10.0, 5.0],
        scenarios=[
            scenario("early", 0.5, connections__poc__import_limit_kw=[10.0, 4.0]),
            scenario("late", 0.5, connections__poc__import_limit_kw=[10.0, 10.0]),
        ],
    )
    answer = solved(document)
    assert answer["status"] == "optimal"
    for found in answer["scenarios"].values():
        assert found["assets"]["ev1"]["p_kw"] == pytest.approx([6.0, 0.0])
        assert found["shortfalls"] == []


def generator(**more: Any) -> Document:
    return {"type": "generator", "id": "g", "connection": "poc", "p_max_kw": 10.0, **more}


def test_whether_a_generator_runs_is_decided_before_the_load_is_known() -> None:
    """A start costs 0.5; at 10 kW it saves 0.2 an hour, at 4 kW without load it burns 0.32 an hour."""
    document = problem_of(
        [
            load(0.0),
            generator(p_min_kw=4.0, start_cost=0.5, marginal_cost_per_mwh=80.0, min_up="PT4H"),
        ],
        import_price_per_mwh=100.0,
        export_price_per_mwh=0.0,
        scenarios=[
            scenario("high", 0.5, assets__base__p_kw=10.0),
            scenario("low", 0.5, assets__base__p_kw=0.0),
        ],
    )
    answer = solved(document)
    assert [s["assets"]["g"]["on"][0] for s in answer["scenarios"].values()] == [0.0, 0.0]
    # three hours still pay once the load is known to be high
    assert answer["scenarios"]["high"]["assets"]["g"]["p_kw"] == pytest.approx([0.0, 10.0, 10.0, 10.0])
    assert answer["scenarios"]["low"]["assets"]["g"]["p_kw"] == pytest.approx([0.0] * 4)
    document["scenarios"][0]["probability"], document["scenarios"][1]["probability"] = 0.99, 0.01
    sure = solved(document)
    assert [s["assets"]["g"]["p_kw"][0] for s in sure["scenarios"].values()] == pytest.approx([10.0, 10.0])


def test_scenarios_with_other_decisions_are_refused() -> None:
    document = problem_of(
        [generator(p_min_kw=0.0)],
        scenarios=[scenario("a", 0.5), scenario("b", 0.5, assets__g__p_min_kw=3.0)],
    )
    with pytest.raises(InputError, match="different decisions"):
        solved(document)


def test_every_type_of_asset_says_what_it_controls() -> None:
    """A new type overrides `AssetRows.controls`, or its problems are refused together with scenarios."""
    types = [rows for rows in AssetRows.__subclasses__() if rows.__module__.startswith("optimizer.assets.")]
    silent = [rows.__name__ for rows in types if rows.controls is AssetRows.controls]
    assert silent == []


def test_a_deadline_keeps_the_schedule_and_says_what_there_was_no_time_for() -> None:
    random = np.random.default_rng(0)
    evs = [
        ev([session(0, 20, discharge_max_kw=9.0, e_departure_min_kwh=40.0)], f"ev{k}", charge_efficiency=0.9)
        for k in range(12)
    ]
    document = problem_of(
        [load(0.0), *evs],
        steps=24,
        import_limit_kw=60.0,
        breach_probability=0.2,
        import_price_per_mwh=random.integers(20, 200, 24).astype(float).tolist(),
        scenarios=[
            scenario(f"s{k}", 0.1, assets__base__p_kw=random.integers(0, 60, 24).astype(float).tolist())
            for k in range(10)
        ],
        first_stage="PT24H",
    )
    dispatcher = Dispatcher(DispatchProblem.from_document(document))
    try:
        answer = dispatcher.solve(deadline_seconds=0.5).document()
    except DeadlineError:
        return  # a slow machine: nothing was found yet
    if answer["status"] == "optimal":
        assert not any("deadline" in notice for notice in answer["notices"])
    else:
        assert any("the deadline passed" in notice for notice in answer["notices"])
    check_scenarios(document, answer)


def test_series_that_contradict_each_other_only_together_are_judged_together() -> None:
    apart = {"assets__g__p_min_kw": 12.0, "assets__g__p_max_kw": 20.0}
    document = problem_of(
        [generator(p_min_kw=2.0)], scenarios=[scenario("a", 0.5), scenario("b", 0.5, **apart)]
    )
    assert solved(document)["status"] == "optimal"
    document["scenarios"][1]["series"]["assets.g.p_max_kw"] = 11.0
    with pytest.raises(InputError) as refused:
        DispatchProblem.from_document(document)
    assert [fault.path for fault in refused.value.faults] == ["scenarios[1].series.assets.g.p_min_kw"]


def faults_of(**more: Any) -> dict[str, str]:
    document = problem_of([load(1.0), renewable(1.0), battery()], **more)
    with pytest.raises(InputError) as refused:
        DispatchProblem.from_document(document)
    return {fault.path: fault.message for fault in refused.value.faults}


def test_every_fault_of_scenarios_at_once() -> None:
    found = faults_of(
        scenarios=[
            {
                "id": "a",
                "probability": 0.5,
                "series": {
                    "assets.pv.avaliable_kw": 1.0,
                    "assets.pvv.available_kw": 1.0,
                    "asset.pv.available_kw": 1.0,
                    "assets.b1.e_start_kwh": 1.0,
                    "assets.pv.available_kw": [1.0, 2.0],
                    "assets.base.p_kw": [1e12] * 4,
                    "connections.poc.import_limit_kw": -1.0,
                },
            },
            {"id": "a", "probability": 0.4},
        ]
    )
    of = "scenarios[0].series."
    assert "did you mean 'available_kw'?" in found[f"{of}assets.pv.avaliable_kw"]
    assert "did you mean 'pv'?" in found[f"{of}assets.pvv.available_kw"]
    assert "neither 'connections' nor 'assets'" in found[f"{of}asset.pv.available_kw"]
    assert "not a series of assets.b1" in found[f"{of}assets.b1.e_start_kwh"]
    assert "has 2 values, but time.steps is 4" in found[f"{of}assets.pv.available_kw"]
    assert "beyond" in found[f"{of}assets.base.p_kw"]
    assert "must not be negative" in found[f"{of}connections.poc.import_limit_kw"]
    assert "unique" in found["scenarios[1].id"]
    assert "sum to 0.9;" in found["scenarios"]


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"first_stage": "PT1H"}, "first_stage"),
        ({"breach_probability": 0.1, "import_limit_kw": 5.0}, "connections[0].breach_probability"),
        ({"scenarios": [scenario("a", 1.0)], "breach_probability": 0.1}, "connections[0].breach_probability"),
        ({"scenarios": [scenario("a", 1.0)], "first_stage": "PT30M"}, "first_stage"),
        ({"scenarios": [scenario("a", 1.0)], "first_stage": "PT0S"}, "first_stage"),
        ({"scenarios": [scenario("a", 1.0)], "first_stage": "PT5H"}, "first_stage"),
        ({"scenarios": [scenario("a", 1.0)], "network": {"grid": "x"}}, "scenarios"),
        ({"scenarios": [scenario("a", 1.0)], "frontier": 3}, "frontier"),
        ({"scenarios": [scenario("a", 1.0)], "options": {"explain": ["en"]}}, "scenarios"),
        ({"scenarios": [scenario("a", 1.0), scenario("b", 0.0)]}, "scenarios[1].probability"),
        ({"scenarios": [scenario("a", 1.0)], "breach_probability": 1.5}, "connections[0].breach_probability"),
    ],
)
def test_what_does_not_go_together_is_refused(more: Document, path: str) -> None:
    assert path in faults_of(**more)


def test_an_id_may_hold_dots() -> None:
    document = problem_of(
        [load(1.0, "hall.north")],
        scenarios=[{"id": "a", "probability": 1.0, "series": {"assets.hall.north.p_kw": 3.0}}],
    )
    assert solved(document)["assets"]["hall.north"]["p_kw"] == [3.0] * 4


def test_the_order_of_scenarios_changes_no_byte() -> None:
    document = problem_of(
        [load([2.0, 9.0, 4.0, 1.0]), battery()],
        scenarios=[
            scenario("a", 0.5, assets__base__p_kw=[2.0, 1.0, 7.0, 1.0]),
            scenario("b", 0.25),
            scenario("c", 0.25, assets__base__p_kw=3.0),
        ],
    )
    turned = {**document, "scenarios": document["scenarios"][::-1]}
    answers = [solved(each) for each in (document, turned)]
    for answer in answers:
        del answer["build_seconds"], answer["solve_seconds"]
    assert answers[0] == answers[1]
    assert answers[0]["time"]["start"] == at(0)
