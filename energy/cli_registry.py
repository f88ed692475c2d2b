"""``wattshed factors`` and ``wattshed import``: emission factors and the series measured elsewhere."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from energy.domain.factors import Factor, changes
from energy.domain.time import parse_instant
from energy.feeds.documents import write_bytes, write_json

factors_app = typer.Typer(
    help="Emission factors: g/kWh of electricity, kg/TJ of fuels; versioned, with their sources.",
    no_args_is_help=True,
)
City = Annotated[
    Path | None, typer.Option("--city", metavar="DIR", help="With the factors of this city's own table.")
]
AsCsv = Annotated[bool, typer.Option("--csv", help="Write CSV instead of JSON.")]


@factors_app.command("list")
def list_factors(
    zone: Annotated[str | None, typer.Option(help="Country or zone, like DE or JP.")] = None,
    technology: Annotated[str | None, typer.Option(help="Like gas, wind, natural_gas_fuel.")] = None,
    basis: Annotated[str | None, typer.Option(help="direct or life-cycle.")] = None,
    kind: Annotated[
        str | None, typer.Option(help="generation, grid, residual, supplier, losses or fuel.")
    ] = None,
    version: Annotated[int | None, typer.Option(help="Packaged release; default: the newest.")] = None,
    city: City = None,
    as_csv: AsCsv = False,
) -> None:
    """The factors in force, with everything that makes them citable."""
    from energy.feeds.factors import load_factors
    from energy.service.factors import own_factors

    registry = load_factors(version, None if city is None else own_factors(city))
    wanted = {"zone": zone, "technology": technology, "basis": basis, "kind": kind}
    for name, value in wanted.items():
        known = {str(getattr(factor, name)) for factor in registry.factors}
        if value is not None and value not in known:
            raise InputError(Fault(f"--{name}", f"no factor has {value!r}; {nearest(value, known - {''})}"))
    found = [
        factor
        for factor in registry.factors
        if all(value is None or getattr(factor, name) == value for name, value in wanted.items())
    ]
    if as_csv:
        _write_csv(factor.document() for factor in found)
    else:
        write_json({"version": registry.version, "factors": [f.document() for f in found]}, None)


@factors_app.command("show")
def show_factor(
    factor_id: Annotated[str, typer.Argument(metavar="ID", help="Like grid-gb or lc-gas.")],
    city: City = None,
) -> None:
    """Every version of one factor, oldest first."""
    from energy.feeds.factors import factor_history
    from energy.service.factors import own_factors

    history = factor_history(None if city is None else own_factors(city))
    found = [factor.document() for factor in history if factor.id == factor_id]
    if not found:
        known = {factor.id for factor in history}
        raise InputError(Fault("ID", f"no factor is {factor_id!r}; {nearest(factor_id, known)}"))
    write_json({"id": factor_id, "versions": found}, None)


@factors_app.command("add")
def add_factors(
    file: Annotated[Path, typer.Argument(help="CSV of factors, without the column version.")],
    city: Annotated[Path, typer.Option("--city", metavar="DIR", help="The city's directory.")],
) -> None:
    """Append FILE to the city's own table as its next version, or list every fault and change nothing."""
    from energy.feeds.factors import append_factors, load_factors
    from energy.service.factors import own_factors, own_factors_file

    before = own_factors(city)
    after = append_factors(own_factors_file(city), file)
    old, new = (load_factors(own=table) for table in (before, after))
    write_json({"version": new.version, "changes": changes(old.factors, new.factors)}, None)


@factors_app.command("compare")
def compare_factors(
    before: Annotated[int, typer.Argument(metavar="V1", help="A version.")],
    after: Annotated[int, typer.Argument(metavar="V2", help="Another one.")],
    city: City = None,
    as_csv: AsCsv = False,
) -> None:
    """What changed from V1 to V2, each factor old and new: packaged releases, or the city's versions."""
    from energy.feeds.factors import load_factors
    from energy.service.factors import own_factors

    if city is None:
        old, new = load_factors(before), load_factors(after)
    else:
        own = own_factors(city)
        for version in (before, after):
            if not 0 <= version <= own.version:
                raise InputError(
                    Fault(str(city), f"its own factors have no version {version}; known: 0 to {own.version}")
                )
        old, new = (load_factors(own=own.up_to(version)) for version in (before, after))
    entries = changes(old.factors, new.factors)
    if as_csv:
        _write_csv(_flat(entry) for entry in entries)
    else:
        write_json({"from": old.version, "to": new.version, "changes": entries}, None)


def import_command(
    source: Annotated[
        str,
        typer.Argument(
            metavar="FORMAT",
            help="electricity-maps, watttime, gb-carbon-intensity, smard, entsoe-a75, japan-area or csv.",
        ),
    ],
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="What the source gave.")],
    city: Annotated[Path, typer.Option("--city", metavar="DIR", help="The city's directory.")],
    series: Annotated[str, typer.Option(help="intensity or marginal (g/kWh), or mix (MW by technology).")],
    zone: Annotated[str | None, typer.Option(help="Whose electricity; default: as the file says.")] = None,
    unit: Annotated[
        str | None, typer.Option(help="g/kWh, kg/MWh, lbs/MWh, MW, 万kW …; default: as the file says.")
    ] = None,
    labels: Annotated[
        str | None, typer.Option(help="start or end: what times of a Japanese area CSV name.")
    ] = None,
    technology: Annotated[str | None, typer.Option(help="Of a SMARD file whose name does not say.")] = None,
    time_zone: Annotated[
        str | None, typer.Option(help="Of local times in a CSV, like Europe/Berlin.")
    ] = None,
    known_at: Annotated[
        str | None, typer.Option(help="When the files became known, RFC 3339; default: now.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read, check and compare; store nothing.")
    ] = False,
) -> None:
    """Import an intensity or mix series into a city; values revised since stand beside the old ones."""
    from energy.feeds.importers.imported import Options
    from energy.service.imports import import_series

    if labels not in (None, "start", "end"):
        raise InputError(Fault("--labels", f"{labels!r} is neither start nor end"))
    try:
        known = datetime.now(UTC) if known_at is None else parse_instant(known_at)
    except ValueError as error:
        raise InputError(Fault("--known-at", str(error))) from None
    options = Options(
        zone=zone,
        unit=unit,
        labels="end" if labels == "end" else "start" if labels == "start" else None,
        technology=technology,
        time_zone=time_zone,
    )
    write_json(import_series(city, source, files, series, options, known_at=known, dry_run=dry_run), None)


def _flat(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A change as one row: the value old and new, and which other fields moved."""
    fields: Mapping[str, list[Any]] = entry.get("fields", {})
    old, new = fields.get("value", ["", ""])
    if entry["change"] == "added":
        new = entry["value"]
    elif entry["change"] == "withdrawn":
        old = entry["value"]
    return {
        "id": entry["id"],
        "valid_from": entry["valid_from"],
        "change": entry["change"],
        "old_value": old,
        "new_value": new,
        "fields": " ".join(fields),
    }


def _write_csv(rows: Iterable[Mapping[str, Any]]) -> None:
    rows = list(rows)
    text = io.StringIO()
    names = list(rows[0]) if rows else list(Factor.__dataclass_fields__)
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {name: str(value).lower() if isinstance(value, bool) else value for name, value in row.items()}
        for row in rows
    )
    write_bytes(text.getvalue().encode(), None)
