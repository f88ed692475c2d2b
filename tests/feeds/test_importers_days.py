"""Clock changes, duplicates, gaps and revisions: every importer, on files in the real shape of its source."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import InputError
from energy.feeds.importers.imported import G_PER_LB, ImportedSeries, Options, SourceFile
from energy.feeds.importers.registry import IMPORTERS, read_import
from energy.feeds.series_store import read_stored, store_import

Values = Sequence[float | None]
"""None: the source has the interval without a value, or leaves it out."""
BERLIN, LONDON, TOKYO = (ZoneInfo(name) for name in ("Europe/Berlin", "Europe/London", "Asia/Tokyo"))
KNOWN = datetime(2024, 12, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Source:
    """How a source writes hours or half-hours from `start` on.

    Attributes:
        write: name and text of the file. scale: of a value into the unit of the series.
    """

    series: str
    zone: ZoneInfo
    write: Callable[[datetime, Values], tuple[str, str]]
    step: timedelta = timedelta(hours=1)
    scale: float = 1.0
    options: dict[str, str] = field(default_factory=dict)


def z(instant: datetime, pattern: str = "%Y-%m-%dT%H:%M:%SZ") -> str:
    return instant.astimezone(UTC).strftime(pattern)


def stamped(start: datetime, values: Values, step: timedelta) -> list[tuple[datetime, float | None]]:
    return [(start.astimezone(UTC) + k * step, value) for k, value in enumerate(values)]


def electricity_maps(start: datetime, values: Values) -> tuple[str, str]:
    history = [
        {
            "zone": "DE", "carbonIntensity": value, "datetime": z(at, "%Y-%m-%dT%H:%M:%S.000Z"),
            "updatedAt": "2024-11-30T08:00:00.000Z", "emissionFactorType": "lifecycle",
            "isEstimated": False, "estimationMethod": None,
        }
        for at, value in stamped(start, values, timedelta(hours=1))
    ]  # fmt: skip
    return "past-range.json", json.dumps({"zone": "DE", "data": history})


def watttime(start: datetime, values: Values) -> tuple[str, str]:
    data = [
        {
            "point_time": z(at, "%Y-%m-%dT%H:%M:%S+00:00"),
            "value": value,
            "last_updated": "2024-11-30T00:00:00+00:00",
        }
        for at, value in stamped(start, values, timedelta(minutes=5))
        if value is not None
    ]
    meta = {
        "data_point_period_seconds": 300, "region": "DE", "signal_type": "co2_moer",
        "units": "lbs_co2_per_mwh", "warnings": [],
    }  # fmt: skip
    return "historical.json", json.dumps({"data": data, "meta": meta})


def gb(start: datetime, values: Values) -> tuple[str, str]:
    data = [
        {
            "from": z(at, "%Y-%m-%dT%H:%MZ"), "to": z(at + timedelta(minutes=30), "%Y-%m-%dT%H:%MZ"),
            "intensity": {"forecast": value, "actual": value, "index": "moderate"},
        }
        for at, value in stamped(start, values, timedelta(minutes=30))
    ]  # fmt: skip
    return "intensity.json", json.dumps({"data": data})


def smard(start: datetime, values: Values) -> tuple[str, str]:
    series = [
        [round(at.timestamp()) * 1000, value] for at, value in stamped(start, values, timedelta(hours=1))
    ]
    name = f"4069_DE_hour_{series[0][0]}.json"
    return name, json.dumps({"meta_data": {"version": 1, "created": 1732900000000}, "series": series})


def entsoe(start: datetime, values: Values) -> tuple[str, str]:
    points = "".join(
        f"<Point><position>{k}</position><quantity>{value:g}</quantity></Point>"
        for k, value in enumerate(values, start=1)
        if value is not None
    )
    end = start.astimezone(UTC) + len(values) * timedelta(hours=1)
    return "a75.xml", (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<GL_MarketDocument xmlns="urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0">'
        "<type>A75</type><createdDateTime>2024-11-30T09:30:00Z</createdDateTime><TimeSeries><mRID>1</mRID>"
        '<inBiddingZone_Domain.mRID codingScheme="A01">10Y1001A1001A82H</inBiddingZone_Domain.mRID>'
        "<quantity_Measure_Unit.name>MAW</quantity_Measure_Unit.name><curveType>A01</curveType>"
        "<MktPSRType><psrType>B05</psrType></MktPSRType><Period><timeInterval>"
        f"<start>{z(start, '%Y-%m-%dT%H:%MZ')}</start><end>{z(end, '%Y-%m-%dT%H:%MZ')}</end></timeInterval>"
        f"<resolution>PT60M</resolution>{points}</Period></TimeSeries></GL_MarketDocument>"
    )


def japan(start: datetime, values: Values) -> tuple[str, str]:
    rows = []
    for at, value in stamped(start, values, timedelta(minutes=30)):
        local, cell = at.astimezone(TOKYO), "" if value is None else f"{value:g}"
        rows.append(f"{local.year}/{local.month}/{local.day},{local.hour}:{local:%M},9,{cell},9")
    return "eria_jukyu.csv", "\n".join(
        ["単位[MW平均],,,供給力", "DATE,TIME,エリア需要,火力(石炭),合計", *rows]
    )


def kyushu(start: datetime, values: Values) -> tuple[str, str]:
    """Ends of intervals, the day's last one as 24:00."""
    rows = []
    for at, value in stamped(start, values, timedelta(minutes=30)):
        local, cell = at.astimezone(TOKYO), "" if value is None else f"{value:g}"
        minutes = 60 * local.hour + local.minute + 30
        rows.append(f'"{local:%Y%m%d}","{minutes // 60:02d}:{minutes % 60:02d}","9","{cell}","9"')
    return "kyushu.csv", "\n".join(
        ['"単位[MW平均]","",""', '"DATE","TIME","エリア需要","火力(石炭)","合計"', *rows]
    )


