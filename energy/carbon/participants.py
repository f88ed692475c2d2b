"""Who takes part in an account: local generation, end use, storages and EVs, the upstream grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from energy.carbon.tank import EMPTY_KWH, Tanks, overdrafts
from energy.domain.errors import Fault, InputError
from energy.domain.network import BoolArray, FloatArray, IntArray, NetworkFlows
from energy.domain.time import format_instant

OVERDRAFT_MWH = 1e-6
"""What a schedule may overdraw a tank by (1 Wh): solvers keep energy balances to a tolerance."""
Range = tuple[FloatArray, FloatArray]
"""The low and high ends of a figure."""


@dataclass(frozen=True)
class Supply:
    """Local generation, one column per unit.

    `p_mw` has shape (steps, units), ≥ 0; `carbon_g_per_kwh` and `renewable` (true, false or a share)
    shape (units,). `carbon_range` holds the low and high ends of the factors, each of shape (units,); None
    where they are not known. `ids` name the units for whoever tells them apart.
    """

    buses: IntArray
    technology: tuple[str, ...]
    p_mw: FloatArray
    carbon_g_per_kwh: FloatArray
    renewable: BoolArray | FloatArray
    carbon_range: Range | None = None
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Use:
    """End use, one column per load: `p_mw` has shape (steps, loads), ≥ 0; `ids` as in `Supply`."""

    buses: IntArray
    p_mw: FloatArray
    ids: tuple[str, ...] = ()


@dataclass(frozen=True)
class Storage:
    """Batteries and EVs, one column per asset; each is a tank of its own.

    Attributes:
        ids, buses: shape (assets,). `is_ev` says which are vehicles: what they deliver is ``v2g``.
        charge_mw, discharge_mw: at the connection, shape (steps, assets), ≥ 0.
        charge_efficiency, discharge_efficiency: one-way, shape (assets,).
        self_discharge_per_hour: shape (assets,).
        e_start_mwh, carbon_start_kg: declared, or carried over, shape (assets,).
        carbon_start_range_kg: the low and high ends of `carbon_start_kg`, each of shape (assets,); None
            where it is declared without a range: both ends are the value then.
        renewable_start_share: of the starting energy; 0 counts what is unknown as not renewable.
        drive_mwh, distance_km: what a trip takes at the battery in the step it is booked in, shape
            (steps, assets).
        technology: of what each delivers; None: ``v2g`` for vehicles, ``battery`` for the others.
    """

    ids: tuple[str, ...]
    buses: IntArray
    is_ev: BoolArray
    charge_mw: FloatArray
    discharge_mw: FloatArray
    charge_efficiency: FloatArray
    discharge_efficiency: FloatArray
    self_discharge_per_hour: FloatArray
    e_start_mwh: FloatArray
    carbon_start_kg: FloatArray
    renewable_start_share: FloatArray
    drive_mwh: FloatArray
    distance_km: FloatArray
    technology: tuple[str, ...] | None = None
    carbon_start_range_kg: Range | None = None

    @property
    def carbon_start_ends_kg(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """`carbon_start_kg` with its low and its high end."""
        start = self.carbon_start_kg
        return (start, *(self.carbon_start_range_kg or (start, start)))

    def tanks(self, hours: float, *, ranged: bool = False) -> Tanks:
        """The tanks before the first step (MWh and kg, with renewable MWh); one step lasts `hours`.

        With `ranged` they hold the low and high ends of their carbon too.
        """
        carbon, *ends = self.carbon_start_ends_kg
        contents = [carbon, self.e_start_mwh * self.renewable_start_share, *(ends if ranged else ())]
        return Tanks(
            self.e_start_mwh,
            np.stack(contents, axis=1),
            self.charge_efficiency,
            self.discharge_efficiency,
            1.0 - (1.0 - np.asarray(self.self_discharge_per_hour)) ** hours,
            empty=EMPTY_KWH / 1000,
        )


@dataclass(frozen=True)
class UpstreamMix:
    """What the upstream grid's power carries in each step: g/kWh and renewable share, shape (steps,).

    `carbon_range` holds the low and high ends of the intensity, each of shape (steps,); None where they are
    not known.
    """

    carbon_g_per_kwh: FloatArray
    renewable_share: FloatArray
    carbon_range: Range | None = None


def check(
    flows: NetworkFlows, supply: Supply, use: Use, storage: Storage | None, upstream: UpstreamMix
) -> None:
    """Every fault of the inputs at once."""
    faults = []

    def series(name: str, values: FloatArray, columns: int | None) -> None:
        expected = (flows.time.steps,) if columns is None else (flows.time.steps, columns)
        if values.shape != expected:
            faults.append(Fault(name, f"has shape {values.shape}; {expected} is needed"))
        elif not (np.isfinite(values) & (values >= 0)).all():
            step = int(np.argwhere(~(np.isfinite(values) & (values >= 0)))[0][0])
            faults.append(Fault(name, f"has a negative or missing value in step {step}; ≥ 0 is needed"))

    assets: list[tuple[str, IntArray]] = [("supply", supply.buses), ("use", use.buses)]
    series("supply.p_mw", supply.p_mw, len(supply.buses))
    series("use.p_mw", use.p_mw, len(use.buses))
    series("upstream.carbon_g_per_kwh", upstream.carbon_g_per_kwh, None)
    series("upstream.renewable_share", upstream.renewable_share, None)
    if not (np.isfinite(supply.carbon_g_per_kwh) & (supply.carbon_g_per_kwh >= 0)).all():
        faults.append(
            Fault("supply.carbon_g_per_kwh", "has a negative or missing value; every unit needs its factor")
        )
    ranges = [("supply", supply.carbon_g_per_kwh, supply.carbon_range)]
    ranges.append(("upstream", upstream.carbon_g_per_kwh, upstream.carbon_range))
    if storage is not None:
        ranges.append(("storage", storage.carbon_start_kg, storage.carbon_start_range_kg))
    faults += [
        Fault(f"{name}.range", "must have 0 ≤ low ≤ value ≤ high everywhere; correct the ends of the factors")
        for name, value, ends in ranges
        if ends is not None and not _encloses(ends, value)
    ]
    if storage is not None:
        assets.append(("storage", storage.buses))
        for name in ("charge_mw", "discharge_mw", "drive_mwh", "distance_km"):
            series(f"storage.{name}", getattr(storage, name), len(storage.ids))
    for name, buses in assets:
        faults += [
            Fault(name, f"bus {bus} carries no power flow; connect it or leave the asset out")
            for bus in sorted({int(bus) for bus in buses} - flows.node_of_bus.keys())
        ]
    if storage is not None and not faults:
        hours = flows.time.hours
        for over in overdrafts(
            storage.tanks(hours),
            storage.charge_mw * hours,
            storage.discharge_mw * hours,
            storage.drive_mwh,
            OVERDRAFT_MWH,
        ):
            when = format_instant(flows.time.instant(over.step))
            faults.append(
                Fault(
                    storage.ids[over.tank],
                    f"gives {over.asked * 1000:g} kWh at {when} but holds {over.stored * 1000:g} kWh; its "
                    "schedule, its trips and its starting energy contradict each other",
                )
            )
    if faults:
        raise InputError(faults)


def _encloses(ends: Range, value: FloatArray) -> bool:
    """Whether `value` lies between the ends, up to the rounding of means and sums."""
    low, high = ends
    slack = 1e-9 * (1.0 + np.abs(value))
    if low.shape != value.shape or high.shape != value.shape:
        return False
    return bool(((low >= 0) & (low <= value + slack) & (value <= high + slack)).all())
