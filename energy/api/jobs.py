"""Long work over HTTP: dispatches, plans and reports share one job protocol.

POST answers 202 with ``Location`` and ``Retry-After``, or 200 where the work is done within ``wait``;
GET tells state, progress and result; DELETE cancels. An ``Idempotency-Key`` makes a POST repeatable.
"""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Header, Path, Query, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from energy.api.problems import fault_list
from energy.api.reading import Accepted, DurationParameter, JsonBody, LocalDay, Parameters, Serving
from energy.api.schemas import JOB_RESPONSES, body_of
from energy.domain.documents import Document, Instant, parse
from energy.domain.errors import InputError, UnknownError
from energy.domain.plan import Plan
from energy.domain.records import Job
from energy.domain.time import format_instant
from energy.service.city_day import Information
from energy.service.service import Service

router = APIRouter(prefix="/api/v1", tags=["jobs"])

LONGEST_WAIT = timedelta(minutes=5)
POLL_SECONDS = 0.05
_CALLS = {"dispatch": "dispatches", "plan": "plans", "report": "reports"}


class Waiting(Parameters):
    """How long the caller waits for the answer."""

    wait: Annotated[DurationParameter, Query(description="Wait so long for the answer, at most PT5M.")] = (
        timedelta(0)
    )


WaitQuery = Annotated[Waiting, Query()]
IdempotencyKey = Annotated[
    str | None,
    Header(description="The same key gives the same job again.", min_length=1, max_length=255),
]
JobId = Annotated[str, Path(description="The job's id.")]


class PlanRequest(Document):
    """Which day to plan: a local date of the city, and with which information."""

    day: LocalDay = Field(description="A local date of the city.")
    information: Information = "perfect"


class OperationRequest(Document):
    """From when on to re-plan the day that holds `now`, which of its plans, and what a change must gain."""

    now: Instant = Field(description="Until when the stored plan of its day was followed, RFC 3339.")
    information: Information = "perfect"
    change_threshold: float = Field(
        default=0.0, ge=0, description="What changing the plan must gain, in the city's currency."
    )


REQUESTS: dict[str, type[Document]] = {"plan_request": PlanRequest, "operation_request": OperationRequest}
"""The bodies of the calls here, by their names in the OpenAPI document."""