def plain(start: datetime, values: Values) -> tuple[str, str]:
    rows = [
        f"{at.astimezone(BERLIN):%Y-%m-%dT%H:%M},{'' if value is None else value}"
        for at, value in stamped(start, values, timedelta(hours=1))
    ]
    return "given.csv", "\n".join(["time,intensity [kg/MWh]", *rows])


HALF = timedelta(minutes=30)
SOURCES = {
    "csv": Source("intensity", BERLIN, plain, options={"zone": "DE", "time_zone": "Europe/Berlin"}),
    "electricity-maps": Source("intensity", BERLIN, electricity_maps),
    "entsoe-a75": Source("mix", BERLIN, entsoe),
    "gb-carbon-intensity": Source("intensity", LONDON, gb, HALF),
    "japan-area": Source("mix", TOKYO, japan, HALF, options={"zone": "JP-TK"}),
    "japan-area ends": Source("mix", TOKYO, kyushu, HALF, options={"zone": "JP-KY"}),
    "smard": Source("mix", BERLIN, smard),
    "watttime": Source("marginal", BERLIN, watttime, timedelta(minutes=5), G_PER_LB / 1000.0),
}
DAYS = (date(2024, 3, 31), date(2024, 6, 21), date(2024, 10, 27))
every_source = pytest.mark.parametrize("name", SOURCES)


def file_of(name: str, start: datetime, values: Values) -> SourceFile:
    file, text = SOURCES[name].write(start, values)
    return SourceFile(file, text.encode("cp932" if name.endswith("ends") else "utf-8"))


def read(name: str, *files: SourceFile) -> ImportedSeries:
    source = SOURCES[name]
    return read_import(name.split(" ", maxsplit=1)[0], files, source.series, Options(**source.options))


def span(name: str, day: date) -> tuple[datetime, int]:
    """The start of a local day, and how many intervals it has."""
    zone = SOURCES[name].zone
    start, end = (datetime(d.year, d.month, d.day, tzinfo=zone) for d in (day, day + timedelta(days=1)))
    return start.astimezone(UTC), round((end.astimezone(UTC) - start.astimezone(UTC)) / SOURCES[name].step)


