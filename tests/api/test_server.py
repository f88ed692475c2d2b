"""The whole process: started from the command line on a small real city, asked, and stopped by a signal."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from energy.app import open_service
from energy.domain.city import BOUNDARY
from energy.domain.errors import InputError
from energy.service.cities import init_city
from tests.api.test_calls import DISPATCH, polled

DAY = "2016-06-21"


@dataclass(frozen=True)
class Server:
    process: subprocess.Popen[str]
    client: httpx.Client


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "energy.cli", *arguments]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("cities") / "village"
    init_city(directory, "simbench:1-LV-rural1--2-sw")
    return directory


@pytest.fixture(scope="module")
def server(city: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    port = free_port()
    process = subprocess.Popen(
        command("serve", "--city", str(city), "--port", str(port)),
        env={**os.environ, "WATTSHED_HOME": str(tmp_path_factory.mktemp("server_home"))},
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client:
        until = time.monotonic() + 120
        while True:
            assert process.poll() is None, process.stderr and process.stderr.read()
            assert time.monotonic() < until, "the server does not answer"
            try:
                client.get("/readyz").raise_for_status()
                break
            except httpx.TransportError:
                time.sleep(0.2)
        yield Server(process, client)
    process.kill()
    process.wait()


def test_a_day_is_planned_stored_and_served(server: Server) -> None:
    client = server.client
    (name,) = (city["id"] for city in client.get("/api/v1/cities").json()["cities"])
    here = f"/api/v1/cities/{name}"
    job = client.post(f"{here}/plans", params={"wait": "PT100S"}, json={"day": DAY}).raise_for_status().json()
    assert job["state"] == "succeeded", job
    plan = job["result"]
    assert plan["schema"] == "wattshed.plan/1"
    assert client.get(f"{here}/plans/{DAY}").json() == plan
    assert [listed["day"] for listed in client.get(f"{here}/plans").json()["plans"]] == [DAY]

    span = {"from": f"{DAY}T00:00:00+02:00", "to": "2016-06-22T00:00:00+02:00"}
    carbon = client.get(f"{here}/carbon", params={**span, "resolution": "PT15M"}).raise_for_status().json()
    for district, series in plan["carbon"]["districts"].items():
        assert carbon["districts"][district]["emissions_kg"] == series["emissions_kg"]
    assert client.get(f"{here}/grid", params={"at": f"{DAY}T12:00:00+02:00"}).status_code == 200
    features = client.get(f"{here}/districts").json()["features"]
    drawn = {feature["properties"]["id"] for feature in features}
    assert drawn | {BOUNDARY} == set(plan["carbon"]["districts"])


def test_planning_again_gives_the_same_bytes(server: Server) -> None:
    client = server.client
    (name,) = (city["id"] for city in client.get("/api/v1/cities").json()["cities"])
    here = f"/api/v1/cities/{name}"
    before = client.get(f"{here}/plans/{DAY}").content
    client.post(f"{here}/plans", params={"wait": "PT100S"}, json={"day": DAY}).raise_for_status()
    assert client.get(f"{here}/plans/{DAY}").content == before


def test_the_rest_of_a_day_is_planned_again(server: Server) -> None:
    client = server.client
    (name,) = (city["id"] for city in client.get("/api/v1/cities").json()["cities"])
    here = f"/api/v1/cities/{name}"
    before = client.get(f"{here}/plans/{DAY}").json()
    wanted = {"now": f"{DAY}T10:15:00+02:00", "change_threshold": 0.5}
    accepted = client.post(f"{here}/operations", json=wanted, headers={"Idempotency-Key": "quarter past"})
    assert accepted.status_code == 202
    again = client.post(f"{here}/operations", json=wanted, headers={"Idempotency-Key": "quarter past"})
    assert again.headers["location"] == accepted.headers["location"]
    job = polled(client, accepted.headers["location"], seconds=100)
    assert job["state"] == "succeeded", job
    revision = job["result"]["schedule"]["revision"]
    assert revision["previous_hash"] == before["schedule"]["input_hash"]
    assert (revision["past_steps"], revision["threshold"]) == (41, 0.5)
    assert client.get(f"{here}/plans/{DAY}").json() == job["result"]


def test_the_dashboard_is_served_beside_the_api(server: Server) -> None:
    page = server.client.get("/")
    assert page.headers["content-type"].startswith("text/html")
    policy = page.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.split("script-src")[1].split(";")[0]
    assert "http://" not in page.text.replace("http://www.w3.org", "")
    for path in ("/api/v1/nothing", "/api/nothing"):
        answer = server.client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert server.client.get("/api/v1/carbon/trace").status_code == 405


def test_a_port_that_is_taken_is_refused_before_any_work(server: Server, city: Path) -> None:
    port = server.client.base_url.port
    refused = subprocess.run(
        command("serve", "--city", str(city), "--port", str(port)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert f"127.0.0.1:{port}: cannot be listened on" in refused.stderr


def test_it_stops_on_a_signal_and_leaves_no_child(server: Server) -> None:
    answer = server.client.post("/api/v1/dispatches", params={"wait": "PT60S"}, json=DISPATCH)
    assert answer.json()["state"] == "succeeded"
    server.client.post("/api/v1/dispatches", json=DISPATCH).raise_for_status()
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(timeout=30) == 0
    with pytest.raises(httpx.TransportError):
        server.client.get("/healthz")
    until = time.monotonic() + 10
    while time.monotonic() < until:
        try:
            os.killpg(server.process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("a child process outlives the server")


def test_two_cities_of_one_id_are_refused(city: Path) -> None:
    with pytest.raises(InputError, match="another city's too"):
        open_service([city, city])
