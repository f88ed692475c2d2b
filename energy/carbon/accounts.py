"""District accounts of a horizon: from the twin's flows and what its assets do to every kilogram's place.

Carbon is counted once, in every step:

    sources = end use + losses + exports + EVs driven + change of all tanks

Sources are the upstream import and local generation. Charging and discharging are transfers between
the network and tanks: shown per district, never part of the city's total.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from energy.carbon.mixing import (
    CARBON,
    CLASSES,
    POWER,
    RENEWABLE,
    Mixes,
    StorageFlows,
    TankRecord,
    follow,
)
from energy.carbon.participants import Storage, Supply, UpstreamMix, Use, check
from energy.carbon.tracing import OrientedFlows, Topology, Tracer, incidence, losses_on_loads
from energy.domain.city import BOUNDARY
from energy.domain.errors import SolverError
from energy.domain.network import BoolArray, FloatArray, IntArray, NetworkFlows
from energy.domain.plan import SeriesTable
from energy.domain.time import TimeGrid, format_instant

__all__ = ["Account", "Storage", "Supply", "UpstreamMix", "Use", "account"]

IMPORT, BATTERY, V2G = "import", "battery", "v2g"
MISMATCH_SHARE, MISMATCH_MW = 1e-6, 1e-6
"""How far the power at a node may miss its balance: of its through-flow, and at least 1 W."""
_BLOCK = 300
"""Steps accounted at once where no tank forces them into order: what fits into the cache. No power of
two: rows that far apart would compete for the same cache lines."""


@dataclass(frozen=True)
class _Sums:
    """What is summed per district and step. Energies in MWh, carbon in kg, shape (steps, districts);
    `use` (steps, districts, columns) is end use by column of the mix; (steps,) for city figures.
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


@dataclass(frozen=True)
class Account:
    """The carbon account of a horizon; every array has the steps first.

    Steps without an AC solution have no flows and are NaN in every table; sums over steps leave them out.

    Attributes:
        districts: ``boundary`` included, sorted. technologies: ``import``, ``battery`` and ``v2g``
            included, sorted.
        district: tables by the names of `energy.domain.plan.Plan` (``energy_mwh``, ``emissions_kg``,
            ``loss_emissions_kg``, ``carbon_g_per_kwh``, ``renewable_share``, ``charged_kg``,
            ``discharged_kg``, ``local_generation_mwh``, ``exchange_mwh``, ``exchange_kg``) and
            ``emissions_with_losses_kg`` (if asked for). Ratios are NaN where a district uses nothing.
        district_source_mwh: end use by ``district/technology``, MWh.
        supply_mw: what feeds the network by technology, MW.
        steps: the city's series: ``sources_kg``, ``end_use_kg``, ``losses_kg``, ``exports_kg``,
            ``ev_driven_kg``, ``storage_change_kg``, ``residual_kg``, ``emissions_kg`` (end use, losses
            and driving), ``import_mw``, ``export_mw``, ``losses_mw``, ``carbon_g_per_kwh`` and
            ``renewable_share`` (of end use), ``mismatch_mw`` (largest at a node).
        storage_ids: order of the columns of the following, shape (steps, assets); states at step end.
    """

    time: TimeGrid
    districts: tuple[str, ...]
    technologies: tuple[str, ...]
    district: Mapping[str, SeriesTable]
    district_source_mwh: SeriesTable
    supply_mw: SeriesTable
    steps: Mapping[str, FloatArray]
    storage_ids: tuple[str, ...]
    tank_e_mwh: FloatArray
    tank_carbon_kg: FloatArray
    tank_renewable_mwh: FloatArray
    charged_mwh: FloatArray
    charged_kg: FloatArray
    discharged_kg: FloatArray
    driven_kg: FloatArray
    distance_km: FloatArray
    is_ev: BoolArray

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


def account(
    flows: NetworkFlows,
    supply: Supply,
    use: Use,
    storage: Storage | None,
    upstream: UpstreamMix,
    district_of_bus: Mapping[int, str],
    *,
    losses_on_loads: bool = True,
) -> Account:
    """Trace a horizon (direct coupling) and account it to districts.

    The power of supply, use and storage must be the power that `flows` was solved for. Buses without a
    district belong to ``boundary``. What AC leaves unbalanced at a node (its solver's tolerance) is
    booked as loss with the node's mix, and its size is in ``mismatch_mw``. In steps without an AC solution
    (NaN flows) nothing is known but what was scheduled: what tanks charge then counts at the upstream mix.

    `losses_on_loads` adds ``emissions_with_losses_kg``, a second pass over the network.

    Raises:
        InputError: assets at buses that carry no power flow, negative or missing values, tanks that
            give more than they hold; all at once.
        SolverError: a node whose balance is off by more than 1e-6 of its through-flow and 1 W.
    """
    check(flows, supply, use, storage, upstream)
    return _Accountant(flows, supply, use, storage, upstream, district_of_bus, losses_on_loads).account()


