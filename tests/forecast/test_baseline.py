"""The baseline looks back at like days, by the local clock, and never ahead."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from energy.domain.errors import InputError
from energy.domain.time import TimeGrid
from energy.forecast.baseline import Forecast, day_class, forecast, noon_before

BERLIN = ZoneInfo("Europe/Berlin")
QUARTER = timedelta(minutes=15)
YEAR = TimeGrid(datetime(2015, 12, 31, 23, tzinfo=UTC), QUARTER, 366 * 96)
LOCAL = [instant.astimezone(BERLIN) for instant in YEAR]
CLOCK = np.array([at.hour * 4 + at.minute // 15 for at in LOCAL], dtype=float)
DAY_OF_YEAR = np.array([at.date().toordinal() for at in LOCAL], dtype=float)

days = st.dates(date(2016, 2, 8), date(2016, 12, 30))


def on(day: date, values: np.ndarray, **options: object) -> Forecast:
    return forecast(
        YEAR,
        values,
        TimeGrid.local_day(day, BERLIN),
        BERLIN,
        noon_before(day, BERLIN),
        **options,  # type: ignore[arg-type]
    )


@given(days)
def test_what_depends_on_the_local_clock_alone_is_forecast_exactly(day: date) -> None:
    expected = on(day, CLOCK[:, None])
    time = TimeGrid.local_day(day, BERLIN)
    assert expected.values.shape == (time.steps, 1)
    first = YEAR.offset_of(time)
    np.testing.assert_array_equal(expected.values[:, 0], CLOCK[first : first + time.steps])
    assert expected.notices == ()


@given(days)
def test_it_is_the_mean_of_the_last_four_like_days_known_by_noon(day: date) -> None:
    expected = on(day, DAY_OF_YEAR[:, None]).values[:, 0]
    before = [day - timedelta(days=k) for k in range(1, 60)]
    like = [past for past in before if day_class(past) == day_class(day)]
    yesterday = day - timedelta(days=1)
    morning = np.mean([past.toordinal() for past in like[:4]])
    afternoon = np.mean([past.toordinal() for past in [past for past in like if past != yesterday][:4]])
    dst = {date(2016, 3, 27), date(2016, 10, 30)}
    if dst.isdisjoint([day, *like[:5]]):
        np.testing.assert_allclose(expected[:48], morning)
        np.testing.assert_allclose(expected[48:], afternoon)


@given(days, st.integers(0, 2**32 - 1))
def test_nothing_after_the_issue_changes_it(day: date, seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=(YEAR.steps, 2))
    known = int(YEAR.position(noon_before(day, BERLIN)))
    later = values.copy()
    later[known:] = random.normal(size=later[known:].shape)
    np.testing.assert_array_equal(on(day, values).values, on(day, later).values)


@given(days, st.integers(0, 2**32 - 1))
def test_it_stays_within_what_was_seen(day: date, seed: int) -> None:
    values = np.random.default_rng(seed).normal(size=(YEAR.steps, 1))
    expected = on(day, values).values
    assert values.min() <= expected.min()
    assert expected.max() <= values.max()


@pytest.mark.parametrize(("day", "steps"), [("2016-03-27", 92), ("2016-10-30", 100), ("2016-03-28", 96)])
def test_days_on_which_the_clock_changes_are_whole(day: str, steps: int) -> None:
    expected = on(date.fromisoformat(day), CLOCK[:, None])
    assert expected.values.shape == (steps, 1)
    assert np.isfinite(expected.values).all()
    assert (expected.like_days == 4).all()


def test_the_skipped_hour_is_taken_from_an_earlier_sunday() -> None:
    # the Sundays before 2016-04-10 are 04-03, 03-27 (no 2 to 3 o'clock), 03-20, 03-13 and 03-06
    expected = on(date(2016, 4, 10), DAY_OF_YEAR[:, None]).values[:, 0]
    ordinal = [date(2016, *md).toordinal() for md in ((4, 3), (3, 27), (3, 20), (3, 13), (3, 6))]
    assert expected[7] == pytest.approx(np.mean(ordinal[:4]))
    assert expected[8] == pytest.approx(np.mean([ordinal[0], *ordinal[2:]]))


def test_the_window_may_reach_into_the_next_day() -> None:
    time = TimeGrid(TimeGrid.local_day(date(2016, 6, 18), BERLIN).start, QUARTER, 96 + 48)
    expected = forecast(YEAR, DAY_OF_YEAR[:, None], time, BERLIN, noon_before(date(2016, 6, 18), BERLIN))
    saturdays, sundays = expected.values[:96, 0], expected.values[96:, 0]
    np.testing.assert_allclose(
        saturdays, np.mean([date(2016, 6, 18).toordinal() - 7 * k for k in range(1, 5)])
    )
    np.testing.assert_allclose(sundays, np.mean([date(2016, 6, 19).toordinal() - 7 * k for k in range(1, 5)]))


def test_a_holiday_is_like_a_sunday() -> None:
    holiday = date(2016, 5, 16)
    assert day_class(holiday) == "workday"
    with_it = on(holiday, DAY_OF_YEAR[:, None], holidays={holiday}).values[0, 0]
    # the day before was a Sunday too, known until noon
    assert with_it == pytest.approx(np.mean([holiday.toordinal() - k for k in (1, 8, 15, 22)]))


def test_fewer_like_days_are_flagged() -> None:
    expected = on(date(2016, 1, 17), CLOCK[:, None])
    assert set(expected.like_days.tolist()) == {2}
    assert "96 of 96 steps rest on fewer than 4 like days (2 at least)" in expected.notices[0]


def test_no_like_day_is_refused_by_name() -> None:
    with pytest.raises(InputError, match=r"2016-01-02: has no earlier Saturday"):
        on(date(2016, 1, 2), CLOCK[:, None])


def test_a_gap_in_the_history_is_not_averaged_away() -> None:
    values = CLOCK[:, None].copy()
    values[YEAR.offset_of(TimeGrid.local_day(date(2016, 6, 14), BERLIN)) + 5] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        on(date(2016, 6, 15), values)


def test_another_resolution_is_refused() -> None:
    time = TimeGrid.local_day(date(2016, 6, 15), BERLIN, timedelta(hours=1))
    with pytest.raises(ValueError, match="not aligned"):
        forecast(YEAR, CLOCK[:, None], time, BERLIN, noon_before(date(2016, 6, 15), BERLIN))


def test_noon_is_local() -> None:
    assert noon_before(date(2016, 6, 21), BERLIN) == datetime(2016, 6, 20, 10, tzinfo=UTC)
    assert noon_before(date(2016, 1, 19), BERLIN) == datetime(2016, 1, 18, 11, tzinfo=UTC)
