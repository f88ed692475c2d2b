"""``city.toml``: the reference city's is valid, and what is wrong is named where it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from energy.domain.errors import InputError
from energy.feeds.charging import read_distributions
from energy.feeds.city import CityDocument, read_city_document
from energy.service.cities import reference_city_directory

REFERENCE = reference_city_directory()


def faults(tmp_path: Path, old: str, new: str) -> str:
    text = (REFERENCE / "city.toml").read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "city.toml").write_text(text.replace(old, new), encoding="utf-8")
    with pytest.raises(InputError) as refused:
        read_city_document(tmp_path)
    return str(refused.value)


def test_the_reference_city_reads_and_every_section_has_a_schema() -> None:
    document = read_city_document(REFERENCE)
    assert document.city.id == "reference"
    assert document.ev is not None
    assert sum(fleet.vehicles for fleet in document.ev.fleets) == 600
    schema = CityDocument.model_json_schema()
    assert {"city", "period", "grid", "districts", "market", "upstream"} <= set(schema["required"])
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"Europe/Berlin"', '"Berlin"', "city.toml: city.time_zone: 'Berlin' is not a time zone"),
        ('id = "reference"', 'id = "The City"', "is not an id"),
        ("vm_min_pu = 0.95", "vm_min_pu = 1.95", "must be below vm_max_pu"),
        ("first_day = 2016-01-01", "first_day = 2017-01-01", "is before first_day"),
        ('"PT15M"', '"PT25M"', "does not divide an hour"),
        ('"districts.geojson"', '"../districts.geojson"', "leaves the city's directory"),
        ("carbon_price_per_t = 60.0", "carbon_price_per_t = 1e308", "less than or equal"),
        ("carbon_price_per_t = 60.0", "carbon_price_per_t = nan", "finite"),
        ("vehicles = 24", "vehicles = 25", "the timetable has 24 vehicles, the fleet 25"),
        ('returns = "20:30"', 'returns = "04:30"', "must be later on the day"),
        ("v2g_share = 0.3", "v2g_share = 30", "less than or equal to 1"),
        ('polygons = "districts.geojson"', "", "give either polygons"),
        ('taps = "ignore"', 'tap = "ignore"', "did you mean 'taps'?"),
    ],
)
def test_faults_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert message in faults(tmp_path, old, new)


def test_all_faults_at_once(tmp_path: Path) -> None:
    text = faults(tmp_path, "vm_max_pu = 1.05", "vm_max_pu = 9\nloading = 3")
    assert "limits.vm_max_pu" in text
    assert "limits.loading: unknown key" in text


def test_charging_distributions() -> None:
    found = read_distributions(REFERENCE / "ev_distributions", "ev_distributions")
    assert set(found.weekday) == {"home", "public", "workplace"}
    assert set(found.weekend) == {"home", "public"}
    for kind, arrivals in found.weekday.items():
        assert arrivals.sum() == pytest.approx(1.0)
        assert (found.stay_hours[kind][1:] >= found.stay_hours[kind][:-1]).all()
        assert found.stay_hours[kind][-1] == 72
        assert (found.stay_factor[kind] * arrivals).sum() == pytest.approx(1.0)
    assert found.weekday["workplace"].argmax() / 4 == pytest.approx(8, abs=1.5)
    assert found.weekday["home"].argmax() / 4 == pytest.approx(18, abs=1.5)


def test_distributions_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError) as refused:
        read_distributions(tmp_path, "ev")
    assert len(refused.value.faults) == 5
    for path in (REFERENCE / "ev_distributions").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    stays = tmp_path / "distribution-of-connection-time.csv"
    stays.write_text(stays.read_text(encoding="utf-8").replace("56.5", "nan"), encoding="utf-8")
    with pytest.raises(InputError, match="row 3"):
        read_distributions(tmp_path, "ev")
