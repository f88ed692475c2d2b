"""Every call of the API on a real server: what it answers, and that every error is problem+json."""

from __future__ import annotations

import json
import threading
import time
from typing import Any

import httpx
import numpy as np
import pytest

from energy.api import reading
from energy.service.dispatch import dispatch_document
from energy.service.ledger import trace_document
from tests.api.conftest import DAYS
from tests.builders import ASSETS, DISTRICTS, plan_of

DISPATCH: dict[str, Any] = {
    "schema": "wattshed.dispatch/1",
    "time": {"start": "2022-08-29T00:00:00Z", "resolution": "PT1H", "steps": 4},
    "connections": [
        {
            "id": "poc",
            "import_limit_kw": 60.0,
            "export_limit_kw": 45.0,
            "import_price_per_mwh": [50, 10, 90, 100],
        }
    ],
    "assets": [
        {"type": "load", "id": "base", "connection": "poc", "p_kw": [5.0, 5.0, 20.0, 20.0]},
        {
            "type": "battery",
            "id": "b1",
            "connection": "poc",
            "charge_max_kw": 10,
            "discharge_max_kw": 10,
            "e_min_kwh": 0,
            "e_max_kwh": 20,
            "e_start_kwh": 0,
            "e_end_min_kwh": 0,
            "charge_efficiency": 0.95,
            "discharge_efficiency": 0.95,
        },
    ],
}
FLOWS: dict[str, Any] = {
    "schema": "wattshed.flows/1",
    "time": {"start": "2016-06-21T00:00:00Z", "resolution": "PT15M", "steps": 1},
    "buses": ["A", "B"],
    "branches": [{"id": "l1", "from": "A", "to": "B", "p_from_mw": [60.0], "p_to_mw": [-59.0]}],
    "sources": [{"id": "G1", "bus": "A", "p_mw": [60.0], "carbon_g_per_kwh": 820.0, "technology": "coal"}],
    "demands": [{"id": "L3", "bus": "B", "p_mw": [59.0], "district": "north"}],
}
CITY = "/api/v1/cities/toy"
DAY = "from=2016-06-21T00:00:00Z&to=2016-06-22T00:00:00Z"


def without_timings(schedule: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schedule.items() if key not in ("build_seconds", "solve_seconds")}


def polled(client: httpx.Client, location: str, seconds: float = 60) -> dict[str, Any]:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        job: dict[str, Any] = client.get(location).raise_for_status().json()
        if job["state"] not in ("queued", "running"):
            return job
        time.sleep(0.05)
    raise AssertionError(f"still {job}")


def test_it_lives_is_ready_and_counts(client: httpx.Client) -> None:
    for path in ("/healthz", "/api/v1/healthz"):
        assert client.get(path).json()["status"] == "ok"
    assert client.get("/readyz").json() == {"status": "ready", "cities": ["toy"]}
    metrics = client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    assert 'wattshed_http_requests_total{method="GET",route="/healthz",status="200"} ' in metrics.text


def test_a_trace_is_answered_at_once(client: httpx.Client) -> None:
    answer = client.post("/api/v1/carbon/trace", json=FLOWS)
    assert answer.status_code == 200
    assert answer.json() == trace_document(FLOWS)
    assert answer.json()["demands"]["L3"]["emissions_kg"][0] == pytest.approx(59 * 0.25 * 820)


def test_a_dispatch_is_accepted_and_then_done(client: httpx.Client) -> None:
    accepted = client.post("/api/v1/dispatches", json=DISPATCH)
    assert accepted.status_code == 202
    assert int(accepted.headers["retry-after"]) >= 1
    job = polled(client, accepted.headers["location"])
    assert (job["state"], job["progress"]) == ("succeeded", 1.0)
    assert without_timings(job["result"]) == without_timings(dispatch_document(DISPATCH))


