"""What is kept beside a plan, and the jobs that make one: values of the store and the job protocol."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from energy.domain.errors import Fault
from energy.domain.network import FloatArray
from energy.domain.period import AssetEntry, Coupling, DataSource, DayRun, LossTreatment
from energy.domain.plan import SeriesTable
from energy.domain.time import TimeGrid

JobState = Literal["queued", "running", "succeeded", "failed", "cancelled"]
FINISHED: tuple[JobState, ...] = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True)
class CarryOver:
    """What a day leaves to the next: the tanks of every battery and EV at the end of the day.

    Attributes:
        at: the end of the local day (UTC).
        energy_kwh: energy in the battery by asset id, kWh.
        carbon_kg: carbon booked to that energy by asset id, kg; the same ids.
        renewable_kwh: how much of that energy is renewable by asset id, kWh; the same ids.
        carbon_range_kg: the low and high ends of that carbon by asset id, kg; those whose range is known.
    """

    at: datetime
    energy_kwh: Mapping[str, float]
    carbon_kg: Mapping[str, float]
    renewable_kwh: Mapping[str, float]
    carbon_range_kg: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("carbon_kg", "renewable_kwh"):
            odd = sorted(self.energy_kwh.keys() ^ getattr(self, name).keys())
            if odd:
                raise ValueError(f"energy_kwh and {name} name different assets: {', '.join(odd)}")


@dataclass(frozen=True)
class DayAccounts:
    """The hourly accounts of one stored day: what its part of a `energy.domain.period.Period` is made of.

    Attributes:
        time: the hours of the local day.
        start_hash: of all that the day started from; planned again from the same, it would be the same.
            Empty where it was not kept: such a day is stale.
        coupling, losses: how carbon was traced. factors_version: of the registry it was traced with.
        assets: those of the tables ``drawn_…`` and ``injected_…``, in the order of their columns.
        tables: by name; the quantities of `Period` and of its accounts:

            * ``CASE.district`` of each case (``planned``, ``uncontrolled``, with day-ahead information
              ``actual``): columns ``QUANTITY/DISTRICT``; ``CASE.city``: a column per quantity
            * ``drawn_mwh``, ``drawn_kg``, ``injected_mwh``, ``injected_kg``: asset ids
            * ``driven_mwh``, ``driven_kg``, ``distance_km``, ``tank_mwh``, ``tank_kg``: ids of storages
            * where all factors have ranges, what of these is in kg also at their ends (``drawn_low_kg`` …)
            * ``hydrogen_kg``: ids of hydrogen stations; what vehicles took
            * where the marginal ledger follows the dispatch: ``marginal_kg``: asset ids;
              ``bus_marginal_g_per_kwh``: ``grid`` and buses as text
            * ``bus_carbon_g_per_kwh``: buses as text; ``upstream``, ``prices``: a column per series
        opening_mwh, opening_kg: what the tanks held at the start of the day, by id. opening_range_kg: the low
            and high ends of that carbon; None where factors have no ranges.
        sources: of the series that the day used; empty where they were not kept.
    """

    time: TimeGrid
    start_hash: str
    coupling: Coupling
    losses: LossTreatment
    factors_version: str
    assets: tuple[AssetEntry, ...]
    tables: Mapping[str, SeriesTable]
    opening_mwh: Mapping[str, float]
    opening_kg: Mapping[str, float]
    opening_range_kg: tuple[Mapping[str, float], Mapping[str, float]] | None = None
    sources: tuple[DataSource, ...] = ()


@dataclass(frozen=True)
class StoredAccounts:
    """`DayAccounts` as they are stored: tables stay packed until they are asked for.

    Attributes:
        run: that made them.
        columns: of the tables, by name.
        opening_mwh, opening_kg, opening_range_kg: columns as of ``tank_mwh``.
        unpack: the values of all tables by name, read anew each time.
    """

    run: DayRun
    time: TimeGrid
    start_hash: str
    coupling: Coupling
    losses: LossTreatment
    assets: tuple[AssetEntry, ...]
    columns: Mapping[str, tuple[str, ...]]
    opening_mwh: FloatArray
    opening_kg: FloatArray
    unpack: Callable[[], Mapping[str, FloatArray]]
    opening_range_kg: tuple[FloatArray, FloatArray] | None = None


@dataclass(frozen=True)
class RunRecord:
    """How a plan came about: what may differ between two runs of the same inputs stands here.

    `seconds` holds the wall-clock time of each stage by name (``dispatch``, ``ac``, ``carbon`` …).
    """

    started: datetime
    finished: datetime
    code_version: str
    input_hash: str
    status: str
    seconds: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """One stored plan in a list: `violations` counts what the AC power flow left unresolved."""

    city: str
    day: str
    information: str
    status: str
    rounds: int
    violations: int
    input_hash: str
    stored: datetime


@dataclass(frozen=True)
class DistrictSeries:
    """Stored district accounts over `time`; arrays of shape (steps, districts), NaN where no plan is stored
    or a step has no AC solution.

    `emissions_kg` is that of the energy used, `loss_emissions_kg` that of the losses on the way;
    `renewable_mwh` is NaN also where the renewable share of any part of the energy is unknown.
    """

    time: TimeGrid
    districts: tuple[str, ...]
    energy_mwh: FloatArray
    emissions_kg: FloatArray
    loss_emissions_kg: FloatArray
    renewable_mwh: FloatArray


@dataclass(frozen=True)
class AssetSeries:
    """Stored energy of one asset over `time`, kWh per interval by the sign rule of its power; NaN where no
    plan is stored."""

    time: TimeGrid
    energy_kwh: FloatArray


@dataclass(frozen=True)
class Job:
    """A snapshot of long work: `result` once it succeeded, `error` and `faults` once it failed.

    `progress` runs from 0 to 1, `message` says what is being done now. `faults` is empty where the
    failure was not the input's.
    """

    id: str
    kind: Literal["dispatch", "plan", "report"]
    state: JobState
    created: datetime
    progress: float = 0.0
    message: str = ""
    result: Any = None
    error: str | None = None
    faults: tuple[Fault, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether the state is final."""
        return self.state in FINISHED