class _Accountant:
    """One call of `account`: what stays the same over the blocks of steps."""

    def __init__(
        self,
        flows: NetworkFlows,
        supply: Supply,
        use: Use,
        storage: Storage | None,
        upstream: UpstreamMix,
        district_of_bus: Mapping[int, str],
        losses_on_loads: bool,
    ) -> None:
        self.solved = np.isfinite(flows.slack_p_mw.sum(axis=1))
        if not self.solved.all():
            flows, supply, use = _without(~self.solved, flows, supply, use)
        self.flows, self.supply, self.use, self.storage, self.upstream = (
            flows,
            supply,
            use,
            storage,
            upstream,
        )
        self.losses_on_loads = losses_on_loads
        self.hours = flows.time.hours
        buses = sorted(flows.node_of_bus)
        self.district_of_bus = {bus: district_of_bus.get(bus, BOUNDARY) for bus in buses}
        self.districts = tuple(sorted({*self.district_of_bus.values(), *district_of_bus.values(), BOUNDARY}))
        stored: tuple[str, ...] = ()
        if storage is not None:
            stored = storage.technology or tuple(V2G if ev else BATTERY for ev in storage.is_ev)
        self.technologies = tuple(sorted({*supply.technology, *stored, IMPORT}))
        column = {name: CLASSES + k for k, name in enumerate(self.technologies)}
        self.columns = CLASSES + len(self.technologies)
        self.import_column = column[IMPORT]
        self.supply_column = np.array([column[name] for name in supply.technology], dtype=np.int64)
        self.node_district = self._node_districts()
        self.branch_district = (self.node_district[flows.from_node] + self.node_district[flows.to_node]) / 2.0
        # loads of one node and one district draw the same mix: they are one column from here on
        pairs = [(flows.node_of_bus[int(bus)], self._district(bus)) for bus in use.buses]
        distinct = sorted(set(pairs))
        position = {pair: k for k, pair in enumerate(distinct)}
        self.use_mw = use.p_mw @ incidence(
            np.array([position[pair] for pair in pairs], dtype=np.int64), len(distinct)
        )
        self.use_node = np.array([node for node, _ in distinct], dtype=np.int64)
        self.use_district = self._one_hot([district for _, district in distinct])
        self.supply_node = self._nodes(supply.buses)
        self.supply_district = self._one_hot([self._district(bus) for bus in supply.buses])
        self.slack_district = self.node_district[flows.slack_node]
        count = flows.node_count
        self.use_at = incidence(self.use_node, count)
        self.supply_at = incidence(self.supply_node, count)
        self.slack_at = incidence(flows.slack_node, count)
        self.storage_at = incidence(np.zeros(0, np.int64), count)
        self.storages: StorageFlows | None = None
        if storage is not None and len(storage.ids):
            self.storages = StorageFlows(
                storage.tanks(self.hours),
                self._nodes(storage.buses),
                np.array([column[name] for name in stored], dtype=np.int64),
                storage.charge_mw,
                storage.discharge_mw,
                storage.drive_mwh,
            )
            self.storage_at = incidence(self.storages.node, count)
            self.storage_district = self._one_hot([self._district(bus) for bus in storage.buses])

    def account(self) -> Account:
        flows, steps = self.flows, self.flows.time.steps
        topology = Topology(flows.node_count, flows.from_node, flows.to_node)
        oriented = OrientedFlows(topology, flows.p_from_mw, flows.p_to_mw)
        tracer = Tracer(topology, steps)
        sums, records = [], []
        for first in range(0, steps, _BLOCK):
            window = slice(first, min(first + _BLOCK, steps))
            part = oriented.window(window.start, window.stop)
            storages = self.storages and replace(
                self.storages,
                charge_mw=self.storages.charge_mw[window],
                discharge_mw=self.storages.discharge_mw[window],
                drive_mwh=self.storages.drive_mwh[window],
            )
            injected = self._injected(storages, window)
            drawn = self._drawn(storages, window)
            self._check_balance(part, injected, drawn, storages, window)
            mixes = follow(tracer, part, injected, self.hours, storages)
            sums.append(self._sum(tracer, part, mixes, drawn, storages, window))
            if mixes.record is not None:
                records.append(mixes.record)
        total = _Sums(
            *(
                _blanked(~self.solved, np.concatenate([getattr(part, item.name) for part in sums]))
                for item in fields(_Sums)
            )
        )
        return self._account(total, records)

    def _injected(self, storages: StorageFlows | None, window: slice) -> FloatArray:
        """What sources inject: (steps, nodes, columns)."""
        supply, upstream = self.supply, self.upstream
        # every column is an array of its own, steps next to each other, as the flows are stored
        shape = (window.stop - window.start, self.flows.node_count, self.columns)
        injected = np.zeros(shape, order="F")
        p_mw = supply.p_mw[window]
        injected[:, :, POWER] = p_mw @ self.supply_at
        injected[:, :, CARBON] = (p_mw * supply.carbon_g_per_kwh) @ self.supply_at
        injected[:, :, RENEWABLE] = (p_mw * supply.renewable) @ self.supply_at
        for column in np.unique(self.supply_column):
            injected[:, :, column] = np.where(self.supply_column == column, p_mw, 0.0) @ self.supply_at
        bought = np.maximum(self.flows.slack_p_mw[window], 0.0) @ self.slack_at
        if storages is not None:
            bought += (storages.charge_mw * ~self.solved[window, None]) @ self.storage_at
        injected[:, :, POWER] += bought
        injected[:, :, CARBON] += bought * upstream.carbon_g_per_kwh[window, None]
        injected[:, :, RENEWABLE] += bought * upstream.renewable_share[window, None]
        injected[:, :, self.import_column] += bought
        return injected

    def _drawn(self, storages: StorageFlows | None, window: slice) -> FloatArray:
        """What is drawn at nodes without branches: use, charging, exports, shunts."""
        sold = np.maximum(-self.flows.slack_p_mw[window], 0.0)
        drawn = self.use_mw[window] @ self.use_at + sold @ self.slack_at + self.flows.shunt_mw[window]
        if storages is None:
            return drawn
        unknown_mw = storages.discharge_mw * ~self.solved[window, None]
        return drawn + (storages.charge_mw + unknown_mw) @ self.storage_at

    def _check_balance(
        self,
        part: OrientedFlows,
        injected: FloatArray,
        drawn: FloatArray,
        storages: StorageFlows | None,
        window: slice,
    ) -> None:
        fed = injected[:, :, POWER]
        if storages is not None:
            fed = fed + storages.discharge_mw @ self.storage_at
        mismatch = np.abs(fed - drawn - part.drawn_mw)
        allowed = np.maximum(MISMATCH_MW, MISMATCH_SHARE * (fed + part.inflow_mw))
        if not (mismatch <= allowed).all():
            step, node = np.unravel_index(int(np.argmax(~(mismatch <= allowed))), mismatch.shape)
            buses = [bus for bus, at in self.flows.node_of_bus.items() if at == node]
            when = format_instant(self.flows.time.instant(window.start + int(step)))
            raise SolverError(
                f"{f'bus {buses[0]}' if buses else f'internal node {node}'} at {when}: "
                f"{mismatch[step, node]:g} MW do not balance ({allowed[step, node]:g} MW allowed); the "
                "flows were solved for other powers than those to account, or not solved well enough"
            )

    def _sum(
        self,
        tracer: Tracer,
        part: OrientedFlows,
        mixes: Mixes,
        drawn: FloatArray,
        storages: StorageFlows | None,
        window: slice,
    ) -> _Sums:
        flows, hours, mix = self.flows, self.hours, mixes.node
        carbon = mix[:, :, CARBON]
        # what AC leaves unbalanced is a loss: then what all accounts hold is what was injected
        mismatch = mixes.traced[:, :, POWER] + part.inflow_mw - drawn - part.outflow_mw
        loss_from, loss_to = part.loss_mw
        loss_mw = (loss_from + loss_to) @ self.branch_district + mismatch @ self.node_district
        loss_kg_h = (
            loss_from * carbon[:, flows.from_node] + loss_to * carbon[:, flows.to_node]
        ) @ self.branch_district + (mismatch * carbon) @ self.node_district

        shunt = flows.shunt_mw[window]
        use = np.stack(
            [
                (self.use_mw[window] * mix[:, self.use_node, k]) @ self.use_district
                + (shunt * mix[:, :, k]) @ self.node_district
                for k in range(self.columns)
            ],
            axis=2,
        )

        p_mw, slack_mw = self.supply.p_mw[window], flows.slack_p_mw[window]
        bought, sold = np.maximum(slack_mw, 0.0), np.maximum(-slack_mw, 0.0)
        nothing = np.zeros((len(p_mw), len(self.districts)))
        use_gross = nothing
        if self.losses_on_loads:
            gross = losses_on_loads(tracer, part, drawn, mixes.traced[:, :, [POWER, CARBON]])[:, :, 1]
            use_gross = (self.use_mw[window] * gross[:, self.use_node]) @ self.use_district + (
                shunt * gross
            ) @ self.node_district
        charged_mw = discharged_mw = charged_kg = discharged_kg = nothing
        if storages is not None and mixes.record is not None:
            charged_mw = storages.charge_mw @ self.storage_district
            discharged_mw = storages.discharge_mw @ self.storage_district
            charged_kg = mixes.record.charged[:, :, 0] @ self.storage_district
            discharged_kg = mixes.record.discharged[:, :, 0] @ self.storage_district
        return _Sums(
            use=use * hours,
            use_with_losses_kg=use_gross * hours,
            loss_mwh=loss_mw * hours,
            loss_kg=loss_kg_h * hours,
            charged_mwh=charged_mw * hours,
            charged_kg=charged_kg,
            discharged_mwh=discharged_mw * hours,
            discharged_kg=discharged_kg,
            generated_mwh=p_mw @ self.supply_district * hours,
            generated_kg=(p_mw * self.supply.carbon_g_per_kwh) @ self.supply_district * hours,
            import_mwh=bought @ self.slack_district * hours,
            import_kg=(bought * self.upstream.carbon_g_per_kwh[window, None]) @ self.slack_district * hours,
            export_mwh=sold @ self.slack_district * hours,
            export_kg=(sold * carbon[:, flows.slack_node]) @ self.slack_district * hours,
            mismatch_mw=np.abs(mismatch).max(axis=1),
            supply_mw=mixes.traced[:, :, CLASSES:].sum(axis=1),
        )

    def _account(self, sums: _Sums, records: list[TankRecord]) -> Account:
        flows, hours, steps = self.flows, self.hours, self.flows.time.steps
        energy, emissions = sums.use[:, :, POWER], sums.use[:, :, CARBON]
        tables = {
            "energy_mwh": energy,
            "emissions_kg": emissions,
            "loss_emissions_kg": sums.loss_kg,
            "carbon_g_per_kwh": _ratio(emissions, energy),
            "renewable_share": _ratio(sums.use[:, :, RENEWABLE], energy),
            "charged_kg": sums.charged_kg,
            "discharged_kg": sums.discharged_kg,
            "local_generation_mwh": sums.generated_mwh,
            # what a district uses, loses, stores and exports, and does not feed itself, it has received
            "exchange_mwh": energy
            + sums.loss_mwh
            + sums.charged_mwh
            + sums.export_mwh
            - sums.discharged_mwh
            - sums.generated_mwh
            - sums.import_mwh,
            "exchange_kg": emissions
            + sums.loss_kg
            + sums.charged_kg
            + sums.export_kg
            - sums.discharged_kg
            - sums.generated_kg
            - sums.import_kg,
        }
        if self.losses_on_loads:
            tables["emissions_with_losses_kg"] = sums.use_with_losses_kg
        tank = _joined(records, steps)
        is_ev = np.zeros(0, np.bool_) if self.storage is None else np.asarray(self.storage.is_ev, np.bool_)
        driven_kg = tank.driven[:, :, 0]
        stored_kg = tank.content[:, :, 0].sum(axis=1)
        started_kg = 0.0 if self.storage is None else float(np.sum(self.storage.carbon_start_kg))
        sources_kg = (sums.generated_kg + sums.import_kg).sum(axis=1)
        end_use_kg, exports_kg = emissions.sum(axis=1), sums.export_kg.sum(axis=1)
        # what an emptied tank still carried (less than 1e-9 kWh of energy) went with its standing losses
        losses_kg = sums.loss_kg.sum(axis=1) + tank.residual[:, :, 0].sum(axis=1)
        ev_driven_kg = driven_kg.sum(axis=1)
        change_kg = np.diff(stored_kg, prepend=started_kg)
        city_mwh = energy.sum(axis=1)
        series = {
            "sources_kg": sources_kg,
            "end_use_kg": end_use_kg,
            "losses_kg": losses_kg,
            "exports_kg": exports_kg,
            "ev_driven_kg": ev_driven_kg,
            "storage_change_kg": change_kg,
            "residual_kg": sources_kg - end_use_kg - losses_kg - exports_kg - ev_driven_kg - change_kg,
            "emissions_kg": end_use_kg + losses_kg + ev_driven_kg,
            "import_mw": sums.import_mwh.sum(axis=1) / hours,
            "export_mw": sums.export_mwh.sum(axis=1) / hours,
            "losses_mw": sums.loss_mwh.sum(axis=1) / hours,
            "carbon_g_per_kwh": _ratio(end_use_kg, city_mwh),
            "renewable_share": _ratio(sums.use[:, :, RENEWABLE].sum(axis=1), city_mwh),
            "mismatch_mw": sums.mismatch_mw,
        }
        series = {name: _blanked(~self.solved, values) for name, values in series.items()}
        storage = self.storage
        nothing = np.zeros((steps, 0))
        return Account(
            time=flows.time,
            districts=self.districts,
            technologies=self.technologies,
            district={name: SeriesTable(self.districts, values) for name, values in tables.items()},
            district_source_mwh=SeriesTable(
                tuple(f"{district}/{name}" for district in self.districts for name in self.technologies),
                sums.use[:, :, CLASSES:].reshape(steps, -1),
            ),
            supply_mw=SeriesTable(self.technologies, sums.supply_mw),
            steps=series,
            storage_ids=() if storage is None else storage.ids,
            tank_e_mwh=tank.energy_mwh,
            tank_carbon_kg=tank.content[:, :, 0],
            tank_renewable_mwh=tank.content[:, :, 1],
            charged_mwh=nothing if storage is None else storage.charge_mw * hours,
            charged_kg=tank.charged[:, :, 0],
            discharged_kg=tank.discharged[:, :, 0],
            driven_kg=driven_kg,
            distance_km=nothing if storage is None else storage.distance_km,
            is_ev=is_ev,
        )

    def _nodes(self, buses: IntArray) -> IntArray:
        return np.array([self.flows.node_of_bus[int(bus)] for bus in buses], dtype=np.int64)

    def _district(self, bus: int) -> int:
        return self.districts.index(self.district_of_bus[int(bus)])

    def _one_hot(self, districts: list[int]) -> csr_array:
        return incidence(np.array(districts, dtype=np.int64), len(self.districts))

    def _node_districts(self) -> FloatArray:
        """Share of each district in each node, shape (nodes, districts): where losses are booked.

        A node of several districts (closed switches between them) counts for each by its buses; an
        internal node has the district of the nodes its branches lead to.
        """
        flows = self.flows
        weight = np.zeros((flows.node_count, len(self.districts)))
        for bus, node in flows.node_of_bus.items():
            weight[node, self._district(bus)] += 1.0
        total = weight.sum(axis=1, keepdims=True)
        weight = np.divide(weight, total, out=weight, where=total > 0)
        unknown = weight.sum(axis=1) == 0
        while unknown.any():
            near = np.zeros_like(weight)
            np.add.at(near, flows.from_node, weight[flows.to_node])
            np.add.at(near, flows.to_node, weight[flows.from_node])
            found = unknown & (near.sum(axis=1) > 0)
            if not found.any():
                break
            weight[found] = near[found] / near[found].sum(axis=1, keepdims=True)
            unknown &= ~found
        weight[unknown, self.districts.index(BOUNDARY)] = 1.0
        return weight


