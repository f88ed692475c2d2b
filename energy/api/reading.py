"""Reading requests: strict JSON bodies, times with offsets, pages of lists."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import date, datetime, timedelta
from time import monotonic
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Query, Request, Response
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from energy.api.problems import UnreadableError
from energy.domain.errors import Fault, InputError
from energy.domain.time import format_duration, parse_duration, parse_instant
from energy.feeds.documents import parse_json
from energy.service.service import Service

MAX_BODY_BYTES = 64 * 1024 * 1024
"""Larger bodies are refused (413): a day of 5,000 EVs is about 20 MB."""

EARLIEST_YEAR, LATEST_YEAR = 1900, 2199
LONGEST_SPAN = timedelta(days=366)
SHORTEST_RESOLUTION = timedelta(minutes=1)


def service_of(request: Request) -> Service:
    """The service that this application serves."""
    service: Service = request.app.state.service
    return service


Serving = Annotated[Service, Depends(service_of)]


async def accepted_at() -> float:
    """When the request was accepted, on the monotonic clock; asked for before its body is read."""
    return monotonic()


Accepted = Annotated[float, Depends(accepted_at)]


async def raw_body(request: Request) -> bytes:
    """The body, at most `MAX_BODY_BYTES`."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise HTTPException(
                413, f"the body is larger than {MAX_BODY_BYTES // 2**20} MiB; split the problem"
            )
    return bytes(body)


RawBody = Annotated[bytes, Depends(raw_body)]


async def json_body(body: RawBody) -> Any:
    """The body as strict JSON: no NaN, no key twice, UTF-8."""
    return await run_in_threadpool(parsed_json, body)


def utf8(body: bytes) -> str:
    """The body as text."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UnreadableError(
            InputError(Fault("body", f"is not UTF-8 at byte {error.start}; save it as UTF-8"))
        ) from None


def parsed_json(body: bytes) -> Any:
    """The body as strict JSON."""
    try:
        return parse_json(utf8(body), "body")
    except InputError as error:
        raise UnreadableError(error) from None


JsonBody = Annotated[Any, Depends(json_body)]


def _instant(text: Any) -> datetime:
    try:
        instant = parse_instant(text)
    except ValueError as error:
        # a + that is not escaped arrives as a space
        hint = "; in an address, write the + of an offset as %2B" if " " in str(text) else ""
        raise ValueError(f"{error}{hint}") from None
    if not EARLIEST_YEAR <= instant.year <= LATEST_YEAR:
        raise ValueError(f"{text!r} lies outside the years {EARLIEST_YEAR} to {LATEST_YEAR}")
    return instant


def _local_day(text: str) -> str:
    try:
        exact = date.fromisoformat(text).isoformat() == text
    except ValueError:
        exact = False
    if not exact:
        raise ValueError(f"{text!r} is not a date; write it like 2016-06-21")
    return text


def _coarse_enough(duration: timedelta) -> timedelta:
    if duration < SHORTEST_RESOLUTION:
        raise ValueError(f"at least {format_duration(SHORTEST_RESOLUTION)} is needed")
    return duration


InstantParameter = Annotated[
    datetime, BeforeValidator(_instant), WithJsonSchema({"type": "string", "format": "date-time"})
]
"""An RFC 3339 time with offset in the address."""
DurationParameter = Annotated[
    timedelta, BeforeValidator(parse_duration), WithJsonSchema({"type": "string", "format": "duration"})
]
"""An ISO 8601 duration in the address."""
LocalDay = Annotated[str, AfterValidator(_local_day), WithJsonSchema({"type": "string", "format": "date"})]
"""A local date of the city."""
Resolution = Annotated[DurationParameter, AfterValidator(_coarse_enough)]


class Parameters(BaseModel):
    """The parameters of a call; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def check_span(start: datetime, end: datetime) -> None:
    """`ValueError` unless `end` lies after `start`, by at most a year."""
    if not timedelta(0) < end - start <= LONGEST_SPAN:
        raise ValueError(f"to must lie after from, by at most {LONGEST_SPAN.days} days")


class Span(Parameters):
    """From an instant to another, at most a year later."""

    start: Annotated[InstantParameter, Field(alias="from", description="First instant, RFC 3339.")]
    end: Annotated[InstantParameter, Field(alias="to", description="End, exclusive, RFC 3339.")]

    @model_validator(mode="after")
    def _in_order(self) -> Span:
        check_span(self.start, self.end)
        return self


class Page(Parameters):
    """Keyset pagination: at most `limit` entries that come after the key `after`."""

    after: Annotated[str | None, Field(description="The `next` of the page before.")] = None
    limit: Annotated[int, Field(ge=1, le=1000, description="Entries per page.")] = 100


PageQuery = Annotated[Page, Query()]

Entry = TypeVar("Entry")


def paged(
    name: str, entries: Sequence[Entry], key: Callable[[Entry], str], page: Page, show: Callable[[Entry], Any]
) -> dict[str, Any]:
    """One page of `entries` as ``{name: […], "next": key | null}``, ordered by their unique `key`."""
    following = sorted((key(entry), number) for number, entry in enumerate(entries))
    if page.after is not None:
        following = [(text, number) for text, number in following if text > page.after]
    shown = following[: page.limit]
    return {
        name: [show(entries[number]) for _, number in shown],
        "next": shown[-1][0] if len(following) > len(shown) else None,
    }


def cached(request: Request, document: Any, media_type: str = "application/json") -> Response:
    """`document` with an ETag; 304 without it where the caller has it already."""
    body = json.dumps(document, sort_keys=True, ensure_ascii=False, allow_nan=False).encode()
    return cached_bytes(request, body, media_type)


def cached_bytes(request: Request, body: bytes, media_type: str, etag: str = "") -> Response:
    """A file with an ETag, by default of its bytes; 304 without it where the caller has it already."""
    etag = etag or f'"{hashlib.sha256(body).hexdigest()}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag in request.headers.get("If-None-Match", ""):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type=media_type, headers=headers)
