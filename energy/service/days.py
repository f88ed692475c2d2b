"""A range of local days, planned and accounted one after the other; what became of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any, Literal

from energy.domain.city import City
from energy.domain.errors import Fault, InputError
from energy.domain.progress import Progress
from energy.service.city_day import Information, check_day


@dataclass(frozen=True, slots=True)
class DayOutcome:
    """What became of a day: planned now, kept as it was stored, or failed with these faults.

    `status` is that of its plan (``secure``, ``unresolved``), empty where the day failed.
    """

    day: str
    done: Literal["planned", "kept", "failed"]
    status: str
    faults: tuple[Fault, ...] = field(default=())


OperateDay = Callable[[City, date, Information, Progress], DayOutcome]
"""Sees to the stored plan of one day; `InputError` where the day has no schedule."""


@dataclass(frozen=True)
class DaysOperation:
    """Days in order: each starts from what the one before left in the store."""

    operate_day: OperateDay

    def run(
        self, city: City, first_day: str, last_day: str, information: str, progress: Progress
    ) -> dict[str, Any]:
        """``wattshed.operation/1``: counts, and every day that is not secure.

        Raises `InputError` for days outside the data, in the wrong order, and unknown information.
        """
        first, informed = check_day(city, first_day, information)
        last, _ = check_day(city, last_day, information)
        if last < first:
            raise InputError(Fault("to", f"{last} is before {first}; swap the first and the last day"))
        days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
        outcomes = []
        for number, day in enumerate(days):

            def within(share: float, message: str, number: int = number) -> None:
                progress((number + share) / len(days), f"day {number + 1} of {len(days)}: {message}")

            try:
                outcomes.append(self.operate_day(city, day, informed, within))
            except InputError as error:
                outcomes.append(DayOutcome(day.isoformat(), "failed", "", error.faults))
        progress(1.0, "operated")
        return _summary(city, first, last, informed, outcomes)


def _summary(
    city: City, first: date, last: date, information: Information, outcomes: list[DayOutcome]
) -> dict[str, Any]:
    done = Counter(outcome.done for outcome in outcomes)
    status = Counter(outcome.status for outcome in outcomes if outcome.status)
    return {
        "schema": "wattshed.operation/1",
        "city": city.id,
        "information": information,
        "from": first.isoformat(),
        "to": last.isoformat(),
        "days": len(outcomes),
        "planned": done["planned"],
        "kept": done["kept"],
        "secure": status["secure"],
        "unresolved": [outcome.day for outcome in outcomes if outcome.status == "unresolved"],
        "failed": [
            {
                "day": outcome.day,
                "faults": [{"path": fault.path, "message": fault.message} for fault in outcome.faults],
            }
            for outcome in outcomes
            if outcome.done == "failed"
        ],
    }