def _without(
    unsolved: BoolArray, flows: NetworkFlows, supply: Supply, use: Use
) -> tuple[NetworkFlows, Supply, Use]:
    """The same with nothing flowing, fed or used in the steps `unsolved`."""

    def cleared(values: FloatArray) -> FloatArray:
        return np.where(unsolved[:, None], 0.0, values)

    flows = replace(
        flows,
        p_from_mw=cleared(flows.p_from_mw),
        p_to_mw=cleared(flows.p_to_mw),
        slack_p_mw=cleared(flows.slack_p_mw),
        shunt_mw=cleared(flows.shunt_mw),
    )
    return flows, replace(supply, p_mw=cleared(supply.p_mw)), replace(use, p_mw=cleared(use.p_mw))


def _blanked(steps: BoolArray, values: FloatArray) -> FloatArray:
    """`values` (steps first) with NaN in `steps`."""
    if not steps.any():
        return values
    blanked: FloatArray = np.array(values)
    blanked[steps] = np.nan
    return blanked


def _ratio(part: FloatArray, whole: FloatArray) -> FloatArray:
    return np.divide(part, whole, out=np.full_like(part, np.nan), where=whole > 0)


def _joined(records: list[TankRecord], steps: int) -> TankRecord:
    if not records:
        nothing = np.zeros((steps, 0, 2))
        return TankRecord(nothing, nothing, nothing, nothing, np.zeros((steps, 0)), nothing)
    return TankRecord(
        *(np.concatenate([getattr(part, item.name) for part in records]) for item in fields(TankRecord))
    )
