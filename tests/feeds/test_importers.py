"""Importers on files in the real shape of their sources: units, time, duplicates, gaps, encodings."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energy.domain.errors import InputError
from energy.domain.time import parse_instant
from energy.feeds.factors import load_factors
from energy.feeds.importers.entsoe import PSR_TYPES
from energy.feeds.importers.imported import INTENSITY_UNITS, ImportedSeries, Options, SourceFile
from energy.feeds.importers.json_sources import ELECTRICITY_MAPS, GB, SMARD
from energy.feeds.importers.registry import IMPORTERS, read_import, source_file
from energy.feeds.importers.tables import JAPAN

FILES = Path(__file__).parent / "files"
BERLIN = ZoneInfo("Europe/Berlin")


def read(name: str, file: str | SourceFile, kind: str, **options: str) -> ImportedSeries:
    source = source_file(FILES / file) if isinstance(file, str) else file
    return read_import(name, [source], kind, Options(**options))


def refused(name: str, file: str | SourceFile, kind: str, **options: str) -> str:
    with pytest.raises(InputError) as error:
        read(name, file, kind, **options)
    return str(error.value)


def text_file(text: str, name: str = "given.csv", encoding: str = "utf-8") -> SourceFile:
    return SourceFile(name, text.encode(encoding))


def changed(file: str, *pairs: tuple[str, str], encoding: str = "utf-8") -> SourceFile:
    text = (FILES / file).read_bytes().decode(encoding)
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return SourceFile(file, text.encode(encoding))


def instants(series: ImportedSeries) -> list[str]:
    return [datetime.fromtimestamp(start, UTC).strftime("%m-%dT%H:%MZ") for start in series.starts.tolist()]


# -- Electricity Maps ----------------------------------------------------------------------------------


def test_electricity_maps_intensity_with_a_gap_and_estimates() -> None:
    series = read("electricity-maps", "electricity_maps_carbon_intensity_history.json", "intensity")
    assert (series.zone, series.unit, series.basis) == ("DE", "g/kWh", "life-cycle")
    assert series.resolution == timedelta(hours=1)
    assert instants(series) == [f"01-15T{hour}:00Z" for hour in range(10, 15)]
    np.testing.assert_array_equal(series.values[:, 0], [412, 405, 398, np.nan, 421])
    assert series.estimated.tolist() == [False, False, True, False, True]
    assert series.methods == ("FORECASTS_HIERARCHY", "TIME_SLICER_AVERAGE")
    assert series.gaps == [(parse_instant("2024-01-15T13:00Z"), parse_instant("2024-01-15T14:00Z"))]
    assert series.published_at == parse_instant("2024-01-17T09:00:00Z")


def test_electricity_maps_mix_is_that_of_consumption() -> None:
    series = read("electricity-maps", "electricity_maps_power_breakdown_history.json", "mix")
    assert series.unit == "MW"
    row = dict(zip(series.columns, series.values[0], strict=True))
    assert row["pv"] == 5000
    assert row["other"] == 300
    assert row["storage"] == 1000  # from pumped hydro; batteries gave none
    assert series.estimated.tolist() == [False, True]


def test_electricity_maps_zones_and_factor_types_never_mix() -> None:
    name = "electricity_maps_carbon_intensity_history.json"
    assert "states zone 'DE', not 'FR'" in refused("electricity-maps", name, "intensity", zone="FR")
    text = (FILES / name).read_text(encoding="utf-8")
    other = text.replace('"emissionFactorType": "lifecycle"', '"emissionFactorType": "direct"', 1)
    assert "mixes the emission factor types" in refused("electricity-maps", text_file(other), "intensity")
    other = text.replace(
        '"zone": "DE",\n   "carbonIntensity": 412', '"zone": "FR",\n   "carbonIntensity": 412'
    )
    assert "holds the zones ['DE', 'FR']" in refused("electricity-maps", text_file(other), "intensity")
    assert "has no powerConsumptionBreakdown" in refused("electricity-maps", name, "mix")
    assert "has no series 'marginal'" in refused("electricity-maps", name, "marginal")


def test_electricity_maps_files_of_two_factor_types_are_refused_together() -> None:
    first = source_file(FILES / "electricity_maps_carbon_intensity_history.json")
    text = first.content.decode().replace("2024-01-15", "2024-01-16").replace("lifecycle", "direct")
    with pytest.raises(InputError, match="mixes the emission factor types"):
        read_import("electricity-maps", [first, text_file(text, "next.json")], "intensity", Options())


# -- WattTime ------------------------------------------------------------------------------------------


def test_watttime_pounds_become_grams() -> None:
    series = read("watttime", "watttime_historical.json", "marginal")
    assert (series.zone, series.unit, series.basis) == ("CAISO_NORTH", "g/kWh", "direct")
    assert series.resolution == timedelta(minutes=5)
    np.testing.assert_allclose(series.values[:, 0], np.array([870.0, 865.5, 911.2]) * 0.45359237, rtol=1e-12)


def test_watttime_says_what_it_holds() -> None:
    file = "watttime_historical.json"
    assert "holds 'co2_moer', not intensity" in refused("watttime", file, "intensity")
    assert "states unit 'lbs/MWh', not 'g/kWh'" in refused("watttime", file, "marginal", unit="g/kWh")
    other = changed(file, ("lbs_co2_per_mwh", "stones_per_mwh"))
    assert "unit is 'stones_per_mwh'" in refused("watttime", other, "marginal")
    other = changed(file, ("865.5", "true"))
    assert "data[1]: is True; a number is needed" in refused("watttime", other, "marginal")


# -- GB Carbon Intensity -------------------------------------------------------------------------------


def test_gb_takes_the_actual_and_marks_a_forecast_in_its_place() -> None:
    series = read("gb-carbon-intensity", "gb_intensity_national.json", "intensity")
    assert (series.zone, series.basis, series.resolution) == ("GB", "direct", timedelta(minutes=30))
    assert series.values[:, 0].tolist() == [263, 270, 279]
    assert series.estimated.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("file", "options"), [("gb_regional_london.json", {}), ("gb_regional_all.json", {"zone": "GB-13"})]
)
def test_gb_regions_are_forecasts(file: str, options: dict[str, str]) -> None:
    series = read("gb-carbon-intensity", file, "intensity", **options)
    assert series.zone == "GB-13"
    assert series.values[:, 0].tolist() == [190, 184]
    assert series.estimated.all()


def test_gb_mix_in_percent() -> None:
    series = read("gb-carbon-intensity", "gb_regional_london.json", "mix")
    assert series.unit == "%"
    np.testing.assert_allclose(series.values.sum(axis=1), 100.0)
    assert "imports" in series.columns
    assert "give --zone, one of GB-1 North Scotland" in refused(
        "gb-carbon-intensity", "gb_regional_all.json", "mix"
    )


# -- SMARD ---------------------------------------------------------------------------------------------


def smard_day(day: str, filter_id: str, value: float = 250.0, drop: int | None = None) -> SourceFile:
    """A local day of quarter-hours, as chart data has it."""
    start = datetime.fromisoformat(day).replace(tzinfo=BERLIN)
    end = (datetime.fromisoformat(day) + timedelta(days=1)).replace(tzinfo=BERLIN)
    first, last = round(start.timestamp()), round(end.timestamp())
    series = [[at * 1000, None if k == drop else value + k] for k, at in enumerate(range(first, last, 900))]
    document = {"meta_data": {"version": 1, "created": 1703763445661}, "series": series}
    name = f"{filter_id}_DE_quarterhour_{first * 1000}.json"
    return SourceFile(name, json.dumps(document).encode())


@pytest.mark.parametrize(("day", "quarters"), [("2016-03-27", 92), ("2016-06-21", 96), ("2016-10-30", 100)])
def test_smard_local_days_of_92_96_and_100_quarter_hours(day: str, quarters: int) -> None:
    files = [
        smard_day(day, "1223"),
        smard_day(day, "4068", 10.0),
        smard_day(day, "1227"),
        smard_day(day, "4070"),
    ]
    series = read_import("smard", files, "mix", Options())
    assert len(series.starts) == quarters
    assert series.gaps == []
    assert (series.zone, series.unit) == ("DE", "MW")
    lignite = series.values[:, series.columns.index("lignite")]
    assert lignite[0] == 1000.0  # 250 MWh in a quarter-hour
    assert lignite.sum() / 4 == pytest.approx(sum(250.0 + k for k in range(quarters)))
    assert series.published_at == datetime(2023, 12, 28, 11, 37, 25, 661000, UTC)


def test_smard_gap_in_one_technology_is_a_gap_of_the_mix() -> None:
    files = [smard_day("2016-06-21", "1223", drop=5), smard_day("2016-06-21", "4068")]
    series = read_import("smard", files, "mix", Options())
    assert [end - start for start, end in series.gaps] == [timedelta(minutes=15)]


def test_smard_duplicates_are_merged_and_conflicts_refused() -> None:
    same = [smard_day("2016-06-21", "1223"), smard_day("2016-06-21", "1223")]
    series = read_import("smard", same, "mix", Options())
    assert "96 repeated values are identical and merged" in series.notices
    with pytest.raises(InputError, match=r"2016-06-20T22:00:00Z has 1004 for 1223 and 1000 before") as error:
        read_import("smard", [same[0], smard_day("2016-06-21", "1223", 251.0)], "mix", Options())
    assert len(error.value.faults) == 6
    assert "and 91 more of this kind" in str(error.value)


def test_smard_needs_the_technology() -> None:
    file = smard_day("2016-06-21", "1223")
    renamed = SourceFile("download.json", file.content)
    assert "does not say whose generation" in refused("smard", renamed, "mix", zone="DE")
    series = read("smard", renamed, "mix", zone="DE", technology="coal")
    assert series.columns == ("coal",)
    assert series.resolution == timedelta(minutes=15)


# -- ENTSO-E -------------------------------------------------------------------------------------------


def test_entsoe_curves_parts_and_consumption() -> None:
    series = read("entsoe-a75", "entsoe_a75.xml", "mix")
    assert (series.zone, series.unit) == ("DE-LU", "MW")
    assert series.resolution == timedelta(minutes=15)
    mix = {name: column.tolist() for name, column in zip(series.columns, series.values.T, strict=True)}
    assert mix["lignite"][:2] == [9000, 9000]  # A03 repeats what it leaves out
    assert mix["lignite"][3] == 9400
    assert mix["hydro"][:2] == [1700, 1710]  # B11 repeated to the end, plus B12
    assert mix["storage"][:2] == [300, 0]  # what pumps drew is no generation
    assert np.isnan(mix["wind"][2])  # A01 leaves a gap
    assert len(series.gaps) == 1
    assert "consumption of B10 is left out" in series.notices
    assert series.published_at == parse_instant("2024-02-01T09:30:00Z")


def test_entsoe_types_in_several_resolutions_take_the_finest() -> None:
    text = (FILES / "entsoe_a75.xml").read_text(encoding="utf-8")
    first, second = text.split("<mRID>2</mRID>")
    hourly = (
        first.replace("PT15M", "PT60M").replace("<position>3<", "<position>1<").replace(">9400<", ">9000<")
    )
    series = read("entsoe-a75", text_file(f"{hourly}<mRID>2</mRID>{second}", "mixed.xml"), "mix")
    assert series.resolution == timedelta(minutes=15)
    assert series.values[[0, 1, 3], series.columns.index("lignite")].tolist() == [9000] * 3
    odd = text.replace("PT15M", "PT25M", 1)
    assert "do not divide each other" in refused("entsoe-a75", text_file(odd, "odd.xml"), "mix")


def test_entsoe_what_is_refused() -> None:
    assert "No matching data found" in refused("entsoe-a75", "entsoe_no_data.xml", "mix")
    assert "is not XML" in refused("entsoe-a75", text_file("<GL_MarketDocument>", "cut.xml"), "mix")
    other = changed("entsoe_a75.xml", ("<psrType>B19", "<psrType>B77"))
    assert "unknown source 'B77'" in refused("entsoe-a75", other, "mix")
    other = changed("entsoe_a75.xml", ("<quantity>20000<", "<quantity>-20000<"))
    assert "wind: is -20000 MW" in refused("entsoe-a75", other, "mix")
    other = changed(
        "entsoe_a75.xml",
        (
            "<position>4</position>\n        <quantity>21000",
            "<position>9</position>\n        <quantity>21000",
        ),
    )
    assert "at position 9 of 4" in refused("entsoe-a75", other, "mix")
    entity = (
        '<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/hostname">]><GL_MarketDocument>&a;</GL_MarketDocument>'
    )
    assert "holds no series" in refused("entsoe-a75", text_file(entity, "entity.xml"), "mix")


# -- Japan ---------------------------------------------------------------------------------------------


def test_tepco_starts_header_on_the_second_line_and_bom() -> None:
    series = read("japan-area", "eria_jukyu_202404_03.csv", "mix", zone="JP-TK")
    assert instants(series)[0] == "03-31T15:00Z"  # midnight in Tokyo
    assert series.resolution == timedelta(minutes=30)
    row = dict(zip(series.columns, series.values[1], strict=True))
    assert (row["gas"], row["coal"], row["nuclear"]) == (11757, 6752, 1301)
    assert row["other"] == 1280 + 179
    assert row["storage"] == -1  # pumps draw, batteries give
    assert row["imports"] == 2101


def test_kyushu_labels_ends_and_writes_24_00() -> None:
    series = read("japan-area", "kyushu_eria_jukyu_202404.csv", "mix", zone="JP-KY")
    assert instants(series) == ["04-01T13:30Z", "04-01T14:00Z", "04-01T14:30Z", "04-01T15:00Z"]
    assert series.values[3, series.columns.index("wind")] == 90
    start = read("japan-area", "kyushu_eria_jukyu_202404.csv", "mix", zone="JP-KY", labels="start")
    assert (start.starts - series.starts == 1800).all()


def test_older_japanese_tables_are_hourly_and_in_ten_thousand_kw() -> None:
    series = read("japan-area", "area_juyo_2018_q1.csv", "mix", zone="JP-CG")
    assert series.resolution == timedelta(hours=1)
    assert series.values[0, series.columns.index("other")] == 6000
    assert series.values[1, series.columns.index("storage")] == -300


TOHOKU = (
    "DATE_TIME,エリア需要〔MWh〕,水力〔MWh〕,火力〔MWh〕,太陽光実績〔MWh〕,太陽光抑制量〔MWh〕,揚水〔MWh〕,連系線〔MWh〕\n"
    "2018/4/1 0:00,8000,900,6500,0,0,-120,720\n2018/4/1 1:00,7900,880,6400,10,5,-130,740\n"
)
KANSAI = (
    ",,,,太陽光,太陽光,風力,風力,,\n"
    "DATE_TIME,エリア需要〔MWh〕,原子力〔MWh〕,火力〔MWh〕,実績〔MWh〕,抑制量〔MWh〕,実績〔MWh〕,抑制量〔MWh〕,"
    "揚水〔ＭＷｈ〕,連系線〔MWh〕\n"
    "2018/4/1 0:00,13000,1000,9000,5,1,40,2,90,1600\n2018/4/1 0:30,12900,1000,8900,6,1,41,2,80,1600\n"
)


def test_japanese_tables_of_before_2024_hold_energies_in_one_column_of_times() -> None:
    """The header of Tohoku; that of Kansai, which names sun and wind in the line above it."""
    series = read("japan-area", text_file(TOHOKU, encoding="cp932"), "mix", zone="JP-TH")
    assert (series.unit, series.resolution) == ("MW", timedelta(hours=1))
    assert series.columns == ("hydro", "imports", "other", "pv", "storage")
    assert series.values.tolist() == [[900, 720, 6500, 0, -120], [880, 740, 6400, 10, -130]]
    assert instants(series) == ["03-31T15:00Z", "03-31T16:00Z"]
    series = read("japan-area", text_file(KANSAI, encoding="cp932"), "mix", zone="JP-KN")
    assert series.columns == ("imports", "nuclear", "other", "pv", "storage", "wind")
    assert series.values[0].tolist() == [3200, 2000, 18000, 10, 180, 80]  # MWh of half an hour
    mixed = text_file(TOHOKU.replace("水力〔MWh〕", "水力〔MW〕"))
    assert "states the units ['MW', 'MWh']" in refused("japan-area", mixed, "mix", zone="JP-TH")


def test_japanese_columns_have_variants() -> None:
    name = "eria_jukyu_202404_03.csv"
    pairs = (
        ("太陽光発電実績", "太陽光（実績）"),
        ("太陽光出力制御量", "太陽光 抑制量"),
        ("連系線", "連系線潮流"),
        ("火力(LNG)", "火力（LNG）"),
    )
    series = read("japan-area", changed(name, *pairs, encoding="utf-8-sig"), "mix", zone="JP-TK")
    np.testing.assert_array_equal(series.values, read("japan-area", name, "mix", zone="JP-TK").values)


def test_japanese_tables_that_are_refused() -> None:
    name = "eria_jukyu_202404_03.csv"
    assert "give --zone" in refused("japan-area", name, "mix")
    unlabelled = changed(name, ("0:00,26436", "0:15,26436"), encoding="utf-8-sig")
    assert "--labels" in refused("japan-area", unlabelled, "mix", zone="JP-TK")
    unitless = changed(name, ("単位[MW平均]", "実績"), encoding="utf-8-sig")
    assert "give --unit" in refused("japan-area", unitless, "mix", zone="JP-TK")
    assert read("japan-area", unitless, "mix", zone="JP-TK", unit="MW").unit == "MW"
    unknown = changed(name, ("地熱", "核融合"), encoding="utf-8-sig")
    assert "unknown source '核融合'" in refused("japan-area", unknown, "mix", zone="JP-TK")
    broken = changed(name, ("2024/4/1,0:30", "2024/4/31,0:30"), encoding="utf-8-sig")
    assert "is not a date and time" in refused("japan-area", broken, "mix", zone="JP-TK")
    assert "encodings" in refused("japan-area", SourceFile("x.csv", b"\xff\xfe\x81"), "mix", zone="JP-TK")


# -- plain CSV -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "value", "g_per_kwh"),
    [
        ("intensity [kg/MWh]", "431.5", 431.5),
        ("intensity (t/GWh)", "431.5", 431.5),
        ("intensity [lbs/MWh]", "951.3", 951.3 * 0.45359237),
        ("intensity [kg/kWh]", "0.4315", 431.5),
        ("carbon_g_per_kwh", "431.5", 431.5),
    ],
)
def test_csv_units_stand_in_the_header(header: str, value: str, g_per_kwh: float) -> None:
    text = f"time,{header}\n2024-01-15T10:00+01:00,{value}\n2024-01-15T11:00+01:00,{value}\n"
    series = read("csv", text_file(text), "intensity", zone="DE")
    np.testing.assert_allclose(series.values[:, 0], g_per_kwh, rtol=1e-12)
    assert instants(series)[0] == "01-15T09:00Z"


def test_csv_wrong_units_are_found_by_what_is_plausible() -> None:
    def rows(value: str) -> SourceFile:
        return text_file(f"time,intensity\n2024-01-15T10:00Z,{value}\n2024-01-15T11:00Z,{value}\n")

    assert "does not state its unit" in refused("csv", rows("431"), "intensity", zone="DE")
    assert "is it in kg/kWh" in refused("csv", rows("0.431"), "intensity", zone="DE", unit="g/kWh")
    message = refused("csv", rows("431"), "intensity", zone="DE", unit="kg/kWh")
    assert "is 431000 to 431000 g/kWh" in message
    message = refused("csv", rows("-3"), "intensity", zone="DE", unit="kg/MWh")
    assert "possible is 0 to 2000" in message
    message = refused("csv", rows("3100"), "intensity", zone="DE", unit="kg/MWh")
    assert "is it in lbs/MWh?" in message


def test_csv_of_a_mix_with_estimates_and_gaps() -> None:
    text = (
        "time,gas [GW],wind [GW],estimated\n"
        "2024-01-15T10:00Z,8,20,false\n2024-01-15T10:15Z,,20,false\n2024-01-15T10:30Z,9,21,true\n"
    )
    series = read("csv", text_file(text), "mix", zone="DE")
    assert series.columns == ("gas", "wind")
    np.testing.assert_array_equal(series.values, [[8000, 20000], [np.nan, np.nan], [9000, 21000]])
    assert series.estimated.tolist() == [False, False, True]
    wrong = text.replace("gas", "gaz")
    assert "unknown source 'gaz'; did you mean 'gas'" in refused("csv", text_file(wrong), "mix", zone="DE")


def local_day(day: str) -> str:
    """A local day without offsets: the repeated hour occurs twice."""
    first = datetime.fromisoformat(day).replace(tzinfo=BERLIN).astimezone(UTC)
    end = (datetime.fromisoformat(day) + timedelta(days=1)).replace(tzinfo=BERLIN).astimezone(UTC)
    lines = ["time,intensity [g/kWh]"]
    instant, k = first, 0
    while instant < end:
        lines.append(f"{instant.astimezone(BERLIN):%Y-%m-%dT%H:%M},{300 + k}")
        instant, k = instant + timedelta(minutes=15), k + 1
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(("day", "quarters"), [("2016-03-27", 92), ("2016-06-21", 96), ("2016-10-30", 100)])
def test_csv_in_local_time_keeps_all_quarter_hours(day: str, quarters: int) -> None:
    series = read("csv", text_file(local_day(day)), "intensity", zone="DE", time_zone="Europe/Berlin")
    np.testing.assert_array_equal(series.values[:, 0], 300.0 + np.arange(quarters))
    assert series.gaps == []


def test_csv_times_that_are_refused() -> None:
    text = "time,intensity [g/kWh]\n2016-03-27T02:15,300\n2016-03-27T03:15,310\n"
    assert "has no time zone" in refused("csv", text_file(text), "intensity", zone="DE")
    message = refused("csv", text_file(text), "intensity", zone="DE", time_zone="Europe/Berlin")
    assert "does not exist in Europe/Berlin" in message
    assert "is not a time zone" in refused("csv", text_file(text), "intensity", zone="DE", time_zone="Berlin")
    off = "time,intensity [g/kWh]\n2016-01-01T00:00Z,300\n2016-01-01T00:15Z,300\n2016-01-01T00:40Z,310\n"
    assert "is off the grid of PT15M" in refused("csv", text_file(off), "intensity", zone="DE")


def test_all_faults_of_a_file_come_at_once() -> None:
    text = "time,intensity [g/kWh]\nyesterday,300\n2016-01-01T00:15Z,many\n2016-01-01T00:30Z\n"
    message = refused("csv", text_file(text), "intensity", zone="DE")
    for expected in ("row 2: 'yesterday'", "row 3: intensity is 'many'", "row 4: has 1 values"):
        assert expected in message


def test_unknown_names_are_told_the_known_ones() -> None:
    file = text_file("")
    assert "did you mean 'smard'" in refused("smart", file, "mix")
    assert "did you mean 'mix'" in refused("smard", file, "mixx")
    assert sorted(IMPORTERS) == list(IMPORTERS)


# -- what always holds ---------------------------------------------------------------------------------


def test_every_technology_of_every_source_has_factors_of_both_bases() -> None:
    registry = load_factors()
    for table in (ELECTRICITY_MAPS, GB, SMARD, PSR_TYPES, JAPAN):
        for technology in set(table.values()) - {"imports", "storage"}:
            assert registry.generation(technology, "life-cycle").g_per_kwh > 0
            assert registry.generation(technology, "direct").g_per_kwh >= 0


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(INTENSITY_UNITS)),
    st.lists(st.floats(5, 1900), min_size=2, max_size=6),
    st.randoms(use_true_random=False),
)
def test_unit_and_order_change_nothing(unit: str, values: list[float], random: object) -> None:
    start = datetime(2024, 3, 31, tzinfo=UTC)
    rows = [
        f"{(start + k * timedelta(minutes=30)).isoformat()},{value / INTENSITY_UNITS[unit]!r}"
        for k, value in enumerate(values)
    ]
    random.shuffle(rows)
    text = "\n".join([f"time,intensity [{unit}]", *rows]) + "\n"
    series = read("csv", text_file(text), "intensity", zone="DE")
    np.testing.assert_allclose(series.values[:, 0], values, rtol=1e-12)
