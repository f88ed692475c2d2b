"""The trace of given flows: ``wattshed.flows/1`` in, ``wattshed.trace/1`` out."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from energy.carbon.documents import FlowsDocument
from energy.carbon.flows import Flows, read_flows
from energy.carbon.mixing import (
    CARBON,
    CLASSES,
    POWER,
    RENEWABLE,
    LocalSupply,
    Mixes,
    StorageFlows,
    follow,
)
from energy.carbon.tracing import Tracer, incidence, losses_on_loads
from energy.domain.errors import Fault, InputError
from energy.domain.network import BoolArray, FloatArray, IntArray

UPSTREAM = frozenset({"import", "upstream", "grid"})
"""Technologies that are the upstream grid: never netted against local demand."""
SOURCES_UP_TO = 1_000_000
"""Steps × buses × sources up to which shares are told per source without being asked for."""
SHARES_MAX = 50_000_000
"""Steps × buses × sources that can be told at all."""

Detail = Literal["sources", "technologies"]


def trace_flows(document: FlowsDocument) -> dict[str, Any]:
    """Trace every step of the document; see `energy.carbon.tracing` for the method.

    Raises `InputError` with every fault of the document.
    """
    flows = read_flows(document)
    suppliers = len(flows.sources.ids) + len(flows.storages.ids)
    small = flows.time.steps * len(flows.buses) * suppliers <= SOURCES_UP_TO
    detail: Detail = document.detail or ("sources" if small else "technologies")
    if detail == "sources" and flows.time.steps * len(flows.buses) * suppliers > SHARES_MAX:
        raise InputError(
            Fault(
                "detail",
                f"sources asks for {flows.time.steps * len(flows.buses) * suppliers:g} shares (steps × buses "
                f"× sources), at most {SHARES_MAX:g} fit; ask for technologies or split the horizon",
            )
        )
    return _Trace(flows, detail, aggregated=document.coupling == "aggregated").document(
        document.coupling, with_mismatch=document.balance_tolerance is not None
    )


class _Trace:
    """One traced document; arrays have the steps first."""

    def __init__(self, flows: Flows, detail: Detail, *, aggregated: bool) -> None:
        self.flows, self.detail, self.aggregated = flows, detail, aggregated
        self.hours = flows.time.hours
        sources, demands, storages = flows.sources, flows.demands, flows.storages
        by_source = detail == "sources"
        labels = sources.ids + storages.ids if by_source else sources.technology + storages.technology
        self.classes = tuple(dict.fromkeys(labels)) if by_source else tuple(sorted(set(labels)))
        column = {name: CLASSES + k for k, name in enumerate(self.classes)}
        columns = np.array([column[name] for name in labels], dtype=np.int64)
        count = len(flows.buses)

        self.source_kg_per_h = sources.p_mw * sources.carbon_g_per_kwh
        local_source = np.array([name not in UPSTREAM for name in sources.technology], dtype=bool)
        self.local_demand = np.array([kind != "export" for kind in demands.kind], dtype=bool)
        self.is_loss = np.array([kind == "loss" for kind in demands.kind], dtype=bool)
        self.local_mw = demands.p_mw[:, self.local_demand] @ incidence(
            demands.node[self.local_demand], count
        ) + storages.charge_mw @ incidence(storages.node, count)

        tracer = Tracer(flows.oriented.topology, flows.time.steps)
        every = np.ones(len(sources.ids), dtype=bool)
        self.mixes: Mixes = follow(
            tracer,
            flows.oriented,
            self._injected(every, columns),
            self.hours,
            StorageFlows(
                storages.tanks,
                storages.node,
                columns[len(sources.ids) :],
                storages.charge_mw,
                storages.discharge_mw,
                np.zeros_like(storages.charge_mw),
            )
            if storages.ids
            else None,
            LocalSupply(self._injected(local_source, columns), self.local_mw) if aggregated else None,
        )
        # the share of local demand that local generation serves at the bus itself
        self.served = np.divide(
            self.mixes.local_mw, self.local_mw, out=np.zeros_like(self.local_mw), where=self.local_mw > 0
        )
        final = ~self.is_loss
        traced_mw = demands.p_mw * (1.0 - self._served_share())
        drawn = traced_mw[:, final] @ incidence(demands.node[final], count) + (
            storages.charge_mw * (1.0 - self.served[:, storages.node])
        ) @ incidence(storages.node, count)
        self.gross = losses_on_loads(
            tracer, flows.oriented, drawn, self.mixes.traced[:, :, [POWER, CARBON]]
        ).per_mw[:, :, 1]

    def document(self, coupling: str, *, with_mismatch: bool) -> dict[str, Any]:
        flows = self.flows
        answer: dict[str, Any] = {
            "schema": "wattshed.trace/1",
            "time": flows.time.document(),
            "coupling": coupling,
            "detail": self.detail,
            "buses": self._buses(),
            "demands": self._demands(),
            "districts": self._districts(),
            "branches": self._branches(),
            "balance": self._balance(),
        }
        if with_mismatch:
            for k, bus in enumerate(flows.buses):
                answer["buses"][bus]["mismatch_mw"] = flows.mismatch_mw[:, k].tolist()
        if flows.storages.ids:
            answer["storages"] = self._storages()
        return answer

    def _injected(self, chosen: BoolArray, columns: IntArray) -> FloatArray:
        """What the chosen sources inject: (steps, nodes, columns)."""
        flows, sources = self.flows, self.flows.sources
        injected = np.zeros((flows.time.steps, len(flows.buses), CLASSES + len(self.classes)))
        for k in np.flatnonzero(chosen):
            at_node, p_mw = injected[:, sources.node[k]], sources.p_mw[:, k]
            at_node[:, POWER] += p_mw
            at_node[:, CARBON] += self.source_kg_per_h[:, k]
            at_node[:, RENEWABLE] += p_mw * sources.renewable[:, k]
            at_node[:, columns[k]] += p_mw
        return injected

    def _served_share(self) -> FloatArray:
        """The share of each demand that is served at its own bus, shape (steps, demands)."""
        return np.where(self.local_demand, self.served[:, self.flows.demands.node], 0.0)

    def _supplied(self, column: int) -> FloatArray:
        """What one MW of each demand takes of one column, shape (steps, demands)."""
        node = self.flows.demands.node
        return np.where(
            self.local_demand, self.mixes.demand[:, node, column], self.mixes.node[:, node, column]
        )

    def _emissions_kg(self) -> FloatArray:
        return self.flows.demands.p_mw * self._supplied(CARBON) * self.hours

    def _branch_loss_kg(self) -> FloatArray:
        oriented, carbon = self.flows.oriented, self.mixes.node[:, :, CARBON]
        at_from, at_to = oriented.loss_mw
        lost = at_from * carbon[:, oriented.topology.from_node] + at_to * carbon[:, oriented.topology.to_node]
        return lost * self.hours

    def _buses(self) -> dict[str, Any]:
        node = self.mixes.node
        reached = node[:, :, POWER] > 0
        return {
            bus: {
                "carbon_g_per_kwh": _nullable(node[:, k, CARBON], reached[:, k]),
                "renewable_share": _nullable(
                    node[:, k, RENEWABLE], reached[:, k] & self.flows.renewable_known
                ),
                "source_shares": {
                    name: _nullable(node[:, k, CLASSES + c], reached[:, k])
                    for c, name in enumerate(self.classes)
                },
            }
            for k, bus in enumerate(self.flows.buses)
        }

    def _demands(self) -> dict[str, Any]:
        demands, node = self.flows.demands, self.flows.demands.node
        energy_mwh = demands.p_mw * self.hours
        emissions_kg = self._emissions_kg()
        traced_mwh = energy_mwh * (1.0 - self._served_share())
        on_loads = traced_mwh * (self.gross[:, node] - self.mixes.node[:, node, CARBON])
        with_losses = np.where(self.is_loss, 0.0, emissions_kg + on_loads)
        by_class = [energy_mwh * self._supplied(CLASSES + c) for c in range(len(self.classes))]
        return {
            name: {
                "emissions_kg": emissions_kg[:, k].tolist(),
                "emissions_with_losses_kg": with_losses[:, k].tolist(),
                "source_mwh": {label: by_class[c][:, k].tolist() for c, label in enumerate(self.classes)},
            }
            for k, name in enumerate(demands.ids)
        }

    def _districts(self) -> dict[str, Any]:
        flows, demands = self.flows, self.flows.demands
        count = len(flows.districts)
        at_district = incidence(demands.district, count)
        used = np.array([kind in ("load", "shunt") for kind in demands.kind], dtype=bool)
        energy = np.where(used, demands.p_mw * self.hours, 0.0)
        emissions = self._emissions_kg()
        energy_mwh = energy @ at_district
        emissions_kg = np.where(used, emissions, 0.0) @ at_district
        renewable_mwh = (energy * self._supplied(RENEWABLE)) @ at_district
        between = (
            flows.bus_district[flows.oriented.topology.from_node]
            + flows.bus_district[flows.oriented.topology.to_node]
        ) / 2.0
        loss_kg = self._branch_loss_kg() @ between + np.where(self.is_loss, emissions, 0.0) @ at_district
        uses = energy_mwh > 0
        per_mwh = np.where(uses, energy_mwh, 1.0)
        answer = {
            name: {
                "energy_mwh": energy_mwh[:, k].tolist(),
                "emissions_kg": emissions_kg[:, k].tolist(),
                "loss_emissions_kg": loss_kg[:, k].tolist(),
                "carbon_g_per_kwh": _nullable(emissions_kg[:, k] / per_mwh[:, k], uses[:, k]),
                "renewable_share": _nullable(
                    renewable_mwh[:, k] / per_mwh[:, k], uses[:, k] & flows.renewable_known
                ),
            }
            for k, name in enumerate(flows.districts)
        }
        if self.mixes.record is not None:
            at_storage = incidence(flows.storages.district, count)
            for key, values in (
                ("charged_kg", self.mixes.record.charged),
                ("discharged_kg", self.mixes.record.discharged),
            ):
                per_district = values[:, :, 0] @ at_storage
                for k, name in enumerate(flows.districts):
                    answer[name][key] = per_district[:, k].tolist()
        return answer

    def _branches(self) -> dict[str, Any]:
        oriented, carbon = self.flows.oriented, self.mixes.node[:, :, CARBON]
        loss_kg, sent_mw = self._branch_loss_kg(), oriented.sent_mw
        sender = np.where(sent_mw > 0, oriented.topology.from_node, oriented.topology.to_node)
        flow = sent_mw * np.take_along_axis(carbon, sender, axis=1)
        return {
            name: {
                "loss_emissions_kg": loss_kg[:, k].tolist(),
                "carbon_flow_kg_per_h": flow[:, k].tolist(),
            }
            for k, name in enumerate(self.flows.branches)
        }

    def _storages(self) -> dict[str, Any]:
        record = self.mixes.record
        assert record is not None
        return {
            name: {
                "e_kwh": (record.energy_mwh[:, k] * 1000).tolist(),
                "carbon_g": (record.content[:, k, 0] * 1000).tolist(),
                "charged_kg": record.charged[:, k, 0].tolist(),
                "discharged_kg": record.discharged[:, k, 0].tolist(),
            }
            for k, name in enumerate(self.flows.storages.ids)
        }

    def _balance(self) -> dict[str, float]:
        emissions = self._emissions_kg()
        record = self.mixes.record
        sources_kg = float(self.source_kg_per_h.sum() * self.hours)
        demands_kg = float(emissions[:, ~self.is_loss].sum())
        losses_kg = float(self._branch_loss_kg().sum() + emissions[:, self.is_loss].sum())
        balance = {"sources_kg": sources_kg, "demands_kg": demands_kg}
        if record is not None:
            # what an emptied tank still carried went with its standing losses
            losses_kg += float(record.residual[:, :, 0].sum())
            change_kg = float((record.charged - record.discharged - record.residual)[:, :, 0].sum())
            balance["storage_change_kg"] = change_kg
        return {
            **balance,
            "losses_kg": losses_kg,
            "residual_kg": sources_kg - demands_kg - losses_kg - balance.get("storage_change_kg", 0.0),
        }


def _nullable(values: FloatArray, known: BoolArray) -> list[float | None]:
    return [value if there else None for value, there in zip(values.tolist(), known.tolist(), strict=True)]
