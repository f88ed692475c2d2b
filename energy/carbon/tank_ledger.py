"""The storage tank on a list of events: ``wattshed.tank/1`` in, its answer out. kWh and g."""

from __future__ import annotations

from typing import Any

import numpy as np

from energy.carbon.documents import TankLedger
from energy.carbon.tank import EMPTY_KWH, Tanks
from energy.domain.errors import Fault, InputError


def run_tank(ledger: TankLedger) -> dict[str, Any]:
    """The tank after each event, and what went in and out.

    Standing loss acts at the start of each event, once, and once per step of ``idle_steps``.

    Raises `InputError` naming every event that takes more than is stored.
    """
    tank = Tanks(
        np.array([ledger.e_start_kwh]),
        np.array([[ledger.carbon_start_g]]),
        np.array([ledger.charge_efficiency]),
        np.array([ledger.discharge_efficiency]),
        np.array([ledger.standing_loss_per_step]),
        empty=EMPTY_KWH,
    )
    faults: list[Fault] = []
    if ledger.carbon_start_g > 0 and ledger.e_start_kwh < EMPTY_KWH:
        faults.append(
            Fault(
                "carbon_start_g",
                f"is {ledger.carbon_start_g:g}, but the tank starts empty (e_start_kwh "
                f"{ledger.e_start_kwh:g}); carbon needs energy to sit in: raise one or set the other to 0",
            )
        )
    totals = {"in_g": 0.0, "driven_g": 0.0, "exported_g": 0.0, "residual_out_g": 0.0}
    distance_km = 0.0
    states = []

    def take(kwh: float, path: str, why: str) -> float:
        stored = float(tank.energy[0])
        if kwh - stored > tank.allowed_overdraft(np.array([kwh]), tank.energy, 0.0)[0]:
            faults.append(
                Fault(path, f"takes {kwh:g} kWh from the tank{why}, but {stored:g} kWh are stored; take less")
            )
        return float(tank.withdraw(np.array([kwh]))[0, 0])

    for k, event in enumerate(ledger.events):
        tank.stand(1 if event.idle_steps is None else event.idle_steps)
        out_g, out_kwh = 0.0, 0.0
        if event.charge_kwh is not None and event.carbon_g_per_kwh is not None:
            carbon_g = event.charge_kwh * event.carbon_g_per_kwh
            tank.charge(np.array([event.charge_kwh]), np.array([[carbon_g]]))
            totals["in_g"] += carbon_g
        elif event.discharge_kwh is not None:
            out_kwh = event.discharge_kwh
            out_g = take(
                out_kwh / ledger.discharge_efficiency,
                f"events[{k}].discharge_kwh",
                f" (to deliver {out_kwh:g} kWh at efficiency {ledger.discharge_efficiency:g})",
            )
            totals["exported_g"] += out_g
        elif event.drive_kwh is not None and event.distance_km is not None:
            out_kwh = event.drive_kwh
            out_g = take(out_kwh, f"events[{k}].drive_kwh", "")
            totals["driven_g"] += out_g
            distance_km += event.distance_km
        totals["residual_out_g"] += float(tank.book_out()[0, 0])
        e_kwh, carbon_g = float(tank.energy[0]), float(tank.content[0, 0])
        states.append(
            {
                "e_kwh": e_kwh,
                "carbon_g": carbon_g,
                "mix_g_per_kwh": carbon_g / e_kwh if e_kwh >= EMPTY_KWH else None,
                "out_g": out_g,
                "out_g_per_kwh": out_g / out_kwh if out_kwh > 0 else None,
            }
        )
    if faults:
        raise InputError(faults)
    return {
        "schema": "wattshed.tank/1",
        "events": states,
        **totals,
        "out_g": totals["driven_g"] + totals["exported_g"] + totals["residual_out_g"],
        "driven_g_per_km": totals["driven_g"] / distance_km if distance_km > 0 else None,
        "end_g": float(tank.content[0, 0]),
    }
