"""One look at one page: the reader's choices joined with the city and the stored plan they name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from dashboard.language import Language
from dashboard.reading import telling_step
from dashboard.view import View, day_bounds, day_labels
from energy.domain.city import City
from energy.domain.plan import Plan
from energy.domain.records import PlanSummary

if TYPE_CHECKING:
    from energy.service.service import Service


@dataclass(frozen=True)
class Visit:
    """The view with its defaults filled in, the city, and the plan of that day if one is stored.

    `cities` names all that are served, id → name; `stored_plan` reads this city's plan of another day.
    """

    view: View
    city: City
    plan: Plan | None
    stored: tuple[PlanSummary, ...]
    cities: Mapping[str, str]
    stored_plan: Callable[[str], Plan | None]

    @property
    def language(self) -> Language:
        return self.view.language

    @property
    def day(self) -> date:
        return date.fromisoformat(self.view.day)

    @cached_property
    def labels(self) -> tuple[str, ...]:
        """The local clock of the day's intervals."""
        return day_labels(self.city.day(self.day), self.city.zone)

    @cached_property
    def step(self) -> int:
        """The chosen interval; where none is chosen, the one that tells most of the day."""
        chosen = self.view.step(self.labels)
        if chosen is not None:
            return chosen
        return telling_step(self.plan, self.city) if self.plan else 0

    @cached_property
    def yesterday(self) -> Plan | None:
        """The plan of the day before with the same information, where one is stored."""
        before = (self.day - timedelta(days=1)).isoformat()
        offered = {(item.day, item.information) for item in self.stored}
        return self.stored_plan(before) if (before, self.view.info) in offered else None

    @property
    def district(self) -> str:
        """The chosen district, if the city has it."""
        known = {district.id for district in self.city.districts} | set(self.city.district_of_bus.values())
        return self.view.district if self.view.district in known else ""

    @property
    def summary(self) -> PlanSummary | None:
        """What the list of stored plans says of this one."""
        chosen = (self.view.day, self.view.info)
        return next((item for item in self.stored if (item.day, item.information) == chosen), None)

    def state(self) -> dict[str, Any]:
        """The view as a callback gets it back."""
        return asdict(self.view)


def visit(service: Service, view: View) -> Visit:
    """Fill in what the address leaves open: the first city, its latest stored day, its information."""
    known = service.city_ids()
    city_id = view.city if view.city in known else known[0]
    city = service.city(city_id)
    stored = tuple(service.plans(city_id))
    first, last = day_bounds(city)
    latest = max(stored, key=lambda item: item.stored, default=None)
    day = view.day or (latest.day if latest else first.isoformat())
    day = min(max(day, first.isoformat()), last.isoformat())
    offered = [item.information for item in stored if item.day == day]
    info = view.info or ("perfect" if "perfect" in offered or not offered else offered[0])

    def stored_plan(wanted: str) -> Plan | None:
        return service.stored_plan(city_id, wanted, info)

    names = {name: service.city(name).name for name in known}
    return Visit(
        replace(view, city=city_id, day=day, info=info), city, stored_plan(day), stored, names, stored_plan
    )
