"""Cities as directories: opened, cached, checked, scaffolded; and the reference city's facts."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from energy.domain.city import LOCAL_GENERATION, City
from energy.domain.errors import InputError
from energy.feeds.city_cache import cache_folder, fingerprint
from energy.service.cities import (
    check_city,
    city_grid,
    city_twin,
    init_city,
    open_city,
    reference_city_directory,
)
from energy.service.factors import city_factors

SMALL = "pandapower:create_kerber_landnetz_freileitung_1"


@pytest.fixture(scope="module")
def reference(reference_home: Path) -> City:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WATTSHED_HOME", str(reference_home))
        return open_city(reference_city_directory())


def edit(directory: Path, old: str, new: str) -> None:
    path = directory / "city.toml"
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A scaffolded city of a small grid, cut to two days."""
    init_city(tmp_path / "small", SMALL)
    edit(tmp_path / "small", "last_day = 2016-12-31", "last_day = 2016-01-02")
    return tmp_path / "small"


def same(one: City, other: City) -> bool:
    """Equal in every value; arrays compared as arrays."""
    assert one.profiles.columns == other.profiles.columns
    assert one.profiles.time == other.profiles.time
    assert np.array_equal(one.profiles.values, other.profiles.values)
    return replace(one, profiles=other.profiles) == other


def test_a_city_is_prepared_once_and_after_every_change(small: Path) -> None:
    told: list[str] = []
    first = open_city(small, lambda _share, message: told.append(message))
    assert len(told) > 3
    told.clear()
    second = open_city(small, lambda _share, message: told.append(message))
    assert told == ["city opened"]
    assert same(first, second)
    edit(small, "vm_min_pu = 0.9", "vm_min_pu = 0.95")
    changed = open_city(small)
    assert changed.limits.vm_min_pu == 0.95
    assert changed.fingerprint != first.fingerprint


def test_a_refused_city_leaves_nothing_in_the_cache(small: Path, home: Path) -> None:
    edit(small, 'load_profile = "load"', 'load_profile = "lod"')
    with pytest.raises(InputError, match="did you mean 'load'"):
        open_city(small)
    assert list(home.rglob("*")) == []


