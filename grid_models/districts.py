"""Districts: which bus lies where, by polygon or by table; and drawing polygons around stations.

Coordinates are longitude and latitude in degrees, as GeoJSON has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import shapely
from shapely.geometry import MultiPoint, Point, mapping, shape
from shapely.geometry.base import BaseGeometry

from energy.domain.city import BOUNDARY, District
from energy.domain.errors import Fault, InputError
from grid_models.elements import Bus

SLIVER = 1e-6
"""Districts that share less than this part of the smaller one merely touch, up to rounding."""
DECIMALS = 5
"""Drawn coordinates are rounded to about a metre."""


@dataclass(frozen=True, slots=True)
class Upstream:
    """Which buses are upstream (from this voltage on, and external grids), and whether these form
    `BOUNDARY` even where a district surrounds them."""

    vn_kv_min: float = 60.0
    always_boundary: bool = False

    def holds(self, bus: Bus) -> bool:
        return bus.external or bus.vn_kv >= self.vn_kv_min


@dataclass(frozen=True)
class Districts:
    """The districts and the district of every bus (`BOUNDARY` for upstream buses outside all)."""

    districts: tuple[District, ...]
    district_of_bus: Mapping[int, str]
    notices: tuple[str, ...]


def districts_from_polygons(
    collection: Any, buses: Mapping[int, Bus], *, upstream: Upstream, file: str
) -> Districts:
    """Assign buses to the polygons of a GeoJSON FeatureCollection.

    A station and its LV grid belong to one district: LV buses follow their station, unless that is
    upstream. On a shared border the lowest id wins. The properties `inhabitants` and `floor_area_m2` are
    taken where a feature has them. Raises `InputError` with every fault: geometry that
    is none, ids or names that are missing or repeated, overlaps, buses in no district.
    """
    polygons, names = _polygons(collection, file)
    ids = sorted(polygons)
    tree = shapely.STRtree([polygons[key] for key in ids])

    def locate(bus: Bus) -> str | None:
        if bus.xy is None:
            return None
        hits = tree.query(Point(bus.xy), predicate="intersects")
        return ids[int(min(hits))] if len(hits) else None

    def reason(bus: Bus) -> str:
        if bus.xy is None:
            return "has no coordinates; give districts.buses (a table) instead of polygons, or add them"
        return f"at {bus.xy[0]:.5f}, {bus.xy[1]:.5f} lies in no district; extend a polygon of {file}"

    geometries = {key: mapping(polygon) for key, polygon in polygons.items()}
    placed = _assign(buses, locate, reason, ids, names, geometries, upstream)
    sizes = _sizes(collection, file)
    return replace(
        placed, districts=tuple(replace(item, **sizes.get(item.id, {})) for item in placed.districts)
    )


def districts_from_table(
    rows: Iterable[tuple[int, str, str]], buses: Mapping[int, Bus], *, upstream: Upstream, file: str
) -> Districts:
    """Assign buses by a table of (bus, district id, district name)."""
    listed: dict[int, str] = {}
    names: dict[str, str] = {}
    faults = []
    for bus, district, name in rows:
        if district == BOUNDARY:
            faults.append(Fault(file, f"bus {bus}: {BOUNDARY!r} is the id of what lies upstream; rename it"))
        if listed.setdefault(bus, district) != district:
            faults.append(Fault(file, f"bus {bus} is in {listed[bus]!r} and in {district!r}; keep one"))
        if name and names.setdefault(district, name) != name:
            faults.append(Fault(file, f"district {district!r} is named {names[district]!r} and {name!r}"))
    if faults:
        raise InputError(faults)
    ids = sorted(set(listed.values()))

    def reason(_bus: Bus) -> str:
        return f"is in no district; add it to {file}"

    return _assign(
        buses,
        lambda bus: listed.get(bus.index),
        reason,
        ids,
        {key: names.get(key, key) for key in ids},
        {},
        upstream,
    )


def draw_districts(sites: Sequence[tuple[float, float]], count: int) -> dict[str, Any]:
    """A GeoJSON FeatureCollection of `count` districts around `sites` that tile the area.

    Sites are halved into compact groups of nearly equal size; each district is the union of its sites'
    Voronoi cells, clipped to the buffered hull of all sites.
    """
    places = np.unique(np.round(np.asarray(sites, dtype=float), DECIMALS + 1), axis=0)
    span = float(np.ptp(places, axis=0).max()) or 0.01
    area = MultiPoint(places).convex_hull.buffer(0.08 * span, quad_segs=4)
    cells = [area]
    if len(places) > 1:
        cells = list(shapely.voronoi_polygons(MultiPoint(places), extend_to=area).geoms)
    tree = shapely.STRtree([Point(place) for place in places])
    rounded: list[BaseGeometry] = [area] * len(places)
    for cell in cells:
        site = int(tree.query(cell, predicate="contains")[0])
        rounded[site] = shapely.set_precision(cell.intersection(area), 10.0**-DECIMALS)
    group = _joined(rounded, _groups(places, min(count, len(places))))
    members = {
        key: [rounded[k] for k in np.flatnonzero(group == key).tolist()] for key in np.unique(group).tolist()
    }
    return {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "id": f"d{key + 1:02d}",
                "properties": {"name": f"District {key + 1}"},
                "geometry": _rounded(mapping(shapely.union_all(members[key]))),
            }
            for key in sorted(members)
        ],
    }


def _polygons(collection: Any, file: str) -> tuple[dict[str, BaseGeometry], dict[str, str]]:
    if not isinstance(collection, dict) or collection.get("type") != "FeatureCollection":
        raise InputError(Fault(file, "is not a GeoJSON FeatureCollection; `type` must say so"))
    features = collection.get("features")
    if not isinstance(features, list) or not features:
        raise InputError(Fault(file, "has no features; each district is one, with id, name and polygon"))
    polygons: dict[str, BaseGeometry] = {}
    names: dict[str, str] = {}
    faults = []
    for position, feature in enumerate(features):
        where = f"{file}: features[{position}]"
        properties = (feature.get("properties") or {}) if isinstance(feature, dict) else {}
        key = feature.get("id", properties.get("id")) if isinstance(feature, dict) else None
        if key is None or not str(key).strip():
            faults.append(Fault(where, "has no id; add one"))
            continue
        key = str(key)
        if key == BOUNDARY:
            faults.append(Fault(where, f"{BOUNDARY!r} is the id of what lies upstream; rename it"))
        if key in polygons:
            faults.append(Fault(where, f"the id {key!r} occurs twice"))
        try:
            polygon = shape(feature["geometry"])
        except (KeyError, TypeError, ValueError, AttributeError, shapely.errors.ShapelyError) as error:
            faults.append(Fault(f"{where} ({key})", f"its geometry cannot be read: {error}"))
            continue
        if polygon.geom_type not in ("Polygon", "MultiPolygon") or polygon.is_empty:
            faults.append(Fault(f"{where} ({key})", f"is a {polygon.geom_type}; a polygon is needed"))
        elif not np.isfinite(polygon.bounds).all() or max(map(abs, polygon.bounds)) > 1e7:
            faults.append(Fault(f"{where} ({key})", "has coordinates beyond any map; check them"))
        elif not polygon.is_valid:
            faults.append(Fault(f"{where} ({key})", f"is not valid: {shapely.is_valid_reason(polygon)}"))
        else:
            polygons[key] = polygon
            names[key] = str(properties.get("name") or key)
    for a, b in combinations(sorted(polygons), 2):
        shared = polygons[a].intersection(polygons[b]).area
        smaller = min(polygons[a].area, polygons[b].area)
        if shared > SLIVER * smaller:
            faults.append(
                Fault(
                    file,
                    f"districts {a!r} and {b!r} overlap by {shared / smaller:.1%} of the smaller one; "
                    "redraw their border",
                )
            )
    if faults:
        raise InputError(faults)
    return polygons, names


def _sizes(collection: Any, file: str) -> dict[str, dict[str, Any]]:
    """`inhabitants` and `floor_area_m2` of the features that tell them, by district id."""
    sizes: dict[str, dict[str, Any]] = {}
    faults = []
    for position, feature in enumerate(collection["features"]):
        properties = feature.get("properties") or {}
        key = str(feature.get("id", properties.get("id")))
        for name, kind in (("inhabitants", int), ("floor_area_m2", float)):
            value = properties.get(name)
            if value is None:
                continue
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not 0 < value < math.inf or (kind is int and value != int(value)):
                expected = "a whole number above 0" if kind is int else "a number above 0"
                faults.append(
                    Fault(
                        f"{file}: features[{position}] ({key})",
                        f"has {name} {value!r}; give {expected}, or leave it out",
                    )
                )
            else:
                sizes.setdefault(key, {})[name] = kind(value)
    if faults:
        raise InputError(faults)
    return sizes


def _assign(
    buses: Mapping[int, Bus],
    locate: Any,
    reason: Any,
    ids: Sequence[str],
    names: Mapping[str, str],
    geometries: Mapping[str, Any],
    upstream: Upstream,
) -> Districts:
    found: dict[int, str] = {}
    faults = []
    for index, bus in sorted(buses.items()):
        if upstream.holds(bus):
            found[index] = (None if upstream.always_boundary else locate(bus)) or BOUNDARY
            continue
        station = buses[bus.station] if bus.station is not None else None
        district = locate(station) if station is not None and not upstream.holds(station) else None
        district = district or locate(bus)
        if district is None:
            faults.append(Fault(f"bus {index} ({bus.name})", reason(bus)))
        else:
            found[index] = district
    if faults:
        raise InputError(faults)
    members: dict[str, list[int]] = {key: [] for key in ids}
    for index, district in found.items():
        if district != BOUNDARY:
            members[district].append(index)
    return Districts(
        districts=tuple(District(key, names[key], geometries.get(key), tuple(members[key])) for key in ids),
        district_of_bus=found,
        notices=tuple(f"district {key!r} has no bus" for key in ids if not members[key]),
    )


def _groups(places: np.ndarray, count: int) -> np.ndarray:
    """`count` compact groups of nearly equal size: halved again and again across the longer extent."""
    if count == 1:
        return np.zeros(len(places), dtype=int)
    scaled = places * [math.cos(math.radians(float(np.clip(places[:, 1].mean(), -89, 89)))), 1.0]
    axis = int(np.ptp(scaled, axis=0).argmax())
    order = np.lexsort((scaled[:, 1 - axis], scaled[:, axis]))
    cut = round(len(places) * (count // 2) / count)
    group = np.empty(len(places), dtype=int)
    group[order[:cut]] = _groups(places[order[:cut]], count // 2)
    group[order[cut:]] = count // 2 + _groups(places[order[cut:]], count - count // 2)
    return group


def _joined(cells: Sequence[BaseGeometry], group: np.ndarray) -> np.ndarray:
    """`group` with cells that lie apart from the rest of theirs given to the neighbour they border most."""
    group = group.copy()
    tree = shapely.STRtree(cells)
    for key in np.unique(group).tolist():
        own = np.flatnonzero(group == key).tolist()
        union = shapely.union_all([cells[k] for k in own])
        main = max(shapely.get_parts(union), key=lambda part: part.area)
        for k in own:
            if main.intersects(cells[k].representative_point()):
                continue
            border = {
                other: cells[k].intersection(cells[other]).length
                for other in tree.query(cells[k], predicate="intersects").tolist()
                if group[other] != key
            }
            group[k] = group[max(border, key=border.__getitem__)]
    return group


def _rounded(geometry: Any) -> Any:
    if isinstance(geometry, float):
        return round(geometry, DECIMALS)
    if isinstance(geometry, dict):
        return {key: _rounded(value) for key, value in geometry.items()}
    if isinstance(geometry, list | tuple):
        return [_rounded(value) for value in geometry]
    return geometry
