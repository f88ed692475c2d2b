"""The error tree. Every message names the object, the value, the limit and the remedy.

WattshedError
├── InputError        bad input, all faults at once            exit code 2
├── UnknownError      what was asked for is not there          exit code 2
├── ReadOnlyError     what was to be changed takes no changes  exit code 2
├── ChangedError      somebody else changed it meanwhile       exit code 2
├── DeadlineError     nothing to return within the deadline    exit code 4
├── CancelledError    stopped by whoever asked for it          exit code 130
├── StoreError        the store cannot be reached or read      exit code 5
└── SolverError       a solver or an invariant failed          exit code 1

An infeasible dispatch is not an error: it is a `Schedule` with status ``infeasible`` (exit code 3).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an input.

    `path` locates it (``assets[3].sessions[0].arrival``, ``city.toml: ev.fleets[0]``, or a file name);
    `message` says what stands there, what would be right, and what to do.
    """

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class WattshedError(Exception):
    """Base of everything Wattshed raises on purpose."""

    exit_code = 1


class InputError(WattshedError):
    """The input is refused; `faults` lists everything wrong with it, in order of appearance."""

    exit_code = 2

    def __init__(self, faults: Iterable[Fault] | Fault | str, *, title: str = "bad input") -> None:
        if isinstance(faults, str):
            faults = Fault("", faults)
        self.faults: tuple[Fault, ...] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        if not self.faults:
            raise ValueError("an InputError needs at least one fault")
        self.title = title
        super().__init__("\n".join(str(fault) for fault in self.faults))

    def __reduce__(self) -> tuple[Callable[..., InputError], tuple[tuple[Fault, ...]]]:
        # from process to process with all faults, where an exception's text alone would travel
        return partial(InputError, title=self.title), (self.faults,)


class DeadlineError(WattshedError):
    """The deadline passed and there is nothing to return."""

    exit_code = 4


class CancelledError(WattshedError):
    """Whoever asked for it stopped it."""

    exit_code = 130


class StoreError(WattshedError):
    """The store cannot be reached, is locked, or holds a newer schema than this version knows."""

    exit_code = 5


class SolverError(WattshedError):
    """A solver answered something no caller can use, or an invariant of ours broke."""


class UnknownError(WattshedError):
    """What was asked for is not there: a city, a stored plan, an asset."""

    exit_code = 2


class ReadOnlyError(WattshedError):
    """What was to be changed takes no changes."""

    exit_code = 2


class ChangedError(WattshedError):
    """Somebody else changed it meanwhile; nothing was written."""

    exit_code = 2
