"""Importer of ENTSO-E A75: actual generation per production type (``GL_MarketDocument``, XML)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import timedelta

from lxml import etree

from energy.domain.errors import Fault, InputError
from energy.domain.time import format_duration, parse_duration, parse_instant
from energy.feeds.importers.imported import (
    ImportedSeries,
    Options,
    Samples,
    SeriesKind,
    SourceFile,
    agreed,
    only,
)

PSR_TYPES: Mapping[str, str] = {
    "B01": "biomass",
    "B02": "lignite",
    "B03": "other",  # coal-derived gas
    "B04": "gas",
    "B05": "coal",
    "B06": "oil",
    "B07": "lignite",  # oil shale
    "B08": "lignite",  # peat
    "B09": "geothermal",
    "B10": "storage",  # pumped
    "B11": "hydro",  # run of river
    "B12": "hydro",  # reservoir
    "B13": "hydro",  # marine
    "B14": "nuclear",
    "B15": "biomass",  # other renewable
    "B16": "pv",
    "B17": "waste",
    "B18": "wind_offshore",
    "B19": "wind",
    "B20": "other",
    "B25": "storage",  # batteries
}
"""Production types of the ENTSO-E code list → technology."""
STAND_INS = {
    "B03": "coal-derived gas",
    "B07": "oil shale",
    "B08": "peat",
    "B13": "marine",
    "B15": "other renewable",
}
ZONES: Mapping[str, str] = {
    "10Y1001A1001A82H": "DE-LU",
    "10Y1001A1001A83F": "DE",
    "10YAT-APG------L": "AT",
    "10YBE----------2": "BE",
    "10YCH-SWISSGRIDZ": "CH",
    "10YCZ-CEPS-----N": "CZ",
    "10YDK-1--------W": "DK-DK1",
    "10YDK-2--------M": "DK-DK2",
    "10YES-REE------0": "ES",
    "10YFI-1--------U": "FI",
    "10YFR-RTE------C": "FR",
    "10YHU-MAVIR----U": "HU",
    "10YNL----------L": "NL",
    "10YPL-AREA-----S": "PL",
    "10YPT-REN------W": "PT",
}
"""Areas by EIC; one that is not here keeps its code."""


def entsoe_a75(files: Sequence[SourceFile], kind: SeriesKind, options: Options) -> ImportedSeries:
    """ENTSO-E Transparency Platform, document A75, MW.

    Series with an ``outBiddingZone_Domain`` are consumption (pumps, own use) and left out. In curve A03 a
    missing position repeats the one before; in A01 it is a gap. Where types come in several resolutions
    all take the finest: a mean power holds in every part of its interval.
    """
    only(kind, ("mix",), "ENTSO-E A75")
    samples: Samples | None = None
    left_out: set[str] = set()
    roots = [(file, _root(file)) for file in files]
    finest = _finest(roots)
    for file, root in roots:
        for number, series in enumerate(root.iterfind("TimeSeries"), start=1):
            where = f"{file.name}: TimeSeries {series.findtext('mRID') or number}"
            psr_type = series.findtext("MktPSRType/psrType") or ""
            if series.findtext("outBiddingZone_Domain.mRID"):
                left_out.add(psr_type)
                continue
            eic = series.findtext("inBiddingZone_Domain.mRID") or ""
            zone = agreed(options.zone, ZONES.get(eic, eic), "zone", where)
            samples = samples or Samples(
                kind, zone, "ENTSO-E Transparency Platform, A75", "MW", technologies=PSR_TYPES
            )
            samples.same_zone(zone, where)
            unit = series.findtext("quantity_Measure_Unit.name") or "MAW"
            if unit != "MAW":
                raise InputError(Fault(where, f"is in {unit!r}; A75 is in MAW (MW)"))
            created = root.findtext("createdDateTime")
            if created:
                samples.published(parse_instant(created))
            if psr_type in STAND_INS:
                samples.notices.append(f"{psr_type} ({STAND_INS[psr_type]}) counts as {PSR_TYPES[psr_type]}")
            curve = series.findtext("curveType") or "A01"
            for period in series.iterfind("Period"):
                _add_period(samples, period, psr_type, curve, where, finest)
    if samples is None:
        raise InputError(Fault(files[0].name, "holds no series of generation"))
    if left_out:
        samples.notices.append(f"consumption of {', '.join(sorted(left_out))} is left out")
    return samples.series(finest)


def _finest(roots: Sequence[tuple[SourceFile, etree._Element]]) -> timedelta:
    """The shortest resolution of all generation; every other one must be a multiple of it."""
    found: set[timedelta] = set()
    for file, root in roots:
        for series in root.iterfind("TimeSeries"):
            if series.find("outBiddingZone_Domain.mRID") is None:
                for period in series.iterfind("Period"):
                    try:
                        found.add(parse_duration(period.findtext("resolution") or ""))
                    except ValueError as error:
                        raise InputError(Fault(f"{file.name}: Period", str(error))) from None
    if not found:
        raise InputError(Fault(roots[0][0].name, "holds no series of generation"))
    finest = min(found)
    if any(resolution % finest for resolution in found):
        listed = ", ".join(map(format_duration, sorted(found)))
        raise InputError(
            Fault(roots[0][0].name, f"mixes resolutions that do not divide each other: {listed}")
        )
    return finest


def _add_period(
    samples: Samples, period: etree._Element, psr_type: str, curve: str, where: str, finest: timedelta
) -> None:
    try:
        start = parse_instant(period.findtext("timeInterval/start") or "")
        end = parse_instant(period.findtext("timeInterval/end") or "")
        resolution = parse_duration(period.findtext("resolution") or "")
    except ValueError as error:
        raise InputError(Fault(f"{where}: Period", str(error))) from None
    intervals = round((end - start) / resolution)
    points: dict[int, float] = {}
    for point in period.iterfind("Point"):
        position, quantity = point.findtext("position") or "", point.findtext("quantity") or ""
        at = f"{where}: Point {position}"
        try:
            place, value = int(position), float(quantity)
        except ValueError:
            samples.faults.append(Fault(at, f"has quantity {quantity!r}; numbers are needed"))
            continue
        if not 1 <= place <= intervals or not math.isfinite(value):
            samples.faults.append(Fault(at, f"is {value:g} at position {place} of {intervals}"))
        elif points.setdefault(place, value) != value:
            samples.faults.append(Fault(at, f"is {value:g}, but {points[place]:g} before"))
    last = None
    for place in range(1, intervals + 1):
        last = points.get(place, last if curve == "A03" else None)
        for part in range(resolution // finest):
            instant = start + (place - 1) * resolution + part * finest
            if last is None:
                samples.missing(instant)
            else:
                samples.add(instant, psr_type, last, where)


def _root(file: SourceFile) -> etree._Element:
    parser = etree.XMLParser(resolve_entities=False, no_network=True, remove_comments=True)
    try:
        root = etree.fromstring(file.content, parser)
    except etree.XMLSyntaxError as error:
        raise InputError(Fault(file.name, f"is not XML: {error.msg}")) from None
    for element in root.iter():
        if isinstance(element.tag, str):
            element.tag = etree.QName(element).localname
    if root.tag == "Acknowledgement_MarketDocument":
        reason = root.findtext("Reason/text") or "no reason given"
        raise InputError(Fault(file.name, f"is a refusal, not data: {reason}"))
    if root.tag != "GL_MarketDocument" or root.findtext("type") not in (None, "A75"):
        raise InputError(
            Fault(
                file.name,
                f"is {root.tag} of type {root.findtext('type')!r}; A75 of GL_MarketDocument is read",
            )
        )
    return root
