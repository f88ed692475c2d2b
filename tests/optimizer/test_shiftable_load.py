"""Shiftable loads: by hand, and against every possible choice of starts."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import InputError
from optimizer import DispatchProblem, uncontrolled
from tests.optimizer.builders import Document, at, check_answer, load, problem_of, solve
from tests.optimizer.units import HOURS, each_step, shiftable_load, starts_of


def best(document: Document) -> tuple[float, float]:
    """Least unserved energy (times priority) and least cost at it, over every choice of starts."""
    base, *runs = document["assets"]
    time, connection = document["time"], document["connections"][0]
    hours, demand = HOURS[time["resolution"]], each_step(base["p_kw"], time["steps"])
    limit = np.maximum(connection["import_limit_kw"], demand)
    found = []
    for choice in product(*([None, *starts_of(run, time)] for run in runs)):
        drawn, unserved = demand.copy(), 0.0
        for run, start in zip(runs, choice, strict=True):
            energy = sum(run["profile_kw"]) * hours * run["priority"]
            if start is None:
                unserved += energy
            else:
                drawn[start : start + len(run["profile_kw"])] += run["profile_kw"]
        if (drawn <= limit + 1e-9).all():
            peak = max(0.0, drawn.max() - connection["peak_import_so_far_kw"])
            cost = float(drawn @ connection["import_price_per_mwh"]) * hours / 1000
            found.append((round(unserved, 6), cost + peak * connection["peak_import_price_per_kw"]))
    return min(found)


@st.composite
def problems(draw: Any) -> Document:
    steps, resolution = draw(st.integers(2, 7)), draw(st.sampled_from(["PT1H", "PT30M"]))
    hours = HOURS[resolution]

    def some(low: int, high: int, count: int) -> list[float]:
        return draw(st.lists(st.integers(low, high).map(float), min_size=count, max_size=count))

    runs = []
    for number in range(draw(st.integers(1, 3))):
        length = draw(st.integers(1, steps))
        first = draw(st.integers(0, 2 * (steps - length))) / 2
        last = draw(st.integers(int(2 * first) + 2 * length, 2 * steps)) / 2
        profile = [*some(0, 9, length - 1), draw(st.integers(1, 9).map(float))]
        window = at(first * hours), at(last * hours)
        priority = draw(st.sampled_from([1.0, 3.0]))
        runs.append(shiftable_load(profile, *window, f"run{number}", priority=priority))
    return problem_of(
        [load(some(0, 8, steps)), *runs],
        steps=steps,
        resolution=resolution,
        import_limit_kw=draw(st.sampled_from([6.0, 15.0, 40.0])),
        import_price_per_mwh=some(1, 200, steps),
        export_price_per_mwh=0.0,
        peak_import_price_per_kw=draw(st.sampled_from([0.0, 0.3])),
        peak_import_so_far_kw=draw(st.sampled_from([0.0, 5.0])),
        peak_interval=resolution,
        options={"mip_gap": 0.0},
    )


@settings(max_examples=50)
@given(document=problems())
def test_no_choice_of_starts_is_better(document: Document) -> None:
    unserved, cost = best(document)
    answer = solve(document)
    assert answer["status"] == "optimal"
    weight = {asset["id"]: asset.get("priority", 1.0) for asset in document["assets"]}
    told = sum(weight[s["asset"]] * s["amount_kwh"] for s in answer["shortfalls"] if s.get("asset"))
    assert told == pytest.approx(unserved, abs=1e-5)
    assert answer["objective"]["total"] - answer["objective"]["shortfall"] == pytest.approx(cost, abs=1e-5)


@settings(max_examples=50)
@given(document=problems())
def test_without_control_it_runs_at_once(document: Document) -> None:
    answer = uncontrolled(DispatchProblem.from_document(document)).document()
    document["connections"][0].pop("import_limit_kw")
    answer["shortfalls"] = [s for s in answer["shortfalls"] if s["kind"] != "import_limit"]
    answer["objective"]["shortfall"] = 0.0
    answer["objective"]["total"] = sum(v for k, v in answer["objective"].items() if k != "total")
    check_answer(document, answer)
    for run in document["assets"][1:]:
        starts = starts_of(run, document["time"])
        assert np.flatnonzero(answer["assets"][run["id"]]["start"]).tolist() == starts[:1]


@pytest.mark.parametrize(
    ("earliest", "latest", "runs", "unserved", "told"),
    [
        (-3.0, 3.0, True, False, "clipped"),
        (2.0, 9.0, True, False, "clipped"),
        (-5.0, 0.0, False, False, "outside the horizon"),
        (4.0, 9.0, False, False, "outside the horizon"),
        # two hours do not fit into the last one; afterwards they do
        (3.0, 9.0, False, False, "can follow later"),
        (3.0, 5.5, False, True, "clipped"),
        (-3.0, 1.5, False, True, "clipped"),
        # two hours long, but not from full hour to full hour
        (0.5, 2.5, False, True, "no start in the horizon"),
    ],
)
def test_windows_at_the_edge(earliest: float, latest: float, runs: bool, unserved: bool, told: str) -> None:
    answer = solve(problem_of([shiftable_load([4.0, 2.0], at(earliest), at(latest))]))
    assert (sum(answer["assets"]["wash"]["p_kw"]) > 0) == runs
    assert [s["kind"] for s in answer["shortfalls"]] == ["unserved_run"] * unserved
    assert all(s["amount_kwh"] == pytest.approx(6.0) for s in answer["shortfalls"])
    assert any(told in notice for notice in answer["notices"])


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"latest_end": at(1.5)}, "assets[0].latest_end"),
        ({"latest_end": at(-1)}, "assets[0].latest_end"),
        ({"profile_kw": []}, "assets[0].profile_kw"),
        ({"profile_kw": [0.0, 0.0]}, "assets[0].profile_kw"),
        ({"profile_kw": [1.0, -2.0]}, "assets[0].profile_kw[1]"),
        ({"profile_kw": 3.0}, "assets[0].profile_kw"),
        ({"earliest_start": "2022-08-29T00:00:00"}, "assets[0].earliest_start"),
    ],
)
def test_contradictions_are_refused(more: Document, path: str) -> None:
    with pytest.raises(InputError) as caught:
        DispatchProblem.from_document(problem_of([{**shiftable_load([4.0, 2.0], at(0), at(3)), **more}]))
    assert [fault.path for fault in caught.value.faults] == [path]
