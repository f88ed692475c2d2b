"""The composition root: settings, store, service; one ASGI process with API and dashboard.

Settings come from the environment: ``WATTSHED_HOME`` is the folder of store and cache (default: the
platform's folder for user data), ``DATABASE_URL`` the store (default: SQLite in that folder).
"""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from energy.domain.errors import Fault, InputError
from energy.domain.progress import Progress, silent
from energy.feeds.city_cache import home
from energy.service.cities import open_city, reference_city_directory
from energy.service.service import Service
from energy.store import Store

if TYPE_CHECKING:
    from fastapi import FastAPI

DEMO_DAY = "2016-05-22"
"""A spring Sunday: without control the PV of the LV grid lifts its voltage above the limit at noon."""
SHUTDOWN_SECONDS = 5
"""How long requests may take to finish once the server was told to stop."""


def open_service(cities: Sequence[Path], *, progress: Progress = silent) -> Service:
    """The service over the cities of these directories, prepared where needed, and the store.

    Raises `InputError` for the faults of a city or an id that two of them share, `StoreError` for the
    store.
    """
    store = Store.open(os.environ.get("DATABASE_URL") or f"sqlite:///{home() / 'store.db'}")
    opened = []
    for number, directory in enumerate(cities):

        def part(fraction: float, message: str, done: int = number) -> None:
            progress((done + fraction) / len(cities), message)

        opened.append(open_city(directory, part))
    ids = [city.id for city in opened]
    faults = [
        Fault(str(directory), f"its id {city.id!r} is another city's too; change [city] id in city.toml")
        for number, (directory, city) in enumerate(zip(cities, opened, strict=True))
        if city.id in ids[:number]
    ]
    if faults:
        raise InputError(faults)
    return Service(store, opened, dict(zip(ids, cities, strict=True)))


def build_app(service: Service) -> FastAPI:
    """The ASGI application: API and dashboard, behind strict security headers."""
    from dashboard.app import content_security_policy, create_dashboard
    from energy.api.application import create_api
    from energy.api.headers import SecurityHeaders

    app = create_api(service)
    dashboard = create_dashboard(service, server=app)
    app.add_middleware(SecurityHeaders, policy=content_security_policy(dashboard))
    return app


def run_server(cities: Sequence[Path], *, host: str, port: int, progress: Progress = silent) -> None:
    """Serve API and dashboard for these cities until SIGINT or SIGTERM."""
    with _listening(host, port) as listener:
        _serve(open_service(cities, progress=progress), listener, progress)


def run_demo(*, port: int, progress: Progress = silent) -> None:
    """Prepare the reference city, plan `DEMO_DAY` unless that is stored, and serve until stopped."""
    with _listening("127.0.0.1", port) as listener:
        service = open_service([reference_city_directory()], progress=progress)
        (city,) = service.city_ids()
        if service.stored_plan(city, DEMO_DAY) is None:
            service.plan(city, DEMO_DAY, progress=progress)
        _serve(service, listener, progress)


def _listening(host: str, port: int) -> socket.socket:
    """A socket bound to the address, before any work is done for it; `InputError` where it is taken."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise InputError(
            Fault(
                f"{host}:{port}",
                f"cannot be listened on ({error.strerror}); stop what uses it, or give another --host or "
                "--port (make demo PORT=9000)",
            )
        ) from None
    return listener


def _serve(service: Service, listener: socket.socket, progress: Progress) -> None:
    import uvicorn

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    progress(1.0, "starting the server")
    service.begin()
    server = uvicorn.Server(
        uvicorn.Config(
            build_app(service),
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        )
    )
    host, port = listener.getsockname()[:2]
    sys.stderr.write(f"Wattshed serves http://{host}:{port} until stopped (Ctrl-C)\n")
    sys.stderr.flush()
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
