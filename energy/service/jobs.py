"""Long work in the background: plans and reports in this process, dispatches in child processes.

A kill is the only dependable cancel, and the only one in time; so a dispatch, which needs nothing but its
document, runs in a child process of its own. One with a deadline that still waits for its turn when half
of its time is gone starts beside the others: a deadline counts from the request. A plan uses the city that is
loaded here and the store; it runs in a thread and is cancelled at its next word of progress. A report does
so too, in a thread of its own: it need not wait for a plan.

Jobs live as long as the process: what must outlast it (plans) is in the store.
"""

from __future__ import annotations

import logging
import queue
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Literal

from energy.domain.errors import CancelledError, Fault, InputError, WattshedError
from energy.domain.records import Job
from energy.service.child import Child, Deadline, Work, begin, served
from energy.service.dispatch import dispatch_document

LONGEST_TURN = 86400.0
"""After so many seconds at most a dispatch with a deadline has its turn."""
KEPT = 200
"""So many finished jobs can still be asked for; older ones are forgotten."""

_log = logging.getLogger(__name__)


@dataclass
class _Entry:
    """A job on its way: the snapshot that others see, and what is needed to run and cancel it."""

    job: Job
    work: Work
    fingerprint: str
    deadline: Deadline | None = None
    cancelled: bool = False
    child: Child | None = None


class Jobs:
    """The jobs of one process. Safe to call from several threads."""

    def __init__(
        self, *, dispatches: int = 2, clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    ) -> None:
        """`dispatches` child processes may run at once; `clock` stamps the jobs."""
        self._clock = clock
        self._lock = threading.Lock()
        self._entries: dict[str, _Entry] = {}
        self._of_key: dict[str, str] = {}
        self._context = served(dispatch_document)
        self._waiting: dict[str, queue.SimpleQueue[_Entry]] = {
            "plan": queue.SimpleQueue(),
            "report": queue.SimpleQueue(),
            "dispatch": queue.SimpleQueue(),
        }
        for kind, workers in (("plan", 1), ("report", 1), ("dispatch", dispatches)):
            for number in range(workers):
                threading.Thread(
                    target=self._serve, args=(self._waiting[kind],), name=f"{kind}-{number}", daemon=True
                ).start()

    def begin(self) -> None:
        """Get ready for the first dispatch, which has a deadline too: its imports begin now."""
        begin(self._context)

    def submit(
        self,
        kind: Literal["dispatch", "plan", "report"],
        work: Work,
        *,
        key: str | None = None,
        fingerprint: str = "",
        deadline: Deadline | None = None,
    ) -> Job:
        """Queue `work` and return its job. A dispatch is answered by its `deadline`.

        `key` makes the call idempotent: the same key gives the same job again, as long as `fingerprint`
        (the identity of the request) is the same; with another one, `InputError`.
        """
        with self._lock:
            if key is not None and key in self._of_key:
                known = self._entries[self._of_key[key]]
                if (known.job.kind, known.fingerprint) != (kind, fingerprint):
                    raise InputError(
                        Fault(
                            "Idempotency-Key",
                            f"{key!r} was used for another request; use a new key for a new request",
                        )
                    )
                return known.job
            self._forget()
            job = Job(id=uuid.uuid4().hex, kind=kind, state="queued", created=self._clock())
            entry = _Entry(job, work, fingerprint, deadline)
            self._entries[job.id] = entry
            if key is not None:
                self._of_key[key] = job.id
        self._waiting[kind].put(entry)
        if deadline is not None:
            late = threading.Timer(min((deadline.until - monotonic()) / 2, LONGEST_TURN), self._take, [entry])
            late.daemon = True
            late.start()
        return job

    def job(self, job_id: str) -> Job:
        """The job as it stands now; `KeyError` where there is none of that id."""
        with self._lock:
            return self._entries[job_id].job

    def cancel(self, job_id: str) -> Job:
        """Stop the job unless it is finished; `KeyError` where there is none of that id.

        A dispatch stops at once; plans and reports stay ``running`` until their next word of progress.
        """
        with self._lock:
            entry = self._entries[job_id]
            if not entry.job.finished:
                entry.cancelled = True
                if entry.job.kind == "dispatch" or entry.job.state == "queued":
                    entry.job = replace(entry.job, state="cancelled", message="cancelled")
                if entry.child is not None:
                    entry.child.kill()
            return entry.job

    def close(self) -> None:
        """Cancel everything; no child process stays behind."""
        with self._lock:
            entries = list(self._entries)
        for job_id in entries:
            self.cancel(job_id)

    def _forget(self) -> None:
        finished = [key for key, entry in self._entries.items() if entry.job.finished]
        for job_id in finished[: len(finished) - KEPT]:
            del self._entries[job_id]
        self._of_key = {key: job_id for key, job_id in self._of_key.items() if job_id in self._entries}

    def _serve(self, waiting: queue.SimpleQueue[_Entry]) -> None:
        while True:
            self._take(waiting.get())

    def _take(self, entry: _Entry) -> None:
        """Run the job unless it is cancelled, or somebody else took it."""
        with self._lock:
            if entry.job.state != "queued":
                return
            entry.job = replace(entry.job, state="running")
        run = self._run_in_child if entry.job.kind == "dispatch" else self._run_here
        outcome: dict[str, Any]
        try:
            result = run(entry)
            outcome = {"state": "succeeded", "progress": 1.0, "message": "done", "result": result}
        except CancelledError:
            outcome = {"state": "cancelled", "message": "cancelled"}
        except Exception as error:  # noqa: BLE001 - whatever it is, the job must say that it failed
            outcome = _failure(error)
        with self._lock:
            if not entry.job.finished:
                entry.job = replace(entry.job, **outcome)
            entry.child = None

    def _tell(self, entry: _Entry, fraction: float, message: str) -> None:
        with self._lock:
            if entry.cancelled:
                raise CancelledError("cancelled")
            entry.job = replace(entry.job, progress=min(max(fraction, 0.0), 1.0), message=message)

    def _run_here(self, entry: _Entry) -> Any:
        return entry.work(progress=lambda fraction, message: self._tell(entry, fraction, message))

    def _run_in_child(self, entry: _Entry) -> Any:
        with self._lock:
            if entry.cancelled:
                raise CancelledError("cancelled")
            entry.child = Child(self._context, entry.work, entry.deadline)
        return entry.child.outcome(lambda fraction, message: self._tell(entry, fraction, message))


def _failure(error: Exception) -> dict[str, Any]:
    """What a job says of the error that ended it; an error that is not ours goes to the log in full."""
    if isinstance(error, InputError):
        return {"state": "failed", "error": error.title, "faults": error.faults}
    if isinstance(error, WattshedError):
        return {"state": "failed", "error": str(error)}
    _log.error("a job failed", exc_info=error)
    return {"state": "failed", "error": f"internal error: {type(error).__name__}: {error}"}
