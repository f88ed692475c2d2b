"""What is wrong with a pandapower net before it is used: the faults that refuse it.

pandapower computes with whatever stands in its tables; a zero length or a rating in amperes gives a
result, or a division by zero far from its cause. Everything is named here, all at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from energy.domain.errors import Fault

POSITIVE: dict[str, tuple[str, ...]] = {
    "bus": ("vn_kv",),
    "line": ("length_km", "parallel", "df"),
    "trafo": ("sn_mva", "vn_hv_kv", "vn_lv_kv", "parallel", "df"),
    "trafo3w": (
        "sn_hv_mva", "sn_mv_mva", "sn_lv_mva", "vn_hv_kv", "vn_mv_kv", "vn_lv_kv",
    ),
    "ext_grid": ("vm_pu",),
    "gen": ("vm_pu",),
    "impedance": ("sn_mva",),
}  # fmt: skip
FINITE: dict[str, tuple[str, ...]] = {
    "line": ("r_ohm_per_km", "x_ohm_per_km", "c_nf_per_km", "g_us_per_km"),
    "trafo": ("vk_percent", "vkr_percent", "pfe_kw", "i0_percent", "shift_degree"),
    "trafo3w": (
        "vk_hv_percent",
        "vk_mv_percent",
        "vk_lv_percent",
        "vkr_hv_percent",
        "vkr_mv_percent",
        "vkr_lv_percent",
        "pfe_kw",
        "i0_percent",
    ),
    "load": ("p_mw", "q_mvar", "scaling"),
    "sgen": ("p_mw", "q_mvar", "scaling"),
    "storage": ("p_mw", "q_mvar", "scaling"),
    "gen": ("p_mw", "scaling"),
    "shunt": ("p_mw", "q_mvar", "step"),
    "ward": ("ps_mw", "qs_mvar", "pz_mw", "qz_mvar"),
    "motor": ("pn_mech_mw", "loading_percent", "cos_phi", "efficiency_percent", "scaling"),
    "impedance": ("rft_pu", "xft_pu", "rtf_pu", "xtf_pu"),
    "ext_grid": ("va_degree",),
}
AT_BUS = (
    "load", "sgen", "storage", "gen", "ext_grid", "shunt", "ward", "xward", "motor",
    "asymmetric_load", "asymmetric_sgen",
)  # fmt: skip
ENDS: dict[str, tuple[str, ...]] = {
    "line": ("from_bus", "to_bus"),
    "trafo": ("hv_bus", "lv_bus"),
    "trafo3w": ("hv_bus", "mv_bus", "lv_bus"),
    "impedance": ("from_bus", "to_bus"),
    "dcline": ("from_bus", "to_bus"),
    "switch": ("bus",),
} | dict.fromkeys(AT_BUS, ("bus",))
LARGEST: dict[tuple[str, str], tuple[float, str]] = {
    ("bus", "vn_kv"): (1500.0, "kV; 20 kV is 20, not 20000"),
    ("line", "length_km"): (3000.0, "km, not metres"),
    ("line", "r_ohm_per_km"): (1e4, "Ω/km"),
    ("line", "x_ohm_per_km"): (1e4, "Ω/km"),
    ("line", "c_nf_per_km"): (1e6, "nF/km"),
    ("ext_grid", "vm_pu"): (2.0, "per unit, not kV"),
    ("gen", "vm_pu"): (2.0, "per unit, not kV"),
    ("load", "p_mw"): (1e4, "MW, not kW"),
    ("load", "q_mvar"): (1e4, "Mvar, not kvar"),
    ("sgen", "p_mw"): (1e4, "MW, not kW"),
    ("sgen", "q_mvar"): (1e4, "Mvar, not kvar"),
    ("storage", "p_mw"): (1e4, "MW, not kW"),
    ("gen", "p_mw"): (1e5, "MW, not kW"),
}
"""The largest size that occurs, and the unit that is meant: beyond it stands a unit wrong by 1000."""
LARGEST_BY_VOLTAGE_MVA = {1.0: 5.0, 40.0: 300.0}
"""No single load or generator draws more at a bus of at most this voltage (kV)."""
UNRATED_MVA = 9900.0
"""What pandapower's converter writes where a MATPOWER case rates no transformer."""
VK_TRAFO3W = ("vk_hv_percent", "vk_mv_percent", "vk_lv_percent")
UNSUPPORTED = ("svc", "tcsc", "ssc", "vsc", "b2b_vsc", "line_dc", "vsc_stacked", "vsc_bipolar")
HOLDS_VOLTAGE = (
    ("ext_grid", "bus", "vm_pu"),
    ("gen", "bus", "vm_pu"),
    ("dcline", "from_bus", "vm_from_pu"),
    ("dcline", "to_bus", "vm_to_pu"),
)
SHOWN = 10
"""Faults of one kind that are listed one by one."""


