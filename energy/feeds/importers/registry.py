"""Which importers there are. A new one is a function and a line here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from energy.feeds.importers.entsoe import entsoe_a75
from energy.feeds.importers.imported import KINDS, ImportedSeries, Importer, Options, SourceFile
from energy.feeds.importers.json_sources import electricity_maps, gb_carbon_intensity, smard, watttime
from energy.feeds.importers.tables import japan_area_csv, plain_csv

IMPORTERS: Mapping[str, Importer] = {
    "csv": plain_csv,
    "electricity-maps": electricity_maps,
    "entsoe-a75": entsoe_a75,
    "gb-carbon-intensity": gb_carbon_intensity,
    "japan-area": japan_area_csv,
    "smard": smard,
    "watttime": watttime,
}


def read_import(name: str, files: Sequence[SourceFile], kind: str, options: Options) -> ImportedSeries:
    """What the importer `name` reads from `files`; `InputError` with what is wrong with them."""
    if name not in IMPORTERS:
        raise InputError(Fault("format", f"{name!r} is unknown; {nearest(name, IMPORTERS)}"))
    found = next((known for known in KINDS if known == kind), None)
    if found is None:
        raise InputError(Fault("--series", f"{kind!r} is unknown; {nearest(kind, KINDS)}"))
    if not files:
        raise InputError(Fault("files", "none is given; name at least one"))
    return IMPORTERS[name](files, found, options)


def source_file(path: Path) -> SourceFile:
    """The bytes of `path`; `InputError` where it cannot be read."""
    try:
        return SourceFile(path.name, path.read_bytes())
    except OSError as error:
        raise InputError(Fault(str(path), f"cannot be read: {error.strerror}")) from None
