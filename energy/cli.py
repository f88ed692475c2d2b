"""The command line: ``wattshed``. Reads, calls one use case, writes; no maths here.

Modules are imported inside the commands: pandapower costs seconds, and most commands do not need it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated, NoReturn

import typer

from energy.cli_registry import factors_app, import_command
from energy.cli_reports import CityDirectory, explain_command, inventory_command, report_command, reports_app
from energy.domain.errors import Fault, InputError, WattshedError
from energy.domain.progress import Progress
from energy.feeds.documents import read_json, write_bytes, write_json

app = typer.Typer(
    name="wattshed",
    help="Energy management and carbon accounts for cities: schedules proven on the AC grid, "
    "carbon traced to the district that uses it. "
    "Exit codes: 0 an answer, 1 internal error, 2 bad input, 3 infeasible, 4 deadline, 5 store unavailable.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
grid_app = typer.Typer(help="AC power flow of a distribution grid.", no_args_is_help=True)
carbon_app = typer.Typer(
    help="Carbon of given flows and storages; where a reported figure comes from.", no_args_is_help=True
)
app.add_typer(grid_app, name="grid")
app.add_typer(carbon_app, name="carbon")
app.add_typer(factors_app, name="factors")
app.command("import")(import_command)
app.command("report")(report_command)
app.command("inventory")(inventory_command)
app.add_typer(reports_app, name="reports")
carbon_app.command("explain")(explain_command)

Input = Annotated[str, typer.Argument(metavar="FILE", help="A JSON file, or - for standard input.")]
Output = Annotated[
    str | None,
    typer.Option("-o", "--output", metavar="FILE", help="Write here instead of standard output."),
]
INFEASIBLE = 3


def main() -> NoReturn:
    """Entry point: every error of ours becomes its message and exit code."""
    try:
        code = app(standalone_mode=False)  # what typer.Exit carries, else what the command returns: None
    except WattshedError as error:
        _report(error)
        sys.exit(error.exit_code)
    except typer.Abort:
        sys.exit(130)
    except Exception as error:
        usage = getattr(error, "show", None)  # click's own usage errors print themselves
        if usage is None:
            raise
        usage()
        sys.exit(2)
    sys.exit(code or 0)


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def _report(error: WattshedError) -> None:
    if isinstance(error, InputError):
        count = len(error.faults)
        _tell(f"{error.title}: {count} fault{'s' if count > 1 else ''}")
        for fault in error.faults:
            _tell(f"  {fault}")
    else:
        _tell(f"error: {error}")


@contextmanager
def _progress() -> Iterator[Progress]:
    """A progress bar on standard error; plain lines where that is no terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True)
    if not console.is_terminal:
        last = ""

        def line(fraction: float, message: str) -> None:
            nonlocal last
            if message != last:
                _tell(f"[{fraction:4.0%}] {message}")
                last = message

        yield line
        return
    with Bar(
        TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda fraction, message: bar.update(
            task, completed=fraction, description=message, visible=fraction < 1
        )


@app.command()
def dispatch(
    problem: Input,
    output: Output = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            help="ISO 8601 duration from now, at least PT2S; replaces options.deadline of the problem."
        ),
    ] = None,
    previous: Annotated[
        str | None,
        typer.Option(
            metavar="SCHEDULE",
            help="A wattshed.schedule/1 that this one follows on: see options.now, commit, change_threshold.",
        ),
    ] = None,
    explain: Annotated[
        str | None,
        typer.Option(metavar="LANGUAGES", help="Reasons for what each asset does: en, ja or en,ja."),
    ] = None,
) -> None:
    """Solve a wattshed.dispatch/1 problem: powers in kW, energies in kWh, prices per MWh. Stateless."""
    accepted = monotonic()
    from energy.service.dispatch import dispatch_apart, with_reasons

    document, before = read_json(problem), None if previous is None else read_json(previous)
    if explain is not None:
        document = with_reasons(document, explain.split(","))
    answer = dispatch_apart(document, deadline, previous=before, accepted=accepted)
    with _progress() as progress:
        status, schedule = answer(progress)
    write_bytes(schedule, output)
    if status == "infeasible":
        raise typer.Exit(INFEASIBLE)


@grid_app.command("solve")
def grid_solve(
    source: Annotated[
        str, typer.Argument(help="PATH.json, PATH.m, simbench:CODE or pandapower:NAME[?key=value].")
    ],
    profiles: Annotated[
        Path | None,
        typer.Option(help="CSV or Parquet: time (RFC 3339), then columns like load.17.p_mw, sgen.3.q_mvar."),
    ] = None,
    start: Annotated[
        str | None, typer.Option(help="First step, RFC 3339; default: the profiles' first.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Number of steps; default: all.", min=1)] = None,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder for the result files.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="Write CSV instead of Parquet.")] = False,
) -> None:
    """AC power flow over time: vm in pu, loading in percent, losses in MW. Prints the summary."""
    from energy.service.grid import solve_grid

    with _progress() as progress:
        summary = solve_grid(source, profiles, start, steps, output, csv=csv, progress=progress)
    write_json(summary, None)


