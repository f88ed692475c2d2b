"""A day of a city: forecast, dispatch on the grid, the counterfactual, carbon, and the plan made of these."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

from energy.carbon.accounts import Account
from energy.domain.city import City, Profiles
from energy.domain.errors import Fault, InputError
from energy.domain.factors import FactorRegistry
from energy.domain.network import Violation
from energy.domain.plan import Plan, SeriesTable
from energy.domain.progress import Progress, silent
from energy.domain.records import CarryOver, DayAccounts
from energy.domain.schedule import ConnectionSchedule, Schedule
from energy.domain.time import TimeGrid, format_instant
from energy.forecast.baseline import Forecast, forecast, noon_before
from energy.service.cases import Case, run_case
from energy.service.city_day import (
    ROOT,
    CityDay,
    Information,
    horizon_of,
    month_of,
    site_series,
    start_hash,
    tanks_at,
    unavoidable_peak_mw,
)
from energy.service.city_units import DayBefore
from energy.service.coupling import dispatch_on_grid
from energy.service.day_accounts import day_accounts, marginal_table
from energy.service.operation import operate
from energy.service.previous import read_previous
from energy.service.remedies import remedies
from optimizer import DispatchProblem, uncontrolled
from optimizer.rolling import replan

if TYPE_CHECKING:
    from grid_models.twin import Twin

RECENT_DAYS = 28
"""With day-ahead information the month's peak is foreseen from this many days before the forecast."""


@dataclass(frozen=True)
class PlannedDay:
    """A plan, its hourly accounts, what it leaves to the next day, and the seconds each stage took."""

    plan: Plan
    accounts: DayAccounts
    carry: CarryOver
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Revision:
    """A day that is under way: the time, the schedule it has followed so far, and what a change must gain."""

    now: datetime
    schedule: Mapping[str, Any]
    change_threshold: float


