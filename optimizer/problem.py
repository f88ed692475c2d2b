"""A dispatch problem, and what schedules of its assets come to: balances, cost, shortfalls. No solver."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property
from typing import Any

import numpy as np

from energy.domain.canonical import sha256
from energy.domain.documents import Document, expand
from energy.domain.errors import Fault, InputError
from energy.domain.network import FloatArray, NodalPower, Terminal
from energy.domain.schedule import (
    OBJECTIVE_PARTS,
    PRICE_PARTS,
    AssetSchedule,
    ConnectionSchedule,
    OfferSchedule,
    Schedule,
    Shortfall,
    Status,
)
from energy.domain.time import TimeGrid, format_duration
from optimizer.assets import Asset
from optimizer.collection import no_collection
from optimizer.documents import (
    SCHEMA,
    SERIES_OF_CONNECTION,
    Connection,
    Network,
    Objective,
    Options,
    ProblemDocument,
    read,
)
from optimizer.fairness import fairness_cost, fairness_report
from optimizer.islands import Islands
from optimizer.offers import Offer, offer_notices, offer_revenue, unheld
from optimizer.phases import BALANCED_GRID, phase_notices, phase_powers, phase_unbalance
from optimizer.rolling import Pins
from optimizer.scenarios import Scenario
from optimizer.shedding import with_terms
from optimizer.signals import signal_limits, signal_notices
from optimizer.solver import NAME
from optimizer.tariffs import expanded

__all__ = ["DispatchProblem", "ProblemDocument", "answer", "net_powers", "settle"]

OVERRUN = 1e-6
"""Import beyond a limit by at most this share of it (and of 1 kW) is the solver's tolerance."""
NEGLIGIBLE_KW = 1e-9


