"""A case: one way of running the day, proven on the twin, with its cost, carbon and series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from energy.carbon.accounts import BATTERY, V2G, Account, Storage, Supply, UpstreamMix, Use, account
from energy.domain.city import Market, Profiles, SiteBattery, Vehicle, buses_of
from energy.domain.factors import FactorRegistry
from energy.domain.network import FloatArray, GridState, NetworkFlows, NodalPower
from energy.domain.plan import SeriesTable
from energy.domain.time import TimeGrid
from energy.service.city_day import CityDay
from energy.service.operation import Operation
from energy.service.unit_operation import COST_PARTS, UnitTank

G_PER_KWH_TO_T_PER_MWH = 1e-3


class PowerFlow(Protocol):
    """What a case asks of the twin."""

    def solve(self, power: NodalPower) -> GridState: ...

    def flows(self, state: GridState) -> NetworkFlows: ...


@dataclass(frozen=True)
class Case:
    """How one case of a day went.

    Attributes:
        supply, use, storage: who took part, column by column.
        root_mw: what the city draws from upstream, shape (steps,), negative exports.
        cost: parts ``energy``, ``peak``, ``carbon``, ``wear``, in a city with units also ``fuel`` and
            ``start``, in the city's currency, shape (steps,); the peak is booked in the step that reaches
            it.
    """

    operation: Operation
    state: GridState
    flows: NetworkFlows
    account: Account
    supply: Supply
    use: Use
    storage: Storage
    root_mw: FloatArray
    cost: Mapping[str, FloatArray]

    @property
    def total_cost(self) -> float:
        """Energy bought less sold, demand charge, carbon price and wear of the day's solved steps."""
        return sum(self.cost_parts.values())

    @property
    def cost_parts(self) -> dict[str, float]:
        """Each part of the cost, over the day's solved steps."""
        return {name: float(np.nansum(part)) for name, part in self.cost.items()}

    @property
    def unsolved_steps(self) -> list[int]:
        """The steps without an AC solution: their flows, cost and carbon are NaN."""
        return np.flatnonzero(~self.state.converged).tolist()

    def summary(self) -> dict[str, Any]:
        """This case's column of the plan's ``comparison``; sums leave unsolved steps out."""
        operation, hours = self.operation, self.operation.time.hours
        return {
            "cost": self.total_cost,
            "cost_parts": self.cost_parts,
            "emissions_kg": float(np.nansum(self.account.steps["emissions_kg"])),
            "losses_mwh": float(np.nansum(self.state.losses_mw) * hours),
            "import_mwh": float(np.nansum(np.maximum(self.root_mw, 0.0)) * hours),
            "export_mwh": float(np.nansum(np.maximum(-self.root_mw, 0.0)) * hours),
            "peak_import_mw": float(np.nanmax(self.root_mw, initial=0.0)),
            "curtailed_mwh": float(operation.curtailed_mw.sum() * hours),
            "unmet_kwh": operation.unmet_kwh,
            "violated_steps": len(self.state.violated_steps),
            "unsolved_steps": len(self.unsolved_steps),
            "energy_end_mwh": operation.e_end_mwh(),
        }

    def tables(self) -> dict[str, SeriesTable]:
        """The series of the case by the names of `energy.domain.plan.Plan`, without the case's own."""
        operation, city, state, flows = self.operation, self.operation.city, self.state, self.flows
        loads, renewables, batteries, vehicles, units = (
            tuple(asset.id for asset in group)
            for group in (city.loads, city.renewables, city.batteries, city.vehicles, city.units)
        )
        branches = tuple(f"{branch.table} {branch.index}" for branch in state.branches)
        steps = self.account.steps
        charging = np.maximum(operation.vehicle_mw, 0.0).sum(axis=1)
        storing = np.maximum(operation.battery_mw, 0.0).sum(axis=1)
        drawn, reported = operation.units.use_mw(), operation.units.series
        held = {key: reported[f"{key}/e_kwh"] for key in units if f"{key}/e_kwh" in reported}
        storing = storing + drawn.pop("battery", 0.0)
        tables = {
            "asset_p_kw": SeriesTable(
                (*loads, *renewables, *batteries, *vehicles, *units),
                np.hstack(
                    [
                        operation.load_mw,
                        operation.generation_mw,
                        operation.battery_mw,
                        operation.vehicle_mw,
                        operation.units.p_mw,
                    ]
                )
                * 1000,
            ),
            "asset_e_kwh": SeriesTable(
                (*batteries, *vehicles, *held),
                np.column_stack([operation.battery_mwh * 1000, operation.vehicle_mwh * 1000, *held.values()]),
            ),
            "curtailed_kw": SeriesTable(renewables, operation.curtailed_mw * 1000),
            "supply_mw": self.account.supply_mw,
            "use_mw": SeriesTable(
                ("load", "ev", "battery", *drawn, "export", "losses"),
                np.column_stack(
                    [
                        operation.load_mw.sum(axis=1),
                        charging,
                        storing,
                        *drawn.values(),
                        steps["export_mw"],
                        steps["losses_mw"],
                    ]
                ),
            ),
            "vm_pu": SeriesTable(tuple(str(bus.index) for bus in state.buses), state.vm_pu),
            "loading_percent": SeriesTable(branches, state.loading_percent),
            "p_from_mw": SeriesTable(
                tuple(f"{branch.table} {branch.index}" for branch in flows.branches), flows.p_from_mw
            ),
            "totals": SeriesTable(
                (
                    "cost_eur",
                    "emissions_kg",
                    "losses_mw",
                    "import_mw",
                    "export_mw",
                    "carbon_g_per_kwh",
                    "renewable_share",
                ),
                np.column_stack(
                    [
                        sum(self.cost.values()),
                        steps["emissions_kg"],
                        steps["losses_mw"],
                        steps["import_mw"],
                        steps["export_mw"],
                        steps["carbon_g_per_kwh"],
                        steps["renewable_share"],
                    ]
                ),
            ),
            "district_source_mwh": self.account.district_source_mwh,
        }
        if units:
            values = np.column_stack(list(reported.values())) if reported else np.zeros((len(charging), 0))
            tables["unit_series"] = SeriesTable(tuple(reported), values)
        return tables | {f"district.{name}": table for name, table in self.account.district.items()}


