"""What a heat pump does without a plan: it holds its store and the lower edge of the comfort band."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from energy.domain.documents import expand
from energy.domain.network import FloatArray
from energy.domain.time import TimeGrid
from optimizer.assets.comfort import Room
from optimizer.assets.heat import NO_STORE, HeatStore


def thermostat(
    p_kw: FloatArray,
    spare_kw: Callable[[FloatArray, int], float],
    *,
    cop: FloatArray,
    demand_kw: FloatArray,
    store: HeatStore | None,
    room: Room | None,
    dump: bool,
    time: TimeGrid,
) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Power that serves the heat demand, holds the store where it started (or where it must end), and the
    room at `temp_min_c`; at least the given `p_kw`, to which a step can add `spare_kw` at most.

    Heat that nothing asks for goes to the store, to the room within its band, and then is dumped; where
    it must not be, the room takes it all.
    """
    tank, hours = store or NO_STORE, time.hours
    retained, target = tank.retained(hours), max(tank.e_start_kwh, tank.e_end_min_kwh or 0.0)
    power = p_kw.copy()
    names = ("heat_store_kwh", "dumped_heat_kw", "unmet_heat_kw", "room_heat_kw", "room_c")
    series = {name: np.zeros(time.steps) for name in names}
    energy, temperature = tank.e_start_kwh, 0.0 if room is None else room.temp_start_c
    if room is not None:
        kept_share, warmed, unheated = room.kept(hours), room.warmed_k(hours), room.unheated_k(time)
        coldest, warmest = (expand(value, time.steps) for value in (room.temp_min_c, room.temp_max_c))
    for step in range(time.steps):
        least = most = 0.0
        if room is not None:
            cooled = kept_share * temperature + unheated[step]
            least = max(float(coldest[step]) - cooled, 0.0) / warmed
            most = max(float(warmest[step]) - cooled, 0.0) / warmed
        held = energy * retained
        wanted = float(demand_kw[step]) + least + (target - held) / hours
        if cop[step] > 0:
            more = max(wanted / float(cop[step]) - float(power[step]), 0.0)
            power[step] += min(more, spare_kw(power, step)) if more > 0 else 0.0
        free = held + power[step] * cop[step] * hours - tank.e_min_kwh
        served = min(float(demand_kw[step]), max(free, 0.0) / hours)
        free -= served * hours
        heated = min(least, max(free, 0.0) / hours)
        free -= heated * hours
        surplus = max(free + tank.e_min_kwh - tank.e_max_kwh, 0.0) / hours
        taken = surplus if room is not None and not dump else min(surplus, max(most - heated, 0.0))
        heated += taken
        energy = free + tank.e_min_kwh - surplus * hours
        series["heat_store_kwh"][step] = energy
        series["dumped_heat_kw"][step] = surplus - taken
        series["unmet_heat_kw"][step] = demand_kw[step] - served
        if room is not None:
            temperature = cooled + warmed * heated
            series["room_heat_kw"][step], series["room_c"][step] = heated, temperature
    shown = {"unmet_heat_kw"}
    shown |= {"heat_store_kwh"} if store is not None else set()
    shown |= {"dumped_heat_kw"} if dump or series["dumped_heat_kw"].any() else set()
    shown |= {"room_heat_kw", "room_c"} if room is not None else set()
    return power, {"heat_kw": power * cop, **{name: series[name] for name in names if name in shown}}
