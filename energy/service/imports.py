"""Importing intensity and mix series into a city's directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from energy.domain.errors import Fault, InputError
from energy.domain.factors import FactorRegistry
from energy.feeds.city import CITY_FILE
from energy.feeds.factors import load_factors
from energy.feeds.importers.imported import ImportedSeries, Options
from energy.feeds.importers.registry import read_import, source_file
from energy.feeds.series_store import UNIT_DOUBT, store_import
from energy.service.factors import own_factors

FAR_FROM_OFFICIAL = 1.8
"""Ratio of means beyond which the unit is asked for; lbs/MWh taken for g/kWh are 2.2 times too much."""


def import_series(
    city: Path,
    name: str,
    paths: Sequence[Path],
    kind: str,
    options: Options,
    *,
    known_at: datetime,
    dry_run: bool = False,
) -> dict[str, Any]:
    """Read `paths` with the importer `name` and keep what is new beside what was known before.

    Returns a JSON-ready report: new and revised values, gaps, the estimated share, and the folder that
    ``upstream.measured`` of city.toml can name. Nothing is stored with `dry_run`, nor where it raises
    `InputError`.
    """
    if not (city / CITY_FILE).is_file():
        raise InputError(Fault(str(city), f"holds no {CITY_FILE}; `wattshed init DIR` makes a city"))
    files = [source_file(path) for path in paths]
    registry = load_factors(own=own_factors(city))
    series = read_import(name, files, kind, replace(options, technologies=registry.technologies))
    series = replace(series, notices=(*series.notices, *_against_official(series, registry)))
    return store_import(
        city,
        series,
        name=name,
        files=[(file.name, file.content) for file in files],
        known_at=known_at,
        dry_run=dry_run,
    )


def _against_official(series: ImportedSeries, registry: FactorRegistry) -> tuple[str, ...]:
    """A doubt about the unit of an average intensity that is far from its zone's official factor: a wrong
    label of a unit leaves values that are possible."""
    if series.kind != "intensity":
        return ()
    try:
        day = datetime.fromtimestamp(int(series.starts[0]), UTC).date()
        official = registry.grid_average(series.zone, day, stand_in=True)
    except InputError:
        return ()  # no official factor of the zone to compare with
    mean = float(np.nanmean(series.values))
    ratio = mean / official.g_per_kwh if official.g_per_kwh else 1.0
    if 1 / FAR_FROM_OFFICIAL <= ratio <= FAR_FROM_OFFICIAL:
        return ()
    beside = f"the official factor of {series.zone} ({official.g_per_kwh:g} g/kWh, {official.key})"
    return (f"averages {mean:.4g} g/kWh, {ratio:.2g} times {beside}: {UNIT_DOUBT}",)
