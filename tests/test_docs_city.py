"""Every key of the documents stands in the page about them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from energy.service.schemas import json_schema

DOCS = Path(__file__).parent.parent / "docs"


def _keys(schema: Any) -> set[str]:
    """The property names anywhere in a JSON schema."""
    if isinstance(schema, list):
        return set().union(*map(_keys, schema)) if schema else set()
    if not isinstance(schema, dict):
        return set()
    own = set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set()
    return own.union(*map(_keys, schema.values())) if schema else own


@pytest.mark.parametrize(
    ("page", "document"),
    [
        ("city.md", "city"),
        ("dispatch.md", "dispatch"),
        ("dispatch.md", "schedule"),
        ("carbon.md", "flows"),
        ("carbon.md", "trace"),
        ("carbon.md", "tank"),
        ("factors.md", "series"),
    ],
)
def test_every_key_is_documented(page: str, document: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    marked = {word for span in re.findall(r"`([^`\n]+)`", text) for word in re.findall(r"\w+", span)}
    keys = _keys(json_schema(document))
    assert keys, document
    assert sorted(keys - marked) == []


def test_every_section_of_a_city_has_a_table_of_its_own_keys() -> None:
    """A key that occurs in two sections must stand in the tables of both."""
    schema = json_schema("city")
    text = (DOCS / "city.md").read_text(encoding="utf-8")
    table = re.compile(r"^\| `(\S+|\[top level\])` \| default.*\n((?:\|.*\n)+)", re.MULTILINE)
    tables = {
        heading: set(re.findall(r"\w+", " ".join(re.findall(r"^\| (`.*?`) \|", body, re.MULTILINE))))
        for heading, body in table.findall(text)
    }
    for model, heading in {
        "CitySection": "[city]",
        "Period": "[period]",
        "GridSection": "[grid]",
        "TwinSection": "[twin]",
        "LimitsSection": "[limits]",
        "DistrictsSection": "[districts]",
        "FactorsSection": "[factors]",
        "CarbonSection": "[carbon]",
        "SeriesSource": "[[profiles]]",
        "AssetsSection": "[assets]",
        "ScaleRule": "[[assets.scale]]",
        "UnitEntry": "[[assets.units]]",
        "BatteryRules": "[assets.battery]",
        "MarketSection": "[market]",
        "UpstreamSection": "[upstream]",
        "MeritOrder": "[upstream.merit_order]",
        "EvSection": "[ev]",
        "Fleet": "[[ev.fleets]]",
        "Sites": "at",
        "Roster": "[[ev.fleets.timetable]]",
    }.items():
        assert tables[heading] == set(schema["$defs"][model]["properties"]), heading
