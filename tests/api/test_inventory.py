"""Entries over HTTP on a real server: as JSON and as CSV, every fault named, nobody overwritten."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from energy.carbon.inventory_entries import InventoryEntry
from energy.service.cities import reference_city_directory
from energy.service.inventory import InventoryDocument
from energy.service.service import Service
from energy.store import Store
from tests.builders import GAS, city_of

HERE = "/api/v1/cities/toy/inventory"
EXAMPLE = (Path(__file__).parents[2] / "docs" / "examples" / "inventory.csv").read_bytes()
CSV = {"Content-Type": "text/csv; charset=utf-8"}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Service:
    folder = tmp_path_factory.mktemp("entries")
    store = Store.open(f"sqlite:///{folder / 'store.db'}")
    own = folder / "toy"
    own.mkdir()
    return Service(
        store, [city_of(), city_of("built-in")], {"toy": own, "built-in": reference_city_directory()}
    )


@pytest.fixture(autouse=True)
def empty(client: httpx.Client) -> None:
    client.put(HERE, params={"replace": "all"}, json={"rows": []}).raise_for_status()


def refused(answer: httpx.Response, status: int) -> list[tuple[str, str]]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    return [(fault["path"], fault["detail"]) for fault in answer.json()["errors"]]


def test_entries_are_put_as_csv_or_json_and_read_as_both(client: httpx.Client) -> None:
    made = client.put(HERE, content=EXAMPLE, headers=CSV).raise_for_status()
    read = client.get(HERE)
    assert read.content == made.content
    assert read.headers["etag"] == made.headers["etag"]
    assert client.get(HERE, headers={"If-None-Match": read.headers["etag"]}).status_code == 304
    document = InventoryDocument.model_validate(read.json(), strict=False)
    assert [row.reference for row in document.rows] == [
        line.split(b",")[0].decode() for line in EXAMPLE.splitlines()[1:]
    ]
    again = client.put(HERE, params={"replace": "all"}, json={"rows": read.json()["rows"]}).raise_for_status()
    assert again.json() == read.json()
    table = client.get(HERE, params={"format": "csv"})
    assert table.headers["content-type"] == "text/csv; charset=utf-8"
    assert 'filename="toy-inventory.csv"' in table.headers["content-disposition"]
    assert table.text.splitlines()[0] == ",".join(InventoryEntry.model_fields)
    assert client.put(HERE, content=table.content, headers=CSV).json() == read.json()


def test_other_years_stay_unless_all_are_replaced(client: httpx.Client) -> None:
    client.put(HERE, json={"rows": [GAS]}).raise_for_status()
    later = client.put(HERE, json={"rows": [{**GAS, "year": 2017}]}).json()
    assert [row["year"] for row in later["rows"]] == [2016, 2017]
    last = client.put(HERE, params={"replace": "all"}, json={"rows": [{**GAS, "year": 2018}]}).json()
    assert [row["year"] for row in last["rows"]] == [2018]


def test_every_fault_of_every_row_comes_at_once(client: httpx.Client) -> None:
    before = client.put(HERE, json={"rows": [GAS]}).json()
    rows = [
        {**GAS, "amount": -1, "factor": "much"},
        {**GAS, "reference": "I.1.9"},
        {**GAS, "reference": "I.6.2", "carrier": "electricity"},
        {"reference": "II.2.1", "notation": "NO", "tonnes": 1, "colour": "red"},
        {"reference": "II.3.1", "notation": "IE"},
    ]
    found = refused(client.put(HERE, json={"rows": rows}), 422)
    assert [path for path, _ in found] == [
        "rows[0].amount", "rows[0].factor", "rows[1].reference", "rows[2].reference", "rows[3].colour",
        "rows[4].explanation",
    ]  # fmt: skip
    assert "count it twice" in found[3][1]
    text = "reference,tonnes\nI.1.1,much\nI.9.9,2\n"
    paths = [path for path, _ in refused(client.put(HERE, content=text, headers=CSV), 422)]
    assert paths[:2] == ["inventory.csv: line 2, tonnes", "inventory.csv: line 3, reference"]
    assert client.get(HERE).json() == before


@pytest.mark.parametrize(
    ("content", "kind", "status", "message"),
    [
        (b'{"rows": [{"amount": NaN}]}', "application/json", 400, "NaN is not JSON"),
        (b'{"rows": [', "application/json", 400, "looks truncated"),
        ("reference,説明\n".encode("cp932"), "text/csv", 400, "is not UTF-8 at byte 10; save it as UTF-8"),
        (b"reference,tons\n", "text/csv", 422, "did you mean 'tonnes'?"),
        (b'{"row": []}', "application/json", 422, "did you mean 'rows'?"),
        (b'{"rows": []}', "application/json", 422, "names no year"),
        (b"<rows/>", "application/xml", 415, "send application/json or text/csv"),
    ],
)
def test_what_is_no_table_is_refused(
    client: httpx.Client, content: bytes, kind: str, status: int, message: str
) -> None:
    answer = client.put(HERE, content=content, headers={"Content-Type": kind})
    refused(answer, status)
    assert message in answer.json()["detail"]


def test_who_edits_what_another_changed_is_told(client: httpx.Client) -> None:
    first = client.put(HERE, json={"rows": [GAS]}).headers["etag"]
    second = client.put(HERE, json={"rows": [{**GAS, "year": 2017}]}, headers={"If-Match": first})
    assert second.status_code == 200
    late = client.put(HERE, json={"rows": [{**GAS, "year": 2018}]}, headers={"If-Match": first})
    refused(late, 412)
    assert client.get(HERE).json() == second.json()


def test_a_built_in_city_takes_no_entries(client: httpx.Client) -> None:
    answer = client.put("/api/v1/cities/built-in/inventory", json={"rows": [GAS]})
    refused(answer, 403)
    assert "is built in and takes no entries; serve a copy" in answer.json()["detail"]
    assert client.get("/api/v1/cities/built-in/inventory").json()["rows"] == []
    assert "built in" in client.get("/api/v1/cities/built-in/inventory").json()["read_only"]
    refused(client.get("/api/v1/cities/nowhere/inventory"), 404)
