from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy.domain.time import TimeGrid, format_duration, format_instant, parse_duration, parse_instant

BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("day", "steps", "start"),
    [
        (date(2016, 6, 21), 96, "2016-06-20T22:00:00Z"),
        (date(2016, 3, 27), 92, "2016-03-26T23:00:00Z"),
        (date(2016, 10, 30), 100, "2016-10-29T22:00:00Z"),
    ],
)
def test_local_day_has_92_96_or_100_quarter_hours(day: date, steps: int, start: str) -> None:
    grid = TimeGrid.local_day(day, BERLIN)
    assert grid.steps == steps
    assert format_instant(grid.start) == start
    assert grid.end == TimeGrid.local_day(day + timedelta(days=1), BERLIN).start


def test_naive_times_are_refused_with_a_remedy() -> None:
    with pytest.raises(ValueError, match=r"has no time zone; add an offset, as in 2016-06-21T00:00:00Z"):
        parse_instant("2016-06-21T00:00:00")
    with pytest.raises(ValueError, match="no time zone"):
        TimeGrid(datetime(2016, 6, 21), timedelta(hours=1), 1)  # noqa: DTZ001 - the naive time is the case


@given(st.datetimes(timezones=st.timezones(), min_value=datetime(1980, 1, 1), max_value=datetime(2100, 1, 1)))  # noqa: DTZ001
def test_instants_survive_their_text(instant: datetime) -> None:
    # in UTC: Python calls an hour that occurs twice equal to nothing in another zone
    assert parse_instant(format_instant(instant)) == instant.astimezone(UTC)
    assert parse_instant(format_instant(instant)).tzinfo is UTC


@given(st.timedeltas(timedelta(microseconds=1), timedelta(days=4000)))
def test_durations_survive_their_text(duration: timedelta) -> None:
    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize("text", ["", "P", "PT", "15min", "PT-1H", "P1Y", 900])
def test_what_is_no_duration_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="is not an ISO 8601 duration"):
        parse_duration(text)  # type: ignore[arg-type]


def test_what_no_calendar_holds_is_refused() -> None:
    with pytest.raises(ValueError, match="lies outside the years 1 to 9999"):
        parse_instant("0001-01-01T00:00:00+14:00")
    with pytest.raises(ValueError, match="longer than any time span"):
        parse_duration("P99999999999999D")


def test_steps_and_offsets() -> None:
    grid = TimeGrid(datetime(2016, 1, 1, tzinfo=UTC), timedelta(minutes=15), 96)
    assert grid.hours == 0.25
    assert grid.step_at(datetime(2016, 1, 1, 0, 29, tzinfo=UTC)) == 1
    assert grid.offset_of(grid.window(8, 4)) == 8
    assert list(grid)[-1] == datetime(2016, 1, 1, 23, 45, tzinfo=UTC)
    with pytest.raises(IndexError, match="is outside"):
        grid.step_at(grid.end)
    with pytest.raises(ValueError, match="not aligned"):
        grid.offset_of(TimeGrid(grid.start + timedelta(minutes=5), grid.resolution, 1))
    with pytest.raises(ValueError, match="is not inside"):
        grid.offset_of(grid.window(90, 10))
