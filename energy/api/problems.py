"""Every error as ``application/problem+json`` (RFC 9457), with all faults as field paths."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from energy.domain.documents import located
from energy.domain.errors import (
    ChangedError,
    DeadlineError,
    Fault,
    InputError,
    ReadOnlyError,
    StoreError,
    UnknownError,
    WattshedError,
)

_log = logging.getLogger(__name__)


class UnreadableError(Exception):
    """A body that is no JSON: 400."""

    def __init__(self, error: InputError) -> None:
        self.faults = error.faults


def problem(
    status: int,
    detail: str,
    faults: Iterable[Fault] = (),
    *,
    title: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A problem document: `title` says what kind of error it is, `detail` what happened this time."""
    title = title or HTTPStatus(status).phrase
    return JSONResponse(
        {
            "type": f"urn:wattshed:problem:{title.lower().replace(' ', '-')}",
            "title": title,
            "status": status,
            "detail": detail,
            "errors": fault_list(faults),
        },
        status_code=status,
        headers=headers,
        media_type="application/problem+json",
    )


def fault_list(faults: Iterable[Fault]) -> list[dict[str, str]]:
    """Faults as they stand in JSON."""
    return [{"path": fault.path, "detail": fault.message} for fault in faults]


def counted(faults: Iterable[Fault]) -> str:
    """``2 faults: PATH: MESSAGE; …`` in one line."""
    faults = list(faults)
    noun = "fault" if len(faults) == 1 else "faults"
    return f"{len(faults)} {noun}: " + "; ".join(str(fault) for fault in faults)


def install(app: FastAPI) -> None:
    """Make `app` answer every exception with a problem document."""

    @app.exception_handler(UnreadableError)
    def unreadable(_request: Request, error: UnreadableError) -> JSONResponse:
        return problem(400, counted(error.faults), error.faults)

    @app.exception_handler(UnknownError)
    def unknown(_request: Request, error: UnknownError) -> JSONResponse:
        return problem(404, str(error))

    @app.exception_handler(ReadOnlyError)
    def read_only(_request: Request, error: ReadOnlyError) -> JSONResponse:
        return problem(403, str(error), title="Read only")

    @app.exception_handler(ChangedError)
    def changed(_request: Request, error: ChangedError) -> JSONResponse:
        return problem(412, str(error), title="Changed meanwhile")

    @app.exception_handler(InputError)
    def refused(_request: Request, error: InputError) -> JSONResponse:
        return problem(422, counted(error.faults), error.faults, title=error.title.capitalize())

    @app.exception_handler(RequestValidationError)
    def invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
        faults = [_fault(item) for item in error.errors()]
        return problem(422, counted(faults), faults, title="Bad input")

    @app.exception_handler(StoreError)
    def store(_request: Request, error: StoreError) -> JSONResponse:
        _log.error("%s", error)
        return problem(503, str(error), headers={"Retry-After": "10"}, title="Store unavailable")

    @app.exception_handler(DeadlineError)
    def deadline(_request: Request, error: DeadlineError) -> JSONResponse:
        return problem(504, str(error), title="Deadline passed")

    @app.exception_handler(WattshedError)
    def ours(_request: Request, error: WattshedError) -> JSONResponse:
        _log.error("%s", error)
        return problem(500, str(error))

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> JSONResponse:
        detail = error.detail
        if detail == HTTPStatus(error.status_code).phrase:  # the framework's own word says nothing more
            detail = f"{request.method} {request.url.path}: {detail.lower()}"
        return problem(error.status_code, detail, headers=error.headers)

    @app.exception_handler(Exception)
    def internal(_request: Request, _error: Exception) -> JSONResponse:  # the server logs it in full
        return problem(500, "an internal error; the server's log says more")


def _fault(item: Mapping[str, Any]) -> Fault:
    """What FastAPI found wrong with a parameter: ``query.from``, ``path.day``."""
    path = located(part for part in item["loc"])
    kind = item["type"]
    if kind == "missing":
        return Fault(path, "is missing; add it")
    if kind == "extra_forbidden":
        return Fault(path, "unknown parameter")
    if kind == "value_error":
        return Fault(path, str(item["ctx"]["error"]))
    return Fault(path, f"{item['input']!r}: {item['msg'][0].lower()}{item['msg'][1:]}")
