"""What a plan says, in the words of its tables: extremes, limits reached, what the plan did about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dashboard.language import Language
from energy.domain.city import BOUNDARY, City
from energy.domain.network import SECURE_LOADING_PERCENT, SECURE_VM_PU, FloatArray, Quantity
from energy.domain.plan import Plan, SeriesTable
from energy.domain.time import TimeGrid

CASES = ("planned", "uncontrolled", "actual")
MARGINAL = "planned.marginal_g_per_kwh"
"""What a kWh more at a bus emits; a plan has it where its city wants it."""
NEGLIGIBLE_SHARE = 0.02
"""A part of a response below this share of the largest part is not worth a word."""


def cases(plan: Plan) -> tuple[str, ...]:
    """The cases this plan was worked out for, planned first."""
    return tuple(case for case in CASES if f"{case}.totals" in plan.tables)


def accounted(plan: Plan) -> str:
    """The case whose carbon counts: the day as it came where the plan was made ahead, else as planned."""
    case: str = plan.document["carbon"]["case"]
    return case


def table(plan: Plan, case: str, name: str) -> SeriesTable:
    """``CASE.NAME`` of the plan."""
    return plan.tables[f"{case}.{name}"]


def total(plan: Plan, case: str, name: str) -> FloatArray:
    """One city total over the day, shape (steps,)."""
    return table(plan, case, "totals").column(name)


def supply_at_district(plan: Plan, case: str, district: str) -> SeriesTable:
    """Where one district's power comes from: technologies, mean MW per interval."""
    traced = table(plan, case, "district_source_mwh")
    own = [name for name in traced.columns if name.rpartition("/")[0] == district]
    values = (
        np.stack([traced.column(name) for name in own], axis=1) if own else np.zeros((plan.time.steps, 0))
    )
    return SeriesTable(tuple(name.rpartition("/")[2] for name in own), values / plan.time.hours)


@dataclass(frozen=True, slots=True)
class Extreme:
    """The worst value of one element over the day.

    `element` as the plan's tables name it (``line 3``; ``bus 17``). `stress` is 1 at the limit and above
    1 beyond it, for voltages in shares of the allowed deviation. `count` intervals lie beyond the limit.
    """

    quantity: Quantity
    element: str
    step: int
    value: float
    limit: float
    stress: float
    count: int

    @property
    def beyond(self) -> bool:
        return self.count > 0


def extremes(plan: Plan, case: str, city: City) -> list[Extreme]:
    """Every element's worst value in one case, the most stressed first; unsolved ones are left out."""
    return sorted(
        (*_loadings(plan, case, city), *_voltages(plan, case, city)),
        key=lambda extreme: (-extreme.stress, extreme.element),
    )


def _loadings(plan: Plan, case: str, city: City) -> Iterator[Extreme]:
    loading = table(plan, case, "loading_percent")
    limit = city.limits.loading_max_percent
    for position, element in enumerate(loading.columns):
        series = loading.values[:, position]
        if np.isnan(series).all():
            continue
        step = int(np.nanargmax(series))
        value = float(series[step])
        count = int(np.sum(series > limit + SECURE_LOADING_PERCENT))
        yield Extreme("loading_percent", element, step, value, limit, value / limit, count)


def _voltages(plan: Plan, case: str, city: City) -> Iterator[Extreme]:
    voltage = table(plan, case, "vm_pu")
    low, high = city.limits.vm_min_pu, city.limits.vm_max_pu
    for position, bus in enumerate(voltage.columns):
        series = voltage.values[:, position]
        if np.isnan(series).all():
            continue
        stress = np.where(series < 1, (1 - series) / (1 - low), (series - 1) / (high - 1))
        step = int(np.nanargmax(stress))
        value = float(series[step])
        beyond = (series < low - SECURE_VM_PU) | (series > high + SECURE_VM_PU)
        limit = low if value < 1 else high
        yield Extreme("vm_pu", f"bus {bus}", step, value, limit, float(stress[step]), int(np.sum(beyond)))


def value_at(plan: Plan, case: str, extreme: Extreme) -> float:
    """The value of the same element, quantity and time in another case."""
    name = extreme.element.removeprefix("bus ") if extreme.quantity == "vm_pu" else extreme.element
    return float(table(plan, case, extreme.quantity).column(name)[extreme.step])


def telling_step(plan: Plan, city: City) -> int:
    """The interval a page opens at: of the worst breach without control, else where districts differ most."""
    worst = next(iter(extremes(plan, "uncontrolled", city)), None)
    if worst is not None and worst.beyond:
        return worst.step
    intensity = table(plan, accounted(plan), "district.carbon_g_per_kwh").values
    lowest = np.where(np.isnan(intensity), np.inf, intensity).min(axis=1)
    highest = np.where(np.isnan(intensity), -np.inf, intensity).max(axis=1)
    return int(np.argmax(highest - lowest))


