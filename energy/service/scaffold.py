"""``wattshed init``: a commented city for any grid source, which passes ``check`` and ``plan`` as it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path

import grid_models
from energy.domain.errors import Fault, InputError
from energy.feeds.city import CITY_FILE
from energy.feeds.documents import replacing
from grid_models.districts import Upstream, draw_districts
from grid_models.elements import GridElements, grid_elements
from grid_models.sources import load_grid

PRICE_FILE = "nl_2016_day_ahead_price.csv"
TECHNOLOGIES = {
    "lv_RES*": "pv",
    "*PV*": "pv",
    "*pv*": "pv",
    "*olar*": "pv",
    "WP*": "wind",
    "*Wind*": "wind",
    "*wind*": "wind",
    "*iomass*": "biomass",
    "*ydro*": "hydro",
}
"""Patterns of sgen types that say what generates."""
SITES_PER_DISTRICT = 8
DISTRICTS_MAX = 10
EVS_MAX = 50


def scaffold_city(directory: Path, source: str) -> list[Path]:
    """Write a city for the grid `source` into a new or empty directory; the files, in order of writing.

    Raises `InputError` where the directory holds something, or the grid cannot be used.
    """
    directory = Path(directory)
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise InputError(Fault(str(directory), "is not empty; name a new or empty directory"))
    elements = grid_elements(load_grid(source))
    starter = Path(grid_models.__file__).parent
    directory.mkdir(parents=True, exist_ok=True)
    written = []
    if source.partition(":")[0] not in ("simbench", "pandapower"):
        shutil.copyfile(source, directory / Path(source).name)
        source = Path(source).name
        written.append(directory / source)
    districts = _write_districts(directory, elements)
    for file in (
        starter / "starter_city" / "profiles.csv",
        starter / "reference_city" / PRICE_FILE,
        starter / "reference_city" / "ev_distributions",
    ):
        target = directory / file.name
        (shutil.copytree if file.is_dir() else shutil.copyfile)(file, target)
        written.append(target)
    text = _document(directory.resolve().name, source, districts.name, elements)
    with replacing(directory / CITY_FILE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return [*written, districts, directory / CITY_FILE]


def _write_districts(directory: Path, elements: GridElements) -> Path:
    """Polygons around the sites where the grid has coordinates, else one district by a table of buses."""
    inside = [bus for bus in elements.buses.values() if not Upstream().holds(bus)]
    stations = [bus.xy for bus in inside if bus.station is None] or [bus.xy for bus in inside]
    sites = sorted({xy for xy in stations if xy is not None})
    if all(bus.xy is not None for bus in inside) and len(sites) > 2:
        count = min(DISTRICTS_MAX, max(1, len(sites) // SITES_PER_DISTRICT))
        path = directory / "districts.geojson"
        path.write_text(json.dumps(draw_districts(sites, count), indent=1) + "\n", encoding="utf-8")
        return path
    path = directory / "districts.csv"
    rows = "".join(f"{bus.index},d01,District 1\n" for bus in inside)
    path.write_text(f"bus,district,name\n{rows}", encoding="utf-8")
    return path


def _document(name: str, source: str, districts: str, elements: GridElements) -> str:
    types = sorted({sgen.type or "" for sgen in elements.sgens})
    matched = {
        pattern: technology
        for pattern, technology in TECHNOLOGIES.items()
        if any(fnmatchcase(kind, pattern) for kind in types)
    }
    unknown = [kind for kind in types if not any(fnmatchcase(kind, pattern) for pattern in matched)]
    usable = all(
        storage.e_max_mwh > storage.e_min_mwh and storage.charge_max_mw > 0 for storage in elements.storages
    )
    tables = ["load", "sgen"] + ["storage"] * usable
    key = "polygons" if districts.endswith(".geojson") else "buses"
    return TEMPLATE.format(
        id="".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower()).strip(
            "-"
        )
        or "city",
        name=json.dumps(name, ensure_ascii=False),
        source=json.dumps(source),
        root=f"root_ext_grid = {elements.external_grids[0]}  # the one of several that feeds the city\n"
        if len(elements.external_grids) > 1
        else "",
        districts=f'{key} = "{districts}"',
        tables=json.dumps(tables),
        storages="" if usable else " # the storage table lacks energy or power, so it is not taken",
        unknown=_toml_list(unknown),
        technologies="\n".join(f'"{pattern}" = "{technology}"' for pattern, technology in matched.items()),
        price_file=PRICE_FILE,
        evs=max(1, min(EVS_MAX, len({load.bus for load in elements.loads}) // 2)),
    )


def _toml_list(texts: Iterable[str]) -> str:
    return "[" + ", ".join(json.dumps(text, ensure_ascii=False) for text in texts) + "]"


TEMPLATE = """\
# A city for Wattshed. Powers in kW, energies in kWh, prices per MWh, times RFC 3339 with offset.
# `wattshed check DIR` lists every fault; `wattshed schema city` is the full reference.
schema = "wattshed.city/1"