@carbon_app.command("trace")
def carbon_trace(flows: Input, output: Output = None) -> None:
    """Trace a wattshed.flows/1 (MW, g/kWh) to buses, demands and districts (g/kWh, kg)."""
    from energy.service.ledger import trace_document

    write_json(trace_document(read_json(flows)), output)


@carbon_app.command("tank")
def carbon_tank(ledger: Input, output: Output = None) -> None:
    """Run the storage tank over a wattshed.tank/1 list of events (kWh, g)."""
    from energy.service.ledger import tank_document

    write_json(tank_document(read_json(ledger)), output)


@app.command()
def schema(
    name: Annotated[
        str,
        typer.Argument(
            help="dispatch, schedule, flows, trace, tank, plan, city, series, inventory, report, "
            "report_version or figure."
        ),
    ],
    output: Output = None,
) -> None:
    """Print the JSON schema of a document."""
    from energy.service.schemas import json_schema

    write_json(json_schema(name), output)


@app.command()
def init(
    directory: Annotated[Path, typer.Argument(help="A new or empty directory.")],
    grid: Annotated[
        str, typer.Option(help="Grid source: a path, simbench:CODE or pandapower:NAME.")
    ] = "simbench:1-LV-rural1--2-sw",
) -> None:
    """Scaffold a city: city.toml, districts, assets, profiles, with comments."""
    from energy.service.cities import init_city

    for path in init_city(directory, grid):
        _tell(str(path))


@app.command()
def check(directory: Annotated[Path, typer.Argument(metavar="DIR", help="The city's directory.")]) -> None:
    """Validate a city: every fault at once (exit code 2), and what is merely poor as notices."""
    from energy.service.cities import check_city

    with _progress() as progress:
        report = check_city(directory, progress)
    write_json(report, None)


@app.command()
def plan(
    city: CityDirectory,
    day: Annotated[str, typer.Option(help="Local date in the city's time zone, like 2016-06-21.")],
    information: Annotated[
        str, typer.Option(help="perfect (the day's real profiles) or day-ahead (forecast at noon before).")
    ] = "perfect",
    output: Output = None,
) -> None:
    """Plan a day: forecast, dispatch, AC check, carbon. Stores the plan and writes wattshed.plan/1."""
    from energy.app import open_service

    with _progress() as progress:
        service = open_service([city], progress=progress)
        planned = service.plan(service.city_ids()[0], day, information=information, progress=progress)
    write_json(planned.document, output)


@app.command()
def operate(
    city: CityDirectory,
    now: Annotated[
        str | None,
        typer.Option(help="RFC 3339, like 2016-06-21T10:15+02:00; the rest of its day is planned."),
    ] = None,
    first_day: Annotated[
        str | None, typer.Option("--from", help="First local day, like 2016-01-01; with --to.")
    ] = None,
    last_day: Annotated[str | None, typer.Option("--to", help="Last local day, included.")] = None,
    information: Annotated[
        str,
        typer.Option(help="perfect or day-ahead: what plans know, or which stored plan goes on."),
    ] = "perfect",
    change_threshold: Annotated[
        float,
        typer.Option(help="With --now: what changing the plan must gain, in the city's currency.", min=0.0),
    ] = 0.0,
    output: Output = None,
) -> None:
    """Re-plan the rest of a day from where its stored plan has led (--now), or plan and account days one
    after the other (--from, --to). A range goes on where it was stopped: days whose inputs are unchanged are
    kept. It exits with 3 where a day has no schedule; the summary is written all the same."""
    from energy.app import open_service
    from energy.domain.time import parse_instant

    if (now is None) == (first_day is None and last_day is None) or (first_day is None) != (last_day is None):
        raise InputError(Fault("--now", "give either --now, or both --from and --to"))
    instant = None
    if now is not None:
        try:
            instant = parse_instant(now)
        except ValueError as error:
            raise InputError(Fault("--now", str(error))) from None
    with _progress() as progress:
        service = open_service([city], progress=progress)
        (name,) = service.city_ids()
        if first_day is not None and last_day is not None:
            document = service.operate_days(
                name, first_day, last_day, information=information, progress=progress
            )
        else:
            assert instant is not None
            document = dict(
                service.operate(
                    name,
                    instant,
                    information=information,
                    change_threshold=change_threshold,
                    progress=progress,
                ).document
            )
    write_json(document, output)
    if document.get("failed"):
        raise typer.Exit(INFEASIBLE)


@app.command()
def serve(
    city: Annotated[
        list[Path], typer.Option("--city", metavar="DIR", help="A city's directory; repeatable.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8050,
) -> None:
    """Serve dashboard and API for one or several cities until stopped."""
    from energy.app import run_server

    with _progress() as progress:
        run_server(city, host=host, port=port, progress=progress)


@app.command()
def demo(
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8050,
) -> None:
    """Prepare the reference city, plan its day and serve dashboard and API: what make demo runs."""
    from energy.app import run_demo

    with _progress() as progress:
        run_demo(port=port, progress=progress)


if __name__ == "__main__":
    main()