class _Stopwatch:
    """Seconds since the last call, by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = perf_counter()

    def lap(self, name: str) -> None:
        now = perf_counter()
        self.seconds[name] = now - self._last
        self._last = now


def plan_day(
    city: City,
    day: date,
    information: Information,
    *,
    twin: Twin,
    factors: FactorRegistry,
    carry: CarryOver | None,
    metered_peak_mw: float | None,
    day_before: Mapping[str, Any] | None = None,
    revision: Revision | None = None,
    progress: Progress = silent,
) -> PlannedDay:
    """Plan one local day of `city`, or with `revision` what is left of it.

    `carry` is what a stored plan of the day before left, `metered_peak_mw` the highest import of the
    month's stored days, `day_before` the schedule of that stored plan, which a city with units needs; all
    None where there are none. The plan is a function of the arguments alone.

    Raises `IndexError` for a day outside the data, `InputError` for a day that cannot be forecast and for
    hard requirements that contradict each other.
    """
    watch = _Stopwatch()
    progress(0.0, f"{city.name} {day}: what is known of the day")
    known, expected = _known(city, day, information)
    if revision is not None:
        known = _metered(known, city.profiles, revision.now)
    start = replace(
        _city_day(city, day, information, known, carry, metered_peak_mw),
        units_before=None if day_before is None else DayBefore.of(day_before),
    )
    document = start.problem_document()
    if revision is not None:
        document["options"] |= {
            "now": format_instant(revision.now),
            "change_threshold": revision.change_threshold,
        }
    problem = DispatchProblem.from_document(document)
    watch.lap("problem")

    def dispatched(wanted: DispatchProblem) -> Schedule:
        return dispatch_on_grid(
            wanted,
            twin,
            progress=lambda share, message: progress(0.05 + 0.75 * share, message),
            marginal_steps=0 if start.marginal_g_per_kwh is None else start.time.steps,
        )[0]

    if revision is None:
        schedule = dispatched(problem)
    else:
        schedule = replan(problem, read_previous(revision.schedule), dispatched)
    if schedule.status == "infeasible":
        raise InputError(
            [
                Fault(
                    conflict.connection or ", ".join(conflict.assets),
                    f"{conflict.limit} cannot hold from {format_instant(conflict.start)} to "
                    f"{format_instant(conflict.end)}; relax it by {conflict.relaxation:g} {conflict.unit}",
                )
                for conflict in schedule.conflicts
            ]
            or Fault("", "what was done so far leaves no schedule for the rest of the day"),
            title=f"{city.name} {day}: the day has no schedule",
        )
    watch.lap("dispatch")
    progress(0.8, "the day without control")
    ways = {"planned": operate(start, schedule, known)}
    if expected is not None:
        ways["actual"] = operate(start, schedule, city.profiles)
    ways["uncontrolled"] = operate(start, uncontrolled(problem), city.profiles)
    cases: dict[str, Case] = {}
    for name, operation in ways.items():
        progress(0.82 + 0.05 * len(cases), f"AC power flow and carbon, case {name}")
        market = known if name == "planned" else city.profiles
        cases[name] = run_case(start, operation, twin, market, factors)
    watch.lap("cases")
    document = _document(start, problem, schedule, cases, expected, twin, factors)
    plan = Plan(
        city=city.id,
        day=day.isoformat(),
        information=information,
        time=start.time,
        document=document,
        tables=_tables(start, schedule, cases),
    )
    begun = start_hash(city, day, information, carry, metered_peak_mw, day_before, factors.version)
    accounts = day_accounts(start, cases, begun, factors.version, marginal_table(start, schedule))
    watch.lap("document")
    carry_over = _carry_over(start, cases.get("actual", cases["planned"]))
    return PlannedDay(plan, accounts, carry_over, watch.seconds)


def _metered(known: Profiles, real: Profiles, now: datetime) -> Profiles:
    """What is known at `now`: the meters until then, what was expected from then on."""
    values = known.values.copy()
    past = min(max(int(known.time.position(now)), 0), known.time.steps)
    first = round(real.time.position(known.time.start))
    values[:past] = real.values[first : first + past]
    return Profiles(known.time, known.columns, values)


def _known(city: City, day: date, information: Information) -> tuple[Profiles, Forecast | None]:
    """The series the plan may use: those of the day, or what was expected of it at noon the day before."""
    if information == "perfect":
        return city.profiles, None
    expected = forecast(
        city.profiles.time,
        city.profiles.values,
        horizon_of(city, day),
        city.zone,
        noon_before(day, city.zone),
    )
    return Profiles(expected.time, city.profiles.columns, expected.values), expected


def _city_day(
    city: City,
    day: date,
    information: Information,
    known: Profiles,
    carry: CarryOver | None,
    metered_peak_mw: float | None,
) -> CityDay:
    time = city.day(day)
    return CityDay(
        city=city,
        day=day,
        information=information,
        time=time,
        horizon=horizon_of(city, day),
        known=known,
        tanks=tanks_at(city, time.start, carry),
        carried=carry is not None,
        metered_peak_mw=metered_peak_mw,
        unavoidable_peak_mw=unavoidable_peak_mw(city, city.profiles, _peak_window(city, day, information)),
    )


def _peak_window(city: City, day: date, information: Information) -> TimeGrid:
    """Where the month's unavoidable peak is looked for: in the month, or in what was known of late."""
    if information == "perfect":
        return month_of(city, day)
    data = city.profiles.time
    last = int(data.position(noon_before(day, city.zone)))
    first = max(0, last - RECENT_DAYS * int(24 / data.hours))
    return data.window(first, last - first)


def _carry_over(day: CityDay, case: Case) -> CarryOver:
    """The tanks at the end of the day."""
    account, ends = case.account, case.account.tank_carbon_range_kg
    return CarryOver(
        at=day.time.end,
        energy_kwh=dict(zip(account.storage_ids, (account.tank_e_mwh[-1] * 1000).tolist(), strict=True)),
        carbon_kg=dict(zip(account.storage_ids, account.tank_carbon_kg[-1].tolist(), strict=True)),
        renewable_kwh=dict(
            zip(account.storage_ids, (account.tank_renewable_mwh[-1] * 1000).tolist(), strict=True)
        ),
        carbon_range_kg={}
        if ends is None
        else dict(
            zip(
                account.storage_ids, zip(ends[0][-1].tolist(), ends[1][-1].tolist(), strict=True), strict=True
            )
        ),
    )


def _tables(day: CityDay, schedule: Schedule, cases: Mapping[str, Case]) -> dict[str, SeriesTable]:
    terms, real, time = day.city.market, day.city.profiles, day.time
    market = {
        "import_price_eur_per_mwh": real.window(terms.import_price, time),
        "export_price_eur_per_mwh": real.window(terms.export_price, time),
        "upstream_g_per_kwh": real.window(terms.carbon, time),
        "upstream_marginal_g_per_kwh": real.window(terms.marginal_carbon, time),
        "price_eur_per_mwh": schedule.connections[ROOT].price_per_mwh["total"][: time.steps],
    }
    tables = {"market": SeriesTable(tuple(market), np.column_stack(list(market.values())))}
    marginal = marginal_table(day, schedule)
    if marginal is not None:
        tables["planned.marginal_g_per_kwh"] = marginal
    for name, case in cases.items():
        tables |= {f"{name}.{key}": table for key, table in case.tables().items()}
    return tables


