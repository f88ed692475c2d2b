"""Deadlines and cancelling as a caller sees them: real processes, a real server, 2,000 vehicles."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from energy.domain.errors import InputError
from energy.domain.records import Job
from energy.service.dispatch import answer_by, dispatch_document
from energy.service.service import Service
from energy.store import Store
from optimizer import DispatchProblem
from optimizer.fallback import fallback
from tests.optimizer.builders import check_answer, ev, problem_of, session


def fleet(count: int, **options: Any) -> dict[str, Any]:
    """A night of charging that takes the solver far longer than anybody here waits."""
    vehicles = [
        ev(
            [session(k % 48 / 4, 14 + k % 37 / 4, discharge_max_kw=11.0, e_departure_min_kwh=30.0 + k % 25)],
            f"ev{k}",
            e_start_kwh=5.0 + k % 20,
            charge_efficiency=0.95,
        )
        for k in range(count)
    ]
    price = [60.0 + 7.0 * (step % 11) + 0.3 * (step * step % 17) for step in range(96)]
    return problem_of(
        vehicles,
        steps=96,
        resolution="PT15M",
        import_price_per_mwh=price,
        import_limit_kw=1.9 * count,
        options=options,
    )


@pytest.fixture
def seconds() -> float:
    """A deadline of two seconds, or longer where this machine is too busy to read 2,000 vehicles in that."""
    began = time.monotonic()
    fallback(DispatchProblem.from_document(fleet(2000)))
    return max(2.0, round(4 * (time.monotonic() - began), 2))


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Service]:
    opened = Service(Store.open(f"sqlite:///{tmp_path / 'store.db'}"), [])
    yield opened
    opened.close()


def finished(service: Service, job: Job, seconds: float) -> Job:
    until = time.monotonic() + seconds
    while not job.finished:
        assert time.monotonic() < until, job
        time.sleep(0.01)
        job = service.job(job.id)
    return job


def test_the_command_line_keeps_a_deadline(tmp_path: Path, seconds: float) -> None:
    """What Python takes to start and to end is not part of it."""
    document = fleet(2000, deadline=f"PT{seconds}S")
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(document), encoding="utf-8")
    command = [sys.executable, "-m", "energy.cli"]

    def start_up() -> float:
        began = time.monotonic()
        subprocess.run([*command, "schema", "schedule"], check=True, capture_output=True)
        return time.monotonic() - began

    before = start_up()
    began = time.monotonic()
    result = subprocess.run([*command, "dispatch", str(path)], capture_output=True, check=False)
    took = time.monotonic() - began
    assert took < 1.1 * seconds + max(before, start_up())
    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["status"] == "fallback"
    check_answer(document, answer)


def test_a_job_keeps_its_deadline(service: Service, seconds: float) -> None:
    document = fleet(2000, deadline=f"PT{seconds}S")
    finished(service, service.start_dispatch(fleet(1)), 60)  # the server of child processes is up
    accepted = time.monotonic()
    job = finished(service, service.start_dispatch(document, accepted=accepted), 1.1 * seconds)
    assert job.state == "succeeded"
    assert job.result["status"] == "fallback"
    check_answer(document, job.result)


def test_waiting_for_others_is_part_of_a_deadline(service: Service) -> None:
    others = [service.start_dispatch({**fleet(1500), "name": str(number)}) for number in range(3)]
    began = time.monotonic()
    job = finished(service, service.start_dispatch(fleet(20, deadline="PT8S")), 8.8)
    assert job.state == "succeeded"
    assert job.result["status"] in ("optimal", "feasible", "fallback")
    assert time.monotonic() - began > 3.0, "it waited for its turn until half of its time was gone"
    assert not service.job(others[2].id).finished
    for other in others:
        service.cancel(other.id)


def test_a_cancelled_solve_ends_at_once(service: Service) -> None:
    job = service.start_dispatch(fleet(1500))
    until = time.monotonic() + 60
    while service.job(job.id).message != "dispatch":
        assert time.monotonic() < until
        time.sleep(0.02)
    began = time.monotonic()
    assert service.cancel(job.id).state == "cancelled"
    follower = finished(service, service.start_dispatch(fleet(2)), 30)
    assert follower.state == "succeeded"
    assert time.monotonic() - began < 30


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_ctrl_c_and_a_kill_leave_no_process_behind(tmp_path: Path, number: signal.Signals) -> None:
    path = tmp_path / "fleet.json"
    path.write_text(json.dumps(fleet(1500)), encoding="utf-8")
    command = [sys.executable, "-m", "energy.cli", "dispatch", str(path)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "dispatch" in line:
                break
        began = time.monotonic()
        os.kill(process.pid, number)
        code = process.wait(timeout=20)
        assert time.monotonic() - began < 10
        assert code == (130 if number == signal.SIGINT else -number)
        until = time.monotonic() + 20
        while True:
            try:
                os.killpg(process.pid, 0)
            except ProcessLookupError:
                break
            assert time.monotonic() < until, "the child process still lives"
            time.sleep(0.05)


def test_a_deadline_that_is_far_away_changes_nothing() -> None:
    timings = ("build_seconds", "solve_seconds", "input_hash")
    answers = [dispatch_document(fleet(5, **options)) for options in ({}, {"deadline": "PT10M"})]
    for answer in answers:
        for key in timings:
            del answer[key]
    assert answers[0] == answers[1]


def test_a_deadline_may_be_years_away(service: Service) -> None:
    job = finished(service, service.start_dispatch(fleet(2, deadline="P999999D")), 60)
    assert job.state == "succeeded"
    assert job.result["status"] == "optimal"


def test_what_is_no_deadline_is_refused_and_not_counted() -> None:
    assert answer_by({"options": {"deadline": "PT1S"}}, None, 0.0) is None
    assert answer_by([], None, 0.0) is None
    due = answer_by({"options": {"deadline": "PT10S"}}, "PT2S", 100.0)
    assert due is not None
    assert 101.8 < due.until < 102.0 < due.last <= 102.2
    with pytest.raises(InputError, match="at least PT2S"):
        dispatch_document(problem_of([]), deadline="PT1.9S")
