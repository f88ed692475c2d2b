"""A case: one way of running the day, proven on the twin, with its cost, carbon and series."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from energy.carbon.accounts import Account, Storage, Supply, UpstreamMix, Use, account
from energy.domain.city import Profiles, SiteBattery, Vehicle, buses_of
from energy.domain.factors import FactorRegistry
from energy.domain.network import FloatArray, GridState, NetworkFlows, NodalPower
from energy.domain.plan import SeriesTable
from energy.service.city_day import CityDay
from energy.service.operation import Operation

G_PER_KWH_TO_T_PER_MWH = 1e-3


class PowerFlow(Protocol):
    """What a case asks of the twin."""

    def solve(self, power: NodalPower) -> GridState: ...

    def flows(self, state: GridState) -> NetworkFlows: ...


@dataclass(frozen=True)
class Case:
    """How one case of a day went.

    Attributes:
        root_mw: what the city draws from upstream, shape (steps,), negative exports.
        cost: parts ``energy``, ``peak``, ``carbon``, ``wear`` in the city's currency, shape (steps,); the
            peak is booked in the step that reaches it.
    """

    operation: Operation
    state: GridState
    flows: NetworkFlows
    account: Account
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
        loads, renewables, batteries, vehicles = (
            tuple(asset.id for asset in group)
            for group in (city.loads, city.renewables, city.batteries, city.vehicles)
        )
        branches = tuple(f"{branch.table} {branch.index}" for branch in state.branches)
        steps = self.account.steps
        charging = np.maximum(operation.vehicle_mw, 0.0).sum(axis=1)
        storing = np.maximum(operation.battery_mw, 0.0).sum(axis=1)
        tables = {
            "asset_p_kw": SeriesTable(
                (*loads, *renewables, *batteries, *vehicles),
                np.hstack(
                    [
                        operation.load_mw,
                        operation.generation_mw,
                        operation.battery_mw,
                        operation.vehicle_mw,
                    ]
                )
                * 1000,
            ),
            "asset_e_kwh": SeriesTable(
                (*batteries, *vehicles), np.hstack([operation.battery_mwh, operation.vehicle_mwh]) * 1000
            ),
            "curtailed_kw": SeriesTable(renewables, operation.curtailed_mw * 1000),
            "supply_mw": self.account.supply_mw,
            "use_mw": SeriesTable(
                ("load", "ev", "battery", "export", "losses"),
                np.column_stack(
                    [
                        operation.load_mw.sum(axis=1),
                        charging,
                        storing,
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
    return Case(
        operation=operation,
        state=state,
        flows=flows,
        account=_account(day, operation, flows, market, factors),
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
    cost = {
        "energy": energy * hours,
        "peak": peak,
        "carbon": carbon_t * hours * terms.carbon_price_per_t,
        "wear": wear * hours,
    }
    return {name: np.where(np.isfinite(root_mw), part, np.nan) for name, part in cost.items()}


def _account(
    day: CityDay, operation: Operation, flows: NetworkFlows, market: Profiles, factors: FactorRegistry
) -> Account:
    city, time = day.city, day.time
    generation = [factors.generation(unit.technology) for unit in city.renewables]
    supply = Supply(
        buses=buses_of(city.renewables),
        technology=tuple(unit.technology for unit in city.renewables),
        p_mw=operation.generation_mw,
        carbon_g_per_kwh=np.array([factor.g_per_kwh for factor in generation]),
        renewable=np.array([factor.renewable for factor in generation], dtype=bool),
    )
    use = Use(buses=buses_of(city.loads), p_mw=operation.load_mw)
    upstream = UpstreamMix(
        carbon_g_per_kwh=market.window(city.market.carbon, time),
        renewable_share=market.window(city.market.upstream_renewable_share, time),
    )
    return account(flows, supply, use, _storage(day, operation), upstream, city.district_of_bus)


def _storage(day: CityDay, operation: Operation) -> Storage:
    """Every battery and vehicle as a tank, from its state at the start of the day."""
    batteries, vehicles = day.city.batteries, day.city.vehicles
    stores: list[SiteBattery | Vehicle] = [*batteries, *vehicles]
    tanks = [day.tanks[store.id] for store in stores]
    p_mw = np.hstack([operation.battery_mw, operation.vehicle_mw])
    stays = np.zeros_like(operation.battery_mw)
    return Storage(
        ids=tuple(store.id for store in stores),
        buses=buses_of(batteries, vehicles),
        is_ev=np.arange(len(stores)) >= len(batteries),
        charge_mw=np.maximum(p_mw, 0.0),
        discharge_mw=np.maximum(-p_mw, 0.0),
        charge_efficiency=np.array([store.charge_efficiency for store in stores]),
        discharge_efficiency=np.array([store.discharge_efficiency for store in stores]),
        self_discharge_per_hour=np.array(
            [battery.self_discharge_per_hour for battery in batteries] + [0.0] * len(vehicles)
        ),
        e_start_mwh=np.array([tank.e_kwh / 1000 for tank in tanks]),
        carbon_start_kg=np.array([tank.carbon_kg for tank in tanks]),
        renewable_start_share=np.array(
            [tank.renewable_kwh / tank.e_kwh if tank.e_kwh else 0.0 for tank in tanks]
        ),
        drive_mwh=np.hstack([stays, operation.driven_mwh]),
        distance_km=np.hstack([stays, operation.driven_km]),
    )