def _document(
    day: CityDay,
    problem: DispatchProblem,
    schedule: Schedule,
    cases: Mapping[str, Case],
    expected: Forecast | None,
    twin: Twin,
    factors: FactorRegistry,
) -> dict[str, Any]:
    """``wattshed.plan/1``."""
    planned, accounted = cases["planned"], "actual" if "actual" in cases else "planned"
    account = cases[accounted].account
    assert schedule.ac is not None
    document: dict[str, Any] = {
        "schema": "wattshed.plan/1",
        "city": day.city.id,
        "day": day.day.isoformat(),
        "information": day.information,
        "time": day.time.document(),
        "status": "secure" if planned.state.secure else "unresolved",
        "rounds": schedule.ac["rounds"],
        "input_hash": day.input_hash(problem.input_hash, factors.version),
        "comparison": _comparison(day, cases),
        "valuation": _valuation(day),
        "peak": {
            "metered_mw": day.metered_peak_mw,
            "unavoidable_mw": day.unavoidable_peak_mw,
            "so_far_mw": day.peak_so_far_mw,
        },
        "carried_over": day.carried,
        "schedule": _day_schedule(day, problem, schedule, planned),
        "violations": [*_unsolved(planned), *_violations(twin, planned)],
        "carbon": {
            "case": accounted,
            "ledger": "location",
            "method": _method(account),
            "coupling": account.coupling,
            "losses": account.losses,
            "basis": day.city.carbon.basis,
            "factors_version": factors.version,
            "districts": account.district_documents(),
            "ev": account.ev(),
            "balance": account.balance(),
        },
        "sources": [source.document() for source in day.city.sources],
        "notices": [*_notices(day), *_unsolved_notices(cases), *day.city.notices, *twin.notices],
    }
    if expected is not None:
        document["forecast"] = _forecast_report(day, expected, cases["actual"])
    return document


def _method(account: Account) -> str:
    carried = {
        "account": "losses as an account of their own",
        "loads": "losses on loads",
        "generators": "losses on generators",
    }
    return (
        f"proportional sharing on AC flows, {account.coupling} coupling, {carried[account.losses]}; storage "
        "as mixing tanks"
    )


def _notices(day: CityDay) -> list[str]:
    notices = []
    if day.information == "perfect":
        notices.append("information is perfect: the day's real profiles and announced sessions were known")
    wanted = day.time.end + (day.horizon.end - day.time.end)
    if day.horizon.end == day.city.profiles.time.end:
        notices.append(
            f"the data end at {format_instant(wanted)}: the plan looks {day.horizon.steps - day.time.steps} "
            "steps beyond the day instead of to noon of the next"
        )
    if not day.carried:
        notices.append(
            "no stored plan of the day before: batteries start as declared, vehicles full or as charging "
            "at full power since their arrival leaves them"
        )
    if not day.tanks_ranged:
        notices.append(
            "the stored plan of the day before left the carbon of storages without low and high end: the "
            "day's figures have no interval; operate the days before again"
        )
    if day.city.units and day.units_before is None:
        notices.append("no stored plan of the day before: units start as declared")
    notices.append(
        f"the day pays the demand charge above {day.peak_so_far_mw:.3f} MW: the larger of the month's "
        "highest import so far and of what inflexible demand less generation reaches in the month anyway"
    )
    return notices


def _valuation(day: CityDay) -> dict[str, Any]:
    """What a MWh left in batteries and vehicles at the end of the day is worth when cases are compared."""
    terms, real = day.city.market, day.city.profiles
    return {
        "price_per_mwh": float(real.window(terms.import_price, day.time).mean()),
        "carbon_g_per_kwh": float(real.window(terms.carbon, day.time).mean()),
        "basis": "means over the day of the import price and of the upstream average intensity",
    }


def _comparison(day: CityDay, cases: Mapping[str, Case]) -> dict[str, dict[str, Any]]:
    """The cases side by side; also at the energy in store that the uncontrolled case ends with."""
    value, reference = _valuation(day), cases["uncontrolled"].operation.e_end_mwh()
    comparison = {}
    for name, case in cases.items():
        more_mwh = case.operation.e_end_mwh() - reference
        summary = case.summary()
        summary["cost_at_equal_energy"] = summary["cost"] - more_mwh * value["price_per_mwh"]
        summary["emissions_at_equal_energy_kg"] = (
            summary["emissions_kg"] - more_mwh * value["carbon_g_per_kwh"]
        )
        comparison[name] = summary
    return comparison


