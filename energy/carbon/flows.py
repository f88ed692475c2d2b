"""From a ``wattshed.flows/1`` document to arrays, with everything checked that a trace relies on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from energy.carbon.documents import (
    CARBON_MAX_G_PER_KWH,
    Connected,
    FlowsDemand,
    FlowsDocument,
    FlowsStorage,
)
from energy.carbon.tank import EMPTY_KWH, Tanks, overdrafts
from energy.carbon.tracing import OrientedFlows, Topology, incidence
from energy.domain.city import BOUNDARY
from energy.domain.documents import expand, nearest, series_fault
from energy.domain.errors import Fault, InputError
from energy.domain.network import BoolArray, FloatArray, IntArray
from energy.domain.time import TimeGrid, format_instant

BALANCE_TOLERANCE = 1e-6
"""How far a bus may miss its balance, of its through-flow."""
BALANCE_FLOOR_MW = 1e-6
"""1 W: a bus may always miss its balance by this."""
ROUNDING = 1e-9
"""What a branch may create by rounding: MW, and of what is sent."""
MW_MAX = 1e9
SIZE_MAX = 10_000_000
"""Steps × elements a document may describe."""


@dataclass(frozen=True)
class Sources:
    """What feeds buses: arrays of shape (steps, sources), `node` (sources,)."""

    ids: tuple[str, ...]
    technology: tuple[str, ...]
    node: IntArray
    p_mw: FloatArray
    carbon_g_per_kwh: FloatArray
    renewable: FloatArray


@dataclass(frozen=True)
class Demands:
    """What draws from buses: `p_mw` of shape (steps, demands); `district` is a position in the list."""

    ids: tuple[str, ...]
    kind: tuple[str, ...]
    node: IntArray
    district: IntArray
    p_mw: FloatArray


@dataclass(frozen=True)
class Storages:
    """Storages of the document; powers of shape (steps, storages)."""

    ids: tuple[str, ...]
    technology: tuple[str, ...]
    node: IntArray
    district: IntArray
    charge_mw: FloatArray
    discharge_mw: FloatArray
    tanks: Tanks


@dataclass(frozen=True)
class Flows:
    """A checked document.

    Attributes:
        bus_district: share of each district in each bus, shape (buses, districts).
        renewable_known: whether every source says how renewable it is.
    """

    time: TimeGrid
    buses: tuple[str, ...]
    branches: tuple[str, ...]
    oriented: OrientedFlows
    sources: Sources
    demands: Demands
    storages: Storages
    districts: tuple[str, ...]
    bus_district: FloatArray
    renewable_known: bool

    @cached_property
    def fed_mw(self) -> FloatArray:
        """What sources and storages feed at each bus, shape (steps, buses)."""
        sources, storages, count = self.sources, self.storages, len(self.buses)
        return sources.p_mw @ incidence(sources.node, count) + storages.discharge_mw @ incidence(
            storages.node, count
        )

    @cached_property
    def drawn_mw(self) -> FloatArray:
        """What demands and storages draw at each bus, shape (steps, buses)."""
        demands, storages, count = self.demands, self.storages, len(self.buses)
        return demands.p_mw @ incidence(demands.node, count) + storages.charge_mw @ incidence(
            storages.node, count
        )

    @cached_property
    def mismatch_mw(self) -> FloatArray:
        """Inflow less outflow of each bus as the document says it, shape (steps, buses)."""
        return self.fed_mw - self.drawn_mw - self.oriented.drawn_mw


def read_flows(document: FlowsDocument) -> Flows:
    """The document as arrays.

    Raises `InputError` with every fault: ids, buses, lengths and values first; where these are right,
    branches that create power, tanks that give more than they hold, and buses that do not balance.
    """
    faults = [*contradictions(document)]
    if faults:
        raise InputError(faults)
    time = TimeGrid(document.time.start, document.time.resolution, document.time.steps)
    flows = _arrays(document, time)
    faults = [*_branch_faults(flows), *_tank_faults(flows)]
    faults += _balance_faults(flows, document.balance_tolerance or BALANCE_TOLERANCE)
    if faults:
        raise InputError(faults)
    return flows


def contradictions(
    document: FlowsDocument, *, steps_known: bool = True, buses_known: bool = True
) -> Iterable[Fault]:
    """What is wrong with ids, buses, lengths and values; what rests on unknown steps or buses is left out."""
    yield from _time_faults(document)
    yield from _name_faults(document, buses_known)
    yield from _value_faults(document, document.time.steps if steps_known else None)


def _time_faults(document: FlowsDocument) -> Iterable[Fault]:
    if document.time.resolution.total_seconds() <= 0:
        yield Fault("time.resolution", "is not positive; write it like PT15M")
    elements = (
        len(document.buses)
        + len(document.branches)
        + len(document.sources)
        + len(document.demands)
        + len(document.storages)
    )
    if document.time.steps * elements > SIZE_MAX:
        yield Fault(
            "time.steps",
            f"is {document.time.steps} for {elements} elements, {document.time.steps * elements:g} values; "
            f"at most {SIZE_MAX:g} fit one trace: split the horizon",
        )
        return
    try:
        _ = document.time.start + document.time.resolution * document.time.steps
    except OverflowError:
        yield Fault("time", f"{document.time.steps} steps reach beyond the year 9999; give fewer")


def _name_faults(document: FlowsDocument, buses_known: bool) -> Iterable[Fault]:
    known = {bus.id for bus in document.buses}
    suppliers: tuple[Connected, ...] = (*document.sources, *document.storages)
    groups = {
        "buses": [bus.id for bus in document.buses],
        "branches": [branch.id for branch in document.branches],
        # a storage is a source too: both stand in source_shares
        "sources and storages": [supplier.id for supplier in suppliers],
        "demands": [demand.id for demand in document.demands],
    }
    for group, ids in groups.items():
        for name, count in Counter(ids).items():
            if count > 1:
                yield Fault(group, f"the id {name!r} is used {count} times; ids must be unique")
    places = [
        (f"branches[{k}].{end}", f"branch {branch.id!r}", bus)
        for k, branch in enumerate(document.branches)
        for end, bus in (("from", branch.from_), ("to", branch.to))
    ]
    connected: dict[str, Sequence[Connected]] = {
        "sources": document.sources,
        "demands": document.demands,
        "storages": document.storages,
    }
    for group, items in connected.items():
        places += [
            (f"{group}[{k}].bus", f"{group[:-1]} {item.id!r}", item.bus) for k, item in enumerate(items)
        ]
    for path, owner, bus in places:
        if buses_known and bus not in known:
            yield Fault(path, f"{owner} names bus {bus!r}, which is not in buses; {nearest(bus, known)}")
    bases = sorted({source.basis for source in document.sources if source.basis})
    if len(bases) > 1:
        of = {basis: [source.id for source in document.sources if source.basis == basis] for basis in bases}
        told = "; ".join(f"{basis}: {', '.join(ids)}" for basis, ids in of.items())
        yield Fault("sources", f"mix two bases of carbon_g_per_kwh ({told}); one trace has one basis")
    for k, branch in enumerate(document.branches):
        if branch.from_ == branch.to:
            yield Fault(
                f"branches[{k}]", f"branch {branch.id!r} has both ends at bus {branch.to!r}; remove it"
            )


def _value_faults(document: FlowsDocument, steps: int | None) -> Iterable[Fault]:
    bounded: list[tuple[str, str, float | tuple[float, ...], float, float, str]] = []
    for k, branch in enumerate(document.branches):
        bounded += [
            (f"branches[{k}].{name}", f"branch {branch.id!r}", value, -MW_MAX, MW_MAX, "is power in MW")
            for name, value in (("p_from_mw", branch.p_from_mw), ("p_to_mw", branch.p_to_mw))
        ]
    for k, source in enumerate(document.sources):
        owner = f"source {source.id!r}"
        bounded.append((f"sources[{k}].p_mw", owner, source.p_mw, 0.0, MW_MAX, "what it draws is a demand"))
        bounded.append(
            (
                f"sources[{k}].carbon_g_per_kwh",
                owner,
                source.carbon_g_per_kwh,
                0.0,
                CARBON_MAX_G_PER_KWH,
                "check the unit: g/kWh, the same as kg/MWh",
            )
        )
        if source.renewable is not None:
            bounded.append(
                (f"sources[{k}].renewable", owner, source.renewable, 0.0, 1.0, "it is a share, true or false")
            )
    for k, demand in enumerate(document.demands):
        bounded.append(
            (
                f"demands[{k}].p_mw",
                f"demand {demand.id!r}",
                demand.p_mw,
                0.0,
                MW_MAX,
                "what it feeds is a source",
            )
        )
    for k, storage in enumerate(document.storages):
        bounded += [
            (
                f"storages[{k}].{name}",
                f"storage {storage.id!r}",
                value,
                0.0,
                MW_MAX,
                "give both directions ≥ 0",
            )
            for name, value in (("charge_mw", storage.charge_mw), ("discharge_mw", storage.discharge_mw))
        ]
        if storage.carbon_start_g > 0 and storage.e_start_kwh < EMPTY_KWH:
            yield Fault(
                f"storages[{k}].carbon_start_g",
                f"is {storage.carbon_start_g:g}, but storage {storage.id!r} starts empty; carbon needs "
                "energy to sit in: raise e_start_kwh or set it to 0",
            )
    for path, owner, series, low, high, remedy in bounded:
        lengths = [] if steps is None else list(series_fault(path, series, steps))
        yield from lengths
        values = np.atleast_1d(np.asarray(series))
        outside = np.flatnonzero((values < low) | (values > high))
        if len(outside) and not lengths:
            step = int(outside[0])
            limit = f"at least {low:g}" if values[step] < low else f"at most {high:g}"
            where = f" in step {step}" if isinstance(series, tuple) else ""
            yield Fault(path, f"{owner} has {values[step]:g}{where}; {limit} is allowed: {remedy}")


def _arrays(document: FlowsDocument, time: TimeGrid) -> Flows:
    steps = time.steps
    node = {bus.id: k for k, bus in enumerate(document.buses)}

    def series(values: Iterable[float | tuple[float, ...]]) -> FloatArray:
        columns = [expand(value, steps) for value in values]
        return np.stack(columns, axis=1) if columns else np.zeros((steps, 0))

    def integers(values: Iterable[int]) -> IntArray:
        return np.fromiter(values, dtype=np.int64)

    # a bus belongs to its own district, else to those of what is connected to it
    names: list[set[str]] = [{bus.district} if bus.district else set() for bus in document.buses]
    stated = [bus.district is not None for bus in document.buses]
    placed: tuple[FlowsDemand | FlowsStorage, ...] = (*document.demands, *document.storages)
    for item in placed:
        if item.district and not stated[node[item.bus]]:
            names[node[item.bus]].add(item.district)

    def district_of(item_district: str | None, bus: str) -> str:
        of_bus = names[node[bus]]
        return item_district or (next(iter(of_bus)) if len(of_bus) == 1 else BOUNDARY)

    named = {district_of(item.district, item.bus) for item in placed}
    districts = tuple(sorted(named.union(*(found or {BOUNDARY} for found in names))))
    position = {name: k for k, name in enumerate(districts)}
    bus_district = np.zeros((len(node), len(districts)))
    for k, found in enumerate(names):
        for name in found or {BOUNDARY}:
            bus_district[k, position[name]] = 1.0 / max(len(found), 1)

    branches, sources = document.branches, document.sources
    demands, stores = document.demands, document.storages
    oriented = OrientedFlows(
        Topology(
            len(node),
            integers(node[branch.from_] for branch in branches),
            integers(node[branch.to] for branch in branches),
        ),
        series(branch.p_from_mw for branch in branches),
        series(branch.p_to_mw for branch in branches),
    )
    # MWh and kg: what 1 MW at 1 g/kWh carries in an hour
    energy = np.array([store.e_start_kwh / 1000 for store in stores])
    share = np.array([store.renewable_share_start or 0.0 for store in stores])
    carbon = np.array([store.carbon_start_g / 1000 for store in stores])
    return Flows(
        time=time,
        buses=tuple(node),
        branches=tuple(branch.id for branch in branches),
        oriented=oriented,
        sources=Sources(
            tuple(source.id for source in sources),
            tuple(source.technology for source in sources),
            integers(node[source.bus] for source in sources),
            series(source.p_mw for source in sources),
            series(source.carbon_g_per_kwh for source in sources),
            series(source.renewable if source.renewable is not None else 0.0 for source in sources),
        ),
        demands=Demands(
            tuple(demand.id for demand in demands),
            tuple(demand.kind for demand in demands),
            integers(node[demand.bus] for demand in demands),
            integers(position[district_of(demand.district, demand.bus)] for demand in demands),
            series(demand.p_mw for demand in demands),
        ),
        storages=Storages(
            tuple(store.id for store in stores),
            tuple(store.technology for store in stores),
            integers(node[store.bus] for store in stores),
            integers(position[district_of(store.district, store.bus)] for store in stores),
            series(store.charge_mw for store in stores),
            series(store.discharge_mw for store in stores),
            Tanks(
                energy,
                np.stack([carbon, energy * share], axis=1),
                np.array([store.charge_efficiency for store in stores]),
                np.array([store.discharge_efficiency for store in stores]),
                np.array([store.standing_loss_per_step for store in stores]),
                empty=EMPTY_KWH / 1000,
            ),
        ),
        districts=districts,
        bus_district=bus_district,
        renewable_known=all(source.renewable is not None for source in sources)
        and all(store.renewable_share_start is not None or store.e_start_kwh == 0 for store in stores),
    )


def _when(flows: Flows, wrong: BoolArray) -> str:
    """The first step that is wrong, and how many more are."""
    steps = np.flatnonzero(wrong)
    more = f" and in {len(steps) - 1} more steps" if len(steps) > 1 else ""
    return f"at {format_instant(flows.time.instant(int(steps[0])))}{more}"


def _branch_faults(flows: Flows) -> Iterable[Fault]:
    at_from, at_to = flows.oriented.p_from_mw, flows.oriented.p_to_mw
    allowed = ROUNDING * (1.0 + np.maximum(np.abs(at_from), np.abs(at_to)))
    feeding = (at_from < -allowed) & (at_to < -allowed)
    creating = (at_from + at_to < -allowed) & ~feeding
    for k in np.flatnonzero(feeding.any(axis=0) | creating.any(axis=0)):
        name = flows.branches[k]
        for wrong, told in (
            (feeding[:, k], "feeds power into both of its ends"),
            (creating[:, k], "delivers more than is sent"),
        ):
            if wrong.any():
                step = int(np.flatnonzero(wrong)[0])
                yield Fault(
                    f"branches[{k}]",
                    f"branch {name!r} {told} {_when(flows, wrong)}: p_from_mw {at_from[step, k]:g}, p_to_mw "
                    f"{at_to[step, k]:g}; a branch only loses power: correct the values or their signs "
                    "(+ enters the branch)",
                )


def _tank_faults(flows: Flows) -> Iterable[Fault]:
    storages, hours = flows.storages, flows.time.hours
    if not storages.ids:
        return
    charge, discharge = storages.charge_mw * hours, storages.discharge_mw * hours
    for over in overdrafts(storages.tanks, charge, discharge, np.zeros_like(charge), EMPTY_KWH / 1000):
        yield Fault(
            f"storages[{over.tank}].discharge_mw",
            f"storage {storages.ids[over.tank]!r} takes {over.asked * 1000:g} kWh from its tank at "
            f"{format_instant(flows.time.instant(over.step))}, but {over.stored * 1000:g} kWh are stored; "
            "discharge less, or raise e_start_kwh",
        )


def _balance_faults(flows: Flows, tolerance: float) -> Iterable[Fault]:
    ends = flows.oriented
    inflow = flows.fed_mw + ends.topology.at_nodes(
        np.maximum(-ends.p_from_mw, 0.0), np.maximum(-ends.p_to_mw, 0.0)
    )
    outflow = flows.drawn_mw + ends.topology.at_nodes(
        np.maximum(ends.p_from_mw, 0.0), np.maximum(ends.p_to_mw, 0.0)
    )
    allowed = np.maximum(BALANCE_FLOOR_MW, tolerance * np.maximum(inflow, outflow))
    wrong = np.abs(flows.mismatch_mw) > allowed
    for k in np.flatnonzero(wrong.any(axis=0)):
        step = int(np.flatnonzero(wrong[:, k])[0])
        yield Fault(
            f"buses[{k}]",
            f"bus {flows.buses[k]!r} does not balance {_when(flows, wrong[:, k])}: {inflow[step, k]:.9g} MW "
            f"flow in, {outflow[step, k]:.9g} MW flow out, {allowed[step, k]:.3g} MW may miss; add what is "
            "missing as a source, demand or branch, or allow more with balance_tolerance (at most 0.01)",
        )
