"""Reasons in words: the expected sentences of small situations, and that every step has one."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings

from energy.domain.errors import InputError
from energy.domain.network import ElementId, GridLimits, Losses, Terminal
from energy.service.documents import ScheduleDocument
from optimizer import Dispatcher, DispatchProblem, dispatch
from optimizer.wording import ELEMENTS, FULL, SENTENCES, money
from tests.optimizer.builders import (
    Document,
    at,
    battery,
    ev,
    load,
    problem_of,
    renewable,
    session,
    solve,
    trip,
)
from tests.optimizer.milp.formulation import HOURS
from tests.optimizer.milp.random_problem import problems

BOTH = {"options": {"explain": ["en", "ja"]}}


def told(document: Document, asset: str, language: str = "en") -> list[str]:
    return [reason[language] for reason in solve({**document, **BOTH})["reasons"][asset]]


def test_an_ev_waits_for_the_cheaper_hour_charges_and_is_done() -> None:
    car = ev([session(1, 5, e_departure_min_kwh=20.0)])
    document = problem_of([car], steps=6, import_price_per_mwh=[50.0, 60.0, 29.0, 60.0, 70.0, 10.0])
    assert told(document, "ev1") == [
        "away: not connected",
        "waits: 02:00Z is 31 EUR/MWh cheaper",
        "charges: needed by 05:00Z and this is the cheapest time left",
        "idle: what is needed by 05:00Z is in the battery",
        "away: not connected",
    ]
    assert told(document, "ev1", "ja") == [
        "不在：未接続",
        "待機：02:00Zは31 EUR/MWh安い",
        "充電：05:00Zまでに必要で、残り時間で最も安い",
        "休止：05:00Zまでの必要量は充電済み",
        "不在：未接続",
    ]
    first = solve({**document, **BOTH})["reasons"]["ev1"][1]
    assert (first["from"], first["to"], first["action"], first["code"]) == (
        at(1),
        at(2),
        "wait",
        "wait_cheaper",
    )
    assert first["numbers"] == {
        "p_kw": 0.0,
        "price_per_mwh": 60.0,
        "other_price_per_mwh": 29.0,
        "difference_per_mwh": 31.0,
    }


def test_an_ev_uses_the_cheaper_hours_in_full_and_a_dearer_one() -> None:
    car = ev([session(0, 3, e_departure_min_kwh=25.0)])
    document = problem_of([car], steps=3, import_price_per_mwh=[40.0, 20.0, 60.0])
    assert told(document, "ev1") == [
        "charges: needed by 03:00Z, and cheaper times are used in full",
        "charges: needed by 03:00Z and this is the cheapest time left",
        "idle: what is needed by 03:00Z is in the battery",
    ]


def test_a_drive_is_a_need() -> None:
    car = ev([session(0, 2)], trips=[trip(2, 3, 15.0)])
    document = problem_of([car], steps=4, import_price_per_mwh=[20.0, 60.0, 60.0, 60.0])
    assert told(document, "ev1")[0] == "charges: needed by 02:00Z and this is the cheapest time left"


def test_a_battery_charges_holds_and_discharges() -> None:
    store = battery(charge_efficiency=0.9, discharge_efficiency=0.9, e_max_kwh=9.0)
    document = problem_of(
        [store, load(20.0)],
        steps=5,
        import_price_per_mwh=[41.0, 60.0, 88.0, 41.0, 88.0],
        carbon_g_per_kwh=0.0,
    )
    assert told(document, "b1") == [
        "charges: 41 EUR/MWh now, discharged at 88",
        "holds: at 02:00Z a MWh is worth 28 EUR more",
        "discharges: 88 EUR/MWh now, refilled at 41",
        "charges: 41 EUR/MWh now, discharged at 88",
        "discharges: 88 EUR/MWh now, charged at 41",
    ]
    assert told(document, "b1", "ja")[2] == "放電：現在88 EUR/MWh、再充電時41 EUR/MWh"


def test_a_battery_with_nothing_to_gain_is_idle() -> None:
    document = problem_of([battery(wear_cost_per_mwh=50.0), load(20.0)], import_price_per_mwh=40.0)
    assert told(document, "b1") == ["idle: nothing to gain at 40 EUR/MWh"]


def test_a_negative_price_is_reason_enough() -> None:
    document = problem_of(
        [battery(), load(20.0)], steps=1, import_price_per_mwh=-12.0, export_price_per_mwh=-20.0
    )
    assert told(document, "b1") == ["charges: the price is -12 EUR/MWh, below zero"]


def test_curtailment_names_the_limit_or_the_price() -> None:
    document = problem_of(
        [renewable([30.0, 30.0, 5.0, 0.0])],
        export_limit_kw=10.0,
        export_price_per_mwh=[45.0, -7.5, 45.0, 45.0],
    )
    assert told(document, "pv") == [
        "curtailed: export limit of poc is full",
        "curtailed: power is worth 0 EUR/MWh here",
        "feeds in: power is worth 45 EUR/MWh here",
        "idle: nothing is available",
    ]
    assert told(document, "pv", "ja")[0] == "出力抑制：pocの逆潮流上限に達している"


def test_a_load_that_is_shed_because_its_connection_is_full() -> None:
    base = load([10.0, 20.0], shed_limit_fraction=0.6, shed_price_per_mwh=300.0)
    document = problem_of([base], steps=2, import_limit_kw=12.0, import_price_per_mwh=100.0)
    assert told(document, "base") == [
        "draws: power costs 100 EUR/MWh here",
        "sheds load: import limit of poc is full",
    ]


def test_a_full_line_makes_an_ev_wait() -> None:
    """The first EV would take more of the first hour than the line to bus 3 carries; the next is dearer."""
    document = problem_of(
        [
            ev([session(0, 2, e_departure_min_kwh=19.0)], "first", bus=3),
            ev([session(0, 4, e_departure_min_kwh=15.0)], "second", bus=3),
        ],
        network={"grid": "x"},
        import_price_per_mwh=[50.0, 81.0, 19.0, 60.0],
        **BOTH,
    )
    dispatcher = Dispatcher(DispatchProblem.from_document(document))
    dispatcher.add(
        GridLimits(
            (Terminal(3),),
            np.array([0]),
            (ElementId("line", 7),),
            ("loading_percent",),
            np.array([[100.0 / 0.006]]),
            np.array([0.0]),
            np.array([-100.0]),
            np.array([100.0]),
            Losses.none(1),
        )
    )
    second = dispatcher.solve().document()["reasons"]["second"]
    assert [reason["en"] for reason in second] == [
        "waits: 02:00Z is 62 EUR/MWh cheaper and line 7 is full until 01:00Z",
        "waits: 02:00Z is 62 EUR/MWh cheaper",
        "charges: needed by 04:00Z and this is the cheapest time left",
        "idle: what is needed by 04:00Z is in the battery",
    ]
    assert second[0]["ja"] == "待機：02:00Zは62 EUR/MWh安く、線路7の容量上限に達している（01:00Zまで）"


def test_after_its_departure_a_drive_is_no_need() -> None:
    car = ev([session(0, 1), session(3, 4)], trips=[trip(1, 2.5, 15.0)])
    assert told(problem_of([car]), "ev1")[-2:] == [
        "away: not connected",
        "idle: nothing to gain at 100 EUR/MWh",
    ]


def test_a_load_without_demand_waits_for_nothing() -> None:
    document = problem_of([load([0.0, 5.0])], steps=2, import_price_per_mwh=[80.0, 40.0])
    assert told(document, "base") == [
        "idle: nothing to gain at 80 EUR/MWh",
        "draws: power costs 40 EUR/MWh here",
    ]


def test_a_run_waits_for_the_cheaper_hours() -> None:
    kiln = {
        "type": "shiftable_load",
        "id": "kiln",
        "connection": "poc",
        "profile_kw": [5.0],
        "earliest_start": at(0),
        "latest_end": at(3),
    }
    document = problem_of([kiln, load(1.0)], steps=3, import_price_per_mwh=[80.0, 40.0, 60.0])
    assert told(document, "kiln") == [
        "waits: 01:00Z is 40 EUR/MWh cheaper",
        "draws: power costs 40 EUR/MWh here",
        "idle: nothing to gain at 60 EUR/MWh",
    ]


def test_reasons_are_in_the_published_schema() -> None:
    answer = solve({**problem_of([load(1.0), battery()]), **BOTH})
    read = ScheduleDocument.model_validate(answer).reasons
    assert read is not None
    assert read["base"][0].ja == answer["reasons"]["base"][0]["ja"]


def test_reasons_are_given_on_request_only() -> None:
    document = problem_of([load(1.0)])
    assert "reasons" not in solve(document)
    (reason,) = solve({**document, "options": {"explain": ["ja"]}})["reasons"]["base"]
    assert "en" not in reason
    assert reason["ja"] == "受電：ここでの電力価格は100 EUR/MWh"


@settings(max_examples=80, deadline=None)
@given(document=problems(("load", "renewable", "battery", "ev")))
def test_every_step_has_exactly_one_reason_with_numbers_of_the_answer(document: Document) -> None:
    document["options"]["explain"] = ["en", "ja"]
    answer = dispatch(DispatchProblem.from_document(document)).document()
    if answer["status"] == "infeasible":
        assert "reasons" not in answer
        return
    hours = HOURS[document["time"]["resolution"]]
    place = {asset["id"]: asset["connection"] for asset in document["assets"]}
    instants = [at(step * hours) for step in range(document["time"]["steps"] + 1)]
    assert set(answer["reasons"]) == set(answer["assets"])
    for asset, told_of in answer["reasons"].items():
        price = np.array(answer["connections"][place[asset]]["price_per_mwh"]["total"])
        assert told_of[0]["from"] == instants[0]
        assert told_of[-1]["to"] == instants[-1]
        for one, following in pairwise(told_of):
            assert one["to"] == following["from"]
        for one in told_of:
            span = slice(instants.index(one["from"]), instants.index(one["to"]))
            numbers = one["numbers"]
            assert numbers["price_per_mwh"] == pytest.approx(price[span].mean())
            assert numbers["p_kw"] == pytest.approx(np.mean(answer["assets"][asset]["p_kw"][span]))
            if "other_price_per_mwh" in numbers:
                assert np.isclose(price, numbers["other_price_per_mwh"]).any()
                said = numbers["difference_per_mwh"]
                assert said == pytest.approx(abs(price[span].mean() - numbers["other_price_per_mwh"]))
            assert one["en"].strip()
            assert one["ja"].strip()


def test_only_the_wanted_assets_are_explained() -> None:
    document = problem_of([battery(e_start_kwh=5.0), load([1.0, 9.0, 1.0, 9.0])])
    options = {"explain": ["en"], "explain_assets": ["b1"]}
    assert set(solve({**document, "options": options})["reasons"]) == {"b1"}
    with pytest.raises(InputError, match=r"options\.explain_assets\[1\]: there is no asset 'b2'"):
        solve({**document, "options": {"explain": ["en"], "explain_assets": ["b1", "b2"]}})


def test_every_sentence_is_in_both_languages_with_the_same_blanks() -> None:
    def blanks(text: str) -> set[str]:
        return {part.split("}")[0] for part in text.split("{")[1:]}

    for sentence in (*SENTENCES.values(), *FULL.values()):
        assert set(sentence) == {"en", "ja"}
        assert blanks(sentence["en"]) - {"currency"} == blanks(sentence["ja"]) - {"currency"}
    assert set(ELEMENTS) == {"line", "trafo", "trafo3w", "bus"}


@pytest.mark.parametrize(
    ("amount", "text"), [(31.4, "31"), (9.96, "10"), (4.25, "4.2"), (-12.0, "-12"), (-0.01, "0"), (0.0, "0")]
)
def test_prices_in_words(amount: float, text: str) -> None:
    assert money(amount) == text
