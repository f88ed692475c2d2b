"""``wattshed report``, ``reports``, ``inventory``, ``carbon explain``: reports, versions, entries."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from energy.domain.documents import nearest
from energy.domain.errors import Fault, InputError
from energy.domain.report import ReportKey
from energy.domain.report_document import edition_document
from energy.feeds.documents import read_json, read_text, write_bytes, write_json

if TYPE_CHECKING:
    from energy.service.service import Service

reports_app = typer.Typer(
    help="Stored versions of reports: draft, approved, published. A published version never changes.",
    no_args_is_help=True,
)
CityDirectory = Annotated[Path, typer.Option("--city", metavar="DIR", help="The city's directory.")]
Name = Annotated[str, typer.Argument(help="The report's name, like city-inventory.")]
Period = Annotated[str, typer.Option(help="2016, 2016-06, 2016-06-21 or 2016-06-01/2016-06-15, local days.")]
Number = Annotated[int, typer.Option("--version", min=1, help="The version, counted from 1.")]
Variant = Annotated[str, typer.Option(help="The choices it was made with, as `reports list` shows them.")]


def report_command(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Its name; `wattshed reports types` lists them.")
    ],
    city: CityDirectory,
    period: Period,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="Its ending is the format; default JSON."),
    ] = None,
    format_name: Annotated[
        str | None, typer.Option("--format", help="json, csv (first table), zip (all tables), xlsx or pdf.")
    ] = None,
    language: Annotated[str, typer.Option(help="en or ja, for XLSX and PDF.")] = "en",
    information: Annotated[
        str, typer.Option(help="perfect or day-ahead: which stored plans are accounted.")
    ] = "perfect",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A choice; repeatable.")
    ] = None,
    number: Annotated[
        int | None, typer.Option("--version", min=1, help="Draw this stored version instead of a new one.")
    ] = None,
) -> None:
    """Make a report on a period of a city, keep it as a version where it differs from the last, write it.

    Energies in MWh, carbon in kg (inventories in t), intensities in g/kWh.
    """
    from energy.feeds.reports import FORMATS, render
    from energy.service.reports.desk import find_key

    if language not in ("en", "ja"):
        raise InputError(Fault("--language", f"{language!r} is not a language of reports; give en or ja"))
    chosen = format_name or (Path(output).suffix[1:].lower() if output and Path(output).suffix else "json")
    if chosen not in FORMATS:
        raise InputError(Fault("--format", f"{chosen!r} is not a format; {nearest(chosen, FORMATS)}"))
    service, city_id = _open(city)
    if number is None:
        made, edition = service.reports.make(
            service.city(city_id), name, period, information=information, choices=_choices(settings or ())
        )
    else:
        variant = "&".join(sorted(settings or ()))
        key = find_key(service.reports.list(city_id), name, period, variant)
        made, edition = service.reports.stored(key, number)
    write_bytes(render(made, edition, chosen, "ja" if language == "ja" else "en"), output)


@reports_app.command("types")
def types() -> None:
    """Every report there is: what it answers, and the choices that shape it."""
    from energy.service.reports.registry import reports

    write_json([kind.document() for kind in reports().values()], None)


@reports_app.command("list")
def list_reports(city: CityDirectory) -> None:
    """All stored versions of a city's reports."""
    service, city_id = _open(city)
    write_json([edition_document(item.key, item.edition) for item in service.reports.list(city_id)], None)


@reports_app.command("approve")
def approve(
    name: Name,
    city: CityDirectory,
    period: Period,
    number: Number,
    by: Annotated[str, typer.Option(help="Who approves it.")],
    variant: Variant = "",
) -> None:
    """A draft becomes approved."""
    service, key = _find(city, name, period, variant)
    write_json(edition_document(key, service.reports.approve(key, number, by)), None)


@reports_app.command("publish")
def publish(name: Name, city: CityDirectory, period: Period, number: Number, variant: Variant = "") -> None:
    """An approved version becomes published, and never changes again."""
    service, key = _find(city, name, period, variant)
    write_json(edition_document(key, service.reports.publish(key, number)), None)


@reports_app.command("diff")
def diff(
    name: Name,
    city: CityDirectory,
    period: Period,
    first: Annotated[int, typer.Argument(help="The older version.")],
    second: Annotated[int, typer.Argument(help="The newer version.")],
    variant: Variant = "",
) -> None:
    """Every figure that differs between two versions."""
    service, key = _find(city, name, period, variant)
    write_json([asdict(change) for change in service.reports.difference(key, first, second)], None)


def explain_command(
    figure: Annotated[str, typer.Argument(metavar="ID", help="The id of a figure, fig-…, from any report.")],
    city: CityDirectory,
) -> None:
    """What a figure is made of, down to the factors, inputs and runs behind it."""
    service, _ = _open(city)
    write_json(service.reports.explain(figure), None)


def inventory_command(
    city: CityDirectory,
    source: Annotated[
        str | None,
        typer.Option("--set", metavar="FILE", help="Store these entries: a CSV, or JSON with rows."),
    ] = None,
    whole: Annotated[
        bool, typer.Option("--all", help="With --set: in place of all rows, other years' too.")
    ] = False,
    output: Annotated[
        str | None,
        typer.Option("-o", "--output", metavar="FILE", help="Its ending is the format; default JSON."),
    ] = None,
) -> None:
    """The officer's own numbers for the city inventory; or, with --set, store new ones.

    New rows take the place of the stored ones of the years they name. All rows hold, or nothing is stored
    and every fault is named.
    """
    from energy.service.inventory import EntryDraft

    if whole and source is None:
        raise InputError(Fault("--all", "needs --set FILE, the rows to store; give both, or leave it out"))
    draft = None
    if source is not None:
        draft = (
            EntryDraft.from_document(read_json(source))
            if source == "-" or source.lower().endswith(".json")
            else EntryDraft.from_csv(read_text(source), source)
        )
    service, city_id = _open(city)
    found = (
        service.inventory(city_id)
        if draft is None
        else service.replace_inventory(city_id, draft, replaced="all" if whole else "years")
    )
    if output is not None and output.lower().endswith(".csv"):
        write_bytes(found.csv().encode(), output)
    else:
        write_json(found.document(), output)


def _open(city: Path) -> tuple[Service, str]:
    from energy.app import open_service

    service = open_service([city])
    return service, service.city_ids()[0]


def _find(city: Path, name: str, period: str, variant: str) -> tuple[Service, ReportKey]:
    from energy.service.reports.desk import find_key

    service, city_id = _open(city)
    return service, find_key(service.reports.list(city_id), name, period, variant)


def _choices(settings: Iterable[str]) -> dict[str, str]:
    faults = [Fault("--set", f"{text!r} is not NAME=VALUE") for text in settings if "=" not in text]
    if faults:
        raise InputError(faults)
    return dict(text.split("=", 1) for text in settings)