def test_a_dispatch_that_is_waited_for_is_answered(client: httpx.Client) -> None:
    answer = client.post("/api/v1/dispatches", params={"wait": "PT50S"}, json=DISPATCH)
    assert answer.status_code == 200
    assert answer.json()["state"] == "succeeded"
    assert answer.json()["result"]["status"] == "optimal"


def test_the_same_key_gives_the_same_job(client: httpx.Client) -> None:
    first, again = (
        client.post("/api/v1/dispatches", json=DISPATCH, headers={"Idempotency-Key": "k1"}) for _ in range(2)
    )
    assert first.headers["location"] == again.headers["location"]
    other = client.post(
        "/api/v1/dispatches", json={**DISPATCH, "name": "other"}, headers={"Idempotency-Key": "k1"}
    )
    assert other.status_code == 422
    assert "another request" in other.json()["errors"][0]["detail"]


def test_a_cancelled_dispatch_stays_cancelled(client: httpx.Client) -> None:
    location = client.post("/api/v1/dispatches", json=DISPATCH).headers["location"]
    cancelled = client.delete(location).raise_for_status().json()
    assert cancelled["state"] in ("cancelled", "succeeded")
    assert client.get(location).json()["state"] == cancelled["state"]


def test_every_fault_of_a_dispatch_is_named(client: httpx.Client) -> None:
    broken = json.loads(json.dumps(DISPATCH))
    broken["assets"][0]["p_kw"] = [1.0]
    broken["assets"][1]["charge_efficiency"] = 1.5
    answer = client.post("/api/v1/dispatches", json=broken)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert {fault["path"] for fault in answer.json()["errors"]} == {
        "assets[0].p_kw",
        "assets[1].charge_efficiency",
    }


def test_a_dispatch_follows_on_the_schedule_in_its_body(client: httpx.Client) -> None:
    first = dispatch_document(DISPATCH)
    later = {**DISPATCH, "options": {"now": "2022-08-29T01:00:00Z", "change_threshold": 1.0}}
    body = {**later, "previous": first}
    answer = client.post("/api/v1/dispatches", params={"wait": "PT50S"}, json=body)
    assert answer.status_code == 200
    result = answer.json()["result"]
    assert without_timings(result) == without_timings(dispatch_document(later, previous=first))
    assert result["revision"]["previous_hash"] == first["input_hash"]
    assert (result["revision"]["past_steps"], result["revision"]["threshold"]) == (1, 1.0)
    # without one, null stands for nothing
    nothing = client.post("/api/v1/dispatches", params={"wait": "PT50S"}, json={**DISPATCH, "previous": None})
    assert "revision" not in nothing.json()["result"]


def test_the_key_of_a_dispatch_is_that_of_problem_and_previous(client: httpx.Client) -> None:
    first, key = dispatch_document(DISPATCH), {"Idempotency-Key": "followed"}
    jobs = [
        client.post("/api/v1/dispatches", json={**DISPATCH, "previous": first}, headers=key) for _ in range(2)
    ]
    assert jobs[0].headers["location"] == jobs[1].headers["location"]
    assert client.post("/api/v1/dispatches", json=DISPATCH, headers=key).status_code == 422


def test_a_previous_schedule_that_does_not_fit_is_refused_at_once(client: httpx.Client) -> None:
    first = dispatch_document(DISPATCH)
    broken = json.loads(json.dumps(first))
    broken["assets"]["b1"]["p_kw"] = [0.0]
    problem = json.loads(json.dumps(DISPATCH))
    problem["assets"][0]["p_kw"] = [1.0]
    moved = {**first, "time": {**first["time"], "start": "2022-09-29T00:00:00Z"}}
    for body, paths in (
        ({**problem, "previous": broken}, {"assets[0].p_kw", "previous.assets.b1.p_kw"}),
        ({**DISPATCH, "previous": moved}, {"previous.time"}),
        ({**DISPATCH, "previous": 1}, {"previous"}),
        ({**DISPATCH, "options": {"now": "2022-08-29T01:00:00Z"}}, {"options.now"}),
    ):
        answer = client.post("/api/v1/dispatches", json=body)
        assert answer.status_code == 422, answer.text
        assert {fault["path"] for fault in answer.json()["errors"]} == paths