def diagnose(net: Any) -> list[Fault]:
    """Everything that keeps `net` from being used; empty for a usable one."""
    faults: list[Fault] = []
    if not len(net.bus):
        return [Fault("bus", "the table is empty; a grid needs buses")]
    if not net.bus.index.is_unique:
        return [Fault("bus", "indices occur twice; every bus needs its own")]
    for check in (_references, _values, _impedances, _sizes, _devices, _setpoints):
        found = list(check(net))
        faults += found[:SHOWN]
        if len(found) > SHOWN:
            faults.append(Fault("", f"and {len(found) - SHOWN} more like these"))
    if not faults:
        faults += _supply(net)
    return faults


def _in_service(net: Any, table: str) -> Any:
    rows = net[table]
    return rows[rows.in_service.astype(bool)] if "in_service" in rows else rows


def _label(rows: Any, table: str, index: Any) -> str:
    name = rows["name"].at[index] if "name" in rows else None
    return f"{table} {index}" + (f" ({name})" if isinstance(name, str) and name else "")


def _references(net: Any) -> Iterator[Fault]:
    """Buses and elements that rows point at but that do not exist."""
    buses = set(net.bus.index)
    for table, columns in ENDS.items():
        rows = net[table]
        for column in columns:
            for index, bus in rows[column].items():
                if bus not in buses:
                    yield Fault(
                        f"{_label(rows, table, index)}.{column}",
                        f"bus {bus} does not exist; add it or correct it",
                    )
    targets = {"b": "bus", "l": "line", "t": "trafo", "t3": "trafo3w"}
    for index, row in net.switch[["et", "element"]].iterrows():
        target = targets.get(row.et)
        if target is None:
            yield Fault(
                f"switch {index}.et", f"{row.et!r} is not a kind of switch; known: {', '.join(targets)}"
            )
        elif row.element not in net[target].index:
            yield Fault(f"switch {index}.element", f"{target} {row.element} does not exist; correct it")


def _values(net: Any) -> Iterator[Fault]:
    """Numbers that are missing, infinite, or not positive where only positive ones have a meaning."""
    for table in dict.fromkeys([*POSITIVE, *FINITE]):
        rows = _in_service(net, table)
        for column in (*POSITIVE.get(table, ()), *FINITE.get(table, ())):
            if column not in rows or not len(rows):
                continue
            values = pd.to_numeric(rows[column], errors="coerce").to_numpy(dtype=float)
            positive = column in POSITIVE.get(table, ())
            wrong = ~np.isfinite(values) | ((values <= 0) & positive)
            for position in np.flatnonzero(wrong):
                index = rows.index[position]
                need = "a positive number" if positive else "a finite number"
                yield Fault(
                    f"{_label(rows, table, index)}.{column}",
                    f"is {rows[column].at[index]}; {need} is needed",
                )


def _impedances(net: Any) -> Iterator[Fault]:
    """Branches without impedance: they short their ends and make the admittances infinite."""
    lines = _in_service(net, "line")
    size = np.hypot(lines.r_ohm_per_km.astype(float), lines.x_ohm_per_km.astype(float))
    for index in lines.index[(size == 0).to_numpy()]:
        yield Fault(
            _label(lines, "line", index),
            "has no impedance (r and x are zero); use a closed bus-bus switch, or give it its impedance",
        )
    for table, columns in (("trafo", ("vk_percent",)), ("trafo3w", VK_TRAFO3W)):
        rows = _in_service(net, table)
        for column in columns:
            for index in rows.index[(rows[column].astype(float) == 0).to_numpy()]:
                yield Fault(
                    f"{_label(rows, table, index)}.{column}", "is zero; give its short-circuit voltage"
                )
    impedances = _in_service(net, "impedance")
    if len(impedances):
        size = np.hypot(impedances.rft_pu.astype(float), impedances.xft_pu.astype(float))
        for index in impedances.index[(size == 0).to_numpy()]:
            yield Fault(_label(impedances, "impedance", index), "is zero; use a closed bus-bus switch")