@dataclass(frozen=True)
class DispatchProblem:
    """What is to be dispatched. Assets and connections are in the order of their ids.

    `paths` says where each stood in the document, by (``"connections"`` or ``"assets"``, id). `pins` are
    controls that a previous schedule gives; no document states them.
    """

    name: str
    currency: str
    time: TimeGrid
    connections: Mapping[str, Connection]
    assets: tuple[Asset, ...]
    objective: Objective
    network: Network | None
    options: Options

    paths: Mapping[tuple[str, str], str]
    offers: tuple[Offer, ...] = ()
    frontier: int | None = None
    scenarios: tuple[Scenario, ...] = ()
    first_stage: timedelta | None = None
    pins: Pins | None = None

    @staticmethod
    def from_document(document: Any) -> DispatchProblem:
        """Read a ``wattshed.dispatch/1``; `InputError` with every fault, each with its field path."""
        with no_collection():
            head, assets = read(document)
        time = TimeGrid(head.time.start, head.time.resolution, head.time.steps)
        connections = {c.id: expanded(c, time) for c in sorted(head.connections, key=lambda c: c.id)}
        return DispatchProblem(
            head.name,
            head.currency,
            time,
            connections,
            tuple(with_terms(asset, connections) for asset in sorted(assets, key=lambda asset: asset.id)),
            head.objective,
            head.network,
            head.options,
            {
                (kind, item): f"{kind}[{number}]"
                for kind, ids in (
                    ("connections", [connection.id for connection in head.connections]),
                    ("assets", [asset.id for asset in assets]),
                )
                for number, item in enumerate(ids)
            },
            offers=tuple(sorted(head.offers, key=lambda offer: offer.id)),
            frontier=head.frontier,
            scenarios=tuple(sorted(head.scenarios, key=lambda scenario: scenario.id)),
            first_stage=head.first_stage,
        )

    def document(self) -> dict[str, Any]:
        """The normalised problem: defaults filled in, scalars expanded, times in UTC, assets by id."""
        steps = self.time.steps

        def plain(model: Document, series: Any) -> dict[str, Any]:
            fields = model.model_dump(mode="json")
            for name in series:
                if fields[name] is not None:
                    fields[name] = expand(getattr(model, name), steps).tolist()
            for path in getattr(model, "nested_series", ()):
                outer, name = path.split(".")
                if fields[outer] is not None and fields[outer][name] is not None:
                    fields[outer][name] = expand(getattr(getattr(model, outer), name), steps).tolist()
            return fields

        return {
            "schema": SCHEMA,
            "name": self.name,
            "currency": self.currency,
            "time": self.time.document(),
            "connections": [plain(c, SERIES_OF_CONNECTION) for c in self.connections.values()],
            "assets": [plain(asset, asset.series_fields) for asset in self.assets],
            "objective": self.objective.model_dump(mode="json"),
            "network": None if self.network is None else self.network.model_dump(mode="json"),
            "options": self.options.model_dump(mode="json"),
            "offers": [offer.model_dump(mode="json") for offer in self.offers],
            "frontier": self.frontier,
            "scenarios": [
                {
                    **scenario.model_dump(mode="json"),
                    "series": {
                        path: expand(v, steps).tolist() for path, v in sorted(scenario.series.items())
                    },
                }
                for scenario in self.scenarios
            ],
            "first_stage": None if self.first_stage is None else format_duration(self.first_stage),
        }

    @cached_property
    def input_hash(self) -> str:
        """SHA-256 of the RFC 8785 JSON of the normalised problem."""
        with no_collection():
            return sha256(self.document())

    @cached_property
    def islands(self) -> Islands:
        """The connections that run on their own for a while."""
        return Islands(self)

    @cached_property
    def notices(self) -> tuple[str, ...]:
        """What was clipped, left out or assumed, in words."""
        unpriced = (
            f"connection {key!r} has no {way}_price_per_mwh: {what}"
            for key, connection in self.connections.items()
            for way, what in (("import", "imports cost nothing"), ("export", "exports earn nothing"))
            if connection.parent is None and getattr(connection, f"{way}_price_per_mwh") is None
        )
        balanced = [BALANCED_GRID] if self.network is not None else []
        return (
            *unpriced,
            *offer_notices(self),
            *balanced,
            *self.islands.notices(),
            *(notice for asset in self.assets for notice in asset.notices(self.time)),
        )

    @cached_property
    def from_roots(self) -> tuple[str, ...]:
        """Connection ids, parents before children."""
        ordered: list[str] = []
        waiting = list(self.connections)
        while waiting:
            ready = [key for key in waiting if self.connections[key].parent in (None, *ordered)]
            ordered += ready
            waiting = [key for key in waiting if key not in ready]
        return tuple(ordered)

    @property
    def root(self) -> str:
        """The connection without a parent: the only one with a `network`, else the first."""
        return next(key for key, connection in self.connections.items() if connection.parent is None)

    def above(self, connection: str) -> list[str]:
        """A connection and all above it, up to its root."""
        path = [connection]
        while (parent := self.connections[path[-1]].parent) is not None:
            path.append(parent)
        return path

    def below(self, connection: str) -> tuple[str, ...]:
        """A connection and all below it, parents before children."""
        found = [connection]
        for key in self.from_roots:
            if self.connections[key].parent in found:
                found.append(key)
        return tuple(found)

    @cached_property
    def limits_phases(self) -> bool:
        """Whether some connection limits its phases: only then does the model tell phases apart."""
        return any(
            c.phase_import_limit_kw is not None or c.unbalance_limit_kw is not None
            for c in self.connections.values()
        )

    def carbon_intensities(self, connection: Connection) -> tuple[FloatArray, FloatArray]:
        """g/kWh that count for an import, and are credited to an export, shape (steps,) each."""
        steps = self.time.steps
        average = expand(connection.carbon_g_per_kwh or 0.0, steps)
        signal = average
        if self.objective.carbon_signal == "marginal":
            signal = expand(connection.marginal_carbon_g_per_kwh or 0.0, steps)
        credit = average if self.objective.export_carbon_credit == "average" else np.zeros(steps)
        return signal, credit

    def carbon_prices(self, connection: Connection) -> tuple[FloatArray, FloatArray]:
        """What carbon adds to a MWh imported, and credits to a MWh exported, shape (steps,) each."""
        price = self.objective.carbon_price_per_t / 1000
        signal, credit = self.carbon_intensities(connection)
        return signal * price, credit * price

    def import_price(self, connection: Connection) -> FloatArray:
        """What a MWh more imported costs, carbon included, peak not."""
        return (
            expand(connection.import_price_per_mwh or 0.0, self.time.steps)
            + self.carbon_prices(connection)[0]
        )

    def export_price(self, connection: Connection) -> FloatArray:
        """What a MWh more exported earns, carbon credit included."""
        return (
            expand(connection.export_price_per_mwh or 0.0, self.time.steps)
            + self.carbon_prices(connection)[1]
        )

    def resolve_buses(self, resolver: Callable[[int | str], int]) -> DispatchProblem:
        """The same problem with every asset at a bus index; an asset's own bus wins over its connection's.

        `resolver` raises `InputError` or `LookupError` for a bus that it does not know.
        """
        faults: list[Fault] = []

        def resolved(path: str, bus: int | str) -> int:
            try:
                return int(resolver(bus))
            except InputError as error:
                faults.extend(Fault(path, fault.message) for fault in error.faults)
            except LookupError as error:
                faults.append(Fault(path, f"bus {bus!r} is not in the grid: {error}"))
            return -1

        assets = []
        at_connection = {
            key: None
            if connection.bus is None
            else resolved(f"{self.paths['connections', key]}.bus", connection.bus)
            for key, connection in self.connections.items()
        }
        for asset in self.assets:
            path = f"{self.paths['assets', asset.id]}.bus"
            bus = at_connection[asset.connection] if asset.bus is None else resolved(path, asset.bus)
            if bus is None:
                faults.append(
                    Fault(path, f"is missing, and connection {asset.connection!r} has none; add one")
                )
            assets.append(asset.model_copy(update={"bus": bus}))
        if faults:
            raise InputError(faults)
        connections = {
            key: connection.model_copy(update={"bus": at_connection[key]})
            for key, connection in self.connections.items()
        }
        return replace(self, assets=tuple(assets), connections=connections)

    @property
    def first_stage_steps(self) -> int:
        """So many steps from the start have common controls in all scenarios."""
        return 1 if self.first_stage is None else round(self.first_stage / self.time.resolution)

    @cached_property
    def terminals(self) -> tuple[Terminal, ...]:
        """Where flexible power meets the grid, and where a price is asked for, ascending; buses must be
        resolved."""
        flexible = {terminal for asset in self.assets for terminal in asset.terminals()}
        reactive = {asset.reactive_terminal for asset in self.inverters}
        priced = {c.bus for c in self.connections.values() if c.parent is not None}
        if self.options.bus_prices:
            priced |= {asset.bus for asset in self.assets}
        priced |= {asset.bus for asset in self.explained}
        more = {
            Terminal(bus, flexible=False)
            for bus in priced
            if isinstance(bus, int) and Terminal(bus) not in flexible
        }
        return tuple(sorted(flexible | reactive | more))

    @property
    def explained(self) -> tuple[Asset, ...]:
        """The assets for which reasons are asked."""
        wanted = self.options.explain_assets
        if not self.options.explain or wanted is None:
            return self.assets if self.options.explain else ()
        return tuple(asset for asset in self.assets if asset.id in set(wanted))

    @property
    def inverters(self) -> tuple[Asset, ...]:
        """The assets whose reactive power is a control."""
        if self.network is None or self.network.reactive != "optimise":
            return ()
        return tuple(asset for asset in self.assets if asset.inverter_kva is not None)

    def nodal_power(self, schedule: Schedule) -> NodalPower:
        """Power drawn at the bus of each asset, MW and Mvar, consumer frame; one column per asset."""
        steps, count = self.time.steps, len(self.assets)
        p_kw, q_kvar = np.zeros((steps, count)), np.zeros((steps, count))
        for column, asset in enumerate(self.assets):
            drawn = asset.drawn_kw(schedule.assets[asset.id].p_kw)
            p_kw[:, column], q_kvar[:, column] = drawn, asset.reactive_kvar(drawn)
            q_kvar[:, column] += schedule.assets[asset.id].series.get("q_kvar", 0.0)
        buses = np.array([asset.bus for asset in self.assets], np.int64)
        return NodalPower(self.time, buses, p_kw / 1000, q_kvar / 1000)

    def uncontrolled(self) -> Schedule:
        """What happens when nobody dispatches: EVs charge at full power on arrival, storage idles."""
        schedules: dict[str, AssetSchedule] = {asset.id: asset.baseline(self.time) for asset in self.assets}
        return answer(
            self,
            schedules,
            status="fallback",
            shortfalls=(),
            notices=("uncontrolled: every EV at full power on arrival, storage idle, nothing curtailed",),
        )


