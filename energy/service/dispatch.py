"""The dispatcher on documents: a ``wattshed.dispatch/1`` in, a ``wattshed.schedule/1`` out."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from energy.domain.errors import DeadlineError, Fault, InputError
from energy.domain.network import OperatingLimits
from energy.domain.progress import Progress, silent
from energy.domain.schedule import Schedule
from energy.domain.time import parse_duration
from energy.feeds.documents import json_bytes
from energy.service.child import Child, Deadline, forked
from energy.service.previous import read_previous
from optimizer import Dispatcher, DispatchProblem
from optimizer.documents import Options, enough_time
from optimizer.fallback import fallback
from optimizer.rolling import Previous, check_overlap, replan

if TYPE_CHECKING:
    from grid_models.twin import Twin


UNCHECKED = "fallback: there was no time for AC power flow; whether the grid carries this is not known"

UNCOMMITTED = (
    "fallback: the safe rule ignores the previous schedule; before options.now it may differ from what was "
    "done"
)

USED, LATEST = 0.95, 1.1
"""Of a deadline so much is used: the rest is for sending the answer. A first answer may come so late."""


def dispatch_document(
    document: Any,
    deadline: str | None = None,
    progress: Progress = silent,
    *,
    previous: Any = None,
    until: float | None = None,
    for_now: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Solve a problem, coupled to a grid where it has a `network`, as one that follows on `previous`.

    `deadline` (ISO 8601, from now) replaces the problem's own; `until`, on the monotonic clock, replaces
    both. With one, the safe rule is made first and given to `for_now`; it is the answer where nothing
    better is found in time. Raises `InputError` with every fault; an infeasible problem is an answer.
    """
    started = clock.monotonic()
    if deadline is not None:
        _deadline(deadline)
    progress(0.0, "reading the problem")
    problem, before = read_dispatch(document, previous)
    if until is None and (due := answer_by(document, deadline, started)) is not None:
        until = due.until
    if until is None:
        return _follow(problem, before, None, progress).document()
    safe = fallback(problem)
    if problem.network is not None:
        safe = replace(safe, notices=(*safe.notices, UNCHECKED))
    if before is not None:
        safe = replace(safe, notices=(*safe.notices, UNCOMMITTED))
    answer = safe.document()

    def offer(schedule: Schedule) -> None:
        if for_now is not None:
            for_now(schedule.document())

    offer(safe)
    # what making this answer took is left for making the next one
    spare = clock.monotonic() - started
    try:
        return _follow(problem, before, until - spare, progress, offer).document()
    except DeadlineError:
        return answer


def read_dispatch(document: Any, previous: Any = None) -> tuple[DispatchProblem, Previous | None]:
    """A problem and the schedule that it follows on; `InputError` with every fault of the two."""
    faults: list[Fault] = []
    problem = before = None
    try:
        problem = DispatchProblem.from_document(document)
    except InputError as error:
        faults += error.faults
    if previous is not None:
        try:
            before = read_previous(previous)
        except InputError as error:
            faults += error.faults
    if problem is None or faults:
        raise InputError(faults)
    if before is not None:
        check_overlap(problem, before)
    elif problem.options.now is not None:
        raise InputError(Fault("options.now", "needs the previous schedule, which says what was done before"))
    return problem, before


def dispatch_apart(
    document: Any, deadline: str | None = None, *, previous: Any = None, accepted: float | None = None
) -> Callable[[Progress], tuple[str, bytes]]:
    """`dispatch_document` in a child process that is killed at the deadline, and when the caller stops.

    The deadline counts from `accepted`, on the monotonic clock. Call what is returned for the answer's
    status and its JSON: the child writes that too, which takes its time with thousands of assets.
    """
    due = answer_by(document, deadline, clock.monotonic() if accepted is None else accepted)
    return Child(forked(), partial(_dispatch_json, document, deadline, previous), due).outcome


def _dispatch_json(
    document: Any,
    deadline: str | None,
    previous: Any,
    *,
    progress: Progress,
    until: float | None = None,
    for_now: Callable[[tuple[str, bytes]], None] | None = None,
) -> tuple[str, bytes]:
    def written(answer: dict[str, Any]) -> tuple[str, bytes]:
        return answer["status"], json_bytes(answer)

    def offer(answer: dict[str, Any]) -> None:
        if for_now is not None:
            for_now(written(answer))

    return written(
        dispatch_document(document, deadline, progress, previous=previous, until=until, for_now=offer)
    )