def test_the_cities_and_their_districts_are_listed(client: httpx.Client) -> None:
    listed = client.get("/api/v1/cities").json()
    assert [city["id"] for city in listed["cities"]] == ["toy"]
    assert listed["next"] is None
    districts = client.get(f"{CITY}/districts")
    assert districts.headers["content-type"] == "application/geo+json"
    assert districts.json()["type"] == "FeatureCollection"
    assert {feature["properties"]["id"] for feature in districts.json()["features"]} == set(DISTRICTS)


def test_pages_of_plans_are_complete_and_never_overlap(client: httpx.Client) -> None:
    seen, after = [], None
    for _ in range(3):
        page = client.get(f"{CITY}/plans", params={"limit": 1} | ({"after": after} if after else {})).json()
        seen += [plan["day"] for plan in page["plans"]]
        after = page["next"]
    assert (tuple(seen), after) == (DAYS, None)


def test_a_stored_plan_is_served_as_it_is_and_not_twice(client: httpx.Client) -> None:
    first = client.get(f"{CITY}/plans/2016-06-21")
    assert first.json() == plan_of("2016-06-21").document
    again = client.get(f"{CITY}/plans/2016-06-21", headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_carbon_is_that_of_the_stored_plans(client: httpx.Client) -> None:
    span = {"from": "2016-06-21T00:00:00+02:00", "to": "2016-06-22T00:00:00+02:00"}
    carbon = client.get(f"{CITY}/carbon", params=span).raise_for_status().json()
    plan = plan_of("2016-06-21")
    for column, district in enumerate(DISTRICTS):
        energy = plan.tables["planned.district.energy_mwh"].values[:, column].reshape(24, 4).sum(axis=1)
        np.testing.assert_allclose(carbon["districts"][district]["energy_mwh"], energy)
        emissions = plan.tables["planned.district.emissions_kg"].values[:, column].reshape(24, 4).sum(axis=1)
        np.testing.assert_allclose(carbon["districts"][district]["emissions_kg"], emissions)


def test_a_schedule_is_that_of_the_asset(client: httpx.Client) -> None:
    for column, asset in enumerate(ASSETS):
        span = {"from": "2016-06-21T00:00:00+02:00", "to": "2016-06-22T00:00:00+02:00"}
        schedule = client.get(f"{CITY}/schedules/{asset}", params=span).raise_for_status().json()
        planned = plan_of("2016-06-21").tables["planned.asset_p_kw"].values[:, column]
        np.testing.assert_allclose(schedule["p_kw"], planned)
    last = client.get(f"{CITY}/schedules/pv").raise_for_status().json()
    assert (last["time"]["start"], last["time"]["steps"]) == ("2016-06-21T22:00:00Z", 96)


ERRORS = [
    ("GET", "/api/v1/nothing", {}, 404, []),
    ("GET", "/api/nothing/at/all", {}, 404, []),
    ("GET", "/nothing", {}, 404, []),
    ("GET", "/api/v1/carbon/trace", {}, 405, []),
    ("PUT", "/api/v1/dispatches", {}, 405, []),
    ("GET", "/api/v1/dispatches/none", {}, 404, []),
    ("DELETE", "/api/v1/dispatches/none", {}, 404, []),
    ("POST", "/api/v1/carbon/trace", {"content": b'{"a": NaN}'}, 400, ["body"]),
    ("POST", "/api/v1/carbon/trace", {"content": b'{"a": 1, "a": 2}'}, 400, ["body"]),
    ("POST", "/api/v1/carbon/trace", {"content": b'{"a": 1e999}'}, 400, ["body"]),
    ("POST", "/api/v1/carbon/trace", {"content": b'{"a": "\xff"}'}, 400, ["body"]),
    ("POST", "/api/v1/carbon/trace", {"content": b'{"schema": "wattshed.fl'}, 400, ["body"]),
    ("POST", "/api/v1/carbon/trace", {"content": b""}, 400, ["body"]),
    ("POST", "/api/v1/carbon/trace", {"content": b"[" * 100_000}, 400, ["body"]),
    ("POST", "/api/v1/carbon/trace", {"content": b"[1]"}, 422, None),
    ("POST", "/api/v1/dispatches", {"content": b"{}"}, 422, None),
    ("POST", "/api/v1/dispatches?wait=20", {"json": DISPATCH}, 422, ["query.wait"]),
    ("POST", "/api/v1/dispatches?wiat=PT20S", {"json": DISPATCH}, 422, ["query.wiat"]),
    ("POST", f"{CITY}/plans", {"json": {"day": "2016-06-31"}}, 422, ["day"]),
    ("POST", f"{CITY}/plans", {"json": {"day": "2019-01-01"}}, 422, ["day"]),
    ("POST", f"{CITY}/plans", {"json": {"information": "none"}}, 422, ["day", "information"]),
    ("POST", "/api/v1/cities/tooy/plans", {"json": {"day": "2016-06-21"}}, 404, []),
    ("POST", f"{CITY}/operations", {"json": {"now": "2016-01-21T12:00:00Z"}}, 404, []),
    ("POST", "/api/v1/cities/tooy/operations", {"json": {"now": "2016-06-21T12:00:00Z"}}, 404, []),
    ("POST", f"{CITY}/operations", {"json": {"now": "2016-06-21T12:00:00"}}, 422, ["now"]),
    (
        "POST",
        f"{CITY}/operations",
        {"json": {"information": "none", "change_threshold": -1, "then": 0}},
        422,
        ["now", "information", "change_threshold", "then"],
    ),
    ("GET", "/api/v1/cities/tooy/districts", {}, 404, []),
    ("GET", "/api/v1/cities/tooy/plans", {}, 404, []),
    ("GET", f"{CITY}/plans?limit=0", {}, 422, ["query.limit"]),
    ("GET", f"{CITY}/plans?page=2", {}, 422, ["query.page"]),
    ("GET", f"{CITY}/plans/2016-01-01", {}, 404, []),
    ("GET", f"{CITY}/plans/yesterday", {}, 422, ["path.day"]),
    ("GET", f"{CITY}/carbon", {}, 422, ["query.from", "query.to"]),
    ("GET", f"{CITY}/carbon?from=2016-06-21T00:00:00&to=2016-06-22T00:00:00Z", {}, 422, ["query.from"]),
    ("GET", f"{CITY}/carbon?from=2016-06-21T00:00:00+02:00&to=2016-06-22T00:00:00Z", {}, 422, ["query.from"]),
    ("GET", f"{CITY}/carbon?from=2016-06-22T00:00:00Z&to=2016-06-21T00:00:00Z", {}, 422, ["query"]),
    (
        "GET",
        f"{CITY}/carbon?{DAY}&resolution=PT0S&ledger=x",
        {},
        422,
        ["query.resolution", "query.ledger"],
    ),
    (
        "GET",
        f"{CITY}/carbon?{DAY}&resolution=PT7M",
        {},
        422,
        ["to"],
    ),
    ("GET", f"{CITY}/grid", {}, 422, ["query.at"]),
    ("GET", f"{CITY}/grid?at=2016-06-21T12:00:00", {}, 422, ["query.at"]),
    ("GET", f"{CITY}/grid?at=0001-01-01T00:00:00%2B14:00", {}, 422, ["query.at"]),
    ("GET", f"{CITY}/grid?at=9999-12-31T23:59:59Z", {}, 422, ["query.at"]),
    ("POST", "/api/v1/dispatches?wait=P99999999999999D", {"json": DISPATCH}, 422, ["query.wait"]),
    ("GET", f"{CITY}/grid?at=2016-01-21T12:00:00Z", {}, 404, []),
    ("GET", f"{CITY}/schedules/pv?from=2016-06-21T00:00:00Z", {}, 422, ["query"]),
    ("GET", f"{CITY}/schedules/pv?from=2000-01-01T00:00:00Z&to=2016-06-21T00:00:00Z", {}, 422, ["query"]),
    ("GET", f"{CITY}/schedules/nobody?from=2016-06-21T00:00:00Z&to=2016-06-21T12:00:00Z", {}, 404, []),
]


@pytest.mark.parametrize(
    ("method", "path", "request_", "status", "paths"), ERRORS, ids=[f"{e[0]} {e[1]}" for e in ERRORS]
)
def test_every_error_is_a_problem_with_all_faults(
    client: httpx.Client,
    method: str,
    path: str,
    request_: dict[str, Any],
    status: int,
    paths: list[str] | None,
) -> None:
    answer = client.request(method, path, **request_)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem.keys() == {"type", "title", "status", "detail", "errors"}
    assert problem["detail"]
    if paths is not None:
        assert [fault["path"] for fault in problem["errors"]] == paths
    assert all(fault["detail"] for fault in problem["errors"])


def test_a_405_says_what_is_allowed(client: httpx.Client) -> None:
    assert client.get("/api/v1/carbon/trace").headers["allow"] == "POST"


def test_a_body_that_is_too_large_is_refused(client: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "MAX_BODY_BYTES", 1000)
    answer = client.post("/api/v1/carbon/trace", content=(b" " * 600 for _ in range(2)))
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_heavy_work_does_not_hold_up_others(client: httpx.Client) -> None:
    steps = 1000
    flows = json.loads(json.dumps(FLOWS))
    flows["time"]["steps"] = steps
    for table in ("branches", "sources", "demands"):
        for name, values in flows[table][0].items():
            if isinstance(values, list):
                flows[table][0][name] = values * steps
    slow = threading.Thread(target=client.post, args=("/api/v1/carbon/trace",), kwargs={"json": flows})
    slow.start()
    waits = []
    while slow.is_alive():
        started = time.perf_counter()
        client.get("/healthz").raise_for_status()
        waits.append(time.perf_counter() - started)
        time.sleep(0.02)
    assert len(waits) > 1
    assert np.median(waits) < 0.25


def test_the_openapi_document_has_the_real_schemas(client: httpx.Client) -> None:
    document = client.get("/api/v1/openapi.json").raise_for_status().json()
    assert {
        "/healthz",
        "/readyz",
        "/metrics",
        "/api/v1/carbon/trace",
        "/api/v1/dispatches",
        "/api/v1/dispatches/{job_id}",
        "/api/v1/cities",
        "/api/v1/cities/{city}/districts",
        "/api/v1/cities/{city}/plans",
        "/api/v1/cities/{city}/plans/{day}",
        "/api/v1/cities/{city}/operations",
        "/api/v1/cities/{city}/carbon",
        "/api/v1/cities/{city}/grid",
        "/api/v1/cities/{city}/schedules/{asset}",
        "/api/v1/cities/{city}/inventory",
        "/api/v1/reports",
        "/api/v1/cities/{city}/reports",
        "/api/v1/cities/{city}/reports/{name}",
        "/api/v1/cities/{city}/figures/{figure}",
    } <= document["paths"].keys()
    schemas = document["components"]["schemas"]
    assert "connections" in schemas["dispatch"]["properties"]
    assert schemas["dispatch_request"]["properties"].keys() - schemas["dispatch"]["properties"].keys() == {
        "previous"
    }
    body = document["paths"]["/api/v1/cities/{city}/inventory"]["put"]["requestBody"]["content"]
    assert body.keys() == {"application/json", "text/csv"}
    text = json.dumps(document)
    references = {part.split('"')[0] for part in text.split('"$ref": "')[1:]}
    assert references
    assert all(reference.removeprefix("#/components/schemas/") in schemas for reference in references), (
        references
    )
    assert "#/$defs/" not in text
