"""For those who run the service: liveness, readiness, metrics."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from importlib.metadata import version

from fastapi import APIRouter, FastAPI
from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from energy.api.reading import Serving

router = APIRouter(tags=["operations"])


@router.get("/healthz")
@router.get("/api/v1/healthz", include_in_schema=False)
async def healthz() -> dict[str, str]:
    """The process lives."""
    return {"status": "ok", "version": version("wattshed")}


@router.get("/readyz")
@router.get("/api/v1/readyz", include_in_schema=False)
def readyz(service: Serving) -> dict[str, object]:
    """The cities are open and the store can be read; otherwise 503."""
    service.check()
    return {"status": "ready", "cities": list(service.city_ids())}


@dataclass
class _Answered:
    """How many requests of a kind were answered, and the seconds they took together."""

    requests: int = 0
    seconds: float = 0.0


Counts = defaultdict[tuple[str, str, int], _Answered]
"""By method, route template and status."""


class Metrics:
    """Counts requests and their seconds, for Prometheus. Pure ASGI."""

    def __init__(self, app: ASGIApp, counts: Counts) -> None:
        self._app, self._counts = app, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status = 500

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, noting)
        finally:
            # the route's template, so that ids in addresses make no new series
            route = getattr(scope.get("route"), "path", "unmatched")
            answered = self._counts[scope["method"], route, status]
            answered.requests += 1
            answered.seconds += time.perf_counter() - started


def install_metrics(app: FastAPI) -> None:
    """Count every request of `app` and serve the counts at ``/metrics``."""
    counts = Counts(_Answered)
    app.add_middleware(Metrics, counts=counts)

    @app.get("/metrics", tags=["operations"], response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Counters in Prometheus text format."""
        lines = []
        for name, title in (("requests", "HTTP requests answered"), ("seconds", "Seconds spent answering")):
            metric = f"wattshed_http_{name}_total"
            lines += [f"# HELP {metric} {title}.", f"# TYPE {metric} counter"]
            for (method, route, status), answered in sorted(counts.items()):
                labels = f'method="{method}",route="{route}",status="{status}"'
                lines.append(f"{metric}{{{labels}}} {getattr(answered, name):g}")
        return PlainTextResponse("\n".join(lines) + "\n", media_type="text/plain; version=0.0.4")
