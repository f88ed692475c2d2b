"""The HTTP application: routers, problems for every error, OpenAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from energy.api import carbon, cities, inventory, jobs, operations, problems, reports, schemas
from energy.service.service import Service

_ROUTERS = (operations.router, carbon.router, jobs.router, cities.router, inventory.router, reports.router)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    yield
    await run_in_threadpool(app.state.service.close)


def create_api(service: Service) -> FastAPI:
    """The API of `service`, without the dashboard; closes the service when the server stops."""
    app = FastAPI(
        title="Wattshed",
        version=version("wattshed"),
        description="Schedules proven on the AC grid, carbon traced to the district that uses it. Times are "
        "RFC 3339 with offset, durations ISO 8601; every name says its unit.",
        lifespan=_lifespan,
        openapi_url="/api/v1/openapi.json",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    problems.install(app)
    schemas.install_openapi(app, jobs.REQUESTS | reports.REQUESTS)
    operations.install_metrics(app)
    for router in _ROUTERS:
        app.include_router(router)

    @app.api_route(
        "/api/{rest:path}",
        methods=["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
        include_in_schema=False,
    )
    async def no_such_call(request: Request) -> None:
        """What no route above answers, before the dashboard's own catch-all would."""
        path = request.url.path
        allowed = {
            method
            for router in _ROUTERS
            for route in router.routes
            if isinstance(route, APIRoute) and route.path_regex.match(path)
            for method in route.methods or ()
        }
        if allowed:
            methods = ", ".join(sorted(allowed))
            raise HTTPException(405, f"{path} takes {methods}", headers={"Allow": methods})
        raise HTTPException(404, f"there is no {path}; /api/v1/openapi.json lists every call")

    return app