def _violations(twin: Twin, case: Case) -> list[dict[str, Any]]:
    found = case.state.violations
    power = case.operation.nodal_power()
    return [
        {
            **_violation(violation),
            "remedy": remedy,
        }
        for violation, remedy in zip(found, remedies(twin, case.state, power), strict=True)
    ]


def _unsolved(case: Case) -> list[dict[str, Any]]:
    """The steps without an AC solution, as violations."""
    remedy = "less drawn or fed in at once: no voltages can carry this; check units and sizes"
    time = case.state.time
    return [
        {
            "time": format_instant(time.instant(step)),
            "element": "grid",
            "quantity": "converged",
            "value": 0.0,
            "limit": 1.0,
            "remedy": remedy,
        }
        for step in case.unsolved_steps
    ]


def _unsolved_notices(cases: Mapping[str, Case]) -> list[str]:
    notices = []
    for name, case in cases.items():
        if case.unsolved_steps:
            time, unsolved = case.state.time, case.unsolved_steps
            times = ", ".join(format_instant(time.instant(step)) for step in unsolved[:8])
            notices.append(
                f"case {name}: no AC solution at {times}{' …' if len(unsolved) > 8 else ''} ({len(unsolved)} "
                "steps); its sums leave them out, and what was charged then counts at the upstream mix"
            )
    return notices


def _violation(violation: Violation) -> dict[str, Any]:
    """A violation as plans write it: the element in short."""
    element = violation.element
    return {**violation.document(), "element": f"{element.table} {element.index}"}


def _forecast_report(day: CityDay, expected: Forecast, actual: Case) -> dict[str, Any]:
    """How the forecast was made, how far off it was, and which violations of the day it missed."""
    errors = {}
    for name, series in (
        ("load", [site.p for site in day.city.loads]),
        ("generation", [unit.available for unit in day.city.renewables]),
    ):
        foreseen, came = (
            site_series(profiles, series, day.time).sum(axis=1) for profiles in (day.known, day.city.profiles)
        )
        errors[name] = {
            "mean_error_mw": float((foreseen - came).mean()),
            "mean_absolute_error_mw": float(np.abs(foreseen - came).mean()),
        }
    return {
        "method": "same quarter-hour of the last four like days",
        "issued": format_instant(expected.issued),
        "like_days_min": int(expected.like_days.min()),
        "notices": list(expected.notices),
        "errors": errors,
        "missed": [
            *({key: value for key, value in item.items() if key != "remedy"} for item in _unsolved(actual)),
            *(_violation(violation) for violation in actual.state.violations),
        ],
    }


def _day_schedule(day: CityDay, problem: DispatchProblem, schedule: Schedule, case: Case) -> dict[str, Any]:
    """The schedule's first day: powers, energies and prices of its steps, cost as AC has it."""
    steps = day.time.steps
    parts = {name: case.cost_parts.get(name, 0.0) for name in schedule.objective}
    shortfalls = tuple(item for item in schedule.shortfalls if item.at <= day.time.end)
    parts["shortfall"] = problem.objective.unserved_energy_price_per_kwh * sum(
        item.amount_kwh for item in shortfalls
    )
    parts["total"] = sum(value for name, value in parts.items() if name != "total")
    proposed = schedule.connections[ROOT]
    proposed_kw = (proposed.import_kw - proposed.export_kw)[:steps]
    root_kw = np.where(case.state.converged, case.root_mw * 1000, proposed_kw)
    root = ConnectionSchedule(
        import_kw=np.maximum(root_kw, 0.0),
        export_kw=np.maximum(-root_kw, 0.0),
        price_per_mwh={name: price[:steps] for name, price in proposed.price_per_mwh.items()},
        marginal=None if proposed.marginal is None else proposed.marginal.of_first(steps),
    )
    document = replace(
        schedule,
        time=day.time,
        objective=parts,
        best_bound=None,
        gap=None,
        connections={ROOT: root},
        assets={
            key: replace(
                asset,
                p_kw=asset.p_kw[:steps],
                series={name: series[:steps] for name, series in asset.series.items()},
            )
            for key, asset in schedule.assets.items()
        },
        shortfalls=shortfalls,
        buses={},
        reasons={
            key: tuple(reason for reason in told if reason.start < day.time.end)
            for key, told in schedule.reasons.items()
        },
        ac=None,
    ).document()
    # what differs between two runs of the same inputs stands in the run record
    for name in ("build_seconds", "solve_seconds"):
        del document[name]
    return document