def _sizes(net: Any) -> Iterator[Fault]:
    """Values larger than any grid has: a unit wrong by 1000."""
    for (table, column), (largest, unit) in LARGEST.items():
        rows = _in_service(net, table)
        if column not in rows or not len(rows):
            continue
        values = pd.to_numeric(rows[column], errors="coerce").abs().to_numpy(dtype=float)
        for position in np.flatnonzero(values > largest):
            yield Fault(
                f"{_label(rows, table, rows.index[position])}.{column}",
                f"is {values[position]:g}; more than {largest:g} does not occur. The unit is {unit}",
            )
    vn_kv = net.bus.vn_kv.astype(float)
    trafos = _in_service(net, "trafo")
    # published per-unit cases (IEEE 14) have nominal voltages that say nothing of size
    per_unit = len(trafos) > 0 and bool((trafos.sn_mva.astype(float) >= UNRATED_MVA).all())
    for table in () if per_unit else ("load", "sgen", "storage"):
        rows = _in_service(net, table)
        for index, bus, p_mw in zip(rows.index, rows.bus, rows.p_mw.astype(float), strict=True):
            voltage = vn_kv.get(bus, np.nan)
            most = next((mva for kv, mva in LARGEST_BY_VOLTAGE_MVA.items() if voltage <= kv), np.inf)
            if abs(p_mw) > most:
                yield Fault(
                    f"{_label(rows, table, index)}.p_mw",
                    f"is {p_mw:g} MW at a bus of {voltage:g} kV; more than {most:g} MW does not occur. "
                    "The unit is MW, not kW",
                )
    for index, row in trafos.iterrows():
        for side in ("hv", "lv"):
            rated, bus = float(row[f"vn_{side}_kv"]), vn_kv.get(row[f"{side}_bus"], np.nan)
            if bus > 0 and not 0.2 < rated / bus < 5:
                yield Fault(
                    f"{_label(trafos, 'trafo', index)}.vn_{side}_kv",
                    f"is {rated:g} kV at a bus of {bus:g} kV; correct the unit or the bus",
                )
    lines = _in_service(net, "line")
    for index, a, b in zip(lines.index, lines.from_bus, lines.to_bus, strict=True):
        low, high = sorted((float(vn_kv.get(a, np.nan)), float(vn_kv.get(b, np.nan))))
        if 0 < 5 * low < high:
            yield Fault(
                _label(lines, "line", index),
                f"joins buses of {vn_kv.get(a):g} and {vn_kv.get(b):g} kV; only a transformer does",
            )


def _devices(net: Any) -> Iterator[Fault]:
    """Devices that neither the kernel nor the stepwise solve covers."""
    for table in UNSUPPORTED:
        if table in net and len(net[table]) and net[table].in_service.astype(bool).any():
            yield Fault(table, "power electronics of this kind are not supported; take them out of service")


def _setpoints(net: Any) -> Iterator[Fault]:
    """Devices that hold different voltages at one bus."""
    held: dict[int, tuple[str, float]] = {}
    for table, bus_column, vm_column in HOLDS_VOLTAGE:
        rows = _in_service(net, table)
        for index, bus, vm_pu in zip(rows.index, rows[bus_column], rows[vm_column], strict=True):
            label = _label(rows, table, index)
            other, other_pu = held.setdefault(bus, (label, float(vm_pu)))
            if abs(other_pu - float(vm_pu)) > 1e-9:
                yield Fault(
                    f"{label}.{vm_column}",
                    f"is {vm_pu:g}, but {other} holds {other_pu:g} pu at the same bus {bus}; make them equal",
                )


def _supply(net: Any) -> list[Fault]:
    slack = (
        net.gen.in_service.astype(bool) & net.gen.slack.astype(bool) if len(net.gen) else np.zeros(0, bool)
    )
    at = [*net.ext_grid.bus[net.ext_grid.in_service.astype(bool)], *net.gen.bus[slack]]
    if not at:
        return [Fault("ext_grid", "no external grid is in service; nothing would supply the grid. Add one")]
    if not any(net.bus.in_service.at[bus] for bus in at):
        return [Fault("ext_grid", f"stands at bus {at[0]}, which is out of service; put the bus in service")]
    return []