def run_case(
    day: CityDay, operation: Operation, twin: PowerFlow, market: Profiles, factors: FactorRegistry
) -> Case:
    """Solve the day AC, account its carbon and its cost at the prices and intensities of `market`.

    What a step without an AC solution would cost and emit is NaN: it has no flows.
    """
    state = twin.solve(operation.nodal_power())
    flows = twin.flows(state)
    root_mw = state.slack_p_mw.sum(axis=1)
    city, settings = day.city, day.city.carbon
    supply, storage = _supply(operation, factors), _storage(day, operation)
    use = _use(operation)
    upstream = _upstream(city.market, market, day.time)
    if not day.tanks_ranged:  # what they deliver mixes with all the rest: the day has no ends
        upstream = replace(upstream, carbon_range=None)
    return Case(
        operation=operation,
        state=state,
        flows=flows,
        account=account(
            flows,
            supply,
            use,
            storage,
            upstream,
            city.district_of_bus,
            coupling=settings.coupling,
            losses=settings.losses,
        ),
        supply=supply,
        use=use,
        storage=storage,
        root_mw=root_mw,
        cost=_cost(day, operation, root_mw, market),
    )


def _cost(day: CityDay, operation: Operation, root_mw: FloatArray, market: Profiles) -> dict[str, FloatArray]:
    terms, time, hours = day.city.market, day.time, day.time.hours
    imported, exported = np.maximum(root_mw, 0.0), np.maximum(-root_mw, 0.0)
    energy = imported * market.window(terms.import_price, time)
    energy -= exported * market.window(terms.export_price, time)
    carbon_t = imported * market.window(terms.carbon, time) * G_PER_KWH_TO_T_PER_MWH
    peak = np.zeros(time.steps)
    peak_step = int(np.argmax(np.nan_to_num(imported)))
    above_kw = 1000 * max(0.0, float(imported[peak_step]) - day.peak_so_far_mw)
    peak[peak_step] = above_kw * terms.peak_import_price_per_kw
    batteries = np.array([battery.wear_cost_per_mwh for battery in day.city.batteries])
    vehicles = np.array([vehicle.wear_cost_per_mwh for vehicle in day.city.vehicles])
    wear = np.maximum(-operation.battery_mw, 0.0) @ batteries
    wear += np.maximum(-operation.vehicle_mw, 0.0) @ vehicles
    units = operation.units
    cost = {
        "energy": energy * hours,
        "peak": peak,
        "carbon": (carbon_t * hours + units.emitted_kg / 1000) * terms.carbon_price_per_t,
        "wear": wear * hours + units.cost["wear"],
    }
    if day.city.units:
        cost |= {part: units.cost[part] for part in COST_PARTS}
    return {name: np.where(np.isfinite(root_mw), part, np.nan) for name, part in cost.items()}


