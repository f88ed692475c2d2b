"""A dispatch problem: what is to be dispatched, validated. No solver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
    AssetSchedule,
    Schedule,
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
    Scenario,
    above,
    below,
    from_roots,
)
from optimizer.islands import Islands
from optimizer.offers import Offer, offer_notices
from optimizer.reading import read
from optimizer.scenarios import changes_of, with_series
from optimizer.shedding import with_terms

__all__ = ["DispatchProblem", "Pins", "ProblemDocument"]

BALANCED_GRID = (
    "the AC power flow is that of a balanced (single-line) grid: phase unbalance in the grid itself is not "
    "checked"
)


@dataclass(frozen=True)
class Pins:
    """Controls that are given: before step `past` what was done, before step `until` what is kept.

    `assets` are on the grid of the problem, NaN where the previous schedule says nothing.
    """

    past: int
    until: int
    assets: Mapping[str, AssetSchedule]


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
        connections = {c.id: c.expanded(time) for c in sorted(head.connections, key=lambda c: c.id)}
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
        return Islands(self.connections, self.assets, self.time)

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
            *offer_notices(self.offers, self.time, networked=self.network is not None),
            *balanced,
            *self.islands.notices(),
            *(notice for asset in self.assets for notice in asset.notices(self.time)),
        )

    @cached_property
    def from_roots(self) -> tuple[str, ...]:
        """Connection ids, parents before children."""
        return from_roots(self.connections)

    @property
    def root(self) -> str:
        """The connection without a parent: the only one with a `network`, else the first."""
        return next(key for key, connection in self.connections.items() if connection.parent is None)

    def above(self, connection: str) -> list[str]:
        """A connection and all above it, up to its root."""
        return above(self.connections, connection)

    def below(self, connection: str) -> tuple[str, ...]:
        """A connection and all below it, parents before children."""
        return below(self.connections, connection)

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

    def given(self, scenario: Scenario) -> DispatchProblem:
        """The same problem as one of its scenarios has it, without scenarios of its own."""
        assets = {asset.id: asset for asset in self.assets}
        changes = changes_of(scenario, {"connections": self.connections, "assets": assets})
        return replace(
            self,
            connections={
                key: with_series(connection, changes["connections", key])
                for key, connection in self.connections.items()
            },
            assets=tuple(with_series(asset, changes["assets", key]) for key, asset in assets.items()),
            scenarios=(),
            first_stage=None,
        )

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
