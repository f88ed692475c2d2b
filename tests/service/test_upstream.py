"""Upstream carbon of a city: the estimate, and what imported series put in its place."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from energy.domain.errors import InputError
from energy.domain.time import TimeGrid
from energy.feeds.city import MeritOrder, UpstreamSection
from energy.feeds.factors import load_factors
from energy.feeds.importers.imported import Options, SourceFile
from energy.feeds.importers.registry import read_import
from energy.feeds.series_store import StoredSeries, read_stored, store_import
from energy.service.upstream import UpstreamSeries, upstream_series

TIME = TimeGrid(datetime(2024, 1, 1, tzinfo=UTC), timedelta(minutes=15), 16)
SECTION = UpstreamSection(merit_order=MeritOrder(load={"load": 1.0}, wind={"wind": 1.0}, pv={"pv": 1.0}))
COLUMNS = {
    "load": np.linspace(0.6, 1.0, 16),
    "wind": np.linspace(0.9, 0.1, 16),
    "pv": np.linspace(0.0, 0.5, 16),
}


def stored(folder: Path, text: str, kind: str, name: str = "csv") -> StoredSeries:
    file = SourceFile("given.csv", text.encode())
    zone = None if name == "watttime" else "DE"
    series = read_import(name, [file], kind, Options(zone=zone))
    report = store_import(
        folder,
        series,
        name=name,
        files=[(file.name, file.content)],
        known_at=datetime(2024, 2, 1, tzinfo=UTC),
    )
    return read_stored(folder / report["measured"], report["measured"])


def upstream(measured: StoredSeries | None = None, marginal: StoredSeries | None = None) -> UpstreamSeries:
    return upstream_series(SECTION, COLUMNS, TIME, measured, marginal, load_factors())


ESTIMATE = upstream()
INTENSITY = (
    "time,carbon_g_per_kwh,estimated\n2024-01-01T00:00Z,300,false\n2024-01-01T01:00Z,310,true\n"
    "2024-01-01T02:00Z,,false\n2024-01-01T03:00Z,330,false\n"
)
MIX = (
    "time,gas [MW],wind [MW],imports [MW]\n2024-01-01T00:00Z,50,50,10\n2024-01-01T01:00Z,25,75,10\n"
    "2024-01-01T02:00Z,,,\n2024-01-01T03:00Z,100,0,10\n"
)


def test_without_imports_everything_is_estimated_and_said_so() -> None:
    assert {source.estimated_share for source in ESTIMATE.sources} == {1.0}
    assert ESTIMATE.notices == (
        "upstream intensity and mix are estimated by a merit order of national shapes",
    )


def test_gaps_of_an_import_keep_the_estimate_and_count_as_estimated(tmp_path: Path) -> None:
    found = upstream(stored(tmp_path, INTENSITY, "intensity"))
    carbon = found.series[found.carbon]
    np.testing.assert_array_equal(carbon[:8], [300] * 4 + [310] * 4)
    np.testing.assert_array_equal(carbon[8:12], ESTIMATE.series[ESTIMATE.carbon][8:12])
    sources = {source.series: source for source in found.sources}
    assert sources["upstream intensity"].estimated_share == 0.5  # an hour flagged, an hour filled
    assert sources["upstream intensity"].version.startswith("import 1 of 2024-02-01T00:00:00Z+")
    assert sources["upstream marginal intensity"].estimated_share == 1.0
    assert "given.csv: 4 of 16 steps are gaps, filled by the estimate" in found.notices
    assert "upstream mix is estimated" in found.notices


def test_a_mix_becomes_intensity_by_the_factors_of_the_registry(tmp_path: Path) -> None:
    found = upstream(stored(tmp_path, MIX, "mix"))
    gas, wind = (load_factors().generation(name).g_per_kwh for name in ("gas", "wind"))
    carbon = found.series[found.carbon]
    np.testing.assert_allclose(carbon[[0, 4, 12]], [(gas + wind) / 2, gas / 4 + wind * 3 / 4, gas])
    np.testing.assert_allclose(found.series[found.renewable_share][[0, 4, 12]], [0.5, 0.75, 0.0])
    np.testing.assert_array_equal(carbon[8:12], ESTIMATE.series[ESTIMATE.carbon][8:12])
    shares = np.array([found.series[column] for column in found.mix.values()])
    np.testing.assert_allclose(shares.sum(axis=0), 1.0)
    (source,) = (source for source in found.sources if source.series == "upstream intensity")
    assert source.source == f"given.csv; mix × factors {load_factors().version}, life-cycle"
    assert source.estimated_share == 0.25
    assert any("imports take the average of the rest" in notice for notice in found.notices)


def test_mixing_direct_and_life_cycle_is_refused(tmp_path: Path) -> None:
    text = (
        '{"data": [{"from": "2024-01-01T00:00Z", "to": "2024-01-01T00:30Z", '
        '"intensity": {"forecast": 190, "actual": 200, "index": "moderate"}}]}'
    )
    file = SourceFile("gb.json", text.encode())
    series = read_import("gb-carbon-intensity", [file], "intensity", Options())
    store_import(
        tmp_path, series, name="gb-carbon-intensity", files=[], known_at=datetime(2024, 2, 1, tzinfo=UTC)
    )
    with pytest.raises(InputError, match="one trace has one basis"):
        upstream(read_stored(tmp_path / "series/intensity-GB", "series/intensity-GB"))


def test_an_imported_marginal_series_takes_the_place_of_that_estimate_alone(tmp_path: Path) -> None:
    points = ", ".join(
        f'{{"point_time": "2024-01-01T{hour:02}:00:00+00:00", "value": {800 + hour}}}' for hour in range(4)
    )
    meta = '"region": "CAISO_NORTH", "signal_type": "co2_moer", "units": "lbs_co2_per_mwh"'
    text = f'{{"data": [{points}], "meta": {{{meta}, "data_point_period_seconds": 3600}}}}'
    found = upstream(marginal=stored(tmp_path, text, "marginal", "watttime"))
    np.testing.assert_allclose(
        found.series[found.marginal_carbon][[0, 15]], np.array([800, 803]) * 0.45359237
    )
    np.testing.assert_array_equal(found.series[found.carbon], ESTIMATE.series[ESTIMATE.carbon])
    assert {source.series: source.estimated_share for source in found.sources} == {
        "upstream intensity": 1.0,
        "upstream marginal intensity": 0.0,
        "upstream mix": 1.0,
    }