def net_powers(
    problem: DispatchProblem, schedules: Mapping[str, AssetSchedule], losses_kw: FloatArray | None = None
) -> dict[str, FloatArray]:
    """Net power drawn through each connection, its children's included, shape (steps,) each.

    `losses_kw` of the network are drawn at the root.
    """
    net = {key: np.zeros(problem.time.steps) for key in problem.connections}
    for asset in problem.assets:
        net[asset.connection] += asset.drawn_kw(schedules[asset.id].p_kw)
    for key in reversed(problem.from_roots):
        parent = problem.connections[key].parent
        if parent is not None:
            net[parent] += net[key]
        elif losses_kw is not None:
            net[key] = net[key] + losses_kw
    for values in net.values():
        values[np.abs(values) < NEGLIGIBLE_KW] = 0.0
    return net


def answer(
    problem: DispatchProblem,
    schedules: Mapping[str, AssetSchedule],
    *,
    status: Status,
    shortfalls: Sequence[Shortfall],
    losses_kw: FloatArray | None = None,
    prices: Mapping[str, Mapping[str, FloatArray]] | None = None,
    offers: Mapping[str, OfferSchedule] | None = None,
    notices: Sequence[str] = (),
    **figures: Any,
) -> Schedule:
    """The schedule of `problem` in which assets do what `schedules` says.

    `shortfalls` are those of assets; overruns of import limits are found here.
    """
    net = net_powers(problem, schedules, losses_kw)
    phases = phase_powers(problem, schedules, losses_kw)
    signals = signal_limits(problem)
    unpriced = {part: np.zeros(problem.time.steps) for part in ("total", *PRICE_PARTS)}
    connections = {
        key: ConnectionSchedule(
            np.clip(power, 0.0, None),
            np.clip(-power, 0.0, None),
            unpriced if prices is None else prices[key],
            signals.get(key),
        )
        for key, power in net.items()
    }
    every = _in_order(
        *shortfalls, *overruns(problem, connections), *(unheld(problem) if offers is None else ())
    )
    figures = {"best_bound": None, "gap": None, "build_seconds": 0.0, "solve_seconds": 0.0, **figures}
    return Schedule(
        status=status,
        input_hash=problem.input_hash,
        time=problem.time,
        objective=objective(problem, schedules, connections, every, offers or {}),
        offers=offers or {},
        bound_kind="exact" if problem.network is None else "linear",
        solver=NAME,
        fairness=fairness_report(problem, schedules, every),
        connections=connections,
        assets=dict(schedules),
        shortfalls=every,
        notices=(
            *problem.notices,
            *notices,
            *phase_notices(problem, phases),
            *signal_notices(problem, signals, schedules),
        ),
        phase_unbalance=phase_unbalance(problem, phases),
        **figures,
    )


