"""A room kept within a comfort band: one thermal capacity behind one resistance.

    capacity · dT/dt = heat + gains − loss · (T − T_outdoor)

(the first-order grey-box model of Bacher and Madsen, Energy and Buildings 43(7), 2011). Heat, gains and
outdoor temperature are constant in a step of h hours, so that the equation is solved exactly:

    T = a · T_before + (1 − a) · T_outdoor + (1 − a) / loss · (heat + gains),   a = exp(−loss · h / capacity)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import exp, expm1
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import AfterValidator, Field

from energy.domain.documents import Document, expand
from energy.domain.errors import Fault
from energy.domain.network import FloatArray
from energy.domain.schedule import Shortfall
from energy.domain.time import TimeGrid
from optimizer.quantities import NumberSeries, crossed

if TYPE_CHECKING:
    from optimizer.site import Columns, Site

WARMEST_C, COLDEST_C = 150.0, -100.0
COMFORTABLE_K = 1e-5
"""A temperature beyond the band by less is the solver's tolerance."""


def _celsius(value: Any) -> Any:
    for position, item in enumerate(value if isinstance(value, tuple) else (value,)):
        if not COLDEST_C <= item <= WARMEST_C:
            where = f"value {position} is " if isinstance(value, tuple) else ""
            raise ValueError(f"{where}{item:g}; temperatures are in °C, from {COLDEST_C:g} to {WARMEST_C:g}")
    return value


Temperature = Annotated[float, AfterValidator(_celsius)]
TemperatureSeries = Annotated[NumberSeries, AfterValidator(_celsius)]


class Room(Document):
    """A building of one temperature. The band holds at the end of each step; where it cannot be kept,
    kelvin-hours outside it are the shortfall ``comfort``, each worth `loss_kw_per_k` kWh: the heat
    that holds the room one kelvin warmer for an hour."""

    capacity_kwh_per_k: Annotated[float, Field(gt=0, le=1e6)]
    loss_kw_per_k: Annotated[float, Field(gt=0, le=1e6)]
    temp_start_c: Temperature
    temp_min_c: TemperatureSeries
    temp_max_c: TemperatureSeries
    outdoor_c: TemperatureSeries
    gains_kw: NumberSeries = 0.0

    def faults(self, path: str) -> Iterator[Fault]:
        """A band without room."""
        yield from crossed(path, "temp_min_c", self.temp_min_c, "temp_max_c", self.temp_max_c, "°C")

    def kept(self, hours: float) -> float:
        """The share of a temperature difference to the outdoors that is left after a step."""
        return exp(-self.loss_kw_per_k * hours / self.capacity_kwh_per_k)

    def warmed_k(self, hours: float) -> float:
        """By how much a kW through a whole step warms it, K."""
        return -expm1(-self.loss_kw_per_k * hours / self.capacity_kwh_per_k) / self.loss_kw_per_k

    def unheated_k(self, time: TimeGrid) -> FloatArray:
        """What outdoors and gains add to the kept share of the temperature, shape (steps,)."""
        outdoor, gains = expand(self.outdoor_c, time.steps), expand(self.gains_kw, time.steps)
        return (1.0 - self.kept(time.hours)) * outdoor + self.warmed_k(time.hours) * gains

    def outside_k(self, room_c: FloatArray) -> FloatArray:
        """How far each temperature is outside the band, K."""
        low, high = expand(self.temp_min_c, len(room_c)), expand(self.temp_max_c, len(room_c))
        return np.clip(low - room_c, 0.0, None) + np.clip(room_c - high, 0.0, None)

    def unmet(self, asset: str, room_c: FloatArray, time: TimeGrid) -> Iterator[Shortfall]:
        """A shortfall for each step that ends outside the band."""
        outside = self.outside_k(room_c)
        for step in np.flatnonzero(outside > COMFORTABLE_K):
            amount = float(outside[step]) * time.hours
            yield Shortfall(
                "comfort",
                time.instant(int(step)),
                amount * self.loss_kw_per_k,
                asset=asset,
                amount=amount,
                unit="kelvin_hours",
            )


class RoomRows:
    """Temperature, heat and discomfort of several rooms, in Pyomo.

    Attributes:
        heat: columns, kW into each room.
        temperature: columns, °C at the end of each step.
        needs, need_weights: as in `AssetRows`: kelvins outside the band.
    """

    def __init__(self, site: Site, rooms: Sequence[tuple[str, float, Room]]) -> None:
        time, steps = site.time, site.time.steps
        ids = [key for key, _, _ in rooms]
        self.heat: Columns = site.columns("room_heat_kw", ids)
        self.temperature: Columns = site.columns("room_c", ids, lower=-np.inf)
        cold, hot = (site.columns(name, ids) for name in ("room_cold_k", "room_hot_k"))
        heat, temperature = self.heat.variable, self.temperature.variable
        low, high = (
            np.array([expand(getattr(room, name), steps) for _, _, room in rooms]).reshape(-1, steps)
            for name in ("temp_min_c", "temp_max_c")
        )
        unheated = [room.unheated_k(time) for _, _, room in rooms]

        def room_temperature(_: Any, number: int, step: int) -> Any:
            room, given = rooms[number][2], float(unheated[number][step])
            kept = room.kept(time.hours)
            warmed = temperature[number, step] - room.warmed_k(time.hours) * heat[number, step]
            if step == 0:
                return warmed == given + kept * room.temp_start_c
            return warmed - kept * temperature[number, step - 1] == given

        def room_least(_: Any, number: int, step: int) -> Any:
            return temperature[number, step] + cold.variable[number, step] >= float(low[number, step])

        def room_most(_: Any, number: int, step: int) -> Any:
            return temperature[number, step] - hot.variable[number, step] <= float(high[number, step])

        site.rows("room_temperature", len(rooms), steps, rule=room_temperature)
        site.rows("room_least", len(rooms), steps, rule=room_least)
        site.rows("room_most", len(rooms), steps, rule=room_most)
        self.needs = np.concatenate([cold.index.ravel(), hot.index.ravel()])
        worth = [priority * room.loss_kw_per_k * time.hours for _, priority, room in rooms]
        self.need_weights = np.tile(np.repeat(worth, steps), 2)
