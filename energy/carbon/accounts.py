"""District accounts of a horizon: from the twin's flows and what its assets do to every kilogram's place.

Carbon is counted once, in every step:

    sources = end use + losses + exports + EVs driven + change of all tanks

Sources are the upstream import and local generation. Charging and discharging are transfers between
the network and tanks: shown per district, never part of the city's total.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.sparse import csr_array, hstack

from energy.carbon.bookings import Account, Booked, Sums, book
from energy.carbon.mixing import (
    CARBON,
    CLASSES,
    HIGH,
    LOW,
    POWER,
    RANGED_CLASSES,
    RENEWABLE,
    LocalSupply,
    Mixes,
    StorageFlows,
    TankRecord,
    follow,
)
from energy.carbon.participants import Storage, Supply, UpstreamMix, Use, check
from energy.carbon.tracing import (
    Gross,
    OrientedFlows,
    Topology,
    Tracer,
    incidence,
    losses_on_loads,
    lost_share_of_generation,
)
from energy.domain.city import BOUNDARY
from energy.domain.errors import SolverError
from energy.domain.network import BoolArray, FloatArray, IntArray, NetworkFlows
from energy.domain.period import Coupling, LossTreatment
from energy.domain.time import format_instant

__all__ = ["Account", "Storage", "Supply", "UpstreamMix", "Use", "account"]

IMPORT, BATTERY, V2G = "import", "battery", "v2g"
MISMATCH_SHARE, MISMATCH_MW = 1e-6, 1e-6
"""How far the power at a node may miss its balance: of its through-flow, and at least 1 W."""
SERVED_SHARE = 1e-12
"""Demand of which local generation leaves less than this share is served by it: the rest is rounding."""
_BLOCK = 300
"""Steps accounted at once where no tank forces them into order: what fits into the cache. No power of
two: rows that far apart would compete for the same cache lines."""


def account(
    flows: NetworkFlows,
    supply: Supply,
    use: Use,
    storage: Storage | None,
    upstream: UpstreamMix,
    district_of_bus: Mapping[int, str],
    *,
    coupling: Coupling = "direct",
    losses: LossTreatment = "account",
    losses_on_loads: bool = True,
) -> Account:
    """Trace a horizon and account it to districts.

    The power of supply, use and storage must be the power that `flows` was solved for. Buses without a
    district belong to ``boundary``. What AC leaves unbalanced at a node (its solver's tolerance) is
    booked as loss with the node's mix, and its size is in ``mismatch_mw``. In steps without an AC solution
    (NaN flows) nothing is known but what was scheduled: what tanks charge then counts at the upstream mix.

    `coupling`: ``direct`` mixes local generation with what arrives at a bus; ``aggregated`` lets a share
    min(1, D/G) of every local source, what storages deliver included, serve demand at its own bus first (end
    use, shunts and charging, never exports), and traces the rest. `losses`: the carbon of losses is an
    ``account`` of its own, booked where they occur; on ``loads``, end use carries that of the losses on its
    way, and what charging, exports and unloaded branches cause remains in the account; on ``generators``, it
    is booked where the power was fed in. ``loss_mwh`` is always where losses occur.

    The low and high ends of emissions follow where supply and upstream have ranges: carbon is linear in its
    factors, so they are two more columns of the same trace.

    `losses_on_loads` adds ``emissions_with_losses_kg``, a second pass over the network.

    Raises:
        InputError: assets at buses that carry no power flow, negative or missing values, tanks that
            give more than they hold; all at once.
        SolverError: a node whose balance is off by more than 1e-6 of its through-flow and 1 W.
    """
    check(flows, supply, use, storage, upstream)
    return _Accountant(
        flows, supply, use, storage, upstream, district_of_bus, coupling, losses, losses_on_loads
    ).account()


@dataclass(frozen=True)
class _Places:
    """Where things are used or lost: the distinct pairs of a node, whose mix they have, and a district.

    Attributes:
        node: shape (places,). district: one-hot, shape (places, districts).
        of_items: the share of each item in each place, shape (items, places).
    """

    node: IntArray
    district: csr_array
    of_items: csr_array

    def by_district(self, p_mw: FloatArray, per_mw: FloatArray) -> FloatArray:
        """What `p_mw` (steps, places) takes of what a MW at each node carries (steps, nodes), by district."""
        taken: FloatArray = (p_mw * per_mw[:, self.node]) @ self.district
        return taken


def _places(node: IntArray, shares: FloatArray) -> _Places:
    """The places of some items, each at one node and with its share of each district (items, districts)."""
    item, district = np.nonzero(shares)
    pairs, place = np.unique(np.stack([node[item], district]), axis=1, return_inverse=True)
    of_items = csr_array((shares[item, district], (item, place.ravel())), shape=(len(node), pairs.shape[1]))
    return _Places(pairs[0], incidence(pairs[1], shares.shape[1]), of_items)


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
        coupling: Coupling,
        losses: LossTreatment,
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
        self.coupling: Coupling = coupling
        self.losses: LossTreatment = losses
        self.losses_on_loads = losses_on_loads
        self.ranged = supply.carbon_range is not None and upstream.carbon_range is not None
        self.carbons = [CARBON, LOW, HIGH] if self.ranged else [CARBON]
        self.supply_g_per_kwh = (supply.carbon_g_per_kwh, *(supply.carbon_range or ()))[: len(self.carbons)]
        self.upstream_g_per_kwh = (upstream.carbon_g_per_kwh, *(upstream.carbon_range or ()))[
            : len(self.carbons)
        ]
        self.first_class = RANGED_CLASSES if self.ranged else CLASSES
        self.hours = flows.time.hours
        buses = sorted(flows.node_of_bus)
        self.district_of_bus = {bus: district_of_bus.get(bus, BOUNDARY) for bus in buses}
        self.districts = tuple(sorted({*self.district_of_bus.values(), *district_of_bus.values(), BOUNDARY}))
        stored: tuple[str, ...] = ()
        if storage is not None:
            stored = storage.technology or tuple(V2G if ev else BATTERY for ev in storage.is_ev)
        self.technologies = tuple(sorted({*supply.technology, *stored, IMPORT}))
        column = {name: self.first_class + k for k, name in enumerate(self.technologies)}
        self.columns = self.first_class + len(self.technologies)
        self.import_column = column[IMPORT]
        self.supply_column = np.array([column[name] for name in supply.technology], dtype=np.int64)
        self.node_district = self._node_districts()
        branch_district = (self.node_district[flows.from_node] + self.node_district[flows.to_node]) / 2.0
        self.lost = _places(
            np.concatenate([flows.from_node, flows.to_node, np.arange(flows.node_count)]),
            np.vstack([branch_district, branch_district, self.node_district]),
        )
        shunts = np.flatnonzero(flows.shunt_mw.any(axis=0))
        self.used = _places(
            np.concatenate([self._nodes(use.buses), shunts]),
            np.vstack(
                [
                    self._one_hot([self._district(bus) for bus in use.buses]).toarray(),
                    self.node_district[shunts],
                ]
            ),
        )
        self.use_mw = np.hstack([use.p_mw, flows.shunt_mw[:, shunts]]) @ self.used.of_items
        self.supply_node = self._nodes(supply.buses)
        self.supply_district = self._one_hot([self._district(bus) for bus in supply.buses])
        self.supply_carbon = csr_array(
            hstack([self.supply_district.multiply(g[:, None]) for g in self.supply_g_per_kwh])
        )
        self.slack_district = self.node_district[flows.slack_node]
        count = flows.node_count
        self.use_at = incidence(self.used.node, count)
        self.supply_at = incidence(self.supply_node, count)
        self.slack_at = incidence(flows.slack_node, count)
        self.storage_at = incidence(np.zeros(0, np.int64), count)
        self.storages: StorageFlows | None = None
        if storage is not None and len(storage.ids):
            self.storages = StorageFlows(
                storage.tanks(self.hours, ranged=self.ranged),
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
        total: Sums | None = None
        records: list[TankRecord] = []
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
            local = self._local(drawn, window) if self.coupling == "aggregated" else None
            mixes = follow(tracer, part, injected, self.hours, storages, local)
            sums = self._sum(tracer, part, mixes, drawn, storages, window)
            total = total or sums.room(steps)
            total.put(window, sums)
            if mixes.record is not None:
                records.append(mixes.record)
        assert total is not None  # a time grid has a step
        total.blank(~self.solved)
        booked = Booked(
            time=flows.time,
            coupling=self.coupling,
            losses=self.losses,
            districts=self.districts,
            technologies=self.technologies,
            node_of_bus=flows.node_of_bus,
            solved=self.solved,
            ranged=self.ranged,
            storage=self.storage,
            with_losses=self.losses_on_loads,
        )
        return book(booked, total, records)

    def _injected(self, storages: StorageFlows | None, window: slice) -> FloatArray:
        """What sources inject: (steps, nodes, columns)."""
        injected = self._fed(window)
        bought = np.maximum(self.flows.slack_p_mw[window], 0.0) @ self.slack_at
        if storages is not None:
            bought += (storages.charge_mw * ~self.solved[window, None]) @ self.storage_at
        injected[:, :, POWER] += bought
        injected[:, :, RENEWABLE] += bought * self.upstream.renewable_share[window, None]
        for column, intensity in zip(self.carbons, self.upstream_g_per_kwh, strict=True):
            injected[:, :, column] += bought * intensity[window, None]
        injected[:, :, self.import_column] += bought
        return injected

    def _fed(self, window: slice) -> FloatArray:
        """What local generation injects: (steps, nodes, columns)."""
        supply = self.supply
        # every column is an array of its own, steps next to each other, as the flows are stored
        shape = (window.stop - window.start, self.flows.node_count, self.columns)
        fed = np.zeros(shape, order="F")
        p_mw = supply.p_mw[window]
        fed[:, :, POWER] = p_mw @ self.supply_at
        fed[:, :, RENEWABLE] = (p_mw * supply.renewable) @ self.supply_at
        for column, intensity in zip(self.carbons, self.supply_g_per_kwh, strict=True):
            fed[:, :, column] = (p_mw * intensity) @ self.supply_at
        for column in np.unique(self.supply_column):
            fed[:, :, column] = np.where(self.supply_column == column, p_mw, 0.0) @ self.supply_at
        return fed

    def _local(self, drawn: FloatArray, window: slice) -> LocalSupply:
        """What aggregated coupling nets at each node: generation, and what is drawn but not exported."""
        sold = np.maximum(-self.flows.slack_p_mw[window], 0.0) @ self.slack_at
        return LocalSupply(self._fed(window), np.maximum(drawn - sold, 0.0))

    def _drawn(self, storages: StorageFlows | None, window: slice) -> FloatArray:
        """What is drawn at nodes without branches: use, charging, exports, shunts."""
        sold = np.maximum(-self.flows.slack_p_mw[window], 0.0)
        drawn = self.use_mw[window] @ self.use_at + sold @ self.slack_at
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
    ) -> Sums:
        flows, hours, steps = self.flows, self.hours, window.stop - window.start
        rest = drawn - mixes.local_mw
        traced_mw = np.where(rest > SERVED_SHARE * drawn, rest, 0.0)
        through = mixes.traced[:, :, POWER] + part.inflow_mw
        # what AC leaves unbalanced is a loss: then what all accounts hold is what was injected
        mismatch = through - traced_mw - part.outflow_mw
        lost_mw = np.hstack([*part.loss_mw, mismatch]) @ self.lost.of_items
        gross, extra = None, None
        if self.losses_on_loads or self.losses == "loads":
            carbons = self.carbons if self.losses == "loads" else [CARBON]
            gross = losses_on_loads(tracer, part, traced_mw, mixes.traced[:, :, [POWER, *carbons]])
            share = np.divide(traced_mw, drawn, out=np.zeros_like(drawn), where=drawn > 0)
            # carbon of the losses on its way that a MW drawn at a node carries
            extra = share[:, :, None] * (gross.per_mw[:, :, 1:] - mixes.node[:, :, carbons])

        # what end use at each node is booked with, per MW
        carried = mixes.demand
        if self.losses == "loads" and extra is not None:
            carried = np.array(mixes.demand)
            carried[:, :, self.carbons] += extra

        def used(per_mw: FloatArray) -> FloatArray:
            """By district, what use at every node takes of a column."""
            return self.used.by_district(self.use_mw[window], per_mw)

        p_mw, slack_mw = self.supply.p_mw[window], flows.slack_p_mw[window]
        bought, sold = np.maximum(slack_mw, 0.0), np.maximum(-slack_mw, 0.0)
        nowhere = np.zeros((steps, 0))
        charged_mw = discharged_mw = np.zeros((steps, len(self.districts)))
        charged_kg = discharged_kg = np.zeros((steps, len(self.carbons), len(self.districts)))
        supplied = mixes.traced[:, :, self.first_class :].sum(axis=1)
        if mixes.served is not None:
            supplied += mixes.served[:, :, self.first_class :].sum(axis=1)
        if storages is not None and mixes.record is not None:
            charged_mw = storages.charge_mw @ self.storage_district
            discharged_mw = storages.discharge_mw @ self.storage_district
            charged_kg, discharged_kg = (
                _by_end(content[:, :, k - CARBON] @ self.storage_district for k in self.carbons)
                for content in (mixes.record.charged, mixes.record.discharged)
            )
        return Sums(
            use=np.stack([used(carried[:, :, k]) for k in range(self.columns)], axis=2) * hours,
            use_with_losses_kg=np.zeros_like(charged_mw)
            if extra is None
            else used(mixes.demand[:, :, CARBON] + extra[:, :, 0]) * hours,
            loss_mwh=lost_mw @ self.lost.district * hours,
            loss_kg=_by_end(
                self._loss_kg_h(tracer, part, mixes, traced_mw, through, lost_mw, gross, extra, window)
            )
            * hours,
            charged_mwh=charged_mw * hours,
            charged_kg=charged_kg,
            discharged_mwh=discharged_mw * hours,
            discharged_kg=discharged_kg,
            generated_mwh=p_mw @ self.supply_district * hours,
            generated_kg=(p_mw @ self.supply_carbon).reshape(steps, len(self.carbons), -1) * hours,
            import_mwh=bought @ self.slack_district * hours,
            import_kg=_by_end(
                (bought * g[window, None]) @ self.slack_district for g in self.upstream_g_per_kwh
            )
            * hours,
            export_mwh=sold @ self.slack_district * hours,
            export_kg=_by_end(
                (sold * mixes.node[:, flows.slack_node, k]) @ self.slack_district for k in self.carbons
            )
            * hours,
            mismatch_mw=np.abs(mismatch).max(axis=1),
            supply_mw=supplied,
            node_g_per_kwh=mixes.node[:, :, CARBON],
            node_use_g_per_kwh=carried[:, :, CARBON] if carried is not mixes.node else nowhere,
            node_use_low_g_per_kwh=carried[:, :, LOW] if self.ranged else nowhere,
            node_use_high_g_per_kwh=carried[:, :, HIGH] if self.ranged else nowhere,
            node_through_mw=through,
        )

    def _loss_kg_h(
        self,
        tracer: Tracer,
        part: OrientedFlows,
        mixes: Mixes,
        traced_mw: FloatArray,
        through: FloatArray,
        lost_mw: FloatArray,
        gross: Gross | None,
        extra: FloatArray | None,
        window: slice,
    ) -> Iterator[FloatArray]:
        """The account of losses by district at each end, kg/h: all of them, or those that nobody else
        carries."""
        if self.losses == "generators":
            lost = lost_share_of_generation(tracer, part, traced_mw, through)
            for k in self.carbons:
                yield (mixes.traced[:, :, k] * lost) @ self.node_district
        elif self.losses == "loads" and gross is not None and extra is not None:
            # drawn by no end use: what is charged and exported has its losses in the account
            others = traced_mw + mixes.local_mw - self.use_mw[window] @ self.use_at
            for k in range(len(self.carbons)):
                yield (others * extra[:, :, k] + gross.unreached[:, :, 1 + k]) @ self.node_district
        else:
            for k in self.carbons:
                yield self.lost.by_district(lost_mw, mixes.node[:, :, k])

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


def _by_end(accounts: Iterable[FloatArray]) -> FloatArray:
    """Accounts at each end (the value, its low and its high end) as the second axis."""
    return np.stack(list(accounts), axis=1)


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
