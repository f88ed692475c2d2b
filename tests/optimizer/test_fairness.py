"""Fairness between districts: spreads that weights close, never at the cost of a need."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import InputError
from optimizer import DispatchProblem, dispatch
from tests.optimizer.builders import Document, ev, problem_of, renewable, session, solve
from tests.optimizer.uncertainty import check_scenarios


def parks(weight: float, *, north: float = 10.0, south: float = 30.0, limit: float = 20.0) -> Document:
    """Two parks behind one export limit; curtailing the southern costs more."""
    return problem_of(
        [
            renewable(north, "n", district="north", curtailment_price_per_mwh=1.0),
            renewable(south, "s", district="south", curtailment_price_per_mwh=5.0),
        ],
        steps=2,
        export_limit_kw=limit,
        objective={"fairness": {"curtailment": weight}},
    )


def cars(weight: float, **more: float) -> Document:
    """Both need 20 kWh in two hours of 12 kW; the southern could do with a worse battery."""
    stay = session(0, 2, charge_max_kw=20.0, e_departure_min_kwh=30.0)
    return problem_of(
        [ev([stay], "n", district="north"), ev([stay], "s", district="south", **more)],
        steps=2,
        import_limit_kw=12.0,
        objective={"fairness": {"charging": weight}},
    )


def test_a_huge_weight_makes_shares_equal() -> None:
    """20 of 40 kW must go, in both hours: half of each park. The cheap way takes all of the north's."""
    answer = solve(parks(100.0))
    found = answer["fairness"]["curtailment"]
    assert found["shares"] == pytest.approx({"north": 0.5, "south": 0.5})
    assert found["spread"] == pytest.approx(0.0, abs=1e-9)
    # cheapest: 10 kW at 1 and 10 kW at 5, fair: 5 kW at 1 and 15 kW at 5; both for two hours
    assert found["price"] == pytest.approx(2 * (5 * 1 + 15 * 5 - 10 * 1 - 10 * 5) / 1000)
    assert answer["objective"]["fairness"] == pytest.approx(0.0, abs=1e-9)


def test_a_weight_below_what_fairness_costs_changes_nothing() -> None:
    """A spread of 2/3 costs 0.02 less than half of it: below 0.06 a unit nobody moves."""
    few = solve(parks(0.02))["fairness"]["curtailment"]
    assert few["shares"] == pytest.approx({"north": 1.0, "south": 1 / 3})
    assert few["price"] == pytest.approx(0.0, abs=1e-9)


def test_unmet_charging_is_moved_and_never_added_to() -> None:
    unfair, fair = solve(cars(0.0, charge_efficiency=1.0)), solve(cars(10.0))
    assert "fairness" not in unfair
    for answer in (unfair, fair):
        assert sum(s["amount_kwh"] for s in answer["shortfalls"]) == pytest.approx(16.0)
    assert fair["fairness"]["charging"]["shares"] == pytest.approx({"north": 0.4, "south": 0.4})
    assert fair["objective"]["fairness"] == pytest.approx(0.0, abs=1e-7)


def test_the_least_shortfall_is_not_given_up_for_fairness() -> None:
    """The southern car loses half of what it draws: it gets nothing, whatever unfairness costs."""
    answer = solve(cars(1e5, charge_efficiency=0.5))
    assert sum(s["amount_kwh"] for s in answer["shortfalls"]) == pytest.approx(18.0)
    assert answer["fairness"]["charging"]["shares"] == pytest.approx({"north": 0.0, "south": 0.9}, abs=1e-6)


def test_under_scenarios_the_expected_spread_is_weighed() -> None:
    """Both parks must halve under the sun, none under clouds: fair is 5 and 15 kW, in half the cases."""
    document = parks(100.0)
    document["scenarios"] = [
        {"id": "sun", "probability": 0.5, "series": {}},
        {
            "id": "cloud",
            "probability": 0.5,
            "series": {"assets.n.available_kw": 4.0, "assets.s.available_kw": 9.0},
        },
    ]
    answer = dispatch(DispatchProblem.from_document(document)).document()
    check_scenarios(document, answer)
    fair = answer["scenarios"]["sun"]["fairness"]["curtailment"]
    assert fair["shares"] == pytest.approx({"north": 0.5, "south": 0.5})
    assert answer["scenarios"]["cloud"]["fairness"]["curtailment"]["spread"] == pytest.approx(0.0)
    dearer = 2 * (5 * 1 + 15 * 5 - 10 * 1 - 10 * 5) / 1000
    assert answer["fairness"]["curtailment"]["price"] == pytest.approx(dearer / 2)
    document["objective"]["fairness"]["curtailment"] = 0.05
    unfair = dispatch(DispatchProblem.from_document(document)).document()
    # in the mean a spread of 2/3 costs half of what it costs under the sun
    assert unfair["objective"]["fairness"] == pytest.approx(0.05 * 2 / 3 / 2)


def test_districts_must_be_said_and_one_alone_has_no_spread() -> None:
    document = parks(1.0)
    del document["assets"][1]["district"]
    with pytest.raises(InputError) as caught:
        DispatchProblem.from_document(document)
    assert [fault.path for fault in caught.value.faults] == ["assets[1].district"]
    document["assets"][1]["curtailable"] = False
    document["connections"][0]["export_limit_kw"] = 35.0
    found = solve(document)["fairness"]["curtailment"]
    assert found == {"shares": {"north": 0.5}, "spread": 0.0, "price": 0.0}


@settings(max_examples=40)
@given(
    north=st.integers(0, 30).map(float),
    south=st.integers(1, 30).map(float),
    limit=st.integers(0, 40).map(float),
    weight=st.sampled_from([0.01, 0.1, 1.0, 50.0]),
)
def test_weights_close_spreads_at_a_price(north: float, south: float, limit: float, weight: float) -> None:
    little = solve(parks(1e-9, north=north, south=south, limit=limit))
    much = solve(parks(weight, north=north, south=south, limit=limit))
    before, after = (answer["fairness"]["curtailment"] for answer in (little, much))
    assert after["spread"] <= before["spread"] + 1e-6
    assert after["price"] >= 0.0
    costs = [answer["objective"]["total"] - answer["objective"]["fairness"] for answer in (little, much)]
    assert after["price"] == pytest.approx(costs[1] - costs[0], abs=1e-6)
    if weight == 50.0:
        assert after["spread"] == pytest.approx(0.0, abs=1e-6)


@settings(max_examples=25)
@given(
    needs=st.lists(st.integers(11, 40).map(float), min_size=3, max_size=3),
    limit=st.integers(0, 20).map(float),
)
def test_fair_charging_leaves_as_little_unmet(needs: list[float], limit: float) -> None:
    def answer(fairness: Document | None) -> Document:
        evs = [
            ev([session(0, 2, e_departure_min_kwh=need)], f"ev{k}", district="ab"[k % 2])
            for k, need in enumerate(needs)
        ]
        return solve(problem_of(evs, steps=2, import_limit_kw=limit, objective={"fairness": fairness}))

    answers = [answer(None), answer({"charging": 9.0})]
    unmet = [sum(s["amount_kwh"] for s in found["shortfalls"]) for found in answers]
    assert unmet[0] == pytest.approx(unmet[1], abs=1e-5)
