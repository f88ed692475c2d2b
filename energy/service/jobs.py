"""Long work in the background: plans one at a time in this process, dispatches in child processes.

A solver cannot be interrupted from inside, and a kill is the only dependable cancel; so a dispatch,
which needs nothing but its document, runs in a child process of its own. A plan uses the city that is
loaded here and the store; it runs in a thread and is cancelled at its next word of progress.

Jobs live as long as the process: what must outlast it (plans) is in the store.
"""

from __future__ import annotations

import logging
import multiprocessing
import queue
import signal
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerContext, SpawnContext
from multiprocessing.process import BaseProcess
from typing import Any, Literal, Protocol

from energy.domain.errors import Fault, InputError, WattshedError
from energy.domain.progress import Progress
from energy.domain.records import Job

KEPT = 200
"""So many finished jobs can still be asked for; older ones are forgotten."""

_log = logging.getLogger(__name__)


class Work(Protocol):
    """What a job does: ``functools.partial(dispatch_document, document)`` is one.

    For a dispatch it must be picklable, and so must its answer.
    """

    def __call__(self, *, progress: Progress) -> Any: ...


class _CancelledError(Exception):
    """Raised out of a plan's progress call."""


@dataclass
class _Entry:
    """A job on its way: the snapshot that others see, and what is needed to run and cancel it."""

    job: Job
    work: Work
    fingerprint: str
    cancelled: bool = False
    process: BaseProcess | None = None


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
        # one forked server holds the imports, so that a child starts in milliseconds
        self._context: ForkServerContext | SpawnContext
        if "forkserver" in multiprocessing.get_all_start_methods():
            self._context = multiprocessing.get_context("forkserver")
            self._context.set_forkserver_preload(["energy.service.dispatch"])
        else:
            self._context = multiprocessing.get_context("spawn")
        self._waiting: dict[str, queue.SimpleQueue[_Entry]] = {
            "plan": queue.SimpleQueue(),
            "dispatch": queue.SimpleQueue(),
        }
        for kind, workers in (("plan", 1), ("dispatch", dispatches)):
            for number in range(workers):
                threading.Thread(
                    target=self._serve, args=(self._waiting[kind],), name=f"{kind}-{number}", daemon=True
                ).start()

    def submit(
        self,
        kind: Literal["dispatch", "plan"],
        work: Work,
        *,
        key: str | None = None,
        fingerprint: str = "",
    ) -> Job:
        """Queue `work` and return its job.

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
            entry = _Entry(job, work, fingerprint)
            self._entries[job.id] = entry
            if key is not None:
                self._of_key[key] = job.id
        self._waiting[kind].put(entry)
        return job

    def job(self, job_id: str) -> Job:
        """The job as it stands now; `KeyError` where there is none of that id."""
        with self._lock:
            return self._entries[job_id].job

    def cancel(self, job_id: str) -> Job:
        """Stop the job unless it is finished; `KeyError` where there is none of that id.

        A dispatch stops at once; a plan stays ``running`` until its next word of progress.
        """
        with self._lock:
            entry = self._entries[job_id]
            if not entry.job.finished:
                entry.cancelled = True
                if entry.job.kind == "dispatch" or entry.job.state == "queued":
                    entry.job = replace(entry.job, state="cancelled", message="cancelled")
                if entry.process is not None:
                    entry.process.kill()
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
            entry = waiting.get()
            with self._lock:
                if entry.cancelled:
                    continue
                entry.job = replace(entry.job, state="running")
            run = self._run_in_child if entry.job.kind == "dispatch" else self._run_here
            try:
                outcome = run(entry)
            except _CancelledError:
                outcome = {"state": "cancelled", "message": "cancelled"}
            except Exception as error:  # noqa: BLE001 - whatever it is, the job must say that it failed
                outcome = _failure(error)
            with self._lock:
                if not entry.job.finished:
                    entry.job = replace(entry.job, **outcome)
                entry.process = None

    def _tell(self, entry: _Entry, fraction: float, message: str) -> None:
        with self._lock:
            if entry.cancelled:
                raise _CancelledError
            entry.job = replace(entry.job, progress=min(max(fraction, 0.0), 1.0), message=message)

    def _run_here(self, entry: _Entry) -> dict[str, Any]:
        result = entry.work(progress=lambda fraction, message: self._tell(entry, fraction, message))
        return {"state": "succeeded", "progress": 1.0, "message": "done", "result": result}

    def _run_in_child(self, entry: _Entry) -> dict[str, Any]:
        receiver, sender = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_child, args=(sender, entry.work), daemon=True)
        with receiver:
            with self._lock:
                if entry.cancelled:
                    raise _CancelledError
                process.start()
                entry.process = process
            sender.close()
            try:
                while True:
                    word = receiver.recv()
                    if isinstance(word, dict):
                        return word
                    self._tell(entry, *word)
            except EOFError:
                process.join()
                if entry.cancelled:
                    raise _CancelledError from None
                return {
                    "state": "failed",
                    "error": f"the worker process ended with exit code {process.exitcode}, without an answer",
                }
            finally:
                process.join(timeout=5)


def _failure(error: Exception) -> dict[str, Any]:
    """What a job says of the error that ended it; an error that is not ours goes to the log in full."""
    if isinstance(error, InputError):
        return {"state": "failed", "error": error.title, "faults": error.faults}
    if isinstance(error, WattshedError):
        return {"state": "failed", "error": str(error)}
    _log.error("a job failed", exc_info=error)
    return {"state": "failed", "error": f"internal error: {type(error).__name__}: {error}"}


def _child(sender: Connection, work: Work) -> None:
    """In the child process: words of progress as tuples, then one dict with the outcome."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it ends its children itself
    try:
        result = work(progress=lambda fraction, message: sender.send((fraction, message)))
        outcome = {"state": "succeeded", "progress": 1.0, "message": "done", "result": result}
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
        outcome = _failure(error)
    sender.send(outcome)
    sender.close()