def _supply(operation: Operation, factors: FactorRegistry) -> Supply:
    """Local generation, that of units included.

    Its emissions have a range where the factor of every technology has one; what a unit states has none, it
    is its own ends.
    """
    city, units = operation.city, operation.units
    feeding = units.of_role("source")
    feeders = [city.units[k] for k in feeding]
    found = [factors.generation(site.technology, city.carbon.basis) for site in city.renewables]
    stated = [float(unit.fields.get("carbon_g_per_kwh", 0.0)) for unit in feeders]
    lows = [factor.low for factor in found if factor.low is not None]
    highs = [factor.high for factor in found if factor.high is not None]
    ranged = len(lows) == len(highs) == len(found)
    return Supply(
        buses=buses_of(city.renewables, tuple(feeders)),
        technology=(
            *(site.technology for site in city.renewables),
            *(unit.technology for unit in feeders),
        ),
        p_mw=np.hstack([operation.generation_mw, np.maximum(-units.drawn_mw[:, feeding], 0.0)]),
        carbon_g_per_kwh=np.array([*(factor.g_per_kwh for factor in found), *stated]),
        renewable=np.array(
            [
                *(float(factor.renewable) for factor in found),
                *(unit.renewable_share for unit in feeders),
            ]
        ),
        carbon_range=(np.array([*lows, *stated]), np.array([*highs, *stated])) if ranged else None,
        ids=(*(site.id for site in city.renewables), *(unit.id for unit in feeders)),
    )


def _use(operation: Operation) -> Use:
    """Inflexible load, and what units use at once."""
    city, units = operation.city, operation.units
    drawing = units.of_role("use")
    drawers = tuple(city.units[k] for k in drawing)
    return Use(
        buses=buses_of(city.loads, drawers),
        p_mw=np.hstack([operation.load_mw, np.maximum(units.drawn_mw[:, drawing], 0.0)]),
        ids=(*(load.id for load in city.loads), *(unit.id for unit in drawers)),
    )


def _upstream(terms: Market, market: Profiles, time: TimeGrid) -> UpstreamMix:
    ends = None
    if terms.carbon_low is not None and terms.carbon_high is not None:
        ends = (market.window(terms.carbon_low, time), market.window(terms.carbon_high, time))
    return UpstreamMix(
        carbon_g_per_kwh=market.window(terms.carbon, time),
        renewable_share=market.window(terms.upstream_renewable_share, time),
        carbon_range=ends,
    )


def _storage(day: CityDay, operation: Operation) -> Storage:
    """Every battery, vehicle and unit that stores as a tank, from its state at the start of the day."""
    batteries, vehicles, units = day.city.batteries, day.city.vehicles, operation.units.tanks
    stores: list[SiteBattery | Vehicle | UnitTank] = [*batteries, *vehicles, *units]
    tanks = [day.tanks[store.id] for store in stores]
    ends = [tank.carbon_range_kg for tank in tanks if tank.carbon_range_kg is not None]
    p_mw = np.hstack([operation.battery_mw, operation.vehicle_mw])
    stays = np.zeros_like(operation.battery_mw)

    def beside(values: FloatArray, name: str) -> FloatArray:
        """`values` of batteries and vehicles, and then those of units."""
        return np.column_stack([values, *(getattr(unit, name) for unit in units)])

    return Storage(
        ids=tuple(store.id for store in stores),
        buses=buses_of(batteries, vehicles, units),
        is_ev=np.repeat([False, True, False], [len(batteries), len(vehicles), len(units)]),
        charge_mw=beside(np.maximum(p_mw, 0.0), "charge_mw"),
        discharge_mw=beside(np.maximum(-p_mw, 0.0), "discharge_mw"),
        charge_efficiency=np.array([store.charge_efficiency for store in stores]),
        discharge_efficiency=np.array([store.discharge_efficiency for store in stores]),
        self_discharge_per_hour=np.array(
            [battery.self_discharge_per_hour for battery in batteries] + [0.0] * len(vehicles + units)
        ),
        e_start_mwh=np.array(
            [tank.e_kwh / 1000 for tank in tanks[: len(batteries + vehicles)]]
            + [unit.e_start_mwh for unit in units]
        ),
        carbon_start_kg=np.array([tank.carbon_kg for tank in tanks]),
        carbon_start_range_kg=(np.array([low for low, _ in ends]), np.array([high for _, high in ends]))
        if len(ends) == len(tanks)
        else None,
        renewable_start_share=np.array(
            [tank.renewable_kwh / tank.e_kwh if tank.e_kwh else 0.0 for tank in tanks]
        ),
        drive_mwh=beside(np.hstack([stays, operation.driven_mwh]), "drive_mwh"),
        distance_km=np.hstack([stays, operation.driven_km, np.zeros((len(p_mw), len(units)))]),
        technology=(
            *(BATTERY for _ in batteries),
            *(V2G for _ in vehicles),
            *(unit.technology for unit in units),
        ),
    )
