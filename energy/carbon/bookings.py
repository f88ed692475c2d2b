"""What an account of a horizon holds, and how it follows from what was summed per district and step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from energy.carbon.mixing import CARBON, HIGH, LOW, POWER, RENEWABLE, TankRecord
from energy.carbon.participants import Range, Storage
from energy.domain.network import BoolArray, FloatArray, IntArray
from energy.domain.period import ENDS, Coupling, LossTreatment, end_name
from energy.domain.plan import SeriesTable
from energy.domain.time import TimeGrid


@dataclass(frozen=True)
class Sums:
    """What is summed per district and step.

    Energies in MWh, shape (steps, districts). Carbon in kg, shape (steps, ends, districts): the value and,
    where factors have ranges, its low and its high end. `use` (steps, districts, columns) is end use by
    column of the mix; (steps,) for city figures; (steps, nodes) for what stands at nodes, and (steps, 0) for
    `node_use_…` where use has the mix of its node, or no ends. `use_with_losses_kg` is the value alone, shape
    (steps, districts).
    """

    use: FloatArray
    use_with_losses_kg: FloatArray
    loss_mwh: FloatArray
    loss_kg: FloatArray
    charged_mwh: FloatArray
    charged_kg: FloatArray
    discharged_mwh: FloatArray
    discharged_kg: FloatArray
    generated_mwh: FloatArray
    generated_kg: FloatArray
    import_mwh: FloatArray
    import_kg: FloatArray
    export_mwh: FloatArray
    export_kg: FloatArray
    mismatch_mw: FloatArray
    supply_mw: FloatArray
    node_g_per_kwh: FloatArray
    node_use_g_per_kwh: FloatArray
    node_use_low_g_per_kwh: FloatArray
    node_use_high_g_per_kwh: FloatArray
    node_through_mw: FloatArray

    def room(self, steps: int) -> Sums:
        """Room for the same of `steps` steps."""
        return Sums(*(np.empty((steps, *getattr(self, item.name).shape[1:])) for item in fields(Sums)))

    def put(self, window: slice, part: Sums) -> None:
        """Write the sums of some steps to their place."""
        for item in fields(Sums):
            getattr(self, item.name)[window] = getattr(part, item.name)

    def blank(self, steps: BoolArray) -> None:
        """Nothing is known of `steps`."""
        for item in fields(Sums):
            getattr(self, item.name)[steps] = np.nan


@dataclass(frozen=True)
class AtBuses:
    """What flows through the nodes, shape (steps, nodes); 0 where nothing does, NaN without an AC solution.

    Attributes:
        node_of_bus: the node of each bus that has one.
        carbon_g_per_kwh: the traced intensity of the node.
        use_g_per_kwh: what end use at the node is accounted with; with aggregated coupling, or with losses
            on loads, it differs from the former.
        through_mw: the power that flows through.
        use_range_g_per_kwh: the low and high ends of `use_g_per_kwh`; None where they are unknown.
    """

    node_of_bus: Mapping[int, int]
    carbon_g_per_kwh: FloatArray
    use_g_per_kwh: FloatArray
    through_mw: FloatArray
    use_range_g_per_kwh: Range | None = None

    def nodes(self, buses: IntArray) -> IntArray:
        """The node of each of `buses`."""
        return np.array([self.node_of_bus[int(bus)] for bus in buses], dtype=np.int64)


@dataclass(frozen=True)
class Account:
    """The carbon account of a horizon; every array has the steps first.

    Steps without an AC solution have no flows and are NaN in every table; sums over steps leave them out.

    Attributes:
        coupling, losses: how carbon was traced, and who carries that of losses.
        districts: ``boundary`` included, sorted. technologies: ``import``, ``battery`` and ``v2g``
            included, sorted.
        district: tables by the names of `energy.domain.plan.Plan` (``energy_mwh``, ``emissions_kg``,
            ``loss_emissions_kg``, ``carbon_g_per_kwh``, ``renewable_share``, ``charged_kg``,
            ``discharged_kg``, ``local_generation_mwh``, ``exchange_mwh``, ``exchange_kg``) and
            ``emissions_with_losses_kg`` (if asked for). Ratios are NaN where a district uses nothing.
        district_sums: tables by the names of `energy.domain.period.Account`, only what can be summed;
            carbon also at the low and high ends of the factors (``emissions_low_kg`` …), NaN where the range
            of a source is unknown.
        district_source_mwh: end use by ``district/technology``, MWh.
        supply_mw: what feeds the network by technology, MW.
        steps: the city's series: ``sources_kg``, ``end_use_kg``, ``losses_kg``, ``exports_kg``,
            ``ev_driven_kg``, ``storage_change_kg``, ``residual_kg``, ``emissions_kg`` (end use, losses
            and driving), ``import_kg``, ``import_mw``, ``export_mw``, ``losses_mw``, ``carbon_g_per_kwh``
            and ``renewable_share`` (of end use), ``mismatch_mw`` (largest at a node). Those in kg also at
            both ends, as in `district_sums`.
        at_buses: what flows through the nodes.
        storage_ids: order of the columns of the following, shape (steps, assets); states at step end.
        tank_carbon_range_kg, charged_range_kg, discharged_range_kg, driven_range_kg: the low and high ends
            of `tank_carbon_kg`, `charged_kg`, `discharged_kg` and `driven_kg`; None where they are unknown.
    """

    time: TimeGrid
    coupling: Coupling
    losses: LossTreatment
    districts: tuple[str, ...]
    technologies: tuple[str, ...]
    district: Mapping[str, SeriesTable]
    district_sums: Mapping[str, SeriesTable]
    district_source_mwh: SeriesTable
    supply_mw: SeriesTable
    steps: Mapping[str, FloatArray]
    at_buses: AtBuses
    storage_ids: tuple[str, ...]
    tank_e_mwh: FloatArray
    tank_carbon_kg: FloatArray
    tank_carbon_range_kg: Range | None
    tank_renewable_mwh: FloatArray
    charged_mwh: FloatArray
    charged_kg: FloatArray
    discharged_kg: FloatArray
    driven_mwh: FloatArray
    driven_kg: FloatArray
    distance_km: FloatArray
    is_ev: BoolArray
    charged_range_kg: Range | None = None
    discharged_range_kg: Range | None = None
    driven_range_kg: Range | None = None

    def balance(self, first: int = 0, last: int | None = None) -> dict[str, float]:
        """``carbon.balance`` of ``wattshed.plan/1`` over the steps `first` to before `last`, kg."""
        names = (
            "sources_kg",
            "end_use_kg",
            "losses_kg",
            "exports_kg",
            "ev_driven_kg",
            "storage_change_kg",
            "residual_kg",
        )
        return {name: float(np.nansum(self.steps[name][first:last])) for name in names}

    def ev(self, first: int = 0, last: int | None = None) -> dict[str, float | None]:
        """``carbon.ev`` of ``wattshed.plan/1``; null where nothing was driven or charged."""
        window, evs = slice(first, last), self.is_ev
        distance_km = float(self.distance_km[window, evs].sum())
        charged_mwh = float(self.charged_mwh[window, evs].sum())
        driven_kg = float(self.driven_kg[window, evs].sum())
        charged_kg = float(self.charged_kg[window, evs].sum())
        return {
            "g_per_km": driven_kg * 1000 / distance_km if distance_km else None,
            "charged_g_per_kwh": charged_kg / charged_mwh if charged_mwh else None,
            "v2g_exported_kg": float(self.discharged_kg[window, evs].sum()),
        }

    def district_documents(self, first: int = 0, last: int | None = None) -> dict[str, dict[str, Any]]:
        """``carbon.districts`` of ``wattshed.plan/1``: the series of each district, NaN as null."""
        return {
            district: {
                name: [
                    value if np.isfinite(value) else None for value in table.values[first:last, k].tolist()
                ]
                for name, table in self.district.items()
            }
            for k, district in enumerate(self.districts)
        }


@dataclass(frozen=True)
class Booked:
    """What an account is made of besides its sums."""

    time: TimeGrid
    coupling: Coupling
    losses: LossTreatment
    districts: tuple[str, ...]
    technologies: tuple[str, ...]
    node_of_bus: Mapping[int, int]
    solved: BoolArray
    ranged: bool
    storage: Storage | None
    with_losses: bool


_COLUMNS = (CARBON, LOW, HIGH)
"""Of the mix, by end; those of a tank's content begin with carbon."""