def test_an_interrupted_preparation_is_not_taken_for_a_city(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("grid_models.elements.save_grid", killed)
        with pytest.raises(KeyboardInterrupt):
            open_city(small)
    folder = cache_folder(fingerprint(small))
    assert not folder.exists()
    assert list(folder.parent.iterdir()) == []
    assert open_city(small).id == "small"


def test_a_prepared_city_opens_without_pandapower(small: Path) -> None:
    open_city(small)
    program = (
        "import sys; from pathlib import Path; from energy.service.cities import open_city; "
        f"open_city(Path({str(small)!r})); print('pandapower' in sys.modules, 'simbench' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "False"]


def test_the_cached_grid_solves_like_the_source(small: Path) -> None:
    city = open_city(small)
    assert city_grid(city).source == SMALL
    twin = city_twin(city)
    assert {bus.index for bus in twin.buses} == set(city.bus_names)


@pytest.mark.parametrize(
    "source",
    [
        "pandapower:case33bw",
        "pandapower:mv_oberrhein",
        "pandapower:create_cigre_network_mv?with_der=all",
        "simbench:1-LV-rural1--2-sw",
    ],
)
def test_a_scaffolded_city_passes_the_check(tmp_path: Path, source: str) -> None:
    written = init_city(tmp_path / "Neue Stadt", source)
    assert all(path.exists() for path in written)
    report = check_city(tmp_path / "Neue Stadt")
    assert report["city"] == "neue-stadt"
    assert (report["first_day"], report["last_day"]) == ("2016-01-01", "2016-12-31")
    assert report["loads"] > 0
    assert report["evs"] > 0
    assert any("synthetic" in notice for notice in report["notices"])
    json.dumps(report, allow_nan=False)


def test_init_writes_only_into_a_new_or_empty_directory(small: Path) -> None:
    before = sorted(small.rglob("*"))
    with pytest.raises(InputError, match="not empty"):
        init_city(small, SMALL)
    assert sorted(small.rglob("*")) == before


def test_a_grid_file_is_copied_into_the_city(tmp_path: Path) -> None:
    source = Path(__file__).parents[1] / "bad_input" / "city_two_islands" / "city" / "grid.json"
    written = init_city(tmp_path / "own", str(source))
    assert tmp_path / "own" / "grid.json" in written
    with pytest.raises(InputError, match="no external grid"):  # the second island has a load
        check_city(tmp_path / "own")


def test_assets_from_files_stand_beside_those_of_the_grid(small: Path) -> None:
    edit(small, '# loads = "loads.csv"', 'loads = "loads.csv"\nbatteries = "batteries.csv"\n#')
    (small / "loads.csv").write_text("id,bus,profile,p_kw,q_kvar\nmill,5,constant,12.5,3\n")
    (small / "batteries.csv").write_text(
        "id,bus,charge_max_kw,discharge_max_kw,e_max_kwh,e_start_kwh,charge_efficiency,discharge_efficiency\n"
        "cellar,bus_1_3,50,40,100,20,0.95,0.93\n"
    )
    city = open_city(small)
    mill = next(load for load in city.loads if load.id == "mill")
    assert (mill.bus, mill.p.factor, mill.q and mill.q.factor) == (5, 0.0125, 0.003)
    (cellar,) = city.batteries
    assert (cellar.charge_max_mw, cellar.discharge_max_mw, cellar.e_max_mwh) == (0.05, 0.04, 0.1)
    assert city.bus_names[cellar.bus] == "bus_1_3"


def test_measured_intensities_take_the_place_of_the_estimate(small: Path) -> None:
    estimated = open_city(small)
    assert {source.estimated_share for source in estimated.sources if "upstream" in source.series} == {1.0}
    edit(small, "[upstream] ", '[upstream]\nmeasured = "intensity.csv"\n#')
    start = datetime(2015, 12, 31, 23, tzinfo=UTC)
    rows = [f"{(start + timedelta(hours=k)).isoformat()},{300 + k}" for k in range(48)]
    (small / "intensity.csv").write_text("\n".join(["time,carbon_g_per_kwh", *rows]) + "\n")
    city = open_city(small)
    assert city.profiles.window(city.market.carbon, city.profiles.time)[:8].tolist() == [300] * 4 + [301] * 4
    shares = {source.series: source.estimated_share for source in city.sources}
    (used,) = (source for source in city.sources if source.series == "upstream intensity")
    digest = hashlib.sha256((small / "intensity.csv").read_bytes()).hexdigest()
    assert (used.hash, used.factors) == (f"sha256:{digest}", ())
    assert shares["upstream intensity"] == 0.0
    assert shares["upstream marginal intensity"] == 1.0


def test_an_imported_mix_and_factors_of_the_citys_own(small: Path, run_cli: Any) -> None:
    start = datetime(2015, 12, 31, 23, tzinfo=UTC)
    rows = [f"{(start + timedelta(hours=k)).isoformat()},50,50" for k in range(48) if k != 7]
    (small / "mix.csv").write_text("\n".join(["time,gas [MW],wind [MW]", *rows]) + "\n")
    imported = run_cli(
        "import", "csv", str(small / "mix.csv"), "--city", str(small), "--series", "mix", "--zone", "DE"
    )
    assert imported.exit_code == 0, imported.stderr
    edit(small, "[upstream] ", '[upstream]\nmeasured = "series/mix-DE"\n#')
    edit(small, '# file = "factors.csv"', 'file = "factors.csv"')
    (small / "factors.csv").write_text(
        "id,kind,technology,renewable,value,unit,gas_basis,basis,source,data_year,publication_year,valid_from\n"
        'lc-gas,generation,gas,false,0.5,kg/kWh,"CO2e, GWP100 of AR6",life-cycle,study,2020,2021,2014-01-01\n'
    )
    city = open_city(small)
    carbon = city.profiles.window(city.market.carbon, city.profiles.time)
    assert carbon[:4].tolist() == [(500 + 11) / 2] * 4
    upstream = {source.series: source for source in city.sources if source.series.startswith("upstream")}
    assert upstream["upstream intensity"].estimated_share == pytest.approx(1 / 48)
    assert ", own 1+" in upstream["upstream intensity"].source
    assert upstream["upstream intensity"].hash.startswith("sha256:")
    assert {"lc-gas", "lc-wind"} <= {factor.id for factor in upstream["upstream intensity"].factors}
    assert upstream["upstream intensity"].version.startswith("import 1 of ")
    assert city_factors(city).generation("gas").value == 500

    edit(small, 'measured = "series/mix-DE"', 'measured = "series/mix-DE"\nas_of = 2015-01-01T00:00:00Z')
    with pytest.raises(InputError, match="nothing that was known at 2015-01-01"):
        open_city(small)


# -- the reference city ------------------------------------------------------------------------------


def test_reference_counts(reference: City) -> None:
    assert len(reference.bus_names) == len(reference.district_of_bus) == 250
    assert len(reference.batteries) == 129
    assert len(reference.renewables) == 149
    assert len(reference.vehicles) == 600
    assert (reference.limits.vm_min_pu, reference.limits.vm_max_pu) == (0.95, 1.05)
    assert not any("APLS" in load.p.column or "HLS" in load.p.column for load in reference.loads)
    assert all(load.q is not None for load in reference.loads)


def test_reference_year_is_local_and_whole(reference: City) -> None:
    time = reference.profiles.time
    assert time.start == datetime(2015, 12, 31, 23, tzinfo=UTC)
    assert time.steps == 35136
    assert [
        reference.day(day).steps for day in (date(2016, 3, 27), date(2016, 6, 21), date(2016, 10, 30))
    ] == [
        92,
        96,
        100,
    ]
    with pytest.raises(IndexError):
        reference.day(date(2017, 1, 1))
    # PV is dark at local midnight and bright at noon all year, so stamps were read in the right zone
    pv = reference.profiles.values[:, reference.profiles.columns.index("PV3")]
    hours = np.array([instant.astimezone(reference.zone).hour for instant in time])
    assert pv[hours == 1].max() < 1e-3 < pv[hours == 13].mean()


def test_reference_assets_follow_the_rules_of_the_city(reference: City) -> None:
    technologies = Counter(site.technology for site in reference.renewables)
    assert technologies == {"pv": 140, "wind": 7, "hydro": 1, "biomass": 1}
    assert {site.technology for site in reference.renewables if not site.curtailable} == {"hydro", "biomass"}
    for battery in reference.batteries:
        assert battery.charge_max_mw == battery.discharge_max_mw > 0
        assert battery.charge_efficiency == battery.discharge_efficiency == 0.95
        assert battery.e_min_mwh <= battery.e_start_mwh <= battery.e_max_mwh
        assert battery.self_discharge_per_hour == pytest.approx(0.0013 / 24)


def test_reference_districts_hold_their_stations_and_boundary_the_upstream(reference: City) -> None:
    assert 8 <= len(reference.districts) <= 12
    assert [bus for bus, district in reference.district_of_bus.items() if district == "boundary"] == [0, 1]
    stations = Counter(
        reference.district_of_bus[bus] for bus, name in reference.bus_names.items() if name.startswith("MV")
    )
    assert min(stations[district.id] for district in reference.districts) >= 5
    houses = {
        reference.district_of_bus[bus] for bus, name in reference.bus_names.items() if name.startswith("LV")
    }
    assert len(houses) == 1


def test_reference_ev_fleets(reference: City) -> None:
    low_voltage = {bus for bus, name in reference.bus_names.items() if name.startswith("LV")}
    assert sum(vehicle.bus in low_voltage for vehicle in reference.vehicles) == 150
    assert sum(vehicle.v2g for vehicle in reference.vehicles) == pytest.approx(180, abs=5)
    sizes = Counter(vehicle.fleet for vehicle in reference.vehicles)
    assert {"hub", "depot"} < sizes.keys()


def test_reference_price_fill_is_said_and_estimates_are_flagged(reference: City) -> None:
    assert any("nl_2016_day_ahead_price.csv" in notice and "filled" in notice for notice in reference.notices)
    assert any("tap positions" in notice for notice in reference.notices)
    (local,) = (source for source in reference.sources if source.series == LOCAL_GENERATION)
    assert [factor.technology for factor in local.factors] == ["biomass", "hydro", "pv", "wind"]
    price = reference_city_directory() / "nl_2016_day_ahead_price.csv"
    hashes = {source.series: source.hash for source in reference.sources}
    assert hashes[price.name] == f"sha256:{hashlib.sha256(price.read_bytes()).hexdigest()}"
    flagged = {source.series for source in reference.sources if source.estimated_share == 1.0}
    assert {"upstream intensity", "EV sessions (synthetic)"} <= flagged
    carbon = reference.profiles.window(reference.market.carbon, reference.profiles.time)
    assert 450 < carbon.mean() < 560


@pytest.mark.parametrize("file", ["city.json", "profiles.npy", "sessions.npz"])
@pytest.mark.parametrize("kept", [0, 40])
def test_a_damaged_cache_is_made_anew(
    small: Path, monkeypatch: pytest.MonkeyPatch, file: str, kept: int
) -> None:
    monkeypatch.setenv("WATTSHED_HOME", str(small.parent / "home"))
    whole = open_city(small)
    damaged = cache_folder(whole.fingerprint) / file
    damaged.write_bytes(damaged.read_bytes()[:kept])
    assert same(open_city(small), whole)
