"""Imported series: what a source revises stands beside what was known before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import InputError
from energy.domain.time import TimeGrid, parse_instant
from energy.feeds.importers.imported import Options, SourceFile
from energy.feeds.importers.registry import read_import
from energy.feeds.series_store import read_stored, store_import

FIRST, SECOND, THIRD = (datetime(2024, 2, day, tzinfo=UTC) for day in (1, 2, 3))
START = datetime(2024, 1, 1, tzinfo=UTC)


def keep(
    city: Path, text: str, known_at: datetime, kind: str = "intensity", **options: Any
) -> dict[str, Any]:
    file = SourceFile("given.csv", text.encode())
    series = read_import("csv", [file], kind, Options(zone="DE", **options))
    return store_import(city, series, name="csv", files=[(file.name, file.content)], known_at=known_at)


def csv_of(values: list[float | str], unit: str = "g/kWh", first: datetime = START) -> str:
    rows = [f"{(first + k * timedelta(hours=1)).isoformat()},{value}" for k, value in enumerate(values)]
    return "\n".join([f"time,intensity [{unit}]", *rows]) + "\n"


def stored(city: Path, as_of: datetime | None = None) -> Any:
    return read_stored(city / "series" / "intensity-DE", "series/intensity-DE", as_of)


def test_a_revised_value_stands_beside_the_old_one(tmp_path: Path) -> None:
    first = keep(tmp_path, csv_of([300, 310, 320]), FIRST)
    assert (first["new"], first["revised"], first["import"]) == (3, 0, 1)
    second = keep(tmp_path, csv_of([300, 315, 320, 330]), SECOND)
    assert (second["new"], second["revised"], second["import"]) == (1, 1, 2)
    assert second["changes"] == [
        {"time": "2024-01-01T01:00:00Z", "column": "carbon_g_per_kwh", "old": 310.0, "new": 315.0}
    ]
    now, then = stored(tmp_path), stored(tmp_path, FIRST + timedelta(hours=1))
    assert now.values[:, 0].tolist() == [300, 315, 320, 330]
    assert then.values[:, 0].tolist() == [300, 310, 320]
    assert now.version.startswith("import 2 of 2024-02-02T00:00:00Z+")
    assert then.version.startswith("import 1 of 2024-02-01T00:00:00Z+")
    with pytest.raises(InputError, match="nothing that was known at"):
        stored(tmp_path, FIRST - timedelta(hours=1))


def test_a_revision_by_a_constant_factor_is_a_doubt_about_the_unit(tmp_path: Path) -> None:
    keep(tmp_path, csv_of([300, 310, 320]), FIRST)
    report = keep(tmp_path, csv_of([300 * 2.2046, 310 * 2.2046, 320 * 2.2046]), SECOND)
    assert report["notices"] == [
        "3 values known before are 2.2 times what they were: check the unit (1 lbs/MWh = 0.4536 g/kWh)"
    ]
    assert keep(tmp_path, csv_of([600, 700, 720]), THIRD)["notices"] == []


def test_a_file_that_brings_nothing_new_stores_nothing(tmp_path: Path) -> None:
    keep(tmp_path, csv_of([300, 310]), FIRST)
    again = keep(tmp_path, csv_of([300, 310]), SECOND)
    assert again["notices"][-1] == "everything in the file was known already: nothing is stored"
    assert [path.name for path in (tmp_path / "series/intensity-DE").iterdir()] == ["0001.json"]


def test_a_gap_stays_a_gap_until_a_value_comes(tmp_path: Path) -> None:
    report = keep(tmp_path, csv_of([300, "", 320]), FIRST)
    assert report["gaps"] == [["2024-01-01T01:00:00Z", "2024-01-01T02:00:00Z"]]
    assert np.isnan(stored(tmp_path).values[1, 0])
    keep(tmp_path, csv_of(["", 310, ""]), SECOND)
    assert stored(tmp_path).values[:, 0].tolist() == [300, 310, 320]


def test_imports_before_and_after_meet_on_one_grid(tmp_path: Path) -> None:
    keep(tmp_path, csv_of([300, 310], first=START + timedelta(hours=6)), FIRST)
    keep(tmp_path, csv_of([200, 210]), SECOND)
    series = stored(tmp_path)
    assert len(series.starts) == 8
    np.testing.assert_array_equal(np.isnan(series.values[:, 0]), [False, False, *[True] * 4, False, False])


@pytest.mark.parametrize(
    ("text", "known_at", "message"),
    [
        (csv_of([300, 310]), FIRST - timedelta(days=1), "before the last import"),
        ("time,i [g/kWh]\n2024-01-01T00:00Z,1e2\n2024-01-01T00:25Z,1e2\n", SECOND, "steps of 1500 s"),
        (csv_of([300, 310], first=START + timedelta(minutes=20)), SECOND, "off the grid"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_written(
    tmp_path: Path, text: str, known_at: datetime, message: str
) -> None:
    keep(tmp_path, csv_of([300, 310]), FIRST)
    with pytest.raises(InputError, match=message):
        keep(tmp_path, text, known_at)
    assert [path.name for path in (tmp_path / "series/intensity-DE").iterdir()] == ["0001.json"]


def quarters_of(values: list[float]) -> str:
    rows = [f"{(START + k * timedelta(minutes=15)).isoformat()},{value}" for k, value in enumerate(values)]
    return "\n".join(["time,intensity [g/kWh]", *rows]) + "\n"


def test_a_source_may_turn_to_quarter_hours(tmp_path: Path) -> None:
    keep(tmp_path, csv_of([300, 310]), FIRST)
    report = keep(tmp_path, quarters_of([300, 300, 300, 300, 310, 311]), SECOND)
    assert (report["new"], report["revised"]) == (0, 1)
    series = stored(tmp_path)
    assert series.resolution == timedelta(minutes=15)
    assert series.values[:, 0].tolist() == [300] * 4 + [310, 311, 310, 310]
    assert stored(tmp_path, FIRST).resolution == timedelta(hours=1)


def test_hours_that_revise_quarter_hours_hold_in_each(tmp_path: Path) -> None:
    keep(tmp_path, quarters_of([300, 301, 302, 303, 310, 311]), FIRST)
    report = keep(tmp_path, csv_of([300, 310]), SECOND)
    assert (report["new"], report["revised"]) == (2, 4)
    assert stored(tmp_path).values[:, 0].tolist() == [300] * 4 + [310] * 4


def test_two_imports_at_once_never_overwrite_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(tmp_path, csv_of([300, 310]), FIRST)
    monkeypatch.setattr("energy.feeds.series_store._documents", lambda _folder: [])
    with pytest.raises(InputError, match="import 1 was stored by another process meanwhile"):
        keep(tmp_path, csv_of([500, 510]), SECOND)
    monkeypatch.undo()
    assert stored(tmp_path).values[:, 0].tolist() == [300, 310]
    assert [path.name for path in (tmp_path / "series/intensity-DE").iterdir()] == ["0001.json"]


def test_a_lost_import_is_noticed(tmp_path: Path) -> None:
    keep(tmp_path, csv_of([300, 310]), FIRST)
    keep(tmp_path, csv_of([301, 311]), SECOND)
    (tmp_path / "series/intensity-DE/0001.json").unlink()
    with pytest.raises(InputError, match="is import 2 where 1 is due"):
        stored(tmp_path)


def test_a_technology_that_appears_later_was_at_zero(tmp_path: Path) -> None:
    keep(tmp_path, "time,gas [MW]\n2024-01-01T00:00Z,5\n2024-01-01T01:00Z,6\n", FIRST, "mix")
    report = keep(
        tmp_path,
        "time,gas [MW],wind [MW]\n2024-01-01T01:00Z,6\n".replace(",6\n", ",6,2\n")
        + "2024-01-01T02:00Z,7,3\n",
        SECOND,
        "mix",
    )
    assert (report["new"], report["revised"]) == (1, 1)
    series = read_stored(tmp_path / "series/mix-DE", "series/mix-DE")
    assert series.columns == ("gas", "wind")
    assert series.values.tolist() == [[5, 0], [6, 2], [7, 3]]


def test_on_a_citys_grid_longer_steps_repeat_and_shorter_ones_average(tmp_path: Path) -> None:
    keep(tmp_path, csv_of([300, "", 320]), FIRST)
    quarters = TimeGrid(START, timedelta(minutes=15), 16)
    values, flagged = stored(tmp_path).on(quarters)
    np.testing.assert_array_equal(values[:, 0], [*[300.0] * 4, *[np.nan] * 4, *[320.0] * 4, *[np.nan] * 4])
    assert flagged.tolist() == [0.0] * 16
    with pytest.raises(InputError, match="nothing of the city's period"):
        stored(tmp_path).on(TimeGrid(parse_instant("2016-01-01T00:00Z"), timedelta(hours=1), 24))


REVISIONS = st.lists(
    st.lists(st.one_of(st.none(), st.integers(100, 900)), min_size=2, max_size=6), min_size=1, max_size=4
)


@settings(max_examples=20, deadline=None)
@given(REVISIONS)
def test_the_newest_value_counts_and_every_older_state_can_be_had(
    tmp_path_factory: pytest.TempPathFactory, revisions: list[list[int | None]]
) -> None:
    city = tmp_path_factory.mktemp("city")
    expected: dict[int, float] = {}
    states = []
    for day, values in enumerate(revisions):
        if any(value is not None for value in values):
            keep(city, csv_of(["" if v is None else v for v in values]), FIRST + timedelta(days=day))
            expected |= {k: float(v) for k, v in enumerate(values) if v is not None}
        states.append(dict(expected))
    for day, state in enumerate(states):
        if state:
            series = stored(city, FIRST + timedelta(days=day))
            hours = (series.starts - round(START.timestamp())) // 3600
            found = {
                int(hour): value
                for hour, value in zip(hours, series.values[:, 0].tolist(), strict=True)
                if not np.isnan(value)
            }
            assert found == state
