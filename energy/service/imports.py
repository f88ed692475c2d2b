"""Importing intensity and mix series into a city's directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from energy.domain.errors import Fault, InputError
from energy.feeds.city import CITY_FILE
from energy.feeds.factors import load_factors
from energy.feeds.importers.imported import Options
from energy.feeds.importers.registry import read_import, source_file
from energy.feeds.series_store import store_import
from energy.service.factors import own_factors


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
    return store_import(
        city,
        series,
        name=name,
        files=[(file.name, file.content) for file in files],
        known_at=known_at,
        dry_run=dry_run,
    )
