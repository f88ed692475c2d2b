"""Work in a process of its own: it can be killed at any moment, and at its deadline it is.

The child sends words of progress, an answer for now, and its outcome. Neither a build in Pyomo nor a
presolve looks at the clock; a process that is killed need not.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time as clock
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkContext, ForkServerContext, SpawnContext
from typing import Any, Protocol

from energy.domain.errors import CancelledError, DeadlineError, WattshedError
from energy.domain.progress import Progress

LONGEST_POLL = 3600.0
"""Seconds. The system counts milliseconds in 32 bits, and a deadline may be months away."""

_log = logging.getLogger(__name__)

Context = ForkContext | ForkServerContext | SpawnContext


class Work(Protocol):
    """What is done: ``functools.partial(dispatch_document, document)`` is one.

    For a child it must be picklable, and so must its answer. Work with a deadline is also given `until`,
    on the monotonic clock, and `for_now`, which takes an answer to fall back on.
    """

    def __call__(self, *, progress: Progress, **more: Any) -> Any: ...


@dataclass(frozen=True)
class Deadline:
    """When an answer is due, on the monotonic clock, which all processes share.

    From `until` on the best answer there is is taken; where there is none yet, the first one until `last`.
    """

    until: float
    last: float


class BrokenError(WattshedError):
    """The child ended without an answer."""


class Child:
    """One piece of work in a child process."""

    def __init__(self, context: Context, work: Work, deadline: Deadline | None = None) -> None:
        """Start it; at the deadline it is killed."""
        self._deadline, self._killed = deadline, False
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(
            target=_child, args=(sender, work, None if deadline is None else deadline.until), daemon=True
        )
        self._process.start()
        sender.close()

    def kill(self) -> None:
        """End it now: `outcome` raises `CancelledError`."""
        self._killed = True
        self._process.kill()

    def outcome(self, tell: Progress) -> Any:
        """What the work gives, or what it gave for now where the deadline comes first.

        Raises what the work raised, `DeadlineError` where there is nothing at the deadline, and
        `BrokenError` where the child died.
        """
        for_now: list[Any] = []
        try:
            while True:
                left = self._left(bool(for_now))
                if not self._receiver.poll(None if left is None else min(left, LONGEST_POLL)):
                    if left is not None and left > LONGEST_POLL:
                        continue
                    if for_now:
                        return for_now[0]
                    raise DeadlineError("the deadline passed before there was any answer; allow more time")
                kind, *words = self._receiver.recv()
                if kind == "progress":
                    tell(*words)
                elif kind == "for now":
                    for_now = words
                elif kind == "failed":
                    raise words[0]
                else:
                    return words[0]
        except EOFError:
            self._process.join()
            if self._killed:
                raise CancelledError("cancelled") from None
            raise BrokenError(
                f"the worker process ended with exit code {self._process.exitcode}, without an answer"
            ) from None
        finally:
            self._process.kill()
            self._process.join()
            self._receiver.close()

    def _left(self, answered: bool) -> float | None:
        if self._deadline is None:
            return None
        due = self._deadline.until if answered else self._deadline.last
        return max(due - clock.monotonic(), 0.0)


def _child(sender: Connection, work: Work, until: float | None) -> None:
    """In the child process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; it ends its children itself
    threading.Thread(target=_end_with_parent, daemon=True).start()

    def tell(fraction: float, message: str) -> None:
        sender.send(("progress", fraction, message))

    def for_now(answer: Any) -> None:
        sender.send(("for now", answer))

    more: dict[str, Any] = {} if until is None else {"until": until, "for_now": for_now}
    try:
        sender.send(("done", work(progress=tell, **more)))
    except WattshedError as error:
        sender.send(("failed", error))
    except Exception as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
        _log.exception("the work of a child process failed")
        sender.send(("failed", BrokenError(f"internal error: {type(error).__name__}: {error}")))
    sender.close()


def _end_with_parent() -> None:
    """A parent that was killed cannot end its children."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def forked() -> Context:
    """A copy of this process as it is: it starts in milliseconds. Only for a process of one thread."""
    if "fork" in multiprocessing.get_all_start_methods() and os.uname().sysname == "Linux":
        return multiprocessing.get_context("fork")
    return multiprocessing.get_context("spawn")


def served(preload: Callable[..., Any]) -> Context:
    """Children of one server process that holds the imports of `preload`; safe among threads."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([preload.__module__])
        return context
    return multiprocessing.get_context("spawn")


def begin(context: Context) -> None:
    """Start the server process of `served` now, so that its imports delay no child."""
    if isinstance(context, ForkServerContext):
        forkserver.ensure_running()
