"""`wattshed factors` and `wattshed import` as users call them."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from energy.feeds.factors import load_factors

FILES = Path(__file__).parent / "feeds" / "files"
ROW = (
    "id,kind,zone,value,unit,gas_basis,basis,source,data_year,publication_year,valid_from,valid_to\n"
    "mine,grid,DE,{value},kg/kWh,CO2,direct,the city's balance,2016,2017,2016-01-01,2016-12-31\n"
)


CITY = """schema = "wattshed.city/1"
[city]
id = "toy"
name = "Toy town"
time_zone = "Europe/Berlin"
[period]
first_day = 2024-01-15
last_day = 2024-01-15
[grid]
source = "pandapower:case33bw"
[districts]
buses = "buses.csv"
[market]
day_ahead = "price"
[upstream.merit_order]
load = {national = 1}
wind = {wind = 1}
pv = {pv = 1}
[factors]
file = "factors.csv"
"""


@pytest.fixture
def city(tmp_path: Path) -> Path:
    """A directory that is a city as far as these commands look at it."""
    directory = tmp_path / "city"
    directory.mkdir()
    (directory / "city.toml").write_text(CITY, encoding="utf-8")
    return directory


def answer(run_cli: Any, *arguments: str) -> Any:
    result = run_cli(*arguments)
    assert result.exit_code == 0, result.stderr
    return json.loads(result.stdout)


def test_list_filters_and_names_the_version(run_cli: Any) -> None:
    listed = answer(run_cli, "factors", "list", "--zone", "JP", "--basis", "direct", "--kind", "grid")
    assert [factor["value"] for factor in listed["factors"]] == [423.0]
    assert listed["version"] == load_factors().version
    assert answer(run_cli, "factors", "list", "--version", "1")["version"] == "1+a5ca1df54097"
    result = run_cli("factors", "list", "--technology", "gas", "--csv")
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert {row["basis"] for row in rows} == {"direct", "life-cycle"}
    result = run_cli("factors", "list", "--zone", "JQ")
    assert result.exit_code == 2
    assert "no factor has 'JQ'; known here: AT, BE" in result.stderr


def test_show_gives_every_version(run_cli: Any) -> None:
    shown = answer(run_cli, "factors", "show", "grid-japan")
    assert [factor["version"] for factor in shown["versions"]] == [1]
    result = run_cli("factors", "show", "grid-jpn")
    assert result.exit_code == 2
    assert "no factor is 'grid-jpn'" in result.stderr


def test_compare_names_each_changed_factor(run_cli: Any) -> None:
    compared = answer(run_cli, "factors", "compare", "1", "2")
    change = {entry["id"]: entry["change"] for entry in compared["changes"]}
    assert change["grid-japan"] == "withdrawn"
    assert change["grid-jp"] == "added"
    result = run_cli("factors", "compare", "2", "1", "--csv")
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO(result.stdout))}
    assert (rows["grid-japan"]["change"], rows["grid-japan"]["new_value"]) == ("added", "423.0")


def test_add_and_correct_the_citys_own(run_cli: Any, city: Path, tmp_path: Path) -> None:
    source = tmp_path / "new.csv"
    source.write_text(ROW.format(value="0.4"), encoding="utf-8")
    added = answer(run_cli, "factors", "add", str(source), "--city", str(city))
    assert [entry["change"] for entry in added["changes"]] == ["added"]
    source.write_text(ROW.format(value="0.41"), encoding="utf-8")
    corrected = answer(run_cli, "factors", "add", str(source), "--city", str(city))
    (entry,) = corrected["changes"]
    assert entry["fields"]["value"] == [400.0, 410.0]
    compared = answer(run_cli, "factors", "compare", "1", "2", "--city", str(city))
    assert compared["changes"] == corrected["changes"]
    shown = answer(run_cli, "factors", "show", "mine", "--city", str(city))
    assert [factor["value"] for factor in shown["versions"]] == [400.0, 410.0]

    before = (city / "factors.csv").read_bytes()
    source.write_text(ROW.format(value="410").replace("CO2", "soot"), encoding="utf-8")
    result = run_cli("factors", "add", str(source), "--city", str(city))
    assert result.exit_code == 2
    assert "2 faults" in result.stderr
    assert result.stdout == ""
    assert (city / "factors.csv").read_bytes() == before


def test_a_city_without_a_table_is_told_how_to_name_one(run_cli: Any, city: Path, tmp_path: Path) -> None:
    text = CITY.replace('file = "factors.csv"', 'zone = "DE"')
    (city / "city.toml").write_text(text, encoding="utf-8")
    (tmp_path / "new.csv").write_text(ROW.format(value="0.4"), encoding="utf-8")
    result = run_cli("factors", "add", str(tmp_path / "new.csv"), "--city", str(city))
    assert result.exit_code == 2
    assert "add a section [factors]" in result.stderr
    listed = answer(run_cli, "factors", "list", "--city", str(city))
    assert listed["version"] == load_factors().version


def test_a_mix_may_name_technologies_of_the_citys_own(run_cli: Any, city: Path, tmp_path: Path) -> None:
    mix = tmp_path / "mix.csv"
    mix.write_text(
        "time,gas [MW],tidal [MW]\n2024-01-15T10:00Z,1,2\n2024-01-15T11:00Z,1,2\n", encoding="utf-8"
    )
    arguments = ("import", "csv", str(mix), "--city", str(city), "--series", "mix", "--zone", "DE")
    result = run_cli(*arguments)
    assert result.exit_code == 2
    assert "unknown source 'tidal'" in result.stderr
    (city / "factors.csv").write_text(
        "id,kind,technology,renewable,value,unit,gas_basis,basis,source,data_year,publication_year,valid_from\n"
        'ours,generation,tidal,true,22,g/kWh,"CO2e, GWP100 of AR5",life-cycle,study,2020,2021,2015-01-01\n',
        encoding="utf-8",
    )
    assert answer(run_cli, *arguments)["new"] == 2


def test_import_keeps_a_series_and_what_revises_it(run_cli: Any, city: Path, tmp_path: Path) -> None:
    options = ["--city", str(city), "--series", "intensity", "--zone", "DE"]
    first = answer(
        run_cli, "import", "csv", str(FILES / "plain.csv"), *options, "--known-at", "2024-02-01T00:00Z"
    )
    assert (first["measured"], first["import"], first["new"]) == ("series/intensity-DE", 1, 3)
    assert first["gaps"] == [["2024-01-15T11:00:00Z", "2024-01-15T12:00:00Z"]]
    revised = tmp_path / "revised.csv"
    text = (FILES / "plain.csv").read_text(encoding="utf-8").replace("428.0", "429.0")
    revised.write_text(text, encoding="utf-8")
    dry = answer(run_cli, "import", "csv", str(revised), *options, "--dry-run")
    assert (dry["revised"], dry["import"]) == (1, 1)
    second = answer(run_cli, "import", "csv", str(revised), *options)
    assert (second["revised"], second["import"]) == (1, 2)
    assert [path.name for path in sorted((city / "series/intensity-DE").iterdir())] == [
        "0001.json",
        "0002.json",
    ]


def test_an_import_far_from_the_official_factor_is_a_doubt_about_the_unit(
    run_cli: Any, city: Path, tmp_path: Path
) -> None:
    """Pounds per MWh under a label that says g/kWh are possible values, and told all the same."""
    file = tmp_path / "wrong.csv"
    given = {"g/kWh": 1150.0, "lbs/MWh": 1150.0, "t/GWh": 521.6, "kg/MWh": 521.6, "kg/kWh": 0.5216}
    for unit, value in given.items():
        rows = [f"2016-06-21T{hour:02d}:00Z,{value}" for hour in range(3)]
        file.write_text("\n".join([f"time,intensity [{unit}]", *rows]) + "\n", encoding="utf-8")
        options = ("--city", str(city), "--series", "intensity", "--zone", "DE", "--dry-run")
        notices = answer(run_cli, "import", "csv", str(file), *options)["notices"]
        assert len(notices) == (unit == "g/kWh"), unit
        if unit == "g/kWh":
            assert "averages 1150 g/kWh, 2.2 times the official factor of DE (527 g/kWh" in notices[0]
            assert "check the unit (1 lbs/MWh = 0.4536 g/kWh)" in notices[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--zone", "DE", "--known-at", "yesterday"), "--known-at: 'yesterday'"),
        (("--zone", "DE", "--labels", "middle"), "--labels: 'middle' is neither start nor end"),
        (("--zone", "../DE"), "cannot name a folder"),
        ((), "give --zone"),
    ],
)
def test_import_refuses_in_words(run_cli: Any, city: Path, arguments: tuple[str, ...], message: str) -> None:
    file = str(FILES / "plain.csv")
    result = run_cli("import", "csv", file, "--city", str(city), "--series", "intensity", *arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert not (city / "series").exists()
