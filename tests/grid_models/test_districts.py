"""Districts from polygons and tables, and polygons drawn around stations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry import Point, shape

from energy.domain.errors import InputError
from grid_models.districts import Upstream, districts_from_polygons, districts_from_table, draw_districts
from grid_models.elements import Bus


def bus(
    index: int,
    xy: tuple[float, float] | None,
    *,
    vn_kv: float = 20.0,
    station: int | None = None,
    external: bool = False,
) -> Bus:
    return Bus(index, f"bus {index}", vn_kv, xy, station, external)


def square(key: str, west: float, east: float) -> dict[str, Any]:
    ring = [[west, 0.0], [east, 0.0], [east, 1.0], [west, 1.0], [west, 0.0]]
    return {
        "type": "Feature",
        "id": key,
        "properties": {"name": key.title()},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }


def assign(
    features: list[dict[str, Any]], buses: list[Bus], upstream: Upstream | None = None
) -> dict[int, str]:
    found = districts_from_polygons(
        {"type": "FeatureCollection", "features": features},
        {bus.index: bus for bus in buses},
        upstream=upstream or Upstream(),
        file="d.geojson",
    )
    return dict(found.district_of_bus)


WEST_EAST = [square("west", 0, 1), square("east", 1, 2)]


def test_a_bus_belongs_to_the_polygon_around_it_and_on_a_border_to_the_lowest_id() -> None:
    buses = [bus(0, (0.5, 0.5)), bus(1, (1.5, 0.5)), bus(2, (1.0, 0.5))]
    assert assign(WEST_EAST, buses) == {0: "west", 1: "east", 2: "east"}


def test_an_lv_grid_follows_its_station_unless_that_is_upstream() -> None:
    station, house = bus(0, (0.5, 0.5)), bus(1, (1.5, 0.5), vn_kv=0.4, station=0)
    assert assign(WEST_EAST, [station, house])[1] == "west"
    feeder = bus(0, (0.5, 0.5), external=True)
    assert assign(WEST_EAST, [feeder, house])[1] == "east"


def test_upstream_buses_outside_are_boundary_and_others_are_refused() -> None:
    far = (9.0, 9.0)
    assert assign(WEST_EAST, [bus(0, far, vn_kv=110.0), bus(1, far, external=True), bus(2, (0.5, 0.5))]) == {
        0: "boundary",
        1: "boundary",
        2: "west",
    }
    with pytest.raises(InputError) as refused:
        assign(WEST_EAST, [bus(3, far), bus(4, None)])
    assert [fault.path for fault in refused.value.faults] == ["bus 3 (bus 3)", "bus 4 (bus 4)"]
    assert "no coordinates" in refused.value.faults[1].message


def test_upstream_buses_inside_a_district_are_boundary_where_the_city_says_so() -> None:
    inside = [bus(0, (0.5, 0.5), vn_kv=110.0)]
    assert assign(WEST_EAST, inside) == {0: "west"}
    assert assign(WEST_EAST, inside, Upstream(always_boundary=True)) == {0: "boundary"}


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([square("a", 0, 1), square("b", 0.9, 2)], "overlap"),
        ([square("a", 0, 1), square("a", 1, 2)], "occurs twice"),
        ([square("boundary", 0, 1)], "upstream"),
        ([{**square("a", 0, 1), "id": None, "properties": {}}], "has no id"),
        ([{**square("a", 0, 1), "geometry": {"type": "Point", "coordinates": [0, 0]}}], "polygon is needed"),
        ([{**square("a", 0, 1), "geometry": None}], "cannot be read"),
        ([], "no features"),
    ],
)
def test_refuses_geometry(features: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(InputError, match=message):
        assign(features, [bus(0, (0.5, 0.5))])


def test_a_bow_tie_is_no_polygon() -> None:
    feature = square("a", 0, 1)
    feature["geometry"]["coordinates"] = [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]
    with pytest.raises(InputError, match="not valid"):
        assign([feature], [bus(0, (0.5, 0.5))])


def test_table_of_buses() -> None:
    buses = {0: bus(0, None, external=True), 1: bus(1, None), 2: bus(2, None)}
    found = districts_from_table([(1, "a", "Alpha"), (2, "b", "")], buses, upstream=Upstream(), file="d.csv")
    assert dict(found.district_of_bus) == {0: "boundary", 1: "a", 2: "b"}
    assert [(d.id, d.name, d.geometry, d.buses) for d in found.districts] == [
        ("a", "Alpha", None, (1,)),
        ("b", "b", None, (2,)),
    ]
    with pytest.raises(InputError, match="keep one"):
        districts_from_table([(1, "a", ""), (1, "b", "")], buses, upstream=Upstream(), file="d.csv")


@settings(max_examples=20)
@given(st.integers(2, 60), st.integers(1, 8), st.integers(0, 1000))
def test_drawn_districts_tile_the_area_around_all_sites(sites: int, count: int, seed: int) -> None:
    places = np.random.default_rng(seed).uniform([11.0, 53.0], [11.1, 53.1], (sites, 2))
    drawn = draw_districts([(float(x), float(y)) for x, y in places], count)
    polygons = [shape(feature["geometry"]) for feature in drawn["features"]]
    assert 1 <= len(polygons) <= count
    assert all(polygon.is_valid for polygon in polygons)
    union = shapely.union_all(polygons)
    assert sum(polygon.area for polygon in polygons) == pytest.approx(union.area, rel=1e-6)
    assert union.geom_type == "Polygon"
    assert all(union.contains(Point(place)) for place in places)
    buses = [bus(k, (float(x), float(y))) for k, (x, y) in enumerate(places)]
    assert set(assign(drawn["features"], buses).values()) <= {feature["id"] for feature in drawn["features"]}
    assert drawn == draw_districts([(float(x), float(y)) for x, y in places], count)