[city]
id = "{id}"
name = {name}
time_zone = "Europe/Berlin"        # days are local days: 92, 96 or 100 quarter-hours
currency = "EUR"
replay = true                      # a year of the past is replayed: there is no "now"
carbon_map_g_per_kwh = [0, 700]    # fixed bounds of the carbon colour scale

[period]                           # every series must cover these local days
first_day = 2016-01-01
last_day = 2016-12-31
resolution = "PT15M"

[grid]
source = {source}                  # simbench:CODE, pandapower:NAME, or a .json or .m file in this directory

[twin]
taps = "ignore"                    # stored taps without a changer type; "ratio" applies them
{root}
[limits]
vm_min_pu = 0.9
vm_max_pu = 1.1
loading_max_percent = 100

[districts]                        # polygons (GeoJSON) or buses (CSV: bus, district, name)
{districts}
upstream_vn_kv_min = 60            # buses from here on, and external grids, are upstream

# Files of series: column "time", then one column each. Replace these by the city's own.
[[profiles]]
file = "profiles.csv"
source = "SimBench, hourly means of 2016"
licence = "ODbL 1.0"
version = "2016"

[[profiles]]
file = "{price_file}"
source = "ENTSO-E Transparency Platform, Dutch day-ahead price 2016, as packed in ev2gym 2.0.0 (MIT)"
licence = "re-use with attribution"
version = "2016"
fill_up_to = "PT1H"                # the series begins an hour after the local year does

[assets]
from_grid = {tables}{storages}
exclude_profiles = ["APLS*", "HLS*"]   # SimBench's wallboxes and hubs: the EVs below take their place
exclude_types = {unknown}          # sgens whose type names no technology: map them below to use them
load_profile = "load"              # for loads without a profile of their own
not_curtailable = ["hydro", "biomass"]
# loads = "loads.csv"              # further assets: loads, renewables, batteries, vehicles with sessions

[assets.renewable_profiles]        # technology -> column, for generation without a profile of its own
pv = "pv"
wind = "wind"
hydro = "constant"
biomass = "constant"

[assets.technologies]              # pattern of sgen type -> technology; the first match counts
{technologies}

[assets.battery]
efficiency = 0.95                  # one-way, for storages that state none
e_start_fraction = 0.5
wear_cost_per_mwh = 15.0
carbon_start_g_per_kwh = 450.0     # declared carbon of the first kWh

[market]
day_ahead = "price_eur_per_mwh"    # a column of a profiles file
import_fee_per_mwh = 75.0          # added to the price of imports
export_fee_per_mwh = 2.0           # taken off the price of exports
carbon_price_per_t = 60.0
peak_import_price_per_kw = 5.0     # demand charge on the month's highest quarter-hour

[factors]
zone = ""                          # whose official grid factors: a country like "DE" or a zone of it
# file = "factors.csv"             # emission factors of the city's own

[upstream]                         # `measured = "intensity.csv"` takes the place of the estimate
[upstream.merit_order]             # national shapes: column = weight
load = {{ national_load = 1 }}
wind = {{ wind = 1 }}
pv = {{ pv = 1 }}

[ev]                               # synthetic EVs, drawn with this seed
seed = 1
distributions = "ev_distributions"
source = "ElaadNL open data, as packed in ev2gym 2.0.0 (MIT)"
licence = "aggregated figures; source to be named"
sessions_per_day = 0.4

[[ev.fleets]]
id = "home"
kind = "home"                      # home, workplace, public, or depot with a timetable
vehicles = {evs}
at = {{ load_profiles = ["*"] }}     # buses with loads of these profiles, or buses = [1, 2]
v2g_share = 0.3
charge_max_kw = 11
battery_kwh = [40, 60, 77]
"""