def answer_by(document: Any, deadline: str | None, accepted: float) -> Deadline | None:
    """When an answer to a problem accepted then is due; None where there is no deadline.

    What is no deadline in the document is none here: reading the problem refuses it.
    """
    if deadline is not None:
        limit: timedelta | None = _deadline(deadline)
    else:
        try:
            limit = Options.model_validate({"deadline": document["options"]["deadline"]}).deadline
        except (ValidationError, TypeError, KeyError):
            limit = None
    if limit is None:
        return None
    return Deadline(accepted + USED * limit.total_seconds(), accepted + LATEST * limit.total_seconds())


def _follow(
    problem: DispatchProblem,
    previous: Previous | None,
    until: float | None,
    progress: Progress,
    for_now: Callable[[Schedule], None] | None = None,
) -> Schedule:
    """The best schedule found by `until` that follows on `previous`, where there is one."""
    if previous is None:
        return _scheduled(problem, until, progress, for_now)

    used: list[Dispatcher] = []

    def within_its_time(pinned: DispatchProblem) -> Schedule:
        now, due = clock.monotonic(), until
        if due is not None and pinned.pins is not None and pinned.pins.until > pinned.pins.past:
            # what is committed is solved first, in half of the time
            due = now + (due - now) / 2
        return _scheduled(pinned, due, progress, used=used)

    return replan(problem, previous, within_its_time)


def _scheduled(
    problem: DispatchProblem,
    until: float | None,
    progress: Progress,
    for_now: Callable[[Schedule], None] | None = None,
    used: list[Dispatcher] | None = None,
) -> Schedule:
    """The best schedule found by `until`; `DeadlineError` where there is none.

    `used` holds the dispatcher of a problem that differs from this one in its data alone, once there is
    one: it starts from the basis it came to.
    """

    def remaining() -> float | None:
        return None if until is None else until - clock.monotonic()

    if problem.network is None:
        progress(0.1, "building the model")
        if used:
            dispatcher = used[0]
            dispatcher.update(problem)
        else:
            dispatcher = Dispatcher(problem)
            if used is not None:
                used.append(dispatcher)
        progress(0.4, "dispatch")
        return dispatcher.solve(deadline_seconds=remaining())
    progress(0.05, f"loading grid {problem.network.grid}")
    problem, twin = _on_grid(problem)
    # pandapower costs seconds to import, and most problems have no grid
    from energy.service.coupling import dispatch_on_grid

    schedule, _ = dispatch_on_grid(
        problem,
        twin,
        deadline=remaining(),
        progress=lambda share, message: progress(0.2 + 0.8 * share, message),
        for_now=for_now,
    )
    return schedule


def with_reasons(document: Any, languages: Sequence[str]) -> Any:
    """A problem that asks for reasons in these languages; what is no problem is left to its reader."""
    options = document.get("options", {}) if isinstance(document, Mapping) else None
    if not isinstance(options, Mapping):
        return document
    return {**document, "options": {**options, "explain": list(languages)}}


def _on_grid(problem: DispatchProblem) -> tuple[DispatchProblem, Twin]:
    """`problem` with its buses resolved, and the twin of its grid; `InputError` with every fault."""
    from grid_models.sources import load_grid
    from grid_models.twin import Twin

    network = problem.network
    assert network is not None
    twin = Twin(
        load_grid(network.grid),
        limits=OperatingLimits(network.vm_min_pu, network.vm_max_pu, network.loading_max_percent),
        taps=network.taps,
        root_ext_grid=network.root_ext_grid,
        include_static=network.include_static,
    )
    faults: list[Fault] = []
    try:
        _ = twin.root_bus
    except InputError as error:
        faults += error.faults
    try:
        problem = problem.resolve_buses(lambda key: _live_bus(twin, key))
    except InputError as error:
        faults += error.faults
    if faults:
        raise InputError(faults)
    return problem, twin


def _live_bus(twin: Twin, key: int | str) -> int:
    bus = twin.bus_index(key)
    if not twin.energised(bus):
        raise InputError(
            Fault("bus", f"{key!r} is not energised: no external grid of the root reaches it; choose another")
        )
    return bus


def _deadline(text: str) -> timedelta:
    try:
        return enough_time(parse_duration(text))
    except ValueError as error:
        raise InputError(Fault("--deadline", str(error))) from None
