"""Series files: what is refused, and how they come onto the city's time grid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from energy.domain.errors import InputError
from energy.domain.time import TimeGrid, format_instant
from energy.feeds.assets import BusRow, read_rows
from energy.feeds.series import SeriesFile, on_grid, read_series

START = datetime(2016, 3, 26, 23, tzinfo=UTC)


def write(path: Path, rows: list[str], header: str = "time,a") -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def grid(steps: int, minutes: int = 60) -> TimeGrid:
    return TimeGrid(START, timedelta(minutes=minutes), steps)


def series(values: list[float], step: int = 3600) -> SeriesFile:
    starts = round(START.timestamp()) + step * np.arange(len(values))
    return SeriesFile("s.csv", ("a",), starts, step, np.array(values)[:, None])


def test_offsets_of_a_spring_day_are_one_series(tmp_path: Path) -> None:
    path = write(
        tmp_path / "s.csv",
        ["2016-03-27T00:00+01:00,1", "2016-03-27T01:00+01:00,2", "2016-03-27T03:00+02:00,3"],
    )
    values, notices = on_grid(read_series(path, "s.csv"), grid(3), None)
    assert values[:, 0].tolist() == [1, 2, 3]
    assert notices == ()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (["2016-03-27T00:00,1"], "no time zone"),
        (["2016-03-27T00:00Z,x"], "a number is needed"),
        (["2016-03-27T00:00Z,inf"], "finite"),
        (["2016-03-27T00:00Z,1e308"], "check its unit"),
        (["2016-03-27T01:00Z,1", "2016-03-27T00:00Z,1"], "comes after a later time"),
        (["2016-03-27T00:00Z,1", "2016-03-27T00:00Z,1"], "occurs twice"),
        (["2016-03-27T00:00Z,1", "2016-03-27T01:00Z,1", "2016-03-27T02:20Z,1"], "off the step"),
        (["2016-03-27T00:00Z"], "truncated"),
        ([], "no rows"),
    ],
)
def test_refuses(tmp_path: Path, rows: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_series(write(tmp_path / "s.csv", rows), "s.csv")


def test_a_row_cut_off_hides_no_other_row(tmp_path: Path) -> None:
    times = [f"2016-03-27T{hour:02}:00Z" for hour in (0, 1, 2, 3, 4, 5, 4)]
    rows = [f"{time},{value}" for time, value in zip(times, "1x1n111", strict=True)]
    rows = [row.replace(",n", ",nan") for row in rows]
    rows[2] = rows[2][:9]
    with pytest.raises(InputError) as refused:
        read_series(write(tmp_path / "s.csv", rows), "s.csv")
    paths = [fault.path for fault in refused.value.faults]
    assert paths == ["s.csv row 4", "s.csv row 3", "s.csv column 'a' at 2016-03-27T03:00:00Z", "s.csv row 8"]
    path = write(tmp_path / "buses.csv", ["1,east", "2", "3,"], header="bus,district")
    with pytest.raises(InputError) as refused:
        read_rows(path, "buses.csv", BusRow)
    assert [fault.path for fault in refused.value.faults] == ["buses.csv row 3", "buses.csv row 4: district"]


def test_refuses_a_file_without_time_and_one_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="must be 'time'"):
        read_series(write(tmp_path / "s.csv", ["1,2"], header="hour,a"), "s.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_series(tmp_path / "none.csv", "none.csv")


def test_parquet_gives_what_csv_gives(tmp_path: Path) -> None:
    times = [START + timedelta(hours=k) for k in range(4)]
    rows = [f"{format_instant(time)},{k}" for k, time in enumerate(times)]
    table = pa.table({"time": pa.array(times, pa.timestamp("us", tz="UTC")), "a": [0.0, 1.0, 2.0, 3.0]})
    parquet.write_table(table, tmp_path / "s.parquet")
    from_csv = read_series(write(tmp_path / "s.csv", rows), "s")
    from_parquet = read_series(tmp_path / "s.parquet", "s")
    assert from_csv.columns == from_parquet.columns
    assert from_csv.starts.tolist() == from_parquet.starts.tolist()
    assert from_csv.values.tolist() == from_parquet.values.tolist()


def test_parquet_with_naive_times_is_refused(tmp_path: Path) -> None:
    times = pa.array([datetime(2016, 1, 1)], pa.timestamp("us"))  # noqa: DTZ001
    parquet.write_table(pa.table({"time": times, "a": [1.0]}), tmp_path / "s.parquet")
    with pytest.raises(InputError, match="time zone"):
        read_series(tmp_path / "s.parquet", "s.parquet")


def test_gaps_are_named_or_filled_and_said() -> None:
    whole = series([1.0, 2.0, 3.0, 4.0])
    holed = SeriesFile("s.csv", ("a",), whole.starts[[1, 3]], 3600, whole.values[[1, 3]])
    with pytest.raises(InputError) as refused:
        on_grid(holed, grid(4), None)
    assert len(refused.value.faults) == 2
    values, notices = on_grid(holed, grid(4), timedelta(hours=1))
    assert values[:, 0].tolist() == [2, 2, 2, 4]
    assert len(notices) == 2


def test_steps_that_do_not_divide_are_refused() -> None:
    with pytest.raises(InputError, match="divide"):
        on_grid(series([1.0, 2.0], step=2400), grid(1, minutes=60), None)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=48))
def test_resampling_keeps_the_mean(values: list[float]) -> None:
    finer, _ = on_grid(series(values), grid(4 * len(values), minutes=15), None)
    assert finer[:, 0].tolist() == [value for value in values for _ in range(4)]
    quarters = series([value for value in values for _ in range(4)], step=900)
    back, _ = on_grid(quarters, grid(len(values)), None)
    assert back[:, 0] == pytest.approx(values)
