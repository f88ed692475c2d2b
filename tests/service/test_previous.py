"""A schedule that a new dispatch follows on, from file to answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from energy.domain.errors import InputError
from energy.service.dispatch import dispatch_document
from energy.service.documents import ScheduleDocument
from energy.service.previous import read_previous
from tests.optimizer.builders import at, battery, load, problem_of

DOCUMENT = problem_of([battery(e_start_kwh=5.0), load([1.0, 9.0, 1.0, 9.0])])


def test_the_command_line_follows_on_a_schedule(tmp_path: Path, run_cli: Callable[..., Any]) -> None:
    problem, schedule = tmp_path / "problem.json", tmp_path / "schedule.json"
    problem.write_text(json.dumps(DOCUMENT), encoding="utf-8")
    assert run_cli("dispatch", str(problem), "-o", str(schedule)).exit_code == 0
    result = run_cli("dispatch", str(problem), "--previous", str(schedule))
    assert result.exit_code == 0
    answer = json.loads(result.stdout)
    ScheduleDocument.model_validate(answer)
    assert answer["revision"]["previous_hash"] == json.loads(schedule.read_text())["input_hash"]
    assert answer["revision"]["changed"] == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"status": "infeasible"}, "previous.status"),
        ({"schema": "wattshed.plan/1"}, "previous.schema"),
        ({"assets": {}}, "previous.assets"),
        ({"assets": {"b1": {"e_kwh": [0.0] * 4}}}, "previous.assets.b1.p_kw"),
        ({"assets": {"b1": {"p_kw": [0.0] * 3}}}, "previous.assets.b1.p_kw"),
    ],
)
def test_what_is_no_schedule_is_refused(change: dict[str, Any], path: str) -> None:
    schedule = dispatch_document(DOCUMENT)
    assert read_previous(schedule).time.steps == 4
    with pytest.raises(InputError) as refused:
        read_previous({**schedule, **change})
    assert [fault.path for fault in refused.value.faults] == [path]


def test_every_faulty_series_is_named_with_what_is_wrong_in_it() -> None:
    series = {
        "p_kw": [0.0, "a", 0.0, 0.0],
        "e_kwh": [1.0, float("nan"), True],
        "shed_kw": [0.0, 0.0, 0.0, 1e308],
        "slot_kw": [[1.0, 2.0], [1.0]],
    }
    schedule = {**dispatch_document(DOCUMENT), "assets": {"b1": series}}
    with pytest.raises(InputError) as refused:
        read_previous(schedule)
    assert [str(fault) for fault in refused.value.faults] == [
        "previous.assets.b1.p_kw: value 1 is 'a'; a number from -1e+12 to 1e+12 is needed",
        "previous.assets.b1.e_kwh: has 3 values for 4 steps",
        "previous.assets.b1.e_kwh: value 1 is nan; a number from -1e+12 to 1e+12 is needed",
        "previous.assets.b1.shed_kw: value 3 is 1e+308; a number from -1e+12 to 1e+12 is needed",
        "previous.assets.b1.slot_kw: has 2 values for 4 steps",
        "previous.assets.b1.slot_kw: value 1 is not a list of 2 numbers, as the first is",
    ]
    with pytest.raises(InputError, match="previous: is a schedule, a JSON object, not list"):
        read_previous([])


def test_now_needs_a_schedule_of_what_was_done_before() -> None:
    document = {**DOCUMENT, "options": {"now": at(1)}}
    with pytest.raises(InputError, match=r"options\.now: needs the previous schedule"):
        dispatch_document(document)
    answer = dispatch_document(document, previous=dispatch_document(DOCUMENT))
    assert answer["revision"]["past_steps"] == 1
