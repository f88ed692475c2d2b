"""A real server on a free port over a real store, for one test module."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import httpx
import pytest
import uvicorn

from energy.api.application import create_api
from energy.service.service import Service
from energy.store import Store
from tests.builders import accounts_of, carry_of, city_of, plan_of, run_of

DAYS = ("2016-06-20", "2016-06-21", "2016-06-22")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.db'}")
    for day in DAYS:
        plan = plan_of(day)
        store.save_plan(plan, run_of(plan), carry_of(plan), accounts_of(plan))
    return Service(store, [city_of()])


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(create_api(service), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    with httpx.Client(base_url=f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=60) as opened:
        yield opened
    server.should_exit = True
    thread.join(timeout=30)
    assert not thread.is_alive(), "the server did not stop"
