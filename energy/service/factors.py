"""The emission factors of a city: the packaged ones and its own, as one registry."""

from __future__ import annotations

from pathlib import Path

from energy.domain.city import City
from energy.domain.errors import Fault, InputError
from energy.domain.factors import FactorRegistry
from energy.feeds.city import CITY_FILE, read_city_document
from energy.feeds.factors import FactorTable, factors_named, load_factors, parse_factors, read_own_factors

OWN_FILE = "factors.csv"
"""What the city's own factors are called in messages once the city is prepared."""


def city_factors(city: City, version: str | None = None) -> FactorRegistry:
    """The factors of `city`: the newest, or those of the registry `version` that a report names.

    Raises `InputError` for a version that can no longer be made.
    """
    own = parse_factors(city.own_factors, OWN_FILE, origin=OWN_FILE) if city.own_factors else FactorTable()
    return load_factors(own=own) if version is None else factors_named(version, own)


def own_factors(directory: Path) -> FactorTable:
    """The city's own factors as its directory holds them now; an empty table where it has none."""
    name = read_city_document(directory).factors.file
    if name is None or not (directory / name).exists():
        return FactorTable()
    return read_own_factors(directory / name, name)


def own_factors_file(directory: Path) -> Path:
    """The file of the city's own factors, there or not yet; `InputError` where city.toml names none."""
    name = read_city_document(directory).factors.file
    if name is None:
        raise InputError(
            Fault(
                CITY_FILE,
                'names no factors of the city\'s own; add a section [factors] with file = "factors.csv"',
            )
        )
    return directory / name
