"""The officer's entries of a city's inventory: read and replaced as JSON or CSV."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from energy.api.reading import Parameters, RawBody, Serving, cached_bytes, parsed_json, utf8
from energy.api.schemas import answer_of, body_of
from energy.feeds.documents import json_bytes
from energy.service.inventory import CityInventory, EntryDraft, Replaced

router = APIRouter(prefix="/api/v1/cities", tags=["inventory"])

CSV = "text/csv"
_TABLE: dict[str, Any] = {CSV: {"schema": {"type": "string", "description": "The columns of inventory.csv."}}}
_BODY = body_of("inventory_request")
_BODY["requestBody"]["content"] |= _TABLE
_STATE = answer_of("inventory", "The entries as they are now; the ETag names this state.")


class ReadQuery(Parameters):
    """As what."""

    format: Literal["json", "csv"] = "json"


class ReplaceQuery(Parameters):
    """What the new rows take the place of."""

    replace: Annotated[
        Replaced, Field(description="Stored rows of the years that the new ones name, or all.")
    ] = "years"


@router.get(
    "/{city}/inventory",
    responses={200: {**_STATE[200], "content": {**_STATE[200]["content"], **_TABLE}}},
    response_class=Response,
)
def inventory(
    request: Request, service: Serving, city: str, query: Annotated[ReadQuery, Query()]
) -> Response:
    """The officer's entries of a city, as a `wattshed.inventory/1` or as CSV."""
    found = service.inventory(city)
    if query.format == "json":
        return cached_bytes(request, json_bytes(found.document()), "application/json", _etag(found))
    answer = cached_bytes(request, found.csv().encode(), CSV, _etag(found))
    answer.headers["Content-Disposition"] = f'attachment; filename="{city}-inventory.csv"'
    return answer


@router.put("/{city}/inventory", openapi_extra=_BODY, responses=_STATE, response_class=JSONResponse)
async def replace_inventory(
    request: Request,
    service: Serving,
    city: str,
    body: RawBody,
    query: Annotated[ReplaceQuery, Query()],
    if_match: Annotated[str | None, Header(description="The ETag that the new rows were made from.")] = None,
) -> Response:
    """Store entries, as ``{"rows": […]}`` or ``text/csv``: all rows hold, or nothing is stored and every
    fault is named with its row and column. Rows of other years stay, unless all are replaced.
    """
    kind = request.headers.get("content-type", "application/json").split(";")[0].strip().lower()
    if kind not in ("application/json", CSV):
        raise HTTPException(415, f"{kind} is not taken; send application/json or {CSV}")

    def stored() -> Response:
        draft = (
            EntryDraft.from_csv(utf8(body)) if kind == CSV else EntryDraft.from_document(parsed_json(body))
        )
        version = None if if_match in (None, "*") else if_match.removeprefix("W/").strip('"')
        made = service.replace_inventory(city, draft, replaced=query.replace, version=version)
        return Response(
            json_bytes(made.document()), media_type="application/json", headers={"ETag": _etag(made)}
        )

    return await run_in_threadpool(stored)


def _etag(found: CityInventory) -> str:
    return f'"{found.version}"'
