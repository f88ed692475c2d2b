"""What everything that stores electricity shares: batteries and EVs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, ClassVar

import numpy as np
from pydantic import Field

from energy.domain.documents import Document, Items
from energy.domain.errors import Fault
from energy.domain.network import FloatArray, IntArray
from energy.domain.schedule import AssetSchedule
from energy.domain.time import TimeGrid
from optimizer.assets.base import Asset, Controllable, Flexibility, Source, Store, StorePlan
from optimizer.quantities import Efficiency, Positive


class WearStep(Document):
    """What a MWh costs, at the connection, that is discharged at a depth of up to `depth` (share of
    `e_max_kwh`), from the depth of the step before on."""

    depth: Annotated[float, Field(gt=0, le=1)]
    cost_per_mwh: Positive


class EnergyStore(Controllable, Asset):
    """A store of energy; `p_kw` ``+`` charges. Efficiencies are one-way, energies are in the store.

    Discharging wears it at `wear_cost_per_mwh`, or by depth along `wear_curve`; see `optimizer.assets.wear`.
    """

    has_inverter: ClassVar[bool] = True

    e_min_kwh: Positive = 0.0
    e_max_kwh: Positive
    e_start_kwh: Positive
    charge_efficiency: Efficiency = 1.0
    discharge_efficiency: Efficiency = 1.0
    wear_cost_per_mwh: Positive = 0.0
    wear_curve: Items[WearStep] = ()

    def faults(self, path: str) -> Iterator[Fault]:
        yield from super().faults(path)
        yield from curve_faults(path, self.wear_curve, self.wear_cost_per_mwh)

    def retained(self, hours: float) -> float:
        """The share of its energy that is left after that long."""
        del hours
        return 1.0

    def state_after(self, schedule: AssetSchedule, time: TimeGrid) -> Mapping[str, Any]:
        del time
        last = float(schedule.series["e_kwh"][-1])
        return {"e_start_kwh": min(max(last, self.e_min_kwh), self.e_max_kwh)}


def curve_faults(path: str, curve: Sequence[WearStep], wear_cost_per_mwh: float) -> Iterator[Fault]:
    """A curve that covers not all of the store, is not convex, or stands beside a flat cost."""
    if not curve:
        return
    if wear_cost_per_mwh > 0:
        yield Fault(
            f"{path}.wear_curve", "is given together with wear_cost_per_mwh; give only one of the two"
        )
    for number in range(1, len(curve)):
        before, step, where = curve[number - 1], curve[number], f"{path}.wear_curve[{number}]"
        if step.depth <= before.depth:
            yield Fault(f"{where}.depth", f"{step.depth:g} is not above {before.depth:g}; sort by depth")
        if step.cost_per_mwh < before.cost_per_mwh:
            yield Fault(
                f"{where}.cost_per_mwh",
                f"{step.cost_per_mwh:g} is below {before.cost_per_mwh:g} of the step before; wear must not "
                "fall with depth, or the dispatch would empty the deepest segment first",
            )
    if curve[-1].depth != 1.0:
        yield Fault(
            f"{path}.wear_curve[{len(curve) - 1}].depth",
            f"is {curve[-1].depth:g}; the last step must reach depth 1",
        )


def store_flexibility(
    store: EnergyStore,
    charging: tuple[IntArray, FloatArray],
    discharging: tuple[IntArray, FloatArray],
    energy: IntArray,
    least_kwh: FloatArray,
    plans: tuple[StorePlan, ...] = (),
) -> Iterator[Flexibility]:
    """What a store can hold: columns and largest powers each way, energies and their lower bounds.

    "up" stops charging (a kWh called is charge_efficiency less in the store), then discharges. For "down"
    the energy after a call is bounded by charge_efficiency × net power, which is exact from there on where
    the store no longer discharges, and on the safe side where it does.
    """
    (charge, charge_max), (discharge, discharge_max) = charging, discharging
    gain, loss = store.charge_efficiency, 1.0 / store.discharge_efficiency
    none = np.zeros(len(energy))
    up = Source(none, ((1.0, charge),), gain), Source(discharge_max, ((-1.0, discharge),), loss)
    lowest = Store(energy, least_kwh, 1, plans=plans)
    yield Flexibility(store.id, store.connection, "up", up, lowest)
    down = (Source(charge_max, ((-1.0, charge), (1.0, discharge)), gain),)
    highest = Store(energy, np.full(len(energy), store.e_max_kwh), -1, also=(loss - gain, discharge))
    yield Flexibility(store.id, store.connection, "down", down, highest)


def stored_kwh(
    p_kw: FloatArray,
    charge_efficiency: float | FloatArray,
    discharge_efficiency: float | FloatArray,
    hours: float,
) -> FloatArray:
    """What each step's power adds to the energy in a store, kWh."""
    charge, discharge = np.clip(p_kw, 0, None), np.clip(-p_kw, 0, None)
    return (charge * charge_efficiency - discharge / discharge_efficiency) * hours


def wear_cost(p_kw: FloatArray, wear_cost_per_mwh: float, time: TimeGrid) -> float:
    """What discharging costs, per MWh at the connection."""
    if wear_cost_per_mwh == 0:
        return 0.0
    return float(np.clip(-p_kw, 0, None).sum()) * time.hours / 1000 * wear_cost_per_mwh


def least_power_faults(path: str, powers: Document) -> Iterator[Fault]:
    """Least powers above the largest."""
    for way in ("charge", "discharge"):
        least, most = getattr(powers, f"{way}_min_kw"), getattr(powers, f"{way}_max_kw")
        if least > most:
            yield Fault(f"{path}.{way}_min_kw", f"{least:g} kW is above {way}_max_kw {most:g}; lower it")


def energy_faults(
    path: str,
    e_min_kwh: float,
    e_start_kwh: float,
    e_max_kwh: float,
    e_end_min_kwh: float | None = None,
) -> Iterator[Fault]:
    """Energies of a store that contradict each other."""
    if e_min_kwh > e_max_kwh:
        yield Fault(
            f"{path}.e_min_kwh", f"{e_min_kwh:g} kWh is above e_max_kwh {e_max_kwh:g}; swap or correct them"
        )
    if e_start_kwh > e_max_kwh:
        yield Fault(
            f"{path}.e_start_kwh",
            f"{e_start_kwh:g} kWh is above e_max_kwh {e_max_kwh:g}; correct one of the two",
        )
    if e_start_kwh < e_min_kwh:
        yield Fault(
            f"{path}.e_start_kwh",
            f"{e_start_kwh:g} kWh is below e_min_kwh {e_min_kwh:g}; raise it, or lower e_min_kwh",
        )
    if e_end_min_kwh is not None and e_end_min_kwh > e_max_kwh:
        yield Fault(
            f"{path}.e_end_min_kwh", f"{e_end_min_kwh:g} kWh is above e_max_kwh {e_max_kwh:g}; lower it"
        )
