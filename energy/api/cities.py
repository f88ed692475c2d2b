"""Cities and what is stored of them: districts, plans, carbon, grid, schedules."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field, model_validator

from energy.api.reading import (
    InstantParameter,
    LocalDay,
    PageQuery,
    Parameters,
    Resolution,
    Serving,
    Span,
    cached,
    check_span,
    paged,
)
from energy.api.schemas import answer_of
from energy.domain.city import City
from energy.domain.errors import UnknownError
from energy.domain.records import PlanSummary
from energy.domain.time import format_instant
from energy.service.city_day import Information

router = APIRouter(prefix="/api/v1/cities", tags=["cities"])


class PlanQuery(Parameters):
    """Which of a day's plans."""

    information: Information = "perfect"


class CarbonQuery(Span, PlanQuery):
    """Which carbon series, over which time."""

    by: Literal["district"] = "district"
    resolution: Resolution = timedelta(hours=1)
    ledger: Literal["location"] = "location"


class GridQuery(PlanQuery):
    """At which instant."""

    at: Annotated[InstantParameter, Field(description="An instant of a planned day, RFC 3339.")]


class ScheduleQuery(PlanQuery):
    """Over which time; the last planned day where not given."""

    start: Annotated[InstantParameter | None, Field(alias="from", description="RFC 3339.")] = None
    end: Annotated[InstantParameter | None, Field(alias="to", description="Exclusive, RFC 3339.")] = None

    @model_validator(mode="after")
    def _whole(self) -> ScheduleQuery:
        if (self.start is None) != (self.end is None):
            raise ValueError("give both from and to, or neither")
        if self.start is not None and self.end is not None:
            check_span(self.start, self.end)
        return self


@router.get("")
def cities(service: Serving, page: PageQuery) -> dict[str, Any]:
    """The cities served here."""
    served = [service.city(name) for name in service.city_ids()]
    return paged("cities", served, lambda city: city.id, page, _shown)


@router.get("/{city}/districts", responses=answer_of("districts", "GeoJSON", "application/geo+json"))
def districts(request: Request, service: Serving, city: str) -> Response:
    """The districts as a GeoJSON FeatureCollection."""
    return cached(request, service.districts(city), "application/geo+json")


@router.get("/{city}/plans")
def plans(service: Serving, city: str, page: PageQuery) -> dict[str, Any]:
    """The stored plans by day; the key of a plan is its day and its information."""
    return paged("plans", service.plans(city), lambda plan: f"{plan.day}/{plan.information}", page, _summary)


@router.get("/{city}/plans/{day}", responses=answer_of("plan", "The stored plan."))
def plan(
    request: Request, service: Serving, city: str, day: LocalDay, query: Annotated[PlanQuery, Query()]
) -> Response:
    """The stored plan of a local day: the same bytes for the same inputs."""
    stored = service.stored_plan(city, day, query.information)
    if stored is None:
        raise UnknownError(
            f"{city} has no stored plan of {day} with {query.information} information; "
            f"POST /api/v1/cities/{city}/plans makes one"
        )
    return cached(request, stored.document)


@router.get("/{city}/carbon")
def carbon(service: Serving, city: str, query: Annotated[CarbonQuery, Query()]) -> dict[str, Any]:
    """Energy (MWh), emissions (kg) and intensity (g/kWh) per district from the stored plans."""
    return service.carbon(
        city,
        query.start,
        query.end,
        by=query.by,
        resolution=query.resolution,
        ledger=query.ledger,
        information=query.information,
    )


@router.get("/{city}/grid")
def grid(service: Serving, city: str, query: Annotated[GridQuery, Query()]) -> dict[str, Any]:
    """Voltages (pu), loadings (%) and violations at an instant of a planned day."""
    return service.grid(city, query.at, information=query.information)


@router.get("/{city}/schedules/{asset}")
def schedule(
    service: Serving, city: str, asset: str, query: Annotated[ScheduleQuery, Query()]
) -> dict[str, Any]:
    """The setpoints of one asset (kW, sign rule of its type), for controllers."""
    return service.schedule(city, asset, query.start, query.end, information=query.information)


def _shown(city: City) -> dict[str, Any]:
    time = city.profiles.time
    return {
        "id": city.id,
        "name": city.name,
        "time_zone": city.zone.key,
        "currency": city.market.currency,
        "grid": city.grid_source,
        "districts": len(city.districts),
        "replay": city.replay,
        "from": format_instant(time.start),
        "to": format_instant(time.end),
        "sources": [source.document() for source in city.sources],
        "notices": list(city.notices),
    }


def _summary(plan: PlanSummary) -> dict[str, Any]:
    return {
        "day": plan.day,
        "information": plan.information,
        "status": plan.status,
        "rounds": plan.rounds,
        "violations": plan.violations,
        "input_hash": plan.input_hash,
        "stored": format_instant(plan.stored),
    }
