"""Reports over HTTP on a real server: made, listed, read in every format, approved, published, explained."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from typing import Any

import httpx
import pytest
from pydantic import TypeAdapter

from energy.domain.city import City
from energy.domain.errors import UnknownError
from energy.domain.period import Period
from energy.domain.report import figure_id
from energy.domain.report_document import report_document
from energy.feeds.documents import json_bytes
from energy.feeds.factors import load_factors
from energy.feeds.officer import OfficerInputs
from energy.service.period import days_of
from energy.service.report_documents import FigureExplained, ReportDocument, ReportVersion
from energy.service.reports.desk import Desk
from energy.service.reports.registry import reports
from energy.service.service import Service
from energy.store import Store
from tests.api.conftest import DAYS
from tests.api.test_calls import polled
from tests.builders import city_of
from tests.carbon.periods import build


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    """A city with the accounts of a random period in June 2016, and nothing before."""

    def load(city: City, label: str, information: str) -> Period:
        first, last = days_of(label)
        if first.year != 2016:
            raise UnknownError(f"{city.id} has no stored day in {label} with {information} information")
        return replace(build(7, first, (last - first).days + 1), city=city.id, label=label)

    store = Store.open(f"sqlite:///{tmp_path_factory.mktemp('reports') / 'store.db'}")
    service = Service(store, [replace(city_of(), grid_zone="DE")])
    desk = Desk(store.reports, load, lambda _: OfficerInputs(), lambda _: load_factors(), store.runs)
    service.__dict__["reports"] = desk  # in place of the one over the store's days
    return service


HERE = "/api/v1/cities/toy/reports"
NAME = "district-carbon"


def make(client: httpx.Client, period: str, **body: Any) -> dict[str, Any]:
    answer = client.post(HERE, params={"wait": "PT60S"}, json={"name": NAME, "period": period, **body})
    job: dict[str, Any] = answer.raise_for_status().json()
    assert (job["kind"], job["state"]) == ("report", "succeeded"), job
    ReportVersion.model_validate(job["result"])
    version: dict[str, Any] = job["result"]
    return version


def read(client: httpx.Client, period: str, **query: Any) -> httpx.Response:
    return client.get(f"{HERE}/{NAME}", params={"period": period, **query})


def faults(answer: httpx.Response, status: int) -> list[str]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return [fault["path"] for fault in answer.json()["errors"]]


def test_every_registered_report_is_listed_with_its_choices(client: httpx.Client) -> None:
    listed = client.get("/api/v1/reports").json()["reports"]
    assert [kind["name"] for kind in listed] == list(reports())
    district = next(kind for kind in listed if kind["name"] == NAME)
    (choice,) = [choice for choice in district["choices"] if choice["name"] == "resolution"]
    assert choice["default"] in choice["values"]
    assert set(choice["title"]) == {"en", "ja"}


def test_a_report_is_made_as_a_job_and_kept_once(client: httpx.Client) -> None:
    accepted = client.post(HERE, json={"name": NAME, "period": DAYS[0]})
    assert accepted.status_code == 202
    job = polled(client, accepted.headers["location"])
    assert (job["state"], job["result"]["version"], job["result"]["state"]) == ("succeeded", 1, "draft")
    assert make(client, DAYS[0]) == job["result"], "the same inputs are no new version"
    assert client.delete(accepted.headers["location"]).json()["state"] == "succeeded"


def test_a_version_is_read_as_it_was_made_in_every_format(client: httpx.Client, service: Service) -> None:
    period = f"{DAYS[0]}/{DAYS[-1]}"
    version = make(client, period, settings={"resolution": "hour"})
    variant = version["variant"]
    assert variant == "resolution=hour"
    answer = read(client, period, variant=variant)
    ReportDocument.model_validate(answer.json())
    again = read(client, period, variant=variant, version=1)
    assert again.content == answer.content
    report, _ = service.reports.make(service.city("toy"), NAME, period, choices={"resolution": "hour"})
    assert answer.content == json_bytes(report_document(report))
    tag = {"If-None-Match": answer.headers["etag"]}
    assert client.get(answer.url, headers=tag).status_code == 304
    pdf = read(client, period, variant=variant, format="pdf", language="ja")
    assert (pdf.headers["content-type"], pdf.content[:5]) == ("application/pdf", b"%PDF-")
    assert f"{DAYS[0]}_{DAYS[-1]}-v1.pdf" in pdf.headers["content-disposition"]
    book = read(client, period, variant=variant, format="xlsx")
    assert "xl/workbook.xml" in zipfile.ZipFile(io.BytesIO(book.content)).namelist()
    packed = read(client, period, variant=variant, format="zip")
    names = zipfile.ZipFile(io.BytesIO(packed.content)).namelist()
    first = read(client, period, variant=variant, format="csv")
    assert first.headers["content-type"] == "text/csv; charset=utf-8"
    assert any(name.endswith(".csv") for name in names)


def test_a_version_is_approved_then_published_and_then_stands(client: httpx.Client) -> None:
    make(client, DAYS[1])
    body = {"period": DAYS[1], "version": 1}
    assert faults(client.post(f"{HERE}/{NAME}/publish", json=body), 422)
    assert faults(client.post(f"{HERE}/{NAME}/approve", json={**body, "by": " "}), 422) == ["by"]
    approved = client.post(f"{HERE}/{NAME}/approve", json={**body, "by": "N. N."}).raise_for_status().json()
    assert (approved["state"], approved["approved_by"]) == ("approved", "N. N.")
    published = client.post(f"{HERE}/{NAME}/publish", json=body).raise_for_status().json()
    ReportVersion.model_validate(published)
    assert published["state"] == "published"
    assert faults(client.post(f"{HERE}/{NAME}/approve", json={**body, "by": "N. N."}), 422)
    same = client.get(f"{HERE}/{NAME}/diff", params={"period": DAYS[1], "first": 1, "second": 1})
    assert same.json() == {"changes": []}


def test_pages_of_versions_are_complete_and_never_overlap(client: httpx.Client) -> None:
    for day in DAYS:
        make(client, day)
    everything = client.get(HERE).json()["reports"]
    TypeAdapter(list[ReportVersion]).validate_python(everything)
    seen, after = [], None
    while True:
        page = client.get(HERE, params={"limit": 2} | ({"after": after} if after else {})).json()
        seen += page["reports"]
        after = page["next"]
        if after is None:
            break
    assert seen == everything
    assert {item["period"] for item in seen} >= set(DAYS)


def test_a_figure_is_explained_down_to_its_runs(client: httpx.Client) -> None:
    make(client, DAYS[0])
    document = read(client, DAYS[0]).json()
    content = next(
        item["content"]
        for item in client.get(HERE).json()["reports"]
        if (item["name"], item["period"], item["variant"]) == (NAME, DAYS[0], "")
    )
    key = next(key for key, figure in document["figures"].items() if figure.get("parts"))
    found = client.get(f"/api/v1/cities/toy/figures/{figure_id('toy', NAME, DAYS[0], key, content)}")
    tree = found.raise_for_status().json()
    FigureExplained.model_validate(tree)
    assert tree["figure"]["key"] == key
    assert tree["figure"]["value"] == document["figures"][key].get("value")
    assert [part["key"] for part in tree["figure"]["parts"]] == document["figures"][key]["parts"]
    assert [run["day"] for run in tree["runs"]] == [DAYS[0]]


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ({"name": "district-carbn", "period": DAYS[0]}, ["report"]),
        ({"name": NAME, "period": "June"}, ["period"]),
        ({"name": NAME, "period": DAYS[0], "information": "none"}, ["information"]),
        (
            {"name": NAME, "period": DAYS[0], "settings": {"resolution": "week", "colour": "red"}},
            ["settings.colour", "settings.resolution"],
        ),
        ({"period": 3, "extra": 1}, ["extra", "name", "period"]),
        ({"name": "district-carbn", "period": "June"}, ["period", "report"]),
        ({"name": "district-carbn", "period": "June", "extra": 1}, ["extra", "period", "report"]),
        (
            {"name": NAME, "information": 1, "settings": {"resolution": 5, "colour": "red"}},
            ["information", "period", "settings.colour", "settings.resolution"],
        ),
    ],
)
def test_every_fault_of_a_request_is_named(client: httpx.Client, body: Any, paths: list[str]) -> None:
    assert sorted(faults(client.post(HERE, json=body), 422)) == paths


def test_what_is_not_there_is_not_found(client: httpx.Client) -> None:
    make(client, DAYS[0])
    for path in (
        "/api/v1/cities/nowhere/reports",
        f"{HERE}/{NAME}?period=2015",
        f"{HERE}/nothing?period={DAYS[0]}",
        f"{HERE}/{NAME}?period={DAYS[0]}&version=99",
        "/api/v1/cities/toy/figures/fig-0",
        "/api/v1/reports/0",
    ):
        assert faults(client.get(path), 404) == [], path
    assert faults(client.get(f"{HERE}/{NAME}?period={DAYS[0]}&format=docx"), 422) == ["query.format"]
    assert faults(client.get(f"{HERE}/{NAME}"), 422) == ["query.period"]


def test_a_period_without_a_stored_day_fails_and_says_what_to_do(client: httpx.Client) -> None:
    answer = client.post(HERE, params={"wait": "PT60S"}, json={"name": NAME, "period": "2015"})
    job = answer.raise_for_status().json()
    assert job["state"] == "failed"
    assert "no stored day" in job["error"]["detail"]