@router.post(
    "/dispatches",
    openapi_extra=body_of("dispatch_request"),
    responses=JOB_RESPONSES,
    response_class=JSONResponse,
)
async def start_dispatch(
    service: Serving,
    accepted: Accepted,
    document: JsonBody,
    waiting: WaitQuery,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Solve a dispatch problem (kW, kWh, prices per MWh); the result is a `wattshed.schedule/1`.

    `options.deadline` counts from here: waiting for other dispatches is part of it. The problem may carry
    the `previous` schedule that it follows on: then the result says in `revision` what changed and why.
    """
    problem, previous = document, None
    if isinstance(document, dict) and "previous" in document:
        problem = {name: value for name, value in document.items() if name != "previous"}
        previous = document["previous"]
    job = await run_in_threadpool(
        service.start_dispatch, problem, previous=previous, key=idempotency_key, accepted=accepted
    )
    return await answered(service, job, waiting.wait)


@router.post(
    "/cities/{city}/plans",
    openapi_extra=body_of("plan_request"),
    responses=JOB_RESPONSES,
    response_class=JSONResponse,
)
async def start_plan(
    service: Serving,
    city: str,
    document: JsonBody,
    waiting: WaitQuery,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Plan a day of a city and store the plan; the result is a `wattshed.plan/1`."""
    wanted = parse(PlanRequest, document)
    job = await run_in_threadpool(
        service.start_plan, city, wanted.day, wanted.information, key=idempotency_key
    )
    return await answered(service, job, waiting.wait)


@router.post(
    "/cities/{city}/operations",
    openapi_extra=body_of("operation_request"),
    responses=JOB_RESPONSES,
    response_class=JSONResponse,
)
async def start_operation(
    service: Serving,
    city: str,
    document: JsonBody,
    waiting: WaitQuery,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Follow the stored plan of a day until `now`, plan the rest of the day again, and store that plan in
    its place; the job is one of planning, its result a `wattshed.plan/1` whose `schedule.revision` says
    what changed and why.
    """
    wanted = parse(OperationRequest, document)
    job = await run_in_threadpool(
        service.start_operation,
        city,
        wanted.now,
        wanted.information,
        change_threshold=wanted.change_threshold,
        key=idempotency_key,
    )
    return await answered(service, job, waiting.wait)


@router.get("/dispatches/{job_id}", responses=JOB_RESPONSES, response_class=JSONResponse)
def dispatch_state(service: Serving, job_id: JobId) -> Response:
    """State, progress and, once it succeeded, the schedule of a dispatch."""
    return JSONResponse(job_document(_job(service, "dispatch", job_id)))


@router.get("/plans/{job_id}", responses=JOB_RESPONSES, response_class=JSONResponse)
def plan_state(service: Serving, job_id: JobId) -> Response:
    """State, progress and, once it succeeded, the plan of a planning job."""
    return JSONResponse(job_document(_job(service, "plan", job_id)))


@router.get("/reports/{job_id}", responses=JOB_RESPONSES, response_class=JSONResponse)
def report_state(service: Serving, job_id: JobId) -> Response:
    """State, progress and, once it succeeded, the stored version that a report job made."""
    return JSONResponse(job_document(_job(service, "report", job_id)))


@router.delete("/dispatches/{job_id}", responses=JOB_RESPONSES, response_class=JSONResponse)
def cancel_dispatch(service: Serving, job_id: JobId) -> Response:
    """Cancel a dispatch; a finished one stays as it is."""
    _job(service, "dispatch", job_id)
    return JSONResponse(job_document(service.cancel(job_id)))


@router.delete("/plans/{job_id}", responses=JOB_RESPONSES, response_class=JSONResponse)
def cancel_plan(service: Serving, job_id: JobId) -> Response:
    """Cancel a planning job; one that runs stops at its next word of progress."""
    _job(service, "plan", job_id)
    return JSONResponse(job_document(service.cancel(job_id)))


@router.delete("/reports/{job_id}", responses=JOB_RESPONSES, response_class=JSONResponse)
def cancel_report(service: Serving, job_id: JobId) -> Response:
    """Cancel a report that waits for its turn; one that is being made is finished and kept."""
    _job(service, "report", job_id)
    return JSONResponse(job_document(service.cancel(job_id)))


def job_document(job: Job) -> dict[str, Any]:
    """The job as the protocol shows it."""
    document: dict[str, Any] = {
        "id": job.id,
        "kind": job.kind,
        "state": job.state,
        "created": format_instant(job.created),
        "progress": job.progress,
        "message": job.message,
    }
    if job.state == "succeeded":
        document["result"] = job.result.document if isinstance(job.result, Plan) else job.result
    if job.state == "failed":
        document["error"] = {"detail": job.error, "errors": fault_list(job.faults)}
    return document


def _job(service: Service, kind: str, job_id: str) -> Job:
    try:
        job = service.job(job_id)
    except KeyError:
        job = None
    if job is None or job.kind != kind:
        raise UnknownError(f"no {kind} job {job_id!r}; jobs are forgotten when the server restarts")
    return job


async def answered(service: Service, job: Job, wait: timedelta) -> Response:
    """200 with the job once it is finished, 202 with where to ask where that takes longer than `wait`."""
    until = time.monotonic() + min(wait, LONGEST_WAIT).total_seconds()
    while not job.finished and time.monotonic() < until:
        await asyncio.sleep(POLL_SECONDS)
        job = service.job(job.id)
    if job.faults:
        raise InputError(job.faults)
    location = f"/api/v1/{_CALLS[job.kind]}/{job.id}"
    if job.finished:
        return await run_in_threadpool(JSONResponse, job_document(job), headers={"Location": location})
    return JSONResponse(job_document(job), 202, headers={"Location": location, "Retry-After": "1"})
