"""What the faces call: cities, their plans and what is stored of them, and long work as jobs."""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from energy.domain.city import City
from energy.domain.documents import nearest
from energy.domain.errors import UnknownError
from energy.domain.network import FloatArray
from energy.domain.period import Period
from energy.domain.plan import Plan
from energy.domain.progress import Progress, silent
from energy.domain.records import CarryOver, Job, PlanSummary, RunRecord
from energy.domain.report_document import edition_document
from energy.domain.time import TimeGrid, format_instant
from energy.feeds.officer import read_officer_inputs
from energy.service.city_day import Information, check_day, start_hash
from energy.service.days import DayOutcome, DaysOperation
from energy.service.dispatch import answer_by, dispatch_document, read_dispatch
from energy.service.factors import city_factors
from energy.service.inventory import (
    CityInventory,
    EntryDraft,
    Replaced,
    city_inventory,
    replace_inventory,
)
from energy.service.jobs import Jobs
from energy.service.period import load_period
from energy.store import Store

if TYPE_CHECKING:
    from energy.service.reports.desk import Desk
    from grid_models.twin import Twin

HOUR = timedelta(hours=1)


class Service:
    """Cities over one store. Safe to call from several threads; plans are made one at a time."""

    def __init__(
        self, store: Store, cities: Iterable[City], directories: Mapping[str, Path] | None = None
    ) -> None:
        """`directories` says by city where the officer's files are looked for; without one there are none."""
        self._store = store
        self._directories = dict(directories or {})
        self._cities = {city.id: city for city in cities}
        self._twins: dict[str, Twin] = {}
        self._planning = threading.Lock()
        self._entering = threading.Lock()
        self._jobs = Jobs()

    # cities

    def city_ids(self) -> tuple[str, ...]:
        """The ids of all cities, in the order in which they were given."""
        return tuple(self._cities)

    def city(self, city_id: str) -> City:
        """One city; `UnknownError` where there is none of that id."""
        if city_id not in self._cities:
            raise UnknownError(f"no city {city_id!r}; {nearest(city_id, self._cities)}")
        return self._cities[city_id]

    def districts(self, city_id: str) -> dict[str, Any]:
        """The districts as a GeoJSON FeatureCollection; one without a polygon has a null geometry."""
        return {
            "type": "FeatureCollection",
            "features": [
                {
                    "type": "Feature",
                    "id": district.id,
                    "geometry": None if district.geometry is None else dict(district.geometry),
                    "properties": {
                        "id": district.id,
                        "name": district.name,
                        "buses": list(district.buses),
                    },
                }
                for district in self.city(city_id).districts
            ],
        }

    def check(self) -> None:
        """`StoreError` unless the store can be read now."""
        self._store.check()

    def begin(self) -> None:
        """Get ready to serve: what the first dispatch imports is imported from now on, beside other work."""
        self._jobs.begin()

    def close(self) -> None:
        """Cancel all jobs and close the store."""
        self._jobs.close()
        self._store.close()

    # plans

    def plan(
        self, city_id: str, day: str, *, information: str = "perfect", progress: Progress = silent
    ) -> Plan:
        """Plan a local day (``2016-06-21``) and store the plan.

        Tanks carry over from the stored plan of the day before, where there is one. Raises `InputError`
        for a day outside the data and for unknown information.
        """
        return self._planned(city_id, day, information, None, progress)

    def operate(
        self,
        city_id: str,
        now: datetime,
        *,
        information: str = "perfect",
        change_threshold: float = 0.0,
        progress: Progress = silent,
    ) -> Plan:
        """Re-plan the rest of the day that holds `now`, and store the plan in place of the one before.

        The day follows its stored plan until `now`: batteries and vehicles are where its controls have
        brought them, and the series until then are as metered. The steps after keep their controls unless
        more needs are served otherwise, the grid asks for it, or the gain is above `change_threshold` (in
        the city's currency): ``schedule.revision`` says what changed and why. Raises `UnknownError` where
        the day has no stored plan.
        """
        stored = self._covering(city_id, now, information)
        return self._planned(
            city_id, stored.day, information, (now, stored.document["schedule"], change_threshold), progress
        )

    def operate_days(
        self,
        city_id: str,
        first_day: str,
        last_day: str,
        *,
        information: str = "perfect",
        progress: Progress = silent,
    ) -> dict[str, Any]:
        """Plan and account the local days from `first_day` to `last_day`, one after the other, and store
        each: ``wattshed.operation/1``, what became of every day.

        A stored day is kept as long as all that it started from is the same: city, factors, what the day
        before left, the month's peak. So a call that was killed goes on where it stopped, and a change of
        the city plans again what it concerns. A day without any schedule is told and left out; the next one
        starts as the city declares it. Raises `InputError` for days outside the data.
        """
        return DaysOperation(self._operated_day).run(
            self.city(city_id), first_day, last_day, information, progress
        )

    def _operated_day(
        self, city: City, day: date, information: Information, progress: Progress
    ) -> DayOutcome:
        """The stored plan of `day` where it is still valid, else a new one."""
        name = day.isoformat()
        carry, peak, before = self._before(city, day, information)
        begun = start_hash(city, day, information, carry, peak, before, city_factors(city).version)
        stored = self._store.day_accounts(city.id, name, name, information)
        if stored and stored[0].start_hash == begun:
            return DayOutcome(name, "kept", stored[0].run.status)
        plan = self._planned(city.id, name, information, None, progress)
        return DayOutcome(name, "planned", plan.document["status"])

    def _planned(
        self,
        city_id: str,
        day: str,
        information: str,
        revised: tuple[datetime, Any, float] | None,
        progress: Progress,
    ) -> Plan:
        from energy.service.planning import Revision, plan_day

        city = self.city(city_id)
        wanted, informed = check_day(city, day, information)
        with self._planning:
            started = datetime.now(UTC)
            progress(0.0, f"{city.name} {day}: the grid")
            carry, peak, before = self._before(city, wanted, informed)
            planned = plan_day(
                city,
                wanted,
                informed,
                twin=self._twin(city),
                factors=city_factors(city),
                carry=carry,
                metered_peak_mw=peak,
                day_before=before,
                revision=None if revised is None else Revision(*revised),
                progress=progress,
            )
            progress(0.97, "storing the plan")
            document = planned.plan.document
            run = RunRecord(
                started=started,
                finished=datetime.now(UTC),
                code_version=version("wattshed"),
                input_hash=document["input_hash"],
                status=document["status"],
                seconds=planned.seconds,
            )
            self._store.save_plan(planned.plan, run, planned.carry, planned.accounts)
        progress(1.0, "planned")
        return planned.plan

    def _before(
        self, city: City, day: date, information: Information
    ) -> tuple[CarryOver | None, float | None, Mapping[str, Any] | None]:
        """What the stored plans before `day` leave it: tanks, the month's peak, and what units do."""
        name = day.isoformat()
        return (
            self._store.carry_over(city.id, name, information),
            self._store.month_peak_mw(city.id, name, information),
            self._schedule_before(city, day, information),
        )

    def _schedule_before(self, city: City, day: date, information: str) -> Mapping[str, Any] | None:
        """What units were planned to do on the day before `day`; None where no such plan is stored."""
        if not city.units:
            return None
        plan = self._store.plan(city.id, (day - timedelta(days=1)).isoformat(), information)
        return None if plan is None else plan.document["schedule"]

    def stored_plan(self, city_id: str, day: str, information: str = "perfect") -> Plan | None:
        """The stored plan of a day; None where there is none."""
        return self._store.plan(self.city(city_id).id, day, information)

    def plans(self, city_id: str) -> tuple[PlanSummary, ...]:
        """The stored plans of a city, by day."""
        return self._store.plans(self.city(city_id).id)

    # what is stored

    def carbon(
        self,
        city_id: str,
        start: datetime,
        end: datetime,
        *,
        by: Literal["district"] = "district",
        resolution: timedelta = HOUR,
        ledger: Literal["location"] = "location",
        information: str = "perfect",
    ) -> dict[str, Any]:
        """Energy, emissions and intensity by district from the stored plans; null where none covers.

        Sums over an interval; intensities and renewable shares are weighted by energy.
        """
        city = self.city(city_id)
        series = self._store.district_series(
            city_id, start, end, information=information, resolution=resolution
        )
        with np.errstate(divide="ignore", invalid="ignore"):
            carbon = np.where(series.energy_mwh > 0, series.emissions_kg / series.energy_mwh, np.nan)
            share = np.where(series.energy_mwh > 0, series.renewable_mwh / series.energy_mwh, np.nan)
        tables = {
            "energy_mwh": series.energy_mwh,
            "emissions_kg": series.emissions_kg,
            "loss_emissions_kg": series.loss_emissions_kg,
            "carbon_g_per_kwh": carbon,
            "renewable_share": share,
        }
        return {
            "city": city.id,
            "ledger": ledger,
            "by": by,
            "information": information,
            "time": series.time.document(),
            "districts": {
                district: {name: _nulls(values[:, k]) for name, values in tables.items()}
                for k, district in enumerate(series.districts)
            },
            "sources": [source.document() for source in city.sources],
        }

    def period(
        self, city_id: str, label: str, *, last_day: str | None = None, information: str = "perfect"
    ) -> Period:
        """What the stored days of ``2016``, ``2016-06``, ``2016-06-21`` or ``2016-06-01/2016-06-15`` account,
        hour by hour; with `last_day`, `label` is the first day.

        Raises `InputError` for what is no such label, and for days that do not go together; `UnknownError`
        where no day of the period is stored.
        """
        asked = label if last_day is None else f"{label}/{last_day}"
        return load_period(self._store, self.city(city_id), asked, information)

    def grid(self, city_id: str, at: datetime, *, information: str = "perfect") -> dict[str, Any]:
        """Voltages, loadings and violations of the step that contains `at`, of every case of its plan.

        Raises `UnknownError` where no stored plan covers it.
        """
        plan = self._covering(city_id, at, information)
        step = plan.time.step_at(at)
        instant = format_instant(plan.time.instant(step))
        cases = {}
        for case in plan.document["comparison"]:
            values = {
                name: dict(zip(table.columns, _nulls(table.values[step]), strict=True))
                for name in ("vm_pu", "loading_percent", "p_from_mw")
                if (table := plan.tables.get(f"{case}.{name}")) is not None
            }
            cases[case] = values
        return {
            "city": city_id,
            "at": instant,
            "day": plan.day,
            "information": information,
            **cases.get("planned", {}),
            "violations": [item for item in plan.document["violations"] if item["time"] == instant],
            "cases": cases,
        }

    def schedule(
        self,
        city_id: str,
        asset: str,
        start: datetime | None = None,
        end: datetime | None = None,
        *,
        information: str = "perfect",
    ) -> dict[str, Any]:
        """The setpoints of one asset from `start` to `end` (the last stored day where not given), kW by
        the sign rule of its type; null where no plan is stored.

        Raises `UnknownError` where no stored plan in this time has the asset.
        """
        city = self.city(city_id)
        if start is None or end is None:
            days = [plan.day for plan in self.plans(city_id) if plan.information == information]
            if not days:
                raise UnknownError(f"{city_id} has no stored plan with {information} information; plan a day")
            time = city.day(date.fromisoformat(days[-1]))
            start, end = start or time.start, end or time.end
        resolution = city.profiles.time.resolution
        first = start - (start - city.profiles.time.start) % resolution
        grid = TimeGrid(first, resolution, max(1, -((first - end) // resolution)))
        found = {"p_kw": np.full(grid.steps, np.nan), "e_kwh": np.full(grid.steps, np.nan)}
        known = False
        for plan in self._plans_between(city, grid.start, grid.end, information):
            for name, values in found.items():
                table = plan.tables.get(f"planned.asset_{name}")
                if table is None or asset not in table.columns:
                    continue
                known = True
                offset = round(grid.position(plan.time.start))
                low, high = max(offset, 0), min(offset + plan.time.steps, grid.steps)
                values[low:high] = table.column(asset)[low - offset : high - offset]
        if not known:
            raise UnknownError(
                f"no stored plan of {city_id} from {format_instant(start)} to {format_instant(end)} has an "
                f"asset {asset!r}"
            )
        return {
            "city": city_id,
            "asset": asset,
            "information": information,
            "time": grid.document(),
            "p_kw": _nulls(found["p_kw"]),
            "e_kwh": None if np.isnan(found["e_kwh"]).all() else _nulls(found["e_kwh"]),
        }

    # reports

    @functools.cached_property
    def reports(self) -> Desk:
        """Where reports are made, kept and explained."""
        from energy.service.reports.desk import Desk

        return Desk(
            shelf=self._store.reports,
            load=functools.partial(load_period, self._store),
            officer=lambda city: read_officer_inputs(self._directories.get(city.id)),
            factors=city_factors,
            runs=self._store.runs,
        )

    def start_report(
        self,
        city_id: str,
        name: str,
        period: str,
        *,
        information: str = "perfect",
        choices: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> Job:
        """Make and keep a report in the background; the job's result is the stored version as a document.

        `InputError` at once for reports, choices and periods that cannot be.
        """
        from energy.service.reports.registry import asked

        self.city(city_id)
        picked = asked(name, period, choices or {})
        work = functools.partial(self._report_job, city_id, name, period, information, picked)
        fingerprint = json.dumps([city_id, name, period, information, picked], sort_keys=True)
        return self._jobs.submit("report", work, key=key, fingerprint=fingerprint)

    # the officer's entries

    def inventory(self, city_id: str) -> CityInventory:
        """The officer's entries of a city as they stand; `InputError` for a file that is no table."""
        return city_inventory(self.city(city_id), self._directories.get(city_id))

    def replace_inventory(
        self, city_id: str, draft: EntryDraft, *, replaced: Replaced = "years", version: str | None = None
    ) -> CityInventory:
        """Store entries of a city, checked whole and written whole or not at all; the new state.

        By default stored entries of years that `draft` does not name stay. With the `version` that the draft
        was made from, `ChangedError` where another is stored by now. Raises `InputError` with every fault of
        every row, and `ReadOnlyError` where the city's directory takes no entries.
        """
        with self._entering:
            return replace_inventory(
                self.city(city_id),
                self._directories.get(city_id),
                draft,
                replaced=replaced,
                version=version,
            )

    def explain(self, city_id: str, figure: str) -> dict[str, Any]:
        """What a figure of a city's reports is made of; `UnknownError` where no report of it has the id."""
        found = self.reports.explain(figure)
        if found["report"]["city"] != self.city(city_id).id:
            raise UnknownError(f"figure {figure!r} is in no stored report of {city_id}")
        return found

    # jobs

    def start_plan(
        self, city_id: str, day: str, information: str = "perfect", *, key: str | None = None
    ) -> Job:
        """Plan a day in the background; `InputError` at once for a day or information that cannot be."""
        check_day(self.city(city_id), day, information)
        work = functools.partial(self._plan_job, city_id, day, information)
        return self._jobs.submit("plan", work, key=key, fingerprint=f"{city_id} {day} {information}")

    def start_operation(
        self,
        city_id: str,
        now: datetime,
        information: str = "perfect",
        *,
        change_threshold: float = 0.0,
        key: str | None = None,
    ) -> Job:
        """Re-plan the rest of a day in the background, as `operate` does; the job's kind is ``plan``.

        Raises `UnknownError` at once where the day has no stored plan.
        """
        self._covering(city_id, now, information)
        work = functools.partial(
            self._operate_job, city_id, now, information=information, change_threshold=change_threshold
        )
        fingerprint = f"{city_id} {format_instant(now)} {information} {change_threshold}"
        return self._jobs.submit("plan", work, key=key, fingerprint=fingerprint)

    def start_dispatch(
        self, document: Any, *, previous: Any = None, key: str | None = None, accepted: float | None = None
    ) -> Job:
        """Dispatch a ``wattshed.dispatch/1`` in the background, as one that follows on the
        ``wattshed.schedule/1`` `previous` where it is given; `InputError` at once for the faults of both.

        Its deadline counts from `accepted`, on the monotonic clock; without it, from now.
        """
        deadline = answer_by(document, None, monotonic() if accepted is None else accepted)
        read_dispatch(document, previous)
        fingerprint = hashlib.sha256(json.dumps([document, previous], sort_keys=True).encode()).hexdigest()
        work = functools.partial(dispatch_document, document, previous=previous)
        return self._jobs.submit("dispatch", work, key=key, fingerprint=fingerprint, deadline=deadline)

    def job(self, job_id: str) -> Job:
        """A job as it stands now; `KeyError` where there is none of that id."""
        return self._jobs.job(job_id)

    def cancel(self, job_id: str) -> Job:
        """Stop a job unless it is finished; `KeyError` where there is none of that id."""
        return self._jobs.cancel(job_id)

    def _plan_job(self, city_id: str, day: str, information: str, *, progress: Progress) -> Plan:
        return self.plan(city_id, day, information=information, progress=progress)

    def _operate_job(
        self, city_id: str, now: datetime, *, information: str, change_threshold: float, progress: Progress
    ) -> Plan:
        return self.operate(
            city_id, now, information=information, change_threshold=change_threshold, progress=progress
        )

    def _report_job(
        self,
        city_id: str,
        name: str,
        period: str,
        information: str,
        choices: Mapping[str, str],
        *,
        progress: Progress,
    ) -> dict[str, Any]:
        from energy.service.reports.desk import report_key

        progress(0.0, "making the report")
        report, edition = self.reports.make(
            self.city(city_id), name, period, information=information, choices=choices
        )
        return edition_document(report_key(report, information, choices), edition)

    def _twin(self, city: City) -> Twin:
        """The city's twin, made on first use: importing pandapower and reading a grid take seconds."""
        if city.id not in self._twins:
            from energy.service.cities import city_twin

            self._twins[city.id] = city_twin(city)
        return self._twins[city.id]

    def _covering(self, city_id: str, at: datetime, information: str) -> Plan:
        day = at.astimezone(self.city(city_id).zone).date().isoformat()
        plan = self.stored_plan(city_id, day, information)
        if plan is None:
            raise UnknownError(f"{city_id} has no stored plan of {day} with {information} information")
        return plan

    def _plans_between(self, city: City, start: datetime, end: datetime, information: str) -> Iterable[Plan]:
        first, last = (at.astimezone(city.zone).date() for at in (start, end))
        for summary in self.plans(city.id):
            inside = first.isoformat() <= summary.day <= last.isoformat()
            if summary.information == information and inside:
                plan = self.stored_plan(city.id, summary.day, information)
                if plan is not None and plan.time.start < end and plan.time.end > start:
                    yield plan


def _nulls(values: FloatArray) -> list[float | None]:
    """Numbers for JSON, null for what is not known."""
    return [value if np.isfinite(value) else None for value in values.tolist()]