def _in_order(*shortfalls: Shortfall) -> tuple[Shortfall, ...]:
    return tuple(sorted(shortfalls, key=lambda s: (s.at, s.kind, s.asset or "", s.connection or "")))


def overruns(problem: DispatchProblem, connections: Mapping[str, ConnectionSchedule]) -> list[Shortfall]:
    """Import beyond its limit, one shortfall per connection and step."""
    found = []
    for key, connection in problem.connections.items():
        limit = connection.limit("import_limit_kw", problem.time.steps)
        excess = connections[key].import_kw - limit
        for step in np.flatnonzero(excess > OVERRUN * np.maximum(1.0, limit)):
            amount = float(excess[step]) * problem.time.hours
            found.append(Shortfall("import_limit", problem.time.instant(int(step)), amount, connection=key))
    return found


def objective(
    problem: DispatchProblem,
    schedules: Mapping[str, AssetSchedule],
    connections: Mapping[str, ConnectionSchedule],
    shortfalls: Sequence[Shortfall],
    offers: Mapping[str, OfferSchedule],
) -> dict[str, float]:
    """The objective's parts and their total, in the problem's currency, from the schedule alone."""
    parts = dict.fromkeys(OBJECTIVE_PARTS, 0.0)
    mwh_per_kw = problem.time.hours / 1000
    for key, connection in problem.connections.items():
        flow = connections[key]
        if connection.parent is None:
            carbon_in, carbon_out = problem.carbon_prices(connection)
            price_in = problem.import_price(connection) - carbon_in
            price_out = problem.export_price(connection) - carbon_out
            parts["energy"] += mwh_per_kw * float(price_in @ flow.import_kw - price_out @ flow.export_kw)
            if connection.import_blocks is not None:
                parts["energy"] += connection.import_blocks.cost(flow.import_kw, problem.time)
            parts["carbon"] += mwh_per_kw * float(carbon_in @ flow.import_kw - carbon_out @ flow.export_kw)
        if connection.peak_import_price_per_kw > 0:
            highest = max(float(flow.import_kw[w].mean()) for w in connection.peak_windows(problem.time))
            excess = max(0.0, highest - connection.peak_import_so_far_kw)
            parts["peak"] += connection.peak_import_price_per_kw * excess
    for asset in problem.assets:
        for part, amount in asset.costs(schedules[asset.id], problem.time).items():
            parts[part] += amount
        emitted_t = asset.emissions_kg(schedules[asset.id], problem.time) / 1000
        parts["carbon"] += emitted_t * problem.objective.carbon_price_per_t
    unserved = sum(shortfall.amount_kwh for shortfall in shortfalls)
    parts["shortfall"] = problem.objective.unserved_energy_price_per_kwh * unserved
    parts["flexibility"] -= offer_revenue(problem, offers)
    parts["fairness"] = fairness_cost(problem, fairness_report(problem, schedules, shortfalls))
    return {"total": sum(parts.values()), **parts}


