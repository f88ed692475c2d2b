"""The dispatcher on documents: a ``wattshed.dispatch/1`` in, a ``wattshed.schedule/1`` out."""

from __future__ import annotations

import time as clock
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from energy.domain.errors import Fault, InputError
from energy.domain.network import OperatingLimits
from energy.domain.progress import Progress, silent
from energy.domain.time import parse_duration
from optimizer import Dispatcher, DispatchProblem

if TYPE_CHECKING:
    from grid_models.twin import Twin


def dispatch_document(
    document: Any, deadline: str | None = None, progress: Progress = silent
) -> dict[str, Any]:
    """Solve a problem, coupled to a grid where it has a `network`.

    `deadline` (ISO 8601, from now) replaces the problem's own. Raises `InputError` with every fault, and
    `DeadlineError` where nothing can be returned in time; an infeasible problem is an answer.
    """
    started = clock.monotonic()
    limit = None if deadline is None else _deadline(deadline)
    progress(0.0, "reading the problem")
    problem = DispatchProblem.from_document(document)
    if limit is None:
        limit = problem.options.deadline

    def remaining() -> float | None:
        return None if limit is None else limit.total_seconds() - (clock.monotonic() - started)

    if problem.network is None:
        progress(0.1, "building the model")
        dispatcher = Dispatcher(problem)
        progress(0.4, "dispatch")
        return dispatcher.solve(deadline_seconds=remaining()).document()
    progress(0.05, f"loading grid {problem.network.grid}")
    problem, twin = _on_grid(problem)
    # pandapower costs seconds to import, and most problems have no grid
    from energy.service.coupling import dispatch_on_grid

    schedule, _ = dispatch_on_grid(
        problem,
        twin,
        deadline=remaining(),
        progress=lambda share, message: progress(0.2 + 0.8 * share, message),
    )
    return schedule.document()


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
        limit = parse_duration(text)
    except ValueError as error:
        raise InputError(Fault("--deadline", str(error))) from None
    if limit <= timedelta(0):
        raise InputError(Fault("--deadline", f"{text} is no time at all; give at least PT1S"))
    return limit
