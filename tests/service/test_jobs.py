"""The jobs of one process: real threads, real child processes, real kills."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from energy.domain.errors import Fault, InputError
from energy.domain.progress import Progress, silent
from energy.domain.records import Job
from energy.service.jobs import Jobs


def double(number: int, *, progress: Progress = silent) -> int:
    progress(0.5, "doubling")
    return 2 * number


def refuse(*, progress: Progress = silent) -> None:
    raise InputError([Fault("assets[0].p_kw", "is missing; add it"), Fault("time", "is missing; add it")])


def sleep_for_ever(*, progress: Progress = silent) -> None:
    progress(0.1, str(os.getpid()))
    time.sleep(600)


def die(*, progress: Progress = silent) -> None:
    os._exit(7)


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    registry = Jobs()
    yield registry
    registry.close()


def wait_for(jobs: Jobs, job: Job, reached: Callable[[Job], bool], seconds: float = 30) -> Job:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job = jobs.job(job.id)
        if reached(job):
            return job
        time.sleep(0.01)
    raise AssertionError(f"still {job}")


@pytest.mark.parametrize("kind", ["plan", "dispatch"])
def test_the_result_and_the_progress_of_work_are_kept(jobs: Jobs, kind: str) -> None:
    job = jobs.submit(kind, functools.partial(double, 21))
    assert job.state == "queued"
    done = wait_for(jobs, job, lambda job: job.finished)
    assert (done.state, done.result, done.progress) == ("succeeded", 42, 1.0)


@pytest.mark.parametrize("kind", ["plan", "dispatch"])
def test_every_fault_of_a_refused_input_arrives(jobs: Jobs, kind: str) -> None:
    done = wait_for(jobs, jobs.submit(kind, refuse), lambda job: job.finished)
    assert done.state == "failed"
    assert [fault.path for fault in done.faults] == ["assets[0].p_kw", "time"]


def test_a_cancelled_dispatch_is_killed(jobs: Jobs) -> None:
    running = wait_for(jobs, jobs.submit("dispatch", sleep_for_ever), lambda job: bool(job.message))
    assert jobs.cancel(running.id).state == "cancelled"
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            os.kill(int(running.message), 0)
        except ProcessLookupError:
            break
        time.sleep(0.01)
    else:
        raise AssertionError("the child process still lives")
    assert jobs.job(running.id).state == "cancelled"


def test_a_child_that_dies_fails_its_job_and_not_the_next(jobs: Jobs) -> None:
    done = wait_for(jobs, jobs.submit("dispatch", die), lambda job: job.finished)
    assert done.state == "failed"
    assert "exit code 7" in str(done.error)
    after = wait_for(jobs, jobs.submit("dispatch", functools.partial(double, 1)), lambda job: job.finished)
    assert after.result == 2


def test_a_plan_stops_at_its_next_word_and_one_that_waits_stops_at_once(jobs: Jobs) -> None:
    started, go_on = threading.Event(), threading.Event()

    def plan(*, progress: Progress = silent) -> str:
        started.set()
        go_on.wait(30)
        progress(0.5, "half")
        return "never"

    first, second = jobs.submit("plan", plan), jobs.submit("plan", plan)
    assert started.wait(10)
    assert jobs.cancel(second.id).state == "cancelled"
    assert jobs.cancel(first.id).state == "running"
    go_on.set()
    assert wait_for(jobs, first, lambda job: job.finished).state == "cancelled"


def test_a_key_gives_the_same_job_again_and_no_other_request(jobs: Jobs) -> None:
    work = functools.partial(double, 1)
    first = jobs.submit("dispatch", work, key="k", fingerprint="a")
    assert jobs.submit("dispatch", work, key="k", fingerprint="a").id == first.id
    assert jobs.submit("dispatch", work, key="other", fingerprint="a").id != first.id
    with pytest.raises(InputError, match="Idempotency-Key"):
        jobs.submit("dispatch", work, key="k", fingerprint="b")


def test_an_unknown_job_is_a_key_error(jobs: Jobs) -> None:
    with pytest.raises(KeyError):
        jobs.job("nothing")
    with pytest.raises(KeyError):
        jobs.cancel("nothing")