def book(of: Booked, sums: Sums, records: list[TankRecord]) -> Account:
    """The account of a horizon from its sums and what its tanks did."""
    hours, steps, storage = of.time.hours, of.time.steps, of.storage
    tank = _joined(records, steps)
    energy, ends = sums.use[:, :, POWER], range(3 if of.ranged else 1)
    by_district = [_district_kg(sums, end) for end in ends]
    by_city = [_city_kg(sums, by_district[end], tank, storage, end) for end in ends]
    emissions, exchange_mwh = by_district[0]["emissions_kg"], _exchange_mwh(sums)
    tables = {
        "energy_mwh": energy,
        "emissions_kg": emissions,
        "loss_emissions_kg": by_district[0]["loss_emissions_kg"],
        "carbon_g_per_kwh": _ratio(emissions, energy),
        "renewable_share": _ratio(sums.use[:, :, RENEWABLE], energy),
        "charged_kg": by_district[0]["charged_kg"],
        "discharged_kg": by_district[0]["discharged_kg"],
        "local_generation_mwh": sums.generated_mwh,
        "exchange_mwh": exchange_mwh,
        "exchange_kg": by_district[0]["exchange_kg"],
    }
    if of.with_losses:
        tables["emissions_with_losses_kg"] = sums.use_with_losses_kg
    summed = {
        "energy_mwh": energy,
        "renewable_mwh": sums.use[:, :, RENEWABLE],
        "loss_mwh": sums.loss_mwh,
        "charged_mwh": sums.charged_mwh,
        "discharged_mwh": sums.discharged_mwh,
        "local_generation_mwh": sums.generated_mwh,
        "exchange_mwh": exchange_mwh,
        **_named(by_district),
    }
    city_mwh = energy.sum(axis=1)
    series = {
        **_named(by_city),
        "import_mw": sums.import_mwh.sum(axis=1) / hours,
        "export_mw": sums.export_mwh.sum(axis=1) / hours,
        "losses_mw": sums.loss_mwh.sum(axis=1) / hours,
        "carbon_g_per_kwh": _ratio(by_city[0]["end_use_kg"], city_mwh),
        "renewable_share": _ratio(sums.use[:, :, RENEWABLE].sum(axis=1), city_mwh),
        "mismatch_mw": sums.mismatch_mw,
    }
    nothing = np.zeros((steps, 0))
    first_class = sums.use.shape[2] - len(of.technologies)

    def ends_of(content: FloatArray) -> Range | None:
        low, high = (content[:, :, column - CARBON] for column in _COLUMNS[1:]) if of.ranged else (None, None)
        return None if low is None or high is None else (low, high)

    return Account(
        time=of.time,
        coupling=of.coupling,
        losses=of.losses,
        districts=of.districts,
        technologies=of.technologies,
        district={name: SeriesTable(of.districts, values) for name, values in tables.items()},
        district_sums={name: SeriesTable(of.districts, values) for name, values in summed.items()},
        district_source_mwh=SeriesTable(
            tuple(f"{district}/{name}" for district in of.districts for name in of.technologies),
            sums.use[:, :, first_class:].reshape(steps, -1),
        ),
        supply_mw=SeriesTable(of.technologies, sums.supply_mw),
        steps={name: _blanked(~of.solved, values) for name, values in series.items()},
        at_buses=AtBuses(
            of.node_of_bus,
            sums.node_g_per_kwh,
            sums.node_use_g_per_kwh if sums.node_use_g_per_kwh.shape[1] else sums.node_g_per_kwh,
            sums.node_through_mw,
            (sums.node_use_low_g_per_kwh, sums.node_use_high_g_per_kwh) if of.ranged else None,
        ),
        storage_ids=() if storage is None else storage.ids,
        tank_e_mwh=tank.energy_mwh,
        tank_carbon_kg=tank.content[:, :, 0],
        tank_carbon_range_kg=ends_of(tank.content),
        tank_renewable_mwh=tank.content[:, :, 1],
        charged_mwh=nothing if storage is None else storage.charge_mw * hours,
        charged_kg=tank.charged[:, :, 0],
        charged_range_kg=ends_of(tank.charged),
        discharged_kg=tank.discharged[:, :, 0],
        discharged_range_kg=ends_of(tank.discharged),
        driven_mwh=nothing if storage is None else storage.drive_mwh,
        driven_kg=tank.driven[:, :, 0],
        driven_range_kg=ends_of(tank.driven),
        distance_km=nothing if storage is None else storage.distance_km,
        is_ev=np.zeros(0, np.bool_) if storage is None else np.asarray(storage.is_ev, np.bool_),
    )


