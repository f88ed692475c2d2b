"""Importers of JSON sources: Electricity Maps, WattTime, GB Carbon Intensity, SMARD."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from energy.domain.errors import Fault, InputError
from energy.domain.time import parse_instant
from energy.feeds.documents import parse_json
from energy.feeds.importers.imported import (
    INTENSITY_UNITS,
    ImportedSeries,
    Options,
    Samples,
    SeriesKind,
    SourceFile,
    agreed,
    column_of,
    decoded,
    number,
    only,
    scale_of,
)

ELECTRICITY_MAPS: Mapping[str, str] = {
    "biomass": "biomass",
    "coal": "coal",
    "gas": "gas",
    "geothermal": "geothermal",
    "hydro": "hydro",
    "nuclear": "nuclear",
    "oil": "oil",
    "solar": "pv",
    "unknown": "other",
    "wind": "wind",
    "battery discharge": "storage",
    "hydro discharge": "storage",
}
GB: Mapping[str, str] = {
    "biomass": "biomass",
    "coal": "coal",
    "gas": "gas",
    "hydro": "hydro",
    "imports": "imports",
    "nuclear": "nuclear",
    "other": "other",
    "solar": "pv",
    "wind": "wind",
}
SMARD: Mapping[str, str] = {
    "1223": "lignite",
    "1224": "nuclear",
    "1225": "wind_offshore",
    "1226": "hydro",
    "1227": "other",
    "1228": "biomass",  # other renewables: landfill and sewage gas, geothermal
    "4066": "biomass",
    "4067": "wind",
    "4068": "pv",
    "4069": "coal",
    "4070": "storage",
    "4071": "gas",
}
"""Filters of chart data (realised generation) → technology."""
_SMARD_NAME = re.compile(
    r"(?P<filter>\d{4})_(?P<region>[A-Za-z0-9-]+)_(?P<step>quarterhour|hour)(_\d+)?\.json"
)
_SMARD_STEPS = {"quarterhour": timedelta(minutes=15), "hour": timedelta(hours=1)}


def electricity_maps(files: Sequence[SourceFile], kind: SeriesKind, options: Options) -> ImportedSeries:
    """Electricity Maps API v3: ``carbon-intensity`` and ``power-breakdown``, history, past-range or latest.

    The mix is that of consumption (``powerConsumptionBreakdown``, MW).
    """
    only(kind, ("intensity", "mix"), "Electricity Maps")
    zone = None
    samples: Samples | None = None
    bases: set[str] = set()
    for file in files:
        document = _document(file)
        entries = document.get("history") or document.get("data") or [document]
        stated = {str(item["zone"]) for item in (document, *_objects(entries, file)) if "zone" in item}
        if len(stated) > 1 or (zone is not None and stated and stated != {zone}):
            raise InputError(
                Fault(
                    file.name,
                    f"holds the zones {sorted({*stated, zone or ''} - {''})}; import one zone at a time",
                )
            )
        zone = agreed(options.zone, next(iter(stated), zone), "zone", file.name)
        unit = "MW" if kind == "mix" else "g/kWh"
        samples = samples or Samples(
            kind, zone, "Electricity Maps", unit, technologies=ELECTRICITY_MAPS, whole_rows=False
        )
        for position, entry in enumerate(_objects(entries, file)):
            where = f"{file.name}: entry {position}"
            start = _time(entry.get("datetime"), f"{where}.datetime", samples)
            if start is None:
                continue
            estimated = entry.get("isEstimated") is True
            if estimated:
                samples.methods.add(str(entry.get("estimationMethod") or "not stated"))
            if entry.get("updatedAt"):
                published = _time(entry["updatedAt"], f"{where}.updatedAt", samples)
                if published is not None:
                    samples.published(published)
            if kind == "intensity":
                bases.add(str(entry.get("emissionFactorType", "")))
                _value(samples, start, column_of(kind), entry.get("carbonIntensity"), where, estimated)
                continue
            breakdown = entry.get("powerConsumptionBreakdown")
            if not isinstance(breakdown, dict):
                samples.faults.append(Fault(where, "has no powerConsumptionBreakdown; is it the intensity?"))
                continue
            _mix(samples, start, breakdown.items(), where, estimated)
    assert samples is not None
    if len(bases) > 1:
        samples.faults.append(Fault(samples.source, f"mixes the emission factor types {sorted(bases)}"))
    samples.basis = {"lifecycle": "life-cycle", "direct": "direct"}.get(next(iter(bases), ""), "")
    return samples.series()


def watttime(files: Sequence[SourceFile], kind: SeriesKind, options: Options) -> ImportedSeries:
    """WattTime API v3 ``historical`` and ``forecast``: ``co2_moer`` is marginal, ``co2_aoer`` average."""
    signals: Mapping[str, SeriesKind] = {"co2_moer": "marginal", "co2_aoer": "intensity"}
    only(kind, ("marginal", "intensity"), "WattTime")
    samples: Samples | None = None
    resolution = None
    for file in files:
        document = _document(file)
        meta = document.get("meta")
        if not isinstance(meta, dict) or not isinstance(document.get("data"), list):
            raise InputError(Fault(file.name, "has no meta and data; is it an answer of WattTime v3?"))
        signal = str(meta.get("signal_type"))
        if signals.get(signal) != kind:
            wanted = next(name for name, of in signals.items() if of == kind)
            raise InputError(
                Fault(
                    file.name, f"holds {signal!r}, not {kind} intensities ({wanted}); choose --series by it"
                )
            )
        unit = {"lbs_co2_per_mwh": "lbs/MWh"}.get(str(meta.get("units")), str(meta.get("units")))
        scale = scale_of(
            agreed(options.unit, unit, "unit", file.name), INTENSITY_UNITS, f"{file.name}: units"
        )
        zone = agreed(options.zone, meta.get("region"), "zone", file.name)
        samples = samples or Samples(kind, zone, "WattTime", "g/kWh", "direct")
        samples.same_zone(zone, file.name)
        if meta.get("data_point_period_seconds"):
            resolution = timedelta(seconds=int(meta["data_point_period_seconds"]))
        if meta.get("generated_at"):
            generated = _time(meta["generated_at"], f"{file.name}: generated_at", samples)
            if generated is not None:
                samples.published(generated)
        for position, entry in enumerate(_objects(document["data"], file)):
            where = f"{file.name}: data[{position}]"
            start = _time(entry.get("point_time"), f"{where}.point_time", samples)
            if start is not None:
                estimated = entry.get("imputed_data_used") is True
                _value(samples, start, column_of(kind), entry.get("value"), where, estimated, scale)
    assert samples is not None
    return samples.series(resolution)


def gb_carbon_intensity(files: Sequence[SourceFile], kind: SeriesKind, options: Options) -> ImportedSeries:
    """GB Carbon Intensity API: national intensity, regional intensity, and their generation mix in percent.

    Where there is no ``actual`` the ``forecast`` stands in, marked estimated; regions have forecasts only.
    """
    only(kind, ("intensity", "mix"), "GB Carbon Intensity")
    half_hour = timedelta(minutes=30)
    samples: Samples | None = None
    for file in files:
        data = _document(file).get("data")
        for region, entries in _gb_regions(data, file, options):
            zone = agreed(options.zone, region, "zone", file.name)
            samples = samples or Samples(
                kind, zone, "GB Carbon Intensity", "%" if kind == "mix" else "g/kWh", "direct", GB, False
            )
            samples.same_zone(zone, file.name)
            for position, entry in enumerate(_objects(entries, file)):
                where = f"{file.name}: data[{position}]"
                start = _time(entry.get("from"), f"{where}.from", samples)
                if start is None:
                    continue
                if kind == "mix":
                    fuels = entry.get("generationmix")
                    if not isinstance(fuels, list):
                        samples.faults.append(Fault(where, "has no generationmix"))
                        continue
                    items = ((str(fuel.get("fuel")), fuel.get("perc")) for fuel in _objects(fuels, file))
                    _mix(samples, start, items, where, region != "GB")
                    continue
                intensity = entry.get("intensity")
                if not isinstance(intensity, dict):
                    samples.faults.append(Fault(where, "has no intensity"))
                    continue
                actual, forecast = intensity.get("actual"), intensity.get("forecast")
                if actual is None and forecast is not None:
                    samples.methods.add("forecast of the system operator")
                _value(
                    samples,
                    start,
                    column_of(kind),
                    forecast if actual is None else actual,
                    where,
                    actual is None,
                )
    assert samples is not None
    return samples.series(half_hour)


def smard(files: Sequence[SourceFile], kind: SeriesKind, options: Options) -> ImportedSeries:
    """SMARD chart data of realised generation, MWh per interval; one technology and week per file.

    The file's name says which: ``4068_DE_quarterhour_1703458800000.json``; or give the technology.
    """
    only(kind, ("mix",), "SMARD")
    samples: Samples | None = None
    steps: set[timedelta] = set()
    names = {**SMARD, **({options.technology: options.technology} if options.technology else {})}
    for file in files:
        named = _SMARD_NAME.search(file.name)
        column = options.technology or (named["filter"] if named else "")
        if column not in names:
            known = ", ".join(f"{key} {value}" for key, value in SMARD.items())
            raise InputError(
                Fault(
                    file.name,
                    "does not say whose generation it holds; keep the name of the download "
                    f"(FILTER_REGION_quarterhour_TIME.json, filters: {known}), or give --technology",
                )
            )
        zone = agreed(options.zone, named["region"] if named else None, "zone", file.name)
        samples = samples or Samples(
            kind, zone, "SMARD, Bundesnetzagentur (CC BY 4.0)", "MW", technologies=names
        )
        samples.same_zone(zone, file.name)
        document = _document(file)
        series = document.get("series")
        if not isinstance(series, list):
            raise InputError(Fault(file.name, "has no series; is it chart data of SMARD?"))
        created = (document.get("meta_data") or {}).get("created")
        if isinstance(created, int):
            samples.published(datetime.fromtimestamp(created / 1000, UTC))
        step = _smard_step(named["step"] if named else None, series, file)
        steps.add(step)
        hours = step / timedelta(hours=1)
        for position, pair in enumerate(series):
            where = f"{file.name}: series[{position}]"
            if not isinstance(pair, list) or len(pair) != 2 or not isinstance(pair[0], int):
                samples.faults.append(Fault(where, f"is {pair!r}; [milliseconds, MWh] is needed"))
                continue
            start = datetime.fromtimestamp(pair[0] / 1000, UTC)
            if pair[1] is None:
                samples.missing(start)
                continue
            value = number(pair[1], where, samples.faults)
            if value is not None:
                samples.add(start, column, value / hours, where)
    assert samples is not None
    if len(steps) > 1:
        raise InputError(Fault("SMARD", "the files mix hours and quarter-hours; import one resolution"))
    return samples.series(next(iter(steps)))


def _smard_step(named: str | None, series: Sequence[Any], file: SourceFile) -> timedelta:
    if named is not None:
        return _SMARD_STEPS[named]
    times = [pair[0] for pair in series if isinstance(pair, list) and pair and isinstance(pair[0], int)]
    distances = [later - earlier for earlier, later in pairwise(times) if later > earlier]
    if not distances:
        raise InputError(Fault(file.name, "has one time only; two are needed to know the step"))
    return timedelta(milliseconds=min(distances))


def _gb_regions(data: Any, file: SourceFile, options: Options) -> Iterator[tuple[str, Any]]:
    """The national entries, or those of the region that is asked for (``GB-13``)."""
    if isinstance(data, dict):
        data = [data]
    if not isinstance(data, list) or not data or not isinstance(data[0], dict):
        raise InputError(Fault(file.name, "has no data; is it an answer of the GB Carbon Intensity API?"))
    if "regionid" in data[0]:  # one region over time: {"regionid", "data": [...]}
        for region in data:
            yield f"GB-{region['regionid']}", region.get("data")
    elif "regions" in data[0]:  # all regions, one interval each: {"from", "to", "regions": [...]}
        wanted = (options.zone or "").removeprefix("GB-")
        names = {str(region["regionid"]): str(region.get("shortname")) for region in data[0]["regions"]}
        if wanted not in names:
            listed = ", ".join(f"GB-{key} {name}" for key, name in names.items())
            raise InputError(Fault(file.name, f"holds all regions; give --zone, one of {listed}"))
        yield (
            f"GB-{wanted}",
            [
                {**region, "from": entry.get("from")}
                for entry in data
                for region in entry["regions"]
                if str(region["regionid"]) == wanted
            ],
        )
    else:
        yield "GB", data


def _document(file: SourceFile) -> dict[str, Any]:
    document = parse_json(decoded(file, "utf-8-sig"), file.name)
    if not isinstance(document, dict):
        raise InputError(Fault(file.name, "is not a JSON object"))
    return document


def _objects(entries: Any, file: SourceFile) -> list[dict[str, Any]]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(Fault(file.name, "holds no list of objects where one is needed"))
    return entries


def _time(value: Any, where: str, samples: Samples) -> datetime | None:
    try:
        return parse_instant(value)
    except ValueError as error:
        samples.faults.append(Fault(where, str(error)))
        return None


def _value(
    samples: Samples,
    start: datetime,
    column: str,
    value: Any,
    where: str,
    estimated: bool,
    scale: float = 1.0,
) -> None:
    if value is None:
        samples.missing(start)
        return
    found = number(value, where, samples.faults)
    if found is not None:
        samples.add(start, column, found * scale, where, estimated=estimated)


def _mix(
    samples: Samples, start: datetime, parts: Iterable[tuple[str, Any]], where: str, estimated: bool
) -> None:
    samples.missing(start)  # until there is a part with a value
    for name, value in parts:
        if value is not None:
            found = number(value, f"{where}.{name}", samples.faults)
            if found is not None:
                samples.add(start, name, found, where, estimated=estimated)
