"""Calculations that are answered at once."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from starlette.concurrency import run_in_threadpool

from energy.api.reading import JsonBody
from energy.api.schemas import answer_of, body_of
from energy.service.ledger import trace_document

router = APIRouter(prefix="/api/v1/carbon", tags=["carbon"])


@router.post(
    "/trace",
    openapi_extra=body_of("flows"),
    responses=answer_of("trace", "The carbon of the given flows."),
    response_class=JSONResponse,
)
async def trace(document: JsonBody) -> Response:
    """Trace given flows (MW, g/kWh) to buses, demands and districts; no grid needed."""
    return await run_in_threadpool(lambda: JSONResponse(trace_document(document)))
