"""Reports: which there are, making one, its stored versions as files, approval, differences, explanations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, ValidationError
from starlette.concurrency import run_in_threadpool

from energy.api.jobs import IdempotencyKey, WaitQuery, answered
from energy.api.reading import JsonBody, PageQuery, Parameters, Serving, cached, cached_bytes, paged
from energy.api.schemas import JOB_RESPONSES, answer_of, body_of
from energy.domain.documents import Document, faults_of, parse
from energy.domain.errors import Fault, InputError, UnknownError
from energy.domain.reading import contradictions, readable
from energy.domain.report import Language, ReportKey, StoredReport
from energy.domain.report_document import edition_document
from energy.feeds.reports import FORMATS, Format, render
from energy.service.city_day import Information
from energy.service.reports.desk import find_key
from energy.service.reports.registry import asked, reports
from energy.service.service import Service

router = APIRouter(prefix="/api/v1", tags=["reports"])

_FILES: dict[str, Any] = {
    media_type: {} for media_type, _ in FORMATS.values() if media_type != "application/json"
}
_VERSION = answer_of("report_version", "The version as it is now.")
PeriodLabel = Annotated[
    str, Field(description="2016, 2016-06, 2016-06-21 or 2016-06-01/2016-06-15, local days.")
]
Variant = Annotated[str, Field(description="The choices it was made with, as listed.")]


class ReportRequest(Document):
    """Which report of which days, and the choices that shape it."""

    name: str = Field(description="A report of GET /reports.")
    period: PeriodLabel
    information: Information = "perfect"
    settings: dict[str, str] = Field(default={}, description="Choices by name.")


class PublishRequest(Document):
    """Which stored version of a report."""

    period: PeriodLabel
    variant: Variant = ""
    version: int = Field(ge=1)


class ApproveRequest(PublishRequest):
    """Which stored version of a report, and who approves it."""

    by: str = Field(description="Who approves it.")


REQUESTS: dict[str, type[Document]] = {
    "report_request": ReportRequest,
    "approve_request": ApproveRequest,
    "publish_request": PublishRequest,
}
"""The bodies of the calls here, by their names in the OpenAPI document."""


class Stored(Parameters):
    """Which period and which choices: what the list of versions shows."""

    period: PeriodLabel
    variant: Variant = ""


class FileQuery(Stored):
    """Which version, as what."""

    version: Annotated[int | None, Field(ge=1, description="The newest where not given.")] = None
    format: Annotated[Format, Field(description="csv holds the first table, zip all of them.")] = "json"
    language: Annotated[Language, Field(description="Of XLSX and PDF.")] = "en"


class DiffQuery(Stored):
    """Which two versions."""

    first: Annotated[int, Field(ge=1, description="The older version.")]
    second: Annotated[int, Field(ge=1, description="The newer version.")]


@router.get("/reports")
def report_types() -> dict[str, Any]:
    """Every report there is: which question it answers, and the choices that shape it."""
    return {"reports": [kind.document() for kind in reports().values()]}


@router.get("/cities/{city}/reports")
def stored_reports(service: Serving, city: str, page: PageQuery) -> dict[str, Any]:
    """All stored versions of a city's reports."""
    stored = service.reports.list(service.city(city).id)
    return paged("reports", stored, _place, page, lambda item: edition_document(item.key, item.edition))


@router.post(
    "/cities/{city}/reports",
    openapi_extra=body_of("report_request"),
    responses=JOB_RESPONSES,
    response_class=JSONResponse,
)
async def start_report(
    service: Serving,
    city: str,
    document: JsonBody,
    waiting: WaitQuery,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Make a report of stored days and keep it: the job's result is its version, a new one only where the
    report differs from the last.
    """
    wanted = _report_request(document)
    job = await run_in_threadpool(
        service.start_report,
        city,
        wanted.name,
        wanted.period,
        information=wanted.information,
        choices=wanted.settings,
        key=idempotency_key,
    )
    return await answered(service, job, waiting.wait)


@router.get(
    "/cities/{city}/reports/{name}",
    responses={
        200: {
            "description": "The stored version as a file.",
            "content": {**answer_of("report", "")[200]["content"], **_FILES},
        }
    },
    response_class=Response,
)
def report_file(
    request: Request, service: Serving, city: str, name: str, query: Annotated[FileQuery, Query()]
) -> Response:
    """A stored version, by default the newest: a `wattshed.report/1`, or CSV, XLSX or PDF drawn from it.

    The same version gives the same bytes; a PDF shows its state.
    """
    key = _key(service, city, name, query)
    report, edition = service.reports.stored(key, query.version)
    answer = cached_bytes(
        request, render(report, edition, query.format, query.language), FORMATS[query.format][0]
    )
    stem = f"{city}-{name}-{query.period.replace('/', '_')}-v{edition.number}"
    answer.headers["Content-Disposition"] = f'inline; filename="{stem}.{query.format}"'
    return answer


@router.post(
    "/cities/{city}/reports/{name}/approve",
    openapi_extra=body_of("approve_request"),
    responses=_VERSION,
)
def approve(service: Serving, city: str, name: str, document: JsonBody) -> dict[str, Any]:
    """A draft becomes approved by a person."""
    wanted = parse(ApproveRequest, document)
    key = _key(service, city, name, wanted)
    return edition_document(key, service.reports.approve(key, wanted.version, wanted.by))


@router.post(
    "/cities/{city}/reports/{name}/publish",
    openapi_extra=body_of("publish_request"),
    responses=_VERSION,
)
def publish(service: Serving, city: str, name: str, document: JsonBody) -> dict[str, Any]:
    """An approved version becomes published, and never changes again."""
    wanted = parse(PublishRequest, document)
    key = _key(service, city, name, wanted)
    return edition_document(key, service.reports.publish(key, wanted.version))


@router.get("/cities/{city}/reports/{name}/diff")
def diff(service: Serving, city: str, name: str, query: Annotated[DiffQuery, Query()]) -> dict[str, Any]:
    """Every figure that differs between two versions."""
    found = service.reports.difference(_key(service, city, name, query), query.first, query.second)
    return {"changes": [asdict(change) for change in found]}


@router.get("/cities/{city}/figures/{figure}", responses=answer_of("figure", "The tree behind it."))
def figure(request: Request, service: Serving, city: str, figure: str) -> Response:
    """What a figure is made of, down to the factors, inputs and runs behind it."""
    return cached(request, service.explain(city, figure))


def _report_request(document: Any) -> ReportRequest:
    """`document` read; `InputError` with every fault, of its fields and of what they ask for."""
    try:
        return ReportRequest.model_validate(document)
    except ValidationError as error:
        faults = faults_of(error, ReportRequest)

    def unknown(stand_ins: Sequence[Any]) -> Sequence[Fault]:
        wanted = readable(ReportRequest, document, stand_ins)
        try:
            if wanted is not None:
                asked(wanted.name, wanted.period, wanted.settings)
        except InputError as error:
            return error.faults
        return ()

    raise InputError([*faults, *contradictions(faults, unknown)])


def _key(service: Service, city: str, name: str, wanted: Stored | PublishRequest) -> ReportKey:
    if name not in reports():
        raise UnknownError(f"there is no report {name!r}; GET /api/v1/reports lists them")
    stored = service.reports.list(service.city(city).id)
    return find_key(stored, name, wanted.period, wanted.variant)


def _place(item: StoredReport) -> str:
    """Unique, and in the order of the list: name, period, choices, version."""
    key = item.key
    return " ".join((key.name, key.period, key.variant or "-", f"{item.edition.number:06d}"))