@dataclass(frozen=True, slots=True)
class Response:
    """What the plan does otherwise than no control in one interval; kW, each ≥ 0 in its direction."""

    evs_delayed: int
    ev_kw: float
    curtailed_kw: float
    battery_charges_kw: float
    battery_discharges_kw: float


def response(plan: Plan, city: City, step: int) -> Response:
    """Compare the plan with uncontrolled operation at `step`."""
    planned = table(plan, "planned", "asset_p_kw")
    uncontrolled = table(plan, "uncontrolled", "asset_p_kw")
    evs = [vehicle.id for vehicle in city.vehicles if vehicle.id in planned.columns]
    less = np.array([uncontrolled.column(ev)[step] - planned.column(ev)[step] for ev in evs])
    curtailed = table(plan, "planned", "curtailed_kw").values[step].sum()
    batteries = [battery.id for battery in city.batteries if battery.id in planned.columns]
    battery_kw = np.array([planned.column(battery)[step] for battery in batteries])
    return Response(
        evs_delayed=int(np.sum(less > 0.05)),
        ev_kw=float(less[less > 0.05].sum()),
        curtailed_kw=float(curtailed),
        battery_charges_kw=float(battery_kw[battery_kw > 0].sum()),
        battery_discharges_kw=float(-battery_kw[battery_kw < 0].sum()),
    )


def response_words(language: Language, does: Response) -> str:
    """The plan's response as one phrase, its negligible parts left out; or that the power is the same."""
    amounts = {
        "response.ev": does.ev_kw,
        "response.curtailed": does.curtailed_kw,
        "response.charges": does.battery_charges_kw,
        "response.discharges": does.battery_discharges_kw,
    }
    telling = max(1.0, NEGLIGIBLE_SHARE * max(amounts.values()))
    parts = []
    for key, kw in amounts.items():
        if kw < telling:
            continue
        amount = language.number(kw)
        parts.append(
            language.count(key, does.evs_delayed, kw=amount)
            if key == "response.ev"
            else language(key, kw=amount)
        )
    return language("list.separator").join(parts) or language("response.none")


def marginal_extremes(plan: Plan) -> list[tuple[str, int, float]]:
    """The lowest and the highest marginal rate of a bus over the day: element, interval, g/kWh; none where
    nothing is estimated."""
    rates = plan.tables[MARGINAL]
    at_buses = rates.values[:, 1:]
    if not np.isfinite(at_buses).any():
        return []
    found = []
    for place in (np.nanargmin(at_buses), np.nanargmax(at_buses)):
        step, bus = np.unravel_index(place, at_buses.shape)
        found.append((f"bus {rates.columns[1 + int(bus)]}", int(step), float(at_buses[step, bus])))
    return found


def steps_words(language: Language, time: TimeGrid, count: int) -> str:
    """So many intervals of the day: ``7 quarter-hours``."""
    minutes = round(60 * time.hours)
    unit = {15: "quarter", 60: "hour"}.get(minutes, "other")
    return language.count(f"steps.{unit}", count, minutes=minutes)


def element_words(language: Language, city: City, element: str) -> str:
    """An element as people call it: ``Line 3 in Hafen``."""
    kind, _, index = element.rpartition(" ")
    name = language.known(f"element.{kind}", kind).format(index=index)
    district = district_of_element(city, element)
    return (
        language("element.in", element=name, district=district_name(language, city, district))
        if district
        else name
    )


def district_of_element(city: City, element: str) -> str | None:
    """The district of a bus, or of a branch's from bus."""
    kind, _, index = element.rpartition(" ")
    if kind == "bus":
        return city.district_of_bus.get(int(index))
    for drawn, number, from_bus, _ in city.grid_lines:
        if (drawn, number) == (kind, int(index)):
            return city.district_of_bus.get(from_bus)
    return None


def district_name(language: Language, city: City, district: str) -> str:
    """A district's name; the boundary is called in the reader's language."""
    if district == BOUNDARY:
        return language("district.boundary")
    return next((item.name for item in city.districts if item.id == district), district)


def value_words(language: Language, quantity: Quantity, value: float) -> str:
    """A value with its unit: ``97 %``, ``0.951 pu``."""
    if quantity == "vm_pu":
        return language("value.pu", value=language.number(value, 3))
    return language("value.percent", value=language.number(value))


def upstream_estimated(plan: Plan) -> bool:
    """Whether the carbon of what the upstream grid delivers is a model's estimate."""
    sources = plan.document["sources"]
    return any(item["estimated_share"] for item in sources if item["series"].startswith("upstream"))


def technology_name(language: Language, technology: str) -> str:
    """A source or use as people call it."""
    return language.known(f"technology.{technology}", technology)