def emissions_kg(
    problem: DispatchProblem,
    schedules: Mapping[str, AssetSchedule],
    connections: Mapping[str, ConnectionSchedule],
) -> float:
    """What root imports carry by the carbon signal, less export credit, and what assets emit themselves."""
    emitted = sum(asset.emissions_kg(schedules[asset.id], problem.time) for asset in problem.assets)
    for key, connection in problem.connections.items():
        if connection.parent is None:
            flow = connections[key]
            carried, credited = problem.carbon_intensities(connection)
            grams = float(carried @ flow.import_kw - credited @ flow.export_kw) * problem.time.hours
            emitted += grams / 1000
    return float(emitted)


def settle(
    problem: DispatchProblem, schedule: Schedule, root_import_kw: FloatArray, root_export_kw: FloatArray
) -> Schedule:
    """The same controls with the root's power as AC power flow has it; the objective counts that."""
    root = problem.root
    flow = replace(schedule.connections[root], import_kw=root_import_kw, export_kw=root_export_kw)
    connections = {**schedule.connections, root: flow}
    of_assets = tuple(s for s in schedule.shortfalls if s.kind != "import_limit")
    every = _in_order(*of_assets, *overruns(problem, connections))
    return replace(
        schedule,
        connections=connections,
        shortfalls=every,
        objective=objective(problem, schedule.assets, connections, every, schedule.offers),
    )