def _named(by_end: list[dict[str, FloatArray]]) -> dict[str, FloatArray]:
    """Accounts of carbon by name, with those of both ends by theirs; NaN where there is no range."""
    value, *ranged = by_end
    named = dict(value)
    for k, end in enumerate(ENDS):
        named |= {
            end_name(name, end): ranged[k][name] if ranged else np.full_like(values, np.nan)
            for name, values in value.items()
        }
    return named


def _district_kg(sums: Sums, end: int) -> dict[str, FloatArray]:
    """Carbon by district at one end, shape (steps, districts)."""
    emissions = sums.use[:, :, _COLUMNS[end]]
    loss, charged, discharged, generated = (
        table[:, end] for table in (sums.loss_kg, sums.charged_kg, sums.discharged_kg, sums.generated_kg)
    )
    received = (
        emissions + loss + charged + sums.export_kg[:, end] - discharged - generated - sums.import_kg[:, end]
    )
    return {
        "emissions_kg": emissions,
        "loss_emissions_kg": loss,
        "charged_kg": charged,
        "discharged_kg": discharged,
        "local_generation_kg": generated,
        "exchange_kg": received,
    }


def _city_kg(
    sums: Sums, districts: dict[str, FloatArray], tank: TankRecord, storage: Storage | None, end: int
) -> dict[str, FloatArray]:
    """The city's balance of carbon at one end, shape (steps,)."""
    held = _COLUMNS[end] - CARBON
    started = 0.0 if storage is None else float(np.sum(storage.carbon_start_ends_kg[end]))
    imported = sums.import_kg[:, end]
    sources = (districts["local_generation_kg"] + imported).sum(axis=1)
    end_use, exports = districts["emissions_kg"].sum(axis=1), sums.export_kg[:, end].sum(axis=1)
    # what an emptied tank still carried (less than 1e-9 kWh of energy) went with its standing losses
    losses = districts["loss_emissions_kg"].sum(axis=1) + tank.residual[:, :, held].sum(axis=1)
    driven = tank.driven[:, :, held].sum(axis=1)
    change = np.diff(tank.content[:, :, held].sum(axis=1), prepend=started)
    return {
        "sources_kg": sources,
        "end_use_kg": end_use,
        "losses_kg": losses,
        "exports_kg": exports,
        "ev_driven_kg": driven,
        "storage_change_kg": change,
        "residual_kg": sources - end_use - losses - exports - driven - change,
        "emissions_kg": end_use + losses + driven,
        "import_kg": imported.sum(axis=1),
    }


def _blanked(steps: BoolArray, values: FloatArray) -> FloatArray:
    """`values` (steps first) with NaN in `steps`."""
    if not steps.any():
        return values
    left: FloatArray = np.array(values)
    left[steps] = np.nan
    return left


def _exchange_mwh(sums: Sums) -> FloatArray:
    """What a district uses, loses, stores and exports, and does not feed itself, it has received."""
    received: FloatArray = (
        sums.use[:, :, POWER]
        + sums.loss_mwh
        + sums.charged_mwh
        + sums.export_mwh
        - sums.discharged_mwh
        - sums.generated_mwh
        - sums.import_mwh
    )
    return received


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _joined(records: list[TankRecord], steps: int) -> TankRecord:
    if not records:
        nothing = np.zeros((steps, 0, 4))
        return TankRecord(nothing, nothing, nothing, nothing, np.zeros((steps, 0)), nothing)
    return TankRecord(
        *(np.concatenate([getattr(part, item.name) for part in records]) for item in fields(TankRecord))
    )