def rising(count: int) -> list[float | None]:
    return [400.0 + k for k in range(count)]


def found(series: ImportedSeries) -> list[float]:
    return np.asarray(series.values.sum(axis=1)).tolist()


def test_every_importer_is_here() -> None:
    assert {name.split(" ")[0] for name in SOURCES} == set(IMPORTERS)


@every_source
@pytest.mark.parametrize("day", DAYS)
def test_a_local_day_keeps_every_interval(name: str, day: date) -> None:
    """23, 24 or 25 hours where the clock changes, 24 in Japan, each value at its own instant."""
    source = SOURCES[name]
    start, count = span(name, day)
    series = read(name, file_of(name, start, rising(count)))
    assert (series.resolution, series.gaps) == (source.step, [])
    seconds = round(source.step.total_seconds())
    assert series.starts.tolist() == [round(start.timestamp()) + k * seconds for k in range(count)]
    assert found(series) == pytest.approx([(400.0 + k) * source.scale for k in range(count)], rel=1e-12)


@every_source
def test_repeated_values_are_merged_and_conflicts_refused(name: str) -> None:
    start, count = span(name, DAYS[2])
    first = file_of(name, start, rising(count))
    series = read(name, first, first)
    assert series.notices == (f"{count} repeated values are identical and merged",)
    assert found(series) == found(read(name, first))
    other = file_of(name, start, [*rising(count)[:-1], 999.0])
    with pytest.raises(InputError, match="where one file revises the other, import them one after the other"):
        read(name, first, other)


@every_source
def test_a_gap_is_told_and_never_filled(name: str) -> None:
    source = SOURCES[name]
    start, count = span(name, DAYS[2])
    values = rising(count)
    values[5] = values[6] = None
    series = read(name, file_of(name, start, values))
    assert np.isnan(found(series)).nonzero()[0].tolist() == [5, 6]
    assert series.gaps == [(start + 5 * source.step, start + 7 * source.step)]


@every_source
def test_a_revised_value_stands_beside_the_old_one(name: str, tmp_path: Path) -> None:
    start, count = span(name, DAYS[2])
    values = rising(count)
    for day, value in enumerate((400.0, 433.0)):
        values[3] = value
        file = file_of(name, start, values)
        report = store_import(
            tmp_path, read(name, file), name=name, files=[(file.name, file.content)],
            known_at=KNOWN + timedelta(days=day),
        )  # fmt: skip
        assert (report["new"], report["revised"]) == ((count, 0) if day == 0 else (0, 1))
    folder = tmp_path / report["measured"]
    was, now = read_stored(folder, "x", KNOWN), read_stored(folder, "x")
    scale = SOURCES[name].scale
    assert float(was.values[3].sum()) == pytest.approx(400.0 * scale)
    assert float(now.values[3].sum()) == pytest.approx(433.0 * scale)
    assert was.version != now.version


@settings(max_examples=40)
@given(
    st.sampled_from(sorted(SOURCES)),
    st.dates(date(2020, 1, 1), date(2029, 12, 30)),
    st.lists(st.one_of(st.none(), st.integers(100, 900)), min_size=1, max_size=24),
)
def test_unit_and_clock_round_trips_keep_totals(name: str, day: date, drawn: list[int | None]) -> None:
    """On any day, with any gaps inside it, the sum of what was written is the sum of what is read."""
    start, count = span(name, day)
    values: list[float | None] = [500.0, *(None if v is None else float(v) for v in drawn), 600.0]
    values = [*values[:count], *[700.0] * (count - len(values))]
    values[-1] = 600.0
    series = read(name, file_of(name, start, values))
    written = [np.nan if value is None else value * SOURCES[name].scale for value in values]
    np.testing.assert_allclose(found(series), written, rtol=1e-12)
